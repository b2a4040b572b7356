//! Statements about nodes and replicas.

use super::{err, ok};
use crate::{AlterSystem, Statement};

/// The statement without positions.
fn altered(sql: &str) -> AlterSystem {
    match ok(sql) {
        Statement::AlterSystem(alter) => alter,
        other => panic!("{sql}: {other:?}"),
    }
}

fn addresses(alter: &AlterSystem) -> Vec<&str> {
    match alter {
        AlterSystem::Decommission { nodes } | AlterSystem::CancelDecommission { nodes } => {
            nodes.iter().map(|node| node.address.as_str()).collect()
        }
        AlterSystem::Modify { node, .. } => vec![&node.address],
    }
}

#[test]
fn nodes_are_decommissioned_by_their_addresses() {
    let one = altered("ALTER SYSTEM DECOMMISSION BACKEND \"a:1\"");
    assert!(matches!(one, AlterSystem::Decommission { .. }));
    assert_eq!(addresses(&one), ["a:1"]);
    let two = altered("alter system decommission storage node 'a:1', \"b:2\"");
    assert_eq!(addresses(&two), ["a:1", "b:2"]);
    let cancel = altered("CANCEL DECOMMISSION BACKEND \"a:1\"");
    assert!(matches!(cancel, AlterSystem::CancelDecommission { .. }));
    assert_eq!(addresses(&cancel), ["a:1"]);
}

#[test]
fn a_node_has_a_location() {
    let modify = altered("ALTER SYSTEM MODIFY BACKEND \"a:1\" SET (\"labels.location\" = \"rack:r1\")");
    let AlterSystem::Modify { node, properties } = modify else { panic!("{modify:?}") };
    assert_eq!((node.address.as_str(), node.at.column), ("a:1", 29));
    assert_eq!((properties[0].name.as_str(), properties[0].value.as_str()), ("labels.location", "rack:r1"));
}

#[test]
fn replicas_are_shown_by_their_status() {
    let shown = |sql: &str| match ok(sql) {
        Statement::ShowReplicaStatus(show) => show,
        other => panic!("{sql}: {other:?}"),
    };
    let all = shown("ADMIN SHOW REPLICA STATUS FROM d.t");
    assert!(all.partitions.is_empty() && all.status.is_none());
    let some = shown("admin show replica status from t partition (p1, p2) where status != 'OK'");
    assert_eq!((some.partitions.len(), some.status), (2, Some(("OK".to_owned(), false))));
    assert_eq!(
        shown("ADMIN SHOW REPLICA STATUS FROM t WHERE STATUS = \"DEAD\"").status,
        Some(("DEAD".to_owned(), true))
    );
}

#[test]
fn groups_are_shown_by_either_statement() {
    assert_eq!(ok("SHOW COLOCATION GROUPS"), Statement::ShowColocationGroups);
    assert!(
        matches!(ok("SHOW PROC '/colocation_group'"), Statement::ShowProc { path, .. } if path == "/colocation_group")
    );
}

#[test]
fn what_is_missing_is_told() {
    for (sql, message) in [
        ("ALTER SYSTEM", "expected DECOMMISSION or MODIFY"),
        ("ALTER SYSTEM DECOMMISSION \"a:1\"", "expected STORAGE NODE or BACKEND"),
        ("ALTER SYSTEM DECOMMISSION BACKEND a", "expected a storage node's \"host:port\""),
        ("ALTER SYSTEM DROP BACKEND \"a:1\"", "nodes join when they start"),
        ("ADMIN SET REPLICA STATUS", "expected SHOW REPLICA STATUS"),
        ("ADMIN SHOW REPLICA STATUS FROM t WHERE STATUS OK", "expected ="),
        ("SHOW PROC", "expected a path in quotes"),
    ] {
        let found = err(sql);
        assert!(found.contains(message), "{sql}: {found}");
    }
}
