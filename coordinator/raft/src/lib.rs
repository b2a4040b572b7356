//! The replicated catalog: openraft over RocksDB and gRPC.
