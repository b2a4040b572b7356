//! How a table's rows look inside a segment file, for the side that writes segments and the side that scans them.
//!
//! A segment is a Vortex file whose root is a struct with one field per column of the table's schema at the time of
//! writing, in declared order and with the declared nullability. Three things differ from the table:
//!
//! - **a field is named by its column's id** (`c7`), never by the column's name, so that renaming a column touches no
//!   data;
//! - **a map is the list of its entries** ([`storage_type`]), wherever it is nested;
//! - **a DATETIME is the integer of its microseconds**, wherever it is nested: the format's own timestamps end before the
//!   year 9999 does.
//!
//! All other declared arrow types (views, `Decimal128`, dates, lists, structs) are stored as they are and come back when
//! the scan asks for them. [`from_storage`] undoes all three, casts what was read in another encoding (a dictionary, say)
//! or was written in a narrower type to the declared type, and fills columns that were added after the segment was written
//! with what they began with. [`upgrade`] brings a segment of any age to what one of today holds, and [`Conversion`] to what
//! one holds whose columns have other types or keys.

mod convert;
mod older;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::cast_with_options;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

pub use convert::{Conversion, ConversionError, Misfit, converts, keeps_apart, keeps_order, same_form};
pub use older::{initial, upgrade, widened_initial, widens};

use crate::{Column, ColumnId};

/// The name of a column's field in segments.
pub fn field_name(id: ColumnId) -> String {
    id.to_string()
}

/// The arrow schema of segments with these columns.
pub fn storage_schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(storage_field).collect::<Vec<_>>()))
}

/// A column as segments hold it.
pub fn storage_field(column: &Column) -> Field {
    Field::new(field_name(column.id), storage_type(&column.data_type.to_arrow()), column.nullable)
}

/// The arrow type that segments hold for a declared column's arrow type.
pub fn storage_type(declared: &DataType) -> DataType {
    let stored = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(storage_type(field.data_type())));
    match declared {
        DataType::Map(entries, _) => DataType::List(stored(entries)),
        DataType::List(item) => DataType::List(stored(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored).collect()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => DataType::Int64,
        other => other.clone(),
    }
}

/// Turns an array of a declared type into the stored one, or back: they differ in maps and in times, whose microseconds
/// are the integers as they are. Anything else is cast, and fails where a value does not fit.
fn convert(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    match (array.data_type(), wanted) {
        (DataType::Map(..), DataType::List(item)) => {
            let map = array.as_map();
            let entries = convert(&(Arc::new(map.entries().clone()) as ArrayRef), item.data_type())?;
            Ok(Arc::new(ListArray::try_new(item.clone(), map.offsets().clone(), entries, map.nulls().cloned())?))
        }
        (DataType::List(_), DataType::Map(entries, sorted)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), entries.data_type())?.as_struct().clone();
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *sorted)?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), item.data_type())?;
            Ok(Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let structs = array.as_struct();
            let columns = structs
                .columns()
                .iter()
                .zip(fields)
                .map(|(column, field)| convert(column, field.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, structs.nulls().cloned())?))
        }
        _ => cast_with_options(array, wanted, &older::STRICT),
    }
}

/// Turns a batch of the table's columns, in declared order, into what a segment holds. `stored` is the
/// [`storage_schema`] of `columns`.
///
/// Fails, naming the column, if a column is missing, has another type than declared or holds NULL against its
/// declaration.
pub fn to_storage(columns: &[Column], stored: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if batch.num_columns() != columns.len() {
        return Err(ArrowError::SchemaError(format!(
            "the table has {} columns, the batch has {}",
            columns.len(),
            batch.num_columns()
        )));
    }
    let mut arrays = Vec::with_capacity(columns.len());
    for ((column, field), array) in columns.iter().zip(stored.fields()).zip(batch.columns()) {
        let declared = column.data_type.to_arrow();
        if array.data_type() != &declared {
            return Err(ArrowError::SchemaError(format!(
                "column `{}` is declared {} ({declared}), the batch holds {}",
                column.name,
                column.data_type,
                array.data_type()
            )));
        }
        if !column.nullable && array.null_count() > 0 {
            return Err(ArrowError::InvalidArgumentError(format!(
                "column `{}` is NOT NULL, the batch holds NULL",
                column.name
            )));
        }
        arrays.push(convert(array, field.data_type())?);
    }
    rebuilt(stored.clone(), arrays, batch.num_rows())
}

/// Turns a batch read from a segment into the table's `columns` (all of them or those a query wants, in any order), with
/// their present names and declared types. Columns that the segment does not hold read what they began with.
pub fn from_storage(columns: &[Column], batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(columns.len());
    let mut arrays = Vec::with_capacity(columns.len());
    for column in columns {
        let field = column.to_arrow();
        arrays.push(older::present(column, field.data_type(), batch)?);
        fields.push(field);
    }
    rebuilt(Arc::new(Schema::new(fields)), arrays, batch.num_rows())
}

fn rebuilt(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new_with_options(schema, columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Int32Array, Int32Builder, Int64Array, MapBuilder, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{DataType as ArrowType, Int64Type};

    use super::*;
    use crate::time::{FIRST_MICROS, LAST_MICROS};
    use crate::types::DataType;

    fn column(id: u32, name: &str, data_type: DataType, nullable: bool) -> Column {
        Column { id: ColumnId(id), name: name.to_owned(), data_type, nullable, aggregation: None, initial: None }
    }

    fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> RecordBatch {
        let fields: Vec<Field> =
            columns.iter().zip(&arrays).map(|(c, a)| Field::new(&c.name, a.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }

    #[test]
    fn renamed_and_added_columns_read_back() {
        let old = [column(7, "a", DataType::Int, false), column(9, "b", DataType::String, true)];
        let rows =
            batch(&old, vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(StringViewArray::from(vec!["x", "y"]))]);
        let stored = to_storage(&old, &storage_schema(&old), &rows).unwrap();
        assert_eq!(stored.schema().field(0).name(), "c7");

        let new = [
            column(9, "renamed", DataType::String, true),
            column(12, "added", DataType::Double, true),
            column(7, "a", DataType::Int, false),
        ];
        let back = from_storage(&new, &stored).unwrap();
        assert_eq!(back.schema().field(0).name(), "renamed");
        assert_eq!(back.column(0), rows.column(1));
        assert_eq!(back.column(1).null_count(), 2);
        assert_eq!(back.column(2), rows.column(0));
    }

    #[test]
    fn maps_are_stored_as_lists_of_entries() {
        let map = DataType::Map(Box::new(DataType::String), Box::new(DataType::Int));
        let columns = [
            column(1, "m", map.clone(), true),
            column(2, "s", DataType::Struct(vec![("inner".to_owned(), map.clone())]), true),
        ];
        let mut builder = MapBuilder::new(None, StringViewBuilder::new(), Int32Builder::new());
        for row in [Some(2), None, Some(0)] {
            for i in 0..row.unwrap_or(0) {
                builder.keys().append_value(format!("key {i} of a good length"));
                builder.values().append_option((i > 0).then_some(i));
            }
            builder.append(row.is_some()).unwrap();
        }
        let ArrowType::Map(entries, _) = map.to_arrow() else { panic!("not a map") };
        let built = builder.finish();
        let ArrowType::Struct(fields) = entries.data_type().clone() else { panic!("not a struct") };
        let values = StructArray::new(fields, built.entries().columns().to_vec(), None);
        let map: ArrayRef =
            Arc::new(MapArray::new(entries, built.offsets().clone(), values, built.nulls().cloned(), false));
        let inner = match columns[1].data_type.to_arrow() {
            ArrowType::Struct(fields) => StructArray::new(fields, vec![map.clone()], None),
            other => panic!("{other}"),
        };
        let rows = batch(&columns, vec![map, Arc::new(inner)]);
        let stored = to_storage(&columns, &storage_schema(&columns), &rows).unwrap();
        assert!(matches!(stored.column(0).data_type(), ArrowType::List(_)));
        let back = from_storage(&columns, &stored).unwrap();
        assert_eq!(back.columns(), rows.columns());
    }

    #[test]
    fn times_are_stored_as_integers_wherever_they_are() {
        let columns = [
            column(1, "at", DataType::DateTime, true),
            column(2, "list", DataType::Array(Box::new(DataType::DateTime)), true),
            column(3, "map", DataType::Map(Box::new(DataType::DateTime), Box::new(DataType::DateTime)), true),
        ];
        let times = || TimestampMicrosecondArray::from(vec![Some(LAST_MICROS), None, Some(FIRST_MICROS)]);
        let keys = TimestampMicrosecondArray::from(vec![LAST_MICROS, 0, FIRST_MICROS]);
        let offsets = || OffsetBuffer::from_lengths([2, 0, 1]);
        let ArrowType::List(item) = columns[1].data_type.to_arrow() else { panic!("not a list") };
        let ArrowType::Map(entries, _) = columns[2].data_type.to_arrow() else { panic!("not a map") };
        let ArrowType::Struct(fields) = entries.data_type().clone() else { panic!("not a struct") };
        let values = StructArray::new(fields, vec![Arc::new(keys), Arc::new(times())], None);
        let rows = batch(
            &columns,
            vec![
                Arc::new(times()),
                Arc::new(ListArray::new(item, offsets(), Arc::new(times()), None)),
                Arc::new(MapArray::new(entries, offsets(), values, None, false)),
            ],
        );
        let stored = to_storage(&columns, &storage_schema(&columns), &rows).unwrap();
        assert_eq!(stored.column(0).as_primitive::<Int64Type>().value(0), LAST_MICROS);
        assert!(!format!("{}", stored.schema()).contains("Timestamp"));
        assert_eq!(from_storage(&columns, &stored).unwrap().columns(), rows.columns());
    }

    #[test]
    fn wrong_batches_are_refused_by_column() {
        let columns = [column(1, "amount", DataType::Int, false)];
        let stored = storage_schema(&columns);
        let refusal = |array: ArrayRef| to_storage(&columns, &stored, &batch(&columns, vec![array])).unwrap_err();
        let wrong_type = refusal(Arc::new(Int64Array::from(vec![1]))).to_string();
        assert!(wrong_type.contains("`amount`") && wrong_type.contains("Int64"), "{wrong_type}");
        let null = refusal(Arc::new(Int32Array::from(vec![Some(1), None]))).to_string();
        assert!(null.contains("`amount`") && null.contains("NOT NULL"), "{null}");
    }
}
