//! What `CAST` makes of values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, StringViewArray, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType as ArrowType, Date32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde::de::IgnoredAny;

use crate::DataType;
use crate::time::text::{parse_datetime, write_datetime};
use crate::time::{DAY_MICROS, FIRST_DAY, LAST_DAY};

/// NULL where a value does not fit, as `CAST` does.
const SAFE: CastOptions<'static> =
    CastOptions { safe: true, format_options: arrow::util::display::FormatOptions::new() };

/// Values of `from` as ones of `to`, both in declared arrow types. What `CAST` makes NULL is NULL; lengths of texts are not
/// looked at.
pub(super) fn convert(array: &ArrayRef, from: &DataType, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let wanted = to.to_arrow();
    Ok(match (from, to) {
        (DataType::Date, DataType::DateTime) => {
            let days = array.as_primitive::<Date32Type>();
            let times: TimestampMicrosecondArray = days.unary(|day| i64::from(day) * DAY_MICROS);
            Arc::new(times)
        }
        (DataType::DateTime, DataType::Date) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            // Times are within the years that dates have.
            let days: Date32Array = times.unary(|micros| micros.div_euclid(DAY_MICROS) as i32);
            Arc::new(days)
        }
        (_, DataType::Date | DataType::DateTime) => times(array, &wanted)?,
        (DataType::DateTime, to) if to.is_text() => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            let text = |micros| {
                let mut text = String::new();
                write_datetime(&mut text, micros).ok().map(|()| text)
            };
            Arc::new(StringViewArray::from_iter(times.iter().map(|time| time.and_then(text))))
        }
        _ if array.data_type() == &wanted => array.clone(),
        _ => cast_with_options(array, &wanted, &SAFE)?,
    })
}

/// The times that texts, or the digits of numbers, say.
fn times(array: &ArrayRef, wanted: &ArrowType) -> Result<ArrayRef, ArrowError> {
    let texts = cast(array, &ArrowType::Utf8View)?;
    let micros = texts.as_string_view().iter().map(|text| parse_datetime(text?));
    Ok(match wanted {
        ArrowType::Date32 => {
            let days = |micros: i64| micros.div_euclid(DAY_MICROS) as i32;
            Arc::new(micros.map(|time| time.map(days)).collect::<Date32Array>())
        }
        _ => Arc::new(micros.collect::<TimestampMicrosecondArray>()),
    })
}

/// The first value that does not fit, and what is wrong with it.
pub(super) fn misfit(before: &ArrayRef, after: &ArrayRef, to: &DataType) -> Option<(usize, String)> {
    if after.null_count() != before.null_count()
        && let Some(row) = (0..after.len()).find(|row| after.is_null(*row) && before.is_valid(*row))
    {
        return Some((row, format!("is no value of {to}")));
    }
    match to {
        DataType::Json => {
            let texts = after.as_string_view();
            let mut rows = (0..texts.len()).filter(|row| texts.is_valid(*row));
            rows.find_map(|row| {
                let error = serde_json::from_str::<IgnoredAny>(texts.value(row)).err()?;
                Some((row, format!("is not JSON: {error}")))
            })
        }
        DataType::Date => {
            let days = after.as_primitive::<Date32Type>();
            let out = |row: &usize| days.is_valid(*row) && !(FIRST_DAY..=LAST_DAY).contains(&days.value(*row));
            Some(((0..days.len()).find(out)?, format!("is out of the range of {to}")))
        }
        to => {
            let (max, texts) = (to.max_bytes()?, after.as_string_view());
            let length = |row: usize| if texts.is_valid(row) { texts.value(row).len() } else { 0 };
            let row = (0..texts.len()).find(|row| length(*row) > max as usize)?;
            Some((row, format!("has {} bytes, more than {to} holds", length(row))))
        }
    }
}
