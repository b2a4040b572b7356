//! Connections to compute nodes.

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
use url::Url;

use super::loss::tag;

/// The process's connections to compute nodes, one per address. They connect by their first call, reconnect by
/// themselves and notice a silent peer. Make one per process; clones share.
#[derive(Clone, Debug, Default)]
pub struct WorkerChannels(Arc<RwLock<HashMap<Url, Channel>>>);

impl WorkerChannels {
    /// Forgets connections to workers that are not among `workers`. Queries that use them go on.
    pub fn retain(&self, workers: &[Url]) {
        self.0.write().retain(|url, _| workers.contains(url));
    }

    fn channel(&self, url: &Url) -> Result<Channel> {
        if let Some(channel) = self.0.read().get(url) {
            return Ok(channel.clone());
        }
        let channel =
            tarn_proto::channel::connect(url.authority()).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let mut channels = self.0.write();
        Ok(channels.entry(url.clone()).or_insert(channel).clone())
    }
}

#[async_trait]
impl ChannelResolver for WorkerChannels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let inner = create_worker_client(BoxCloneSyncChannel::new(self.channel(url)?));
        Ok(Box::new(NamedChannel { inner, url: url.clone() }))
    }
}

/// A connection whose failures name the node.
struct NamedChannel {
    inner: Box<dyn WorkerChannel>,
    url: Url,
}

impl NamedChannel {
    fn name<T: 'static>(&self, stream: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let url = self.url.clone();
        stream.map(move |item| item.map_err(|error| tag(&url, error))).boxed()
    }
}

#[async_trait]
impl WorkerChannel for NamedChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        set_plan_request: SetPlanRequest,
        c2w_stream: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let called = self.inner.coordinator_channel(headers, set_plan_request, c2w_stream, metrics, task_ctx).await;
        Ok(self.name(called.map_err(|error| tag(&self.url, error))?))
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let called = self.inner.execute_task(headers, request, metrics, task_ctx).await;
        let streams = called.map_err(|error| tag(&self.url, error))?;
        Ok(streams.into_iter().map(|stream| self.name(stream)).collect())
    }

    async fn get_worker_info(&mut self, request: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await.map_err(|error| tag(&self.url, error))
    }
}
