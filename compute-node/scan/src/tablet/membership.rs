//! Tests of rows against what the operators above have learnt, after Vortex has decoded them.
//!
//! A join tells its scan which keys it has, as a look-up in its hash table. Vortex cannot evaluate that. The scan does, on
//! decoded batches: rows that no join wants are dropped before any operator copies them. A test costs as much as the
//! join's own look-up, so one that drops too little is left out, and only tried again now and then.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use parking_lot::Mutex;

use super::pushdown::map_columns;

/// Rows after which the share that a test drops is known well enough.
const SAMPLE_ROWS: u64 = 32_768;
/// A test is worth its cost if it keeps at most this share of the rows.
const WORTH: f64 = 0.75;
/// A test that was left out is tried on one of so many batches.
const RETRY_EVERY: u64 = 32;

/// What the tests of one scan have dropped so far. Shared by its output partitions.
#[derive(Debug, Default)]
pub(crate) struct Learned(Mutex<Vec<Kept>>);

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    tested: u64,
    kept: u64,
    skipped: u64,
}

impl Kept {
    fn share(self) -> f64 {
        if self.tested == 0 { 0.5 } else { self.kept as f64 / self.tested as f64 }
    }
}

impl Learned {
    /// Whether to run the test of this number on the next batch.
    fn is_worth(&self, test: usize) -> bool {
        let mut kept = self.0.lock();
        let Some(seen) = kept.get_mut(test) else { return true };
        if seen.tested < SAMPLE_ROWS || seen.share() <= WORTH {
            return true;
        }
        seen.skipped += 1;
        if seen.skipped % RETRY_EVERY == 0 {
            // What follows counts more than what was.
            seen.tested /= 2;
            seen.kept /= 2;
            return true;
        }
        false
    }

    fn record(&self, test: usize, tested: usize, left: usize) {
        let mut kept = self.0.lock();
        if kept.len() <= test {
            kept.resize(test + 1, Kept::default());
        }
        kept[test].tested += tested as u64;
        kept[test].kept += left as u64;
    }

    /// The tests' numbers, the one that keeps least first.
    fn order(&self, count: usize) -> Vec<usize> {
        let kept = self.0.lock();
        let share = |test: &usize| kept.get(*test).copied().unwrap_or_default().share();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| share(a).total_cmp(&share(b)));
        order
    }
}

/// The tests of a morsel's rows.
#[derive(Clone)]
pub(crate) struct Membership {
    tests: Arc<[Option<Arc<dyn PhysicalExpr>>]>,
    learned: Arc<Learned>,
}

impl Membership {
    /// Tests over the table's columns, for batches of the columns `projection`. A test of a column that is not read is
    /// left to the operators above.
    pub fn new(tests: Vec<Arc<dyn PhysicalExpr>>, projection: &[usize], learned: Arc<Learned>) -> Self {
        let read = |column: &Column| {
            let index = projection.iter().position(|index| *index == column.index())?;
            Some(Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>)
        };
        let tests = tests.into_iter().map(|test| map_columns(test, read)).collect();
        Self { tests, learned }
    }

    /// Whether all rows pass.
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// The rows that pass.
    pub fn keep(&self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for number in self.learned.order(self.tests.len()) {
            let Some(test) = &self.tests[number] else { continue };
            if batch.num_rows() == 0 || !self.learned.is_worth(number) {
                continue;
            }
            let rows = batch.num_rows();
            let passed = test.evaluate(&batch)?.into_array(rows)?;
            let passed = passed.as_boolean();
            let left = passed.true_count();
            self.learned.record(number, rows, left);
            if left < rows {
                batch = filter_record_batch(&batch, passed)?;
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{binary, lit};

    use super::*;

    /// Columns 3 and 1 of a table, in this order.
    fn batch(keys: std::ops::Range<i32>) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("k", DataType::Int32, false), Field::new("v", DataType::Int64, false)]);
        let values = Int64Array::from_iter_values(keys.clone().map(i64::from));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from_iter_values(keys)), Arc::new(values)])
            .unwrap()
    }

    fn below(column: usize, limit: i32) -> Arc<dyn PhysicalExpr> {
        let table =
            Schema::new((0..4).map(|i| Field::new(format!("c{i}"), DataType::Int32, false)).collect::<Vec<_>>());
        binary(Arc::new(Column::new("k", column)), Operator::Lt, lit(limit), &table).unwrap()
    }

    #[test]
    fn rows_that_fail_any_test_are_dropped() {
        let membership = Membership::new(vec![below(3, 50), below(3, 10)], &[3, 1], Arc::default());
        for _ in 0..3 {
            let kept = membership.keep(batch(0..100)).unwrap();
            assert_eq!(kept, batch(0..10));
        }
        assert_eq!(membership.learned.order(2), vec![1, 0], "the stronger test goes first");
    }

    #[test]
    fn tests_of_columns_that_are_not_read_are_left_out() {
        let membership = Membership::new(vec![below(2, 10)], &[3, 1], Arc::default());
        assert_eq!(membership.keep(batch(0..100)).unwrap().num_rows(), 100);
    }

    #[test]
    fn a_test_that_drops_little_is_run_rarely_and_comes_back_when_it_pays() {
        let learned = Arc::new(Learned::default());
        let membership = Membership::new(vec![below(3, 1_000_000)], &[3, 1], learned.clone());
        let rows = SAMPLE_ROWS as i32;
        membership.keep(batch(0..rows)).unwrap();
        let kept = membership.keep(batch(2_000_000..2_000_010)).unwrap();
        assert_eq!(kept.num_rows(), 10, "left out: the operators above drop these rows");
        let tries = 20 * RETRY_EVERY;
        let dropped = (0..tries).filter(|_| membership.keep(batch(2_000_000..2_030_000)).unwrap().num_rows() == 0);
        assert!(dropped.count() > 10 * RETRY_EVERY as usize, "the test pays again");
    }
}
