//! Rows of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// Rows of nullable text, column by column.
pub struct Rows {
    schema: SchemaRef,
    columns: Vec<Vec<Option<String>>>,
}

/// The schema of rows with these columns.
pub fn schema(names: &[String]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>()))
}

impl Rows {
    /// No rows yet.
    pub fn new(names: Vec<String>) -> Self {
        Self { schema: schema(&names), columns: vec![Vec::new(); names.len()] }
    }

    /// Adds a row without NULLs, one value for each column.
    pub fn push<const N: usize>(&mut self, values: [String; N]) {
        self.push_nullable(values.map(Some).into());
    }

    /// Adds a row, one value for each column.
    pub fn push_nullable(&mut self, values: Vec<Option<String>>) {
        debug_assert_eq!(values.len(), self.columns.len(), "one value for each of {:?}", self.schema);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// All rows as one batch.
    pub fn finish(self) -> RecordBatch {
        let rows = self.columns.first().map_or(0, Vec::len);
        let columns: Vec<ArrayRef> =
            self.columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema, columns, &options)
            .expect("every column is nullable text of as many rows")
    }
}
