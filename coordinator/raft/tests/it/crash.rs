//! A process that writes is killed at random moments: whatever it acknowledged is there when it starts again.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tarn_proto::{NodeId, task};
use tarn_raft::{CatalogRaft, Config};
use tempfile::TempDir;
use uuid::Uuid;

use super::support::{create, eventually, names};

/// The child finds its directory here.
const DIRECTORY: &str = "TARN_RAFT_TEST_DIRECTORY";
/// The child's proposers. Several, so that kills hit batches.
const PROPOSERS: usize = 8;
/// Kills.
const ROUNDS: usize = 12;

async fn start(dir: &Path) -> CatalogRaft {
    let mut config = Config::new(NodeId(1), "127.0.0.1:9", dir);
    config.initial_voters = [(NodeId(1), "127.0.0.1:9".to_owned())].into();
    // Kills hit snapshots and purges, too.
    config.snapshot_every = 64;
    CatalogRaft::start(config).await.unwrap()
}

/// Not a test: the child of the one below. Writes until it is killed, and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of another test"]
async fn write_until_killed() {
    let dir = std::env::var_os(DIRECTORY).expect("set by the test that starts this");
    let raft = start(Path::new(&dir)).await;
    let writers: Vec<_> = (0..PROPOSERS)
        .map(|_| {
            let raft = raft.clone();
            task::spawn("writer", async move {
                loop {
                    let name = format!("d{}", Uuid::new_v4().simple());
                    if let Err(error) = raft.propose(create(&name)).await {
                        return error;
                    }
                    std::io::stderr().lock().write_all(format!("ack {name}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    let (failed, ..) = futures::future::select_all(writers).await;
    panic!("{}", failed.unwrap());
}

/// Ends the child with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the child until it has acknowledged `count` changes, kills it a moment later, and returns all it acknowledged.
fn run_and_kill(dir: &Path, count: usize, moment: Duration) -> BTreeSet<String> {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "crash::write_until_killed", "--nocapture"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut said = BufReader::new(child.0.stderr.take().unwrap());
    let mut acknowledged = BTreeSet::new();
    let mut other = String::new();
    loop {
        let mut line = String::new();
        if said.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // A line without its end was cut by the kill.
        match line.strip_prefix("ack ").and_then(|l| l.strip_suffix('\n')) {
            Some(name) => drop(acknowledged.insert(name.to_owned())),
            None => other.push_str(&line),
        }
        if acknowledged.len() == count {
            let until = std::time::Instant::now() + moment;
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            child.0.kill().unwrap();
        }
    }
    assert!(acknowledged.len() >= count, "the child ended by itself: {other}");
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let random = Uuid::new_v4().as_u128();
        let (count, moment) = (1 + (random % 150) as usize, Duration::from_micros((random >> 64) as u64 % 5000));
        let path = dir.path().to_owned();
        let more = tokio::task::spawn_blocking(move || run_and_kill(&path, count, moment)).await.unwrap();
        acknowledged.extend(more);

        let raft = start(dir.path()).await;
        eventually("it leads again", || raft.leadership().borrow().is_self.then_some(())).await;
        let present = names(&raft.linearizable_catalog().await.unwrap());
        let lost: Vec<_> = acknowledged.difference(&present).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost: {lost:?}", lost.len(), acknowledged.len());
        // Proposed and not acknowledged: at most one for each proposer and kill.
        let unasked = present.difference(&acknowledged).count();
        assert!(unasked <= PROPOSERS * (round + 1), "{unasked} changes that nobody was told of");
        raft.shutdown().await;
    }
}
