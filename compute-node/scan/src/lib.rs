//! Leaf sources: tablets and files, block cache, plan codec.
