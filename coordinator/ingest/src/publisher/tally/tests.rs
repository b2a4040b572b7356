use tarn_catalog::Tablet;
use tarn_proto::storage::PublishTablet;
use tarn_proto::{ErrorKind, SchemaVersion, TableModel, TableSchema};

use super::*;

const A: NodeId = NodeId(1001);
const B: NodeId = NodeId(1002);
const C: NodeId = NodeId(1003);
const D: NodeId = NodeId(1004);
const TABLET: TabletId = TabletId(7);
const VERSION: Version = Version(5);

const CURRENT: ReplicaState = ReplicaState::Current;
const BEHIND: ReplicaState = ReplicaState::Behind;
const JOINING: ReplicaState = ReplicaState::Joining { replaces: None };

fn plan(replicas: &[(NodeId, ReplicaState)]) -> Plan {
    let mut tablet = Tablet::new(TABLET, []);
    tablet.replicas = replicas.iter().map(|&(node, state)| Replica { node, state }).collect();
    let publish = PublishTablet { tablet: TABLET, version: VERSION, has_rowset: true };
    let peer = |node: NodeId| Peer { node, address: format!("{node}:1") };
    let planned = Planned { version: VERSION, quorum: tablet.quorum(), replicas: tablet.replicas.clone() };
    let schema = TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: Vec::new(),
        sort_key: Vec::new(),
        indexes: Vec::new(),
    };
    Plan {
        table: "t".to_owned(),
        schema: Some(schema),
        tablets: [(TABLET, planned)].into(),
        nodes: tablet.nodes().map(|node| (node, vec![publish])).collect(),
        peers: tablet.nodes().map(|node| (node, peer(node))).collect(),
    }
}

fn lacks(damaged: bool) -> Result<Vec<Unpublished>, StoreError> {
    Ok(vec![Unpublished { tablet: TABLET, damaged, reason: "it is at v3".to_owned() }])
}

fn away() -> Result<Vec<Unpublished>, StoreError> {
    Err(StoreError { kind: ErrorKind::Unavailable, address: "x:1".to_owned(), message: "away".to_owned() })
}

#[test]
fn a_quorum_of_members_makes_a_version_visible_and_leaves_the_rest_behind() {
    let plan = plan(&[(A, CURRENT), (B, CURRENT), (C, CURRENT), (D, JOINING)]);
    let mut tally = Tally::new(&plan);
    tally.take(A, Ok(vec![]));
    tally.take(D, Ok(vec![]));
    assert!(tally.short().is_some(), "one that joins does not vote");
    tally.take(C, Ok(vec![]));
    assert!(tally.short().is_none());
    tally.take(B, away());
    assert_eq!(tally.changed(), [(TABLET, B, false), (TABLET, D, true)]);
}

#[test]
fn one_that_was_behind_and_has_the_version_is_current_again() {
    let plan = plan(&[(A, CURRENT), (B, BEHIND), (C, BEHIND), (D, JOINING)]);
    let mut tally = Tally::new(&plan);
    tally.take(A, Ok(vec![]));
    tally.take(B, Ok(vec![]));
    tally.take(C, lacks(false));
    tally.take(D, lacks(false));
    assert!(tally.short().is_none());
    assert_eq!(tally.changed(), [(TABLET, B, true)]);
}

#[test]
fn a_damaged_replica_stays_what_it_is() {
    let plan = plan(&[(A, CURRENT), (B, CURRENT), (C, BEHIND)]);
    let mut tally = Tally::new(&plan);
    tally.take(A, Ok(vec![]));
    tally.take(C, lacks(true));
    assert!(tally.short().is_some(), "it cannot be read");
    tally.take(B, lacks(true));
    assert!(tally.short().is_none(), "repairing it must not stop loads");
    assert!(tally.changed().is_empty());
}

#[test]
fn laggards_catch_up_from_those_that_have_the_version_or_else_have_the_one_before() {
    let plan = plan(&[(A, CURRENT), (B, CURRENT), (C, BEHIND), (D, JOINING)]);
    let asked = |tally: &Tally<'_>| -> Vec<(NodeId, Version, Vec<NodeId>)> {
        let nodes = |replica: &CatchUp| replica.sources.iter().map(|peer| peer.node).collect();
        let told =
            tally.laggards().into_iter().flat_map(|(node, replicas)| replicas.into_iter().map(move |r| (node, r)));
        told.map(|(node, replica)| (node, replica.version, nodes(&replica))).collect()
    };
    // B lacks the rows, and C, which has them, the versions before; A, which has both, is away.
    let mut tally = Tally::new(&plan);
    tally.take(A, away());
    tally.take(B, lacks(false));
    tally.take(C, lacks(false));
    assert_eq!(asked(&tally), [(C, Version(4), vec![B])]);
    // Once C has the version, the others fetch it there.
    let mut tally = Tally::new(&plan);
    tally.take(B, lacks(false));
    tally.take(C, Ok(vec![]));
    tally.take(D, lacks(false));
    assert_eq!(asked(&tally), [(B, VERSION, vec![C]), (D, VERSION, vec![C])]);
}
