//! Files and records whose bytes are not what was written, behind checksums that match: they are refused, or read as something
//! that is whole; they never end the process. Delete vectors, index entries and manifests of volumes are tried where they
//! are.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tarn_proto::storage::{Comparison, Condition, DeletePredicate};
use tarn_proto::{
    Column, ColumnId, DataType, IndexKind, RowsetId, SchemaVersion, TableModel, TableSchema, TabletId, TxnId, Version,
};

use crate::checksum::{BLOCK_BYTES, FileChecksums};
use crate::keys::Key;
use crate::meta::Entry;
use crate::primary::key_file::{DELETED, Encoder, Entries, Reader};
use crate::record::{
    Change, IndexFile, IndexRecord, Lifetime, Record, RowsetRecord, RowsetState, SegmentRecord, TabletRecord,
    VersionRecord,
};
use crate::sidecar::Sidecar;

/// Bytes that are changed, and how many are left.
type Damage = (Vec<(Index, u8)>, Option<Index>);

fn damage() -> impl Strategy<Value = Damage> {
    let flips = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    (flips, prop::option::weighted(0.2, any::<Index>()))
}

fn damaged(mut bytes: Vec<u8>, (flips, cut): &Damage) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    for (at, bits) in flips {
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn column() -> Column {
    Column {
        id: ColumnId(3),
        name: "a".into(),
        data_type: DataType::Array(Box::new(DataType::Decimal(9, 2))),
        nullable: true,
        aggregation: None,
        initial: Some("1".into()),
    }
}

fn tablet() -> TabletRecord {
    let schema = TableSchema {
        version: SchemaVersion(2),
        model: TableModel::Duplicate,
        columns: vec![column()],
        keys: Vec::new(),
        sort_key: vec![ColumnId(3)],
        indexes: Vec::new(),
    };
    TabletRecord { schema }
}

fn rowset() -> RowsetRecord {
    let index =
        IndexRecord { column: ColumnId(3), kind: IndexKind::Bloom, file: Some(IndexFile { bytes: 9, checksum: 8 }) };
    let condition = Condition {
        column: ColumnId(3),
        data_type: DataType::Int,
        initial: None,
        comparison: Comparison::In,
        values: vec!["1".into(), "2".into()],
    };
    RowsetRecord {
        txn: TxnId(5),
        state: RowsetState::Published(Lifetime { version: Version(4), since: Version(6), until: Some(Version(8)) }),
        schema_version: SchemaVersion(2),
        segments: vec![SegmentRecord { rows: 3, bytes: 200, checksum: 77, indexes: vec![index] }],
        change: Some(Change::Delete(DeletePredicate { conditions: vec![condition] })),
    }
}

/// A sidecar's bytes with a checksum that matches.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    body
}

fn read_keys(bytes: &[u8], rows: u64) -> Result<(), String> {
    let mut reader = Reader::new(bytes, rows, 1)?;
    let mut entries = Entries::new();
    while reader.next(&mut entries)? {
        assert_eq!(entries.keys.len(), entries.rows.len());
        assert!(entries.rows.iter().all(|row| u64::from(*row) < rows || *row == DELETED));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn damaged_records_are_read_or_refused(damage in damage()) {
        if let Ok(record) = RowsetRecord::decode(&damaged(rowset().encode(), &damage)) {
            prop_assert_eq!(RowsetRecord::decode(&record.encode()).ok(), Some(record));
        }
        if let Ok(record) = TabletRecord::decode(&damaged(tablet().encode(), &damage)) {
            prop_assert_eq!(TabletRecord::decode(&record.encode()).ok(), Some(record));
        }
        let versions = VersionRecord { version: Version(300), oldest: Version(2) };
        let _ = VersionRecord::decode(&damaged(versions.encode(), &damage));
    }

    #[test]
    fn damaged_entries_of_the_store_are_read_or_refused(
        key in prop::sample::select(vec![
            Key::Tablet(TabletId(1)),
            Key::Version(TabletId(2)),
            Key::Volume(TabletId(3)),
            Key::Rowset(TabletId(4), RowsetId(5)),
            Key::DeleteVector(TabletId(6), RowsetId(7), 8, Version(9)),
        ]),
        damage in damage(),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let bytes = damaged(key.encode(), &damage);
        if let Ok(read) = Key::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes.clone());
        }
        let _ = Entry::decode(&bytes, &value);
        let _ = Entry::decode(&bytes, &damaged(rowset().encode(), &damage));
    }

    #[test]
    fn damaged_sidecars_are_read_or_refused(
        bytes in 0u64..4 * BLOCK_BYTES,
        index in prop::collection::vec(any::<u8>(), 0..40),
        damage in damage(),
        random in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let blocks = vec![7; bytes.div_ceil(BLOCK_BYTES) as usize];
        let sidecar = Sidecar { checksums: FileChecksums { bytes, file: 5, blocks }, short_key_index: Bytes::from(index) };
        let mut body = sidecar.encode();
        body.truncate(body.len() - 4);
        for bytes in [sealed(damaged(body, &damage)), sealed(random.clone()), sealed([&[1], &random[..]].concat())] {
            if let Ok(read) = Sidecar::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }

    #[test]
    fn damaged_key_files_are_read_or_refused(
        keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..8), 0..40),
        damage in damage(),
    ) {
        let mut encoder = Encoder::new();
        keys.iter().zip(0..).for_each(|(key, row)| encoder.push(key, row));
        let good = encoder.finish(1);
        let rows = keys.len() as u64;
        prop_assert_eq!(read_keys(&good, rows), Ok(()));
        // What stands behind the checksums of the header and of the block is damaged.
        let (header, rest) = good.split_at(17);
        let mut header = damaged(header[..13].to_vec(), &damage);
        header.resize(13, 0);
        let header = sealed(header);
        let _ = read_keys(&[&header, rest].concat(), rows);
        if let Some(block) = rest.get(8..) {
            let block = damaged(block.to_vec(), &damage);
            let length = (block.len() as u32).to_le_bytes();
            let file = [&good[..17], &length, &crc32c::crc32c(&block).to_le_bytes(), &block].concat();
            let _ = read_keys(&file, rows);
        }
    }
}
