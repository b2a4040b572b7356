//! Rows to text: tables, CSV, JSON.

use std::io::{self, BufWriter, IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, LineDelimited, Writer, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;

use super::pager::Screen;
use super::table::TableWriter;

/// Dates and times as SQL writes them.
const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S%.f";

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    Table,
    /// A header line, then rows; NULL is empty, an empty text is `""`.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
}

/// Where rows go.
#[derive(Clone, Copy, Debug)]
pub enum Sink {
    /// To the standard output.
    Stdout,
    /// To a terminal of so many columns and lines: through a pager if they do not fit.
    Terminal(Screen),
}

/// Prints the rows of one statement.
pub struct Printer {
    format: Format,
    sink: Sink,
    body: Body,
}

enum Body {
    Nothing,
    Table(TableWriter),
    Csv(BufWriter<io::Stdout>),
    Json(Writer<BufWriter<io::Stdout>, JsonArray>),
    Ndjson(Writer<BufWriter<io::Stdout>, LineDelimited>),
}

impl Printer {
    /// A printer that has not printed yet.
    pub fn new(format: Format, sink: Sink) -> Self {
        Self { format, sink, body: Body::Nothing }
    }

    /// Tells the columns. Called once, before any row.
    pub fn begin(&mut self, schema: SchemaRef) -> anyhow::Result<()> {
        let out = || BufWriter::new(io::stdout());
        let json = || WriterBuilder::new().with_explicit_nulls(true).with_timestamp_format(TIMESTAMP.to_owned());
        self.body = match self.format {
            Format::Table => Body::Table(TableWriter::new(&schema, self.sink)),
            Format::Csv => {
                let mut out = out();
                write_csv_line(&mut out, schema.fields().iter().map(|f| Some(f.name().as_str())))?;
                Body::Csv(out)
            }
            Format::Json => Body::Json(json().build(out())),
            Format::Ndjson => Body::Ndjson(json().build(out())),
        };
        Ok(())
    }

    /// Whether so many rows more will make it write to a terminal.
    pub fn is_about_to_print(&self, rows: usize) -> bool {
        io::stdout().is_terminal()
            && match &self.body {
                Body::Nothing => false,
                Body::Table(table) => table.is_about_to_print(rows),
                Body::Csv(_) | Body::Json(_) | Body::Ndjson(_) => true,
            }
    }

    /// Prints rows. Tells whether there still is a reader.
    pub fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<bool> {
        is_read(match &mut self.body {
            Body::Nothing => Ok(()),
            Body::Table(table) => return table.write(batch),
            Body::Csv(out) => write_csv(out, batch),
            Body::Json(writer) => writer.write(batch).map_err(Into::into),
            Body::Ndjson(writer) => writer.write(batch).map_err(Into::into),
        })
    }

    /// Prints what is held back. Tells whether there was a reader to the end.
    pub fn end(&mut self) -> anyhow::Result<bool> {
        is_read(self.finish())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.body, Body::Nothing) {
            Body::Nothing => {}
            Body::Table(table) => table.end()?,
            Body::Csv(mut out) => out.flush()?,
            Body::Json(mut writer) => {
                writer.finish()?;
                let mut out = writer.into_inner();
                writeln!(out)?;
                out.flush()?;
            }
            Body::Ndjson(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
        }
        Ok(())
    }
}

/// That the reader has left is no failure.
fn is_read(written: anyhow::Result<()>) -> anyhow::Result<bool> {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    match written {
        Err(error) if error.chain().any(gone) => Ok(false),
        other => other.map(|()| true),
    }
}

/// How values are written; `null` stands for NULL.
pub fn format_options(null: &'static str) -> FormatOptions<'static> {
    FormatOptions::new().with_null(null).with_timestamp_format(Some(TIMESTAMP)).with_display_error(true)
}

fn write_csv(out: &mut impl Write, batch: &RecordBatch) -> anyhow::Result<()> {
    // That is how NULL looks inside a list or a struct.
    let options = format_options("NULL");
    let columns =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect::<Result<Vec<_>, _>>()?;
    // Logical ones: a column of type Null has no validity of its own.
    let nulls: Vec<_> = batch.columns().iter().map(|c| c.logical_nulls()).collect();
    for row in 0..batch.num_rows() {
        let is_null = |column: usize| nulls[column].as_ref().is_some_and(|n| n.is_null(row));
        let values: Vec<Option<String>> = columns
            .iter()
            .enumerate()
            .map(|(column, formatter)| (!is_null(column)).then(|| formatter.value(row).to_string()))
            .collect();
        write_csv_line(out, values.iter().map(Option::as_deref))?;
    }
    Ok(())
}

fn write_csv_line<'a>(out: &mut impl Write, values: impl Iterator<Item = Option<&'a str>>) -> io::Result<()> {
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        match value {
            None => {}
            Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                write!(out, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Some(text) => out.write_all(text.as_bytes())?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn null_inside_a_list_is_told_from_nothing() {
        let list = arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
        ]);
        let batch = RecordBatch::try_from_iter([("l", Arc::new(list) as ArrayRef)]).expect("a batch");
        let mut out = Vec::new();
        write_csv(&mut out, &batch).expect("text");
        assert_eq!(String::from_utf8(out).expect("text"), "\"[1, NULL]\"\n\n");
    }

    #[test]
    fn a_reader_that_has_left_is_no_failure() {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(is_read(Err(gone().into())), Ok(false)));
        let json = arrow::error::ArrowError::IoError("cannot write".to_owned(), gone());
        assert!(matches!(is_read(Err(json.into())), Ok(false)));
        assert!(is_read(Err(io::Error::from(io::ErrorKind::StorageFull).into())).is_err());
        assert!(matches!(is_read(Ok(())), Ok(true)));
    }

    #[test]
    fn csv_tells_null_from_an_empty_text_and_quotes_what_needs_it() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a,b"), Some(""), None, Some("say \"x\"")]));
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None, None]));
        let batch = RecordBatch::try_from_iter([("t", text), ("d", time)]).expect("a batch");
        let mut out = Vec::new();
        write_csv(&mut out, &batch).expect("text");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\"a,b\",1970-01-01 00:00:00\n\"\",1970-01-01 00:00:01.500\n,\n\"say \"\"x\"\"\",\n"
        );
    }
}
