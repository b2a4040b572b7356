//! Metrics of the gateway.
//!
//! | name | kind, unit | labels |
//! |---|---|---|
//! | `tarn_build_info` | 1, in every process | `role`, `version` |
//! | `tarn_gateway_requests_total` | counter | `method`, `outcome` |
//! | `tarn_gateway_request_seconds` | histogram, until the response begins | `method` |
//! | `tarn_gateway_results_total` | counter | `outcome`: `complete`, `failed`, `abandoned` |
//! | `tarn_gateway_result_seconds` | histogram, from the request for rows to their last | |
//! | `tarn_gateway_sent_rows_total` | counter | |
//! | `tarn_gateway_sent_bytes_total` | counter, bytes on the wire before framing | |
//! | `tarn_gateway_sessions` | gauge | |
//! | `tarn_gateway_prepared_statements` | gauge | |

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tarn_proto::ErrorKind;
use tonic::{Code, Status};

/// Tells what this process is. Call once, after the recorder is installed.
pub fn process(role: &'static str, version: &'static str) {
    describe_gauge!("tarn_build_info", "1: what this process is");
    gauge!("tarn_build_info", "role" => role, "version" => version).set(1.0);
}

/// Registers units and descriptions with the process's recorder. Call once, after the recorder is installed.
pub fn describe() {
    describe_counter!("tarn_gateway_requests_total", "Flight calls by method and outcome");
    describe_histogram!("tarn_gateway_request_seconds", Unit::Seconds, "Time until a Flight call's response begins");
    describe_counter!("tarn_gateway_results_total", "Result streams by outcome");
    describe_histogram!("tarn_gateway_result_seconds", Unit::Seconds, "Time from the request for rows to their last");
    describe_counter!("tarn_gateway_sent_rows_total", "Rows sent to clients");
    describe_counter!("tarn_gateway_sent_bytes_total", Unit::Bytes, "Bytes sent to clients in results");
    describe_gauge!("tarn_gateway_sessions", "Open client sessions");
    describe_gauge!("tarn_gateway_prepared_statements", "Prepared statements held for clients");
}

/// A call was answered, or its response began.
pub(crate) fn request(method: &'static str, error: Option<&Status>, took: Duration) {
    let outcome = match error.map(Status::code) {
        None => "ok",
        Some(Code::Unimplemented) => "unsupported",
        Some(code) => match ErrorKind::from_grpc_code(code) {
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not_found",
            ErrorKind::AlreadyExists => "already_exists",
            ErrorKind::Denied => "denied",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Exhausted => "exhausted",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        },
    };
    counter!("tarn_gateway_requests_total", "method" => method, "outcome" => outcome).increment(1);
    histogram!("tarn_gateway_request_seconds", "method" => method).record(took);
}

/// A result stream ended.
pub(crate) fn result(outcome: &'static str, took: Duration) {
    counter!("tarn_gateway_results_total", "outcome" => outcome).increment(1);
    histogram!("tarn_gateway_result_seconds").record(took);
}

/// Rows went into a result stream.
pub(crate) fn sent_rows(rows: usize) {
    counter!("tarn_gateway_sent_rows_total").increment(rows as u64);
}

/// A message of a result stream was encoded.
pub(crate) fn sent_bytes(bytes: usize) {
    counter!("tarn_gateway_sent_bytes_total").increment(bytes as u64);
}

/// Open sessions now.
pub(crate) fn sessions(open: usize) {
    gauge!("tarn_gateway_sessions").set(open as f64);
}

/// Prepared statements now.
pub(crate) fn prepared_statements(held: usize) {
    gauge!("tarn_gateway_prepared_statements").set(held as f64);
}
