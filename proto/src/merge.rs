//! Merging sorted rows, and combining rows of equal keys: what a scan of an AGGREGATE or UNIQUE table does, and what
//! compaction does. No I/O and no clock: the caller reads and writes.
//!
//! ```text
//!  input 0 (oldest) ─ push ─┐
//!  input 1          ─ push ─┤ SortedMerge ── rows by key, equal keys oldest first ──► Combiner ── one row a key
//!  input n (newest) ─ push ─┘    step: Need(input) | Rows(batch) | Done
//! ```
//!
//! Batches are arrow batches of one schema, as segments hold the columns ([`crate::segment::storage_schema`]) or as the
//! table declares them. Keys are ordered ascending, NULL first, as segments are.

mod combine;
mod fold;
mod sorted;
#[cfg(test)]
mod tests;

pub use combine::Combiner;
pub use sorted::{SortedMerge, Step};
