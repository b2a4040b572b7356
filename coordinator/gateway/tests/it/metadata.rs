//! What drivers ask about the server and what is in it.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow_flight::sql::{
    Any, Command, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandStatementQuery,
    ProstMessageExt, SqlInfo,
};
use arrow_flight::{Empty, FlightDescriptor, IpcMessage};
use futures::TryStreamExt;
use prost::Message;

use crate::harness::{Client, Harness, fetch, lines};

/// A schema as metadata messages carry it.
fn decode(bytes: &[u8]) -> Schema {
    Schema::try_from(IpcMessage(bytes.to_vec().into())).unwrap()
}

async fn tables(client: &mut Client, command: CommandGetTables) -> RecordBatch {
    let info = client.get_tables(command).await.unwrap();
    fetch(client, info).await.unwrap().pop().expect("one batch")
}

#[tokio::test]
async fn server_information_is_complete() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.get_sql_info(vec![]).await.unwrap();
    let all = fetch(&mut client, info).await.unwrap();
    assert!(all[0].num_rows() > 80);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), ["0|{string_value=Tarn}", "3|{bool_value=false}"]);
}

#[tokio::test]
async fn catalogs_databases_and_table_types_are_listed() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), ["default_catalog"]);
    let everything = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(everything).await.unwrap();
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), ["default_catalog|empty", "default_catalog|shop"]);
    let some = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("s%".to_owned()) };
    let info = client.get_db_schemas(some).await.unwrap();
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), ["default_catalog|shop"]);
    let elsewhere = CommandGetDbSchemas { catalog: Some("lake".to_owned()), db_schema_filter_pattern: None };
    let info = client.get_db_schemas(elsewhere).await.unwrap();
    assert!(lines(&fetch(&mut client, info).await.unwrap()).is_empty());
    let info = client.get_table_types().await.unwrap();
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), ["TABLE", "VIEW"]);
}

#[tokio::test]
async fn tables_are_filtered_by_pattern_and_type() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let names = |batch: &RecordBatch| {
        let names = batch.column_by_name("table_name").unwrap().as_string::<i32>();
        names.iter().map(|n| n.unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = tables(&mut client, CommandGetTables::default()).await;
    assert_eq!(names(&all), ["broken", "items_1", "orders", "totals"]);
    let views = CommandGetTables { table_types: vec!["VIEW".to_owned()], ..CommandGetTables::default() };
    assert_eq!(names(&tables(&mut client, views).await), ["broken", "totals"]);
    let escaped = CommandGetTables {
        db_schema_filter_pattern: Some("shop".to_owned()),
        table_name_filter_pattern: Some("items\\_1".to_owned()),
        ..CommandGetTables::default()
    };
    assert_eq!(names(&tables(&mut client, escaped).await), ["items_1"]);
}

#[tokio::test]
async fn tables_tell_their_columns_and_a_broken_view_hides_nothing() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let all = tables(&mut client, CommandGetTables { include_schema: true, ..CommandGetTables::default() }).await;
    let schemas = all.column_by_name("table_schema").unwrap().as_binary::<i32>();
    assert!(decode(schemas.value(0)).fields().is_empty(), "the broken view");
    let orders = decode(schemas.value(2));
    let columns: Vec<_> = orders.fields().iter().map(|f| (f.name().as_str(), f.data_type(), f.is_nullable())).collect();
    assert_eq!(
        columns,
        [
            ("id", &DataType::Int64, false),
            ("name", &DataType::Utf8, true),
            ("price", &DataType::Decimal128(10, 2), true)
        ]
    );
    let told = |field: usize, key: &str| orders.field(field).metadata()[&format!("ARROW:FLIGHT:SQL:{key}")].clone();
    assert_eq!(told(1, "TYPE_NAME"), "VARCHAR");
    assert_eq!(told(1, "PRECISION"), "20");
    assert_eq!(told(1, "REMARKS"), "who bought");
    assert_eq!((told(2, "PRECISION"), told(2, "SCALE")), ("10".to_owned(), "2".to_owned()));
    assert_eq!(decode(schemas.value(3)).field(0).name(), "total");
}

#[tokio::test]
async fn keys_are_told_where_they_are_enforced() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let keys = |table: &str| CommandGetPrimaryKeys { catalog: None, db_schema: None, table: table.to_owned() };
    let info = client.get_primary_keys(keys("items_1")).await.unwrap();
    let found = lines(&fetch(&mut client, info).await.unwrap());
    assert_eq!(found, ["default_catalog|shop|items_1|id|PRIMARY|1"]);
    let info = client.get_primary_keys(keys("orders")).await.unwrap();
    assert!(lines(&fetch(&mut client, info).await.unwrap()).is_empty());
    let table = "orders".to_owned();
    let foreign = [
        client.get_exported_keys(CommandGetExportedKeys { catalog: None, db_schema: None, table: table.clone() }).await,
        client.get_imported_keys(CommandGetImportedKeys { catalog: None, db_schema: None, table: table.clone() }).await,
        client
            .get_cross_reference(CommandGetCrossReference {
                pk_catalog: None,
                pk_db_schema: None,
                pk_table: table.clone(),
                fk_catalog: None,
                fk_db_schema: None,
                fk_table: table,
            })
            .await,
    ];
    for info in foreign {
        let info = info.unwrap();
        assert_eq!(info.clone().try_decode_schema().unwrap().fields().len(), 13);
        assert!(lines(&fetch(&mut client, info).await.unwrap()).is_empty());
    }
}

#[tokio::test]
async fn types_are_described() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()).len(), 19);
}

#[tokio::test]
async fn a_schema_is_told_without_running_anything() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let query = CommandStatementQuery { query: "SELECT DATABASE()".to_owned(), transaction_id: None }.as_any();
    for (command, fields) in [(query, 1), (CommandGetTableTypes {}.as_any(), 1)] {
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        let answer = client.inner_mut().get_schema(descriptor).await.unwrap().into_inner();
        assert_eq!(decode(&answer.schema).fields().len(), fields);
    }
    assert!(harness.state().executed.lock().is_empty());
}

#[tokio::test]
async fn polling_a_query_gives_its_ticket_at_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let query = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None }.as_any();
    let descriptor = FlightDescriptor::new_cmd(query.encode_to_vec());
    let poll = client.inner_mut().poll_flight_info(descriptor).await.unwrap().into_inner();
    assert!(poll.flight_descriptor.is_none());
    let ticket = poll.info.unwrap().endpoint[0].ticket.clone().unwrap();
    let ticket = Command::try_from(Any::decode(&*ticket.ticket).unwrap()).unwrap();
    assert!(matches!(ticket, Command::TicketStatementQuery(_)));
}

#[tokio::test]
async fn actions_are_listed() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let actions = client.inner_mut().list_actions(Empty {}).await.unwrap().into_inner();
    let names: Vec<String> = actions.map_ok(|a| a.r#type).try_collect().await.unwrap();
    assert!(names.contains(&"SetSessionOptions".to_owned()) && !names.contains(&"BeginTransaction".to_owned()));
}
