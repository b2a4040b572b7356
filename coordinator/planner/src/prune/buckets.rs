//! Buckets from equalities and IN lists over all bucket columns.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{Guarantee, LiteralGuarantee};
use tarn_catalog::Table;
use tarn_proto::DataType;
use tarn_proto::bucket::{bucket_of, hash_rows};

/// Combinations of values that are hashed at most. Past it every bucket is read.
const MAX_COMBINATIONS: usize = 1024;

/// The hashes of the rows that can match.
pub(super) enum BucketChoice {
    /// Any.
    All,
    /// One of these.
    Hashes(Vec<u64>),
}

impl BucketChoice {
    pub(super) fn new(table: &Table, predicate: &Arc<dyn PhysicalExpr>) -> Self {
        Self::hashes(table, predicate).map_or(Self::All, Self::Hashes)
    }

    pub(super) fn contains(&self, bucket: u32, buckets: u32) -> bool {
        match self {
            Self::All => true,
            Self::Hashes(hashes) => hashes.iter().any(|hash| bucket_of(*hash, buckets) == bucket),
        }
    }

    /// `None` unless every bucket column is bound to a list of values.
    fn hashes(table: &Table, predicate: &Arc<dyn PhysicalExpr>) -> Option<Vec<u64>> {
        if table.distribution.columns.is_empty() {
            return None;
        }
        let guarantees = LiteralGuarantee::analyze(predicate);
        let mut types = Vec::new();
        let mut rows: Vec<Vec<ScalarValue>> = vec![Vec::new()];
        for id in &table.distribution.columns {
            let column = &table.schema.columns[table.schema.index_of(*id)?];
            let values = guarantees
                .iter()
                .filter(|g| g.guarantee == Guarantee::In && g.column.name == column.name)
                .filter_map(|g| {
                    g.literals.iter().map(|v| as_declared(v, &column.data_type)).collect::<Option<Vec<_>>>()
                })
                .min_by_key(Vec::len)?;
            if rows.len() * values.len() > MAX_COMBINATIONS {
                return None;
            }
            rows = rows
                .into_iter()
                .flat_map(|row| values.iter().map(move |v| row.iter().cloned().chain([v.clone()]).collect()))
                .collect();
            types.push(column.data_type.clone());
        }
        if rows.is_empty() {
            return Some(Vec::new());
        }
        let arrays = (0..types.len())
            .map(|i| ScalarValue::iter_to_array(rows.iter().map(|row| row[i].clone())).ok())
            .collect::<Option<Vec<_>>>()?;
        hash_rows(&arrays, &types, rows.len()).ok()
    }
}

/// A constant that a column is compared with, in the column's type. `None` when the comparison may be true for values
/// that this is not.
fn as_declared(value: &ScalarValue, data_type: &DataType) -> Option<ScalarValue> {
    let wanted = data_type.to_arrow();
    if value.is_null() {
        return None;
    }
    if value.data_type() == wanted {
        return Some(value.clone());
    }
    value.try_as_str().flatten().and_then(|_| value.cast_to(&wanted).ok())
}
