//! The columns of a scan's output in one segment.

use arrow::array::{Array, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::error::ArrowError;
use tarn_proto::Column;
use tarn_proto::segment::storage_schema;

/// Maps what is read from a segment to the output of a scan.
pub(crate) struct Output {
    schema: SchemaRef,
    /// For each output column its position among the columns read, or `None` if the segment is older than the column.
    sources: Vec<Option<usize>>,
    /// The columns read, as the segment holds them.
    read: Vec<FieldRef>,
}

impl Output {
    /// `schema` and `columns` are the output's. `present` tells whether the segment has a field.
    pub fn new(schema: SchemaRef, columns: &[Column], present: impl Fn(&str) -> bool) -> Self {
        let mut read: Vec<FieldRef> = Vec::with_capacity(columns.len());
        let sources = storage_schema(columns)
            .fields()
            .iter()
            .map(|field| {
                if !present(field.name()) {
                    return None;
                }
                let known = read.iter().position(|f| f.name() == field.name());
                Some(known.unwrap_or_else(|| {
                    read.push(field.clone());
                    read.len() - 1
                }))
            })
            .collect();
        Self { schema, sources, read }
    }

    /// What to read, each column once.
    pub fn read(&self) -> &[FieldRef] {
        &self.read
    }

    /// The output batch of what was read.
    pub fn batch(&self, read: &StructArray) -> Result<RecordBatch, ArrowError> {
        let columns = self
            .sources
            .iter()
            .zip(self.schema.fields())
            .map(|(source, field)| match source.map(|position| read.column(position)) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => cast(column, field.data_type()),
                None => Ok(new_null_array(field.data_type(), read.len())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(read.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}
