//! Random command sequences.

use proptest::prelude::*;
use tarn_catalog::command::{Alteration, NewColumn, PartitionSpec, Place, Placement, TableSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::invariants;
use crate::replica_steps;
use crate::support::{Tested, by_day, by_list, by_name, days, names, placement, whole};

/// A command before its ids are known: numbers that pick from what the catalog holds.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    pick: [u8; 4],
    flag: bool,
    elapsed_ms: u16,
}

fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..66 + replica_steps::KINDS, any::<[u8; 4]>(), any::<bool>(), 0u16..400)
        .prop_map(|(kind, pick, flag, elapsed_ms)| Step { kind, pick, flag, elapsed_ms });
    prop::collection::vec(step, 1..length)
}

/// One of `all`, or one time in sixteen none of them.
fn pick<T>(all: impl Iterator<Item = T>, n: u8, none: T) -> T {
    let mut all: Vec<T> = all.collect();
    if n.is_multiple_of(16) || all.is_empty() {
        return none;
    }
    let i = n as usize / 16 * 7 % all.len();
    all.swap_remove(i)
}

/// Where a sequence starts: something to work with, so that few steps are spent on refusals.
fn beginning() -> Catalog {
    let (mut tested, database) = Tested::new();
    for table in [
        by_day("t0", vec![days("p0", 0, 3), days("p1", 3, 5)]),
        by_name("t1"),
        whole("t2"),
        by_list("t3", vec![names("P0", &["v0", "v1"])]),
    ] {
        tested.create(database, table);
    }
    tested.catalog
}

fn name(prefix: &str, n: u8, of: u8) -> String {
    format!("{prefix}{}", n % of)
}

/// `shop` is the database that there is from the beginning.
fn database_name(n: u8, of: u8) -> String {
    if n.is_multiple_of(of) { "shop".to_owned() } else { name("db", n, of) }
}

fn is_by_name(catalog: &Catalog, table: TableId) -> bool {
    let by_name = |t: &Table| matches!(t.partitioning, Partitioning::Expression(_) | Partitioning::List(_));
    catalog.table_by_id(table).is_some_and(|t| by_name(t))
}

/// The name of a temporary partition.
fn temporary(catalog: &Catalog, table: TableId, n: u8) -> String {
    let table = catalog.table_by_id(table);
    table.map(|t| pick(t.temporary.values().map(|p| p.name.clone()), n, String::new())).unwrap_or_default()
}

impl Step {
    fn database(&self, catalog: &Catalog) -> DatabaseId {
        pick(catalog.databases.keys().copied(), self.pick[0], DatabaseId(0))
    }

    fn table(&self, catalog: &Catalog) -> TableId {
        pick(catalog.relations.keys().copied(), self.pick[1], TableId(0))
    }

    fn txn(&self, catalog: &Catalog) -> TxnId {
        pick(catalog.transactions.keys().copied(), self.pick[2], TxnId(0))
    }

    /// A transaction that a commit or an abort is meant for.
    fn open_txn(&self, catalog: &Catalog) -> TxnId {
        let open = catalog.transactions.values().filter(|t| t.state == TransactionState::Prepare).map(|t| t.id);
        pick(open, self.pick[2], self.txn(catalog))
    }

    fn placement(&self, catalog: &Catalog) -> Placement {
        if self.pick[3] == 0 { vec![NodeId(0)].into() } else { catalog.storage_nodes().map(|n| n.id).collect() }
    }

    fn partition_specs(&self, by_name: bool) -> Vec<PartitionSpec> {
        let one = |n: u8| {
            if by_name {
                names(&name("P", n, 3), &[&name("v", n, 4), &name("v", n / 4, 4)])
            } else {
                let day = i32::from(n % 8);
                days(&name("p", n / 8, 10), day, day + i32::from(n / 64) + 1)
            }
        };
        vec![one(self.pick[2]), one(self.pick[3])]
    }

    fn operation(&self, catalog: &Catalog) -> Operation {
        let [a, b, c, d] = self.pick;
        let flag = self.flag;
        let database = self.database(catalog);
        match self.kind {
            0 => Operation::InitializeCluster { cluster_id: name("cluster", a, 9) },
            1..=3 => Operation::RegisterNode {
                role: if a < 190 { Role::Storage } else { [Role::Compute, Role::Coordinator][a as usize % 2] },
                address: name("host", b, 6),
                node_id: flag.then(|| pick(catalog.nodes.keys().copied(), c, NodeId(u64::from(d) * 10))),
            },
            4 => Operation::SetDraining { node: pick(catalog.nodes.keys().copied(), c, NodeId(0)), draining: flag },
            5 => Operation::RemoveNode { node: pick(catalog.nodes.keys().copied(), c, NodeId(0)) },
            6 | 7 => Operation::CreateDatabase { name: database_name(a, 3), if_not_exists: flag },
            8 if b < 40 => Operation::DropDatabase { name: database_name(a, 3), if_exists: flag },
            8 => Operation::RenameDatabase { name: database_name(a, 3), new_name: database_name(b, 4) },
            9..=13 => {
                let table = name("t", b, 5);
                let table = match c % 4 {
                    0 => whole(&table),
                    1 => by_name(&table),
                    2 => by_list(&table, vec![]),
                    _ if flag => by_day(&table, self.partition_specs(false)),
                    _ => by_day(&table, vec![]),
                };
                let placement = self.placement(catalog);
                let colocate_with = (d > 192).then(|| "g".to_owned());
                let table = TableSpec { replication: u32::from(d % 3) + 1, colocate_with, ..table };
                Operation::CreateTable { database, table: Box::new(table), if_not_exists: flag, placement }
            }
            14 => Operation::DropTable {
                database,
                name: name("t", b, 5),
                if_exists: flag,
                only: (d < 64).then(|| self.table(catalog)),
            },
            15 => Operation::RenameTable { database, name: name("t", b, 5), new_name: name("t", c, 6) },
            16 => {
                let table = self.table(catalog);
                let partitions = if flag { vec![] } else { vec![name("p", c, 4)] };
                Operation::TruncateTable { table, partitions, placement: self.placement(catalog) }
            }
            17..=21 => {
                let table = self.table(catalog);
                let partitions = self.partition_specs(is_by_name(catalog, table) != (d == 1));
                let placement = self.placement(catalog);
                Operation::AddPartitions { table, partitions, fail_if_exists: flag, placement }
            }
            22 => Operation::DropPartitions {
                table: self.table(catalog),
                names: vec![name("P", c, 4), name("P", d, 4)],
                temporary: false,
                if_exists: flag,
            },
            23 => Operation::RenamePartition {
                table: self.table(catalog),
                name: name("p", c, 4),
                new_name: name("P", d, 5),
            },
            24 => Operation::CreateView {
                database,
                name: name(if d < 32 { "t" } else { "v" }, b, 4),
                columns: vec![],
                query: name("SELECT ", c, 9),
                comment: String::new(),
                or_replace: flag,
                if_not_exists: !flag,
            },
            25 => Operation::DropView { database, name: name("v", b, 4), if_exists: flag },
            26..=33 => {
                let table = self.table(catalog);
                let home = catalog.table_by_id(table).map(|t| t.database);
                Operation::BeginTransaction {
                    database: home.filter(|_| a > 8).unwrap_or(database),
                    label: name("label", c, 40),
                    table,
                    owner: (NodeId(1), "start".to_owned()),
                    timeout_ms: u64::from(d) * 40,
                }
            }
            34..=39 => {
                let txn = self.open_txn(catalog);
                let table = catalog.transaction(txn).map(|t| t.table);
                let tablets: Vec<TabletId> = table
                    .and_then(|t| catalog.table_by_id(t))
                    .map(|t| t.tablets().map(|(_, _, tablet)| tablet.id).collect())
                    .unwrap_or_default();
                // What a load writes: the partitions it replaces, or any but those that others do.
                let owned = |tablet: &TabletId| {
                    let (owner, _) = catalog.tablet(*tablet).unwrap();
                    let shadow = catalog.table_by_id(owner.table).unwrap().shadows.contains_key(&owner.partition);
                    match catalog.transaction(txn).and_then(|t| t.overwrite.as_ref()) {
                        Some(overwrite) => overwrite.replacements.values().any(|r| r.with == owner.partition),
                        None => !shadow || d == 1,
                    }
                };
                let some = tablets.into_iter().filter(owned).filter(|t| (t.get() + u64::from(a)) % 3 != 0);
                let write = |tablet| TabletWrite {
                    tablet,
                    rowset: RowsetId(u64::from(c)),
                    rows: u64::from(b),
                    bytes: u64::from(d),
                    holders: catalog.storage_nodes().map(|n| n.id).skip(usize::from(c > 200)).collect(),
                };
                let mut writes: Vec<TabletWrite> = some.map(write).collect();
                if d == 0 {
                    writes.push(write(pick(catalog.tablets.keys().copied(), c, TabletId(0))));
                }
                Operation::CommitTransaction { txn, writes }
            }
            40..=44 => {
                let waiting = if flag { catalog.committed.front() } else { catalog.committed.back() };
                let replicas = catalog.tablets.keys().filter_map(|id| Some(catalog.tablet(*id)?.1));
                let all = replicas.flat_map(|tablet| tablet.nodes().map(|node| (tablet.id, node)));
                let changed = all.filter(|(tablet, node)| (tablet.get() + node.get() + u64::from(c)) % 5 == 0);
                Operation::MakeVisible {
                    txn: waiting.copied().filter(|_| a < 200).unwrap_or_else(|| self.txn(catalog)),
                    changed: changed.map(|(tablet, node)| (tablet, node, b > 40)).collect(),
                }
            }
            45 => Operation::AbortTransaction { txn: self.open_txn(catalog), reason: name("reason", a, 3) },
            46 => Operation::ExpireTransactions {
                label_retention_ms: u64::from(a) * 40,
                generated_retention_ms: u64::from(b),
            },
            47 | 48 => {
                let old = pick(catalog.relations.keys().copied(), c, TableId(0));
                let name = if d < 192 {
                    catalog.relations.get(&old).map_or("t0", Relation::name).to_owned()
                } else {
                    name("t", d, 6)
                };
                Operation::ReplaceTable { old: (a > 16).then_some(old), new: self.table(catalog), name }
            }
            49 | 50 => Operation::AddTemporaryPartitions {
                table: self.table(catalog),
                partitions: {
                    let mut specs = self.partition_specs(is_by_name(catalog, self.table(catalog)));
                    specs.truncate(if flag { 1 } else { 2 });
                    specs.iter_mut().for_each(|spec| spec.name.insert(0, 't'));
                    specs
                },
                placement: self.placement(catalog),
            },
            51 => Operation::DropPartitions {
                table: self.table(catalog),
                names: vec![temporary(catalog, self.table(catalog), c)],
                temporary: true,
                if_exists: flag,
            },
            52 | 53 => Operation::ReplacePartitions {
                table: self.table(catalog),
                partitions: vec![
                    catalog
                        .table_by_id(self.table(catalog))
                        .map(|t| pick(t.partitions.values().map(|p| p.name.clone()), b, String::new()))
                        .unwrap_or_default(),
                ],
                temporary: vec![temporary(catalog, self.table(catalog), c)],
                strict_range: d < 64,
                temporary_names: flag,
            },
            54..=59 => {
                let txn = self.open_txn(catalog);
                let table = catalog.transaction(txn).map_or(TableId(0), |t| t.table);
                let all = catalog.table_by_id(table).into_iter().flat_map(|t| t.all_partitions());
                let some = all.filter(|p| flag || (p.id.get() + u64::from(a)) % 3 != 0);
                let read = |p: &Partition| (c < 64).then_some(p.visible_version);
                let partitions = some.map(|p| (p.id, read(p))).collect();
                Operation::PrepareOverwrite {
                    txn,
                    table,
                    whole: d < 64,
                    partitions,
                    placement: self.placement(catalog),
                }
            }
            60 => {
                let table = self.table(catalog);
                let before = catalog.table_by_id(table).map(|t| t.properties.clone()).filter(|_| d > 16);
                let before = before.unwrap_or_default();
                if flag {
                    let properties = [(name("property", b, 3), name("", c, 2))].into();
                    return Operation::SetTableProperties { table, properties, before };
                }
                Operation::MaintainPartitions {
                    table,
                    add: self.partition_specs(is_by_name(catalog, table)),
                    drop: catalog
                        .table_by_id(table)
                        .and_then(|t| t.partitions.keys().next().copied())
                        .into_iter()
                        .collect(),
                    buckets: (c < 128).then_some(3),
                    placement: self.placement(catalog),
                    properties: before,
                }
            }
            62..=64 => {
                let table = self.table(catalog);
                let now = catalog.table_by_id(table).map_or(SchemaVersion(1), |t| t.schema.version);
                let version = if a < 16 { SchemaVersion(1) } else { now };
                let column = |n: u8| ColumnId(u32::from(n) % 9 + 1);
                let new = NewColumn {
                    key: false,
                    name: name("c", b, 9),
                    data_type: [DataType::SmallInt, DataType::Varchar(9)][usize::from(flag)].clone(),
                    nullable: d > 32,
                    aggregation: None,
                    initial: flag.then(|| name("", c, 90)),
                    info: ColumnInfo { comment: name("comment", c, 3), ..ColumnInfo::default() },
                };
                let add = Alteration::AddColumns { columns: vec![new], place: Place::Last };
                let other = match d % 4 {
                    0 => Alteration::DropColumn { column: column(c) },
                    1 => Alteration::RenameColumn { column: column(c), name: name("C", b, 9) },
                    2 => Alteration::SetComment { comment: name("comment", c, 3) },
                    _ => Alteration::ModifyColumn {
                        column: column(c),
                        data_type: [DataType::Int, DataType::String][usize::from(flag)].clone(),
                        nullable: true,
                        info: ColumnInfo::default(),
                        place: (b < 64).then_some(Place::After(column(b))),
                    },
                };
                let alterations =
                    if b < 100 { vec![add] } else { vec![other, add].into_iter().skip(b as usize % 2).collect() };
                Operation::AlterTable { table, schema_version: version, alterations, timeout_ms: 1000 }
            }
            65 => Operation::SwapTables {
                one: self.table(catalog),
                other: pick(catalog.relations.keys().copied(), c, TableId(0)),
            },
            66.. => replica_steps::operation(catalog, self.kind - 66, self.pick, flag),
            _ => Operation::ForgetTablets {
                tablets: catalog.dropped_tablets.keys().take(c as usize % 4).copied().collect(),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn equal_commands_give_equal_catalogs_that_keep_the_invariants(steps in steps(200), restart in 0usize..200) {
        let mut one = beginning();
        let mut other = one.clone();
        let mut context = Context { now_ms: 1_700_000_000_000 };
        for (i, step) in steps.iter().enumerate() {
            context.now_ms += u64::from(step.elapsed_ms);
            let command = Command { request_id: i as u128 + 1_000_000, operation: step.operation(&one) };
            let before = one.clone();
            let response = one.apply(&command, &context);
            invariants::check(&one);
            invariants::check_step(&before, &one, &response);

            if i == restart {
                other = Catalog::decode(&other.encode()).unwrap();
            }
            let sent = Command::decode(&command.encode()).unwrap();
            prop_assert_eq!(&sent, &command);
            let theirs = other.apply(&sent, &context);
            prop_assert_eq!(&theirs, &response);
            prop_assert_eq!(&Response::decode(&theirs.encode()).unwrap(), &response);

            let applied = one.clone();
            prop_assert_eq!(one.apply(&command, &context), response);
            prop_assert_eq!(&one, &applied);
        }
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.encode(), other.encode());
    }

    #[test]
    fn decoding_any_bytes_gives_a_record_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(version) = bytes.first_mut() {
            *version = command::ENCODING;
        }
        let _ = Command::decode(&bytes);
        let _ = Response::decode(&bytes);
    }

    #[test]
    fn partitions_are_refused_exactly_when_they_overlap(
        ranges in prop::collection::vec((prop::option::of(0i32..30), prop::option::of(1i32..30)), 1..12),
    ) {
        let (mut tested, database) = Tested::new();
        let table = tested.create(database, by_day("t", vec![]));
        let mut taken: Vec<Bounds> = vec![];
        for (i, (lower, upper)) in ranges.into_iter().enumerate() {
            let bound = |day: Option<i32>| day.map(|day| vec![Value::Date(day)]);
            let bounds = Bounds::Range { lower: bound(lower), upper: bound(upper) };
            let empty = matches!((lower, upper), (Some(l), Some(u)) if l >= u);
            let free = !empty && !taken.iter().any(|other| other.overlaps(&bounds));
            let response = tested.run(Operation::AddPartitions {
                table,
                partitions: vec![PartitionSpec { name: format!("p{i}"), bounds: bounds.clone() }],
                fail_if_exists: true,
                placement: placement(),
            });
            prop_assert_eq!(matches!(response, Response::Partitions(_)), free, "{:?} with {:?}", bounds, taken);
            if free {
                taken.push(bounds);
            }
        }
    }
}
