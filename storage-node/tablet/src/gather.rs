//! Rows of a tablet by their places.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, new_empty_array};
use arrow::compute::{concat, interleave};
use roaring::RoaringBitmap;
use tarn_proto::storage::SegmentKey;
use tarn_proto::{Column, RowsetId, TabletId, segment};

use crate::compaction::read::Reader;
use crate::engine::Engine;
use crate::layout::segment_name;
use crate::open_segment::damaged;
use crate::primary::index::Location;
use crate::record::{RowsetRecord, SegmentRecord};
use crate::{Error, Result};

/// The segments that rows are read of.
pub(crate) struct Sources {
    tablet: TabletId,
    segments: HashMap<(RowsetId, u32), SegmentRecord>,
}

impl Sources {
    /// No segments of a tablet.
    pub(crate) fn new(tablet: TabletId) -> Self {
        Self { tablet, segments: HashMap::new() }
    }

    /// Adds the segments of a rowset.
    pub(crate) fn add(&mut self, rowset: RowsetId, record: &RowsetRecord) {
        if !self.segments.contains_key(&(rowset, 0)) {
            self.segments
                .extend((0..).zip(&record.segments).map(|(number, segment)| ((rowset, number), segment.clone())));
        }
    }

    /// `columns` of the rows at `places`, in their order, as segments hold them; a row may be asked for more than once.
    /// Reads each segment once, from its first row to its last. Blocks.
    pub(crate) fn gather(
        &self,
        engine: &Engine,
        reader: &Reader,
        places: &[Location],
        columns: &[Column],
    ) -> Result<Vec<ArrayRef>> {
        let refused = |source| Error::Rows { tablet: self.tablet, source };
        let stored = segment::storage_schema(columns);
        if places.is_empty() || columns.is_empty() {
            return Ok(stored.fields().iter().map(|field| new_empty_array(field.data_type())).collect());
        }
        let mut order: Vec<u32> = (0..places.len() as u32).collect();
        let at = |i: u32| places[i as usize];
        order.sort_unstable_by_key(|i| (at(*i).rowset, at(*i).segment, at(*i).row));
        // By column, the rows that are read of each segment.
        let mut read: Vec<Vec<ArrayRef>> = vec![Vec::new(); columns.len()];
        // The segment and the row among those of it that are read, by place.
        let mut positions = vec![(0, 0); places.len()];
        for (number, of_segment) in
            order.chunk_by(|a, b| (at(*a).rowset, at(*a).segment) == (at(*b).rowset, at(*b).segment)).enumerate()
        {
            let mut rows = RoaringBitmap::new();
            for same_row in of_segment.chunk_by(|a, b| at(*a).row == at(*b).row) {
                same_row.iter().for_each(|i| positions[*i as usize] = (number, rows.len() as usize));
                rows.insert(at(same_row[0]).row);
            }
            let place = at(of_segment[0]);
            let arrays = self.segment(engine, reader, place, columns, &rows)?;
            read.iter_mut().zip(arrays).for_each(|(column, array)| column.push(array));
        }
        let in_order = positions.iter().enumerate().all(|(i, position)| *position == (0, i));
        let gathered = read.into_iter().map(|mut arrays| match arrays.len() {
            1 if in_order => Ok(arrays.remove(0)),
            _ => interleave(&arrays.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>(), &positions),
        });
        gathered.collect::<std::result::Result<_, _>>().map_err(refused)
    }

    /// Columns of these rows of one segment.
    fn segment(
        &self,
        engine: &Engine,
        reader: &Reader,
        place: Location,
        columns: &[Column],
        rows: &RoaringBitmap,
    ) -> Result<Vec<ArrayRef>> {
        let key = SegmentKey { tablet: self.tablet, rowset: place.rowset, segment: place.segment };
        let unknown = Error::UnknownSegment { tablet: key.tablet, rowset: key.rowset, segment: key.segment };
        let record = self.segments.get(&(place.rowset, place.segment)).ok_or(unknown)?;
        let mut batches = Vec::new();
        let mut read = reader.columns(engine, key, record, columns.to_vec(), Some(rows))?;
        while let Some(batch) = read.next()? {
            batches.push(batch);
        }
        if batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>() != rows.len() {
            let what = format!("{} of its rows cannot be read", rows.len());
            return Err(damaged(key, segment_name(key.rowset, key.segment), what));
        }
        let joined = (0..columns.len()).map(|i| match batches.as_slice() {
            [one] => Ok(one.column(i).clone()),
            many => concat(&many.iter().map(|batch| batch.column(i).as_ref()).collect::<Vec<_>>()),
        });
        let refused = |source| Error::Rows { tablet: self.tablet, source };
        joined.collect::<std::result::Result<_, _>>().map_err(refused)
    }
}
