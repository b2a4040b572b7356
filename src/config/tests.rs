use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RoleConfig {
    listen: String,
    seeds: Vec<String>,
    retries: u32,
    cache: Cache,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Cache {
    memory_bytes: u64,
}

fn file(text: &str) -> Layer {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).expect("a file");
    Layer::file(&path).expect("TOML")
}

fn environment(variables: &[(&str, &str)]) -> Layer {
    Layer::environment(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn error(layers: &[Layer]) -> String {
    extract::<RoleConfig>(layers).expect_err("refused").to_string()
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let (process, role): (_, RoleConfig) = extract(&[
        file("listen = 'file'\nretries = 1\nhttp = 'file'\n[cache]\nmemory_bytes = 1"),
        environment(&[("TARN_LISTEN", "env"), ("TARN_CACHE__MEMORY_BYTES", "2"), ("TARN_HTTP", "off")]),
        Layer::settings(&[("listen".into(), "flag".into()), ("seeds".into(), "[\"a:1\", \"b:2\"]".into())]),
    ])
    .expect("settings");
    assert_eq!(role.listen, "flag");
    assert_eq!(role.seeds, ["a:1", "b:2"]);
    assert_eq!(role.retries, 1);
    assert_eq!(role.cache.memory_bytes, 2);
    assert_eq!(process.http(), None);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_known_key() {
    let message = error(&[file("lisen = 'a'")]);
    assert!(message.contains("unknown key `lisen` in") && message.contains("node.toml"), "{message}");
    assert!(message.ends_with("did you mean `listen`?"), "{message}");
    let message = error(&[environment(&[("TARN_CACHE__MEMORY_BITES", "1")])]);
    assert_eq!(message, "unknown key `TARN_CACHE__MEMORY_BITES` in the environment: did you mean `memory_bytes`?");
    let message = error(&[Layer::settings(&[("log_formt".into(), "json".into())])]);
    assert_eq!(message, "unknown key `log_formt` in the command line: did you mean `log_format`?");
    let message = error(&[environment(&[("TARN_ZZZ", "1")])]);
    assert!(message.contains("known are cache, http, listen"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_names_its_key() {
    let message = error(&[file("retries = 'many'")]);
    assert!(message.starts_with("`retries` in "), "{message}");
    let message = error(&[environment(&[("TARN_LOG_FORMAT", "xml")])]);
    assert!(message.starts_with("`TARN_LOG_FORMAT` in the environment cannot be `xml`"), "{message}");
}

#[test]
fn a_text_that_looks_like_a_number_stays_a_text() {
    let (_, role): (_, RoleConfig) = extract(&[environment(&[("TARN_LISTEN", "007")])]).expect("settings");
    assert_eq!(role.listen, "007");
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let layer = environment(&[
        ("TARN_URL", "grpc://a:1"),
        ("TARN_PORT", "tcp://10.0.0.1:9408"),
        ("TARN_SERVICE_HOST", "10.0.0.1"),
        ("TARN_PORT_9408_TCP", "tcp://10.0.0.1:9408"),
        ("PATH", "/bin"),
    ]);
    assert!(extract::<RoleConfig>(&[layer]).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let error = Layer::file(Path::new("/does/not/exist.toml")).err().expect("refused");
    assert_eq!(error.to_string(), "cannot read configuration file /does/not/exist.toml");
}
