//! A catalog under test and short ways to say commands.

use std::collections::BTreeMap;

use tarn_catalog::command::{PartitionSpec, Placement, TableSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::invariants;

/// A catalog that checks its invariants after every command.
#[derive(Default)]
pub struct Tested {
    pub catalog: Catalog,
    pub now_ms: u64,
    requests: u128,
}

impl Tested {
    /// A cluster with storage nodes `n1001` to `n1003` and the database `shop`.
    pub fn new() -> (Self, DatabaseId) {
        let mut tested = Self::default();
        for i in 1..=3 {
            tested.run(register(Role::Storage, &format!("storage-{i}:9000"), None));
        }
        let Response::Database(id) =
            tested.run(Operation::CreateDatabase { name: "shop".to_owned(), if_not_exists: false })
        else {
            panic!("no database");
        };
        (tested, id)
    }

    /// Applies an operation under a request id of its own.
    pub fn run(&mut self, operation: Operation) -> Response {
        self.requests += 1;
        let before = self.catalog.clone();
        let command = Command { request_id: self.requests, operation };
        let response = self.catalog.apply(&command, &Context { now_ms: self.now_ms });
        invariants::check(&self.catalog);
        invariants::check_step(&before, &self.catalog, &response);
        response
    }

    /// Applies an operation that must be refused.
    pub fn refuse(&mut self, operation: Operation) -> Error {
        match self.run(operation) {
            Response::Refused(error) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn create(&mut self, database: DatabaseId, table: TableSpec) -> TableId {
        match self.run(create(database, table)) {
            Response::Table(id) => id,
            other => panic!("no table: {other:?}"),
        }
    }

    pub fn begin(&mut self, database: DatabaseId, label: &str, table: TableId) -> TxnId {
        match self.run(begin(database, label, table)) {
            Response::Begun(id) => id,
            other => panic!("not begun: {other:?}"),
        }
    }

    pub fn commit(&mut self, txn: TxnId, writes: Vec<TabletWrite>) -> BTreeMap<PartitionId, Version> {
        match self.run(Operation::CommitTransaction { txn, writes }) {
            Response::Committed { versions } => versions,
            other => panic!("not committed: {other:?}"),
        }
    }

    /// Makes a transaction replace partitions, of which it has read these versions.
    pub fn prepare(&mut self, txn: TxnId, partitions: &[(PartitionId, Option<Version>)], whole: bool) -> Response {
        let table = self.catalog.transaction(txn).unwrap().table;
        let partitions = partitions.iter().copied().collect();
        self.run(Operation::PrepareOverwrite { txn, table, whole, partitions, placement: placement() })
    }

    pub fn partition(&self, table: TableId, name: &str) -> &Partition {
        self.catalog.table_by_id(table).unwrap().partition(name).unwrap()
    }
}

pub fn nodes() -> Vec<NodeId> {
    vec![NodeId(1001), NodeId(1002), NodeId(1003)]
}

pub fn placement() -> Placement {
    nodes().into()
}

pub fn register(role: Role, address: &str, node_id: Option<NodeId>) -> Operation {
    Operation::RegisterNode { role, address: address.to_owned(), node_id }
}

pub fn create(database: DatabaseId, table: TableSpec) -> Operation {
    Operation::CreateTable { database, table: Box::new(table), if_not_exists: false, placement: placement() }
}

pub fn drop_table(database: DatabaseId, name: &str) -> Operation {
    Operation::DropTable { database, name: name.to_owned(), if_exists: false, only: None }
}

pub fn create_view(database: DatabaseId, name: &str, query: &str, or_replace: bool) -> Operation {
    Operation::CreateView {
        database,
        name: name.to_owned(),
        columns: vec![],
        query: query.to_owned(),
        comment: String::new(),
        or_replace,
        if_not_exists: false,
    }
}

pub fn begin(database: DatabaseId, label: &str, table: TableId) -> Operation {
    let owner = (NodeId(1), "first start".to_owned());
    Operation::BeginTransaction { database, label: label.to_owned(), table, owner, timeout_ms: 1000 }
}

/// A write of ten rows of 100 bytes in all, which every node has.
pub fn write(tablet: TabletId) -> TabletWrite {
    TabletWrite { tablet, rowset: RowsetId(1), rows: 10, bytes: 100, holders: nodes() }
}

/// A table `day date, id bigint, name string` with key `(day, id)` and two buckets.
pub fn spec(name: &str, partitioning: Partitioning, partitions: Vec<PartitionSpec>) -> TableSpec {
    let column = |id, name: &str, data_type, nullable| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        data_type,
        nullable,
        aggregation: None,
        initial: None,
    };
    TableSpec {
        name: name.to_owned(),
        schema: TableSchema {
            model: TableModel::Duplicate,
            keys: vec![ColumnId(1), ColumnId(2)],
            version: SchemaVersion(1),
            columns: vec![
                column(1, "day", DataType::Date, false),
                column(2, "id", DataType::BigInt, false),
                column(3, "name", DataType::String, true),
            ],
            sort_key: vec![ColumnId(1), ColumnId(2)],
            indexes: Vec::new(),
        },
        columns: BTreeMap::from([(
            ColumnId(3),
            ColumnInfo { default: Some(DefaultValue::Constant("nobody".to_owned())), comment: "who".to_owned() },
        )]),
        explicit_sort_key: false,
        partitioning,
        distribution: Distribution { columns: vec![ColumnId(2)], buckets: 2, hash_version: 1 },
        replication: 1,
        colocate_with: None,
        properties: BTreeMap::from([("compression".to_owned(), "LZ4".to_owned())]),
        comment: "orders".to_owned(),
        partitions,
    }
}

/// An unpartitioned table.
pub fn whole(name: &str) -> TableSpec {
    spec(name, Partitioning::None, vec![])
}

/// A table by ranges of `day`.
pub fn by_day(name: &str, partitions: Vec<PartitionSpec>) -> TableSpec {
    spec(name, Partitioning::Range(vec![ColumnId(1)]), partitions)
}

/// A table by values of `name`.
pub fn by_name(name: &str) -> TableSpec {
    spec(name, Partitioning::Expression(vec![PartitionExpr::Column(ColumnId(3))]), vec![])
}

/// A table by declared values of `name`.
pub fn by_list(name: &str, partitions: Vec<PartitionSpec>) -> TableSpec {
    spec(name, Partitioning::List(vec![ColumnId(3)]), partitions)
}

/// A partition of the days `lower..upper`.
pub fn days(name: &str, lower: i32, upper: i32) -> PartitionSpec {
    let bound = |day| Some(vec![Value::Date(day)]);
    PartitionSpec { name: name.to_owned(), bounds: Bounds::Range { lower: bound(lower), upper: bound(upper) } }
}

/// A partition of these names.
pub fn names(name: &str, values: &[&str]) -> PartitionSpec {
    let keys = values.iter().map(|v| vec![Value::Text((*v).to_owned())]).collect();
    PartitionSpec { name: name.to_owned(), bounds: Bounds::List(keys) }
}
