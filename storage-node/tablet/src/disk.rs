//! How full the disk of the data directory may become.
//!
//! Below the first mark nothing happens. Above it operators are warned and the node gets only replicas that no other takes; above the
//! second one, or with less than a reserve left, it takes no load, clone or compaction, so that publishes and metadata,
//! which must not fail, still have room. What frees space (drops, the removal of superseded rowsets) always works. The
//! disk is measured anew each time, so that the node recovers by itself.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tarn_proto::machine::{self, Space};
use tracing::{error, info, warn};

use crate::{Error, Result, metrics};

/// When a disk counts as full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Percent of the disk in use from which on operators are warned.
    pub warn_percent: u8,
    /// Percent of the disk in use that nothing may exceed.
    pub refuse_percent: u8,
    /// Bytes that must stay free.
    pub reserve_bytes: u64,
}

impl Default for DiskLimits {
    /// 85 %, 95 % and 1 GiB.
    fn default() -> Self {
        Self { warn_percent: 85, refuse_percent: 95, reserve_bytes: 1 << 30 }
    }
}

/// What a disk has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskLevel {
    /// Everything.
    #[default]
    Ok,
    /// Everything, but operators should look.
    Low,
    /// What frees space.
    Full,
}

impl DiskLimits {
    /// The level of a disk once `more` bytes are written to it. One of unknown size takes everything.
    pub fn level(&self, disk: Space, more: u64) -> DiskLevel {
        let used = disk.used.saturating_add(more);
        let above = |percent: u8| u128::from(used) * 100 > u128::from(disk.total) * u128::from(percent);
        if disk.total == 0 {
            DiskLevel::Ok
        } else if above(self.refuse_percent) || disk.total.saturating_sub(used) < self.reserve_bytes {
            DiskLevel::Full
        } else if above(self.warn_percent) {
            DiskLevel::Low
        } else {
            DiskLevel::Ok
        }
    }
}

/// Measures a disk.
pub trait DiskMeter: fmt::Debug + Send + Sync {
    /// What is used of it, and all that can be used.
    fn measure(&self) -> io::Result<Space>;
}

/// The file system of a directory.
#[derive(Debug)]
pub(crate) struct FileSystem(pub PathBuf);

impl DiskMeter for FileSystem {
    fn measure(&self) -> io::Result<Space> {
        machine::disk(&self.0)
    }
}

/// The disk of the data directory.
#[derive(Debug)]
pub(crate) struct Disk {
    data: PathBuf,
    limits: DiskLimits,
    meter: Arc<dyn DiskMeter>,
    /// What was told to operators last.
    told: Mutex<DiskLevel>,
}

impl Disk {
    /// The disk of `data`, as `meter` measures it.
    pub(crate) fn new(data: PathBuf, limits: DiskLimits, meter: Arc<dyn DiskMeter>) -> Self {
        Self { data, limits, meter, told: Mutex::default() }
    }

    /// The disk now. Tells operators when its level has changed.
    pub(crate) fn level(&self) -> DiskLevel {
        let disk = self.measure();
        let level = self.limits.level(disk, 0);
        metrics::disk_level(level);
        let before = std::mem::replace(&mut *self.told.lock(), level);
        let (data, percent) = (self.data.display(), percent(disk));
        match level {
            _ if level == before => {}
            DiskLevel::Ok => info!(%data, percent, "the disk has room again"),
            DiskLevel::Low => warn!(%data, percent, "the disk is filling up: free space or add storage nodes"),
            DiskLevel::Full => error!(%data, percent, "the disk is full: loads and compactions are refused"),
        }
        level
    }

    /// Refuses to write `bytes` more if the disk would be full with them.
    pub(crate) fn admit(&self, bytes: u64) -> Result<()> {
        let disk = self.measure();
        if self.limits.level(disk, bytes) < DiskLevel::Full {
            return Ok(());
        }
        metrics::disk_refused();
        Err(Error::DiskFull {
            data: self.data.clone(),
            percent: percent(disk),
            left: disk.total.saturating_sub(disk.used),
            wanted: bytes,
            limits: self.limits,
        })
    }

    fn measure(&self) -> Space {
        self.meter.measure().unwrap_or_else(|error| {
            warn!(data = %self.data.display(), %error, "cannot tell how full the disk is");
            Space::default()
        })
    }
}

fn percent(disk: Space) -> u8 {
    (u128::from(disk.used) * 100).div_ceil(u128::from(disk.total.max(1))).min(100) as u8
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const GIB: u64 = 1 << 30;

    #[derive(Debug, Default)]
    struct Fake(AtomicU64);

    impl DiskMeter for Fake {
        fn measure(&self) -> io::Result<Space> {
            match self.0.load(Ordering::Relaxed) {
                u64::MAX => Err(io::Error::other("no disk")),
                used => Ok(Space { used, total: 100 * GIB }),
            }
        }
    }

    #[test]
    fn marks_are_shares_of_the_disk_and_a_reserve() {
        let limits = DiskLimits::default();
        let level = |used, total, more| limits.level(Space { used, total }, more);
        assert_eq!(level(85 * GIB, 100 * GIB, 0), DiskLevel::Ok);
        assert_eq!(level(85 * GIB + 1, 100 * GIB, 0), DiskLevel::Low);
        assert_eq!(level(90 * GIB, 100 * GIB, 5 * GIB), DiskLevel::Low);
        assert_eq!(level(90 * GIB, 100 * GIB, 5 * GIB + 1), DiskLevel::Full);
        assert_eq!(level(9 * GIB, 10 * GIB + 1, 0), DiskLevel::Low, "a GiB and a byte are left");
        assert_eq!(level(9 * GIB + 2, 10 * GIB + 1, 0), DiskLevel::Full, "less than a GiB is left");
        assert_eq!(level(0, 0, u64::MAX), DiskLevel::Ok, "nothing is known");
        assert_eq!(level(u64::MAX, u64::MAX, u64::MAX), DiskLevel::Full);
    }

    #[test]
    fn a_full_disk_is_named_with_the_remedy_and_recovers() {
        let meter = Arc::new(Fake::default());
        let disk = Disk::new("/data".into(), DiskLimits::default(), meter.clone());
        assert_eq!(disk.level(), DiskLevel::Ok);
        disk.admit(95 * GIB).unwrap();
        assert!(disk.admit(95 * GIB + 1).is_err());
        meter.0.store(96 * GIB, Ordering::Relaxed);
        assert_eq!(disk.level(), DiskLevel::Full);
        let error = disk.admit(0).unwrap_err().to_string();
        for part in ["/data", "96 %", "4.0 GiB", "95 %", "disk_refuse_percent", "storage node"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        meter.0.store(86 * GIB, Ordering::Relaxed);
        assert_eq!(disk.level(), DiskLevel::Low);
        disk.admit(GIB).unwrap();
        meter.0.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(disk.level(), DiskLevel::Ok);
        disk.admit(u64::MAX).unwrap();
    }
}
