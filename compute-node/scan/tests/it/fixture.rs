//! A storage node in memory with one table, and DataFusion's own table of the same rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::*;
use arrow::datatypes::{DataType as ArrowType, Int32Type, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::Mutex;
use tarn_proto::index::{Class, bitmap, bloom};
use tarn_proto::segment::{storage_schema, to_storage};
use tarn_proto::short_key::{ShortKey, encode_index};
use tarn_proto::storage::{
    FileKey, IndexFileKey, IndexKey, LoadSpec, Peer, PublishTablet, Result, RowsetWriter, SegmentKey, StoreError,
    StorePool, TabletStore, Unpublished,
};
use tarn_proto::wire::{Manifest, Rowset, Segment, SegmentIndex, TabletReport};
use tarn_proto::*;
use tarn_scan::{CacheConfig, Pruned, ScanContext, TabletRead, TabletScan};
use vortex::VortexSessionDefault;
use vortex::arrow::ArrowSessionExt;
use vortex::file::WriteOptionsSessionExt;
use vortex::io::session::RuntimeSessionExt;
use vortex::session::VortexSession;

pub const NODE: NodeId = NodeId(7);
pub const VERSION: Version = Version(3);

/// The one replica that most tests have.
pub fn replicas() -> Arc<[Peer]> {
    [Peer { node: NODE, address: "127.0.0.1:1".to_owned() }].into()
}

/// Serves segments that tests put into it.
#[derive(Default)]
pub struct FakeStore {
    segments: Mutex<BTreeMap<(u64, u64, u32), Bytes>>,
    /// Index files. What changes here is not told in manifests.
    pub indexes: Mutex<BTreeMap<(u64, u64, u32, IndexKey), Bytes>>,
    manifests: Mutex<BTreeMap<u64, Manifest>>,
    /// Segments whose bytes fail their checksum.
    pub damaged: Mutex<HashSet<SegmentKey>>,
    /// Segments that compaction removed.
    pub gone: Mutex<HashSet<SegmentKey>>,
    /// Checksums of files that are not their segments' numbers.
    pub checksums: Mutex<HashMap<SegmentKey, u32>>,
    pub bytes_read: AtomicU64,
    /// Footers, pages and zone maps.
    pub ranges_read: AtomicU64,
    pub manifest_calls: AtomicU64,
    /// Reads until it does not answer any more; 0: as many as there are.
    pub reads_left: AtomicU64,
    pub away: AtomicBool,
}

impl FakeStore {
    fn check(&self) -> Result<()> {
        match self.away.load(Ordering::SeqCst) {
            true => refuse(ErrorKind::Unavailable, "it does not answer".to_owned()),
            false => Ok(()),
        }
    }

    /// Counts a read.
    fn check_read(&self) -> Result<()> {
        self.check()?;
        if self.reads_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1) {
            self.away.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Refuses a file that is not the one which is there.
    fn check_file(&self, file: FileKey) -> Result<()> {
        let checksum = self.checksums.lock().get(&file.segment).copied().unwrap_or(file.segment.segment);
        match file.checksum == checksum {
            true => Ok(()),
            false => refuse(ErrorKind::NotFound, format!("segment {:?} is another file", file.segment)),
        }
    }

    /// Changes what it says of a tablet.
    pub fn change_manifest(&self, tablet: u64, change: impl FnOnce(&mut Manifest)) {
        change(self.manifests.lock().get_mut(&tablet).unwrap());
    }

    /// Every segment with its checksum.
    pub fn files(&self) -> Vec<(SegmentKey, u32, Bytes)> {
        let segments = self.segments.lock();
        let file = |(&(tablet, rowset, segment), bytes): (&(u64, u64, u32), &Bytes)| {
            let key = SegmentKey { tablet: TabletId(tablet), rowset: RowsetId(rowset), segment };
            // Checksums are the segments' numbers here.
            (key, segment, bytes.clone())
        };
        segments.iter().map(file).collect()
    }

    /// Forgets a tablet.
    pub fn forget(&self, tablet: u64) {
        self.manifests.lock().remove(&tablet);
    }

    /// The same tablets on another node.
    pub fn copied(&self) -> Self {
        Self {
            segments: Mutex::new(self.segments.lock().clone()),
            indexes: Mutex::new(self.indexes.lock().clone()),
            manifests: Mutex::new(self.manifests.lock().clone()),
            ..Self::default()
        }
    }
}

fn refuse<T>(kind: ErrorKind, message: String) -> Result<T> {
    Err(StoreError { kind, address: "in process".to_owned(), message })
}

#[async_trait]
impl TabletStore for FakeStore {
    async fn create_tablets(&self, _: &TableSchema, _: &[TabletId]) -> Result<()> {
        refuse(ErrorKind::Invalid, "read-only".to_owned())
    }

    async fn drop_tablets(&self, _: &[TabletId]) -> Result<()> {
        refuse(ErrorKind::Invalid, "read-only".to_owned())
    }

    async fn write(&self, _: TxnId, _: &str, _: &LoadSpec) -> Result<Box<dyn RowsetWriter>> {
        refuse(ErrorKind::Invalid, "read-only".to_owned())
    }

    async fn publish(&self, _: TxnId, _: &[PublishTablet]) -> Result<Vec<Unpublished>> {
        refuse(ErrorKind::Invalid, "read-only".to_owned())
    }

    async fn abort(&self, _: TxnId) -> Result<()> {
        refuse(ErrorKind::Invalid, "read-only".to_owned())
    }

    async fn manifests(&self, tablets: &[(TabletId, Version)]) -> Result<Vec<Manifest>> {
        self.check()?;
        self.manifest_calls.fetch_add(1, Ordering::Relaxed);
        let manifests = self.manifests.lock();
        tablets
            .iter()
            .map(|(tablet, _)| match manifests.get(&tablet.get()) {
                Some(manifest) => Ok(manifest.clone()),
                None => refuse(ErrorKind::NotFound, format!("no {tablet}")),
            })
            .collect()
    }

    async fn read_ranges(&self, file: FileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // Let others run, as a read of a disk does.
        tokio::task::yield_now().await;
        self.check_read()?;
        self.check_file(file)?;
        let key = file.segment;
        if self.damaged.lock().contains(&key) {
            return refuse(ErrorKind::Internal, format!("segment {} of {} is damaged", key.segment, key.tablet));
        }
        let segments = self.segments.lock();
        let segment = segments.get(&(key.tablet.get(), key.rowset.get(), key.segment));
        let Some(segment) = segment.filter(|_| !self.gone.lock().contains(&key)) else {
            return refuse(ErrorKind::NotFound, format!("no segment {} of {}", key.segment, key.tablet));
        };
        Ok(ranges
            .iter()
            .map(|range| {
                self.bytes_read.fetch_add(range.end - range.start, Ordering::Relaxed);
                self.ranges_read.fetch_add(1, Ordering::Relaxed);
                segment.slice(range.start as usize..range.end as usize)
            })
            .collect())
    }

    async fn read_index(&self, file: FileKey, index: IndexFileKey, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        tokio::task::yield_now().await;
        self.check()?;
        self.check_file(file)?;
        assert_eq!(index.checksum, file.segment.segment, "checksums are the segments' numbers here");
        let key = file.segment;
        let indexes = self.indexes.lock();
        let Some(file) = indexes.get(&(key.tablet.get(), key.rowset.get(), key.segment, index.index)) else {
            return refuse(ErrorKind::NotFound, "no such index".to_owned());
        };
        let range = |range: &Range<u64>| file.get(range.start as usize..range.end as usize).map(Bytes::copy_from_slice);
        ranges.iter().map(|r| range(r).map_or_else(|| refuse(ErrorKind::Invalid, "too short".to_owned()), Ok)).collect()
    }

    async fn tablets(&self) -> Result<Vec<TabletReport>> {
        Ok(Vec::new())
    }
}

/// A table of every kind of column, two tablets, three segments of which one has deleted rows, all rows also in memory.
pub struct Fixture {
    pub store: Arc<FakeStore>,
    pub context: Arc<ScanContext>,
    pub spec: TabletScan,
    /// The rows that are not deleted.
    pub rows: Vec<RecordBatch>,
}

pub fn schema() -> TableSchema {
    let map = DataType::Map(Box::new(DataType::Int), Box::new(DataType::String));
    let columns = [
        ("id", DataType::BigInt, false),
        ("kind", DataType::Varchar(20), true),
        ("n", DataType::Int, true),
        ("day", DataType::Date, true),
        ("at", DataType::DateTime, true),
        ("price", DataType::Decimal(12, 2), true),
        ("weight", DataType::Double, true),
        ("flag", DataType::Boolean, true),
        ("big", DataType::LargeInt, true),
        ("tags", DataType::Array(Box::new(DataType::Int)), true),
        ("facts", map, true),
        ("pair", DataType::Struct(vec![("x".to_owned(), DataType::Int), ("y".to_owned(), DataType::String)]), true),
    ];
    TableSchema {
        model: TableModel::Duplicate,
        keys: Vec::new(),
        version: SchemaVersion(1),
        columns: columns
            .into_iter()
            .enumerate()
            .map(|(i, (name, data_type, nullable))| Column {
                // Ids say nothing about positions.
                id: ColumnId(40 - i as u32),
                name: name.to_owned(),
                data_type,
                nullable,
                aggregation: None,
                initial: None,
            })
            .collect(),
        sort_key: vec![ColumnId(40), ColumnId(39)],
        indexes: Vec::new(),
    }
}

/// Rows `ids`, made of their ids by a mixing function: sorted, with NULLs, NaN and negative zero.
pub fn rows(ids: Range<i64>) -> RecordBatch {
    let mix = |id: i64, salt: u64| (id as u64 ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let some = |id: i64, salt: u64| !mix(id, salt ^ 0xABCD).is_multiple_of(11);
    let kinds = ["apple", "banana", "cherry", "", "date_palm", "100%", "ünïcode", "a\\b", "Apple"];
    let optional = |salt: u64| ids.clone().map(move |id| some(id, salt).then(|| mix(id, salt)));
    let n: Int32Array = optional(1).map(|v| v.map(|v| (v % 2000) as i32 - 1000)).collect();
    let kind: StringViewArray = optional(2).map(|v| v.map(|v| kinds[v as usize % kinds.len()])).collect();
    let day: Date32Array = optional(3).map(|v| v.map(|v| 19_000 + (v % 700) as i32)).collect();
    let at: TimestampMicrosecondArray =
        optional(4).map(|v| v.map(|v| 1_600_000_000_000_000 + (v % 1_000_000_000) as i64 * 1001)).collect();
    let price: Decimal128Array = optional(5).map(|v| v.map(|v| i128::from(v % 1_000_000) - 500_000)).collect();
    let weight: Float64Array = optional(6)
        .map(|v| {
            v.map(|v| match v % 50 {
                0 => f64::NAN,
                1 => -0.0,
                2 => 0.0,
                3 => f64::INFINITY,
                v => v as f64 / 4.0 - 5.0,
            })
        })
        .collect();
    let flag: BooleanArray = optional(7).map(|v| v.map(|v| v % 3 == 0)).collect();
    let big: Decimal128Array = optional(8).map(|v| v.map(|v| i128::from(v % 10) * 10i128.pow(30))).collect();
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>(
        optional(9).map(|v| v.map(|v| (0..v % 4).map(|i| (i != 2).then_some(i as i32)).collect::<Vec<_>>())),
    );
    let declared = schema().to_arrow();
    let facts = facts(optional(10), declared.field(10).data_type());
    let x: Int32Array = optional(11).map(|v| v.map(|v| v as i32 % 7)).collect();
    let y: StringViewArray = optional(12).map(|v| v.map(|v| kinds[v as usize % 5])).collect();
    let ArrowType::Struct(fields) = declared.field(11).data_type() else { panic!("pair is a struct") };
    let pair = StructArray::new(fields.clone(), vec![Arc::new(x), Arc::new(y)], None);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(kind),
        Arc::new(n),
        Arc::new(day),
        Arc::new(at),
        Arc::new(price.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(weight),
        Arc::new(flag),
        Arc::new(big.with_precision_and_scale(38, 0).unwrap()),
        Arc::new(tags),
        Arc::new(facts),
        Arc::new(pair),
    ];
    RecordBatch::try_new(declared, columns).unwrap()
}

fn facts(values: impl Iterator<Item = Option<u64>>, declared: &ArrowType) -> MapArray {
    let ArrowType::Map(entries, _) = declared else { panic!("facts is a map") };
    let ArrowType::Struct(fields) = entries.data_type() else { panic!("entries are structs") };
    let (mut keys, mut texts, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for value in values {
        let length = value.map_or(0, |v| v % 3);
        for entry in 0..length {
            keys.push(entry as i32);
            texts.push((entry != 1).then(|| format!("fact {entry}")));
        }
        lengths.push(length as usize);
        valid.push(value.is_some());
    }
    let entries_array = StructArray::new(
        fields.clone(),
        vec![Arc::new(Int32Array::from(keys)), Arc::new(StringViewArray::from_iter(texts))],
        None,
    );
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
    MapArray::new(entries.clone(), offsets, entries_array, Some(valid.into()), false)
}

async fn segment_bytes(session: &VortexSession, stored: RecordBatch) -> Bytes {
    let schema = stored.schema();
    let array = session.arrow().from_arrow_record_batch(stored, &schema).unwrap();
    let mut file = Vec::new();
    session.write_options().write(&mut file, array.to_array_stream()).await.unwrap();
    file.into()
}

impl FakeStore {
    pub async fn add(&self, tablet: u64, rowset: u64, number: u32, batch: &RecordBatch, deleted: &[u32]) {
        self.write(&schema(), tablet, rowset, number, batch, deleted).await;
    }

    /// Adds a segment of a table. The rows are sorted.
    pub async fn write(
        &self,
        schema: &TableSchema,
        tablet: u64,
        rowset: u64,
        number: u32,
        batch: &RecordBatch,
        deleted: &[u32],
    ) {
        let session = VortexSession::default().with_tokio();
        let stored = to_storage(&schema.columns, &storage_schema(&schema.columns), batch).unwrap();
        let index = encode_index(&ShortKey::of(schema), stored.columns(), stored.num_rows(), |row| row);
        let indexes = self.write_indexes(schema, (tablet, rowset, number), &stored);
        let bytes = segment_bytes(&session, stored).await;
        let mut delete_vector = Vec::new();
        if !deleted.is_empty() {
            let bitmap: roaring::RoaringBitmap = deleted.iter().copied().collect();
            bitmap.serialize_into(&mut delete_vector).unwrap();
        }
        let segment = Segment {
            number,
            bytes: bytes.len() as u64,
            rows: batch.num_rows() as u64,
            checksum: number,
            delete_vector: delete_vector.into(),
            short_key_index: index.into(),
            indexes,
        };
        self.segments.lock().insert((tablet, rowset, number), bytes);
        let mut manifests = self.manifests.lock();
        let manifest = manifests.entry(tablet).or_insert_with(|| Manifest {
            tablet_id: tablet,
            version: VERSION.get(),
            rowsets: Vec::new(),
            volume_id: 0,
        });
        match manifest.rowsets.iter_mut().find(|r| r.id == rowset) {
            Some(rowset) => rowset.segments.push(segment),
            None => manifest.rowsets.push(Rowset {
                id: rowset,
                version: 2,
                schema_version: schema.version.get(),
                segments: vec![segment],
            }),
        }
    }
}

impl FakeStore {
    /// Adds the indexes that the schema has.
    fn write_indexes(&self, schema: &TableSchema, of: (u64, u64, u32), stored: &RecordBatch) -> Vec<SegmentIndex> {
        let mut told = Vec::new();
        for index in &schema.indexes {
            let position = schema.index_of(index.column).unwrap();
            let class = Class::of(&schema.columns[position].data_type).unwrap();
            let file = match index.kind {
                IndexKind::Bitmap => {
                    let mut builder = bitmap::Builder::new(class);
                    builder.push(stored.column(position)).unwrap();
                    builder.finish()
                }
                IndexKind::Bloom => {
                    let mut builder = bloom::Builder::new(class);
                    builder.push(stored.column(position)).unwrap();
                    Ok(builder.finish())
                }
            };
            let Ok(file) = file else { continue };
            told.push(SegmentIndex {
                column: index.column.get(),
                kind: wire::IndexKind::from(index.kind).into(),
                bytes: file.len() as u64,
                checksum: of.2,
            });
            let key = IndexKey { column: index.column, kind: index.kind };
            self.indexes.lock().insert((of.0, of.1, of.2, key), file.into());
        }
        told
    }
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with_cache(CacheConfig { memory_bytes: 64 << 20, ..CacheConfig::default() }).await
    }

    pub async fn with_cache(cache: CacheConfig) -> Self {
        Self::of(schema(), cache).await
    }

    /// With indexes of these columns.
    pub async fn indexed(bitmaps: &[&str], blooms: &[&str]) -> Self {
        let mut schema = schema();
        for (kind, columns) in [(IndexKind::Bitmap, bitmaps), (IndexKind::Bloom, blooms)] {
            for name in columns {
                let column = schema.column(name).unwrap().id;
                schema.indexes.push(Index { name: (*name).to_owned(), column, kind, comment: String::new() });
            }
        }
        Self::of(schema, CacheConfig { memory_bytes: 64 << 20, ..CacheConfig::default() }).await
    }

    async fn of(schema: TableSchema, cache: CacheConfig) -> Self {
        let store = Arc::new(FakeStore::default());
        let deleted: Vec<u32> = (0..30_000).filter(|row| row % 7 == 3 || (1000..4000).contains(row)).collect();
        let parts = [rows(0..70_000), rows(70_000..100_000), rows(100_000..101_500)];
        store.write(&schema, 1, 10, 0, &parts[0], &[]).await;
        store.write(&schema, 1, 11, 0, &parts[1], &deleted).await;
        store.write(&schema, 2, 12, 3, &parts[2], &[]).await;
        let live: BooleanArray = (0..30_000u32).map(|row| Some(deleted.binary_search(&row).is_err())).collect();
        let rows =
            vec![parts[0].clone(), arrow::compute::filter_record_batch(&parts[1], &live).unwrap(), parts[2].clone()];
        let pool = StorePool::with_local(NODE, store.clone());
        let context = ScanContext::new(pool, cache).await.unwrap();
        let tablet = |id: u64, rows: u64, bytes: u64| TabletRead {
            tablet: TabletId(id),
            version: VERSION,
            replicas: replicas(),
            rows,
            bytes,
        };
        let spec = TabletScan {
            table: "db.things".to_owned(),
            projection: (0..schema.columns.len()).collect(),
            schema,
            volume: None,
            partitions: vec![vec![tablet(1, 100_000, 9 << 20), tablet(2, 1_500, 1 << 17)]],
            filters: Vec::new(),
            limit: None,
            exact_rows: false,
            pruned: Pruned { partitions: 1, partitions_total: 4, tablets_total: 8 },
            bitmap_max_filter_ratio: tarn_scan::BITMAP_MAX_FILTER_RATIO,
        };
        Self { store, context, spec, rows }
    }

    /// A session with the table twice: `things` as scanned, `expected` in memory.
    pub fn session(&self, config: SessionConfig) -> SessionContext {
        let session = SessionContext::new_with_config(config);
        session
            .register_table("things", Arc::new(Table { context: self.context.clone(), spec: self.spec.clone() }))
            .unwrap();
        let memory = MemTable::try_new(self.rows[0].schema(), vec![self.rows.clone()]).unwrap();
        session.register_table("expected", Arc::new(memory)).unwrap();
        session
    }
}

#[derive(Debug)]
pub struct Table {
    pub context: Arc<ScanContext>,
    pub spec: TabletScan,
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.spec.schema.to_arrow()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let mut spec = self.spec.clone();
        if let Some(projection) = projection {
            spec.projection = projection.clone();
        }
        spec.limit = limit;
        tarn_scan::scan(self.context.clone(), spec)
    }
}

/// The result of a query, one text for each row, sorted.
pub async fn answer(session: &SessionContext, sql: &str) -> datafusion::error::Result<Vec<String>> {
    let batches = session.sql(sql).await?.collect().await?;
    let mut lines = Vec::new();
    for batch in &batches {
        let options = arrow::util::display::FormatOptions::new().with_null("NULL");
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| arrow::util::display::ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort();
    Ok(lines)
}

/// Asserts that `sql` over `{t}` gives the same rows from the scan and from memory.
pub async fn assert_same(session: &SessionContext, sql: &str) {
    let scanned = answer(session, &sql.replace("{t}", "things")).await.unwrap();
    let expected = answer(session, &sql.replace("{t}", "expected")).await.unwrap();
    assert_eq!(scanned.len(), expected.len(), "{sql}");
    if let Some(at) = (0..scanned.len()).find(|i| scanned[*i] != expected[*i]) {
        panic!("{sql}: row {at} is {} instead of {}", scanned[at], expected[at]);
    }
}

/// The physical plan of `sql` as text.
pub async fn explain(session: &SessionContext, sql: &str) -> String {
    let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
}
