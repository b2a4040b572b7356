//! A process that is killed while it clones goes on where it was.

use std::path::PathBuf;
use std::time::Duration;

use tarn_proto::Version;

use super::*;
use crate::fixture::{files, rows, table};
use crate::kill::{DATA, run_and_kill};

const ROUNDS: u64 = 10;
const LOADS: u64 = 6;

/// Clones a tablet and drops it, again and again, until it is killed. Run by the test below.
#[test]
#[ignore = "the other half of `a_killed_clone_is_done_again_and_leaves_nothing`, which runs it in a process of its own"]
fn killed_clone() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (source, replica) = (open(&data.join("source")), open(&data.join("replica")));
        println!("ready");
        for round in 1.. {
            catch_up(&replica, &table(), LOADS + 1, &Local::new(&source)).await.unwrap();
            println!("published {round}");
            replica.drop_tablets(&[TABLET]).unwrap().remove();
        }
    });
}

#[test]
fn a_killed_clone_is_done_again_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sum = runtime.block_on(async {
        let source = open(&data.path().join("source"));
        source.create_tablets(&table(), &[TABLET]).unwrap();
        for version in 2..2 + LOADS {
            let spec = tarn_proto::storage::LoadSpec::rows(table());
            let mut writer = source.begin(tarn_proto::TxnId(version), "a", &spec).await.unwrap();
            writer.write(TABLET, rows(version, 3000)).await.unwrap();
            writer.finish().await.unwrap();
            crate::fixture::publish(&source, version, TABLET, version).unwrap();
        }
        let sum = source.checksum(TABLET, Version(LOADS + 1)).unwrap();
        crate::fixture::close(source);
        sum
    });
    let mut cloned = 0;
    for round in 0..ROUNDS {
        // Spread over fetching, naming, committing and dropping.
        cloned += run_and_kill(data.path(), "replicas::kill::killed_clone", Duration::from_millis(3 + 29 * round));
        runtime.block_on(async {
            let (source, replica) = (open(&data.path().join("source")), open(&data.path().join("replica")));
            for name in files(&data.path().join("replica"), TABLET) {
                assert!(!name.ends_with(".tmp"), "{name} was left behind");
            }
            catch_up(&replica, &table(), LOADS + 1, &Local::new(&source)).await.unwrap();
            assert_eq!(replica.checksum(TABLET, Version(LOADS + 1)).unwrap(), sum);
            crate::fixture::close(source);
            crate::fixture::close(replica);
        });
    }
    assert!(cloned > 0, "no clone was finished");
}
