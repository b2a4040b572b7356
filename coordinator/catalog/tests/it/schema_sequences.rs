//! Random changes of columns, against a list of columns.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tarn_catalog::command::{Alteration, JobStep, NewColumn, Place};
use tarn_catalog::*;
use tarn_proto::*;

use crate::schema::alter;
use crate::support::{Tested, whole};

/// A column as a table of rows with names would have it: a place in a list.
#[derive(Clone, Debug, PartialEq)]
struct Naive {
    id: u32,
    name: String,
    width: usize,
    nullable: bool,
}

const WIDTHS: [DataType; 4] = [DataType::TinyInt, DataType::SmallInt, DataType::BigInt, DataType::LargeInt];
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "A", "day"];

#[derive(Clone, Debug)]
enum Step {
    Add { names: Vec<usize>, width: usize, nullable: bool, default: bool, after: Option<usize>, first: bool },
    Drop(usize),
    Rename(usize, usize),
    Modify { column: usize, width: usize, nullable: bool, after: Option<usize> },
    Order(Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = 0usize..8;
    let name = 0..NAMES.len();
    let width = 0..WIDTHS.len();
    let add = (
        prop::collection::vec(name.clone(), 1..3),
        width.clone(),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(at.clone()),
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(
        prop_oneof![
            3 => add.prop_map(|(names, width, nullable, default, after, first)| {
                Step::Add { names, width, nullable, default, after, first }
            }),
            2 => at.clone().prop_map(Step::Drop),
            1 => (at.clone(), name).prop_map(|(column, name)| Step::Rename(column, name)),
            2 => (at.clone(), width, any::<bool>(), prop::option::of(at.clone())).prop_map(
                |(column, width, nullable, after)| Step::Modify { column, width, nullable, after }
            ),
            1 => Just((0..6usize).collect::<Vec<_>>()).prop_shuffle().prop_map(Step::Order),
        ],
        1..40,
    )
}

/// The columns after a step on columns of which the first two are keys and of fixed types, or `None` if it must be
/// refused.
fn naive(columns: &[Naive], step: &Step, next_id: u32) -> Option<Vec<Naive>> {
    let mut columns = columns.to_vec();
    let taken = |columns: &[Naive], name: &str| columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    match step {
        Step::Add { names, width, nullable, default, after, first } => {
            let at = match (first, after) {
                (true, _) => 0,
                (false, Some(after)) => columns.get(*after).map(|_| after + 1)?,
                (false, None) => columns.len(),
            };
            if at < 2 || !(*nullable || *default) {
                return None;
            }
            for ((id, at), name) in (next_id..).zip(at..).zip(names) {
                if taken(&columns, NAMES[*name]) {
                    return None;
                }
                let column = Naive { id, name: NAMES[*name].to_owned(), width: *width, nullable: *nullable };
                columns.insert(at, column);
            }
        }
        Step::Drop(at) => {
            if *at < 2 || *at >= columns.len() {
                return None;
            }
            columns.remove(*at);
        }
        Step::Rename(at, name) => {
            let mut column = columns.get(*at)?.clone();
            let mut others = columns.clone();
            others.remove(*at);
            if taken(&others, NAMES[*name]) {
                return None;
            }
            column.name = NAMES[*name].to_owned();
            columns[*at] = column;
        }
        Step::Modify { column: at, width, nullable, after } => {
            let mut column = columns.get(*at)?.clone();
            if *at < 2 || column.width > *width || column.nullable && !nullable {
                return None;
            }
            (column.width, column.nullable) = (*width, *nullable);
            columns[*at] = column.clone();
            if let Some(after) = after {
                let behind = columns.get(*after)?.id;
                if *after == *at || *after == 0 {
                    return None;
                }
                columns.remove(*at);
                let place = columns.iter().position(|c| c.id == behind)? + 1;
                columns.insert(place, column);
            }
        }
        Step::Order(order) => {
            let all = order.len() == columns.len() && order[..2] == [0, 1];
            columns = all.then(|| order.iter().map(|at| columns[*at].clone()).collect())?;
        }
    }
    Some(columns)
}

/// The step for the catalog. Positions without a column name one that was never there.
fn lowered(columns: &[Naive], step: &Step) -> Alteration {
    let id = |at: usize| ColumnId(columns.get(at).map_or(1000, |c| c.id));
    let place = |after: Option<usize>| after.map_or(Place::Last, |at| Place::After(id(at)));
    match step {
        Step::Add { names, width, nullable, default, after, first } => {
            let column = |name: &usize| NewColumn {
                key: false,
                name: NAMES[*name].to_owned(),
                data_type: WIDTHS[*width].clone(),
                nullable: *nullable,
                aggregation: None,
                initial: default.then(|| "7".to_owned()),
                info: ColumnInfo::default(),
            };
            let place = if *first { Place::First } else { place(*after) };
            Alteration::AddColumns { columns: names.iter().map(column).collect(), place }
        }
        Step::Drop(at) => Alteration::DropColumn { column: id(*at) },
        Step::Rename(at, name) => Alteration::RenameColumn { column: id(*at), name: NAMES[*name].to_owned() },
        Step::Modify { column, width, nullable, after } => Alteration::ModifyColumn {
            column: id(*column),
            data_type: WIDTHS[*width].clone(),
            nullable: *nullable,
            info: ColumnInfo::default(),
            place: after.map(|at| Place::After(id(at))),
        },
        Step::Order(order) => Alteration::OrderColumns { columns: order.iter().map(|at| id(*at)).collect() },
    }
}

proptest! {
    #[test]
    fn any_sequence_does_what_a_list_of_columns_does(steps in steps()) {
        let (mut tested, database) = Tested::new();
        // `day` and `id` are keys of types that are none of the widths.
        let mut spec = whole("t");
        spec.schema.columns[1].data_type = DataType::DateTime;
        spec.schema.columns.truncate(2);
        spec.columns.clear();
        let table = tested.create(database, spec);
        let key = |id, name: &str| Naive { id, name: name.to_owned(), width: 0, nullable: false };
        let mut columns = vec![key(1, "day"), key(2, "id")];
        let mut seen: BTreeSet<u32> = [1, 2].into();
        let mut version = 1;
        for step in &steps {
            let next_id = seen.last().unwrap() + 1;
            let response = alter(&mut tested, table, vec![lowered(&columns, step)]);
            let expected = naive(&columns, step, next_id);
            // What writes rows anew is a job, and here it is taken back.
            let job = tested.catalog.table_by_id(table).unwrap().job.as_ref().map(|job| job.id);
            if let Some(job) = job {
                let step = JobStep::Cancel { reason: "test".to_owned() };
                prop_assert_eq!(tested.run(Operation::StepSchemaJob { table, job, step }), Response::Done);
            }
            let instant = response == Response::Done && job.is_none();
            prop_assert_eq!(instant, expected.is_some(), "{:?} of {:?}: {:?}", step, columns, response);
            if let Some(expected) = expected {
                let before: BTreeSet<u32> = columns.iter().map(|c| c.id).collect();
                columns = expected;
                for new in columns.iter().filter(|c| !before.contains(&c.id)) {
                    prop_assert!(seen.insert(new.id), "{} was another column's", new.id);
                }
                version += 1;
            }
            let now = tested.catalog.table_by_id(table).unwrap();
            prop_assert_eq!(now.schema.version, SchemaVersion(version));
            let shown: Vec<Naive> = now
                .schema
                .columns
                .iter()
                .map(|c| Naive {
                    id: c.id.get(),
                    name: c.name.clone(),
                    width: WIDTHS.iter().position(|t| *t == c.data_type).unwrap_or(0),
                    nullable: c.nullable,
                })
                .collect();
            prop_assert_eq!(&shown, &columns);
            prop_assert_eq!(&now.schema.keys, &[ColumnId(1), ColumnId(2)]);
        }
    }
}
