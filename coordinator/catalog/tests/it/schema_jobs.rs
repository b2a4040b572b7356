//! Changes of columns that take time, with storage nodes that are played: no load that was committed is lost or there twice,
//! whatever comes between.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tarn_catalog::command::{Alteration, Filled, JobStep, PartitionSpec};
use tarn_catalog::*;
use tarn_proto::*;

use crate::schema::alter;
use crate::support::{Tested, by_day, days, placement};

fn sorted_by_name() -> Vec<Alteration> {
    vec![Alteration::SetSortKey { columns: vec![ColumnId(3)] }]
}

fn table(tested: &Tested, id: TableId) -> Table {
    Table::clone(tested.catalog.table_by_id(id).unwrap())
}

fn step(tested: &mut Tested, id: TableId, step: JobStep) -> Response {
    let job = table(tested, id).job.expect("a job").id;
    tested.run(Operation::StepSchemaJob { table: id, job, step })
}

/// What a storage node would say of the tablets of a job that are all there.
fn all_filled(table: &Table) -> Vec<Filled> {
    let rewrite = table.job.as_ref().unwrap().rewrite().unwrap();
    let of = |partition: &Partition| {
        let version = partition.visible_version;
        let shadows = rewrite.shadows.get(&partition.id).into_iter().flatten();
        let filled = |t: &Tablet| Filled { tablet: t.id, version, nodes: t.nodes().collect(), rows: 1, bytes: 2 };
        shadows.map(filled).collect::<Vec<_>>()
    };
    table.all_partitions().flat_map(|partition| of(partition)).collect()
}

fn started() -> (Tested, DatabaseId, TableId) {
    let (mut tested, database) = Tested::new();
    let id = tested.create(database, by_day("t", vec![days("p", 0, 1), days("q", 1, 2)]));
    assert_eq!(alter(&mut tested, id, sorted_by_name()), Response::Done);
    (tested, database, id)
}

#[test]
fn a_job_leaves_the_table_as_it_is_until_its_end() {
    let (mut tested, _, id) = started();
    let before = table(&tested, id);
    let job = before.job.clone().unwrap();
    assert_eq!((before.schema.version, job.state(&before)), (SchemaVersion(1), "PENDING"));
    assert!(before.lacks_shadows());
    assert_eq!(step(&mut tested, id, JobStep::Prepare), Response::Done);
    let prepared = table(&tested, id);
    assert!(!prepared.lacks_shadows());
    assert_eq!(prepared.partitions, before.partitions);
    assert_eq!(step(&mut tested, id, JobStep::Prepare), Response::Done);
    assert_eq!(table(&tested, id), prepared, "there is nothing left to prepare");
    assert_eq!(step(&mut tested, id, JobStep::Progress { done: 1, all: 4 }), Response::Done);
    assert_eq!(table(&tested, id).job.unwrap().state(&prepared), "RUNNING");
    let filled = all_filled(&table(&tested, id));
    tested.now_ms = 9;
    assert_eq!(step(&mut tested, id, JobStep::Finish { filled }), Response::Done);
    let after = table(&tested, id);
    assert_eq!((after.schema.version, &after.schema.sort_key), (SchemaVersion(2), &vec![ColumnId(3)]));
    assert!(after.job.is_none() && after.swapped.is_none() && after.explicit_sort_key);
    assert_eq!(after.history.changes.last().unwrap().at_ms, 9);
    let old: BTreeSet<TabletId> = before.tablets().map(|(_, _, tablet)| tablet.id).collect();
    assert!(after.tablets().all(|(_, _, tablet)| !old.contains(&tablet.id) && tablet.rows == 1));
    assert!(old.iter().all(|tablet| tested.catalog.dropped_tablets.contains_key(tablet)));
    assert_eq!(Catalog::decode(&tested.catalog.encode()).unwrap(), tested.catalog);
}

#[test]
fn a_table_has_one_change_at_a_time_which_can_be_cancelled() {
    let (mut tested, database, id) = started();
    for alterations in [sorted_by_name(), vec![Alteration::SetComment { comment: "c".to_owned() }]] {
        let Response::Refused(refused) = alter(&mut tested, id, alterations) else { panic!("a second job") };
        assert!(
            refused.to_string().starts_with("A schema change operation is in progress on the table `t`"),
            "{refused}"
        );
    }
    step(&mut tested, id, JobStep::Prepare);
    let prepared = table(&tested, id);
    let reason = "user cancelled".to_owned();
    assert_eq!(step(&mut tested, id, JobStep::Cancel { reason: reason.clone() }), Response::Done);
    let after = table(&tested, id);
    assert_eq!((&after.partitions, &after.schema), (&prepared.partitions, &prepared.schema));
    let change = after.history.changes.last().unwrap();
    assert_eq!((change.cancelled.as_ref(), change.version), (Some(&reason), SchemaVersion(2)));
    for shadow in prepared.job.unwrap().rewrite().unwrap().shadows.values().flatten() {
        assert!(tested.catalog.dropped_tablets.contains_key(&shadow.id));
    }
    // Steps of a job that is over come too late.
    let late = Operation::StepSchemaJob { table: id, job: change.id, step: JobStep::Prepare };
    assert_eq!(tested.refuse(late), Error::SchemaJobGone { table: "t".to_owned() });
    assert_eq!(alter(&mut tested, id, sorted_by_name()), Response::Done);
    step(&mut tested, id, JobStep::Prepare);
    // A table that is dropped takes the tablets of its job along.
    let shadows: Vec<TabletId> = {
        let table = table(&tested, id);
        table.job.unwrap().rewrite().unwrap().shadows.values().flatten().map(|tablet| tablet.id).collect()
    };
    tested.run(crate::support::drop_table(database, "t"));
    assert!(shadows.iter().all(|tablet| tested.catalog.dropped_tablets.contains_key(tablet)));
}

#[test]
fn indexes_that_are_taken_back_are_of_columns_that_are_there() {
    let (mut tested, database) = Tested::new();
    let mut spec = by_day("t", vec![days("p", 0, 1)]);
    let index = |name: &str, column| Index {
        name: name.to_owned(),
        column: ColumnId(column),
        kind: IndexKind::Bitmap,
        comment: String::new(),
    };
    spec.schema.indexes = vec![index("old", 3)];
    let id = tested.create(database, spec);
    let alterations =
        vec![Alteration::AddIndex { index: index("new", 1) }, Alteration::DropColumn { column: ColumnId(3) }];
    assert_eq!(alter(&mut tested, id, alterations), Response::Done);
    assert_eq!(table(&tested, id).schema.indexes, [index("new", 1)]);
    assert_eq!(step(&mut tested, id, JobStep::Cancel { reason: "test".to_owned() }), Response::Done);
    assert_eq!(table(&tested, id).schema.indexes, []);
}

#[test]
fn a_job_does_not_end_before_all_is_there() {
    let (mut tested, database, id) = started();
    let told = |tested: &mut Tested, filled: Vec<Filled>| match step(tested, id, JobStep::Finish { filled }) {
        Response::Refused(error) => {
            assert!(error.kind().is_retryable(), "{error}");
            error.to_string()
        }
        other => panic!("it has ended: {other:?}"),
    };
    assert!(told(&mut tested, Vec::new()).contains("has no tablets to be filled"));
    step(&mut tested, id, JobStep::Prepare);
    assert!(told(&mut tested, Vec::new()).contains("has nothing at"));
    let mut few = all_filled(&table(&tested, id));
    few[0].nodes.clear();
    assert!(told(&mut tested, few).contains("filled on too few nodes"));
    let mut old = all_filled(&table(&tested, id));
    old[1].version = Version(9);
    assert!(told(&mut tested, old).contains("has nothing at"));
    let txn = tested.begin(database, "l", id);
    let tablet = table(&tested, id).tablets().next().unwrap().2.id;
    tested.commit(txn, vec![crate::support::write(tablet)]);
    let filled = all_filled(&table(&tested, id));
    assert!(told(&mut tested, filled).contains("is committed and not visible yet"));
    tested.run(Operation::MakeVisible { txn, changed: Vec::new() });
    // A partition that was added meanwhile is to be filled, too.
    let partitions = vec![days("r", 5, 6)];
    tested.run(Operation::AddPartitions { table: id, partitions, fail_if_exists: true, placement: placement() });
    let filled = all_filled(&table(&tested, id));
    assert!(told(&mut tested, filled).contains("partition `r` has no tablets to be filled"));
    step(&mut tested, id, JobStep::Prepare);
    let filled = all_filled(&table(&tested, id));
    assert_eq!(step(&mut tested, id, JobStep::Finish { filled }), Response::Done);
}

#[test]
fn loads_wait_while_a_table_is_frozen_and_convert_what_they_wrote_before() {
    let (mut tested, database, id) = started();
    let txn = tested.begin(database, "l", id);
    let old = table(&tested, id).tablets().next().unwrap().2.id;
    let planned = table(&tested, id).schema;
    step(&mut tested, id, JobStep::Prepare);
    step(&mut tested, id, JobStep::Freeze);
    let commit = |tablet| Operation::CommitTransaction { txn, writes: vec![crate::support::write(tablet)] };
    assert!(matches!(tested.refuse(commit(old)), Error::TableFrozen { .. }));
    let filled = all_filled(&table(&tested, id));
    assert_eq!(step(&mut tested, id, JobStep::Finish { filled }), Response::Done);
    let now = std::sync::Arc::new(table(&tested, id));
    assert!(!now.is_frozen());
    assert!(matches!(tested.refuse(commit(old)), Error::TabletsSwapped { .. }));
    assert_eq!(tested.catalog.tablet(old).unwrap().1.id, old, "its rows are still there");
    assert!(now.as_planned(&planned, txn).tablets().any(|(_, _, tablet)| tablet.id == old));
    assert!(now.as_planned(&planned, TxnId(u64::MAX)).tablets().all(|(_, _, tablet)| tablet.id != old));
    let successor = now.successor(old).unwrap().id;
    let early = Operation::ReleaseSwapped { table: id };
    assert!(matches!(tested.refuse(early.clone()), Error::SchemaJobNotReady { .. }));
    // Another change waits for it.
    alter(&mut tested, id, vec![Alteration::SetSortKey { columns: vec![ColumnId(2)] }]);
    step(&mut tested, id, JobStep::Prepare);
    step(&mut tested, id, JobStep::Progress { done: 4, all: 4 });
    let waiting = table(&tested, id);
    assert_eq!(waiting.job.as_ref().unwrap().state(&waiting), "WAITING_TXN");
    let filled = all_filled(&waiting);
    assert!(matches!(
        step(&mut tested, id, JobStep::Finish { filled }),
        Response::Refused(Error::SchemaJobNotReady { .. })
    ));
    tested.run(commit(successor));
    tested.run(Operation::MakeVisible { txn, changed: Vec::new() });
    assert_eq!(tested.run(early), Response::Done);
    assert!(tested.catalog.tablet(old).is_none() && tested.catalog.dropped_tablets.contains_key(&old));
    let filled = all_filled(&table(&tested, id));
    assert_eq!(step(&mut tested, id, JobStep::Finish { filled }), Response::Done);
}

/// The schema that a job leads to, of a table of this model with the key `day, id` and the value `name`.
fn led_to(model: TableModel, aggregation: Option<Aggregation>, alteration: Alteration) -> Result<TableSchema, String> {
    let (mut tested, database) = Tested::new();
    let mut spec = crate::support::whole("t");
    spec.schema.model = model;
    spec.schema.columns[2].aggregation = aggregation;
    let id = tested.create(database, spec);
    match alter(&mut tested, id, vec![alteration]) {
        Response::Refused(error) => Err(error.to_string()),
        Response::Done => {
            let table = table(&tested, id);
            let job = table.job.ok_or("it was made at once")?;
            Ok(job.rewrite().expect("rows are written anew").to.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_rows_are_arranged_by_changes_as_the_model_allows() {
    use TableModel::{Aggregate, Duplicate, PrimaryKey, Unique};
    let column = |key, place| Alteration::AddColumns {
        columns: vec![command::NewColumn {
            name: "x".to_owned(),
            data_type: DataType::Int,
            nullable: true,
            key,
            aggregation: None,
            initial: None,
            info: ColumnInfo::default(),
        }],
        place,
    };
    let modify = |id: u32, data_type, nullable| Alteration::ModifyColumn {
        column: ColumnId(id),
        data_type,
        nullable,
        info: ColumnInfo::default(),
        place: None,
    };
    let ids = |ids: &[u32]| ids.iter().map(|id| ColumnId(*id)).collect::<Vec<_>>();
    let models = [
        (Duplicate, None),
        (Aggregate, Some(Aggregation::Max)),
        (Unique, Some(Aggregation::Replace)),
        (PrimaryKey, None),
    ];
    for (model, aggregation) in models {
        let led = |alteration| led_to(model, aggregation, alteration);
        let keyed = model == PrimaryKey;
        for (place, keys) in [
            (command::Place::First, [4, 1, 2]),
            (command::Place::After(ColumnId(1)), [1, 4, 2]),
            (command::Place::Last, [1, 2, 4]),
        ] {
            match led(column(true, place)) {
                Ok(schema) => {
                    assert_eq!((&schema.keys, &schema.sort_key), (&ids(&keys), &ids(&keys)));
                    assert_eq!(
                        schema.columns.iter().map(|c| c.id).collect::<Vec<_>>(),
                        [&ids(&keys)[..], &ids(&[3])].concat()
                    );
                }
                Err(told) => assert!(keyed && told.contains("the key of a PRIMARY KEY table stays as it is"), "{told}"),
            }
        }
        match led(Alteration::DropColumn { column: ColumnId(1) }) {
            Ok(schema) => assert_eq!((schema.keys, schema.sort_key), (ids(&[2]), ids(&[2]))),
            Err(told) => assert!(matches!(model, Unique | PrimaryKey), "{told}"),
        }
        match led(Alteration::OrderColumns { columns: ids(&[2, 1, 3]) }) {
            Ok(schema) => assert_eq!((schema.keys, schema.sort_key), (ids(&[2, 1]), ids(&[2, 1]))),
            Err(told) => assert!(keyed && told.contains("key columns stay in front and in their order"), "{told}"),
        }
        let sorted = led(Alteration::SetSortKey { columns: ids(&[2, 1]) }).unwrap();
        assert_eq!((sorted.keys, sorted.sort_key), (ids(&[1, 2]), ids(&[2, 1])));
        match led(Alteration::SetSortKey { columns: ids(&[3]) }) {
            Ok(schema) => assert_eq!(schema.sort_key, ids(&[3])),
            Err(told) => assert!(model.merges_on_read() && told.contains("is no key column"), "{told}"),
        }
        match led(modify(3, DataType::BigInt, true)) {
            Ok(schema) => assert_eq!(schema.columns[2].data_type, DataType::BigInt),
            Err(told) => assert!(model == Aggregate && told.contains("a MAX of string"), "{told}"),
        }
        match led(modify(3, DataType::String, false)) {
            Ok(schema) => assert!(!schema.columns[2].nullable),
            Err(told) => assert!(model == Aggregate && told.contains("cannot become NOT NULL"), "{told}"),
        }
        match led(modify(1, DataType::DateTime, false)) {
            Ok(schema) => assert_eq!(schema.columns[0].data_type, DataType::DateTime),
            Err(told) => assert!(keyed && told.contains("is a primary key column"), "{told}"),
        }
    }
    let replaced = led_to(Aggregate, Some(Aggregation::Replace), Alteration::DropColumn { column: ColumnId(1) });
    assert!(replaced.unwrap_err().contains("which of its values would be the last is not known"));
    let floats = led_to(Duplicate, None, Alteration::SetSortKey { columns: ids(&[9]) });
    assert!(floats.unwrap_err().contains("does not exist"));
}

/// Storage nodes: what each tablet holds, as the transactions that brought it, by version; and what waits to be published.
#[derive(Default)]
struct Nodes {
    published: BTreeMap<TabletId, Vec<(Version, TxnId)>>,
    pending: BTreeSet<(TabletId, TxnId)>,
}

/// A load under way: what it wrote, under the schema that it was planned with.
struct Load {
    txn: TxnId,
    planned: TableSchema,
    writes: Vec<TabletId>,
}

#[derive(Clone, Debug)]
enum Event {
    Begin,
    Write {
        load: usize,
        tablet: usize,
    },
    Commit(usize),
    Abort(usize),
    Publish,
    Alter(bool),
    Prepare,
    /// Fills the tablet that many-th of the job.
    Fill(usize),
    FillAll,
    Freeze(bool),
    Finish,
    Cancel,
    Release,
    Add(i32),
    Truncate,
    Drop,
    /// A coordinator that has started anew has the catalog from its bytes.
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = 0usize..6;
    prop::collection::vec(
        prop_oneof![
            4 => Just(Event::Begin),
            8 => (at.clone(), 0usize..12).prop_map(|(load, tablet)| Event::Write { load, tablet }),
            5 => at.clone().prop_map(Event::Commit),
            1 => at.clone().prop_map(Event::Abort),
            5 => Just(Event::Publish),
            3 => any::<bool>().prop_map(Event::Alter),
            4 => Just(Event::Prepare),
            2 => (0usize..12).prop_map(Event::Fill),
            4 => Just(Event::FillAll),
            2 => any::<bool>().prop_map(Event::Freeze),
            5 => Just(Event::Finish),
            1 => Just(Event::Cancel),
            2 => Just(Event::Release),
            1 => (2i32..9).prop_map(Event::Add),
            1 => Just(Event::Truncate),
            1 => Just(Event::Drop),
            1 => Just(Event::Restart),
        ],
        1..90,
    )
}

struct World {
    tested: Tested,
    database: DatabaseId,
    table: TableId,
    nodes: Nodes,
    loads: Vec<Load>,
    /// What each partition must hold: the transactions that were committed in it.
    expected: BTreeMap<PartitionId, BTreeSet<TxnId>>,
    labels: usize,
    finished: usize,
}

impl World {
    fn now(&self) -> std::sync::Arc<Table> {
        self.tested.catalog.table_by_id(self.table).unwrap().clone()
    }

    /// Fills a shadow with what its base holds up to the visible version.
    fn fill(&mut self, number: usize) {
        let now = self.now();
        let Some(rewrite) = now.job.as_ref().and_then(|job| job.rewrite()) else { return };
        let pairs: Vec<_> = now
            .all_partitions()
            .flat_map(|partition| {
                let shadows = rewrite.shadows.get(&partition.id).into_iter().flatten();
                let visible = partition.visible_version;
                partition.tablets.iter().zip(shadows).map(move |(base, shadow)| (base.id, shadow.id, visible))
            })
            .collect();
        let Some((base, shadow, visible)) = pairs.get(number) else { return };
        let base = self.nodes.published.get(base).cloned().unwrap_or_default();
        let held = base.into_iter().filter(|(version, _)| version <= visible).collect();
        self.nodes.published.insert(*shadow, held);
    }

    /// What nodes say of the tablets of the job: those that hold all that is visible.
    fn filled(&self) -> Vec<Filled> {
        let now = self.now();
        let mut filled = all_filled(&now);
        for (partition, shadows) in &now.job.as_ref().unwrap().rewrite().unwrap().shadows {
            let Some(partition) = now.partition_by_id(*partition) else { continue };
            for (base, shadow) in partition.tablets.iter().zip(shadows) {
                let content = |tablet| self.nodes.published.get(tablet).cloned().unwrap_or_default();
                let mut wanted = content(&base.id);
                wanted.retain(|(version, _)| *version <= partition.visible_version);
                if content(&shadow.id) != wanted
                    && let Some(told) = filled.iter_mut().find(|told| told.tablet == shadow.id)
                {
                    told.nodes.clear();
                }
            }
        }
        filled
    }

    fn commit(&mut self, load: usize) {
        if self.loads.is_empty() {
            return;
        }
        let load = load % self.loads.len();
        let txn = self.loads[load].txn;
        let now = self.now();
        // As the coordinator does: what was written to tablets that are gone is converted first.
        let mut gone = false;
        let writes: BTreeSet<TabletId> = self.loads[load]
            .writes
            .iter()
            .map(|tablet| match now.swapped.as_ref().and_then(|swapped| swapped.place(*tablet)) {
                None => *tablet,
                Some(_) => match now.successor(*tablet) {
                    Some(successor) => {
                        assert!(self.nodes.pending.contains(&(*tablet, txn)), "its rows are still on the node");
                        self.nodes.pending.insert((successor.id, txn));
                        successor.id
                    }
                    None => {
                        gone = true;
                        *tablet
                    }
                },
            })
            .collect();
        let written = writes.iter().map(|tablet| crate::support::write(*tablet)).collect();
        match self.tested.run(Operation::CommitTransaction { txn, writes: written }) {
            Response::Committed { versions } => {
                assert!(!now.is_frozen() && !gone);
                for partition in versions.keys() {
                    self.expected.entry(*partition).or_default().insert(txn);
                }
                self.loads.remove(load);
            }
            Response::Refused(Error::TableFrozen { .. }) => assert!(now.is_frozen()),
            Response::Refused(Error::TabletGone { .. }) => {
                self.loads.remove(load);
                let reason = "its partition is gone".to_owned();
                assert_eq!(self.tested.run(Operation::AbortTransaction { txn, reason }), Response::Done);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Publishes what can be, as the publisher does.
    fn publish(&mut self) {
        let ready = self.tested.catalog.committed_transactions().find(|txn| match &txn.state {
            TransactionState::Committed { versions, .. } => versions.iter().all(|(id, version)| {
                self.now().partition_by_id(*id).is_none_or(|partition| partition.visible_version.next() == *version)
            }),
            _ => false,
        });
        let Some(txn) = ready.cloned() else { return };
        let TransactionState::Committed { writes, versions, .. } = &txn.state else { return };
        for (id, version) in versions {
            let Some(partition) = self.now().partition_by_id(*id).cloned() else { continue };
            for tablet in &partition.tablets {
                if writes.iter().any(|write| write.tablet == tablet.id) {
                    assert!(self.nodes.pending.remove(&(tablet.id, txn.id)), "a node has no rows of {}", txn.id);
                    self.nodes.published.entry(tablet.id).or_default().push((*version, txn.id));
                }
            }
        }
        assert_eq!(self.tested.run(Operation::MakeVisible { txn: txn.id, changed: Vec::new() }), Response::Done);
    }

    fn happen(&mut self, event: &Event) {
        let id = self.table;
        let job = self.now().job.clone();
        match event {
            Event::Begin => {
                self.labels += 1;
                let planned = self.now().schema.clone();
                let txn = self.tested.begin(self.database, &format!("l{}", self.labels), id);
                self.loads.push(Load { txn, planned, writes: Vec::new() });
            }
            Event::Write { load, tablet } => {
                let now = self.now();
                let count = self.loads.len();
                let Some(load) = self.loads.get_mut(load % count.max(1)) else { return };
                // The sink's view of the table, and the node's that converts what comes late.
                let seen = now.as_planned(&load.planned, load.txn);
                let tablets: Vec<TabletId> = seen.tablets().map(|(_, _, tablet)| tablet.id).collect();
                let Some(tablet) = tablets.get(tablet % tablets.len().max(1)) else { return };
                if !load.writes.contains(tablet) {
                    load.writes.push(*tablet);
                    self.nodes.pending.insert((*tablet, load.txn));
                }
            }
            Event::Commit(load) => self.commit(*load),
            Event::Abort(load) if !self.loads.is_empty() => {
                let load = self.loads.remove(load % self.loads.len());
                let reason = "test".to_owned();
                assert_eq!(self.tested.run(Operation::AbortTransaction { txn: load.txn, reason }), Response::Done);
            }
            Event::Abort(_) => {}
            Event::Publish => self.publish(),
            Event::Alter(by_name) => {
                let column = ColumnId(if *by_name { 3 } else { 2 });
                drop(alter(&mut self.tested, id, vec![Alteration::SetSortKey { columns: vec![column] }]));
            }
            Event::Fill(number) => self.fill(*number),
            Event::FillAll => (0..64).for_each(|number| self.fill(number)),
            Event::Release => drop(self.tested.run(Operation::ReleaseSwapped { table: id })),
            Event::Add(day) => {
                let partitions: Vec<PartitionSpec> = vec![days(&format!("d{day}"), *day, day + 1)];
                let add =
                    Operation::AddPartitions { table: id, partitions, fail_if_exists: false, placement: placement() };
                drop(self.tested.run(add));
            }
            Event::Truncate => {
                let partitions = vec!["p".to_owned()];
                drop(self.tested.run(Operation::TruncateTable { table: id, partitions, placement: placement() }));
            }
            Event::Drop => {
                let name = "q".to_owned();
                drop(self.tested.run(Operation::DropPartitions {
                    table: id,
                    names: vec![name],
                    temporary: false,
                    if_exists: true,
                }));
            }
            Event::Restart => self.tested.catalog = Catalog::decode(&self.tested.catalog.encode()).unwrap(),
            Event::Prepare | Event::Freeze(_) | Event::Finish | Event::Cancel if job.is_none() => {}
            Event::Prepare => drop(step(&mut self.tested, id, JobStep::Prepare)),
            Event::Freeze(true) => drop(step(&mut self.tested, id, JobStep::Freeze)),
            Event::Freeze(false) => drop(step(&mut self.tested, id, JobStep::Thaw)),
            Event::Cancel => drop(step(&mut self.tested, id, JobStep::Cancel { reason: "test".to_owned() })),
            Event::Finish => {
                let filled = self.filled();
                if step(&mut self.tested, id, JobStep::Finish { filled }) == Response::Done {
                    self.finished += 1;
                }
            }
        }
    }

    /// Every partition shows each transaction that was committed in it, once for each tablet that it wrote, and no other.
    fn check(&self) {
        for partition in self.now().partitions.values() {
            let mut shown = BTreeSet::new();
            for tablet in &partition.tablets {
                let mut of_tablet = BTreeSet::new();
                for (version, txn) in self.nodes.published.get(&tablet.id).into_iter().flatten() {
                    assert!(*version <= partition.visible_version);
                    assert!(of_tablet.insert(*txn), "{txn} is in {} twice", tablet.id);
                }
                shown.extend(of_tablet);
            }
            assert_eq!(&shown, self.expected.get(&partition.id).unwrap_or(&BTreeSet::new()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_committed_load_is_lost_or_doubled_by_a_job(events in events()) {
        let (mut tested, database) = Tested::new();
        let table = tested.create(database, by_day("t", vec![days("p", 0, 1), days("q", 1, 2)]));
        let (nodes, loads, expected) = (Nodes::default(), Vec::new(), BTreeMap::new());
        let mut world = World { tested, database, table, nodes, loads, expected, labels: 0, finished: 0 };
        for event in &events {
            world.happen(event);
        }
        // To the end: whatever is left goes through.
        if world.now().job.is_some() {
            world.happen(&Event::Freeze(false));
        }
        for round in 0..4 {
            while world.tested.catalog.committed.front().is_some() {
                world.publish();
            }
            world.check();
            if round == 0 {
                while !world.loads.is_empty() {
                    world.commit(0);
                }
            }
            world.happen(&Event::Release);
            if round == 1 {
                world.happen(&Event::Alter(true));
            }
            for event in [Event::Prepare, Event::FillAll, Event::Finish] {
                world.happen(&event);
            }
        }
        prop_assert!(world.now().job.is_none() && world.now().swapped.is_none(), "it has ended");
        world.check();
    }
}
