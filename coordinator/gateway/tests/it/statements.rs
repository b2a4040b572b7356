//! Queries, updates, prepared statements, cancelling.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandStatementQuery, ProstMessageExt,
};
use arrow_flight::{CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightInfo};
use futures::TryStreamExt;
use prost::Message;
use tarn_gateway::Options;
use tarn_gateway::flight::{MESSAGE_HEADER, QUERY_ID_HEADER};
use tonic::Code;

use crate::harness::{Client, Harness, action, eventually, fetch, lines, query, status};

fn column(values: Vec<i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("0", Arc::new(Int64Array::from(values)) as ArrayRef)]).unwrap()
}

async fn with_table(harness: &Harness) -> Client {
    let mut client = harness.client().await;
    query(&mut client, "USE shop").await.unwrap();
    query(&mut client, "CREATE TABLE t").await.unwrap();
    client
}

#[tokio::test]
async fn text_is_advertised_and_sent_as_plain_utf8() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.execute("SELECT DATABASE()".to_owned(), None).await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), [""]);
}

#[tokio::test]
async fn a_query_runs_when_its_ticket_is_redeemed_and_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    assert!(harness.state().executed.lock().is_empty());
    assert_eq!(lines(&fetch(&mut client, info.clone()).await.unwrap()), ["1"]);
    let (code, message) = status(fetch(&mut client, info).await);
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("one DoGet"), "{message}");
    assert_eq!(*harness.state().executed.lock(), ["SELECT 1"]);
}

#[tokio::test]
async fn a_statement_without_rows_runs_to_its_end_before_execute_returns() {
    let harness = Harness::start().await;
    let mut client = with_table(&harness).await;
    let info = client.execute("INSERT INTO t VALUES (7)".to_owned(), None).await.unwrap();
    assert_eq!(info.total_records, 1);
    let told: serde_json::Value = serde_json::from_slice(&info.app_metadata).unwrap();
    assert_eq!(told["message"], "{'label':'ö','status':'VISIBLE'}");
    assert_eq!(query(&mut client, "SELECT * FROM t").await.unwrap(), ["7"]);
    // Fetching its empty result does not run it again.
    assert!(fetch(&mut client, info).await.unwrap().is_empty());
    assert_eq!(query(&mut client, "SELECT * FROM t").await.unwrap(), ["7"]);
}

#[tokio::test]
async fn updates_tell_how_many_rows_they_changed() {
    let harness = Harness::start().await;
    let mut client = with_table(&harness).await;
    assert_eq!(client.execute_update("INSERT INTO t VALUES (1)".to_owned(), None).await.unwrap(), 1);
    assert_eq!(client.execute_update("CREATE TABLE u".to_owned(), None).await.unwrap(), -1);
}

#[tokio::test]
async fn headers_tell_query_id_and_message() {
    let harness = Harness::start().await;
    let mut client = with_table(&harness).await;
    let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert!(stream.headers().get(QUERY_ID_HEADER).unwrap().to_str().unwrap().starts_with('q'));
    let command = CommandStatementQuery { query: "INSERT INTO t VALUES (1)".to_owned(), transaction_id: None };
    let mut request = tonic::Request::new(FlightDescriptor::new_cmd(command.as_any().encode_to_vec()));
    request.metadata_mut().insert("authorization", format!("Bearer {}", client.token().unwrap()).parse().unwrap());
    let answer = client.inner_mut().get_flight_info(request).await.unwrap();
    let message = answer.metadata().get_bin(MESSAGE_HEADER).unwrap().to_bytes().unwrap();
    assert_eq!(message, "{'label':'ö','status':'VISIBLE'}".as_bytes());
}

#[tokio::test]
async fn a_prepared_query_tells_its_schemas_and_takes_parameters() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let mut statement = client.prepare("SELECT ?".to_owned(), None).await.unwrap();
    assert_eq!(statement.dataset_schema().unwrap().field(0).data_type(), &DataType::Utf8);
    assert_eq!(statement.parameter_schema().unwrap().fields().len(), 1);
    let words = Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef;
    statement.set_parameters(RecordBatch::try_from_iter([("0", words)]).unwrap()).unwrap();
    let info = statement.execute().await.unwrap();
    // Once for each row of parameters, results one after the other.
    assert_eq!(lines(&fetch(&mut client, info).await.unwrap()), ["one", "two"]);
    statement.close().await.unwrap();
}

#[tokio::test]
async fn missing_and_surplus_parameters_are_refused() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let mut statement = client.prepare("SELECT ?".to_owned(), None).await.unwrap();
    let (code, message) = status(statement.execute().await);
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "the statement has 1 parameters and 0 are bound"));
    let mut statement = client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    statement.set_parameters(column(vec![1])).unwrap();
    assert_eq!(status(statement.execute().await).0, Code::InvalidArgument);
    assert_eq!(status(query(&mut client, "SELECT ?").await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn a_prepared_update_runs_once_for_each_row_and_again_when_executed_again() {
    let harness = Harness::start().await;
    let mut client = with_table(&harness).await;
    let mut statement = client.prepare("INSERT INTO t VALUES (?)".to_owned(), None).await.unwrap();
    assert!(statement.dataset_schema().unwrap().fields().is_empty());
    statement.set_parameters(column(vec![1, 2, 3])).unwrap();
    assert_eq!(statement.execute_update().await.unwrap(), 3);
    statement.set_parameters(column(vec![4])).unwrap();
    assert_eq!(statement.execute().await.unwrap().total_records, 1);
    assert_eq!(statement.execute_update().await.unwrap(), 1);
    assert_eq!(query(&mut client, "SELECT * FROM t").await.unwrap(), ["1", "2", "3", "4", "4"]);
}

#[tokio::test]
async fn rows_of_parameters_under_one_label_are_refused_not_lost() {
    let harness = Harness::start().await;
    let mut client = with_table(&harness).await;
    let mut statement = client.prepare("INSERT INTO t WITH LABEL l VALUES (?)".to_owned(), None).await.unwrap();
    statement.set_parameters(column(vec![1, 2, 3])).unwrap();
    let (code, message) = status(statement.execute_update().await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("row 2: a label names one load: bind one row"), "{message}");
    // One row that is repeated is what labels are for.
    statement.set_parameters(column(vec![1])).unwrap();
    assert_eq!(statement.execute_update().await.unwrap(), 1);
}

#[tokio::test]
async fn a_failing_row_of_parameters_is_named() {
    let harness = Harness::start().await;
    let mut client = with_table(&harness).await;
    let mut statement = client.prepare("INSERT INTO t VALUES (?)".to_owned(), None).await.unwrap();
    let words = Arc::new(StringArray::from(vec!["1", "x"])) as ArrayRef;
    statement.set_parameters(RecordBatch::try_from_iter([("0", words)]).unwrap()).unwrap();
    let (code, message) = status(statement.execute_update().await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("row 2") && message.contains("`x` is no number"), "{message}");
}

#[tokio::test]
async fn a_closed_statement_is_unknown_and_others_make_room() {
    let harness = Harness::start_with("", Options { max_sessions: 9, max_statements: 1 }, None).await;
    let mut client = harness.client().await;
    let statement = client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    let mut copy = statement.clone();
    let (code, message) = status(client.prepare("SELECT 1".to_owned(), None).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(message.starts_with("1 statements are held"), "{message}");
    statement.close().await.unwrap();
    assert_eq!(status(copy.execute().await).0, Code::NotFound);
    client.prepare("SELECT 1".to_owned(), None).await.unwrap();
}

#[tokio::test]
async fn errors_carry_the_code_of_their_kind_and_begin_with_what_happened() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    assert_eq!(
        status(query(&mut client, "SELECT").await),
        (Code::InvalidArgument, "line 1, column 7: expected an expression".to_owned())
    );
    assert_eq!(status(query(&mut client, "SELECT * FROM nowhere").await).0, Code::NotFound);
    assert_eq!(status(query(&mut client, "FAIL exists").await).0, Code::AlreadyExists);
    assert_eq!(status(client.execute_update("FAIL full".to_owned(), None).await).0, Code::ResourceExhausted);
    assert_eq!(
        status(query(&mut client, "SELECT FAILING").await),
        (Code::Unavailable, "compute node n7 was lost".to_owned())
    );
    let transaction = client.execute("SELECT 1".to_owned(), Some("t".into())).await;
    assert_eq!(status(transaction).0, Code::Unimplemented);
    assert_eq!(status(client.begin_transaction().await).0, Code::Unimplemented);
}

#[tokio::test]
async fn a_dropped_stream_drops_its_query() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.execute("SELECT SLOW".to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    assert_eq!(harness.state().open_results.load(Ordering::SeqCst), 1);
    drop(stream);
    eventually("the query ends", || harness.state().open_results.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_running_query_is_cancelled_by_its_flight_from_another_connection() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.execute("SELECT SLOW".to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    let mut other = harness.client().await;
    let request = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let result: CancelFlightInfoResult = action(&mut other, "CancelFlightInfo", request.clone()).await.unwrap();
    assert_eq!(result.status(), CancelStatus::Cancelled);
    let rest = stream.try_collect::<Vec<_>>().await;
    assert_eq!(status(rest), (Code::Cancelled, "the query was cancelled".to_owned()));
    eventually("the query ends", || harness.state().open_results.load(Ordering::SeqCst) == 0).await;
    let again = action::<CancelFlightInfoResult>(&mut other, "CancelFlightInfo", request).await;
    assert_eq!(again.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_query_that_has_not_begun_is_cancelled_by_the_older_action() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    let request = ActionCancelQueryRequest { info: info.encode_to_vec().into() }.as_any().encode_to_vec();
    let result: Any = action(&mut client, "CancelQuery", request).await.unwrap();
    assert_eq!(result.unpack::<ActionCancelQueryResult>().unwrap().unwrap().result, 1);
    assert_eq!(status(fetch(&mut client, info).await).0, Code::NotFound);
    assert!(harness.state().executed.lock().is_empty());
}

#[tokio::test]
async fn a_query_of_another_coordinator_is_cancelled_by_its_id() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let info = FlightInfo::new().with_app_metadata(r#"{"query_id":"elsewhere"}"#);
    let request = CancelFlightInfoRequest::new(info).encode_to_vec();
    action::<CancelFlightInfoResult>(&mut client, "CancelFlightInfo", request).await.unwrap();
    assert_eq!(*harness.state().cancelled.lock(), ["elsewhere"]);
}
