//! Column types: the StarRocks names users write, one canonical text each, and the arrow type that carries the values.
//!
//! | type | arrow | note |
//! |---|---|---|
//! | `boolean` | Boolean | |
//! | `tinyint` `smallint` `int` `bigint` | Int8..Int64 | |
//! | `largeint` | Decimal128(38, 0) | 38 digits; 2^127 itself does not fit |
//! | `float` `double` | Float32, Float64 | |
//! | `decimal(p,s)` | Decimal128 | p <= 38 |
//! | `char(n)` `varchar(n)` `string` `json` | Utf8View | n counts bytes |
//! | `varbinary` | BinaryView | |
//! | `date` | Date32 | |
//! | `datetime` | Timestamp(Microsecond, None) | |
//! | `array<t>` `map<k,v>` `struct<n t, ..>` | List, Map, Struct | |

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, Fields, TimeUnit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The type of a column. `Display` and `FromStr` use the canonical text, which is also the persisted form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// True or false.
    Boolean,
    /// 8-bit signed.
    TinyInt,
    /// 16-bit signed.
    SmallInt,
    /// 32-bit signed.
    Int,
    /// 64-bit signed.
    BigInt,
    /// Up to 38 decimal digits, signed.
    LargeInt,
    /// 32-bit IEEE 754.
    Float,
    /// 64-bit IEEE 754.
    Double,
    /// Fixed point: precision 1 to 38 digits, scale 0 to precision.
    Decimal(u8, u8),
    /// Fixed-length text, at most `n` bytes (1 to 255).
    Char(u32),
    /// Text of at most `n` bytes (1 to 1,048,576).
    Varchar(u32),
    /// `VARCHAR` of the greatest length, by another name.
    String,
    /// Bytes.
    Varbinary,
    /// A day.
    Date,
    /// Date and time of day in microseconds, without a time zone.
    DateTime,
    /// A JSON document, kept as the text that was written. Loads refuse what is not JSON.
    Json,
    /// A list of nullable elements.
    Array(Box<DataType>),
    /// Keys (never NULL) to nullable values.
    Map(Box<DataType>, Box<DataType>),
    /// Named nullable fields.
    Struct(Vec<(String, DataType)>),
}

/// The greatest length of `VARCHAR`, in bytes.
pub const MAX_VARCHAR_BYTES: u32 = 1_048_576;
/// The greatest length of `CHAR`, in bytes.
pub const MAX_CHAR_BYTES: u32 = 255;
/// The greatest precision of `DECIMAL`, in digits.
pub const MAX_DECIMAL_PRECISION: u8 = 38;

/// Types nested deeper than this are no types: every walk over a type is recursive. The dialect allows far less.
const MAX_DEPTH: usize = 100;

/// A type text that is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown or malformed type `{0}`")]
pub struct ParseTypeError(pub String);

impl DataType {
    /// The arrow type that carries this type's values, in memory and on the wire.
    pub fn to_arrow(&self) -> ArrowType {
        match self {
            Self::Boolean => ArrowType::Boolean,
            Self::TinyInt => ArrowType::Int8,
            Self::SmallInt => ArrowType::Int16,
            Self::Int => ArrowType::Int32,
            Self::BigInt => ArrowType::Int64,
            Self::LargeInt => ArrowType::Decimal128(MAX_DECIMAL_PRECISION, 0),
            Self::Float => ArrowType::Float32,
            Self::Double => ArrowType::Float64,
            Self::Decimal(p, s) => ArrowType::Decimal128(*p, *s as i8),
            Self::Char(_) | Self::Varchar(_) | Self::String | Self::Json => ArrowType::Utf8View,
            Self::Varbinary => ArrowType::BinaryView,
            Self::Date => ArrowType::Date32,
            Self::DateTime => ArrowType::Timestamp(TimeUnit::Microsecond, None),
            Self::Array(t) => ArrowType::List(Arc::new(Field::new_list_field(t.to_arrow(), true))),
            Self::Map(k, v) => ArrowType::Map(
                Arc::new(Field::new(
                    "entries",
                    ArrowType::Struct(Fields::from(vec![
                        Field::new("key", k.to_arrow(), false),
                        Field::new("value", v.to_arrow(), true),
                    ])),
                    false,
                )),
                false,
            ),
            Self::Struct(fields) => {
                ArrowType::Struct(fields.iter().map(|(name, t)| Field::new(name, t.to_arrow(), true)).collect())
            }
        }
    }

    /// The column type that best holds values of an arrow type: what `CREATE TABLE AS SELECT` and ingestion without a
    /// table use. `None` for types that no column can hold.
    pub fn from_arrow(arrow: &ArrowType) -> Option<Self> {
        Some(match arrow {
            ArrowType::Null | ArrowType::Boolean => Self::Boolean,
            ArrowType::Int8 => Self::TinyInt,
            ArrowType::Int16 | ArrowType::UInt8 => Self::SmallInt,
            ArrowType::Int32 | ArrowType::UInt16 => Self::Int,
            ArrowType::Int64 | ArrowType::UInt32 => Self::BigInt,
            ArrowType::UInt64 => Self::LargeInt,
            ArrowType::Float16 | ArrowType::Float32 => Self::Float,
            ArrowType::Float64 => Self::Double,
            ArrowType::Decimal32(p, s) | ArrowType::Decimal64(p, s) | ArrowType::Decimal128(p, s) => {
                Self::Decimal((*p).max(1), u8::try_from(*s).ok()?)
            }
            ArrowType::Decimal256(p, s) => Self::Decimal((*p).clamp(1, MAX_DECIMAL_PRECISION), u8::try_from(*s).ok()?),
            ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => Self::String,
            ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView | ArrowType::FixedSizeBinary(_) => {
                Self::Varbinary
            }
            ArrowType::Date32 | ArrowType::Date64 => Self::Date,
            ArrowType::Timestamp(..) => Self::DateTime,
            ArrowType::List(f)
            | ArrowType::LargeList(f)
            | ArrowType::ListView(f)
            | ArrowType::LargeListView(f)
            | ArrowType::FixedSizeList(f, _) => Self::Array(Box::new(Self::from_arrow(f.data_type())?)),
            ArrowType::Map(entries, _) => match entries.data_type() {
                ArrowType::Struct(kv) if kv.len() == 2 => Self::Map(
                    Box::new(Self::from_arrow(kv[0].data_type())?),
                    Box::new(Self::from_arrow(kv[1].data_type())?),
                ),
                _ => return None,
            },
            ArrowType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|f| Some((f.name().clone(), Self::from_arrow(f.data_type())?)))
                    .collect::<Option<_>>()?,
            ),
            ArrowType::Dictionary(_, values) => Self::from_arrow(values)?,
            ArrowType::RunEndEncoded(_, values) => Self::from_arrow(values.data_type())?,
            ArrowType::Time32(_)
            | ArrowType::Time64(_)
            | ArrowType::Duration(_)
            | ArrowType::Interval(_)
            | ArrowType::Union(..) => return None,
        })
    }

    /// Whether values have a total order and equality that keys can use: everything but floats, JSON, bytes and nested
    /// types.
    pub fn is_key(&self) -> bool {
        !matches!(
            self,
            Self::Float
                | Self::Double
                | Self::Json
                | Self::Varbinary
                | Self::Array(_)
                | Self::Map(..)
                | Self::Struct(_)
        )
    }

    /// Whether values are text.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Char(_) | Self::Varchar(_) | Self::String | Self::Json)
    }

    /// The greatest length of a text value in bytes, for text types.
    pub fn max_bytes(&self) -> Option<u32> {
        match self {
            Self::Char(n) | Self::Varchar(n) => Some(*n),
            Self::String => Some(MAX_VARCHAR_BYTES),
            _ => None,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::TinyInt => f.write_str("tinyint"),
            Self::SmallInt => f.write_str("smallint"),
            Self::Int => f.write_str("int"),
            Self::BigInt => f.write_str("bigint"),
            Self::LargeInt => f.write_str("largeint"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal(p, s) => write!(f, "decimal({p},{s})"),
            Self::Char(n) => write!(f, "char({n})"),
            Self::Varchar(n) => write!(f, "varchar({n})"),
            Self::String => f.write_str("string"),
            Self::Varbinary => f.write_str("varbinary"),
            Self::Date => f.write_str("date"),
            Self::DateTime => f.write_str("datetime"),
            Self::Json => f.write_str("json"),
            Self::Array(t) => write!(f, "array<{t}>"),
            Self::Map(k, v) => write!(f, "map<{k},{v}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, (name, t)) in fields.iter().enumerate() {
                    write!(f, "{}`{}` {t}", if i > 0 { "," } else { "" }, name.replace('`', "``"))?;
                }
                f.write_str(">")
            }
        }
    }
}

impl FromStr for DataType {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut cursor = Cursor { rest: text, depth: MAX_DEPTH };
        match cursor.data_type() {
            Some(t) if cursor.rest.is_empty() => Ok(t),
            _ => Err(ParseTypeError(text.to_owned())),
        }
    }
}

/// Reads the canonical text. (SQL text is the business of the dialect, not of this parser.)
struct Cursor<'a> {
    rest: &'a str,
    /// How much deeper types may be nested.
    depth: usize,
}

impl Cursor<'_> {
    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    fn number<N: FromStr>(&mut self) -> Option<N> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    fn quoted(&mut self) -> Option<String> {
        self.eat("`")?;
        let mut name = String::new();
        loop {
            let end = self.rest.find('`')?;
            name.push_str(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            if self.eat("`").is_none() {
                return Some(name);
            }
            name.push('`');
        }
    }

    fn data_type(&mut self) -> Option<DataType> {
        self.depth = self.depth.checked_sub(1)?;
        let parsed = self.nested();
        self.depth += 1;
        parsed
    }

    fn nested(&mut self) -> Option<DataType> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(match word {
            "boolean" => DataType::Boolean,
            "tinyint" => DataType::TinyInt,
            "smallint" => DataType::SmallInt,
            "int" => DataType::Int,
            "bigint" => DataType::BigInt,
            "largeint" => DataType::LargeInt,
            "float" => DataType::Float,
            "double" => DataType::Double,
            "string" => DataType::String,
            "varbinary" => DataType::Varbinary,
            "date" => DataType::Date,
            "datetime" => DataType::DateTime,
            "json" => DataType::Json,
            "decimal" => {
                self.eat("(")?;
                let p = self.number().filter(|p| (1..=MAX_DECIMAL_PRECISION).contains(p))?;
                self.eat(",")?;
                let s = self.number().filter(|s| *s <= p)?;
                self.eat(")")?;
                DataType::Decimal(p, s)
            }
            "char" | "varchar" => {
                self.eat("(")?;
                let most = if word == "char" { MAX_CHAR_BYTES } else { MAX_VARCHAR_BYTES };
                let n = self.number().filter(|n| (1..=most).contains(n))?;
                self.eat(")")?;
                if word == "char" { DataType::Char(n) } else { DataType::Varchar(n) }
            }
            "array" => {
                self.eat("<")?;
                let t = self.data_type()?;
                self.eat(">")?;
                DataType::Array(Box::new(t))
            }
            "map" => {
                self.eat("<")?;
                let k = self.data_type()?;
                self.eat(",")?;
                let v = self.data_type()?;
                self.eat(">")?;
                DataType::Map(Box::new(k), Box::new(v))
            }
            "struct" => {
                self.eat("<")?;
                let mut fields = Vec::new();
                loop {
                    let name = self.quoted()?;
                    self.eat(" ")?;
                    fields.push((name, self.data_type()?));
                    if self.eat(",").is_none() {
                        break;
                    }
                }
                self.eat(">")?;
                DataType::Struct(fields)
            }
            _ => return None,
        })
    }
}

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DataType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_type() -> impl Strategy<Value = DataType> {
        let leaf = prop_oneof![
            Just(DataType::Boolean),
            Just(DataType::TinyInt),
            Just(DataType::LargeInt),
            Just(DataType::Double),
            (1u8..=38).prop_flat_map(|p| (Just(p), 0..=p)).prop_map(|(p, s)| DataType::Decimal(p, s)),
            (1u32..=255).prop_map(DataType::Char),
            (1u32..=MAX_VARCHAR_BYTES).prop_map(DataType::Varchar),
            Just(DataType::DateTime),
            Just(DataType::Json),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|t| DataType::Array(Box::new(t))),
                (inner.clone(), inner.clone()).prop_map(|(k, v)| DataType::Map(Box::new(k), Box::new(v))),
                prop::collection::vec(("[a-z `>,]{1,6}", inner), 1..3).prop_map(DataType::Struct),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_text_round_trips(t in any_type()) {
            prop_assert_eq!(t.to_string().parse::<DataType>(), Ok(t));
        }

        #[test]
        fn any_text_is_a_type_or_an_error(text in ".{0,40}") {
            if let Ok(t) = text.parse::<DataType>() {
                prop_assert_eq!(t.to_string().parse::<DataType>(), Ok(t));
            }
        }
    }

    #[test]
    fn types_that_no_column_can_have_are_refused() {
        let nested = |depth: usize| format!("{}int{}", "array<".repeat(depth), ">".repeat(depth));
        assert!(nested(MAX_DEPTH - 1).parse::<DataType>().is_ok());
        assert!(nested(MAX_DEPTH).parse::<DataType>().is_err());
        assert!("array<".repeat(1_000_000).parse::<DataType>().is_err());
        for text in ["decimal(39,2)", "decimal(0,0)", "decimal(5,6)", "char(0)", "char(256)", "varchar(1048577)"] {
            assert!(text.parse::<DataType>().is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_types_are_named() {
        assert_eq!(
            "decimal(10)".parse::<DataType>().unwrap_err().to_string(),
            "unknown or malformed type `decimal(10)`"
        );
    }
}
