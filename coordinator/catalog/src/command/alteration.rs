//! Changes of a table's columns.

use serde::{Deserialize, Serialize};
use tarn_proto::{Aggregation, ColumnId, DataType};

use crate::model::ColumnInfo;

/// One change of a table. Columns are named by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alteration {
    /// Adds value columns, side by side and in this order. They get ids that no column of the table ever had.
    AddColumns {
        /// At least one.
        columns: Vec<NewColumn>,
        /// Where the first of them stands.
        place: Place,
    },
    /// Drops a column that nothing but its values depends on.
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
        /// Its type, equal or wider ([`tarn_proto::segment::widens`]).
        data_type: DataType,
        /// Whether it takes NULL. One that does stays so.
        nullable: bool,
        /// Its default and its comment.
        info: ColumnInfo,
        /// Where it is moved to, if it is.
        place: Option<Place>,
    },
    /// Brings all columns into this order; keys stay in theirs, in front.
    OrderColumns {
        /// Every column of the table.
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
