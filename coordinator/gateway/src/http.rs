//! The HTTP endpoints that every role serves: `/metrics` for Prometheus, `/healthz` (the process answers) and `/readyz`
//! (it can do its work; otherwise 503 and the reason). It knows nothing of SQL.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often histograms are drained into their buckets: the exporter asks for it to bound memory between scrapes.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// How long answers that have begun may take after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(2);

/// Tells whether the role can do its work, or why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Endpoints {
    ready: Readiness,
    metrics: PrometheusHandle,
}

/// The endpoints as a router, to which a role may add its own.
pub fn router(ready: Readiness, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .with_state(Endpoints { ready, metrics })
}

/// Serves [`router`] until `cancel`.
///
/// # Errors
/// When the listener fails.
pub async fn serve_http(
    listener: TcpListener,
    ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    metrics: PrometheusHandle,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    serve_router(listener, router(Arc::new(ready), metrics.clone()), metrics, cancel).await
}

/// Serves `router` until `cancel`, and keeps the exporter's memory bounded.
///
/// # Errors
/// When the listener fails.
pub async fn serve_router(
    listener: TcpListener,
    router: Router,
    metrics: PrometheusHandle,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let serve = axum::serve(listener, router).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let mut serve = std::pin::pin!(serve.into_future());
    let mut upkeep = tokio::time::interval(UPKEEP_PERIOD);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return timeout(DRAIN, serve).await.unwrap_or(Ok(())),
            served = &mut serve => return served,
            _ = upkeep.tick() => metrics.run_upkeep(),
        }
    }
}

async fn scrape(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], endpoints.metrics.render())
}

async fn readiness(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    match (endpoints.ready)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
