//! Changes of a table's columns.

use serde::{Deserialize, Serialize};
use tarn_proto::{Aggregation, ColumnId, DataType, Index};

use crate::model::ColumnInfo;

/// One change of a table. Columns are named by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alteration {
    /// Adds columns, side by side and in this order. They get ids that no column of the table ever had. For keys, all rows
    /// are written anew.
    AddColumns {
        /// At least one.
        columns: Vec<NewColumn>,
        /// Where the first of them stands.
        place: Place,
    },
    /// Drops a column. For keys, all rows are written anew.
    DropColumn {
        /// The column.
        column: ColumnId,
    },
    /// Gives a column another name.
    RenameColumn {
        /// The column.
        column: ColumnId,
        /// Its new name.
        name: String,
    },
    /// Declares a column anew: what is not mentioned stays.
    ModifyColumn {
        /// The column.
        column: ColumnId,
        /// Its type. Unless it is equal or wider ([`tarn_proto::segment::widens`]), all rows are written anew.
        data_type: DataType,
        /// Whether it takes NULL. If it does and shall not, all rows are written anew.
        nullable: bool,
        /// Its default and its comment.
        info: ColumnInfo,
        /// Where it is moved to, if it is.
        place: Option<Place>,
    },
    /// Brings all columns into this order; keys stay in front. If they change their order, all rows are written anew.
    OrderColumns {
        /// Every column of the table.
        columns: Vec<ColumnId>,
    },
    /// Sorts rows by these columns, for which all are written anew.
    SetSortKey {
        /// At least one.
        columns: Vec<ColumnId>,
    },
    /// Adds an index, which storage nodes make for what is there.
    AddIndex {
        /// Its name is none of another index.
        index: Index,
    },
    /// Drops the index of this name, compared without case. Those without a name are set by `SetBloomColumns`.
    DropIndex {
        /// Its name.
        name: String,
    },
    /// Gives bloom filters to these columns and to no others.
    SetBloomColumns {
        /// Each once.
        columns: Vec<ColumnId>,
    },
    /// Sets the table's comment.
    SetComment {
        /// The comment, or empty.
        comment: String,
    },
}

/// A column to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NewColumn {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    /// Whether it becomes a key column, behind the keys that are there or among them.
    pub key: bool,
    pub aggregation: Option<Aggregation>,
    /// What rows read that are there already; see [`tarn_proto::Column::initial`].
    pub initial: Option<String>,
    pub info: ColumnInfo,
}

/// Where a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Before all others.
    First,
    /// Behind this one.
    After(ColumnId),
    /// Behind all others.
    Last,
}
