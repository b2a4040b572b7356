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
use crate::process::Signals;
use connection::{Connection, Target};
use output::{Format, Printer};

/// The exit code of a statement that ctrl-c ended.
const INTERRUPTED: u8 = 130;

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
    let mut connection = Connection::open(target).await?;
    if let Some(database) = &args.database {
        connection.use_database(database).await?;
    }
    match text {
        Some(text) => script(&connection, &text, args.format).await,
        None => {
            shell::run(connection, args.format).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read the standard input")?;
    Ok(text)
}

/// Runs statements in order, up to the first that fails.
async fn script(connection: &Connection, text: &str, format: Format) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    for statement in statements::split(text) {
        let mut printer = Printer::new(format, output::Sink::Stdout);
        let done = tokio::select! {
            biased;
            _ = signals.next() => None,
            done = run_statement(connection, &statement, &mut printer) => Some(done),
        };
        match done {
            Some(Ok(summary)) => {
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

/// Runs one statement, prints its rows, and sums up what it did.
async fn run_statement(connection: &Connection, sql: &str, printer: &mut Printer) -> anyhow::Result<String> {
    let started = std::time::Instant::now();
    let progress = progress::Progress::start(connection, sql);
    let mut reply = connection.run(sql).await?;
    let mut rows = 0;
    if let connection::Reply::Rows(stream) = &mut reply {
        printer.begin(stream.schema())?;
        while let Some(batch) = stream.next().await? {
            progress.rows_arrived(&mut rows, batch.num_rows());
            printer.write(&batch)?;
        }
    }
    drop(progress);
    let text = match reply {
        connection::Reply::Rows(_) => {
            printer.end()?;
            format!("{} {}", grouped(rows), if rows == 1 { "row" } else { "rows" })
        }
        connection::Reply::Done(done) => {
            let mut text = "OK".to_owned();
            if let Some(rows) = done.rows {
                text.push_str(&format!(", {} {} affected", grouped(rows), if rows == 1 { "row" } else { "rows" }));
            }
            if !done.message.is_empty() {
                text.push_str(&format!(" {}", done.message));
            }
            text
        }
    };
    Ok(format!("{text} ({:.3} s)", started.elapsed().as_secs_f64()))
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
