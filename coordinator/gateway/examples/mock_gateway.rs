//! A Flight SQL server over the tests' engine in memory, for trying drivers: `mock_gateway [ADDRESS] [PASSWORD]`.

#[path = "../tests/it/mock.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod mock;

use tarn_gateway::{FlightSqlServer, Options, serve_flight};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9408".to_owned());
    let engine = mock::MockEngine::new(&arguments.next().unwrap_or_default());
    let server = FlightSqlServer::new(engine, Options::default());
    serve_flight(TcpListener::bind(address).await?, server, None, CancellationToken::new()).await?;
    Ok(())
}
