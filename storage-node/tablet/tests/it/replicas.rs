//! Replicas of a tablet in one process: whatever they missed, and whenever they were stopped, they end with the same rows.

mod changes;
mod clone;
mod damage;
mod kill;
mod model;
mod pending;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tarn_proto::storage::{CatchUp, StoreError};
use tarn_proto::wire::{GetReplicaResponse, RowsetPiece};
use tarn_proto::{ErrorKind, RowsetId, TableSchema, TabletId, Version};
use tarn_tablet::{Engine, Options, Pace, Result, Source};
use tokio::sync::Notify;

use crate::fixture::TABLET;

/// Another engine in this process.
#[derive(Clone)]
pub struct Local {
    engine: Arc<Engine>,
    /// Pieces that it still sends.
    left: Arc<AtomicI64>,
    /// Told when there are none left; it is silent then instead of failing.
    silent: Option<Arc<Notify>>,
    /// How often it has told what it has.
    asked: Arc<AtomicI64>,
    /// Done once, when it has told so often.
    then: Arc<Mutex<Option<(i64, Once)>>>,
}

type Once = Box<dyn FnOnce() + Send>;

impl Local {
    pub fn new(engine: &Arc<Engine>) -> Self {
        let left = Arc::new(AtomicI64::new(i64::MAX));
        Self { engine: engine.clone(), left, silent: None, asked: Arc::default(), then: Arc::default() }
    }

    /// One that fails after so many pieces.
    pub fn failing_after(self, pieces: u8) -> Self {
        Self { left: Arc::new(AtomicI64::new(pieces.into())), ..self }
    }

    /// One that sends no more after so many pieces, and tells.
    pub fn silent_after(self, pieces: u8, told: Arc<Notify>) -> Self {
        Self { silent: Some(told), ..self.failing_after(pieces) }
    }

    /// Does something once it has told what it has so often, before anything of that is fetched. Who clones asks twice: a
    /// clone has to wait for its turn.
    pub fn then(self, asked: i64, work: impl FnOnce() + Send + 'static) -> Self {
        Self { then: Arc::new(Mutex::new(Some((asked, Box::new(work))))), ..self }
    }
}

fn told(message: String) -> StoreError {
    StoreError { kind: ErrorKind::Unavailable, address: "in process".to_owned(), message }
}

impl Source for Local {
    fn name(&self) -> String {
        "the other engine".to_owned()
    }

    async fn replica(&self, tablet: TabletId) -> std::result::Result<GetReplicaResponse, StoreError> {
        let replica = self.engine.replica(tablet).map_err(|e| told(e.to_string()));
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let work = self.then.lock().take_if(|(wanted, _)| *wanted == asked);
        if let Some((_, work)) = work {
            work();
        }
        replica
    }

    async fn rowset(
        &self,
        tablet: TabletId,
        rowset: RowsetId,
    ) -> std::result::Result<BoxStream<'static, std::result::Result<RowsetPiece, StoreError>>, StoreError> {
        let mut reader = self.engine.read_rowset(tablet, rowset).map_err(|e| told(e.to_string()))?;
        let (left, silent) = (self.left.clone(), self.silent.clone());
        let pieces = std::iter::from_fn(move || reader.next_piece().map_err(|e| told(e.to_string())).transpose());
        let pieces = futures::stream::iter(pieces).then(move |piece| {
            let (left, silent) = (left.clone(), silent.clone());
            async move {
                if left.fetch_sub(1, Ordering::SeqCst) > 0 {
                    return piece;
                }
                if let Some(told) = silent {
                    told.notify_one();
                    std::future::pending::<()>().await;
                }
                Err(told_to_fail())
            }
        });
        Ok(pieces.boxed())
    }
}

fn told_to_fail() -> StoreError {
    told("the connection broke".to_owned())
}

/// An engine of small segments, whose superseded rowsets go at once when they are collected.
pub fn open(data: &Path) -> Arc<Engine> {
    let retention = std::time::Duration::ZERO;
    Engine::open(Options { segment_bytes: 1 << 10, retention, ..Options::new(data) }).unwrap()
}

pub fn wanted(schema: &TableSchema, version: u64) -> CatchUp {
    let sources = Vec::new();
    CatchUp { tablet: TABLET, schema: schema.clone(), version: Version(version), sources, repair: true }
}

/// Brings the tablet of `engine` to `version` from what `source` has.
pub async fn catch_up(engine: &Arc<Engine>, schema: &TableSchema, version: u64, source: &Local) -> Result<u64> {
    let caught_up = engine.catch_up_from(&wanted(schema, version), source, &Pace::unlimited()).await?;
    Ok(caught_up.get())
}

/// The version that the tablet is at; none if it is not there.
pub fn version_of(engine: &Engine) -> Option<u64> {
    let report = engine.reports().into_iter().find(|report| report.tablet_id == TABLET.get());
    report.map(|report| report.version)
}
