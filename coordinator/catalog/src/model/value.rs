//! A scalar that bounds or names a partition.

use std::fmt;

use serde::{Deserialize, Serialize};
use tarn_proto::time::civil_from_days;

/// A partition key's value, comparable within one column. NULL sorts first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    Null,
    /// `BOOLEAN`.
    Boolean(bool),
    /// Integers of every width, and the unscaled value of decimals of one scale.
    Int(i128),
    /// Text.
    Text(String),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 00:00:00.
    DateTime(i64),
}

impl fmt::Display for Value {
    /// SQL literal text: `NULL`, `true`, `12`, `"text"`, `"2024-02-29"`, `"2024-02-29 12:00:00"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Text(t) => write!(f, "\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::Date(days) => {
                let (y, m, d) = civil_from_days(i64::from(*days));
                write!(f, "\"{y:04}-{m:02}-{d:02}\"")
            }
            Self::DateTime(micros) => {
                let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
                let (y, m, d) = civil_from_days(days);
                let (s, us) = (rest / 1_000_000, rest % 1_000_000);
                write!(f, "\"{y:04}-{m:02}-{d:02} {:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)?;
                if us != 0 {
                    write!(f, ".{us:06}")?;
                }
                f.write_str("\"")
            }
        }
    }
}
