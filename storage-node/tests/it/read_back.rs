//! Reads rowsets the way a scan does: manifest, ranges of files, Vortex.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Int64Type;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use tarn_proto::segment::{from_storage, storage_schema};
use tarn_proto::storage::{FileKey, Result, SegmentKey, TabletStore};
use tarn_proto::{RowsetId, TableSchema, TabletId, Version, wire};
use vortex::VortexSessionDefault;
use vortex::file::OpenOptionsSessionExt;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;

/// A tablet's manifest at a version.
pub async fn manifest(store: &dyn TabletStore, tablet: TabletId, version: u64) -> Result<wire::Manifest> {
    Ok(store.manifests(&[(tablet, Version(version))]).await?.remove(0))
}

/// The bytes of a segment, read in uneven pieces, which come in any order.
pub async fn segment_bytes(
    store: &dyn TabletStore,
    tablet: TabletId,
    rowset: &wire::Rowset,
    segment: &wire::Segment,
) -> Result<Bytes> {
    let key = SegmentKey { tablet, rowset: RowsetId(rowset.id), segment: segment.number };
    let file = FileKey { segment: key, checksum: segment.checksum };
    let mut cuts = vec![0, segment.bytes / 7, segment.bytes / 3, segment.bytes / 3, segment.bytes];
    cuts.dedup();
    let mut ranges: Vec<Range<u64>> = cuts.windows(2).map(|w| w[0]..w[1]).collect();
    ranges.reverse();
    ranges.push(5..5);
    let mut pieces = store.read_ranges(file, &ranges).await?;
    assert_eq!(pieces.len(), ranges.len());
    assert!(pieces.pop().unwrap().is_empty());
    pieces.reverse();
    let mut whole = BytesMut::new();
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    assert_eq!(whole.len() as u64, segment.bytes);
    Ok(whole.freeze())
}

/// The rows of each segment of a rowset.
pub async fn rowset_rows(
    store: &dyn TabletStore,
    schema: &TableSchema,
    tablet: TabletId,
    rowset: &wire::Rowset,
) -> Result<Vec<RecordBatch>> {
    let session = VortexSession::default().with_tokio();
    let mut segments = Vec::new();
    for segment in &rowset.segments {
        let bytes = segment_bytes(store, tablet, rowset, segment).await?;
        assert_eq!(crc32(&bytes), segment.checksum);
        let file = session.open_options().open_buffer(bytes).unwrap();
        let stored = storage_schema(&schema.columns);
        let stream = file.scan().unwrap().into_record_batch_stream(stored.clone()).unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let rows = from_storage(&schema.columns, &concat_batches(&stored, &batches).unwrap()).unwrap();
        assert_eq!(rows.num_rows() as u64, segment.rows);
        segments.push(rows);
    }
    Ok(segments)
}

/// CRC32C, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// The rows in the order of the sort key, NULL first, then of arrival (the last column).
pub fn sorted(schema: &TableSchema, rows: &RecordBatch) -> RecordBatch {
    by(rows, schema.sort_key.iter().map(|id| schema.index_of(*id).unwrap()).chain([rows.num_columns() - 1]))
}

/// The rows in the order of arrival.
pub fn by_arrival(rows: &RecordBatch) -> RecordBatch {
    by(rows, [rows.num_columns() - 1])
}

fn by(rows: &RecordBatch, columns: impl IntoIterator<Item = usize>) -> RecordBatch {
    let options = Some(SortOptions { descending: false, nulls_first: true });
    let columns: Vec<SortColumn> =
        columns.into_iter().map(|i| SortColumn { values: rows.column(i).clone(), options }).collect();
    take_record_batch(rows, &lexsort_to_indices(&columns, None).unwrap()).unwrap()
}

/// The `arrival` numbers of a tablet's rows at a version, sorted.
pub async fn arrivals(store: &dyn TabletStore, schema: &TableSchema, tablet: TabletId, version: u64) -> Vec<i64> {
    let mut numbers = Vec::new();
    for rowset in &manifest(store, tablet, version).await.unwrap().rowsets {
        for rows in rowset_rows(store, schema, tablet, rowset).await.unwrap() {
            numbers.extend(rows.columns().last().unwrap().as_primitive::<Int64Type>().values());
        }
    }
    numbers.sort_unstable();
    numbers
}
