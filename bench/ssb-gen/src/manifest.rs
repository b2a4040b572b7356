//! What a table's folder holds: a small text file beside the Parquet files, written last.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use crate::output::Codec;
use crate::table::{Scale, Table};

/// The manifest's name; no `*.parquet` glob finds it.
const FILE: &str = "_manifest";
/// Raised when the same parameters begin to give other rows.
const VERSION: u32 = 1;

/// The parameters that decide a table's bytes.
#[derive(Debug)]
pub struct Manifest {
    table: Table,
    head: String,
    files: u32,
}

impl Manifest {
    /// The manifest that a complete run with these parameters leaves.
    pub fn new(table: Table, scale: Scale, seed: u64, codec: Codec, files: u32) -> Self {
        let head = format!(
            "version {VERSION}\ntable {}\nscale {}\nseed {seed}\ncompression {codec:?}\nrows {}\n",
            table.name(),
            scale.factor(),
            scale.rows(table)
        );
        Self { table, head, files }
    }

    /// The table it describes.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Whether `folder` holds the table, made with the same parameters, with every file at its length.
    pub fn is_complete(&self, folder: &Path) -> bool {
        let found = fs::read_to_string(folder.join(FILE));
        matches!((found, self.text(folder)), (Ok(found), Ok((expected, _))) if found == expected)
    }

    /// Writes the manifest over the files that are there; the sum of their lengths.
    pub fn write(&self, folder: &Path) -> Result<u64> {
        let (text, bytes) = self.text(folder)?;
        let temporary = folder.join("_manifest.tmp");
        fs::write(&temporary, text).with_context(|| format!("cannot write {}", temporary.display()))?;
        fs::rename(&temporary, folder.join(FILE))?;
        Ok(bytes)
    }

    fn text(&self, folder: &Path) -> Result<(String, u64)> {
        let mut text = self.head.clone();
        let mut total = 0;
        for file in 0..self.files {
            let name = file_name(u64::from(file));
            let path = folder.join(&name);
            let bytes = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len();
            text.push_str(&format!("file {name} {bytes}\n"));
            total += bytes;
        }
        Ok((text, total))
    }
}

/// The name of the table's file number `file`.
pub fn file_name(file: u64) -> String {
    format!("part-{file:05}.parquet")
}

/// Makes `folder` and takes away what an earlier run with other parameters, or a stopped one, left in it. Files that
/// are not ours stay.
pub fn clear(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    match fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_ours(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let number = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet"));
    number.is_some_and(|number| number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit()))
}
