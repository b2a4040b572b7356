//! Files of a rowset from another replica, into temporary files that are verified and durable.

use std::fs::File;
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tarn_proto::storage::SegmentKey;
use tarn_proto::wire::{RowsetFile, RowsetPiece};
use tarn_proto::{RowsetId, TabletId};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Pace, Source};
use crate::engine::{Engine, blocking};
use crate::error::IoContext;
use crate::layout::SegmentFiles;
use crate::primary::key_file::{Entries, Reader};
use crate::record::{RowsetRecord, SegmentRecord};
use crate::segment::TemporarySegment;
use crate::sidecar::Sidecar;
use crate::{Error, Result, metrics};

/// Pieces between the network and the disk.
const PIECES: usize = 4;
/// A source that sends nothing for so long has failed.
const STALL: Duration = Duration::from_secs(20);

/// Fetches a rowset's files. What is left of them after an error goes.
pub(super) async fn fetch(
    engine: &Arc<Engine>,
    source: &impl Source,
    pace: &Pace,
    tablet: TabletId,
    rowset: RowsetId,
    record: &RowsetRecord,
    has_keys: bool,
) -> Result<Vec<TemporarySegment>> {
    if record.segments.is_empty() {
        return Ok(Vec::new());
    }
    engine.disk.admit(record.bytes())?;
    let failed = |what: String| Error::Copy { tablet, rowset, source_node: source.name(), what };
    let silent = || failed(format!("it has sent nothing for {} s", STALL.as_secs()));
    let mut pieces = match timeout(STALL, source.rowset(tablet, rowset)).await {
        Ok(pieces) => pieces.map_err(|error| failed(error.message))?,
        Err(_) => return Err(silent()),
    };
    let (sender, mut received) = mpsc::channel::<RowsetPiece>(PIECES);
    // Indexes are made here.
    let record = record.clone().without_indexes();
    let mut files = Files::new(engine, tablet, rowset, record, has_keys, source.name());
    let writing = tarn_proto::task::spawn("rowset-copy", async move {
        blocking("a copy of a rowset", move || {
            while let Some(piece) = received.blocking_recv() {
                files.push(&piece)?;
            }
            files.finish()
        })
        .await
    });
    let mut failure = None;
    loop {
        let piece = match timeout(STALL, pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => {
                failure = Some(failed(error.message));
                break;
            }
            Ok(None) => break,
            Err(_) => {
                failure = Some(silent());
                break;
            }
        };
        let bytes = piece.data.len() as u64;
        pace.take(bytes).await;
        metrics::copied(bytes);
        // The writer has failed: it tells why.
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = writing.await.map_err(|_| Error::Background("a copy of a rowset"))?;
    match failure {
        Some(failure) => Err(failure),
        None => written?,
    }
}

/// Temporary files that are being filled.
struct Files {
    engine: Arc<Engine>,
    tablet: TabletId,
    rowset: RowsetId,
    record: RowsetRecord,
    has_keys: bool,
    source: String,
    attempt: u64,
    /// Segments that are begun, their files going with them unless they are kept.
    segments: Vec<TemporarySegment>,
    current: Option<Current>,
}

/// The file that is being filled.
struct Current {
    segment: u32,
    file: RowsetFile,
    open: File,
    bytes: u64,
    checksum: u32,
}

impl Files {
    fn new(
        engine: &Arc<Engine>,
        tablet: TabletId,
        rowset: RowsetId,
        record: RowsetRecord,
        has_keys: bool,
        source: String,
    ) -> Self {
        let attempt = engine.next_attempt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let engine = engine.clone();
        Self { engine, tablet, rowset, record, has_keys, source, attempt, segments: Vec::new(), current: None }
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        let (tablet, rowset) = (self.tablet, self.rowset);
        Error::Copy { tablet, rowset, source_node: self.source.clone(), what: what.into() }
    }

    fn key(&self, segment: u32) -> SegmentKey {
        SegmentKey { tablet: self.tablet, rowset: self.rowset, segment }
    }

    fn paths(&self, segment: u32) -> SegmentFiles {
        self.engine.dir.temporary(self.key(segment), self.attempt)
    }

    fn push(&mut self, piece: &RowsetPiece) -> Result<()> {
        let file = piece.file();
        if self.current.as_ref().is_none_or(|current| (current.segment, current.file) != (piece.segment, file)) {
            self.end_file()?;
            self.begin_file(piece.segment, file)?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        current.bytes += piece.data.len() as u64;
        current.checksum = crc32c::crc32c_append(current.checksum, &piece.data);
        let written = current.open.write_all(&piece.data);
        written.doing("write", self.path(piece.segment, file)?)
    }

    fn begin_file(&mut self, segment: u32, file: RowsetFile) -> Result<()> {
        let Some(record) = self.record.segments.get(segment as usize).cloned() else {
            return Err(self.wrong(format!("it sends a segment {segment} that the rowset does not have")));
        };
        if self.segments.len() as u32 == segment {
            self.engine.dir.create_tablet(self.tablet)?;
            self.segments.push(TemporarySegment::copied(self.key(segment), record, self.paths(segment)));
        } else if self.segments.len() as u32 != segment + 1 {
            return Err(self.wrong(format!("it sends segment {segment} out of turn")));
        }
        let path = self.path(segment, file)?;
        let open = File::create(&path).doing("create", path)?;
        self.current = Some(Current { segment, file, open, bytes: 0, checksum: 0 });
        Ok(())
    }

    fn path(&self, segment: u32, file: RowsetFile) -> Result<std::path::PathBuf> {
        let paths = self.paths(segment);
        match file {
            RowsetFile::Segment => Ok(paths.segment),
            RowsetFile::Sidecar => Ok(paths.sidecar),
            RowsetFile::Keys if self.has_keys => Ok(paths.keys),
            RowsetFile::Keys | RowsetFile::Unspecified => {
                Err(self.wrong("it sends a file that the rowset does not have"))
            }
        }
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        current.open.sync_all().doing("sync", self.path(current.segment, current.file)?)?;
        let record = &self.record.segments[current.segment as usize];
        if current.file == RowsetFile::Segment && (current.bytes, current.checksum) != (record.bytes, record.checksum) {
            return Err(self.wrong(format!(
                "segment {} has {} bytes and checksum {:08x} instead of {} and {:08x}",
                current.segment, current.bytes, current.checksum, record.bytes, record.checksum
            )));
        }
        Ok(())
    }

    /// The segments, all files of which are there and belong together.
    fn finish(mut self) -> Result<Vec<TemporarySegment>> {
        self.end_file()?;
        if self.segments.len() != self.record.segments.len() {
            return Err(self.wrong(format!(
                "it has sent {} of {} segments",
                self.segments.len(),
                self.record.segments.len()
            )));
        }
        for (number, record) in (0..).zip(&self.record.segments) {
            check(&self.paths(number), record, self.has_keys).map_err(|what| self.wrong(what))?;
        }
        Ok(self.segments)
    }
}

/// Whether sidecar and key file are whole and belong to the segment; the segment itself was checked as it came.
fn check(files: &SegmentFiles, record: &SegmentRecord, has_keys: bool) -> std::result::Result<(), String> {
    // One that never came has been checked by nobody.
    let bytes = std::fs::metadata(&files.segment).map_err(|e| format!("a segment is missing: {e}"))?.len();
    if bytes != record.bytes {
        return Err(format!("a segment has {bytes} bytes instead of {}", record.bytes));
    }
    let sidecar = std::fs::read(&files.sidecar).map_err(|e| format!("a sidecar is missing: {e}"))?;
    let sidecar = Sidecar::decode(&sidecar).map_err(|what| format!("a sidecar is damaged: {what}"))?;
    if !sidecar.is_of(record) {
        return Err("a sidecar belongs to another segment".to_owned());
    }
    if has_keys { check_keys(files, record) } else { Ok(()) }
}

/// Reads a key file to its end.
pub(crate) fn check_keys(files: &SegmentFiles, record: &SegmentRecord) -> std::result::Result<(), String> {
    let file = File::open(&files.keys).map_err(|e| format!("a key file is missing: {e}"))?;
    let damaged = |what| format!("a key file is damaged: {what}");
    let mut reader = Reader::new(BufReader::new(file), record.rows, record.checksum).map_err(damaged)?;
    let mut entries = Entries::new();
    while reader.next(&mut entries).map_err(damaged)? {}
    Ok(())
}
