//! Parquet: DataFusion's source over the store of the call. A read that fails names the file.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{ParquetFileReaderFactory, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::ObjectMeta;

use super::infer::FOOTER_HINT;
use super::store::Access;

/// A source of all columns of `schema`. Row groups and pages are pruned by their statistics, filters are evaluated while
/// columns are read, and only the columns of rows that are left are decoded.
pub(super) fn source(access: Arc<Access>, schema: TableSchema) -> ParquetSource {
    let inner = DefaultParquetFileReaderFactory::new(access.store.clone());
    ParquetSource::new(schema)
        .with_parquet_file_reader_factory(Arc::new(Readers { inner, access }))
        .with_pushdown_filters(true)
        .with_reorder_filters(true)
        .with_metadata_size_hint(FOOTER_HINT)
}

#[derive(Debug)]
struct Readers {
    inner: DefaultParquetFileReaderFactory,
    access: Arc<Access>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let meta = file.object_meta.clone();
        let inner = self.inner.create_reader(partition, file, footer_hint, metrics)?;
        Ok(Box::new(Reader { inner, file: meta, access: self.access.clone() }))
    }
}

struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    file: ObjectMeta,
    access: Arc<Access>,
}

impl Reader {
    fn error(access: &Access, file: &ObjectMeta, error: &(dyn Error + 'static)) -> ParquetError {
        ParquetError::External(Box::new(access.read_error(&file.location, error)))
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let Self { inner, file, access } = self;
        inner.get_bytes(range).map_err(|error| Self::error(access, file, &error)).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let Self { inner, file, access } = self;
        inner.get_byte_ranges(ranges).map_err(|error| Self::error(access, file, &error)).boxed()
    }

    // Not by the reader inside, which makes a text of what the store said.
    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let policy = options.map(ArrowReaderOptions::column_index_policy);
        async move {
            DFParquetMetadata::new(self.access.store.as_ref(), &self.file)
                .with_metadata_size_hint(Some(FOOTER_HINT))
                .with_page_index_policy(policy)
                .fetch_metadata()
                .await
                .map_err(|error| Self::error(&self.access, &self.file, &error))
        }
        .boxed()
    }
}
