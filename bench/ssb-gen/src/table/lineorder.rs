//! The fact table: 28 rows are seven orders with 1 to 7 lines in a drawn order, so that row `n` is found by division.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::part::price;
use super::{Generator, Scale, Table, Words, ints};
use crate::calendar;
use crate::rng::SplitMix;
use crate::words::{PRIORITIES, SHIP_MODES};

/// Orders of a block.
const BLOCK_ORDERS: u64 = 7;
/// Rows of a block: 1 + 2 + ... + 7.
const BLOCK_ROWS: u64 = 28;
/// Orders are placed from 1992-01-01 to 1998-08-02.
const ORDER_DAYS: u64 = 2_406;
/// Commit dates are 30 to 90 days later.
const COMMIT_DAYS: (i32, i32) = (30, 90);
/// Of three customers one never orders, as in TPC-H.
const IDLE_CUSTOMERS: u64 = 3;
const STREAM_BLOCK: u64 = 1;
const STREAM_LINE: u64 = 2;

/// Generates `lineorder`.
pub struct Lineorder {
    seed: u64,
    rows: u64,
    customers: u64,
    suppliers: u64,
    parts: u64,
    /// `yyyymmdd` by day.
    dates: Vec<i32>,
    priorities: Words,
    modes: Words,
}

/// The lines of one batch, column by column.
#[derive(Default)]
struct Lines {
    order: Vec<i32>,
    number: Vec<i32>,
    customer: Vec<i32>,
    part: Vec<i32>,
    supplier: Vec<i32>,
    date: Vec<i32>,
    priority: Vec<u8>,
    quantity: Vec<i32>,
    price: Vec<i32>,
    total: Vec<i32>,
    discount: Vec<i32>,
    revenue: Vec<i32>,
    cost: Vec<i32>,
    tax: Vec<i32>,
    commit: Vec<i32>,
    mode: Vec<u8>,
}

/// What is drawn for one line.
struct Line {
    part: i32,
    supplier: i32,
    quantity: i32,
    price: i32,
    discount: i32,
    revenue: i32,
    cost: i32,
    tax: i32,
    commit_after: usize,
    mode: u8,
}

impl Lineorder {
    /// The table at `scale`.
    pub fn new(scale: Scale, seed: u64) -> Self {
        Self {
            seed,
            rows: scale.rows(Table::Lineorder),
            customers: scale.rows(Table::Customer),
            suppliers: scale.rows(Table::Supplier),
            parts: scale.rows(Table::Part),
            dates: calendar::keys((ORDER_DAYS as u32) + COMMIT_DAYS.1 as u32),
            priorities: Words::new(&PRIORITIES),
            modes: Words::new(&SHIP_MODES),
        }
    }

    /// The line in row `row`.
    fn line(&self, row: u64) -> Line {
        let mut random = SplitMix::at(self.seed, STREAM_LINE, row);
        let part = 1 + random.below(self.parts) as i32;
        let supplier = 1 + random.below(self.suppliers) as i32;
        let quantity = random.between(1, 50);
        let discount = random.between(0, 10);
        let tax = random.between(0, 8);
        let commit_after = random.between(COMMIT_DAYS.0, COMMIT_DAYS.1) as usize;
        let mode = random.below(SHIP_MODES.len() as u64) as u8;
        let unit = price(part);
        let price = unit * quantity;
        let revenue = (i64::from(price) * i64::from(100 - discount) / 100) as i32;
        Line { part, supplier, quantity, price, discount, revenue, cost: unit * 6 / 10, tax, commit_after, mode }
    }

    /// Appends those rows of block `block` that lie in `rows`.
    fn block(&self, block: u64, rows: &Range<u64>, lines: &mut Lines) {
        let mut random = SplitMix::at(self.seed, STREAM_BLOCK, block);
        let mut sizes: [u64; BLOCK_ORDERS as usize] = [1, 2, 3, 4, 5, 6, 7];
        for last in (1..sizes.len()).rev() {
            sizes.swap(last, random.below(last as u64 + 1) as usize);
        }
        let mut first = block * BLOCK_ROWS;
        for (index, size) in sizes.into_iter().enumerate() {
            let customer = self.customer(&mut random);
            let day = random.below(ORDER_DAYS) as usize;
            let priority = random.below(PRIORITIES.len() as u64) as u8;
            let order = order_key(block * BLOCK_ORDERS + index as u64);
            // The last order of the table may be cut; its total counts the lines that exist.
            let end = (first + size).min(self.rows);
            if first < rows.end && end > rows.start {
                let start = lines.order.len();
                let mut total = 0;
                for row in first..end {
                    let line = self.line(row);
                    total += i64::from(line.revenue) * i64::from(100 + line.tax) / 100;
                    if rows.contains(&row) {
                        lines.order.push(order);
                        lines.number.push((row - first) as i32 + 1);
                        lines.customer.push(customer);
                        lines.date.push(self.dates[day]);
                        lines.priority.push(priority);
                        lines.commit.push(self.dates[day + line.commit_after]);
                        lines.push(&line);
                    }
                }
                let count = lines.order.len() - start;
                lines.total.extend(std::iter::repeat_n(total as i32, count));
            }
            first += size;
        }
    }

    /// A customer that orders.
    fn customer(&self, random: &mut SplitMix) -> i32 {
        let drawn = 1 + random.below(self.customers);
        let ordering = if drawn.is_multiple_of(IDLE_CUSTOMERS) { drawn - 1 } else { drawn };
        ordering as i32
    }
}

/// The key of order number `order` (from 0): the first 8 of each 32 keys are used, as in TPC-H.
fn order_key(order: u64) -> i32 {
    let number = order + 1;
    (((number >> 3) << 5) | (number & 7)) as i32
}

impl Lines {
    fn push(&mut self, line: &Line) {
        self.part.push(line.part);
        self.supplier.push(line.supplier);
        self.quantity.push(line.quantity);
        self.price.push(line.price);
        self.discount.push(line.discount);
        self.revenue.push(line.revenue);
        self.cost.push(line.cost);
        self.tax.push(line.tax);
        self.mode.push(line.mode);
    }
}

const COLUMNS: [&str; 17] = [
    "lo_orderkey",
    "lo_linenumber",
    "lo_custkey",
    "lo_partkey",
    "lo_suppkey",
    "lo_orderdate",
    "lo_orderpriority",
    "lo_shippriority",
    "lo_quantity",
    "lo_extendedprice",
    "lo_ordtotalprice",
    "lo_discount",
    "lo_revenue",
    "lo_supplycost",
    "lo_tax",
    "lo_commitdate",
    "lo_shipmode",
];

impl Generator for Lineorder {
    fn schema(&self) -> SchemaRef {
        let field = |name: &str| match name {
            "lo_orderpriority" | "lo_shipmode" => Field::new(name, Words::data_type(), false),
            _ => Field::new(name, DataType::Int32, false),
        };
        Arc::new(Schema::new(COLUMNS.iter().map(|name| field(name)).collect::<Vec<_>>()))
    }

    fn batch(&self, rows: Range<u64>) -> Result<RecordBatch> {
        let mut lines = Lines::default();
        for block in rows.start / BLOCK_ROWS..rows.end.div_ceil(BLOCK_ROWS) {
            self.block(block, &rows, &mut lines);
        }
        let count = lines.order.len();
        let columns = vec![
            ints(lines.order),
            ints(lines.number),
            ints(lines.customer),
            ints(lines.part),
            ints(lines.supplier),
            ints(lines.date),
            self.priorities.column(lines.priority),
            ints(vec![0; count]),
            ints(lines.quantity),
            ints(lines.price),
            ints(lines.total),
            ints(lines.discount),
            ints(lines.revenue),
            ints(lines.cost),
            ints(lines.tax),
            ints(lines.commit),
            self.modes.column(lines.mode),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}
