//! Memory and processors, as Linux counts them. Elsewhere: guesses that are safe.

use parking_lot::Mutex;

/// What a machine has that does not tell.
const UNKNOWN_MEMORY: u64 = 4 << 30;

/// The machine's memory, or the container's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub total: u64,
    pub used: u64,
}

pub(crate) fn memory() -> Memory {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text));
    let machine = machine.unwrap_or(Memory { total: UNKNOWN_MEMORY, used: 0 });
    let limit = read_number("/sys/fs/cgroup/memory.max").filter(|limit| *limit < machine.total);
    match (limit, read_number("/sys/fs/cgroup/memory.current")) {
        (Some(total), Some(used)) => Memory { total, used },
        _ => machine,
    }
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    let total = field("MemTotal:")?;
    Some(Memory { total, used: total.saturating_sub(field("MemAvailable:")?) })
}

/// Tells the busy share of the processors since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Processors(Mutex<(u64, u64)>);

impl Processors {
    pub fn busy(&self) -> f64 {
        let Some((busy, all)) = std::fs::read_to_string("/proc/stat").ok().and_then(|text| parse_stat(&text)) else {
            return 0.0;
        };
        let mut last = self.0.lock();
        let (was_busy, was_all) = std::mem::replace(&mut *last, (busy, all));
        busy.saturating_sub(was_busy) as f64 / all.saturating_sub(was_all).max(1) as f64
    }
}

/// Ticks since the machine started: busy ones, and all.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let memory = parse_meminfo("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  400 kB\n").unwrap();
        assert_eq!((memory.total, memory.used), (1000 * 1024, 600 * 1024));
        assert!(parse_meminfo("").is_none());
    }

    #[test]
    fn waiting_processors_are_not_busy() {
        assert_eq!(parse_stat("cpu  10 0 20 60 10 0 0 0 5 0\ncpu0 1"), Some((30, 100)));
        assert_eq!(parse_stat("intr 1"), None);
    }
}
