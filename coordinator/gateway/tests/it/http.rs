//! The HTTP endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics_exporter_prometheus::PrometheusBuilder;
use tarn_gateway::http::serve_http;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn health_readiness_and_metrics_are_told() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        tarn_gateway::metrics::describe();
        metrics::counter!("tarn_gateway_sent_rows_total").increment(3);
    });
    let ready = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let readiness = Arc::clone(&ready);
    let check = move || if readiness.load(Ordering::SeqCst) { Ok(()) } else { Err("no leader".to_owned()) };
    let serving = tarn_proto::task::spawn("http", serve_http(listener, check, handle, cancel.clone()));

    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let refused = get(address, "/readyz").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.ends_with("not ready: no leader\n"), "{refused}");
    ready.store(true, Ordering::SeqCst);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("tarn_gateway_sent_rows_total 3"), "{metrics}");
    assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));

    cancel.cancel();
    serving.await.unwrap().unwrap();
}
