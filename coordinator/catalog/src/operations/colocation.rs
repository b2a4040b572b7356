//! Colocation groups, and how many copies tables have.

use std::collections::BTreeSet;
use std::sync::Arc;

use tarn_proto::{DataType, GroupId, NodeId, TableId};

use super::dealer::Dealer;
use super::{Outcome, check_name};
use crate::command::{BucketNodes, Placement, Response};
use crate::{Catalog, ColocationGroup, Error, Locations, Relation, ReplicaState, Role, Table, Tablet};

/// Most copies of a tablet. More cost space and writes, and save nothing that a backup would not save better.
pub const MAX_REPLICATION: u32 = 5;

impl Catalog {
    pub(super) fn set_replication(&mut self, table: TableId, replication: u32) -> Outcome {
        check_replication(replication)?;
        let table = self.table_mut(table)?;
        if table.replication != replication && table.volume.is_some() {
            return Err(Error::Invalid(format!(
                "table `{}` is on a storage volume, which keeps its one copy: replication_num stays 1",
                table.name
            )));
        }
        if table.replication != replication && table.colocation.is_some() {
            return Err(Error::Colocate(format!(
                "table `{}` is colocate table, cannot change replicationNum: take it out of its group first by ALTER TABLE \
                 .. SET (\"colocate_with\" = \"\")",
                table.name
            )));
        }
        table.replication = replication;
        Ok(Response::Done)
    }

    pub(super) fn set_colocation(&mut self, table: TableId, group: Option<&str>, placement: &Placement) -> Outcome {
        let table = self.existing_table(table)?;
        let named = group.and_then(|name| self.colocation_group(name)).map(|group| group.id);
        if group.is_some() && named.is_some() && named == table.colocation {
            return Ok(Response::Done);
        }
        let joined = match group {
            // Before the old one goes: the table may be its last.
            Some(name) => Some(self.join_group(name, &table, placement)?),
            None => None,
        };
        self.table_mut(table.id)?.colocation = joined;
        self.leave_group(table.colocation);
        Ok(Response::Done)
    }

    /// The group of this name for a table to be in. If there is none, it is made of the table's buckets: where those of its
    /// first partition are, or where new ones go.
    pub(super) fn join_group(&mut self, name: &str, table: &Table, placement: &Placement) -> Result<GroupId, Error> {
        check_name("colocation group", name)?;
        if table.locations() != Locations::Every {
            return Err(Error::Colocate(format!(
                "table `{}` is for some locations only (\"labels.location\"), and a colocation group is for all: leave out one \
                 of both, or ALTER TABLE .. SET (\"labels.location\" = \"*\") first",
                table.name
            )));
        }
        let types = bucket_types(table)?;
        if let Some(group) = self.colocation_group(name) {
            check_fits(table, &types, group)?;
            return Ok(group.id);
        }
        let buckets = table.distribution.buckets;
        check_buckets(table, buckets as usize)?;
        let first = table.all_partitions().next();
        let sequence = match first {
            Some(partition) => partition.tablets.iter().map(|tablet| kept(tablet, table.replication)).collect(),
            None => {
                let mut dealer = Dealer::new(self, placement, &Table { colocation: None, ..table.clone() })?;
                dealer.take(buckets)?;
                (0..buckets).map(|_| dealer.deal_next()).collect()
            }
        };
        let id = GroupId(self.next_id());
        let replication = table.replication;
        let group = ColocationGroup { id, name: name.to_owned(), types, replication, sequence };
        self.colocation_groups.insert(id, Arc::new(group));
        Ok(id)
    }

    /// Drops a group that a table has left, if it was the last one.
    pub(super) fn leave_group(&mut self, group: Option<GroupId>) {
        let Some(group) = group else { return };
        if self.tables_of_group(group).next().is_none() {
            self.colocation_groups.remove(&group);
        }
    }

    pub(super) fn move_buckets(&mut self, id: GroupId, buckets: &[BucketNodes]) -> Outcome {
        let gone = || Error::Colocate(format!("colocation group {id} does not exist"));
        let mut group = ColocationGroup::clone(self.colocation_groups.get(&id).ok_or_else(gone)?);
        for moved in buckets {
            let refuse = |why: String| {
                Error::Colocate(format!("bucket {} of colocation group `{}` {why}", moved.bucket, group.name))
            };
            let distinct: BTreeSet<&NodeId> = moved.nodes.iter().collect();
            if moved.nodes.is_empty() || distinct.len() != moved.nodes.len() {
                return Err(refuse("must be on distinct nodes".to_owned()));
            }
            if moved.nodes.len() > group.replication as usize {
                return Err(refuse(format!("has {} copies at most", group.replication)));
            }
            for node in moved.nodes.iter().filter(|node| !moved.before.contains(node)) {
                match self.nodes.get(node) {
                    Some(node) if node.role == Role::Storage && !node.draining => {}
                    Some(_) => return Err(refuse(format!("cannot be on {node}, which is drained or no storage node"))),
                    None => return Err(Error::UnknownNode(*node)),
                }
            }
            let changed = refuse("has been moved meanwhile".to_owned());
            let bucket = group.sequence.get_mut(moved.bucket as usize);
            match bucket {
                Some(nodes) if *nodes == moved.before => nodes.clone_from(&moved.nodes),
                _ => return Err(changed),
            }
        }
        self.colocation_groups.insert(id, Arc::new(group));
        Ok(Response::Done)
    }

    /// The colocation group with this name.
    pub fn colocation_group(&self, name: &str) -> Option<&Arc<ColocationGroup>> {
        self.colocation_groups.values().find(|group| group.name == name)
    }

    /// The tables of a colocation group.
    pub fn tables_of_group(&self, group: GroupId) -> impl Iterator<Item = &Arc<Table>> {
        let tables = self.relations.values().filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            Relation::View(_) => None,
        });
        tables.filter(move |table| table.colocation == Some(group))
    }

    /// Whether every bucket of every table of the group is where the group has it, on as many nodes as there should be.
    /// Costs a look at each of its tablets.
    pub fn is_stable(&self, group: &ColocationGroup) -> bool {
        let in_place = |nodes: &[NodeId], tablet: &crate::Tablet| {
            let current = |node| tablet.replica(node).is_some_and(|replica| replica.state == ReplicaState::Current);
            nodes.len() == tablet.replicas.len() && nodes.iter().all(|node| current(*node))
        };
        let full = group.sequence.iter().all(|nodes| nodes.len() == group.replication as usize);
        full && self.tables_of_group(group.id).flat_map(|table| table.all_partitions()).all(|partition| {
            partition.tablets.len() == group.sequence.len()
                && group.sequence.iter().zip(&partition.tablets).all(|(nodes, tablet)| in_place(nodes, tablet))
        })
    }

    /// Whether each of so many replicas that are for these locations is to stand at its own: there are enough.
    pub fn stand_apart(&self, locations: &Locations, replication: u32) -> bool {
        locations.spread() && self.storage_locations(locations) >= replication as usize
    }

    /// Distinct locations of storage nodes that take tablets, of those that are meant. One that has none stands alone.
    fn storage_locations(&self, locations: &Locations) -> usize {
        let usable = || {
            let usable = self.storage_nodes().filter(|node| !node.draining && !node.address.is_empty());
            usable.filter(|node| locations.allow(node.location.as_deref()))
        };
        let labelled: BTreeSet<&str> = usable().filter_map(|node| node.location.as_deref()).collect();
        labelled.len() + usable().filter(|node| node.location.is_none()).count()
    }
}

/// The nodes of a tablet's members, as many as its table asks for: there may still be more, of which the best stay.
fn kept(tablet: &Tablet, replication: u32) -> Vec<NodeId> {
    let mut members: Vec<_> = tablet.members().collect();
    members.sort_by_key(|member| member.state != ReplicaState::Current);
    members.into_iter().map(|member| member.node).take(replication as usize).collect()
}

/// Refuses what is no number of copies.
pub(super) fn check_replication(replication: u32) -> Result<(), Error> {
    match replication {
        1..=MAX_REPLICATION => Ok(()),
        _ => Err(Error::Invalid(format!("replication_num is {replication}: it is 1 to {MAX_REPLICATION}"))),
    }
}

/// Types of the columns that rows are bucketed by.
fn bucket_types(table: &Table) -> Result<Vec<DataType>, Error> {
    if table.distribution.columns.is_empty() {
        let message = format!("table `{}`: random distribution does not support 'colocate_with'", table.name);
        return Err(Error::Colocate(message));
    }
    let columns = table.distribution.columns.iter().filter_map(|id| table.schema.index_of(*id));
    Ok(columns.map(|index| table.schema.columns[index].data_type.clone()).collect())
}

/// Refuses a table whose partitions do not all have so many buckets.
fn check_buckets(table: &Table, buckets: usize) -> Result<(), Error> {
    let of_partitions = table.all_partitions().map(|partition| partition.tablets.len());
    match of_partitions.chain([table.distribution.buckets as usize]).find(|count| *count != buckets) {
        Some(count) => {
            Err(Error::ColocateBuckets { table: table.name.clone(), buckets: count as u64, group: buckets as u64 })
        }
        None => Ok(()),
    }
}

fn check_fits(table: &Table, types: &[DataType], group: &ColocationGroup) -> Result<(), Error> {
    if types.len() != group.types.len() {
        return Err(Error::Colocate(format!(
            "Colocate tables distribution columns size must be the same: {} should be {}",
            types.len(),
            group.types.len()
        )));
    }
    check_buckets(table, group.sequence.len())?;
    let names = table.distribution.columns.iter().filter_map(|id| table.schema.index_of(*id));
    let mut columns = names.zip(types).zip(&group.types);
    if let Some(((index, has), should)) = columns.find(|((_, has), should)| !hash_alike(has, should)) {
        let name = &table.schema.columns[index].name;
        return Err(Error::Colocate(format!(
            "Colocate tables distribution columns must have the same data type: {name}({has}) should be {should}"
        )));
    }
    if table.replication != group.replication {
        return Err(Error::Colocate(format!(
            "Colocate tables must have same replication num: {} should be {}",
            table.replication, group.replication
        )));
    }
    Ok(())
}

/// Whether equal values of both types have the same bucket. Text has at any length.
fn hash_alike(one: &DataType, other: &DataType) -> bool {
    one == other || one.is_text() && other.is_text()
}
