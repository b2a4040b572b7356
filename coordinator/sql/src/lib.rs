//! The SQL dialect: text to [`Statement`]s and back. It knows syntax alone: whether a table exists or a property makes
//! sense is the planner's business.
//!
//! The dialect is StarRocks': MySQL's quoting (backticks for names, both kinds of quotes for strings, backslash escapes)
//! with the table model, partitions, buckets and properties of its DDL. Queries and expressions are parsed by
//! `sqlparser`, the parser that DataFusion plans from; everything else is parsed here from the same tokens, so that every
//! error has a line and a column.
//!
//! ```text
//!  text --Tokenizer(TarnDialect)--> tokens --StatementParser--> Statement
//!                                                |                 |
//!                                     sqlparser::Parser            CreateTable --Display--> text (SHOW CREATE TABLE)
//!                                     (queries, expressions)
//!
//!  dialect    TarnDialect: which tokens and expressions there are, casts to our types, lambdas
//!  parser     one file per family of statements
//!  statement  what statements say; `table` for CREATE TABLE and its parts
//!  modify     what DELETE and UPDATE say
//!  alteration what ALTER TABLE says of columns
//!  compaction what ALTER TABLE .. COMPACT says
//!  cluster    what ALTER SYSTEM and ADMIN SHOW REPLICA STATUS say
//!  volume     what CREATE and ALTER STORAGE VOLUME say
//!  types      type names to `tarn_proto::DataType`
//!  files      arguments of the FILES() table function
//!  split      statements of an interactive shell's buffer
//! ```

mod alteration;
mod cluster;
mod compaction;
mod dialect;
mod error;
mod files;
mod keywords;
mod modify;
mod name;
mod parser;
mod split;
mod statement;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod volume;

pub use alteration::{Alteration, ColumnPlace, ShowAlterTable};
pub use cluster::{AlterSystem, NodeAddress, ShowReplicaStatus};
pub use compaction::CompactTable;
pub use dialect::TarnDialect;
pub use error::ParseError;
pub use files::{FILES, files_properties};
pub use keywords::keywords;
pub use modify::{Assignment, Delete, Update};
pub use name::{Ident, Literal, ObjectName, Position, quote_ident, quote_string};
pub use parser::{parse, parse_one};
pub use split::{Split, split, split_complete};
pub use statement::{
    CreateTableAsSelect, CreateView, DropPartitions, Insert, ReplacePartitions, Scope, SetValue, SetVariable,
    Statement, ViewColumn,
};
pub use table::{
    Bound, ColumnDef, ColumnDefault, CreateTable, DistributedBy, Index, IntervalUnit, ListPartition, Model, ModelKind,
    PartitionBy, PartitionDefs, PartitionExpr, Property, RangePartition,
};
pub use types::column_type;

pub use sqlparser::ast;
pub use volume::{AlterStorageVolume, CreateStorageVolume};
