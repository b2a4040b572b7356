use object_store::memory::InMemory;

use super::*;

fn memory() -> VolumeStore {
    VolumeStore::over(Arc::new(InMemory::new()), "memory:/", Duration::ZERO)
}

#[tokio::test]
async fn an_object_is_created_once_and_the_same_bytes_count_as_created() {
    let store = memory();
    let path = Path::from("a/b");
    assert_eq!(store.create(&path, Bytes::from_static(b"one")).await, Ok(Created::Yes));
    assert_eq!(store.create(&path, Bytes::from_static(b"one")).await, Ok(Created::Yes));
    let taken = store.create(&path, Bytes::from_static(b"two")).await;
    assert_eq!(taken, Ok(Created::Taken(Bytes::from_static(b"one"))));
}

#[tokio::test]
async fn what_is_stored_is_read_listed_and_removed() {
    let store = memory();
    let (one, two) =
        (store.segment(TabletId(7), RowsetId(9), 0, 0xab), store.sidecar(TabletId(7), RowsetId(9), 0, 0xab));
    assert_eq!(one.as_ref(), "7/9_0_000000ab.vortex");
    assert_eq!(two.as_ref(), "7/9_0_000000ab.sidecar");
    store.put(&one, Bytes::from_static(b"0123456789")).await.unwrap();
    store.put(&two, Bytes::new()).await.unwrap();
    let read = store.read(&one, &[2..4, 5..5, 0..10]).await.unwrap();
    assert_eq!(read, [Bytes::from_static(b"23"), Bytes::new(), Bytes::from_static(b"0123456789")]);
    let under = store.tablet(TabletId(7));
    let names = |objects: Vec<Object>| objects.into_iter().map(|o| (o.path, o.bytes)).collect::<Vec<_>>();
    assert_eq!(names(store.list(&under, None).await.unwrap()), [(two.clone(), 0), (one.clone(), 10)]);
    assert_eq!(names(store.list(&under, Some(&two)).await.unwrap()), [(one.clone(), 10)]);
    store.delete(&[one.clone(), two, Path::from("7/never")]).await.unwrap();
    assert!(store.get(&one).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn long_files_are_stored_in_parts_and_changed_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let volume = Volume {
        id: crate::VolumeId(1),
        name: "v".into(),
        location: format!("file://{}", folder.path().join("volume").display()),
        properties: Default::default(),
    };
    let store = VolumeStore::open(&volume).unwrap();
    let data: Vec<u8> = (0..PART_BYTES as u32 / 2 * 5).map(|i| (i ^ (i >> 8)) as u8).collect();
    let file = folder.path().join("data");
    std::fs::write(&file, &data).unwrap();
    let (path, crc) = (store.segment(TabletId(1), RowsetId(2), 0, 3), crc32c::crc32c(&data));
    store.put_file(&path, &file, data.len() as u64, crc).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap(), data);
    std::fs::write(&file, b"short").unwrap();
    let changed = store.put_file(&path, &file, 5, crc).await.unwrap_err();
    assert!(changed.to_string().contains("not those that were written"), "{changed}");
}
