//! Bitmap and bloom indexes of segments: files beside them, see `tarn_proto::index`.
//!
//! ```text
//!  flush, compaction ── rows on their way into a segment ──► IndexBuilders ──► files, named with the segment's
//!  a schema with an index that segments lack ──► Engine::make_indexes (background) ──► one column read, one file made
//!                                                                             ──► the rowset's record names it
//!  Engine::read_index ──► bytes as they are: who reads them verifies them
//! ```
//!
//! An index depends on nothing but the rows of its segment, which never change. So a file that is lost or damaged is made
//! anew, one that nobody names goes, and a reader that finds none reads the rows.

mod build;
mod make;
mod remove;
mod serve;

pub(crate) use build::IndexBuilders;
pub use make::IndexWork;
pub(crate) use make::segments_without;
pub(crate) use remove::remove_files;

#[cfg(test)]
mod tests;
