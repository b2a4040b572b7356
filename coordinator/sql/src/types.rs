//! Type names to [`DataType`], and to the types of `sqlparser` where an expression casts.
//!
//! | written | meant |
//! |---|---|
//! | `VARCHAR` | `VARCHAR(65533)` |
//! | `CHAR` | `CHAR(1)` |
//! | `DECIMAL`, `DECIMAL(p)` | `DECIMAL(10,0)`, `DECIMAL(p,0)` |
//! | `DECIMAL32`, `DECIMAL64`, `DECIMAL128` | at most 9, 18, 38 digits |
//! | `TIMESTAMP` | `DATETIME` |
//! | `TEXT` | `STRING` |
//! | `BINARY`, a length of `VARBINARY`, the display width of integers | accepted, without effect |

use sqlparser::ast::{self, ArrayElemTypeDef, CharacterLength, ExactNumberInfo, StructBracketKind, TimezoneInfo};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};
use tarn_proto::DataType;
use tarn_proto::types::{MAX_CHAR_BYTES, MAX_DECIMAL_PRECISION, MAX_VARCHAR_BYTES};

/// Length of `VARCHAR` without one, as in StarRocks.
const DEFAULT_VARCHAR_BYTES: u32 = 65_533;
/// Types nested deeper than this are refused: nobody means them, and every walk over a type is recursive.
const MAX_DEPTH: u32 = 16;

/// Reads a type.
pub(crate) fn parse_type(parser: &mut Parser<'_>) -> Result<DataType, ParserError> {
    let (data_type, open) = nested(parser, MAX_DEPTH)?;
    if open {
        let at = parser.get_current_token().span.start;
        return error("expected a type, found one closing > too many", at);
    }
    Ok(data_type)
}

/// Reads the target of a cast: our types, and whatever else `sqlparser` knows.
pub(crate) fn parse_cast_type(parser: &mut Parser<'_>) -> Result<ast::DataType, ParserError> {
    let ours = match &parser.peek_token_ref().token {
        Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_uppercase().as_str() {
            "TIMESTAMP" => !is_word(parser, 1, "WITH") && !is_word(parser, 1, "WITHOUT"),
            "CHAR" => !is_word(parser, 1, "VARYING") && !is_word(parser, 1, "LARGE"),
            name => NAMES.contains(&name),
        },
        _ => false,
    };
    let mut data_type = if ours { to_ast(&parse_type(parser)?) } else { parser.parse_data_type()? };
    while parser.consume_tokens(&[Token::LBracket, Token::RBracket]) {
        data_type = ast::DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(data_type)));
    }
    Ok(data_type)
}

/// Every name that [`parse_type`] knows, but `TIMESTAMP` and `CHAR`.
const NAMES: &[&str] = &[
    "ARRAY",
    "BIGINT",
    "BINARY",
    "BITMAP",
    "BOOL",
    "BOOLEAN",
    "DATE",
    "DATETIME",
    "DECIMAL",
    "DECIMAL128",
    "DECIMAL32",
    "DECIMAL64",
    "DOUBLE",
    "FLOAT",
    "HLL",
    "INT",
    "INTEGER",
    "JSON",
    "LARGEINT",
    "MAP",
    "NUMERIC",
    "PERCENTILE",
    "SMALLINT",
    "STRING",
    "STRUCT",
    "TEXT",
    "TINYINT",
    "VARBINARY",
    "VARCHAR",
];

/// A type, and whether its `>>` closes the enclosing type too.
fn nested(parser: &mut Parser<'_>, depth: u32) -> Result<(DataType, bool), ParserError> {
    let token = parser.next_token();
    let at = token.span.start;
    let word = match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.clone(),
        _ => return parser.expected("a type", token),
    };
    if depth == 0 {
        return error(&format!("types can be nested {MAX_DEPTH} deep at most"), at);
    }
    let scalar = match word.to_ascii_uppercase().as_str() {
        "BOOLEAN" | "BOOL" => DataType::Boolean,
        "TINYINT" => integer(parser, DataType::TinyInt)?,
        "SMALLINT" => integer(parser, DataType::SmallInt)?,
        "INT" | "INTEGER" => integer(parser, DataType::Int)?,
        "BIGINT" => integer(parser, DataType::BigInt)?,
        "LARGEINT" => integer(parser, DataType::LargeInt)?,
        "FLOAT" => DataType::Float,
        "DOUBLE" => {
            if is_word(parser, 0, "PRECISION") {
                parser.next_token();
            }
            DataType::Double
        }
        "DECIMAL" | "NUMERIC" => decimal(parser, 10, MAX_DECIMAL_PRECISION)?,
        "DECIMAL32" => decimal(parser, 9, 9)?,
        "DECIMAL64" => decimal(parser, 18, 18)?,
        "DECIMAL128" => decimal(parser, MAX_DECIMAL_PRECISION, MAX_DECIMAL_PRECISION)?,
        "CHAR" => DataType::Char(length(parser, "CHAR", 1, MAX_CHAR_BYTES)?),
        "VARCHAR" => DataType::Varchar(length(parser, "VARCHAR", DEFAULT_VARCHAR_BYTES, MAX_VARCHAR_BYTES)?),
        "STRING" | "TEXT" => DataType::String,
        "VARBINARY" | "BINARY" => {
            length(parser, "VARBINARY", MAX_VARCHAR_BYTES, MAX_VARCHAR_BYTES)?;
            DataType::Varbinary
        }
        "DATE" => DataType::Date,
        "DATETIME" | "TIMESTAMP" => {
            if let Some((digits, at)) = parenthesized(parser)?
                && digits > 6
            {
                return error(&format!("DATETIME({digits}) is not possible: the precision is 0 to 6"), at);
            }
            DataType::DateTime
        }
        "JSON" => DataType::Json,
        "ARRAY" => {
            parser.expect_token(&Token::Lt)?;
            let (element, open) = nested(parser, depth - 1)?;
            return Ok((DataType::Array(Box::new(element)), close(parser, open)?));
        }
        "MAP" => {
            parser.expect_token(&Token::Lt)?;
            let (key, open) = nested(parser, depth - 1)?;
            if open {
                return error("expected , between the key and value type of MAP, found >", at);
            }
            parser.expect_token(&Token::Comma)?;
            let (value, open) = nested(parser, depth - 1)?;
            return Ok((DataType::Map(Box::new(key), Box::new(value)), close(parser, open)?));
        }
        "STRUCT" => return structure(parser, depth),
        "BITMAP" | "HLL" | "PERCENTILE" => {
            return error(&format!("type {} is not available yet", word.to_ascii_uppercase()), at);
        }
        _ => return error(&format!("unknown type `{word}`"), at),
    };
    Ok((scalar, false))
}

/// `<name type, ..>` or `<name: type, ..>`
fn structure(parser: &mut Parser<'_>, depth: u32) -> Result<(DataType, bool), ParserError> {
    parser.expect_token(&Token::Lt)?;
    let mut fields: Vec<(String, DataType)> = Vec::new();
    loop {
        let token = parser.next_token();
        let at = token.span.start;
        let name = match token.token {
            Token::Word(word) => word.value,
            _ => return parser.expected("a field's name", token),
        };
        if fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(&name)) {
            return error(&format!("field `{name}` is declared twice"), at);
        }
        let _ = parser.consume_token(&Token::Colon);
        let (data_type, open) = nested(parser, depth - 1)?;
        fields.push((name, data_type));
        if open || !parser.consume_token(&Token::Comma) {
            return Ok((DataType::Struct(fields), close(parser, open)?));
        }
    }
}

/// Reads `>`, or takes it from the `>>` that an inner type ended with. Returns whether a `>` is left over.
fn close(parser: &mut Parser<'_>, open: bool) -> Result<bool, ParserError> {
    if open || parser.consume_token(&Token::Gt) {
        return Ok(false);
    }
    if parser.consume_token(&Token::ShiftRight) {
        return Ok(true);
    }
    parser.expected_ref(">", parser.peek_token_ref())
}

fn integer(parser: &mut Parser<'_>, data_type: DataType) -> Result<DataType, ParserError> {
    parenthesized(parser)?;
    Ok(data_type)
}

fn decimal(parser: &mut Parser<'_>, default: u8, max: u8) -> Result<DataType, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(DataType::Decimal(default, 0));
    }
    let (precision, at) = number(parser)?;
    let Some(precision) = u8::try_from(precision).ok().filter(|p| (1..=max).contains(p)) else {
        return error(&format!("DECIMAL({precision}) is not possible: the precision is 1 to {max}"), at);
    };
    let mut scale = 0;
    if parser.consume_token(&Token::Comma) {
        let (digits, at) = number(parser)?;
        let Some(digits) = u8::try_from(digits).ok().filter(|s| *s <= precision) else {
            let message = format!("DECIMAL({precision},{digits}) is not possible: the scale is 0 to {precision}");
            return error(&message, at);
        };
        scale = digits;
    }
    parser.expect_token(&Token::RParen)?;
    Ok(DataType::Decimal(precision, scale))
}

fn length(parser: &mut Parser<'_>, name: &str, default: u32, max: u32) -> Result<u32, ParserError> {
    if parser.peek_token_ref().token == Token::LParen
        && parser.peek_nth_token_ref(2).token == Token::RParen
        && (is_word(parser, 1, "MAX") || parser.peek_nth_token_ref(1).token == Token::Mul)
    {
        for _ in 0..3 {
            parser.next_token();
        }
        return Ok(max);
    }
    match parenthesized(parser)? {
        None => Ok(default),
        Some((n, at)) => match u32::try_from(n).ok().filter(|n| (1..=max).contains(n)) {
            Some(n) => Ok(n),
            None => error(&format!("{name}({n}) is not possible: the length is 1 to {max} bytes"), at),
        },
    }
}

/// `(n)`, if it stands there, and where `n` stands.
fn parenthesized(parser: &mut Parser<'_>) -> Result<Option<(u64, Location)>, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(None);
    }
    let number = number(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Some(number))
}

fn number(parser: &mut Parser<'_>) -> Result<(u64, Location), ParserError> {
    let token = parser.next_token();
    match &token.token {
        Token::Number(text, _) => match text.parse() {
            Ok(n) => Ok((n, token.span.start)),
            Err(_) => parser.expected("a whole number", token),
        },
        _ => parser.expected("a whole number", token),
    }
}

fn is_word(parser: &Parser<'_>, n: usize, word: &str) -> bool {
    matches!(&parser.peek_nth_token_ref(n).token,
        Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn error<T>(message: &str, at: Location) -> Result<T, ParserError> {
    Err(ParserError::ParserError(format!("{message}{at}")))
}

/// The type of `sqlparser` that the SQL planner of DataFusion gives the same arrow type, as far as it can.
fn to_ast(data_type: &DataType) -> ast::DataType {
    let bytes = |n: u32| Some(CharacterLength::IntegerLength { length: u64::from(n), unit: None });
    let decimal = |p: u8, s: u8| ast::DataType::Decimal(ExactNumberInfo::PrecisionAndScale(u64::from(p), i64::from(s)));
    match data_type {
        DataType::Boolean => ast::DataType::Boolean,
        DataType::TinyInt => ast::DataType::TinyInt(None),
        DataType::SmallInt => ast::DataType::SmallInt(None),
        DataType::Int => ast::DataType::Int(None),
        DataType::BigInt => ast::DataType::BigInt(None),
        DataType::LargeInt => decimal(MAX_DECIMAL_PRECISION, 0),
        DataType::Float => ast::DataType::Float(ExactNumberInfo::None),
        DataType::Double => ast::DataType::Double(ExactNumberInfo::None),
        DataType::Decimal(p, s) => decimal(*p, *s),
        DataType::Char(n) => ast::DataType::Char(bytes(*n)),
        DataType::Varchar(n) => ast::DataType::Varchar(bytes(*n)),
        DataType::String | DataType::Json => ast::DataType::String(None),
        DataType::Varbinary => ast::DataType::Bytea,
        DataType::Date => ast::DataType::Date,
        DataType::DateTime => ast::DataType::Timestamp(Some(6), TimezoneInfo::None),
        DataType::Array(t) => ast::DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(to_ast(t)))),
        DataType::Map(k, v) => ast::DataType::Map(Box::new(to_ast(k)), Box::new(to_ast(v))),
        DataType::Struct(fields) => ast::DataType::Struct(
            fields
                .iter()
                .map(|(name, t)| ast::StructField {
                    field_name: Some(ast::Ident::with_quote('`', name)),
                    field_type: to_ast(t),
                    options: None,
                })
                .collect(),
            StructBracketKind::AngleBrackets,
        ),
    }
}

/// Our type for a type in an expression (the target of a cast, the type before a literal). `None` for types that no
/// column can have. For a type planner of DataFusion, which does not know maps, `DATETIME` and others by itself.
pub fn column_type(data_type: &ast::DataType) -> Option<DataType> {
    use ast::DataType as Ast;
    let length = |length: &Option<CharacterLength>, max: u32| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => u32::try_from(*length).unwrap_or(max).clamp(1, max),
        Some(CharacterLength::Max) | None => max,
    };
    Some(match data_type {
        Ast::Boolean | Ast::Bool => DataType::Boolean,
        Ast::TinyInt(_) => DataType::TinyInt,
        Ast::SmallInt(_) | Ast::Int2(_) => DataType::SmallInt,
        Ast::Int(_) | Ast::Integer(_) | Ast::Int4(_) => DataType::Int,
        Ast::BigInt(_) | Ast::Int8(_) | Ast::Signed | Ast::SignedInteger => DataType::BigInt,
        Ast::Float(_) | Ast::Real | Ast::Float4 => DataType::Float,
        Ast::Double(_) | Ast::DoublePrecision | Ast::Float8 => DataType::Double,
        Ast::Decimal(info) | Ast::Numeric(info) | Ast::Dec(info) => {
            let (p, s) = match info {
                ExactNumberInfo::None => (10, 0),
                ExactNumberInfo::Precision(p) => (*p, 0),
                ExactNumberInfo::PrecisionAndScale(p, s) => (*p, u64::try_from(*s).ok()?),
            };
            let precision = u8::try_from(p).ok().filter(|p| (1..=MAX_DECIMAL_PRECISION).contains(p))?;
            DataType::Decimal(precision, u8::try_from(s).ok().filter(|s| *s <= precision)?)
        }
        Ast::Char(n) | Ast::Character(n) => DataType::Char(length(n, MAX_CHAR_BYTES)),
        Ast::Varchar(n) | Ast::CharacterVarying(n) | Ast::CharVarying(n) => {
            DataType::Varchar(length(n, MAX_VARCHAR_BYTES))
        }
        Ast::Text | Ast::String(_) => DataType::String,
        Ast::JSON => DataType::Json,
        Ast::Bytea | Ast::Binary(_) | Ast::Varbinary(_) | Ast::Blob(_) => DataType::Varbinary,
        Ast::Date => DataType::Date,
        Ast::Datetime(_) | Ast::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::DateTime,
        Ast::Array(ArrayElemTypeDef::AngleBracket(t) | ArrayElemTypeDef::SquareBracket(t, _)) => {
            DataType::Array(Box::new(column_type(t)?))
        }
        Ast::Map(k, v) => DataType::Map(Box::new(column_type(k)?), Box::new(column_type(v)?)),
        Ast::Struct(fields, _) => DataType::Struct(
            fields
                .iter()
                .map(|f| Some((f.field_name.as_ref()?.value.clone(), column_type(&f.field_type)?)))
                .collect::<Option<_>>()?,
        ),
        Ast::Custom(name, _) if name.to_string().eq_ignore_ascii_case("largeint") => DataType::LargeInt,
        _ => return None,
    })
}
