//! Where the row of a key is.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::DeleteVector;
use super::index::Location;
use super::key::Keys;
use super::publish::Live;
use crate::Result;
use crate::engine::Engine;
use crate::tablet::{State, Tablet};

impl Engine {
    /// The live row of each key of `keys`, which are sorted, in the state that the tablet has. Under its commit lock. Blocks.
    pub(super) fn locate(&self, tablet: &Tablet, state: &State, keys: &Keys) -> Result<Vec<Option<Location>>> {
        let live = Live::of(state);
        let mut found = self.with_index(tablet, state, |store| {
            let mut found = Vec::new();
            store.lookup(tablet.id, keys, &mut found)?;
            self.translate(tablet, &mut found)?;
            for location in &mut found {
                if let Some(place) = *location
                    && !live.has(store, place)?
                {
                    *location = None;
                }
            }
            Ok(found)
        })?;
        // An entry may lead to a row that is deleted.
        let mut deleted: HashMap<_, Option<RoaringBitmap>> = HashMap::new();
        for location in &mut found {
            let Some(place) = *location else { continue };
            let segment = (place.rowset, place.segment);
            let rows =
                deleted.entry(segment).or_insert_with(|| state.delete_vectors.get(&segment).map(DeleteVector::bitmap));
            if rows.as_ref().is_some_and(|rows| rows.contains(place.row)) {
                *location = None;
            }
        }
        Ok(found)
    }
}
