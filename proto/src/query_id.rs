//! The id of a query, in every call that is made for it and every log line that it causes.

use std::sync::Arc;

use tonic::codegen::http::{HeaderMap, Request};
use tonic::metadata::MetadataMap;
use tracing::{Span, info_span};

/// Header with the id.
pub const HEADER: &str = "tarn-query-id";

/// A query's id: visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryId(pub Arc<str>);

impl QueryId {
    /// Says in a call's metadata that it is made for the query.
    pub fn mark(&self, metadata: &mut MetadataMap) {
        if let Ok(value) = self.0.parse() {
            metadata.insert(HEADER, value);
        }
    }
}

/// The query that a call is made for.
pub fn of(headers: &HeaderMap) -> Option<&str> {
    headers.get(HEADER)?.to_str().ok()
}

/// The span of a call, which puts the id into the log lines of its handler.
pub fn span(request: &Request<()>) -> Span {
    match of(request.headers()) {
        Some(query_id) => info_span!("query", query_id),
        None => Span::none(),
    }
}
