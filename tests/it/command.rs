//! The command line: exit codes, formats, configuration, HTTP endpoints.

use std::process::{Command, Output};

use crate::harness::{Cluster, TARN};

fn tarn(arguments: &[&str]) -> Output {
    let mut command = Command::new(TARN);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TARN_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(std::process::Stdio::null()).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn wrong_arguments_end_with_code_2() {
    assert_eq!(tarn(&["nonsense"]).status.code(), Some(2));
    assert_eq!(tarn(&["admin"]).status.code(), Some(2));
}

#[test]
fn a_server_that_is_not_there_ends_with_code_1_and_one_line() {
    let output = tarn(&["sql", "--url", "grpc://127.0.0.1:1", "-e", "select 1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot connect to grpc://127.0.0.1:1"), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1);
}

#[test]
fn a_configuration_file_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(&file, "listen = '127.0.0.1:1'\nlog_format = 'json'\n").expect("a file");
    for role in ["coordinator", "storage-node", "compute-node"] {
        let output = tarn(&["config", "check", path, "--role", role]);
        assert_eq!(output.status.code(), Some(0), "{role}: {}", stderr(&output));
        assert_eq!(stdout(&output), format!("{path}: ok\n"));
    }
    std::fs::write(&file, "lisen = '127.0.0.1:1'\n").expect("a file");
    let output = tarn(&["config", "check", path, "--role", "coordinator"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), format!("error: unknown key `lisen` in {path}: did you mean `listen`?\n"));
}

#[test]
fn statements_run_in_order_and_stop_at_the_first_that_fails() {
    let mut cluster = Cluster::dev();
    let url = cluster.url();
    let sql = |format: &str, text: &str| tarn(&["sql", "--url", &url, "--format", format, "-e", text]);

    let output = sql("csv", "select 1 as a, null as b, 'x,y' as c");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "a,b,c\n1,,\"x,y\"\n");
    assert_eq!(stderr(&output), "");

    let output = sql("json", "select 1 as a; select 'b' as b");
    assert_eq!(stdout(&output), "[{\"a\":1}]\n[{\"b\":\"b\"}]\n");
    let output = sql("ndjson", "select 1 as a union all select 2 order by a");
    assert_eq!(stdout(&output), "{\"a\":1}\n{\"a\":2}\n");
    let output = sql("table", "select 1 as a");
    assert_eq!(stdout(&output), " a\n---\n 1\n");

    let output = sql("csv", "select 1 as a; select nothing_of_that_name; select 2 as b");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "a\n1\n");
    assert!(stderr(&output).contains("nothing_of_that_name"), "{}", stderr(&output));

    let output = sql(
        "csv",
        "create database d; create table d.t (a int) duplicate key (a) distributed by hash (a) buckets 1;
         insert into d.t values (1), (2); select count(*) as n from d.t",
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "n\n2\n");
    let output = sql("table", "insert into d.t values (3)");
    assert!(stderr(&output).starts_with("OK, 1 row affected"), "{}", stderr(&output));

    let node = cluster.node("dev");
    assert!(node.get("/healthz").expect("an answer").starts_with("HTTP/1.1 200"));
    let metrics = node.get("/metrics").expect("an answer");
    assert!(metrics.contains("# TYPE tarn_"), "{metrics}");
    assert_eq!(node.terminate().code(), Some(0));
}
