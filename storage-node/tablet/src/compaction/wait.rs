//! Loads wait for compaction where it does not keep up.

use std::time::Instant;

use tracing::warn;

use crate::engine::Engine;
use crate::metrics;
use crate::tablet::Tablet;

impl Engine {
    /// Waits while a tablet has far too many rowsets, until `until` at most, which the load's first wait sets: loads go
    /// slower than compaction, and never fail for it.
    pub(crate) async fn wait_for_compaction(&self, tablet: &Tablet, until: &mut Option<tokio::time::Instant>) {
        let crowded = || {
            let state = tablet.state.read();
            let live = state.rowsets.values().filter(|r| r.is_live()).count();
            let waits = live > self.options.crowded_rowsets && !state.dropped && state.read_only.is_none();
            waits.then_some(live)
        };
        let Some(rowsets) = crowded() else { return };
        let now = tokio::time::Instant::now();
        let until = *until.get_or_insert(now + self.options.crowded_wait);
        if until <= now {
            return;
        }
        warn!(tablet = %tablet.id, rowsets, "a load waits: the tablet has more rowsets than compaction keeps up with");
        self.note_changed(tablet.id);
        let started = Instant::now();
        let relieved = tokio::time::timeout_at(until, async {
            loop {
                let relieved = tablet.relieved.notified();
                tokio::pin!(relieved);
                // From here on no change is missed.
                relieved.as_mut().enable();
                if crowded().is_none() {
                    return;
                }
                relieved.await;
            }
        });
        let in_time = relieved.await.is_ok();
        metrics::load_waited(started.elapsed());
        if !in_time {
            warn!(tablet = %tablet.id, "a load goes on although the tablet still has too many rowsets");
        }
    }
}
