//! The type of a CSV column, guessed from its values. Pure.

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType as ArrowType;
use tarn_proto::DataType;

/// Integers from this many digits on may not fit `bigint`; they must not lose digits as `double` either.
const LONG_INTEGER: usize = 19;

/// The type that all values have; `None` when all are NULL.
pub(super) fn guess(values: &StringArray) -> Option<DataType> {
    if values.null_count() == values.len() {
        return None;
    }
    let all = |test: fn(&str) -> bool| values.iter().flatten().all(test);
    let candidates: [(bool, DataType); 6] = [
        (all(is_boolean), DataType::Boolean),
        (all(is_integer), DataType::BigInt),
        (all(is_integer), DataType::LargeInt),
        (all(is_number), DataType::Double),
        (all(|text| text.len() == 10), DataType::Date),
        (all(|text| text.len() >= 10 && text.starts_with(|c: char| c.is_ascii_digit())), DataType::DateTime),
    ];
    let fits = |(plausible, data_type): &(bool, DataType)| *plausible && casts(values, data_type);
    Some(candidates.into_iter().find(fits).map_or(DataType::String, |(_, data_type)| data_type))
}

/// Values as `data_type`; those that are not of it are NULL.
pub(super) fn cast(values: &StringArray, data_type: &ArrowType) -> Result<ArrayRef, arrow::error::ArrowError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(values, data_type, &options)
}

fn casts(values: &StringArray, data_type: &DataType) -> bool {
    cast(values, &data_type.to_arrow()).is_ok_and(|cast| cast.null_count() == values.null_count())
}

fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Anything that a float's parser takes, without words such as `inf` and without digits that would be lost.
fn is_number(text: &str) -> bool {
    let form = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    form && text.bytes().any(|byte| byte.is_ascii_digit()) && !(is_integer(text) && text.len() >= LONG_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_guessed_from_all_values() {
        for (values, expected) in [
            (vec![Some("1"), None, Some("-20")], Some("bigint")),
            (vec![Some("1"), Some("2.5")], Some("double")),
            (vec![Some("1"), Some("1e3"), Some(".5")], Some("double")),
            (vec![Some("123456789012345678901")], Some("largeint")),
            (vec![Some("1234567890123456789012345678901234567890")], Some("string")),
            (vec![Some("true"), Some("FALSE")], Some("boolean")),
            (vec![Some("2024-02-29"), Some("1999-01-01")], Some("date")),
            (vec![Some("2024-02-30")], Some("string")),
            (vec![Some("2024-02-29 10:11:12"), Some("2024-02-29T10:11:12.123456")], Some("datetime")),
            (vec![Some("2024-02-29 10:11:12"), Some("2024-02-29")], Some("datetime")),
            (vec![Some("inf"), Some("1")], Some("string")),
            (vec![Some("a"), Some("1")], Some("string")),
            (vec![None, None], None),
        ] {
            let found = guess(&StringArray::from(values.clone())).map(|found| found.to_string());
            assert_eq!(found.as_deref(), expected, "{values:?}");
        }
    }
}
