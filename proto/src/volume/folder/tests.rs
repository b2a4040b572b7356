//! What is durable when a request is answered, and what a crash in its midst leaves.

use std::cell::RefCell;
use std::path::Path as Local;
use std::sync::{Mutex, MutexGuard};

use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use super::*;

/// What was synced: its path, and whether `object` was there by then. One test at a time looks.
static SYNCED: Mutex<Vec<(PathBuf, bool)>> = Mutex::new(Vec::new());
static ALONE: Mutex<()> = Mutex::new(());

fn noted(path: &Local) -> io::Result<()> {
    let object = path.ancestors().find_map(|above| above.join("1").is_dir().then(|| above.join("1/manifest/0")));
    SYNCED.lock().unwrap().push((path.to_owned(), object.is_some_and(|object| object.exists())));
    sync(path)
}

fn refused(_: &Local) -> io::Result<()> {
    Err(io::Error::other("no power"))
}

fn alone() -> MutexGuard<'static, ()> {
    let guard = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    SYNCED.lock().unwrap().clear();
    guard
}

/// Runs requests to an empty folder, and answers what they synced: the file before its object was there, then directories.
fn synced(request: impl AsyncFnOnce(&Folder, &Path)) -> (tempfile::TempDir, Vec<(PathBuf, bool)>) {
    let (_alone, root) = (alone(), tempfile::tempdir().unwrap());
    let folder = Folder::syncing_by(root.path(), noted).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(request(&folder, &Path::from("1/manifest/0")));
    let synced = std::mem::take(&mut *SYNCED.lock().unwrap());
    (root, synced)
}

fn check_order(root: &Local, synced: &[(PathBuf, bool)]) {
    let root = fs::canonicalize(root).unwrap();
    let ((file, was_there), directories) = synced.split_first().expect("something is synced");
    assert!(file.to_str().unwrap().contains("1/manifest/0#") && !was_there, "first the file, nameless: {synced:?}");
    let expected = ["1/manifest", "1", ""].map(|below| (root.join(below), true));
    assert_eq!(directories, expected.map(|(path, there)| (path.components().collect(), there)));
}

#[test]
fn an_object_gets_its_name_when_it_is_durable_and_is_answered_when_its_name_is() {
    for mode in [PutMode::Overwrite, PutMode::Create] {
        let (root, order) = synced(async |folder, path| {
            let options = PutOptions { mode: mode.clone(), ..PutOptions::default() };
            folder.put_opts(path, "bytes".into(), options).await.unwrap();
        });
        check_order(root.path(), &order);
    }
    let (root, order) = synced(async |folder, path| {
        let mut upload = folder.put_multipart(path).await.unwrap();
        let (first, second) = (upload.put_part("one ".into()), upload.put_part("two".into()));
        second.await.unwrap();
        first.await.unwrap();
        assert!(folder.get(path).await.is_err(), "it is not there before it is complete");
        upload.complete().await.unwrap();
        assert_eq!(folder.get(path).await.unwrap().bytes().await.unwrap(), "one two");
        assert!(upload.put_part("late".into()).await.is_err() && upload.complete().await.is_err());
    });
    check_order(root.path(), &order);
}

#[test]
fn a_name_that_is_taken_stays_and_is_durable_for_who_finds_it_so() {
    let found = RefCell::new(0);
    let (_root, _) = synced(async |folder, path| {
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        folder.put_opts(path, "one".into(), create()).await.unwrap();
        SYNCED.lock().unwrap().clear();
        let taken = folder.put_opts(path, "two".into(), create()).await.unwrap_err();
        assert!(matches!(taken, Error::AlreadyExists { .. }), "{taken}");
        *found.borrow_mut() = SYNCED.lock().unwrap().iter().filter(|(path, _)| path.is_dir()).count();
        assert_eq!(folder.get(path).await.unwrap().bytes().await.unwrap(), "one");
        folder.put(path, "three".into()).await.unwrap();
        assert_eq!(folder.get(path).await.unwrap().bytes().await.unwrap(), "three");
    });
    assert_eq!(found.into_inner(), 3);
}

#[tokio::test]
async fn what_cannot_be_synced_is_not_stored_and_what_is_given_up_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::syncing_by(root.path(), refused).unwrap();
    let path = Path::from("1/x");
    let failure = folder.put(&path, "bytes".into()).await.unwrap_err();
    assert!(failure.to_string().contains("no power"), "{failure}");
    assert!(matches!(folder.get(&path).await, Err(Error::NotFound { .. })));
    let mut upload = folder.put_multipart(&path).await.unwrap();
    upload.put_part("bytes".into()).await.unwrap();
    let listed: Vec<ObjectMeta> = folder.list(None).try_collect().await.unwrap();
    assert!(listed.is_empty(), "what is on its way is in no list: {listed:?}");
    assert_eq!(fs::read_dir(root.path().join("1")).unwrap().count(), 1);
    upload.abort().await.unwrap();
    assert_eq!(fs::read_dir(root.path().join("1")).unwrap().count(), 0);
}
