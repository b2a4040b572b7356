//! One segment, seen through the schema of a query.
//!
//! A segment that was written under another schema may lack columns that were added since, and hold others in a narrower
//! type than they have now. What it lacks is filled in, what is narrower is cast when it is read. Filters on such columns
//! are not for Vortex, which would compare what is stored: one whose columns are all missing is decided once for the
//! segment, the others are evaluated on what was decoded.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as ColumnExpr, Literal};
use tarn_proto::segment::{field_name, initial, storage_field};
use tarn_proto::{SchemaVersion, TableSchema, TabletId};
use vortex::dtype::{DType, PType};
use vortex::expr::Expression;

use super::columns::Output;
use super::pushdown::{self, Current, is_dynamic, map_columns};
use crate::context::ScanContext;
use crate::error::Error;

/// How a segment holds a column of the table.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    /// As this field, of the type that segments have for the column today.
    AsToday(Field),
    /// As this field, of another type, which is cast when it is read.
    Otherwise(Field),
    /// It is older than the column.
    Missing,
}

/// How a segment holds the columns of the table, by their positions there.
#[derive(Clone, Debug)]
pub(crate) struct SegmentColumns(Vec<Held>);

/// What a filter in Vortex may say of a column.
pub(crate) enum Comparable {
    /// The field itself.
    Field,
    /// That it is NULL.
    Null,
    /// Nothing.
    No,
}

impl SegmentColumns {
    /// Of a segment whose file has this type.
    pub fn of(schema: &TableSchema, dtype: &DType) -> Self {
        let fields = dtype.as_struct_fields_opt();
        Self(
            schema
                .columns
                .iter()
                .map(|column| {
                    let today = storage_field(column);
                    let Some(stored) = fields.and_then(|fields| fields.field(field_name(column.id))) else {
                        return Held::Missing;
                    };
                    let field = today.clone().with_nullable(stored.is_nullable());
                    match plain_type(&stored) {
                        Some(other) if other != *today.data_type() => Held::Otherwise(field.with_data_type(other)),
                        _ => Held::AsToday(field),
                    }
                })
                .collect(),
        )
    }

    /// Of a segment that is written today.
    pub fn today(schema: &TableSchema) -> Self {
        Self(schema.columns.iter().map(|column| Held::AsToday(storage_field(column))).collect())
    }

    /// The field to read for the column at this position, as the file has it.
    pub fn field(&self, position: usize) -> Option<&Field> {
        match self.0.get(position)? {
            Held::AsToday(field) | Held::Otherwise(field) => Some(field),
            Held::Missing => None,
        }
    }

    /// What a filter in Vortex may say of the column at this position of `schema`.
    pub fn comparable(&self, schema: &TableSchema, position: usize) -> Comparable {
        match self.0.get(position) {
            Some(Held::AsToday(_)) => Comparable::Field,
            Some(Held::Missing) if schema.columns.get(position).is_some_and(|c| c.initial.is_none()) => {
                Comparable::Null
            }
            _ => Comparable::No,
        }
    }

    /// Whether a filter holds for every row or for none, if the segment lacks all columns that it names.
    fn decided(&self, schema: &TableSchema, filter: &Arc<dyn PhysicalExpr>) -> Result<Option<bool>> {
        let constant = |column: &ColumnExpr| {
            let position = column.index();
            let missing = self.0.get(position) == Some(&Held::Missing);
            let value = missing.then(|| initial(&schema.columns[position], 1).ok())??;
            let value = ScalarValue::try_from_array(&value, 0).ok()?;
            Some(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>)
        };
        let Some(filter) = map_columns(filter.clone(), constant) else { return Ok(None) };
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one_row)?;
        let holds = filter.evaluate(&row)?.into_array(1)?;
        let holds = holds.as_boolean();
        Ok(Some(holds.is_valid(0) && holds.value(0)))
    }
}

/// The arrow type of a number in a file; `None` for what is no number, whose type never changes.
fn plain_type(dtype: &DType) -> Option<DataType> {
    match dtype {
        DType::Primitive(PType::I8, _) => Some(DataType::Int8),
        DType::Primitive(PType::I16, _) => Some(DataType::Int16),
        DType::Primitive(PType::I32, _) => Some(DataType::Int32),
        DType::Primitive(PType::I64, _) => Some(DataType::Int64),
        DType::Primitive(PType::F32, _) => Some(DataType::Float32),
        DType::Primitive(PType::F64, _) => Some(DataType::Float64),
        DType::Decimal(decimal, _) => Some(DataType::Decimal128(decimal.precision(), decimal.scale())),
        _ => None,
    }
}

/// How some columns of a segment are read, of the rows that pass the filters that do not change while the query runs.
pub(crate) struct SegmentRead {
    columns: SegmentColumns,
    /// What Vortex evaluates of the filters.
    pub native: Vec<Expression>,
    /// Whether no row of the segment passes.
    pub nothing: bool,
    /// What is read, and what becomes of it.
    pub output: Output,
}

impl SegmentRead {
    /// Of a segment whose file has the type `dtype`. `output` is the schema of the table's columns at the positions
    /// `columns`; `filters` refer to the table's columns by position.
    pub fn new(
        context: &ScanContext,
        schema: &TableSchema,
        columns: &[usize],
        output: SchemaRef,
        filters: &[Arc<dyn PhysicalExpr>],
        dtype: &DType,
    ) -> Result<Self> {
        let held = SegmentColumns::of(schema, dtype);
        let (mut native, mut later, mut nothing) = (Vec::new(), Vec::new(), false);
        for filter in filters.iter().filter(|filter| !is_dynamic(filter)) {
            match held.decided(schema, filter)? {
                Some(holds) => nothing |= !holds,
                None => match pushdown::native(context, schema, filter, &held) {
                    Some(filter) => native.push(filter),
                    None => later.push(filter.clone()),
                },
            }
        }
        let output = Output::new(output, schema, columns, later, &held);
        Ok(Self { columns: held, native, nothing, output })
    }

    /// What a filter that changes while the query runs says now of this segment.
    pub fn current(
        &self,
        context: &ScanContext,
        schema: &TableSchema,
        filter: &Arc<dyn PhysicalExpr>,
    ) -> Result<Current> {
        pushdown::current(context, schema, filter, &self.columns)
    }
}

/// Refuses a segment that lacks a column which the query wants because it was written after the column was dropped:
/// compaction writes under the newest schema. Nobody can tell any more what the column held.
pub(crate) fn check_dropped(
    schema: &TableSchema,
    columns: &[usize],
    filters: &[Arc<dyn PhysicalExpr>],
    written: SchemaVersion,
    dtype: &DType,
    tablet: TabletId,
) -> Result<(), Error> {
    if written <= schema.version {
        return Ok(());
    }
    let held = SegmentColumns::of(schema, dtype);
    let wanted = columns.iter().copied().chain(filters.iter().flat_map(named));
    match wanted.into_iter().find(|position| held.field(*position).is_none()) {
        Some(position) => Err(Error::Dropped { column: schema.columns[position].name.clone(), tablet }),
        None => Ok(()),
    }
}

/// Positions of the columns that an expression names.
pub(crate) fn named(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    let mut positions = Vec::new();
    let _ = expr.apply(|node| {
        if let Some(column) = node.downcast_ref::<ColumnExpr>()
            && !positions.contains(&column.index())
        {
            positions.push(column.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    positions
}
