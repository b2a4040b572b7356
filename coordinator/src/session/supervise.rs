//! Ends what a statement does when it is killed or late, and keeps it listed while its rows are read.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};
use tarn_gateway::engine::{BatchStream, Outcome, Result};

use super::SessionContext;
use super::context::interrupted;
use crate::processes::Process;

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
            Outcome::Rows { query_id, schema, batches: watched(context.process.clone(), context.deadline, batches) }
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

/// Ends the rows with an error when the statement is interrupted, and counts them.
fn watched(process: Arc<Process>, deadline: Option<Instant>, batches: BatchStream) -> BatchStream {
    let cancelled = process.cancelled().clone();
    let ends = async move { interrupted(&cancelled, deadline).await };
    stream::unfold(Some((process, batches, Box::pin(ends))), |state| async move {
        let (process, mut batches, mut ends) = state?;
        let next = tokio::select! {
            biased;
            error = &mut ends => Some(Err(error)),
            next = batches.next() => next,
        };
        match next {
            Some(Ok(batch)) => {
                process.progress(batch.num_rows() as u64, batch.get_array_memory_size() as u64);
                Some((Ok(batch), Some((process, batches, ends))))
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
    use std::time::Duration;

    use arrow::array::{ArrayRef, Int64Array};
    use tarn_gateway::engine::ClientInfo;
    use tarn_proto::ErrorKind;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::processes::Processes;

    #[tokio::test]
    async fn a_cancelled_statement_and_a_late_one_end_with_their_own_words() {
        let cancelled = CancellationToken::new();
        let late = interrupted(&cancelled, Some(Instant::now() + Duration::from_millis(1))).await;
        assert!(late.message.contains("query_timeout"), "{late}");
        cancelled.cancel();
        let killed = interrupted(&cancelled, None).await;
        assert_eq!((killed.kind, killed.message.as_str()), (ErrorKind::Cancelled, "the statement was cancelled"));
    }

    #[tokio::test]
    async fn rows_that_never_end_do_when_the_statement_is_killed_and_are_counted_until_then() {
        let processes = Processes::default();
        let connection = processes.connect(1, ClientInfo::default());
        let process = processes.begin(&connection, "", "select 1");
        let id = process.query_id.clone();
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let endless = stream::repeat(Ok(batch)).boxed();
        let mut rows = watched(process, None, endless);
        assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 3);
        assert_eq!((processes.running(), processes.list()[0].rows), (1, 3));
        assert!(processes.kill(&id, false));
        assert_eq!(rows.next().await.unwrap().unwrap_err().kind, ErrorKind::Cancelled);
        assert!(rows.next().await.is_none());
        assert_eq!(processes.running(), 0, "what has ended is not listed");
    }
}
