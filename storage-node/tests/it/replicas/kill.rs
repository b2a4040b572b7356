//! A storage node that is killed at any moment, while loads are shipped to it, while it publishes and while it catches up.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;

const DATA: &str = "TARN_STORAGE_NODE_KILL_TEST_DATA";
const LISTEN: &str = "TARN_STORAGE_NODE_KILL_TEST_LISTEN";
const COORDINATOR: &str = "TARN_STORAGE_NODE_KILL_TEST_COORDINATOR";
const LOADS: u64 = 6;
/// One for each load that it is killed at, and one for their end.
const ROUNDS: u64 = LOADS + 1;

/// Runs a node until it is killed. Run by the test below.
#[test]
#[ignore = "the other half of `a_node_that_is_killed_ends_with_the_same_rows`, which runs it in a process of its own"]
fn killed_node() {
    let (Some(data), Ok(listen), Ok(coordinator)) =
        (std::env::var_os(DATA), std::env::var(LISTEN), std::env::var(COORDINATOR))
    else {
        return;
    };
    let config = Config {
        data: PathBuf::from(data),
        listen: listen.parse().unwrap(),
        coordinators: vec![coordinator],
        superseded_retention_secs: 0,
        clone_bytes_per_second: 0,
        ..Config::default()
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let node = StorageNode::start(config).await.unwrap();
        println!("ready {}", node.node_id().get());
        std::future::pending::<()>().await;
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the node in a process of its own. Returns its id, too.
fn start(data: &std::path::Path, listen: &str, coordinator: &str) -> (Killed, NodeId) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "replicas::kill::killed_node", "--ignored", "--nocapture"])
        .env(DATA, data)
        .env(LISTEN, listen)
        .env(COORDINATOR, coordinator)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let child = Killed(child);
    let id = lines.find_map(|line| line.split_once("ready ")?.1.trim().parse().ok());
    (child, NodeId(id.expect("the node starts")))
}

/// A port that is free now.
async fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_ends_with_the_same_rows() {
    let registry = Registry::default();
    let whole = [Replica::start(&registry).await, Replica::start(&registry).await];
    let (data, listen, coordinator) = (tempfile::tempdir().unwrap(), free_port().await, registry.serve().await);
    for replica in &whole {
        replica.store().create_tablets(&plain_table(), &[TABLET]).await.unwrap();
    }
    let sources = [whole[1].peer(), whole[0].peer()];
    let (mut txn, mut version) = (100, 1);
    for round in 0..ROUNDS {
        let (child, node) = start(data.path(), &listen, &coordinator);
        let peer = Peer { node, address: listen.clone() };
        let store = Arc::new(GrpcTabletStore::new(&listen).unwrap());
        // It is filled, and told to be while it is killed.
        let filling = {
            let (store, wanted) = (store.clone(), wanted(version, &sources));
            tarn_proto::task::spawn("test-catch-up", async move { drop(store.catch_up(&[wanted]).await) })
        };
        // While it is filled, while a load is shipped to it or published, or when it has them all.
        let (kill, told) = std::sync::mpsc::channel::<()>();
        let killer = std::thread::spawn(move || {
            let _ = told.recv();
            drop(child);
        });
        let mut kill = Some(kill);
        for number in 0..LOADS {
            if number == round {
                drop(kill.take());
            }
            txn += 1;
            let copies = copies(&[whole[1].peer(), peer.clone()], 2);
            load(&*whole[0].store(), txn, &copies).await.unwrap();
            version += 1;
            for replica in &whole {
                assert_eq!(unpublished(&*replica.store(), txn, publish_of(TABLET, version, true)).await, None);
            }
            drop(store.publish(TxnId(txn), &[publish_of(TABLET, version, true)]).await);
        }
        drop(kill);
        killer.join().unwrap();
        filling.await.unwrap();

        let (child, _) = start(data.path(), &listen, &coordinator);
        catch_up(&*store, version, &sources).await;
        let expected = whole[0].store().checksum(TABLET, Version(version)).await.unwrap();
        assert_eq!(expected.rows, 10 * (version - 1));
        assert_eq!(store.checksum(TABLET, Version(version)).await.unwrap(), expected, "round {round}");
        drop(child);
    }
}
