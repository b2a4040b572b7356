//! Counting tasks by the calls that bring them.
//!
//! The coordinator keeps the call that brings a task open until the query has ended or was cancelled. The worker keeps
//! its own record of the task longer, until its next work, and does not tell how many it has.

use std::task::{Context, Poll};

use futures::StreamExt;
use tarn_proto::query_id;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tonic::server::NamedService;

use crate::tasks::Tasks;

/// The call that brings a task: its request stream lasts as long as the query.
const TASK_CALL: &str = "/CoordinatorChannel";

/// A worker service whose tasks are counted.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    tasks: Tasks,
}

impl<S> Counted<S> {
    pub fn new(inner: S, tasks: Tasks) -> Self {
        Self { inner, tasks }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.uri().path().ends_with(TASK_CALL) {
            return self.inner.call(request);
        }
        // A closed node refuses the task when it makes its session: only there can it say so in a way that the
        // coordinator understands.
        let Some(running) = self.tasks.begin(query_id::of(request.headers()).unwrap_or_default()) else {
            return self.inner.call(request);
        };
        self.inner.call(request.map(|body| {
            let messages = axum::body::Body::new(body).into_data_stream();
            Body::new(axum::body::Body::from_stream(messages.inspect(move |_| {
                // Ends with the stream.
                let _ = &running;
            })))
        }))
    }
}
