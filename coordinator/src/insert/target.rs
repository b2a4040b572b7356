//! Which partitions an `INSERT` loads, and whether it replaces what is there. Pure.

use std::collections::BTreeSet;

use tarn_catalog::{Partitioning, Table};
use tarn_ingest::route::Reach;
use tarn_ingest::{Replacing, Target};
use tarn_proto::PartitionId;
use tarn_sql::Insert;

use crate::ddl::{existing_partition, existing_temporary_partition};
use crate::session::Error;

/// Where the rows of a statement go. `dynamic` is the session's `dynamic_overwrite`: it counts where a partitioned table is
/// overwritten and the statement names no partition.
pub(super) fn lower(table: &Table, insert: &Insert, dynamic: bool) -> Result<Target, Error> {
    let reach = match &insert.partitions[..] {
        [] => Reach::All,
        names => {
            let find = |name| match insert.temporary {
                false => existing_partition(table, name),
                true => existing_temporary_partition(table, name),
            };
            let ids: BTreeSet<PartitionId> =
                names.iter().map(|name| find(name).map(|p| p.id)).collect::<Result<_, _>>()?;
            Reach::Only(ids)
        }
    };
    let dynamic = dynamic && reach == Reach::All && table.partitioning != Partitioning::None;
    let replacing = insert.overwrite.then_some(Replacing { dynamic, read: None });
    Ok(Target { reach, replacing })
}
