//! Spreading tablet scans over compute nodes, and what the calls between nodes of a query have in common.
//!
//! A tablet prefers the worker that wins its rendezvous draw, so that it is read where it is cached, and only the
//! tablets of a worker that comes or goes move. When a scan becomes several tasks, each task gets the tablets that prefer
//! its worker, within a bound on skew; routing then sends each task to that worker.
//!
//! ```text
//!  workers      the compute nodes that take work
//!  handlers     how many tasks, which tablets in which task (affinity), which worker runs it
//!
//!  both sides, coordinators and compute nodes:
//!  channels     connections to compute nodes; they name the node in errors
//!  loss         was a compute node lost, and which one?
//!  headers      what calls between nodes say of their query
//! ```

mod affinity;
mod channels;
mod handlers;
pub mod headers;
mod loss;
mod workers;

pub use channels::WorkerChannels;
pub use handlers::{TabletRouting, TabletScaleUp, TabletTaskCount};
pub use headers::RemoteQuery;
pub use loss::{leaving, lost_worker, without};
pub use workers::WorkerSet;
