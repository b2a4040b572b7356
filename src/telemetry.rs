//! Logs to stderr, traces by OTLP, metrics for Prometheus.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, ensure};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::Uri;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::cli::LogFormat;
use crate::config::ProcessConfig;

/// What is logged when nobody says otherwise: the cluster's own events, and trouble in libraries. openraft warns at each
/// heartbeat of a voter that is down, which membership tells once; and what reaches a stopped one is no trouble.
const DEFAULT_FILTER: &str = "info,openraft=error,openraft::raft::raft_inner=off,h2=warn,hyper=warn,tower=warn,\
                              datafusion=warn,foyer=warn";
/// Longest wait for a collector at the end of the process.
const LAST_TRACES: Duration = Duration::from_secs(2);
/// Bounds of duration histograms, in seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Telemetry of this process. Kept until its end.
pub struct Telemetry {
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts logging, and exporting traces where configured. Called once, within the runtime.
    pub fn start(process: &ProcessConfig, role: &'static str) -> anyhow::Result<Self> {
        let filter = match (&process.log, std::env::var("RUST_LOG")) {
            (Some(filter), _) => {
                EnvFilter::try_new(filter).with_context(|| format!("`{filter}` is not a log filter"))?
            }
            (None, Ok(filter)) if !filter.is_empty() => {
                EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG `{filter}` is not a log filter"))?
            }
            _ => EnvFilter::new(DEFAULT_FILTER),
        };
        let lines = match process.log_format {
            LogFormat::Text => fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(true)
                .boxed(),
            LogFormat::Json => fmt::layer()
                .json()
                .with_writer(std::io::stderr)
                .with_current_span(false)
                .with_span_list(true)
                .flatten_event(true)
                .boxed(),
        };
        let traces = process.otlp_endpoint.as_deref().map(|endpoint| exporter(endpoint, role)).transpose()?;
        let spans = traces.as_ref().map(|t| tracing_opentelemetry::layer().with_tracer(t.tracer("tarn")));
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .with(spans)
            .try_init()
            .context("cannot start logging")?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .context("cannot start metrics")?;
        tarn_gateway::metrics::process(role, env!("CARGO_PKG_VERSION"));
        Ok(Self { metrics, traces })
    }

    /// Sends what is not sent yet.
    pub fn stop(&self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown_with_timeout(LAST_TRACES)
        {
            tracing::warn!(%error, "cannot send the last traces");
        }
    }
}

fn exporter(endpoint: &str, role: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let uri = endpoint.parse::<Uri>().ok();
    ensure!(
        uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()),
        "otlp_endpoint `{endpoint}` is not of the form http://host:port"
    );
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("cannot export traces to `{endpoint}`"))?;
    let resource = Resource::builder()
        .with_service_name("tarn")
        .with_attribute(KeyValue::new("tarn.role", role))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
