//! Every query of the benchmarks, and every statement of the SQL tests.

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

/// The statement of a record that is meant to succeed.
fn sql_of(record: &str) -> Option<String> {
    let mut lines = record.lines().filter(|line| !line.starts_with('#'));
    let head = lines.next()?;
    let is_ok = head.starts_with("query") || head.starts_with("statement ok") || head.starts_with("statement count");
    is_ok.then(|| lines.take_while(|line| *line != "----").collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_sql_tests_parse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt");
    let mut statements = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "slt") {
            let text = fs::read_to_string(&path).unwrap();
            for sql in text.split("\n\n").filter_map(sql_of) {
                ok(&sql);
                statements += 1;
            }
        }
    }
    assert!(statements > 50, "{statements}");
}
