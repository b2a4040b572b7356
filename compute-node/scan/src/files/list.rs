//! From patterns to files, one level at a time: only folders that can hold a match are listed.

use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::{Path, PathPart};
use object_store::{ObjectMeta, ObjectStoreExt};

use super::error::FilesError;
use super::glob::{Pattern, is_pattern};
use super::location::Location;
use super::store::Access;

/// Listings and look-ups of one call that run at the same time.
const CONCURRENT_REQUESTS: usize = 16;

/// The files at `location`, by name. Empty files, which hold no rows in any format, are left out when a pattern found
/// them.
pub(super) async fn list(access: &Access, location: &Location) -> Result<Vec<ObjectMeta>, FilesError> {
    let Some((last, folders)) = location.segments.split_last() else { return Err(no_match(location)) };
    let mut bases = vec![Path::default()];
    let mut pattern = false;
    for segment in folders {
        bases = if is_pattern(segment) {
            pattern = true;
            let matcher = Pattern::new(segment);
            let listings: Vec<_> = bases.iter().map(|base| list_folder(access, location, base).boxed()).collect();
            let found = futures::stream::iter(listings).buffered(CONCURRENT_REQUESTS).try_collect::<Vec<_>>().await?;
            let folders = found.into_iter().flat_map(|found| found.0);
            folders.filter(|folder| folder.filename().is_some_and(|name| matcher.matches(name))).collect()
        } else {
            bases.iter().map(|base| child(base, segment, location)).collect::<Result<_, _>>()?
        };
    }
    let mut files = if is_pattern(last) {
        let matcher = Pattern::new(last);
        let listings: Vec<_> = bases.iter().map(|base| list_folder(access, location, base).boxed()).collect();
        let found = futures::stream::iter(listings).buffered(CONCURRENT_REQUESTS).try_collect::<Vec<_>>().await?;
        let objects = found.into_iter().flat_map(|found| found.1);
        let matching = |meta: &ObjectMeta| meta.location.filename().is_some_and(|name| matcher.matches(name));
        objects.filter(|meta| meta.size > 0 && matching(meta)).collect()
    } else {
        let paths = bases.iter().map(|base| child(base, last, location)).collect::<Result<Vec<_>, _>>()?;
        let heads: Vec<_> = paths.iter().map(|path| head(access, location, path).boxed()).collect();
        let heads = futures::stream::iter(heads);
        heads.buffered(CONCURRENT_REQUESTS).try_filter_map(|found| async { Ok(found) }).try_collect::<Vec<_>>().await?
    };
    if files.is_empty() && !is_pattern(last) && !pattern {
        // The path may be a folder: then its files are meant.
        for base in &bases {
            let folder = child(base, last, location)?;
            let matcher = Pattern::new("*");
            let found = list_folder(access, location, &folder).await?.1;
            let visible = |meta: &ObjectMeta| meta.location.filename().is_some_and(|name| matcher.matches(name));
            files.extend(found.into_iter().filter(|meta| meta.size > 0 && visible(meta)));
        }
    }
    if files.is_empty() {
        return Err(no_match(location));
    }
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

fn no_match(location: &Location) -> FilesError {
    FilesError::NoMatch { path: location.text.clone() }
}

fn child(base: &Path, segment: &str, location: &Location) -> Result<Path, FilesError> {
    let part = PathPart::parse(segment).map_err(|error| FilesError::Path {
        path: location.text.clone(),
        reason: format!("`{segment}` cannot be part of a path: {error}"),
    })?;
    Ok(base.clone().join(part))
}

/// Folders and files right below `base`.
async fn list_folder(
    access: &Access,
    location: &Location,
    base: &Path,
) -> Result<(Vec<Path>, Vec<ObjectMeta>), FilesError> {
    match access.store.list_with_delimiter(Some(base)).await {
        Ok(found) => Ok((found.common_prefixes, found.objects)),
        Err(object_store::Error::NotFound { .. }) => Ok((Vec::new(), Vec::new())),
        Err(error) => Err(access.store_error(location.text.clone(), &error)),
    }
}

/// The file at `path`, if there is one.
async fn head(access: &Access, location: &Location, path: &Path) -> Result<Option<ObjectMeta>, FilesError> {
    match access.store.head(path).await {
        Ok(meta) => Ok(Some(meta)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(access.store_error(location.text.clone(), &error)),
    }
}
