//! `tarn admin segment inspect`: how segments are laid out, as text or JSON.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use tarn_storage_node::inspect::{Inspected, SegmentLayout, TabletLayout};

use crate::sql::table::render;

/// Prints what is in a segment file, or in all of a tablet's directory.
pub fn inspect(path: &Path, json: bool) -> anyhow::Result<()> {
    let found = tarn_storage_node::inspect::inspect(path)?;
    if json {
        println!("{}", serde_json::to_string(&found).context("the layout as JSON")?);
    } else {
        print!("{}", text(&found));
    }
    Ok(())
}

fn text(found: &Inspected) -> String {
    let mut out = String::new();
    if let Some(tablet) = &found.tablet {
        put_tablet(&mut out, tablet);
    }
    for segment in &found.segments {
        put_segment(&mut out, segment);
    }
    out
}

fn put_tablet(out: &mut String, tablet: &TabletLayout) {
    let TabletLayout { tablet: id, model, schema_version, version, oldest, rowsets } = tablet;
    let _ = writeln!(out, "tablet {id}  {model}  schema {schema_version}  version {version}  kept from {oldest}");
    let header = ["rowset", "state", "version", "since", "until", "schema", "segments", "rows", "bytes"];
    let rows = rowsets.iter().map(|r| {
        vec![
            r.rowset.to_string(),
            r.state.to_owned(),
            r.version.to_string(),
            r.since.to_string(),
            r.until.map(|until| until.to_string()).unwrap_or_default(),
            r.schema_version.to_string(),
            r.segments.to_string(),
            r.rows.to_string(),
            r.bytes.to_string(),
        ]
    });
    let _ = writeln!(out, "{}", render(&header, rows.collect()));
}

fn put_segment(out: &mut String, segment: &SegmentLayout) {
    let SegmentLayout { file, rows, bytes, footer_bytes, .. } = segment;
    let _ = writeln!(out, "{file}  {rows} rows  {bytes} bytes, {footer_bytes} of them footer and padding");
    if let Some(short_key) = &segment.short_key {
        let _ = writeln!(out, "short-key index: {} entries, {} bytes", short_key.entries, short_key.bytes);
    }
    if let Some(keys) = &segment.keys {
        let _ = writeln!(out, "keys: {} of rows, {} deleted, {} bytes", keys.rows, keys.deleted, keys.bytes);
    }
    for index in &segment.indexes {
        let _ = writeln!(out, "index: {}, {} bytes", index.file, index.bytes);
    }
    if let Some(since) = segment.deleted_since {
        let _ = writeln!(out, "deleted rows: {} from version {since} on", segment.deleted_rows);
    }
    for problem in &segment.problems {
        let _ = writeln!(out, "PROBLEM: {problem}");
    }
    let header = ["field", "column", "type", "bytes", "chunks", "zones", "zone map bytes", "encodings"];
    let columns = segment.columns.iter().map(|c| {
        let encodings = c.encodings.iter().map(|e| format!("{} x{} {} B", e.encoding, e.chunks, e.bytes));
        vec![
            c.field.clone(),
            c.name.clone().unwrap_or_default(),
            c.stored_type.clone(),
            c.bytes.to_string(),
            c.chunks.to_string(),
            c.zones.to_string(),
            c.zone_map_bytes.to_string(),
            encodings.collect::<Vec<_>>().join("; "),
        ]
    });
    let _ = writeln!(out, "{}", render(&header, columns.collect()));
}
