//! One session with a server over Flight SQL.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, CancelFlightInfoRequest, FlightClient, FlightInfo, HandshakeRequest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the server when leaving.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What begins each certificate of a PEM file.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
/// A batch of wide rows may be larger than gRPC's 4 MiB.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Whom to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// `grpc://host:port` or `grpc+tls://host:port`.
    pub url: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// Trusted certificates, for `grpc+tls`.
    pub tls_ca: Option<PathBuf>,
}

impl Target {
    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let (scheme, address) = self.url.split_once("://").unwrap_or(("grpc", &self.url));
        let tls = match scheme {
            "grpc" | "grpc+tcp" | "http" => false,
            "grpc+tls" | "grpcs" | "https" => true,
            other => bail!("`{other}` is not a scheme of Flight SQL: use grpc:// or grpc+tls://"),
        };
        let uri = format!("{}://{}", if tls { "https" } else { "http" }, address.trim_end_matches('/'));
        let endpoint = Endpoint::from_shared(uri)
            .with_context(|| format!("`{}` is not an address of the form grpc://host:port", self.url))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        if !tls {
            return Ok(endpoint);
        }
        let Some(file) = &self.tls_ca else {
            bail!("{} needs --tls-ca FILE: the certificates (PEM) that the server is trusted by", self.url);
        };
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(
            pem.windows(CERTIFICATE.len()).any(|window| window == CERTIFICATE),
            "{} holds no certificate (PEM)",
            file.display()
        );
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint.tls_config(config).with_context(|| format!("cannot use the certificates of {}", file.display()))
    }
}

/// One session with a server. Cheap to clone; all clones are the same session.
#[derive(Clone)]
pub struct Connection {
    client: FlightSqlServiceClient<Channel>,
    channel: Channel,
    /// The query whose rows are being read, to cancel it.
    running: Arc<Mutex<Option<FlightInfo>>>,
}

/// What a statement returned.
pub enum Reply {
    /// Rows.
    Rows(Rows),
    /// No rows to return.
    Done(Done),
}

/// What a statement without rows did. The server tells it as JSON in the answer's metadata.
#[derive(Deserialize)]
pub struct Done {
    /// Rows loaded; `None` for statements that load none.
    pub rows: Option<u64>,
    /// A line for people, e.g. a load's label, transaction and status; or empty.
    pub message: String,
}

/// Rows as they arrive.
pub struct Rows {
    schema: SchemaRef,
    streams: Vec<FlightRecordBatchStream>,
}

impl Rows {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next batch.
    pub async fn next(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        while let Some(stream) = self.streams.last_mut() {
            match stream.next().await {
                Some(batch) => return batch.map(Some).map_err(explain),
                None => drop(self.streams.pop()),
            }
        }
        Ok(None)
    }
}

impl Connection {
    /// Connects and logs in.
    pub async fn open(target: Target) -> anyhow::Result<Self> {
        let channel = target.endpoint()?.connect().await.map_err(no_tls);
        let channel = channel.with_context(|| format!("cannot connect to {}", target.url))?;
        let inner = FlightServiceClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut client = FlightSqlServiceClient::new_from_inner(inner);
        log_in(&mut client, &target).await.with_context(|| format!("cannot log in to {}", target.url))?;
        Ok(Self { client, channel, running: Arc::default() })
    }

    /// Makes `database` the session's.
    pub async fn use_database(&self, database: &str) -> anyhow::Result<()> {
        self.run(&format!("USE `{}`", database.replace('`', "``"))).await.map(drop)
    }

    /// Runs one statement.
    pub async fn run(&self, sql: &str) -> anyhow::Result<Reply> {
        let mut client = self.client.clone();
        let info = client.execute(sql.to_owned(), None).await.map_err(explain)?;
        let schema = if info.schema.is_empty() {
            Schema::empty()
        } else {
            Schema::try_from(info.clone()).context("the server sent a malformed schema")?
        };
        if schema.fields().is_empty()
            && let Ok(done) = serde_json::from_slice(&info.app_metadata)
        {
            return Ok(Reply::Done(done));
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.clone());
        let mut streams = Vec::with_capacity(info.endpoint.len());
        for endpoint in info.endpoint {
            let ticket = endpoint.ticket.ok_or_else(|| anyhow!("the server sent an endpoint without a ticket"))?;
            streams.push(client.do_get(ticket).await.map_err(explain)?);
        }
        streams.reverse();
        Ok(Reply::Rows(Rows { schema: Arc::new(schema), streams }))
    }

    /// All rows of a query.
    pub async fn rows(&self, sql: &str) -> anyhow::Result<Vec<RecordBatch>> {
        let mut client = self.client.clone();
        let info = client.execute(sql.to_owned(), None).await.map_err(explain)?;
        fetch(&mut client, info).await
    }

    /// What `request` asks of the server's metadata.
    pub async fn metadata(&self, request: arrow_flight::sql::CommandGetTables) -> anyhow::Result<Vec<RecordBatch>> {
        let mut client = self.client.clone();
        let info = client.get_tables(request).await.map_err(explain)?;
        fetch(&mut client, info).await
    }

    /// Ends the session: else the server keeps it for a client that may come back.
    pub async fn close(&self) {
        let Some(mut client) = self.flight() else { return };
        let ended = async {
            match client.do_action(Action::new("CloseSession", "")).await {
                Ok(answer) => answer.try_collect::<Vec<_>>().await.map(drop),
                Err(error) => Err(error),
            }
        };
        // A server that is away has no session to end.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
    }

    /// A client of this session for calls that are not Flight SQL's.
    fn flight(&self) -> Option<FlightClient> {
        let mut client = FlightClient::new(self.channel.clone());
        if let Some(token) = self.client.token() {
            client.add_header("authorization", &format!("Bearer {token}")).ok()?;
        }
        Some(client)
    }

    /// Cancels the query that runs in this session, if its server still knows it.
    pub async fn cancel(&self) {
        let info = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(info), Some(mut client)) = (info, self.flight()) else { return };
        let call = client.cancel_flight_info(CancelFlightInfoRequest::new(info));
        // The server also notices that its reader has gone: this only tells it sooner.
        if tokio::time::timeout(CONNECT_TIMEOUT, call).await.is_err() {
            eprintln!("the server does not answer");
        }
    }
}

async fn fetch(client: &mut FlightSqlServiceClient<Channel>, info: FlightInfo) -> anyhow::Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for ticket in info.endpoint.into_iter().filter_map(|e| e.ticket) {
        let stream = client.do_get(ticket).await.map_err(explain)?;
        batches.extend(stream.try_collect::<Vec<_>>().await.map_err(explain)?);
    }
    Ok(batches)
}

/// Says in plain words that a plain server took what TLS begins with for nonsense.
fn no_tls(error: tonic::transport::Error) -> anyhow::Error {
    match tarn_proto::error::chain(&error) {
        text if text.contains("InvalidContentType") => anyhow!("the server does not speak TLS: use grpc://"),
        _ => error.into(),
    }
}

/// Shows the password and keeps the token that the server answers with. The client's own `handshake` hides the server's
/// reason in an Arrow error.
async fn log_in(client: &mut FlightSqlServiceClient<Channel>, target: &Target) -> anyhow::Result<()> {
    let mut request = tonic::Request::new(futures::stream::iter([HandshakeRequest {
        protocol_version: 0,
        payload: Default::default(),
    }]));
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", target.user, target.password)));
    request.metadata_mut().insert("authorization", basic.parse().context("malformed user or password")?);
    let response = client.inner_mut().handshake(request).await.map_err(|status| {
        // A status with a source was made here, not by the server.
        match std::error::Error::source(&status) {
            Some(_) => anyhow!("{}: is it another protocol, or TLS (grpc+tls://)?", status.message()),
            None => anyhow!("{}", status.message()),
        }
    })?;
    let token = response
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned));
    if let Some(token) = token {
        client.set_token(token);
    }
    Ok(())
}

/// The server's words, without the transport's.
fn explain(error: FlightError) -> anyhow::Error {
    match error {
        FlightError::Tonic(status) if status.message().is_empty() => anyhow!("{}", status.code().description()),
        FlightError::Tonic(status) => anyhow!("{}", status.message()),
        other => anyhow!(other),
    }
}
