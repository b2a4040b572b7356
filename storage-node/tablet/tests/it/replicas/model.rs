//! Random loads, of which replicas get some rowsets and some publishes, compactions, restarts, lost disks, damage and copies
//! that break off: what any replica answers at any version is what the loads say, and replicas that caught up are equal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tarn_proto::TableModel;
use tarn_proto::storage::PublishTablet;
use tarn_proto::{TxnId, Version};
use tarn_tablet::{Error, Stop};

use super::*;
use crate::compaction::combined;
use crate::fixture::{close, files, flip, folder, manifest};
use crate::primary::{self, Operation};
use crate::values::{self, Row};

const REPLICAS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Load {
        batches: Vec<Vec<Operation>>,
        writer: usize,
        shipped: [bool; REPLICAS],
        published: [bool; REPLICAS],
    },
    /// A transaction without rows in the tablet.
    Nothing([bool; REPLICAS]),
    CatchUp {
        replica: usize,
        source: usize,
        cut: Cut,
    },
    Compact(usize),
    Collect(usize),
    Reopen(usize),
    /// The tablet goes from a node.
    Drop(usize),
    /// A byte of a file changes.
    Damage(usize, u64),
}

/// How a copy breaks off, after so many pieces.
#[derive(Clone, Copy, Debug)]
enum Cut {
    None,
    Failure(u8),
    /// The node of the replica stops meanwhile.
    Stop(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = (0i64..12, prop::option::weighted(0.7, 0i64..1000));
    let batches = prop::collection::vec(prop::collection::vec(operation, 1..8), 1..3);
    let replica = 0..REPLICAS;
    let most = || prop::array::uniform3(prop::bool::weighted(0.8));
    let cut =
        prop_oneof![4 => Just(Cut::None), 1 => (0u8..12).prop_map(Cut::Failure), 1 => (0u8..12).prop_map(Cut::Stop)];
    let step = prop_oneof![
        8 => (batches, replica.clone(), most(), most())
            .prop_map(|(batches, writer, shipped, published)| Step::Load { batches, writer, shipped, published }),
        1 => most().prop_map(Step::Nothing),
        5 => (replica.clone(), replica.clone(), cut)
            .prop_map(|(replica, source, cut)| Step::CatchUp { replica, source, cut }),
        3 => replica.clone().prop_map(Step::Compact),
        2 => replica.clone().prop_map(Step::Collect),
        1 => replica.clone().prop_map(Step::Reopen),
        1 => replica.clone().prop_map(Step::Drop),
        1 => (replica, any::<u64>()).prop_map(|(replica, at)| Step::Damage(replica, at)),
    ];
    prop::collection::vec(step, 1..28)
}

struct Replica {
    /// None while it is opened anew.
    engine: Option<Arc<Engine>>,
    damaged: bool,
    data: tempfile::TempDir,
}

impl Replica {
    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        close(self.engine.take().unwrap());
        self.engine = Some(open(self.data.path()));
    }
}

struct World {
    schema: TableSchema,
    replicas: Vec<Replica>,
    loads: BTreeMap<u64, Vec<Vec<Operation>>>,
    version: u64,
}

impl World {
    fn new(schema: TableSchema) -> Self {
        let replica = |_| {
            let data = tempfile::tempdir().unwrap();
            let engine = open(data.path());
            engine.create_tablets(&schema, &[TABLET]).unwrap();
            Replica { data, engine: Some(engine), damaged: false }
        };
        Self { replicas: (0..REPLICAS).map(replica).collect(), schema, loads: BTreeMap::new(), version: 1 }
    }

    fn is_current(&self, replica: usize) -> bool {
        let replica = &self.replicas[replica];
        !replica.damaged && version_of(replica.engine()) == Some(self.version)
    }

    /// The first replica from `from` on that has everything, other than `not`.
    fn current(&self, from: usize, not: Option<usize>) -> Option<usize> {
        (0..REPLICAS).map(|i| (from + i) % REPLICAS).find(|i| Some(*i) != not && self.is_current(*i))
    }

    async fn write(&self, engine: &Arc<Engine>, txn: u64, batches: &[Vec<Operation>]) {
        if self.schema.model == TableModel::PrimaryKey {
            primary::write(engine, &self.schema, txn, batches).await.unwrap();
        } else {
            let batches: Vec<Vec<Row>> = batches.iter().map(|batch| batch.iter().map(row).collect()).collect();
            values::load(engine, &self.schema, txn, &batches).await.unwrap();
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Load { batches, writer, shipped, published } => {
                let Some(writer) = self.current(*writer, None) else { return };
                let txn = self.version + 1;
                let from = self.replicas[writer].engine().clone();
                self.write(&from, txn, batches).await;
                let record = from.sealed(TABLET, TxnId(txn)).unwrap();
                let mut holds = [false; REPLICAS];
                for (i, replica) in self.replicas.iter().enumerate().filter(|(i, _)| shipped[*i] && *i != writer) {
                    if version_of(replica.engine()).is_some() {
                        let source = Local::new(&from);
                        replica.engine().replicate(TxnId(txn), TABLET, &record, &self.schema, &source).await.unwrap();
                        holds[i] = true;
                    }
                }
                holds[writer] = true;
                let told: Vec<bool> = (0..REPLICAS).map(|i| i == writer || published[i]).collect();
                self.publish(true, &told, &holds);
                self.loads.insert(self.version, batches.clone());
            }
            Step::Nothing(published) => {
                let Some(one) = self.current(0, None) else { return };
                let told: Vec<bool> = (0..REPLICAS).map(|i| i == one || published[i]).collect();
                self.publish(false, &told, &[true; REPLICAS]);
            }
            Step::CatchUp { replica, source, cut } => {
                if let Some(source) = self.current(*source, Some(*replica)) {
                    self.catch_up(*replica, source, *cut).await;
                }
            }
            Step::Compact(replica) => {
                let engine = self.replicas[*replica].engine();
                if version_of(engine).is_some() && !self.replicas[*replica].damaged {
                    while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {}
                }
            }
            Step::Collect(replica) => {
                let engine = self.replicas[*replica].engine();
                engine.remove_superseded(Instant::now()).unwrap();
                engine.remove_superseded(Instant::now() + Duration::from_secs(1)).unwrap();
            }
            Step::Reopen(replica) => {
                self.replicas[*replica].reopen();
                if self.replicas[*replica].damaged {
                    self.scrub(*replica);
                }
            }
            Step::Drop(replica) => {
                if self.current(0, Some(*replica)).is_some() {
                    self.replicas[*replica].engine().drop_tablets(&[TABLET]).unwrap().remove();
                    self.replicas[*replica].damaged = false;
                }
            }
            Step::Damage(replica, at) => {
                if self.current(0, Some(*replica)).is_some() && version_of(self.replicas[*replica].engine()).is_some() {
                    self.damage(*replica, *at);
                }
            }
        }
    }

    /// Publishes the next version on those that are told.
    fn publish(&mut self, has_rowset: bool, told: &[bool], holds: &[bool]) {
        let version = self.version + 1;
        for (i, replica) in self.replicas.iter().enumerate().filter(|(i, _)| told[*i]) {
            let before = version_of(replica.engine());
            let request = PublishTablet { tablet: TABLET, version: Version(version), has_rowset };
            let unpublished = replica.engine().publish(TxnId(version), &[request]).unwrap();
            let done = unpublished.iter().all(|unpublished| unpublished.damaged);
            assert_eq!(done, before == Some(version - 1) && holds[i], "{unpublished:?}");
        }
        self.version = version;
    }

    async fn catch_up(&mut self, replica: usize, source: usize, cut: Cut) {
        let engine = self.replicas[replica].engine().clone();
        let source = Local::new(self.replicas[source].engine());
        match cut {
            Cut::None => {
                assert_eq!(catch_up(&engine, &self.schema, self.version, &source).await.unwrap(), self.version);
                self.replicas[replica].damaged = false;
            }
            Cut::Failure(pieces) => {
                match catch_up(&engine, &self.schema, self.version, &source.failing_after(pieces)).await {
                    Ok(version) => {
                        assert_eq!(version, self.version);
                        self.replicas[replica].damaged = false;
                    }
                    Err(error) => assert!(matches!(error, Error::Copy { .. }), "{error}"),
                }
            }
            Cut::Stop(pieces) => {
                let told = Arc::new(Notify::new());
                let source = source.silent_after(pieces, told.clone());
                tokio::select! {
                    done = catch_up(&engine, &self.schema, self.version, &source) => {
                        assert_eq!(done.unwrap(), self.version);
                        self.replicas[replica].damaged = false;
                    }
                    () = told.notified() => {}
                }
                drop(engine);
                self.replicas[replica].reopen();
                if self.replicas[replica].damaged {
                    self.scrub(replica);
                }
            }
        }
        let whole = !self.replicas[replica].damaged;
        assert!(!matches!(cut, Cut::None) || (whole && self.is_current(replica)));
    }

    /// Changes a byte of a file that the newest version lists.
    fn damage(&mut self, replica: usize, at: u64) {
        let this = &self.replicas[replica];
        let Ok(manifest) = manifest(this.engine(), TABLET, version_of(this.engine()).unwrap()) else { return };
        let listed: Vec<String> = manifest.rowsets.iter().map(|rowset| format!("{}_", rowset.id)).collect();
        let names = files(this.data.path(), TABLET).into_iter();
        let names: Vec<String> = names.filter(|name| listed.iter().any(|listed| name.starts_with(listed))).collect();
        let Some(name) = names.get(at as usize % names.len().max(1)) else { return };
        let path = folder(this.data.path(), TABLET).join(name);
        let length = std::fs::metadata(&path).unwrap().len();
        flip(&path, (at >> 20) % length);
        self.replicas[replica].damaged = true;
        self.scrub(replica);
    }

    fn scrub(&mut self, replica: usize) {
        let engine = self.replicas[replica].engine();
        if version_of(engine).is_some() {
            engine.scrub(TABLET, &Pace::unlimited(), &Stop::default()).unwrap();
            let damaged = engine.reports()[0].damaged_rowsets > 0;
            // A copy that broke off may have repaired it, and a compaction have written it anew.
            assert!(!damaged || self.replicas[replica].damaged);
            self.replicas[replica].damaged = damaged;
        }
    }

    fn expected(&self, version: u64) -> Vec<Row> {
        let loads = self.loads.range(..=version).map(|(_, batches)| batches);
        if self.schema.model == TableModel::PrimaryKey {
            let mut rows = BTreeMap::new();
            loads.for_each(|batches| primary::apply(&mut rows, batches));
            return rows.into_iter().map(pair).collect();
        }
        combined(self.schema.model, loads.flatten().flatten().map(row))
    }

    async fn read(&self, engine: &Engine, version: u64) -> Result<Vec<Row>> {
        if self.schema.model == TableModel::PrimaryKey {
            return Ok(primary::rows(engine, &self.schema, version).await?.into_iter().map(pair).collect());
        }
        Ok(combined(self.schema.model, values::read(engine, &self.schema, version)?.into_iter()))
    }

    /// Every version that a replica keeps is what the loads say.
    async fn check(&self) {
        let mut sums = BTreeMap::new();
        for (i, replica) in self.replicas.iter().enumerate().filter(|(_, replica)| !replica.damaged) {
            let Some(newest) = version_of(replica.engine()) else { continue };
            let mut kept = false;
            for version in 1..=newest {
                match self.read(replica.engine(), version).await {
                    Ok(rows) => {
                        kept = true;
                        assert_eq!(rows, self.expected(version), "version {version} of replica {i}");
                        let sum = replica.engine().checksum(TABLET, Version(version)).unwrap();
                        assert_eq!(sum.rows, rows.len() as u64);
                        assert_eq!(*sums.entry(version).or_insert(sum), sum, "version {version} of replica {i}");
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::Superseded { .. }), "{error}");
                        assert!(!kept, "version {version} of replica {i} is gone, and an older one is not");
                    }
                }
            }
            assert!(kept, "replica {i} cannot be read at its version {newest}");
        }
    }

    /// At the end all catch up.
    async fn settle(&mut self) {
        for replica in 0..REPLICAS {
            if let Some(source) = self.current(0, Some(replica)) {
                self.catch_up(replica, source, Cut::None).await;
            }
        }
        self.check().await;
        for replica in &mut self.replicas {
            replica.reopen();
        }
        self.check().await;
    }
}

fn row((key, value): &Operation) -> Row {
    [Some(*key), *value, *value, *value, *value, *value]
}

fn pair((key, value): (i64, i64)) -> Row {
    [Some(key), Some(value), None, None, None, None]
}

fn check_all(schema: &TableSchema) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config =
        ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(async {
                let mut world = World::new(schema.clone());
                for (number, step) in steps.iter().enumerate() {
                    world.step(step).await;
                    if number % 3 == 0 {
                        world.check().await;
                    }
                }
                world.check().await;
                world.settle().await;
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn replicas_of_a_duplicate_table_agree() {
    check_all(&values::schema(TableModel::Duplicate));
}

#[test]
fn replicas_of_an_aggregate_table_agree() {
    check_all(&values::schema(TableModel::Aggregate));
}

#[test]
fn replicas_of_a_unique_table_agree() {
    check_all(&values::schema(TableModel::Unique));
}

#[test]
fn replicas_of_a_primary_key_table_agree() {
    check_all(&primary::table(false));
}

#[test]
fn replicas_of_a_primary_key_table_that_is_sorted_by_a_value_agree() {
    check_all(&primary::table(true));
}
