//! One coordinator over a real consensus log, with one storage node that is heard for as long as any test takes.

use super::*;

/// The coordinator's parts and its only session.
pub(crate) struct One {
    pub engine: CoordinatorEngine,
    pub session: Arc<dyn Session>,
    pub raft: CatalogRaft,
    pub catalog: ReplicatedCatalog,
    pub stores: StorePool,
    _folder: tempfile::TempDir,
}

impl One {
    /// Starts it. `store` is the storage node.
    pub async fn start(store: Arc<dyn TabletStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = tarn_raft::Config::new(NodeId(1), "127.0.0.1:1", folder.path());
        config.initial_voters = BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
        let raft = CatalogRaft::start(config).await.unwrap();
        raft.leadership().wait_for(|l| l.is_self).await.unwrap();
        let register = Operation::RegisterNode { role: Role::Storage, address: STORAGE.into(), node_id: None };
        let Response::Node(node) = raft.propose(register).await.unwrap() else { panic!("no node") };
        let mut members = Members::default();
        let role = NodeRole::Storage.into();
        let beat = HeartbeatRequest { node_id: node.get(), role, address: STORAGE.into(), ..Default::default() };
        members.heard(beat, Instant::now() + Duration::from_secs(3600));
        let stores = StorePool::default();
        stores.insert(STORAGE, store);
        let members = Arc::new(RwLock::new(members));
        let catalog = ReplicatedCatalog::new(raft.clone(), members.clone(), stores.clone());
        let config = Config { data: folder.path().into(), cache_memory_bytes: 16 << 20, ..Config::default() };
        let planner = query::planner(&config, stores.clone(), WorkerSet::default()).await.unwrap();
        let shared = Shared::new(raft.clone(), catalog.clone(), members, planner, QueryRuntime::new().unwrap());
        shared.incarnation.set("start".to_owned()).unwrap();
        let engine = CoordinatorEngine::new(shared, "secret".into());
        let client = ClientInfo { user: "root".into(), address: "127.0.0.1:7".into(), protocol: "test" };
        let session = engine.open_session(client).await.unwrap();
        Self { engine, session, raft, catalog, stores, _folder: folder }
    }
}
