//! `ALTER TABLE` of columns and comments, `SHOW ALTER TABLE COLUMN`, `CANCEL ALTER TABLE COLUMN`.

use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::alteration::{Alteration, ColumnPlace, ShowAlterTable};
use crate::error::ParseError;
use crate::name::ObjectName;
use crate::statement::Statement;

impl StatementParser<'_> {
    /// Whether a change of columns, of indexes or of the comment stands next.
    pub(super) fn alters_columns(&self) -> bool {
        let columns = ["ADD", "DROP", "MODIFY", "RENAME"].iter().any(|word| self.is_word(0, word));
        let parenthesis = self.tokens.peek_nth_token_ref(1).token == Token::LParen;
        columns && (self.is_word(1, "COLUMN") || self.is_word(0, "ADD") && parenthesis)
            || ["ADD", "DROP"].iter().any(|word| self.is_word(0, word)) && self.is_word(1, "INDEX")
            || self.is_word(0, "ORDER") && self.is_word(1, "BY")
            || self.is_word(0, "COMMENT")
    }

    /// Changes of columns, separated by commas.
    pub(super) fn alter_columns(&mut self, table: ObjectName) -> Result<Statement> {
        let mut timeout = None;
        let alterations = self.list(|p| {
            if p.alters_columns() {
                p.alteration(&mut timeout)
            } else {
                p.expected(
                    "ADD COLUMN, DROP COLUMN, MODIFY COLUMN, RENAME COLUMN, ADD INDEX, DROP INDEX, ORDER BY or COMMENT",
                )
            }
        })?;
        Ok(Statement::AlterTable { table, alterations, timeout })
    }

    /// One change. Each may say how long all may take: the last counts.
    fn alteration(&mut self, timeout: &mut Option<u32>) -> Result<Alteration> {
        let at = self.at();
        if self.is_word(0, "COMMENT") {
            let comment = self.comment()?.unwrap_or_default();
            return Ok(Alteration::Comment { comment });
        }
        if self.eat_all(&["ORDER", "BY"]) {
            let columns = self.column_list()?;
            self.end_alteration("FROM", timeout)?;
            return Ok(Alteration::OrderBy { columns, at });
        }
        match self.eat_one(&["ADD", "DROP", "MODIFY", "RENAME"]) {
            Some("ADD") if self.is_word(0, "INDEX") => Ok(Alteration::AddIndex { index: self.index()? }),
            Some("DROP") if self.eat("INDEX") => Ok(Alteration::DropIndex { name: self.ident("an index's name")? }),
            Some("ADD") => {
                let _ = self.eat("COLUMN");
                let columns = if self.peek() == &Token::LParen {
                    self.parenthesized(Self::column)?
                } else {
                    vec![self.column()?]
                };
                let place = self.column_place()?;
                self.end_alteration("TO", timeout)?;
                Ok(Alteration::AddColumns { columns, place })
            }
            Some("DROP") => {
                self.need("COLUMN")?;
                let column = self.ident("a column's name")?;
                self.end_alteration("FROM", timeout)?;
                Ok(Alteration::DropColumn { column })
            }
            Some("RENAME") => {
                self.need("COLUMN")?;
                let column = self.ident("a column's name")?;
                let _ = self.eat("TO");
                Ok(Alteration::RenameColumn { column, to: self.ident("the new name")? })
            }
            _ => {
                self.need("COLUMN")?;
                if self.is_word(1, "COMMENT") {
                    let column = self.ident("a column's name")?;
                    let comment = self.comment()?.unwrap_or_default();
                    return Ok(Alteration::CommentColumn { column, comment });
                }
                let column = Box::new(self.column()?);
                let place = self.column_place()?;
                self.end_alteration("FROM", timeout)?;
                Ok(Alteration::ModifyColumn { column, place })
            }
        }
    }

    fn column_place(&mut self) -> Result<Option<ColumnPlace>> {
        let at = self.at();
        if self.eat("FIRST") {
            return Ok(Some(ColumnPlace::First(at)));
        }
        if self.eat("AFTER") {
            return Ok(Some(ColumnPlace::After(self.ident("a column's name")?)));
        }
        Ok(None)
    }

    /// What may follow a change: the rollup that it is of, behind `of`, and how long it may take.
    fn end_alteration(&mut self, of: &str, timeout: &mut Option<u32>) -> Result<()> {
        if self.is_word(0, of) {
            return Err(ParseError::new(self.at(), "rollups are not available yet"));
        }
        for property in self.properties()? {
            if !property.name.trim().eq_ignore_ascii_case("timeout") {
                let message =
                    format!("unknown property `{}` of ALTER TABLE: the only one is \"timeout\"", property.name);
                return Err(ParseError::new(property.at, message));
            }
            let seconds = property.value.trim().parse().ok().filter(|seconds| *seconds > 0);
            *timeout = Some(seconds.ok_or_else(|| {
                let message = format!(
                    "Invalid timeout format: `{}`: \"timeout\" is a whole number of seconds, at least 1",
                    property.value
                );
                ParseError::new(property.at, message)
            })?);
        }
        Ok(())
    }

    /// What follows `SHOW ALTER`.
    pub(super) fn show_alter(&mut self) -> Result<Statement> {
        self.need("TABLE")?;
        if self.is_word(0, "ROLLUP") || self.is_word(0, "OPTIMIZE") {
            return Err(ParseError::new(self.at(), "only SHOW ALTER TABLE COLUMN is available yet"));
        }
        self.need("COLUMN")?;
        let mut show = ShowAlterTable::default();
        if self.eat("FROM") || self.eat("IN") {
            show.database = Some(self.object_name("a database's name")?);
        }
        if self.eat("WHERE") {
            loop {
                let column = self.ident("a column's name")?;
                self.need_token(&Token::Eq)?;
                show.equal.push((column, self.literal("a constant")?.text));
                if !self.eat("AND") {
                    break;
                }
            }
        }
        if self.eat_all(&["ORDER", "BY"]) {
            show.order_by = self.list(|p| {
                let column = p.ident("a column's name")?;
                Ok((column, p.eat_one(&["ASC", "DESC"]) == Some("DESC")))
            })?;
        }
        if self.eat("LIMIT") {
            show.limit = Some(self.count("a number of rows, at least 1")?);
        }
        Ok(Statement::ShowAlterTable(show))
    }

    /// `CANCEL ALTER TABLE COLUMN FROM table`
    pub(super) fn cancel(&mut self) -> Result<Statement> {
        let at = self.at();
        self.need("CANCEL")?;
        if self.is_word(0, "DECOMMISSION") {
            return self.cancel_decommission();
        }
        if !self.eat_all(&["ALTER", "TABLE"]) {
            return Err(ParseError::new(at, "CANCEL is available for ALTER TABLE COLUMN and DECOMMISSION alone yet"));
        }
        if self.is_word(0, "ROLLUP") || self.is_word(0, "OPTIMIZE") {
            return Err(ParseError::new(self.at(), "only CANCEL ALTER TABLE COLUMN is available yet"));
        }
        self.need("COLUMN")?;
        self.need("FROM")?;
        Ok(Statement::CancelAlterTable { table: self.object_name("a table's name")? })
    }
}
