//! What storage nodes are asked for a job, and what they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use tarn_catalog::command::Filled;
use tarn_catalog::{Catalog, Table};
use tarn_ingest::CatalogClient;
use tarn_proto::storage::{Conversion, ConvertTablet, Converted, OpenTablet, Progress, StoreError, Wanted};
use tarn_proto::{ErrorKind, NodeId, TabletId, Version};
use tracing::debug;

use crate::ReplicatedCatalog;

/// Longest wait for a node's answer: one that is stuck must not keep the others' tablets from their end.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How far the tablets of a job are.
pub(super) struct Answers {
    /// Every tablet to be filled, with how many of its nodes must be there, and what they say.
    shadows: BTreeMap<TabletId, Shadow>,
    /// Why the job cannot go on.
    refusal: Option<String>,
}

struct Shadow {
    quorum: usize,
    filled: Filled,
}

impl Answers {
    /// Of a job whose tablets nobody has been asked for.
    pub(super) fn none(table: &Table) -> Self {
        let mut shadows = BTreeMap::new();
        let rewrite = table.job.as_ref().and_then(|job| job.rewrite());
        for partition in table.all_partitions() {
            let of_partition = rewrite.and_then(|rewrite| rewrite.shadows.get(&partition.id));
            for shadow in of_partition.into_iter().flatten() {
                let version = partition.visible_version;
                let filled = Filled { tablet: shadow.id, version, nodes: Vec::new(), rows: 0, bytes: 0 };
                shadows.insert(shadow.id, Shadow { quorum: shadow.quorum(), filled });
            }
        }
        Self { shadows, refusal: None }
    }

    /// Takes in what a node says.
    pub(super) fn enter(&mut self, node: NodeId, answer: &Converted) {
        match &answer.progress {
            Progress::Done { rows, bytes } => {
                if let Some(shadow) = self.shadows.get_mut(&answer.target) {
                    shadow.filled.nodes.push(node);
                    (shadow.filled.rows, shadow.filled.bytes) = (*rows, *bytes);
                }
            }
            Progress::Failed { kind: ErrorKind::Invalid, message } => {
                self.refusal.get_or_insert_with(|| message.clone());
            }
            Progress::Failed { message, .. } => debug!(%node, tablet = %answer.target, message, "not converted yet"),
            Progress::Running => {}
        }
    }

    /// Why the job cannot go on, if it cannot.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Tablets that a quorum of their nodes has filled, and all.
    pub(super) fn progress(&self) -> (u32, u32) {
        let done = self.shadows.values().filter(|shadow| shadow.filled.nodes.len() >= shadow.quorum).count();
        (done as u32, self.shadows.len() as u32)
    }

    /// Whether a quorum has each.
    pub(super) fn all_done(&self) -> bool {
        let (done, all) = self.progress();
        done == all
    }

    /// What is to be put in the place of the table's tablets.
    pub(super) fn into_filled(self) -> Vec<Filled> {
        self.shadows.into_values().map(|shadow| shadow.filled).collect()
    }
}

/// Asks every node that lives to fill its tablets of a job up to what is visible.
pub(super) async fn ask(client: &ReplicatedCatalog, catalog: &Catalog, table: &Table) -> Answers {
    let mut answers = Answers::none(table);
    let Some(rewrite) = table.job.as_ref().and_then(|job| job.rewrite()) else { return answers };
    let mut nodes: BTreeMap<NodeId, Vec<ConvertTablet>> = BTreeMap::new();
    for partition in table.all_partitions() {
        let shadows = rewrite.shadows.get(&partition.id).into_iter().flatten();
        for (base, shadow) in partition.tablets.iter().zip(shadows) {
            let wanted = Wanted::Version(partition.visible_version);
            let tablet = ConvertTablet { base: base.id, target: shadow.id, wanted };
            for node in shadow.nodes() {
                nodes.entry(node).or_default().push(tablet);
            }
        }
    }
    let calls = nodes.into_iter().filter(|(node, _)| client.is_alive(*node)).map(|(node, tablets)| {
        let conversion = Conversion { from: table.schema.clone(), to: rewrite.to.clone(), tablets };
        async move { (node, convert(client, catalog, table, node, &conversion).await) }
    });
    for (node, answer) in join_all(calls).await {
        match answer {
            Ok(converted) => converted.iter().for_each(|converted| answers.enter(node, converted)),
            Err(error) => debug!(%node, %error, "a node does not convert now"),
        }
    }
    answers
}

async fn convert(
    client: &ReplicatedCatalog,
    catalog: &Catalog,
    table: &Table,
    node: NodeId,
    conversion: &Conversion,
) -> Result<Vec<Converted>, StoreError> {
    let address = catalog.nodes.get(&node).map(|node| node.address.clone()).unwrap_or_default();
    let store = client.stores().get(node, &address)?;
    if let Some(volume) = catalog.volume_of(table) {
        let open = |tablet: &ConvertTablet| OpenTablet { tablet: tablet.target, epoch: 1, version: Version::FIRST };
        let tablets: Vec<OpenTablet> = conversion.tablets.iter().map(open).collect();
        store.open_tablets(&conversion.to, &volume, &tablets).await?;
    }
    match tokio::time::timeout(ANSWER_WITHIN, store.convert(conversion)).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError {
            kind: ErrorKind::Unavailable,
            address,
            message: "it has not told in time how far its conversions are".to_owned(),
        }),
    }
}

/// How many tablets have the table's schema, and all that it asks for, on every node that lives and is read; and all.
pub(super) async fn built(client: &ReplicatedCatalog, catalog: &Catalog, table: &Table) -> (u32, u32) {
    let mut nodes: BTreeMap<NodeId, BTreeSet<TabletId>> = BTreeMap::new();
    let mut open: BTreeSet<TabletId> = BTreeSet::new();
    for (_, _, tablet) in table.tablets() {
        let mut lives = false;
        for replica in tablet.readable().filter(|replica| client.is_alive(replica.node)) {
            nodes.entry(replica.node).or_default().insert(tablet.id);
            lives = true;
        }
        if !lives {
            open.insert(tablet.id);
        }
    }
    let calls = nodes.into_iter().map(|(node, tablets)| async move {
        let missing = missing(client, catalog, table, node, &tablets).await;
        // What a node does not tell is not done.
        missing.unwrap_or(tablets)
    });
    open.extend(join_all(calls).await.into_iter().flatten());
    let all = table.tablets().count() as u32;
    (all - open.len() as u32, all)
}

/// Those of a node's tablets that lack something.
async fn missing(
    client: &ReplicatedCatalog,
    catalog: &Catalog,
    table: &Table,
    node: NodeId,
    tablets: &BTreeSet<TabletId>,
) -> Result<BTreeSet<TabletId>, StoreError> {
    let address = catalog.nodes.get(&node).map(|node| node.address.clone()).unwrap_or_default();
    let store = client.stores().get(node, &address)?;
    let ids: Vec<TabletId> = tablets.iter().copied().collect();
    store.adopt(&table.schema, &ids).await?;
    let reports = store.tablets().await?;
    let done: BTreeSet<TabletId> =
        reports.iter().filter(|report| report.indexes_missing == 0).map(|report| TabletId(report.tablet_id)).collect();
    Ok(tablets.difference(&done).copied().collect())
}
