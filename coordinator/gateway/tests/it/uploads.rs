//! Bulk ingest.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use futures::stream;
use tonic::Code;

use crate::harness::{Client, Harness, query, status};

fn command(absent: TableNotExistOption, exists: TableExistsOption) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: absent.into(),
            if_exists: exists.into(),
        }),
        table: "t".to_owned(),
        schema: Some("shop".to_owned()),
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: [].into(),
    }
}

async fn ingest(client: &mut Client, command: CommandStatementIngest) -> arrow_flight::error::Result<i64> {
    let batch = |n| {
        let column = Arc::new(Int64Array::from(vec![n; 3])) as ArrayRef;
        Ok::<_, FlightError>(RecordBatch::try_from_iter([("a", column)]).unwrap())
    };
    client.execute_ingest(command, stream::iter([batch(1), batch(2)])).await
}

#[tokio::test]
async fn ingest_creates_appends_replaces_and_refuses() {
    use {TableExistsOption as E, TableNotExistOption as N};
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let rows = async |client: &mut Client| query(client, "SELECT * FROM shop.t").await.unwrap().len();
    assert_eq!(status(ingest(&mut client, command(N::Fail, E::Append)).await).0, Code::NotFound);
    assert_eq!(ingest(&mut client, command(N::Create, E::Fail)).await.unwrap(), 6);
    assert_eq!(status(ingest(&mut client, command(N::Create, E::Fail)).await).0, Code::AlreadyExists);
    assert_eq!(ingest(&mut client, command(N::Create, E::Append)).await.unwrap(), 6);
    assert_eq!(rows(&mut client).await, 12);
    assert_eq!(ingest(&mut client, command(N::Create, E::Replace)).await.unwrap(), 6);
    assert_eq!(rows(&mut client).await, 6);
}

#[tokio::test]
async fn what_ingest_cannot_do_is_said() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let fine = command(TableNotExistOption::Create, TableExistsOption::Append);
    let mut refused = async |command: CommandStatementIngest| status(ingest(&mut client, command).await);
    let (code, message) = refused(CommandStatementIngest { temporary: true, ..fine.clone() }).await;
    assert_eq!(code, Code::Unimplemented);
    assert!(message.contains("temporary tables"), "{message}");
    let (code, _) = refused(CommandStatementIngest { catalog: Some("lake".to_owned()), ..fine.clone() }).await;
    assert_eq!(code, Code::Unimplemented);
    let (code, _) = refused(CommandStatementIngest { transaction_id: Some("t".into()), ..fine.clone() }).await;
    assert_eq!(code, Code::Unimplemented);
    let options = [("labl".to_owned(), "x".to_owned())].into();
    let (code, message) = refused(CommandStatementIngest { options, ..fine.clone() }).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("`labl`"), "{message}");
    let unspecified = command(TableNotExistOption::Unspecified, TableExistsOption::Append);
    assert_eq!(refused(unspecified).await.0, Code::InvalidArgument);
}
