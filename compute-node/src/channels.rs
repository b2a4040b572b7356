//! Connections to other compute nodes, from which tasks read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::RwLock;
use tonic::codegen::http::HeaderMap;
use tonic::transport::Channel;
use tonic::{Code, Status};
use url::Url;

/// Begins the context of an error that says which node was lost. Coordinators look for these words.
const LOST: &str = "lost compute node ";
/// A worker says this when it was asked for rows and its plan never came, as after a restart.
const NO_PLAN: &str = "timed-out while waiting for the plan to be set";

/// The node's connections to others. Clones share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(Arc<RwLock<HashMap<Url, Channel>>>);

#[async_trait]
impl ChannelResolver for Peers {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let known = self.0.read().get(url).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = tarn_proto::channel::connect(url.authority())
                    .map_err(|e| DataFusionError::External(Box::new(e)))?;
                self.0.write().entry(url.clone()).or_insert(channel).clone()
            }
        };
        Ok(Box::new(Peer { inner: create_worker_client(BoxCloneSyncChannel::new(channel)), url: url.clone() }))
    }
}

/// A connection whose failures name the node, so that the coordinator can run the query without it.
struct Peer {
    inner: Box<dyn WorkerChannel>,
    url: Url,
}

#[async_trait]
impl WorkerChannel for Peer {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        set_plan_request: SetPlanRequest,
        c2w_stream: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        self.inner.coordinator_channel(headers, set_plan_request, c2w_stream, metrics, task_ctx).await
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let called = self.inner.execute_task(headers, request, metrics, task_ctx).await;
        let streams = called.map_err(|error| name(&self.url, error))?;
        Ok(streams
            .into_iter()
            .map(|stream| {
                let url = self.url.clone();
                stream.map(move |item| item.map_err(|error| name(&url, error))).boxed()
            })
            .collect())
    }

    async fn get_worker_info(&mut self, request: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await
    }
}

/// The error by which this node says that it cannot take a task and others should.
pub(crate) fn leaving(url: &Url) -> DataFusionError {
    DataFusionError::Execution("the compute node is shutting down".to_owned()).context(format!("{LOST}{url}"))
}

fn name(url: &Url, error: DataFusionError) -> DataFusionError {
    if is_loss(&error) { error.context(format!("{LOST}{url}")) } else { error }
}

fn is_loss(error: &DataFusionError) -> bool {
    match error {
        // What the other side answered has no source; a broken connection has.
        DataFusionError::External(source) => source
            .downcast_ref::<Status>()
            .is_some_and(|status| status.code() == Code::Unavailable || std::error::Error::source(status).is_some()),
        DataFusionError::Execution(message) => message.contains(NO_PLAN),
        DataFusionError::Context(_, inner) => is_loss(inner),
        DataFusionError::Shared(inner) => is_loss(inner),
        _ => false,
    }
}
