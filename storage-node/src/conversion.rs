//! Conversions of tablets to another schema: asked for by the coordinators' leader again and again, done in the background on
//! threads of low priority. What a conversion is, and how it survives a restart, is `tarn-tablet`'s.
//!
//! ```text
//!  TabletStore::convert ──► Conversions: is it there? does it run? ──► thread ──► Engine::convert
//!          ▲──── answers as soon as all is done, or after a moment ────┘
//! ```

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tarn_proto::storage::{Conversion, ConvertTablet, Converted, Progress, Wanted};
use tarn_proto::{ErrorKind, TableSchema, TabletId, TxnId, Version, machine, task};
use tarn_tablet::{Engine, Error, Stop};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::store::store_error;

/// Tablets that are filled at the same time: each takes the memory of a few segments.
const THREADS: usize = 2;
/// Tablets that follow what is loaded at the same time: it is the disk that they wait for, and loads wait for them.
const FOLLOWERS: usize = 16;
/// Memory of all conversions at a time, in MiB. Those of loads, which nobody else counts, wait for it, too.
const MEMORY_MIB: u32 = 1024;
/// A tablet that is filled has this version at least.
const FILLED: Version = Version(2);
/// How much later their threads get the processor than those that serve loads and queries.
const NICE: i32 = 10;
/// Longest wait of a call for what it has started: far less than callers wait for an answer.
const WAIT: Duration = Duration::from_secs(2);

/// The conversions of a node.
pub(crate) struct Conversions {
    engine: Arc<Engine>,
    threads: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    /// Of [`MEMORY_MIB`].
    memory: Arc<Semaphore>,
    jobs: Mutex<HashMap<Key, (Wanted, Job)>>,
    /// Told when one ends.
    ended: Notify,
    stop: Stop,
}

/// What is one at a time: filling a tablet, and converting a load for it.
type Key = (TabletId, Option<TxnId>);

const fn key(tablet: &ConvertTablet) -> Key {
    match tablet.wanted {
        Wanted::Version(_) => (tablet.target, None),
        Wanted::Load(txn) => (tablet.target, Some(txn)),
    }
}

/// A conversion that was started and whose end nobody has been told.
enum Job {
    Running,
    Ended(Progress),
}

impl Job {
    /// Whether it has failed for good.
    const fn is_refused(&self) -> bool {
        matches!(self, Self::Ended(Progress::Failed { kind: ErrorKind::Invalid, .. }))
    }
}

impl Conversions {
    /// The conversions of an engine's tablets, until it is cancelled.
    pub(crate) fn new(engine: Arc<Engine>, cancel: CancellationToken) -> Arc<Self> {
        let (threads, followers) = (Arc::new(Semaphore::new(THREADS)), Arc::new(Semaphore::new(FOLLOWERS)));
        let stop = Stop::default();
        let stopped = stop.clone();
        // Ends with the node.
        drop(task::spawn("conversions-stop", async move {
            cancel.cancelled().await;
            stopped.stop();
        }));
        let memory = Arc::new(Semaphore::new(MEMORY_MIB as usize));
        Arc::new(Self { engine, threads, followers, memory, jobs: Mutex::default(), ended: Notify::new(), stop })
    }

    /// Starts what is asked for and does not run, and tells how far each has come: at once if all have ended, else after a
    /// moment.
    pub(crate) async fn convert(self: &Arc<Self>, conversion: &Conversion) -> Vec<Converted> {
        let schemas = Arc::new((conversion.from.clone(), conversion.to.clone()));
        for tablet in &conversion.tablets {
            self.start(*tablet, &schemas);
        }
        let all_ended = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                // From here on none is missed.
                ended.as_mut().enable();
                let runs = |tablet| matches!(self.jobs.lock().get(&key(tablet)), Some((_, Job::Running)));
                if !conversion.tablets.iter().any(runs) {
                    return;
                }
                ended.await;
            }
        };
        // What has not ended by then is told to be running.
        let _ = tokio::time::timeout(WAIT, all_ended).await;
        let mut jobs = self.jobs.lock();
        let told = conversion.tablets.iter().map(|tablet| {
            let progress = match jobs.get(&key(tablet)) {
                Some((_, Job::Running)) => Progress::Running,
                Some((wanted, job @ Job::Ended(progress))) if *wanted == tablet.wanted || job.is_refused() => {
                    progress.clone()
                }
                // It was on its way to an earlier version.
                Some((_, Job::Ended(_))) | None => self.done(tablet).unwrap_or(Progress::Running),
            };
            Converted { target: tablet.target, progress }
        });
        let told: Vec<Converted> = told.collect();
        // Who asks again is told what is true then.
        conversion.tablets.iter().for_each(|tablet| {
            if matches!(jobs.get(&key(tablet)), Some((_, Job::Ended(_)))) {
                jobs.remove(&key(tablet));
            }
        });
        told
    }

    /// The answer if a tablet has what is wanted already.
    fn done(&self, tablet: &ConvertTablet) -> Option<Progress> {
        let Wanted::Version(version) = tablet.wanted else { return None };
        let (rows, bytes) = self.engine.converted(tablet.target, version)?;
        Some(Progress::Done { rows, bytes })
    }

    fn start(self: &Arc<Self>, tablet: ConvertTablet, schemas: &Arc<(TableSchema, TableSchema)>) {
        if self.done(&tablet).is_some() {
            return;
        }
        let mut jobs = self.jobs.lock();
        // One that is on its way to an earlier version ends before, and that a value does not fit is told first.
        if jobs.get(&key(&tablet)).is_some_and(|(_, job)| matches!(job, Job::Running) || job.is_refused()) {
            return;
        }
        jobs.insert(key(&tablet), (tablet.wanted, Job::Running));
        drop(jobs);
        let (conversions, schemas) = (self.clone(), schemas.clone());
        // Its end is noted in the map, whatever it is.
        drop(task::spawn("conversion", async move {
            let progress = conversions.run(tablet, schemas).await;
            conversions.jobs.lock().insert(key(&tablet), (tablet.wanted, Job::Ended(progress)));
            conversions.ended.notify_waiters();
        }));
    }

    async fn run(self: &Arc<Self>, tablet: ConvertTablet, schemas: Arc<(TableSchema, TableSchema)>) -> Progress {
        let fills =
            matches!(tablet.wanted, Wanted::Version(_)) && self.engine.converted(tablet.target, FILLED).is_none();
        let _slot = match tablet.wanted {
            Wanted::Version(_) if fills => self.threads.clone().acquire_owned().await.ok(),
            Wanted::Version(_) => self.followers.clone().acquire_owned().await.ok(),
            // A load's client waits.
            Wanted::Load(_) => None,
        };
        // Last, so that nobody holds memory and waits.
        let memory = mebibytes(self.engine.conversion_memory(tablet.base, tablet.target));
        let _memory = self.memory.clone().acquire_many_owned(memory).await.ok();
        let (sender, result) = oneshot::channel();
        let conversions = self.clone();
        let thread = std::thread::Builder::new().name("tarn-conversion".to_owned());
        let started = thread.spawn(move || {
            if fills && let Err(error) = machine::lower_priority(NICE) {
                warn!(%error, "a conversion has the priority of loads and queries");
            }
            let done = catch_unwind(AssertUnwindSafe(|| conversions.work(&tablet, &schemas)));
            let _ = sender.send(done);
        });
        let failed = |kind, message: String| Progress::Failed { kind, message };
        if let Err(error) = started {
            return failed(ErrorKind::Unavailable, format!("cannot start a thread for a conversion: {error}"));
        }
        match result.await {
            Ok(Ok(Ok((rows, bytes)))) => {
                debug!(base = %tablet.base, target = %tablet.target, wanted = ?tablet.wanted, rows, "a tablet was converted");
                Progress::Done { rows, bytes }
            }
            Ok(Ok(Err(error))) => {
                let error = store_error(&error);
                failed(error.kind, error.message)
            }
            Ok(Err(_)) | Err(_) => failed(
                ErrorKind::Internal,
                format!("the conversion of tablet {} panicked, see the node's log", tablet.base),
            ),
        }
    }

    fn work(&self, tablet: &ConvertTablet, (from, to): &(TableSchema, TableSchema)) -> Result<(u64, u64), Error> {
        match tablet.wanted {
            Wanted::Version(version) => {
                self.engine.convert(from, to, tablet.base, tablet.target, version, &self.stop)?;
                Ok(self.engine.converted(tablet.target, version).unwrap_or_default())
            }
            Wanted::Load(txn) => {
                let summary = self.engine.convert_load(from, to, txn, tablet.base, tablet.target)?;
                Ok((summary.rows, summary.bytes))
            }
        }
    }
}

/// What a conversion takes of [`MEMORY_MIB`].
fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX).clamp(1, MEMORY_MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversion_takes_what_it_needs_and_no_more_than_there_is() {
        let found = [0, 1, 1 << 20, (1 << 20) + 1, 384 << 20, u64::MAX].map(mebibytes);
        assert_eq!(found, [1, 1, 1, 2, 384, MEMORY_MIB]);
    }
}
