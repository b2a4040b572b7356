//! List partitions as declared, to partition specifications. Pure.

use std::collections::BTreeMap;

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Value};
use tarn_proto::{Column, DataType};
use tarn_sql::{Ident, ListPartition, Literal};

use super::names::check_name;
use super::{literal, properties};
use crate::session::Error;

/// The partitions that `declared` adds to a table partitioned by `columns` that has `existing` ones.
pub fn lower(
    declared: &[ListPartition],
    columns: &[&Column],
    existing: &[PartitionSpec],
) -> Result<Vec<PartitionSpec>, Error> {
    let mut added: Vec<PartitionSpec> = Vec::new();
    // Which partition lists a key.
    let mut owners: BTreeMap<Vec<Value>, String> = BTreeMap::new();
    for partition in existing {
        if let Bounds::List(keys) = &partition.bounds {
            owners.extend(keys.iter().map(|key| (key.clone(), partition.name.clone())));
        }
    }
    for ListPartition { name, if_not_exists, values, properties } in declared {
        properties::check_partition(properties)?;
        check_name(name, "partition")?;
        if existing.iter().chain(&added).any(|p| p.name.eq_ignore_ascii_case(&name.name)) {
            if *if_not_exists {
                continue;
            }
            return Err(Error::at(name.at, format!("partition `{}` exists already", name.name)));
        }
        let mut keys = Vec::with_capacity(values.len());
        for tuple in values {
            let key = key(tuple, columns, name)?;
            if let Some(other) = owners.insert(key.clone(), name.name.clone()) {
                let text = key.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
                let message = match other == name.name {
                    true => format!("partition `{other}` lists ({text}) twice"),
                    false => format!("partition `{}` lists ({text}), which partition `{other}` has", name.name),
                };
                return Err(Error::at(name.at, message));
            }
            keys.push(key);
        }
        keys.sort();
        added.push(PartitionSpec { name: name.name.clone(), bounds: Bounds::List(keys) });
    }
    Ok(added)
}

fn key(tuple: &[Option<Literal>], columns: &[&Column], name: &Ident) -> Result<Vec<Value>, Error> {
    if tuple.len() != columns.len() {
        let (given, wanted) = (tuple.len(), columns.len());
        let message = format!("partition `{}` lists {given} values at once, for {wanted} partition columns", name.name);
        return Err(Error::at(name.at, message));
    }
    tuple.iter().zip(columns).map(|(value, column)| self::value(value.as_ref(), column, name)).collect()
}

fn value(value: Option<&Literal>, column: &Column, name: &Ident) -> Result<Value, Error> {
    match value {
        Some(literal) => literal::value(&literal.text, &column.data_type)
            .map_err(|why| Error::at(literal.at, format!("value of partition column `{}`: {why}", column.name))),
        None if column.nullable => Ok(Value::Null),
        None => {
            let message = format!("partition `{}` lists NULL, and column `{}` is NOT NULL", name.name, column.name);
            Err(Error::at(name.at, message))
        }
    }
}

/// Whether a column of this type can divide a table by its values.
pub const fn is_list_type(t: &DataType) -> bool {
    matches!(
        t,
        DataType::Boolean
            | DataType::TinyInt
            | DataType::SmallInt
            | DataType::Int
            | DataType::BigInt
            | DataType::LargeInt
            | DataType::Date
            | DataType::DateTime
            | DataType::Char(_)
            | DataType::Varchar(_)
            | DataType::String
    )
}
