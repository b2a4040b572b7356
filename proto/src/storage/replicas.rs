//! Replicas of a tablet as callers of a storage node name them.

use crate::schema::WireSchemaError;
use crate::{NodeId, TableSchema, TabletId, Version, wire};

/// A storage node that has, or shall have, a replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// `host:port` of it.
    pub address: String,
}

/// Where else the rows of a tablet go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Its other members.
    pub voters: Vec<Peer>,
    /// Those that count for nothing yet, as they are being filled.
    pub others: Vec<Peer>,
    /// So many members must hold the rows, the one that writes them included.
    pub need: u32,
}

/// A tablet that a node did not publish a transaction in, or has a replica of that must not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpublished {
    /// The tablet.
    pub tablet: TabletId,
    /// It is published, but files of older rowsets are not what was written: the replica is none to make readable.
    pub damaged: bool,
    /// Why not, or what is damaged.
    pub reason: String,
}

/// A replica that has to catch up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// The tablet.
    pub tablet: TabletId,
    /// What it is created with if it is not there.
    pub schema: TableSchema,
    /// Where it has to come at least.
    pub version: Version,
    /// Who has that version, best first. The others are asked when one fails.
    pub sources: Vec<Peer>,
    /// Whether the replica is damaged: what is broken is fetched even if its version is right.
    pub repair: bool,
}

/// A checksum of rows in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsChecksum {
    /// How many there are.
    pub rows: u64,
    /// The sum of their hashes, modulo 2^64.
    pub sum: u64,
}

impl From<&Peer> for wire::Peer {
    fn from(peer: &Peer) -> Self {
        Self { node_id: peer.node.get(), address: peer.address.clone() }
    }
}

impl From<wire::Peer> for Peer {
    fn from(peer: wire::Peer) -> Self {
        Self { node: NodeId(peer.node_id), address: peer.address }
    }
}

impl Copies {
    /// Reads what a node was sent.
    pub fn from_wire(copies: wire::TabletCopies) -> (TabletId, Self) {
        let peers = |peers: Vec<wire::Peer>| peers.into_iter().map(Into::into).collect();
        let to = Self { voters: peers(copies.voters), others: peers(copies.others), need: copies.need };
        (TabletId(copies.tablet_id), to)
    }

    pub(super) fn to_wire(&self, tablet: TabletId) -> wire::TabletCopies {
        wire::TabletCopies {
            tablet_id: tablet.get(),
            voters: self.voters.iter().map(Into::into).collect(),
            others: self.others.iter().map(Into::into).collect(),
            need: self.need,
        }
    }
}

impl From<&Unpublished> for wire::Unpublished {
    fn from(unpublished: &Unpublished) -> Self {
        let Unpublished { tablet, damaged, reason } = unpublished;
        Self { tablet_id: tablet.get(), reason: reason.clone(), damaged: *damaged }
    }
}

impl From<wire::Unpublished> for Unpublished {
    fn from(unpublished: wire::Unpublished) -> Self {
        let wire::Unpublished { tablet_id, reason, damaged } = unpublished;
        Self { tablet: TabletId(tablet_id), damaged, reason }
    }
}

impl From<&CatchUp> for wire::ReplicaBehind {
    fn from(replica: &CatchUp) -> Self {
        Self {
            tablet_id: replica.tablet.get(),
            schema: Some((&replica.schema).into()),
            version: replica.version.get(),
            sources: replica.sources.iter().map(Into::into).collect(),
            repair: replica.repair,
        }
    }
}

impl TryFrom<wire::ReplicaBehind> for CatchUp {
    type Error = WireSchemaError;

    fn try_from(replica: wire::ReplicaBehind) -> Result<Self, Self::Error> {
        Ok(Self {
            tablet: TabletId(replica.tablet_id),
            schema: replica.schema.unwrap_or_default().try_into()?,
            version: Version(replica.version),
            sources: replica.sources.into_iter().map(Into::into).collect(),
            repair: replica.repair,
        })
    }
}
