//! Starting tasks: every task has a name, and its panic is logged with it.

use std::future::Future;

use tokio::task::{JoinHandle, JoinSet};
use tracing::{Instrument, error, info_span};

/// Starts `future` as a task. The caller owns it through the handle; a panic is logged under `name` before the handle
/// reports it.
#[expect(clippy::disallowed_methods, reason = "the one place that names tasks")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let guard = PanicReport(name);
    tokio::spawn(
        async move {
            let output = future.await;
            std::mem::forget(guard);
            output
        }
        .instrument(info_span!("task", task = name)),
    )
}

/// Starts `future` as a task of `set`, like [`spawn`]. Dropping the set aborts it.
pub fn spawn_in<F>(set: &mut JoinSet<F::Output>, name: &'static str, future: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let guard = PanicReport(name);
    set.spawn(
        async move {
            let output = future.await;
            std::mem::forget(guard);
            output
        }
        .instrument(info_span!("task", task = name)),
    );
}

/// Dropped in a panic, forgotten otherwise.
struct PanicReport(&'static str);

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(task = self.0, "task panicked");
        }
    }
}
