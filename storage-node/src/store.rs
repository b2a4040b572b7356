//! The engine behind the contract that the rest of the cluster knows: [`TabletStore`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use tarn_proto::storage::{
    CatchUp, CompactionScope, Conversion, Converted, Copies, FileKey, IndexFileKey, LoadSpec, OpenTablet,
    PublishTablet, Result, RowsChecksum, RowsetWriter, StoreError, TabletStore, Unpublished,
};
use tarn_proto::volume::Volume;
use tarn_proto::wire::{CompactionReport, Manifest, RowsetSummary, TabletReport};
use tarn_proto::{ErrorKind, TableSchema, TabletId, Term, TxnId, Version, task};
use tarn_tablet::{Engine, Error, LoadWriter};
use tracing::Span;

use crate::conversion::Conversions;
use crate::fence::{Entered, Fence};
use crate::replication::Replication;

/// The tablets of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LocalStore {
    engine: Arc<Engine>,
    replication: Arc<Replication>,
    conversions: Arc<Conversions>,
    fence: Arc<Fence>,
    /// Whose calls these are, if they are a leader's.
    leader: Option<Term>,
}

impl LocalStore {
    /// A store of this engine's tablets.
    pub(crate) fn new(
        engine: Arc<Engine>,
        replication: Arc<Replication>,
        conversions: Arc<Conversions>,
        fence: Fence,
    ) -> Self {
        Self { engine, replication, conversions, fence: Arc::new(fence), leader: None }
    }

    /// The same, for calls that a leader makes.
    pub(crate) fn led(&self, leader: Option<Term>) -> Self {
        Self { leader, ..self.clone() }
    }

    /// Lets a leader's call in, unless there is a newer one. Held until it is done if it removes something.
    async fn enter(&self) -> Result<Option<Entered>> {
        let Some(term) = self.leader else { return Ok(None) };
        self.fence.enter(term).await.map(Some).map_err(|newest| StoreError {
            kind: ErrorKind::Invalid,
            address: IN_PROCESS.to_owned(),
            message: format!("the leader of {term} asks for it, and that of {newest} has been heard: it leads no more"),
        })
    }

    /// Runs what blocks on the disk on a thread for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Engine>) -> tarn_tablet::Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = self.engine.clone();
        let span = Span::current();
        match tokio::task::spawn_blocking(move || span.in_scope(|| work(&engine))).await {
            Ok(result) => result.map_err(|e| store_error(&e)),
            Err(_) => Err(StoreError {
                kind: ErrorKind::Internal,
                address: IN_PROCESS.to_owned(),
                message: "the node is stopping or has a defect, see its log".to_owned(),
            }),
        }
    }
}

const IN_PROCESS: &str = "in process";

/// An engine's error, as callers get it.
pub(crate) fn store_error(error: &Error) -> StoreError {
    StoreError { kind: error.kind(), address: IN_PROCESS.to_owned(), message: tarn_proto::error::chain(error) }
}

#[async_trait]
impl TabletStore for LocalStore {
    async fn create_tablets(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()> {
        drop(self.enter().await?);
        let (schema, tablets) = (schema.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.create_tablets(&schema, &tablets)).await
    }

    async fn open_tablets(&self, schema: &TableSchema, volume: &Volume, tablets: &[OpenTablet]) -> Result<()> {
        drop(self.enter().await?);
        let (schema, volume, tablets) = (schema.clone(), volume.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.open_tablets(&schema, &volume, &tablets)).await
    }

    async fn purge_tablets(&self, volume: &Volume, tablets: &[TabletId]) -> Result<()> {
        drop(self.enter().await?);
        let (volume, tablets) = (volume.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.purge_tablets(&volume, &tablets)).await
    }

    async fn drop_tablets(&self, tablets: &[TabletId]) -> Result<()> {
        let entered = self.enter().await?;
        let tablets = tablets.to_vec();
        let dropped = self.blocking(move |engine| {
            let _entered = entered;
            engine.drop_tablets(&tablets)
        });
        let garbage = dropped.await?;
        // What a stop interrupts goes at the next start.
        drop(task::spawn("tablet-files-removal", async move {
            drop(tokio::task::spawn_blocking(move || garbage.remove()).await);
        }));
        Ok(())
    }

    async fn write(&self, txn: TxnId, load_id: &str, spec: &LoadSpec) -> Result<Box<dyn RowsetWriter>> {
        let writer = self.engine.begin(txn, load_id, spec).await.map_err(|e| store_error(&e))?;
        let (load_id, schema, replication) = (load_id.to_owned(), spec.schema.clone(), self.replication.clone());
        Ok(Box::new(LocalWriter { writer, txn, load_id, schema, replication }))
    }

    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<Vec<Unpublished>> {
        let (turn, tablets) = (self.engine.publish_turn().await, tablets.to_vec());
        let publish = move |engine: &Arc<Engine>| {
            let _turn = turn;
            engine.publish(txn, &tablets)
        };
        self.blocking(publish).await
    }

    async fn abort(&self, txn: TxnId) -> Result<()> {
        self.blocking(move |engine| engine.abort(txn)).await
    }

    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        let tablets = tablets.to_vec();
        self.blocking(move |engine| engine.manifests(&tablets)).await
    }

    async fn read_ranges(&self, file: FileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let ranges = ranges.to_vec();
        self.blocking(move |engine| engine.read_ranges(file, &ranges)).await
    }

    async fn read_index(&self, file: FileKey, index: IndexFileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let ranges = ranges.to_vec();
        self.blocking(move |engine| engine.read_index(file, index, &ranges)).await
    }

    fn led_in(&self, term: Term) -> Option<Arc<dyn TabletStore>> {
        Some(Arc::new(self.led(Some(term))))
    }

    async fn compact(&self, tablets: &[TabletId], scope: CompactionScope) -> Result<()> {
        let tablets = tablets.to_vec();
        self.blocking(move |engine| engine.request_compaction(&tablets, scope)).await
    }

    async fn compactions(&self) -> Result<Vec<CompactionReport>> {
        self.blocking(|engine| Ok(engine.compactions())).await
    }

    async fn catch_up(&self, replicas: &[CatchUp]) -> Result<Vec<(TabletId, Version)>> {
        drop(self.enter().await?);
        Ok(self.replication.catch_ups().catch_up(replicas).await)
    }

    async fn checksum(&self, tablet: TabletId, version: Version) -> Result<RowsChecksum> {
        self.blocking(move |engine| engine.checksum(tablet, version)).await
    }

    async fn adopt(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()> {
        let (schema, tablets) = (schema.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.adopt(&schema, &tablets)).await
    }

    async fn convert(&self, conversion: &Conversion) -> Result<Vec<Converted>> {
        Ok(self.conversions.convert(conversion).await)
    }

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        self.blocking(|engine| Ok(engine.reports())).await
    }

    async fn pending(&self) -> Result<Vec<TxnId>> {
        self.blocking(|engine| Ok(engine.pending())).await
    }
}

struct LocalWriter {
    writer: LoadWriter,
    txn: TxnId,
    load_id: String,
    schema: TableSchema,
    replication: Arc<Replication>,
}

#[async_trait]
impl RowsetWriter for LocalWriter {
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> Result<()> {
        self.writer.write(tablet, rows).await.map_err(|e| store_error(&e))
    }

    async fn finish(self: Box<Self>, copies: &BTreeMap<TabletId, Copies>) -> Result<Vec<RowsetSummary>> {
        let Self { writer, txn, load_id, schema, replication } = *self;
        let mut rowsets = writer.finish().await.map_err(|e| store_error(&e))?;
        if !rowsets.is_empty() {
            replication.ship(txn, &load_id, &schema, &mut rowsets, copies).await?;
        }
        Ok(rowsets)
    }
}
