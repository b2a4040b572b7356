//! An object store that fails as real ones do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a hundred requests, so many fail and do nothing,
    pub refused: u64,
    /// so many succeed and say that they failed,
    pub unanswered: u64,
    /// and so many writes fail and are done later.
    pub late: u64,
}

/// A write that is still under way though its client has given it up.
type Late = (Path, PutPayload, PutMode);

/// A store in memory.
#[derive(Debug, Default)]
pub struct Faulty {
    pub objects: InMemory,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    weather: Weather,
    random: u64,
    late: Vec<Late>,
}

#[derive(PartialEq)]
enum Fate {
    Done,
    Refused,
    Unanswered,
    Late,
}

impl Faulty {
    pub fn seeded(seed: u64) -> Arc<Self> {
        let state = State { random: seed, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), ..Self::default() })
    }

    pub fn set(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    fn fate(&self) -> Fate {
        let mut state = self.state.lock();
        state.random = state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = (state.random >> 33) % 100;
        let Weather { refused, unanswered, late } = state.weather;
        match drawn {
            n if n < refused => Fate::Refused,
            n if n < refused + unanswered => Fate::Unanswered,
            n if n < refused + unanswered + late => Fate::Late,
            _ => Fate::Done,
        }
    }

    /// Lets the writes arrive that were under way.
    pub async fn arrive(&self) {
        let late = std::mem::take(&mut self.state.lock().late);
        for (path, payload, mode) in late {
            let options = PutOptions { mode, ..PutOptions::default() };
            let _ = self.objects.put_opts(&path, payload, options).await;
        }
    }

    pub async fn names(&self) -> Vec<String> {
        let listed: Vec<ObjectMeta> = self.objects.list(None).try_collect().await.unwrap();
        listed.into_iter().map(|meta| meta.location.to_string()).collect()
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "500 Internal Server Error".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.fate() {
            Fate::Done => self.objects.put_opts(path, payload, options).await,
            Fate::Refused => Err(failure()),
            Fate::Unanswered => {
                let _ = self.objects.put_opts(path, payload, options).await;
                Err(failure())
            }
            Fate::Late => {
                self.state.lock().late.push((path.clone(), payload, options.mode));
                Err(failure())
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate() {
            Fate::Done => self.objects.get_opts(path, options).await,
            Fate::Refused | Fate::Unanswered | Fate::Late => Err(failure()),
        }
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.objects.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fate() {
            Fate::Done => self.objects.delete_stream(paths),
            Fate::Unanswered => self.objects.delete_stream(paths).map(|_| Err(failure())).boxed(),
            Fate::Refused | Fate::Late => futures::stream::iter([Err(failure())]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Done => self.objects.list(prefix),
            Fate::Refused | Fate::Unanswered | Fate::Late => futures::stream::iter([Err(failure())]).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Done => self.objects.list_with_offset(prefix, offset),
            Fate::Refused | Fate::Unanswered | Fate::Late => futures::stream::iter([Err(failure())]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// Flips a bit of every object whose name ends so.
pub async fn damage(store: &InMemory, end: &str) {
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    for meta in listed.into_iter().filter(|meta| meta.location.as_ref().ends_with(end)) {
        let mut bytes = store.get(&meta.location).await.unwrap().bytes().await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.put(&meta.location, bytes.into()).await.unwrap();
    }
}
