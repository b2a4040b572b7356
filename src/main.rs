//! The `tarn` binary: parse arguments, start roles, exit codes.
fn main() {}
