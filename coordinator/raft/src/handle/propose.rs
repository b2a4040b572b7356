//! Changing the catalog.

use std::time::Duration;

use bytes::Bytes;
use tarn_catalog::{Command, Operation, Response};
use tarn_proto::wire::ProposeRequest;
use tarn_proto::wire::coordinator_service_client::CoordinatorServiceClient;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;

use super::CatalogRaft;
use crate::Error;
use crate::error::is_transport;
use crate::network::{Lane, MAX_MESSAGE_BYTES};
use crate::types::{Blob, Proposal};

/// Largest encoded command.
pub const MAX_COMMAND_BYTES: usize = 16 << 20;
/// How long a change is tried, through elections and lost connections.
pub const PROPOSE_WITHIN: Duration = Duration::from_secs(15);
/// Longest single attempt at another coordinator.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause between attempts, unless leadership changes before.
const RETRY_EVERY: Duration = Duration::from_millis(100);

impl CatalogRaft {
    /// Changes the catalog, on the leader wherever it is. Returns when the change is committed *and* in this node's
    /// [`catalog`](Self::catalog). Gives up after [`PROPOSE_WITHIN`].
    ///
    /// Attempts after a lost answer carry the same request id, so the change happens once or not at all. A command that
    /// the catalog refuses is [`Error::Refused`].
    pub async fn propose(&self, operation: Operation) -> Result<Response, Error> {
        let command = Command { request_id: Uuid::new_v4().as_u128(), operation };
        let deadline = Instant::now() + PROPOSE_WITHIN;
        let late = || Error::Timeout { what: "the catalog change", within: PROPOSE_WITHIN };
        let attempts = self.propose_anywhere(command.encode());
        let (response, index) = timeout_at(deadline, attempts).await.map_err(|_| late())??;
        timeout_at(deadline, self.wait_applied(index)).await.map_err(|_| late())??;
        match response {
            Response::Refused(refused) => Err(Error::Refused(refused)),
            response => Ok(response),
        }
    }

    /// Applies a command if this node leads, and tells the log index it got; [`Error::NotLeader`] otherwise. A refusal
    /// is an ordinary response here, as it is on the wire.
    pub async fn propose_here(&self, command: Command) -> Result<(Response, u64), Error> {
        self.propose_encoded(command.encode().into()).await
    }

    async fn propose_encoded(&self, command: Bytes) -> Result<(Response, u64), Error> {
        if command.len() > MAX_COMMAND_BYTES {
            return Err(Error::TooLarge { bytes: command.len(), limit: MAX_COMMAND_BYTES });
        }
        let proposal = Proposal { now_ms: self.inner.clock.now_ms(), command: Blob(command) };
        let written = self.inner.raft.client_write(proposal).await?;
        Ok((written.data.0, written.log_id.index))
    }

    async fn propose_anywhere(&self, command: Vec<u8>) -> Result<(Response, u64), Error> {
        let command = Bytes::from(command);
        self.at_leader(
            || self.propose_encoded(command.clone()),
            |address, mut client| {
                let request = ProposeRequest { command: command.clone() };
                async move {
                    let reply =
                        client.propose(request).await.map_err(|s| Error::from_status(&address, s))?.into_inner();
                    Ok((Response::decode(&reply.response)?, reply.log_index))
                }
            },
        )
        .await
    }

    /// Runs `here` if this node leads, else `there` at the leader, until an attempt has a final outcome.
    pub(super) async fn at_leader<T, H, R>(
        &self,
        here: impl Fn() -> H + Send,
        there: impl Fn(String, CoordinatorServiceClient<Channel>) -> R + Send,
    ) -> Result<T, Error>
    where
        H: Future<Output = Result<T, Error>> + Send,
        R: Future<Output = Result<T, Error>> + Send,
    {
        let mut leadership = self.inner.leadership.clone();
        let mut hint = None;
        loop {
            let now = leadership.borrow_and_update().clone();
            let asked = hint.take().or(now.leader).filter(|(id, _)| *id != self.inner.node_id);
            let outcome = if now.is_self {
                here().await
            } else if let Some((_, address)) = &asked {
                let channel = self.inner.peers.channel(address, Lane::Forward)?;
                let client = CoordinatorServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
                timeout(ATTEMPT, there(address.clone(), client))
                    .await
                    .unwrap_or(Err(Error::Timeout { what: "the leader's answer", within: ATTEMPT }))
            } else {
                Err(Error::NotLeader { leader: None })
            };
            match outcome {
                Err(Error::NotLeader { leader }) => hint = leader.filter(|l| Some(l) != asked.as_ref()),
                Err(error) if may_pass(&error) => {}
                outcome => return outcome,
            }
            // A new leader wakes this at once. It cannot end the loop: that is the caller's deadline.
            let _ = timeout(RETRY_EVERY, leadership.changed()).await;
        }
    }
}

/// Whether another attempt may succeed. The outcome of the failed one may be unknown: requests must be idempotent.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::NotLeader { .. } | Error::LeadershipLost | Error::NoQuorum | Error::Timeout { .. } => true,
        Error::Remote { status, .. } => {
            let passing = matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted | Code::Unknown
            );
            passing || is_transport(status)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tarn_proto::ErrorKind;
    use tonic::Status;

    use super::*;

    #[test]
    fn a_connection_that_broke_is_no_answer() {
        let answered = Error::from_status("a:1", Status::internal("the log is damaged"));
        assert_eq!((may_pass(&answered), answered.kind()), (false, ErrorKind::Internal));
        // As a leader that stops ends the calls it still has.
        let mut status = Status::internal("h2 protocol error");
        status.set_source(Arc::new(std::io::Error::other("NO_ERROR")));
        let broken = Error::from_status("a:1", status);
        assert_eq!((may_pass(&broken), broken.kind()), (true, ErrorKind::Unavailable));
    }
}
