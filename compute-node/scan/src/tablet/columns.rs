//! The columns of a scan's output in one segment.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use tarn_proto::Column;
use tarn_proto::segment::{from_storage, storage_schema};

/// Maps what is read from a segment to the output of a scan.
pub(crate) struct Output {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The columns read, as the segment holds them.
    read: Vec<FieldRef>,
}

impl Output {
    /// `schema` and `columns` are the output's. `present` tells whether the segment has a field.
    pub fn new(schema: SchemaRef, columns: &[Column], present: impl Fn(&str) -> bool) -> Self {
        let mut read: Vec<FieldRef> = Vec::with_capacity(columns.len());
        for field in storage_schema(columns).fields() {
            if present(field.name()) && !read.iter().any(|f| f.name() == field.name()) {
                read.push(field.clone());
            }
        }
        Self { schema, columns: columns.to_vec(), read }
    }

    /// What to read, each column once.
    pub fn read(&self) -> &[FieldRef] {
        &self.read
    }

    /// The output batch of what was read.
    pub fn batch(&self, read: &StructArray) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(read.len()));
        let fields = Schema::new(self.read.clone());
        let stored = RecordBatch::try_new_with_options(Arc::new(fields), read.columns().to_vec(), &options)?;
        let declared = from_storage(&self.columns, &stored)?;
        RecordBatch::try_new_with_options(self.schema.clone(), declared.columns().to_vec(), &options)
    }
}
