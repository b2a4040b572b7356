//! How loaded the machine is, from `/proc`. What cannot be read is 0.

use std::fs;
use std::path::Path;

use parking_lot::Mutex;
use tarn_proto::wire::NodeLoad;
use tarn_tablet::Engine;

/// Measures load between two calls.
#[derive(Default)]
pub(crate) struct LoadMeter {
    before: Mutex<Ticks>,
}

/// Processor time since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    total: u64,
}

impl LoadMeter {
    /// Load since the last call, and what the tablets take. The size of the disk is not known (0).
    pub(crate) fn measure(&self, engine: &Engine) -> NodeLoad {
        let now = read("/proc/stat").and_then(|text| ticks(&text)).unwrap_or_default();
        let before = std::mem::replace(&mut *self.before.lock(), now);
        let (available, total) = read("/proc/meminfo").and_then(|text| memory(&text)).unwrap_or_default();
        let usage = engine.usage();
        NodeLoad {
            cpu: share(before, now),
            memory_used_bytes: total.saturating_sub(available),
            memory_total_bytes: total,
            disk_used_bytes: usage.bytes,
            disk_total_bytes: 0,
            running: usage.loads,
            tablets: usage.tablets,
        }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn share(before: Ticks, now: Ticks) -> f64 {
    match now.total.saturating_sub(before.total) {
        0 => 0.0,
        total => (now.busy.saturating_sub(before.busy) as f64 / total as f64).clamp(0.0, 1.0),
    }
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal ...`.
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let idle = numbers.get(3)? + numbers.get(4).copied().unwrap_or_default();
    let total: u64 = numbers.iter().sum();
    Some(Ticks { busy: total - idle, total })
}

/// Available and total bytes from `/proc/meminfo`.
fn memory(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some((field("MemAvailable:")?, field("MemTotal:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_understood() {
        let before = ticks("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 2").unwrap();
        assert_eq!(before, Ticks { busy: 20, total: 100 });
        let now = ticks("cpu  40 5 15 110 30 0 0 0 9 9\n").unwrap();
        assert_eq!(share(before, now), 0.4);
        assert_eq!(share(now, now), 0.0);
        assert_eq!(memory("MemTotal:  8 kB\nMemFree: 1 kB\nMemAvailable:   3 kB\n"), Some((3 << 10, 8 << 10)));
        assert_eq!(ticks("intr 5"), None);
    }
}
