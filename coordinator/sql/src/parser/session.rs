//! `USE`, `SET`, `KILL`.

use sqlparser::ast::{Expr, Value};
use sqlparser::tokenizer::Token;

use super::{Result, StatementParser};
use crate::error::ParseError;
use crate::name::Position;
use crate::statement::{Scope, SetValue, SetVariable, Statement};

impl StatementParser<'_> {
    pub(super) fn use_database(&mut self) -> Result<Statement> {
        self.need("USE")?;
        let mut parts = self.object_name("a database's name")?.parts;
        if let Some(extra) = parts.get(2) {
            return Err(ParseError::new(extra.at, "expected database or catalog.database after USE"));
        }
        let database = parts.pop();
        Ok(Statement::Use { catalog: parts.pop(), database })
    }

    pub(super) fn kill(&mut self) -> Result<Statement> {
        self.need("KILL")?;
        let query = self.eat("QUERY");
        if !query {
            let _ = self.eat("CONNECTION");
        }
        let id = self.literal("the id of a connection or query")?.text;
        Ok(Statement::Kill { id, query })
    }

    pub(super) fn set(&mut self) -> Result<Statement> {
        self.need("SET")?;
        if self.is_word(0, "CATALOG") && self.tokens.peek_nth_token_ref(1).token != Token::Eq {
            self.need("CATALOG")?;
            let catalog = self.ident("a catalog's name")?;
            return Ok(Statement::Use { catalog: Some(catalog), database: None });
        }
        if let Some(statement) = self.default_storage_volume()? {
            return Ok(statement);
        }
        Ok(Statement::Set(self.list(Self::assignment)?))
    }

    fn assignment(&mut self) -> Result<SetVariable> {
        let at = self.at();
        if self.is_word(0, "NAMES") && !self.is_assigned(1) {
            self.need("NAMES")?;
            return self.character_set("names", at);
        }
        if self.eat_all(&["CHARACTER", "SET"]) || (!self.is_assigned(1) && self.eat("CHARSET")) {
            return self.character_set("character_set_client", at);
        }
        let mut scope = None;
        if !self.is_assigned(1) {
            scope = match self.eat_one(&["GLOBAL", "SESSION", "LOCAL"]) {
                Some("GLOBAL") => Some(Scope::Global),
                Some(_) => Some(Scope::Session),
                None => None,
            };
        }
        let at = self.at();
        let mut parts = self.object_name("a variable's name")?.parts;
        let mut name = parts.remove(0).name;
        if let Some(system) = name.strip_prefix("@@") {
            name = system.to_owned();
            let named = match name.to_ascii_lowercase().as_str() {
                "global" => Some(Scope::Global),
                "session" | "local" => Some(Scope::Session),
                _ => None,
            };
            if named.is_some() && !parts.is_empty() {
                scope = named;
                name = parts.remove(0).name;
            }
        } else if let Some(user) = name.strip_prefix('@') {
            name = user.to_owned();
            scope = Some(Scope::User);
        }
        for part in parts {
            name.push('.');
            name.push_str(&part.name);
        }
        if name.is_empty() {
            return Err(ParseError::new(at, "expected a variable's name, found @"));
        }
        if !self.eat_token(&Token::Eq) && !self.eat_token(&Token::Assignment) && !self.eat("TO") {
            return self.expected("=");
        }
        let value = if self.eat("DEFAULT") { SetValue::Default } else { SetValue::Expr(Box::new(self.set_value()?)) };
        Ok(SetVariable { scope: scope.unwrap_or(Scope::Session), name, at, value })
    }

    /// An expression, or a word like `ON` that begins none.
    fn set_value(&mut self) -> Result<Expr> {
        let is_last = matches!(self.tokens.peek_nth_token_ref(1).token, Token::EOF | Token::Comma | Token::SemiColon);
        match self.peek() {
            Token::Word(word)
                if is_last && !matches!(word.value.to_ascii_uppercase().as_str(), "NULL" | "TRUE" | "FALSE") =>
            {
                self.with(|p| p.parse_identifier()).map(Expr::Identifier)
            }
            _ => self.with(|p| p.parse_expr()),
        }
    }

    /// Whether the token `n` from here assigns, or continues a dotted name.
    fn is_assigned(&self, n: usize) -> bool {
        matches!(self.tokens.peek_nth_token_ref(n).token, Token::Eq | Token::Assignment | Token::Period)
    }

    /// `utf8 [COLLATE name]`
    fn character_set(&mut self, variable: &str, at: Position) -> Result<SetVariable> {
        let name = match self.peek() {
            Token::SingleQuotedString(_) => self.string("a character set")?,
            _ => self.ident("a character set")?.name,
        };
        if self.eat("COLLATE") {
            match self.peek() {
                Token::SingleQuotedString(_) => self.string("a collation")?,
                _ => self.ident("a collation")?.name,
            };
        }
        let value = SetValue::Expr(Box::new(Expr::value(Value::SingleQuotedString(name))));
        Ok(SetVariable { scope: Scope::Session, name: variable.to_owned(), at, value })
    }
}
