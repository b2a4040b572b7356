//! Every value of the tablet metadata store, in the versioned envelope of `tarn_proto::encoding`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarn_proto::storage::{DeletePredicate, IndexKey, PartialUpdate};
use tarn_proto::{Column, ColumnId, IndexKind, SchemaVersion, TableSchema, TxnId, Version, VolumeId, encoding, wire};

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

/// Where a tablet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// The newest published version.
    pub version: Version,
    /// The oldest version that can be read: rowsets that only older ones need are gone.
    pub oldest: Version,
}

impl VersionRecord {
    /// Of a tablet that nothing has been loaded into.
    pub(crate) const FIRST: Self = Self { version: Version::FIRST, oldest: Version::FIRST };
}

impl Record for VersionRecord {
    const WHAT: &'static str = "tablet version";
}

/// That a tablet is on a storage volume. All else that the store has of it is a copy of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    /// The volume.
    pub volume: VolumeId,
    /// Under which the node owned the tablet last.
    pub epoch: u64,
}

impl Record for VolumeRecord {
    const WHAT: &'static str = "tablet on a volume";
}

/// A rowset, all of whose files are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowsetRecord {
    /// The transaction that wrote it; of a compaction's, the newest among its inputs'.
    pub txn: TxnId,
    /// How far it has come.
    pub state: RowsetState,
    /// The schema that its segments are written with.
    pub schema_version: SchemaVersion,
    /// Its segments, in order of their numbers.
    pub segments: Vec<SegmentRecord>,
    /// What it does to rows that are there, if it does more than add its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

/// What a load does to rows that are there when it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Only of a pending rowset: its rows are completed from those that they replace, and published as another rowset.
    Update {
        /// Which columns it gives, and when its rows count.
        update: PartialUpdate,
        /// The column of its condition when it was planned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<Column>,
    },
    /// Of a rowset without rows: it deletes those for which this is true.
    Delete(DeletePredicate),
}

impl Record for RowsetRecord {
    const WHAT: &'static str = "rowset";
}

/// How far a rowset has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RowsetState {
    /// Written by a transaction that is neither published nor aborted.
    Pending,
    /// Part of the manifests of some versions.
    Published(Lifetime),
}

/// The versions whose manifests list a rowset, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lifetime {
    /// Its place: rowsets are merged in order of it. The version of the load, or of the newest load in it.
    pub version: Version,
    /// The first version that lists it: the load's, or the one at which the compaction was committed.
    pub since: Version,
    /// The first that does not, if a compaction has superseded it.
    pub until: Option<Version>,
}

impl Lifetime {
    /// Of a rowset that a load published.
    pub(crate) const fn loaded(version: Version) -> Self {
        Self { version, since: version, until: None }
    }

    /// Whether the manifest of `version` lists the rowset.
    pub(crate) fn covers(&self, version: Version) -> bool {
        self.since <= version && self.until.is_none_or(|until| version < until)
    }
}

/// A segment of a rowset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    /// Rows in it.
    pub rows: u64,
    /// Length of its file.
    pub bytes: u64,
    /// CRC32C of its file.
    pub checksum: u32,
    /// What is known of its indexes. One of the schema's that is not here has not been made for it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexRecord>,
}

/// An index of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexRecord {
    /// What it is on.
    pub column: ColumnId,
    /// What it is made of.
    pub kind: IndexKind,
    /// Its file. `None`: it would not help, and is not to be tried again.
    pub file: Option<IndexFile>,
}

/// A file of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    /// Its length.
    pub bytes: u64,
    /// CRC32C of it.
    pub checksum: u32,
}

impl IndexFile {
    /// As readers know it, of an index.
    pub(crate) fn to_wire(self, key: IndexKey) -> wire::SegmentIndex {
        wire::SegmentIndex {
            column: key.column.get(),
            kind: wire::IndexKind::from(key.kind).into(),
            bytes: self.bytes,
            checksum: self.checksum,
        }
    }
}

impl IndexRecord {
    /// What names it within its segment.
    pub(crate) const fn key(&self) -> IndexKey {
        IndexKey { column: self.column, kind: self.kind }
    }
}

impl SegmentRecord {
    /// What is known of an index.
    pub(crate) fn index(&self, key: IndexKey) -> Option<&IndexRecord> {
        self.indexes.iter().find(|index| index.key() == key)
    }

    /// Its indexes that have a file.
    pub(crate) fn index_files(&self) -> impl Iterator<Item = (IndexKey, IndexFile)> + '_ {
        self.indexes.iter().filter_map(|index| Some((index.key(), index.file?)))
    }
}

impl RowsetRecord {
    /// Its lifetime, unless it is pending.
    pub(crate) const fn published(&self) -> Option<Lifetime> {
        match self.state {
            RowsetState::Pending => None,
            RowsetState::Published(lifetime) => Some(lifetime),
        }
    }

    /// Whether it is neither published nor aborted.
    pub(crate) const fn is_pending(&self) -> bool {
        matches!(self.state, RowsetState::Pending)
    }

    /// Whether the newest version lists it.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.state, RowsetState::Published(Lifetime { until: None, .. }))
    }

    /// Whether only older versions list it.
    pub(crate) const fn is_superseded(&self) -> bool {
        matches!(self.state, RowsetState::Published(Lifetime { until: Some(_), .. }))
    }

    /// The same rowset as a node that has only its rows knows it: its indexes are to be made.
    pub(crate) fn without_indexes(mut self) -> Self {
        self.segments.iter_mut().for_each(|segment| segment.indexes.clear());
        self
    }

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
    use tarn_proto::storage::{Comparison, Condition, UpdateMode};
    use tarn_proto::{DataType, TableModel};

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
            indexes: Vec::new(),
        };
        frozen(
            &TabletRecord { schema },
            b"\x01\x81\xa6schema\x85\xa7version\x01\xa5model\xa9Duplicate\xa7columns\x91\x85\xa2id\x03\xa4name\xa1k\
              \xa9data_type\xaddecimal(10,2)\xa8nullable\xc2\xabaggregation\xc0\xa4keys\x90\xa8sort_key\x91\x03",
        );
        frozen(
            &VersionRecord { version: Version(300), oldest: Version(7) },
            b"\x01\x82\xa7version\xcd\x01\x2c\xa6oldest\x07",
        );
        let segments = vec![SegmentRecord { rows: 5, bytes: 200, checksum: 7, indexes: Vec::new() }];
        let state = RowsetState::Pending;
        let rowset = RowsetRecord { txn: TxnId(9), state, schema_version: SchemaVersion(1), segments, change: None };
        let tail: &[u8] = b"\xaeschema_version\x01\xa8segments\x91\x83\xa4rows\x05\xa5bytes\xcc\xc8\xa8checksum\x07";
        frozen(&rowset, &[b"\x01\x84\xa3txn\x09\xa5state\xa7Pending", tail].concat());
        let head: &[u8] = b"\x01\x84\xa3txn\x09\xa5state\x81\xa9Published\x83\xa7version\x02\xa5since\x02\xa5until";
        let live = RowsetRecord { state: RowsetState::Published(Lifetime::loaded(Version(2))), ..rowset };
        frozen(&live, &[head, b"\xc0", tail].concat());
        let until = Some(Version(5));
        let lifetime = Lifetime { version: Version(2), since: Version(2), until };
        let superseded = RowsetRecord { state: RowsetState::Published(lifetime), ..live };
        frozen(&superseded, &[head, b"\x05", tail].concat());
        let update = PartialUpdate {
            columns: vec![ColumnId(1), ColumnId(3)],
            mode: UpdateMode::Column,
            condition: Some(ColumnId(3)),
            only_existing: true,
        };
        let condition = Column {
            id: ColumnId(3),
            name: "v".to_owned(),
            data_type: DataType::Int,
            nullable: true,
            aggregation: None,
            initial: None,
        };
        let change = Some(Change::Update { update, condition: Some(condition) });
        let state = RowsetState::Pending;
        let draft = RowsetRecord { state, segments: Vec::new(), change, ..superseded };
        let head: &[u8] =
            b"\x01\x85\xa3txn\x09\xa5state\xa7Pending\xaeschema_version\x01\xa8segments\x90\xa6change\x81";
        let change: &[u8] = b"\xa6Update\x82\xa6update\x84\xa7columns\x92\x01\x03\xa4mode\xa6Column\xa9condition\x03\
              \xadonly_existing\xc3\xa9condition\x85\xa2id\x03\xa4name\xa1v\xa9data_type\xa3int\xa8nullable\xc3\
              \xabaggregation\xc0";
        frozen(&draft, &[head, change].concat());
        let condition = Condition {
            column: ColumnId(3),
            data_type: DataType::Int,
            initial: Some("7".to_owned()),
            comparison: Comparison::LessOrEqual,
            values: vec!["5".to_owned()],
        };
        let change = Some(Change::Delete(DeletePredicate { conditions: vec![condition] }));
        let delete = RowsetRecord { change, ..draft };
        let change: &[u8] = b"\xa6Delete\x81\xaaconditions\x91\x85\xa6column\x03\xa9data_type\xa3int\xa7initial\xa17\
              \xaacomparison\xabLessOrEqual\xa6values\x91\xa15";
        frozen(&delete, &[head, change].concat());
    }

    #[test]
    fn a_rowset_is_listed_from_its_first_version_to_the_one_before_its_end() {
        let versions = |lifetime: Lifetime| (1..9).filter(|v| lifetime.covers(Version(*v))).collect::<Vec<_>>();
        let (version, since) = (Version(2), Version(4));
        assert_eq!(versions(Lifetime { version, since, until: None }), [4, 5, 6, 7, 8]);
        assert_eq!(versions(Lifetime { version, since, until: Some(Version(6)) }), [4, 5]);
        assert_eq!(versions(Lifetime { version, since, until: Some(since) }), [0; 0]);
    }
}
