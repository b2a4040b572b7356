//! What is true of every catalog, and of every step from one to the next.

use std::collections::{BTreeMap, BTreeSet};

use tarn_catalog::*;
use tarn_proto::*;

pub fn check(catalog: &Catalog) {
    tablets_of_jobs_are_their_own(catalog);
    names_and_ids_agree(catalog);
    tablets_and_owners_agree(catalog);
    groups_have_tables(catalog);
    partitions_are_disjoint(catalog);
    shadows_are_of_transactions(catalog);
    versions_are_those_of_transactions(catalog);
    labels_name_transactions(catalog);
    let order: BTreeSet<_> = catalog.request_order.iter().collect();
    assert_eq!(order, catalog.requests.keys().collect());
    assert_eq!(order.len(), catalog.request_order.len());
    assert!(order.len() <= REMEMBERED_REQUESTS);
}

/// `response` led from `before` to `after`.
pub fn check_step(before: &Catalog, after: &Catalog, response: &Response) {
    if matches!(response, Response::Refused(_)) {
        let unchanged =
            Catalog { requests: after.requests.clone(), request_order: after.request_order.clone(), ..before.clone() };
        assert_eq!(&unchanged, after);
    }
    assert!(after.last_id >= before.last_id);
    for old in tables(before) {
        if let Some(new) = after.table_by_id(old.id) {
            // At the end of a job all rows have been written anew.
            columns_go_on(&old.schema, &new.schema, old.job.is_some() && new.job.is_none());
        }
    }
    let later: BTreeMap<_, _> = partitions(after).map(|(_, p)| (p.id, p)).collect();
    for (_, old) in partitions(before) {
        if let Some(new) = later.get(&old.id) {
            assert!(new.visible_version >= old.visible_version && new.committed_version >= old.committed_version);
            let same = |(a, b): (&Tablet, &Tablet)| a.id == b.id;
            assert!(new.rows >= old.rows || !old.tablets.iter().zip(&new.tablets).all(same));
        }
    }
}

/// A column that was not there before has an id above all that were.
fn columns_go_on(before: &TableSchema, after: &TableSchema, anew: bool) {
    assert!(after.version >= before.version);
    if after.version == before.version {
        assert_eq!(after, before);
    }
    let greatest = before.columns.iter().map(|c| c.id).max();
    for column in &after.columns {
        assert!(before.index_of(column.id).is_some() || Some(column.id) > greatest, "{} comes twice", column.id);
    }
    assert_eq!(after.model, before.model);
    if !anew {
        assert_eq!((&after.keys, &after.sort_key), (&before.keys, &before.sort_key));
    }
}

fn tables(catalog: &Catalog) -> impl Iterator<Item = &Table> {
    catalog.relations.values().filter_map(|r| match r {
        Relation::Table(table) => Some(&**table),
        Relation::View(_) => None,
    })
}

fn partitions(catalog: &Catalog) -> impl Iterator<Item = (&Table, &Partition)> {
    tables(catalog).flat_map(|t| t.all_partitions().map(move |p| (t, &**p)))
}

fn names_and_ids_agree(catalog: &Catalog) {
    assert_eq!(catalog.databases.len(), catalog.database_names.len());
    for (name, id) in &catalog.database_names {
        assert_eq!(catalog.databases[id].name, **name);
        assert_eq!(catalog.databases[id].id, *id);
    }
    assert_eq!(catalog.relations.len(), catalog.relation_names.len());
    for ((database, name), id) in &catalog.relation_names {
        let relation = &catalog.relations[id];
        let of = match relation {
            Relation::Table(table) => table.database,
            Relation::View(view) => view.database,
        };
        assert_eq!((relation.name(), relation.id(), of), (&**name, *id, *database));
        assert!(catalog.databases.contains_key(database));
        assert!(id.get() <= catalog.last_id);
    }
    for (id, node) in &catalog.nodes {
        assert_eq!(node.id, *id);
        assert!(node.role == Role::Coordinator || *id > command::MAX_COORDINATOR_ID);
    }
}

fn tablets_and_owners_agree(catalog: &Catalog) {
    let replaced = |t: &Table| t.swapped.iter().flat_map(|s| s.partitions.values()).map(Vec::len).sum::<usize>();
    let held: usize = tables(catalog).map(|t| t.tablets().count() + replaced(t)).sum();
    assert_eq!(held, catalog.tablets.len());
    for id in catalog.tablets.keys() {
        let (owner, tablet) = catalog.tablet(*id).unwrap();
        assert_eq!(tablet.id, *id);
        assert_eq!(catalog.relations[&owner.table].id(), owner.table);
        assert!(!catalog.dropped_tablets.contains_key(id));
        assert!(tablet.nodes().all(|n| catalog.nodes[&n].role == Role::Storage));
        replicas_are_sound(catalog, tablet);
        assert!(id.get() <= catalog.last_id);
    }
}

fn replicas_are_sound(catalog: &Catalog, tablet: &Tablet) {
    let nodes: BTreeSet<_> = tablet.nodes().collect();
    assert_eq!(nodes.len(), tablet.replicas.len(), "two replicas on a node: {tablet:?}");
    assert!(tablet.readable().next().is_some(), "none can be read: {tablet:?}");
    for replica in &tablet.replicas {
        assert!(!catalog.dropped_replicas.contains(&(tablet.id, replica.node)), "{tablet:?}");
        if let ReplicaState::Joining { replaces: Some(old) } = replica.state {
            assert!(tablet.replica(old).is_some_and(Replica::is_member), "{tablet:?}");
        }
    }
}

fn groups_have_tables(catalog: &Catalog) {
    for table in tables(catalog) {
        let Some(group) = table.colocation.map(|group| &catalog.colocation_groups[&group]) else { continue };
        assert_eq!(table.replication, group.replication);
        assert!(table.all_partitions().all(|partition| partition.tablets.len() == group.sequence.len()));
    }
    for (id, group) in &catalog.colocation_groups {
        assert_eq!(group.id, *id);
        assert!(catalog.tables_of_group(*id).next().is_some());
        for nodes in &group.sequence {
            let distinct: BTreeSet<_> = nodes.iter().collect();
            assert!(distinct.len() == nodes.len() && nodes.iter().all(|node| catalog.nodes.contains_key(node)));
        }
    }
}

/// What a job fills is nobody else's, and what one has replaced has a successor.
fn tablets_of_jobs_are_their_own(catalog: &Catalog) {
    let mut seen = BTreeSet::new();
    for table in tables(catalog) {
        for shadow in table.job.iter().filter_map(|job| job.rewrite()).flat_map(|r| r.shadows.values()).flatten() {
            assert!(seen.insert(shadow.id), "{} is there twice", shadow.id);
            assert!(!catalog.tablets.contains_key(&shadow.id) && !catalog.dropped_tablets.contains_key(&shadow.id));
        }
        for (partition, tablets) in table.swapped.iter().flat_map(|swapped| &swapped.partitions) {
            assert_eq!(table.partition_by_id(*partition).unwrap().tablets.len(), tablets.len());
            assert!(tablets.iter().all(|tablet| table.successor(tablet.id).is_some()));
        }
    }
}

fn partitions_are_disjoint(catalog: &Catalog) {
    for table in tables(catalog) {
        let all: Vec<_> = table.partitions.values().collect();
        let temporary: Vec<_> = table.temporary.values().collect();
        for all in [&all, &temporary] {
            for (i, one) in all.iter().enumerate() {
                for other in &all[i + 1..] {
                    assert!(!one.bounds.overlaps(&other.bounds), "{:?} overlaps {:?}", one.bounds, other.bounds);
                }
            }
        }
        let names: BTreeSet<_> = all.iter().chain(&temporary).map(|p| p.name.to_ascii_lowercase()).collect();
        assert_eq!(names.len(), all.len() + temporary.len(), "a name is there twice: {names:?}");
        if table.partitioning == Partitioning::None {
            assert_eq!(all.len(), 1);
        }
    }
}

/// Each shadow waits for one open or committed transaction, and no partition is replaced by two committed ones.
fn shadows_are_of_transactions(catalog: &Catalog) {
    let overwrites = || catalog.transactions.values().filter_map(|txn| Some((txn, txn.overwrite.as_ref()?)));
    let mut expected: BTreeMap<TableId, Vec<PartitionId>> = BTreeMap::new();
    let mut replaced = BTreeSet::new();
    for (txn, overwrite) in overwrites() {
        let committed = matches!(txn.state, TransactionState::Committed { .. });
        assert!(committed || txn.state == TransactionState::Prepare, "{} is {}", txn.id, txn.state.name());
        if catalog.table_by_id(txn.table).is_none() {
            continue;
        }
        for (old, replacement) in &overwrite.replacements {
            expected.entry(txn.table).or_default().push(replacement.with);
            assert!(!committed || replaced.insert(*old), "{old} is replaced twice");
        }
    }
    for table in tables(catalog) {
        let mut shadows = expected.remove(&table.id).unwrap_or_default();
        shadows.sort();
        assert_eq!(shadows, table.shadows.keys().copied().collect::<Vec<_>>());
    }
}

fn versions_are_those_of_transactions(catalog: &Catalog) {
    let mut waiting: BTreeMap<PartitionId, Vec<Version>> = BTreeMap::new();
    for transaction in catalog.committed_transactions() {
        let TransactionState::Committed { versions, .. } = &transaction.state else {
            panic!("{} waits and is {}", transaction.id, transaction.state.name());
        };
        for (partition, version) in versions {
            waiting.entry(*partition).or_default().push(*version);
        }
    }
    let committed =
        catalog.transactions.values().filter(|t| matches!(t.state, TransactionState::Committed { .. })).count();
    assert_eq!(committed, catalog.committed.len());
    for (_, partition) in partitions(catalog) {
        assert!(partition.visible_version <= partition.committed_version);
        let expected: Vec<_> =
            (partition.visible_version.get() + 1..=partition.committed_version.get()).map(Version).collect();
        assert_eq!(waiting.remove(&partition.id).unwrap_or_default(), expected);
        assert_eq!(partition.rows, partition.tablets.iter().map(|t| t.rows).sum::<u64>());
        assert_eq!(partition.bytes, partition.tablets.iter().map(|t| t.bytes).sum::<u64>());
    }
}

fn labels_name_transactions(catalog: &Catalog) {
    for ((database, label), id) in &catalog.labels {
        let transaction = &catalog.transactions[id];
        assert_eq!((transaction.database, &*transaction.label), (*database, &**label));
    }
    for (id, transaction) in &catalog.transactions {
        assert_eq!(transaction.id, *id);
        if !matches!(transaction.state, TransactionState::Aborted { .. }) {
            let named = catalog.transaction_by_label(transaction.database, &transaction.label).unwrap();
            assert_eq!(named.id, *id);
        }
    }
}
