//! `SHOW COLOCATION GROUPS`, `SHOW PROC '/colocation_group'` and `SHOW PROC '/colocation_group/<group>'`.

use tarn_catalog::ColocationGroup;
use tarn_proto::GroupId;
use tarn_sql::Position;

use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const GROUPS: &[&str] =
    &["GroupId", "GroupName", "TableIds", "BucketsNum", "ReplicationNum", "DistCols", "IsStable"];
const BUCKETS: &[&str] = &["BucketIndex", "BackendIds"];

/// The path of the groups.
const PATH: &str = "/colocation_group";

/// The columns of what is at a path.
pub fn proc_header(path: &str) -> &'static [&'static str] {
    match group_in(path) {
        Some(_) => BUCKETS,
        None => GROUPS,
    }
}

/// The name or id of a group behind the groups' path.
fn group_in(path: &str) -> Option<&str> {
    path.trim_end_matches('/').strip_prefix(PATH)?.strip_prefix('/')
}

pub fn groups(context: &SessionContext, rows: &mut Rows) {
    for group in context.catalog.colocation_groups.values() {
        let tables: Vec<String> =
            context.catalog.tables_of_group(group.id).map(|table| table.id.get().to_string()).collect();
        let types: Vec<String> = group.types.iter().map(ToString::to_string).collect();
        rows.push([
            group.id.get().to_string(),
            group.name.clone(),
            tables.join(", "),
            group.sequence.len().to_string(),
            group.replication.to_string(),
            types.join(", "),
            context.catalog.is_stable(group).to_string(),
        ]);
    }
}

pub fn proc(context: &SessionContext, rows: &mut Rows, path: &str, at: Position) -> Result<(), Error> {
    if let Some(name) = group_in(path) {
        buckets(group(context, name, at)?, rows);
        return Ok(());
    }
    if path.trim_end_matches('/') == PATH {
        groups(context, rows);
        return Ok(());
    }
    Err(Error::at(at, format!("there is no `{path}`: the paths are {PATH} and {PATH}/<group>")))
}

fn group<'a>(context: &'a SessionContext, name: &str, at: Position) -> Result<&'a ColocationGroup, Error> {
    let by_id = name.parse().ok().and_then(|id| context.catalog.colocation_groups.get(&GroupId(id)));
    let group = by_id.or_else(|| context.catalog.colocation_group(name));
    group.map(|group| &**group).ok_or_else(|| Error::at(at, format!("colocation group `{name}` does not exist")))
}

fn buckets(group: &ColocationGroup, rows: &mut Rows) {
    for (bucket, nodes) in group.sequence.iter().enumerate() {
        let nodes: Vec<String> = nodes.iter().map(|node| node.get().to_string()).collect();
        rows.push([bucket.to_string(), nodes.join(", ")]);
    }
}
