//! What a partition's bounds say about its columns, as the statistics that DataFusion's pruning asks for.

use std::collections::HashSet;

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use tarn_catalog::model::value::Value;
use tarn_catalog::{Bounds, PartitionExpr, Partitioning, Table};
use tarn_proto::DataType;
use tarn_proto::time::{DAY_MICROS, TimeUnit};

use crate::scalar::scalar_of;

/// What is known of one column in one partition.
#[derive(Clone, Debug, Default)]
struct Known {
    /// No value is less. Inclusive.
    min: Option<Value>,
    /// No value is greater. Inclusive.
    max: Option<Value>,
    /// It holds no NULL.
    no_nulls: bool,
    /// Its values are among these, NULL aside.
    only: Option<Vec<Value>>,
}

/// The partitions of a table, in order of ids.
pub(super) struct PartitionBounds<'a> {
    table: &'a Table,
}

impl<'a> PartitionBounds<'a> {
    pub(super) const fn new(table: &'a Table) -> Self {
        Self { table }
    }

    /// The column's declared type and what each partition says of it. `None` if partitions do not depend on it.
    fn known(&self, column: &Column) -> Option<(&'a DataType, Vec<Known>)> {
        let declared = self.table.schema.columns.iter().find(|c| c.name == column.name)?;
        let (position, expr) = match &self.table.partitioning {
            Partitioning::None => return None,
            Partitioning::Range(columns) | Partitioning::List(columns) => {
                (columns.iter().position(|c| *c == declared.id)?, PartitionExpr::Column(declared.id))
            }
            Partitioning::Expression(exprs) => {
                let position = exprs.iter().position(|e| e.column() == declared.id)?;
                (position, exprs[position].clone())
            }
        };
        let partitions = self.table.partitions.values();
        Some((&declared.data_type, partitions.map(|p| known(&p.bounds, position, &expr)).collect()))
    }

    fn values(&self, column: &Column, of: impl Fn(&Known) -> Option<&Value>) -> Option<ArrayRef> {
        let (data_type, known) = self.known(column)?;
        let null = ScalarValue::try_new_null(&data_type.to_arrow()).ok()?;
        let scalars = known.iter().map(|k| of(k).and_then(|v| scalar_of(v, data_type)).unwrap_or_else(|| null.clone()));
        ScalarValue::iter_to_array(scalars).ok()
    }
}

impl PruningStatistics for PartitionBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |k| k.min.as_ref())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |k| k.max.as_ref())
    }

    fn num_containers(&self) -> usize {
        self.table.partitions.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (_, known) = self.known(column)?;
        Some(std::sync::Arc::new(known.iter().map(|k| k.no_nulls.then_some(0u64)).collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let (data_type, known) = self.known(column)?;
        // Equal scalars of different types do not compare equal: say nothing about them.
        if values.iter().any(|v| v.data_type() != data_type.to_arrow()) {
            return None;
        }
        let answer = |known: &Known| {
            let only = known.only.as_ref()?;
            let in_set = only.iter().map(|v| scalar_of(v, data_type).map(|s| values.contains(&s)));
            let in_set = in_set.collect::<Option<Vec<bool>>>()?;
            if in_set.iter().all(|x| !x) {
                Some(false)
            } else if in_set.iter().all(|x| *x) && known.no_nulls {
                Some(true)
            } else {
                None
            }
        };
        Some(known.iter().map(answer).collect())
    }
}

/// What bounds say of the column that `expr`, the key at `position`, reads.
fn known(bounds: &Bounds, position: usize, expr: &PartitionExpr) -> Known {
    match bounds {
        Bounds::All => Known::default(),
        Bounds::Range { lower, upper } => {
            // Tuples are compared from the left: the bounds of a later column hold only together with those before.
            if position > 0 {
                return Known::default();
            }
            let single = |tuple: &Vec<Value>| tuple.len() == 1;
            let min = lower.as_ref().and_then(|l| l.first()).filter(|v| **v != Value::Null).cloned();
            let max = upper.as_ref().and_then(|u| {
                let first = u.first().filter(|v| **v != Value::Null)?;
                Some(if single(u) { before(first) } else { first.clone() })
            });
            Known { no_nulls: min.is_some(), min, max, only: None }
        }
        Bounds::List(tuples) => {
            let keys: Vec<&Value> = tuples.iter().filter_map(|t| t.get(position)).collect();
            let no_nulls = keys.iter().all(|v| **v != Value::Null);
            let values: Vec<Value> = keys.into_iter().filter(|v| **v != Value::Null).cloned().collect();
            let min = values.iter().min().cloned();
            let max = values.iter().max().map(|start| last_of(start, expr));
            let only = matches!(expr, PartitionExpr::Column(_)).then_some(values);
            Known { min, max, no_nulls, only }
        }
    }
}

/// The greatest value below `value`, where there is one; else `value`, which is safe.
fn before(value: &Value) -> Value {
    match value {
        Value::Int(i) => Value::Int(i.saturating_sub(1)),
        Value::Date(d) => Value::Date(d.saturating_sub(1)),
        Value::DateTime(t) => Value::DateTime(t.saturating_sub(1)),
        other => other.clone(),
    }
}

/// The greatest value that `expr` maps to `start`.
fn last_of(start: &Value, expr: &PartitionExpr) -> Value {
    let (n, unit) = match expr {
        PartitionExpr::Column(_) => return start.clone(),
        PartitionExpr::DateTrunc(unit, _) => (1, *unit),
        PartitionExpr::TimeSlice(n, unit, _) => (i64::from(*n), *unit),
    };
    let end = |micros: i64| TimeUnit::add(unit, micros, n);
    match start {
        // A unit shorter than a day holds the day itself only.
        Value::Date(d) => {
            let last = end(i64::from(*d) * DAY_MICROS).div_euclid(DAY_MICROS) as i32 - 1;
            Value::Date(last.max(*d))
        }
        Value::DateTime(t) => Value::DateTime(end(*t) - 1),
        other => other.clone(),
    }
}
