//! Starts, kills and restarts real `tarn` processes on loopback.

mod client;
mod node;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use client::Client;
pub use node::Node;

/// A server that is not up by then will not be.
const START: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(50);

/// Path of the binary that is tested.
pub const TARN: &str = env!("CARGO_BIN_EXE_tarn");

/// Waits until `condition` holds.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(POLL);
    }
}

/// Some processes. The logs of all are shown when a test fails.
pub struct Cluster {
    folder: TempDir,
    nodes: BTreeMap<String, Node>,
}

impl Cluster {
    /// Every role in one process.
    pub fn dev() -> Self {
        let mut cluster = Self::empty();
        let (flight, http, grpc) = (address(), address(), address());
        let data = cluster.folder.path().join("data");
        let listen = format!("coordinator.listen={grpc}");
        let arguments =
            ["dev", "--data", text(&data), "--flight", &flight, "--http", &http, "--set", &listen].map(str::to_owned);
        let node = Node::new(cluster.folder.path(), "dev", arguments.to_vec(), http, Some(flight));
        cluster.nodes.insert("dev".to_owned(), node);
        cluster.start();
        cluster
    }

    /// Three coordinators, two storage nodes and two compute nodes, each its own process.
    pub fn three() -> Self {
        let mut cluster = Self::empty();
        let coordinators: Vec<(u64, String)> = (1..=3).map(|id| (id, address())).collect();
        let voters: String = coordinators.iter().map(|(id, address)| format!("{id} = '{address}'\n")).collect();
        let seeds: Vec<&str> = coordinators.iter().map(|(_, address)| address.as_str()).collect();
        for (id, listen) in &coordinators {
            let flight = address();
            let settings = format!(
                "node_id = {id}\nlisten = '{listen}'\nflight = '{flight}'\n{{http}}\n[initial_voters]\n{voters}"
            );
            cluster.add("coordinator", &format!("coordinator-{id}"), &settings, Some(flight));
        }
        for role in ["storage-node", "compute-node"] {
            for i in 1..=2 {
                let settings = format!("listen = '{}'\ncoordinators = {seeds:?}\n{{http}}\n", address());
                cluster.add(role, &format!("{role}-{i}"), &settings, None);
            }
        }
        cluster.start();
        cluster
    }

    fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), nodes: BTreeMap::new() }
    }

    fn add(&mut self, role: &str, name: &str, settings: &str, flight: Option<String>) {
        let folder = self.folder.path();
        let http = address();
        let common = format!("http = '{http}'\ndata = '{}'", text(&folder.join(name)));
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, settings.replace("{http}", &common)).expect("a file");
        let arguments = vec![role.to_owned(), "--config".to_owned(), text(&file).to_owned()];
        self.nodes.insert(name.to_owned(), Node::new(folder, name, arguments, http, flight));
    }

    fn start(&mut self) {
        for node in self.nodes.values_mut() {
            node.start();
        }
        for node in self.nodes.values_mut() {
            wait_for(&format!("{} to be ready", node.name()), START, || node.is_ready());
        }
    }

    /// A node.
    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).expect("a node of that name")
    }

    /// `grpc://` URL of a coordinator.
    pub fn url(&self) -> String {
        let flight = self.nodes.values().find_map(Node::flight).expect("a coordinator");
        format!("grpc://{flight}")
    }

    /// A folder that lives as long as the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A free port below the range that the kernel gives to outgoing connections.
fn address() -> String {
    use std::hash::{BuildHasher, RandomState};
    loop {
        let random = RandomState::new().hash_one(Instant::now());
        let port = 15_000 + u16::try_from(random % 16_000).expect("a small number");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
