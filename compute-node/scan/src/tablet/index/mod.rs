//! Rows of a segment that its index files leave over, before any page is read.
//!
//! ```text
//!  filters ──► conjuncts ──► one condition for each column that they say something simple about
//!                               │ bitmap indexes: the rows for which it holds, exactly; these conjuncts are done with
//!                               │ bloom indexes: the blocks of rows that may hold one of its values
//!                               ▼
//!  short-key range ∩ rows ∩ blocks − deleted rows ──► the selection that Vortex reads
//! ```
//!
//! An index only saves work: one that is missing, damaged, of another type than the column has today, or dearer to read
//! than what it saves is left out, and its conjuncts are evaluated on the rows.

mod bitmap;
mod bloom;
mod condition;
mod file;
mod select;

pub(crate) use select::{FilteredRows, Selected};
pub(super) use select::{Segment, select};

/// What part of a column's values a condition may let pass for its bitmap index to be used, in thousandths: StarRocks'
/// default of `bitmap_max_filter_ratio`.
pub const BITMAP_MAX_FILTER_RATIO: u16 = 1;

#[cfg(test)]
mod tests;
