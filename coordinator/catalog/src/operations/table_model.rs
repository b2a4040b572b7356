//! What a table's model asks of its schema, partitions and buckets.

use tarn_proto::{ColumnId, TableModel, TableSchema};

/// What is wrong, if anything is, as the end of a sentence that begins with the table.
pub(super) fn check(
    schema: &TableSchema,
    partition_columns: &[ColumnId],
    bucket_columns: &[ColumnId],
) -> Result<(), String> {
    let is_key = |id: &ColumnId| schema.keys.contains(id);
    for column in &schema.columns {
        let wants_aggregation = schema.model.merges_on_read() && !is_key(&column.id);
        match &column.aggregation {
            None if wants_aggregation => return Err(format!("has no aggregation for column `{}`", column.name)),
            Some(aggregation) if !wants_aggregation => {
                return Err(format!("has an aggregation, {}, for column `{}`", aggregation.name(), column.name));
            }
            _ => {}
        }
    }
    if schema.model == TableModel::Duplicate {
        return Ok(());
    }
    if schema.keys.is_empty() {
        return Err("has no key column".to_owned());
    }
    // Rows of one key meet in one tablet, or they would never be merged.
    if bucket_columns.is_empty() {
        return Err("has no bucket columns, which every model but DUPLICATE needs".to_owned());
    }
    for (what, columns) in [("partition", partition_columns), ("bucket", bucket_columns)] {
        if let Some(id) = columns.iter().find(|id| !is_key(id)) {
            return Err(format!("has {id} among its {what} columns, which is no key"));
        }
    }
    // The sort key's columns are told apart before this.
    if schema.model.merges_on_read()
        && (schema.sort_key.len() != schema.keys.len() || !schema.sort_key.iter().all(is_key))
    {
        return Err("has a sort key that is not its keys in some order".to_owned());
    }
    let nullable = schema.columns.iter().find(|c| is_key(&c.id) && c.nullable);
    match nullable.filter(|_| schema.model == TableModel::PrimaryKey) {
        Some(column) => Err(format!("has the primary key column `{}`, which may be NULL", column.name)),
        None => Ok(()),
    }
}
