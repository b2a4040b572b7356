//! The compute role: runs the tasks of distributed plans.
//!
//! A coordinator cuts a plan into stages and sends each node its tasks; nodes read from each other and the coordinator
//! reads the last stage. A compute node keeps nothing that cannot be lost: a cache of segments and spilled rows.
//!
//! ```text
//!  node        ComputeNode: the gRPC server, start and shutdown
//!   ├ session      a task's session: codec, functions, options, memory
//!   │   └ memory       one pool per process, in it one per query
//!   ├ counted      the calls that bring tasks; `tasks` knows how many run, and shutdown waits for them
//!   ├ sweep        lets go of tasks that have ended
//!   ├ membership   registers the node, tells coordinators that it lives and how loaded it is
//!   └ trace        the query's id in every log line
//! ```

mod config;
mod counted;
mod error;
mod membership;
mod memory;
mod metrics;
mod node;
mod session;
mod sweep;
mod tasks;
mod trace;

pub use config::Config;
pub use error::Error;
pub use node::ComputeNode;
