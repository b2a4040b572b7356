//! Channels to the other coordinators.

use std::collections::HashMap;

use parking_lot::Mutex;
use tarn_proto::channel::{InvalidAddress, connect};
use tonic::transport::Channel;

/// Traffic that must not wait for other traffic has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Log entries and elections.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// Clients' requests to the leader.
    Forward,
}

/// Cached channels, which connect by themselves and again.
#[derive(Default)]
pub(crate) struct Peers {
    channels: Mutex<HashMap<(String, Lane), Channel>>,
}

impl Peers {
    pub fn channel(&self, address: &str, lane: Lane) -> Result<Channel, InvalidAddress> {
        let mut channels = self.channels.lock();
        let key = (address.to_owned(), lane);
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let channel = connect(address)?;
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}
