//! Statements of a text that may not be finished: what a shell holds while somebody types.

/// A text cut at its semicolons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split<'a> {
    /// Statements that a semicolon ended, without it; blank ones are left out.
    pub complete: Vec<&'a str>,
    /// What stands after the last semicolon: an unfinished statement, or nothing but blanks and comments.
    pub rest: &'a str,
}

/// The statements of a text, without their semicolons; the last may lack its semicolon. Blank ones are left out.
pub fn split(sql: &str) -> Vec<&str> {
    let Split { mut complete, rest } = split_complete(sql);
    if !is_blank(rest) {
        complete.push(rest);
    }
    complete
}

/// The statements of a text that are complete, and the rest. Semicolons in quotes and comments do not count.
pub fn split_complete(sql: &str) -> Split<'_> {
    let mut split = Split::default();
    let mut start = 0;
    let mut at = 0;
    while let Some(piece) = Piece::first(&sql[at..]) {
        if let Piece::Semicolon = piece {
            let statement = &sql[start..at];
            if !is_blank(statement) {
                split.complete.push(statement);
            }
            start = at + 1;
        }
        at += piece.len();
    }
    split.rest = &sql[start..];
    split
}

/// Whether there is nothing but blanks and comments.
fn is_blank(sql: &str) -> bool {
    let mut rest = sql;
    while let Some(piece) = Piece::first(rest) {
        match piece {
            Piece::Blank(n) => rest = &rest[n..],
            Piece::Semicolon | Piece::Text(_) => return false,
        }
    }
    true
}

/// What a text begins with, and its length in bytes.
enum Piece {
    Semicolon,
    /// White space or a comment.
    Blank(usize),
    /// A quoted text, possibly without its end, or a character.
    Text(usize),
}

impl Piece {
    fn first(text: &str) -> Option<Self> {
        let first = text.chars().next()?;
        Some(match first {
            ';' => Self::Semicolon,
            '\'' | '"' => Self::Text(quoted(text, first, true)),
            '`' => Self::Text(quoted(text, first, false)),
            '#' => Self::Blank(line(text)),
            '-' if text.starts_with("--") => Self::Blank(line(text)),
            '/' if text.starts_with("/*") => Self::Blank(text[2..].find("*/").map_or(text.len(), |n| n + 4)),
            c if c.is_whitespace() => Self::Blank(c.len_utf8()),
            c => Self::Text(c.len_utf8()),
        })
    }

    const fn len(&self) -> usize {
        match self {
            Self::Semicolon => 1,
            Self::Blank(n) | Self::Text(n) => *n,
        }
    }
}

/// Length of a quoted text. A doubled quote needs no care: it ends one text and begins the next.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return at + 1;
        }
        if escapes && c == '\\' {
            chars.next();
        }
    }
    text.len()
}

/// Length up to the end of the line.
fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}
