//! Requests to a volume, repeated with growing waits until they succeed or cannot, and answers that are what was asked
//! for: whole ranges, and objects whose length and checksum the store confirms.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, RetryConfig};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::warn;

use super::folder::Folder;
use super::options::{REDACTED, s3};
use super::{Error, Location, S3Options, Volume};
use crate::storage::{IndexKey, SegmentKey};
use crate::{RowsetId, TabletId};

/// Attempts of a request: with the waits between them about ten seconds, besides what each takes.
const ATTEMPTS: usize = 8;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// For one request with its body, which has [`PART_BYTES`] at most.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer files are stored in parts of so many bytes, one after the other: memory that a file takes on its way.
const PART_BYTES: u64 = 16 << 20;
/// Requests for the parts of one object that are under way at the same time.
const PARALLEL_READS: usize = 8;

/// A volume's objects. Paths are whole: they begin with the volume's own.
pub struct VolumeStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// What paths stand behind in messages.
    root: String,
    secrets: Vec<String>,
    first_wait: Duration,
}

impl fmt::Debug for VolumeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeStore").field("root", &self.root).finish_non_exhaustive()
    }
}

/// What became of [`VolumeStore::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is there with the bytes given.
    Yes,
    /// Another one is there: its bytes.
    Taken(Bytes),
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: Path,
    /// Its length.
    pub bytes: u64,
    /// How long ago it was written, by the clocks of the store and of this machine.
    pub age: Duration,
}

impl VolumeStore {
    /// A client of a volume. Makes the folder of a local one.
    pub(super) fn open(volume: &Volume) -> Result<Self, Error> {
        let location = Location::parse(&volume.location)?;
        let failed = |reason: String| Error::Location { location: volume.location.clone(), reason };
        match location {
            Location::Folder(folder) => {
                if let Some((name, _)) = volume.properties.first_key_value() {
                    let reason = "a local volume has no such property".to_owned();
                    return Err(Error::Property { name: name.clone(), reason });
                }
                let store = Arc::new(Folder::new(&folder).map_err(|e| failed(format!("cannot use the folder: {e}")))?);
                let root = format!("file://{}", folder.display());
                Ok(Self { store, prefix: Path::default(), root, secrets: Vec::new(), first_wait: FIRST_WAIT })
            }
            Location::S3 { bucket, prefix } => {
                let options = S3Options::parse(&volume.properties)?;
                // Repeats are this module's.
                let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
                let secrets = options.secrets();
                let store = s3(&bucket, &options, retry, REQUEST_TIMEOUT).build();
                let store = Arc::new(store.map_err(|e| failed(redacted(&secrets, &e)))?);
                let prefix = Path::parse(&prefix).map_err(|e| failed(e.to_string()))?;
                Ok(Self { store, prefix, root: format!("s3://{bucket}"), secrets, first_wait: FIRST_WAIT })
            }
        }
    }

    /// A volume in a store that the caller has made. A failed request is repeated after `first_wait`, then twice as long,
    /// and so on.
    pub fn over(store: Arc<dyn ObjectStore>, root: &str, first_wait: Duration) -> Self {
        Self { store, prefix: Path::default(), root: root.to_owned(), secrets: Vec::new(), first_wait }
    }

    /// What all objects of a tablet stand under.
    pub fn tablet(&self, tablet: TabletId) -> Path {
        self.prefix.clone().join(tablet.get().to_string())
    }

    /// A file of a segment; `kind` is what its local name ends with, such as `.vortex`.
    pub fn file(&self, tablet: TabletId, rowset: RowsetId, segment: u32, checksum: u32, kind: &str) -> Path {
        self.tablet(tablet).join(format!("{}_{segment}_{checksum:08x}{kind}", rowset.get()))
    }

    /// A segment, whose file has this CRC32C.
    pub fn segment(&self, tablet: TabletId, rowset: RowsetId, segment: u32, checksum: u32) -> Path {
        self.file(tablet, rowset, segment, checksum, ".vortex")
    }

    /// A segment's sidecar: checksums of its blocks and its short-key index.
    pub fn sidecar(&self, tablet: TabletId, rowset: RowsetId, segment: u32, checksum: u32) -> Path {
        self.file(tablet, rowset, segment, checksum, ".sidecar")
    }

    /// An index of a segment.
    pub fn index(&self, of: SegmentKey, checksum: u32, index: IndexKey) -> Path {
        self.file(of.tablet, of.rowset, of.segment, checksum, &Self::index_kind(index))
    }

    /// What the name of an index's file ends with.
    pub fn index_kind(index: IndexKey) -> String {
        format!(".{}.{}.index", index.column, index.kind.name().to_ascii_lowercase())
    }

    /// An object, as a user would write it.
    pub fn display(&self, path: &Path) -> String {
        format!("{}/{path}", self.root)
    }

    /// A whole object.
    pub async fn get(&self, path: &Path) -> Result<Bytes, Error> {
        self.repeated("read", path, || async {
            let got = self.store.get(path).await?;
            let length = got.meta.size;
            whole(got.bytes().await?, length)
        })
        .await
    }

    /// Ranges of an object, in their order, each as long as asked for.
    pub async fn read(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Error> {
        let reads = ranges.iter().cloned().map(|range| async move {
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let length = range.end - range.start;
            self.repeated("read", path, || async { whole(self.store.get_range(path, range.clone()).await?, length) })
                .await
        });
        futures::stream::iter(reads).buffered(PARALLEL_READS).try_collect().await
    }

    /// Stores a small object, in place of one that is there.
    pub async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        let sum: [u8; 16] = Md5::digest(&bytes).into();
        self.repeated("write", path, || async {
            let put = self.store.put(path, PutPayload::from_bytes(bytes.clone())).await?;
            self.confirm(path, &put, &hex(&sum), bytes.len() as u64, crc32c::crc32c(&bytes)).await
        })
        .await
    }

    /// Stores an object unless there is one of that name, whoever else tries at the same time: all see the same one there.
    /// One that was stored by an attempt whose answer got lost counts as stored.
    pub async fn create(&self, path: &Path, bytes: Bytes) -> Result<Created, Error> {
        self.repeated("create", path, || async {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(path, PutPayload::from_bytes(bytes.clone()), options).await {
                Ok(_) => Ok(Created::Yes),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                    // If it is not there after all, two were being stored at once: then this is tried again.
                    let got = match self.store.get(path).await {
                        Err(error @ object_store::Error::NotFound { .. }) => return Err(torn(error.to_string())),
                        got => got?,
                    };
                    let length = got.meta.size;
                    let there = whole(got.bytes().await?, length)?;
                    Ok(if there == bytes { Created::Yes } else { Created::Taken(there) })
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Stores a local file of so many bytes with this CRC32C.
    pub async fn put_file(&self, path: &Path, file: &std::path::Path, bytes: u64, crc: u32) -> Result<(), Error> {
        let local = |reason: std::io::Error| Error::File {
            object: self.display(path),
            file: file.display().to_string(),
            reason: reason.to_string(),
        };
        if bytes <= PART_BYTES {
            let data = Bytes::from(tokio::fs::read(file).await.map_err(local)?);
            if data.len() as u64 != bytes || crc32c::crc32c(&data) != crc {
                return Err(local(std::io::Error::other("its bytes are not those that were written")));
            }
            return self.put(path, data).await;
        }
        self.repeated("write", path, || self.put_parts(path, file, bytes, crc)).await
    }

    /// Writes an object to a local file, durably, and answers its length and CRC32C.
    pub async fn fetch_file(&self, path: &Path, file: &std::path::Path) -> Result<(u64, u32), Error> {
        self.repeated("read", path, || self.fetch(path, file)).await
    }

    async fn fetch(&self, path: &Path, file: &std::path::Path) -> object_store::Result<(u64, u32)> {
        let unwritten = |error: std::io::Error| torn(format!("{}: {error}", file.display()));
        let got = self.store.get(path).await?;
        let expected = got.meta.size;
        let mut target = File::create(file).await.map_err(unwritten)?;
        let (mut length, mut crc) = (0, 0);
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.try_next().await? {
            target.write_all(&piece).await.map_err(unwritten)?;
            length += piece.len() as u64;
            crc = crc32c::crc32c_append(crc, &piece);
        }
        if length != expected {
            return Err(torn(format!("the answer has {length} bytes instead of {expected}")));
        }
        target.sync_all().await.map_err(unwritten)?;
        Ok((length, crc))
    }

    async fn put_parts(&self, path: &Path, file: &std::path::Path, bytes: u64, crc: u32) -> object_store::Result<()> {
        let unread = |error: std::io::Error| torn(format!("{}: {error}", file.display()));
        let mut source = File::open(file).await.map_err(unread)?;
        let mut upload = self.store.put_multipart(path).await?;
        let (mut sums, mut parts, mut read, mut left) = (Md5::new(), 0, 0, bytes);
        let sent = loop {
            let mut part = vec![0; left.min(PART_BYTES) as usize];
            if let Err(error) = source.read_exact(&mut part).await {
                break Err(unread(error));
            }
            read = crc32c::crc32c_append(read, &part);
            sums.update(Md5::digest(&part));
            parts += 1;
            left -= part.len() as u64;
            if let Err(error) = upload.put_part(PutPayload::from(part)).await {
                break Err(error);
            }
            if left == 0 {
                break Ok(());
            }
        };
        let sent = sent.and_then(|()| match read == crc {
            true => Ok(()),
            false => Err(torn(format!("{}: its bytes are not those that were written", file.display()))),
        });
        let put = match sent {
            Ok(()) => upload.complete().await,
            Err(error) => Err(error),
        };
        match put {
            Ok(put) => {
                let sum: [u8; 16] = sums.finalize().into();
                self.confirm(path, &put, &format!("{}-{parts}", hex(&sum)), bytes, crc).await
            }
            Err(error) => {
                // What the store has of it costs money until it is told.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    /// Makes sure that the store has what was sent. Most stores answer with the MD5 of the object or of its parts'; where
    /// that is not what the answer holds, its length is asked for, and its bytes are read where a sum of the same form
    /// differs (encrypted objects have such).
    async fn confirm(&self, path: &Path, put: &PutResult, sum: &str, bytes: u64, crc: u32) -> object_store::Result<()> {
        let tag = put.e_tag.as_deref().map(|tag| tag.trim_matches('"').to_ascii_lowercase()).unwrap_or_default();
        if tag == sum {
            return Ok(());
        }
        let looks_alike = tag.len() >= 32 && tag.bytes().take(32).all(|b| b.is_ascii_hexdigit());
        let length = if looks_alike {
            let mut stream = self.store.get(path).await?.into_stream();
            let (mut length, mut there) = (0, 0);
            while let Some(piece) = stream.try_next().await? {
                length += piece.len() as u64;
                there = crc32c::crc32c_append(there, &piece);
            }
            if there != crc {
                return Err(torn(format!("the object has checksum {there:08x} instead of {crc:08x}")));
            }
            length
        } else {
            self.store.head(path).await?.size
        };
        match length == bytes {
            true => Ok(()),
            false => Err(torn(format!("the object has {length} bytes instead of {bytes}"))),
        }
    }

    /// The objects under a path whose names come after `after`, in order of their names.
    pub async fn list(&self, under: &Path, after: Option<&Path>) -> Result<Vec<Object>, Error> {
        let now = std::time::SystemTime::now();
        self.repeated("list", under, || async {
            let listed = match after {
                Some(after) => self.store.list_with_offset(Some(under), after),
                None => self.store.list(Some(under)),
            };
            let mut objects: Vec<Object> = listed
                .map_ok(|meta| Object {
                    path: meta.location,
                    bytes: meta.size,
                    age: now.duration_since(meta.last_modified.into()).unwrap_or_default(),
                })
                .try_collect()
                .await?;
            objects.sort_by(|a, b| a.path.as_ref().cmp(b.path.as_ref()));
            Ok(objects)
        })
        .await
    }

    /// Removes objects; those that are not there are removed already.
    pub async fn delete(&self, paths: &[Path]) -> Result<(), Error> {
        let Some(first) = paths.first() else { return Ok(()) };
        self.repeated("remove", first, || async {
            let all = futures::stream::iter(paths.to_vec()).map(Ok).boxed();
            let mut removed = self.store.delete_stream(all);
            while let Some(one) = removed.next().await {
                match one {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
    }

    /// Repeats a request until it succeeds or fails for a reason that stays.
    async fn repeated<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        action: &'static str,
        path: &Path,
        request: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut wait = self.first_wait;
        let mut attempts = 1;
        loop {
            let error = match request().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let object = self.display(path);
            let reason = redacted(&self.secrets, &error);
            match error {
                object_store::Error::NotFound { .. } => return Err(Error::NotFound { object }),
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                    return Err(Error::Denied { object, reason });
                }
                object_store::Error::NotImplemented { .. }
                | object_store::Error::NotSupported { .. }
                | object_store::Error::InvalidPath { .. } => {
                    return Err(Error::Failed { action, object, reason, attempts });
                }
                _ if attempts == ATTEMPTS => return Err(Error::Failed { action, object, reason, attempts }),
                _ => {}
            }
            warn!(action, object, reason, "a request to a storage volume failed and is repeated");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            attempts += 1;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn redacted(secrets: &[String], error: &dyn fmt::Display) -> String {
    let mut text = error.to_string();
    for secret in secrets {
        text = text.replace(secret.as_str(), REDACTED);
    }
    text
}

/// An answer that is not what was asked for: worth another attempt.
fn torn(what: String) -> object_store::Error {
    object_store::Error::Generic { store: "volume", source: what.into() }
}

fn whole(bytes: Bytes, length: u64) -> object_store::Result<Bytes> {
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(torn(format!("the answer has {} bytes instead of {length}", bytes.len()))),
    }
}

#[cfg(test)]
mod tests;
