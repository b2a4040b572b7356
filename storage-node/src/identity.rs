//! The node's id and its cluster's, kept in `node-id` and `cluster-id` next to the tablets: whoever has the data is the
//! node, and the data are of that cluster.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tarn_proto::NodeId;

use crate::Error;

const NODE: &str = "node-id";
const CLUSTER: &str = "cluster-id";

/// What was kept before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The node.
    pub node: Option<NodeId>,
    /// Its cluster.
    pub cluster: Option<String>,
}

/// What was kept before. Blocks.
pub(crate) fn load(data: &Path) -> Result<Kept, Error> {
    Ok(Kept { node: read_number(data, NODE)?.map(NodeId), cluster: read(data, CLUSTER)?.filter(|id| !id.is_empty()) })
}

/// Keeps both, durably. Blocks.
pub(crate) fn save(data: &Path, node: NodeId, cluster: &str) -> Result<(), Error> {
    write(data, CLUSTER, cluster)?;
    write_number(data, NODE, node.get())
}

/// A number that is kept in a file of the data directory, if it is. Blocks.
pub(crate) fn read_number(data: &Path, file: &str) -> Result<Option<u64>, Error> {
    let number = read(data, file)?.map(|text| text.parse()).transpose();
    number.map_err(|error| Error::Kept {
        path: data.join(file),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

/// Keeps a number in a file of the data directory, durably. Blocks.
pub(crate) fn write_number(data: &Path, file: &str, number: u64) -> Result<(), Error> {
    write(data, file, &number.to_string())
}

fn read(data: &Path, file: &str) -> Result<Option<String>, Error> {
    let path = data.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Kept { path, source }),
    }
}

fn write(data: &Path, file: &str, text: &str) -> Result<(), Error> {
    let path = data.join(file);
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(data)?.sync_all()
    };
    write().map_err(|source| Error::Kept { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_and_a_damaged_file_is_refused() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(load(data.path()).unwrap(), Kept::default());
        save(data.path(), NodeId(1001), "c").unwrap();
        save(data.path(), NodeId(1002), "c").unwrap();
        let kept = Kept { node: Some(NodeId(1002)), cluster: Some("c".to_owned()) };
        assert_eq!(load(data.path()).unwrap(), kept);
        fs::write(data.path().join(NODE), "10x2").unwrap();
        assert!(matches!(load(data.path()), Err(Error::Kept { .. })));
    }
}
