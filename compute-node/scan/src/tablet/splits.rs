//! Decoding a morsel: one future for each of its splits, the rows that Vortex decodes at a time.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Field;
use futures::future::BoxFuture;
use vortex::array::VortexSessionExecute;
use vortex::arrow::ArrowSessionExt;
use vortex::dtype::Nullability;
use vortex::error::VortexResult;
use vortex::expr::{Expression, get_item, pack, root};
use vortex::layout::scan::scan_builder::ScanBuilder;
use vortex::scan::selection::Selection;
use vortex::session::VortexSession;

use super::columns::Output;
use super::early::Sink;
use super::morsel::Morsel;
use super::planned::Opened;

/// The rows of a split: none if no row is selected, and no batch of them if a sink took them.
pub(super) type Split = BoxFuture<'static, VortexResult<Option<Option<RecordBatch>>>>;

/// The splits of the selected rows of a morsel for which `filter` holds, as `output`. What fits goes to `sink`.
pub(super) fn splits(
    session: &VortexSession,
    morsel: &Morsel,
    selection: Selection,
    opened: &Opened,
    output: Output,
    filter: Option<Expression>,
    sink: Option<Sink>,
) -> VortexResult<Vec<Split>> {
    let session = session.clone();
    let dtype = opened.file.dtype();
    let columns = output.read().iter().map(|f| (f.name().clone(), get_item(f.name().as_str(), root())));
    let projection = pack(columns, Nullability::NonNullable).bind(dtype)?.optimize_recursive()?;
    let filter = filter.map(|f| f.bind(dtype)?.optimize_recursive()).transpose()?;
    let sink = sink.and_then(|sink| Some((sink, output.positions()?, output.types())));
    let target = Field::new_struct("", output.read().to_vec(), false);
    ScanBuilder::new(session.clone(), opened.reader.clone())
        .with_projection(projection)
        .with_some_filter(filter)
        .with_row_range(morsel.rows.clone())
        .with_selection(selection)
        .map(move |chunk| {
            let mut ctx = session.create_execution_ctx();
            if let Some((sink, positions, types)) = &sink
                && sink.take(&chunk, positions, types, &mut ctx)?
            {
                return Ok(None);
            }
            let arrow = session.arrow().execute_arrow(chunk, Some(&target), &mut ctx)?;
            Ok(Some(output.batch(arrow.as_struct())?))
        })
        .build()
}
