use std::collections::BTreeMap;

use proptest::prelude::*;
use tarn_catalog::command::VolumeSpec;
use tarn_catalog::{Command, Context, Response, Role, VolumeKind};
use tarn_proto::wire::HeartbeatRequest;

use super::*;
use crate::ddl::spec_of;

const NODES: u64 = 4;

fn apply(catalog: &mut Catalog, operation: Operation) -> Response {
    let command = Command { request_id: u128::from(catalog.last_id) << 64 | catalog.requests.len() as u128, operation };
    catalog.apply(&command, &Context { now_ms: 0 })
}

/// A cluster with a table of some tablets on a volume.
fn cluster(buckets: u64) -> Catalog {
    let mut catalog = Catalog::default();
    for i in 0..NODES {
        let address = format!("s{i}:1");
        apply(&mut catalog, Operation::RegisterNode { role: Role::Storage, address, node_id: None });
    }
    apply(&mut catalog, Operation::CreateDatabase { name: "d".to_owned(), if_not_exists: false });
    let volume = VolumeSpec {
        name: "v".to_owned(),
        kind: VolumeKind::Local,
        location: "file:///v".to_owned(),
        properties: BTreeMap::new(),
        enabled: true,
        comment: String::new(),
    };
    assert_eq!(apply(&mut catalog, Operation::CreateVolume { volume, if_not_exists: false }), Response::Done);
    let mut spec = spec_of(&format!("create table t (k int) distributed by hash(k) buckets {buckets}"));
    spec.properties.insert("storage_volume".to_owned(), "v".to_owned());
    let database = catalog.database("d").unwrap().id;
    let placement = catalog.storage_nodes().map(|node| node.id).collect();
    let create = Operation::CreateTable { database, table: Box::new(spec), if_not_exists: false, placement };
    assert!(matches!(apply(&mut catalog, create), Response::Table(_)));
    catalog
}

fn counts(catalog: &Catalog) -> BTreeMap<NodeId, usize> {
    let mut counts = BTreeMap::new();
    for (_, _, tablet) in tables(catalog).flat_map(|(table, _)| table.tablets()) {
        *counts.entry(owner(tablet).unwrap()).or_default() += 1;
    }
    counts
}

fn health(catalog: &Catalog, states: &[u8]) -> Health {
    let mut health = Health::default();
    for (node, state) in catalog.storage_nodes().zip(states) {
        match state {
            0 => health.usable.insert(node.id),
            1 => health.draining.insert(node.id),
            2 => health.waiting.insert(node.id),
            _ => false,
        };
    }
    health
}

proptest! {
    #[test]
    fn every_tablet_comes_to_a_node_that_is_usable_and_they_are_balanced(
        buckets in 1u64..40,
        histories in prop::collection::vec(prop::collection::vec(0u8..4, NODES as usize), 1..5),
    ) {
        let mut catalog = cluster(buckets);
        for states in histories {
            let health = health(&catalog, &states);
            let mut rounds = 0;
            loop {
                let moves = moves(&catalog, &health);
                prop_assert!(moves.iter().all(|one| health.usable.contains(&one.to)));
                if moves.is_empty() {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 100, "moves never end");
                apply(&mut catalog, Operation::MoveOwners { moves });
            }
            let counts = counts(&catalog);
            if health.usable.is_empty() {
                continue;
            }
            prop_assert!(counts.keys().all(|node| health.usable.contains(node) || health.waiting.contains(node)));
            let usable: BTreeMap<NodeId, usize> =
                health.usable.iter().map(|node| (*node, counts.get(node).copied().unwrap_or_default())).collect();
            prop_assert!(spread(&usable) <= tolerance(&usable), "{usable:?}");
        }
    }

    #[test]
    fn balancing_moves_no_tablet_twice_and_no_more_than_it_has_to(
        buckets in 1u64..400,
        owners in prop::collection::vec(0u64..NODES, 400),
    ) {
        let mut catalog = cluster(buckets);
        let nodes: Vec<NodeId> = catalog.storage_nodes().map(|node| node.id).collect();
        let all: Vec<(TabletId, u64)> = catalog.tablets.keys().map(|id| (*id, catalog.tablet(*id).unwrap().1.epoch)).collect();
        let scattered = all.iter().zip(owners).map(|((tablet, epoch), owner)| {
            OwnerMove { tablet: *tablet, epoch: *epoch, to: nodes[owner as usize] }
        });
        apply(&mut catalog, Operation::MoveOwners { moves: scattered.collect() });
        let health = health(&catalog, &[0; NODES as usize]);
        let everywhere = |catalog: &Catalog| {
            let counts = counts(catalog);
            nodes.iter().map(|node| (*node, counts.get(node).copied().unwrap_or_default())).collect::<BTreeMap<_, _>>()
        };
        let before = everywhere(&catalog);
        let mut moved = BTreeSet::new();
        loop {
            let moves = moves(&catalog, &health);
            if moves.is_empty() {
                break;
            }
            let all_new = moves.iter().all(|one| moved.insert(one.tablet));
            prop_assert!(all_new, "a tablet moves twice: {moves:?}");
            apply(&mut catalog, Operation::MoveOwners { moves });
        }
        let after = everywhere(&catalog);
        prop_assert!(spread(&after) <= tolerance(&after), "{after:?}");
        prop_assert!(spread(&before) > tolerance(&before) || moved.is_empty(), "{before:?} was balanced");
        // A node gives or gets, never both.
        let gained: usize = after.iter().map(|(node, count)| count.saturating_sub(before[node])).sum();
        prop_assert_eq!(gained, moved.len());
    }
}

fn spread(counts: &BTreeMap<NodeId, usize>) -> usize {
    counts.values().max().unwrap() - counts.values().min().unwrap()
}

#[test]
fn the_tablets_of_a_table_just_made_stay_where_they_are() {
    let catalog = cluster(3 * NODES + 2);
    assert!(moves(&catalog, &health(&catalog, &[0; NODES as usize])).is_empty());
    let of = |each: &[usize]| tolerance(&(1..).map(NodeId).zip(each.iter().copied()).collect());
    assert_eq!([of(&[0, 0]), of(&[30, 50]), of(&[90, 110]), of(&[1000, 1000])], [4, 4, 10, 100]);
}

#[test]
fn a_move_from_an_older_epoch_does_nothing_and_each_counts_the_epoch() {
    let mut catalog = cluster(1);
    let tablet = catalog.tablets.keys().next().copied().unwrap();
    let at = |catalog: &Catalog| {
        (owner(catalog.tablet(tablet).unwrap().1).unwrap(), catalog.tablet(tablet).unwrap().1.epoch)
    };
    let (first, epoch) = at(&catalog);
    let others: Vec<NodeId> = catalog.storage_nodes().map(|node| node.id).filter(|node| *node != first).collect();
    let moved = |to, epoch| Operation::MoveOwners { moves: vec![OwnerMove { tablet, epoch, to }] };
    apply(&mut catalog, moved(others[0], epoch));
    assert_eq!(at(&catalog), (others[0], epoch + 1));
    apply(&mut catalog, moved(others[1], epoch));
    assert_eq!(at(&catalog), (others[0], epoch + 1), "the tablet has moved since that move was decided on");
}

#[test]
fn a_node_that_a_new_leader_has_not_heard_keeps_its_tablets_for_a_while() {
    let catalog = cluster(1);
    let started = Instant::now();
    let mut members = Members::default();
    let first = catalog.storage_nodes().next().unwrap().id;
    members.heard(HeartbeatRequest { node_id: first.get(), ..HeartbeatRequest::default() }, started);
    let at = |after: Duration| Health::of(&catalog, &members, started, started + after);
    assert_eq!((at(Duration::ZERO).usable.len(), at(Duration::ZERO).waiting.len()), (1, NODES as usize - 1));
    let later = at(DEAD_AFTER + Duration::from_millis(1));
    assert_eq!((later.usable.len(), later.waiting.len()), (0, 0));
}
