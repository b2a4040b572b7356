//! From the rows of one load, in order of arrival, to the rows of a segment and the entries of its key file: the last
//! operation on a key wins.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, AsArray, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::Int8Type;
use arrow::error::ArrowError;
use tarn_proto::TableSchema;
use tarn_proto::schema::{OP, OP_UPSERT};

use super::key::{Keys, encode};
use super::key_file::{DELETED, Encoder};
use crate::sort::sort_order;

/// Bytes of an encoded key that are compared as one number.
const PREFIX_BYTES: usize = 16;

/// What becomes of a memtable.
pub(crate) struct Resolved {
    /// The table's columns, with every row that arrived.
    pub columns: Vec<ArrayRef>,
    /// The rows of the segment, in its order.
    pub order: Vec<u32>,
    /// Their keys and those that are deleted.
    pub keys: SortedKeys,
}

/// A key file without its header.
pub(crate) struct SortedKeys(Encoder);

impl SortedKeys {
    /// The bytes of the key file of a segment whose file has this CRC32C.
    pub(crate) fn encode(self, segment: u32) -> Vec<u8> {
        self.0.finish(segment)
    }
}

impl From<Encoder> for SortedKeys {
    fn from(encoder: Encoder) -> Self {
        Self(encoder)
    }
}

/// Resolves the rows of a memtable: `columns` are the table's, as segments hold them, then [`OP`]. With a `condition`, the
/// position of a column, a row takes the place of one before it only if its value there is not less; no row deletes then.
pub(crate) fn resolve(
    schema: &TableSchema,
    mut columns: Vec<ArrayRef>,
    condition: Option<usize>,
) -> Result<Resolved, ArrowError> {
    let operations = columns.pop().ok_or_else(|| ArrowError::SchemaError(format!("the rows lack {OP}")))?;
    let operations = operations.as_primitive::<Int8Type>().values();
    let keys = encode(schema, &columns)?;
    let sorted = key_order(&keys);
    let same_key = sorted.chunk_by(|a, b| keys.get(*a as usize) == keys.get(*b as usize));
    // In order of the keys, the last row of each, or the one that the condition chooses.
    let winners: Vec<u32> = match condition.and_then(|position| columns.get(position)) {
        None => same_key.filter_map(|rows| rows.last().copied()).collect(),
        Some(condition) => {
            let compare = condition_order(condition, condition)?;
            let newer = |a: u32, b: u32| if compare(b as usize, a as usize) == Ordering::Less { a } else { b };
            same_key.filter_map(|rows| rows.iter().copied().reduce(newer)).collect()
        }
    };
    let order = if schema.sort_key == schema.keys {
        winners.iter().copied().filter(|row| operations[*row as usize] == OP_UPSERT).collect()
    } else {
        let mut kept = vec![false; keys.len()];
        winners.iter().for_each(|row| kept[*row as usize] = operations[*row as usize] == OP_UPSERT);
        let sort_key: Vec<ArrayRef> =
            schema.sort_key.iter().filter_map(|id| Some(columns[schema.index_of(*id)?].clone())).collect();
        let order: Vec<u32> = match sort_order(&sort_key)? {
            Some(order) => order,
            None => (0..keys.len() as u32).collect(),
        };
        order.into_iter().filter(|row| kept[*row as usize]).collect::<Vec<u32>>()
    };
    let mut position = vec![DELETED; keys.len()];
    for (row, number) in order.iter().zip(0..) {
        position[*row as usize] = number;
    }
    let mut encoder = Encoder::new();
    for row in winners {
        encoder.push(keys.get(row as usize), position[row as usize]);
    }
    Ok(Resolved { columns, order, keys: SortedKeys(encoder) })
}

/// Compares values of a load's condition column, NULL being less than any other.
pub(crate) fn condition_order(
    left: &ArrayRef,
    right: &ArrayRef,
) -> Result<impl Fn(usize, usize) -> Ordering + use<>, ArrowError> {
    make_comparator(left.as_ref(), right.as_ref(), SortOptions { descending: false, nulls_first: true })
}

/// The keys' numbers in order of the keys, equal ones in order of their numbers.
fn key_order(keys: &Keys) -> Vec<u32> {
    // Compactions of tables that are sorted by their key, and many loads.
    if (1..keys.len()).all(|i| keys.get(i - 1) <= keys.get(i)) {
        return (0..keys.len() as u32).collect();
    }
    let mut keyed: Vec<(u128, u32)> = (0..keys.len())
        .map(|number| {
            let key = keys.get(number);
            let mut prefix = [0; PREFIX_BYTES];
            let length = key.len().min(PREFIX_BYTES);
            prefix[..length].copy_from_slice(&key[..length]);
            (u128::from_be_bytes(prefix), number as u32)
        })
        .collect();
    keyed.sort_by(|(a, i), (b, j)| a.cmp(b).then_with(|| keys.get(*i as usize).cmp(keys.get(*j as usize))));
    keyed.into_iter().map(|(_, number)| number).collect()
}

/// Collects the keys of a segment whose rows come batch by batch, each key once, in the order of the segment.
pub(crate) struct KeyFileBuilder {
    schema: TableSchema,
    keys: Keys,
}

impl KeyFileBuilder {
    /// For a segment with this schema.
    pub(crate) fn new(schema: &TableSchema) -> Self {
        Self { schema: schema.clone(), keys: Keys::new() }
    }

    /// Adds rows: all columns, as segments hold them.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) -> Result<(), ArrowError> {
        self.keys.append(&encode(&self.schema, columns)?);
        Ok(())
    }

    /// The keys of all rows.
    pub(crate) fn finish(self) -> SortedKeys {
        let mut encoder = Encoder::new();
        for row in key_order(&self.keys) {
            encoder.push(self.keys.get(row as usize), row);
        }
        SortedKeys(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Int8Array, Int32Array, StringViewArray};
    use proptest::prelude::*;
    use tarn_proto::{Column, ColumnId, DataType, SchemaVersion, TableModel};

    use super::super::key_file::{Entries, Reader};
    use super::*;

    fn schema(sort_key: &[u32]) -> TableSchema {
        let column = |id, data_type| Column {
            id: ColumnId(id),
            name: format!("c{id}"),
            data_type,
            nullable: false,
            aggregation: None,
            initial: None,
        };
        TableSchema {
            version: SchemaVersion(1),
            model: TableModel::PrimaryKey,
            columns: vec![column(1, DataType::String), column(2, DataType::Int), column(3, DataType::Int)],
            keys: vec![ColumnId(1), ColumnId(2)],
            sort_key: sort_key.iter().map(|id| ColumnId(*id)).collect(),
            indexes: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn the_last_operation_on_a_key_wins(
            rows in prop::collection::vec(("[ab]{0,2}", 0i32..3, -5i32..5, prop::bool::weighted(0.3)), 1..80),
            sort_key in prop::sample::select(vec![vec![1, 2], vec![2, 1], vec![3], vec![]]),
        ) {
            let schema = schema(&sort_key);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| &r.0))),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.1))),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.2))),
                Arc::new(Int8Array::from_iter_values(rows.iter().map(|r| i8::from(r.3)))),
            ];
            let model: BTreeMap<_, _> =
                rows.iter().zip(0u32..).map(|((a, b, _, deleted), i)| ((a, *b), (!deleted).then_some(i))).collect();
            let resolved = resolve(&schema, columns.clone(), None).unwrap();
            let mut expected: Vec<u32> = model.values().flatten().copied().collect();
            expected.sort_unstable();
            let mut got = resolved.order.clone();
            got.sort_unstable();
            prop_assert_eq!(got, expected);
            for pair in resolved.order.windows(2) {
                let of = |i: u32| -> Vec<(i32, &str)> {
                    let row = &rows[i as usize];
                    let part = |id: &i32| match id { 1 => (0, row.0.as_str()), 2 => (row.1, ""), _ => (row.2, "") };
                    sort_key.iter().map(|id| part(&(*id as i32))).collect()
                };
                prop_assert!(of(pair[0]) <= of(pair[1]));
            }
            let file = resolved.keys.encode(1);
            let mut reader = Reader::new(&file[..], resolved.order.len() as u64, 1).unwrap();
            let mut entries = Entries::new();
            let keys = encode(&schema, &columns[..3]).unwrap();
            let mut seen = 0;
            while reader.next(&mut entries).unwrap() {
                for i in 0..entries.rows.len() {
                    let ((a, b), winner) = model.iter().nth(seen).unwrap();
                    let arrived = rows.iter().rposition(|r| r.0 == **a && r.1 == *b).unwrap();
                    prop_assert_eq!(entries.keys.get(i), keys.get(arrived));
                    let row = (entries.rows[i] != DELETED).then(|| resolved.order[entries.rows[i] as usize]);
                    prop_assert_eq!(row, *winner);
                    seen += 1;
                }
            }
            prop_assert_eq!(seen, model.len());
        }

        #[test]
        fn under_a_condition_the_newest_row_of_a_key_wins_and_of_equal_ones_the_last(
            rows in prop::collection::vec((0i32..3, prop::option::of(0i32..4)), 1..40),
        ) {
            let mut schema = schema(&[2]);
            schema.keys = vec![ColumnId(2)];
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringViewArray::from_iter_values(rows.iter().map(|_| "x"))),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.0))),
                Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.1))),
                Arc::new(Int8Array::from_iter_values(rows.iter().map(|_| OP_UPSERT))),
            ];
            let mut model: BTreeMap<i32, u32> = BTreeMap::new();
            for (number, row) in (0u32..).zip(&rows) {
                let winner = model.entry(row.0).or_insert(number);
                if row.1 >= rows[*winner as usize].1 {
                    *winner = number;
                }
            }
            let resolved = resolve(&schema, columns, Some(2)).unwrap();
            prop_assert_eq!(resolved.order, model.into_values().collect::<Vec<_>>());
        }
    }
}
