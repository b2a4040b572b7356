//! The five tables: names, sizes and generators.

mod customer;
mod dates;
mod lineorder;
mod part;
mod place;
mod supplier;

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, ensure};
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type};

/// A table of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Table {
    /// The facts: one row for each line of an order.
    Lineorder,
    /// Who ordered.
    Customer,
    /// Who delivered.
    Supplier,
    /// What was ordered.
    Part,
    /// When.
    Dates,
}

/// The scale factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale(f64);

/// Makes the rows of one table.
pub trait Generator {
    /// Columns in the benchmark's order.
    fn schema(&self) -> SchemaRef;
    /// The rows of this range, numbered from 0.
    fn batch(&self, rows: Range<u64>) -> Result<RecordBatch>;
}

impl Table {
    /// All tables, the largest first.
    pub const ALL: [Self; 5] = [Self::Lineorder, Self::Customer, Self::Supplier, Self::Part, Self::Dates];

    /// The table's name, and that of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lineorder => "lineorder",
            Self::Customer => "customer",
            Self::Supplier => "supplier",
            Self::Part => "part",
            Self::Dates => "dates",
        }
    }

    /// The table's generator.
    pub fn generator(self, scale: Scale, seed: u64) -> Box<dyn Generator> {
        let seed = seed ^ ((self as u64 + 1) << 56);
        match self {
            Self::Lineorder => Box::new(lineorder::Lineorder::new(scale, seed)),
            Self::Customer => Box::new(customer::Customer::new(seed)),
            Self::Supplier => Box::new(supplier::Supplier::new(seed)),
            Self::Part => Box::new(part::Part::new(seed)),
            Self::Dates => Box::new(dates::Dates),
        }
    }

    /// Columns in which nearly every value differs: a dictionary would be built and thrown away.
    pub fn distinct_columns(self) -> &'static [&'static str] {
        match self {
            Self::Lineorder => &["lo_orderkey", "lo_extendedprice", "lo_ordtotalprice", "lo_revenue"],
            Self::Customer => &["c_custkey", "c_name", "c_address", "c_phone"],
            Self::Supplier => &["s_suppkey", "s_name", "s_address", "s_phone"],
            Self::Part => &["p_partkey"],
            Self::Dates => &["d_datekey", "d_date"],
        }
    }
}

impl Scale {
    /// A scale factor between 0.001 and 300: beyond, order keys leave 32 bits.
    pub fn new(factor: f64) -> Result<Self> {
        ensure!((0.001..=300.0).contains(&factor), "--scale must be between 0.001 and 300, not {factor}");
        Ok(Self(factor))
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        self.0
    }

    /// Rows of `table` at this scale.
    pub fn rows(self, table: Table) -> u64 {
        let linear = |rows: f64| (rows * self.0).round().max(1.0) as u64;
        match table {
            Table::Lineorder => linear(6_000_000.0),
            Table::Customer => linear(30_000.0),
            Table::Supplier => linear(2_000.0),
            Table::Part if self.0 < 1.0 => linear(200_000.0),
            Table::Part => 200_000 * (1.0 + self.0.log2()).floor() as u64,
            Table::Dates => dates::DAYS,
        }
    }
}

/// Columns with their names; strings may come as dictionaries.
type Columns = Vec<(&'static str, ArrayRef)>;

/// The schema of `columns`.
fn schema_of(columns: &Columns) -> SchemaRef {
    let field = |(name, values): &(&str, ArrayRef)| Field::new(*name, values.data_type().clone(), false);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A batch of `columns`.
fn batch_of(columns: Columns) -> Result<RecordBatch> {
    let schema = schema_of(&columns);
    Ok(RecordBatch::try_new(schema, columns.into_iter().map(|(_, values)| values).collect())?)
}

fn ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

fn strings(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Words by their index in a list: as a dictionary, so that no text is copied for each row.
#[derive(Debug)]
struct Words(Arc<StringArray>);

impl Words {
    fn new(words: &[&str]) -> Self {
        Self(Arc::new(StringArray::from_iter_values(words)))
    }

    fn column(&self, indexes: Vec<u8>) -> ArrayRef {
        let keys = UInt8Array::from(indexes);
        let array = DictionaryArray::<UInt8Type>::try_new(keys, Arc::clone(&self.0) as ArrayRef);
        Arc::new(array.expect("indexes are drawn below the number of words"))
    }

    fn data_type() -> DataType {
        DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8))
    }
}
