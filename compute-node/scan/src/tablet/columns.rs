//! The columns of a scan's output in one segment.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use tarn_proto::segment::{from_storage, storage_field};
use tarn_proto::{Column, TableSchema};

use super::older::{SegmentColumns, named};
use super::pushdown::map_columns;

/// Maps what is read from a segment to the output of a scan.
pub(crate) struct Output {
    schema: SchemaRef,
    /// The output's columns, then those that only filters need.
    columns: Vec<Column>,
    /// The columns read, as the segment holds them.
    read: Vec<FieldRef>,
    /// Filters over `columns` that are left for decoded rows.
    later: Vec<Arc<dyn PhysicalExpr>>,
}

impl Output {
    /// `output` is the schema of the columns of `schema` at the positions `columns`. Rows must pass the filters `later`,
    /// which are over the table's columns.
    pub fn new(
        output: SchemaRef,
        schema: &TableSchema,
        columns: &[usize],
        later: Vec<Arc<dyn PhysicalExpr>>,
        held: &SegmentColumns,
    ) -> Self {
        let mut positions = columns.to_vec();
        for position in later.iter().flat_map(named) {
            if !positions.contains(&position) {
                positions.push(position);
            }
        }
        let mut read: Vec<FieldRef> = Vec::with_capacity(positions.len());
        for field in positions.iter().filter_map(|position| held.field(*position)) {
            if !read.iter().any(|f| f.name() == field.name()) {
                read.push(Arc::new(field.clone()));
            }
        }
        let within = |filter: Arc<dyn PhysicalExpr>| {
            map_columns(filter, |column| {
                let at = positions.iter().position(|position| *position == column.index())?;
                Some(Arc::new(ColumnExpr::new(column.name(), at)))
            })
            .expect("the columns that filters name are among those read")
        };
        let later = later.into_iter().map(within).collect();
        let columns = positions.iter().map(|position| schema.columns[*position].clone()).collect();
        Self { schema: output, columns, read, later }
    }

    /// What to read, each column once, as the segment's file has it.
    pub fn read(&self) -> &[FieldRef] {
        &self.read
    }

    /// For each column of the output its position among what is read, if rows become batches as they are: without further
    /// filters, and no column is missing or of another type than segments hold it in today.
    pub fn positions(&self) -> Option<Vec<usize>> {
        let position = |column: &Column| {
            let field = storage_field(column);
            let found = |read: &FieldRef| read.name() == field.name() && read.data_type() == field.data_type();
            self.read.iter().position(found)
        };
        let positions = self.columns[..self.schema.fields().len()].iter().map(position).collect::<Option<_>>()?;
        self.later.is_empty().then_some(positions)
    }

    /// The declared types of the output's columns.
    pub fn types(&self) -> Vec<DataType> {
        self.schema.fields().iter().map(|field| field.data_type().clone()).collect()
    }

    /// The output batch of what was read: of the rows that pass the filters which Vortex could not evaluate.
    pub fn batch(&self, read: &StructArray) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(read.len()));
        let fields = Schema::new(self.read.clone());
        let stored = RecordBatch::try_new_with_options(Arc::new(fields), read.columns().to_vec(), &options)?;
        let mut declared = from_storage(&self.columns, &stored)?;
        for filter in &self.later {
            let passed = filter.evaluate(&declared)?.into_array(declared.num_rows())?;
            declared = filter_record_batch(&declared, passed.as_boolean())?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(declared.num_rows()));
        let columns = declared.columns()[..self.schema.fields().len()].to_vec();
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}
