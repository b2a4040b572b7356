//! Which of a tablet's replicas is asked first: to write a load, to read a query's rows. Pure.
//!
//! Neighbouring buckets begin at different nodes, and when one node is away its buckets go to both of the others in equal
//! parts. What is away moves nobody else: a bucket stays where it is read, and cached, as long as that node is there.

use xxhash_rust::xxh3::xxh3_64;

use crate::{NodeId, PartitionId};

/// Puts the nodes that hold a bucket of a partition in the order in which they are asked. The order that they come in does
/// not matter.
pub fn in_turn(partition: PartitionId, bucket: u32, nodes: &mut [NodeId]) {
    nodes.sort_unstable();
    if nodes.len() < 2 {
        return;
    }
    let turn = xxh3_64(&partition.get().to_le_bytes()).wrapping_add(u64::from(bucket));
    let count = nodes.len() as u64;
    nodes.rotate_left((turn % count) as usize);
    if (turn / count) % 2 == 1 {
        nodes[1..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn order(partition: u64, bucket: u32, nodes: &[u64]) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        in_turn(PartitionId(partition), bucket, &mut nodes);
        nodes
    }

    fn counted(chosen: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, usize> {
        chosen.fold(BTreeMap::new(), |mut counts, node| {
            *counts.entry(node).or_default() += 1;
            counts
        })
    }

    #[test]
    fn buckets_are_spread_evenly_also_while_a_node_is_away() {
        for partition in 0..20 {
            let first = counted((0..12).map(|bucket| order(partition, bucket, &[5, 1, 9])[0]));
            assert_eq!(first.values().copied().collect::<Vec<_>>(), [4, 4, 4]);
            let without_9 = |bucket| order(partition, bucket, &[5, 1, 9]).into_iter().find(|node| *node != NodeId(9));
            let first = counted((0..12).filter_map(without_9));
            assert_eq!(first.values().copied().collect::<Vec<_>>(), [6, 6]);
        }
    }

    #[test]
    fn partitions_of_one_bucket_are_spread() {
        let first = counted((0..300).map(|partition| order(partition, 0, &[1, 2, 3])[0]));
        assert!(first.len() == 3 && first.values().all(|count| (70..130).contains(count)), "{first:?}");
    }

    proptest! {
        #[test]
        fn an_order_has_every_node_once_and_is_always_the_same(
            partition in any::<u64>(), bucket in any::<u32>(), nodes in prop::collection::btree_set(any::<u64>(), 0..6),
        ) {
            let nodes: Vec<u64> = nodes.into_iter().collect();
            let ordered = order(partition, bucket, &nodes);
            prop_assert_eq!(ordered.len(), nodes.len());
            let again: BTreeSet<u64> = ordered.iter().map(|node| node.get()).collect();
            prop_assert_eq!(again.into_iter().collect::<Vec<_>>(), nodes.clone());
            let reversed: Vec<u64> = nodes.into_iter().rev().collect();
            prop_assert_eq!(order(partition, bucket, &reversed), ordered);
        }
    }
}
