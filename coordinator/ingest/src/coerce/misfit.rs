//! Values of the right arrow type that their declared type does not take: too long, out of range, or not JSON.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Date32Type, Decimal128Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use serde::de::IgnoredAny;
use tarn_proto::DataType;
use tarn_proto::time::{FIRST_DAY, FIRST_MICROS, LAST_DAY, LAST_MICROS};

/// Characters of a value that an error shows.
const SHOWN: usize = 200;

/// Whether a value of an array counts: what lies under a NULL, or outside of a slice, does not.
type Live<'a> = dyn Fn(usize) -> bool + 'a;

/// A value that its type does not take.
pub(super) struct Misfit {
    /// Where in the array.
    pub index: usize,
    /// The value itself, which may be deep inside that of the array.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The first value of the array that `data_type` does not take, among those that are `live`.
pub(super) fn misfit(array: &ArrayRef, data_type: &DataType, live: &Live<'_>) -> Option<Misfit> {
    if !is_checked(data_type) {
        return None;
    }
    let live = &|index: usize| array.is_valid(index) && live(index);
    match data_type {
        DataType::Array(element) => {
            let list = array.as_list::<i32>();
            inside(list.offsets(), live, &|live| misfit(list.values(), element, live))
        }
        DataType::Map(key, value) => {
            let map = array.as_map();
            let entries = |live: &Live<'_>| {
                let keys = misfit(map.keys(), key, live);
                let values = misfit(map.values(), value, live);
                keys.into_iter().chain(values).min_by_key(|misfit| misfit.index)
            };
            inside(map.offsets(), live, &entries)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            columns.filter_map(|(column, (_, t))| misfit(column, t, live)).min_by_key(|misfit| misfit.index)
        }
        DataType::Decimal(precision, _) => {
            let limit = 10u128.pow(u32::from(*precision));
            let values = array.as_primitive::<Decimal128Type>().values();
            let out = |i: &usize| values[*i].unsigned_abs() >= limit && live(*i);
            Some(outside((0..values.len()).find(out)?, array, data_type))
        }
        DataType::Date => {
            let days = array.as_primitive::<Date32Type>().values();
            let out = |i: &usize| !(FIRST_DAY..=LAST_DAY).contains(&days[*i]) && live(*i);
            Some(outside((0..days.len()).find(out)?, array, data_type))
        }
        DataType::DateTime => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().values();
            let out = |i: &usize| !(FIRST_MICROS..=LAST_MICROS).contains(&micros[*i]) && live(*i);
            Some(outside((0..micros.len()).find(out)?, array, data_type))
        }
        DataType::Json => {
            let texts = array.as_string_view();
            (0..texts.len()).filter(|&index| live(index)).find_map(|index| {
                // Only whether it can be parsed: nothing is built.
                let error = serde_json::from_str::<IgnoredAny>(texts.value(index)).err()?;
                let value = shortened(texts.value(index).to_owned());
                Some(Misfit { index, value, problem: format!("is not JSON: {error}") })
            })
        }
        _ => {
            let (max, texts) = (data_type.max_bytes()?, array.as_string_view());
            // The length is the lower half of a view, so that no text is touched.
            let mut lengths = texts.views().iter().map(|view| *view as u32).enumerate();
            let (index, length) = lengths.find(|&(index, length)| length > max && live(index))?;
            let problem = format!("has {length} bytes, more than {data_type} holds");
            Some(Misfit { index, value: shortened(texts.value(index).to_owned()), problem })
        }
    }
}

fn outside(index: usize, array: &ArrayRef, data_type: &DataType) -> Misfit {
    let value = array_value_to_string(array, index).unwrap_or_default();
    Misfit { index, value, problem: format!("is out of the range of {data_type}") }
}

/// Whether the type takes fewer values than its arrow type.
fn is_checked(data_type: &DataType) -> bool {
    match data_type {
        DataType::Array(element) => is_checked(element),
        DataType::Map(key, value) => is_checked(key) || is_checked(value),
        DataType::Struct(fields) => fields.iter().any(|(_, t)| is_checked(t)),
        DataType::Decimal(..) | DataType::Date | DataType::DateTime => true,
        _ => data_type.is_text(),
    }
}

/// What is wrong inside the lists at `offsets`, told by the list that it is in.
fn inside(offsets: &[i32], live: &Live<'_>, find: &dyn Fn(&Live<'_>) -> Option<Misfit>) -> Option<Misfit> {
    // The last list that begins there or before holds the value: empty ones begin there, too, and before it.
    let list = |index: usize| offsets.partition_point(|&offset| offset as usize <= index).checked_sub(1);
    let live = |index: usize| list(index).is_some_and(|list| list + 1 < offsets.len() && live(list));
    let found = find(&live)?;
    Some(Misfit { index: list(found.index)?, ..found })
}

/// The text, cut where it is too long for an error.
pub(super) fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}
