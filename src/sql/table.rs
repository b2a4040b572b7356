//! Aligned columns. Widths come from the first rows; later rows keep them, so any number of rows can be printed.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::ArrayFormatter;

use super::output::{Sink, format_options};
use super::pager::Output;

/// Rows that are looked at for the widths.
const LOOKAHEAD_ROWS: usize = 10_000;

/// Prints the rows of one statement as a table.
pub struct TableWriter {
    header: Vec<String>,
    right: Vec<bool>,
    widths: Vec<usize>,
    held: Vec<Vec<String>>,
    sink: Sink,
    output: Option<Output>,
    reader_gone: bool,
}

impl TableWriter {
    /// A table with these columns.
    pub fn new(schema: &SchemaRef, sink: Sink) -> Self {
        let header: Vec<String> = schema.fields().iter().map(|f| escape(f.name())).collect();
        Self {
            widths: header.iter().map(|h| width(h)).collect(),
            right: schema.fields().iter().map(|f| is_number(f.data_type())).collect(),
            header,
            held: Vec::new(),
            sink,
            output: None,
            reader_gone: false,
        }
    }

    /// Whether so many rows more are enough to begin.
    pub fn is_about_to_print(&self, rows: usize) -> bool {
        self.output.is_some() || self.held.len() + rows >= LOOKAHEAD_ROWS
    }

    /// Prints rows. Tells whether there still is a reader.
    pub fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<bool> {
        let options = format_options("NULL");
        let columns =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            self.held.push(columns.iter().map(|c| escape(&c.value(row).to_string())).collect());
        }
        if self.output.is_some() || self.held.len() >= LOOKAHEAD_ROWS {
            self.flush()?;
        }
        Ok(!self.reader_gone)
    }

    /// Prints what is held back and waits for the reader.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.flush()?;
        if let Some(output) = self.output {
            output.close()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.reader_gone {
            self.held.clear();
            return Ok(());
        }
        let mut text = String::new();
        let output = match &mut self.output {
            Some(output) => output,
            None => {
                grow(&mut self.widths, &self.held);
                push_header(&mut text, &self.header, &self.widths);
                let columns = self.widths.iter().sum::<usize>() + 3 * self.widths.len();
                self.output.insert(Output::open(self.sink, columns, self.held.len() + 2))
            }
        };
        for row in self.held.drain(..) {
            push_line(&mut text, &row, &self.widths, &self.right);
        }
        self.reader_gone = !output.write(&text)?;
        Ok(())
    }
}

/// A small table of texts.
pub fn render(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    let mut widths: Vec<usize> = header.iter().map(|h| width(h)).collect();
    grow(&mut widths, &rows);
    let mut text = String::new();
    push_header(&mut text, &header, &widths);
    for row in rows {
        push_line(&mut text, &row, &widths, &vec![false; header.len()]);
    }
    text
}

fn grow(widths: &mut [usize], rows: &[Vec<String>]) {
    for row in rows {
        for (w, value) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(value));
        }
    }
}

fn push_header(text: &mut String, header: &[String], widths: &[usize]) {
    push_line(text, header, widths, &vec![false; header.len()]);
    let rule: Vec<String> = widths.iter().map(|w| "-".repeat(w + 2)).collect();
    text.push_str(&rule.join("+"));
    text.push('\n');
}

fn push_line(text: &mut String, values: &[String], widths: &[usize], right: &[bool]) {
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            text.push('|');
        }
        let pad = " ".repeat(widths[i].saturating_sub(width(value)));
        text.push(' ');
        if right[i] {
            text.push_str(&pad);
        }
        text.push_str(value);
        if !right[i] && i + 1 < values.len() {
            text.push_str(&pad);
        }
        if i + 1 < values.len() {
            text.push(' ');
        }
    }
    text.push('\n');
}

/// Columns that a text takes on a terminal: wide East Asian characters take two, combining ones none.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
            0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

/// Keeps a value on its line, and what it holds from commanding the terminal.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_value() {
        let text = render(&["id", "name"], vec![vec!["1".into(), "漢字".into()], vec!["200".into(), "b".into()]]);
        assert_eq!(text, " id  | name\n-----+------\n 1   | 漢字\n 200 | b\n");
    }

    #[test]
    fn a_value_stays_on_its_line() {
        assert_eq!(escape("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(escape("\u{1b}[31mré"), "\\u{1b}[31mré");
    }
}
