//! What `ALTER TABLE` says of columns and indexes, and what shows it.

use crate::name::{Ident, ObjectName, Position};
use crate::table::{ColumnDef, Index};

/// One change of a table; a statement has one or more, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// `ADD COLUMN column [AFTER column | FIRST]`, `ADD COLUMN (column, ..)`
    AddColumns {
        /// At least one.
        columns: Vec<ColumnDef>,
        /// Where the first of them stands; behind all others if it does not say.
        place: Option<ColumnPlace>,
    },
    /// `DROP COLUMN name`
    DropColumn {
        /// The column.
        column: Ident,
    },
    /// `RENAME COLUMN name TO to`
    RenameColumn {
        /// The column.
        column: Ident,
        /// Its new name.
        to: Ident,
    },
    /// `MODIFY COLUMN name type .. [AFTER column | FIRST]`
    ModifyColumn {
        /// The column, which keeps its name. What is not said of it stays.
        column: Box<ColumnDef>,
        /// Where it is moved to.
        place: Option<ColumnPlace>,
    },
    /// `MODIFY COLUMN name COMMENT '..'`
    CommentColumn {
        /// The column.
        column: Ident,
        /// Its comment.
        comment: String,
    },
    /// `ORDER BY (columns)`
    OrderBy {
        /// At least one.
        columns: Vec<Ident>,
        /// Where the clause begins.
        at: Position,
    },
    /// `ADD INDEX name (column) [USING BITMAP] [COMMENT '..']`; `CREATE INDEX .. ON table ..` is the same.
    AddIndex {
        /// The index.
        index: Index,
    },
    /// `DROP INDEX name`; `DROP INDEX name ON table` is the same.
    DropIndex {
        /// The index.
        name: Ident,
    },
    /// `COMMENT = '..'`
    Comment {
        /// The table's comment.
        comment: String,
    },
}

/// Where a column stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnPlace {
    /// `FIRST`, and where it is written.
    First(Position),
    /// `AFTER column`
    After(Ident),
}

/// `SHOW ALTER TABLE COLUMN [FROM database] [WHERE column = 'value' [AND ..]] [ORDER BY column [DESC], ..] [LIMIT n]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShowAlterTable {
    /// The database, or the current one.
    pub database: Option<ObjectName>,
    /// Columns of the answer and what they must be equal to.
    pub equal: Vec<(Ident, String)>,
    /// Columns of the answer to sort by, and whether in descending order.
    pub order_by: Vec<(Ident, bool)>,
    /// The most rows.
    pub limit: Option<u32>,
}
