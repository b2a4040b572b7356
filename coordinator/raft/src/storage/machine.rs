//! The state machine: the catalog in memory. It is persisted by snapshots; a restart loads the last one and applies the
//! log behind it again.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tarn_catalog::{Catalog, Command, Context, Response};

use super::blocking;
use super::snapshots::SnapshotStore;
use crate::metrics;
use crate::record::damaged;
use crate::types::{LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::view::View;

/// Readers see the catalog, and proposers their answers, at least every so many entries while a long log is applied.
const PUBLISH_EVERY: usize = 256;

/// The catalog and how far it has come.
pub(crate) struct StateMachine {
    catalog: Catalog,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Arc<SnapshotStore>,
    view: Arc<View>,
}

impl StateMachine {
    pub fn new(snapshots: SnapshotStore, view: Arc<View>) -> Self {
        Self {
            catalog: Catalog::default(),
            applied: None,
            membership: StoredMembership::default(),
            snapshots: Arc::new(snapshots),
            view,
        }
    }

    fn apply_payload(
        &mut self,
        at: LogId,
        payload: EntryPayload<crate::types::Proposal, tarn_proto::NodeId, openraft::BasicNode>,
    ) -> io::Result<Response> {
        match payload {
            EntryPayload::Blank => Ok(Response::Done),
            EntryPayload::Normal(proposal) => {
                let command = Command::decode(&proposal.command.0).map_err(damaged)?;
                Ok(self.catalog.apply(&command, &Context { now_ms: proposal.now_ms }))
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(at), membership);
                Ok(Response::Done)
            }
        }
    }

    /// Shows readers the catalog, then answers: a proposer that reads after its answer sees its own change.
    fn publish(&self, answers: &mut Vec<(ApplyResponder<TypeConfig>, Response)>) {
        if let Some(applied) = self.applied {
            self.view.publish(self.catalog.clone(), applied.index);
        }
        for (responder, response) in answers.drain(..) {
            responder.send(Reply(response));
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        let mut unseen = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            let response = self.apply_payload(entry.log_id, entry.payload)?;
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                answers.push((responder, response));
            }
            unseen += 1;
            if unseen == PUBLISH_EVERY {
                self.publish(&mut answers);
                unseen = 0;
            }
        }
        self.publish(&mut answers);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            catalog: self.catalog.clone(),
            meta: SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() },
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> io::Result<()> {
        let (snapshots, stored) = (self.snapshots.clone(), meta.clone());
        let catalog = blocking(move || {
            let catalog = Catalog::decode(&snapshot).map_err(damaged)?;
            snapshots.save(&stored, &snapshot)?;
            Ok(catalog)
        })
        .await?;
        self.catalog = catalog;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish(&mut Vec::new());
        metrics::snapshot("installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshots = self.snapshots.clone();
        blocking(move || snapshots.load()).await
    }
}

/// One moment of the catalog, to be encoded and stored while the log goes on.
pub(crate) struct SnapshotBuilder {
    catalog: Catalog,
    meta: SnapshotMeta,
    snapshots: Arc<SnapshotStore>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (catalog, meta, snapshots) = (self.catalog.clone(), self.meta.clone(), self.snapshots.clone());
        let snapshot = blocking(move || {
            let snapshot = Bytes::from(catalog.encode());
            snapshots.save(&meta, &snapshot)?;
            Ok(Snapshot { meta, snapshot })
        })
        .await?;
        metrics::snapshot("built");
        Ok(snapshot)
    }
}
