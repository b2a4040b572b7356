//! The session of a task.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{DistributedExt, WorkerQueryContext, WorkerSessionBuilder};
use tarn_scan::{ScanContext, TarnCodec};
use tonic::codegen::http::HeaderMap;
use url::Url;

use crate::channels::{Peers, leaving};
use crate::memory::QueryRuntimes;
use crate::tasks::Tasks;
use crate::trace;

/// Header with the bytes of memory that the query may use on each node.
const MEMORY_LIMIT: &str = "tarn-memory-limit";
/// Before the key of an option of the session, in the headers that carry options.
const OPTION: &str = "tarn-set-";
/// The options that may be set.
const SETTABLE: &str = "datafusion.execution.";
/// Begins the headers that are passed on to the nodes that a task reads from.
const OURS: &str = "tarn-";

/// Makes the session of each task that arrives.
pub(crate) struct TaskSessions {
    pub url: Url,
    pub context: Arc<ScanContext>,
    pub runtimes: Arc<QueryRuntimes>,
    pub tasks: Tasks,
    pub peers: Peers,
}

#[async_trait]
impl WorkerSessionBuilder for TaskSessions {
    async fn build_session_state(&self, task: WorkerQueryContext) -> Result<SessionState> {
        let query_id = trace::query_id(&task.headers).ok_or_else(|| {
            DataFusionError::Plan(
                "a task came without the id of its query; is the coordinator of another version?".to_owned(),
            )
        })?;
        if self.tasks.is_closed() {
            return Err(leaving(&self.url));
        }
        let runtime = self.runtimes.of(query_id, number(&task.headers, MEMORY_LIMIT))?;
        let mut builder = task.builder.with_runtime_env(runtime);
        let config = builder.config().get_or_insert_default();
        for (name, value) in &task.headers {
            if let Some(key) = name.as_str().strip_prefix(OPTION).filter(|key| key.starts_with(SETTABLE)) {
                let value = value.to_str().map_err(|e| DataFusionError::External(Box::new(e)))?;
                config.options_mut().set(key, value)?;
            }
        }
        let builder: SessionStateBuilder = builder
            .with_distributed_user_codec(TarnCodec::new(self.context.clone()))
            .with_distributed_channel_resolver(self.peers.clone())
            .with_distributed_passthrough_headers(ours(&task.headers))?;
        let mut state = builder.build();
        tarn_functions::register(&mut state)?;
        Ok(state)
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<usize> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn ours(headers: &HeaderMap) -> HeaderMap {
    headers.iter().filter(|(name, _)| name.as_str().starts_with(OURS)).map(|(n, v)| (n.clone(), v.clone())).collect()
}
