//! A process that is killed while it writes leaves whole rowsets or none, and while it compacts the same rows.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tarn_proto::{TabletId, TxnId};
use tarn_tablet::{Engine, Options, Stop};

use crate::fixture::*;

/// Tells a child where its data is.
pub const DATA: &str = "TARN_TABLET_KILL_TEST_DATA";
const TABLETS: [TabletId; 2] = [TabletId(1), TabletId(2)];
const ROWS: u64 = 15_000;
const ROUNDS: u64 = 12;

/// Writes and publishes one transaction after the other until it is killed. Run by the test below.
#[test]
#[ignore = "the other half of `a_killed_writer_leaves_whole_rowsets_or_none`, which runs it in a process of its own"]
fn killed_writer() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = open(&data);
        engine.create_tablets(&table(), &TABLETS).unwrap();
        let mut version = engine.reports()[0].version;
        println!("ready");
        loop {
            version += 1;
            assert_eq!(write(&engine, version, "a", &TABLETS, 3).await.unwrap(), 2 * ROWS);
            println!("written {version}");
            let both = TABLETS.map(|tablet| tarn_proto::storage::PublishTablet {
                tablet,
                version: tarn_proto::Version(version),
                has_rowset: true,
            });
            engine.publish(TxnId(version), &both).unwrap();
            println!("published {version}");
        }
    });
}

/// Writes, publishes, compacts and collects until it is killed. Run by the test below.
#[test]
#[ignore = "the other half of `a_killed_compaction_loses_nothing_and_leaves_nothing`, which runs it in a process of its own"]
fn killed_compactor() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = open_without_retention(&data);
        engine.create_tablets(&table(), &[TABLET]).unwrap();
        let mut version = engine.reports()[0].version;
        println!("ready");
        loop {
            version += 1;
            write(&engine, version, "a", &[TABLET], 1).await.unwrap();
            publish(&engine, version, TABLET, version).unwrap();
            println!("published {version}");
            while engine.compact(TABLET, &Stop::default()).unwrap().is_some() {
                engine.remove_superseded(Instant::now()).unwrap();
            }
        }
    });
}

/// Runs one of the above for `time` after it is ready and kills it. Returns the newest version it told of.
pub fn run_and_kill(data: &Path, child: &str, time: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env(DATA, data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, told) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).for_each(|l| drop(sender.send(l))));
    while told.recv_timeout(Duration::from_secs(30)).expect("the writer starts") != "ready" {}
    let deadline = Instant::now() + time;
    let mut published = 0;
    let mut note = |line: String| {
        if let Some(version) = line.strip_prefix("published ") {
            published = version.parse().unwrap();
        }
    };
    while let Ok(line) = told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        note(line);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    told.try_iter().for_each(note);
    published
}

#[test]
fn a_killed_writer_leaves_whole_rowsets_or_none() {
    let data = tempfile::tempdir().unwrap();
    let mut newest = 1;
    for round in 0..ROUNDS {
        // Spread over the phases of a load: sorting, syncing, naming, publishing.
        let told = run_and_kill(data.path(), "kill::killed_writer", Duration::from_millis(5 + 37 * round));
        newest = newest.max(told);

        let engine = open(data.path());
        let reports = engine.reports();
        let version = reports[0].version;
        assert!(version >= newest, "{newest} was published, {version} is there");
        assert_eq!(reports[1].version, version, "a transaction is published in all tablets or none");
        newest = version;
        for tablet in TABLETS {
            let manifest = manifest(&engine, tablet, version).unwrap();
            assert_eq!(manifest.rowsets.len() as u64, version - 1);
            assert_eq!(verify(&engine, &manifest).unwrap(), ROWS * (version - 1));
        }

        // At most the transaction after is pending, whole and in both tablets; publishing it tells.
        let named: Vec<BTreeSet<u64>> = TABLETS.map(|tablet| rowsets(data.path(), tablet, version + 1)).into();
        assert_eq!(named[0], named[1]);
        if named[0].contains(&(version + 1)) {
            for tablet in TABLETS {
                publish(&engine, version + 1, tablet, version + 1).unwrap();
                let manifest = manifest(&engine, tablet, version + 1).unwrap();
                assert_eq!(verify(&engine, &manifest).unwrap(), ROWS * version);
            }
            newest += 1;
        }
    }
    assert!(newest > 3, "the writer got nowhere");
}

fn open_without_retention(data: &Path) -> Arc<Engine> {
    Engine::open(Options { segment_bytes: 400 << 10, retention: Duration::ZERO, ..Options::new(data) }).unwrap()
}

#[test]
fn a_killed_compaction_loses_nothing_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (mut newest, mut compacted) = (1, false);
    for round in 0..ROUNDS {
        // Spread over the phases of compactions: reading and writing, naming, committing, removing.
        let told = run_and_kill(data.path(), "kill::killed_compactor", Duration::from_millis(60 + 41 * round));
        newest = newest.max(told);

        let engine = open_without_retention(data.path());
        let version = engine.reports()[0].version;
        assert!(version >= newest, "{newest} was published, {version} is there");
        newest = version;
        let found = manifest(&engine, TABLET, version).unwrap();
        assert_eq!(verify(&engine, &found).unwrap(), 5_000 * (version - 1));
        compacted |= found.rowsets.iter().any(|rowset| rowset.id >> 63 == 1);

        // Files are those of the newest version, and of a load that was not published.
        engine.remove_superseded(Instant::now()).unwrap();
        let live: BTreeSet<u64> = found.rowsets.iter().map(|rowset| rowset.id).collect();
        let named = rowsets(data.path(), TABLET, u64::MAX);
        let left: Vec<u64> = named.difference(&live).copied().collect();
        assert!(left.is_empty() || left == [version + 1], "{left:?} are left behind");
        assert!(live.is_subset(&named));
        if !left.is_empty() {
            publish(&engine, version + 1, TABLET, version + 1).unwrap();
            newest += 1;
        }
    }
    assert!(compacted && newest > 8, "the compactor got nowhere: version {newest}");
}

/// The rowsets that have files, none of which is temporary, and none newer than `newest`.
fn rowsets(data: &Path, tablet: TabletId, newest: u64) -> BTreeSet<u64> {
    let rowsets: BTreeSet<u64> = files(data, tablet)
        .iter()
        .map(|name| {
            assert!(!name.ends_with(".tmp"), "{name} was left behind");
            name.split('_').next().unwrap().parse().unwrap()
        })
        .collect();
    assert!(rowsets.iter().all(|rowset| *rowset <= newest), "{rowsets:?}");
    rowsets
}
