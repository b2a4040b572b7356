//! Runtimes, signals and the graceful end of a server process.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

/// Threads of a client: one renders while another reads.
const CLIENT_THREADS: usize = 2;

/// The runtime of a server.
pub fn server_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_name("tarn").build().context("cannot start the runtime")
}

/// The runtime of a client.
pub fn client_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(CLIENT_THREADS).enable_all().build().context("cannot start the runtime")
}

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes over the process' signals.
    pub fn install() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?,
        })
    }

    /// Waits for the next signal and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Ctrl-c in a client. SIGTERM keeps ending it.
pub struct Interrupts(tokio::signal::unix::Signal);

impl Interrupts {
    /// Takes over SIGINT.
    pub fn install() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?))
    }

    /// Waits for the next.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }

    /// Forgets those that came while nothing ran: they were meant for the pager, or came twice.
    pub fn forget(&mut self) {
        while self.0.recv().now_or_never().flatten().is_some() {}
    }
}

/// Waits for `shutdown`, at most for `deadline`. A signal ends the wait.
pub async fn stop_within(
    mut signals: Signals,
    deadline: Duration,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::select! {
        () = shutdown => {
            info!("stopped");
            Ok(())
        }
        () = tokio::time::sleep(deadline) => {
            warn!("did not stop in time");
            bail!("did not stop within {} s", deadline.as_secs())
        }
        signal = signals.next() => bail!("{signal} again before the work had ended"),
    }
}
