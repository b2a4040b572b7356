//! Blocks of segments on another machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use tarn_proto::storage::{SegmentKey, StoreError};
use tarn_proto::{ErrorKind, RowsetId, TabletId};

use crate::segment::SegmentBytes;

use super::*;

/// One file whose bytes follow from their positions.
struct Remote {
    bytes: u64,
    reads: AtomicU64,
    away: bool,
}

fn content(range: Range<u64>) -> Bytes {
    range.map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn away() -> StoreError {
    StoreError { kind: ErrorKind::Unavailable, address: "far:1".to_owned(), message: "gone".to_owned() }
}

#[async_trait]
impl SegmentBytes for Remote {
    async fn read(&self, _: &FileKey, bytes: u64, range: Range<u64>) -> Result<Bytes, ReadError> {
        if self.away {
            return Err(away().into());
        }
        tokio::task::yield_now().await;
        self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(range.end <= self.bytes && bytes == self.bytes);
        Ok(content(range))
    }

    async fn read_index(&self, _: &FileKey, _: IndexFileKey, _: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        Err(away())
    }
}

fn remote(bytes: u64, is_away: bool) -> (Arc<Remote>, SegmentFile) {
    let store = Arc::new(Remote { bytes, reads: AtomicU64::new(0), away: is_away });
    let segment = SegmentKey { tablet: TabletId(1), rowset: RowsetId(2), segment: 3 };
    let file = SegmentFile { key: FileKey { segment, checksum: 4 }, bytes, from: store.clone() };
    (store, file)
}

fn memory() -> CacheConfig {
    CacheConfig { memory_bytes: 256 << 20, disk_dir: None, disk_bytes: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_range_is_the_files(bytes in 1u64..5_000_000, at in 0f64..1.0, length in 0f64..1.0) {
        let start = (bytes as f64 * at) as u64;
        let range = start..start + ((bytes - start) as f64 * length) as u64;
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (_, file) = remote(bytes, false);
            let cache = BlockCache::open(&memory()).await.unwrap();
            assert_eq!(cache.read(&file, range.clone()).await.unwrap(), content(range));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_and_concurrent_readers_share_one_request() {
    let (store, file) = remote(3 << 20, false);
    let cache = BlockCache::open(&memory()).await.unwrap();
    let readers = (0..20u64).map(|i| cache.read(&file, i * 1000..i * 1000 + 500));
    futures::future::try_join_all(readers).await.unwrap();
    assert_eq!(store.reads.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_survive_on_disk_and_a_lost_disk_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        CacheConfig { memory_bytes: 64 << 20, disk_dir: Some(directory.path().to_owned()), disk_bytes: 256 << 20 };
    let range = 100..(2 << 20) + 5;
    {
        let (store, file) = remote(4 << 20, false);
        let cache = BlockCache::open(&config).await.unwrap();
        cache.read(&file, range.clone()).await.unwrap();
        assert_eq!(store.reads.load(Ordering::Relaxed), 3);
        cache.blocks.close().await.unwrap();
    }
    // The storage node is away: what comes, comes from disk.
    let (_, file) = remote(4 << 20, true);
    let cache = BlockCache::open(&config).await.unwrap();
    assert_eq!(cache.read(&file, range.clone()).await.unwrap(), content(range.clone()));
    cache.blocks.close().await.unwrap();
    drop(cache);
    // Damage every byte on disk.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(&path, vec![0x5A; length as usize]).unwrap();
    }
    let (store, file) = remote(4 << 20, false);
    let cache = BlockCache::open(&config).await.unwrap();
    assert_eq!(cache.read(&file, range.clone()).await.unwrap(), content(range));
    assert_eq!(store.reads.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_named() {
    let (_, file) = remote(10, true);
    let cache = BlockCache::open(&memory()).await.unwrap();
    let error = cache.read(&file, 0..5).await.unwrap_err();
    assert!(matches!(&error, ReadError::Node(node) if node.address == "far:1"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
