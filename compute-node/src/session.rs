//! The session of a task.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion_distributed::{
    DistributedExt, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext, WorkerSessionBuilder,
};
use tarn_proto::query_id::{self, QueryId};
use tarn_scan::distribute::{WorkerChannels, headers, leaving};
use tarn_scan::{ScanContext, TarnCodec, aggregated_early, paced};
use url::Url;

use crate::memory::QueryRuntimes;
use crate::tasks::Tasks;

/// Makes the session of each task that arrives.
pub(crate) struct TaskSessions {
    pub url: Url,
    pub context: Arc<ScanContext>,
    pub runtimes: Arc<QueryRuntimes>,
    pub tasks: Tasks,
    pub peers: WorkerChannels,
}

#[async_trait]
impl WorkerSessionBuilder for TaskSessions {
    async fn build_session_state(&self, task: WorkerQueryContext) -> Result<SessionState> {
        let query_id = query_id::of(&task.headers).ok_or_else(|| {
            DataFusionError::Plan(
                "a task came without the id of its query; is the coordinator of another version?".to_owned(),
            )
        })?;
        if !self.tasks.takes(query_id) {
            return Err(leaving(&self.url));
        }
        let runtime = self.runtimes.of(query_id, headers::memory_limit(&task.headers))?;
        let mut builder = task.builder.with_runtime_env(runtime);
        let config = builder.config().get_or_insert_default();
        headers::set_options(&task.headers, config.options_mut())?;
        config.set_extension(Arc::new(QueryId(query_id.into())));
        let builder: SessionStateBuilder = builder
            .with_distributed_user_codec(TarnCodec::new(self.context.clone()))
            .with_distributed_channel_resolver(self.peers.clone())
            .with_distributed_passthrough_headers(headers::passed_on(&task.headers))?
            .with_distributed_worker_plan_rewrite_handler(prepare);
        let mut state = builder.build();
        tarn_functions::register(&mut state)?;
        Ok(state)
    }
}

fn prepare(task: WorkerPlanRewriteEvent<'_>) -> Result<WorkerPlanRewriteEventResponse> {
    Ok(WorkerPlanRewriteEventResponse::new(paced(aggregated_early(task.plan)?)?))
}
