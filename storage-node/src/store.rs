//! The engine behind the contract that the rest of the cluster knows: [`TabletStore`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use tarn_proto::storage::{
    CatchUp, CompactionScope, Conversion, Converted, Copies, IndexKey, LoadSpec, OpenTablet, PublishTablet, Result,
    RowsChecksum, RowsetWriter, SegmentKey, StoreError, TabletStore, Unpublished,
};
use tarn_proto::volume::Volume;
use tarn_proto::wire::{CompactionReport, Manifest, RowsetSummary, TabletReport};
use tarn_proto::{ErrorKind, TableSchema, TabletId, TxnId, Version, task};
use tarn_tablet::{Engine, Error, LoadWriter};
use tracing::Span;

use crate::conversion::Conversions;
use crate::replication::Replication;

/// The tablets of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LocalStore {
    engine: Arc<Engine>,
    replication: Arc<Replication>,
    conversions: Arc<Conversions>,
}

impl LocalStore {
    /// A store of this engine's tablets.
    pub(crate) const fn new(engine: Arc<Engine>, replication: Arc<Replication>, conversions: Arc<Conversions>) -> Self {
        Self { engine, replication, conversions }
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
        let (schema, tablets) = (schema.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.create_tablets(&schema, &tablets)).await
    }

    async fn open_tablets(&self, schema: &TableSchema, volume: &Volume, tablets: &[OpenTablet]) -> Result<()> {
        let (schema, volume, tablets) = (schema.clone(), volume.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.open_tablets(&schema, &volume, &tablets)).await
    }

    async fn purge_tablets(&self, volume: &Volume, tablets: &[TabletId]) -> Result<()> {
        let (volume, tablets) = (volume.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.purge_tablets(&volume, &tablets)).await
    }

    async fn drop_tablets(&self, tablets: &[TabletId]) -> Result<()> {
        let tablets = tablets.to_vec();
        let garbage = self.blocking(move |engine| engine.drop_tablets(&tablets)).await?;
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
        let tablets = tablets.to_vec();
        self.blocking(move |engine| engine.publish(txn, &tablets)).await
    }

    async fn abort(&self, txn: TxnId) -> Result<()> {
        self.blocking(move |engine| engine.abort(txn)).await
    }

    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        let tablets = tablets.to_vec();
        self.blocking(move |engine| engine.manifests(&tablets)).await
    }

    async fn read_ranges(&self, segment: SegmentKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let ranges = ranges.to_vec();
        self.blocking(move |engine| engine.read_ranges(segment, &ranges)).await
    }

    async fn read_index(&self, segment: SegmentKey, index: IndexKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let ranges = ranges.to_vec();
        self.blocking(move |engine| engine.read_index(segment, index, &ranges)).await
    }

    async fn compact(&self, tablets: &[TabletId], scope: CompactionScope) -> Result<()> {
        let tablets = tablets.to_vec();
        self.blocking(move |engine| engine.request_compaction(&tablets, scope)).await
    }

    async fn compactions(&self) -> Result<Vec<CompactionReport>> {
        self.blocking(|engine| Ok(engine.compactions())).await
    }

    async fn catch_up(&self, replicas: &[CatchUp]) -> Result<Vec<(TabletId, Version)>> {
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
