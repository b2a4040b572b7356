//! The node's scrubber: a thread of low priority that reads all files from time to time and compares them with their
//! checksums, see [`Engine::scrub`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tarn_proto::machine;
use tarn_tablet::{Engine, Pace, Stop};
use tracing::{error, info, warn};

use crate::{Config, metrics};

/// How much later the thread gets the processor than those that serve loads and queries.
const NICE: i32 = 15;
/// A node that never scrubbed begins so long after its start, or after the period if that is shorter.
const FIRST: Duration = Duration::from_secs(600);
/// The file, in the data directory, that says when the last pass began: seconds since 1970.
const LAST: &str = "last_scrub";

/// The running scrubber. Dropping it stops it without waiting.
pub(crate) struct Scrubber {
    stop: Stop,
    /// Never sent to: the thread wakes when it is dropped.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// Scrubs the engine's tablets, once a period, at the configured pace. None if the period is 0.
    pub(crate) fn start(engine: Arc<Engine>, config: &Config) -> Option<Self> {
        let period = Duration::from_secs(config.scrub_period_secs);
        if period.is_zero() {
            return None;
        }
        let (stop, (wake, asleep)) = (Stop::default(), sync_channel(1));
        let scrub = Scrub {
            engine,
            period,
            pace: Pace::new(config.scrub_bytes_per_second, 1),
            stop: stop.clone(),
            last: config.data.join(LAST),
        };
        let thread = thread::Builder::new().name("tarn-scrubber".to_owned()).spawn(move || scrub.run(&asleep));
        let thread =
            thread.inspect_err(|error| error!(%error, "cannot start the scrubber: files are not verified")).ok();
        Some(Self { stop, wake: Some(wake), thread })
    }

    /// Stops it, and waits. Blocks.
    pub(crate) fn stop(mut self) {
        self.stop.stop();
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the scrubber panicked");
        }
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

struct Scrub {
    engine: Arc<Engine>,
    period: Duration,
    pace: Pace,
    stop: Stop,
    last: PathBuf,
}

impl Scrub {
    fn run(&self, asleep: &Receiver<()>) {
        if let Err(error) = machine::lower_priority(NICE) {
            warn!(%error, "the scrubber has the priority of loads and queries");
        }
        loop {
            let wait = until_next(last_pass(&self.last), now(), self.period);
            if asleep.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let began = now();
            if !self.pass() {
                return;
            }
            metrics::scrub_passed(began);
            if let Err(error) = std::fs::write(&self.last, began.as_secs().to_string()) {
                warn!(file = %self.last.display(), %error, "cannot remember the last scrub: it is repeated after a restart");
                if asleep.recv_timeout(self.period) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        }
    }

    /// Reads all tablets; false if it was told to stop.
    fn pass(&self) -> bool {
        let (mut bytes, mut damaged) = (0, 0);
        for tablet in self.engine.tablet_ids() {
            match self.engine.scrub(tablet, &self.pace, &self.stop) {
                Ok(scrubbed) => {
                    bytes += scrubbed.bytes;
                    damaged += scrubbed.damaged;
                }
                Err(tarn_tablet::Error::Stopped(_)) if self.stop.is_asked() => return false,
                // Dropped meanwhile.
                Err(tarn_tablet::Error::Stopped(_) | tarn_tablet::Error::UnknownTablet(_)) => {}
                Err(error) => {
                    let reason = tarn_proto::error::chain(&error);
                    warn!(%tablet, reason, "cannot scrub a tablet now; the next pass tries again");
                }
            }
        }
        info!(bytes, damaged, "all tablets were scrubbed");
        true
    }
}

/// When the last pass began, since 1970.
fn last_pass(file: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(file).ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long until the next pass. A clock that went back does not stop them.
fn until_next(last: Option<Duration>, now: Duration, period: Duration) -> Duration {
    match last {
        None => FIRST.min(period),
        Some(last) => (last + period).saturating_sub(now).min(period),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_begin_a_period_apart_over_restarts_too() {
        let seconds = Duration::from_secs;
        let week = seconds(604_800);
        assert_eq!(until_next(None, seconds(5), week), FIRST);
        assert_eq!(until_next(None, seconds(5), seconds(1)), seconds(1));
        assert_eq!(until_next(Some(seconds(1000)), seconds(1000), week), week);
        assert_eq!(until_next(Some(seconds(1000)), seconds(3000), week), week - seconds(2000));
        assert_eq!(until_next(Some(seconds(1000)), seconds(1000) + 2 * week, week), Duration::ZERO);
        assert_eq!(until_next(Some(seconds(9000)), seconds(10), seconds(60)), seconds(60));
    }
}
