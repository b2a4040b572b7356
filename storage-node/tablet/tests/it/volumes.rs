//! Tablets on a storage volume against a naive map: nodes that own them in turn, go away, lose their disks, or go on as if
//! they still owned what others do, over a store that fails and answers late.

mod faults;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tarn_proto::storage::{CompactionScope, LoadSpec, OpenTablet, PublishTablet};
use tarn_proto::volume::{Volume, VolumePool, VolumeStore};
use tarn_proto::{TableSchema, TxnId, Version, VolumeId};
use tarn_tablet::{Engine, Error, Options, Stop};

use crate::fixture::{TABLET, close};
use crate::primary::{Operation, apply, batch, rows, table, write};
use faults::{Faulty, Weather};

const NODES: usize = 3;

/// Which node is asked.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// The owner, which has just been told (again) that it is.
    Owner,
    /// Whether it is the owner or not.
    Node(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Load(Who, Vec<Vec<Operation>>),
    /// To publish the next load.
    Publish(Who),
    /// The tablet gets another owner, which is told.
    Move(usize),
    /// The owner is told (again) that it owns the tablet.
    Open,
    Compact(Who),
    /// Removes all that nobody needs, as a node sees it.
    Collect(Who),
    /// A node starts anew, with its disk or without.
    Restart(usize, bool),
    Weather(u64, u64, u64),
    /// Writes arrive that were given up.
    Arrive,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = (0i64..12, prop::option::weighted(0.7, 0i64..1000));
    let batches = prop::collection::vec(prop::collection::vec(operation, 1..8), 1..3);
    let node = 0..NODES;
    // Who does not own the tablet refuses: most are to do something.
    let who = prop_oneof![4 => Just(Who::Owner), 1 => node.clone().prop_map(Who::Node)];
    let step = prop_oneof![
        8 => (who.clone(), batches).prop_map(|(who, batches)| Step::Load(who, batches)),
        7 => who.clone().prop_map(Step::Publish),
        3 => node.clone().prop_map(Step::Move),
        2 => Just(Step::Open),
        3 => who.clone().prop_map(Step::Compact),
        2 => who.prop_map(Step::Collect),
        1 => (node, any::<bool>()).prop_map(|(node, wiped)| Step::Restart(node, wiped)),
        2 => (0u64..30, 0u64..20, 0u64..20).prop_map(|(refused, unanswered, late)| Step::Weather(refused, unanswered, late)),
        1 => Just(Step::Weather(100, 0, 0)),
        3 => Just(Step::Weather(0, 0, 0)),
        2 => Just(Step::Arrive),
    ];
    prop::collection::vec(step, 1..40)
}

/// How many steps of each kind there were, and how many of them have done something.
type Coverage = BTreeMap<&'static str, (usize, usize)>;

struct Node {
    data: tempfile::TempDir,
    engine: Option<Arc<Engine>>,
}

struct World {
    store: Arc<Faulty>,
    schema: TableSchema,
    nodes: Vec<Node>,
    /// What the catalog says.
    owner: usize,
    epoch: u64,
    next_txn: u64,
    /// Loads that were acknowledged, and so committed, in this order.
    committed: VecDeque<(u64, Vec<Vec<Operation>>)>,
    /// What each visible version holds, from the first on.
    versions: Vec<BTreeMap<i64, i64>>,
    coverage: Coverage,
}

fn volume() -> Volume {
    Volume { id: VolumeId(1), name: "v".into(), location: "memory:///v".into(), properties: BTreeMap::new() }
}

fn open_engine(store: &Arc<Faulty>, data: &std::path::Path) -> Arc<Engine> {
    let pool = VolumePool::default();
    pool.insert(&volume(), Arc::new(VolumeStore::over(store.clone(), "memory:/", Duration::ZERO)));
    Engine::open(Options {
        segment_bytes: 1,
        volumes: pool,
        retention: Duration::ZERO,
        volume_collect: Duration::ZERO,
        volume_grace: Duration::ZERO,
        arrival_wait: Duration::ZERO,
        // Nearly nothing: what is needed is fetched.
        volume_cache_bytes: 2000,
        ..Options::new(data)
    })
    .unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Faulty::seeded(seed);
        let node = |_| {
            let data = tempfile::tempdir().unwrap();
            let engine = Some(open_engine(&store, data.path()));
            Node { data, engine }
        };
        let nodes = (0..NODES).map(node).collect();
        let mut world = Self {
            nodes,
            schema: table(false),
            owner: 0,
            epoch: 1,
            next_txn: 100,
            committed: VecDeque::new(),
            versions: vec![BTreeMap::new()],
            coverage: Coverage::new(),
            store,
        };
        world.open().unwrap();
        world
    }

    fn engine(&self, node: usize) -> &Arc<Engine> {
        self.nodes[node].engine.as_ref().unwrap()
    }

    fn visible(&self) -> u64 {
        self.versions.len() as u64
    }

    fn open(&mut self) -> Result<(), Error> {
        let open = OpenTablet { tablet: TABLET, epoch: self.epoch, version: Version(self.visible()) };
        self.engine(self.owner).open_tablets(&self.schema, &volume(), &[open])
    }

    /// Asks a node to publish the next load. What it answers is believed, whoever it is.
    fn publish(&mut self, node: usize) -> bool {
        let Some((txn, batches)) = self.committed.front().cloned() else { return false };
        let version = Version(self.visible() + 1);
        let request = PublishTablet { tablet: TABLET, version, has_rowset: true };
        match self.engine(node).publish(TxnId(txn), &[request]) {
            Ok(unpublished) if unpublished.is_empty() => {
                self.committed.pop_front();
                let mut rows = self.versions.last().cloned().unwrap_or_default();
                apply(&mut rows, &batches);
                self.versions.push(rows);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    fn asked(&mut self, who: Who) -> usize {
        match who {
            Who::Owner => {
                drop(self.open());
                self.owner
            }
            Who::Node(node) => node,
        }
    }

    fn count(&mut self, kind: &'static str, has_done: bool) {
        let (tried, done) = self.coverage.entry(kind).or_default();
        *tried += 1;
        *done += usize::from(has_done);
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Load(who, batches) => {
                let (node, txn) = (self.asked(*who), self.next_txn);
                self.next_txn += 1;
                let written = write(self.engine(node), &self.schema, txn, batches).await;
                self.count("load", written.is_ok());
                match written {
                    Ok(()) => self.committed.push_back((txn, batches.clone())),
                    Err(_) => drop(self.engine(node).abort(TxnId(txn))),
                }
            }
            Step::Publish(who) => {
                let (node, is_any) = (self.asked(*who), !self.committed.is_empty());
                let published = self.publish(node);
                if is_any {
                    self.count("publish", published);
                }
            }
            Step::Move(to) => {
                self.owner = *to;
                self.epoch += 1;
                let opened = self.open().is_ok();
                self.count("move", opened);
            }
            Step::Open => drop(self.open()),
            Step::Compact(who) => {
                let node = self.asked(*who);
                // The policy would wait for more rowsets.
                drop(self.engine(node).request_compaction(&[TABLET], CompactionScope::All));
                let compacted = self.engine(node).compact(TABLET, &Stop::default());
                self.count("compact", compacted.is_ok_and(|merged| merged.is_some()));
            }
            Step::Collect(who) => {
                let node = self.asked(*who);
                let before = self.store.names().await.len();
                let engine = self.engine(node);
                let now = Instant::now();
                drop(engine.remove_superseded(now));
                drop(engine.remove_superseded(now + Duration::from_secs(1)));
                engine.collect_volumes(now);
                let after = self.store.names().await.len();
                self.count("collect", after < before);
            }
            Step::Restart(node, wiped) => {
                close(self.nodes[*node].engine.take().unwrap());
                if *wiped {
                    self.nodes[*node].data = tempfile::tempdir().unwrap();
                }
                let engine = open_engine(&self.store, self.nodes[*node].data.path());
                self.nodes[*node].engine = Some(engine);
            }
            Step::Weather(refused, unanswered, late) => {
                self.store.set(Weather { refused: *refused, unanswered: *unanswered, late: *late });
            }
            Step::Arrive => self.store.arrive().await,
        }
    }

    /// Nobody who answers tells anything but what was committed.
    async fn check(&mut self) {
        self.store.set(Weather::default());
        for node in 0..NODES {
            for (version, expected) in (1..).zip(&self.versions) {
                if let Ok(found) = rows(self.engine(node), &self.schema, version).await {
                    assert_eq!(&found, expected, "version {version} of {} on node {node}", self.visible());
                }
            }
        }
    }

    /// When all is well again, everything that was acknowledged is there.
    async fn settle(&mut self) {
        self.store.set(Weather::default());
        self.store.arrive().await;
        for _ in 0..8 {
            if self.open().is_ok() {
                while self.publish(self.owner) {}
            }
        }
        assert!(self.committed.is_empty(), "loads cannot be published: {:?}", self.open());
        let found = rows(self.engine(self.owner), &self.schema, self.visible()).await.unwrap();
        assert_eq!(Some(&found), self.versions.last());
        self.check().await;
    }
}

#[test]
fn whoever_owns_a_tablet_and_whatever_fails_it_holds_all_that_was_acknowledged_and_nothing_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let coverage = RefCell::new(Coverage::new());
    runner
        .run(&(steps(), any::<u64>()), |(steps, seed)| {
            runtime.block_on(async {
                let mut world = World::new(seed);
                for step in &steps {
                    world.step(step).await;
                }
                for (kind, (tried, done)) in &world.coverage {
                    let mut coverage = coverage.borrow_mut();
                    let all = coverage.entry(kind).or_default();
                    *all = (all.0 + tried, all.1 + done);
                }
                world.settle().await;
            });
            Ok(())
        })
        .unwrap();
    let coverage = coverage.into_inner();
    let (tried, done) = coverage.values().fold((0, 0), |sum, kind| (sum.0 + kind.0, sum.1 + kind.1));
    assert!(done * 2 >= tried && coverage.len() == 5, "of too few steps anything came: {coverage:?}");
    assert!(coverage.values().all(|(tried, done)| done * 8 >= *tried), "of some nothing came: {coverage:?}");
}

/// A world with a load, and the operations of it.
async fn loaded() -> (World, Vec<Vec<Operation>>) {
    let mut world = World::new(1);
    let operations: Vec<Vec<Operation>> = vec![(0..50).map(|key| (key, Some(key))).collect()];
    world.step(&Step::Load(Who::Node(0), operations.clone())).await;
    assert!(world.publish(0));
    (world, operations)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_another_one_has_followed_refuses_loads_publishes_and_compactions_by_the_epochs() {
    let (mut world, operations) = loaded().await;
    // Finished before, published after.
    world.step(&Step::Load(Who::Node(0), operations.clone())).await;
    world.step(&Step::Move(1)).await;
    assert!(!world.publish(0), "the owner before must not publish");
    let refused = write(world.engine(0), &world.schema, 900, &operations).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("epoch 1") && text.contains("epoch 2"), "{text}");
    assert!(refused.kind().is_retryable(), "{text}");
    assert!(matches!(world.engine(0).compact(TABLET, &Stop::default()), Err(Error::Fenced { .. })));
    assert!(world.publish(1), "the load was acknowledged");
    world.settle().await;
    // It may own it again.
    world.step(&Step::Move(0)).await;
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_an_owner_before_finishes_later_is_found_when_it_is_published() {
    let (mut world, operations) = loaded().await;
    world.step(&Step::Move(1)).await;
    // Node 0 has not noticed: what it acknowledges counts.
    world.step(&Step::Load(Who::Node(0), operations)).await;
    assert_eq!(world.committed.len(), 1);
    assert!(world.publish(1));
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_its_disk_loses_nothing_and_what_nobody_needs_goes() {
    let (mut world, operations) = loaded().await;
    for _ in 0..4 {
        world.step(&Step::Load(Who::Node(0), operations.clone())).await;
        assert!(world.publish(0));
        world.step(&Step::Compact(Who::Node(0))).await;
    }
    world.step(&Step::Restart(0, true)).await;
    world.step(&Step::Open).await;
    world.settle().await;
    // A load that is given up, and an upload that nobody has heard of.
    write(world.engine(0), &world.schema, 800, &operations).await.unwrap();
    world.engine(0).abort(TxnId(800)).unwrap();
    let orphan = object_store::path::Path::from("5/4242_0_00000000.vortex");
    object_store::ObjectStoreExt::put(&world.store.objects, &orphan, "x".into()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        world.step(&Step::Collect(Who::Node(0))).await;
        let names = world.store.names().await;
        let manifests = names.iter().filter(|name| name.contains("/manifest/")).count();
        let segments = names.iter().filter(|name| name.ends_with(".vortex")).count();
        let live = world.engine(0).reports()[0].rowsets;
        // The newest and the two claims.
        if manifests <= 3 && segments as u64 == live && !names.iter().any(|name| name.contains("/pending/")) {
            break;
        }
        assert!(Instant::now() < deadline, "{live} rowsets, and {names:?}");
    }
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_lost_or_damaged_are_told_by_name_and_never_taken_for_an_empty_tablet() {
    let (mut world, _) = loaded().await;
    faults::damage(&world.store.objects, "00000000000000000001").await;
    world.step(&Step::Restart(0, true)).await;
    let damaged = world.open().unwrap_err();
    assert!(matches!(damaged, Error::VolumeObject { .. }) && damaged.to_string().contains("5/manifest/"), "{damaged}");
    for name in world.store.names().await {
        let path = object_store::path::Path::from(name);
        object_store::ObjectStoreExt::delete(&world.store.objects, &path).await.unwrap();
    }
    let lost = world.open().unwrap_err();
    assert!(matches!(lost, Error::LostInVolume { .. }), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_took_so_long_that_its_files_may_be_orphans_is_refused() {
    let (store, data) = (Faulty::seeded(1), tempfile::tempdir().unwrap());
    let pool = VolumePool::default();
    pool.insert(&volume(), Arc::new(VolumeStore::over(store, "memory:/", Duration::ZERO)));
    let options = Options { volumes: pool, volume_load: Duration::ZERO, ..Options::new(data.path()) };
    let (engine, schema) = (Engine::open(options).unwrap(), table(false));
    let open = OpenTablet { tablet: TABLET, epoch: 1, version: Version::FIRST };
    engine.open_tablets(&schema, &volume(), &[open]).unwrap();
    let refused = write(&engine, &schema, 9, &[vec![(1, Some(1))]]).await.unwrap_err();
    assert!(matches!(refused, Error::TooLong { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_waits_for_a_tablet_that_is_about_to_be_opened_and_not_for_ever() {
    let (store, data) = (Faulty::seeded(1), tempfile::tempdir().unwrap());
    let pool = VolumePool::default();
    pool.insert(&volume(), Arc::new(VolumeStore::over(store, "memory:/", Duration::ZERO)));
    let options = Options { volumes: pool, arrival_wait: Duration::from_secs(60), ..Options::new(data.path()) };
    let (engine, schema) = (Engine::open(options).unwrap(), table(false));
    let (loader, of) = (engine.clone(), schema.clone());
    let load = tarn_proto::task::spawn("load", async move { write(&loader, &of, 9, &[vec![(1, Some(1))]]).await });
    // It has begun, and so it waits, or it finds the tablet there.
    while engine.usage().loads == 0 {
        tokio::task::yield_now().await;
    }
    let open = OpenTablet { tablet: TABLET, epoch: 1, version: Version::FIRST };
    let (opener, of) = (engine.clone(), schema.clone());
    tokio::task::spawn_blocking(move || opener.open_tablets(&of, &volume(), &[open])).await.unwrap().unwrap();
    load.await.unwrap().unwrap();
    close(engine);
    let engine = Engine::open(Options { arrival_wait: Duration::from_millis(1), ..Options::new(data.path()) }).unwrap();
    engine.drop_tablets(&[TABLET]).unwrap().remove();
    let missing = write(&engine, &schema, 10, &[vec![(1, Some(1))]]).await.unwrap_err();
    assert!(matches!(missing, Error::UnknownTablet(TABLET)), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_tablet_goes_in_its_midst_is_told_so_and_can_be_repeated() {
    let (store, data) = (Faulty::seeded(1), tempfile::tempdir().unwrap());
    let pool = VolumePool::default();
    pool.insert(&volume(), Arc::new(VolumeStore::over(store, "memory:/", Duration::ZERO)));
    let (engine, schema) =
        (Engine::open(Options { volumes: pool, ..Options::new(data.path()) }).unwrap(), table(false));
    let open = OpenTablet { tablet: TABLET, epoch: 1, version: Version::FIRST };
    engine.open_tablets(&schema, &volume(), &[open]).unwrap();
    let mut writer = engine.begin(TxnId(900), "a", &LoadSpec::rows(schema.clone())).await.unwrap();
    writer.write(TABLET, batch(&schema, &[(1, Some(1))])).await.unwrap();
    engine.drop_tablets(&[TABLET]).unwrap().remove();
    // What the load makes of the folder fails, as if it went only then.
    let folder = data.path().join("tablets").join(TABLET.get().to_string());
    std::fs::write(&folder, "in the way").unwrap();
    let gone = writer.finish().await.unwrap_err();
    assert!(matches!(gone, Error::UnknownTablet(TABLET)), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_tablet_leaves_no_object() {
    let (world, _) = loaded().await;
    world.engine(0).drop_tablets(&[TABLET]).unwrap().remove();
    assert!(!world.store.names().await.is_empty(), "dropping a tablet on a node leaves the volume alone");
    world.engine(1).purge_tablets(&volume(), &[TABLET]).unwrap();
    assert_eq!(world.store.names().await, [""; 0]);
}
