//! What coercion takes and what it names.

use std::sync::Arc;

use arrow::array::{
    AsArray, Date32Array, Int64Array, ListBuilder, MapBuilder, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};
use tarn_proto::time::{FIRST_DAY, FIRST_MICROS, LAST_DAY, LAST_MICROS};
use tarn_proto::{ColumnId, SchemaVersion, TableModel};

use super::*;

fn one(data_type: DataType, nullable: bool, array: ArrayRef) -> Result<RecordBatch, Error> {
    let schema = TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: vec![Column {
            id: ColumnId(1),
            name: "c".into(),
            data_type,
            nullable,
            aggregation: None,
            initial: None,
        }],
        sort_key: vec![],
        indexes: Vec::new(),
    };
    let source = Schema::new(vec![Field::new("x", array.data_type().clone(), true)]);
    coerce(&RecordBatch::try_new(Arc::new(source), vec![array]).unwrap(), &schema, 11)
}

#[test]
fn the_first_value_out_of_range_is_named() {
    let error = one(DataType::TinyInt, true, Arc::new(Int64Array::from(vec![1, 127, 128, 300]))).unwrap_err();
    assert_eq!(error.to_string(), "row 13, column `c`: value `128` is not a value of tinyint");
}

#[test]
fn text_that_is_no_number_is_named() {
    let error = one(DataType::Int, true, Arc::new(StringArray::from(vec![None, Some("x1")]))).unwrap_err();
    assert_eq!(error.to_string(), "row 12, column `c`: value `x1` is not a value of int");
}

#[test]
fn null_in_a_not_null_column_is_refused() {
    let error = one(DataType::BigInt, false, Arc::new(Int64Array::from(vec![Some(1), None]))).unwrap_err();
    assert_eq!(error.to_string(), "row 12, column `c`: value NULL is not allowed: the column is NOT NULL");
}

#[test]
fn text_is_measured_in_bytes() {
    assert!(one(DataType::Varchar(3), true, Arc::new(StringArray::from(vec!["abc"]))).is_ok());
    let error = one(DataType::Varchar(3), true, Arc::new(StringArray::from(vec!["ab", "äöü"]))).unwrap_err();
    assert_eq!(error.to_string(), "row 12, column `c`: value `äöü` has 6 bytes, more than varchar(3) holds");
}

#[test]
fn values_inside_a_list_are_checked() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("1"), None]);
    lists.append_value([Some("x")]);
    let error = one(DataType::Array(Box::new(DataType::Int)), true, Arc::new(lists.finish())).unwrap_err();
    assert_eq!(error.to_string(), "row 12, column `c`: value `[x]` is not a value of array<int>");
}

#[test]
fn a_number_is_a_date_by_its_digits() {
    let batch = one(DataType::Date, true, Arc::new(Int64Array::from(vec![20_240_229]))).unwrap();
    let text = ArrayFormatter::try_new(batch.column(0), &FormatOptions::default()).unwrap().value(0).to_string();
    assert_eq!(text, "2024-02-29");
    let error = one(DataType::Date, true, Arc::new(Int64Array::from(vec![20_240_230]))).unwrap_err();
    assert_eq!(error.to_string(), "row 11, column `c`: value `20240230` is not a value of date");
}

#[test]
fn decimals_are_bounded_by_their_precision() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["99.99", "100.00"]));
    let error = one(DataType::Decimal(4, 2), true, array).unwrap_err();
    assert!(error.to_string().starts_with("row 12, column `c`: value `100.00` is"), "{error}");
}

#[test]
fn text_inside_nested_values_is_measured() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("abc"), None]);
    lists.append_null();
    lists.append_value([Some("x"), Some("abcd")]);
    let lists: ArrayRef = Arc::new(lists.finish());
    let list = DataType::Array(Box::new(DataType::Varchar(3)));
    assert!(one(list.clone(), true, lists.slice(0, 2)).is_ok());
    let long = "value `[x, abcd]` holds `abcd`, which has 4 bytes, more than varchar(3) holds";
    let error = one(list.clone(), true, lists.clone()).unwrap_err();
    assert_eq!(error.to_string(), format!("row 13, column `c`: {long}"));
    let error = one(list.clone(), true, lists.slice(2, 1)).unwrap_err();
    assert_eq!(error.to_string(), format!("row 11, column `c`: {long}"));

    let field = Field::new("tags", lists.data_type().clone(), true);
    let structs = StructArray::new(vec![field].into(), vec![lists], None);
    let deep = DataType::Struct(vec![("tags".to_owned(), list)]);
    let error = one(deep, true, Arc::new(structs)).unwrap_err().to_string();
    assert!(error.starts_with("row 13, column `c`: ") && error.contains("`abcd`, which has 4 bytes"), "{error}");
}

#[test]
fn keys_and_values_of_maps_are_measured() {
    let map = |keys: [&str; 2], values: [&str; 2]| -> ArrayRef {
        let (keys, values) = (StringBuilder::new(), (keys, values));
        let mut maps = MapBuilder::new(None, keys, StringBuilder::new());
        for (key, value) in values.0.into_iter().zip(values.1) {
            maps.keys().append_value(key);
            maps.values().append_value(value);
            maps.append(true).unwrap();
        }
        Arc::new(maps.finish())
    };
    let wanted = DataType::Map(Box::new(DataType::Varchar(2)), Box::new(DataType::Decimal(4, 2)));
    assert!(one(wanted.clone(), true, map(["a", "b"], ["99.99", "1"])).is_ok());
    let error = one(wanted.clone(), true, map(["a", "abc"], ["1", "2"])).unwrap_err().to_string();
    assert!(error.starts_with("row 12,") && error.contains("`abc`, which has 3 bytes"), "{error}");
    let error = one(wanted, true, map(["a", "b"], ["1", "100"])).unwrap_err().to_string();
    assert!(error.starts_with("row 12,"), "{error}");
}

#[test]
fn what_is_under_null_does_not_count() {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["toolong", "ok"]));
    let fields = vec![Field::new("x", values.data_type().clone(), true)];
    let structs = StructArray::new(fields.into(), vec![values], Some(vec![false, true].into()));
    let wanted = DataType::Struct(vec![("x".to_owned(), DataType::Varchar(2))]);
    assert_eq!(one(wanted, true, Arc::new(structs)).unwrap().column(0).null_count(), 1);
}

#[test]
fn text_that_is_no_json_is_named_and_other_text_is_kept() {
    let texts = [r#"{"b": [1,  2.0], "a": null}"#, "3", "\"x\""];
    let batch = one(DataType::Json, true, Arc::new(StringArray::from(texts.to_vec()))).unwrap();
    assert_eq!(batch.column(0).as_string_view().iter().flatten().collect::<Vec<_>>(), texts);
    let bad: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None, Some("{bad")]));
    let error = one(DataType::Json, true, bad).unwrap_err();
    let expected = "row 13, column `c`: value `{bad` is not JSON: key must be a string at line 1 column 2";
    assert_eq!(error.to_string(), expected);
    for bad in ["", "{} x", "[1,]", "nul"] {
        assert!(one(DataType::Json, true, Arc::new(StringArray::from(vec![bad]))).is_err(), "{bad}");
    }
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value([Some("{}"), Some("[")]);
    let error = one(DataType::Array(Box::new(DataType::Json)), true, Arc::new(lists.finish())).unwrap_err();
    assert!(error.to_string().contains("holds `[`, which is not JSON: "), "{error}");
}

#[test]
fn a_long_value_is_cut_in_its_error() {
    let long = "ä".repeat(5000);
    let error = one(DataType::Varchar(3), true, Arc::new(StringArray::from(vec![long]))).unwrap_err().to_string();
    assert!(error.len() < 600 && error.contains("ä..` has 10000 bytes"), "{error}");
}

#[test]
fn dates_end_with_the_year_9999() {
    let days: ArrayRef = Arc::new(Date32Array::from(vec![FIRST_DAY, LAST_DAY]));
    assert!(one(DataType::Date, true, days).is_ok());
    let error = one(DataType::Date, true, Arc::new(Date32Array::from(vec![0, LAST_DAY + 1]))).unwrap_err().to_string();
    assert!(error.starts_with("row 12, column `c`: ") && error.ends_with(" is out of the range of date"), "{error}");

    let texts: ArrayRef = Arc::new(StringArray::from(vec!["0000-01-01", "9999-12-31 23:59:59.999999"]));
    let batch = one(DataType::DateTime, true, texts).unwrap();
    let micros: &[i64] = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
    assert_eq!(micros, [FIRST_MICROS, LAST_MICROS]);
    for out in [FIRST_MICROS - 1, LAST_MICROS + 1] {
        let error = one(DataType::DateTime, true, Arc::new(TimestampMicrosecondArray::from(vec![out]))).unwrap_err();
        assert!(error.to_string().ends_with(" is out of the range of datetime"), "{error}");
    }
}

fn with_op(op: ArrayRef) -> Result<RecordBatch, Error> {
    let schema = TableSchema {
        model: TableModel::PrimaryKey,
        keys: vec![ColumnId(1)],
        version: SchemaVersion(1),
        columns: vec![Column {
            id: ColumnId(1),
            name: "k".into(),
            data_type: DataType::Int,
            nullable: false,
            aggregation: None,
            initial: None,
        }],
        sort_key: vec![ColumnId(1)],
        indexes: Vec::new(),
    };
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..op.len() as i64));
    let source = Schema::new(vec![
        Field::new("k", keys.data_type().clone(), true),
        Field::new("__op", op.data_type().clone(), true),
    ]);
    coerce(&RecordBatch::try_new(Arc::new(source), vec![keys, op]).unwrap(), &schema, 11)
}

#[test]
fn what_becomes_of_keys_is_kept_as_the_last_column() {
    for op in [Arc::new(Int64Array::from(vec![0, 1])) as ArrayRef, Arc::new(StringArray::from(vec!["0", "1"]))] {
        let batch = with_op(op).unwrap();
        assert_eq!(batch.num_columns(), 2);
        assert_eq!(batch.schema().field(1), &Field::new("__op", ArrowType::Int8, false));
        assert_eq!(batch.column(1).as_primitive::<Int8Type>().values(), &[0, 1]);
    }
}

#[test]
fn an_operation_that_is_none_is_named() {
    let refused = |op: ArrayRef| with_op(op).unwrap_err().to_string();
    assert_eq!(
        refused(Arc::new(Int64Array::from(vec![0, 2]))),
        "row 12, column `__op`: value `2` is no operation: 0 upserts the row, 1 deletes it"
    );
    assert_eq!(
        refused(Arc::new(Int64Array::from(vec![Some(0), None]))),
        "row 12, column `__op`: value NULL is not allowed: the column is NOT NULL"
    );
}
