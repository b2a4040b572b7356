//! Holds nothing. Cargo unifies features over the selected members only, so `-p tarn-raft` and `--workspace` would build
//! RocksDB, Arrow and DataFusion twice. Every member depends on this crate (most through `tarn-proto`), and it on every
//! third-party crate, which makes all selections alike. See <https://docs.rs/cargo-hakari/latest/cargo_hakari/about>.
