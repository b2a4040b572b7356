//! Values for columns that nobody will read: of a row that deletes a key, only the key counts. Pure.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, MapArray, StructArray, new_empty_array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType as ArrowType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use tarn_proto::{Column, DataType};

/// A value that the column takes: NULL if it may be, else something of its type.
pub(super) fn filler(column: &Column) -> Result<ScalarValue> {
    match &column.data_type {
        _ if column.nullable => Ok(ScalarValue::Null),
        DataType::Json => Ok(ScalarValue::Utf8View(Some("null".to_owned()))),
        other => ScalarValue::try_from_array(&one(&other.to_arrow())?, 0),
    }
}

/// An array of one value that is not NULL.
fn one(data_type: &ArrowType) -> Result<ArrayRef> {
    let nothing = || OffsetBuffer::from_lengths([0]);
    Ok(match data_type {
        ArrowType::List(item) => {
            Arc::new(ListArray::try_new(item.clone(), nothing(), new_empty_array(item.data_type()), None)?)
        }
        ArrowType::Map(entries, sorted) => {
            let none = new_empty_array(entries.data_type()).as_struct().clone();
            Arc::new(MapArray::try_new(entries.clone(), nothing(), none, None, *sorted)?)
        }
        ArrowType::Struct(fields) => {
            let values = fields.iter().map(|field| match field.is_nullable() {
                true => Ok(new_null_array(field.data_type(), 1)),
                false => one(field.data_type()),
            });
            Arc::new(StructArray::try_new(fields.clone(), values.collect::<Result<_>>()?, None)?)
        }
        other => ScalarValue::new_default(other)?.to_array()?,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::datatypes::{Field, Schema};
    use tarn_ingest::coerce::coerce;
    use tarn_proto::{ColumnId, SchemaVersion, TableModel, TableSchema};

    use super::*;

    #[test]
    fn every_type_has_a_value_that_its_column_takes() {
        let types = [
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "largeint",
            "float",
            "double",
            "decimal(38,2)",
            "char(3)",
            "varchar(3)",
            "string",
            "varbinary",
            "date",
            "datetime",
            "json",
            "array<json>",
            "map<int,array<string>>",
            "struct<`a` int,`b` json>",
            "array<map<string,struct<`x` date>>>",
        ];
        for (text, nullable) in types.into_iter().flat_map(|t| [(t, true), (t, false)]) {
            let column = Column {
                id: ColumnId(1),
                name: "c".to_owned(),
                data_type: text.parse().unwrap(),
                nullable,
                aggregation: None,
                initial: None,
            };
            let array = filler(&column).unwrap().to_array_of_size(3).unwrap();
            assert_eq!((array.len(), array.logical_null_count()), (3, if nullable { 3 } else { 0 }), "{text}");
            let schema = TableSchema {
                version: SchemaVersion(1),
                model: TableModel::PrimaryKey,
                columns: vec![column],
                keys: vec![],
                sort_key: vec![],
                indexes: Vec::new(),
            };
            let source = Schema::new(vec![Field::new("c", array.data_type().clone(), true)]);
            let batch = RecordBatch::try_new(Arc::new(source), vec![array]).unwrap();
            assert_eq!(coerce(&batch, &schema, 1).unwrap().num_rows(), 3, "{text}");
        }
    }
}
