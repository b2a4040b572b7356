//! The Flight service as the transport sees it. Every call passes [`FlightSqlServer::call`]: it finds the client's session,
//! hands the call on, adds headers to the answer and counts it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::auth::{self, Credentials};
use super::call::Call;
use super::commands::Commands;
use super::error::Error;
use super::sessions::Sessions;
use super::statements::Statements;
use super::{actions, metadata, wire};
use crate::engine::Engine;
use crate::metrics;

/// How often idle sessions and forgotten statements are looked for.
pub(crate) const EXPIRY_PERIOD: Duration = Duration::from_secs(10);

/// What a server may hold.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sessions open at once. A session costs some kilobytes.
    pub max_sessions: usize,
    /// Prepared statements, and as many tickets, held at once.
    pub max_statements: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_sessions: 4096, max_statements: 65_536 }
    }
}

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) sessions: Sessions,
    pub(crate) statements: Arc<Statements>,
}

/// A Flight SQL server over an engine. Cheap to clone; clones share sessions and statements.
#[derive(Clone)]
pub struct FlightSqlServer {
    shared: Arc<Shared>,
    commands: Commands,
}

impl FlightSqlServer {
    /// A server without sessions.
    pub fn new(engine: Arc<dyn Engine>, options: Options) -> Self {
        let shared = Arc::new(Shared {
            sessions: Sessions::new(Arc::clone(&engine), options.max_sessions),
            statements: Arc::new(Statements::new(options.max_statements)),
            engine,
        });
        Self { commands: Commands(Arc::clone(&shared)), shared }
    }

    /// Ends idle sessions and forgets unused statements. Whoever serves calls it every now and then;
    /// [`super::serve_flight`] does.
    pub fn expire(&self, now: Instant) {
        self.shared.statements.expire(now);
        self.shared.sessions.expire(now);
    }

    /// Runs one call in its session.
    async fn call<'a, Q, R>(
        &'a self,
        method: &'static str,
        mut request: Request<Q>,
        run: impl FnOnce(Arc<Call>, Request<Q>) -> BoxFuture<'a, Result<Response<R>, Status>> + Send,
    ) -> Result<Response<R>, Status>
    where
        Q: Send,
    {
        let started = Instant::now();
        let result = match self.admit(&request).await {
            Err(error) => Err(error.into()),
            Ok(call) => {
                request.extensions_mut().insert(Arc::clone(&call));
                let mut result = run(Arc::clone(&call), request).await;
                match &mut result {
                    Ok(response) => call.annotate(response.metadata_mut()),
                    Err(status) => call.annotate(status.metadata_mut()),
                }
                result
            }
        };
        if let Err(status) = &result {
            tracing::debug!(method, code = ?status.code(), reason = status.message(), "call refused");
        }
        metrics::request(method, result.as_ref().err(), started.elapsed());
        result
    }

    async fn admit<Q>(&self, request: &Request<Q>) -> Result<Arc<Call>, Error> {
        let presented = auth::presented(request.metadata())?;
        let admitted = self.shared.sessions.admit(presented, address(request.remote_addr())).await?;
        Ok(Call::new(admitted.session, admitted.opened))
    }

    async fn schema(&self, call: &Call, descriptor: &FlightDescriptor) -> Result<SchemaResult, Error> {
        let command = Any::decode(&*descriptor.cmd).map_err(|e| Error::Malformed(e.to_string()))?;
        let schema = match Command::try_from(command).map_err(|e| Error::Malformed(e.to_string()))? {
            Command::CommandStatementQuery(query) => {
                let prepared = call.session.engine.prepare(&query.query).await?;
                wire::result_schema(&prepared.schema).as_ref().clone()
            }
            Command::CommandPreparedStatementQuery(query) => {
                let handle = &query.prepared_statement_handle;
                let statement = self.shared.statements.prepared(handle, &call.session.user)?;
                wire::result_schema(&statement.prepared.schema).as_ref().clone()
            }
            command => metadata::schema_of(&command)
                .ok_or(Error::Unsupported("this command has no schema to tell before it runs"))?,
        };
        Ok(SchemaResult { schema: wire::schema_bytes(&schema)? })
    }
}

fn address(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(String::new, |peer| peer.to_string())
}

type Reply<R> = Result<Response<R>, Status>;

#[tonic::async_trait]
impl FlightService for FlightSqlServer {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Reply<Self::HandshakeStream> {
        let started = Instant::now();
        let address = address(request.remote_addr());
        let result = async {
            let mut credentials = auth::presented(request.metadata())?.credentials;
            if credentials == Credentials::None {
                // The oldest clients send their name in the payload; newer ones wait for the answer without sending.
                let first = request.into_inner().message().await?;
                let named = first.and_then(|first| auth::handshake_payload(&first.payload));
                credentials = named.unwrap_or(Credentials::None);
            }
            let session = self.shared.sessions.handshake(credentials, address).await?;
            let answer = HandshakeResponse { protocol_version: 0, payload: session.token().to_owned().into() };
            let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
            session.announce(response.metadata_mut());
            Ok(response)
        };
        let result = result.await;
        metrics::request("Handshake", result.as_ref().err(), started.elapsed());
        result
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Reply<Self::ListFlightsStream> {
        self.call("ListFlights", request, |_, _| async { Ok(Response::new(stream::empty().boxed())) }.boxed()).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        self.call("GetFlightInfo", request, |_, request| self.commands.get_flight_info(request)).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<PollInfo> {
        self.call("PollFlightInfo", request, |_, request| {
            let info = self.commands.get_flight_info(request);
            // The rows stream as they are computed, so the one answer is the final one.
            info.map_ok(|info| {
                info.map(|info| PollInfo { info: Some(info), progress: Some(1.0), ..PollInfo::default() })
            })
            .boxed()
        })
        .await
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        self.call("GetSchema", request, |call, request| {
            async move { Ok(Response::new(self.schema(&call, request.get_ref()).await?)) }.boxed()
        })
        .await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        self.call("DoGet", request, |_, request| self.commands.do_get(request)).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        self.call("DoPut", request, |_, request| self.commands.do_put(request)).await
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<Self::DoActionStream> {
        self.call("DoAction", request, |call, request| match request.get_ref().r#type.as_str() {
            "CreatePreparedStatement" | "ClosePreparedStatement" | "CancelQuery" => self.commands.do_action(request),
            _ => async move {
                let body = actions::run(&self.shared, &call, request.get_ref()).await?;
                Ok(Response::new(stream::iter([Ok(arrow_flight::Result::new(body))]).boxed()))
            }
            .boxed(),
        })
        .await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Reply<Self::ListActionsStream> {
        self.call("ListActions", request, |_, _| {
            async { Ok(Response::new(stream::iter(actions::list().into_iter().map(Ok)).boxed())) }.boxed()
        })
        .await
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoExchangeStream> {
        self.call("DoExchange", request, |_, _| {
            async { Err(Error::Unsupported("DoExchange is not supported: use DoGet or DoPut").into()) }.boxed()
        })
        .await
    }
}
