//! `SHOW PROCESSLIST`: what runs on every coordinator.

use super::format::{percent, time};
use super::rows::Rows;
use crate::session::{SessionContext, running_elsewhere};

pub const HEADER: &[&str] = &[
    "ServerName",
    "Id",
    "User",
    "Host",
    "Db",
    "Command",
    "ConnectionStartTime",
    "Time",
    "State",
    "Info",
    "QueryId",
    "Rows",
    "Bytes",
    "Progress",
];

/// As much of a statement's text is shown without `FULL`, in characters.
const SHORT: usize = 100;

pub async fn processes(context: &SessionContext, rows: &mut Rows, full: bool) {
    let shown = |sql: String| if full { sql } else { sql.chars().take(SHORT).collect() };
    for query in context.shared.processes.list().into_iter().chain(running_elsewhere(&context.shared).await) {
        let command = if query.query_id.is_empty() { "Sleep" } else { "Query" };
        rows.push([
            query.coordinator_id.to_string(),
            query.connection_id.to_string(),
            query.user,
            query.client,
            query.database,
            command.to_owned(),
            time(query.connected_unix_ms),
            (query.elapsed_ms / 1000).to_string(),
            query.state,
            shown(query.sql),
            query.query_id,
            query.rows.to_string(),
            query.bytes.to_string(),
            if query.progress > 0.0 { percent(query.progress) } else { String::new() },
        ]);
    }
}
