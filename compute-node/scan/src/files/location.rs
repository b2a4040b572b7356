//! Paths of `FILES(..)`: which store, and which segments in it. Pure.

use object_store::path::Path;

use super::error::FilesError;
use super::glob;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// The local file system of the node that reads.
    Local,
    /// A bucket in S3.
    S3 {
        /// Its name.
        bucket: String,
    },
}

/// A path with patterns, in one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub root: Root,
    /// Names and patterns from the root; the last one names files.
    pub segments: Vec<String>,
    /// As written.
    pub text: String,
}

impl Root {
    /// A file of this store, as a user would write it.
    pub fn display(&self, path: &Path) -> String {
        match self {
            Self::Local => format!("file:///{path}"),
            Self::S3 { bucket } => format!("s3://{bucket}/{path}"),
        }
    }
}

impl Location {
    /// The locations that a path stands for: more than one when it has `{..}`. A path that ends with `/` means the files
    /// in that folder.
    pub fn parse(text: &str) -> Result<Vec<Self>, FilesError> {
        let wrong = |reason: &str| FilesError::Path { path: text.to_owned(), reason: reason.to_owned() };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if text.starts_with('/') => ("file".to_owned(), text),
            None => return Err(wrong("relative paths are not read; write file:///absolute/path or s3://bucket/key")),
        };
        let (root, path) = match scheme.as_str() {
            "file" if rest.starts_with('/') => (Root::Local, rest),
            "file" => return Err(wrong("a local path is absolute: file:///folder/file, with three slashes")),
            "s3" | "s3a" | "s3n" => {
                let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() || glob::is_pattern(bucket) || bucket.contains('{') {
                    return Err(wrong("a bucket's name must be given: s3://bucket/key"));
                }
                (Root::S3 { bucket: bucket.to_owned() }, path)
            }
            _ => return Err(wrong("only file:// and s3:// are supported")),
        };
        glob::expand(path).iter().map(|path| Self::segments(&root, path, text)).collect()
    }

    fn segments(root: &Root, path: &str, text: &str) -> Result<Self, FilesError> {
        let mut segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        if path.is_empty() || path.ends_with('/') {
            segments.push("*".to_owned());
        }
        if segments.iter().any(|segment| segment == "." || segment == "..") {
            let reason = "`.` and `..` are not read; write the folder's own path".to_owned();
            return Err(FilesError::Path { path: text.to_owned(), reason });
        }
        Ok(Self { root: root.clone(), segments, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Location {
        Location::parse(text).unwrap().remove(0)
    }

    #[test]
    fn local_and_s3_paths_are_told_apart() {
        assert_eq!(one("/data/a b/*.csv").segments, ["data", "a b", "*.csv"]);
        assert_eq!(one("file:///data/x.csv"), Location { text: "file:///data/x.csv".into(), ..one("/data/x.csv") });
        let s3 = one("s3a://lake/day=1/*.parquet");
        assert_eq!((s3.root, s3.segments.len()), (Root::S3 { bucket: "lake".into() }, 2));
        assert_eq!(one("s3://lake/folder/").segments, ["folder", "*"]);
        assert_eq!(Location::parse("/a/{b,c}/d.csv").unwrap().len(), 2);
    }

    #[test]
    fn other_paths_are_refused_with_the_remedy() {
        for (text, part) in [
            ("data/x.csv", "file:///absolute/path"),
            ("file://data/x.csv", "three slashes"),
            ("hdfs://h/x.csv", "only file:// and s3://"),
            ("s3:///x.csv", "s3://bucket/key"),
            ("/a/../b.csv", "own path"),
        ] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains(part), "{message}");
        }
    }
}
