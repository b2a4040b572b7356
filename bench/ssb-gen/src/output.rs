//! Batches into one Parquet file, under a temporary name until it is whole.

use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::table::{Scale, Table};

/// Compression of column chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Codec {
    /// LZ4 (the raw variant that all readers know).
    Lz4,
    /// Zstandard, level 3.
    Zstd,
    /// None.
    None,
}

/// Rows of a row group, at most; a file's row groups are of equal size.
const ROW_GROUP_ROWS: u64 = 1 << 20;
/// Rows generated at once: small enough for the second-level cache.
const BATCH_ROWS: u64 = 16_384;

/// Writes the rows `rows` of `table` to `path`.
pub fn write(path: &Path, table: Table, scale: Scale, seed: u64, rows: Range<u64>, codec: Codec) -> Result<()> {
    let temporary = path.with_extension("parquet.tmp");
    let generator = table.generator(scale, seed);
    let count = rows.end - rows.start;
    let group = count.div_ceil(count.div_ceil(ROW_GROUP_ROWS).max(1)).max(1);
    let mut properties = WriterProperties::builder()
        .set_compression(match codec {
            Codec::Lz4 => Compression::LZ4_RAW,
            Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(3)?),
            Codec::None => Compression::UNCOMPRESSED,
        })
        .set_created_by(concat!("tarn-ssb-gen ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(usize::try_from(group)?));
    for column in table.distinct_columns() {
        properties = properties.set_column_dictionary_enabled((*column).into(), false);
    }
    // Without the arrow schema, readers see plain strings and not our dictionaries.
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let file = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
    let mut writer = ArrowWriter::try_new_with_options(file, generator.schema(), options)?;
    let mut start = rows.start;
    while start < rows.end {
        let end = (start + BATCH_ROWS).min(rows.end);
        writer.write(&generator.batch(start..end)?)?;
        start = end;
    }
    let file = writer.into_inner()?.into_inner()?;
    file.sync_data()?;
    fs::rename(&temporary, path)?;
    Ok(())
}
