//! A cluster of coordinators in one process. Each has two runtimes of its own, so that it can be crashed (both are torn
//! down, nothing is flushed or said) or cut off (its server disappears with all its connections).

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tarn_catalog::{Catalog, Command, Operation, Response as Answer};
use tarn_proto::wire::coordinator_service_server::{CoordinatorService, CoordinatorServiceServer};
use tarn_proto::wire::{
    HeartbeatRequest, HeartbeatResponse, KillQueryRequest, KillQueryResponse, ListQueriesRequest, ListQueriesResponse,
    ProposeRequest, ProposeResponse, ReadIndexRequest, ReadIndexResponse, RegisterRequest, RegisterResponse,
};
use tarn_proto::{DatabaseId, NodeId};
use tarn_raft::{CatalogRaft, Config, Error, MAX_MESSAGE_BYTES};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Given to everything that must happen at last, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const POLL: Duration = Duration::from_millis(10);

/// Waits until `probe` finds something.
pub async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(POLL);
    loop {
        poll.tick().await;
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
    }
}

/// Checks that `holds` goes on holding.
pub async fn throughout(time: Duration, mut holds: impl FnMut()) {
    let deadline = Instant::now() + time;
    let mut poll = tokio::time::interval(POLL);
    while Instant::now() < deadline {
        poll.tick().await;
        holds();
    }
}

pub fn create(name: impl Into<String>) -> Operation {
    Operation::CreateDatabase { name: name.into(), if_not_exists: false }
}

pub fn command(request_id: u128, operation: Operation) -> Command {
    Command { request_id, operation }
}

/// Names of all databases.
pub fn names(catalog: &Catalog) -> BTreeSet<String> {
    catalog.database_names.keys().map(|name| name.to_string()).collect()
}

pub struct Node {
    pub raft: CatalogRaft,
    pub address: String,
    /// Answers that are lost after the command was applied.
    pub lose_answers: Arc<AtomicUsize>,
    core: Option<Runtime>,
    server: Option<Runtime>,
}

impl Node {
    async fn launch(config: Config, listener: TcpListener) -> Self {
        let core = runtime();
        let raft = core.spawn(CatalogRaft::start(config.clone())).await.unwrap().unwrap();
        let address = config.address;
        let mut node = Self { raft, address, lose_answers: Arc::default(), core: Some(core), server: None };
        node.serve(listener);
        node
    }

    fn serve(&mut self, listener: TcpListener) {
        let server = runtime();
        listener.set_nonblocking(true).unwrap();
        let coordinator = Coordinator { raft: self.raft.clone(), lose_answers: self.lose_answers.clone() };
        let router = tonic::transport::Server::builder()
            .add_service(self.raft.grpc_service())
            .add_service(CoordinatorServiceServer::new(coordinator).max_decoding_message_size(MAX_MESSAGE_BYTES));
        server.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        self.server = Some(server);
    }

    /// Nobody reaches it any more. It still reaches others.
    pub fn cut_off(&mut self) {
        end(self.server.take());
    }

    pub async fn reconnect(&mut self) {
        let listener = listen(&self.address).await;
        self.serve(listener);
    }

    pub async fn create(&self, name: impl Into<String>) -> Result<DatabaseId, Error> {
        match self.raft.propose(create(name)).await? {
            Answer::Database(id) => Ok(id),
            other => panic!("unexpected answer {other:?}"),
        }
    }

    pub fn leads(&self) -> bool {
        self.raft.leadership().borrow().is_self
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cut_off();
        end(self.core.take());
    }
}

/// Drops every task where it stands and waits until none is left: a database that is closed while the process ends would
/// abort it. Not on this thread, which may be in a runtime itself.
fn end(runtime: Option<Runtime>) {
    std::thread::spawn(move || drop(runtime)).join().unwrap();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn listen(address: &str) -> TcpListener {
    eventually("binding the address again", || TcpListener::bind(address).ok()).await
}

pub struct Cluster {
    pub nodes: BTreeMap<u64, Node>,
    configs: BTreeMap<u64, Config>,
    dirs: Vec<TempDir>,
    tune: fn(&mut Config),
}

impl Cluster {
    /// Voters 1 to `voters`, led by one of them.
    pub async fn new(voters: u64) -> Self {
        Self::tuned(voters, |_| {}).await
    }

    /// As `new`, with a configuration of its own.
    pub async fn tuned(voters: u64, tune: fn(&mut Config)) -> Self {
        let mut cluster = Self { nodes: BTreeMap::new(), configs: BTreeMap::new(), dirs: Vec::new(), tune };
        let listeners: Vec<_> = (1..=voters).map(|id| (id, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let initial: BTreeMap<NodeId, String> =
            listeners.iter().map(|(id, l)| (NodeId(*id), l.local_addr().unwrap().to_string())).collect();
        // The last forms the cluster, when the others can answer.
        for (id, listener) in listeners {
            let voters = if id == voters { initial.clone() } else { BTreeMap::new() };
            cluster.launch(id, listener, voters).await;
        }
        cluster.leader().await;
        cluster
    }

    /// Voters 1 to `voters`, of which the first has added the others: no election among several was needed.
    pub async fn grown(voters: u64, tune: fn(&mut Config)) -> Self {
        let mut cluster = Self::tuned(1, tune).await;
        for id in 2..=voters {
            let address = cluster.start_stranger(id).await;
            cluster.nodes[&1].raft.add_coordinator(NodeId(id), address, true).await.unwrap();
        }
        cluster
    }

    /// Starts a coordinator that waits to be added, and returns its address.
    pub async fn start_stranger(&mut self, id: u64) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        self.launch(id, listener, BTreeMap::new()).await;
        address
    }

    async fn launch(&mut self, id: u64, listener: TcpListener, voters: BTreeMap<NodeId, String>) {
        let dir = TempDir::new().unwrap();
        let mut config = Config::new(NodeId(id), listener.local_addr().unwrap().to_string(), dir.path());
        config.initial_voters = voters;
        (self.tune)(&mut config);
        self.dirs.push(dir);
        self.configs.insert(id, config.clone());
        self.nodes.insert(id, Node::launch(config, listener).await);
    }

    /// Ends a node without a word, like a power cut.
    pub fn crash(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap();
    }

    /// Starts a node again from its directory.
    pub async fn restart(&mut self, id: u64) {
        let config = self.configs[&id].clone();
        let listener = listen(&config.address).await;
        self.nodes.insert(id, Node::launch(config, listener).await);
    }

    /// The running node that leads, when it is agreed on.
    pub async fn leader(&self) -> u64 {
        eventually("one leader that all know", || {
            let (id, leader) = self.nodes.iter().find(|(_, node)| node.leads())?;
            let status = leader.raft.status();
            let members = self.nodes.values().filter(|n| status.voters.contains_key(&n.raft.node_id()));
            members
                .map(|n| n.raft.leadership().borrow().leader.as_ref().map(|l| l.0.get()))
                .all(|known| known == Some(*id))
                .then_some(*id)
        })
        .await
    }

    /// A running node that does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }

    /// Waits until all running nodes hold the leader's catalog, and returns it.
    pub async fn agreed(&self) -> Catalog {
        let leader = self.leader().await;
        let catalog = self.nodes[&leader].raft.linearizable_catalog().await.unwrap();
        for (id, node) in &self.nodes {
            eventually(&format!("node {id} has the leader's catalog"), || {
                (node.raft.catalog() == catalog).then_some(())
            })
            .await;
        }
        catalog
    }
}

/// What the coordinator serves to the others of its kind.
struct Coordinator {
    raft: CatalogRaft,
    lose_answers: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl CoordinatorService for Coordinator {
    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeResponse>, Status> {
        let command = Command::decode(&request.into_inner().command).unwrap();
        let (answer, log_index) = self.raft.propose_here(command).await?;
        if self.lose_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Status::unavailable("the answer was lost"));
        }
        Ok(Response::new(ProposeResponse { response: answer.encode().into(), log_index }))
    }

    async fn read_index(&self, _: Request<ReadIndexRequest>) -> Result<Response<ReadIndexResponse>, Status> {
        Ok(Response::new(ReadIndexResponse { log_index: self.raft.read_index().await? }))
    }

    async fn register(&self, _: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        Err(Status::unimplemented("not asked by coordinators"))
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        Err(Status::unimplemented("not asked by coordinators"))
    }

    async fn list_queries(&self, _: Request<ListQueriesRequest>) -> Result<Response<ListQueriesResponse>, Status> {
        Err(Status::unimplemented("not asked of consensus"))
    }

    async fn kill_query(&self, _: Request<KillQueryRequest>) -> Result<Response<KillQueryResponse>, Status> {
        Err(Status::unimplemented("not asked of consensus"))
    }
}
