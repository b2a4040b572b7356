use arrow::array::{
    Array, AsArray, BooleanArray, Decimal128Array, Float32Array, Int8Array, Int16Array, Int32Array, Int64Array,
    StringViewArray,
};
use arrow::datatypes::{Field, Float64Type, Schema};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::super::{from_storage, storage_schema};
use super::*;
use crate::ColumnId;

fn column(id: u32, data_type: DataType, initial: Option<&str>) -> Column {
    let initial = initial.map(str::to_owned);
    Column { id: ColumnId(id), name: format!("n{id}"), data_type, nullable: true, aggregation: None, initial }
}

fn segment(fields: Vec<(u32, ArrayRef)>) -> RecordBatch {
    let schema: Vec<Field> =
        fields.iter().map(|(id, a)| Field::new(format!("c{id}"), a.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(schema)), fields.into_iter().map(|(_, a)| a).collect()).unwrap()
}

/// Types in the order that they widen in; none widens to one of another row.
fn ladders() -> Vec<Vec<DataType>> {
    use DataType::*;
    vec![
        vec![TinyInt, SmallInt, Int, BigInt, LargeInt],
        vec![Float, Double],
        vec![Decimal(5, 2), Decimal(18, 2), Decimal(38, 2)],
        vec![Decimal(5, 3), Decimal(9, 3)],
        vec![Char(3), Varchar(3), Varchar(65_533), String],
        vec![Boolean],
        vec![Date],
        vec![DateTime],
        vec![Json],
        vec![Varbinary],
        vec![Array(Box::new(Int))],
        vec![Array(Box::new(BigInt))],
    ]
}

#[test]
fn types_widen_upward_within_their_kind_alone() {
    for (i, one) in ladders().iter().enumerate() {
        for (j, other) in ladders().iter().enumerate() {
            for (from_at, from) in one.iter().enumerate() {
                for (to_at, to) in other.iter().enumerate() {
                    assert_eq!(widens(from, to), i == j && from_at <= to_at, "{from} to {to}");
                }
            }
        }
    }
    assert!(widens(&DataType::Char(3), &DataType::Char(4)) && !widens(&DataType::Char(4), &DataType::Char(3)));
    assert!(!widens(&DataType::Varchar(3), &DataType::Char(200)));
    assert!(widens(&DataType::String, &DataType::Varchar(crate::types::MAX_VARCHAR_BYTES)));
}

#[test]
fn missing_columns_read_what_they_began_with() {
    use DataType::*;
    let cases = [
        (TinyInt, "-7", "-7"),
        (BigInt, "9223372036854775807", "9223372036854775807"),
        (LargeInt, "-99999999999999999999999999999999999999", "-99999999999999999999999999999999999999"),
        (Decimal(6, 3), "1.5", "1.500"),
        (Double, "0.1", "0.1"),
        (Boolean, "true", "true"),
        (Varchar(9), "a 'b", "a 'b"),
        (String, "", ""),
        (String, "a text that is longer than twelve bytes", "a text that is longer than twelve bytes"),
        (Json, "{\"a\": 1}", "{\"a\": 1}"),
        (Date, "2024-02-29", "2024-02-29"),
        (Date, "0001-01-01", "0001-01-01"),
        (DateTime, "9999-12-31 23:59:59.999999", "9999-12-31T23:59:59.999999"),
        (DateTime, "2024-02-29 01:02:03", "2024-02-29T01:02:03"),
    ];
    let old = segment(vec![(1, Arc::new(Int32Array::from(vec![1, 2, 3])))]);
    for (data_type, text, shown) in cases {
        let columns = [column(2, data_type.clone(), Some(text)), column(1, Int, None), column(3, data_type, None)];
        let read = from_storage(&columns, &old).unwrap();
        let stored = storage_schema(&columns);
        let upgraded = upgrade(&columns, &stored, &old).unwrap();
        assert_eq!(upgraded.schema(), stored);
        assert_eq!(from_storage(&columns, &upgraded).unwrap(), read, "what was upgraded reads the same");
        assert_eq!(read.column(0).null_count(), 0);
        assert_eq!(read.column(2).null_count(), 3);
        for row in 0..3 {
            assert_eq!(array_value_to_string(read.column(0), row).unwrap(), shown);
        }
    }
}

#[test]
fn no_rows_and_bad_texts_are_no_surprise() {
    let wrong = column(2, DataType::Int, Some("x"));
    assert!(initial(&wrong, 1).is_err());
    assert_eq!(initial(&column(2, DataType::Int, Some("5")), 0).unwrap().len(), 0);
    assert!(initial(&column(2, DataType::TinyInt, Some("300")), 1).is_err(), "never NULL instead of an error");
}

#[test]
fn a_value_that_does_not_fit_is_an_error_and_not_null() {
    let newer = segment(vec![(1, Arc::new(Int64Array::from(vec![1, i64::MAX])))]);
    let columns = [column(1, DataType::Int, None)];
    assert!(from_storage(&columns, &newer).is_err());
    assert!(upgrade(&columns, &storage_schema(&columns), &newer).is_err());
}

#[test]
fn a_float_that_began_as_text_stays_what_it_was_when_it_becomes_a_double() {
    let float = column(2, DataType::Float, Some("0.1"));
    let text = widened_initial("0.1", &DataType::Float, &DataType::Double);
    let before = cast_with_options(&initial(&float, 1).unwrap(), &ArrowType::Float64, &STRICT).unwrap();
    let after = initial(&column(2, DataType::Double, Some(&text)), 1).unwrap();
    assert_eq!(before.as_primitive::<Float64Type>(), after.as_primitive::<Float64Type>());
    assert_eq!(widened_initial("7", &DataType::Int, &DataType::LargeInt), "7");
}

fn texts<T: ToString>(values: &[Option<T>]) -> Vec<Option<String>> {
    values.iter().map(|v| v.as_ref().map(T::to_string)).collect()
}

/// A type, those that it widens to, and values as text and as a column of it.
fn narrow() -> impl Strategy<Value = (DataType, Vec<DataType>, Vec<Option<String>>, ArrayRef)> {
    use DataType::{BigInt, Boolean, Char, Decimal, Int, LargeInt, SmallInt, TinyInt, Varchar};
    macro_rules! integers {
        ($t:ty, $array:ty, $declared:expr, $wider:expr) => {
            prop::collection::vec(any::<Option<$t>>(), 1..20)
                .prop_map(|v| ($declared, $wider, texts(&v), Arc::new(<$array>::from(v)) as ArrayRef))
        };
    }
    prop_oneof![
        integers!(i8, Int8Array, TinyInt, vec![SmallInt, Int, BigInt, LargeInt]),
        integers!(i16, Int16Array, SmallInt, vec![Int, BigInt, LargeInt]),
        integers!(i32, Int32Array, Int, vec![BigInt, LargeInt]),
        integers!(i64, Int64Array, BigInt, vec![LargeInt]),
        prop::collection::vec(prop::option::of(-99_999i128..=99_999), 1..20).prop_map(|v| {
            let text = |v: &i128| format!("{}{}.{:02}", if *v < 0 { "-" } else { "" }, v.abs() / 100, v.abs() % 100);
            let shown = v.iter().map(|v| v.as_ref().map(text)).collect();
            let array = Decimal128Array::from(v).with_precision_and_scale(5, 2).unwrap();
            (Decimal(5, 2), vec![Decimal(6, 2), Decimal(20, 2), Decimal(38, 2)], shown, Arc::new(array) as ArrayRef)
        }),
        prop::collection::vec(prop::option::of("[a-z]{0,3}"), 1..20).prop_map(|v| {
            let wider = vec![Varchar(3), Varchar(70), DataType::String];
            (Char(3), wider, v.clone(), Arc::new(StringViewArray::from(v)) as ArrayRef)
        }),
        prop::collection::vec(any::<Option<bool>>(), 1..20).prop_map(|v| (
            Boolean,
            vec![Boolean],
            texts(&v),
            Arc::new(BooleanArray::from(v)) as ArrayRef
        )),
    ]
}

proptest! {
    #[test]
    fn widened_columns_read_the_values_that_were_written((declared, wider, shown, array) in narrow()) {
        let old = segment(vec![(4, array)]);
        for wide in wider {
            prop_assert!(widens(&declared, &wide));
            let columns = [column(4, wide.clone(), None)];
            let read = from_storage(&columns, &old).unwrap();
            prop_assert_eq!(read.column(0).data_type(), &wide.to_arrow());
            for (row, shown) in shown.iter().enumerate() {
                let value = read.column(0).is_valid(row).then(|| array_value_to_string(read.column(0), row).unwrap());
                prop_assert_eq!(&value, shown);
            }
            let upgraded = upgrade(&columns, &storage_schema(&columns), &old).unwrap();
            prop_assert_eq!(from_storage(&columns, &upgraded).unwrap(), read);
        }
    }

    #[test]
    fn floats_are_cast_bit_for_bit(values in prop::collection::vec(any::<f32>(), 1..20)) {
        let old = segment(vec![(4, Arc::new(Float32Array::from(values.clone())) as ArrayRef)]);
        let read = from_storage(&[column(4, DataType::Double, None)], &old).unwrap();
        for (wide, narrow) in read.column(0).as_primitive::<Float64Type>().values().iter().zip(values) {
            prop_assert_eq!(wide.to_bits(), f64::from(narrow).to_bits());
        }
    }
}
