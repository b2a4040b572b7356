//! A voter whose data directory is empty: is it new, or has it lost what it had?
//!
//! One that has lost its log has forgotten which entries it acknowledged and whom it elected. If it went on as the voter
//! it was, it could make up a majority for a leader that lacks acknowledged entries. Itself it cannot tell, so it asks the
//! other initial voters. A coordinator registers in the catalog when it has taken part for the first time: whom the others
//! know by the membership alone has only been named by whoever formed the cluster, and comes late. Voters that do not
//! answer are no obstacle: when a cluster is formed, somebody is the first.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tarn_proto::NodeId;
use tarn_proto::wire::admin_service_client::AdminServiceClient;
use tarn_proto::wire::{ClusterStatusRequest, ClusterStatusResponse};
use tokio::time::timeout;

use super::CatalogRaft;
use crate::Error;
use crate::network::Lane;

/// Longest wait for the other voters.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// What the others think of a node without a past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has never taken part.
    New,
    /// The cluster goes on without it.
    Removed,
}

/// Asks the other voters. An error when the node has taken part before.
pub(super) async fn standing(node: &CatalogRaft, voters: &BTreeMap<NodeId, String>) -> Result<Standing, Error> {
    let me = node.node_id();
    let others = voters.iter().filter(|(id, _)| **id != me);
    let answers = others.map(|(_, address)| async move {
        let channel = node.inner.peers.channel(address, Lane::Forward).ok()?;
        let mut client = AdminServiceClient::new(channel);
        let answer = timeout(ASK_WITHIN, client.cluster_status(ClusterStatusRequest {})).await.ok()?.ok()?;
        Some((address.as_str(), answer.into_inner()))
    });
    let answers: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
    let address = voters.get(&me).map(String::as_str).unwrap_or_default();
    judge(me, address, &answers)
}

fn judge(me: NodeId, address: &str, answers: &[(&str, ClusterStatusResponse)]) -> Result<Standing, Error> {
    let mut standing = Standing::New;
    // Whoever has no members has not formed a cluster either.
    for (peer, status) in answers.iter().filter(|(_, status)| !status.coordinators.is_empty()) {
        match status.coordinators.iter().find(|c| c.node_id == me.get()) {
            Some(known) if known.registered => {
                let id = me.get();
                return Err(Error::Config(format!(
                    "the data directory is empty, but the coordinator at {peer} knows this one, {me}, as a member: what \
                     it has acknowledged is lost, and acknowledged changes with it if it voted again. Restore its data \
                     directory, or remove it from the cluster (`tarn admin --coordinator {peer} remove-coordinator {id}`), \
                     start it, and add it again (`tarn admin --coordinator {peer} add-coordinator {id} {address}`)"
                )));
            }
            Some(_) => {}
            None => standing = Standing::Removed,
        }
    }
    Ok(standing)
}

#[cfg(test)]
mod tests {
    use tarn_proto::wire::CoordinatorStatus;

    use super::*;

    const ME: NodeId = NodeId(3);

    fn knows(members: &[(u64, bool)]) -> (&'static str, ClusterStatusResponse) {
        let member =
            |&(node_id, registered): &(u64, bool)| CoordinatorStatus { node_id, registered, ..Default::default() };
        ("a:1", ClusterStatusResponse { coordinators: members.iter().map(member).collect(), ..Default::default() })
    }

    fn judged(answers: &[(&str, ClusterStatusResponse)]) -> Result<Standing, String> {
        judge(ME, "c:1", answers).map_err(|e| e.to_string())
    }

    #[test]
    fn nobody_or_nobody_with_a_cluster_is_no_obstacle() {
        assert_eq!(judged(&[]), Ok(Standing::New));
        assert_eq!(judged(&[knows(&[]), knows(&[])]), Ok(Standing::New));
    }

    #[test]
    fn a_voter_that_comes_late_to_the_first_formation_takes_part() {
        assert_eq!(judged(&[knows(&[(1, false), (2, false), (3, false)]), knows(&[])]), Ok(Standing::New));
        assert_eq!(judged(&[knows(&[(1, true), (2, true), (3, false)])]), Ok(Standing::New));
    }

    #[test]
    fn a_voter_that_has_taken_part_is_refused_whatever_others_say() {
        let (late, knowing) = (knows(&[(1, true), (2, true)]), knows(&[(1, true), (2, true), (3, true)]));
        for answers in [[late.clone(), knowing.clone()], [knowing.clone(), late], [knows(&[]), knowing]] {
            let error = judged(&answers).unwrap_err();
            assert!(error.contains("--coordinator a:1 remove-coordinator 3"), "{error}");
            assert!(error.contains("--coordinator a:1 add-coordinator 3 c:1"), "{error}");
        }
    }

    #[test]
    fn a_coordinator_that_was_removed_waits_to_be_added() {
        assert_eq!(judged(&[knows(&[]), knows(&[(1, true), (2, true)])]), Ok(Standing::Removed));
    }
}
