//! JSON: arrow reads the records; a batch that does not fit the types is read again record by record to find the one
//! at fault.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType as ArrowType, Field, Fields, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::{Decoder, infer_json_schema};

use super::json_text::JsonText;
use super::{Fault, FaultKind};

/// Reads the records of one piece.
pub(super) struct JsonDecoder {
    decoder: Decoder,
    batch_size: usize,
    schema: SchemaRef,
    /// What the decoder has taken since the last batch.
    taken: Vec<u8>,
    /// Rows that were returned.
    rows: u64,
}

impl JsonDecoder {
    /// A decoder that returns the fields of `schema`.
    pub fn new(schema: SchemaRef, batch_size: usize) -> Result<Self, ArrowError> {
        let decoder = builder(&schema, batch_size).build_decoder()?;
        Ok(Self { decoder, batch_size, schema, taken: Vec::new(), rows: 0 })
    }

    /// Takes records from `buf`; not all of it when a batch is full.
    pub fn decode(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        let used = self.decoder.decode(buf).map_err(|error| Fault {
            row: self.rows + (self.decoder.len() as u64).max(1),
            kind: FaultKind::Row(reason(&error)),
        })?;
        self.taken.extend_from_slice(&buf[..used]);
        Ok(used)
    }

    /// Whether a batch must be taken.
    pub fn is_full(&self) -> bool {
        self.decoder.len() >= self.batch_size
    }

    /// The records so far.
    pub fn flush(&mut self) -> Result<Option<RecordBatch>, Fault> {
        let partial = self.decoder.has_partial_record();
        match self.decoder.flush() {
            Ok(batch) => {
                self.rows += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
                self.taken.clear();
                Ok(batch)
            }
            Err(error) => {
                let (row, error) = if partial { (None, error) } else { self.find(error) };
                let row = row.unwrap_or((self.decoder.len() as u64).max(1));
                Err(Fault { row: self.rows + row, kind: FaultKind::Row(reason(&error)) })
            }
        }
    }

    /// The first record that fails by itself, and why.
    fn find(&self, error: ArrowError) -> (Option<u64>, ArrowError) {
        let Ok(mut decoder) = builder(&self.schema, 1).build_decoder() else { return (None, error) };
        let mut rest = self.taken.as_slice();
        let mut row = 0;
        while !rest.is_empty() {
            let Ok(used) = decoder.decode(rest) else { break };
            rest = &rest[used..];
            if decoder.is_empty() {
                break;
            }
            row += 1;
            if let Err(error) = decoder.flush() {
                return (Some(row), error);
            }
        }
        (None, error)
    }
}

fn builder(schema: &SchemaRef, batch_size: usize) -> ReaderBuilder {
    // Numbers and booleans in a column of strings are kept as their text.
    ReaderBuilder::new(Arc::clone(schema)).with_batch_size(batch_size).with_coerce_primitive(true)
}

/// `Json error: whilst decoding field 'a': ..` without the decoration.
fn reason(error: &ArrowError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Json error: ").unwrap_or(&text);
    match text.strip_prefix("whilst decoding field '").and_then(|rest| rest.split_once("': ")) {
        Some((column, why)) => format!("column `{column}`: {why}"),
        None => text.to_owned(),
    }
}

/// What the beginning of a JSON file shows.
#[derive(Debug)]
pub(in super::super) struct JsonSample {
    pub fields: Vec<Field>,
    pub rows: usize,
    /// Whether records go over several lines.
    pub whole: bool,
}

/// Looks at the beginning of a file; `complete` says that it is the whole file.
pub(in super::super) fn inspect(sample: &[u8], complete: bool, rows: usize) -> Result<JsonSample, String> {
    let mut text = JsonText::default();
    let mut lines = Vec::new();
    text.feed(super::csv::strip_mark(sample), &mut lines);
    if !complete {
        // The last record of a sample that ends early is not whole.
        lines.truncate(lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let (schema, rows) = infer_json_schema(Cursor::new(&lines), Some(rows)).map_err(|error| reason(&error))?;
    // Inference keeps keys in a hash map: put them in the order of the text.
    let position = |name: &str| text.keys().iter().position(|key| key == name).unwrap_or(usize::MAX);
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.sort_by_key(|field| (position(field.name()), field.name().clone()));
    let fields = fields.into_iter().map(|field| {
        let data_type = if field.data_type().is_null() { ArrowType::Null } else { ordered(field.data_type()) };
        field.with_data_type(data_type)
    });
    Ok(JsonSample { fields: fields.collect(), rows, whole: text.is_whole() })
}

/// Nested fields by name, since they have no other order, and strings where only NULL was seen.
fn ordered(data_type: &ArrowType) -> ArrowType {
    let field = |field: &Field| field.clone().with_data_type(ordered(field.data_type()));
    match data_type {
        ArrowType::Null => ArrowType::Utf8,
        ArrowType::List(item) => ArrowType::List(Arc::new(field(item))),
        ArrowType::Struct(fields) => {
            let mut fields: Vec<Field> = fields.iter().map(|own| field(own)).collect();
            fields.sort_by(|a, b| a.name().cmp(b.name()));
            ArrowType::Struct(Fields::from(fields))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    fn decode(schema: Schema, text: &str) -> Result<usize, Fault> {
        let mut decoder = JsonDecoder::new(Arc::new(schema), 2).unwrap();
        let mut rest = text.as_bytes();
        let mut rows = 0;
        loop {
            let used = decoder.decode(rest)?;
            rest = &rest[used..];
            if decoder.is_full() || rest.is_empty() {
                match decoder.flush()? {
                    Some(batch) => rows += batch.num_rows(),
                    None if rest.is_empty() => return Ok(rows),
                    None => {}
                }
            }
        }
    }

    fn schema() -> Schema {
        Schema::new(vec![Field::new("a", ArrowType::Int64, true), Field::new("s", ArrowType::Utf8View, true)])
    }

    #[test]
    fn columns_stand_in_the_order_of_the_text() {
        let text = r#"{"z": 1, "a": {"y": null, "x": 2.5}, "m": [1, 2], "n": null}"#;
        let sample = inspect(text.as_bytes(), true, 10).unwrap();
        let names: Vec<_> =
            sample.fields.iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        assert_eq!(names[0], "z Int64");
        assert!(names[1].starts_with("a Struct(\"x\": Float64, \"y\": Utf8)"), "{names:?}");
        assert_eq!(names[3], "n Null");
        assert!(!sample.whole);
    }

    #[test]
    fn a_bad_value_is_found_with_its_row() {
        let rows = "{\"a\": 1}\n{\"a\": 2, \"s\": 5}\n{\"a\": 3}\n{\"a\": \"x\"}\n{\"a\": 5}\n";
        let fault = decode(schema(), rows).unwrap_err();
        let FaultKind::Row(reason) = &fault.kind else { panic!("{fault:?}") };
        assert!(fault.row == 4 && reason.contains("column `a`") && reason.contains("\"x\""), "{fault:?}");
    }

    #[test]
    fn broken_text_is_found_with_its_row() {
        let fault = decode(schema(), "{\"a\": 1}\n{\"a\": 2}\n{\"a\": ]}\n").unwrap_err();
        assert_eq!(fault.row, 3, "{fault:?}");
        let fault = decode(schema(), "{\"a\": 1}\n{\"a\": 2").unwrap_err();
        assert_eq!(fault.row, 2, "{fault:?}");
    }

    #[test]
    fn rows_are_counted_without_columns() {
        assert_eq!(decode(Schema::empty(), "{\"a\": 1}\n{}\n{\"b\": [1]}").unwrap(), 3);
    }
}
