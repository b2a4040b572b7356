//! Filters on the first sort-key columns as a range of keys, to look up in short-key indexes.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use tarn_proto::TableSchema;
use tarn_proto::short_key::{ShortKey, ShortKeyIndex};

/// The keys that the filters allow.
pub(crate) struct KeyRange {
    key: ShortKey,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
}

impl KeyRange {
    /// `None` if the filters say nothing about the first sort-key column. They refer to the table's columns by position.
    pub fn of(schema: &TableSchema, filters: &[Arc<dyn PhysicalExpr>]) -> Option<Self> {
        let key = ShortKey::of(schema);
        let conjuncts: Vec<_> = filters.iter().flat_map(split_conjunction).collect();
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        // Bounds go on to the next column only while both are the same value of this one.
        let (mut lower_open, mut upper_open) = (false, false);
        for id in key.columns() {
            let position = schema.index_of(id)?;
            let data_type = schema.columns[position].data_type.to_arrow();
            let mut bounds = Bounds::default();
            for conjunct in &conjuncts {
                bounds.narrow(conjunct, position);
            }
            let typed =
                |bound: Option<ScalarValue>| bound.filter(|value| value.data_type() == data_type)?.to_array().ok();
            let equal = bounds.lower.is_some() && bounds.lower == bounds.upper;
            for (bound, values, open) in
                [(bounds.lower, &mut lower, &mut lower_open), (bounds.upper, &mut upper, &mut upper_open)]
            {
                match typed(bound) {
                    Some(value) if !*open => values.push(value),
                    _ => *open = true,
                }
            }
            if !equal || (lower_open && upper_open) {
                break;
            }
        }
        let encode = |values: &[arrow::array::ArrayRef]| {
            if values.is_empty() { None } else { key.encode_bound(values).ok() }
        };
        let (lower, upper) = (encode(&lower), encode(&upper));
        (lower.is_some() || upper.is_some()).then_some(Self { key, lower, upper })
    }

    /// The rows of a segment of `rows` rows that can be in the range.
    pub fn rows(&self, index: &[u8], rows: u64) -> Range<u64> {
        match ShortKeyIndex::decode(index) {
            Ok(index) if index.matches(&self.key) && index.rows() == rows => {
                index.row_range(self.lower.as_deref(), self.upper.as_deref())
            }
            // An index only saves work.
            _ => 0..rows,
        }
    }
}

#[derive(Default)]
struct Bounds {
    lower: Option<ScalarValue>,
    upper: Option<ScalarValue>,
}

impl Bounds {
    fn narrow(&mut self, conjunct: &Arc<dyn PhysicalExpr>, position: usize) {
        if let Some(list) = conjunct.downcast_ref::<InListExpr>() {
            let values: Option<Vec<_>> = list.list().iter().map(literal).collect();
            if let Some(values) = values
                && !list.negated()
                && !values.is_empty()
                && is_column(list.expr(), position)
            {
                let least = values.iter().cloned().reduce(|a, b| pick(a, b, Ordering::Less));
                let greatest = values.into_iter().reduce(|a, b| pick(a, b, Ordering::Greater));
                self.raise(least);
                self.sink(greatest);
            }
            return;
        }
        let Some(binary) = conjunct.downcast_ref::<BinaryExpr>() else { return };
        let (operator, value) = if is_column(binary.left(), position) {
            (Some(*binary.op()), literal(binary.right()))
        } else if is_column(binary.right(), position) {
            (binary.op().swap(), literal(binary.left()))
        } else {
            return;
        };
        match operator {
            Some(Operator::Eq) => {
                self.raise(value.clone());
                self.sink(value);
            }
            Some(Operator::Gt | Operator::GtEq) => self.raise(value),
            Some(Operator::Lt | Operator::LtEq) => self.sink(value),
            _ => {}
        }
    }

    fn raise(&mut self, value: Option<ScalarValue>) {
        let Some(value) = value else { return };
        self.lower = Some(match self.lower.take() {
            Some(lower) => pick(lower, value, Ordering::Greater),
            None => value,
        });
    }

    fn sink(&mut self, value: Option<ScalarValue>) {
        let Some(value) = value else { return };
        self.upper = Some(match self.upper.take() {
            Some(upper) => pick(upper, value, Ordering::Less),
            None => value,
        });
    }
}

/// `a` if it compares to `b` as wanted, else `b`.
fn pick(a: ScalarValue, b: ScalarValue, wanted: Ordering) -> ScalarValue {
    if a.partial_cmp(&b) == Some(wanted) { a } else { b }
}

fn is_column(expr: &Arc<dyn PhysicalExpr>, position: usize) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|column| column.index() == position)
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<ScalarValue> {
    let value = expr.downcast_ref::<Literal>()?.value();
    (!value.is_null()).then(|| value.clone())
}
