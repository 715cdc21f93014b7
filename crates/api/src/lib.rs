//! The public contract, generated from `proto/` at build time.
//!
//! In scope: generated messages, clients and servers, and the descriptors that reflection serves. Out of scope:
//! everything else; no domain type is known here.

/// Package `chancery.v1`. The comments are those of the proto files.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto files are linted and documented by buf"
)]
pub mod v1 {
    tonic::include_proto!("chancery.v1");
}

/// The serialised `FileDescriptorSet` of all proto files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
