//! The consensus library's own storage suite against this storage, and what it does not cover.

use bytes::Bytes;
use openraft::StorageError;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, RaftLogReader};
use tempfile::TempDir;

use super::*;
use crate::types::{Blob, Entry, LogId, Proposal, TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let storage = open(dir.path(), NodeId(1), Arc::new(View::new())).unwrap();
        Ok((dir, storage.log, storage.machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_librarys_storage_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

fn entry(index: u64, bytes: usize) -> Entry {
    let id = LogId { leader_id: openraft::vote::leader_id_std::CommittedLeaderId::new(1), index };
    Entry::new_normal(id, Proposal { now_ms: index, command: Blob(Bytes::from(vec![7; bytes])) })
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.unwrap()
}

#[tokio::test]
async fn entries_that_left_memory_are_read_from_disk_in_limited_portions() {
    let dir = TempDir::new().unwrap();
    let storage = open(dir.path(), NodeId(1), Arc::new(View::new())).unwrap();
    let mut log = storage.log;
    for index in 0..40 {
        append(&mut log, vec![entry(index, 512 << 10)]).await.unwrap();
    }
    let mut reader = log.get_log_reader().await;
    let all = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(all.len(), 40);
    assert!(all.iter().enumerate().all(|(i, e)| e.log_id.index == i as u64));
    assert!(all.iter().all(|e| matches!(&e.payload, EntryPayload::Normal(p) if p.command.0.len() == 512 << 10)));
    let some = reader.limited_get_log_entries(3, 40).await.unwrap();
    assert!((1..=3).contains(&some.len()) && some[0].log_id.index == 3, "{} entries", some.len());
}

#[tokio::test]
async fn a_data_directory_is_not_opened_for_another_node() {
    let dir = TempDir::new().unwrap();
    let storage = open(dir.path(), NodeId(1), Arc::new(View::new())).unwrap();
    drop((storage.log, storage.machine, storage.db));
    storage.writer.join().unwrap();
    let error = open(dir.path(), NodeId(2), Arc::new(View::new())).err().unwrap();
    assert!(matches!(error, Error::WrongNode { found: NodeId(1), expected: NodeId(2) }), "{error}");
}
