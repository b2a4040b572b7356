//! Manifests of tablets: from which replica, and what is kept of them.
//!
//! The planner names the replicas that have the version, the one to read first. One that does not answer, or does not have
//! it after all, is skipped for the next; a node that does not answer is asked last for a while. A manifest that is kept
//! remembers whose it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foyer::{Cache, CacheBuilder};
use futures::future::join_all;
use parking_lot::Mutex;
use prost::Message;
use tarn_proto::storage::{Peer, StoreError, StorePool};
use tarn_proto::wire::Manifest;
use tarn_proto::{ErrorKind, NodeId, TabletId, Version};
use tracing::debug;

use crate::error::Error;
use crate::replicas::silent;
use crate::tablet::{DeleteVectors, TabletRead};

/// Memory for manifests: about a million segments without delete vectors.
const MANIFEST_CACHE_BYTES: usize = 64 << 20;

/// How long a manifest is used. The rows at a version never change, but compaction makes fewer rowsets of them, and
/// removes those that it replaced some time later.
const MANIFEST_AGE: Duration = Duration::from_secs(60);

/// Longest wait for manifests as long as there is another replica to ask.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// How long a node that did not answer is asked last. Coordinators notice the loss of a node sooner.
const SUSPECTED_FOR: Duration = Duration::from_secs(10);

/// A tablet at a version, as the replica on a node has it.
#[derive(Clone)]
pub(crate) struct Located {
    pub manifest: Arc<Manifest>,
    pub node: NodeId,
    /// What was decoded of its delete vectors.
    pub deleted: Arc<DeleteVectors>,
}

#[derive(Clone)]
struct Known {
    located: Located,
    since: Instant,
}

impl Known {
    fn at(self, now: Instant) -> Option<Located> {
        (now.saturating_duration_since(self.since) < MANIFEST_AGE).then_some(self.located)
    }
}

/// The manifests of a process.
pub(crate) struct Manifests {
    known: Cache<(TabletId, Version), Known>,
    /// Nodes that did not answer, and when.
    suspects: Mutex<HashMap<NodeId, Instant>>,
}

/// Which tablets to ask a node for, by position; those that are asked for alone have calls of their own.
type Calls<'a> = BTreeMap<(NodeId, Option<usize>), (&'a Peer, Vec<usize>)>;

/// A tablet whose manifest is looked for.
struct Search<'a> {
    read: &'a TabletRead,
    found: Option<Located>,
    /// Replicas that have not been asked, the next one last.
    left: Vec<&'a Peer>,
    /// It is asked for in a call of its own, as a call for several has failed for any of them.
    alone: bool,
    /// Why the first replica failed.
    failure: Option<(NodeId, StoreError)>,
}

impl Manifests {
    pub fn new() -> Self {
        let known = CacheBuilder::new(MANIFEST_CACHE_BYTES)
            .with_name("tarn-manifests")
            .with_weighter(|_: &_, known: &Known| {
                let manifest = &known.located.manifest;
                manifest.encoded_len() + DeleteVectors::weight(manifest) + 64
            })
            .build();
        Self { known, suspects: Mutex::default() }
    }

    /// The manifests of `tablets` of a table, in order. What is not kept is asked for with one call per storage node, if
    /// all goes well.
    pub async fn locate(&self, pool: &StorePool, table: &str, tablets: &[TabletRead]) -> Result<Vec<Located>, Error> {
        let suspects = self.suspected(Instant::now());
        let mut searches: Vec<Search<'_>> = tablets.iter().map(|read| self.search(read, &suspects)).collect();
        loop {
            let mut calls = Calls::new();
            for (index, search) in searches.iter().enumerate().filter(|(_, search)| search.found.is_none()) {
                let Some(peer) = search.left.last().copied() else { return Err(search.unreadable(table)) };
                let call = calls.entry((peer.node, search.alone.then_some(index)));
                call.or_insert_with(|| (peer, Vec::new())).1.push(index);
            }
            if calls.is_empty() {
                break;
            }
            let asked = calls.into_values().map(|(peer, group)| {
                let request: Vec<_> = group.iter().map(|i| (tablets[*i].tablet, tablets[*i].version)).collect();
                let last = group.iter().any(|index| searches[*index].left.len() == 1);
                async move { (peer.clone(), group, ask(pool, peer, &request, last).await) }
            });
            for (peer, group, answer) in join_all(asked).await {
                match answer {
                    Ok(manifests) => {
                        for (index, manifest) in group.into_iter().zip(manifests) {
                            let located =
                                Located { manifest: Arc::new(manifest), node: peer.node, deleted: Arc::default() };
                            self.keep(&tablets[index], &located);
                            searches[index].found = Some(located);
                        }
                    }
                    Err(error) => self.failed(&peer, &error, group, &mut searches),
                }
            }
        }
        Ok(searches.into_iter().filter_map(|search| search.found).collect())
    }

    fn search<'a>(&self, read: &'a TabletRead, suspects: &[NodeId]) -> Search<'a> {
        let is_suspect = |node: NodeId| suspects.contains(&node);
        let mut left: Vec<&Peer> = read.replicas.iter().collect();
        // Stable: those that answer keep their order.
        left.sort_by_key(|peer| is_suspect(peer.node));
        let best = left.first().map(|peer| is_suspect(peer.node));
        let found =
            self.known.get(&(read.tablet, read.version)).and_then(|known| known.value().clone().at(Instant::now()));
        let found = found.filter(|located| {
            read.replicas.iter().any(|peer| peer.node == located.node) && Some(is_suspect(located.node)) <= best
        });
        left.reverse();
        Search { read, found, left, alone: false, failure: None }
    }

    fn failed(&self, peer: &Peer, error: &StoreError, group: Vec<usize>, searches: &mut [Search<'_>]) {
        let away = error.kind == ErrorKind::Unavailable;
        if away {
            self.suspect(peer.node);
        }
        debug!(node = %peer.node, %error, tablets = group.len(), "asking other replicas for manifests");
        let several = group.len() > 1;
        for index in group {
            let search = &mut searches[index];
            if several && !away {
                search.alone = true;
            } else {
                search.left.pop();
                search.failure.get_or_insert((peer.node, error.clone()));
            }
        }
    }

    fn keep(&self, read: &TabletRead, located: &Located) {
        let known = Known { located: located.clone(), since: Instant::now() };
        self.known.insert((read.tablet, read.version), known);
    }

    /// Forgets a manifest whose rowsets are gone, or whose node is.
    pub fn forget(&self, tablet: TabletId, version: Version) {
        self.known.remove(&(tablet, version));
    }

    /// Notes that a node does not answer.
    pub fn suspect(&self, node: NodeId) {
        self.suspects.lock().insert(node, Instant::now());
    }

    fn suspected(&self, now: Instant) -> Vec<NodeId> {
        let mut suspects = self.suspects.lock();
        suspects.retain(|_, since| now.saturating_duration_since(*since) < SUSPECTED_FOR);
        suspects.keys().copied().collect()
    }
}

impl Search<'_> {
    fn unreadable(&self, table: &str) -> Error {
        let tablet = self.read.tablet;
        match self.failure.clone() {
            // Older than what the replicas keep.
            Some((_, source)) if source.kind == ErrorKind::NotFound => {
                Error::Superseded { tablet, source: Box::new(source.into()) }
            }
            Some((node, source)) => {
                let (table, node) = (table.to_owned(), Some(node));
                Error::Store { table, tablet, node, source: Box::new(source.into()) }
            }
            None => Error::Manifest { tablet, reason: "the plan names no replica".to_owned() },
        }
    }
}

/// Asks a node for manifests, which are those asked for, in order. `last`: some tablet has no other replica.
async fn ask(
    pool: &StorePool,
    peer: &Peer,
    request: &[(TabletId, Version)],
    last: bool,
) -> Result<Vec<Manifest>, StoreError> {
    let store = pool.get(peer.node, &peer.address)?;
    let asked = store.manifests(request);
    let manifests = match last {
        true => asked.await?,
        false => tokio::time::timeout(ASK_WITHIN, asked).await.unwrap_or_else(|_| Err(silent(peer)))?,
    };
    let is_answer = |(manifest, (tablet, version)): (&Manifest, &(TabletId, Version))| {
        manifest.tablet_id == tablet.get() && manifest.version == version.get()
    };
    match manifests.len() == request.len() && manifests.iter().zip(request).all(is_answer) {
        true => Ok(manifests),
        false => Err(StoreError {
            kind: ErrorKind::Internal,
            address: peer.address.clone(),
            message: "it answered for other tablets or versions than it was asked for".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_asked_for_again_after_a_while() {
        let since = Instant::now();
        let known =
            Known { located: Located { manifest: Arc::default(), node: NodeId(1), deleted: Arc::default() }, since };
        assert!(known.clone().at(since).is_some());
        assert!(known.clone().at(since + MANIFEST_AGE - Duration::from_millis(1)).is_some());
        assert!(known.at(since + MANIFEST_AGE).is_none());
    }

    #[test]
    fn a_node_that_did_not_answer_is_asked_last_for_a_while() {
        let manifests = Manifests::new();
        let peer = |node| Peer { node: NodeId(node), address: format!("n{node}:1") };
        let read = TabletRead {
            tablet: TabletId(1),
            version: Version(2),
            replicas: [peer(1), peer(2), peer(3)].into(),
            rows: 1,
            bytes: 1,
        };
        manifests.suspect(NodeId(1));
        let now = Instant::now();
        let order = |suspects: &[NodeId]| -> Vec<u64> {
            manifests.search(&read, suspects).left.iter().rev().map(|peer| peer.node.get()).collect()
        };
        assert_eq!(order(&manifests.suspected(now)), [2, 3, 1]);
        assert_eq!(order(&manifests.suspected(now + SUSPECTED_FOR)), [1, 2, 3]);
        // What is kept of a node that does not answer is not used while there are others.
        manifests.keep(&read, &Located { manifest: Arc::default(), node: NodeId(1), deleted: Arc::default() });
        assert!(manifests.search(&read, &[]).found.is_some());
        assert!(manifests.search(&read, &[NodeId(1)]).found.is_none());
        assert!(manifests.search(&read, &[NodeId(1), NodeId(2), NodeId(3)]).found.is_some());
    }
}
