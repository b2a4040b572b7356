//! Random events.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    AddNode(u8),
    Silence(u8),
    Lose(u8),
    Revive(u8),
    Drain(u8),
    Undrain(u8),
    Locate(u8, u8),
    Fill(u8, Disk),
    Damage(u8, u8),
    Create { buckets: u32, replication: u32, group: u8, locations: u8 },
    Drop(u8),
    Load(u8, u8),
    Replicate(u8, u32),
    Group(u8, u8),
    Restrict(u8, u8),
    Rounds { count: u8, lazy: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => any::<u8>().prop_map(Event::AddNode),
        2 => any::<u8>().prop_map(Event::Silence),
        3 => any::<u8>().prop_map(Event::Lose),
        3 => any::<u8>().prop_map(Event::Revive),
        2 => any::<u8>().prop_map(Event::Drain),
        2 => any::<u8>().prop_map(Event::Undrain),
        1 => any::<(u8, u8)>().prop_map(|(node, location)| Event::Locate(node, location)),
        2 => (any::<u8>(), prop::sample::select(vec![Disk::Roomy, Disk::Low, Disk::Full]))
            .prop_map(|(node, disk)| Event::Fill(node, disk)),
        1 => any::<(u8, u8)>().prop_map(|(table, tablet)| Event::Damage(table, tablet)),
        3 => (1u32..7, 1u32..4, 0u8..4, any::<u8>()).prop_map(|(buckets, replication, group, locations)| {
            Event::Create { buckets, replication, group, locations }
        }),
        1 => any::<u8>().prop_map(Event::Drop),
        4 => any::<(u8, u8)>().prop_map(|(table, bytes)| Event::Load(table, bytes)),
        1 => (any::<u8>(), 1u32..4).prop_map(|(table, replication)| Event::Replicate(table, replication)),
        1 => any::<(u8, u8)>().prop_map(|(table, group)| Event::Group(table, group)),
        1 => any::<(u8, u8)>().prop_map(|(table, locations)| Event::Restrict(table, locations)),
        6 => (1u8..4, any::<u8>()).prop_map(|(count, lazy)| Event::Rounds { count, lazy }),
    ]
}

fn one<T: Copy>(all: &[T], n: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[n as usize % all.len()])
}

/// `rack:r0` to `rack:r2`, or none.
fn location(n: u8) -> String {
    match n % 4 {
        3 => String::new(),
        n => format!("rack:r{n}"),
    }
}

/// Where the replicas of a table are for, if it says.
fn locations(n: u8) -> Option<&'static str> {
    ["rack:r0", "rack:r0, rack:r1", "rack:*", "", "zone:r0"].get(n as usize % 8).copied()
}

impl World {
    fn happen(&mut self, event: &Event) {
        let nodes = self.nodes();
        let table = |world: &Self, n| one(&world.tables(), n);
        match *event {
            Event::AddNode(at) if nodes.len() < 9 => {
                self.add_node(&location(at));
            }
            Event::AddNode(_) => {}
            Event::Silence(n) => self.set_life(one(&nodes, n).unwrap(), Life::Silent),
            Event::Lose(n) => self.set_life(one(&nodes, n).unwrap(), Life::Lost),
            Event::Revive(n) => self.set_life(one(&nodes, n).unwrap(), Life::Alive),
            Event::Drain(n) => self.drain(one(&nodes, n).unwrap(), true),
            Event::Undrain(n) => self.drain(one(&nodes, n).unwrap(), false),
            Event::Locate(n, at) => {
                let location = Some(location(at)).filter(|location| !location.is_empty());
                self.run(Operation::SetNodeLocation { node: one(&nodes, n).unwrap(), location });
            }
            Event::Fill(n, disk) => self.set_disk(one(&nodes, n).unwrap(), disk),
            Event::Damage(t, n) => {
                let Some(table) = table(self, t) else { return };
                let tablet = self.partition(table).tablets[0].clone();
                let node = one(&tablet.nodes().collect::<Vec<_>>(), n).unwrap();
                let behind = self.run(Operation::ReplicasBehind { replicas: vec![(tablet.id, node)] });
                if behind == (Response::Replicas { refused: Vec::new() }) {
                    self.health.damaged.insert((tablet.id, node));
                }
            }
            Event::Create { buckets, replication, group, locations } => {
                // Two groups, and tables of none.
                let group = ["g", "h"].get(group as usize).copied();
                // Most are for any; those in groups have to be.
                let locations = self::locations(locations).filter(|_| group.is_none());
                self.create_at(buckets, replication, group, locations);
            }
            Event::Drop(t) => {
                let Some(table) = table(self, t) else { return };
                let name = self.catalog.table_by_id(table).unwrap().name.clone();
                let database = self.database;
                self.run(Operation::DropTable { database, name, if_exists: false, only: None });
            }
            Event::Load(t, bytes) => {
                let Some(table) = table(self, t) else { return };
                self.load(table, &|bucket| u64::from(bytes) * (1 + u64::from(bucket % 3)));
            }
            Event::Replicate(t, replication) => {
                let Some(table) = table(self, t) else { return };
                self.run(Operation::SetReplication { table, replication });
            }
            Event::Group(t, group) => {
                let Some(table) = table(self, t) else { return };
                let group = [Some("g"), Some("h"), None][group as usize % 3].map(str::to_owned);
                self.run(Operation::SetColocation { table, group, placement: nodes.into() });
            }
            Event::Restrict(t, at) => {
                let Some(table) = table(self, t) else { return };
                let before = self.catalog.table_by_id(table).unwrap().properties.clone();
                let properties = [(LOCATION.to_owned(), locations(at).unwrap_or("*").to_owned())].into();
                self.run(Operation::SetTableProperties { table, properties, before });
            }
            Event::Rounds { count, lazy } => {
                let lazy =
                    nodes.iter().enumerate().filter(|(n, _)| lazy >> (n % 8) & 1 == 1).map(|(_, n)| *n).collect();
                for _ in 0..count {
                    self.round();
                    self.fill(&lazy);
                }
            }
        }
        self.check();
    }

    /// All nodes come back, and so many are left that all replicas find one.
    fn recover(&mut self) {
        for node in self.nodes() {
            self.health.nodes.insert(node, NodeHealth { life: Life::Alive, ..NodeHealth::default() });
        }
        self.health.damaged.clear();
        let draining =
            self.catalog.storage_nodes().filter(|node| node.draining).map(|node| node.id).collect::<Vec<_>>();
        if self.nodes().len() - draining.len() < 3 {
            draining.into_iter().for_each(|node| self.drain(node, false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_quorum_is_lost_and_in_the_end_every_replica_is_where_it_should_be(
        locations in prop::collection::vec(any::<u8>(), 3..7),
        located: bool,
        events in prop::collection::vec(event(), 1..60),
    ) {
        let locations: Vec<String> =
            locations.into_iter().map(|n| if located { location(n) } else { String::new() }).collect();
        let locations: Vec<&str> = locations.iter().map(String::as_str).collect();
        let mut world = World::new(&locations);
        for event in &events {
            world.happen(event);
        }
        world.recover();
        world.settle();
        world.check_settled();
        let settled = world.catalog.clone();
        prop_assert!(world.round().is_empty());
        prop_assert_eq!(&settled.relations, &world.catalog.relations);
    }

    #[test]
    fn new_nodes_are_filled_with_few_moves_and_no_replica_moves_twice(
        old in 3usize..6,
        new in 1usize..4,
        tables in prop::collection::vec((1u32..20, 1u32..4), 1..5),
    ) {
        let mut world = World::new(&vec![""; old]);
        for (buckets, replication) in tables {
            let table = world.table(buckets, replication, None);
            world.load(table, &|_| 100);
        }
        let replicas = world.replicas().count();
        (0..new).for_each(|_| { world.add_node(""); });
        world.settle();
        world.check_settled();
        let counts: Vec<usize> = world.nodes().iter().map(|node| world.count(*node)).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        let mean = replicas as f64 / (old + new) as f64;
        prop_assert!((most - least) as f64 <= (mean * 0.05).max(1.0), "{counts:?}");
        let needed: f64 = counts[old..].iter().map(|count| *count as f64).sum();
        // What was uneven before may be made even with it.
        prop_assert!(world.added as f64 <= needed + replicas as f64 * 0.25 + 3.0, "{} moves for {counts:?}", world.added);
    }

    #[test]
    fn tablets_of_any_size_fill_disks_of_any_size_alike(
        sizes in prop::collection::vec(1u64..100, 30..80),
        disks in prop::collection::vec(1u64..4, 3..7),
    ) {
        let mut world = World::new(&vec![""; disks.len()]);
        for (node, disk) in world.nodes().into_iter().zip(&disks) {
            world.health.nodes.get_mut(&node).unwrap().disk_total = disk << 30;
        }
        let table = world.table(sizes.len() as u32, 1, None);
        world.load(table, &|bucket| sizes[bucket as usize]);
        let before = spread(&world, &disks);
        world.settle();
        world.check_settled();
        prop_assert!(world.added <= sizes.len(), "{} moves", world.added);
        prop_assert!(spread(&world, &disks) <= before + 1e-9, "{before} before");
    }
}

/// What balancing makes less: the sum of the squares of the nodes' shares.
fn spread(world: &World, disks: &[u64]) -> f64 {
    let nodes = world.nodes();
    let average = disks.iter().sum::<u64>() as f64 / disks.len() as f64;
    let (tablets, bytes): (usize, u64) =
        nodes.iter().fold((0, 0), |(t, b), node| (t + world.count(*node), b + world.bytes(*node)));
    let count = nodes.len() as f64;
    let of = |(node, disk): (&NodeId, &u64)| {
        let (x, share) = (world.count(*node) as f64 * count / tablets as f64, *disk as f64 / average);
        let y = world.bytes(*node) as f64 * count / bytes as f64 / share;
        x * x + share * y * y
    };
    nodes.iter().zip(disks).map(of).sum()
}
