//! `CREATE TABLE` as text. Parsing it gives the same statement again.

use std::fmt::{self, Display, Formatter, Result};

use super::{
    Bound, ColumnDef, ColumnDefault, CreateTable, DistributedBy, Index, ListPartition, Model, ModelKind, PartitionBy,
    PartitionExpr, Property, RangePartition,
};
use crate::name::{Ident, Literal, quote_string};

impl Display for CreateTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "CREATE TABLE {}{} (", if self.if_not_exists { "IF NOT EXISTS " } else { "" }, self.name)?;
        let mut separator = "";
        for column in &self.columns {
            write!(f, "{separator}\n  {column}")?;
            separator = ",";
        }
        for index in &self.indexes {
            write!(f, "{separator}\n  {index}")?;
            separator = ",";
        }
        f.write_str("\n)")?;
        if let Some(engine) = &self.engine {
            write!(f, " ENGINE={engine}")?;
        }
        if let Some(model) = &self.model {
            write!(f, "\n{model}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, "\nCOMMENT {}", quote_string(comment))?;
        }
        if let Some(partition) = &self.partition {
            write!(f, "\nPARTITION BY {partition}")?;
        }
        if let Some(distribution) = &self.distribution {
            write!(f, "\n{distribution}")?;
        }
        if !self.order_by.is_empty() {
            write!(f, "\nORDER BY({})", List(&self.order_by, ", "))?;
        }
        if !self.properties.is_empty() {
            write!(f, "\nPROPERTIES (\n{}\n)", List(&self.properties, ",\n"))?;
        }
        Ok(())
    }
}

impl Display for ColumnDef {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.name, self.data_type)?;
        if self.key {
            f.write_str(" KEY")?;
        }
        if let Some(aggregation) = &self.aggregation {
            write!(f, " {aggregation}")?;
        }
        match self.nullable {
            Some(true) => f.write_str(" NULL")?,
            Some(false) => f.write_str(" NOT NULL")?,
            None => {}
        }
        match &self.default {
            Some(ColumnDefault::Value(value)) => write!(f, " DEFAULT {value}")?,
            Some(ColumnDefault::Null) => f.write_str(" DEFAULT NULL")?,
            Some(ColumnDefault::CurrentTimestamp) => f.write_str(" DEFAULT CURRENT_TIMESTAMP")?,
            Some(ColumnDefault::Expr(text)) => write!(f, " DEFAULT ({text})")?,
            None => {}
        }
        if self.auto_increment {
            f.write_str(" AUTO_INCREMENT")?;
        }
        if let Some(text) = &self.generated_as {
            write!(f, " AS {text}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " COMMENT {}", quote_string(comment))?;
        }
        Ok(())
    }
}

impl Display for Index {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "INDEX {} ({})", self.name, List(&self.columns, ", "))?;
        if let Some(using) = &self.using {
            write!(f, " USING {using}")?;
        }
        if !self.properties.is_empty() {
            write!(f, " ({})", List(&self.properties, ", "))?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " COMMENT {}", quote_string(comment))?;
        }
        Ok(())
    }
}

impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}({})", self.kind, List(&self.keys, ", "))
    }
}

impl Display for ModelKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Duplicate => "DUPLICATE KEY",
            Self::Aggregate => "AGGREGATE KEY",
            Self::Unique => "UNIQUE KEY",
            Self::PrimaryKey => "PRIMARY KEY",
        })
    }
}

impl Display for PartitionBy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Range { columns, partitions, .. } => {
                write!(f, "RANGE({})\n({})", List(columns, ", "), List(partitions, ",\n"))
            }
            Self::List { columns, partitions, .. } => {
                write!(f, "LIST({})\n({})", List(columns, ", "), List(partitions, ",\n"))
            }
            Self::Expressions(exprs) => write!(f, "{}", List(exprs, ", ")),
        }
    }
}

impl Display for RangePartition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::LessThan { name, if_not_exists, upper, properties } => {
                write!(f, "PARTITION {}{name} VALUES LESS THAN ({})", exists(*if_not_exists), List(upper, ", "))?;
                inline(f, properties)
            }
            Self::Between { name, if_not_exists, lower, upper, properties } => {
                let exists = exists(*if_not_exists);
                write!(f, "PARTITION {exists}{name} VALUES [({}), ({}))", List(lower, ", "), List(upper, ", "))?;
                inline(f, properties)
            }
            Self::Every { start, end, step, unit: Some(unit) } => {
                write!(f, "START ({start}) END ({end}) EVERY (INTERVAL {step} {})", unit.name().to_uppercase())
            }
            Self::Every { start, end, step, unit: None } => write!(f, "START ({start}) END ({end}) EVERY ({step})"),
        }
    }
}

impl Display for ListPartition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "PARTITION {}{} VALUES IN (", exists(self.if_not_exists), self.name)?;
        for (i, tuple) in self.values.iter().enumerate() {
            let texts = tuple.iter().map(|v| v.as_ref().map_or_else(|| "NULL".to_owned(), Literal::to_string));
            let text = texts.collect::<Vec<_>>().join(", ");
            let separator = if i > 0 { ", " } else { "" };
            if tuple.len() == 1 { write!(f, "{separator}{text}")? } else { write!(f, "{separator}({text})")? }
        }
        f.write_str(")")?;
        inline(f, &self.properties)
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::MaxValue => f.write_str("MAXVALUE"),
        }
    }
}

impl Display for PartitionExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Column(Ident { name, .. }) if is_floor_or_ceil(name) => f.write_str(name),
            Self::Column(column) => column.fmt(f),
            Self::Literal(literal) => literal.fmt(f),
            Self::Interval { count, unit, .. } => write!(f, "INTERVAL {count} {}", unit.name().to_uppercase()),
            Self::Function { name, args } => {
                if name.name.chars().all(|c| c == '_' || c.is_ascii_alphabetic()) {
                    write!(f, "{}({})", name.name, List(args, ", "))
                } else {
                    write!(f, "{name}({})", List(args, ", "))
                }
            }
        }
    }
}

impl Display for DistributedBy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let buckets = match self {
            Self::Hash { columns, buckets, .. } => {
                write!(f, "DISTRIBUTED BY HASH({})", List(columns, ", "))?;
                buckets
            }
            Self::Random { buckets, .. } => {
                f.write_str("DISTRIBUTED BY RANDOM")?;
                buckets
            }
        };
        buckets.map_or(Ok(()), |n| write!(f, " BUCKETS {n}"))
    }
}

impl Display for Property {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} = {}", quote_string(&self.name), quote_string(&self.value))
    }
}

fn is_floor_or_ceil(name: &str) -> bool {
    name.eq_ignore_ascii_case("floor") || name.eq_ignore_ascii_case("ceil")
}

fn exists(if_not_exists: bool) -> &'static str {
    if if_not_exists { "IF NOT EXISTS " } else { "" }
}

fn inline(f: &mut Formatter<'_>, properties: &[Property]) -> fmt::Result {
    if properties.is_empty() { Ok(()) } else { write!(f, " ({})", List(properties, ", ")) }
}

/// Items with something between them.
struct List<'a, T>(&'a [T], &'a str);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(self.1)?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
