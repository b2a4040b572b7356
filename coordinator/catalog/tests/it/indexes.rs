//! Indexes of tables: which there may be, and how they come and go.

use tarn_catalog::command::{Alteration, JobStep};
use tarn_catalog::*;
use tarn_proto::*;

use crate::schema::alter;
use crate::support::{Tested, create, whole};

fn bitmap(name: &str, column: u32) -> Index {
    Index { name: name.to_owned(), column: ColumnId(column), kind: IndexKind::Bitmap, comment: String::new() }
}

fn add(name: &str, column: u32) -> Alteration {
    Alteration::AddIndex { index: bitmap(name, column) }
}

fn bloom(columns: &[u32]) -> Alteration {
    Alteration::SetBloomColumns { columns: columns.iter().copied().map(ColumnId).collect() }
}

fn drop_index(name: &str) -> Alteration {
    Alteration::DropIndex { name: name.to_owned() }
}

/// The indexes of a table, by kind and column.
fn indexes(tested: &Tested, id: TableId) -> Vec<String> {
    let table = tested.catalog.table_by_id(id).unwrap();
    table.schema.indexes.iter().map(|i| format!("{}:{}:{}", i.kind.name(), i.name, i.column)).collect()
}

/// Makes changes and ends the job that they begin, if they do.
fn done(tested: &mut Tested, id: TableId, alterations: Vec<Alteration>) -> bool {
    assert_eq!(alter(tested, id, alterations), Response::Done);
    let Some(job) = tested.catalog.table_by_id(id).unwrap().job.clone() else { return false };
    tested.run(Operation::StepSchemaJob { table: id, job: job.id, step: JobStep::Finish { filled: Vec::new() } });
    assert!(tested.catalog.table_by_id(id).unwrap().job.is_none());
    true
}

fn refused(tested: &mut Tested, id: TableId, alteration: Alteration) -> String {
    match alter(tested, id, vec![alteration]) {
        Response::Refused(error) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn indexes_are_added_by_a_job_and_dropped_at_once() {
    let (mut tested, database) = Tested::new();
    let id = tested.create(database, whole("t"));
    assert!(done(&mut tested, id, vec![add("by_id", 2), add("by_day", 1)]), "what is there has to be indexed");
    assert!(done(&mut tested, id, vec![bloom(&[2, 3])]));
    assert_eq!(indexes(&tested, id), ["BITMAP:by_id:c2", "BITMAP:by_day:c1", "BLOOM::c2", "BLOOM::c3"]);
    assert!(!done(&mut tested, id, vec![bloom(&[3]), drop_index("BY_ID")]));
    assert_eq!(indexes(&tested, id), ["BITMAP:by_day:c1", "BLOOM::c3"]);
    // They go with their column.
    assert!(!done(&mut tested, id, vec![Alteration::DropColumn { column: ColumnId(3) }]));
    assert_eq!(indexes(&tested, id), ["BITMAP:by_day:c1"]);
}

#[test]
fn an_index_that_cannot_be_is_refused_by_name() {
    let (mut tested, database) = Tested::new();
    let id = tested.create(database, whole("t"));
    done(&mut tested, id, vec![add("i", 2)]);
    for (alteration, why) in [
        (add("I", 3), "index `I` already exist"),
        (add("j", 2), "index for columns (id) already exist: it is `i`"),
        (add("j", 9), "which is no column of the table"),
        (add("", 3), "the name of a index is empty"),
        (drop_index("j"), "index `j` does not exist in table `t`"),
        (bloom(&[2, 2]), "Duplicate bloom filter column 'id'"),
    ] {
        let message = refused(&mut tested, id, alteration);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn what_can_be_indexed_depends_on_model_and_type() {
    use DataType::{Array, BigInt, Boolean, Decimal, Double, Float, Int, Json, LargeInt, String, TinyInt, Varbinary};
    let of = |model, data_type: &DataType, kind| {
        let column = |id, data_type| Column {
            id: ColumnId(id),
            name: format!("c{id}"),
            data_type,
            nullable: true,
            aggregation: None,
            initial: None,
        };
        let schema = TableSchema {
            version: SchemaVersion(1),
            model,
            columns: vec![column(1, data_type.clone()), column(2, data_type.clone())],
            keys: vec![ColumnId(1)],
            sort_key: vec![ColumnId(1)],
            indexes: Vec::new(),
        };
        [1, 2].map(|id| index_refusal(&schema, &Index { kind, ..bitmap("i", id) }).is_none())
    };
    let (yes, no) = ([true, true], [false, false]);
    for (data_type, bitmaps, blooms) in [
        (BigInt, yes, yes),
        (LargeInt, yes, yes),
        (Decimal(10, 2), yes, yes),
        (String, yes, yes),
        (DataType::Date, yes, yes),
        (DataType::DateTime, yes, yes),
        (TinyInt, yes, no),
        (Boolean, yes, no),
        (Float, no, no),
        (Double, no, no),
        (Json, no, no),
        (Varbinary, no, no),
        (Array(Box::new(Int)), no, no),
    ] {
        assert_eq!(of(TableModel::Duplicate, &data_type, IndexKind::Bitmap), bitmaps, "{data_type}");
        assert_eq!(of(TableModel::PrimaryKey, &data_type, IndexKind::Bloom), blooms, "{data_type}");
    }
    for model in [TableModel::Aggregate, TableModel::Unique] {
        assert_eq!(IndexKind::ALL.map(|kind| of(model, &Int, kind)), [[true, false]; 2], "keys only");
    }
}

#[test]
fn a_table_is_not_made_with_indexes_that_it_cannot_have() {
    let (mut tested, database) = Tested::new();
    let mut spec = whole("t");
    spec.schema.indexes = vec![bitmap("i", 1), bitmap("j", 1)];
    let create = create(database, spec);
    match tested.run(create) {
        Response::Refused(error) => assert!(error.to_string().contains("index for columns (day) already exist")),
        other => panic!("not refused: {other:?}"),
    }
}
