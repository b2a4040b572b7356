//! The columns of files, from a sample of them.

use std::collections::HashSet;

use arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use tarn_proto::DataType;

use super::error::FilesError;
use super::options::{FilesOptions, Format};
use super::store::Access;
use super::text::{Fault, FaultKind, TextOptions, detect_separator, inspect_csv, inspect_json, sample};
use super::union::{FileColumn, TableColumn, unite};

/// Parquet footers that are read, by default: they are small and exact.
const PARQUET_SAMPLE: usize = 256;
/// Text files that are looked at, by default.
const TEXT_SAMPLE: usize = 10;
/// Bytes that are looked at, of each text file.
const TEXT_SAMPLE_BYTES: u64 = 4 << 20;
/// Footers and samples that are read at the same time.
const CONCURRENT_SAMPLES: usize = 16;
/// Read at the end of a Parquet file in the first request: more than most footers.
pub(super) const FOOTER_HINT: usize = 512 << 10;

/// What the sample showed.
#[derive(Debug)]
pub(super) struct Inferred {
    pub columns: Vec<TableColumn>,
    /// For CSV and JSON.
    pub text: Option<TextOptions>,
    /// Rows and bytes of the files looked at, for estimates.
    pub sampled: (u64, u64),
}

/// What one file showed.
struct Seen {
    path: String,
    columns: Vec<FileColumn>,
    rows: u64,
    bytes: u64,
    /// Whether records go over several lines.
    whole: bool,
}

/// Infers the columns of `files`.
pub(super) async fn infer(
    access: &Access,
    options: &FilesOptions,
    files: &[ObjectMeta],
) -> Result<Inferred, FilesError> {
    let chosen = choose(
        files,
        options.sample.files.unwrap_or(match options.format {
            Format::Parquet => PARQUET_SAMPLE,
            Format::Csv | Format::Json => TEXT_SAMPLE,
        }),
    );
    let mut text = match options.format {
        Format::Parquet => None,
        _ => Some(text_options(access, options, files).await?),
    };
    let looks: Vec<_> = chosen.iter().map(|file| look(access, options, text.as_ref(), file).boxed()).collect();
    let seen: Vec<Seen> = futures::stream::iter(looks).buffered(CONCURRENT_SAMPLES).try_collect().await?;
    if let Some(text) = &mut text {
        text.whole |= seen.iter().any(|seen| seen.whole);
        text.ragged = seen.iter().any(|other| other.columns.len() != seen[0].columns.len());
        check_headers(text, &seen)?;
    }
    let sampled = seen.iter().fold((0, 0), |(rows, bytes), seen| (rows + seen.rows, bytes + seen.bytes));
    let named: Vec<_> = seen.into_iter().map(|seen| (seen.path, seen.columns)).collect();
    let mut columns = unite(&named, options.fill_missing)?;
    if chosen.len() < files.len() || options.format != Format::Parquet {
        columns.iter_mut().for_each(|column| column.nullable = true);
    }
    Ok(Inferred { columns, text, sampled })
}

/// At most `count` files, spread evenly, the first and the last among them.
fn choose(files: &[ObjectMeta], count: usize) -> Vec<&ObjectMeta> {
    let last = files.len() - 1;
    if count > last {
        return files.iter().collect();
    }
    if count == 1 {
        return vec![&files[0]];
    }
    (0..count).map(|at| &files[at * last / (count - 1)]).collect()
}

async fn text_options(
    access: &Access,
    options: &FilesOptions,
    files: &[ObjectMeta],
) -> Result<TextOptions, FilesError> {
    let separator = match (options.format, options.csv.separator) {
        (Format::Csv, None) => detect_separator(&options.csv, &begin(access, &files[0]).await?.0),
        (_, separator) => separator.unwrap_or(b','),
    };
    Ok(TextOptions {
        format: options.format,
        csv: options.csv.clone(),
        separator,
        ragged: false,
        // A line end may be inside an enclosed value.
        whole: options.csv.enclose.is_some(),
    })
}

async fn begin(access: &Access, file: &ObjectMeta) -> Result<(bytes::Bytes, bool), FilesError> {
    sample(access, file, TEXT_SAMPLE_BYTES).await.map_err(|error| access.read_error(&file.location, &error))
}

async fn look(
    access: &Access,
    options: &FilesOptions,
    text: Option<&TextOptions>,
    file: &ObjectMeta,
) -> Result<Seen, FilesError> {
    let path = access.display(&file.location);
    let malformed = |reason: String| FilesError::Malformed { path: path.clone(), format: options.format, reason };
    match (options.format, text) {
        (Format::Csv, Some(text)) => {
            let (bytes, complete) = begin(access, file).await?;
            let seen = inspect_csv(text, &bytes, complete, options.sample.rows, options.sample.types)
                .map_err(|fault| row_error(&path, fault))?;
            let column = |(name, data_type)| FileColumn { name, data_type, nullable: true };
            let columns = seen.columns.into_iter().map(column).collect();
            Ok(estimate(path, columns, seen.rows, options.sample.rows, &bytes, file, false))
        }
        (Format::Json, _) => {
            let (bytes, complete) = begin(access, file).await?;
            let seen = inspect_json(&bytes, complete, options.sample.rows).map_err(malformed)?;
            let columns = columns(&path, &seen.fields)?;
            Ok(estimate(path, columns, seen.rows, options.sample.rows, &bytes, file, seen.whole))
        }
        _ => {
            let reader = DFParquetMetadata::new(access.store.as_ref(), file).with_metadata_size_hint(Some(FOOTER_HINT));
            let footer = reader.fetch_metadata().await.map_err(|error| access.read_error(&file.location, &error))?;
            let meta = footer.file_metadata();
            let schema = parquet_to_arrow_schema(meta.schema_descr(), meta.key_value_metadata());
            let schema = schema.map_err(|error| malformed(error.to_string()))?;
            let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
            let columns = columns(&path, &fields)?;
            let rows = u64::try_from(meta.num_rows()).unwrap_or(0);
            Ok(Seen { path, columns, rows, bytes: file.size, whole: false })
        }
    }
}

/// Rows looked at came from about so many bytes of the sample.
fn estimate(
    path: String,
    columns: Vec<FileColumn>,
    rows: usize,
    limit: usize,
    sample: &[u8],
    file: &ObjectMeta,
    whole: bool,
) -> Seen {
    // When the limit ended the look, only some lines of the sample were read.
    let lines = sample.iter().filter(|byte| **byte == b'\n').count().max(rows).max(1) as u64;
    let size = (sample.len() as u64).min(file.size);
    let bytes = if rows < limit { size } else { size * rows as u64 / lines };
    Seen { path, columns, rows: rows as u64, bytes, whole }
}

fn row_error(path: &str, fault: Fault) -> FilesError {
    let reason = match fault.kind {
        FaultKind::Row(reason) => reason,
        FaultKind::Value { column, value, expected } => format!("column `{column}`: {value} is not a {expected}"),
    };
    FilesError::Row { path: path.to_owned(), row: fault.row, reason }
}

/// The columns of a file with these fields.
fn columns(path: &str, fields: &[Field]) -> Result<Vec<FileColumn>, FilesError> {
    let mut names = HashSet::new();
    fields
        .iter()
        .map(|field| {
            let error = |found: String| FilesError::Type { path: path.to_owned(), column: field.name().clone(), found };
            if !names.insert(field.name()) {
                return Err(error("that another column of the file has the name of".to_owned()));
            }
            let data_type = match field.data_type() {
                ArrowType::Null => None,
                other => Some(DataType::from_arrow(other).ok_or_else(|| error(other.to_string()))?),
            };
            Ok(FileColumn { name: field.name().clone(), data_type, nullable: field.is_nullable() })
        })
        .collect()
}

/// Columns of CSV files are taken by position: with names in the header, all headers must agree.
fn check_headers(text: &TextOptions, seen: &[Seen]) -> Result<(), FilesError> {
    if text.format != Format::Csv || !text.csv.header {
        return Ok(());
    }
    let longest = seen.iter().max_by_key(|seen| seen.columns.len());
    for other in seen {
        let Some(differs) = other
            .columns
            .iter()
            .zip(longest.iter().flat_map(|longest| &longest.columns))
            .find(|(a, b)| a.name != b.name)
        else {
            continue;
        };
        let reason = format!(
            "its header has `{}` where another file has `{}`; read it by itself",
            differs.0.name, differs.1.name
        );
        return Err(FilesError::Malformed { path: other.path.clone(), format: Format::Csv, reason });
    }
    Ok(())
}
