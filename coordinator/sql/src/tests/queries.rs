//! Every query of the benchmarks.

use std::fs;
use std::path::Path;

use super::ok;
use crate::Statement;

fn parse_all(folder: &str, expected: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/queries").join(folder);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), expected);
    for file in files {
        let statement = ok(&fs::read_to_string(&file).unwrap());
        assert!(matches!(statement, Statement::Query(_)), "{}", file.display());
    }
}

#[test]
fn the_star_schema_benchmark_parses() {
    parse_all("ssb", 13);
}

#[test]
fn tpc_h_parses() {
    parse_all("tpch", 22);
}
