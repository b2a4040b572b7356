//! CSV and JSON files as a DataFusion file source.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroupPartitioner, FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::apply_expression_roots;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use object_store::ObjectStore;

use super::super::store::Access;
use super::piece::Piece;
use super::{TextOptions, compression};

/// Reads CSV or JSON.
#[derive(Clone)]
pub(in super::super) struct TextSource {
    access: Arc<Access>,
    options: Arc<TextOptions>,
    table: TableSchema,
    projection: SplitProjection,
    batch_size: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl TextSource {
    /// A source of all columns of `table`.
    pub fn new(access: Arc<Access>, options: Arc<TextOptions>, table: TableSchema) -> Self {
        let projection = SplitProjection::unprojected(&table);
        Self { access, options, table, projection, batch_size: None, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The source with `projection` in place of its own.
    fn with_projection(mut self, projection: &ProjectionExprs) -> Self {
        self.projection = SplitProjection::new(self.table.file_schema(), projection);
        self
    }
}

impl FileSource for TextSource {
    fn create_file_opener(
        &self,
        _store: Arc<dyn ObjectStore>,
        _config: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let batch_size = self
            .batch_size
            .ok_or_else(|| DataFusionError::Internal("a scan of files was opened without a batch size".to_owned()))?;
        let opener = Arc::new(TextOpener { source: self.clone(), batch_size });
        ProjectionOpener::try_new(self.projection.clone(), opener, self.table.file_schema())
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self { batch_size: Some(batch_size), ..self.clone() })
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        match self.options.format {
            super::Format::Csv => "csv",
            _ => "json",
        }
    }

    fn supports_repartitioning(&self) -> bool {
        !self.options.whole
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        min_size: usize,
        ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        let mut files = config.file_groups.iter().flat_map(|group| group.iter());
        if self.options.whole || files.any(|file| compression(&file.object_meta.location).is_compressed()) {
            return Ok(None);
        }
        let groups = FileGroupPartitioner::new()
            .with_target_partitions(target_partitions)
            .with_repartition_file_min_size(min_size)
            .with_preserve_order_within_groups(ordering.is_some())
            .repartition_file_groups(&config.file_groups);
        Ok(groups.map(|file_groups| {
            let mut config = config.clone();
            config.file_groups = file_groups;
            config
        }))
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        Ok(Some(Arc::new(self.clone().with_projection(&merged))))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.projection.source.iter(), f)
    }
}

struct TextOpener {
    source: TextSource,
    batch_size: usize,
}

impl FileOpener for TextOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let range = file.range.as_ref().map(|_| file.range());
        let piece = Piece {
            access: self.source.access.clone(),
            options: self.source.options.clone(),
            range,
            file: file.object_meta,
            table: self.source.table.file_schema().clone(),
            projection: self.source.projection.file_indices.clone(),
            batch_size: self.batch_size,
        };
        Ok(Box::pin(piece.open()))
    }
}
