//! How loaded a node's machine is, as Linux counts it: processors and memory from `/proc`, the container's memory from
//! `/sys/fs/cgroup`, the disk by the file system. What cannot be read is 0.

use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::wire::NodeLoad;

/// Bytes of memory, or of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// In use by anything.
    pub used: u64,
    /// That there are.
    pub total: u64,
}

/// Measures a node's machine for its heartbeats.
#[derive(Debug)]
pub struct Meter {
    data: PathBuf,
    before: Mutex<Ticks>,
}

/// Lets the calling thread have the processor after others: `nice` is added to its nice value, at most to 19.
pub fn lower_priority(nice: i32) -> std::io::Result<()> {
    rustix::process::nice(nice)?;
    Ok(())
}

/// Lets the process open as many files as the system allows it. Returns how many.
pub fn raise_open_files() -> std::io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Processor time since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    total: u64,
}

impl Meter {
    /// For a node that keeps its files in the directory `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), before: Mutex::new(ticks()) }
    }

    /// The machine now, its processors since the last call. What only the role knows is left 0.
    pub fn measure(&self) -> NodeLoad {
        let now = ticks();
        let before = std::mem::replace(&mut *self.before.lock(), now);
        let (memory, disk) = (memory(), self.disk());
        NodeLoad {
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            cpu: share(before, now),
            memory_used_bytes: memory.used,
            memory_total_bytes: memory.total,
            disk_used_bytes: disk.used,
            disk_total_bytes: disk.total,
            ..NodeLoad::default()
        }
    }

    /// The file system that holds the data directory.
    fn disk(&self) -> Space {
        let Ok(disk) = rustix::fs::statvfs(&self.data) else { return Space::default() };
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Space { used: bytes(disk.f_blocks.saturating_sub(disk.f_bfree)), total: bytes(disk.f_blocks) }
    }
}

/// The file system that holds `path`: what is used, of that and what this process may still write. Does not block for long.
pub fn disk(path: &Path) -> std::io::Result<Space> {
    let disk = rustix::fs::statvfs(path)?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree).saturating_mul(disk.f_frsize);
    Ok(Space { used, total: used.saturating_add(disk.f_bavail.saturating_mul(disk.f_frsize)) })
}

/// The machine's memory, or the container's if that may use less.
pub fn memory() -> Space {
    let machine = read("/proc/meminfo").and_then(|text| parse_meminfo(&text)).unwrap_or_default();
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max").filter(|limit| *limit < machine.total);
    match (limit, number("/sys/fs/cgroup/memory.current")) {
        (Some(total), Some(used)) => Space { used, total },
        _ => machine,
    }
}

/// Bytes of memory of the machine or the container, for limits that are shares of it; 4 GiB if it does not tell.
pub fn memory_total() -> u64 {
    match memory().total {
        0 => 4 << 30,
        known => known,
    }
}

fn ticks() -> Ticks {
    read("/proc/stat").and_then(|text| parse_stat(&text)).unwrap_or_default()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn share(before: Ticks, now: Ticks) -> f64 {
    match now.total.saturating_sub(before.total) {
        0 => 0.0,
        total => (now.busy.saturating_sub(before.busy) as f64 / total as f64).clamp(0.0, 1.0),
    }
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal ...`.
fn parse_stat(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let idle = numbers.get(3)? + numbers.get(4).copied().unwrap_or_default();
    let total: u64 = numbers.iter().sum();
    Some(Ticks { busy: total - idle, total })
}

fn parse_meminfo(text: &str) -> Option<Space> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    let total = field("MemTotal:")?;
    Some(Space { used: total.saturating_sub(field("MemAvailable:")?), total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_processors_are_not_busy() {
        let before = parse_stat("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1 2").unwrap();
        assert_eq!(before, Ticks { busy: 20, total: 100 });
        let now = parse_stat("cpu  40 5 15 110 30 0 0 0 9 9\n").unwrap();
        assert_eq!(share(before, now), 0.4);
        assert_eq!(share(now, now), 0.0);
        assert_eq!(parse_stat("intr 1"), None);
    }

    #[test]
    fn memory_in_use_is_what_is_not_available() {
        let memory = parse_meminfo("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  400 kB\n");
        assert_eq!(memory, Some(Space { used: 600 << 10, total: 1000 << 10 }));
        assert_eq!(parse_meminfo(""), None);
    }

    #[test]
    fn this_machine_has_processors_memory_and_a_disk() {
        let load = Meter::new(std::env::temp_dir()).measure();
        assert!(load.cores > 0 && (0.0..=1.0).contains(&load.cpu), "{load:?}");
        assert!(load.memory_used_bytes > 0 && load.memory_used_bytes <= load.memory_total_bytes, "{load:?}");
        assert!(load.disk_used_bytes > 0 && load.disk_used_bytes <= load.disk_total_bytes, "{load:?}");
        let nowhere = Meter::new("/no/such/directory").measure();
        assert_eq!((nowhere.disk_used_bytes, nowhere.disk_total_bytes), (0, 0));
    }
}
