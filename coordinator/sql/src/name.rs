//! Names and literals, with the place they stand at.

use std::fmt;

use sqlparser::tokenizer::Location;

/// A place in the text. Two positions are always equal, so that statements compare by what they say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// Counted from 1; 0 where the statement was not parsed from text.
    pub line: u64,
    /// In characters, counted from 1.
    pub column: u64,
}

impl PartialEq for Position {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Position {}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

/// A name, without its quotes. Compared with case; the planner knows where case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub at: Position,
}

impl Ident {
    /// A name that stands nowhere.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), at: Position::default() }
    }
}

impl fmt::Display for Ident {
    /// In backticks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote_ident(&self.name))
    }
}

/// `[[catalog.]database.]name`: one to three parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// In the order written, never empty.
    pub parts: Vec<Ident>,
}

impl ObjectName {
    /// A name without database.
    pub fn bare(name: impl Into<String>) -> Self {
        Self { parts: vec![Ident::new(name)] }
    }

    /// The last part.
    pub fn ident(&self) -> &Ident {
        self.parts.last().expect("a name has at least one part")
    }

    /// The last part's text.
    pub fn name(&self) -> &str {
        &self.ident().name
    }

    /// The part before the last.
    pub fn database(&self) -> Option<&str> {
        self.parts.len().checked_sub(2).map(|i| self.parts[i].name.as_str())
    }

    /// The part before the database.
    pub fn catalog(&self) -> Option<&str> {
        self.parts.len().checked_sub(3).map(|i| self.parts[i].name.as_str())
    }

    /// Where the name begins.
    pub fn at(&self) -> Position {
        self.parts.first().map_or_else(Position::default, |i| i.at)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

/// A constant: the text of a string without its quotes, or a number as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The value's text.
    pub text: String,
    /// Where it stands.
    pub at: Position,
}

impl Literal {
    /// A literal that stands nowhere.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), at: Position::default() }
    }
}

impl fmt::Display for Literal {
    /// As a string in double quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote_string(&self.text))
    }
}

/// A name in backticks.
pub fn quote_ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A string in double quotes, with everything escaped that the dialect would read otherwise.
pub fn quote_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
