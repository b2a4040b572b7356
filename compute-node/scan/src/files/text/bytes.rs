//! Bytes of a file: whole, a range that begins and ends with lines, or the beginning.

use bytes::{Bytes, BytesMut};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::{DataFusionError, Result};
use datafusion_datasource::boundary_stream::AlignedBoundaryStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::super::store::Access;

/// The compression of a file, by its name.
pub(in super::super) fn compression(path: &Path) -> FileCompressionType {
    match path.extension() {
        Some("gz" | "gzip") => FileCompressionType::GZIP,
        Some("bz2") => FileCompressionType::BZIP2,
        Some("xz") => FileCompressionType::XZ,
        Some("zst" | "zstd") => FileCompressionType::ZSTD,
        _ => FileCompressionType::UNCOMPRESSED,
    }
}

/// The lines that begin in `range`, or all of the file.
pub(super) async fn open(
    access: &Access,
    file: &ObjectMeta,
    range: Option<(u64, u64)>,
    terminator: u8,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let path = &file.location;
    if let Some((start, end)) = range {
        let store = access.store.clone();
        let lines = AlignedBoundaryStream::new(store, path.clone(), start, end, file.size, terminator).await?;
        return Ok(lines.map_err(DataFusionError::from).boxed());
    }
    let bytes = access.store.get(path).await?.into_stream().map_err(DataFusionError::from).boxed();
    compression(path).convert_stream(bytes)
}

/// The first `limit` bytes, and whether that is all.
pub(in super::super) async fn sample(access: &Access, file: &ObjectMeta, limit: u64) -> Result<(Bytes, bool)> {
    if !compression(&file.location).is_compressed() {
        let bytes = access.store.get_range(&file.location, 0..file.size.min(limit)).await?;
        return Ok((bytes, file.size <= limit));
    }
    let mut stream = open(access, file, None, b'\n').await?;
    let mut sample = BytesMut::new();
    while let Some(bytes) = stream.try_next().await? {
        sample.extend_from_slice(&bytes);
        if sample.len() as u64 >= limit {
            return Ok((sample.freeze(), false));
        }
    }
    Ok((sample.freeze(), true))
}
