//! How much the tablets of partitions want to be compacted, as their storage nodes tell.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tarn_catalog::Partition;
use tarn_proto::storage::StoreError;
use tarn_proto::wire::TabletReport;
use tarn_proto::{NodeId, TabletId};
use tokio::time::timeout;

use crate::session::SessionContext;

/// What else a statement shows does not wait longer for a node that may be down.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The scores of some tablets: the sorted runs that a read has to merge.
#[derive(Debug, PartialEq)]
pub struct Scores {
    pub average: f64,
    /// The upper one of two.
    pub median: u64,
    pub most: u64,
}

impl Scores {
    /// None of none.
    pub fn of(scores: impl Iterator<Item = u64>) -> Option<Self> {
        let mut scores: Vec<u64> = scores.collect();
        scores.sort_unstable();
        let most = *scores.last()?;
        let average = scores.iter().sum::<u64>() as f64 / scores.len() as f64;
        Some(Self { average, median: scores[scores.len() / 2], most })
    }
}

/// The score of each tablet: the worst one among its replicas. Those of nodes that do not answer are not known.
pub async fn compaction_scores(context: &SessionContext, partitions: &[Arc<Partition>]) -> HashMap<TabletId, u64> {
    let tablets = || partitions.iter().flat_map(|partition| partition.tablets.iter());
    let wanted: BTreeSet<TabletId> = tablets().map(|tablet| tablet.id).collect();
    let nodes: BTreeSet<NodeId> = tablets().flat_map(|tablet| tablet.replicas.iter().map(|r| r.node)).collect();
    let answers = join_all(nodes.into_iter().map(|node| timeout(ANSWER_WITHIN, reports(context, node)))).await;
    let mut scores = HashMap::new();
    for report in answers.into_iter().flatten().flatten().flatten() {
        let tablet = TabletId(report.tablet_id);
        if wanted.contains(&tablet) {
            let score = scores.entry(tablet).or_insert(0);
            *score = report.compaction_score.max(*score);
        }
    }
    scores
}

async fn reports(context: &SessionContext, node: NodeId) -> Result<Vec<TabletReport>, StoreError> {
    let Some(node) = context.catalog.nodes.get(&node) else { return Ok(Vec::new()) };
    context.shared.catalog.stores().get(node.id, &node.address)?.tablets().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_as_far_behind_as_its_tablets() {
        assert_eq!(Scores::of(std::iter::empty()), None);
        let scores = Scores::of([9, 1, 2, 4].into_iter());
        assert_eq!(scores, Some(Scores { average: 4.0, median: 4, most: 9 }));
    }
}
