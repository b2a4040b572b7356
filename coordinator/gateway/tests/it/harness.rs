//! A server on loopback and clients of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo};
use futures::TryStreamExt;
use prost::Message;
use tarn_gateway::{FlightSqlServer, Options, TlsConfig, serve_flight};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

use crate::mock::{MockEngine, State};

/// Waiting for anything takes no longer.
const DEADLINE: Duration = Duration::from_secs(10);

pub type Client = FlightSqlServiceClient<Channel>;

/// A running server; stops when dropped.
pub struct Harness {
    pub engine: Arc<MockEngine>,
    pub server: FlightSqlServer,
    pub address: SocketAddr,
    pub serving: JoinHandle<Result<(), tonic::transport::Error>>,
    pub _stop: DropGuard,
}

impl Harness {
    pub async fn start() -> Self {
        Self::start_with("", Options::default(), None).await
    }

    pub async fn start_with(password: &str, options: Options, tls: Option<TlsConfig>) -> Self {
        let engine = MockEngine::new(password);
        let server = FlightSqlServer::new(engine.clone(), options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let serving = tarn_proto::task::spawn("flight", serve_flight(listener, server.clone(), tls, cancel.clone()));
        Self { engine, server, address, serving, _stop: cancel.drop_guard() }
    }

    pub fn state(&self) -> &State {
        &self.engine.state
    }

    /// A connection that has not said who it is.
    pub async fn stranger(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
    }

    /// A client that shook hands.
    pub async fn client(&self) -> Client {
        let mut client = self.stranger().await;
        client.handshake("root", &self.engine.password).await.unwrap();
        client
    }
}

/// Fetches all rows of a flight.
pub async fn fetch(client: &mut Client, info: FlightInfo) -> arrow_flight::error::Result<Vec<RecordBatch>> {
    let schema = info.clone().try_decode_schema().unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        batches.push(batch);
    }
    assert_eq!(stream.schema().unwrap().as_ref(), &schema, "the stream's schema is the advertised one");
    Ok(batches)
}

/// Runs a query and returns its rows as text, cells of a row separated by `|`.
pub async fn query(client: &mut Client, sql: &str) -> arrow_flight::error::Result<Vec<String>> {
    let info = client.execute(sql.to_owned(), None).await?;
    Ok(lines(&fetch(client, info).await?))
}

pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    if batches.is_empty() {
        return Vec::new();
    }
    let table = pretty_format_batches(batches).unwrap().to_string();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|")).collect()
}

/// Runs an action whose answer is one message.
pub async fn action<M: Message + Default>(client: &mut Client, name: &str, body: Vec<u8>) -> Result<M, tonic::Status> {
    let mut request = tonic::Request::new(Action::new(name, body));
    if let Some(token) = client.token() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut answers = client.inner_mut().do_action(request).await?.into_inner();
    let answer = answers.message().await?.unwrap_or_default();
    Ok(M::decode(answer.body).unwrap())
}

/// The status in an error of the client library.
pub fn status<T>(result: arrow_flight::error::Result<T>) -> (tonic::Code, String) {
    match result.err().expect("an error") {
        arrow_flight::error::FlightError::Tonic(status) => (status.code(), status.message().to_owned()),
        other => panic!("not a status: {other}"),
    }
}

/// Waits until `done`.
pub async fn eventually(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
