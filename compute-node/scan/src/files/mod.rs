//! Files as a source: `FILES()`.
