//! `INSERT`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::error::ParseError;
use crate::files::FILES;
use crate::name::{Ident, Literal};
use crate::statement::{Insert, Statement};

impl StatementParser<'_> {
    pub(super) fn insert(&mut self) -> Result<Statement> {
        self.need("INSERT")?;
        let Some(verb) = self.eat_one(&["INTO", "OVERWRITE"]) else { return self.expected("INTO or OVERWRITE") };
        let overwrite = verb == "OVERWRITE";
        let _ = self.eat("TABLE");
        if self.is_word(0, FILES) && self.tokens.peek_nth_token_ref(1).token == Token::LParen {
            return Err(ParseError::new(
                self.at(),
                "INSERT INTO FILES is not available yet: only tables can be loaded",
            ));
        }
        let table = self.object_name("a table's name")?;
        let (mut partitions, mut temporary) = (Vec::new(), false);
        let mut label = None;
        let mut columns = Vec::new();
        loop {
            if partitions.is_empty() && self.is_word(0, "TEMPORARY") {
                self.need("TEMPORARY")?;
                temporary = true;
                partitions = self.partition_names()?;
            } else if partitions.is_empty() && (self.is_word(0, "PARTITION") || self.is_word(0, "PARTITIONS")) {
                partitions = self.partition_names()?;
            } else if label.is_none() && self.is_label() {
                label = Some(self.label()?);
            } else if columns.is_empty() && self.is_column_list() {
                columns = self.column_list()?;
            } else {
                break;
            }
        }
        if !(matches!(self.peek_word(0), Some(w) if ["SELECT", "WITH", "VALUES"].iter().any(|s| s.eq_ignore_ascii_case(w)))
            || self.peek() == &Token::LParen)
        {
            return self.expected("VALUES or a query");
        }
        let source = self.query()?;
        Ok(Statement::Insert(Insert { table, columns, label, partitions, temporary, overwrite, source }))
    }

    /// `WITH LABEL ..`, and not a query whose first common table expression is called `label`.
    fn is_label(&self) -> bool {
        self.is_word(0, "WITH")
            && self.is_word(1, "LABEL")
            && !self.is_word(2, "AS")
            && self.tokens.peek_nth_token_ref(2).token != Token::LParen
    }

    fn label(&mut self) -> Result<Literal> {
        self.need("WITH")?;
        self.need("LABEL")?;
        if let Token::SingleQuotedString(_) = self.peek() {
            let at = self.at();
            return Ok(Literal { text: self.string("a label")?, at });
        }
        let Ident { name: text, at } = self.ident("a label")?;
        Ok(Literal { text, at })
    }

    /// `(a, ..`, and not a query in parentheses.
    fn is_column_list(&self) -> bool {
        self.peek() == &Token::LParen
            && match &self.tokens.peek_nth_token_ref(1).token {
                Token::Word(_) => !["SELECT", "WITH", "VALUES"].iter().any(|w| self.is_word(1, w)),
                _ => false,
            }
    }
}
