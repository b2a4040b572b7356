//! What statements say.

use std::fmt;

use sqlparser::ast;

use crate::alteration::{Alteration, ShowAlterTable};
use crate::cluster::{AlterSystem, ShowReplicaStatus};
use crate::compaction::CompactTable;
use crate::modify::{Delete, Update};
use crate::name::{Ident, Literal, ObjectName, Position, quote_string};
use crate::table::{CreateTable, PartitionDefs, Property};
use crate::volume::{AlterStorageVolume, CreateStorageVolume};

/// One statement.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The fields' names are the words of the syntax shown.
pub enum Statement {
    /// `SELECT ..`, `WITH ..`, `VALUES ..`
    Query(Box<ast::Query>),
    /// `EXPLAIN [ANALYZE] [VERBOSE] statement`; the statement is a query or changes rows.
    Explain { analyze: bool, verbose: bool, statement: Box<Statement> },
    /// `INSERT {INTO | OVERWRITE} ..`
    Insert(Insert),
    /// `[WITH ..] DELETE FROM ..`
    Delete(Box<Delete>),
    /// `[WITH ..] UPDATE ..`
    Update(Box<Update>),

    /// `CREATE DATABASE [IF NOT EXISTS] name [PROPERTIES (..)]`
    CreateDatabase { if_not_exists: bool, name: Ident, properties: Vec<Property> },
    /// `DROP DATABASE [IF EXISTS] name [FORCE]`
    DropDatabase { if_exists: bool, name: Ident, force: bool },
    /// `ALTER DATABASE name RENAME to`
    RenameDatabase { name: Ident, to: Ident },

    /// `CREATE TABLE ..`
    CreateTable(Box<CreateTable>),
    /// `CREATE TABLE name LIKE other`
    CreateTableLike { if_not_exists: bool, name: ObjectName, like: ObjectName },
    /// `CREATE TABLE .. AS query`
    CreateTableAsSelect(CreateTableAsSelect),
    /// `DROP TABLE [IF EXISTS] name [FORCE]`
    DropTable { if_exists: bool, name: ObjectName, force: bool },
    /// `TRUNCATE TABLE name [PARTITION (..)]`; without partitions the whole table.
    TruncateTable { name: ObjectName, partitions: Vec<Ident> },
    /// `ALTER TABLE name RENAME to`
    RenameTable { name: ObjectName, to: Ident },
    /// `ALTER TABLE table ADD [TEMPORARY] PARTITION ..` or `ADD [TEMPORARY] PARTITIONS START .. END .. EVERY ..`
    AddPartitions { table: ObjectName, temporary: bool, partitions: PartitionDefs, properties: Vec<Property> },
    /// `ALTER TABLE table DROP [TEMPORARY] PARTITION[S] ..`
    DropPartitions(DropPartitions),
    /// `ALTER TABLE table REPLACE PARTITION (..) WITH TEMPORARY PARTITION (..)`
    ReplacePartitions(ReplacePartitions),
    /// `ALTER TABLE table SET (..)`
    SetProperties { table: ObjectName, properties: Vec<Property> },
    /// `ALTER TABLE table ADD COLUMN .., DROP COLUMN .., ..`, and for how many seconds it may take, if it says.
    AlterTable { table: ObjectName, alterations: Vec<Alteration>, timeout: Option<u32> },
    /// `ALTER TABLE table SWAP WITH other`
    SwapTables { table: ObjectName, other: Ident },
    /// `CANCEL ALTER TABLE COLUMN FROM table`
    CancelAlterTable { table: ObjectName },
    /// `ALTER TABLE table RENAME PARTITION name to`
    RenamePartition { table: ObjectName, name: Ident, to: Ident },
    /// `ALTER TABLE table [BASE | CUMULATIVE] COMPACT ..`
    CompactTable(CompactTable),

    /// `ALTER SYSTEM ..`, `CANCEL DECOMMISSION ..`
    AlterSystem(AlterSystem),

    /// `CREATE STORAGE VOLUME ..`
    CreateStorageVolume(CreateStorageVolume),
    /// `ALTER STORAGE VOLUME ..`
    AlterStorageVolume(AlterStorageVolume),
    /// `DROP STORAGE VOLUME [IF EXISTS] name`
    DropStorageVolume { if_exists: bool, name: Ident },
    /// `SET name AS DEFAULT STORAGE VOLUME`
    SetDefaultStorageVolume { name: Ident },

    /// `CREATE VIEW ..`
    CreateView(CreateView),
    /// `DROP VIEW [IF EXISTS] name`
    DropView { if_exists: bool, name: ObjectName },

    /// `USE [catalog.]database`, or `SET CATALOG catalog` (no database). At least one is there.
    Use { catalog: Option<Ident>, database: Option<Ident> },
    /// `SET a = 1, GLOBAL b = 2, ..`
    Set(Vec<SetVariable>),

    /// `SHOW DATABASES [FROM catalog] [LIKE 'pattern']`
    ShowDatabases { catalog: Option<Ident>, like: Option<String> },
    /// `SHOW [FULL] TABLES [FROM database] [LIKE 'pattern']`
    ShowTables { full: bool, from: Option<ObjectName>, like: Option<String> },
    /// `SHOW [FULL] COLUMNS FROM table [FROM database] [LIKE 'pattern']`
    ShowColumns { full: bool, table: ObjectName, like: Option<String> },
    /// `DESC table`
    Describe { table: ObjectName },
    /// `DESC FILES(..)`
    DescribeFiles { properties: Vec<(String, String)> },
    /// `SHOW STORAGE VOLUMES [LIKE 'pattern']`
    ShowStorageVolumes { like: Option<String> },
    /// `DESC STORAGE VOLUME name`
    DescribeStorageVolume { name: Ident },
    /// `SHOW CREATE TABLE table`
    ShowCreateTable { table: ObjectName },
    /// `SHOW CREATE VIEW view`
    ShowCreateView { view: ObjectName },
    /// `SHOW CREATE DATABASE database`
    ShowCreateDatabase { database: Ident },
    /// `SHOW [TEMPORARY] PARTITIONS FROM table`
    ShowPartitions { temporary: bool, table: ObjectName },
    /// `SHOW TABLETS FROM table [PARTITION (..)]` and `SHOW TABLET FROM ..`
    ShowTablets { table: ObjectName, partitions: Vec<Ident> },
    /// `SHOW INDEX FROM table`
    ShowIndex { table: ObjectName },
    /// `SHOW ALTER TABLE COLUMN ..`
    ShowAlterTable(ShowAlterTable),
    /// `SHOW COMPACTIONS [FROM table]`
    ShowCompactions { table: Option<ObjectName> },
    /// `SHOW COORDINATORS`, `SHOW FRONTENDS`
    ShowCoordinators,
    /// `SHOW COMPUTE NODES`
    ShowComputeNodes,
    /// `SHOW STORAGE NODES`, `SHOW BACKENDS`
    ShowStorageNodes,
    /// `SHOW COLOCATION GROUPS`
    ShowColocationGroups,
    /// `SHOW PROC 'path'`
    ShowProc { path: String, at: Position },
    /// `ADMIN SHOW REPLICA STATUS FROM ..`
    ShowReplicaStatus(ShowReplicaStatus),
    /// `SHOW [FULL] PROCESSLIST`
    ShowProcesslist { full: bool },
    /// `SHOW [GLOBAL | SESSION] VARIABLES [LIKE 'pattern']`
    ShowVariables { scope: Scope, like: Option<String> },
    /// `SHOW CATALOGS`
    ShowCatalogs,
    /// `SHOW WARNINGS`, `SHOW ERRORS`
    ShowWarnings,

    /// `KILL [CONNECTION] id` or `KILL QUERY id`
    Kill { id: String, query: bool },
}

/// `INSERT {INTO | OVERWRITE} table [[TEMPORARY] PARTITION (..)] [WITH LABEL label] [(columns)] {query | VALUES ..}`
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The target.
    pub table: ObjectName,
    /// Columns that are given, or empty for all in order.
    pub columns: Vec<Ident>,
    /// The load's label.
    pub label: Option<Literal>,
    /// Partitions that rows may go to, or empty for all.
    pub partitions: Vec<Ident>,
    /// Whether `partitions` are temporary ones.
    pub temporary: bool,
    /// Whether the rows replace what is there.
    pub overwrite: bool,
    /// The rows. In `VALUES` the word `DEFAULT` is an unquoted identifier expression.
    pub source: Box<ast::Query>,
}

/// `CREATE TABLE [IF NOT EXISTS] name [(columns)] .. AS query`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTableAsSelect {
    /// Everything but columns, which are empty.
    pub table: Box<CreateTable>,
    /// Names for the query's columns, or empty to take its own.
    pub columns: Vec<Ident>,
    /// The rows.
    pub query: Box<ast::Query>,
}

/// `ALTER TABLE table DROP [TEMPORARY] PARTITION[S] [IF EXISTS] ..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropPartitions {
    /// The table.
    pub table: ObjectName,
    /// Whether they are temporary ones.
    pub temporary: bool,
    /// Whether it is no error that one is not there.
    pub if_exists: bool,
    /// At least one.
    pub names: Vec<Ident>,
    /// Whether the data cannot be recovered.
    pub force: bool,
}

/// `ALTER TABLE table REPLACE PARTITION (..) WITH TEMPORARY PARTITION (..) [PROPERTIES (..)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacePartitions {
    /// The table.
    pub table: ObjectName,
    /// At least one.
    pub partitions: Vec<Ident>,
    /// At least one.
    pub temporary: Vec<Ident>,
    /// `strict_range`, `use_temp_partition_name`.
    pub properties: Vec<Property>,
}

/// `CREATE [OR REPLACE] VIEW [IF NOT EXISTS] name [(columns)] [COMMENT ''] AS query`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// Whether an existing view is replaced.
    pub or_replace: bool,
    /// Whether an existing view is left as it is.
    pub if_not_exists: bool,
    /// The view.
    pub name: ObjectName,
    /// Names of the columns, or empty to take the query's.
    pub columns: Vec<ViewColumn>,
    /// The comment.
    pub comment: Option<String>,
    /// What it shows.
    pub query: Box<ast::Query>,
    /// The query as it was written.
    pub query_text: String,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewColumn {
    /// Its name.
    pub name: Ident,
    /// Its comment.
    pub comment: Option<String>,
}

impl fmt::Display for CreateView {
    /// The statement again: what `SHOW CREATE VIEW` prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_replace = if self.or_replace { "OR REPLACE " } else { "" };
        let if_not_exists = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        write!(f, "CREATE {or_replace}VIEW {if_not_exists}{}", self.name)?;
        for (i, column) in self.columns.iter().enumerate() {
            write!(f, "{}{column}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.columns.is_empty() {
            f.write_str(")")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, "\nCOMMENT {}", quote_string(comment))?;
        }
        write!(f, "\nAS {}", self.query_text)
    }
}

impl fmt::Display for ViewColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)?;
        match &self.comment {
            Some(comment) => write!(f, " COMMENT {}", quote_string(comment)),
            None => Ok(()),
        }
    }
}

/// Whose variable it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This session's.
    Session,
    /// The default of sessions to come.
    Global,
    /// `@name`: the user's own.
    User,
}

/// One assignment of `SET`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetVariable {
    /// Whose.
    pub scope: Scope,
    /// The variable, as written, without `@` and scope. `SET NAMES x` sets `names`.
    pub name: String,
    /// Where the name stands.
    pub at: Position,
    /// Its new value.
    pub value: SetValue,
}

/// The value of an assignment.
#[derive(Clone, Debug, PartialEq)]
pub enum SetValue {
    /// A constant expression. Words like `ON` are identifiers.
    Expr(Box<ast::Expr>),
    /// The global value, or for a global variable the built-in one.
    Default,
}
