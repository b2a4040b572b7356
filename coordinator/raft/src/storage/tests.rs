//! The consensus library's own storage suite against this storage, and what it does not cover.

use bytes::Bytes;
use openraft::StorageError;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader};
use proptest::prelude::*;
use rocksdb::statistics::Ticker;
use tempfile::TempDir;

use super::*;
use crate::types::{Blob, Entry, LogId, Proposal, TypeConfig, Vote};

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

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: openraft::vote::leader_id_std::CommittedLeaderId::new(term), index }
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry::new_normal(id(1, index), Proposal { now_ms: index, command: Blob(Bytes::from(vec![7; bytes])) })
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
    drop((storage.log, storage.machine));
    storage.closed.await.unwrap_err();
    let error = open(dir.path(), NodeId(2), Arc::new(View::new())).err().unwrap();
    assert!(matches!(error, Error::WrongNode { found: NodeId(1), expected: NodeId(2) }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_is_acknowledged_after_an_fsync_and_waiting_appends_share_one() {
    const APPENDS: u64 = 200;
    let dir = TempDir::new().unwrap();
    let mut options = options();
    options.enable_statistics();
    let (db, _) = open_db(dir.path(), &options).unwrap();
    let syncs = || options.get_ticker_count(Ticker::WalFileSynced);
    let mut log = LogStore::open(db).unwrap();

    let before = syncs();
    log.save_vote(&Vote::new(1, NodeId(1))).await.unwrap();
    assert_eq!(syncs(), before + 1);
    append(&mut log, vec![entry(0, 10)]).await.unwrap();
    assert_eq!(syncs(), before + 2);
    log.save_committed(Some(id(1, 0))).await.unwrap();

    let before = syncs();
    let mut waiting = Vec::new();
    for index in 1..=APPENDS {
        let (done, flushed) = TypeConfig::oneshot();
        log.append([entry(index, 10)], IOFlushed::signal(done)).await.unwrap();
        waiting.push(flushed);
    }
    for flushed in waiting {
        flushed.await.unwrap().unwrap();
    }
    let shared = syncs() - before;
    assert!((1..APPENDS).contains(&shared), "{shared} fsyncs for {APPENDS} appends");
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    TruncateAfter(u8),
    Purge(u8),
    Vote(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..5).prop_map(Step::Append),
        1 => any::<u8>().prop_map(Step::TruncateAfter),
        1 => any::<u8>().prop_map(Step::Purge),
        1 => any::<u8>().prop_map(Step::Vote),
        2 => Just(Step::Reopen),
    ]
}

/// What the log must hold.
#[derive(Default)]
struct Model {
    purged: Option<LogId>,
    entries: Vec<Entry>,
    vote: Option<Vote>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|e| e.log_id).or(self.purged)
    }

    async fn check(&self, log: &mut LogStore) {
        let state = log.get_log_state().await.unwrap();
        assert_eq!((state.last_purged_log_id, state.last_log_id), (self.purged, self.last()));
        let mut reader = log.get_log_reader().await;
        assert_eq!(reader.try_get_log_entries(..).await.unwrap(), self.entries);
        assert_eq!(reader.read_vote().await.unwrap(), self.vote);
    }
}

async fn run(steps: Vec<Step>) {
    let dir = TempDir::new().unwrap();
    let open = || {
        let (db, closed) = open_db(dir.path(), &options()).unwrap();
        (LogStore::open(db).unwrap(), closed)
    };
    let (mut log, mut closed) = open();
    let mut model = Model::default();
    for (term, step) in (1u64..).zip(steps) {
        let (first, length) = (model.purged.map_or(0, |p| p.index + 1), model.entries.len());
        match step {
            Step::Append(count) => {
                let start = first + length as u64;
                let entries: Vec<Entry> =
                    (start..start + u64::from(count)).map(|i| Entry::new_blank(id(term, i))).collect();
                model.entries.extend(entries.iter().cloned());
                append(&mut log, entries).await.unwrap();
            }
            Step::TruncateAfter(at) => {
                let keep = usize::from(at) % (length + 1);
                model.entries.truncate(keep);
                log.truncate_after(model.last()).await.unwrap();
            }
            Step::Purge(at) if length > 0 => {
                let upto = usize::from(at) % length;
                model.purged = Some(model.entries[upto].log_id);
                model.entries.drain(..=upto);
                log.purge(model.purged.unwrap()).await.unwrap();
            }
            Step::Purge(_) => {}
            Step::Vote(node) => {
                let vote = Vote::new(term, NodeId(u64::from(node)));
                model.vote = Some(vote);
                log.save_vote(&vote).await.unwrap();
            }
            Step::Reopen => {
                drop(log);
                closed.await.unwrap_err();
                (log, closed) = open();
            }
        }
        model.check(&mut log).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_log_holds_what_was_written_through_truncations_purges_and_restarts(
        steps in prop::collection::vec(step(), 1..30)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
