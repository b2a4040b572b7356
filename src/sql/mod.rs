//! `tarn sql`: runs statements over Flight SQL and prints what they return, or is a shell.
//!
//! ```text
//!  connection   one session with a server: run, cancel, list names
//!  statements   text to statements
//!  output       rows to tables, CSV and JSON      table     aligned columns     pager
//!  progress     what a slow statement is doing
//!  shell        the prompt: history, editing, completion
//! ```

mod completer;
mod connection;
pub mod output;
mod pager;
mod progress;
mod shell;
mod statements;
pub mod table;

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::SqlArgs;
use crate::process::Interrupts;
use connection::{Connection, Target};
use output::{Format, Printer};

/// The exit code of a statement that ctrl-c ended.
const INTERRUPTED: u8 = 130;
/// The exit code when nobody reads the rows any more, as of a process that SIGPIPE ended.
const READER_GONE: u8 = 141;

/// Runs the statements of the command line, or the shell.
pub async fn run(args: SqlArgs) -> anyhow::Result<ExitCode> {
    let target = Target {
        url: args.url.clone(),
        user: args.user.clone(),
        password: args.password.clone(),
        tls_ca: args.tls_ca.clone(),
    };
    let text = match (&args.file, args.execute.as_slice()) {
        (Some(file), _) if file.as_os_str() == "-" => Some(standard_input()?),
        (Some(file), _) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?)
        }
        (None, []) if !std::io::stdin().is_terminal() => Some(standard_input()?),
        (None, []) => None,
        (None, statements) => Some(statements.join(";\n")),
    };
    let connection = Connection::open(target).await?;
    let code = converse(&connection, &args, text).await;
    connection.close().await;
    code
}

async fn converse(connection: &Connection, args: &SqlArgs, text: Option<String>) -> anyhow::Result<ExitCode> {
    if let Some(database) = &args.database {
        connection.use_database(database).await?;
    }
    match text {
        Some(text) => script(connection, &text, args.format).await,
        None => shell::run(connection.clone(), args.format).await.map(|()| ExitCode::SUCCESS),
    }
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read the standard input")?;
    Ok(text)
}

/// Runs statements in order, up to the first that fails.
async fn script(connection: &Connection, text: &str, format: Format) -> anyhow::Result<ExitCode> {
    let mut interrupts = Interrupts::install()?;
    for statement in statements::split(text) {
        let mut printer = Printer::new(format, output::Sink::Stdout);
        let done = tokio::select! {
            biased;
            () = interrupts.next() => None,
            done = run_statement(connection, &statement, &mut printer) => Some(done),
        };
        match done {
            Some(Ok(Ended { reader_gone: true, .. })) => return Ok(ExitCode::from(READER_GONE)),
            Some(Ok(Ended { summary, .. })) => {
                if format == Format::Table {
                    eprintln!("{summary}");
                }
            }
            Some(Err(error)) => {
                std::io::stdout().flush().ok();
                return Err(error);
            }
            None => {
                connection.cancel().await;
                eprintln!("cancelled");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How a statement ended.
struct Ended {
    /// A line for people: what it did, and how long that took.
    summary: String,
    /// Nobody wanted its last rows.
    reader_gone: bool,
}

/// Runs one statement, prints its rows, and sums up what it did.
async fn run_statement(connection: &Connection, sql: &str, printer: &mut Printer) -> anyhow::Result<Ended> {
    let started = std::time::Instant::now();
    let progress = progress::Progress::start(connection, sql);
    let (mut rows, mut reader_gone) = (0, false);
    let text = match connection.run(sql).await? {
        connection::Reply::Done(done) => describe(&done),
        connection::Reply::Rows(mut stream) => {
            printer.begin(stream.schema())?;
            while let Some(batch) = stream.next().await? {
                progress.rows_arrived(&mut rows, batch.num_rows());
                if printer.is_about_to_print(batch.num_rows()) {
                    progress.hide();
                }
                if !printer.write(&batch)? {
                    reader_gone = true;
                    connection.cancel().await;
                    break;
                }
            }
            let rest = if reader_gone { ", the rest was not read" } else { "" };
            format!("{} {}{rest}", grouped(rows), if rows == 1 { "row" } else { "rows" })
        }
    };
    drop(progress);
    // Before the end: that may wait for somebody to leave the pager.
    let seconds = started.elapsed().as_secs_f64();
    reader_gone |= !printer.end()?;
    Ok(Ended { summary: format!("{text} ({seconds:.3} s)"), reader_gone })
}

fn describe(done: &connection::Done) -> String {
    let mut text = "OK".to_owned();
    if let Some(rows) = done.rows {
        text.push_str(&format!(", {} {} affected", grouped(rows), if rows == 1 { "row" } else { "rows" }));
    }
    if !done.message.is_empty() {
        text.push_str(&format!(" {}", done.message));
    }
    text
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(123), "123");
        assert_eq!(grouped(1234), "1,234");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
