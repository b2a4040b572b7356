//! Bytes of a file: whole, a range that begins and ends with lines, or the beginning.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::{DataFusionError, Result};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::super::store::Access;

/// Bytes of one request.
const CHUNK_BYTES: u64 = 4 << 20;
/// Bytes of one request for the rest of a range's last line.
const TAIL_BYTES: u64 = 64 << 10;
/// Requests in flight for one range: one chunk comes while the one before it is parsed.
const READ_AHEAD: usize = 2;

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
    range: Option<Range<u64>>,
    terminator: u8,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let compression = compression(&file.location);
    if compression.is_compressed() {
        let bytes = access.store.get(&file.location).await?.into_stream().map_err(DataFusionError::from).boxed();
        return compression.convert_stream(bytes);
    }
    let range = range.unwrap_or(0..file.size);
    // A line begins where the byte before it ends one.
    let (start, end) = (range.start.saturating_sub(1), range.end.min(file.size));
    let requests = steps(start..end, CHUNK_BYTES).chain(steps(end..file.size, TAIL_BYTES));
    let (store, path) = (access.store.clone(), file.location.clone());
    let chunks = futures::stream::iter(requests)
        .map(move |request| {
            let (store, path) = (store.clone(), path.clone());
            async move { Ok::<_, DataFusionError>((request.start, store.get_range(&path, request).await?)) }
        })
        .buffered(READ_AHEAD);
    let cut = Lines { skipping: range.start > 0, end: range.end, terminator, done: range.is_empty() };
    let lines = futures::stream::try_unfold((chunks, cut), |(mut chunks, mut cut)| async move {
        while !cut.done {
            let Some((position, chunk)) = chunks.try_next().await? else { return Ok(None) };
            let lines = cut.take(position, chunk);
            if !lines.is_empty() {
                return Ok(Some((lines, (chunks, cut))));
            }
        }
        Ok::<_, DataFusionError>(None)
    });
    Ok(lines.boxed())
}

fn steps(range: Range<u64>, step: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(move |start| start..(start + step).min(end))
}

/// Cuts the lines that begin in a range out of chunks that begin one byte before it.
struct Lines {
    /// Whether the first line's begin was not found yet.
    skipping: bool,
    end: u64,
    terminator: u8,
    done: bool,
}

impl Lines {
    /// What of the chunk belongs to the lines. `position` is the chunk's, in the file.
    fn take(&mut self, mut position: u64, mut chunk: Bytes) -> Bytes {
        if self.skipping {
            let Some(found) = find(&chunk, self.terminator) else {
                self.done = position + chunk.len() as u64 >= self.end;
                return Bytes::new();
            };
            self.skipping = false;
            chunk.advance(found + 1);
            position += found as u64 + 1;
            if position >= self.end {
                self.done = true;
                return Bytes::new();
            }
        }
        // The first line that begins at the range's end or behind it: the one before it ends there.
        let last = (self.end - 1).saturating_sub(position).min(chunk.len() as u64) as usize;
        if let Some(found) = find(&chunk[last..], self.terminator) {
            chunk.truncate(last + found + 1);
            self.done = true;
        }
        chunk
    }
}

fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    bytes.iter().position(|other| *other == byte)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines that begin in `range`, read in chunks of `step` bytes.
    fn lines(text: &[u8], range: Range<u64>, step: u64) -> Vec<u8> {
        let mut cut = Lines { skipping: range.start > 0, end: range.end, terminator: b'\n', done: range.is_empty() };
        let mut found = Vec::new();
        for chunk in steps(range.start.saturating_sub(1)..text.len() as u64, step) {
            if !cut.done {
                let bytes = Bytes::copy_from_slice(&text[chunk.start as usize..chunk.end as usize]);
                found.extend_from_slice(&cut.take(chunk.start, bytes));
            }
        }
        found
    }

    proptest! {
        #[test]
        fn every_line_is_in_the_range_where_it_begins(text in "[ab\n]{1,40}", cuts in prop::collection::vec(0u64..41, 0..5), step in 1u64..9) {
            let text = text.as_bytes();
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut.min(text.len() as u64)).collect();
            cuts.extend([0, text.len() as u64]);
            cuts.sort_unstable();
            let mut all = Vec::new();
            for range in cuts.windows(2) {
                let part = lines(text, range[0]..range[1], step);
                prop_assert!(part.is_empty() || part.ends_with(b"\n") || text.ends_with(&part));
                all.extend(part);
            }
            prop_assert_eq!(all, text);
        }
    }
}
