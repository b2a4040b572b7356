//! Rows to tablets: partition by key, bucket by hash.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::row::{RowConverter, SortField};
use tarn_catalog::model::value::Value;
use tarn_catalog::{Bounds, Overwrite, Partition, PartitionExpr, Partitioning, Table};
use tarn_proto::bucket::{bucket_of, hash_rows};
use tarn_proto::time::{DAY_MICROS, TimeUnit, days_from_civil};
use tarn_proto::{DataType, PartitionId, TabletId};

use crate::Error;
use crate::partition_key::{key_columns, value_at};

/// Distinct partition keys whose partition is remembered. Past it the memory is cleared, so that a key of high
/// cardinality cannot exhaust memory.
const MEMO_KEYS: usize = 65_536;

/// Rows of one batch, by tablet.
pub type Routed = Vec<(TabletId, RecordBatch)>;

/// What routing a batch came to.
#[derive(Debug)]
pub enum Routing {
    /// Every row has a tablet.
    Done(Routed),
    /// These partitions must be created first (expression partitioning); then the batch is routed again.
    Missing(Vec<Bounds>),
    /// These partitions must get a replacement first, which the rows are for; then the batch is routed again.
    Unprepared(Vec<PartitionId>),
}

/// The partitions that a load's rows may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// All that queries read. The load creates those that it misses, where rows choose them by expression.
    #[default]
    All,
    /// These alone. Others' rows are refused.
    Only(BTreeSet<PartitionId>),
}

/// A partition whose rows a load takes.
struct Place {
    /// Whose bounds decide.
    partition: Arc<Partition>,
    /// Which is written: the partition itself, or what takes its place. `None` if that has to be prepared yet.
    written: Option<Arc<Partition>>,
}

/// Routes batches of one load. Keep one per producing task: it remembers where keys went.
pub struct RowRouter {
    table: Arc<Table>,
    reach: Reach,
    /// Where the partitions are within `reach`, and what is written.
    places: Vec<Place>,
    /// Index into `places` by encoded partition key.
    memo: HashMap<Box<[u8]>, usize>,
    key_types: Vec<DataType>,
    bucket_columns: Vec<usize>,
    bucket_types: Vec<DataType>,
    /// Turns over the buckets for tables without bucket columns.
    next_bucket: u64,
}

impl RowRouter {
    /// A router over the table's partitions as they are now.
    pub fn new(table: Arc<Table>) -> Self {
        Self::within(table, Reach::All, None)
    }

    /// A router over partitions of the table as they are now. With `overwrite`, rows go to what it puts in their place.
    pub fn within(table: Arc<Table>, reach: Reach, overwrite: Option<&Overwrite>) -> Self {
        let position = |id| table.schema.index_of(id).expect("key columns are columns of the table");
        let type_of = |id| table.schema.columns[position(id)].data_type.clone();
        let key_types = match &table.partitioning {
            Partitioning::None => Vec::new(),
            Partitioning::Range(columns) | Partitioning::List(columns) => columns.iter().map(|c| type_of(*c)).collect(),
            Partitioning::Expression(exprs) => exprs.iter().map(|e| type_of(e.column())).collect(),
        };
        let bucket_columns: Vec<usize> = table.distribution.columns.iter().map(|c| position(*c)).collect();
        let bucket_types = bucket_columns.iter().map(|i| table.schema.columns[*i].data_type.clone()).collect();
        let places = places(&table, &reach, overwrite);
        Self { table, reach, places, memo: HashMap::new(), key_types, bucket_columns, bucket_types, next_bucket: 0 }
    }

    /// The same router, whose turns over the buckets of a table without bucket columns begin elsewhere: many small loads
    /// that all began at one bucket would leave the others empty.
    #[must_use]
    pub const fn beginning_at(mut self, turn: u64) -> Self {
        self.next_bucket = turn;
        self
    }

    /// Continues with a newer state of the same table and overwrite, which have more partitions.
    pub fn refresh(&mut self, table: Arc<Table>, overwrite: Option<&Overwrite>) {
        self.places = places(&table, &self.reach, overwrite);
        self.table = table;
        self.memo.clear();
    }

    /// Routes a batch of the table's columns in declared types. `first_row` is the load's number of its first row, from
    /// 1, for errors.
    pub fn route(&mut self, batch: &RecordBatch, first_row: u64) -> Result<Routing, Error> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Routing::Done(Vec::new()));
        }
        let partitions = match self.partition_of_rows(batch, first_row)? {
            Ok(partitions) => partitions,
            Err(missing) => return Ok(Routing::Missing(missing)),
        };
        if self.places.iter().any(|place| place.written.is_none()) {
            let places = partitions.distinct().into_iter().map(|place| &self.places[place]);
            let unprepared: Vec<_> = places.filter(|p| p.written.is_none()).map(|p| p.partition.id).collect();
            if !unprepared.is_empty() {
                return Ok(Routing::Unprepared(unprepared));
            }
        }
        let hashes = self.hashes(batch)?;

        // A slot for each (partition, bucket) that occurs, in order of appearance.
        let mut slots: HashMap<(usize, u32), usize> = HashMap::new();
        let mut indices: Vec<(TabletId, Vec<u32>)> = Vec::new();
        for (row, hash) in hashes.into_iter().enumerate() {
            let partition = partitions.at(row);
            let Some(written) = &self.places[partition].written else { continue };
            let tablets = &written.tablets;
            let bucket = bucket_of(hash, tablets.len() as u32);
            let slot = *slots.entry((partition, bucket)).or_insert_with(|| {
                indices.push((tablets[bucket as usize].id, Vec::new()));
                indices.len() - 1
            });
            indices[slot].1.push(row as u32);
        }
        if let [(tablet, _)] = &indices[..] {
            return Ok(Routing::Done(vec![(*tablet, batch.clone())]));
        }
        let routed = indices
            .into_iter()
            .map(|(tablet, rows)| Ok((tablet, take_record_batch(batch, &UInt32Array::from(rows))?)))
            .collect::<Result<_, Error>>()?;
        Ok(Routing::Done(routed))
    }

    /// The partition of every row as an index into `partitions`, or the partitions to create.
    fn partition_of_rows(
        &mut self,
        batch: &RecordBatch,
        first_row: u64,
    ) -> Result<Result<RowPartitions, Vec<Bounds>>, Error> {
        let keys = key_columns(&self.table.partitioning, &self.table.schema, batch);
        if keys.is_empty() {
            return match self.places.is_empty() {
                true => Err(self.no_partition(first_row, &[])),
                false => Ok(Ok(RowPartitions::All(0))),
            };
        }
        let fields = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
        let encoded = RowConverter::new(fields)?.convert_columns(&keys)?;
        let mut found = Vec::with_capacity(batch.num_rows());
        let mut missing: Vec<Bounds> = Vec::new();
        for row in 0..batch.num_rows() {
            let bytes = encoded.row(row);
            if row > 0 && bytes == encoded.row(row - 1) && found.len() == row {
                found.push(found[row - 1]);
                continue;
            }
            if let Some(partition) = self.memo.get(bytes.as_ref()) {
                found.push(*partition);
                continue;
            }
            let key = self.key_at(&keys, row);
            match self.places.iter().position(|place| place.partition.bounds.contains(&key)) {
                Some(partition) => {
                    if self.memo.len() >= MEMO_KEYS {
                        self.memo.clear();
                    }
                    self.memo.insert(bytes.as_ref().into(), partition);
                    found.push(partition);
                }
                None => match self.new_bounds(&key) {
                    Some(bounds) if missing.contains(&bounds) => {}
                    Some(bounds) => missing.push(bounds),
                    None => return Err(self.no_partition(first_row + row as u64, &key)),
                },
            }
        }
        Ok(if missing.is_empty() { Ok(RowPartitions::Each(found)) } else { Err(missing) })
    }

    fn key_at(&self, keys: &[ArrayRef], row: usize) -> Vec<Value> {
        keys.iter().zip(&self.key_types).map(|(array, t)| value_at(array, t, row)).collect()
    }

    /// Bounds of the partition that the load may create for a key.
    fn new_bounds(&self, key: &[Value]) -> Option<Bounds> {
        match self.reach {
            Reach::All => new_bounds(&self.table.partitioning, key, &self.key_types),
            Reach::Only(_) => None,
        }
    }

    fn no_partition(&self, row: u64, key: &[Value]) -> Error {
        let (table, name) = (self.table.name.clone(), partition_key_text(key));
        match &self.reach {
            Reach::Only(ids) if ids.len() > self.places.len() => Error::PartitionGone { table },
            Reach::Only(_) => {
                let partitions: Vec<&str> = self.places.iter().map(|p| p.partition.name.as_str()).collect();
                Error::OutsidePartitions { table, row, key: name, partitions: partitions.join(", ") }
            }
            Reach::All => {
                let remedy = match &self.table.partitioning {
                    Partitioning::List(columns) => {
                        let value = if columns.len() == 1 { name.clone() } else { format!("({name})") };
                        format!("ALTER TABLE `{table}` ADD PARTITION <name> VALUES IN ({value})")
                    }
                    _ => format!("ALTER TABLE `{table}` ADD PARTITION"),
                };
                Error::NoPartition { table, row, key: name, remedy }
            }
        }
    }

    fn hashes(&mut self, batch: &RecordBatch) -> Result<Vec<u64>, Error> {
        if self.bucket_columns.is_empty() {
            // Whole batches in turn: rows need no place of their own.
            self.next_bucket = self.next_bucket.wrapping_add(1);
            return Ok(vec![self.next_bucket; batch.num_rows()]);
        }
        let columns: Vec<ArrayRef> = self.bucket_columns.iter().map(|i| batch.column(*i).clone()).collect();
        Ok(hash_rows(&columns, &self.bucket_types, batch.num_rows())?)
    }
}

/// Where rows within `reach` are taken, in order of the partitions' ids.
fn places(table: &Table, reach: &Reach, overwrite: Option<&Overwrite>) -> Vec<Place> {
    let within: Vec<&Arc<Partition>> = match reach {
        Reach::All => table.partitions.values().collect(),
        Reach::Only(ids) => ids.iter().filter_map(|id| table.partition_by_id(*id)).collect(),
    };
    let written = |partition: &Arc<Partition>| match overwrite {
        None => Some(partition.clone()),
        Some(overwrite) => {
            let replacement = overwrite.replacements.get(&partition.id)?;
            table.shadows.get(&replacement.with).cloned()
        }
    };
    within.into_iter().map(|partition| Place { written: written(partition), partition: partition.clone() }).collect()
}

/// A row's partition key as SQL has it: `"beijing", 3`.
fn partition_key_text(key: &[Value]) -> String {
    key.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
}

/// Where the rows of a batch go, as indexes of partitions.
enum RowPartitions {
    All(usize),
    Each(Vec<usize>),
}

impl RowPartitions {
    fn at(&self, row: usize) -> usize {
        match self {
            Self::All(partition) => *partition,
            Self::Each(partitions) => partitions[row],
        }
    }

    /// Those that some row goes to.
    fn distinct(&self) -> BTreeSet<usize> {
        match self {
            Self::All(partition) => BTreeSet::from([*partition]),
            Self::Each(partitions) => partitions.iter().copied().collect(),
        }
    }
}

/// Bounds of the partition that a load creates for a key; `None` where partitions are declared.
fn new_bounds(partitioning: &Partitioning, key: &[Value], types: &[DataType]) -> Option<Bounds> {
    let Partitioning::Expression(exprs) = partitioning else { return None };
    if let ([Value::Null], [PartitionExpr::DateTrunc(..) | PartitionExpr::TimeSlice(..)]) = (key, &exprs[..]) {
        // NULL lies below every time: its partition ends where times begin.
        let begin = days_from_civil(0, 1, 1);
        let begin = match types {
            [DataType::Date] => Value::Date(begin as i32),
            _ => Value::DateTime(begin * DAY_MICROS),
        };
        return Some(Bounds::Range { lower: None, upper: Some(vec![begin]) });
    }
    let upper = |end: &dyn Fn(i64) -> i64| match key {
        [Value::Date(days)] => Some(Value::Date(end(i64::from(*days) * DAY_MICROS).div_euclid(DAY_MICROS) as i32)),
        [Value::DateTime(micros)] => Some(Value::DateTime(end(*micros))),
        _ => None,
    };
    let upper = match &exprs[..] {
        [PartitionExpr::DateTrunc(unit, _)] => upper(&|start| unit.add(start, 1)),
        [PartitionExpr::TimeSlice(n, unit, _)] => upper(&|start| unit.add(start, i64::from(*n))),
        _ => None,
    };
    Some(match upper {
        Some(upper) => Bounds::Range { lower: Some(key.to_vec()), upper: Some(vec![upper]) },
        None => Bounds::List(vec![key.to_vec()]),
    })
}

/// The name of a partition that a load creates, as StarRocks names it: `p` and the key's values joined by `_`, times cut
/// to the unit of their expression (`p202402` by month, `p2024022912` by hour, `p20240229_beijing`). Characters that names
/// cannot hold become `_`; `taken` tells names that are in use, which get the lowest free number behind them.
pub fn partition_name(partitioning: &Partitioning, bounds: &Bounds, taken: impl Fn(&str) -> bool) -> String {
    let key = match bounds {
        Bounds::All => &[][..],
        Bounds::Range { lower, .. } => lower.as_deref().unwrap_or(&[Value::Null]),
        Bounds::List(keys) => keys.first().map(Vec::as_slice).unwrap_or_default(),
    };
    let unit = |position: usize| match partitioning {
        Partitioning::Expression(exprs) => match exprs.get(position)? {
            PartitionExpr::DateTrunc(unit, _) | PartitionExpr::TimeSlice(_, unit, _) => Some(*unit),
            PartitionExpr::Column(_) => None,
        },
        Partitioning::None | Partitioning::Range(_) | Partitioning::List(_) => None,
    };
    let parts: Vec<String> = key.iter().enumerate().map(|(i, value)| name_part(value, unit(i))).collect();
    let name = format!("p{}", parts.join("_"));
    if !taken(&name) {
        return name;
    }
    (1u64..).map(|n| format!("{name}_{n}")).find(|name| !taken(name)).expect("numbers do not run out")
}

fn name_part(value: &Value, unit: Option<TimeUnit>) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Text(text) => text.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect(),
        Value::Boolean(_) => value.to_string(),
        Value::Int(i) if *i < 0 => format!("_{}", i.unsigned_abs()),
        Value::Int(i) => i.to_string(),
        Value::Date(_) | Value::DateTime(_) => {
            let mut digits: String = value.to_string().chars().filter(char::is_ascii_digit).collect();
            digits.truncate(match unit {
                Some(TimeUnit::Year) => 4,
                Some(TimeUnit::Quarter | TimeUnit::Month) => 6,
                Some(TimeUnit::Week | TimeUnit::Day) => 8,
                Some(TimeUnit::Hour) => 10,
                Some(TimeUnit::Minute) => 12,
                Some(TimeUnit::Second) | None => usize::MAX,
            });
            digits
        }
    }
}

#[cfg(test)]
mod tests;
