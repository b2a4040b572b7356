//! Wire types and gRPC services, generated from `tarn/v1/*.proto`.

#![allow(missing_docs, clippy::all)]

tonic::include_proto!("tarn.v1");

/// The encoded `FileDescriptorSet` of every contract, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
