//! Which crate may depend on which: the folders are the architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// No code: makes every selection of crates build third-party crates with the same features. Anybody may have it.
const FEATURES: &str = "tarn-workspace-hack";

/// What each crate may depend on, of ours. `*` is everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("tarn-proto", &[]),
    ("tarn-catalog", &["tarn-proto"]),
    ("tarn-raft", &["tarn-proto", "tarn-catalog"]),
    ("tarn-sql", &["tarn-proto"]),
    ("tarn-planner", &["tarn-proto", "tarn-catalog", "tarn-sql", "tarn-functions", "tarn-scan"]),
    ("tarn-ingest", &["tarn-proto", "tarn-catalog"]),
    ("tarn-gateway", &["tarn-proto", "tarn-catalog", "tarn-raft", "tarn-sql", "tarn-planner", "tarn-ingest"]),
    (
        "tarn-coordinator",
        &[
            "tarn-proto",
            "tarn-catalog",
            "tarn-raft",
            "tarn-sql",
            "tarn-planner",
            "tarn-ingest",
            "tarn-gateway",
            "tarn-functions",
            "tarn-scan",
        ],
    ),
    ("tarn-functions", &["tarn-proto"]),
    ("tarn-scan", &["tarn-proto", "tarn-functions"]),
    ("tarn-compute-node", &["tarn-proto", "tarn-functions", "tarn-scan"]),
    ("tarn-tablet", &["tarn-proto"]),
    ("tarn-storage-node", &["tarn-proto", "tarn-tablet"]),
    ("tarn-ssb-gen", &[]),
    (FEATURES, &[]),
    ("tarn-chaos", &["*"]),
    // The binary assembles the roles. It is also the SQL client, and mounts the gateway's HTTP for every role.
    ("tarn", &["tarn-proto", "tarn-coordinator", "tarn-compute-node", "tarn-storage-node", "tarn-gateway", "tarn-sql"]),
];

#[test]
fn no_crate_depends_on_one_that_it_must_not_know() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().expect("a name")).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();

    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let Some(allowed) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the table of allowed dependencies"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            // Tests may use other crates of ours.
            let dev = dependency["kind"].as_str() == Some("dev");
            if names.contains(to) && to != FEATURES && !dev && !allowed.contains(&to) && !allowed.contains(&"*") {
                wrong.push(format!("{name} must not depend on {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
