//! A load whose table is altered while it runs goes on with the columns that it was planned with.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int32Array, RecordBatch};
use tarn_catalog::command::{Alteration, NewColumn, Place};
use tarn_catalog::{ColumnInfo, Operation, PartitionExpr, Partitioning};
use tarn_proto::time::TimeUnit;
use tarn_proto::{ColumnId, DataType};

use super::loads::{LONG, new_load, publishing, visible_rows};
use super::world::World;

#[tokio::test]
async fn rows_of_a_load_go_where_its_own_columns_say() {
    let world = World::new();
    let by_day = Partitioning::Expression(vec![PartitionExpr::DateTrunc(TimeUnit::Day, ColumnId(2))]);
    let table = world.table(by_day, vec![], 2);
    let _publisher = publishing(&world);
    let planned = world.current(table.1).schema.clone();
    let load = new_load(&world, table, "before").await;

    // Now another column stands where the partition column was.
    let new = NewColumn {
        name: "x".to_owned(),
        data_type: DataType::Date,
        nullable: true,
        key: false,
        aggregation: None,
        initial: None,
        info: ColumnInfo::default(),
    };
    let alterations = vec![
        Alteration::AddColumns { columns: vec![new], place: Place::After(ColumnId(1)) },
        Alteration::RenameColumn { column: ColumnId(2), name: "day".to_owned() },
    ];
    world
        .apply(Operation::AlterTable {
            table: table.1,
            schema_version: planned.version,
            alterations,
            timeout_ms: 60_000,
        })
        .unwrap();
    let altered = world.current(table.1).schema.clone();
    assert_eq!(altered.index_of(ColumnId(2)), Some(2));

    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1, 2, 3])), Arc::new(Date32Array::from(vec![10, 20, 10]))];
    let batch = RecordBatch::try_new(planned.to_arrow(), columns).unwrap();
    let mut router = load.sink().router().unwrap();
    load.sink().write(&mut router, &batch, 1).await.unwrap();
    load.commit(LONG).await.unwrap();
    let rows = |world: &World| -> Vec<u64> { world.current(table.1).partitions.values().map(|p| p.rows).collect() };
    assert_eq!(rows(&world), [2, 1], "by the days of the load's second column");

    // The next load has the new columns.
    let load = new_load(&world, table, "after").await;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![4])),
        Arc::new(Date32Array::from(vec![10])),
        Arc::new(Date32Array::from(vec![20])),
    ];
    let batch = RecordBatch::try_new(altered.to_arrow(), columns).unwrap();
    let mut router = load.sink().router().unwrap();
    load.sink().write(&mut router, &batch, 1).await.unwrap();
    load.commit(LONG).await.unwrap();
    assert_eq!((rows(&world), visible_rows(&world, table.1)), (vec![2, 2], 4));
}
