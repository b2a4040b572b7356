//! A segment by its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use tarn_proto::short_key::ShortKeyIndex;
use vortex::VortexSessionDefault;
use vortex::array::serde::SerializedArray;
use vortex::buffer::ByteBuffer;
use vortex::error::{VortexResult, vortex_err};
use vortex::file::{DeserializeStep, Footer};
use vortex::layout::layouts::flat::Flat;
use vortex::layout::{LayoutChildType, LayoutRef};
use vortex::session::VortexSession;
use vortex::session::registry::ReadContext;

use super::beside;
use crate::Result;
use crate::checksum::BLOCK_BYTES;
use crate::error::IoContext;
use crate::primary::key_file::{Entries, Reader};
use crate::sidecar::Sidecar;

/// The end of a segment file's name.
pub(super) const SEGMENT: &str = "vortex";
/// Encodings within encodings that are named.
const DEPTH: usize = 4;

/// A segment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SegmentLayout {
    /// Its file's name.
    pub file: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Rows, deleted ones too.
    pub rows: u64,
    /// Columns, in their order.
    pub columns: Vec<ColumnLayout>,
    /// Bytes that are no column's: the footer, and what aligns pieces.
    pub footer_bytes: u64,
    /// The short-key index.
    pub short_key: Option<ShortKeyLayout>,
    /// The key file of a PRIMARY KEY table.
    pub keys: Option<KeysLayout>,
    /// Bitmap and bloom indexes.
    pub indexes: Vec<IndexLayout>,
    /// Rows that are deleted in the newest version, and since when, if the node's metadata is there.
    pub deleted_rows: u64,
    /// The version from which on they are.
    pub deleted_since: Option<u64>,
    /// Their numbers: first and last of those that follow each other.
    pub deleted_ranges: Vec<(u32, u32)>,
    /// What is wrong with its files.
    pub problems: Vec<String>,
}

/// A column of a segment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ColumnLayout {
    /// Its name in the file, `c` and its id.
    pub field: String,
    /// Its name in the table's newest schema, if the node's metadata is there and has it.
    pub name: Option<String>,
    /// How the file types it.
    pub stored_type: String,
    /// Pieces that its values lie in.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of its zone map: least, greatest and NULLs of each zone.
    pub zone_map_bytes: u64,
    /// Zones.
    pub zones: u64,
    /// How its pieces are encoded, by bytes.
    pub encodings: Vec<EncodingLayout>,
}

/// Pieces of one encoding.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EncodingLayout {
    /// Outermost first: `vortex.dict(fastlanes.bitpacked, vortex.fsst)`.
    pub encoding: String,
    /// How many.
    pub chunks: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A short-key index.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShortKeyLayout {
    /// Entries, one for some rows.
    pub entries: u64,
    /// Bytes of it.
    pub bytes: u64,
}

/// A key file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeysLayout {
    /// Bytes of it.
    pub bytes: u64,
    /// Keys of the segment's rows.
    pub rows: u64,
    /// Keys that the load deleted.
    pub deleted: u64,
}

/// An index of a column.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IndexLayout {
    /// Its file's name.
    pub file: String,
    /// Bytes of it.
    pub bytes: u64,
}

/// Reads a segment's files. Fails if the segment itself cannot be read.
pub(super) fn read(path: &Path) -> Result<SegmentLayout> {
    let bytes = fs::read(path).doing("read", path)?;
    let mut layout = SegmentLayout {
        file: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: bytes.len() as u64,
        ..SegmentLayout::default()
    };
    let checksum = crc32c::crc32c(&bytes);
    read_sidecar(path, &bytes, checksum, &mut layout);
    // The engine reads no byte that does not match its checksum: what the format's reader makes of one is not known.
    if layout.problems.is_empty()
        && let Err(error) = read_file(bytes, &mut layout)
    {
        layout.problems.push(format!("the file cannot be read: {error}"));
    }
    read_keys(path, checksum, &mut layout);
    read_indexes(path, &mut layout)?;
    Ok(layout)
}

fn read_sidecar(path: &Path, bytes: &[u8], checksum: u32, layout: &mut SegmentLayout) {
    let sidecar = fs::read(beside(path, "sidecar")).map_err(|error| error.to_string());
    let sidecar = match sidecar.and_then(|bytes| Sidecar::decode(&bytes)) {
        Ok(sidecar) => sidecar,
        Err(error) => return layout.problems.push(format!("the sidecar cannot be read: {error}")),
    };
    let damaged = bytes.chunks(BLOCK_BYTES as usize).zip(&sidecar.checksums.blocks);
    let damaged: Vec<usize> =
        damaged.enumerate().filter(|(_, (block, sum))| crc32c::crc32c(block) != **sum).map(|(i, _)| i).collect();
    if (bytes.len() as u64, checksum) != (sidecar.checksums.bytes, sidecar.checksums.file) || !damaged.is_empty() {
        layout.problems.push(format!(
            "the file has {} bytes and checksum {checksum:08x} instead of {} and {:08x}; damaged blocks of {BLOCK_BYTES} \
             bytes: {damaged:?}",
            bytes.len(),
            sidecar.checksums.bytes,
            sidecar.checksums.file
        ));
    }
    match ShortKeyIndex::decode(&sidecar.short_key_index) {
        Ok(index) => {
            let bytes = sidecar.short_key_index.len() as u64;
            layout.short_key = Some(ShortKeyLayout { entries: index.entries().count() as u64, bytes });
        }
        Err(error) => layout.problems.push(format!("the short-key index cannot be read: {error}")),
    }
}

fn read_keys(path: &Path, checksum: u32, layout: &mut SegmentLayout) {
    let Ok(bytes) = fs::read(beside(path, "keys")) else { return };
    let mut keys = KeysLayout { bytes: bytes.len() as u64, ..KeysLayout::default() };
    let read = Reader::new(&bytes[..], layout.rows, checksum).and_then(|mut reader| {
        let mut entries = Entries::new();
        while reader.next(&mut entries)? {
            let deleted = entries.rows.iter().filter(|row| **row == crate::primary::key_file::DELETED).count();
            keys.deleted += deleted as u64;
            keys.rows += (entries.rows.len() - deleted) as u64;
        }
        Ok(())
    });
    if let Err(error) = read {
        layout.problems.push(format!("the key file cannot be read: {error}"));
    }
    layout.keys = Some(keys);
}

fn read_indexes(path: &Path, layout: &mut SegmentLayout) -> Result<()> {
    let stem = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(dir).doing("list", dir)? {
        let entry = entry.doing("list", dir)?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.strip_prefix(&stem).is_some_and(|end| end.starts_with('.') && end.ends_with(".index")) {
            let bytes = entry.metadata().doing("look at", entry.path())?.len();
            layout.indexes.push(IndexLayout { file, bytes });
        }
    }
    layout.indexes.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(())
}

/// Reads the columns of a file.
pub(crate) fn read_file(bytes: Vec<u8>, layout: &mut SegmentLayout) -> VortexResult<()> {
    let bytes = ByteBuffer::from(bytes);
    let session = VortexSession::default();
    let footer = read_footer(&bytes, &session)?;
    layout.rows = footer.row_count();
    let root = footer.layout();
    let names = root.child_names();
    let mut pieces = 0;
    for (field, column) in names.zip(root.children()?) {
        let mut read =
            Column { footer: &footer, bytes: &bytes, layout: ColumnLayout::default(), found: BTreeMap::new() };
        read.layout.stored_type = column.dtype().to_string();
        read.layout.field = field.to_string();
        read.values(&column)?;
        let Column { layout: mut column, found, .. } = read;
        column.encodings = found.into_values().collect();
        column.encodings.sort_by_key(|encoding| std::cmp::Reverse(encoding.bytes));
        pieces += column.bytes + column.zone_map_bytes;
        layout.columns.push(column);
    }
    layout.footer_bytes = layout.bytes.saturating_sub(pieces);
    Ok(())
}

fn read_footer(bytes: &ByteBuffer, session: &VortexSession) -> VortexResult<Footer> {
    let mut deserializer = Footer::deserializer(bytes.clone(), session.clone()).with_size(bytes.len() as u64);
    match deserializer.deserialize()? {
        DeserializeStep::Done(footer) => Ok(footer),
        DeserializeStep::NeedMoreData { .. } | DeserializeStep::NeedFileSize => Err(vortex_err!("it has no footer")),
    }
}

/// A column that is being looked at.
struct Column<'a> {
    footer: &'a Footer,
    bytes: &'a ByteBuffer,
    layout: ColumnLayout,
    found: BTreeMap<String, EncodingLayout>,
}

impl Column<'_> {
    fn values(&mut self, layout: &LayoutRef) -> VortexResult<()> {
        if let Some(flat) = layout.as_opt::<Flat>() {
            let bytes = self.piece_bytes(layout);
            let array = match flat.array_tree() {
                Some(tree) => SerializedArray::from_array_tree(tree.clone())?,
                None => SerializedArray::try_from(self.piece(flat.segment_id())?)?,
            };
            let encoding = name(&array, flat.array_ctx(), DEPTH);
            let found = self.found.entry(encoding.clone()).or_default();
            found.encoding = encoding;
            found.chunks += 1;
            found.bytes += bytes;
            self.layout.chunks += 1;
            self.layout.bytes += bytes;
            return Ok(());
        }
        // What has children has no values of its own.
        self.layout.bytes += self.piece_bytes(layout);
        let kinds: Vec<LayoutChildType> = layout.child_types().collect();
        for (kind, child) in kinds.iter().zip(layout.children()?) {
            // Values of a dictionary are the column's; least and greatest values of zones are not.
            if matches!(kind, LayoutChildType::Auxiliary(name) if &**name != "values") {
                self.layout.zones = self.layout.zones.max(child.row_count());
                self.zone_map(&child)?;
            } else {
                self.values(&child)?;
            }
        }
        Ok(())
    }

    fn zone_map(&mut self, layout: &LayoutRef) -> VortexResult<()> {
        self.layout.zone_map_bytes += self.piece_bytes(layout);
        for child in layout.children()? {
            self.zone_map(&child)?;
        }
        Ok(())
    }

    fn piece_bytes(&self, layout: &LayoutRef) -> u64 {
        let specs = self.footer.segment_map();
        layout.segment_ids().iter().filter_map(|id| specs.get(**id as usize)).map(|spec| u64::from(spec.length)).sum()
    }

    fn piece(&self, id: vortex::layout::segments::SegmentId) -> VortexResult<ByteBuffer> {
        let spec =
            self.footer.segment_map().get(*id as usize).ok_or_else(|| vortex_err!("piece {} is unknown", *id))?;
        let range = spec.byte_range();
        let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
        if range.end > self.bytes.len() || range.start > range.end {
            return Err(vortex_err!("piece {} lies beyond the end of the file", *id));
        }
        // Copied to where it may be read.
        Ok(ByteBuffer::copy_from_aligned(&self.bytes.as_slice()[range], spec.alignment))
    }
}

fn name(array: &SerializedArray, context: &ReadContext, depth: usize) -> String {
    let id = context.resolve(array.encoding_id());
    let own = id.map_or_else(|| format!("encoding {}", array.encoding_id()), |id| id.to_string());
    if array.nchildren() == 0 || depth == 1 {
        return own;
    }
    let children: Vec<String> = (0..array.nchildren()).map(|i| name(&array.child(i), context, depth - 1)).collect();
    format!("{own}({})", children.join(", "))
}
