//! `SHOW`, `DESC`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::files::FILES;
use crate::name::ObjectName;
use crate::statement::{Scope, Statement};

impl StatementParser<'_> {
    pub(super) fn show(&mut self) -> Result<Statement> {
        self.need("SHOW")?;
        let full = self.eat("FULL");
        let scope = match self.eat_one(&["GLOBAL", "SESSION", "LOCAL"]) {
            Some("GLOBAL") => Some(Scope::Global),
            Some(_) => Some(Scope::Session),
            None => None,
        };
        if scope.is_some() || self.is_word(0, "VARIABLES") {
            self.need("VARIABLES")?;
            return Ok(Statement::ShowVariables { scope: scope.unwrap_or(Scope::Session), like: self.like()? });
        }
        if self.eat("TABLES") {
            let from = if self.eat_from() { Some(self.object_name("a database's name")?) } else { None };
            return Ok(Statement::ShowTables { full, from, like: self.like()? });
        }
        if self.eat("COLUMNS") || self.eat("FIELDS") {
            let table = self.of_table()?;
            return Ok(Statement::ShowColumns { full, table, like: self.like()? });
        }
        if !full && self.eat_one(&["INDEX", "INDEXES", "KEYS", "KEY"]).is_some() {
            return Ok(Statement::ShowIndex { table: self.of_table()? });
        }
        if self.eat("PROCESSLIST") {
            return Ok(Statement::ShowProcesslist { full });
        }
        if full {
            return self.expected("TABLES, COLUMNS or PROCESSLIST");
        }
        if self.eat("DATABASES") || self.eat("SCHEMAS") {
            let catalog = if self.eat_from() { Some(self.ident("a catalog's name")?) } else { None };
            return Ok(Statement::ShowDatabases { catalog, like: self.like()? });
        }
        if self.eat("CREATE") {
            return self.show_create();
        }
        if self.eat_all(&["COLOCATION", "GROUPS"]) {
            return Ok(Statement::ShowColocationGroups);
        }
        if self.eat("PROC") {
            return self.show_proc();
        }
        if self.eat("ALTER") {
            return self.show_alter();
        }
        let temporary = self.is_word(0, "TEMPORARY") && self.is_word(1, "PARTITIONS") && self.eat("TEMPORARY");
        if self.eat("PARTITIONS") {
            return Ok(Statement::ShowPartitions { temporary, table: self.of_table()? });
        }
        if self.eat("TABLETS") || self.eat("TABLET") {
            let table = self.of_table()?;
            let partitions = if self.eat("PARTITION") || self.eat("PARTITIONS") {
                self.parenthesized(|p| p.ident("a partition's name"))?
            } else {
                Vec::new()
            };
            return Ok(Statement::ShowTablets { table, partitions });
        }
        if self.eat("COMPACTIONS") {
            let from = self.is_word(0, "FROM") || self.is_word(0, "IN");
            return Ok(Statement::ShowCompactions { table: from.then(|| self.of_table()).transpose()? });
        }
        if self.eat_all(&["COMPUTE", "NODES"]) {
            return Ok(Statement::ShowComputeNodes);
        }
        if self.eat_all(&["STORAGE", "VOLUMES"]) {
            return Ok(Statement::ShowStorageVolumes { like: self.like()? });
        }
        if self.eat_all(&["STORAGE", "NODES"]) || self.eat("BACKENDS") {
            return Ok(Statement::ShowStorageNodes);
        }
        match self.eat_one(&["COORDINATORS", "FRONTENDS", "CATALOGS", "WARNINGS", "ERRORS"]) {
            Some("COORDINATORS" | "FRONTENDS") => Ok(Statement::ShowCoordinators),
            Some("CATALOGS") => Ok(Statement::ShowCatalogs),
            Some(_) => Ok(Statement::ShowWarnings),
            None => self.expected(
                "ALTER TABLE COLUMN, CATALOGS, COLOCATION GROUPS, COLUMNS, COMPACTIONS, COMPUTE NODES, COORDINATORS, CREATE, DATABASES, INDEX, PARTITIONS, \
                 PROCESSLIST, STORAGE NODES, STORAGE VOLUMES, TABLES, TABLETS, TEMPORARY PARTITIONS, VARIABLES or WARNINGS",
            ),
        }
    }

    fn show_create(&mut self) -> Result<Statement> {
        match self.eat_one(&["TABLE", "VIEW", "DATABASE", "SCHEMA"]) {
            Some("TABLE") => Ok(Statement::ShowCreateTable { table: self.object_name("a table's name")? }),
            Some("VIEW") => Ok(Statement::ShowCreateView { view: self.object_name("a view's name")? }),
            Some(_) => Ok(Statement::ShowCreateDatabase { database: self.ident("a database's name")? }),
            None => self.expected("TABLE, VIEW or DATABASE"),
        }
    }

    pub(super) fn describe(&mut self) -> Result<Statement> {
        if !self.eat("DESC") {
            self.need("DESCRIBE")?;
        }
        if self.is_word(0, FILES) && self.tokens.peek_nth_token_ref(1).token == Token::LParen {
            self.need(FILES)?;
            let properties = self.property_list()?.into_iter().map(|p| (p.name.to_lowercase(), p.value)).collect();
            return Ok(Statement::DescribeFiles { properties });
        }
        if self.eat_storage_volume() {
            return self.describe_storage_volume();
        }
        let table = self.object_name("a table's name")?;
        let _ = self.eat("ALL");
        Ok(Statement::Describe { table })
    }

    fn eat_from(&mut self) -> bool {
        self.eat("FROM") || self.eat("IN")
    }

    /// `FROM table [FROM database]`
    pub(super) fn of_table(&mut self) -> Result<ObjectName> {
        if !self.eat_from() {
            return self.expected("FROM");
        }
        let mut table = self.object_name("a table's name")?;
        if table.parts.len() == 1 && self.eat_from() {
            let mut database = self.object_name("a database's name")?;
            database.parts.truncate(2);
            database.parts.append(&mut table.parts);
            table = database;
        }
        Ok(table)
    }

    fn like(&mut self) -> Result<Option<String>> {
        if self.eat("LIKE") { self.string("a pattern in quotes").map(Some) } else { Ok(None) }
    }
}
