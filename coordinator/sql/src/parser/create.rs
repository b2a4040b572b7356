//! `CREATE`, `DROP`, `TRUNCATE`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::alteration::Alteration;
use crate::error::ParseError;
use crate::name::{Ident, ObjectName};
use crate::statement::{CreateTableAsSelect, CreateView, Statement, ViewColumn};
use crate::table::{ColumnDef, ColumnDefault, CreateTable, DistributedBy, Index, Model, ModelKind};

/// Functions that aggregate the values of rows with equal keys.
const AGGREGATIONS: [&str; 8] =
    ["SUM", "MIN", "MAX", "REPLACE_IF_NOT_NULL", "REPLACE", "HLL_UNION", "BITMAP_UNION", "PERCENTILE_UNION"];

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        self.need("CREATE")?;
        let or_replace = self.eat_all(&["OR", "REPLACE"]);
        if self.eat("VIEW") {
            return self.create_view(or_replace);
        }
        if or_replace {
            return self.expected("VIEW");
        }
        if self.eat("TABLE") {
            return self.create_table();
        }
        if self.eat("DATABASE") || self.eat("SCHEMA") {
            let if_not_exists = self.if_not_exists();
            let name = self.ident("a database's name")?;
            return Ok(Statement::CreateDatabase { if_not_exists, name, properties: self.properties()? });
        }
        if self.eat_storage_volume() {
            return self.create_storage_volume();
        }
        if self.is_word(0, "INDEX") {
            return self.create_index();
        }
        for (words, what) in [
            (["MATERIALIZED", "VIEW"], "CREATE MATERIALIZED VIEW"),
            (["EXTERNAL", "TABLE"], "CREATE EXTERNAL TABLE"),
            (["EXTERNAL", "CATALOG"], "CREATE EXTERNAL CATALOG"),
            (["TEMPORARY", "TABLE"], "CREATE TEMPORARY TABLE"),
        ] {
            if self.is_word(0, words[0]) && self.is_word(1, words[1]) {
                return Err(ParseError::new(self.at(), format!("{what} is not available yet")));
            }
        }
        self.expected("DATABASE, INDEX, STORAGE VOLUME, TABLE or VIEW")
    }

    /// `INDEX name ON table (column) ..`
    fn create_index(&mut self) -> Result<Statement> {
        self.need("INDEX")?;
        let name = self.ident("an index's name")?;
        self.need("ON")?;
        let table = self.object_name("a table's name")?;
        let index = self.index_of(name)?;
        Ok(Statement::AlterTable { table, alterations: vec![Alteration::AddIndex { index }], timeout: None })
    }

    fn create_view(&mut self, or_replace: bool) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.object_name("a view's name")?;
        let columns = if self.peek() == &Token::LParen { self.parenthesized(Self::view_column)? } else { Vec::new() };
        let comment = self.comment()?;
        self.need("AS")?;
        let start = self.location();
        let query = self.query()?;
        let query_text = self.text_since(start).to_owned();
        Ok(Statement::CreateView(CreateView { or_replace, if_not_exists, name, columns, comment, query, query_text }))
    }

    fn view_column(&mut self) -> Result<ViewColumn> {
        Ok(ViewColumn { name: self.ident("a column's name")?, comment: self.comment()? })
    }

    fn create_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.object_name("a table's name")?;
        if self.eat("LIKE") {
            let like = self.object_name("a table's name")?;
            return Ok(Statement::CreateTableLike { if_not_exists, name, like });
        }
        let mut table = CreateTable {
            if_not_exists,
            name,
            columns: Vec::new(),
            indexes: Vec::new(),
            engine: None,
            model: None,
            comment: None,
            partition: None,
            distribution: None,
            order_by: Vec::new(),
            properties: Vec::new(),
        };
        let mut names = Vec::new();
        let has_columns = self.peek() == &Token::LParen;
        if has_columns && matches!(self.tokens.peek_nth_token_ref(2).token, Token::Comma | Token::RParen) {
            names = self.column_list()?;
        } else if has_columns {
            self.columns(&mut table)?;
        }
        self.table_clauses(&mut table)?;
        let is_query = self.is_word(0, "AS") || self.is_word(0, "SELECT") || self.is_word(0, "WITH");
        if table.columns.is_empty() && (is_query || !has_columns || !names.is_empty()) {
            if !is_query && !has_columns {
                return self.expected("( and columns, LIKE or AS and a query");
            }
            let _ = self.eat("AS");
            let query = self.query()?;
            return Ok(Statement::CreateTableAsSelect(CreateTableAsSelect {
                table: Box::new(table),
                columns: names,
                query,
            }));
        }
        Ok(Statement::CreateTable(Box::new(table)))
    }

    /// `(column, .., index, ..)`
    fn columns(&mut self, table: &mut CreateTable) -> Result<()> {
        self.need_token(&Token::LParen)?;
        loop {
            if self.is_index() {
                let index = self.index()?;
                table.indexes.push(index);
            } else {
                let column = self.column()?;
                table.columns.push(column);
            }
            if !self.eat_token(&Token::Comma) {
                break;
            }
        }
        if !self.eat_token(&Token::RParen) {
            return self.expected(", or ) after a column");
        }
        Ok(())
    }

    /// `INDEX name (column`, and not a column called `index` of a type with a length.
    fn is_index(&self) -> bool {
        self.is_word(0, "INDEX")
            && matches!(self.tokens.peek_nth_token_ref(1).token, Token::Word(_))
            && self.tokens.peek_nth_token_ref(2).token == Token::LParen
            && matches!(self.tokens.peek_nth_token_ref(3).token, Token::Word(_))
    }

    /// `INDEX name (column) ..`
    pub(super) fn index(&mut self) -> Result<Index> {
        self.need("INDEX")?;
        let name = self.ident("an index's name")?;
        self.index_of(name)
    }

    /// What follows the name of an index.
    fn index_of(&mut self, name: Ident) -> Result<Index> {
        let columns = self.column_list()?;
        let mut using = None;
        let mut properties = Vec::new();
        if self.eat("USING") {
            using = Some(self.ident("an index type (BITMAP)")?.name.to_uppercase());
            if self.peek() == &Token::LParen {
                properties = self.property_list()?;
            }
        }
        Ok(Index { name, columns, using, properties, comment: self.comment()? })
    }

    pub(super) fn column(&mut self) -> Result<ColumnDef> {
        let name = self.ident("a column's name")?;
        let type_at = self.at();
        let data_type = self.data_type()?;
        let mut column = ColumnDef {
            name,
            data_type,
            type_at,
            key: false,
            aggregation: None,
            nullable: None,
            default: None,
            auto_increment: false,
            generated_as: None,
            comment: None,
        };
        loop {
            let at = self.at();
            let twice = |is_twice: bool, what: &str| match is_twice {
                true => Err(ParseError::new(at, format!("{what} is given twice"))),
                false => Ok(()),
            };
            if self.eat("KEY") {
                twice(column.key, "KEY")?;
                column.key = true;
            } else if self.eat("NULL") {
                twice(column.nullable.is_some(), "NULL or NOT NULL")?;
                column.nullable = Some(true);
            } else if self.eat_all(&["NOT", "NULL"]) {
                twice(column.nullable.is_some(), "NULL or NOT NULL")?;
                column.nullable = Some(false);
            } else if self.eat("DEFAULT") {
                twice(column.default.is_some(), "DEFAULT")?;
                column.default = Some(self.default()?);
            } else if self.eat("AUTO_INCREMENT") {
                twice(column.auto_increment, "AUTO_INCREMENT")?;
                column.auto_increment = true;
            } else if self.is_word(0, "COMMENT") {
                twice(column.comment.is_some(), "COMMENT")?;
                column.comment = self.comment()?;
            } else if self.eat("AS") {
                twice(column.generated_as.is_some(), "AS")?;
                let start = self.location();
                self.with(|p| p.parse_expr())?;
                column.generated_as = Some(self.text_since(start).to_owned());
            } else if let Some(aggregation) = self.eat_one(&AGGREGATIONS) {
                twice(column.aggregation.is_some(), "the aggregation")?;
                column.aggregation = Some(aggregation.to_owned());
            } else {
                return Ok(column);
            }
        }
    }

    fn default(&mut self) -> Result<ColumnDefault> {
        if self.eat("NULL") {
            return Ok(ColumnDefault::Null);
        }
        if self.eat("CURRENT_TIMESTAMP") || self.eat("NOW") {
            if self.eat_token(&Token::LParen) {
                // The column keeps microseconds whatever the precision asked for.
                if self.peek() != &Token::RParen {
                    self.count("a precision or )")?;
                }
                self.need_token(&Token::RParen)?;
            }
            return Ok(ColumnDefault::CurrentTimestamp);
        }
        match self.peek() {
            Token::LParen => {
                self.need_token(&Token::LParen)?;
                let start = self.location();
                self.with(|p| p.parse_expr())?;
                let text = self.text_since(start).to_owned();
                self.need_token(&Token::RParen)?;
                Ok(ColumnDefault::Expr(text))
            }
            Token::Word(_) if self.tokens.peek_nth_token_ref(1).token == Token::LParen => {
                let start = self.location();
                self.with(|p| p.parse_prefix())?;
                Ok(ColumnDefault::Expr(self.text_since(start).to_owned()))
            }
            _ => Ok(ColumnDefault::Value(
                self.literal("a default: a constant, NULL, CURRENT_TIMESTAMP or (expression)")?,
            )),
        }
    }

    /// Everything after the columns, in any order.
    fn table_clauses(&mut self, table: &mut CreateTable) -> Result<()> {
        loop {
            let at = self.at();
            let once = |is_first: bool, what: &str| match is_first {
                true => Ok(()),
                false => Err(ParseError::new(at, format!("{what} is given twice"))),
            };
            if self.eat("ENGINE") {
                once(table.engine.is_none(), "ENGINE")?;
                self.need_token(&Token::Eq)?;
                table.engine = Some(self.ident("an engine")?.name);
            } else if let Some(model) = self.model()? {
                once(table.model.is_none(), "the table model")?;
                table.model = Some(model);
            } else if self.is_word(0, "COMMENT") {
                once(table.comment.is_none(), "COMMENT")?;
                table.comment = self.comment()?;
            } else if self.eat_all(&["PARTITION", "BY"]) {
                once(table.partition.is_none(), "PARTITION BY")?;
                table.partition = Some(self.partition_by(at)?);
            } else if self.eat_all(&["DISTRIBUTED", "BY"]) {
                once(table.distribution.is_none(), "DISTRIBUTED BY")?;
                table.distribution = Some(self.distributed_by(at)?);
            } else if self.eat_all(&["ORDER", "BY"]) {
                once(table.order_by.is_empty(), "ORDER BY")?;
                table.order_by = self.column_list()?;
            } else if self.is_word(0, "PROPERTIES") {
                once(table.properties.is_empty(), "PROPERTIES")?;
                table.properties = self.properties()?;
            } else {
                return Ok(());
            }
        }
    }

    fn model(&mut self) -> Result<Option<Model>> {
        let at = self.at();
        let kinds = [
            ("DUPLICATE", ModelKind::Duplicate),
            ("AGGREGATE", ModelKind::Aggregate),
            ("UNIQUE", ModelKind::Unique),
            ("PRIMARY", ModelKind::PrimaryKey),
        ];
        for (word, kind) in kinds {
            if self.eat(word) {
                self.need("KEY")?;
                return Ok(Some(Model { kind, keys: self.column_list()?, at }));
            }
        }
        Ok(None)
    }

    fn distributed_by(&mut self, at: crate::name::Position) -> Result<DistributedBy> {
        let columns = match self.eat_one(&["HASH", "RANDOM"]) {
            Some("HASH") => Some(self.column_list()?),
            Some(_) => None,
            None => return self.expected("HASH or RANDOM"),
        };
        let buckets = if self.eat("BUCKETS") { Some(self.count("the number of buckets, at least 1")?) } else { None };
        Ok(match columns {
            Some(columns) => DistributedBy::Hash { columns, buckets, at },
            None => DistributedBy::Random { buckets, at },
        })
    }

    pub(super) fn drop_object(&mut self) -> Result<Statement> {
        self.need("DROP")?;
        if self.eat_storage_volume() {
            return self.drop_storage_volume();
        }
        match self.eat_one(&["TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA"]) {
            Some("INDEX") => {
                let name = self.ident("an index's name")?;
                self.need("ON")?;
                let table = self.object_name("a table's name")?;
                Ok(Statement::AlterTable { table, alterations: vec![Alteration::DropIndex { name }], timeout: None })
            }
            Some("TABLE") => {
                let (if_exists, name) = self.dropped("a table's name")?;
                Ok(Statement::DropTable { if_exists, name, force: self.eat("FORCE") })
            }
            Some("VIEW") => {
                let (if_exists, name) = self.dropped("a view's name")?;
                Ok(Statement::DropView { if_exists, name })
            }
            Some(_) => {
                let if_exists = self.if_exists();
                let name: Ident = self.ident("a database's name")?;
                Ok(Statement::DropDatabase { if_exists, name, force: self.eat("FORCE") })
            }
            None => self.expected("DATABASE, INDEX, STORAGE VOLUME, TABLE or VIEW"),
        }
    }

    fn dropped(&mut self, what: &str) -> Result<(bool, ObjectName)> {
        Ok((self.if_exists(), self.object_name(what)?))
    }

    pub(super) fn truncate(&mut self) -> Result<Statement> {
        self.need("TRUNCATE")?;
        let _ = self.eat("TABLE");
        let name = self.object_name("a table's name")?;
        let partitions = if self.eat("PARTITION") || self.eat("PARTITIONS") {
            self.parenthesized(|p| p.ident("a partition's name"))?
        } else {
            Vec::new()
        };
        Ok(Statement::TruncateTable { name, partitions })
    }
}
