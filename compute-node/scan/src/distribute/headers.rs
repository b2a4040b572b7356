//! What every call between nodes says of the query it is for.
//!
//! The coordinator sends the headers with a task, and a compute node passes them on to the nodes that the task reads from.

use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use tarn_proto::query_id;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

/// Header with the bytes of memory that the query may use on each node.
const MEMORY_LIMIT: &str = "tarn-memory-limit";
/// Before the key of an option of the session, in the headers that carry options.
const OPTION: &str = "tarn-set-";
/// Begins all of these headers.
const OURS: &str = "tarn-";
/// Options that change how operators work, and so must be the same on every node.
const FORWARDED: &str = "datafusion.execution.";

/// What compute nodes are told of a query.
#[derive(Clone, Debug)]
pub struct RemoteQuery {
    /// Its id, in every log line of every node that works for it. Visible ASCII.
    pub query_id: String,
    /// Memory it may use on each node; a node may be configured to give less.
    pub memory_limit_bytes: Option<u64>,
    /// What one task should read at least, in bytes.
    pub scan_bytes_per_task: u64,
    /// Whether tasks send their metrics, for `EXPLAIN ANALYZE`. It costs a message per task.
    pub collect_metrics: bool,
}

/// What travels with every call for the query: its id and limits, and those options of its session that are not the
/// default and matter to operators.
pub fn of(options: &ConfigOptions, query: &RemoteQuery) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(query_id::HEADER, value(&query.query_id)?);
    if let Some(bytes) = query.memory_limit_bytes {
        headers.insert(MEMORY_LIMIT, HeaderValue::from(bytes));
    }
    let defaults = ConfigOptions::default().entries();
    for entry in options.entries() {
        let Some(text) = &entry.value else { continue };
        let changed = || !defaults.iter().any(|d| d.key == entry.key && d.value == entry.value);
        if entry.key.starts_with(FORWARDED) && changed() {
            let name = HeaderName::try_from(format!("{OPTION}{}", entry.key)).map_err(unfit)?;
            headers.insert(name, value(text)?);
        }
    }
    Ok(headers)
}

/// Bytes of memory that the query may use on this node, if it says so.
pub fn memory_limit(headers: &HeaderMap) -> Option<usize> {
    headers.get(MEMORY_LIMIT)?.to_str().ok()?.parse().ok()
}

/// Sets the options that came with a task.
pub fn set_options(headers: &HeaderMap, options: &mut ConfigOptions) -> Result<()> {
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(OPTION).filter(|key| key.starts_with(FORWARDED)) {
            let value = value.to_str().map_err(|e| DataFusionError::External(Box::new(e)))?;
            options.set(key, value)?;
        }
    }
    Ok(())
}

/// The headers to pass on to the nodes that a task reads from.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    headers.iter().filter(|(name, _)| name.as_str().starts_with(OURS)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(unfit)
}

fn unfit(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error)).context("the query id or an option cannot be sent to compute nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changed_options_of_operators_are_sent_and_all_arrive() {
        let mut options = ConfigOptions::default();
        options.set("datafusion.execution.batch_size", "123").unwrap();
        options.sql_parser.dialect = "MySQL".parse().unwrap();
        let query = RemoteQuery {
            query_id: "q-1".to_owned(),
            memory_limit_bytes: Some(1 << 20),
            scan_bytes_per_task: 1,
            collect_metrics: false,
        };
        let mut headers = of(&options, &query).unwrap();
        assert_eq!(headers.len(), 3);
        headers.insert("grpc-timeout", HeaderValue::from_static("1S"));
        headers.insert("tarn-set-datafusion.sql_parser.dialect", HeaderValue::from_static("Hive"));
        let headers = passed_on(&headers);
        assert_eq!(headers.len(), 4);
        assert_eq!(query_id::of(&headers), Some("q-1"));
        assert_eq!(memory_limit(&headers), Some(1 << 20));
        let mut arrived = ConfigOptions::default();
        set_options(&headers, &mut arrived).unwrap();
        let value = |key: &str| arrived.entries().into_iter().find(|e| e.key == key).unwrap().value.unwrap();
        assert_eq!(value("datafusion.execution.batch_size"), "123");
        assert_eq!(value("datafusion.sql_parser.dialect").to_lowercase(), "generic");
    }
}
