//! The node's id and its cluster's, kept in `node-id` and `cluster-id` next to the tablets: whoever has the data is the
//! node, and the data are of that cluster.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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
    let node = match read(data, NODE)?.map(|text| text.parse()) {
        None => None,
        Some(Ok(id)) => Some(NodeId(id)),
        Some(Err(error)) => {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            return Err(Error::NodeId { path: data.join(NODE), source });
        }
    };
    Ok(Kept { node, cluster: read(data, CLUSTER)?.filter(|id| !id.is_empty()) })
}

/// Keeps both, durably. Blocks.
pub(crate) fn save(data: &Path, node: NodeId, cluster: &str) -> Result<(), Error> {
    for (file, text) in [(CLUSTER, cluster), (NODE, node.get().to_string().as_str())] {
        let path = data.join(file);
        write(data, &path, text).map_err(|source| Error::NodeId { path, source })?;
    }
    Ok(())
}

fn read(data: &Path, file: &str) -> Result<Option<String>, Error> {
    let path = data.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::NodeId { path, source }),
    }
}

fn write(data: &Path, path: &Path, text: &str) -> io::Result<()> {
    let temporary: PathBuf = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(data)?.sync_all()
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
        assert!(matches!(load(data.path()), Err(Error::NodeId { .. })));
    }
}
