//! The tablet engine: rowsets, segments, indexes, versions.
