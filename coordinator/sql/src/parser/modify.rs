//! `DELETE` and `UPDATE`.

use sqlparser::ast;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::query::rewrite_unnest;
use super::{Result, StatementParser};
use crate::modify::{Assignment, Delete, Update};
use crate::statement::Statement;

/// What begins a statement that changes rows.
const VERBS: [&str; 2] = ["DELETE", "UPDATE"];

impl StatementParser<'_> {
    /// Whether a `DELETE` or `UPDATE` stands next, also behind common table expressions.
    pub(super) fn is_modification(&self) -> bool {
        if !self.is_word(0, "WITH") {
            return VERBS.iter().any(|verb| self.is_word(0, verb));
        }
        // The verb follows the parenthesis that closes the last expression. No token is looked at twice: a query behind
        // WITH may be long.
        let mut depth = 0_usize;
        let mut closed = false;
        for index in self.tokens.index().. {
            match &self.tokens.token_at(index).token {
                Token::Whitespace(_) => continue,
                Token::EOF | Token::SemiColon => return false,
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Word(word) if closed && depth == 0 && word.quote_style.is_none() => {
                    match word.keyword {
                        Keyword::DELETE | Keyword::UPDATE => return true,
                        // `WITH x (a) AS (..)`
                        Keyword::AS => {}
                        _ => return false,
                    }
                }
                _ => {}
            }
            closed = self.tokens.token_at(index).token == Token::RParen;
        }
        false
    }

    /// `[WITH ..] {DELETE | UPDATE} ..`
    pub(super) fn modification(&mut self) -> Result<Statement> {
        let with = if self.is_word(0, "WITH") { Some(Box::new(self.common_tables()?)) } else { None };
        match self.eat_one(&VERBS) {
            Some("DELETE") => Ok(Statement::Delete(Box::new(self.delete(with)?))),
            Some(_) => Ok(Statement::Update(Box::new(self.update(with)?))),
            None => self.expected("DELETE or UPDATE"),
        }
    }

    /// `WITH [RECURSIVE] name AS (query), ..`
    fn common_tables(&mut self) -> Result<ast::With> {
        self.need("WITH")?;
        let mut with = self.with(|p| {
            let recursive = p.parse_keyword(Keyword::RECURSIVE);
            let cte_tables = p.parse_comma_separated(Parser::parse_cte)?;
            Ok(ast::With { with_token: AttachedToken::empty(), recursive, cte_tables })
        })?;
        rewrite_unnest(&mut with);
        Ok(with)
    }

    fn delete(&mut self, with: Option<Box<ast::With>>) -> Result<Delete> {
        self.need("FROM")?;
        let table = self.object_name("a table's name")?;
        let partitions = if self.eat("PARTITION") || self.eat("PARTITIONS") {
            self.parenthesized(|p| p.ident("a partition's name"))?
        } else {
            Vec::new()
        };
        let using = if self.eat("USING") { self.relations()? } else { Vec::new() };
        Ok(Delete { table, partitions, with, using, filter: self.filter()? })
    }

    fn update(&mut self, with: Option<Box<ast::With>>) -> Result<Update> {
        let table = self.object_name("a table's name")?;
        self.need("SET")?;
        let assignments = self.list(Self::new_value)?;
        let from = if self.eat("FROM") { self.relations()? } else { Vec::new() };
        Ok(Update { table, assignments, with, from, filter: self.filter()? })
    }

    /// `column = expression`
    fn new_value(&mut self) -> Result<Assignment> {
        let column = self.ident("a column's name")?;
        self.need_token(&Token::Eq)?;
        let mut value = self.with(|p| p.parse_expr())?;
        rewrite_unnest(&mut value);
        Ok(Assignment { column, value })
    }

    /// `a JOIN b ON .., c`
    fn relations(&mut self) -> Result<Vec<ast::TableWithJoins>> {
        let mut relations = self.list(|p| p.with(|p| p.parse_table_and_joins()))?;
        rewrite_unnest(&mut relations);
        Ok(relations)
    }

    /// `WHERE condition`, if it stands next.
    fn filter(&mut self) -> Result<Option<ast::Expr>> {
        if !self.eat("WHERE") {
            return Ok(None);
        }
        let mut filter = self.with(|p| p.parse_expr())?;
        rewrite_unnest(&mut filter);
        Ok(Some(filter))
    }
}
