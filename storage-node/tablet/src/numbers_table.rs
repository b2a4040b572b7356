//! A table of BIGINT columns, for tests.

use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel, TableSchema};

/// Columns of these names, with ids from 1 on; the first one is the key. Sorted by the column `sorted_by`.
pub(crate) fn numbers_table(model: TableModel, names: &[&str], sorted_by: u32) -> TableSchema {
    let column = |(id, name): (u32, &&str)| Column {
        id: ColumnId(id),
        name: (*name).into(),
        data_type: DataType::BigInt,
        nullable: false,
        aggregation: None,
        initial: None,
    };
    TableSchema {
        version: SchemaVersion(1),
        model,
        columns: (1..).zip(names).map(column).collect(),
        keys: vec![ColumnId(1)],
        sort_key: vec![ColumnId(sorted_by)],
        indexes: Vec::new(),
    }
}
