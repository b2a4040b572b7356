//! Bytes that were persisted once must be read for ever. A test that fails here means: add fields with
//! `#[serde(default)]`, or raise the record's version and keep reading the old one. The files hold hexadecimal lines.

use std::collections::BTreeMap;
use std::fmt::Write;

use tarn_catalog::command::{Alteration, NewColumn, PartitionSpec, Place, Placement, TableSpec};
use tarn_catalog::*;
use tarn_proto::encoding;
use tarn_proto::time::TimeUnit;
use tarn_proto::*;

use crate::support::*;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(50) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Every kind of value, type, bound and default that a command can hold.
fn command() -> Command {
    let mut table: TableSpec = spec(
        "orders",
        Partitioning::Expression(vec![
            PartitionExpr::Column(ColumnId(3)),
            PartitionExpr::TimeSlice(7, TimeUnit::Day, ColumnId(1)),
        ]),
        vec![PartitionSpec {
            name: "p1".to_owned(),
            bounds: Bounds::List(vec![
                vec![Value::Null, Value::Date(-1)],
                vec![Value::Text("ä".to_owned()), Value::DateTime(1_700_000_000_000_000)],
                vec![Value::Int(i128::MIN), Value::Boolean(true)],
                vec![Value::Int(5), Value::Int(i128::from(u64::MAX) + 1)],
            ]),
        }],
    );
    table.schema.columns.push(Column {
        id: ColumnId(4),
        name: "price".to_owned(),
        data_type: DataType::Array(Box::new(DataType::Decimal(38, 2))),
        nullable: true,
        aggregation: None,
        initial: None,
    });
    table
        .columns
        .insert(ColumnId(1), ColumnInfo { default: Some(DefaultValue::CurrentTimestamp), ..Default::default() });
    Command {
        request_id: u128::MAX - 7,
        operation: Operation::CreateTable {
            database: DatabaseId(1004),
            table: Box::new(table),
            if_not_exists: true,
            placement: placement(),
        },
    }
}

/// Commands that name a table by its id because its name may be another's by then, and the two retentions of labels.
fn more_commands() -> [Command; 3] {
    let name = "t".to_owned();
    [
        Operation::DropTable {
            database: DatabaseId(1004),
            name: name.clone(),
            if_exists: true,
            only: Some(TableId(1005)),
        },
        Operation::ReplaceTable { old: Some(TableId(1005)), new: TableId(1010), name },
        Operation::ExpireTransactions { label_retention_ms: 259_200_000, generated_retention_ms: 900_000 },
    ]
    .map(|operation| Command { request_id: 7, operation })
}

/// Commands that replace, make and drop partitions.
fn partition_commands() -> [Command; 6] {
    let table = TableId(1005);
    let list = names("p1", &["ä", "b"]);
    [
        Operation::AddTemporaryPartitions {
            table,
            partitions: vec![list.clone()],
            placement: Placement { last: vec![NodeId(1004)], ..placement() },
        },
        Operation::DropPartitions { table, names: vec!["p1".to_owned()], temporary: true, if_exists: true },
        Operation::ReplacePartitions {
            table,
            partitions: vec!["p1".to_owned(), "p2".to_owned()],
            temporary: vec!["t1".to_owned()],
            strict_range: false,
            temporary_names: true,
        },
        Operation::MaintainPartitions {
            table,
            add: vec![days("p20240101", 19_723, 19_724)],
            drop: vec![PartitionId(1007)],
            buckets: Some(3),
            placement: placement(),
            properties: BTreeMap::from([("dynamic_partition.end".to_owned(), "3".to_owned())]),
        },
        Operation::SetTableProperties {
            table,
            properties: BTreeMap::from([("partition_live_number".to_owned(), "3".to_owned())]),
            before: BTreeMap::from([("replication_num".to_owned(), "1".to_owned())]),
        },
        Operation::PrepareOverwrite {
            txn: TxnId(70_000),
            table,
            whole: true,
            partitions: BTreeMap::from([(PartitionId(1007), None), (PartitionId(1010), Some(Version(2)))]),
            placement: placement(),
        },
    ]
    .map(|operation| Command { request_id: 7, operation })
}

/// A table by list with a temporary partition, and a transaction that overwrites it.
fn overwritten_catalog() -> Catalog {
    let (mut tested, shop) = Tested::new();
    tested.now_ms = 1_700_000_000_000;
    let table = tested.create(shop, by_list("lists", vec![names("p1", &["a"]), names("p2", &["b", "c"])]));
    let partitions = vec![names("t1", &["a"])];
    tested.run(Operation::AddTemporaryPartitions { table, partitions, placement: placement() });
    let p1 = tested.partition(table, "p1").id;
    let txn = tested.begin(shop, "overwrite", table);
    tested.prepare(txn, &[(p1, Some(Version::FIRST))], false);
    tested.catalog
}

fn response() -> Response {
    Response::LabelUsed {
        txn: TxnId(70_000),
        state: TransactionState::Committed {
            writes: vec![TabletWrite {
                tablet: TabletId(5),
                rowset: RowsetId(6),
                rows: 7,
                bytes: u64::MAX,
                holders: vec![NodeId(1001)],
            }],
            versions: BTreeMap::from([(PartitionId(1), Version(2)), (PartitionId(300), Version(4_000_000_000))]),
            committed_ms: 1_700_000_000_000,
        },
    }
}

/// A catalog with something in each of its maps.
fn catalog() -> Catalog {
    let (mut tested, shop) = Tested::new();
    tested.now_ms = 1_700_000_000_000;
    tested.run(Operation::InitializeCluster { cluster_id: "frozen".to_owned() });
    tested.run(register(Role::Coordinator, "coordinator:9000", Some(NodeId(1))));
    let orders = tested.create(shop, by_day("orders", vec![days("p1", 0, 1), days("p2", 1, 2)]));
    tested.create(shop, whole("gone"));
    tested.run(drop_table(shop, "gone"));
    tested.run(create_view(shop, "v", "SELECT 1", false));
    let tablet = tested.partition(orders, "p1").tablets[0].id;
    let [visible, committed, aborted, _open] = ["v", "c", "a", "o"].map(|label| tested.begin(shop, label, orders));
    tested.commit(visible, vec![write(tablet)]);
    tested.run(Operation::MakeVisible { txn: visible, changed: Vec::new() });
    tested.commit(committed, vec![write(tablet)]);
    tested.run(Operation::AbortTransaction { txn: aborted, reason: "a bad row".to_owned() });
    tested.refuse(Operation::MakeVisible { txn: aborted, changed: Vec::new() });
    tested.catalog
}

#[test]
fn a_command_has_its_frozen_bytes() {
    let frozen = include_str!("frozen/command.hex");
    assert_eq!(hex(&command().encode()), frozen);
    assert_eq!(Command::decode(&unhex(frozen)).unwrap(), command());
}

#[test]
fn commands_about_tables_that_were_replaced_have_their_frozen_bytes() {
    let frozen = include_str!("frozen/more_commands.hex");
    let all: String = more_commands().iter().map(|command| hex(&command.encode())).collect();
    assert_eq!(all, frozen);
    for command in more_commands() {
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }
}

/// Every kind of change of a table.
fn alterations() -> [Command; 2] {
    let new = NewColumn {
        key: false,
        name: "price".to_owned(),
        data_type: DataType::Decimal(10, 2),
        nullable: false,
        aggregation: Some(Aggregation::ReplaceIfNotNull),
        initial: Some("1.50".to_owned()),
        info: ColumnInfo { default: Some(DefaultValue::Constant("2".to_owned())), comment: "net".to_owned() },
    };
    let alterations = vec![
        Alteration::AddColumns { columns: vec![new], place: Place::First },
        Alteration::DropColumn { column: ColumnId(4) },
        Alteration::RenameColumn { column: ColumnId(5), name: "b".to_owned() },
        Alteration::ModifyColumn {
            column: ColumnId(6),
            data_type: DataType::BigInt,
            nullable: true,
            info: ColumnInfo::default(),
            place: Some(Place::After(ColumnId(5))),
        },
        Alteration::OrderColumns { columns: vec![ColumnId(6), ColumnId(5)] },
        Alteration::SetComment { comment: "c".to_owned() },
    ];
    [
        Operation::AlterTable {
            table: TableId(1005),
            schema_version: SchemaVersion(300),
            alterations,
            timeout_ms: 5_000,
        },
        Operation::SwapTables { one: TableId(1005), other: TableId(1010) },
    ]
    .map(|operation| Command { request_id: 9, operation })
}

/// A table with a column that is younger than others.
fn altered() -> Catalog {
    let (mut tested, shop) = Tested::new();
    tested.now_ms = 1_700_000_000_000;
    let table = tested.create(shop, whole("orders"));
    let Operation::AlterTable { alterations, .. } = alterations()[0].operation.clone() else { panic!("no change") };
    let Alteration::AddColumns { mut columns, .. } = alterations[0].clone() else { panic!("no column") };
    columns[0].aggregation = None;
    let alterations = vec![Alteration::AddColumns { columns, place: Place::Last }];
    let schema_version = SchemaVersion(1);
    tested.run(Operation::AlterTable { table, schema_version, alterations, timeout_ms: SCHEMA_JOB_TIMEOUT_MS });
    tested.catalog
}

#[test]
fn changes_of_tables_have_their_frozen_bytes() {
    let frozen = include_str!("frozen/alterations.hex");
    let all: String = alterations().iter().map(|command| hex(&command.encode())).collect();
    assert_eq!(all, frozen);
    for command in alterations() {
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }
}

#[test]
fn an_altered_catalog_has_its_frozen_bytes() {
    let frozen = include_str!("frozen/altered_catalog.hex");
    assert_eq!(hex(&altered().encode()), frozen);
    assert_eq!(Catalog::decode(&unhex(frozen)).unwrap(), altered());
}

#[test]
fn commands_about_partitions_have_their_frozen_bytes() {
    let frozen = include_str!("frozen/partition_commands.hex");
    let all: String = partition_commands().iter().map(|command| hex(&command.encode())).collect();
    assert_eq!(all, frozen);
    for command in partition_commands() {
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }
}

#[test]
fn a_catalog_with_partitions_that_wait_has_its_frozen_bytes() {
    let frozen = include_str!("frozen/overwritten_catalog.hex");
    assert_eq!(hex(&overwritten_catalog().encode()), frozen);
    assert_eq!(Catalog::decode(&unhex(frozen)).unwrap(), overwritten_catalog());
}

#[test]
fn a_response_has_its_frozen_bytes() {
    let frozen = include_str!("frozen/response.hex");
    assert_eq!(hex(&response().encode()), frozen);
    assert_eq!(Response::decode(&unhex(frozen)).unwrap(), response());
}

#[test]
fn a_catalog_has_its_frozen_bytes() {
    let frozen = include_str!("frozen/catalog.hex");
    assert_eq!(hex(&catalog().encode()), frozen);
    assert_eq!(Catalog::decode(&unhex(frozen)).unwrap(), catalog());
}

#[test]
fn an_unknown_version_is_told_as_such() {
    let mut bytes = catalog().encode();
    bytes[0] = 9;
    let error = Catalog::decode(&bytes).unwrap_err();
    assert!(matches!(error, encoding::Error::Version { found: 9, expected: SNAPSHOT_ENCODING, .. }));
    assert_eq!(
        error.to_string(),
        "catalog snapshot record has format version 9, this build reads 1: upgrade this node"
    );
    let mut bytes = command().encode();
    bytes[0] = 0;
    assert!(matches!(Command::decode(&bytes), Err(encoding::Error::Version { found: 0, .. })));
    assert!(matches!(Response::decode(&[]), Err(encoding::Error::Empty { .. })));
}

#[test]
fn damaged_bytes_are_told_as_such() {
    let bytes = catalog().encode();
    let cut = Catalog::decode(&bytes[..bytes.len() - 3]).unwrap_err();
    assert_eq!(cut.to_string(), "damaged catalog snapshot record");
}
