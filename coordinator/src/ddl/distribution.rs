//! `DISTRIBUTED BY` to the catalog's distribution. Pure.

use tarn_catalog::Distribution;
use tarn_proto::bucket::HASH_VERSION;
use tarn_sql::DistributedBy;

use super::columns::Columns;
use crate::session::Error;

/// Most buckets of a partition: beyond, tablets are too small to be worth their metadata.
const MAX_BUCKETS: u32 = 4096;

/// Buckets when the statement does not say: enough to use every storage node, as StarRocks counts them.
pub fn default_buckets(storage_nodes: usize) -> u32 {
    let nodes = u32::try_from(storage_nodes).unwrap_or(u32::MAX).max(1);
    match nodes {
        1..=12 => nodes * 2,
        13..=24 => nodes + nodes / 2,
        25..=36 => 36,
        _ => nodes.min(48),
    }
}

/// How a partition's rows are divided. Without a clause: by no rule, as in StarRocks.
pub fn lower(by: Option<&DistributedBy>, columns: &Columns, storage_nodes: usize) -> Result<Distribution, Error> {
    let (columns, buckets) = match by {
        Some(DistributedBy::Hash { columns: names, buckets, at }) => {
            (columns.keys(names, "bucket column")?, buckets.map(|b| (b, *at)))
        }
        Some(DistributedBy::Random { buckets, at }) => (Vec::new(), buckets.map(|b| (b, *at))),
        None => (Vec::new(), None),
    };
    let buckets = match buckets {
        Some((buckets, at)) if buckets == 0 || buckets > MAX_BUCKETS => {
            return Err(Error::at(at, format!("BUCKETS must be 1 to {MAX_BUCKETS}, not {buckets}")));
        }
        Some((buckets, _)) => buckets,
        None => default_buckets(storage_nodes),
    };
    Ok(Distribution { columns, buckets, hash_version: HASH_VERSION })
}
