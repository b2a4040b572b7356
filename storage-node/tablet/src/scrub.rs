//! Scrubbing: all bytes of a tablet's files are read and compared with the checksums that were written with them, so that
//! damage is found while another replica is whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use tarn_proto::storage::{FileKey, SegmentKey};
use tarn_proto::{TableModel, TabletId};

use crate::clone::check_keys;
use crate::compaction::Stop;
use crate::engine::{Engine, rowset_with};
use crate::layout::{key_file_name, segment_name};
use crate::open_segment::{damaged, unreadable};
use crate::record::SegmentRecord;
use crate::sidecar::Sidecar;
use crate::tablet::Tablet;
use crate::{Error, Pace, Result, metrics};

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 << 10;
/// The longest sleep between two looks at whether to stop.
const LONGEST_SLEEP: Duration = Duration::from_millis(200);

/// What a scrub of a tablet found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// Rowsets that are damaged, including those that were known to be.
    pub damaged: u64,
}

impl Engine {
    /// The tablets that there are, in order of their ids.
    pub fn tablet_ids(&self) -> BTreeSet<TabletId> {
        self.all_tablets().iter().map(|tablet| tablet.id).collect()
    }

    /// Reads the files of all rowsets of a tablet and compares them with their checksums, at a pace. Damage is remembered:
    /// the tablet's report tells it, until it is repaired. Fails if files cannot be read now, for a reason that is not in
    /// their bytes, and with [`Error::Stopped`] if it was told to stop. Blocks.
    pub fn scrub(&self, tablet: TabletId, pace: &Pace, stop: &Stop) -> Result<Scrubbed> {
        let tablet = self.tablet(tablet)?;
        // Files of a tablet on a storage volume are copies that are verified as they are fetched, and may be missing.
        if tablet.owned.is_some() {
            return Ok(Scrubbed::default());
        }
        let has_keys = tablet.shape().schema.model == TableModel::PrimaryKey;
        let rowsets = tablet.state.read().rowsets.clone();
        let mut scrubbed = Scrubbed::default();
        for (rowset, record) in rowsets {
            for (number, segment) in (0..).zip(&record.segments) {
                let key = SegmentKey { tablet: tablet.id, rowset, segment: number };
                match self.scrub_segment(&tablet, key, segment, has_keys, pace, stop) {
                    Ok(bytes) => scrubbed.bytes += bytes,
                    Err(_) if is_gone(&tablet, key, segment) => break,
                    Err(error) if tablet.note_damage(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        scrubbed.damaged = tablet.damaged.lock().len() as u64;
        metrics::scrubbed(scrubbed.bytes);
        Ok(scrubbed)
    }

    fn scrub_segment(
        &self,
        tablet: &Arc<Tablet>,
        key: SegmentKey,
        record: &SegmentRecord,
        has_keys: bool,
        pace: &Pace,
        stop: &Stop,
    ) -> Result<u64> {
        let files = self.dir.segment(key);
        let name = segment_name(key.rowset, key.segment);
        let lost = |error: io::Error| unreadable(key, name.clone(), error);
        let sidecar = fs::read(&files.sidecar).map_err(lost)?;
        let sidecar =
            Sidecar::decode(&sidecar).map_err(|what| damaged(key, name.clone(), format!("sidecar: {what}")))?;
        if !sidecar.is_of(record) {
            return Err(damaged(key, name, "its sidecar belongs to another segment".to_owned()));
        }
        let (mut file, mut bytes, mut checksum) = (File::open(&files.segment).map_err(lost)?, 0, 0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = file.read(&mut buffer).map_err(lost)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
            wait(tablet, pace, read as u64, stop)?;
        }
        if (bytes, checksum) != (record.bytes, record.checksum) {
            let what = format!(
                "it has {bytes} bytes and checksum {checksum:08x} instead of {} and {:08x}",
                record.bytes, record.checksum
            );
            return Err(damaged(key, name, what));
        }
        if has_keys {
            let length = fs::metadata(&files.keys).map_err(lost)?.len();
            check_keys(&files, record).map_err(|what| damaged(key, key_file_name(key.rowset, key.segment), what))?;
            wait(tablet, pace, length, stop)?;
            bytes += length;
        }
        Ok(bytes)
    }
}

/// Whether a segment has gone, or a clone has put another file in its place.
fn is_gone(tablet: &Tablet, key: SegmentKey, record: &SegmentRecord) -> bool {
    let dropped = tablet.state.read().dropped;
    dropped || rowset_with(tablet, FileKey { segment: key, checksum: record.checksum }).is_err()
}

/// Sleeps as long as so many bytes take. Ends early with an error if it is told to stop.
fn wait(tablet: &Tablet, pace: &Pace, bytes: u64, stop: &Stop) -> Result<()> {
    let mut left = pace.delay(bytes, tokio::time::Instant::now());
    loop {
        if stop.is_asked() || tablet.state.read().dropped {
            return Err(Error::Stopped(tablet.id));
        }
        if left.is_zero() {
            return Ok(());
        }
        let now = left.min(LONGEST_SLEEP);
        std::thread::sleep(now);
        left -= now;
    }
}
