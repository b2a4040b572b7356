//! The types clients see. Inside the server text is `Utf8View` and columns may be dictionaries; drivers (JDBC above all)
//! do not all read those, so results go out as plain `Utf8`, `Binary` and lists. Result columns are always declared
//! nullable: whether a plan's column can be NULL is an inference that may differ between prepare and run, and drivers
//! refuse a stream whose schema is not exactly the advertised one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;

use super::error::Error;

/// The most bytes of one view column that go into one message: `Utf8` offsets are 32 bits wide, and clients bound the
/// size of a message.
const MAX_COLUMN_BYTES: usize = 8 << 20;

/// The schema that a result with `schema` is sent with.
pub(crate) fn result_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|f| wire_field(f).as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}

/// The schema that a table is described with: types as in results, NULL-ability as declared.
pub(crate) fn table_schema(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(wire_field).collect::<Vec<_>>())
}

fn wire_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(wire_type(field.data_type())))
}

fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => wire_type(values),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        DataType::List(f) | DataType::ListView(f) => DataType::List(wire_field(f)),
        DataType::LargeList(f) | DataType::LargeListView(f) => DataType::LargeList(wire_field(f)),
        DataType::FixedSizeList(f, n) => DataType::FixedSizeList(wire_field(f), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(wire_field(entries), *sorted),
        other => other.clone(),
    }
}

/// Brings a batch to the advertised schema, in pieces that fit into messages.
pub(crate) fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<Vec<RecordBatch>, Error> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::ResultChanged(format!(
            "{} columns instead of {}",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let mut pieces = Vec::with_capacity(1);
    convert(batch, schema, &mut pieces)?;
    Ok(pieces)
}

fn convert(batch: &RecordBatch, schema: &SchemaRef, pieces: &mut Vec<RecordBatch>) -> Result<(), Error> {
    let rows = batch.num_rows();
    if rows > 1 && batch.columns().iter().any(|column| view_bytes(column) > MAX_COLUMN_BYTES) {
        convert(&batch.slice(0, rows / 2), schema, pieces)?;
        return convert(&batch.slice(rows / 2, rows - rows / 2), schema, pieces);
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            let changed = |why: &str| {
                let (name, found, told) = (field.name(), column.data_type(), field.data_type());
                Error::ResultChanged(format!("column `{name}` is {found} instead of {told}{why}"))
            };
            if !keeps_values(column.data_type(), field.data_type()) {
                return Err(changed(""));
            }
            cast(column, field.data_type()).map_err(|e| changed(&format!(": {e}")))
        })
        .collect::<Result<Vec<ArrayRef>, Error>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    pieces.push(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?);
    Ok(())
}

/// Whether every value of one type is a value of the other.
fn keeps_values(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, LargeUtf8, Null, Utf8};
    let from = wire_type(from);
    from.equals_datatype(to)
        || match (&from, to) {
            (Null, _) | (LargeUtf8, Utf8) | (Float32, Float64) => true,
            (Decimal128(p, s), Decimal128(q, t)) => s == t && p <= q,
            (from, to) if from.is_integer() && to.is_integer() => {
                let signed = from.is_signed_integer() == to.is_signed_integer();
                from.primitive_width() < to.primitive_width() && (signed || to.is_signed_integer())
            }
            _ => false,
        }
}

fn view_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_bytes_len(),
        DataType::BinaryView => column.as_binary_view().total_bytes_len(),
        _ => 0,
    }
}

/// The bytes of a schema as Flight SQL messages carry it.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes, Error> {
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &arrow::ipc::writer::IpcWriteOptions::default()).try_into()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int32Array, ListBuilder, StringArray, StringViewArray, StringViewBuilder};
    use arrow::datatypes::Int32Type;

    #[test]
    fn views_and_dictionaries_leave_as_plain_arrays() {
        let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None].into_iter().collect();
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.append_value([Some("p"), None]);
        lists.append_null();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("v", Arc::new(StringViewArray::from(vec!["a", "b"])) as ArrayRef, false),
            ("d", Arc::new(dictionary) as ArrayRef, true),
            ("l", Arc::new(lists.finish()) as ArrayRef, true),
            ("i", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef, false),
        ])
        .unwrap();
        let schema = result_schema(&batch.schema());
        let types: Vec<String> = schema.fields().iter().map(|f| f.data_type().to_string()).collect();
        assert_eq!(types, ["Utf8", "Utf8", "List(Utf8)", "Int32"]);
        assert!(schema.fields().iter().all(|f| f.is_nullable()));
        let sent = to_wire(&batch, &schema).unwrap().pop().unwrap();
        assert_eq!(sent.column(0).as_string::<i32>(), &StringArray::from(vec!["a", "b"]));
        assert_eq!(sent.column(1).as_string::<i32>(), &StringArray::from(vec![Some("x"), None]));
        assert_eq!(sent.column(2).as_list::<i32>().value(0).as_string::<i32>().value(0), "p");
        assert!(sent.column(2).is_null(1));
    }

    #[test]
    fn values_that_the_told_type_cannot_hold_are_an_error() {
        let batch = RecordBatch::try_from_iter([("i", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
        let told = |data_type| Arc::new(Schema::new(vec![Field::new("i", data_type, true)]));
        assert!(to_wire(&batch, &told(DataType::Int64)).is_ok());
        for narrower in [DataType::Int16, DataType::Boolean, DataType::Utf8, DataType::UInt64] {
            let error = to_wire(&batch, &told(narrower)).unwrap_err().to_string();
            assert!(error.contains("column `i` is Int32 instead of"), "{error}");
        }
    }

    #[test]
    fn large_text_is_sent_in_several_batches() {
        let text = "x".repeat(MAX_COLUMN_BYTES / 2);
        let column: ArrayRef = Arc::new(StringViewArray::from(vec![text.as_str(); 5]));
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let pieces = to_wire(&batch, &result_schema(&batch.schema())).unwrap();
        assert!(pieces.len() > 1);
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
    }

    #[test]
    fn a_result_with_other_columns_than_advertised_is_refused() {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let error = to_wire(&batch, &Arc::new(Schema::empty())).unwrap_err().to_string();
        assert!(error.contains("prepare it again"), "{error}");
    }

    #[test]
    fn a_result_without_columns_keeps_its_rows() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
        assert_eq!(to_wire(&batch, &schema).unwrap()[0].num_rows(), 3);
    }
}
