//! Queries: parsed by `sqlparser`, whose syntax tree DataFusion plans.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, ObjectNamePart, Query, TableFactor, VisitMut, VisitorMut};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Result, StatementParser};
use crate::error::ParseError;

/// Words in brackets after `JOIN` that ask for a join's distribution. The optimizer decides that by itself.
const JOIN_HINTS: [&str; 6] = ["BROADCAST", "SHUFFLE", "BUCKET", "COLOCATE", "UNREORDER", "SKEW"];

/// Set operations of one query. A row of them becomes a tree that is as deep, which later steps walk on an ordinary
/// thread's stack.
const MAX_SET_OPERATIONS: usize = 500;

/// Refuses queries of too many set operations before they become a tree, and operations that do not exist.
pub(super) fn check_set_operations(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut operations = 0;
    // EXCEPT or INTERSECT, if it is the word before.
    let mut distinct = None;
    for TokenWithSpan { token, span } in tokens {
        match token {
            Token::SemiColon => operations = 0,
            Token::Whitespace(_) => continue,
            Token::Word(word) if matches!(word.keyword, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT) => {
                operations += 1;
            }
            Token::Word(word) if word.keyword == Keyword::ALL => {
                if let Some(operation) = distinct {
                    let message = format!("{operation:?} ALL is not available: without ALL it gives every row once");
                    return Err(ParseError::new(span.start.into(), message));
                }
            }
            _ => {}
        }
        distinct = match token {
            Token::Word(word) if matches!(word.keyword, Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS) => {
                Some(word.keyword)
            }
            _ => None,
        };
        if operations > MAX_SET_OPERATIONS {
            let message = format!(
                "a query has more than {MAX_SET_OPERATIONS} set operations (UNION, EXCEPT, INTERSECT): split it"
            );
            return Err(ParseError::new(span.start.into(), message));
        }
    }
    Ok(())
}

/// Gives strings one kind of quotes and takes join hints away, which no later step has a use for.
pub(super) fn normalize(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut normal: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for mut token in tokens {
        if let Token::DoubleQuotedString(text) = token.token {
            token.token = Token::SingleQuotedString(text);
        }
        let hint_ends = token.token == Token::RBracket;
        normal.push(token);
        if hint_ends && let Some(start) = join_hint(&normal) {
            normal.truncate(start);
        }
    }
    normal
}

/// The index of the `[` of `JOIN [hint]` that the tokens end with.
fn join_hint(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut meaningful = tokens.iter().enumerate().rev().filter(|(_, t)| !matches!(t.token, Token::Whitespace(_)));
    meaningful.next()?;
    let (_, hint) = meaningful.next()?;
    let (start, bracket) = meaningful.next()?;
    let (_, join) = meaningful.next()?;
    let is_hint = matches!(&hint.token, Token::Word(w) if JOIN_HINTS.iter().any(|h| h.eq_ignore_ascii_case(&w.value)));
    let is_join = matches!(&join.token, Token::Word(w) if w.keyword == Keyword::JOIN);
    (is_hint && bracket.token == Token::LBracket && is_join).then_some(start)
}

impl StatementParser<'_> {
    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        let mut query = self.with(|p| p.parse_query())?;
        rewrite_unnest(&mut query);
        Ok(query)
    }
}

/// Makes each `unnest(..)` in a part of a statement the relation that it is.
pub(super) fn rewrite_unnest(part: &mut impl VisitMut) {
    let _: ControlFlow<()> = part.visit(&mut Unnest);
}

/// Makes `unnest(..)` in `FROM` the relation that DataFusion plans as unnesting; MySQL's dialect does not know it.
struct Unnest;

impl VisitorMut for Unnest {
    type Break = ();

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        let (name, args) = match relation {
            TableFactor::Table { name, args: Some(args), .. } => (name, &mut args.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return ControlFlow::Continue(()),
        };
        let is_unnest = matches!(name.0.as_slice(),
            [ObjectNamePart::Identifier(i)] if i.value.eq_ignore_ascii_case("unnest"));
        let is_plain = args.iter().all(|arg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_))));
        if is_unnest && is_plain {
            let array_exprs: Vec<Expr> = std::mem::take(args)
                .into_iter()
                .filter_map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                    _ => None,
                })
                .collect();
            let (alias, with_ordinality) = match relation {
                TableFactor::Table { alias, with_ordinality, .. }
                | TableFactor::Function { alias, with_ordinality, .. } => (alias.take(), *with_ordinality),
                _ => (None, false),
            };
            *relation = TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality,
            };
        }
        ControlFlow::Continue(())
    }
}
