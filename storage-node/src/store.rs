//! The engine behind the contract that the rest of the cluster knows: [`TabletStore`].

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use tarn_proto::storage::{PublishTablet, Result, RowsetWriter, SegmentKey, StoreError, TabletStore};
use tarn_proto::wire::{Manifest, RowsetSummary, TabletReport};
use tarn_proto::{ErrorKind, TableSchema, TabletId, TxnId, Version, task};
use tarn_tablet::{Engine, Error, LoadWriter};
use tracing::Span;

/// The tablets of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LocalStore {
    engine: Arc<Engine>,
}

impl LocalStore {
    /// A store of this engine's tablets.
    pub(crate) const fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Runs what blocks on the disk on a thread for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> tarn_tablet::Result<T> + Send + 'static,
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

fn store_error(error: &Error) -> StoreError {
    StoreError { kind: error.kind(), address: IN_PROCESS.to_owned(), message: tarn_proto::error::chain(error) }
}

#[async_trait]
impl TabletStore for LocalStore {
    async fn create_tablets(&self, schema: &TableSchema, tablets: &[TabletId]) -> Result<()> {
        let (schema, tablets) = (schema.clone(), tablets.to_vec());
        self.blocking(move |engine| engine.create_tablets(&schema, &tablets)).await
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

    async fn write(&self, txn: TxnId, load_id: &str, schema: &TableSchema) -> Result<Box<dyn RowsetWriter>> {
        let writer = self.engine.begin(txn, load_id, schema).await.map_err(|e| store_error(&e))?;
        Ok(Box::new(LocalWriter(writer)))
    }

    async fn publish(&self, txn: TxnId, tablets: &[PublishTablet]) -> Result<()> {
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

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        self.blocking(|engine| Ok(engine.reports())).await
    }

    async fn pending(&self) -> Result<Vec<TxnId>> {
        self.blocking(|engine| Ok(engine.pending())).await
    }
}

struct LocalWriter(LoadWriter);

#[async_trait]
impl RowsetWriter for LocalWriter {
    async fn write(&mut self, tablet: TabletId, rows: RecordBatch) -> Result<()> {
        self.0.write(tablet, rows).await.map_err(|e| store_error(&e))
    }

    async fn finish(self: Box<Self>) -> Result<Vec<RowsetSummary>> {
        self.0.finish().await.map_err(|e| store_error(&e))
    }
}
