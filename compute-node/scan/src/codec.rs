//! Tablet scans on the wire: ids, versions and the addresses of replicas, never file lists. The node that runs the scan
//! resolves the manifests.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, internal_datafusion_err, not_impl_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalExprNode;
use prost::Message;
use tarn_proto::storage::Peer;
use tarn_proto::volume::Volume;
use tarn_proto::{TableSchema, TabletId, Version, wire};

use crate::context::ScanContext;
use crate::tablet::{Preaggregation, Pruned, TabletRead, TabletScan, TabletSource};

/// The version of [`ScanNode`]. Nodes of one cluster may run different builds while it is upgraded.
const FORMAT: u32 = 3;

#[derive(Clone, PartialEq, prost::Message)]
struct ScanNode {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    table: String,
    #[prost(message, optional, tag = "3")]
    schema: Option<wire::TableSchema>,
    #[prost(message, repeated, tag = "4")]
    tablets: Vec<TabletNode>,
    #[prost(uint32, tag = "5")]
    partitions: u32,
    #[prost(uint32, repeated, tag = "6")]
    projection: Vec<u32>,
    #[prost(message, repeated, tag = "7")]
    filters: Vec<PhysicalExprNode>,
    #[prost(uint64, optional, tag = "8")]
    limit: Option<u64>,
    #[prost(bool, tag = "9")]
    exact_rows: bool,
    #[prost(uint64, repeated, tag = "10")]
    pruned: Vec<u64>,
    /// Storage nodes that tablets refer to by position.
    #[prost(message, repeated, tag = "11")]
    peers: Vec<wire::Peer>,
    /// Why rows of equal keys are merged; absent if they are not.
    #[prost(string, optional, tag = "12")]
    merged_because: Option<String>,
    /// The storage volume that the tablets are in, with what it takes to read it.
    #[prost(message, optional, tag = "13")]
    volume: Option<wire::Volume>,
    #[prost(uint32, tag = "14")]
    bitmap_max_filter_ratio: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TabletNode {
    #[prost(uint64, tag = "1")]
    tablet: u64,
    #[prost(uint64, tag = "2")]
    version: u64,
    /// Positions of the nodes that have it, the one to read first.
    #[prost(uint32, repeated, tag = "3")]
    replicas: Vec<u32>,
    #[prost(uint64, tag = "5")]
    rows: u64,
    #[prost(uint64, tag = "6")]
    bytes: u64,
}

/// Encodes and decodes the plans of [`crate::scan`]. Register it in the same place on coordinators and compute nodes.
#[derive(Clone, Debug)]
pub struct TarnCodec {
    context: Arc<ScanContext>,
}

impl TarnCodec {
    /// A codec whose decoded scans run in `context`.
    pub fn new(context: Arc<ScanContext>) -> Self {
        Self { context }
    }
}

impl PhysicalExtensionCodec for TarnCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = ScanNode::decode(buf).map_err(|e| malformed(&e.to_string()))?;
        if node.format != FORMAT {
            return Err(malformed(&format!("format {}, this build reads {FORMAT}: upgrade this node", node.format)));
        }
        let schema = TableSchema::try_from(node.schema.ok_or_else(|| malformed("no schema"))?)
            .map_err(|e| malformed(&e.to_string()))?;
        let peers: Vec<Peer> = node.peers.into_iter().map(Peer::from).collect();
        let replica = |position: &u32| peers.get(*position as usize).cloned().ok_or_else(|| malformed("no address"));
        let tablets = node
            .tablets
            .iter()
            .map(|tablet| {
                Ok(TabletRead {
                    tablet: TabletId(tablet.tablet),
                    version: Version(tablet.version),
                    replicas: tablet.replicas.iter().map(replica).collect::<Result<_>>()?,
                    rows: tablet.rows,
                    bytes: tablet.bytes,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let arrow = schema.to_arrow();
        let decode = PhysicalPlanDecodeContext::new(ctx, self);
        let filters = node
            .filters
            .iter()
            .map(|filter| converter.proto_to_physical_expr(filter, &arrow, &decode))
            .collect::<Result<Vec<_>>>()?;
        let [partitions, partitions_total, tablets_total] = node.pruned[..] else {
            return Err(malformed("pruned counts"));
        };
        let spec = TabletScan {
            table: node.table,
            schema,
            volume: node.volume.map(|volume| Arc::new(Volume::from(volume))),
            partitions: Vec::new(),
            projection: node.projection.into_iter().map(|i| i as usize).collect(),
            filters,
            limit: node.limit.map(|limit| limit as usize),
            exact_rows: node.exact_rows,
            pruned: Pruned {
                partitions: partitions as usize,
                partitions_total: partitions_total as usize,
                tablets_total: tablets_total as usize,
            },
            bitmap_max_filter_ratio: u16::try_from(node.bitmap_max_filter_ratio)
                .map_err(|_| malformed("bitmap_max_filter_ratio"))?,
        };
        let mut source = TabletSource::try_new(self.context.clone(), spec)?;
        source.preaggregation = match node.merged_because {
            Some(reason) => Preaggregation::Off(reason.into()),
            None => Preaggregation::On,
        };
        Ok(source.with_tablets(tablets, node.partitions as usize, None).into_plan())
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(source) = TabletSource::of(node.as_ref()) else {
            return not_impl_err!("{} cannot be sent to another node", node.name());
        };
        let mut peers: Vec<&Peer> = Vec::new();
        let mut position = |peer| {
            let known = peers.iter().position(|known| *known == peer);
            known.unwrap_or_else(|| {
                peers.push(peer);
                peers.len() - 1
            }) as u32
        };
        let tablets = source
            .tablets
            .iter()
            .map(|tablet| TabletNode {
                tablet: tablet.tablet.get(),
                version: tablet.version.get(),
                replicas: tablet.replicas.iter().map(&mut position).collect(),
                rows: tablet.rows,
                bytes: tablet.bytes,
            })
            .collect();
        let filters = source
            .filters
            .iter()
            .map(|filter| converter.physical_expr_to_proto(filter, self))
            .collect::<Result<Vec<_>>>()?;
        let node = ScanNode {
            format: FORMAT,
            table: source.table.to_string(),
            schema: Some(source.schema.as_ref().into()),
            tablets,
            partitions: source.partitions as u32,
            projection: source.projection.iter().map(|i| *i as u32).collect(),
            filters,
            limit: source.limit.map(|limit| limit as u64),
            exact_rows: source.exact_rows,
            pruned: [source.pruned.partitions, source.pruned.partitions_total, source.pruned.tablets_total]
                .map(|count| count as u64)
                .to_vec(),
            peers: peers.into_iter().map(Into::into).collect(),
            merged_because: match &source.preaggregation {
                Preaggregation::On => None,
                Preaggregation::Off(reason) => Some(reason.to_string()),
            },
            volume: source.volume.as_deref().map(Into::into),
            bitmap_max_filter_ratio: source.bitmap_max_filter_ratio.into(),
        };
        node.encode(buf).map_err(|e| internal_datafusion_err!("cannot encode a tablet scan: {e}"))
    }
}

fn malformed(reason: &str) -> DataFusionError {
    internal_datafusion_err!("malformed tablet scan: {reason}")
}
