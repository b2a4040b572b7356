//! Tests of the CSV decoder.

use super::super::super::options::Format;
use super::*;

fn options(csv: CsvOptions) -> TextOptions {
    TextOptions { format: Format::Csv, separator: csv.separator.unwrap_or(b','), csv, ragged: false, whole: false }
}

fn types(sample: &CsvSample) -> Vec<String> {
    let text = |data_type: &Option<DataType>| data_type.as_ref().map_or("null".to_owned(), ToString::to_string);
    sample.columns.iter().map(|(name, data_type)| format!("{name} {}", text(data_type))).collect()
}

/// Decodes `text` in chunks of `chunk` bytes, in batches of two rows.
fn decode(options: &TextOptions, table: &Schema, text: &str, chunk: usize) -> Result<Vec<RecordBatch>, Fault> {
    let all: Vec<usize> = (0..table.fields().len()).collect();
    let mut decoder = CsvDecoder::new(options, table, &all, 2).unwrap();
    let mut batches = Vec::new();
    for mut rest in text.as_bytes().chunks(chunk).chain([&[][..]]) {
        loop {
            let used = decoder.decode(rest)?;
            rest = &rest[used..];
            if decoder.is_full() {
                batches.extend(decoder.flush()?);
            } else if rest.is_empty() {
                break;
            }
        }
    }
    batches.extend(decoder.flush()?);
    Ok(batches)
}

fn table(columns: &[(&str, &str)]) -> Schema {
    let field = |(name, text): &(&str, &str)| Field::new(*name, text.parse::<DataType>().unwrap().to_arrow(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

fn printed(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| {
                if column.is_null(row) {
                    "NULL".to_owned()
                } else {
                    arrow::util::display::array_value_to_string(column, row).unwrap()
                }
            };
            lines.push(batch.columns().iter().map(value).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

#[test]
fn columns_without_a_header_are_numbered() {
    let sample = inspect(&options(CsvOptions::default()), b"1,a,\\N\n2,b,\n", true, 10, true).unwrap();
    assert_eq!(types(&sample), ["$1 bigint", "$2 string", "$3 null"]);
    assert_eq!(sample.rows, 2);
}

#[test]
fn skipped_lines_are_not_data_and_may_name_the_columns() {
    let text = b"\xEF\xBB\xBF# made by x\nid,name\n1,a\n";
    let skipped = options(CsvOptions { skip_header: 2, ..CsvOptions::default() });
    assert_eq!(types(&inspect(&skipped, text, true, 10, true).unwrap()), ["$1 bigint", "$2 string"]);
    let named = options(CsvOptions { skip_header: 2, header: true, ..CsvOptions::default() });
    assert_eq!(types(&inspect(&named, text, true, 10, true).unwrap()), ["id bigint", "name string"]);
}

#[test]
fn the_separator_is_a_tab_unless_only_commas_are_there() {
    let default = CsvOptions::default();
    assert_eq!(detect_separator(&default, b"a,b\tc\n"), b'\t');
    assert_eq!(detect_separator(&default, b"a,b,c\n"), b',');
    assert_eq!(detect_separator(&default, b"abc\nd,e\n"), b'\t');
}

#[test]
fn empty_values_and_the_null_text_mean_what_they_mean_in_starrocks() {
    let table = table(&[("n", "bigint"), ("s", "string"), ("d", "datetime")]);
    let text = "1,a,2024-01-02 03:04:05\n,,\n\\N,\\N,\\N\n-7,\"q\",2024-01-02\n";
    let expected = ["1|a|2024-01-02T03:04:05", "NULL||NULL", "NULL|NULL|NULL", "-7|\"q\"|2024-01-02T00:00:00"];
    for chunk in [1, 3, 1000] {
        assert_eq!(printed(&decode(&options(CsvOptions::default()), &table, text, chunk).unwrap()), expected);
    }
}

#[test]
fn enclosed_values_hold_separators_quotes_and_lines() {
    let table = table(&[("s", "string"), ("n", "bigint")]);
    let csv = CsvOptions { enclose: Some(b'"'), escape: Some(b'\\'), ..CsvOptions::default() };
    let text = "\"a,\"\"b\"\"\nc\",1\r\n\"x\\\"y\",2\r\n";
    let batches = decode(&options(csv), &table, text, 4).unwrap();
    assert_eq!(printed(&batches), ["a,\"b\"\nc|1", "x\"y|2"]);
}

#[test]
fn other_separators_and_trimming() {
    let table = table(&[("s", "string"), ("n", "bigint")]);
    let csv = CsvOptions { separator: Some(1), delimiter: Some(b';'), trim: true, ..CsvOptions::default() };
    assert_eq!(printed(&decode(&options(csv), &table, " a \u{1} 1 ;b\u{1}2", 5).unwrap()), ["a|1", "b|2"]);
}

#[test]
fn a_bad_value_is_found_with_row_column_and_value() {
    let table = table(&[("id", "bigint"), ("day", "date")]);
    let fault = decode(&options(CsvOptions::default()), &table, "1,2024-01-01\n2,\n3,yesterday\n", 7).unwrap_err();
    let FaultKind::Value { column, value, expected } = fault.kind else { panic!("{fault:?}") };
    assert_eq!((fault.row, column.as_str(), value.as_str(), expected.as_str()), (3, "day", "`yesterday`", "date"));
}

#[test]
fn a_row_with_other_columns_is_found() {
    let table = table(&[("a", "bigint"), ("b", "bigint")]);
    for (text, found) in [("1,2\n3,4\n5\n", "1 columns, expected 2"), ("1,2\n3,4\n5,6,7\n", "expected 2")] {
        let fault = decode(&options(CsvOptions::default()), &table, text, 100).unwrap_err();
        let FaultKind::Row(reason) = &fault.kind else { panic!("{fault:?}") };
        assert!(fault.row == 3 && reason.contains(found), "{fault:?}");
    }
    let ragged = TextOptions { ragged: true, ..options(CsvOptions::default()) };
    assert_eq!(printed(&decode(&ragged, &table, "1,2\n3\n", 100).unwrap()), ["1|2", "3|NULL"]);
}
