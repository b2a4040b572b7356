//! `PARTITION BY` to the catalog's partitioning. Pure.

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{PartitionExpr as Computed, Partitioning};
use tarn_proto::time::TimeUnit;
use tarn_proto::{Column, DataType};
use tarn_sql::{Ident, PartitionBy, PartitionExpr, Position};

use super::columns::{Columns, check_distinct};
use super::every::time_unit;
use super::lists::{self, is_list_type};
use super::ranges::{self, is_range_type};
use crate::session::Error;

/// How rows are divided, and the partitions that are there from the start.
pub fn lower(by: Option<&PartitionBy>, columns: &Columns) -> Result<(Partitioning, Vec<PartitionSpec>), Error> {
    match by {
        None => Ok((Partitioning::None, Vec::new())),
        Some(PartitionBy::Range { columns: names, partitions, .. }) => {
            check_distinct(names, "partition column")?;
            let found: Vec<&Column> = names.iter().map(|name| range_column(name, columns)).collect::<Result<_, _>>()?;
            let partitions = ranges::lower(partitions, &found, Vec::new())?;
            Ok((Partitioning::Range(found.iter().map(|c| c.id).collect()), partitions))
        }
        Some(PartitionBy::List { columns: names, partitions, .. }) => {
            check_distinct(names, "partition column")?;
            let found: Vec<&Column> = names.iter().map(|name| list_column(name, columns)).collect::<Result<_, _>>()?;
            let partitions = lists::lower(partitions, &found, &[])?;
            Ok((Partitioning::List(found.iter().map(|c| c.id).collect()), partitions))
        }
        Some(PartitionBy::Expressions(exprs)) => {
            let lowered: Vec<Computed> =
                exprs.iter().map(|expr| expression(expr, columns)).collect::<Result<_, _>>()?;
            for (i, expr) in lowered.iter().enumerate() {
                if lowered[..i].contains(expr) {
                    return Err(Error::at(place(&exprs[i]), "the partition expression is there twice"));
                }
            }
            Ok((Partitioning::Expression(lowered), Vec::new()))
        }
    }
}

fn range_column<'a>(name: &Ident, columns: &'a Columns) -> Result<&'a Column, Error> {
    let column = columns.get(name)?;
    if is_range_type(&column.data_type) {
        return Ok(column);
    }
    Err(Error::at(
        name.at,
        format!(
            "column `{}` is of type {}: range partition columns are integers, DATE or DATETIME",
            column.name, column.data_type
        ),
    ))
}

fn list_column<'a>(name: &Ident, columns: &'a Columns) -> Result<&'a Column, Error> {
    let column = columns.get(name)?;
    if is_list_type(&column.data_type) {
        return Ok(column);
    }
    Err(Error::at(
        name.at,
        format!(
            "column `{}` is of type {}: list partition columns are integers, BOOLEAN, DATE, DATETIME or text",
            column.name, column.data_type
        ),
    ))
}

fn expression(expr: &PartitionExpr, columns: &Columns) -> Result<Computed, Error> {
    match expr {
        PartitionExpr::Column(name) => {
            let column = columns.get(name)?;
            if !column.data_type.is_key() {
                let message =
                    format!("column `{}` is of type {}, which cannot partition", column.name, column.data_type);
                return Err(Error::at(name.at, message));
            }
            Ok(Computed::Column(column.id))
        }
        PartitionExpr::Function { name, args } if name.name.eq_ignore_ascii_case("date_trunc") => {
            let [PartitionExpr::Literal(unit), PartitionExpr::Column(column)] = &args[..] else {
                return Err(Error::at(name.at, "date_trunc takes a unit and a column: date_trunc('day', dt)"));
            };
            let parsed = TimeUnit::parse(&unit.text).filter(|u| {
                matches!(u, TimeUnit::Hour | TimeUnit::Day | TimeUnit::Month | TimeUnit::Quarter | TimeUnit::Year)
            });
            let parsed = parsed.ok_or_else(|| {
                let message = format!(
                    "partitions by date_trunc are of an hour, day, month, quarter or year, not `{}`",
                    unit.text
                );
                Error::at(unit.at, message)
            })?;
            Ok(Computed::DateTrunc(parsed, time_column(column, parsed, columns)?.id))
        }
        PartitionExpr::Function { name, args } if name.name.eq_ignore_ascii_case("time_slice") => {
            let wrong =
                || Error::at(name.at, "time_slice takes a column and an interval: time_slice(dt, INTERVAL 7 DAY)");
            let (column, count, unit) = match &args[..] {
                [PartitionExpr::Column(column), PartitionExpr::Interval { count, unit, .. }] => (column, count, unit),
                [PartitionExpr::Column(column), PartitionExpr::Interval { count, unit, .. }, side] => match side {
                    PartitionExpr::Column(Ident { name, .. }) if name.eq_ignore_ascii_case("floor") => {
                        (column, count, unit)
                    }
                    PartitionExpr::Literal(side) if side.text.eq_ignore_ascii_case("floor") => (column, count, unit),
                    other => return Err(Error::at(place(other), "partitions begin at the floor of a time_slice")),
                },
                _ => return Err(wrong()),
            };
            let unit = time_unit(*unit);
            Ok(Computed::TimeSlice(*count, unit, time_column(column, unit, columns)?.id))
        }
        PartitionExpr::Function { name, .. } => Err(Error::at(
            name.at,
            format!("`{}` cannot partition a table: columns, date_trunc and time_slice can", name.name),
        )),
        PartitionExpr::Literal(_) | PartitionExpr::Interval { .. } => {
            Err(Error::at(place(expr), "a constant cannot partition a table"))
        }
    }
}

/// A DATETIME column, or a DATE column where the unit is a day or longer.
fn time_column<'a>(name: &Ident, unit: TimeUnit, columns: &'a Columns) -> Result<&'a Column, Error> {
    let column = columns.get(name)?;
    match column.data_type {
        DataType::DateTime => Ok(column),
        DataType::Date if unit >= TimeUnit::Day => Ok(column),
        DataType::Date => {
            Err(Error::at(name.at, format!("column `{}` is a DATE, which has no {}s", column.name, unit.name())))
        }
        _ => Err(Error::at(
            name.at,
            format!("column `{}` is of type {}: wanted is DATE or DATETIME", column.name, column.data_type),
        )),
    }
}

fn place(expr: &PartitionExpr) -> Position {
    match expr {
        PartitionExpr::Column(name) | PartitionExpr::Function { name, .. } => name.at,
        PartitionExpr::Literal(literal) => literal.at,
        PartitionExpr::Interval { at, .. } => *at,
    }
}
