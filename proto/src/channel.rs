//! Connections between nodes.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// An address that is not `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("`{address}` is not an address of the form host:port")]
pub struct InvalidAddress {
    address: String,
    #[source]
    source: tonic::transport::Error,
}

/// A channel to the gRPC server at `address` (`host:port`) that connects by its first call and notices a dead peer
/// within ten seconds.
pub fn connect(address: &str) -> Result<Channel, InvalidAddress> {
    Ok(endpoint(address)?.connect_lazy())
}

/// As [`connect`], and every call fails after `timeout`.
pub fn connect_with_timeout(address: &str, timeout: Duration) -> Result<Channel, InvalidAddress> {
    Ok(endpoint(address)?.timeout(timeout).connect_lazy())
}

fn endpoint(address: &str) -> Result<Endpoint, InvalidAddress> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|source| InvalidAddress { address: address.to_owned(), source })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(Some(8 << 20))
        .initial_connection_window_size(Some(64 << 20))
        .tcp_nodelay(true))
}
