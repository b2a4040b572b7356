//! Threads that queries run on, apart from those that answer clients and peers: an operator that does not yield for a
//! second delays other queries, and never consensus or heartbeats.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use tarn_proto::task;
use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches between the threads of a query and its reader.
const CARRIED_BATCHES: usize = 2;

/// The threads. Make one per process and role; they end when it is dropped.
#[derive(Debug)]
pub struct QueryRuntime(Option<Runtime>);

impl QueryRuntime {
    /// As many threads as the process has processors.
    pub fn new() -> io::Result<Arc<Self>> {
        let runtime = Builder::new_multi_thread().thread_name("tarn-query").enable_all().build()?;
        Ok(Arc::new(Self(Some(runtime))))
    }

    /// What is spawned while the guard lives runs on these threads.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.0.as_ref().expect("it is there until it is dropped").enter()
    }

    /// Runs the stream that `start` makes on these threads. Dropping the result ends it.
    pub fn run(&self, start: impl FnOnce() -> Result<SendableRecordBatchStream>) -> Result<QueryRows> {
        let _entered = self.enter();
        let mut stream = start()?;
        let (sender, batches) = mpsc::channel(CARRIED_BATCHES);
        let task = task::spawn("query", async move {
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
        });
        Ok(QueryRows { batches, task: Some(task) })
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        // Waiting for its tasks would block the thread that drops it, which may be one of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The rows of a query that runs elsewhere.
#[derive(Debug)]
pub struct QueryRows {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    /// `None` once its end was seen.
    task: Option<JoinHandle<()>>,
}

impl Stream for QueryRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = ready!(self.batches.poll_recv(context)) {
            return Poll::Ready(Some(batch));
        }
        // The rows ended, or the task panicked, which must not look like the end of the rows.
        let Some(task) = self.task.as_mut() else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(ended.err().map(|error| Err(failed(&error))))
    }
}

fn failed(error: &tokio::task::JoinError) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::Internal(format!("the query failed in the engine: {error}"))
}

impl Drop for QueryRows {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
