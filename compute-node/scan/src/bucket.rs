//! Reading a tablet's segments straight from the storage volume that they are in.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tarn_proto::storage::{FileKey, IndexFileKey, StoreError};
use tarn_proto::volume::VolumeStore;

use crate::segment::{ReadError, SegmentBytes};

/// Segments in a storage volume, where they are named by their content.
pub(crate) struct Bucket(pub Arc<VolumeStore>);

#[async_trait]
impl SegmentBytes for Bucket {
    async fn read(&self, file: &FileKey, _: u64, range: Range<u64>) -> Result<Bytes, ReadError> {
        let segment = file.segment;
        let path = self.0.segment(segment.tablet, segment.rowset, segment.segment, file.checksum);
        let mut read = self.0.read(&path, std::slice::from_ref(&range)).await?;
        // The volume's client has checked lengths.
        Ok(read.pop().unwrap_or_default())
    }

    async fn read_index(
        &self,
        file: &FileKey,
        index: IndexFileKey,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StoreError> {
        let path = self.0.index(file.segment, file.checksum, index.index);
        let failed = |error: tarn_proto::volume::Error| StoreError {
            kind: error.kind(),
            address: self.0.display(&path),
            message: error.to_string(),
        };
        self.0.read(&path, ranges).await.map_err(failed)
    }
}
