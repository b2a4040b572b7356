//! The node's id, kept in `node-id` next to the tablets: whoever has the data is the node.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tarn_proto::NodeId;

use crate::Error;

const FILE: &str = "node-id";

/// The id that was kept before. Blocks.
pub(crate) fn load(data: &Path) -> Result<Option<NodeId>, Error> {
    let path = data.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::NodeId { path, source }),
    };
    match text.trim().parse() {
        Ok(id) => Ok(Some(NodeId(id))),
        Err(error) => Err(Error::NodeId { path, source: io::Error::new(io::ErrorKind::InvalidData, error) }),
    }
}

/// Keeps the id, durably. Blocks.
pub(crate) fn save(data: &Path, id: NodeId) -> Result<(), Error> {
    let path = data.join(FILE);
    write(data, &path, id).map_err(|source| Error::NodeId { path, source })
}

fn write(data: &Path, path: &Path, id: NodeId) -> io::Result<()> {
    let temporary: PathBuf = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{}", id.get())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_and_a_damaged_file_is_refused() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(load(data.path()).unwrap(), None);
        save(data.path(), NodeId(1001)).unwrap();
        save(data.path(), NodeId(1002)).unwrap();
        assert_eq!(load(data.path()).unwrap(), Some(NodeId(1002)));
        fs::write(data.path().join(FILE), "10x2").unwrap();
        assert!(matches!(load(data.path()), Err(Error::NodeId { .. })));
    }
}
