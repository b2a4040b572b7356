//! CSV and JSON files. What a file holds is read in pieces (byte ranges that end with lines, or whole files); an error
//! names the row in the file, which a piece finds out by counting the rows before it.

mod csv;
mod guess;
mod input;
mod json;
mod json_text;
mod piece;
mod source;

pub(super) use csv::{detect_separator, inspect as inspect_csv};
pub(super) use input::{compression, sample};
pub(super) use json::inspect as inspect_json;
pub(super) use source::TextSource;

use super::options::{CsvOptions, Format};

/// How to read the text files of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextOptions {
    pub format: Format,
    pub csv: CsvOptions,
    pub separator: u8,
    /// Whether files may have fewer columns than the table.
    pub ragged: bool,
    /// Whether a record may go over several lines, so that files cannot be split.
    pub whole: bool,
}

impl TextOptions {
    /// The byte that ends lines.
    pub fn terminator(&self) -> u8 {
        match self.format {
            Format::Csv => self.csv.delimiter.unwrap_or(b'\n'),
            _ => b'\n',
        }
    }
}

/// Why a piece cannot be read on.
#[derive(Debug)]
pub(super) struct Fault {
    /// The row in the piece, from 1.
    pub row: u64,
    pub kind: FaultKind,
}

/// What is wrong with a row.
#[derive(Debug)]
pub(super) enum FaultKind {
    /// Its form.
    Row(String),
    /// One value.
    Value { column: String, value: String, expected: String },
}

/// Longer values are cut in messages.
const MAX_SHOWN: usize = 100;

/// A value for a message.
fn shown(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN {
        return format!("`{value}`");
    }
    let cut: String = value.chars().take(MAX_SHOWN).collect();
    format!("`{cut}..`")
}
