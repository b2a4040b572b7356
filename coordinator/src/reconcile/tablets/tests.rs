use std::sync::Arc;
use std::sync::atomic::Ordering;

use tarn_catalog::command::TableSpec;
use tarn_catalog::{Command, Context, Distribution, Partitioning, Response, Role, TabletWrite};
use tarn_proto::{Column, ColumnId, DataType, DatabaseId, RowsetId, SchemaVersion, TableModel, TableSchema, TxnId};

use super::*;
use crate::tests::Tablets;

/// A catalog with the storage nodes `a:1` and `b:1` and a table of two buckets, one on each of them.
struct World {
    catalog: Catalog,
    requests: u128,
    database: DatabaseId,
    table: TableId,
    pool: StorePool,
    stores: BTreeMap<NodeId, Arc<Tablets>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            requests: 0,
            database: DatabaseId(0),
            table: TableId(0),
            pool: StorePool::default(),
            stores: BTreeMap::new(),
        };
        for address in ["a:1", "b:1"] {
            let register = Operation::RegisterNode { role: Role::Storage, address: address.to_owned(), node_id: None };
            let Response::Node(node) = world.run(register) else { panic!("no node") };
            let store = Arc::new(Tablets::default());
            world.pool.insert(address, store.clone());
            world.stores.insert(node, store);
        }
        let database = Operation::CreateDatabase { name: "shop".to_owned(), if_not_exists: false };
        let Response::Database(database) = world.run(database) else { panic!("no database") };
        world.database = database;
        let id = ColumnId(1);
        let spec = TableSpec {
            name: "t".to_owned(),
            schema: TableSchema {
                model: TableModel::Duplicate,
                keys: vec![id],
                version: SchemaVersion(1),
                columns: vec![Column {
                    id,
                    name: "k".to_owned(),
                    data_type: DataType::BigInt,
                    nullable: false,
                    aggregation: None,
                    initial: None,
                }],
                sort_key: vec![id],
                indexes: Vec::new(),
            },
            columns: BTreeMap::new(),
            explicit_sort_key: false,
            partitioning: Partitioning::None,
            distribution: Distribution { columns: vec![id], buckets: 2, hash_version: 1 },
            replication: 1,
            colocate_with: None,
            properties: BTreeMap::new(),
            comment: String::new(),
            partitions: vec![],
        };
        let placement = world.stores.keys().copied().collect();
        let create = Operation::CreateTable { database, table: Box::new(spec), if_not_exists: false, placement };
        let Response::Table(table) = world.run(create) else { panic!("no table") };
        world.table = table;
        world
    }

    fn run(&mut self, operation: Operation) -> Response {
        self.requests += 1;
        let command = Command { request_id: self.requests, operation };
        self.catalog.apply(&command, &Context { now_ms: 1 })
    }

    /// The tablet on `node`.
    fn tablet(&self, node: NodeId) -> TabletId {
        let table = self.catalog.table_by_id(self.table).unwrap();
        table.tablets().find(|(_, _, t)| t.nodes().eq([node])).unwrap().2.id
    }

    /// Commits a load into one tablet; it is not visible.
    fn load(&mut self, tablet: TabletId) -> TxnId {
        let owner = (NodeId(1), "first start".to_owned());
        let (database, table, label) = (self.database, self.table, "l".to_owned());
        let begin = Operation::BeginTransaction { database, label, table, owner, timeout_ms: 1000 };
        let Response::Begun(txn) = self.run(begin) else { panic!("not begun") };
        let holders = self.catalog.tablet(tablet).unwrap().1.nodes().collect();
        let writes = vec![TabletWrite { tablet, rowset: RowsetId(1), rows: 1, bytes: 1, holders }];
        let committed = self.run(Operation::CommitTransaction { txn, writes });
        assert!(matches!(committed, Response::Committed { .. }), "{committed:?}");
        txn
    }

    fn created(&self, node: NodeId) -> Vec<TabletId> {
        self.stores[&node].created.lock().clone()
    }
}

#[tokio::test]
async fn a_node_that_is_away_keeps_no_other_from_getting_its_tablets() {
    for away in [NodeId(1001), NodeId(1002)] {
        let world = World::new();
        world.stores[&away].away.store(true, Ordering::SeqCst);
        let error = create_missing(&world.catalog, &world.pool, Some(world.table)).await.unwrap_err();
        assert!(error.kind.is_retryable(), "{error}");
        let other = *world.stores.keys().find(|node| **node != away).unwrap();
        assert_eq!(world.created(other), [world.tablet(other)]);
    }
}

#[tokio::test]
async fn a_tablet_that_a_committed_load_did_not_touch_is_still_created_until_the_load_is_visible() {
    let mut world = World::new();
    let (away, other) = (NodeId(1001), NodeId(1002));
    world.stores[&away].away.store(true, Ordering::SeqCst);
    create_missing(&world.catalog, &world.pool, None).await.unwrap_err();
    let txn = world.load(world.tablet(other));
    world.stores[&away].away.store(false, Ordering::SeqCst);
    create_missing(&world.catalog, &world.pool, None).await.unwrap();
    assert_eq!(world.created(away), [world.tablet(away)]);

    world.run(Operation::MakeVisible { txn, changed: Vec::new() });
    assert_eq!(world.catalog.transactions[&txn].state.name(), "VISIBLE");
    world.stores[&other].created.lock().clear();
    create_missing(&world.catalog, &world.pool, None).await.unwrap();
    assert!(world.created(other).is_empty(), "the loss of a tablet with rows must show");
}

#[test]
fn dropped_tablets_stay_a_while_for_the_queries_that_read_them() {
    let mut dropped = Dropped::default();
    let [early, late] = [TabletId(1), TabletId(2)];
    let begin = Instant::now();
    let half = begin + DROPPED_GRACE / 2;
    assert!(dropped.due([early].into_iter(), begin).is_empty());
    assert!(dropped.due([early, late].into_iter(), half).is_empty());
    assert_eq!(dropped.due([early, late].into_iter(), begin + DROPPED_GRACE), HashSet::from([early]));
    assert_eq!(dropped.due([late].into_iter(), half + DROPPED_GRACE), HashSet::from([late]));
    assert!(dropped.due([early].into_iter(), half + DROPPED_GRACE).is_empty(), "it was forgotten");
}
