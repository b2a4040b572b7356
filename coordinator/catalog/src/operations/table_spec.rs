//! What a table to be created must satisfy.

use std::collections::BTreeSet;

use tarn_proto::ColumnId;

use super::{check_name, table_model};
use crate::command::TableSpec;
use crate::{Error, Partitioning};

/// Checks everything but names that exist and bounds of partitions.
pub(super) fn check(spec: &TableSpec) -> Result<(), Error> {
    check_name("table", &spec.name)?;
    let invalid = |why: String| Err(Error::Invalid(format!("table `{}` {why}", spec.name)));
    if spec.schema.columns.is_empty() {
        return invalid("has no columns".to_owned());
    }
    let mut names = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for column in &spec.schema.columns {
        check_name("column", &column.name)?;
        if !names.insert(column.name.to_ascii_lowercase()) {
            return invalid(format!("has two columns named `{}`", column.name));
        }
        if !ids.insert(column.id) {
            return invalid(format!("has two columns with id {}", column.id));
        }
    }
    let prefix = spec.schema.columns.iter().map(|c| c.id).take(spec.schema.keys.len());
    if !prefix.eq(spec.schema.keys.iter().copied()) {
        return invalid("has keys that are not its first columns in their order".to_owned());
    }
    let partition_columns: Vec<ColumnId> = match &spec.partitioning {
        Partitioning::None => Vec::new(),
        Partitioning::Range(columns) | Partitioning::List(columns) if columns.is_empty() => {
            return invalid("has no partition column".to_owned());
        }
        Partitioning::Range(columns) | Partitioning::List(columns) => columns.clone(),
        Partitioning::Expression(expressions) if expressions.is_empty() => {
            return invalid("has no partition expression".to_owned());
        }
        Partitioning::Expression(expressions) => {
            // One column may be used by several expressions.
            expressions.iter().map(|e| e.column()).collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    let lists = [
        ("sort key", &spec.schema.sort_key),
        ("partition columns", &partition_columns),
        ("bucket columns", &spec.distribution.columns),
    ];
    for (what, columns) in lists {
        let mut seen = BTreeSet::new();
        for id in columns {
            if !ids.contains(id) {
                return invalid(format!("has {id} among its {what}, which is none of its columns"));
            }
            if !seen.insert(id) {
                return invalid(format!("has {id} among its {what} twice"));
            }
        }
    }
    table_model::check(&spec.schema, &partition_columns, &spec.distribution.columns).or_else(invalid)?;
    if let Some(id) = spec.columns.keys().find(|id| !ids.contains(id)) {
        return invalid(format!("has a default or comment for {id}, which is none of its columns"));
    }
    if spec.distribution.buckets == 0 {
        return invalid("has no buckets".to_owned());
    }
    super::colocation::check_replication(spec.replication)?;
    super::schema::check_indexes(&spec.schema)
}
