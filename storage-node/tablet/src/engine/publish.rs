//! From pending rowsets to a version.
//!
//! ```text
//!  prepare   completes updates, evaluates deletes (`crate::prepare`): no commit lock
//!  plan      by tablet, at the same time: the rowset's record, delete vectors ──┐ under the commit locks of the tablets
//!  write     one synced batch ──► memory ──► the primary-key index             ──┘ in order of their ids
//! ```
//!
//! What publishes hold at the same time is bounded ([`Options::publish_memory_bytes`](crate::Options)): `prepare` takes a
//! share for each tablet's rows, and gives it back with them; the plan takes one for the keys of all tablets, to the end. No
//! two wait for each other for ever: each waits for, in this order, the right to prepare its tablets, a share, and commit
//! locks, which nobody holds who waits for a share; and whoever waits for a share has none.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use tarn_proto::storage::{PublishTablet, Unpublished};
use tarn_proto::{RowsetId, TableModel, TabletId, TxnId, Version};
use tokio::sync::OwnedSemaphorePermit;

use super::Engine;
use super::commit::{is_compaction, resolved_of, rowset_of};
use crate::meta::Changes;
use crate::prepare::{Deleted, Outcome, Prepared};
use crate::primary::Marks;
use crate::primary::publish::STEP_KEYS;
use crate::record::{Change, Lifetime, RowsetRecord, RowsetState, VersionRecord};
use crate::tablet::{State, Tablet};
use crate::{Error, Result, metrics, parallel};

/// Publishes that block a thread at the same time: a quarter of those that tokio has for it, as one that has what the others
/// wait for may need one more, to fetch a file of a storage volume.
pub(super) const AT_ONCE: usize = 128;
/// Rows that are worth a thread of their own.
const PARALLEL_ROWS: u64 = 1 << 16;
/// Memory of a row that was found by its key: its place as it is found, sorted, and in a delete vector.
const FOUND_BYTES: u64 = 32;
/// Memory of a key that is looked up, with what the index answers; of a large load also the blocks of key files that it is
/// merged with.
const KEY_BYTES: u64 = 512;

/// A rowset of a tablet.
type Known = (RowsetId, Arc<RowsetRecord>);

/// What publishing does to a tablet.
struct Plan {
    versions: VersionRecord,
    /// None if the transaction has no rows here.
    rowset: Option<Published>,
}

struct Published {
    id: RowsetId,
    record: RowsetRecord,
    /// What it was until now.
    pending: Arc<RowsetRecord>,
    /// Other pending rowsets of the transaction: it takes their place.
    replaced: Vec<Known>,
    /// Rows that it deletes.
    marks: Option<Marks>,
}

/// The right to publish one transaction, until it is dropped.
#[must_use = "another publish takes the turn at once"]
pub struct PublishTurn(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl Engine {
    /// Waits, without a thread, until few enough publishes block one: to be held by whoever calls [`Engine::publish`] on
    /// such a thread.
    pub async fn publish_turn(&self) -> PublishTurn {
        PublishTurn(self.publishes.clone().acquire_owned().await.expect("it is never closed"))
    }

    /// Makes a transaction part of the tablets' next version, durably. Tablets that cannot take it, as they are not at the
    /// version before or lack its rowset, are returned, the others published at once; so are those that took it and have
    /// damaged files. Idempotent. Blocks.
    pub fn publish(&self, txn: TxnId, requests: &[PublishTablet]) -> Result<Vec<Unpublished>> {
        let (started, mut steps) = (Instant::now(), metrics::PublishSteps::start());
        let requests: BTreeMap<TabletId, &PublishTablet> = requests.iter().map(|r| (r.tablet, r)).collect();
        let mut unpublished = Vec::new();
        let mut tablets = Vec::with_capacity(requests.len());
        for id in requests.keys() {
            match self.tablet(*id) {
                Ok(tablet) => tablets.push(tablet),
                Err(error) => unpublished.push(not_published(*id, &error)),
            }
        }
        // To the end: a publish that is asked for again must find what this one has done.
        let mut prepared = self.prepare(txn, &tablets, &requests);
        let _memory = self.publish_memory.take(key_memory(txn, &tablets));
        steps.done("prepare");
        let _commits: Vec<_> = tablets.iter().map(|t| t.commit.lock()).collect();
        steps.done("lock");
        let mut changes = Changes::default();
        let mut published = Vec::with_capacity(tablets.len());
        for (tablet, plan) in tablets.iter().zip(self.plans(txn, &tablets, &requests, &mut prepared)) {
            match plan {
                Ok(None) => unpublished.extend(tablet.damage()),
                Ok(Some(plan)) => {
                    unpublished.extend(tablet.damage());
                    plan.put(tablet.id, &mut changes);
                    published.push((tablet, plan));
                }
                Err(error) if error.is_behind() || tablet.note_damage(&error) => {
                    unpublished.push(not_published(tablet.id, &error));
                }
                Err(error) => return Err(error),
            }
        }
        steps.done("plan");
        let failed = self.write_each(changes).inspect_err(|error| tablets.iter().for_each(|t| t.note(error)))?;
        unpublished.extend(failed.iter().map(|(tablet, error)| not_published(*tablet, error)));
        published.retain(|(tablet, _)| !failed.contains_key(&tablet.id));
        let rows = published.iter().filter_map(|(_, plan)| plan.rowset.as_ref()).map(|p| p.record.rows()).sum();
        let rowsets: Vec<_> =
            published.into_iter().filter_map(|(tablet, plan)| self.enter_version(txn, tablet, plan)).collect();
        metrics::rowsets("published", rowsets.len());
        steps.done("write");
        let keyed = rowsets.into_iter().filter(|(tablet, _)| is_keyed(tablet)).collect();
        each(rows, keyed, |(tablet, rowset)| self.apply_keys(tablet, rowset));
        steps.done("index");
        metrics::published(started.elapsed());
        Ok(unpublished)
    }

    /// What publishing does to each tablet, none if it is published already; or why it cannot be.
    fn plans(
        &self,
        txn: TxnId,
        tablets: &[Arc<Tablet>],
        requests: &BTreeMap<TabletId, &PublishTablet>,
        prepared: &mut Prepared<'_>,
    ) -> Vec<Result<Option<Plan>>> {
        let pending = |tablet: &Arc<Tablet>| tablet.state.read().rowset_of_txn(txn).map_or(0, |(_, r)| r.rows());
        let rows = tablets.iter().map(pending).sum();
        let work: Vec<_> = tablets.iter().map(|t| (t, requests[&t.id], prepared.take(t.id))).collect();
        each(rows, work, |(tablet, request, prepared)| self.plan_tablet(tablet, txn, request, prepared))
    }

    fn plan_tablet(
        &self,
        tablet: &Tablet,
        txn: TxnId,
        request: &PublishTablet,
        prepared: Result<Option<Outcome>>,
    ) -> Result<Option<Plan>> {
        if request.has_rowset && tablet.state.read().version < request.version {
            self.find_pending(tablet, txn)?;
        }
        let Some(pending) = next(tablet, txn, request)? else { return Ok(None) };
        let prepared = prepared?;
        let at = request.version;
        let state = tablet.state.read().clone();
        let versions = VersionRecord { version: at, ..state.versions() };
        let Some((loaded, pending)) = pending else { return Ok(Some(Plan { versions, rowset: None })) };
        let lifetime = RowsetState::Published(Lifetime::loaded(at));
        let plain = || (loaded, RowsetRecord { state: lifetime, ..pending.as_ref().clone() });
        let (id, record, marks) = match (&pending.change, prepared) {
            (Some(Change::Update { .. }), Some(Outcome::Rows(resolved))) => {
                let (id, record) = self.name_resolved(tablet, txn, resolved, lifetime)?;
                let marks = self.plan_publish(tablet, id, &record, at)?;
                (id, record, Some(marks))
            }
            (Some(Change::Update { .. }), _) => {
                let reason = "its rowset came while it was being published: publish it again".to_owned();
                return Err(Error::Behind { tablet: tablet.id, version: at, reason });
            }
            (Some(Change::Delete(predicate)), prepared) => {
                let found = match prepared {
                    Some(Outcome::Deletes(found)) => found,
                    Some(Outcome::Rows(_)) | None => Deleted::new(),
                };
                let marks = self.plan_delete(tablet, predicate, found, &state, at)?;
                let (id, record) = plain();
                (id, record, Some(marks))
            }
            (None, _) => {
                let (id, record) = plain();
                let marks = is_keyed(tablet).then(|| self.plan_publish(tablet, id, &record, at)).transpose()?;
                (id, record, marks)
            }
        };
        let others = [rowset_of(txn), resolved_of(txn)].into_iter().filter(|other| *other != id);
        let replaced = others.filter_map(|id| Some((id, state.rowsets.get(&id)?.clone()))).collect();
        Ok(Some(Plan { versions, rowset: Some(Published { id, record, pending, replaced, marks }) }))
    }

    /// Lets memory know what is durable. Returns the rowset, if there is one.
    fn enter_version<'a>(
        &self,
        txn: TxnId,
        tablet: &'a Arc<Tablet>,
        plan: Plan,
    ) -> Option<(&'a Arc<Tablet>, RowsetId)> {
        let mut state = tablet.state.write();
        state.version = plan.versions.version;
        let rowset = plan.rowset.map(|Published { id, record, pending, replaced, marks }| {
            replaced.iter().for_each(|(other, _)| drop(state.rowsets.remove(other)));
            state.rowsets.insert(id, Arc::new(record));
            if let Some(marks) = marks {
                marks.enter(&mut state);
            }
            (id, pending, replaced)
        });
        drop(state);
        let mut pending = self.pending.lock();
        if let Some(waiting) = pending.get_mut(&txn) {
            waiting.remove(&tablet.id);
            if waiting.is_empty() {
                pending.remove(&txn);
            }
        }
        drop(pending);
        let (id, loaded, replaced) = rowset?;
        self.remove_pending(tablet, txn, &loaded, false);
        for (other, record) in replaced {
            self.remove_files(tablet.id, other, record.segments.len() as u32);
        }
        self.note_changed(tablet.id);
        Some((tablet, id))
    }
}

impl Plan {
    fn put(&self, tablet: TabletId, changes: &mut Changes) {
        changes.put_version(tablet, self.versions);
        let Some(Published { id, record, replaced, marks, .. }) = &self.rowset else { return };
        replaced.iter().for_each(|(other, _)| changes.delete_rowset(tablet, *other));
        changes.put_rowset(tablet, *id, record);
        if let Some(marks) = marks {
            marks.put(tablet, changes);
        }
    }
}

/// Memory that it takes to find and mark the rows whose keys a transaction has, in bytes, about.
fn key_memory(txn: TxnId, tablets: &[Arc<Tablet>]) -> u64 {
    let rows = |tablet: &Arc<Tablet>| tablet.state.read().rowset_of_txn(txn).map_or(0, |(_, record)| record.rows());
    let rows: Vec<u64> = tablets.iter().filter(|tablet| is_keyed(tablet)).map(rows).collect();
    // Keys are gone through step by step, in as many tablets at a time as there are processors; found rows stay.
    let at_once = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(rows.len()) as u64;
    let step = rows.iter().max().copied().unwrap_or_default().min(STEP_KEYS as u64);
    FOUND_BYTES * rows.iter().sum::<u64>() + at_once * KEY_BYTES * step
}

fn is_keyed(tablet: &Tablet) -> bool {
    tablet.shape().schema.model == TableModel::PrimaryKey
}

/// Does `work` for each, at the same time if there are many rows.
fn each<T: Send, R: Send>(rows: u64, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    match rows < PARALLEL_ROWS {
        true => items.into_iter().map(work).collect(),
        false => parallel::each("publish", items, work),
    }
}

fn not_published(tablet: TabletId, reason: &Error) -> Unpublished {
    Unpublished { tablet, damaged: false, reason: tarn_proto::error::chain(reason) }
}

/// The pending rowset that publishing `request` adds, if any; none at all if it is published already.
fn next(tablet: &Tablet, txn: TxnId, request: &PublishTablet) -> Result<Option<Option<Known>>> {
    let state = tablet.state.read();
    if state.dropped {
        return Err(tablet.gone());
    }
    let rowset = state.rowset_of_txn(txn);
    if state.version >= request.version {
        let published = rowset.and_then(|(_, record)| record.published());
        let there = published.is_some_and(|lifetime| lifetime.version == request.version);
        // A clone brings all up to its version, without telling what was loaded.
        let there = there == request.has_rowset || request.version <= state.oldest;
        return if there || is_compacted(&state, request.version) {
            Ok(None)
        } else {
            Err(Error::VersionTaken { tablet: tablet.id, version: request.version, txn })
        };
    }
    if state.version.next() != request.version {
        return Err(Error::NotNext { tablet: tablet.id, current: state.version, version: request.version });
    }
    match (request.has_rowset, rowset) {
        (false, _) => Ok(Some(None)),
        (true, Some((id, record))) if record.is_pending() => Ok(Some(Some((id, record)))),
        (true, _) => Err(Error::MissingRowset { tablet: tablet.id, txn }),
    }
}

/// Whether what a published version brought, if anything, is in a compaction's rowset by now: the next live one then
/// holds all from some version before it up to its own.
fn is_compacted(state: &State, version: Version) -> bool {
    state.live().into_iter().find(|(_, newest, _)| *newest >= version).is_some_and(|(id, ..)| is_compaction(id))
}
