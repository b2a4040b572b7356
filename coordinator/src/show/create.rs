//! `SHOW CREATE TABLE`, `SHOW CREATE VIEW`: the statement that makes the same again.

use tarn_catalog::{Bounds, DefaultValue, PartitionExpr as Computed, Partitioning, Relation, Table, Value, View};
use tarn_proto::time::TimeUnit;
use tarn_proto::{ColumnId, IndexKind, TableModel};
use tarn_sql::{
    Bound, ColumnDef, ColumnDefault, CreateTable, DistributedBy, Ident, Index, IntervalUnit, ListPartition, Literal,
    Model, ObjectName, PartitionBy, PartitionExpr, Position, Property, RangePartition, quote_ident, quote_string,
};

use super::rows::Rows;
use crate::ddl::{
    BLOOM_FILTER_COLUMNS, literal_text, model_kind, partition_specs, shown_bloom_columns, shown_replicas,
};
use crate::session::{Error, SessionContext};

pub const TABLE: &[&str] = &["Table", "Create Table"];
pub const VIEW: &[&str] = &["View", "Create View", "character_set_client", "collation_connection"];

pub fn table(context: &SessionContext, rows: &mut Rows, name: &ObjectName) -> Result<(), Error> {
    let (name, text) = match context.relation(name)? {
        Relation::Table(table) => {
            let group = table.colocation.and_then(|group| context.catalog.colocation_groups.get(&group));
            (&table.name, format!("{};", in_group(table, group.map(|group| group.name.as_str()))))
        }
        Relation::View(view) => (&view.name, view_text(view)),
    };
    rows.push([name.clone(), text]);
    Ok(())
}

pub fn view(context: &SessionContext, rows: &mut Rows, name: &ObjectName) -> Result<(), Error> {
    match context.relation(name)? {
        Relation::Table(table) => {
            let source = tarn_catalog::Error::UnknownView(table.name.clone());
            Err(Error::Catalog { source, at: name.at() })
        }
        Relation::View(view) => {
            rows.push([view.name.clone(), view_text(view), "utf8".to_owned(), "utf8_general_ci".to_owned()]);
            Ok(())
        }
    }
}

fn view_text(view: &View) -> String {
    let mut text = format!("CREATE VIEW {}", quote_ident(&view.name));
    if !view.columns.is_empty() {
        let columns: Vec<String> = view.columns.iter().map(|c| quote_ident(c)).collect();
        text.push_str(&format!(" ({})", columns.join(", ")));
    }
    if !view.comment.is_empty() {
        text.push_str(&format!(" COMMENT {}", quote_string(&view.comment)));
    }
    text.push_str(&format!(" AS {};", view.query.trim().trim_end_matches(';')));
    text
}

/// The statement that makes a table like this one, but in no colocation group. Pure.
#[cfg(test)]
pub fn statement(table: &Table) -> CreateTable {
    in_group(table, None)
}

/// The statement that makes a table like this one, in the colocation group of this name.
fn in_group(table: &Table, group: Option<&str>) -> CreateTable {
    let ident = |id: &ColumnId| {
        Ident::new(table.schema.index_of(*id).map_or(String::new(), |i| table.schema.columns[i].name.clone()))
    };
    let idents = |ids: &[ColumnId]| ids.iter().map(ident).collect::<Vec<_>>();
    let at = Position::default();
    let buckets = Some(table.distribution.buckets);
    CreateTable {
        if_not_exists: false,
        name: ObjectName::bare(&table.name),
        columns: table.schema.columns.iter().map(|c| column(table, c)).collect(),
        indexes: indexes(table),
        engine: Some("OLAP".to_owned()),
        model: (!table.schema.keys.is_empty()).then(|| Model {
            kind: model_kind(table.schema.model),
            keys: idents(&table.schema.keys),
            at,
        }),
        comment: (!table.comment.is_empty()).then(|| table.comment.clone()),
        partition: partition(table, &ident),
        distribution: Some(match &table.distribution.columns[..] {
            [] => DistributedBy::Random { buckets, at },
            columns => DistributedBy::Hash { columns: idents(columns), buckets, at },
        }),
        order_by: if table.explicit_sort_key { idents(&table.schema.sort_key) } else { Vec::new() },
        properties: {
            let kept = table.properties.iter();
            let kept = kept.map(|(name, value)| Property { name: name.clone(), value: value.clone(), at });
            let bloom = shown_bloom_columns(&table.schema);
            let bloom = bloom.map(|value| Property { name: BLOOM_FILTER_COLUMNS.to_owned(), value, at });
            let mut properties: Vec<Property> =
                shown_replicas(table, group).into_iter().chain(bloom).chain(kept).collect();
            properties.sort_by(|a, b| a.name.cmp(&b.name));
            properties
        },
    }
}

fn indexes(table: &Table) -> Vec<Index> {
    let bitmaps = table.schema.indexes.iter().filter(|index| index.kind == IndexKind::Bitmap);
    bitmaps
        .filter_map(|index| {
            let column = &table.schema.columns[table.schema.index_of(index.column)?];
            Some(Index {
                name: Ident::new(&index.name),
                columns: vec![Ident::new(&column.name)],
                using: Some(index.kind.name().to_owned()),
                properties: Vec::new(),
                comment: (!index.comment.is_empty()).then(|| index.comment.clone()),
            })
        })
        .collect()
}

fn column(table: &Table, column: &tarn_proto::Column) -> ColumnDef {
    let info = table.columns.get(&column.id).cloned().unwrap_or_default();
    let auto_increment = info.default == Some(DefaultValue::AutoIncrement);
    // The value columns of a UNIQUE table have one by their model.
    let aggregation = column.aggregation.filter(|_| table.schema.model == TableModel::Aggregate);
    ColumnDef {
        name: Ident::new(&column.name),
        data_type: column.data_type.clone(),
        type_at: Position::default(),
        key: false,
        aggregation: aggregation.map(|a| a.name().to_owned()),
        nullable: Some(column.nullable),
        default: info.default.and_then(|default| match default {
            DefaultValue::Constant(text) => Some(ColumnDefault::Value(Literal::new(text))),
            DefaultValue::CurrentTimestamp => Some(ColumnDefault::CurrentTimestamp),
            DefaultValue::AutoIncrement => None,
        }),
        auto_increment,
        generated_as: None,
        comment: (!info.comment.is_empty()).then_some(info.comment),
    }
}

fn partition(table: &Table, ident: &impl Fn(&ColumnId) -> Ident) -> Option<PartitionBy> {
    match &table.partitioning {
        Partitioning::None => None,
        Partitioning::Range(columns) => Some(PartitionBy::Range {
            columns: columns.iter().map(ident).collect(),
            partitions: partition_specs(table).into_iter().filter_map(|p| range(&p.name, &p.bounds)).collect(),
            at: Position::default(),
        }),
        Partitioning::List(columns) => Some(PartitionBy::List {
            columns: columns.iter().map(ident).collect(),
            partitions: partition_specs(table).into_iter().filter_map(|p| list(&p.name, &p.bounds)).collect(),
            at: Position::default(),
        }),
        Partitioning::Expression(exprs) => Some(PartitionBy::Expressions(
            exprs
                .iter()
                .map(|expr| match expr {
                    Computed::Column(id) => PartitionExpr::Column(ident(id)),
                    Computed::DateTrunc(unit, id) => PartitionExpr::Function {
                        name: Ident::new("date_trunc"),
                        args: vec![PartitionExpr::Literal(Literal::new(unit.name())), PartitionExpr::Column(ident(id))],
                    },
                    Computed::TimeSlice(count, unit, id) => PartitionExpr::Function {
                        name: Ident::new("time_slice"),
                        args: vec![
                            PartitionExpr::Column(ident(id)),
                            PartitionExpr::Interval { count: *count, unit: interval(*unit), at: Position::default() },
                        ],
                    },
                })
                .collect(),
        )),
    }
}

fn range(name: &str, bounds: &Bounds) -> Option<RangePartition> {
    let Bounds::Range { lower, upper } = bounds else { return None };
    let tuple = |values: &Option<Vec<Value>>| match values {
        Some(values) => values.iter().map(|v| Bound::Value(Literal::new(literal_text(v)))).collect(),
        None => vec![Bound::MaxValue],
    };
    let (name, if_not_exists, properties) = (Ident::new(name), false, Vec::new());
    Some(match lower {
        None => RangePartition::LessThan { name, if_not_exists, upper: tuple(upper), properties },
        Some(_) => {
            RangePartition::Between { name, if_not_exists, lower: tuple(lower), upper: tuple(upper), properties }
        }
    })
}

fn list(name: &str, bounds: &Bounds) -> Option<ListPartition> {
    let Bounds::List(keys) = bounds else { return None };
    let literal = |value: &Value| (*value != Value::Null).then(|| Literal::new(literal_text(value)));
    let values = keys.iter().map(|key| key.iter().map(literal).collect()).collect();
    Some(ListPartition { name: Ident::new(name), if_not_exists: false, values, properties: Vec::new() })
}

const fn interval(unit: TimeUnit) -> IntervalUnit {
    match unit {
        TimeUnit::Second => IntervalUnit::Second,
        TimeUnit::Minute => IntervalUnit::Minute,
        TimeUnit::Hour => IntervalUnit::Hour,
        TimeUnit::Day => IntervalUnit::Day,
        TimeUnit::Week => IntervalUnit::Week,
        TimeUnit::Month => IntervalUnit::Month,
        TimeUnit::Quarter => IntervalUnit::Quarter,
        TimeUnit::Year => IntervalUnit::Year,
    }
}
