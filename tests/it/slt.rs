//! Runs every file in `tests/slt`, embedded and on a cluster. Each file has a database of its own; `$data` in a file
//! is a folder for files that it reads. Tables that a file leaves behind are made again from `SHOW CREATE TABLE`.

use std::fmt;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_flight::error::FlightError;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use tonic::async_trait;

use crate::harness::{Client, Cluster};

#[test]
fn every_file_passes_embedded() {
    run_all(&Cluster::dev(), "embedded", "set scan_bytes_per_task = 33554432");
}

#[test]
fn every_file_passes_on_a_cluster() {
    // The least read is worth a task on a compute node, so that small tables are queried there.
    run_all(&Cluster::three(), "cluster", "set scan_bytes_per_task = 1");
}

/// Runs every file in sessions that begin with the statement `setting`. Records may be `onlyif` the mode.
fn run_all(cluster: &Cluster, mode: &str, setting: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut failures = Vec::new();
    let files = files();
    assert!(!files.is_empty(), "no files");
    for file in &files {
        let name = file.file_stem().expect("a name").to_str().expect("UTF-8");
        if let Err(error) = runtime.block_on(run_file(cluster, file, name, mode, setting)) {
            failures.push(format!("{name}: {error}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} files fail\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .collect();
    files.sort();
    files
}

async fn run_file(cluster: &Cluster, file: &Path, name: &str, mode: &str, setting: &str) -> Result<(), String> {
    let url = cluster.url();
    let database = format!("slt_{name}");
    let mut client = Client::connect(&url).await;
    for sql in [format!("drop database if exists {database}"), format!("create database {database}")] {
        client.run(&sql).await.map_err(|e| Failure(e).to_string())?;
    }
    let mut runner = Runner::new(|| {
        let (url, database) = (url.clone(), database.clone());
        async move {
            let mut client = Client::connect(&url).await;
            client.run(&format!("use {database}")).await.map_err(Failure)?;
            client.run(setting).await.map_err(Failure)?;
            Ok(Session(client))
        }
    });
    runner.add_label(mode);
    runner.with_column_validator(sqllogictest::strict_column_validator);
    let script = std::fs::read_to_string(file).expect("a file");
    let data = cluster.folder().join("slt-data");
    std::fs::create_dir_all(&data).expect("a folder");
    let script = script.replace("$data", data.to_str().expect("UTF-8"));
    runner.run_script_async(&script).await.map_err(|e| e.display(false).to_string())?;
    make_again(&mut client, &database).await
}

/// Makes each table of the database in another one from the text that `SHOW CREATE TABLE` gives, which must then be the
/// new table's, too.
async fn make_again(client: &mut Client, database: &str) -> Result<(), String> {
    let copy = format!("{database}_copy");
    for sql in [format!("drop database if exists {copy}"), format!("create database {copy}"), format!("use {copy}")] {
        texts(client, &sql).await?;
    }
    for table in texts(client, &format!("show tables from {database}")).await? {
        let shown = texts(client, &format!("show create table {database}.`{}`", table[0])).await?;
        let text = &shown[0][1];
        if text.starts_with("CREATE TABLE") {
            texts(client, text).await?;
            let again = texts(client, &format!("show create table `{}`", table[0])).await?;
            if again != shown {
                return Err(format!("{text}\nis made again as\n{}", again[0][1]));
            }
        }
    }
    texts(client, &format!("drop database {copy}")).await.map(drop)
}

async fn texts(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let batches = client.run(sql).await.map_err(|e| format!("{sql}: {}", Failure(e)))?;
    Ok(batches.iter().flat_map(rows).collect())
}

struct Session(Client);

/// A failed statement, in the server's words.
#[derive(Debug)]
struct Failure(FlightError);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            FlightError::Tonic(status) => f.write_str(status.message()),
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

#[async_trait]
impl sqllogictest::AsyncDB for Session {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let batches = self.0.run(sql).await.map_err(Failure)?;
        let Some(first) = batches.first().filter(|b| b.num_columns() > 0) else {
            return Ok(DBOutput::StatementComplete(0));
        };
        Ok(DBOutput::Rows {
            types: first.schema().fields().iter().map(|f| column_type(f.data_type())).collect(),
            rows: batches.iter().flat_map(rows).collect(),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "tarn"
    }
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    if data_type.is_integer() {
        DefaultColumnType::Integer
    } else if data_type.is_numeric() {
        DefaultColumnType::FloatingPoint
    } else {
        DefaultColumnType::Text
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::new().with_null("NULL").with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let columns: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).expect("a formatter")).collect();
    let value = |column: usize, row: usize| {
        let text = columns[column].value(row).to_string();
        if text.is_empty() { "(empty)".to_owned() } else { text }
    };
    (0..batch.num_rows()).map(|row| (0..columns.len()).map(|column| value(column, row)).collect()).collect()
}
