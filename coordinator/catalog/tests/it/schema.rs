//! Changes of columns, and of names of whole tables.

use tarn_catalog::command::{Alteration, NewColumn, Place};
use tarn_catalog::*;
use tarn_proto::*;

use crate::support::{Tested, by_day, by_name, days, whole};

fn new(name: &str) -> NewColumn {
    NewColumn {
        key: false,
        name: name.to_owned(),
        data_type: DataType::Int,
        nullable: true,
        aggregation: None,
        initial: None,
        info: ColumnInfo::default(),
    }
}

fn add(name: &str, place: Place) -> Alteration {
    Alteration::AddColumns { columns: vec![new(name)], place }
}

fn modify(column: u32, data_type: DataType, nullable: bool) -> Alteration {
    Alteration::ModifyColumn { column: ColumnId(column), data_type, nullable, info: ColumnInfo::default(), place: None }
}

fn drop_column(column: u32) -> Alteration {
    Alteration::DropColumn { column: ColumnId(column) }
}

fn rename(column: u32, name: &str) -> Alteration {
    Alteration::RenameColumn { column: ColumnId(column), name: name.to_owned() }
}

fn table(tested: &Tested, id: TableId) -> Table {
    Table::clone(tested.catalog.table_by_id(id).unwrap())
}

pub fn alter(tested: &mut Tested, id: TableId, alterations: Vec<Alteration>) -> Response {
    let schema_version = table(tested, id).schema.version;
    tested.run(Operation::AlterTable { table: id, schema_version, alterations, timeout_ms: SCHEMA_JOB_TIMEOUT_MS })
}

fn done(tested: &mut Tested, id: TableId, alterations: Vec<Alteration>) {
    assert_eq!(alter(tested, id, alterations), Response::Done);
}

fn refused(tested: &mut Tested, id: TableId, alteration: Alteration) -> String {
    match alter(tested, id, vec![alteration]) {
        Response::Refused(error) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn names(tested: &Tested, id: TableId) -> Vec<String> {
    table(tested, id).schema.columns.iter().map(|c| format!("{}:{}", c.id.get(), c.name)).collect()
}

#[test]
fn columns_come_go_move_and_change_their_names() {
    let (mut tested, database) = Tested::new();
    tested.now_ms = 5_000;
    let id = tested.create(database, by_day("t", vec![days("p", 0, 1)]));
    let several = Alteration::AddColumns { columns: vec![new("a"), new("b")], place: Place::After(ColumnId(2)) };
    done(&mut tested, id, vec![several, add("z", Place::Last)]);
    assert_eq!(names(&tested, id), ["1:day", "2:id", "4:a", "5:b", "3:name", "6:z"]);
    done(&mut tested, id, vec![drop_column(6), drop_column(4), rename(5, "B"), rename(1, "d")]);
    assert_eq!(names(&tested, id), ["1:d", "2:id", "5:B", "3:name"]);
    // The greatest id was dropped, and is not given again.
    done(&mut tested, id, vec![add("z", Place::Last)]);
    let order = [1, 2, 7, 3, 5].map(ColumnId).to_vec();
    done(&mut tested, id, vec![Alteration::OrderColumns { columns: order }]);
    assert_eq!(names(&tested, id), ["1:d", "2:id", "7:z", "3:name", "5:B"]);
    let now = table(&tested, id);
    assert_eq!(now.schema.version, SchemaVersion(5));
    let versions: Vec<u32> = now.history.changes.iter().map(|change| change.version.get()).collect();
    assert_eq!(versions, [2, 3, 4, 5]);
    assert!(now.history.changes.iter().all(|change| change.at_ms == 5_000));
    assert_eq!(Catalog::decode(&tested.catalog.encode()).unwrap(), tested.catalog);
}

#[test]
fn what_a_column_is_declared_as_changes_without_its_id() {
    let (mut tested, database) = Tested::new();
    let id = tested.create(database, whole("t"));
    let mut float = new("f");
    (float.data_type, float.nullable, float.initial) = (DataType::Float, false, Some("0.1".to_owned()));
    done(&mut tested, id, vec![Alteration::AddColumns { columns: vec![float], place: Place::Last }]);
    let info = ColumnInfo { default: Some(DefaultValue::Constant("9".to_owned())), comment: "wide".to_owned() };
    done(
        &mut tested,
        id,
        vec![Alteration::ModifyColumn {
            column: ColumnId(4),
            data_type: DataType::Double,
            nullable: true,
            info: info.clone(),
            place: Some(Place::After(ColumnId(2))),
        }],
    );
    let now = table(&tested, id);
    let column = &now.schema.columns[2];
    assert_eq!((column.id, &column.data_type, column.nullable), (ColumnId(4), &DataType::Double, true));
    assert_eq!(column.initial.as_deref(), Some("0.10000000149011612"), "what rows that are there have read so far");
    assert_eq!(now.columns[&ColumnId(4)], info);
    // Nothing that is left to say: nothing is kept.
    done(&mut tested, id, vec![modify(4, DataType::Double, true)]);
    assert!(!table(&tested, id).columns.contains_key(&ColumnId(4)));
    done(&mut tested, id, vec![Alteration::SetComment { comment: "c".to_owned() }]);
    assert_eq!(table(&tested, id).comment, "c");
    assert_eq!(table(&tested, id).schema.version, SchemaVersion(4), "a comment is none of the schema");
}

#[test]
fn what_would_rewrite_rows_is_refused_with_the_way_to_do_it() {
    let (mut tested, database) = Tested::new();
    let id = tested.create(database, by_day("t", vec![days("p", 0, 1)]));
    let with = |change: &dyn Fn(&mut NewColumn)| {
        let mut column = new("x");
        change(&mut column);
        Alteration::AddColumns { columns: vec![column], place: Place::Last }
    };
    let cases = [
        (drop_column(1), "column `day` is a partition column, which cannot be dropped: make a table"),
        (drop_column(9), "column `c9` of table `t` does not exist"),
        (add("NAME", Place::Last), "table `t` has a column `name` already"),
        (add("", Place::Last), "the name of a column is empty"),
        (add("x", Place::First), "key columns stay in front (`day`, `id`)"),
        (add("x", Place::After(ColumnId(1))), "key columns stay in front"),
        (add("x", Place::After(ColumnId(9))), "column `c9` of table `t` does not exist"),
        (rename(3, "ID"), "table `t` has a column `id` already"),
        (modify(3, DataType::Boolean, true), "column `name` cannot become boolean: there is no conversion of string"),
        (modify(2, DataType::LargeInt, false), "column `id` is a bucket column, whose type bigint cannot be changed"),
        (with(&|c| c.nullable = false), "column `x` is NOT NULL and has no default"),
        (with(&|c| c.initial = Some("y".to_owned())), "default of column `x` is no value of int"),
        (with(&|c| c.aggregation = Some(Aggregation::Sum)), "which only AGGREGATE KEY tables have"),
        (
            Alteration::OrderColumns { columns: vec![ColumnId(2), ColumnId(3), ColumnId(1)] },
            "key columns stay in front (`day`, `id`)",
        ),
        (Alteration::SetSortKey { columns: vec![] }, "names no column"),
        (Alteration::SetSortKey { columns: vec![ColumnId(2), ColumnId(2)] }, "column `id` is twice in the sort key"),
        (Alteration::SetSortKey { columns: vec![ColumnId(9)] }, "column `c9` of table `t` does not exist"),
        (
            Alteration::OrderColumns { columns: vec![ColumnId(1), ColumnId(2)] },
            "the order of the columns of table `t` must name each of them once",
        ),
        (
            Alteration::OrderColumns { columns: [1, 2, 3, 3].map(ColumnId).to_vec() },
            "the order of the columns of table `t` must name each of them once",
        ),
    ];
    for (alteration, expected) in cases {
        let told = refused(&mut tested, id, alteration.clone());
        assert!(told.contains(expected), "{alteration:?}\n {told}\n {expected}");
    }
    let partitioned = tested.create(database, by_name("n"));
    assert!(refused(&mut tested, partitioned, drop_column(3)).contains("column `name` is a partition column"));
    let mut sorted = whole("s");
    sorted.schema.sort_key = vec![ColumnId(3)];
    let sorted = tested.create(database, sorted);
    assert!(refused(&mut tested, sorted, drop_column(3)).contains("column `name` is a sort key column"));
    let mut bucketed = whole("b");
    (bucketed.schema.keys, bucketed.schema.sort_key) = (vec![], vec![]);
    bucketed.distribution.columns = vec![ColumnId(2)];
    let bucketed = tested.create(database, bucketed);
    assert!(refused(&mut tested, bucketed, drop_column(2)).contains("column `id` is a bucket column"));
    done(&mut tested, bucketed, vec![drop_column(1)]);
    done(&mut tested, bucketed, vec![add("first", Place::First)]);
    assert_eq!(names(&tested, bucketed), ["4:first", "2:id", "3:name"]);
}

#[test]
fn the_only_column_stays() {
    let (mut tested, database) = Tested::new();
    let mut spec = whole("t");
    spec.schema.columns.truncate(1);
    (spec.schema.keys, spec.schema.sort_key, spec.distribution.columns) = (vec![], vec![], vec![]);
    spec.columns.clear();
    let id = tested.create(database, spec);
    assert!(refused(&mut tested, id, drop_column(1)).contains("is the only one of table `t`"));
}

#[test]
fn keys_of_text_may_grow_and_primary_keys_may_not_change() {
    let (mut tested, database) = Tested::new();
    let mut spec = whole("t");
    spec.schema.columns[1].data_type = DataType::Varchar(5);
    let id = tested.create(database, spec.clone());
    done(&mut tested, id, vec![modify(2, DataType::Varchar(9), false), modify(2, DataType::String, true)]);
    assert_eq!(table(&tested, id).schema.columns[1].data_type, DataType::String);
    spec.name = "p".to_owned();
    spec.schema.model = TableModel::PrimaryKey;
    let primary = tested.create(database, spec);
    for wanted in [modify(2, DataType::Varchar(9), false), modify(2, DataType::Varchar(5), true)] {
        assert!(refused(&mut tested, primary, wanted).contains("column `id` is a primary key column"));
    }
    done(&mut tested, primary, vec![rename(2, "key")]);
}

#[test]
fn merged_tables_take_columns_with_an_aggregation_alone() {
    let (mut tested, database) = Tested::new();
    let mut spec = whole("t");
    spec.schema.model = TableModel::Aggregate;
    spec.schema.columns[2].aggregation = Some(Aggregation::Replace);
    let id = tested.create(database, spec);
    assert!(
        refused(&mut tested, id, add("x", Place::Last))
            .contains("column `x` has no aggregation: give it one, or mark it KEY")
    );
    let sum = |initial: Option<&str>| {
        let mut column = new("x");
        (column.aggregation, column.initial) = (Some(Aggregation::Sum), initial.map(str::to_owned));
        Alteration::AddColumns { columns: vec![column], place: Place::Last }
    };
    assert!(refused(&mut tested, id, sum(Some("5"))).contains("would be added once for each row"));
    done(&mut tested, id, vec![sum(Some("0")), drop_column(4), sum(None)]);
    assert_eq!(table(&tested, id).schema.columns[3].aggregation, Some(Aggregation::Sum));
}

#[test]
fn a_column_that_a_condition_names_keeps_its_name() {
    let (mut tested, database) = Tested::new();
    let mut spec = by_day("t", vec![days("p1", 0, 1)]);
    let condition = "Day >= current_date() - interval 3 month and days < 5";
    spec.properties.insert(RETENTION_CONDITION.to_owned(), condition.to_owned());
    let id = tested.create(database, spec);
    let message = refused(&mut tested, id, rename(1, "date"));
    assert!(message.contains("column `day`") && message.contains(RETENTION_CONDITION), "{message}");
    // No word of its own there, and nobody else's.
    done(&mut tested, id, vec![rename(1, "DAY"), rename(2, "interva"), rename(2, "a"), rename(3, "b")]);
    let before = table(&tested, id).properties;
    let properties = [(RETENTION_CONDITION.to_owned(), String::new())].into();
    tested.run(Operation::SetTableProperties { table: id, properties, before });
    done(&mut tested, id, vec![rename(1, "date")]);
}

#[test]
fn a_change_that_takes_time_has_the_time_that_it_was_given() {
    let (mut tested, database) = Tested::new();
    tested.now_ms = 1_000;
    let id = tested.create(database, whole("t"));
    let alterations = vec![Alteration::SetSortKey { columns: vec![ColumnId(3)] }];
    let alter = Operation::AlterTable { table: id, schema_version: SchemaVersion(1), alterations, timeout_ms: 5_000 };
    assert_eq!(tested.run(alter), Response::Done);
    let job = table(&tested, id).job.expect("it takes time");
    assert_eq!((job.created_ms, job.expires_ms - job.created_ms), (tested.now_ms, 5_000));
}

#[test]
fn of_two_changes_at_once_the_second_is_told() {
    let (mut tested, database) = Tested::new();
    let id = tested.create(database, whole("t"));
    let change = |name: &str| Operation::AlterTable {
        table: id,
        schema_version: SchemaVersion(1),
        alterations: vec![add(name, Place::Last)],
        timeout_ms: SCHEMA_JOB_TIMEOUT_MS,
    };
    assert_eq!(tested.run(change("a")), Response::Done);
    let error = tested.refuse(change("b"));
    assert_eq!(error, Error::SchemaChanged { table: "t".to_owned() });
    assert!(error.kind().is_retryable());
    assert_eq!(names(&tested, id), ["1:day", "2:id", "3:name", "4:a"]);
    // All of a statement or nothing.
    let both = vec![add("b", Place::Last), add("a", Place::Last)];
    assert!(matches!(alter(&mut tested, id, both), Response::Refused(_)));
    assert_eq!(names(&tested, id).len(), 4);
}

#[test]
fn tables_swap_names() {
    let (mut tested, database) = Tested::new();
    let (one, other) = (tested.create(database, whole("a")), tested.create(database, by_name("b")));
    tested.run(Operation::SwapTables { one, other });
    assert_eq!(tested.catalog.table(database, "b").unwrap().id, one);
    assert_eq!(tested.catalog.table(database, "a").unwrap().id, other);
    assert!(table(&tested, one).partition("b").is_some(), "the one partition is named as the table");
    assert_eq!(tested.run(Operation::SwapTables { one, other: one }), Response::Done);
    let Response::Database(elsewhere) =
        tested.run(Operation::CreateDatabase { name: "other".to_owned(), if_not_exists: false })
    else {
        panic!("no database");
    };
    let far = tested.create(elsewhere, whole("a"));
    let error = tested.refuse(Operation::SwapTables { one, other: far });
    assert!(error.to_string().contains("are in two databases"), "{error}");
}
