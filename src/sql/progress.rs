//! What a slow statement is doing, as one line on a terminal's stderr.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::ArrayFormatter;
use tokio::task::JoinHandle;

use super::connection::Connection;
use super::grouped;
use super::output::format_options;

/// A statement that is done by then shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(500);
const BAR: usize = 30;

/// Shows progress until it is dropped.
pub struct Progress {
    task: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rows: AtomicU64,
    shown: AtomicBool,
}

impl Progress {
    /// Starts watching a statement, if stderr is a terminal.
    pub fn start(connection: &Connection, sql: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let task = std::io::stderr().is_terminal().then(|| {
            tarn_proto::task::spawn("progress", watch(connection.clone(), sql.trim().to_owned(), shared.clone()))
        });
        Self { task, shared }
    }

    /// Counts rows that were read.
    pub fn rows_arrived(&self, total: &mut u64, rows: usize) {
        *total += rows as u64;
        self.shared.rows.store(*total, Ordering::Relaxed);
    }
}

impl Progress {
    /// Shows nothing from now on: the line belongs to others.
    pub fn hide(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if self.shared.shown.swap(false, Ordering::Relaxed) {
            show("");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

async fn watch(connection: Connection, sql: String, shared: Arc<Shared>) {
    let started = Instant::now();
    tokio::time::sleep(PATIENCE).await;
    loop {
        let state = match connection.rows("SHOW PROCESSLIST").await {
            Ok(batches) => batches.iter().find_map(|b| describe(b, &sql)),
            Err(_) => None,
        };
        let rows = shared.rows.load(Ordering::Relaxed);
        let seconds = started.elapsed().as_secs_f64();
        shared.shown.store(true, Ordering::Relaxed);
        show(&match state {
            Some(state) => format!("{seconds:6.1} s  {state}"),
            None => format!("{seconds:6.1} s  {} rows read", grouped(rows)),
        });
        tokio::time::sleep(INTERVAL).await;
    }
}

fn show(line: &str) {
    let mut err = std::io::stderr();
    // Nothing depends on it being seen.
    let _ = write!(err, "\r\x1b[K{line}").and_then(|()| err.flush());
}

/// The process list's row of the statement, in words.
fn describe(batch: &RecordBatch, sql: &str) -> Option<String> {
    let text = |name: &str, row: usize| {
        let column = batch
            .schema_ref()
            .fields()
            .iter()
            .position(|f| f.name().eq_ignore_ascii_case(name))
            .map(|i| batch.column(i))?;
        if column.is_null(row) {
            return None;
        }
        let options = format_options("");
        Some(ArrayFormatter::try_new(column, &options).ok()?.value(row).to_string())
    };
    let row = (0..batch.num_rows()).find(|row| text("Info", *row).is_some_and(|info| same(&info, sql)))?;
    let mut line = String::new();
    if let Some(share) = text("Progress", row).and_then(|p| share(&p)) {
        let filled = ((share * BAR as f64) as usize).min(BAR);
        line.push_str(&format!("[{}{}] {:3.0} %  ", "=".repeat(filled), " ".repeat(BAR - filled), share * 100.0));
    }
    if let Some(state) = text("State", row) {
        line.push_str(&state);
    }
    if let Some(rows) = text("Rows", row).and_then(|r| r.parse().ok()) {
        line.push_str(&format!("  {} rows", grouped(rows)));
    }
    Some(line)
}

/// Whether a listed statement, perhaps cut short, is this one.
fn same(listed: &str, sql: &str) -> bool {
    let listed = listed.trim().trim_end_matches("...").trim_end_matches(';');
    !listed.is_empty() && sql.starts_with(listed)
}

/// `0.42`, `42` and `42 %` as 0.42.
fn share(text: &str) -> Option<f64> {
    let percent = text.trim_end_matches('%').trim();
    let number: f64 = percent.parse().ok()?;
    Some(if number > 1.0 || text.ends_with('%') { number / 100.0 } else { number }.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_as_a_share_or_in_percent() {
        assert_eq!(share("0.5"), Some(0.5));
        assert_eq!(share("50%"), Some(0.5));
        assert_eq!(share("75"), Some(0.75));
        assert_eq!(share("-"), None);
    }

    #[test]
    fn a_statement_is_found_even_if_the_list_cuts_it_short() {
        assert!(same("select * from t", "select * from t"));
        assert!(same("select * fr...", "select * from t"));
        assert!(!same("SHOW PROCESSLIST", "select 1"));
        assert!(!same("", "select 1"));
    }
}
