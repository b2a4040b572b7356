//! The key files of a rowset's segments as one: each key once, with what its last operation made of it.

use std::io::Read;

use super::key::Keys;
use super::key_file::{DELETED, Entries, Reader};

/// A segment's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The segment in the rowset.
    pub segment: u32,
    /// The row in the segment.
    pub row: u32,
}

/// What is wrong with which segment's file.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The segment.
    pub segment: u32,
    /// What is wrong.
    pub what: String,
}

/// Merges key files, later segments over earlier ones. Holds one block of each.
pub(crate) struct KeyMerge<R> {
    inputs: Vec<Input<R>>,
    /// Inputs that have a key left, as a binary heap: the smallest key first, of equal ones the earliest segment.
    heap: Vec<usize>,
}

struct Input<R> {
    reader: Reader<R>,
    entries: Entries,
    next: usize,
}

impl<R: Read> Input<R> {
    fn key(&self) -> &[u8] {
        self.entries.keys.get(self.next)
    }

    /// Goes on to the next key; false if there is none.
    fn advance(&mut self) -> Result<bool, String> {
        self.next += 1;
        self.settle()
    }

    fn settle(&mut self) -> Result<bool, String> {
        while self.next >= self.entries.rows.len() {
            self.next = 0;
            if !self.reader.next(&mut self.entries)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<R: Read> KeyMerge<R> {
    /// Merges these files, in order of their segments.
    pub(crate) fn new(readers: impl IntoIterator<Item = Reader<R>>) -> Result<Self, Fault> {
        let inputs = readers.into_iter().map(|reader| Input { reader, entries: Entries::new(), next: 0 }).collect();
        let mut merge = Self { inputs, heap: Vec::new() };
        for number in 0..merge.inputs.len() {
            if merge.inputs[number].settle().map_err(|what| Fault { segment: number as u32, what })? {
                merge.heap.push(number);
            }
        }
        (0..merge.heap.len() / 2).rev().for_each(|at| merge.sift_down(at));
        Ok(merge)
    }

    /// Replaces `keys` by the next ones, in order, at most `limit`. `last` gets the row of each, [`DELETED`] in place of
    /// it if that is what became of the key; `lost` is told of rows whose key a later segment of the rowset has, with the
    /// number of the key in `keys`. Returns false at the end.
    pub(crate) fn next(
        &mut self,
        limit: usize,
        keys: &mut Keys,
        last: &mut Vec<Place>,
        mut lost: impl FnMut(usize, Place),
    ) -> Result<bool, Fault> {
        keys.clear();
        last.clear();
        while keys.len() < limit
            && let Some(first) = self.heap.first()
        {
            let key = self.inputs[*first].key();
            keys.push(key);
            let mut winner: Option<Place> = None;
            while let Some(number) = self.heap.first().copied() {
                let input = &mut self.inputs[number];
                if input.key() != keys.get(keys.len() - 1) {
                    break;
                }
                let place = Place { segment: number as u32, row: input.entries.rows[input.next] };
                if let Some(before) = winner.replace(place)
                    && before.row != DELETED
                {
                    lost(keys.len() - 1, before);
                }
                if !input.advance().map_err(|what| Fault { segment: number as u32, what })? {
                    self.heap.swap_remove(0);
                }
                self.sift_down(0);
            }
            last.extend(winner);
        }
        Ok(keys.len() > 0)
    }

    fn is_less(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a], self.heap[b]);
        (self.inputs[a].key(), a) < (self.inputs[b].key(), b)
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            for child in [left, right] {
                if child < self.heap.len() && self.is_less(child, least) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::key_file::Encoder;
    use super::*;

    proptest! {
        #[test]
        fn later_segments_win_and_the_rows_before_are_told(
            segments in prop::collection::vec(
                prop::collection::btree_map(prop::collection::vec(0u8..3, 0..4), any::<bool>(), 0..30),
                0..7,
            ),
            limit in 1usize..40,
        ) {
            let mut model: BTreeMap<Vec<u8>, (u32, u32)> = BTreeMap::new();
            let mut expected_lost = Vec::new();
            let mut files = Vec::new();
            for (segment, keys) in segments.iter().enumerate() {
                let mut encoder = Encoder::new();
                let mut rows = 0;
                for (key, deleted) in keys {
                    let row = if *deleted { DELETED } else { rows };
                    rows += u32::from(!deleted);
                    encoder.push(key, row);
                    if let Some((segment, row)) = model.insert(key.clone(), (segment as u32, row))
                        && row != DELETED
                    {
                        expected_lost.push((segment, row));
                    }
                }
                files.push((encoder.finish(1), u64::from(rows)));
            }
            let readers = files.iter().map(|(bytes, rows)| Reader::new(&bytes[..], *rows, 1).unwrap());
            let mut merge = KeyMerge::new(readers).unwrap();
            let (mut keys, mut last, mut lost, mut got) = (Keys::new(), Vec::new(), Vec::new(), BTreeMap::new());
            while merge.next(limit, &mut keys, &mut last, |_, place| lost.push((place.segment, place.row))).unwrap() {
                prop_assert!(keys.len() <= limit && keys.len() == last.len());
                for (i, place) in last.iter().enumerate() {
                    prop_assert!(got.keys().next_back().is_none_or(|before: &Vec<u8>| before[..] < *keys.get(i)));
                    got.insert(keys.get(i).to_vec(), (place.segment, place.row));
                }
            }
            prop_assert_eq!(got, model);
            lost.sort_unstable();
            expected_lost.sort_unstable();
            prop_assert_eq!(lost, expected_lost);
        }
    }
}
