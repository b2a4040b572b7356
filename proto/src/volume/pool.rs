//! One client for each definition of a volume.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Error, Volume, VolumeStore};
use crate::VolumeId;

/// The newest definition of each volume, since credentials change, and its client.
type Stores = HashMap<VolumeId, (Volume, Arc<VolumeStore>)>;

/// The volumes that a process has used. Cheap to clone; clones share the clients.
#[derive(Clone, Default)]
pub struct VolumePool {
    stores: Arc<Mutex<Stores>>,
}

impl fmt::Debug for VolumePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumePool").finish_non_exhaustive()
    }
}

impl VolumePool {
    /// The client of a volume. Nothing is requested of it.
    ///
    /// # Errors
    /// What is wrong with the definition.
    pub fn get(&self, volume: &Volume) -> Result<Arc<VolumeStore>, Error> {
        let mut stores = self.stores.lock();
        if let Some((known, store)) = stores.get(&volume.id)
            && known == volume
        {
            return Ok(store.clone());
        }
        let store = Arc::new(VolumeStore::open(volume)?);
        stores.insert(volume.id, (volume.clone(), store.clone()));
        Ok(store)
    }

    /// Uses `store` for a volume from now on: for stores that no definition makes.
    pub fn insert(&self, volume: &Volume, store: Arc<VolumeStore>) {
        self.stores.lock().insert(volume.id, (volume.clone(), store));
    }
}
