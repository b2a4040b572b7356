//! Where a storage volume is. Pure.

use std::fmt;
use std::path::PathBuf;

use super::Error;

/// A parsed location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder that every node sees under this path.
    Folder(PathBuf),
    /// A bucket in S3.
    S3 {
        /// Its name.
        bucket: String,
        /// What the objects' names begin with, without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl Location {
    /// Reads `s3://bucket/prefix` (also `s3a`, `s3n`) or `file:///folder`.
    ///
    /// # Errors
    /// Names the location and what would be right.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Location { location: text.to_owned(), reason: reason.to_owned() };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| wrong("write s3://bucket/prefix or file:///absolute/folder"))?;
        let has_dots = rest.split('/').any(|part| part == "." || part == "..");
        if has_dots {
            return Err(wrong("`.` and `..` are not read; write the folder's own path"));
        }
        match scheme.to_ascii_lowercase().as_str() {
            "file" if rest.starts_with('/') && rest.trim_matches('/').is_empty() => {
                Err(wrong("the root of the file system is no place for a volume: name a folder in it"))
            }
            "file" if rest.starts_with('/') => Ok(Self::Folder(PathBuf::from(rest.trim_end_matches('/')))),
            "file" => Err(wrong("a local path is absolute: file:///folder, with three slashes")),
            "s3" | "s3a" | "s3n" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(wrong("a bucket's name must be given: s3://bucket/prefix"));
                }
                let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
                Ok(Self::S3 { bucket: bucket.to_owned(), prefix: parts.join("/") })
            }
            _ => Err(wrong("only s3:// and file:// are supported")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_folders_are_told_apart() {
        for (text, shown) in
            [("s3://b", "s3://b"), ("S3A://b//x/y/", "s3://b/x/y"), ("file:///data/tarn/", "file:///data/tarn")]
        {
            assert_eq!(Location::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn others_are_refused_with_the_remedy() {
        for (text, part) in [
            ("/data", "s3://bucket/prefix"),
            ("file://data", "three slashes"),
            ("file:///", "name a folder"),
            ("hdfs://h/x", "only s3:// and file://"),
            ("s3:///x", "bucket's name"),
            ("s3://b/../x", "own path"),
        ] {
            let message = Location::parse(text).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains(part), "{message}");
        }
    }
}
