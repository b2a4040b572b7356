//! The side that others copy from: what a replica has, and its rowsets' files.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use tarn_proto::storage::SegmentKey;
use tarn_proto::wire::{DeleteVectorRecord, GetReplicaResponse, RowsetFile, RowsetPiece, RowsetRecord as WireRecord};
use tarn_proto::{RowsetId, TableModel, TabletId, TxnId};

use crate::engine::Engine;
use crate::engine::commit::rowset_of;
use crate::open_segment::unreadable;
use crate::record::{Record, RowsetRecord};
use crate::tablet::Tablet;
use crate::{Error, Result};

/// Bytes of a piece: enough for the network, few enough for many copies at once.
const PIECE_BYTES: usize = 512 << 10;

impl Engine {
    /// A replica as it is now: its rowsets, and the delete vectors of the newest version. Blocks.
    pub fn replica(&self, tablet: TabletId) -> Result<GetReplicaResponse> {
        let tablet = self.tablet(tablet)?;
        let (state, shape) = {
            let state = tablet.state.read();
            (state.clone(), tablet.shape())
        };
        if state.dropped {
            return Err(Error::UnknownTablet(tablet.id));
        }
        let rowset =
            |(id, record): (&RowsetId, &Arc<RowsetRecord>)| WireRecord { id: id.get(), record: record.encode().into() };
        let vectors = state.delete_vectors.iter().map(|((rowset, segment), vector)| DeleteVectorRecord {
            rowset_id: rowset.get(),
            segment: *segment,
            since: vector.since.get(),
            record: vector.encode().into(),
        });
        Ok(GetReplicaResponse {
            version: state.version.get(),
            oldest: state.oldest.get(),
            schema: Some((&shape.schema).into()),
            rowsets: state.rowsets.iter().map(rowset).collect(),
            delete_vectors: vectors.collect(),
        })
    }

    /// The record of the rowset that a load has sealed in a tablet, for those that are to copy it.
    pub fn sealed(&self, tablet: TabletId, txn: TxnId) -> Result<Vec<u8>> {
        let tablet = self.tablet(tablet)?;
        let state = tablet.state.read();
        let record = state.rowsets.get(&rowset_of(txn));
        record.map(|record| record.encode()).ok_or(Error::MissingRowset { tablet: tablet.id, txn })
    }

    /// Reads all files of a rowset, in pieces. Blocks.
    pub fn read_rowset(self: &Arc<Self>, tablet: TabletId, rowset: RowsetId) -> Result<RowsetReader> {
        let tablet = self.tablet(tablet)?;
        let record = tablet.state.read().rowsets.get(&rowset).cloned();
        let record = record.ok_or(Error::UnknownSegment { tablet: tablet.id, rowset, segment: 0 })?;
        let has_keys = tablet.shape().schema.model == TableModel::PrimaryKey;
        let mut files = VecDeque::new();
        for number in 0..record.segments.len() as u32 {
            let paths = self.dir.segment(SegmentKey { tablet: tablet.id, rowset, segment: number });
            files.push_back((number, RowsetFile::Sidecar, paths.sidecar));
            if has_keys {
                files.push_back((number, RowsetFile::Keys, paths.keys));
            }
            files.push_back((number, RowsetFile::Segment, paths.segment));
        }
        Ok(RowsetReader { tablet, rowset, superseded: record.is_superseded(), files, current: None })
    }
}

/// The files of a rowset, piece by piece. What is read is not verified: who gets it does that.
pub struct RowsetReader {
    tablet: Arc<Tablet>,
    rowset: RowsetId,
    superseded: bool,
    files: VecDeque<(u32, RowsetFile, PathBuf)>,
    current: Option<(u32, RowsetFile, File, bool)>,
}

impl RowsetReader {
    /// The next piece; none at the end. An empty file is one empty piece. Blocks.
    pub fn next_piece(&mut self) -> Result<Option<RowsetPiece>> {
        loop {
            let Some((segment, file, open, begun)) = &mut self.current else {
                let Some((segment, file, path)) = self.files.pop_front() else { return Ok(None) };
                if self.superseded {
                    self.tablet.superseded.lock().note_read();
                }
                let open = File::open(&path).map_err(|error| self.failed(segment, &path, error))?;
                self.current = Some((segment, file, open, false));
                continue;
            };
            let mut data = Vec::with_capacity(PIECE_BYTES);
            let read = open.take(PIECE_BYTES as u64).read_to_end(&mut data);
            let (segment, file) = (*segment, *file);
            if let Err(error) = read {
                return Err(self.failed(segment, &PathBuf::from(file.as_str_name()), error));
            }
            if data.is_empty() && *begun {
                self.current = None;
                continue;
            }
            *begun = true;
            return Ok(Some(RowsetPiece { segment, file: file.into(), data: data.into() }));
        }
    }

    fn failed(&self, segment: u32, path: &std::path::Path, error: std::io::Error) -> Error {
        let key = SegmentKey { tablet: self.tablet.id, rowset: self.rowset, segment };
        let state = self.tablet.state.read();
        if state.dropped || !state.rowsets.contains_key(&self.rowset) {
            return Error::UnknownSegment { tablet: key.tablet, rowset: key.rowset, segment };
        }
        drop(state);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let error = unreadable(key, name, error);
        self.tablet.note_damage(&error);
        error
    }
}
