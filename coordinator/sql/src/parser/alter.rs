//! `ALTER`.

use super::{Result, StatementParser};
use crate::error::ParseError;
use crate::name::ObjectName;
use crate::statement::{DropPartitions, Statement};
use crate::table::PartitionDefs;

impl StatementParser<'_> {
    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.need("ALTER")?;
        match self.eat_one(&["TABLE", "DATABASE", "SCHEMA"]) {
            Some("TABLE") => {
                let table = self.object_name("a table's name")?;
                self.alter_table(table)
            }
            Some(_) => {
                let name = self.ident("a database's name")?;
                self.need("RENAME")?;
                Ok(Statement::RenameDatabase { name, to: self.ident("the new name")? })
            }
            None => self.expected("TABLE or DATABASE"),
        }
    }

    fn alter_table(&mut self, table: ObjectName) -> Result<Statement> {
        if self.eat("RENAME") {
            if self.eat("PARTITION") {
                let name = self.ident("a partition's name")?;
                return Ok(Statement::RenamePartition { table, name, to: self.ident("the new name")? });
            }
            if self.is_word(0, "COLUMN") || self.is_word(0, "ROLLUP") {
                return Err(ParseError::new(self.at(), "only tables and partitions can be renamed yet"));
            }
            let _ = self.eat("TO");
            return Ok(Statement::RenameTable { name: table, to: self.ident("the new name")? });
        }
        if self.is_word(1, "TEMPORARY") {
            return Err(ParseError::new(self.at(), "temporary partitions are not available yet"));
        }
        if self.is_word(0, "ADD") && self.is_word(1, "PARTITION") {
            self.need("ADD")?;
            let partitions = self.added_partition()?;
            return Ok(Statement::AddPartitions { table, partitions, properties: self.properties()? });
        }
        if self.eat_all(&["ADD", "PARTITIONS"]) {
            let partitions = PartitionDefs::Range(vec![self.every()?]);
            return Ok(Statement::AddPartitions { table, partitions, properties: self.added_properties()? });
        }
        if self.is_word(0, "DROP") && (self.is_word(1, "PARTITION") || self.is_word(1, "PARTITIONS")) {
            self.need("DROP")?;
            let many = self.eat("PARTITIONS");
            if !many {
                self.need("PARTITION")?;
            }
            let if_exists = self.if_exists();
            let names = if many {
                self.parenthesized(|p| p.ident("a partition's name"))?
            } else {
                vec![self.ident("a partition's name")?]
            };
            let force = self.eat("FORCE");
            return Ok(Statement::DropPartitions(DropPartitions { table, if_exists, names, force }));
        }
        self.expected("ADD PARTITION, DROP PARTITION or RENAME")
    }

    /// `("k" = "v")` or `PROPERTIES (..)`, if either stands next.
    fn added_properties(&mut self) -> Result<Vec<crate::table::Property>> {
        if self.peek() == &sqlparser::tokenizer::Token::LParen { self.property_list() } else { self.properties() }
    }
}
