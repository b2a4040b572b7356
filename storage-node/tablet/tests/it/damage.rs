//! Bytes that changed on the disk are reported with the file's name and never handed out.

use std::fs;

use proptest::prelude::*;
use tarn_proto::ErrorKind;
use tarn_proto::storage::FileKey;
use tarn_tablet::{Engine, Error, Options};

use crate::fixture::*;

/// A published tablet with one segment of several blocks; the folder, the segment's file and bytes.
fn published() -> (tempfile::TempDir, FileKey, u64) {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (file, bytes) = runtime.block_on(async {
        let engine = open(data.path());
        engine.create_tablets(&table(), &[TABLET]).unwrap();
        write(&engine, 9, "a", &[TABLET], 2).await.unwrap();
        publish(&engine, 9, TABLET, 2).unwrap();
        let manifest = manifest(&engine, TABLET, 2).unwrap();
        assert_eq!(verify(&engine, &manifest).unwrap(), 10_000);
        let segment = &manifest.rowsets[0].segments[0];
        (file_of(TABLET, &manifest.rowsets[0], segment), segment.bytes)
    });
    assert!(bytes > 2 * 65_536, "{bytes} bytes are too few for this test");
    (data, file, bytes)
}

#[test]
fn a_flipped_bit_is_reported_by_file_and_block_and_never_read() {
    let (data, key, bytes) = published();
    let file = folder(data.path(), TABLET).join("9_0.vortex");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let places = (0..bytes, prop::collection::vec((0..bytes, 1..200_000u64), 1..6));
    runner
        .run(&places, |(at, ranges)| {
            flip(&file, at);
            let engine = open(data.path());
            let block = at / 65_536;
            for (start, length) in ranges {
                let range = start..(start + length).min(bytes);
                let touches = range.start / 65_536 <= block && block <= (range.end - 1) / 65_536;
                match engine.read_ranges(key, std::slice::from_ref(&range)) {
                    Ok(read) => {
                        prop_assert!(!(range.contains(&at)), "the damaged byte was handed out");
                        prop_assert!(!touches);
                        prop_assert_eq!(read[0].len() as u64, range.end - range.start);
                    }
                    Err(error) => {
                        prop_assert!(touches, "{}", error);
                        prop_assert_eq!(error.kind(), ErrorKind::Internal);
                        let text = error.to_string();
                        prop_assert!(text.contains("9_0.vortex") && text.contains("block"), "{}", text);
                        prop_assert!(text.contains("t5") && text.contains("rs9"), "{}", text);
                    }
                }
            }
            drop(engine);
            flip(&file, at);
            Ok(())
        })
        .unwrap();
    let engine = open(data.path());
    assert_eq!(verify(&engine, &manifest(&engine, TABLET, 2).unwrap()).unwrap(), 10_000);
}

#[test]
fn a_damaged_cut_or_missing_file_is_reported_by_its_name() {
    let (data, key, bytes) = published();
    let segment = folder(data.path(), TABLET).join("9_0.vortex");
    let sidecar = folder(data.path(), TABLET).join("9_0.sidecar");
    let (whole_segment, whole_sidecar) = (fs::read(&segment).unwrap(), fs::read(&sidecar).unwrap());
    let damages: [(&str, &dyn Fn()); 4] = [
        ("9_0.sidecar", &|| flip(&sidecar, 20)),
        ("9_0.sidecar", &|| fs::remove_file(&sidecar).unwrap()),
        ("9_0.vortex", &|| fs::write(&segment, &whole_segment[..bytes as usize - 1]).unwrap()),
        ("9_0.vortex", &|| fs::remove_file(&segment).unwrap()),
    ];
    for (name, damage) in damages {
        damage();
        let engine = open(data.path());
        for error in [
            manifest(&engine, TABLET, 2).unwrap_err(),
            engine.read_ranges(key, std::slice::from_ref(&(0..10))).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Damaged { file, .. } if file == name), "{error}");
        }
        drop(engine);
        fs::write(&segment, &whole_segment).unwrap();
        fs::write(&sidecar, &whole_sidecar).unwrap();
    }
    let engine = open(data.path());
    assert_eq!(verify(&engine, &manifest(&engine, TABLET, 2).unwrap()).unwrap(), 10_000);
}

#[test]
fn what_keeps_a_whole_file_from_being_read_is_not_called_damage() {
    let (data, ..) = published();
    for name in ["9_0.sidecar", "9_0.vortex"] {
        let file = folder(data.path(), TABLET).join(name);
        let aside = data.path().join("aside");
        fs::rename(&file, &aside).unwrap();
        // Stands for too many open files, a file system that is away, and the like.
        std::os::unix::fs::symlink(&file, &file).unwrap();
        let engine = open(data.path());
        let error = manifest(&engine, TABLET, 2).unwrap_err();
        assert!(matches!(&error, Error::Unreadable { file, .. } if file == name), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        fs::remove_file(&file).unwrap();
        fs::rename(&aside, &file).unwrap();
        // The same process reads it as soon as it can.
        assert_eq!(verify(&engine, &manifest(&engine, TABLET, 2).unwrap()).unwrap(), 10_000);
    }
}

#[test]
fn tablets_whose_metadata_is_missing_are_kept_and_the_start_refused() {
    let (data, ..) = published();
    let before = files(data.path(), TABLET);
    fs::remove_dir_all(data.path().join("meta")).unwrap();
    for _ in 0..2 {
        let error = Engine::open(Options::new(data.path())).err().unwrap();
        assert!(matches!(&error, Error::MissingMeta { meta, .. } if *meta == data.path().join("meta")), "{error}");
        assert_eq!(files(data.path(), TABLET), before);
    }
    fs::remove_dir_all(folder(data.path(), TABLET)).unwrap();
    let used = Options { used_before: true, ..Options::new(data.path()) };
    let error = Engine::open(used).err().unwrap();
    assert!(error.to_string().contains("restore it, or empty the data directory"), "{error}");
    Engine::open(Options::new(data.path())).unwrap();
}

#[test]
fn damage_inside_the_metadata_log_is_refused_and_no_file_is_taken_for_an_orphan() {
    let (data, ..) = published();
    let before = files(data.path(), TABLET);
    let logs = fs::read_dir(data.path().join("meta")).unwrap().map(|e| e.unwrap().path());
    let log = logs.filter(|p| p.extension().is_some_and(|e| e == "log")).max().unwrap();
    // In the first record, behind its header.
    flip(&log, 12);
    let error = Engine::open(Options::new(data.path())).err().unwrap();
    assert!(matches!(error, Error::Meta { action: "open", .. }), "{error}");
    assert_eq!(files(data.path(), TABLET), before);
    flip(&log, 12);
    let engine = open(data.path());
    assert_eq!(verify(&engine, &manifest(&engine, TABLET, 2).unwrap()).unwrap(), 10_000);
}
