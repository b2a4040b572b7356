//! End-to-end tests of the `tarn` binary: real processes, real clients.
//!
//! ```text
//!  harness    starts, kills and restarts roles on loopback
//!  arrows     which crate may depend on which
//!  slt        tests/slt/*.slt, embedded and on a cluster
//!  command    the command line: exit codes, formats, configuration
//! ```

mod arrows;
mod command;
mod harness;
mod slt;
