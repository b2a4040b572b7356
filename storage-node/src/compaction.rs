//! When tablets are compacted, and on which threads: those with the most sorted runs first, woken by what is published, on a
//! few threads of low priority. What a compaction is, and which rowsets it takes, is `tarn-tablet`'s.
//!
//! ```text
//!  publish ──► Engine::changed ──► scheduler (task) ──► Schedule: who is next ──► worker threads ──► Engine::compact
//!                                       ▲────────────────── result ──────────────────┘
//!  collector (task) ── from time to time ──► Engine::remove_superseded
//! ```

mod schedule;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tarn_proto::{TabletId, machine, task};
use tarn_tablet::{Engine, Stop};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::metrics;
use schedule::Schedule;

/// How much later the threads get the processor than those that serve loads and queries.
const NICE: i32 = 10;
/// The scheduler looks around at least so often.
const PERIOD: Duration = Duration::from_secs(60);
/// Superseded rowsets are looked after so many times within their retention, but not more often than each second.
const LOOKS: u32 = 20;

/// The tasks of a node's compaction.
pub(crate) struct Compaction {
    pub scheduler: tokio::task::JoinHandle<()>,
    pub collector: tokio::task::JoinHandle<()>,
}

impl Compaction {
    /// Compacts the engine's tablets on `threads` threads until it is cancelled; running compactions are given up then.
    /// Superseded rowsets are removed whether there are threads or not.
    pub(crate) fn start(engine: Arc<Engine>, threads: usize, retention: Duration, cancel: CancellationToken) -> Self {
        let collector = task::spawn("superseded-rowsets", collect(engine.clone(), retention, cancel.clone()));
        let scheduler = task::spawn("compaction-scheduler", async move {
            if threads == 0 {
                cancel.cancelled().await;
            } else {
                run(engine, threads, cancel).await;
            }
        });
        Self { scheduler, collector }
    }
}

/// The end of a tablet's compaction, and whether it failed.
type Finished = (TabletId, bool);

async fn run(engine: Arc<Engine>, threads: usize, cancel: CancellationToken) {
    let stop = Stop::default();
    let (work, mut results, workers) = start_workers(&engine, threads, &stop);
    let mut schedule = Schedule::new(threads);
    loop {
        for tablet in engine.take_changed() {
            schedule.want(tablet, engine.compaction_score(tablet));
        }
        let now = Instant::now();
        while let Some(tablet) = schedule.start(now) {
            // There is room for as many as there are slots.
            if work.try_send(tablet).is_err() {
                schedule.finish(tablet, true, now);
            }
        }
        metrics::compactions_waiting(schedule.waiting());
        let next = schedule.next_rested(now).unwrap_or(now + PERIOD);
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            finished = results.recv() => {
                let Some((tablet, failed)) = finished else { break };
                schedule.finish(tablet, failed, Instant::now());
                schedule.want(tablet, engine.compaction_score(tablet));
            }
            () = engine.changed() => {}
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
    stop.stop();
    drop(work);
    // Nobody takes results any more: workers must not wait for that.
    results.close();
    let joined = tokio::task::spawn_blocking(move || workers.into_iter().for_each(|w| drop(w.join()))).await;
    if let Err(error) = joined {
        error!(%error, "cannot wait for the compaction threads");
    }
}

fn start_workers(
    engine: &Arc<Engine>,
    threads: usize,
    stop: &Stop,
) -> (SyncSender<TabletId>, mpsc::Receiver<Finished>, Vec<JoinHandle<()>>) {
    let (work, queue) = sync_channel::<TabletId>(threads);
    let (finished, results) = mpsc::channel(threads);
    let queue = Arc::new(Mutex::new(queue));
    let mut workers = Vec::with_capacity(threads);
    for number in 0..threads {
        let (engine, queue, finished, stop) = (engine.clone(), queue.clone(), finished.clone(), stop.clone());
        let worker = thread::Builder::new().name(format!("tarn-compaction-{number}"));
        match worker.spawn(move || work_off(&engine, &queue, &finished, &stop)) {
            Ok(worker) => workers.push(worker),
            Err(error) => error!(%error, "cannot start a compaction thread"),
        }
    }
    (work, results, workers)
}

fn work_off(engine: &Arc<Engine>, queue: &Mutex<Receiver<TabletId>>, finished: &mpsc::Sender<Finished>, stop: &Stop) {
    if let Err(error) = machine::lower_priority(NICE) {
        warn!(%error, "compaction has the priority of loads and queries");
    }
    loop {
        let next = queue.lock().recv();
        let Ok(tablet) = next else { return };
        let done = catch_unwind(AssertUnwindSafe(|| engine.compact(tablet, stop)));
        let failed = match done {
            Ok(Ok(_)) => false,
            Ok(Err(tarn_tablet::Error::Stopped(_) | tarn_tablet::Error::UnknownTablet(_))) => false,
            Ok(Err(error)) => {
                let reason = tarn_proto::error::chain(&error);
                error!(%tablet, reason, "cannot compact a tablet; it is read as it is, and tried again later");
                true
            }
            Err(_) => {
                error!(%tablet, "a compaction panicked; the tablet is read as it is, and tried again later");
                true
            }
        };
        if finished.blocking_send((tablet, failed)).is_err() {
            return;
        }
    }
}

async fn collect(engine: Arc<Engine>, retention: Duration, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval((retention / LOOKS).max(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let engine = engine.clone();
        let collected = move || {
            let now = Instant::now();
            let removed = engine.remove_superseded(now);
            engine.collect_volumes(now);
            removed
        };
        let removed = tokio::task::spawn_blocking(collected).await;
        match removed {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let reason = tarn_proto::error::chain(&error);
                warn!(reason, "cannot remove superseded rowsets; they are tried again");
            }
            Err(error) => error!(%error, "removing superseded rowsets failed"),
        }
    }
}
