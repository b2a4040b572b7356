//! Conditions resolved by bitmap indexes.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use tarn_proto::index::bitmap::{Directory, Entry};

use super::condition::Condition;
use super::file::{IndexFile, Unusable};

/// A column's condition, looked up in the dictionary of its index.
pub(super) struct LookedUp<'a> {
    file: IndexFile<'a>,
    directory: Directory,
    condition: &'a Condition,
    /// Entries that are known to pass, or not to pass if `negated`.
    entries: Vec<Entry>,
    /// Blocks all of whose values pass, which are not read yet.
    inner: Vec<usize>,
    /// Whether the rows are all but those of the entries and of NULL.
    negated: bool,
    /// Blocks of the dictionary and rows are read if they have no more bytes than this.
    most: u64,
    /// How many values pass, NULL counted as one.
    pub selected: u64,
    /// How many there are, NULL counted as one.
    pub cardinality: u64,
}

impl<'a> LookedUp<'a> {
    /// `None` if the index says nothing about a segment of `rows` rows and values of the condition's class, or if looking
    /// it up reads more than `most` bytes.
    pub async fn new(
        file: IndexFile<'a>,
        condition: &'a Condition,
        rows: u64,
        most: u64,
    ) -> Result<Option<Self>, Unusable> {
        let directory = file.directory(Directory::decode).await?;
        if directory.class != condition.class || u64::from(directory.rows) != rows {
            return Ok(None);
        }
        let has_null = u64::from(directory.null_rows > 0);
        let mut looked = Self {
            file,
            condition,
            entries: Vec::new(),
            inner: Vec::new(),
            negated: false,
            most,
            selected: if condition.null { has_null } else { 0 },
            cardinality: u64::from(directory.values) + has_null,
            directory,
        };
        if let Some(values) = condition.values() {
            let Some(entries) = looked.find(values.into_iter().map(Vec::as_slice)).await? else { return Ok(None) };
            looked.selected += entries.len() as u64;
            looked.entries = entries;
        } else if condition.is_bounded() {
            if !looked.range().await? {
                return Ok(None);
            }
        } else {
            let excepted = looked.find(condition.none.iter().map(Vec::as_slice)).await?;
            let Some(excepted) = excepted else { return Ok(None) };
            looked.negated = true;
            looked.selected = u64::from(looked.directory.values) - excepted.len() as u64;
            looked.entries = excepted;
        }
        Ok(Some(looked))
    }

    /// `None` if they are too many to be read.
    async fn blocks(&self, numbers: &[usize]) -> Result<Option<Vec<Vec<Entry>>>, Unusable> {
        if numbers.iter().map(|block| u64::from(self.directory.blocks[*block].place.length)).sum::<u64>() > self.most {
            return Ok(None);
        }
        let ranges: Vec<_> = numbers.iter().map(|number| self.directory.blocks[*number].place.range()).collect();
        let read = self.file.read(&ranges).await?;
        let decoded = numbers.iter().zip(read).map(|(number, bytes)| self.directory.decode_block(*number, &bytes));
        Ok(Some(decoded.collect::<Result<_, _>>()?))
    }

    /// The entries of those of the values that are there.
    async fn find(&self, values: impl Iterator<Item = &[u8]>) -> Result<Option<Vec<Entry>>, Unusable> {
        let mut wanted: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for value in values {
            if let Some(block) = self.directory.block_of(value) {
                wanted.entry(block).or_default().push(value);
            }
        }
        let numbers: Vec<usize> = wanted.keys().copied().collect();
        let mut found = Vec::new();
        let Some(blocks) = self.blocks(&numbers).await? else { return Ok(None) };
        for (entries, values) in blocks.into_iter().zip(wanted.into_values()) {
            for value in values {
                if let Ok(place) = entries.binary_search_by(|entry| entry.value.as_slice().cmp(value)) {
                    found.push(entries[place].clone());
                }
            }
        }
        Ok(Some(found))
    }

    /// Looks up what is between bounds: the first and the last block are read, those between are counted. The answer is
    /// whether that was done.
    async fn range(&mut self) -> Result<bool, Unusable> {
        let bound = |bound: &'a Option<super::condition::Bound>| bound.as_ref().map(|bound| bound.value.as_slice());
        let blocks = self.directory.blocks_within(bound(&self.condition.lower), bound(&self.condition.upper));
        // What is excepted may be in any of them.
        let excepted = self.condition.none.iter().filter_map(|value| self.directory.block_of(value));
        let mut read: Vec<usize> = excepted.filter(|block| blocks.contains(block)).collect();
        read.extend(blocks.clone().next());
        read.extend(blocks.clone().next_back());
        read.sort_unstable();
        read.dedup();
        let Some(ends) = self.blocks(&read).await? else { return Ok(false) };
        for entries in ends {
            self.entries.extend(entries.into_iter().filter(|entry| self.condition.passes(&entry.value)));
        }
        self.inner = blocks.filter(|block| read.binary_search(block).is_err()).collect();
        let inner: u64 = self.inner.iter().map(|block| u64::from(self.directory.blocks[*block].values)).sum();
        self.selected += self.entries.len() as u64 + inner;
        Ok(true)
    }

    /// Whether it says something: some value does not pass.
    pub const fn is_selective(&self) -> bool {
        self.selected < self.cardinality
    }

    /// The rows that pass, or `None` if telling them reads too much.
    pub async fn rows(mut self) -> Result<Option<RoaringBitmap>, Unusable> {
        let Some(inner) = self.blocks(&self.inner).await? else { return Ok(None) };
        self.entries.extend(inner.into_iter().flatten());
        let with_nulls = self.condition.null || self.negated;
        let mut parts: Vec<(_, u32)> = self.entries.iter().map(|entry| (entry.place, entry.rows)).collect();
        parts.extend(with_nulls.then_some((self.directory.nulls, self.directory.null_rows)));
        if parts.iter().map(|(place, _)| u64::from(place.length)).sum::<u64>() > self.most {
            return Ok(None);
        }
        let ranges: Vec<_> = parts.iter().map(|(place, _)| place.range()).collect();
        let mut rows = RoaringBitmap::new();
        for ((place, count), bytes) in parts.iter().zip(self.file.read(&ranges).await?) {
            rows |= self.directory.decode_rows(place, *count, &bytes)?;
        }
        if self.negated {
            let mut others = RoaringBitmap::new();
            others.insert_range(0..self.directory.rows);
            others -= rows;
            rows = others;
        }
        Ok(Some(rows))
    }
}
