//! Which tasks run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::debug;

use crate::metrics;

/// Counts the tasks of a node. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Tasks(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    running: usize,
    closed: bool,
}

/// A task that runs for as long as this lives.
#[derive(Debug)]
pub(crate) struct RunningTask {
    tasks: Tasks,
    query_id: String,
    since: Instant,
}

impl Tasks {
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(State::default()).0))
    }

    /// Takes on a task of the query. `None` after [`Tasks::close`].
    pub fn begin(&self, query_id: &str) -> Option<RunningTask> {
        let begun = self.0.send_if_modified(|state| {
            state.running += usize::from(!state.closed);
            !state.closed
        });
        if !begun {
            metrics::task_refused();
            return None;
        }
        metrics::task_started();
        debug!(query_id, "task arrived");
        Some(RunningTask { tasks: self.clone(), query_id: query_id.to_owned(), since: Instant::now() })
    }

    pub fn running(&self) -> usize {
        self.0.borrow().running
    }

    /// Changes whenever a task begins or ends.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Takes on no more tasks.
    pub fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Waits until no task runs, but not longer than `bound`. Returns how many still run.
    pub async fn drained(&self, bound: Duration) -> usize {
        let mut changes = self.0.subscribe();
        let drained = changes.wait_for(|state| state.running == 0);
        match tokio::time::timeout(bound, drained).await {
            Ok(_) => 0,
            Err(_) => self.running(),
        }
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.tasks.0.send_modify(|state| state.running -= 1);
        metrics::task_ended();
        debug!(query_id = self.query_id, elapsed = ?self.since.elapsed(), "task ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_node_waits_for_its_tasks_and_takes_no_more() {
        let tasks = Tasks::new();
        let task = tasks.begin("q").unwrap();
        tasks.close();
        assert!(tasks.begin("q").is_none());
        assert_eq!(tasks.drained(Duration::from_millis(5)).await, 1);
        drop(task);
        assert_eq!(tasks.drained(Duration::from_secs(60)).await, 0);
    }
}
