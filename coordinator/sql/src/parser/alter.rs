//! `ALTER`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::error::ParseError;
use crate::name::ObjectName;
use crate::statement::{DropPartitions, ReplacePartitions, Statement};
use crate::table::PartitionDefs;

impl StatementParser<'_> {
    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.need("ALTER")?;
        if self.eat_storage_volume() {
            return self.alter_storage_volume();
        }
        match self.eat_one(&["TABLE", "SYSTEM", "DATABASE", "SCHEMA"]) {
            Some("SYSTEM") => self.alter_system(),
            Some("TABLE") => {
                let table = self.object_name("a table's name")?;
                self.alter_table(table)
            }
            Some(_) => {
                let name = self.ident("a database's name")?;
                self.need("RENAME")?;
                Ok(Statement::RenameDatabase { name, to: self.ident("the new name")? })
            }
            None => self.expected("TABLE, DATABASE or SYSTEM"),
        }
    }

    fn alter_table(&mut self, table: ObjectName) -> Result<Statement> {
        if self.compacts() {
            return self.compact(table);
        }
        if self.alters_columns() {
            return self.alter_columns(table);
        }
        if self.eat_all(&["SWAP", "WITH"]) {
            return Ok(Statement::SwapTables { table, other: self.ident("a table's name")? });
        }
        if self.eat("RENAME") {
            if self.eat("PARTITION") {
                let name = self.ident("a partition's name")?;
                return Ok(Statement::RenamePartition { table, name, to: self.ident("the new name")? });
            }
            if self.is_word(0, "ROLLUP") {
                return Err(ParseError::new(self.at(), "rollups are not available yet"));
            }
            let _ = self.eat("TO");
            return Ok(Statement::RenameTable { name: table, to: self.ident("the new name")? });
        }
        if self.eat_all(&["REPLACE", "PARTITION"]) || self.eat_all(&["REPLACE", "PARTITIONS"]) {
            return self.replace_partitions(table);
        }
        if self.is_word(0, "ADD") && self.adds_partitions() {
            self.need("ADD")?;
            return self.add_partitions(table);
        }
        if self.is_word(0, "DROP") && ["PARTITION", "PARTITIONS", "TEMPORARY"].iter().any(|w| self.is_word(1, w)) {
            self.need("DROP")?;
            return self.drop_partitions(table);
        }
        if self.is_word(0, "SET") && self.tokens.peek_nth_token_ref(1).token == Token::LParen {
            self.need("SET")?;
            return Ok(Statement::SetProperties { table, properties: self.property_list()? });
        }
        self.expected(
            "ADD, DROP, MODIFY or RENAME COLUMN, ADD or DROP INDEX, ADD, DROP or REPLACE PARTITION, COMMENT, COMPACT, \
             ORDER BY, RENAME, SET or SWAP WITH",
        )
    }

    /// Whether what follows `ADD` is `[IF NOT EXISTS] [TEMPORARY] PARTITION[S]`.
    fn adds_partitions(&self) -> bool {
        let exists = ["IF", "NOT", "EXISTS"].iter().zip(1..).all(|(word, n)| self.is_word(n, word));
        let at = if exists { 4 } else { 1 };
        let at = if self.is_word(at, "TEMPORARY") { at + 1 } else { at };
        self.is_word(at, "PARTITION") || self.is_word(at, "PARTITIONS")
    }

    fn add_partitions(&mut self, table: ObjectName) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let temporary = self.eat("TEMPORARY");
        if self.eat("PARTITIONS") {
            if if_not_exists {
                let message = "IF NOT EXISTS stands before PARTITION alone: START .. END .. EVERY makes many";
                return Err(ParseError::new(self.at(), message));
            }
            let partitions = PartitionDefs::Range(vec![self.every()?]);
            let properties = self.added_properties()?;
            return Ok(Statement::AddPartitions { table, temporary, partitions, properties });
        }
        let partitions = self.added_partition(if_not_exists)?;
        Ok(Statement::AddPartitions { table, temporary, partitions, properties: self.properties()? })
    }

    fn drop_partitions(&mut self, table: ObjectName) -> Result<Statement> {
        let temporary = self.eat("TEMPORARY");
        let many = match self.eat_one(&["PARTITIONS", "PARTITION"]) {
            Some(word) => word == "PARTITIONS",
            None => return self.expected("PARTITION"),
        };
        let if_exists = self.if_exists();
        let names = if many {
            self.parenthesized(|p| p.ident("a partition's name"))?
        } else {
            vec![self.ident("a partition's name")?]
        };
        let force = self.eat("FORCE");
        Ok(Statement::DropPartitions(DropPartitions { table, temporary, if_exists, names, force }))
    }

    /// What follows `REPLACE PARTITION`.
    fn replace_partitions(&mut self, table: ObjectName) -> Result<Statement> {
        let partitions = self.parenthesized(|p| p.ident("a partition's name"))?;
        self.need("WITH")?;
        self.need("TEMPORARY")?;
        let temporary = self.partition_names()?;
        let properties = self.properties()?;
        Ok(Statement::ReplacePartitions(ReplacePartitions { table, partitions, temporary, properties }))
    }

    /// `("k" = "v")` or `PROPERTIES (..)`, if either stands next.
    fn added_properties(&mut self) -> Result<Vec<crate::table::Property>> {
        if self.peek() == &Token::LParen { self.property_list() } else { self.properties() }
    }
}
