//! `replication_num`, `labels.location` and `colocate_with`: how many copies tables have, where those are, and which tables
//! lie together.

use std::collections::BTreeMap;

use tarn_catalog::{LOCATION, Locations, MAX_REPLICATION, Operation, Table};
use tarn_proto::NodeId;
use tarn_sql::{ObjectName, Position, Property};

use crate::session::{Error, SessionContext};

/// The property that says how many copies there are.
pub const REPLICATION_NUM: &str = "replication_num";
/// StarRocks' name for that of partitions to come, which Tarn does not tell apart.
pub const DEFAULT_REPLICATION_NUM: &str = "default.replication_num";
/// The property that names a table's colocation group.
pub const COLOCATE_WITH: &str = "colocate_with";

/// Copies of a table that does not say, as in StarRocks, where there are so many nodes.
const DEFAULT_REPLICATION: usize = 3;

/// The storage nodes that a new table may be spread over.
#[derive(Clone, Debug, Default)]
pub struct StorageNodes {
    /// How many are registered.
    pub registered: usize,
    /// Those that are alive, not drained and not full.
    pub alive: Vec<NodeId>,
    /// Where those that are registered stand.
    pub locations: BTreeMap<NodeId, String>,
}

impl StorageNodes {
    /// Those of the cluster. If none is known to live, as just after a start, a first heartbeat is waited for.
    pub async fn of(context: &SessionContext) -> Self {
        let mut alive: Vec<NodeId> = context.shared.catalog.placement_soon().await.nodes().collect();
        alive.sort_unstable();
        alive.dedup();
        let locations = context.catalog.storage_nodes().filter_map(|node| Some((node.id, node.location.clone()?)));
        Self { registered: context.catalog.storage_nodes().count(), alive, locations: locations.collect() }
    }

    /// Those that a table's replicas are for by its properties. Refuses locations where no node stands.
    pub fn meant(&self, declared: &[Property]) -> Result<Self, Error> {
        let Some(property) = declared.iter().find(|p| p.name.trim().eq_ignore_ascii_case(LOCATION)) else {
            return Ok(self.clone());
        };
        let refused = |source| Error::Catalog { source, at: property.at };
        let locations = Locations::parse(&property.value).map_err(refused)?;
        if let Some(missing) = locations.missing(self.locations.values().map(String::as_str)) {
            let message = format!("Cannot find any backend with location: {missing}: see SHOW STORAGE NODES");
            return Err(Error::at(property.at, message));
        }
        Ok(self.at(&locations))
    }

    /// Those at some locations.
    fn at(&self, locations: &Locations) -> Self {
        let meant = |node: &NodeId| locations.allow(self.locations.get(node).map(String::as_str));
        Self { alive: self.alive.iter().copied().filter(meant).collect(), ..self.clone() }
    }

    /// Copies of a table that does not say.
    pub fn default_replication(&self) -> u32 {
        self.alive.len().clamp(1, DEFAULT_REPLICATION) as u32
    }

    /// Refuses more copies than there are nodes for them.
    pub fn check(&self, table: &str, replication: u32, at: Position) -> Result<(), Error> {
        if replication as usize <= self.alive.len() {
            return Ok(());
        }
        let (table, alive) = (table.to_owned(), self.alive.clone());
        let refused = tarn_catalog::Error::NotEnoughStorageNodes { table, replication, alive };
        Err(Error::at(at, refused.to_string()))
    }
}

/// The number that the property gives.
pub fn replication(property: &Property) -> Result<u32, Error> {
    let value = property.value.trim();
    match value.parse() {
        Ok(number @ 1..=MAX_REPLICATION) => Ok(number),
        _ => Err(Error::at(
            property.at,
            format!("`{}` is `{value}`: Replication num should be between 1 and {MAX_REPLICATION}", property.name),
        )),
    }
}

/// `ALTER TABLE name SET ("replication_num" = "2")`. The leader adds and removes copies in the background.
pub async fn set_replication(context: &SessionContext, name: &ObjectName, property: &Property) -> Result<(), Error> {
    let table = context.table(name)?;
    let replication = replication(property)?;
    if replication > table.replication {
        let nodes = StorageNodes::of(context).await.at(&table.locations());
        nodes.check(&table.name, replication, property.at)?;
    }
    context.propose(Operation::SetReplication { table: table.id, replication }).await?;
    Ok(())
}

/// `ALTER TABLE name SET ("colocate_with" = "group")`; an empty name takes the table out of its group.
pub async fn set_colocation(context: &SessionContext, name: &ObjectName, property: &Property) -> Result<(), Error> {
    let table = context.table(name)?;
    let group = Some(property.value.trim().to_owned()).filter(|group| !group.is_empty());
    let placement = context.shared.catalog.placement_soon().await;
    context.propose(Operation::SetColocation { table: table.id, group, placement }).await?;
    Ok(())
}

/// The properties that `SHOW CREATE TABLE` shows for them.
pub fn shown(table: &Table, group: Option<&str>) -> Vec<Property> {
    let property = |name: &str, value: String| Property { name: name.to_owned(), value, at: Position::default() };
    let group = group.map(|group| property(COLOCATE_WITH, group.to_owned()));
    [property(REPLICATION_NUM, table.replication.to_string())].into_iter().chain(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> StorageNodes {
        StorageNodes { registered: 9, alive: (1001..1001 + count).map(NodeId).collect(), ..StorageNodes::default() }
    }

    #[test]
    fn a_table_has_three_copies_where_there_are_nodes_for_them() {
        assert_eq!([0, 1, 2, 3, 8].map(|count| nodes(count).default_replication()), [1, 1, 2, 3, 3]);
    }

    #[test]
    fn more_copies_than_nodes_are_refused_in_the_words_of_starrocks() {
        let at = Position { line: 1, column: 9 };
        assert!(nodes(2).check("t", 2, at).is_ok());
        let refused = nodes(2).check("t", 3, at).unwrap_err().to_string();
        assert_eq!(
            refused,
            "table replication num should be less than or equal to the number of available storage nodes. You can change \
             this default by setting the replication_num table properties. Current alive storage nodes are [1001, 1002]. \
             table=t, properties.replication_num=3 at line 1, column 9"
        );
    }

    #[test]
    fn a_table_for_some_locations_counts_the_nodes_there() {
        let racks = [(1001, "rack:r1"), (1002, "rack:r1"), (1003, "rack:r2")];
        let locations = racks.map(|(id, at)| (NodeId(id), at.to_owned())).into();
        let all = StorageNodes { locations, ..nodes(4) };
        let of = |value: &str| {
            let property = Property { name: "Labels.Location".into(), value: value.into(), at: Position::default() };
            all.meant(&[property]).map(|nodes| nodes.alive.len()).map_err(|error| error.to_string())
        };
        assert_eq!([of("*"), of(""), of("rack:*"), of("rack:r1"), of("rack:r2")], [4, 4, 3, 2, 1].map(Ok));
        assert!(of("rack:r9").unwrap_err().starts_with("Cannot find any backend with location: rack:r9"));
        assert!(of("r1").unwrap_err().contains("no location"));
    }

    #[test]
    fn a_number_of_copies_is_one_to_five() {
        let of = |value: &str| {
            replication(&Property { name: "replication_num".into(), value: value.into(), at: Position::default() })
        };
        assert_eq!((of("1").ok(), of(" 5 ").ok()), (Some(1), Some(5)));
        for wrong in ["0", "6", "-1", "three", ""] {
            assert!(of(wrong).unwrap_err().to_string().contains("between 1 and 5"), "{wrong}");
        }
    }
}
