//! Compactions as callers of a storage node name them.

/// What a compaction merges that somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionScope {
    /// All rowsets of a tablet, to one.
    All,
    /// The rowsets that came after the largest, to one.
    Recent,
}
