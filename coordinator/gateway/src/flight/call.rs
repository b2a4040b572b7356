//! What the server knows of one call: put into the request's extensions before it is dispatched, read for the response's
//! headers afterwards.

use std::sync::{Arc, OnceLock};

use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue, MetadataMap};
use tonic::{Request, Status};

use super::sessions::ClientSession;

/// Response header with the id of the query that runs.
pub const QUERY_ID_HEADER: &str = "tarn-query-id";
/// Response header with a statement's message, in UTF-8.
pub const MESSAGE_HEADER: &str = "tarn-message-bin";

/// One call.
pub(crate) struct Call {
    pub(crate) session: Arc<ClientSession>,
    /// The call opened the session: the response must tell its token.
    opened: bool,
    query_id: OnceLock<String>,
    message: OnceLock<String>,
}

impl Call {
    pub(crate) fn new(session: Arc<ClientSession>, opened: bool) -> Arc<Self> {
        Arc::new(Self { session, opened, query_id: OnceLock::new(), message: OnceLock::new() })
    }

    /// The call that a request belongs to.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        request.extensions().get::<Arc<Self>>().cloned().ok_or_else(|| Status::internal("a call without a session"))
    }

    pub(crate) fn set_query_id(&self, id: Option<String>) {
        if let Some(id) = id {
            let _ = self.query_id.set(id);
        }
    }

    pub(crate) fn set_message(&self, message: String) {
        if !message.is_empty() {
            let _ = self.message.set(message);
        }
    }

    /// Adds what the call brought about to the response's headers.
    pub(crate) fn annotate(&self, metadata: &mut MetadataMap) {
        if self.opened {
            self.session.announce(metadata);
        }
        if let Some(id) = self.query_id.get().and_then(|id| AsciiMetadataValue::try_from(id.as_str()).ok()) {
            metadata.insert(QUERY_ID_HEADER, id);
        }
        if let Some(message) = self.message.get() {
            metadata.insert_bin(MESSAGE_HEADER, BinaryMetadataValue::from_bytes(message.as_bytes()));
        }
    }
}
