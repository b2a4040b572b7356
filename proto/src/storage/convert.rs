//! Tablets whose rows are written anew in other tablets of the same node, under another schema.

use crate::schema::WireSchemaError;
use crate::{ErrorKind, TableSchema, TabletId, TxnId, Version, wire};

/// A change of a table that asks for rows to be written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The schema of the tablets that rows come from.
    pub from: TableSchema,
    /// The schema of those that they go to. These are created where they are not there.
    pub to: TableSchema,
    /// The tablets.
    pub tablets: Vec<ConvertTablet>,
}

/// A tablet, and the one that gets its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvertTablet {
    /// Where the rows are.
    pub base: TabletId,
    /// Where they go.
    pub target: TabletId,
    /// Which rows.
    pub wanted: Wanted,
}

/// The rows that are converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// All at this version; the target then is at it, too.
    Version(Version),
    /// Those that a transaction wrote and that are not published: the target then has them as if it had been written.
    Load(TxnId),
}

/// How far a tablet has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The tablet that gets the rows.
    pub target: TabletId,
    /// Where it is.
    pub progress: Progress,
}

/// How far a conversion has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on: ask again.
    Running,
    /// The target has what was asked for.
    Done {
        /// Its rows, or those of the load.
        rows: u64,
        /// Bytes of their segments.
        bytes: u64,
    },
    /// It cannot have it. Of the kind `Invalid`, a value does not fit the new schema, and asking again is of no use.
    Failed {
        /// What the caller must do.
        kind: ErrorKind,
        /// Why.
        message: String,
    },
}

impl From<&Conversion> for wire::ConvertRequest {
    fn from(conversion: &Conversion) -> Self {
        let tablet = |tablet: &ConvertTablet| wire::ConvertTablet {
            base: tablet.base.get(),
            target: tablet.target.get(),
            wanted: Some(match tablet.wanted {
                Wanted::Version(version) => wire::convert_tablet::Wanted::Version(version.get()),
                Wanted::Load(txn) => wire::convert_tablet::Wanted::TxnId(txn.get()),
            }),
        };
        Self {
            from: Some((&conversion.from).into()),
            to: Some((&conversion.to).into()),
            tablets: conversion.tablets.iter().map(tablet).collect(),
        }
    }
}

impl TryFrom<wire::ConvertRequest> for Conversion {
    type Error = WireSchemaError;

    fn try_from(request: wire::ConvertRequest) -> Result<Self, Self::Error> {
        let tablet = |tablet: wire::ConvertTablet| ConvertTablet {
            base: TabletId(tablet.base),
            target: TabletId(tablet.target),
            wanted: match tablet.wanted {
                Some(wire::convert_tablet::Wanted::TxnId(txn)) => Wanted::Load(TxnId(txn)),
                Some(wire::convert_tablet::Wanted::Version(version)) => Wanted::Version(Version(version)),
                None => Wanted::Version(Version::FIRST),
            },
        };
        Ok(Self {
            from: request.from.unwrap_or_default().try_into()?,
            to: request.to.unwrap_or_default().try_into()?,
            tablets: request.tablets.into_iter().map(tablet).collect(),
        })
    }
}

impl From<&Converted> for wire::ConvertedTablet {
    fn from(converted: &Converted) -> Self {
        let progress = match &converted.progress {
            Progress::Running => None,
            Progress::Done { rows, bytes } => {
                Some(wire::converted_tablet::Progress::Done(wire::ConvertedRows { rows: *rows, bytes: *bytes }))
            }
            Progress::Failed { kind, message } => Some(wire::converted_tablet::Progress::Failed(wire::NotConverted {
                kind: kind.to_string(),
                message: message.clone(),
            })),
        };
        Self { target: converted.target.get(), progress }
    }
}

impl From<wire::ConvertedTablet> for Converted {
    fn from(converted: wire::ConvertedTablet) -> Self {
        let progress = match converted.progress {
            None => Progress::Running,
            Some(wire::converted_tablet::Progress::Done(done)) => Progress::Done { rows: done.rows, bytes: done.bytes },
            Some(wire::converted_tablet::Progress::Failed(failed)) => Progress::Failed {
                kind: ErrorKind::from_name(&failed.kind).unwrap_or(ErrorKind::Internal),
                message: failed.message,
            },
        };
        Self { target: TabletId(converted.target), progress }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, ColumnId, DataType, SchemaVersion, TableModel};

    #[test]
    fn what_is_asked_and_answered_comes_back_from_the_wire() {
        let column = Column {
            id: ColumnId(1),
            name: "k".to_owned(),
            data_type: DataType::Int,
            nullable: false,
            aggregation: None,
            initial: None,
        };
        let schema = |version| TableSchema {
            version: SchemaVersion(version),
            model: TableModel::Duplicate,
            columns: vec![column.clone()],
            keys: vec![ColumnId(1)],
            sort_key: vec![ColumnId(1)],
            indexes: Vec::new(),
        };
        let tablet = |wanted| ConvertTablet { base: TabletId(7), target: TabletId(9), wanted };
        let conversion = Conversion {
            from: schema(1),
            to: schema(2),
            tablets: vec![tablet(Wanted::Version(Version(3))), tablet(Wanted::Load(TxnId(4)))],
        };
        let back: Conversion = wire::ConvertRequest::from(&conversion).try_into().unwrap();
        assert_eq!(back, conversion);
        let failed = Progress::Failed { kind: ErrorKind::Invalid, message: "no".to_owned() };
        for progress in [Progress::Running, Progress::Done { rows: 1, bytes: 2 }, failed] {
            let converted = Converted { target: TabletId(9), progress };
            assert_eq!(Converted::from(wire::ConvertedTablet::from(&converted)), converted);
        }
    }
}
