use arrow::array::{AsArray, Int8Array, StringViewArray};
use arrow::compute::concat;
use arrow::datatypes::{DataType as ArrowType, Int64Type};
use proptest::prelude::*;

use super::*;
use crate::schema::{Index, IndexKind};
use crate::segment::to_storage;
use crate::{Aggregation, ColumnId, SchemaVersion, TableModel};

fn column(id: u32, data_type: &str, nullable: bool) -> Column {
    let data_type = data_type.parse().unwrap();
    Column { id: ColumnId(id), name: format!("n{id}"), data_type, nullable, aggregation: None, initial: None }
}

fn schema(version: u32, columns: Vec<Column>) -> TableSchema {
    TableSchema {
        version: SchemaVersion(version),
        model: TableModel::Duplicate,
        keys: vec![columns[0].id],
        sort_key: vec![columns[0].id],
        columns,
        indexes: Vec::new(),
    }
}

/// Values of a type from their texts, as a load stores them.
fn values(data_type: &str, texts: &[Option<&str>]) -> ArrayRef {
    let to: DataType = data_type.parse().unwrap();
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter(texts.iter().copied()));
    let array = cast::convert(&texts, &DataType::String, &to).unwrap();
    assert_eq!(array.null_count(), texts.null_count(), "{data_type}");
    array
}

fn shown(array: &ArrayRef) -> Vec<String> {
    (0..array.len())
        .map(|row| if array.is_null(row) { "NULL".to_owned() } else { array_value_to_string(array, row).unwrap() })
        .collect()
}

fn stored(schema: &TableSchema, arrays: Vec<ArrayRef>) -> RecordBatch {
    let rows = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
    to_storage(&schema.columns, &storage_schema(&schema.columns), &rows).unwrap()
}

/// What a column of one type holds when it has another.
fn converted(from: &str, to: &str, texts: &[Option<&str>]) -> Result<Vec<String>, String> {
    let (old, new) = (schema(1, vec![column(1, from, true)]), schema(2, vec![column(1, to, true)]));
    assert!(converts(&old.columns[0].data_type, &new.columns[0].data_type), "{from} to {to}");
    let rows = stored(&old, vec![values(from, texts)]);
    let result = Conversion::new(&old, &new).apply(&rows).map_err(|e| e.to_string())?;
    let declared = convert(result.column(0), &new.columns[0].data_type.to_arrow()).unwrap();
    Ok(shown(&declared))
}

/// Types from and to, values, and what becomes of them.
type Case<'a> = (&'a str, &'a str, &'a [Option<&'a str>], &'a [&'a str]);

#[test]
fn values_become_what_a_cast_makes_of_them() {
    let cases: [Case<'_>; 18] = [
        ("bigint", "tinyint", &[Some("-128"), None, Some("127")], &["-128", "NULL", "127"]),
        ("largeint", "bigint", &[Some("9223372036854775807")], &["9223372036854775807"]),
        ("int", "double", &[Some("-7")], &["-7.0"]),
        ("int", "decimal(12,2)", &[Some("-7")], &["-7.00"]),
        ("int", "varchar(5)", &[Some("-1234"), None], &["-1234", "NULL"]),
        ("double", "string", &[Some("1.5")], &["1.5"]),
        ("decimal(10,2)", "string", &[Some("1.50")], &["1.50"]),
        ("decimal(10,2)", "decimal(12,3)", &[Some("1.50")], &["1.500"]),
        ("varchar(20)", "int", &[Some("12"), Some("-3")], &["12", "-3"]),
        ("varchar(20)", "largeint", &[Some("100000000000000000000")], &["100000000000000000000"]),
        ("varchar(20)", "double", &[Some("1e3")], &["1000.0"]),
        ("varchar(20)", "decimal(5,2)", &[Some("1.5")], &["1.50"]),
        ("varchar(20)", "date", &[Some("2024-2-9"), Some("20240229")], &["2024-02-09", "2024-02-29"]),
        ("varchar(30)", "datetime", &[Some("2024-02-29 1:2:3")], &["2024-02-29T01:02:03"]),
        ("varchar(20)", "json", &[Some("{\"a\": 1}")], &["{\"a\": 1}"]),
        ("string", "varchar(3)", &[Some("abc"), Some("")], &["abc", ""]),
        ("int", "date", &[Some("20240229")], &["2024-02-29"]),
        ("datetime", "date", &[Some("1969-12-31 23:59:59")], &["1969-12-31"]),
    ];
    for (from, to, texts, expected) in cases {
        assert_eq!(converted(from, to, texts).as_deref(), Ok(&expected.map_strings()[..]), "{from} to {to}");
    }
    assert_eq!(converted("date", "datetime", &[Some("0001-01-01")]), Ok(vec!["0001-01-01T00:00:00".to_owned()]));
}

trait MapStrings {
    fn map_strings(&self) -> Vec<String>;
}

impl MapStrings for &[&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let cases = [
        ("bigint", "tinyint", "128", "column `n1`: value `128` is no value of tinyint"),
        ("varchar(20)", "int", "twelve", "column `n1`: value `twelve` is no value of int"),
        ("varchar(20)", "date", "2024-02-30", "column `n1`: value `2024-02-30` is no value of date"),
        ("varchar(20)", "decimal(3,2)", "12.5", "column `n1`: value `12.5` is no value of decimal(3,2)"),
        ("varchar(20)", "json", "{", "column `n1`: value `{` is not JSON"),
        ("varchar(20)", "varchar(2)", "äb", "column `n1`: value `äb` has 3 bytes, more than varchar(2) holds"),
        ("int", "varchar(2)", "123", "column `n1`: value `123` has 3 bytes, more than varchar(2) holds"),
        ("int", "date", "7", "column `n1`: value `7` is no value of date"),
    ];
    for (from, to, text, expected) in cases {
        let told = converted(from, to, &[None, Some(text)]).unwrap_err();
        assert!(told.starts_with(expected), "{told}");
    }
    let (old, new) = (schema(1, vec![column(1, "int", true)]), schema(2, vec![column(1, "int", false)]));
    let rows = stored(&old, vec![values("int", &[Some("1"), None])]);
    let told = Conversion::new(&old, &new).apply(&rows).unwrap_err().to_string();
    assert_eq!(told, "column `n1`: value NULL is not allowed: the column is to be NOT NULL");
}

#[test]
fn columns_are_found_by_their_ids_and_new_ones_begin_with_their_initial_value() {
    let old = schema(1, vec![column(1, "int", false), column(2, "datetime", true), column(3, "string", true)]);
    let rows = stored(
        &old,
        vec![
            values("int", &[Some("1")]),
            values("datetime", &[Some("2024-02-29 10:00:00")]),
            values("string", &[None]),
        ],
    );
    let added = Column { initial: Some("7".to_owned()), ..column(4, "bigint", false) };
    let new = schema(2, vec![column(2, "datetime", true), added, column(1, "smallint", false)]);
    let result = Conversion::new(&old, &new).apply(&rows).unwrap();
    assert_eq!(result.schema_ref(), &storage_schema(&new.columns));
    assert_eq!(result.column(0).data_type(), &ArrowType::Int64, "times are stored as integers");
    assert_eq!(result.column(1).as_primitive::<Int64Type>().value(0), 7);
    assert_eq!(shown(result.column(2)), ["1"]);
}

#[test]
fn what_becomes_of_keys_stays_behind_the_columns() {
    let (old, new) = (schema(1, vec![column(1, "int", false)]), schema(2, vec![column(1, "bigint", false)]));
    let rows = stored(&old, vec![values("int", &[Some("1"), Some("2")])]);
    let (fields, mut arrays, _) = rows.into_parts();
    let op = arrow::datatypes::Field::new(OP, ArrowType::Int8, false);
    let with_op = Schema::new(fields.fields().iter().cloned().chain([Arc::new(op)]).collect::<Vec<_>>());
    arrays.push(Arc::new(Int8Array::from(vec![0, 1])));
    let rows = RecordBatch::try_new(Arc::new(with_op), arrays).unwrap();
    let result = Conversion::new(&old, &new).apply(&rows).unwrap();
    assert_eq!(shown(result.column_by_name(OP).unwrap()), ["0", "1"]);
    assert_eq!(result.num_columns(), 2);
}

#[test]
fn rows_of_changes_that_are_made_at_once_have_one_form() {
    let text = || vec![column(1, "varchar(3)", false), column(2, "int", false)];
    let old = schema(1, text());
    let with = |change: &dyn Fn(&mut TableSchema)| {
        let mut new = schema(2, text());
        change(&mut new);
        same_form(&old, &new)
    };
    let same: [&dyn Fn(&mut TableSchema); 7] = [
        &|_| {},
        &|s| s.columns.push(column(3, "int", true)),
        &|s| drop(s.columns.pop()),
        &|s| s.columns[0].name = "other".to_owned(),
        &|s| s.columns[0].data_type = DataType::Varchar(9),
        &|s| s.columns[1].data_type = DataType::BigInt,
        &|s| {
            s.indexes.push(Index {
                name: "i".to_owned(),
                column: ColumnId(2),
                kind: IndexKind::Bitmap,
                comment: String::new(),
            })
        },
    ];
    for (number, change) in same.into_iter().enumerate() {
        assert!(with(change), "{number}");
    }
    let other: [&dyn Fn(&mut TableSchema); 6] = [
        &|s| s.keys.push(ColumnId(2)),
        &|s| s.sort_key = vec![ColumnId(2)],
        &|s| s.columns[0].data_type = DataType::Varchar(2),
        &|s| s.columns[1].data_type = DataType::SmallInt,
        &|s| s.columns[1].data_type = DataType::String,
        &|s| s.columns[1].aggregation = Some(Aggregation::Max),
    ];
    for (number, change) in other.into_iter().enumerate() {
        assert!(!with(change), "{number}");
    }
    let mut nullable = schema(1, text());
    nullable.columns[1].nullable = true;
    assert!(!same_form(&nullable, &schema(2, text())), "a column that may hold NULL");
    let number = |data_type| schema(1, vec![column(1, data_type, false)]);
    assert!(!same_form(&number("int"), &number("bigint")), "index entries of keys are of their width");
}

#[test]
fn only_conversions_within_a_kind_keep_the_least_value() {
    let keeps = |from: &str, to: &str| keeps_order(&from.parse().unwrap(), &to.parse().unwrap());
    assert!(
        keeps("int", "tinyint") && keeps("int", "double") && keeps("date", "datetime") && keeps("string", "char(3)")
    );
    assert!(keeps("decimal(5,2)", "decimal(9,4)"));
    assert!(!keeps("string", "int") && !keeps("int", "string") && !keeps("string", "date") && !keeps("double", "int"));
}

proptest! {
    #[test]
    fn rows_convert_alike_in_any_batches(numbers in prop::collection::vec(prop::option::of(any::<i64>()), 0..40), cut in 0usize..40) {
        let (old, new) = (schema(1, vec![column(1, "bigint", true)]), schema(2, vec![column(1, "string", true)]));
        let texts: Vec<Option<String>> = numbers.iter().map(|n| n.map(|n| n.to_string())).collect();
        let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
        let rows = stored(&old, vec![values("bigint", &texts)]);
        let conversion = Conversion::new(&old, &new);
        let whole = conversion.apply(&rows).unwrap();
        let cut = cut.min(rows.num_rows());
        let parts = [rows.slice(0, cut), rows.slice(cut, rows.num_rows() - cut)].map(|part| conversion.apply(&part).unwrap());
        let joined = concat(&[parts[0].column(0).as_ref(), parts[1].column(0).as_ref()]).unwrap();
        prop_assert_eq!(shown(whole.column(0)), shown(&joined));
        let back = Conversion::new(&new, &old).apply(&whole).unwrap();
        prop_assert_eq!(shown(back.column(0)), shown(rows.column(0)));
    }
}
