//! `KILL`, and cancelling by query id: here, or on the coordinator that runs it.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tarn_proto::NodeId;
use tarn_proto::channel::connect_with_timeout;
use tarn_proto::wire::coordinator_service_client::CoordinatorServiceClient;
use tarn_proto::wire::{KillQueryRequest, ListQueriesRequest, RunningQuery};
use tonic::transport::Channel;
use tracing::debug;

use super::{Error, SessionContext, Shared};

/// Longest wait for another coordinator's answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// `KILL [CONNECTION] id`, `KILL QUERY id`
pub async fn statement(context: &SessionContext, id: &str, query: bool) -> Result<(), Error> {
    if kill(&context.shared, id, !query).await {
        Ok(())
    } else {
        Err(Error::NotFound(format!("no statement and no connection has the id `{id}`: see SHOW PROCESSLIST")))
    }
}

/// Cancels the statement with this query id, or those of the connection with this id, wherever it runs. Returns whether
/// there was one.
pub async fn kill(shared: &Shared, id: &str, close: bool) -> bool {
    if shared.processes.kill(id, close) {
        return true;
    }
    // Also those that seem dead: one that has just started is known by its heartbeats only after a while.
    let mut calls: FuturesUnordered<_> = others(shared, |_| true)
        .into_iter()
        .map(|(node, mut client)| async move {
            match client.kill_query(KillQueryRequest { id: id.to_owned(), connection: close }).await {
                Ok(answer) => answer.into_inner().found,
                Err(status) => {
                    debug!(%node, %status, "a coordinator does not answer");
                    false
                }
            }
        })
        .collect();
    while let Some(found) = calls.next().await {
        if found {
            return true;
        }
    }
    false
}

/// What the other living coordinators run.
pub async fn running_elsewhere(shared: &Shared) -> Vec<RunningQuery> {
    let living = |node| shared.members.read().is_alive(node, Instant::now());
    let calls = others(shared, living).into_iter().map(|(node, mut client)| async move {
        match client.list_queries(ListQueriesRequest {}).await {
            Ok(answer) => answer.into_inner().queries,
            Err(status) => {
                debug!(%node, %status, "a coordinator does not answer");
                Vec::new()
            }
        }
    });
    futures::future::join_all(calls).await.into_iter().flatten().collect()
}

fn others(shared: &Shared, asked: impl Fn(NodeId) -> bool) -> Vec<(NodeId, CoordinatorServiceClient<Channel>)> {
    let status = shared.raft.status();
    status
        .voters
        .into_iter()
        .chain(status.observers)
        .filter(|(id, _)| *id != shared.node && asked(*id))
        .filter_map(|(id, address)| {
            let channel = connect_with_timeout(&address, CALL_TIMEOUT).ok()?;
            Some((id, CoordinatorServiceClient::new(channel)))
        })
        .collect()
}
