//! The rows of a load on their way into a memtable.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use arrow::error::ArrowError;
use tarn_proto::segment::{Conversion, ConversionError};
use tarn_proto::{TableModel, TabletId, schema, segment};

use super::Load;
use crate::tablet::{Shape, Tablet};
use crate::{Error, Result};

/// Rows as memtables hold them: as segments do, and in a PRIMARY KEY table with what each row does ([`schema::OP`]) as the
/// last column, whether the batch says so or not. Where rows count under a condition none may delete.
pub(super) fn stored(
    shape: &Shape,
    rows: &RecordBatch,
    conditional: bool,
) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = &shape.schema.columns;
    if shape.schema.model != TableModel::PrimaryKey {
        return segment::to_storage(columns, &shape.stored, rows);
    }
    let last = rows.schema_ref().fields().last();
    let operations = last.is_some_and(|field| field.name() == schema::OP).then(|| rows.num_columns() - 1);
    let operation: ArrayRef = match operations {
        Some(position) => rows.column(position).clone(),
        None => Arc::new(Int8Array::from_value(schema::OP_UPSERT, rows.num_rows())),
    };
    let known = operation.as_primitive_opt::<Int8Type>().is_some_and(|numbers| {
        numbers.null_count() == 0 && numbers.values().iter().all(|n| [schema::OP_UPSERT, schema::OP_DELETE].contains(n))
    });
    if !known {
        return Err(ArrowError::InvalidArgumentError(format!(
            "column `{}` must be {} or {} in every row",
            schema::OP,
            schema::OP_UPSERT,
            schema::OP_DELETE
        )));
    }
    if conditional && operation.as_primitive::<Int8Type>().values().contains(&schema::OP_DELETE) {
        return Err(ArrowError::InvalidArgumentError(format!(
            "a load with a merge condition cannot delete: leave column `{}` out, and delete by a load without a condition",
            schema::OP
        )));
    }
    let values = rows.project(&(0..operations.unwrap_or(rows.num_columns())).collect::<Vec<_>>())?;
    let values = segment::to_storage(columns, &shape.stored, &values)?;
    let (stored, mut arrays, _) = values.into_parts();
    let fields = stored.fields().iter().cloned().chain([Arc::new(Field::new(schema::OP, DataType::Int8, false))]);
    arrays.push(operation);
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays)
}

impl Load {
    /// What the load's rows look like in a tablet. That of a tablet whose rows have been written anew since the load was
    /// planned takes them as its own are.
    pub(super) fn shape_in(&self, tablet: &Tablet) -> Result<Arc<Shape>> {
        let newest = tablet.shape();
        if newest.schema.version <= self.shape.schema.version {
            tablet.check_form(&self.shape.schema)?;
            return Ok(self.shape.clone());
        }
        if segment::same_form(&self.shape.schema, &newest.schema) {
            return Ok(self.shape.clone());
        }
        match self.change {
            Some(_) => Err(Error::Unconvertible { tablet: tablet.id, txn: self.attempt.txn }),
            None => Ok(newest),
        }
    }

    /// Rows of the load as they are to look in a tablet.
    pub(super) fn converted(&self, tablet: TabletId, target: &Shape, rows: RecordBatch) -> Result<RecordBatch> {
        if target.schema.version == self.shape.schema.version {
            return Ok(rows);
        }
        let converted = Conversion::new(&self.shape.schema, &target.schema).apply(&rows);
        converted.map_err(|error| match error {
            ConversionError::Misfit(misfit) => Error::Misfit { tablet, misfit },
            ConversionError::Arrow(source) => Error::Rows { tablet, source },
        })
    }
}
