//! `SHOW TABLETS`.

use tarn_sql::{Ident, ObjectName};

use super::format::bytes;
use super::partitions::ordered;
use super::replicas::state as replica_state;
use super::rows::Rows;
use crate::session::{Error, SessionContext};

pub const HEADER: &[&str] =
    &["TabletId", "PartitionName", "Bucket", "BackendId", "Address", "Version", "DataSize", "RowCount", "State"];

pub fn tablets(context: &SessionContext, rows: &mut Rows, name: &ObjectName, wanted: &[Ident]) -> Result<(), Error> {
    let table = context.table(name)?;
    for partition in wanted {
        crate::ddl::existing_partition(&table, partition)?;
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w.name.eq_ignore_ascii_case(name));
    for partition in ordered(&table).into_iter().filter(|p| is_wanted(&p.name)) {
        for (tablet, bucket) in partition.tablets.iter().zip(0_u32..) {
            for replica in &tablet.replicas {
                let node = replica.node;
                let address = context.catalog.nodes.get(&node).map(|n| n.address.clone());
                rows.push([
                    tablet.id.get().to_string(),
                    partition.name.clone(),
                    bucket.to_string(),
                    node.get().to_string(),
                    address.unwrap_or_default(),
                    partition.visible_version.get().to_string(),
                    bytes(tablet.bytes),
                    tablet.rows.to_string(),
                    replica_state(replica).to_owned(),
                ]);
            }
        }
    }
    Ok(())
}
