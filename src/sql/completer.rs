//! Completion of keywords and of the names of databases, tables and columns.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Schema;
use arrow_flight::IpcMessage;
use arrow_flight::sql::CommandGetTables;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::HistoryHinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Hinter};

use super::connection::Connection;
use super::statements;

/// Names that the server knows, as last heard.
#[derive(Clone, Default)]
pub struct Names(Arc<RwLock<BTreeSet<String>>>);

impl Names {
    /// Asks the server again.
    pub async fn refresh(&self, connection: &Connection) {
        let request = CommandGetTables { include_schema: true, ..Default::default() };
        // Completion is a convenience: without an answer the old names stay.
        if let Ok(batches) = connection.metadata(request).await {
            let names = batches.iter().flat_map(names_of).collect();
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
        }
    }

    fn starting_with(&self, prefix: &str) -> Vec<String> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter(|name| starts_with(name, prefix)).cloned().collect()
    }
}

fn names_of(batch: &RecordBatch) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for column in ["db_schema_name", "table_name"] {
        if let Some(values) = batch.column_by_name(column).and_then(|c| c.as_string_opt::<i32>()) {
            names.extend(values.iter().flatten().map(str::to_owned));
        }
    }
    if let Some(schemas) = batch.column_by_name("table_schema").and_then(|c| c.as_binary_opt::<i32>()) {
        for bytes in schemas.iter().flatten() {
            if let Ok(schema) = Schema::try_from(IpcMessage(bytes.to_vec().into())) {
                names.extend(schema.fields().iter().map(|f| f.name().clone()));
            }
        }
    }
    names
}

/// What the prompt knows of SQL.
#[derive(Helper, Hinter)]
pub struct SqlHelper {
    names: Names,
    #[rustyline(Hinter)]
    hinter: HistoryHinter,
}

impl SqlHelper {
    /// A helper that completes `names`.
    pub fn new(names: Names) -> Self {
        Self { names, hinter: HistoryHinter::new() }
    }
}

impl Completer for SqlHelper {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let start = word_start(line, pos);
        let word = &line[start..pos];
        if word.is_empty() {
            return Ok((pos, Vec::new()));
        }
        let mut found = self.names.starting_with(word);
        let upper = word.chars().next().is_some_and(char::is_uppercase);
        found.extend(
            tarn_sql::keywords()
                .iter()
                .filter(|k| starts_with(k, word))
                .map(|k| if upper { k.to_uppercase() } else { k.to_lowercase() }),
        );
        found.dedup();
        Ok((start, found))
    }
}

impl Highlighter for SqlHelper {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        format!("\x1b[2m{hint}\x1b[m").into()
    }
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        Ok(if super::shell::is_command(text) || statements::is_complete(text) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn word_start(line: &str, pos: usize) -> usize {
    line[..pos]
        .char_indices()
        .rev()
        .take_while(|(_, c)| c.is_alphanumeric() || *c == '_')
        .last()
        .map_or(pos, |(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_starts_after_a_dot_or_a_blank() {
        assert_eq!(word_start("select a.col", 12), 9);
        assert_eq!(word_start("sel", 3), 0);
        assert_eq!(word_start("select ", 7), 7);
    }

    #[test]
    fn prefixes_are_compared_without_regard_to_case() {
        assert!(starts_with("SELECT", "sel"));
        assert!(!starts_with("se", "sel"));
        assert!(!starts_with("日本", "a"));
    }
}
