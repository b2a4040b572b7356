//! `FILES(..)` over real files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::*;
use bytes::Bytes;
use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::error::DataFusionError;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use proptest::prelude::*;
use tarn_proto::ErrorKind;
use tarn_scan::files::{FilesError, FilesOptions, FilesTable, resolve};
use tempfile::TempDir;

use crate::fixture::answer;

async fn files(dir: &TempDir, path: &str, format: &str, more: &[(&str, &str)]) -> Result<Arc<FilesTable>, FilesError> {
    // Paths of the folder, separated by semicolons.
    let paths: Vec<String> = path.split(';').map(|path| format!("{}/{path}", dir.path().display())).collect();
    let path = paths.join(",");
    let mut properties = vec![("path".to_owned(), path), ("format".to_owned(), format.to_owned())];
    properties.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    resolve(&FilesOptions::parse(&properties)?).await.map(Arc::new)
}

fn write(dir: &TempDir, name: &str, text: &str) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn columns(table: &FilesTable) -> Vec<String> {
    table.describe().iter().map(|(name, data_type, nullable)| format!("{name} {data_type} {nullable}")).collect()
}

/// A session in which every byte range of a file is worth a partition.
fn session(partitions: usize) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(1000)
        .set_u64("datafusion.optimizer.repartition_file_min_size", 1);
    SessionContext::new_with_config(config)
}

async fn query(table: &Arc<FilesTable>, partitions: usize, sql: &str) -> Result<Vec<String>, DataFusionError> {
    let session = session(partitions);
    session.register_table("f", table.provider()).unwrap();
    answer(&session, sql).await
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>, row_group: usize) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn csv_types_come_from_the_values_and_names_from_the_header() {
    let dir = TempDir::new().unwrap();
    write(&dir, "a.csv", "id,name,day,price\n1,anna,2024-02-29,1.5\n2,\\N,,2\n");
    let table = files(&dir, "a.csv", "csv", &[("csv.header", "true"), ("csv.column_separator", ",")]).await.unwrap();
    assert_eq!(columns(&table), ["id bigint true", "name string true", "day date true", "price double true"]);
    assert_eq!(query(&table, 1, "select * from f").await.unwrap(), ["1|anna|2024-02-29|1.5", "2|NULL|NULL|2.0"]);
    assert_eq!(query(&table, 2, "select price from f where id > 1").await.unwrap(), ["2.0"]);
    let strings =
        files(&dir, "a.csv", "csv", &[("csv.skip_header", "1"), ("auto_detect_types", "false")]).await.unwrap();
    assert_eq!(columns(&strings), ["$1 string true", "$2 string true", "$3 string true", "$4 string true"]);
}

#[tokio::test]
async fn a_bad_value_in_any_piece_of_a_file_is_named_with_its_row() {
    let dir = TempDir::new().unwrap();
    let mut text = String::from("id,n\n");
    for row in 1..=20_000 {
        text.push_str(&if row == 17_321 { "x17321,1\n".to_owned() } else { format!("{row},{}\n", row % 7) });
    }
    write(&dir, "a.csv", &text);
    let table = files(&dir, "a.csv", "csv", &[("csv.header", "true")]).await.unwrap();
    for partitions in [1, 4, 7] {
        let error = query(&table, partitions, "select sum(id) from f").await.unwrap_err();
        let Some(FilesError::Value { path, row, column, value, .. }) = FilesError::find(&error) else {
            panic!("{error}")
        };
        assert!(path.ends_with("/a.csv"), "{path}");
        assert_eq!((*row, column.as_str(), value.as_str()), (17_321, "id", "`x17321`"));
        assert_eq!(FilesError::find(&error).map(FilesError::kind), Some(ErrorKind::Invalid));
        // A column that nobody asks for is not checked.
        assert_eq!(query(&table, partitions, "select count(*), max(n) from f").await.unwrap(), ["20000|6"]);
    }
}

#[tokio::test]
async fn text_is_the_same_however_it_is_cut() {
    let dir = TempDir::new().unwrap();
    let rows: Vec<String> = (0..5_000).map(|row| format!("{row},{}\n", "v".repeat(row % 50))).collect();
    write(&dir, "plain/a.csv", &rows[..2_000].concat());
    write(&dir, "plain/b.csv", &rows[2_000..].concat());
    write(&dir, "plain/_SUCCESS", "");
    fs::create_dir(dir.path().join("packed")).unwrap();
    for (name, rows) in [("a", &rows[..2_000]), ("b", &rows[2_000..])] {
        let text = futures::stream::iter([Ok(Bytes::from(rows.concat()))]).boxed();
        let packed = FileCompressionType::GZIP.convert_to_compress_stream(text).unwrap();
        let packed: Vec<Bytes> = packed.try_collect().await.unwrap();
        fs::write(dir.path().join(format!("packed/{name}.csv.gz")), packed.concat()).unwrap();
    }
    let sql = "select count(*), count(distinct \"$1\"), sum(\"$1\"), sum(length(\"$2\")) from f";
    for path in
        ["plain/*.csv", "plain/", "packed/*.gz", "plain/a.csv;packed/b.csv.gz", "{plain,packed}/a.csv;plain/b.csv"]
    {
        let table = files(&dir, path, "csv", &[]).await.unwrap();
        assert_eq!(table.files().len(), 2, "{path}");
        for partitions in [1, 3, 8] {
            let found = query(&table, partitions, sql).await.unwrap();
            assert_eq!(found, [format!("5000|5000|{}|{}", 4_999 * 2_500, 100 * 25 * 49)], "{path} {partitions}");
        }
    }
}

#[tokio::test]
async fn parquet_columns_are_united_by_name_and_widened() {
    let dir = TempDir::new().unwrap();
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    parquet(&dir.path().join("1.parquet"), vec![("id", ids), ("name", names.clone())], 100);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40, 4]));
    let amounts: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5]));
    parquet(&dir.path().join("2.parquet"), vec![("amount", amounts), ("id", ids)], 100);
    let table = files(&dir, "*.parquet", "parquet", &[]).await.unwrap();
    assert_eq!(columns(&table), ["id bigint true", "name string true", "amount double true"]);
    assert_eq!(
        query(&table, 2, "select * from f").await.unwrap(),
        ["1099511627776|NULL|0.5", "1|a|NULL", "2|NULL|NULL", "4|NULL|1.5"]
    );
    assert_eq!(query(&table, 2, "select id from f where name is null and amount > 1").await.unwrap(), ["4"]);
    let error = files(&dir, "*.parquet", "parquet", &[("fill_mismatch_column_with", "none")]).await.unwrap_err();
    assert!(error.to_string().contains("2.parquet\" lacks the column `name`"), "{error}");
    parquet(
        &dir.path().join("3.parquet"),
        vec![("id", Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([Some([Some(1)])])))],
        100,
    );
    let error = files(&dir, "*.parquet", "parquet", &[]).await.unwrap_err();
    assert!(error.to_string().contains("3.parquet\", column `id`: array<int> here, bigint in"), "{error}");
}

#[tokio::test]
async fn parquet_row_groups_are_pruned_and_filters_run_in_the_reader() {
    let dir = TempDir::new().unwrap();
    for file in 0..3i64 {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(file * 10_000..(file + 1) * 10_000));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..10_000).map(|row| format!("t{}", row % 100))));
        parquet(&dir.path().join(format!("{file}.parquet")), vec![("id", ids), ("t", texts)], 1_000);
    }
    let table = files(&dir, "?.parquet", "parquet", &[]).await.unwrap();
    let session = session(3);
    session.register_table("f", table.provider()).unwrap();
    let frame = session.sql("select t from f where id between 12500 and 12510").await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(text.contains("DataSourceExec") && !text.contains("FilterExec"), "{text}");
    let rows: usize = collect(plan.clone(), session.task_ctx()).await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 11);
    let mut leaf = plan;
    while let Some(child) = leaf.children().first().map(|child| (*child).clone()) {
        leaf = child;
    }
    let metrics = leaf.metrics().unwrap();
    assert_eq!(metrics.output_rows(), Some(11));
    // Of the row group that holds them, and of no other.
    let excluded = metrics.sum_by_name("pushdown_rows_pruned").unwrap().as_usize();
    assert!(excluded < 1_000, "{excluded} rows were read for nothing");
    assert_eq!(query(&table, 2, "select count(*), sum(id) from f").await.unwrap(), ["30000|449985000"]);
}

#[tokio::test]
async fn a_file_that_is_not_parquet_is_named() {
    let dir = TempDir::new().unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    parquet(&dir.path().join("a.parquet"), vec![("id", ids)], 100);
    write(&dir, "b.parquet", "this is no parquet file, whatever its name says");
    let error = files(&dir, "*.parquet", "parquet", &[]).await.unwrap_err();
    assert!(error.to_string().contains("b.parquet\" is not a readable Parquet file"), "{error}");
    // A file that is cut after it was listed.
    let table = files(&dir, "a.parquet", "parquet", &[]).await.unwrap();
    let whole = fs::read(dir.path().join("a.parquet")).unwrap();
    fs::write(dir.path().join("a.parquet"), &whole[..whole.len() / 2]).unwrap();
    let error = query(&table, 1, "select sum(id) from f").await.unwrap_err();
    let found = FilesError::find(&error).unwrap_or_else(|| panic!("{error}")).to_string();
    assert!(found.contains("a.parquet"), "{found}");
    fs::remove_file(dir.path().join("a.parquet")).unwrap();
    let error = query(&table, 1, "select sum(id) from f").await.unwrap_err();
    assert_eq!(FilesError::find(&error).map(FilesError::kind), Some(ErrorKind::NotFound), "{error}");
}

#[tokio::test]
async fn json_is_read_as_lines_and_as_an_array() {
    let dir = TempDir::new().unwrap();
    write(&dir, "a.json", "{\"id\": 1, \"tags\": [\"x\"]}\n{\"id\": 2.5, \"extra\": true}\n");
    write(&dir, "b.json", "[\n  {\"id\": 3,\n   \"name\": \"c\"}\n]");
    let table = files(&dir, "{a,b}.json", "json", &[]).await.unwrap();
    assert_eq!(
        columns(&table),
        ["id double true", "tags array<string> true", "extra boolean true", "name string true"]
    );
    assert_eq!(
        query(&table, 3, "select * from f").await.unwrap(),
        ["1.0|[x]|NULL|NULL", "2.5|NULL|true|NULL", "3.0|NULL|NULL|c"]
    );
    write(&dir, "c.json", "{\"id\": 1}\n{\"id\": oops}\n");
    let error = files(&dir, "c.json", "json", &[]).await.unwrap_err();
    assert!(error.to_string().contains("c.json"), "{error}");
}

#[tokio::test]
async fn nothing_found_is_an_error_that_names_the_path() {
    let dir = TempDir::new().unwrap();
    write(&dir, "a.csv", "1\n");
    for path in ["*.parquet", "b.csv", "a.csv;b.csv", "nowhere/*/x.csv"] {
        let error = files(&dir, path, "csv", &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("no file matches"), "{error}");
    }
    assert_eq!(files(&dir, "{a,b}.csv", "csv", &[]).await.unwrap().files().len(), 1);
}

#[tokio::test]
async fn one_file_is_read_in_its_order_with_the_columns_of_all() {
    let dir = TempDir::new().unwrap();
    write(&dir, "1.csv", "a,1\n");
    let rows: String = (0..3_000).map(|row| format!("b{},{row}\n", row % 3)).collect();
    write(&dir, "2.csv", &rows);
    let table = files(&dir, "*.csv", "csv", &[]).await.unwrap();
    assert!(table.display(&table.files()[1]).ends_with("/2.csv"));
    let one: Arc<dyn TableProvider> = table.file_provider(1).unwrap();
    assert!(table.file_provider(2).is_none());
    let session = session(1);
    session.register_table("f", one).unwrap();
    let batches = session.sql("select \"$2\" from f").await.unwrap().collect().await.unwrap();
    let values: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec())
        .collect();
    assert_eq!(values, (0..3_000).collect::<Vec<i64>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Columns of random files come back by name; those that a file lacks are NULL.
    #[test]
    fn random_parquet_files_are_united(files_of in prop::collection::vec((0usize..300, any::<[bool; 3]>()), 1..5), partitions in 1usize..5) {
        let dir = TempDir::new().unwrap();
        let names = ["x", "y", "z"];
        let mut expected = Vec::new();
        for (number, (rows, has)) in files_of.iter().enumerate() {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..*rows as i64).map(|row| row + 1000 * number as i64)));
            let mut columns = vec![("id", ids)];
            for (column, name) in names.iter().enumerate().filter(|(column, _)| has[*column]) {
                let values = (0..*rows as i32).map(|row| (row % 5 != 0).then_some(row * (column as i32 + 1)));
                columns.push((name, Arc::new(Int32Array::from_iter(values))));
            }
            parquet(&dir.path().join(format!("{number}.parquet")), columns, 64);
            for row in 0..*rows as i64 {
                let value = |column: usize| match has[column] && row % 5 != 0 {
                    true => (row * (column as i64 + 1)).to_string(),
                    false => "NULL".to_owned(),
                };
                if row >= 10 {
                    expected.push(format!("{}|{}|{}|{}", row + 1000 * number as i64, value(0), value(1), value(2)));
                }
            }
        }
        expected.sort();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let table = files(&dir, "*.parquet", "parquet", &[]).await.unwrap();
            let known: Vec<String> = table.describe().into_iter().map(|(name, ..)| name).collect();
            let column = |name: &str| match known.iter().any(|known| known == name) {
                true => name.to_owned(),
                false => format!("null as {name}"),
            };
            let sql = format!("select id, {}, {}, {} from f where id % 1000 >= 10", column("x"), column("y"), column("z"));
            query(&table, partitions, &sql).await.unwrap()
        });
        prop_assert_eq!(found, expected);
    }
}
