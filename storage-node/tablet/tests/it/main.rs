//! The engine against its disk: damage, failed writes, kills; and compaction against a model.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

mod allocated;
mod compaction;
mod damage;
mod deletes;
mod failed_writes;
mod fixture;
mod frozen;
mod kill;
mod primary;
mod replicas;
mod throughput;
mod values;
mod volumes;
mod wide;

#[global_allocator]
static ALLOCATOR: allocated::Counted = allocated::Counted;
