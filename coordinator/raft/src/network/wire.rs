//! The payloads of `RaftMessage`. Both ends are the same version of this crate; the version byte refuses others.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tarn_proto::wire::RaftMessage;
use tarn_proto::{NodeId, encoding};
use tonic::Status;

use crate::types::{SnapshotMeta, Vote};

/// Format version of everything in this file.
const VERSION: u8 = 1;

/// A request with the node it is meant for: an address may have been given to another node since.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub to: NodeId,
    pub body: T,
}

/// Opens a snapshot's transmission.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotHeader {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    /// Length of all pieces together.
    pub bytes: u64,
}

pub(super) fn encode<T: Serialize>(body: &T) -> RaftMessage {
    RaftMessage { payload: encoding::encode(VERSION, body).into() }
}

pub(super) fn decode<T: DeserializeOwned>(message: &RaftMessage) -> Result<T, encoding::Error> {
    encoding::decode("consensus message", VERSION, &message.payload)
}

/// Opens an envelope addressed to `me`.
pub(super) fn open<T: DeserializeOwned>(me: NodeId, message: &RaftMessage) -> Result<T, Status> {
    let envelope: Envelope<T> = decode(message).map_err(|e| Status::invalid_argument(e.to_string()))?;
    if envelope.to != me {
        return Err(Status::failed_precondition(format!("this is coordinator {me}, not {}", envelope.to)));
    }
    Ok(envelope.body)
}
