//! Why a text is no statement.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::TokenizerError;
use tarn_proto::ErrorKind;

use crate::name::Position;

/// A text that is no statement of the dialect, and where it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: u64,
    /// In characters, counted from 1.
    pub column: u64,
    /// What was expected and what was found.
    pub message: String,
}

impl ParseError {
    /// An error at a position. The planner uses it too, to point at the name or type it refuses.
    pub fn new(at: Position, message: impl Into<String>) -> Self {
        Self { line: at.line, column: at.column, message: message.into() }
    }

    /// What the caller must do: change the text.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    /// From an error of `sqlparser`, which writes the place into the message. `end` is where the text ends: the place of
    /// errors that have none.
    pub(crate) fn from_parser(error: ParserError, end: Position) -> Self {
        let message = match error {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return Self::new(end, "the statement is nested too deeply: simplify it");
            }
        };
        let (message, at) = match split_location(&message) {
            Some((text, at)) => (text.to_owned(), at),
            None => (message, end),
        };
        let message = match message.strip_prefix("Expected: ") {
            Some(rest) => format!("expected {rest}"),
            None => message,
        };
        let message = match message.strip_suffix("found: EOF") {
            Some(before) => format!("{before}found end of input"),
            None => message.replacen(", found: ", ", found ", 1),
        };
        Self::new(at, message)
    }

    pub(crate) fn from_tokenizer(error: TokenizerError) -> Self {
        Self::new(error.location.into(), error.message)
    }
}

/// Takes ` at Line: 1, Column: 2` off the end.
fn split_location(message: &str) -> Option<(&str, Position)> {
    let (text, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((text, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
}
