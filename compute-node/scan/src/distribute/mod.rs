//! Spreading tablet scans over compute nodes.
//!
//! A tablet prefers the worker that wins its rendezvous draw, so that it is read where it is cached, and only the
//! tablets of a worker that comes or goes move. When a scan becomes several tasks, each task gets the tablets that prefer
//! its worker, within a bound on skew; routing then sends each task to that worker.

mod affinity;
mod handlers;
mod workers;

pub use handlers::{TabletRouting, TabletScaleUp, TabletTaskCount};
pub use workers::WorkerSet;
