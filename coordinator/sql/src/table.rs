//! `CREATE TABLE` and its parts.

mod display;

use tarn_proto::DataType;

use crate::name::{Ident, Literal, ObjectName, Position};

/// `CREATE TABLE`. Its `Display` is the statement again: what `SHOW CREATE TABLE` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTable {
    /// Whether it is no error that the table exists.
    pub if_not_exists: bool,
    /// The table.
    pub name: ObjectName,
    /// In the declared order.
    pub columns: Vec<ColumnDef>,
    /// `INDEX name (column) USING ..`
    pub indexes: Vec<Index>,
    /// `ENGINE = ..`
    pub engine: Option<String>,
    /// `DUPLICATE KEY (..)` and its kin; the default is up to the planner.
    pub model: Option<Model>,
    /// `COMMENT '..'`
    pub comment: Option<String>,
    /// `PARTITION BY ..`
    pub partition: Option<PartitionBy>,
    /// `DISTRIBUTED BY ..`
    pub distribution: Option<DistributedBy>,
    /// `ORDER BY (..)`, or empty.
    pub order_by: Vec<Ident>,
    /// `PROPERTIES (..)`, as written.
    pub properties: Vec<Property>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// Its name, which also tells where the column stands.
    pub name: Ident,
    /// Its type.
    pub data_type: DataType,
    /// Where the type stands.
    pub type_at: Position,
    /// Whether `KEY` stands after the type.
    pub key: bool,
    /// `SUM`, `REPLACE`, .. in upper case.
    pub aggregation: Option<String>,
    /// `NULL`, `NOT NULL` or nothing.
    pub nullable: Option<bool>,
    /// `DEFAULT ..`
    pub default: Option<ColumnDefault>,
    /// `AUTO_INCREMENT`
    pub auto_increment: bool,
    /// `AS expression`: the expression's text.
    pub generated_as: Option<String>,
    /// `COMMENT '..'`
    pub comment: Option<String>,
}

/// What a column takes when a load does not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnDefault {
    /// A constant.
    Value(Literal),
    /// `NULL`
    Null,
    /// `CURRENT_TIMESTAMP` or `now()`
    CurrentTimestamp,
    /// `(expression)`: its text, without the parentheses.
    Expr(String),
}

/// How rows with equal keys relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// Every row is kept.
    Duplicate,
    /// Rows with equal keys are aggregated.
    Aggregate,
    /// The last row wins, merged on read.
    Unique,
    /// The last row wins, resolved on write.
    PrimaryKey,
}

/// `DUPLICATE KEY (a, b)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Which.
    pub kind: ModelKind,
    /// Key columns, at least one.
    pub keys: Vec<Ident>,
    /// Where the clause begins.
    pub at: Position,
}

/// `PARTITION BY ..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// `RANGE (columns) (partitions)`
    Range {
        /// At least one.
        columns: Vec<Ident>,
        /// May be empty.
        partitions: Vec<RangePartition>,
        /// Where the clause begins.
        at: Position,
    },
    /// `LIST (columns) (partitions)`
    List {
        /// At least one.
        columns: Vec<Ident>,
        /// May be empty.
        partitions: Vec<ListPartition>,
        /// Where the clause begins.
        at: Position,
    },
    /// `date_trunc('day', c), d`: at least one; each a [`PartitionExpr::Column`] or a [`PartitionExpr::Function`].
    Expressions(Vec<PartitionExpr>),
}

/// Partitions that `ALTER TABLE` adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionDefs {
    /// To a table partitioned by range.
    Range(Vec<RangePartition>),
    /// To a table partitioned by list.
    List(Vec<ListPartition>),
}

/// One partition of a range partitioned table, or a row of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangePartition {
    /// `PARTITION name VALUES LESS THAN (..)`; `LESS THAN MAXVALUE` has one bound, [`Bound::MaxValue`].
    LessThan {
        /// The partition.
        name: Ident,
        /// Whether it is no error that the partition exists.
        if_not_exists: bool,
        /// Exclusive, one for each column or fewer.
        upper: Vec<Bound>,
        /// Properties of the partition.
        properties: Vec<Property>,
    },
    /// `PARTITION name VALUES [(..), (..))`
    Between {
        /// The partition.
        name: Ident,
        /// Whether it is no error that the partition exists.
        if_not_exists: bool,
        /// Inclusive.
        lower: Vec<Bound>,
        /// Exclusive.
        upper: Vec<Bound>,
        /// Properties of the partition.
        properties: Vec<Property>,
    },
    /// `START (..) END (..) EVERY (..)`
    Every {
        /// The first partition's lower bound.
        start: Literal,
        /// Exclusive.
        end: Literal,
        /// Width of a partition, at least 1.
        step: u32,
        /// `None`: the column is a number.
        unit: Option<IntervalUnit>,
    },
}

/// A bound of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A constant.
    Value(Literal),
    /// Above every value.
    MaxValue,
}

/// `PARTITION name VALUES IN (..)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPartition {
    /// The partition.
    pub name: Ident,
    /// Whether it is no error that the partition exists.
    pub if_not_exists: bool,
    /// Key tuples; `None` is NULL.
    pub values: Vec<Vec<Option<Literal>>>,
    /// Properties of the partition.
    pub properties: Vec<Property>,
}

/// An expression that a row's partition is computed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionExpr {
    /// A column, or an argument that is a bare word (`floor` of `time_slice`).
    Column(Ident),
    /// A constant argument.
    Literal(Literal),
    /// `INTERVAL 7 DAY` as an argument.
    Interval {
        /// At least 1.
        count: u32,
        /// The unit.
        unit: IntervalUnit,
        /// Where it stands.
        at: Position,
    },
    /// `date_trunc(..)`, `time_slice(..)`, ..
    Function {
        /// As written.
        name: Ident,
        /// In order.
        args: Vec<PartitionExpr>,
    },
}

/// Unit of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IntervalUnit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl IntervalUnit {
    /// Every unit, shortest first.
    pub const ALL: [Self; 8] =
        [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// In lower case, singular.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    /// By name, singular or plural, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('s').unwrap_or(&name);
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }
}

/// `DISTRIBUTED BY ..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DistributedBy {
    /// `HASH (columns) [BUCKETS n]`
    Hash {
        /// At least one.
        columns: Vec<Ident>,
        /// Chosen for the user when not given.
        buckets: Option<u32>,
        /// Where the clause begins.
        at: Position,
    },
    /// `RANDOM [BUCKETS n]`
    Random {
        /// Chosen for the user when not given.
        buckets: Option<u32>,
        /// Where the clause begins.
        at: Position,
    },
}

/// `INDEX name (columns) [USING kind [("k" = "v")]] [COMMENT '..']`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: Ident,
    /// At least one.
    pub columns: Vec<Ident>,
    /// `BITMAP`, .. in upper case.
    pub using: Option<String>,
    /// Properties of the index.
    pub properties: Vec<Property>,
    /// The comment.
    pub comment: Option<String>,
}

/// `"name" = "value"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// As written.
    pub name: String,
    /// As written.
    pub value: String,
    /// Where the name stands.
    pub at: Position,
}
