//! Files as a table.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use object_store::ObjectMeta;
use tarn_proto::DataType;

use super::error::FilesError;
use super::infer::infer;
use super::list::list;
use super::location::Location;
use super::options::FilesOptions;
use super::provider::FilesProvider;
use super::store::Access;
use super::text::TextOptions;
use super::union::TableColumn;

/// The files of one `FILES(..)` and the columns they have together.
#[derive(Debug)]
pub struct FilesTable {
    pub(super) access: Arc<Access>,
    pub(super) files: Vec<ObjectMeta>,
    pub(super) schema: SchemaRef,
    pub(super) text: Option<Arc<TextOptions>>,
    /// About how many rows there are.
    pub(super) rows: u64,
    columns: Vec<TableColumn>,
}

/// Lists the files of a call and infers their columns. Requests are repeated with growing waits when a store fails.
///
/// # Errors
/// Nothing matches, the store refuses or fails, a file is not what its format says, or columns cannot be united.
pub async fn resolve(options: &FilesOptions) -> Result<FilesTable, FilesError> {
    let mut locations = Vec::new();
    for path in &options.paths {
        locations.extend(Location::parse(path)?);
    }
    let Some(first) = locations.first() else { return Err(FilesError::NoMatch { path: options.paths.join(", ") }) };
    if let Some(other) = locations.iter().find(|location| location.root != first.root) {
        let reason = format!("is not where \"{}\" is; files of one call are in one bucket", first.text);
        return Err(FilesError::Path { path: other.text.clone(), reason });
    }
    let access = Access::open(options, first.root.clone())?;
    let mut files = Vec::new();
    for location in &locations {
        match list(&access, location).await {
            Ok(found) => files.extend(found),
            // One of several choices in `{a,b}` may be absent, a path that was written may not.
            Err(FilesError::NoMatch { .. })
                if locations.iter().filter(|other| other.text == location.text).count() > 1 => {}
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() {
        return Err(FilesError::NoMatch { path: options.paths.join(", ") });
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.location.clone()));

    let inferred = infer(&access, options, &files).await?;
    let field = |column: &TableColumn| Field::new(&column.name, column.data_type.to_arrow(), column.nullable);
    let schema = Arc::new(Schema::new(inferred.columns.iter().map(field).collect::<Vec<_>>()));
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    let (sampled_rows, sampled_bytes) = inferred.sampled;
    let rows = u128::from(sampled_rows) * u128::from(bytes) / u128::from(sampled_bytes.max(1));
    Ok(FilesTable {
        access: Arc::new(access),
        files,
        schema,
        text: inferred.text.map(Arc::new),
        rows: u64::try_from(rows).unwrap_or(u64::MAX),
        columns: inferred.columns,
    })
}

impl FilesTable {
    /// The columns, in the types of Tarn.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Name, type and whether NULL may occur: what `DESC FILES(..)` shows.
    pub fn describe(&self) -> Vec<(String, DataType, bool)> {
        let row = |column: &TableColumn| (column.name.clone(), column.data_type.clone(), column.nullable);
        self.columns.iter().map(row).collect()
    }

    /// The files, without their store: see [`Self::display`].
    pub fn files(&self) -> &[ObjectMeta] {
        &self.files
    }

    /// A file's full name, such as `s3://bucket/key`.
    pub fn display(&self, file: &ObjectMeta) -> String {
        self.access.display(&file.location)
    }

    /// The table for a plan. It needs nothing from the session's object store registry.
    pub fn provider(self: &Arc<Self>) -> Arc<dyn TableProvider> {
        Arc::new(FilesProvider::new(self.clone(), 0..self.files.len()))
    }

    /// The table of one file, with the columns of the whole table. In a session with one target partition its rows come
    /// in the order of the file, so that a row which a load refuses can be found again by its number. `None` when there
    /// are not so many files.
    pub fn file_provider(self: &Arc<Self>, file: usize) -> Option<Arc<dyn TableProvider>> {
        let one = file < self.files.len();
        one.then(|| Arc::new(FilesProvider::new(self.clone(), file..file + 1)) as Arc<dyn TableProvider>)
    }
}
