//! `ALTER SYSTEM`, `CANCEL DECOMMISSION`, `ADMIN`, `SHOW PROC`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::cluster::{AlterSystem, NodeAddress, ShowReplicaStatus};
use crate::error::ParseError;
use crate::statement::Statement;

impl StatementParser<'_> {
    /// What follows `ALTER SYSTEM`.
    pub(super) fn alter_system(&mut self) -> Result<Statement> {
        let at = self.at();
        match self.eat_one(&["DECOMMISSION", "MODIFY", "ADD", "DROP"]) {
            Some("DECOMMISSION") => {
                let nodes = self.storage_nodes()?;
                Ok(Statement::AlterSystem(AlterSystem::Decommission { nodes }))
            }
            Some("MODIFY") => {
                self.storage_node_word()?;
                let node = self.node_address()?;
                self.need("SET")?;
                let properties = self.property_list()?;
                Ok(Statement::AlterSystem(AlterSystem::Modify { node, properties }))
            }
            Some(word) => Err(ParseError::new(
                at,
                format!(
                    "ALTER SYSTEM {word} is not needed: nodes join when they start; to remove one, decommission it, stop it, \
                     then use `tarn admin remove-node`"
                ),
            )),
            None => self.expected("DECOMMISSION or MODIFY"),
        }
    }

    /// `CANCEL DECOMMISSION ..`, of which the first word has been read.
    pub(super) fn cancel_decommission(&mut self) -> Result<Statement> {
        self.need("DECOMMISSION")?;
        let nodes = self.storage_nodes()?;
        Ok(Statement::AlterSystem(AlterSystem::CancelDecommission { nodes }))
    }

    /// `ADMIN SHOW REPLICA STATUS FROM ..`
    pub(super) fn admin(&mut self) -> Result<Statement> {
        self.need("ADMIN")?;
        if !self.eat_all(&["SHOW", "REPLICA", "STATUS"]) {
            return self.expected("SHOW REPLICA STATUS");
        }
        let table = self.of_table()?;
        let partitions = if self.eat("PARTITION") || self.eat("PARTITIONS") {
            self.parenthesized(|p| p.ident("a partition's name"))?
        } else {
            Vec::new()
        };
        let status = if self.eat("WHERE") {
            self.need("STATUS")?;
            let equal = !self.eat_token(&Token::Neq);
            if equal {
                self.need_token(&Token::Eq)?;
            }
            Some((self.string("a status in quotes")?, equal))
        } else {
            None
        };
        Ok(Statement::ShowReplicaStatus(ShowReplicaStatus { table, partitions, status }))
    }

    /// What follows `SHOW PROC`.
    pub(super) fn show_proc(&mut self) -> Result<Statement> {
        let at = self.at();
        Ok(Statement::ShowProc { path: self.string("a path in quotes, such as '/colocation_group'")?, at })
    }

    /// `{STORAGE NODE | BACKEND} "host:port", ..`
    fn storage_nodes(&mut self) -> Result<Vec<NodeAddress>> {
        self.storage_node_word()?;
        self.list(Self::node_address)
    }

    fn storage_node_word(&mut self) -> Result<()> {
        match self.eat_all(&["STORAGE", "NODE"]) || self.eat("BACKEND") {
            true => Ok(()),
            false => self.expected("STORAGE NODE or BACKEND"),
        }
    }

    fn node_address(&mut self) -> Result<NodeAddress> {
        let at = self.at();
        Ok(NodeAddress { address: self.string("a storage node's \"host:port\"")?, at })
    }
}
