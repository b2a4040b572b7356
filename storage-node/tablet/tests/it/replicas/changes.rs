//! Updates of some columns and deletes by predicate on replicas that miss some of them, and compact when they like: all end
//! with the rows that the map or the list says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tarn_proto::TxnId;
use tarn_proto::storage::{LoadSpec, PublishTablet};
use tarn_tablet::Stop;

use super::*;
use crate::deletes::{self, Test};
use crate::primary::updates::{self, Update};

const REPLICAS: usize = 3;

/// A transaction: who has its rowset beside the first replica, who publishes it beside that, and who compacts afterwards.
#[derive(Clone, Debug)]
struct Turn<T> {
    change: T,
    shipped: [bool; REPLICAS],
    published: [bool; REPLICAS],
    compacts: [bool; REPLICAS],
    /// A replica that catches up with the first afterwards.
    catches_up: Option<usize>,
}

fn turns<T: Clone + std::fmt::Debug>(change: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<Turn<T>>> {
    let some = |probability| prop::array::uniform3(prop::bool::weighted(probability));
    let turn = (change, some(0.7), some(0.7), some(0.25), prop::option::weighted(0.4, 1..REPLICAS));
    let turn = turn.prop_map(|(change, mut shipped, mut published, compacts, catches_up)| {
        (shipped[0], published[0]) = (true, true);
        Turn { change, shipped, published, compacts, catches_up }
    });
    prop::collection::vec(turn, 1..12)
}

struct World {
    schema: TableSchema,
    // Dropped before their folders: a store that closes without its files waits.
    engines: Vec<Arc<Engine>>,
    version: u64,
    _data: Vec<tempfile::TempDir>,
}

impl World {
    fn new(schema: TableSchema) -> Self {
        let data: Vec<_> = (0..REPLICAS).map(|_| tempfile::tempdir().unwrap()).collect();
        let engines: Vec<_> = data.iter().map(|data| open(data.path())).collect();
        engines.iter().for_each(|engine| engine.create_tablets(&schema, &[TABLET]).unwrap());
        Self { schema, engines, version: 1, _data: data }
    }

    /// Ships and publishes what the first replica has sealed.
    async fn turn<T>(&mut self, turn: &Turn<T>) {
        self.version += 1;
        let txn = TxnId(self.version);
        let record = self.engines[0].sealed(TABLET, txn).unwrap();
        let source = Local::new(&self.engines[0]);
        for (engine, _) in self.engines.iter().zip(turn.shipped).skip(1).filter(|(_, shipped)| *shipped) {
            engine.replicate(txn, TABLET, &record, &self.schema, &source).await.unwrap();
        }
        let request = PublishTablet { tablet: TABLET, version: Version(self.version), has_rowset: true };
        for (engine, _) in self.engines.iter().zip(turn.published).filter(|(_, published)| *published) {
            engine.publish(txn, &[request]).unwrap();
        }
        for (engine, _) in self.engines.iter().zip(turn.compacts).filter(|(_, compacts)| *compacts) {
            while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {}
        }
        if let Some(replica) = turn.catches_up {
            self.catch_up(replica).await;
        }
    }

    async fn catch_up(&self, replica: usize) {
        let source = Local::new(&self.engines[0]);
        let version = catch_up(&self.engines[replica], &self.schema, self.version, &source).await.unwrap();
        assert!(version >= self.version);
    }

    /// All replicas have everything, and their rows are the same.
    async fn end(&self) {
        for replica in 1..REPLICAS {
            self.catch_up(replica).await;
        }
        // What a clone brought in another form waits until it is told to go: nothing goes with it.
        for engine in &self.engines {
            engine.pending().into_iter().for_each(|txn| engine.abort(txn).unwrap());
            assert!(engine.pending().is_empty(), "{:?}", engine.pending());
        }
        let sums = self.engines.iter().map(|engine| engine.checksum(TABLET, Version(self.version)).unwrap());
        let sums: Vec<_> = sums.collect();
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    }
}

#[test]
fn updates_of_some_columns_are_the_same_on_all_replicas() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(turns(updates::update()), prop::option::of(0usize..3)), |(turns, sorted_by)| {
            runtime.block_on(async {
                let mut world = World::new(updates::wide(sorted_by));
                let mut rows = BTreeMap::new();
                for turn in &turns {
                    let update: &Update = &turn.change;
                    updates::seal(&world.engines[0], &world.schema, world.version + 1, update).await.unwrap();
                    world.turn(turn).await;
                    update.apply(&mut rows);
                }
                world.end().await;
                for engine in &world.engines {
                    assert_eq!(updates::read(engine, &world.schema, world.version).await.unwrap(), rows);
                }
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn deletes_by_predicate_are_the_same_on_all_replicas() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let change = prop_oneof![
        3 => deletes::rows().prop_map(Ok::<_, Vec<Test>>),
        2 => deletes::tests().prop_map(Err::<Vec<Vec<deletes::Row>>, _>),
    ];
    TestRunner::new(config)
        .run(&turns(change), |turns| {
            runtime.block_on(async {
                let mut world = World::new(deletes::table());
                let mut expected = Vec::new();
                for turn in &turns {
                    let spec = match &turn.change {
                        Ok(_) => LoadSpec::rows(deletes::table()),
                        Err(tests) => LoadSpec::delete(deletes::table(), deletes::predicate(tests)),
                    };
                    let mut writer = world.engines[0].begin(TxnId(world.version + 1), "a", &spec).await.unwrap();
                    match &turn.change {
                        Ok(rows) => {
                            for rows in rows {
                                writer.write(TABLET, deletes::batch(rows)).await.unwrap();
                            }
                            expected.extend(rows.iter().flatten().copied());
                        }
                        Err(tests) => {
                            writer.write(TABLET, deletes::batch(&[])).await.unwrap();
                            expected.retain(|row| !tests.iter().all(|test| test.holds(row)));
                        }
                    }
                    writer.finish().await.unwrap();
                    world.turn(turn).await;
                }
                world.end().await;
                expected.sort_unstable();
                for engine in &world.engines {
                    assert_eq!(deletes::read(engine, world.version).await.unwrap(), expected);
                }
            });
            Ok(())
        })
        .unwrap();
}
