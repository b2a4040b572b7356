//! Telling the loss of a compute node from other failures.
//!
//! Whoever calls a node, coordinator or other compute node, puts the node's name into the error if the call broke. The
//! name is context of the error, which survives the way through other nodes.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tonic::{Code, Status};
use url::Url;

use super::WorkerSet;

/// Begins the context of an error that says which node was lost.
const LOST: &str = "lost compute node ";
/// A worker says this when it was asked for rows and its plan never came, as after a restart.
const NO_PLAN: &str = "timed-out while waiting for the plan to be set";

/// The compute node whose loss made a query fail, if that is what made it fail. The query can be planned again for the
/// workers [`without`] it, if none of its rows have gone out.
pub fn lost_worker(error: &DataFusionError) -> Option<Url> {
    match error {
        DataFusionError::Context(context, inner) => named(context).or_else(|| lost_worker(inner)),
        DataFusionError::Shared(inner) => lost_worker(inner),
        DataFusionError::Diagnostic(_, inner) => lost_worker(inner),
        DataFusionError::Collection(errors) => errors.iter().find_map(lost_worker),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(source) => lost_in(source.as_ref()),
            _ => None,
        },
        DataFusionError::External(source) => lost_in(source.as_ref()),
        _ => None,
    }
}

/// The workers but `lost`, for another attempt.
pub fn without(workers: &WorkerSet, lost: &Url) -> WorkerSet {
    WorkerSet::new(workers.snapshot().iter().filter(|worker| *worker != lost).cloned().collect())
}

/// The error by which the compute node at `url` says that it cannot take a task and others should.
pub fn leaving(url: &Url) -> DataFusionError {
    DataFusionError::Execution("the compute node is shutting down".to_owned()).context(format!("{LOST}{url}"))
}

/// Names the node in an error of a call to it, if the call broke rather than the query.
pub(super) fn tag(url: &Url, error: DataFusionError) -> DataFusionError {
    if is_loss(&error) { error.context(format!("{LOST}{url}")) } else { error }
}

fn lost_in(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Url> {
    match source.downcast_ref::<DataFusionError>() {
        Some(error) => lost_worker(error),
        // Errors become text when they cross nodes inside others.
        None => named(&source.to_string()),
    }
}

fn named(context: &str) -> Option<Url> {
    context.strip_prefix(LOST)?.split_whitespace().next()?.parse().ok()
}

fn is_loss(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::External(source) => source.downcast_ref().is_some_and(is_broken),
        DataFusionError::Execution(message) => message.contains(NO_PLAN),
        DataFusionError::Context(_, inner) => is_loss(inner),
        DataFusionError::Shared(inner) => is_loss(inner),
        _ => false,
    }
}

/// Whether a call ended because of the connection. What the other side answered has no source.
fn is_broken(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn worker() -> Url {
        "http://10.0.0.1:9040".parse().unwrap()
    }

    #[test]
    fn a_broken_call_names_the_worker_through_wrappers() {
        let broken = DataFusionError::External(Box::new(Status::unavailable("connection refused")));
        let error = tag(&worker(), broken);
        assert_eq!(lost_worker(&error), Some(worker()));
        let error = DataFusionError::Shared(Arc::new(error)).context("join");
        assert_eq!(lost_worker(&error), Some(worker()));
        let text = DataFusionError::External(error.to_string().replace("join\ncaused by\n", "").into());
        assert_eq!(lost_worker(&text), Some(worker()));
        assert_eq!(lost_worker(&DataFusionError::External(Box::new(text))), Some(worker()));
    }

    #[test]
    fn a_node_that_leaves_is_lost() {
        assert_eq!(lost_worker(&leaving(&worker())), Some(worker()));
    }

    #[test]
    fn failures_of_the_query_are_not_losses() {
        for error in [
            DataFusionError::Execution("division by zero".to_owned()),
            DataFusionError::ResourcesExhausted("memory".to_owned()),
            DataFusionError::External(Box::new(Status::internal("defect"))),
            DataFusionError::Execution("cannot cast 'lost compute node http://x:1/'".to_owned()),
        ] {
            let error = tag(&worker(), error);
            assert_eq!(lost_worker(&error), None, "{error}");
        }
    }

    #[test]
    fn the_other_workers_remain() {
        let other: Url = "http://10.0.0.2:9040".parse().unwrap();
        let set = WorkerSet::new(vec![worker(), other.clone()]);
        assert_eq!(*without(&set, &worker()).snapshot(), vec![other]);
        assert_eq!(set.snapshot().len(), 2);
    }
}
