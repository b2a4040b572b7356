//! Which tasks run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::debug;

use crate::metrics;

/// Counts the tasks of a node. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Tasks(Arc<watch::Sender<State>>);

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// How many tasks of each query run, of those that have any.
    queries: HashMap<String, usize>,
    closed: bool,
}

impl State {
    /// A closed node finishes what it has begun, for which some tasks of a query may come later than others.
    fn takes(&self, query_id: &str) -> bool {
        !self.closed || self.queries.contains_key(query_id)
    }

    fn running(&self) -> usize {
        self.queries.values().sum()
    }
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

    /// Takes on a task of the query. `None` after [`Tasks::close`], unless another task of it runs here.
    pub fn begin(&self, query_id: &str) -> Option<RunningTask> {
        let begun = self.0.send_if_modified(|state| {
            let takes = state.takes(query_id);
            if takes {
                *state.queries.entry(query_id.to_owned()).or_default() += 1;
            }
            takes
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
        self.0.borrow().running()
    }

    /// Changes whenever a task begins or ends.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Takes on no more tasks but those of queries that have some here.
    pub fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    pub fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Whether tasks of the query are taken on.
    pub fn takes(&self, query_id: &str) -> bool {
        self.0.borrow().takes(query_id)
    }

    /// Waits until no task runs, but not longer than `bound`. Returns how many still run.
    pub async fn drained(&self, bound: Duration) -> usize {
        let mut changes = self.0.subscribe();
        let drained = changes.wait_for(|state| state.running() == 0);
        match tokio::time::timeout(bound, drained).await {
            Ok(_) => 0,
            Err(_) => self.running(),
        }
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.tasks.0.send_modify(|state| {
            if let Some(running) = state.queries.get_mut(&self.query_id) {
                *running -= 1;
                if *running == 0 {
                    state.queries.remove(&self.query_id);
                }
            }
        });
        metrics::task_ended();
        debug!(query_id = self.query_id, elapsed = ?self.since.elapsed(), "task ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_node_finishes_the_queries_that_it_has_and_takes_no_other() {
        let tasks = Tasks::new();
        let task = tasks.begin("q").unwrap();
        tasks.close();
        assert!(tasks.begin("other").is_none() && !tasks.takes("other"));
        let later = tasks.begin("q").unwrap();
        drop(task);
        assert!(tasks.takes("q"));
        assert_eq!(tasks.drained(Duration::from_millis(5)).await, 1);
        drop(later);
        assert!(!tasks.takes("q"));
        assert_eq!(tasks.drained(Duration::from_secs(60)).await, 0);
    }
}
