//! The table provider of `FILES(..)`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;

use super::parquet;
use super::table::FilesTable;
use super::text::TextSource;

/// Some files of a table as DataFusion sees them.
pub(super) struct FilesProvider {
    table: Arc<FilesTable>,
    /// Positions of the files.
    files: Range<usize>,
}

impl fmt::Debug for FilesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilesProvider").field("table", &self.table).field("files", &self.files).finish()
    }
}

impl FilesProvider {
    /// The provider of the files of `table` at these positions.
    pub fn new(table: Arc<FilesTable>, files: Range<usize>) -> Self {
        Self { table, files }
    }

    fn source(&self) -> Arc<dyn FileSource> {
        let table = &self.table;
        let schema = TableSchema::from(table.schema.clone());
        match &table.text {
            Some(text) => Arc::new(TextSource::new(table.access.clone(), text.clone(), schema)),
            None => Arc::new(parquet::source(table.access.clone(), schema)),
        }
    }

    fn files(&self) -> &[ObjectMeta] {
        &self.table.files[self.files.clone()]
    }

    fn estimates(&self) -> Statistics {
        let size = |files: &[ObjectMeta]| files.iter().map(|file| file.size).sum::<u64>();
        let (bytes, all) = (size(self.files()), size(&self.table.files));
        let rows = u128::from(self.table.rows) * u128::from(bytes) / u128::from(all.max(1));
        let inexact = |count: u128| Precision::Inexact(usize::try_from(count).unwrap_or(usize::MAX));
        let mut statistics = Statistics::new_unknown(&self.table.schema);
        statistics.num_rows = inexact(rows);
        statistics.total_byte_size = inexact(u128::from(bytes));
        statistics
    }
}

#[async_trait]
impl TableProvider for FilesProvider {
    fn schema(&self) -> SchemaRef {
        self.table.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files: Vec<PartitionedFile> = self.files().iter().cloned().map(PartitionedFile::new_from_meta).collect();
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        // The source brings its own store and never looks at the one that this address finds.
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), self.source())
            .with_file_groups(groups)
            .with_statistics(self.estimates())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Parquet takes filters from the physical plan.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.estimates())
    }
}
