//! `substr`, `left` and `right` with MySQL's meaning of zero and of negative numbers.
//!
//! | call | here | DataFusion |
//! |---|---|---|
//! | `substr('abc', -2)` | `bc`, counted from the end | `abc` |
//! | `substr('abc', 0)` | empty | `abc` |
//! | `left('abc', -1)`, `right('abc', -1)` | empty | `ab`, `bc` |

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions::unicode::left::LeftFunc;
use datafusion::functions::unicode::right::RightFunc;
use datafusion::functions::unicode::substr::SubstrFunc;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

/// `substr(text, start [, length])`, also `substring`.
pub fn substr() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Part::new(SubstrFunc::new(), substring)))
}

pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(Part::new(SubstrFunc::new(), substring)),
        ScalarUDF::from(Part::new(LeftFunc::new(), |text, count, _| substring(text, 1, Some(count)))),
        ScalarUDF::from(Part::new(RightFunc::new(), |text, count, _| {
            substring(text, count.max(0).min(text.chars().count() as i64).saturating_neg(), None)
        })),
    ]
}

/// A part of a text: its second and third argument say which.
type Cut = fn(&str, i64, Option<i64>) -> &str;

#[derive(Debug)]
struct Part<F> {
    /// Does what both do alike, and faster.
    engine: F,
    cut: Cut,
}

impl<F> Part<F> {
    const fn new(engine: F, cut: Cut) -> Self {
        Self { engine, cut }
    }
}

impl<F: PartialEq> PartialEq for Part<F> {
    fn eq(&self, other: &Self) -> bool {
        self.engine == other.engine
    }
}

impl<F: Eq> Eq for Part<F> {}

impl<F: Hash> Hash for Part<F> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.engine.hash(state);
    }
}

impl<F: ScalarUDFImpl + PartialEq + Eq + Hash> ScalarUDFImpl for Part<F> {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn aliases(&self) -> &[String] {
        self.engine.aliases()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.engine.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args[1..].iter().all(|arg| matches!(arg, ColumnarValue::Scalar(ScalarValue::Int64(Some(1..))))) {
            return self.engine.invoke_with_args(args);
        }
        let rows = args.number_rows;
        let texts = cast(&args.args[0].to_array(rows)?, &DataType::Utf8View)?;
        let starts = integers(&args.args[1], rows)?;
        let counts = args.args.get(2).map(|arg| integers(arg, rows)).transpose()?;
        let mut builder = StringViewBuilder::with_capacity(texts.len());
        for (row, text) in texts.as_string_view().iter().enumerate() {
            let start = starts.is_valid(row).then(|| starts.value(row));
            let count = counts.as_ref().map(|counts| counts.is_valid(row).then(|| counts.value(row)));
            builder.append_option(match (text, start, count) {
                (Some(text), Some(start), None) => Some((self.cut)(text, start, None)),
                (Some(text), Some(start), Some(Some(count))) => Some((self.cut)(text, start, Some(count))),
                _ => None,
            });
        }
        let parts: ArrayRef = Arc::new(builder.finish());
        let parts = cast(&parts, args.return_field.data_type())?;
        if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) && parts.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&parts, 0)?));
        }
        Ok(ColumnarValue::Array(parts))
    }
}

fn integers(argument: &ColumnarValue, rows: usize) -> Result<Int64Array> {
    let array = cast(&argument.to_array(rows)?, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().clone())
}

/// Characters from `start`, which counts from 1, or from the end if it is negative.
fn substring(text: &str, start: i64, count: Option<i64>) -> &str {
    let count = count.unwrap_or(i64::MAX);
    let skipped = match start {
        1.. => start - 1,
        0 => return "",
        _ => match (text.chars().count() as i64).checked_add(start) {
            Some(skipped) if skipped >= 0 => skipped,
            _ => return "",
        },
    };
    if count <= 0 {
        return "";
    }
    let mut bounds = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    let Some(from) = bounds.nth(usize::try_from(skipped).unwrap_or(usize::MAX)) else { return "" };
    let to = bounds.nth(usize::try_from(count - 1).unwrap_or(usize::MAX)).unwrap_or(text.len());
    &text[from..to]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_starts_count_from_the_end() {
        for (text, start, count, expected) in [
            ("abc", -2, None, "bc"),
            ("abc", -3, Some(2), "ab"),
            ("abc", -4, None, ""),
            ("abc", i64::MIN, None, ""),
            ("abc", 0, None, ""),
            ("abc", 2, None, "bc"),
            ("abc", 2, Some(1), "b"),
            ("abc", 4, Some(1), ""),
            ("abc", i64::MAX, Some(i64::MAX), ""),
            ("abc", 1, Some(-1), ""),
            ("漢字x", -2, Some(1), "字"),
            ("漢字x", 2, Some(9), "字x"),
        ] {
            assert_eq!(substring(text, start, count), expected, "{text} {start} {count:?}");
        }
    }
}
