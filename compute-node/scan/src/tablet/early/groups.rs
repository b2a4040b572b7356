//! What one output partition of a scan has aggregated so far. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringViewArray, UInt64Array,
};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::numbers::{Groups, Numbers};
use super::spec::{Function, Spec};

/// Groups of a partition. A chunk that might bring more is left to the operator above.
const MOST_GROUPS: usize = 1 << 16;

/// Bytes of the texts that groups are named by.
const MOST_TEXT_BYTES: usize = 4 << 20;

/// A value of a grouping column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Null,
    Int(i64),
    Text(Box<str>),
}

/// The grouping of a chunk's rows: the group `code` has the values `code / stride % values.len()` of each column.
pub(super) struct Keyed {
    pub groups: Groups,
    /// The values of each column, the last one's neighbours in `groups` being neighbours.
    pub values: Vec<Vec<Key>>,
}

/// A column that is aggregated, without its NULLs.
pub(super) struct Argument {
    pub numbers: Numbers,
    /// Rows that are not NULL; `None` if all are not.
    pub kept: Option<Vec<usize>>,
}

/// The aggregates of all groups so far.
#[derive(Default)]
pub(super) struct Aggregated {
    /// The groups' numbers, by the numbers of their values.
    groups: HashMap<Box<[u32]>, u32>,
    /// The values of each grouping column.
    columns: Vec<Values>,
    states: Vec<State>,
}

#[derive(Default)]
struct Values {
    numbers: HashMap<Key, u32>,
    text_bytes: usize,
}

/// Of one aggregate, for each group.
#[derive(Clone, Default)]
struct State {
    /// Rows that are not NULL.
    rows: Vec<u64>,
    /// The sum, or the extreme.
    total: Vec<i128>,
}

impl Values {
    fn number(&mut self, key: &Key) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        if let Key::Text(text) = key {
            self.text_bytes += text.len();
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(key.clone(), number);
        number
    }
}

impl Aggregated {
    /// Adds a chunk of so many rows. `false`, and nothing is added, if that might be too much to keep.
    pub fn add(&mut self, spec: &Spec, rows: usize, keyed: &Keyed, arguments: &[Option<Arc<Argument>>]) -> bool {
        self.columns.resize_with(spec.keys.len(), Values::default);
        self.states.resize_with(spec.aggregates.len(), State::default);
        let counts = keyed.groups.rows(rows);
        let present = counts.iter().filter(|count| **count > 0).count();
        let text_bytes: usize = keyed.values.iter().flatten().map(Key::text_bytes).sum();
        let kept_bytes: usize = self.columns.iter().map(|column| column.text_bytes).sum();
        if self.groups.len() + present > MOST_GROUPS || kept_bytes + text_bytes > MOST_TEXT_BYTES {
            return false;
        }
        let numbers = self.numbers(keyed, &counts);
        for (state, (aggregate, argument)) in self.states.iter_mut().zip(spec.aggregates.iter().zip(arguments)) {
            state.rows.resize(self.groups.len(), 0);
            state.total.resize(self.groups.len(), 0);
            let Some(argument) = argument else {
                state.add(&numbers, &counts, None, aggregate.function);
                continue;
            };
            let left = argument.kept.as_ref().map(|kept| keyed.groups.at(kept));
            let groups = left.as_ref().unwrap_or(&keyed.groups);
            let left = left.as_ref().map(|groups| groups.rows(argument.kept.as_ref().map_or(0, Vec::len)));
            let totals = match aggregate.function {
                Function::Count => None,
                Function::Sum => Some(argument.numbers.sums(groups, aggregate.wrapping)),
                Function::Avg => Some(argument.numbers.sums(groups, false)),
                Function::Min => Some(argument.numbers.extremes(groups, false)),
                Function::Max => Some(argument.numbers.extremes(groups, true)),
            };
            state.add(&numbers, left.as_ref().unwrap_or(&counts), totals.as_deref(), aggregate.function);
        }
        true
    }

    /// The numbers of a chunk's groups; of no meaning for those without rows.
    fn numbers(&mut self, keyed: &Keyed, counts: &[u64]) -> Vec<u32> {
        let mut of_values: Vec<Vec<Option<u32>>> = keyed.values.iter().map(|values| vec![None; values.len()]).collect();
        let mut group = vec![0; keyed.values.len()];
        let mut numbers = vec![0; counts.len()];
        for (code, _) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let mut rest = code;
            for (column, values) in keyed.values.iter().enumerate().rev() {
                let value = rest % values.len();
                rest /= values.len();
                let number = &mut of_values[column][value];
                group[column] = *number.get_or_insert_with(|| self.columns[column].number(&values[value]));
            }
            numbers[code] = match self.groups.get(group.as_slice()) {
                Some(number) => *number,
                None => {
                    let number = self.groups.len() as u32;
                    self.groups.insert(group.as_slice().into(), number);
                    number
                }
            };
        }
        numbers
    }

    /// What was aggregated, in the form of the states that a partial aggregation passes on. `None` if nothing was.
    pub fn finish(self, spec: &Spec) -> Result<Option<RecordBatch>, ArrowError> {
        if self.groups.is_empty() {
            return Ok(None);
        }
        let mut names: Vec<&[u32]> = vec![&[]; self.groups.len()];
        for (values, number) in &self.groups {
            names[*number as usize] = values;
        }
        let mut arrays = Vec::with_capacity(spec.schema.fields().len());
        for (position, column) in self.columns.iter().enumerate() {
            let mut keys = vec![&Key::Null; column.numbers.len()];
            for (key, number) in &column.numbers {
                keys[*number as usize] = key;
            }
            let keys: Vec<&Key> = names.iter().map(|values| keys[values[position] as usize]).collect();
            arrays.push(key_array(&keys, spec.schema.field(position).data_type())?);
        }
        for (state, aggregate) in self.states.iter().zip(&spec.aggregates) {
            if matches!(aggregate.function, Function::Count) {
                arrays.push(Arc::new(Int64Array::from_iter_values(state.rows.iter().map(|rows| *rows as i64))));
                continue;
            }
            if matches!(aggregate.function, Function::Avg) {
                // NULL, not 0: the final aggregation takes a count for values.
                let counts = state.rows.iter().map(|rows| (*rows > 0).then_some(*rows));
                arrays.push(Arc::new(counts.collect::<UInt64Array>()));
            }
            let totals = state.rows.iter().zip(&state.total).map(|(rows, total)| (*rows > 0).then_some(*total));
            arrays.push(number_array(totals, spec.schema.field(arrays.len()).data_type())?);
        }
        RecordBatch::try_new(spec.schema.clone(), arrays).map(Some)
    }
}

impl State {
    fn add(&mut self, numbers: &[u32], rows: &[u64], totals: Option<&[i128]>, function: Function) {
        for (code, rows) in rows.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            let group = numbers[code] as usize;
            if let Some(totals) = totals {
                let total = &mut self.total[group];
                *total = match function {
                    Function::Min if self.rows[group] > 0 => totals[code].min(*total),
                    Function::Max if self.rows[group] > 0 => totals[code].max(*total),
                    Function::Min | Function::Max => totals[code],
                    _ => total.wrapping_add(totals[code]),
                };
            }
            self.rows[group] += rows;
        }
    }
}

impl Key {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }
}

fn key_array(keys: &[&Key], data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if data_type == &DataType::Utf8View {
        let text = |key: &&Key| match key {
            Key::Text(text) => Some(text.to_string()),
            _ => None,
        };
        return Ok(Arc::new(keys.iter().map(text).collect::<StringViewArray>()));
    }
    let number = |key: &&Key| match key {
        Key::Int(number) => Some(i128::from(*number)),
        _ => None,
    };
    number_array(keys.iter().map(number), data_type)
}

fn number_array(numbers: impl Iterator<Item = Option<i128>>, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::Int8 => Arc::new(numbers.map(|n| n.map(|n| n as i8)).collect::<Int8Array>()),
        DataType::Int16 => Arc::new(numbers.map(|n| n.map(|n| n as i16)).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(numbers.map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(numbers.map(|n| n.map(|n| n as i64)).collect::<Int64Array>()),
        DataType::Float64 => Arc::new(numbers.map(|n| n.map(|n| n as f64)).collect::<Float64Array>()),
        DataType::Decimal128(precision, scale) => {
            let decimals = numbers.collect::<Decimal128Array>();
            Arc::new(decimals.with_precision_and_scale(*precision, *scale)?)
        }
        other => return Err(ArrowError::NotYetImplemented(format!("early aggregation into {other}"))),
    })
}
