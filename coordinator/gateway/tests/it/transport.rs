//! Sockets: TLS and shutdown.

use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tarn_gateway::{Options, TlsConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::harness::{Harness, query};

const CERT: &[u8] = include_bytes!("../tls/cert.pem");
const KEY: &[u8] = include_bytes!("../tls/key.pem");

#[tokio::test]
async fn tls_is_spoken_when_a_certificate_is_given() {
    let tls = TlsConfig { cert: CERT.to_vec(), key: KEY.to_vec() };
    let harness = Harness::start_with("secret", Options::default(), Some(tls)).await;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(CERT)).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", harness.address)).unwrap().tls_config(config).unwrap();
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    client.handshake("root", "secret").await.unwrap();
    assert_eq!(query(&mut client, "SELECT 1").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_bad_certificate_is_reported_at_start() {
    let tls = TlsConfig { cert: b"no certificate".to_vec(), key: KEY.to_vec() };
    let harness = Harness::start_with("", Options::default(), Some(tls)).await;
    assert!(harness.serving.await.unwrap().is_err());
}

#[tokio::test]
async fn shutdown_lets_a_running_result_end() {
    let Harness { engine: _engine, server: _server, address, serving, _stop } = Harness::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    client.handshake("root", "").await.unwrap();
    let info = client.execute("SELECT SLOW".to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    drop(_stop);
    stream.try_next().await.unwrap().unwrap();
    drop(stream);
    serving.await.unwrap().unwrap();
}
