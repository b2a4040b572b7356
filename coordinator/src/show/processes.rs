//! `SHOW PROCESSLIST`: what runs on every coordinator.

use super::format::system_time;
use super::rows::Rows;
use crate::processes::coordinator_of;
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
];

/// As much of a statement's text is shown without `FULL`, in characters.
const SHORT: usize = 100;

pub async fn processes(context: &SessionContext, rows: &mut Rows, full: bool) {
    let shown = |sql: &str| if full { sql.to_owned() } else { sql.chars().take(SHORT).collect() };
    for process in context.shared.processes.list() {
        let running = !process.query_id.is_empty();
        rows.push([
            coordinator_of(process.connection).to_string(),
            process.connection.to_string(),
            process.user,
            process.host,
            process.database,
            if running { "Query" } else { "Sleep" }.to_owned(),
            system_time(process.connected),
            process.elapsed.as_secs().to_string(),
            process.state,
            shown(&process.sql),
            process.query_id,
            process.rows.to_string(),
            process.bytes.to_string(),
        ]);
    }
    for query in running_elsewhere(&context.shared).await {
        let command = if query.query_id.is_empty() { "Sleep" } else { "Query" };
        rows.push_nullable(vec![
            Some(query.coordinator_id.to_string()),
            Some(query.connection_id.to_string()),
            Some(query.user),
            Some(query.client),
            Some(query.database),
            Some(command.to_owned()),
            None,
            Some((query.elapsed_ms / 1000).to_string()),
            Some(query.state),
            Some(shown(&query.sql)),
            Some(query.query_id),
            None,
            None,
        ]);
    }
}
