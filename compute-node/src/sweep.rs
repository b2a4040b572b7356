//! Letting go of tasks that have ended.
//!
//! The worker forgets an ended task's plan only with its next work (its cache of tasks tidies up when it is used). Until
//! then a cancelled task can go on: a `RepartitionExec` owns what reads its input, and notices that nobody wants its
//! rows only when it has some. So a node without new work uses the cache itself.

use std::time::Duration;

use datafusion_distributed::{ExecuteTaskRequest, ProducerHead, TaskKey, Worker};
use futures::FutureExt;
use uuid::Uuid;

use crate::tasks::Tasks;

/// The cache tidies up at most every 300 ms.
const TIDY_AFTER: Duration = Duration::from_millis(320);

/// Makes `worker` let go of tasks soon after they end. Runs until dropped.
pub(crate) async fn run(worker: Worker, tasks: Tasks) {
    let mut changes = tasks.changes();
    while changes.changed().await.is_ok() {
        tokio::time::sleep(TIDY_AFTER).await;
        let nothing = ExecuteTaskRequest {
            task_key: TaskKey { query_id: Uuid::nil(), stage_id: 0, task_number: 0 },
            target_partition_start: 0,
            target_partition_end: 0,
            producer_head: ProducerHead::None,
        };
        // It looks the task up, which is all that is wanted, and would then wait for its plan.
        let _ = worker.execute_task(nothing).now_or_never();
    }
}
