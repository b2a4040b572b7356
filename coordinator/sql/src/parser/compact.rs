//! `ALTER TABLE .. COMPACT`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::compaction::CompactTable;
use crate::name::ObjectName;
use crate::statement::Statement;

impl StatementParser<'_> {
    /// Whether `[BASE | CUMULATIVE] COMPACT` stands next.
    pub(super) fn compacts(&self) -> bool {
        let kind = ["BASE", "CUMULATIVE"].iter().any(|word| self.is_word(0, word));
        self.is_word(usize::from(kind), "COMPACT")
    }

    /// What follows the table's name.
    pub(super) fn compact(&mut self, table: ObjectName) -> Result<Statement> {
        let cumulative = self.eat_one(&["BASE", "CUMULATIVE"]) == Some("CUMULATIVE");
        self.need("COMPACT")?;
        let named = self.eat("PARTITION") || self.eat("PARTITIONS");
        let partitions = match self.peek() {
            Token::LParen => self.parenthesized(|p| p.ident("a partition's name"))?,
            Token::Word(_) => vec![self.ident("a partition's name")?],
            _ if named => return self.expected("a partition's name"),
            _ => Vec::new(),
        };
        Ok(Statement::CompactTable(CompactTable { table, partitions, cumulative }))
    }
}
