//! What is written to disk: log entries, vote, log positions and snapshot descriptions, each behind a version byte.
//!
//! These are Tarn's own shapes, not the consensus library's, so that a new version of the library reads old logs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::{BasicNode, EntryPayload};
use serde::{Deserialize, Serialize};
use tarn_proto::{NodeId, encoding};

use crate::types::{Blob, Entry, LogId, Membership, Proposal, SnapshotMeta, StoredMembership, Vote};

/// Format version of everything in this file.
const VERSION: u8 = 1;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    term: u64,
    index: u64,
}

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    term: u64,
    index: u64,
    payload: PayloadRecord,
}

#[derive(Serialize, Deserialize)]
enum PayloadRecord {
    Blank,
    Command { now_ms: u64, command: Blob },
    Membership(MembershipRecord),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MembershipRecord {
    configs: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, String>,
}

#[derive(Serialize, Deserialize)]
struct VoteRecord {
    term: u64,
    node: NodeId,
    committed: bool,
}

/// Describes a stored snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    last: Option<Position>,
    membership_at: Option<Position>,
    membership: MembershipRecord,
    /// Names the pieces.
    pub generation: u64,
    /// How many there are.
    pub pieces: u32,
    /// Their total length.
    pub bytes: u64,
}

impl SnapshotRecord {
    pub fn new(meta: &SnapshotMeta, generation: u64, pieces: u32, bytes: u64) -> Self {
        Self {
            last: meta.last_log_id.map(Position::from),
            membership_at: meta.last_membership.log_id().map(Position::from),
            membership: meta.last_membership.membership().into(),
            generation,
            pieces,
            bytes,
        }
    }

    pub fn meta(&self) -> io::Result<SnapshotMeta> {
        Ok(SnapshotMeta {
            last_log_id: self.last(),
            last_membership: StoredMembership::new(self.membership_at.map(LogId::from), self.membership.restore()?),
        })
    }

    pub fn last(&self) -> Option<LogId> {
        self.last.map(LogId::from)
    }
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }
}

impl From<Position> for LogId {
    fn from(at: Position) -> Self {
        Self { leader_id: openraft::vote::leader_id_std::CommittedLeaderId::new(at.term), index: at.index }
    }
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl MembershipRecord {
    fn restore(&self) -> io::Result<Membership> {
        let nodes: BTreeMap<_, _> = self.nodes.iter().map(|(id, address)| (*id, BasicNode::new(address))).collect();
        Membership::new(self.configs.clone(), nodes).map_err(damaged)
    }
}

/// Encodes a log entry.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRecord::Blank,
        EntryPayload::Normal(p) => PayloadRecord::Command { now_ms: p.now_ms, command: p.command.clone() },
        EntryPayload::Membership(m) => PayloadRecord::Membership(m.into()),
    };
    let Position { term, index } = entry.log_id.into();
    encoding::encode(VERSION, &EntryRecord { term, index, payload })
}

/// Decodes a log entry.
pub(crate) fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    let record: EntryRecord = encoding::decode("log entry", VERSION, bytes).map_err(damaged)?;
    let payload = match record.payload {
        PayloadRecord::Blank => EntryPayload::Blank,
        PayloadRecord::Command { now_ms, command } => EntryPayload::Normal(Proposal { now_ms, command }),
        PayloadRecord::Membership(m) => EntryPayload::Membership(m.restore()?),
    };
    Ok(Entry { log_id: Position { term: record.term, index: record.index }.into(), payload })
}

/// Encodes a vote.
pub(crate) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let record = VoteRecord { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed };
    encoding::encode(VERSION, &record)
}

/// Decodes a vote.
pub(crate) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let record: VoteRecord = encoding::decode("vote", VERSION, bytes).map_err(damaged)?;
    let mut vote = Vote::new(record.term, record.node);
    vote.committed = record.committed;
    Ok(vote)
}

/// Encodes a place in the log.
pub(crate) fn encode_position(id: Option<LogId>) -> Vec<u8> {
    encoding::encode(VERSION, &id.map(Position::from))
}

/// Decodes a place in the log.
pub(crate) fn decode_position(bytes: &[u8]) -> io::Result<Option<LogId>> {
    let position: Option<Position> = encoding::decode("log position", VERSION, bytes).map_err(damaged)?;
    Ok(position.map(LogId::from))
}

/// Encodes a snapshot's description.
pub(crate) fn encode_snapshot(record: &SnapshotRecord) -> Vec<u8> {
    encoding::encode(VERSION, record)
}

/// Decodes a snapshot's description.
pub(crate) fn decode_snapshot(bytes: &[u8]) -> io::Result<SnapshotRecord> {
    encoding::decode("snapshot", VERSION, bytes).map_err(damaged)
}

/// Encodes the id of the node that owns a data directory.
pub(crate) fn encode_owner(node: NodeId) -> Vec<u8> {
    encoding::encode(VERSION, &node)
}

/// Decodes the id of the node that owns a data directory.
pub(crate) fn decode_owner(bytes: &[u8]) -> io::Result<NodeId> {
    encoding::decode("owner", VERSION, bytes).map_err(damaged)
}

/// Stored bytes that do not make sense.
pub(crate) fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::entry::RaftEntry;

    use super::*;

    fn at(term: u64, index: u64) -> LogId {
        Position { term, index }.into()
    }

    #[test]
    fn an_entry_written_by_the_first_version_is_still_read() {
        let entry = Entry::new_normal(
            at(3, 7),
            Proposal { now_ms: 1_700_000_000_000, command: Blob(Bytes::from_static(b"\x01cmd")) },
        );
        let frozen: &[u8] = b"\x01\x83\xa4term\x03\xa5index\x07\xa7payload\x81\xa7Command\x82\xa6now_ms\
            \xcf\x00\x00\x01\x8b\xcf\xe5h\x00\xa7command\xc4\x04\x01cmd";
        assert_eq!(encode_entry(&entry), frozen);
        assert_eq!(decode_entry(frozen).unwrap(), entry);
    }

    #[test]
    fn membership_vote_and_positions_survive_a_round_trip() {
        let nodes: BTreeMap<_, _> = [(NodeId(1), BasicNode::new("a:1")), (NodeId(2), BasicNode::new("b:2"))].into();
        let membership = Membership::new(vec![[NodeId(1)].into()], nodes).unwrap();
        let entry = Entry::new_membership(at(1, 2), membership.clone());
        assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);

        let vote = Vote::new_committed(4, NodeId(2));
        assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        assert_eq!(decode_position(&encode_position(Some(at(4, 9)))).unwrap(), Some(at(4, 9)));
        assert_eq!(decode_position(&encode_position(None)).unwrap(), None);

        let meta = SnapshotMeta {
            last_log_id: Some(at(4, 9)),
            last_membership: StoredMembership::new(Some(at(1, 2)), membership),
        };
        let record = decode_snapshot(&encode_snapshot(&SnapshotRecord::new(&meta, 1, 2, 3))).unwrap();
        assert_eq!(record.meta().unwrap(), meta);
    }

    #[test]
    fn a_record_of_another_version_names_the_remedy() {
        let error = decode_vote(b"\x02\x00").unwrap_err();
        assert!(error.to_string().contains("upgrade this node"), "{error}");
    }
}
