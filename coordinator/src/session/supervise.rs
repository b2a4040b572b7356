//! Ends what a statement does when it is killed or late, and keeps it listed while its rows are read.

use std::future::Future;

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};
use tarn_gateway::engine::{BatchStream, Outcome, Result};

use super::SessionContext;

/// Runs `work` unless the statement is interrupted first.
pub async fn until_interrupted<T>(context: &SessionContext, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        error = context.interrupted() => Err(error),
        result = work => result,
    }
}

/// Runs a query; its rows end with an error when it is interrupted while they are read.
pub async fn query(context: &SessionContext, work: impl Future<Output = Result<Outcome>>) -> Result<Outcome> {
    Ok(match until_interrupted(context, work).await? {
        Outcome::Rows { query_id, schema, batches } => {
            context.process.enter("running");
            Outcome::Rows { query_id, schema, batches: watched(context.clone(), batches) }
        }
        affected @ Outcome::Affected { .. } => affected,
    })
}

/// Rows that are there already.
pub fn rows(context: SessionContext, batch: RecordBatch) -> Outcome {
    Outcome::Rows {
        query_id: context.query_id().to_owned(),
        schema: batch.schema(),
        batches: stream::iter([Ok(batch)]).boxed(),
    }
}

fn watched(context: SessionContext, batches: BatchStream) -> BatchStream {
    let (cancelled, deadline) = (context.process.cancelled().clone(), context.deadline);
    let ends = async move { super::context::interrupted(&cancelled, deadline).await };
    stream::unfold(Some((context, batches, Box::pin(ends))), |state| async move {
        let (context, mut batches, mut ends) = state?;
        let next = tokio::select! {
            biased;
            error = &mut ends => Some(Err(error)),
            next = batches.next() => next,
        };
        match next {
            Some(Ok(batch)) => {
                let (rows, bytes) = (batch.num_rows() as u64, batch.get_array_memory_size() as u64);
                context.process.progress(rows, bytes);
                Some((Ok(batch), Some((context, batches, ends))))
            }
            // The error is the last: the query's resources go now.
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tarn_proto::ErrorKind;
    use tokio_util::sync::CancellationToken;

    use super::super::context::interrupted;

    #[tokio::test]
    async fn a_cancelled_statement_and_a_late_one_end_with_their_own_words() {
        let cancelled = CancellationToken::new();
        let late = interrupted(&cancelled, Some(Instant::now() + Duration::from_millis(1))).await;
        assert!(late.message.contains("query_timeout"), "{late}");
        cancelled.cancel();
        let killed = interrupted(&cancelled, None).await;
        assert_eq!((killed.kind, killed.message.as_str()), (ErrorKind::Cancelled, "the statement was cancelled"));
    }
}
