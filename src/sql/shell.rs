//! The prompt: history, editing, statements over several lines, ctrl-c that ends the statement and not the shell.

use std::path::PathBuf;

use anyhow::Context;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::completer::{Names, SqlHelper};
use super::connection::Connection;
use super::output::{Format, Printer, Sink};
use super::pager::Screen;
use super::statements;
use crate::process::Interrupts;

const HISTORY_ENTRIES: usize = 10_000;
const PROMPT: &str = "tarn> ";
const HELP: &str = "\
Statements end with `;` and may take several lines. Tab completes, the arrow keys walk through history,
ctrl-c ends the running statement, ctrl-d leaves.
  \\q, exit, quit   leave
  \\?, help         this text";

/// Reads and runs statements until the user leaves.
pub async fn run(connection: Connection, format: Format) -> anyhow::Result<()> {
    let names = Names::default();
    names.refresh(&connection).await;
    let config = Config::builder()
        .max_history_size(HISTORY_ENTRIES)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .auto_add_history(false)
        .build();
    let mut editor: Editor<SqlHelper, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(SqlHelper::new(names.clone())));
    let history = history_file();
    if let Some(file) = &history
        && file.exists()
        && let Err(error) = editor.load_history(file)
    {
        eprintln!("cannot read the history in {}: {error}", file.display());
    }
    let mut interrupts = Interrupts::install()?;
    println!("Type `help` for help.");
    loop {
        // The prompt blocks this thread only; the connection lives on the runtime's others.
        let line = tokio::task::block_in_place(|| editor.readline(PROMPT));
        match line {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => {
                remember(&mut editor, history.as_ref(), &text);
                if !handle(&connection, &text, format, &mut editor, &mut interrupts, &names).await? {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("cannot read the terminal"),
        }
    }
}

/// Whether a line is the shell's, and needs no semicolon.
pub fn is_command(text: &str) -> bool {
    let text = text.trim().trim_end_matches(';').to_ascii_lowercase();
    text.starts_with('\\') || matches!(text.as_str(), "exit" | "quit" | "help")
}

/// Runs what was typed. Tells whether the shell goes on.
async fn handle(
    connection: &Connection,
    text: &str,
    format: Format,
    editor: &mut Editor<SqlHelper, FileHistory>,
    interrupts: &mut Interrupts,
    names: &Names,
) -> anyhow::Result<bool> {
    if is_command(text) {
        return Ok(match text.trim().trim_end_matches(';').to_ascii_lowercase().as_str() {
            "\\q" | "exit" | "quit" => false,
            "\\?" | "\\h" | "help" => {
                println!("{HELP}");
                true
            }
            other => {
                println!("unknown command `{other}`: `help` tells what there is");
                true
            }
        });
    }
    for statement in statements::split(text) {
        let sink = match editor.dimensions() {
            Some((columns, lines)) => Sink::Terminal(Screen { columns: columns.into(), lines: lines.into() }),
            None => Sink::Stdout,
        };
        let mut printer = Printer::new(format, sink);
        interrupts.forget();
        let done = tokio::select! {
            biased;
            () = interrupts.next() => None,
            done = super::run_statement(connection, &statement, &mut printer) => Some(done),
        };
        match done {
            Some(Ok(ended)) => eprintln!("{}", ended.summary),
            Some(Err(error)) => {
                eprintln!("error: {}", tarn_proto::error::chain(error.as_ref()));
                break;
            }
            None => {
                connection.cancel().await;
                eprintln!("cancelled");
                break;
            }
        }
        if !statements::returns_rows(&statement) {
            names.refresh(connection).await;
        }
    }
    Ok(true)
}

/// Adds to the history, except what holds a secret.
fn remember(editor: &mut Editor<SqlHelper, FileHistory>, file: Option<&PathBuf>, text: &str) {
    let lower = text.to_ascii_lowercase();
    if lower.contains("secret") || lower.contains("password") {
        return;
    }
    let added = editor.add_history_entry(text.trim());
    if let (Ok(true), Some(file)) = (added, file) {
        let saved = match file.parent() {
            Some(parent) => std::fs::create_dir_all(parent).map_err(ReadlineError::from),
            None => Ok(()),
        };
        if let Err(error) = saved.and_then(|()| editor.append_history(file)) {
            eprintln!("cannot write the history to {}: {error}", file.display());
        }
    }
}

/// `$XDG_STATE_HOME/tarn/history`, or below `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = path("XDG_STATE_HOME").or_else(|| path("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("tarn/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_need_no_semicolon() {
        assert!(is_command("\\q"));
        assert!(is_command(" EXIT; "));
        assert!(!is_command("select 1"));
    }
}
