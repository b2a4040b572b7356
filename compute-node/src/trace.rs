//! The query's id in every log line.
//!
//! Calls carry it in a header. The server makes a span of it, and tasks that DataFusion spawns run in the span of the
//! one that spawned them.

use std::any::Any;

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::{Instrument, Span};

/// Makes what DataFusion spawns run in the span of the spawner, for the whole process.
pub(crate) fn install() {
    // Another role of the process may have installed one.
    let _ = set_join_set_tracer(&InSpan);
}

struct InSpan;

impl JoinSetTracer for InSpan {
    fn trace_future(&self, future: BoxFuture<'static, Box<dyn Any + Send>>) -> BoxFuture<'static, Box<dyn Any + Send>> {
        future.in_current_span().boxed()
    }

    fn trace_block(
        &self,
        block: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>,
    ) -> Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> {
        let span = Span::current();
        Box::new(move || span.in_scope(block))
    }
}
