//! Partitions.

use serde::{Deserialize, Serialize};
use tarn_proto::{PartitionId, Version};

use super::{Tablet, Value};

/// Which rows a partition takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Bounds {
    /// Every row.
    All,
    /// Rows whose key tuple is `>= lower` and `< upper`, compared lexicographically. `None` is unbounded. NULL is below
    /// every value, so that only a partition without `lower` takes it.
    Range {
        /// Inclusive.
        lower: Option<Vec<Value>>,
        /// Exclusive.
        upper: Option<Vec<Value>>,
    },
    /// Rows whose key tuple is one of these.
    List(Vec<Vec<Value>>),
}

impl Bounds {
    /// Whether a row with this key tuple belongs here.
    pub fn contains(&self, key: &[Value]) -> bool {
        match self {
            Self::All => true,
            Self::Range { lower, upper } => {
                lower.as_deref().is_none_or(|l| key >= l) && upper.as_deref().is_none_or(|u| key < u)
            }
            Self::List(keys) => keys.iter().any(|k| k == key),
        }
    }

    /// Whether some key belongs to both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => true,
            (Self::List(keys), bounds) | (bounds, Self::List(keys)) => keys.iter().any(|k| bounds.contains(k)),
            (Self::Range { lower: l1, upper: u1 }, Self::Range { lower: l2, upper: u2 }) => {
                let below = |upper: &Option<Vec<Value>>, lower: &Option<Vec<Value>>| match (upper, lower) {
                    (Some(u), Some(l)) => u <= l,
                    _ => false,
                };
                !below(u1, l2) && !below(u2, l1)
            }
        }
    }
}

/// A partition: the unit of versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its id, never reused.
    pub id: PartitionId,
    /// Its name, unique in the table without case.
    pub name: String,
    /// Which rows it takes.
    pub bounds: Bounds,
    /// One per bucket, in bucket order.
    pub tablets: Vec<Tablet>,
    /// The version that queries read.
    pub visible_version: Version,
    /// The version that the last committed transaction took; `>= visible_version`.
    pub committed_version: Version,
    /// Rows at the visible version.
    pub rows: u64,
    /// Bytes of segments at the visible version.
    pub bytes: u64,
    /// When the visible version became visible, in milliseconds since 1970.
    pub visible_ms: u64,
    /// Whether rows were deleted that `rows` still counts, also where every loaded row is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inexact_rows: bool,
}
