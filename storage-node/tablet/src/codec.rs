//! Segment files in the Vortex format: the one place that knows how batches become one.

mod pco;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::stream;
use vortex::VortexSessionDefault;
use vortex::array::stream::ArrayStreamAdapter;
use vortex::arrow::ArrowSessionExt;
use vortex::compressor::BtrBlocksCompressorBuilder;
use vortex::error::{VortexError, VortexResult};
use vortex::file::{WriteOptionsSessionExt, WriteStrategyBuilder};
use vortex::io::runtime::BlockingRuntime;
use vortex::io::runtime::current::CurrentThreadRuntime;
use vortex::io::session::RuntimeSessionExt;
use vortex::layout::LayoutStrategy;
use vortex::session::VortexSession;

use crate::checksum::ChecksumFile;

/// Writes segment files. The threads that call [`Codec::write`] do the work; those that write at the same time help each
/// other.
pub(crate) struct Codec {
    runtime: CurrentThreadRuntime,
    session: VortexSession,
    strategy: Arc<dyn LayoutStrategy>,
}

impl Codec {
    /// A codec with Vortex's default layout: columns apart, zone maps of 8192 rows, dictionaries where they pay, pieces
    /// of about one megabyte, light encodings chosen by sampling; and differences where they pay.
    pub(crate) fn new() -> Self {
        let runtime = CurrentThreadRuntime::new();
        let session = VortexSession::default().with_handle(runtime.handle());
        let schemes = BtrBlocksCompressorBuilder::from_session(&session).with_new_scheme(&pco::PRICED_PCO);
        let strategy = WriteStrategyBuilder::from_session(&session).with_btrblocks_builder(schemes).build();
        Self { runtime, session, strategy }
    }

    /// Writes `batches`, whose schema is `schema`, in their order. Blocks.
    pub(crate) fn write(
        &self,
        schema: &SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
        file: &mut ChecksumFile,
    ) -> VortexResult<()> {
        let dtype = self.session.arrow().from_arrow_schema(schema)?;
        let (session, schema) = (self.session.clone(), schema.clone());
        let arrays = batches.map(move |batch| {
            let batch = batch.map_err(VortexError::from)?;
            session.arrow().from_arrow_record_batch(batch, &schema)
        });
        let stream = ArrayStreamAdapter::new(dtype, stream::iter(arrays));
        let options = self.session.write_options().with_strategy(self.strategy.clone());
        self.runtime.block_on(options.write(file, stream)).map(drop)
    }
}

#[cfg(test)]
mod tests;
