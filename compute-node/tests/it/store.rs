//! A storage node in memory with two tables, which can be made to hold back its rows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use async_trait::async_trait;
use bytes::Bytes;
use tarn_proto::segment::{storage_schema, to_storage};
use tarn_proto::short_key::{ShortKey, encode_index};
use tarn_proto::storage::{
    FileKey, LoadSpec, PublishTablet, Result, RowsetWriter, StoreError, TabletStore, Unpublished,
};
use tarn_proto::wire::{Manifest, Rowset, Segment, TabletReport};
use tarn_proto::{
    Column, ColumnId, DataType, ErrorKind, NodeId, SchemaVersion, TableModel, TableSchema, TabletId, TxnId, Version,
};
use tokio::sync::watch;
use vortex::VortexSessionDefault;
use vortex::arrow::ArrowSessionExt;
use vortex::file::WriteOptionsSessionExt;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;

pub const NODE: NodeId = NodeId(1);
pub const VERSION: Version = Version(2);

pub struct Store {
    segments: HashMap<u64, Bytes>,
    manifests: HashMap<u64, Manifest>,
    /// Whether reads are answered.
    pub open: watch::Sender<bool>,
}

/// Rows of a table, and the tablets that hold a part of them each.
pub struct Table {
    pub name: &'static str,
    pub schema: TableSchema,
    pub parts: Vec<(u64, RecordBatch)>,
}

pub fn tables() -> Vec<Table> {
    let orders = (0..4).map(|part| {
        let ids: Vec<i64> = (0..20_000).map(|row| row * 4 + part).collect();
        let customers = ids.iter().map(|id| id % 97).collect::<Vec<_>>();
        let amounts = ids.iter().map(|id| id * 7 % 1000).collect::<Vec<_>>();
        (part as u64, vec![ids, customers, amounts])
    });
    let orders = orders.map(|(tablet, columns)| (tablet, batch(&ORDERS, columns, None))).collect();
    let customers = (0..2)
        .map(|part| {
            let ids: Vec<i64> = (0..50).map(|row| row * 2 + part).collect();
            let names = ids.iter().map(|id| format!("customer {}", id % 10)).collect();
            (10 + part as u64, batch(&CUSTOMERS, vec![ids], Some(names)))
        })
        .collect();
    vec![
        Table { name: "orders", schema: schema(&ORDERS), parts: orders },
        Table { name: "customers", schema: schema(&CUSTOMERS), parts: customers },
    ]
}

const ORDERS: [(&str, DataType); 3] =
    [("id", DataType::BigInt), ("customer", DataType::BigInt), ("amount", DataType::BigInt)];
const CUSTOMERS: [(&str, DataType); 2] = [("customer", DataType::BigInt), ("name", DataType::String)];

fn schema(columns: &[(&str, DataType)]) -> TableSchema {
    let columns = columns.iter().enumerate().map(|(position, (name, data_type))| Column {
        id: ColumnId(position as u32),
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        nullable: true,
        aggregation: None,
        initial: None,
    });
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: columns.collect(),
        sort_key: vec![ColumnId(0)],
        indexes: Vec::new(),
    }
}

fn batch(columns: &[(&str, DataType)], numbers: Vec<Vec<i64>>, texts: Option<Vec<String>>) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = numbers.into_iter().map(|n| Arc::new(Int64Array::from(n)) as ArrayRef).collect();
    arrays.extend(texts.map(|texts| Arc::new(StringViewArray::from(texts)) as ArrayRef));
    RecordBatch::try_new(schema(columns).to_arrow(), arrays).unwrap()
}

impl Store {
    pub async fn new(tables: &[Table]) -> Arc<Self> {
        let session = VortexSession::default().with_tokio();
        let mut store = Self { segments: HashMap::new(), manifests: HashMap::new(), open: watch::channel(true).0 };
        for table in tables {
            for (tablet, rows) in &table.parts {
                let stored = storage_schema(&table.schema.columns);
                let batch = to_storage(&table.schema.columns, &stored, rows).unwrap();
                let index = encode_index(&ShortKey::of(&table.schema), batch.columns(), batch.num_rows(), |row| row);
                let array = session.arrow().from_arrow_record_batch(batch, &stored).unwrap();
                let mut file = Vec::new();
                session.write_options().write(&mut file, array.to_array_stream()).await.unwrap();
                let segment = Segment {
                    number: 0,
                    bytes: file.len() as u64,
                    rows: rows.num_rows() as u64,
                    checksum: 0,
                    delete_vector: Vec::new().into(),
                    short_key_index: index.into(),
                    indexes: Vec::new(),
                };
                let rowset = Rowset { id: 1, version: VERSION.get(), schema_version: 1, segments: vec![segment] };
                let manifest =
                    Manifest { tablet_id: *tablet, version: VERSION.get(), rowsets: vec![rowset], volume_id: 0 };
                store.segments.insert(*tablet, file.into());
                store.manifests.insert(*tablet, manifest);
            }
        }
        Arc::new(store)
    }
}

fn refuse<T>() -> Result<T> {
    Err(StoreError {
        kind: ErrorKind::Invalid,
        address: "in process".to_owned(),
        message: "the test's storage node is read-only".to_owned(),
    })
}

#[async_trait]
impl TabletStore for Store {
    async fn create_tablets(&self, _: &TableSchema, _: &[TabletId]) -> Result<()> {
        refuse()
    }

    async fn drop_tablets(&self, _: &[TabletId]) -> Result<()> {
        refuse()
    }

    async fn write(&self, _: TxnId, _: &str, _: &LoadSpec) -> Result<Box<dyn RowsetWriter>> {
        refuse()
    }

    async fn publish(&self, _: TxnId, _: &[PublishTablet]) -> Result<Vec<Unpublished>> {
        refuse()
    }

    async fn abort(&self, _: TxnId) -> Result<()> {
        refuse()
    }

    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        tracing::info!("manifests are read");
        self.open.subscribe().wait_for(|open| *open).await.expect("the store holds the sender");
        Ok(tablets.iter().map(|(tablet, _)| self.manifests[&tablet.get()].clone()).collect())
    }

    async fn read_ranges(&self, file: FileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let segment = &self.segments[&file.segment.tablet.get()];
        Ok(ranges.iter().map(|range| segment.slice(range.start as usize..range.end as usize)).collect())
    }

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        Ok(Vec::new())
    }
}
