//! Which tokens and expressions there are.

use std::any::TypeId;

use sqlparser::ast::{
    BinaryOperator, CastKind, Expr, LambdaFunction, LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens,
};
use sqlparser::dialect::{Dialect, MySqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::types::parse_cast_type;

/// Operators that may follow each other without parentheses. A row of them becomes a tree that is as deep, which later
/// steps walk, and drop, on an ordinary thread's stack.
const MAX_CHAIN: usize = 5_000;
/// The same before `::` and `DIV`, where a row is copied once for each of its operators.
const MAX_COPIED_CHAIN: usize = 100;
/// Parameters of a lambda. Whether a parenthesis begins a lambda is seen only behind its parameters, so that a long list
/// that is none would be read twice.
const MAX_LAMBDA_PARAMETERS: usize = 16;

/// StarRocks' dialect: MySQL's tokens, and every query and expression that DataFusion can plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct TarnDialect;

impl Dialect for TarnDialect {
    /// MySQL where the parser asks: that gives `#` comments and the separator of `group_concat`.
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_' || ch == '@' || (!ch.is_ascii() && !ch.is_whitespace())
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.is_identifier_start(ch) || ch.is_ascii_digit() || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _: &str) -> Option<char> {
        Some('`')
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn ignores_wildcard_escapes(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    fn supports_dictionary_syntax(&self) -> bool {
        true
    }

    fn support_map_literal_syntax(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_cross_join_constraint(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_double_ampersand_operator(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_data_type_signed_suffix(&self) -> bool {
        true
    }

    fn supports_match_against(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second, third] = parser.peek_tokens_ref();
        match (&first.token, &second.token) {
            (Token::Word(word), Token::LParen) if word.quote_style.is_none() => match word.keyword {
                Keyword::CAST => Some(parse_cast(parser, CastKind::Cast)),
                Keyword::TRY_CAST => Some(parse_cast(parser, CastKind::TryCast)),
                _ => None,
            },
            // `x -> x + 1`, but not `document -> '$.path'`.
            (Token::Word(_), Token::Arrow) if !matches!(third.token, Token::SingleQuotedString(_)) => {
                Some(parse_lambda(parser))
            }
            (Token::LParen, Token::Word(_)) if is_lambda(parser) => Some(parse_lambda(parser)),
            _ => None,
        }
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        // The operators read here take a copy of what stands left of them.
        let distinct = is_distinct(parser);
        let is_ours = parser.peek_token_ref().token == Token::DoubleColon
            || parser.peek_keyword(Keyword::DIV)
            || distinct.is_some();
        let limit = if is_ours { MAX_COPIED_CHAIN } else { MAX_CHAIN };
        if std::iter::successors(Some(expr), |e| left_operand(e)).nth(limit).is_some() {
            let at = parser.peek_token_ref().span.start;
            let message = format!("an expression has more than {limit} operators in a row: split it, or use IN{at}");
            return Some(Err(ParserError::ParserError(message)));
        }
        if parser.consume_token(&Token::DoubleColon) {
            return Some(parse_cast_type(parser).map(|data_type| Expr::Cast {
                kind: CastKind::DoubleColon,
                expr: Box::new(expr.clone()),
                data_type,
                array: false,
                format: None,
            }));
        }
        // The parser's own would take the rest of the condition for the right side.
        if let Some(negated) = distinct {
            for _ in 0..if negated { 4 } else { 3 } {
                parser.next_token();
            }
            let (left, right) = (Box::new(expr.clone()), parser.parse_subexpr(self.prec_value(Precedence::Is)));
            return Some(right.map(Box::new).map(|right| {
                if negated { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
            }));
        }
        if parser.parse_keyword(Keyword::DIV) {
            let right = parser.parse_subexpr(self.prec_value(Precedence::MulDivModOp));
            return Some(right.map(|right| Expr::BinaryOp {
                left: Box::new(expr.clone()),
                op: BinaryOperator::MyIntegerDivide,
                right: Box::new(right),
            }));
        }
        None
    }
}

/// Whether `IS DISTINCT FROM`, or `IS NOT DISTINCT FROM` (true), stands next.
fn is_distinct(parser: &Parser) -> Option<bool> {
    let is = |n, keyword| matches!(&parser.peek_nth_token_ref(n).token, Token::Word(w) if w.keyword == keyword);
    if !is(0, Keyword::IS) {
        return None;
    }
    let negated = is(1, Keyword::NOT);
    let n = usize::from(negated);
    (is(1 + n, Keyword::DISTINCT) && is(2 + n, Keyword::FROM)).then_some(negated)
}

/// What stands left of the operator that was read last.
fn left_operand(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryOp { left, .. } | Expr::AnyOp { left, .. } | Expr::AllOp { left, .. } => Some(left),
        Expr::IsDistinctFrom(left, _) | Expr::IsNotDistinctFrom(left, _) => Some(left),
        Expr::IsNull(expr)
        | Expr::IsNotNull(expr)
        | Expr::IsTrue(expr)
        | Expr::IsNotTrue(expr)
        | Expr::IsFalse(expr)
        | Expr::IsNotFalse(expr)
        | Expr::IsUnknown(expr)
        | Expr::IsNotUnknown(expr)
        | Expr::UnaryOp { expr, .. }
        | Expr::Cast { expr, .. }
        | Expr::InList { expr, .. }
        | Expr::InSubquery { expr, .. }
        | Expr::InUnnest { expr, .. }
        | Expr::Between { expr, .. }
        | Expr::Like { expr, .. }
        | Expr::ILike { expr, .. }
        | Expr::RLike { expr, .. }
        | Expr::SimilarTo { expr, .. }
        | Expr::IsNormalized { expr, .. }
        | Expr::JsonAccess { value: expr, .. }
        | Expr::AtTimeZone { timestamp: expr, .. } => Some(expr),
        _ => None,
    }
}

/// `CAST(expression AS type)`
fn parse_cast(parser: &mut Parser, kind: CastKind) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_keyword(Keyword::AS)?;
    let data_type = parse_cast_type(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast { kind, expr, data_type, array: false, format: None })
}

/// Whether `(a, b) ->` stands next.
fn is_lambda(parser: &Parser) -> bool {
    for n in (1..).step_by(2).take(MAX_LAMBDA_PARAMETERS) {
        if !matches!(parser.peek_nth_token_ref(n).token, Token::Word(_)) {
            return false;
        }
        match parser.peek_nth_token_ref(n + 1).token {
            Token::Comma => {}
            Token::RParen => return parser.peek_nth_token_ref(n + 2).token == Token::Arrow,
            _ => return false,
        }
    }
    false
}

/// `x -> expression` or `(x, y) -> expression`
fn parse_lambda(parser: &mut Parser) -> Result<Expr, ParserError> {
    let parameter =
        |parser: &mut Parser| Ok(LambdaFunctionParameter { name: parser.parse_identifier()?, data_type: None });
    let params = if parser.consume_token(&Token::LParen) {
        let params = parser.parse_comma_separated(parameter)?;
        parser.expect_token(&Token::RParen)?;
        OneOrManyWithParens::Many(params)
    } else {
        OneOrManyWithParens::One(parameter(parser)?)
    };
    parser.expect_token(&Token::Arrow)?;
    let body = Box::new(parser.parse_expr()?);
    Ok(Expr::Lambda(LambdaFunction { params, body, syntax: LambdaSyntax::Arrow }))
}
