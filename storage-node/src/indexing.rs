//! Indexes that segments lack, made on one thread of low priority. What they are is `tarn-tablet`'s.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tarn_proto::{machine, task};
use tarn_tablet::{Engine, IndexWork, Stop};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// How much later the thread gets the processor than those that serve loads and queries.
const NICE: i32 = 10;
/// How often it looks for work: soon enough for who waits for an index, seldom enough to cost nothing.
const PERIOD: Duration = Duration::from_millis(500);

/// Makes indexes until it is cancelled.
pub(crate) fn start(engine: Arc<Engine>, cancel: CancellationToken) -> JoinHandle<()> {
    let stop = Stop::default();
    let (end, ended) = channel::<()>();
    let worker = thread::Builder::new().name("tarn-indexes".to_owned()).spawn({
        let stop = stop.clone();
        move || work(&engine, &stop, &ended)
    });
    task::spawn("index-builder", async move {
        let worker = match worker {
            Ok(worker) => worker,
            Err(error) => {
                return error!(%error, "cannot start the thread that makes indexes; segments are read without");
            }
        };
        cancel.cancelled().await;
        stop.stop();
        drop(end);
        if tokio::task::spawn_blocking(move || worker.join()).await.is_err() {
            error!("cannot wait for the thread that makes indexes");
        }
    })
}

fn work(engine: &Engine, stop: &Stop, ended: &Receiver<()>) {
    if let Err(error) = machine::lower_priority(NICE) {
        warn!(%error, "indexes are made with the priority of loads and queries");
    }
    let mut remembered = IndexWork::default();
    while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let made = catch_unwind(AssertUnwindSafe(|| engine.make_indexes(&mut remembered, Instant::now(), stop)));
        if made.is_err() {
            error!("making an index panicked; segments are read without");
        }
    }
}
