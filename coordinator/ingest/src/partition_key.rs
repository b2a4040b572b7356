//! A row's partition key: the values of the partition columns, or of the partition expressions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use tarn_catalog::model::value::Value;
use tarn_catalog::{PartitionExpr, Partitioning};
use tarn_proto::time::{DAY_MICROS, date_trunc, time_slice};
use tarn_proto::{DataType, TableSchema};

/// The key columns of a batch in declared types: one array for each partition column or expression. Empty without
/// partitions.
pub fn key_columns(partitioning: &Partitioning, schema: &TableSchema, batch: &RecordBatch) -> Vec<ArrayRef> {
    let column = |id| {
        let index = schema.index_of(id).expect("partition columns are columns of the table");
        batch.column(index).clone()
    };
    match partitioning {
        Partitioning::None => Vec::new(),
        Partitioning::Range(columns) | Partitioning::List(columns) => columns.iter().map(|id| column(*id)).collect(),
        Partitioning::Expression(exprs) => exprs
            .iter()
            .map(|expr| match expr {
                PartitionExpr::Column(id) => column(*id),
                PartitionExpr::DateTrunc(unit, id) => map_time(&column(*id), |t| date_trunc(*unit, t)),
                PartitionExpr::TimeSlice(n, unit, id) => map_time(&column(*id), |t| time_slice(*n, *unit, t)),
            })
            .collect(),
    }
}

/// Applies `floor`, in microseconds, to a DATE or DATETIME column.
fn map_time(array: &ArrayRef, floor: impl Fn(i64) -> i64) -> ArrayRef {
    match array.data_type() {
        ArrowType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            let floored: Date32Array = days.unary(|d| floor(i64::from(d) * DAY_MICROS).div_euclid(DAY_MICROS) as i32);
            Arc::new(floored)
        }
        _ => {
            let times: TimestampMicrosecondArray = array.as_primitive::<TimestampMicrosecondType>().unary(floor);
            Arc::new(times)
        }
    }
}

/// The value at `row`. `t` is the column's declared type, which is a key type.
pub fn value_at(array: &ArrayRef, t: &DataType, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match t {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        DataType::TinyInt => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::SmallInt => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::BigInt => Value::Int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::LargeInt | DataType::Decimal(..) => Value::Int(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Date => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::DateTime => Value::DateTime(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Char(_) | DataType::Varchar(_) | DataType::String => {
            Value::Text(array.as_string_view().value(row).to_owned())
        }
        DataType::Float
        | DataType::Double
        | DataType::Varbinary
        | DataType::Json
        | DataType::Array(_)
        | DataType::Map(..)
        | DataType::Struct(_) => unreachable!("partition columns have key types, checked at creation"),
    }
}
