//! The node's place in the cluster.

use std::sync::Arc;

use tarn_proto::machine::Meter;
use tarn_proto::membership::{Agent, Identity};
use tarn_proto::wire::{NodeLoad, NodeRole};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Config;
use crate::memory::QueryRuntimes;
use crate::metrics;
use crate::tasks::Tasks;

/// What coordinators think of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// They do not know it yet.
    Unknown,
    /// They give it work.
    Member,
    /// An operator drains it: it gets no new work.
    Draining,
}

/// What heartbeats tell.
pub(crate) struct Load {
    tasks: Tasks,
    runtimes: Arc<QueryRuntimes>,
    meter: Meter,
}

impl Load {
    pub fn new(config: &Config, tasks: Tasks, runtimes: Arc<QueryRuntimes>) -> Self {
        Self { tasks, runtimes, meter: Meter::new(&config.data_dir) }
    }

    fn now(&self) -> NodeLoad {
        let spilled = self.runtimes.spilled();
        metrics::memory(self.runtimes.reserved(), spilled);
        NodeLoad { running: self.tasks.running() as u64, data_bytes: spilled, ..self.meter.measure() }
    }
}

/// Registers the node at `address` and sends heartbeats until `cancel`, telling `standing` what coordinators answer.
pub(crate) async fn run(
    address: String,
    coordinators: Vec<String>,
    load: Load,
    standing: watch::Sender<Standing>,
    cancel: CancellationToken,
) {
    let flight_address = String::new();
    let identity = Identity { role: NodeRole::Compute, address, flight_address, node_id: None, cluster_id: None };
    // A node without data is of no other cluster.
    let Ok(Some(agent)) = Agent::register(identity, coordinators, &cancel).await else { return };
    standing.send_replace(Standing::Member);
    let mut draining = agent.draining();
    let follow = async {
        while draining.changed().await.is_ok() {
            let drains = *draining.borrow_and_update();
            info!(drains, "an operator changed whether this node is drained");
            standing.send_replace(if drains { Standing::Draining } else { Standing::Member });
        }
    };
    tokio::select! {
        () = agent.run(cancel, || load.now()) => {}
        () = follow => {}
    }
}
