//! The compute role: worker service, memory pools, runtimes.
