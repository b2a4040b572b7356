//! What the gateway's protocols call: users, sessions, the catalog, cancelling.

use std::sync::Arc;

use async_trait::async_trait;
use tarn_catalog::Catalog;
use tarn_gateway::engine::{ClientInfo, Engine, Result, Session};

use crate::session::{ClientSession, Error, Shared, kill};

/// The one user there is.
const USER: &str = "root";

/// Runs statements of this coordinator's clients.
pub struct CoordinatorEngine {
    shared: Arc<Shared>,
    password: String,
}

impl CoordinatorEngine {
    /// An engine whose user `root` has this password.
    pub const fn new(shared: Arc<Shared>, password: String) -> Self {
        Self { shared, password }
    }
}

#[async_trait]
impl Engine for CoordinatorEngine {
    async fn authenticate(&self, user: &str, password: &str) -> Result<()> {
        if user == USER && same(password.as_bytes(), self.password.as_bytes()) {
            return Ok(());
        }
        Err(Error::Denied(format!("access denied for user '{user}'")).into())
    }

    async fn open_session(&self, client: ClientInfo) -> Result<Arc<dyn Session>> {
        Ok(Arc::new(ClientSession::new(self.shared.clone(), client)))
    }

    async fn catalog(&self) -> Result<Catalog> {
        Ok(self.shared.catalog.linearizable().await.map_err(Error::from)?)
    }

    async fn cancel_query(&self, query_id: &str) -> Result<bool> {
        Ok(kill(&self.shared, query_id, false).await)
    }
}

/// Compares in a time that does not tell how much of a password was right.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differences = given.iter().zip(expected).fold(0, |acc, (a, b)| acc | (a ^ b));
    given.len() == expected.len() && differences == 0
}
