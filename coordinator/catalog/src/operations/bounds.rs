//! Which partitions of a table overlap, in O(log n) for each new one.

use std::collections::BTreeMap;

use crate::{Bounds, Error, PartitionExpr, Partitioning, Value};

/// An end of a range; `None` is unbounded.
type Bound = Option<Vec<Value>>;

/// The key space that a table's partitions take. `T` tells partitions apart.
pub(super) struct Cover<T> {
    /// By lower bound; disjoint. `None` is below every bound, as it sorts.
    ranges: BTreeMap<Bound, (Bound, T)>,
    lists: BTreeMap<Vec<Value>, T>,
    all: Option<T>,
}

impl<T: Copy> Cover<T> {
    pub(super) const fn new() -> Self {
        Self { ranges: BTreeMap::new(), lists: BTreeMap::new(), all: None }
    }

    /// A partition that shares a key with `bounds`.
    pub(super) fn overlapping(&self, bounds: &Bounds) -> Option<T> {
        match bounds {
            Bounds::All => self
                .all
                .or_else(|| self.ranges.values().map(|(_, t)| *t).next())
                .or_else(|| self.lists.values().copied().next()),
            Bounds::Range { lower, upper } => self.all.or_else(|| {
                let before = self.ranges.range(..=lower.clone()).next_back();
                let after = self.ranges.range(lower.clone()..).next();
                before
                    .filter(|(_, (end, _))| end.is_none() || lower.is_none() || end > lower)
                    .or_else(|| after.filter(|(start, _)| upper.is_none() || start.is_none() || *start < upper))
                    .map(|(_, (_, t))| *t)
            }),
            Bounds::List(keys) => self.all.or_else(|| keys.iter().find_map(|key| self.lists.get(key)).copied()),
        }
    }

    /// Notes a partition that overlaps no other.
    pub(super) fn insert(&mut self, bounds: &Bounds, partition: T) {
        match bounds {
            Bounds::All => self.all = Some(partition),
            Bounds::Range { lower, upper } => {
                self.ranges.insert(lower.clone(), (upper.clone(), partition));
            }
            Bounds::List(keys) => self.lists.extend(keys.iter().map(|key| (key.clone(), partition))),
        }
    }
}

/// Checks that bounds are of the kind and width that the partitioning has, and brings lists into one order, so that equal
/// bounds are `==`.
pub(super) fn normalize(partitioning: &Partitioning, name: &str, bounds: &Bounds) -> Result<Bounds, Error> {
    let invalid = |why: &str| Err(Error::Invalid(format!("partition `{name}` {why}")));
    let (ranges, width) = match partitioning {
        Partitioning::None => {
            return if *bounds == Bounds::All {
                Ok(Bounds::All)
            } else {
                invalid("has bounds, but the table is not partitioned")
            };
        }
        Partitioning::Range(columns) => (true, columns.len()),
        Partitioning::List(columns) => (false, columns.len()),
        Partitioning::Expression(expressions) => {
            let time = matches!(expressions[..], [PartitionExpr::DateTrunc(..) | PartitionExpr::TimeSlice(..)]);
            (time, expressions.len())
        }
    };
    match bounds {
        Bounds::Range { lower, upper } if ranges => {
            if [lower, upper].into_iter().flatten().any(|key| key.is_empty() || key.len() > width) {
                return invalid("has bounds of another number of values than there are partition columns");
            }
            if matches!((lower, upper), (Some(lower), Some(upper)) if lower >= upper) {
                return invalid("is empty: its lower bound is not below its upper bound");
            }
            Ok(bounds.clone())
        }
        Bounds::List(keys) if !ranges => {
            if keys.is_empty() {
                return invalid("is empty: it lists no value");
            }
            if keys.iter().any(|key| key.len() != width) {
                return invalid("lists another number of values than there are partition columns");
            }
            let mut keys = keys.clone();
            keys.sort();
            keys.dedup();
            Ok(Bounds::List(keys))
        }
        _ => invalid("has bounds of another kind than the table's partitions"),
    }
}
