//! What nobody needs in a tablet's volume: manifests before the newest, and objects that nothing names.
//!
//! A file that is older than [`Options::volume_grace`](crate::Options), and that neither the newest manifest nor a pending record names, is never named
//! again: who wrote it would have done so within that time, and nobody else knows its name. So it does not matter if the
//! tablet gets another owner between the look and the removal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tarn_proto::volume::{Object, Path};
use tarn_proto::{RowsetId, TxnId};
use tracing::{info, warn};

use super::log::{manifest_path, manifests, values};
use super::manifest::Value;
use super::pending::{pending, read_pending, txn_of};
use super::{Closed, Owned};
use crate::engine::Engine;
use crate::tablet::Tablet;
use crate::{Error, Result};

impl Engine {
    /// Removes what nobody needs from the volumes of the tablets that this node owns, and what is too much from its cache;
    /// `now` must not go back. A tablet is looked at once in [`Options::volume_collect`](crate::Options) at most. Blocks.
    pub fn collect_volumes(&self, now: Instant) {
        for tablet in self.all_tablets() {
            let Some(owned) = &tablet.owned else { continue };
            let mut looked = owned.looked.lock();
            if now.duration_since(*looked) < self.options.volume_collect {
                continue;
            }
            *looked = now;
            drop(looked);
            if let Err(error) = self.collect(&tablet, owned) {
                warn!(tablet = %tablet.id, reason = tarn_proto::error::chain(&error), "a storage volume is cleaned up later");
            }
        }
        self.trim_cache();
    }

    fn collect(&self, tablet: &Arc<Tablet>, owned: &Owned) -> Result<()> {
        let (store, id) = (owned.store.clone(), tablet.id);
        let failed = move |source| Error::Volume { tablet: id, source };
        let (listed, records) = self.volumes.wait(async move {
            let listed = store.list(&store.tablet(id), None).await.map_err(failed)?;
            Ok::<_, Error>((listed, read_pending(&store, id, None).await?))
        })??;
        let commit = tablet.commit.lock();
        let newest = listed.iter().filter_map(|object| sequence_of(owned, tablet, object)).max();
        let sequence = owned.log.lock().sequence;
        if newest.is_some_and(|newest| newest > sequence) {
            // Only its owner adds manifests, and it has not: somebody else owns the tablet.
            let store = owned.store.clone();
            let other = self.volumes.wait(async move { super::open::newest(&store, id).await })??;
            let by = other.map_or(owned.epoch, |other| other.epoch);
            self.close(tablet, Closed::Fenced { epoch: owned.epoch, by });
            return Ok(());
        }
        let done = |txn: &TxnId| {
            let state = tablet.state.read();
            state.rowset_of_txn(*txn).is_some_and(|(_, record)| !record.is_pending())
        };
        let published: BTreeSet<TxnId> = records.keys().filter(|txn| done(txn)).copied().collect();
        let waiting = records.into_iter().filter(|(txn, _)| !published.contains(txn)).collect();
        // Those of an owner before, who finished after the tablet was opened here.
        self.enter_pending(tablet, waiting)?;
        let garbage = self.garbage(tablet, owned, &listed, &published);
        drop(commit);
        if !garbage.is_empty() {
            info!(tablet = %id, objects = garbage.len(), "removing objects that nobody needs");
            let store = owned.store.clone();
            self.volumes.wait(async move { store.delete(&garbage).await })?.map_err(failed)?;
        }
        Ok(())
    }

    /// The objects that go. Under the commit lock.
    fn garbage(&self, tablet: &Tablet, owned: &Owned, listed: &[Object], published: &BTreeSet<TxnId>) -> Vec<Path> {
        let log = owned.log.lock();
        let state = tablet.state.read();
        let stems = state.rowsets.iter().flat_map(|(rowset, record)| {
            (0..).zip(&record.segments).map(move |(n, segment)| stem(*rowset, n, segment.checksum))
        });
        let stems: BTreeSet<String> = stems.collect();
        let objects = log.records.values().filter_map(|value| match value {
            Value::There(place) => Some(place.object.as_str()),
            Value::Here(_) => None,
        });
        let objects: BTreeSet<&str> = objects.collect();
        let (pending, values) = (pending(&owned.store, tablet.id), values(&owned.store, tablet.id));
        let is_garbage = |object: &&Object| {
            let name = object.path.filename().unwrap_or_default();
            if let Some(sequence) = sequence_of(owned, tablet, object) {
                return sequence < log.sequence
                    && !log.claims.contains(&sequence)
                    && object.age >= self.options.retention;
            }
            if object.path.prefix_matches(&pending) {
                return txn_of(&object.path).is_some_and(|txn| published.contains(&txn));
            }
            if object.age < self.options.volume_grace {
                return false;
            }
            if object.path.prefix_matches(&values) {
                return !objects.contains(name);
            }
            name.split_once('.').is_some_and(|(stem, _)| !stems.contains(stem))
        };
        listed.iter().filter(is_garbage).map(|object| object.path.clone()).collect()
    }
}

fn stem(rowset: RowsetId, segment: u32, checksum: u32) -> String {
    format!("{}_{segment}_{checksum:08x}", rowset.get())
}

/// The number of a manifest, if an object is one.
fn sequence_of(owned: &Owned, tablet: &Tablet, object: &Object) -> Option<u64> {
    let sequence = object.path.filename()?.parse().ok()?;
    let is_manifest = object.path.prefix_matches(&manifests(&owned.store, tablet.id));
    (is_manifest && manifest_path(&owned.store, tablet.id, sequence) == object.path).then_some(sequence)
}
