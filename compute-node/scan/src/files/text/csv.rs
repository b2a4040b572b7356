//! CSV: arrow splits the text into strings, which are then cast, so that `\N` and empty values mean what they mean in
//! StarRocks and a bad value is found with its row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::NullBuffer;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::{Decoder, Format as CsvFormat};
use arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use tarn_proto::DataType;

use super::super::options::CsvOptions;
use super::guess::{cast, guess};
use super::{Fault, FaultKind, TextOptions, shown};

/// Never a byte of UTF-8: with it as the quote, nothing is quoted.
const NO_QUOTE: u8 = 0xFF;

/// Reads the records of one piece.
pub(super) struct CsvDecoder {
    decoder: Decoder,
    batch_size: usize,
    /// Of the projected columns.
    schema: SchemaRef,
    null: String,
    trim: bool,
    /// Rows that were returned.
    rows: u64,
    width: usize,
}

impl CsvDecoder {
    /// A decoder that returns the columns at `projection` of `table`.
    pub fn new(
        options: &TextOptions,
        table: &Schema,
        projection: &[usize],
        batch_size: usize,
    ) -> Result<Self, ArrowError> {
        let strings = table.fields().iter().map(|field| Field::new(field.name(), ArrowType::Utf8, true));
        let strings = Arc::new(Schema::new(strings.collect::<Vec<_>>()));
        let decoder = builder(&options.csv, options.separator, strings)
            .with_truncated_rows(options.ragged)
            .with_batch_size(batch_size)
            .with_projection(projection.to_vec())
            .build_decoder();
        Ok(Self {
            decoder,
            batch_size,
            schema: Arc::new(table.project(projection)?),
            null: options.csv.null.clone(),
            trim: options.csv.trim,
            rows: 0,
            width: table.fields().len(),
        })
    }

    /// Takes records from `buf`; nothing of it when a batch is full. An empty one is the end.
    pub fn decode(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        self.decoder.decode(buf).map_err(|error| {
            let row = self.rows + (self.batch_size - self.decoder.capacity()) as u64 + 1;
            Fault { row, kind: FaultKind::Row(self.form(&error)) }
        })
    }

    /// Whether a batch must be taken.
    pub fn is_full(&self) -> bool {
        self.decoder.capacity() == 0
    }

    /// The records so far.
    pub fn flush(&mut self) -> Result<Option<RecordBatch>, Fault> {
        let base = self.rows;
        let batch = self.decoder.flush().map_err(|error| {
            let kind = FaultKind::Row(self.form(&error));
            Fault { row: base + utf8_row(&error).unwrap_or(1), kind }
        })?;
        let Some(batch) = batch else { return Ok(None) };
        self.rows += batch.num_rows() as u64;
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns
            .map(|(values, field)| self.column(values.as_string(), field))
            .collect::<Result<Vec<_>, Fault>>()
            .map_err(|fault| Fault { row: base + fault.row, ..fault })?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let typed = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows);
        typed.map(Some).map_err(|error| Fault { row: base + 1, kind: FaultKind::Row(error.to_string()) })
    }

    fn column(&self, values: &StringArray, field: &Field) -> Result<ArrayRef, Fault> {
        let values = normalise(values, &self.null, self.trim, *field.data_type() == ArrowType::Utf8View);
        let failed = |row: usize, value: &str| Fault {
            row: row as u64 + 1,
            kind: FaultKind::Value {
                column: field.name().clone(),
                value: shown(value),
                expected: DataType::from_arrow(field.data_type()).map_or_else(String::new, |found| found.to_string()),
            },
        };
        let typed = cast(&values, field.data_type()).map_err(|_| failed(0, ""))?;
        if typed.null_count() > values.null_count()
            && let Some(row) = (0..values.len()).find(|row| typed.is_null(*row) && values.is_valid(*row))
        {
            return Err(failed(row, values.value(row)));
        }
        Ok(typed)
    }

    /// A complaint about a row, in our words where we know better.
    fn form(&self, error: &ArrowError) -> String {
        let text = error.to_string();
        let text = text.strip_prefix("Csv error: ").unwrap_or(&text);
        match text.rsplit_once(" got ") {
            Some((head, found)) if head.starts_with("incorrect number of fields") => {
                format!("{found} columns, expected {}; check \"csv.column_separator\" and \"csv.enclose\"", self.width)
            }
            _ if text.contains("UTF-8") => "text that is not UTF-8; convert the file".to_owned(),
            _ => text.to_owned(),
        }
    }
}

/// The row in "Encountered invalid UTF-8 data for line 3 and field 1".
fn utf8_row(error: &ArrowError) -> Option<u64> {
    let text = error.to_string();
    text.split_once("for line ")?.1.split_once(' ')?.0.parse().ok()
}

fn builder(options: &CsvOptions, separator: u8, schema: SchemaRef) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new(schema)
        .with_header(false)
        .with_delimiter(separator)
        .with_quote(options.enclose.unwrap_or(NO_QUOTE));
    if let Some(escape) = options.escape {
        builder = builder.with_escape(escape);
    }
    if let Some(delimiter) = options.delimiter {
        builder = builder.with_terminator(delimiter);
    }
    builder
}

/// Gives strings their NULLs: the null text is NULL in every column; an empty value is an empty string in text columns
/// and NULL in others. (arrow returns NULL for every empty value.)
fn normalise(values: &StringArray, null: &str, trim: bool, text: bool) -> StringArray {
    let trimmed: StringArray;
    let values = if trim {
        trimmed = values.iter().map(|value| value.map(str::trim)).collect();
        &trimmed
    } else {
        values
    };
    let raw = |row: usize| if values.is_valid(row) { values.value(row) } else { "" };
    let is_value = |row: usize| {
        let value = raw(row);
        value != null && (text || !value.is_empty())
    };
    let valid: BooleanArray = (0..values.len()).map(|row| Some(is_value(row))).collect();
    let nulls = NullBuffer::new(valid.values().clone());
    StringArray::new(values.offsets().clone(), values.values().clone(), Some(nulls))
}

/// What the beginning of a CSV file shows.
#[derive(Debug)]
pub(in super::super) struct CsvSample {
    /// Names and types of the columns; all NULL: no type.
    pub columns: Vec<(String, Option<DataType>)>,
    /// Rows looked at.
    pub rows: usize,
}

/// A tab, or a comma when the first line after the header has commas and no tab.
pub(in super::super) fn detect_separator(options: &CsvOptions, sample: &[u8]) -> u8 {
    let (_, body) = split_header(options, strip_mark(sample));
    let line = body.split(|byte| *byte == options.delimiter.unwrap_or(b'\n')).next().unwrap_or(body);
    if line.contains(&b',') && !line.contains(&b'\t') { b',' } else { b'\t' }
}

/// Looks at the beginning of a file; `complete` says that it is the whole file.
pub(in super::super) fn inspect(
    options: &TextOptions,
    sample: &[u8],
    complete: bool,
    rows: usize,
    types: bool,
) -> Result<CsvSample, Fault> {
    let (header, body) = split_header(&options.csv, strip_mark(sample));
    let width = record(options, body).len();
    let names = match header.filter(|_| options.csv.header) {
        Some(header) => header_names(options, header),
        None => (1..=width).map(|number| format!("${number}")).collect(),
    };
    let width = if body.is_empty() { names.len() } else { width };
    if names.len() != width {
        let reason = format!("{width} columns, but the header names {}", names.len());
        return Err(Fault { row: 1, kind: FaultKind::Row(reason) });
    }
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        let reason = format!("the header names the column `{}` twice", twice.1);
        return Err(Fault { row: 1, kind: FaultKind::Row(reason) });
    }
    let table = Schema::new(names.iter().map(|name| Field::new(name, ArrowType::Utf8View, true)).collect::<Vec<_>>());
    let projection: Vec<usize> = (0..width).collect();
    let strict = TextOptions { ragged: false, ..options.clone() };
    let malformed = |error: ArrowError| Fault { row: 1, kind: FaultKind::Row(error.to_string()) };
    let mut decoder = CsvDecoder::new(&strict, &table, &projection, rows).map_err(malformed)?;
    let mut rest = body;
    while !decoder.is_full() && !rest.is_empty() {
        let used = decoder.decode(rest)?;
        rest = &rest[used..];
    }
    if complete && rest.is_empty() && !decoder.is_full() {
        decoder.decode(&[])?;
    }
    // The last record of a sample that ends early is not whole.
    let batch = match decoder.decoder.flush() {
        Ok(batch) => batch,
        Err(_) if !complete => None,
        Err(error) => return Err(Fault { row: 1, kind: FaultKind::Row(decoder.form(&error)) }),
    };
    let Some(batch) = batch else {
        return Ok(CsvSample { columns: names.into_iter().map(|name| (name, None)).collect(), rows: 0 });
    };
    let column = |(name, values): (String, &ArrayRef)| {
        let values = normalise(values.as_string(), &options.csv.null, options.csv.trim, false);
        (name, if types { guess(&values) } else { Some(DataType::String) })
    };
    Ok(CsvSample { columns: names.into_iter().zip(batch.columns()).map(column).collect(), rows: batch.num_rows() })
}

/// The names in a header line.
pub(super) fn header_names(options: &TextOptions, header: &[u8]) -> Vec<String> {
    let names = record(options, header).into_iter().enumerate();
    names.map(|(at, name)| if name.is_empty() { format!("${}", at + 1) } else { name }).collect()
}

/// The values of the first record.
fn record(options: &TextOptions, text: &[u8]) -> Vec<String> {
    let mut format = CsvFormat::default()
        .with_header(true)
        .with_delimiter(options.separator)
        .with_quote(options.csv.enclose.unwrap_or(NO_QUOTE));
    if let Some(escape) = options.csv.escape {
        format = format.with_escape(escape);
    }
    if let Some(delimiter) = options.csv.delimiter {
        format = format.with_terminator(delimiter);
    }
    // With `header`, the inferred names are the values of the first record.
    let schema = format.infer_schema(text, Some(0)).map(|(schema, _)| schema).unwrap_or_else(|_| Schema::empty());
    schema.fields().iter().map(|field| field.name().trim().to_owned()).collect()
}

/// The last skipped line, if lines are skipped, and what follows.
fn split_header<'a>(options: &CsvOptions, text: &'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    let terminator = options.delimiter.unwrap_or(b'\n');
    let (mut header, mut rest) = (None, text);
    for _ in 0..options.skip_header {
        let end = rest.iter().position(|byte| *byte == terminator).unwrap_or(rest.len());
        header = Some(&rest[..end]);
        rest = &rest[(end + 1).min(rest.len())..];
    }
    (header, rest)
}

/// Text without a byte order mark.
pub(super) fn strip_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
