//! Every value of the tablet metadata store, in the versioned envelope of `tarn_proto::encoding`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarn_proto::{SchemaVersion, TableSchema, TxnId, Version, encoding};

use crate::Result;

/// A persisted record.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Its name in errors.
    const WHAT: &'static str;
    /// Its format version.
    const FORMAT: u8 = 1;

    /// The stored bytes.
    fn encode(&self) -> Vec<u8> {
        encoding::encode(Self::FORMAT, self)
    }

    /// The record that these bytes are.
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(encoding::decode(Self::WHAT, Self::FORMAT, bytes)?)
    }
}

/// A tablet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TabletRecord {
    /// What its rows look like.
    pub schema: TableSchema,
}

impl Record for TabletRecord {
    const WHAT: &'static str = "tablet";
}

/// A tablet's newest published version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// The version.
    pub version: Version,
}

impl Record for VersionRecord {
    const WHAT: &'static str = "tablet version";
}

/// A rowset, all of whose files are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowsetRecord {
    /// The transaction that wrote it.
    pub txn: TxnId,
    /// The version that it became part of; none while pending.
    pub version: Option<Version>,
    /// The schema that its segments are written with.
    pub schema_version: SchemaVersion,
    /// Its segments, in order of their numbers.
    pub segments: Vec<SegmentRecord>,
}

impl Record for RowsetRecord {
    const WHAT: &'static str = "rowset";
}

/// A segment of a rowset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    /// Rows in it.
    pub rows: u64,
    /// Length of its file.
    pub bytes: u64,
    /// CRC32C of its file.
    pub checksum: u32,
}

impl RowsetRecord {
    /// Rows of all segments.
    pub(crate) fn rows(&self) -> u64 {
        self.segments.iter().map(|s| s.rows).sum()
    }

    /// Bytes of all segment files.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use tarn_proto::{Column, ColumnId, DataType, TableModel};

    use super::*;

    fn frozen<R: Record + PartialEq + std::fmt::Debug>(record: &R, bytes: &[u8]) {
        assert_eq!(record.encode(), bytes, "{}", String::from_utf8_lossy(&record.encode()));
        assert_eq!(&R::decode(bytes).unwrap(), record);
    }

    #[test]
    fn frozen_bytes() {
        let schema = TableSchema {
            model: TableModel::Duplicate,
            keys: Vec::new(),
            version: SchemaVersion(1),
            columns: vec![Column {
                id: ColumnId(3),
                name: "k".to_owned(),
                data_type: DataType::Decimal(10, 2),
                nullable: false,
                aggregation: None,
                initial: None,
            }],
            sort_key: vec![ColumnId(3)],
        };
        frozen(
            &TabletRecord { schema },
            b"\x01\x81\xa6schema\x83\xa7version\x01\xa7columns\x91\x84\xa2id\x03\xa4name\xa1k\xa9data_type\
              \xaddecimal(10,2)\xa8nullable\xc2\xa8sort_key\x91\x03",
        );
        frozen(&VersionRecord { version: Version(300) }, b"\x01\x81\xa7version\xcd\x01\x2c");
        let segments = vec![SegmentRecord { rows: 5, bytes: 200, checksum: 7 }];
        let rowset = RowsetRecord { txn: TxnId(9), version: None, schema_version: SchemaVersion(1), segments };
        let tail: &[u8] = b"\xaeschema_version\x01\xa8segments\x91\x83\xa4rows\x05\xa5bytes\xcc\xc8\xa8checksum\x07";
        frozen(&rowset, &[b"\x01\x84\xa3txn\x09\xa7version\xc0", tail].concat());
        let published = RowsetRecord { version: Some(Version(2)), ..rowset };
        frozen(&published, &[b"\x01\x84\xa3txn\x09\xa7version\x02", tail].concat());
    }
}
