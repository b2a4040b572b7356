//! What a source has of a tablet, as it told.

use std::sync::Arc;

use tarn_proto::wire::GetReplicaResponse;
use tarn_proto::{RowsetId, TableSchema, TabletId, Version};

use super::Named;
use crate::meta::decode_vector;
use crate::primary::DeleteVector;
use crate::record::{Record, RowsetRecord};
use crate::{Error, Result};

/// Another replica.
pub(super) struct Offered {
    /// Its newest version.
    pub version: Version,
    /// The oldest one whose rowsets are all there.
    pub oldest: Version,
    /// The newest schema that it has seen.
    pub schema: TableSchema,
    /// Pending, published and superseded ones.
    pub rowsets: Vec<Named>,
    /// Of the newest version.
    pub delete_vectors: Vec<((RowsetId, u32), DeleteVector)>,
}

impl Offered {
    /// Reads what `source` has told of a tablet.
    pub(super) fn read(tablet: TabletId, source: &str, replica: GetReplicaResponse) -> Result<Self> {
        let schema = TableSchema::try_from(replica.schema.unwrap_or_default()).map_err(|error| Error::Offered {
            tablet,
            source_node: source.to_owned(),
            what: tarn_proto::error::chain(&error),
        })?;
        let rowset = |rowset: tarn_proto::wire::RowsetRecord| {
            Ok((RowsetId(rowset.id), Arc::new(RowsetRecord::decode(&rowset.record)?)))
        };
        let vector = |vector: tarn_proto::wire::DeleteVectorRecord| {
            let (rowset, segment, since) = (RowsetId(vector.rowset_id), vector.segment, Version(vector.since));
            Ok(((rowset, segment), decode_vector(tablet, rowset, segment, since, &vector.record)?))
        };
        Ok(Self {
            version: Version(replica.version),
            oldest: Version(replica.oldest),
            schema,
            rowsets: replica.rowsets.into_iter().map(rowset).collect::<Result<_>>()?,
            delete_vectors: replica.delete_vectors.into_iter().map(vector).collect::<Result<_>>()?,
        })
    }

    /// The rowsets of its newest version.
    pub(super) fn live(&self) -> impl Iterator<Item = &Named> {
        self.rowsets.iter().filter(|(_, record)| record.is_live())
    }
}
