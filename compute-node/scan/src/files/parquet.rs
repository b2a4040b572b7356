//! Parquet: DataFusion's source over the store of the call. A read that fails names the file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
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
use object_store::path::Path;

use super::error::FilesError;
use super::infer::FOOTER_HINT;
use super::options::Format;
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
        let path = file.object_meta.location.clone();
        let inner = self.inner.create_reader(partition, file, footer_hint, metrics)?;
        Ok(Box::new(Reader { inner, name: Name { path, access: self.access.clone() } }))
    }
}

struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    name: Name,
}

struct Name {
    path: Path,
    access: Arc<Access>,
}

impl Name {
    fn error(&self, error: ParquetError) -> ParquetError {
        let path = self.access.display(&self.path);
        let error = match &error {
            ParquetError::External(inner) if inner.is::<object_store::Error>() => {
                inner.downcast_ref().map(|inner| self.access.store_error(path.clone(), inner))
            }
            _ => None,
        }
        .unwrap_or_else(|| FilesError::Malformed {
            path,
            format: Format::Parquet,
            reason: self.access.redact(&error),
        });
        ParquetError::External(Box::new(error))
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let Self { inner, name } = self;
        inner.get_bytes(range).map_err(|error| name.error(error)).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let Self { inner, name } = self;
        inner.get_byte_ranges(ranges).map_err(|error| name.error(error)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let Self { inner, name } = self;
        inner.get_metadata(options).map_err(|error| name.error(error)).boxed()
    }
}
