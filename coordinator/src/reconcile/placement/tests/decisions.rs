//! Single decisions.

use super::*;

fn add(tablet: TabletId, node: NodeId, replaces: Option<NodeId>) -> AddReplica {
    AddReplica { tablet, node, replaces }
}

#[test]
fn a_silent_node_is_waited_for_and_a_lost_one_is_replaced() {
    let mut world = World::new(&["", "", "", ""]);
    let table = world.table(1, 3, None);
    let tablet = world.partition(table).tablets[0].clone();
    let spare = world.nodes().into_iter().find(|node| tablet.replica(*node).is_none()).unwrap();
    let lost = tablet.replicas[1].node;
    world.set_life(lost, Life::Silent);
    assert!(world.round().is_empty());
    world.set_life(lost, Life::Lost);
    assert_eq!(world.round().add, [add(tablet.id, spare, Some(lost))]);
    assert!(world.round().is_empty(), "it is under way");
    world.fill(&BTreeSet::new());
    let nodes: BTreeSet<NodeId> = world.partition(table).tablets[0].nodes().collect();
    assert!(nodes.contains(&spare) && !nodes.contains(&lost));
}

#[test]
fn a_replica_that_joins_on_a_lost_node_is_given_up_for_another() {
    let mut world = World::new(&["", "", "", "", ""]);
    let table = world.table(1, 3, None);
    let tablet = world.partition(table).tablets[0].clone();
    world.set_life(tablet.replicas[0].node, Life::Lost);
    let [first] = world.round().add[..] else { panic!("not one") };
    world.set_life(first.node, Life::Lost);
    let plan = world.round();
    assert_eq!(plan.remove, [(tablet.id, first.node)]);
    assert!(matches!(plan.add[..], [second] if second.node != first.node), "{plan:?}");
}

#[test]
fn nothing_is_made_without_a_replica_to_make_it_from() {
    let mut world = World::new(&["", "", ""]);
    let table = world.table(1, 2, None);
    let tablet = world.partition(table).tablets[0].clone();
    tablet.nodes().for_each(|node| world.set_life(node, Life::Lost));
    assert!(world.round().is_empty());
}

#[test]
fn a_replica_goes_to_a_location_of_its_own() {
    let mut world = World::new(&["rack:a", "rack:b", "rack:c"]);
    let table = world.table(4, 3, None);
    let near = world.add_node("rack:a");
    let far = world.add_node("rack:b");
    let lost = world.nodes()[1];
    world.set_life(lost, Life::Lost);
    let plan = world.round();
    assert!(plan.add.iter().all(|add| add.node == far && add.replaces == Some(lost)), "{plan:?} with {near}");
    assert_eq!(plan.add.len(), world.partition(table).tablets.len());
}

#[test]
fn replicas_that_share_a_location_part_when_there_is_another() {
    let mut world = World::new(&["rack:a", "rack:a"]);
    let table = world.table(3, 2, None);
    assert!(world.round().is_empty());
    let other = world.add_node("rack:b");
    world.settle();
    for tablet in world.partition(table).tablets {
        assert!(tablet.replica(other).is_some(), "{tablet:?}");
    }
}

#[test]
fn a_drained_node_ends_empty_and_gets_nothing() {
    let mut world = World::new(&["", "", "", ""]);
    for replication in [1, 2, 3] {
        let table = world.table(6, replication, None);
        world.load(table, &|_| 10);
    }
    let drained = world.nodes()[0];
    world.drain(drained, true);
    world.settle();
    world.check_settled();
    assert_eq!(world.count(drained), 0);
    assert!(cycle(&world.catalog, &world.health).nodes().all(|node| node != drained));
    world.drain(drained, false);
    world.settle();
    assert!(world.count(drained) > 0);
}

#[test]
fn a_full_disk_gets_no_replica_while_there_is_another() {
    let mut world = World::new(&["", "", ""]);
    let full = world.nodes()[0];
    world.set_disk(full, Disk::Full);
    let found: BTreeSet<NodeId> = cycle(&world.catalog, &world.health).nodes().collect();
    assert_eq!(found, world.nodes()[1..].iter().copied().collect());
    let table = world.table(4, 2, None);
    assert!(world.partition(table).tablets.iter().all(|tablet| tablet.replica(full).is_none()));
    for node in world.nodes() {
        world.set_disk(node, Disk::Full);
    }
    assert_eq!(cycle(&world.catalog, &world.health).cycle, world.nodes(), "loads tell that there is no space");
}

#[test]
fn a_disk_that_fills_up_gets_what_no_other_can_take() {
    let mut world = World::new(&["", "", "", ""]);
    let nodes = world.nodes();
    let low = nodes[0];
    world.set_disk(low, Disk::Low);
    let placement = cycle(&world.catalog, &world.health);
    assert_eq!((placement.last, placement.cycle.contains(&low)), (vec![low], false));
    let (few, all) = (world.table(6, 3, None), world.table(6, 4, None));
    assert!(world.partition(few).tablets.iter().all(|tablet| tablet.replica(low).is_none()));
    assert!(world.partition(all).tablets.iter().all(|tablet| tablet.replica(low).is_some()));
    // Nor does it get more to be as full as the others.
    world.settle();
    assert_eq!(world.count(low), 6);
    world.set_life(nodes[1], Life::Lost);
    let plan = world.round();
    assert!(!plan.add.is_empty() && plan.add.iter().all(|add| add.node == low), "{plan:?}");
    world.set_disk(low, Disk::Full);
    let plan = world.round();
    assert!(plan.add.is_empty() && !plan.remove.is_empty(), "a full one is not filled: {plan:?}");
}

#[test]
fn a_repair_waits_for_a_busy_node_rather_than_fill_a_disk_up() {
    let mut world = World::new(&["", "", ""]);
    world.table(40, 2, None);
    let nodes = world.nodes();
    let (roomy, low) = (world.add_node(""), world.add_node(""));
    world.set_disk(low, Disk::Low);
    world.limits.balance = false;
    world.set_life(nodes[0], Life::Lost);
    world.settle();
    assert_eq!(world.count(low), 0);
    assert!(world.count(roomy) > 0);
}

#[test]
fn the_replicas_of_a_table_are_at_its_locations() {
    let mut world = World::new(&["rack:r0", "rack:r0", "rack:r1", "rack:r2", "zone:r0", ""]);
    let nodes = world.nodes();
    let at = |world: &World, table| -> BTreeSet<NodeId> {
        world.partition(table).tablets.iter().flat_map(|tablet| tablet.nodes().collect::<Vec<_>>()).collect()
    };
    let Response::Table(table) = world.create_at(8, 2, None, Some("rack:r0, rack:r1")) else { panic!("no table") };
    world.load(table, &|_| 10);
    assert_eq!(at(&world, table), nodes[..3].iter().copied().collect());
    world.settle();
    world.check_settled();
    let set = |world: &mut World, locations: &str| {
        let before = world.catalog.table_by_id(table).unwrap().properties.clone();
        let properties = [(LOCATION.to_owned(), locations.to_owned())].into();
        assert_eq!(world.run(Operation::SetTableProperties { table, properties, before }), Response::Done);
        world.settle();
        world.check_settled();
    };
    set(&mut world, "rack:r2,zone:*");
    assert_eq!(at(&world, table), nodes[3..5].iter().copied().collect());
    // Better elsewhere than nowhere, until the nodes that it is for are back.
    world.set_life(nodes[3], Life::Lost);
    world.settle();
    assert!(!at(&world, table).contains(&nodes[3]) && at(&world, table).contains(&nodes[4]));
    world.set_life(nodes[3], Life::Alive);
    world.settle();
    assert_eq!(at(&world, table), nodes[3..5].iter().copied().collect());
    set(&mut world, "*");
    assert!(at(&world, table).len() > 4);
}

#[test]
fn a_table_that_is_not_aware_of_locations_is_spread_over_nodes_alone() {
    let mut world = World::new(&["rack:r0", "rack:r0", "rack:r1"]);
    let Response::Table(table) = world.create_at(9, 2, None, Some("")) else { panic!("no table") };
    world.settle();
    assert!(world.nodes().into_iter().all(|node| world.count(node) == 6));
    assert!(world.partition(table).tablets.iter().any(|tablet| tablet.replica(world.nodes()[2]).is_none()));
}

#[test]
fn copies_follow_the_number_that_the_table_asks_for() {
    let mut world = World::new(&["", "", "", ""]);
    let table = world.table(3, 1, None);
    world.load(table, &|_| 10);
    for replication in [3, 2, 4, 1] {
        assert_eq!(world.run(Operation::SetReplication { table, replication }), Response::Done);
        world.settle();
        world.check_settled();
    }
}

#[test]
fn neighbours_in_the_cycle_are_at_other_locations_and_light_nodes_come_twice() {
    let mut world = World::new(&["rack:a", "rack:a", "rack:b", "rack:b", "rack:c"]);
    let nodes = world.nodes();
    let found = cycle(&world.catalog, &world.health).cycle;
    let expected: Vec<NodeId> = [0, 2, 4, 1, 3].map(|n: usize| nodes[n]).into();
    assert_eq!(found[..5], expected);
    let table = world.table(20, 2, None);
    world.load(table, &|_| 10);
    let new = world.add_node("rack:c");
    let found = cycle(&world.catalog, &world.health).cycle;
    assert_eq!(found.iter().filter(|node| **node == new).count(), 2);
}

#[test]
fn buckets_of_a_group_lie_together_in_all_its_tables_and_move_together() {
    let mut world = World::new(&["", "", "", ""]);
    let tables: Vec<TableId> = (0..3).map(|_| world.table(4, 2, Some("g"))).collect();
    tables.iter().for_each(|table| world.load(*table, &|_| 10));
    let group = world.catalog.colocation_group("g").unwrap().clone();
    assert!(world.catalog.is_stable(&group));
    let lost = group.sequence[0][0];
    world.set_life(lost, Life::Lost);
    let plan = world.round();
    assert_eq!(plan.buckets.len(), 1);
    assert!(!world.catalog.is_stable(world.catalog.colocation_group("g").unwrap()));
    world.settle();
    let group = world.catalog.colocation_group("g").unwrap();
    assert!(world.catalog.is_stable(group), "{group:?}");
    assert!(group.sequence.iter().all(|nodes| nodes.len() == 2 && !nodes.contains(&lost)));
    for table in tables {
        for (tablet, nodes) in world.partition(table).tablets.iter().zip(&group.sequence) {
            let found: BTreeSet<NodeId> = tablet.nodes().collect();
            assert_eq!(found, nodes.iter().copied().collect());
        }
    }
}

#[test]
fn a_group_is_made_of_as_many_copies_as_its_first_table_asks_for() {
    let mut world = World::new(&["", "", ""]);
    let table = world.table(4, 3, None);
    world.load(table, &|_| 10);
    assert_eq!(world.run(Operation::SetReplication { table, replication: 1 }), Response::Done);
    // Before the copies that are too many have gone.
    let placement = world.nodes().into();
    let join = Operation::SetColocation { table, group: Some("g".to_owned()), placement };
    assert_eq!(world.run(join), Response::Done);
    // One that lives is not given up for one that is silent.
    let silent = world.catalog.colocation_group("g").unwrap().sequence[0][0];
    world.set_life(silent, Life::Silent);
    let first = world.partition(table).tablets[0].id;
    assert!(world.round().remove.iter().all(|(tablet, _)| *tablet != first));
    world.set_life(silent, Life::Alive);
    world.settle();
    world.check_settled();
}

#[test]
fn a_table_that_joins_a_group_moves_to_it() {
    let mut world = World::new(&["", "", "", "", ""]);
    world.table(5, 2, Some("g"));
    let table = world.table(5, 2, None);
    world.load(table, &|_| 10);
    let placement = world.nodes().into();
    let join = Operation::SetColocation { table, group: Some("g".to_owned()), placement };
    assert_eq!(world.run(join), Response::Done);
    assert!(!world.catalog.is_stable(world.catalog.colocation_group("g").unwrap()));
    world.settle();
    world.check_settled();
}
