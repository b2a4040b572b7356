//! Where a table goes: to the screen if it fits, else through `$PAGER`.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use super::output::Sink;

/// Keeps long lines whole, and ends by itself when everything fits.
const DEFAULT_PAGER: &str = "less -S -F -X";

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub lines: usize,
}

/// An open way to the reader.
pub enum Output {
    /// Straight to the standard output.
    Stdout(io::BufWriter<io::Stdout>),
    /// Through a pager.
    Pager(Child),
}

impl Output {
    /// Opens the way for a text that is `columns` wide and at least `lines` long.
    pub fn open(sink: Sink, columns: usize, lines: usize) -> Self {
        if let Sink::Terminal(screen) = sink
            && (columns > screen.columns || lines + 2 > screen.lines)
            && let Some(child) = start()
        {
            return Self::Pager(child);
        }
        Self::Stdout(io::BufWriter::new(io::stdout()))
    }

    /// Writes a text. Tells whether there still is a reader.
    pub fn write(&mut self, text: &str) -> io::Result<bool> {
        let written = match self {
            Self::Stdout(out) => out.write_all(text.as_bytes()),
            Self::Pager(child) => match &mut child.stdin {
                Some(stdin) => stdin.write_all(text.as_bytes()),
                None => return Ok(false),
            },
        };
        match written {
            // The reader has left the pager: not a failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Waits for the reader to finish.
    pub fn close(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush(),
            Self::Pager(mut child) => {
                drop(child.stdin.take());
                child.wait().map(drop)
            }
        }
    }
}

fn start() -> Option<Child> {
    let pager = std::env::var("PAGER").ok().filter(|p| !p.trim().is_empty());
    let mut words = pager.as_deref().unwrap_or(DEFAULT_PAGER).split_whitespace();
    Command::new(words.next()?).args(words).stdin(Stdio::piped()).spawn().ok()
}
