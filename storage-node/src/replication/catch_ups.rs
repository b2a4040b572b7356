//! Replicas on this node that catch up with others, one job a tablet at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tarn_proto::storage::CatchUp;
use tarn_proto::{TabletId, Version, task};
use tarn_tablet::{Engine, Pace};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::Clients;
use crate::metrics;

/// How long a call waits for jobs that are soon done.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Jobs at once, beyond which they wait for each other. Those that copy whole tablets wait for turns beside.
const AT_ONCE: usize = 32;
/// A tablet whose job failed rests so long, twice as long after each further failure,
const REST: Duration = Duration::from_millis(500);
/// and so long at most.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The jobs of a node.
pub(crate) struct CatchUps {
    engine: Arc<Engine>,
    clients: Clients,
    pace: Arc<Pace>,
    at_once: Arc<Semaphore>,
    jobs: Mutex<HashMap<TabletId, Job>>,
    /// Told when a job ends.
    ended: Notify,
    cancel: CancellationToken,
}

/// A tablet's job, or what is remembered of those that failed.
#[derive(Clone, Copy, Debug)]
enum Job {
    Running,
    Resting { failures: u32, until: Instant },
}

impl CatchUps {
    pub(super) fn new(engine: Arc<Engine>, clients: Clients, pace: Arc<Pace>, cancel: CancellationToken) -> Self {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        Self { engine, clients, pace, at_once, jobs: Mutex::default(), ended: Notify::new(), cancel }
    }

    /// Starts jobs for replicas that are not where they should be, and waits a little for them. Returns those that are.
    pub(crate) async fn catch_up(self: &Arc<Self>, wanted: &[CatchUp]) -> Vec<(TabletId, Version)> {
        for replica in wanted.iter().filter(|replica| self.engine.caught_up(replica).is_none()) {
            self.start(replica);
        }
        let until = Instant::now() + ANSWER_WITHIN;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            if !wanted.iter().any(|replica| self.is_running(replica.tablet)) {
                break;
            }
            if tokio::time::timeout_at(until, ended).await.is_err() {
                break;
            }
        }
        let there = |replica: &CatchUp| Some((replica.tablet, self.engine.caught_up(replica)?));
        wanted.iter().filter_map(there).collect()
    }

    fn is_running(&self, tablet: TabletId) -> bool {
        matches!(self.jobs.lock().get(&tablet), Some(Job::Running))
    }

    fn start(self: &Arc<Self>, replica: &CatchUp) {
        let mut jobs = self.jobs.lock();
        let failures = match jobs.get(&replica.tablet) {
            Some(Job::Running) => return,
            Some(Job::Resting { until, .. }) if *until > Instant::now() => return,
            Some(Job::Resting { failures, .. }) => *failures,
            None => 0,
        };
        jobs.insert(replica.tablet, Job::Running);
        let running = jobs.values().filter(|job| matches!(job, Job::Running)).count();
        drop(jobs);
        metrics::catch_ups_running(running);
        let (catch_ups, tablet, replica) = (self.clone(), replica.tablet, replica.clone());
        // Owned by the node: it ends when that stops. A panic counts as a failure.
        let job = task::spawn("catch-up", async move {
            tokio::select! {
                biased;
                () = catch_ups.cancel.cancelled() => false,
                done = catch_ups.run(&replica) => done,
            }
        });
        let catch_ups = self.clone();
        drop(task::spawn("catch-up-end", async move {
            let done = job.await.unwrap_or(false);
            catch_ups.end(tablet, done, failures);
        }));
    }

    fn end(&self, tablet: TabletId, done: bool, failures: u32) {
        let mut jobs = self.jobs.lock();
        if done {
            jobs.remove(&tablet);
        } else {
            let rest = REST.saturating_mul(1 << failures.min(16)).min(LONGEST_REST);
            jobs.insert(tablet, Job::Resting { failures: failures + 1, until: Instant::now() + rest });
        }
        // What is asked for no more is forgotten some time.
        jobs.retain(|_, job| !matches!(job, Job::Resting { until, .. } if *until + 2 * LONGEST_REST < Instant::now()));
        let running = jobs.values().filter(|job| matches!(job, Job::Running)).count();
        drop(jobs);
        metrics::catch_ups_running(running);
        metrics::caught_up(done);
        self.ended.notify_waiters();
    }

    /// Tries each source in turn.
    async fn run(&self, replica: &CatchUp) -> bool {
        let Ok(_slot) = self.at_once.acquire().await else { return false };
        for peer in &replica.sources {
            let source = match self.clients.get(peer) {
                Ok(source) => source,
                Err(error) => {
                    warn!(tablet = %replica.tablet, node = %peer.node, %error, "a replica cannot catch up from a node");
                    continue;
                }
            };
            match self.engine.catch_up_from(replica, &source, &self.pace).await {
                Ok(version) => {
                    info!(tablet = %replica.tablet, from = %peer.node, %version, "a replica has caught up");
                    return true;
                }
                Err(error) => {
                    let reason = tarn_proto::error::chain(&error);
                    warn!(tablet = %replica.tablet, node = %peer.node, reason, "a replica cannot catch up from a node");
                }
            }
        }
        if replica.sources.is_empty() {
            warn!(tablet = %replica.tablet, "a replica has no other one to catch up from");
        }
        false
    }
}
