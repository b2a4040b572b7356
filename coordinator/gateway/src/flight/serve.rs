//! Serving a [`FlightSqlServer`] on a socket.

use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use super::server::{EXPIRY_PERIOD, FlightSqlServer};

/// How long results that are being sent may take after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// A client that does not answer pings for twice this time is gone; its queries are cancelled.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How much of one upload may be on its way unread, so that a bulk ingest does not wait for each round trip.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all uploads of a connection.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The server's certificate.
#[derive(Clone)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert: Vec<u8>,
    /// Its private key, PEM.
    pub key: Vec<u8>,
}

impl TlsConfig {
    /// Whether it can be used.
    ///
    /// # Errors
    /// When it cannot: the certificate or the key is malformed, or they do not belong together.
    pub fn check(&self) -> Result<(), tonic::transport::Error> {
        Server::builder().tls_config(self.server()).map(drop)
    }

    fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(Identity::from_pem(&self.cert, &self.key))
    }
}

/// The service with the limits that clients' large messages need, for a transport assembled elsewhere.
pub fn service(server: FlightSqlServer) -> FlightServiceServer<FlightSqlServer> {
    FlightServiceServer::new(server).max_decoding_message_size(usize::MAX).max_encoding_message_size(usize::MAX)
}

/// Serves until `cancel`; then takes no new connections and gives running results some seconds to end.
///
/// # Errors
/// When the certificate or key cannot be used, or the listener fails.
pub async fn serve_flight(
    listener: TcpListener,
    server: FlightSqlServer,
    tls: Option<TlsConfig>,
    cancel: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let mut builder = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE));
    if let Some(tls) = tls {
        builder = builder.tls_config(tls.server())?;
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEP_ALIVE));
    let serve = builder
        .add_service(service(server.clone()))
        .serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned());
    let mut serve = std::pin::pin!(serve);
    let mut expiry = tokio::time::interval(EXPIRY_PERIOD);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return timeout(DRAIN, serve).await.unwrap_or(Ok(())),
            served = &mut serve => return served,
            _ = expiry.tick() => server.expire(Instant::now()),
        }
    }
}
