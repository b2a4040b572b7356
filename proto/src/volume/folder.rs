//! A folder as an object store whose objects survive the loss of power.
//!
//! An object is written under a name that listings leave out, synced, and then gets its own name, by a link where there must
//! not be one of that name; then its directories are synced, up to the folder. So whoever finds an object finds it whole,
//! and what was stored stays. Removals are not synced: what comes back after a loss of power is removed again.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use uuid::Uuid;

/// Makes what a file or directory holds durable.
type Sync = fn(&std::path::Path) -> io::Result<()>;

fn sync(path: &std::path::Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory, durably, and those above it.
fn make(directory: &std::path::Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(above) = directory.parent() else { return Ok(()) };
    make(above)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync(above),
    }
}

/// A folder of the file system.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    files: LocalFileSystem,
    root: PathBuf,
    sync: Sync,
}

impl Folder {
    /// The folder, which is made if it is not there.
    pub fn new(root: &std::path::Path) -> Result<Self> {
        make(root).map_err(failed)?;
        Self::syncing_by(root, sync)
    }

    fn syncing_by(root: &std::path::Path, sync: Sync) -> Result<Self> {
        let files = LocalFileSystem::new_with_prefix(root)?;
        Ok(Self { files, root: fs::canonicalize(root).map_err(failed)?, sync })
    }

    fn stage(&self, location: &Path) -> Result<Staged> {
        let object = self.files.path_to_filesystem(location)?;
        if let Some(directory) = object.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        // A number behind `#` is what the file system's listings leave out.
        let mut path = object.clone().into_os_string();
        path.push(format!("#{}", Uuid::new_v4().as_u128()));
        let path = PathBuf::from(path);
        let file = File::create_new(&path).map_err(failed)?;
        Ok(Staged { folder: self.clone(), file, path, object })
    }
}

/// A file that becomes an object. Dropping it removes it.
struct Staged {
    folder: Folder,
    file: File,
    path: PathBuf,
    object: PathBuf,
}

impl Staged {
    /// Gives it the object's name: in place of the object that has it, or only if there is none.
    fn place(&self, only_if_absent: bool) -> Result<PutResult> {
        let sync = self.folder.sync;
        sync(&self.path).map_err(failed)?;
        let placed = match only_if_absent {
            true => fs::hard_link(&self.path, &self.object),
            false => fs::rename(&self.path, &self.object),
        };
        let is_taken = placed.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
        if placed.is_ok() || is_taken {
            // Whoever has put the other one there may not have come so far.
            for directory in self.object.ancestors().skip(1).take_while(|above| above.starts_with(&self.folder.root)) {
                sync(directory).map_err(failed)?;
            }
        }
        match placed {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(source) if is_taken => {
                Err(Error::AlreadyExists { path: self.object.display().to_string(), source: source.into() })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone where it was renamed. What a killed process leaves here takes space and is in nobody's way.
        let _ = fs::remove_file(&self.path);
    }
}

/// An object that comes in parts.
struct Upload {
    /// None once it has ended.
    staged: Option<Arc<Staged>>,
    bytes: u64,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn ended() -> Error {
    failed(io::Error::other("the upload has ended"))
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let at = self.bytes;
        self.bytes += data.content_length() as u64;
        let staged = self.staged.clone();
        blocking(move || write(&staged.ok_or_else(ended)?.file, at, &data)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take();
        blocking(move || staged.ok_or_else(ended)?.place(false)).await
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take();
        blocking(move || {
            drop(staged);
            Ok(())
        })
        .await
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let only_if_absent = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            // Refused there, too.
            PutMode::Update(_) => return self.files.put_opts(location, payload, options).await,
        };
        let (folder, location) = (self.clone(), location.clone());
        blocking(move || {
            let staged = folder.stage(&location)?;
            write(&staged.file, 0, &payload)?;
            staged.place(only_if_absent)
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let (folder, location) = (self.clone(), location.clone());
        let staged = blocking(move || folder.stage(&location)).await?;
        Ok(Box::new(Upload { staged: Some(Arc::new(staged)), bytes: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

fn failed(error: io::Error) -> Error {
    Error::Generic { store: "folder", source: error.into() }
}

fn write(file: &File, at: u64, payload: &PutPayload) -> Result<()> {
    payload
        .iter()
        .try_fold(at, |at, part| {
            file.write_all_at(part, at)?;
            Ok(at + part.len() as u64)
        })
        .map(drop)
        .map_err(failed)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(failed(io::Error::other("the process is stopping"))))
}

#[cfg(test)]
mod tests;
