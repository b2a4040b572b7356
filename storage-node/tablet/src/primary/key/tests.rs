use std::sync::Arc;

use arrow::array::{
    BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Int8Array, Int16Array, Int32Array, Int64Array,
    StringViewArray,
};
use proptest::prelude::*;
use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel};

use super::*;

fn schema(types: &[DataType]) -> TableSchema {
    let columns: Vec<Column> = types
        .iter()
        .zip(1..)
        .map(|(data_type, id)| Column {
            id: ColumnId(id),
            name: format!("k{id}"),
            data_type: data_type.clone(),
            nullable: false,
            aggregation: None,
            initial: None,
        })
        .collect();
    TableSchema {
        version: SchemaVersion(1),
        model: TableModel::PrimaryKey,
        keys: columns.iter().map(|c| c.id).collect(),
        sort_key: Vec::new(),
        columns,
        indexes: Vec::new(),
    }
}

#[test]
fn frozen_bytes() {
    let one = |data_type: DataType, array: ArrayRef| encode(&schema(&[data_type]), &[array]).unwrap().get(0).to_vec();
    assert_eq!(one(DataType::Boolean, Arc::new(BooleanArray::from(vec![true]))), [1]);
    assert_eq!(one(DataType::TinyInt, Arc::new(Int8Array::from(vec![-1]))), [0x7f]);
    assert_eq!(one(DataType::SmallInt, Arc::new(Int16Array::from(vec![258]))), [0x81, 2]);
    assert_eq!(one(DataType::Int, Arc::new(Int32Array::from(vec![i32::MIN]))), [0; 4]);
    assert_eq!(one(DataType::Date, Arc::new(Date32Array::from(vec![1]))), [0x80, 0, 0, 1]);
    assert_eq!(one(DataType::BigInt, Arc::new(Int64Array::from(vec![7]))), [0x80, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(one(DataType::DateTime, Arc::new(Int64Array::from(vec![-2])))[..2], [0x7f, 0xff]);
    let large = Decimal128Array::from(vec![3]).with_precision_and_scale(38, 0).unwrap();
    assert_eq!(one(DataType::LargeInt, Arc::new(large)), [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    let several = schema(&[DataType::String, DataType::Int, DataType::Varbinary]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from(vec!["a\0b", ""])),
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(BinaryViewArray::from(vec![&b"\0z"[..], b""])),
    ];
    let keys = encode(&several, &columns).unwrap();
    assert_eq!(keys.get(0), b"a\x00\xffb\x00\x00\x80\x00\x00\x01\x00z");
    assert_eq!(keys.get(1), b"\x00\x00\x80\x00\x00\x02");
}

#[test]
fn a_key_beyond_the_limit_is_refused_by_column() {
    let schema = schema(&[DataType::Int, DataType::String]);
    let columns = |length: usize| -> Vec<ArrayRef> {
        vec![
            Arc::new(Int32Array::from(vec![1, 1])),
            Arc::new(StringViewArray::from(vec!["short".to_owned(), "x".repeat(length)])),
        ]
    };
    assert_eq!(encode(&schema, &columns(124)).unwrap().get(1).len(), MAX_KEY_BYTES);
    let error = encode(&schema, &columns(125)).unwrap_err().to_string();
    for part in ["129 bytes", "125 of them in column `k2`", "128 bytes"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_cannot_be_a_key_is_refused_by_column() {
    check_schema(&schema(&[DataType::Int, DataType::Char(9), DataType::DateTime, DataType::LargeInt])).unwrap();
    for data_type in [DataType::Double, DataType::Array(Box::new(DataType::Int))] {
        let error = check_schema(&schema(&[DataType::Int, data_type])).unwrap_err().to_string();
        assert!(error.contains("`k2`"), "{error}");
    }
    let mut nullable = schema(&[DataType::Int]);
    nullable.columns[0].nullable = true;
    assert!(check_schema(&nullable).unwrap_err().to_string().contains("NOT NULL"));
    assert!(check_schema(&schema(&[])).is_err());
}

proptest! {
    #[test]
    fn bytes_are_equal_and_ordered_as_the_tuples_are(
        rows in prop::collection::vec(("[\\x00ab]{0,4}", -2i16..3, any::<bool>(), "[\\x00a]{0,3}"), 2..40),
    ) {
        let schema = schema(&[DataType::Varchar(9), DataType::SmallInt, DataType::Boolean, DataType::Varchar(9)]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| &r.0))),
            Arc::new(Int16Array::from_iter_values(rows.iter().map(|r| r.1))),
            Arc::new(BooleanArray::from_iter(rows.iter().map(|r| Some(r.2)))),
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| &r.3))),
        ];
        let keys = encode(&schema, &columns).unwrap();
        prop_assert_eq!(keys.len(), rows.len());
        for i in 0..rows.len() {
            for j in 0..rows.len() {
                prop_assert_eq!(keys.get(i).cmp(keys.get(j)), rows[i].cmp(&rows[j]));
            }
        }
    }
}
