//! The known variables, with the names and defaults of StarRocks and MySQL.

/// A variable.
pub struct Known {
    /// In lower case.
    pub name: &'static str,
    /// As it is kept.
    pub default: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// What values a variable takes.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Anything.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number { min: i64, max: i64 },
    /// A number of bytes.
    Bytes,
    /// A time zone.
    Zone,
    /// One of these.
    OneOf(&'static [&'static str]),
}

const fn variable(name: &'static str, default: &'static str, kind: Kind) -> Known {
    Known { name, default, kind }
}

const fn text(name: &'static str, default: &'static str) -> Known {
    variable(name, default, Kind::Text)
}

const fn switch(name: &'static str, default: &'static str) -> Known {
    variable(name, default, Kind::Switch)
}

const fn number(name: &'static str, default: &'static str, min: i64, max: i64) -> Known {
    variable(name, default, Kind::Number { min, max })
}

/// Timeouts are at most three days.
const MAX_SECONDS: i64 = 259_200;

/// All of them, by name. Tarn obeys `query_timeout`, `insert_timeout`, `query_mem_limit`, `exec_mem_limit`,
/// `dynamic_overwrite`, `partial_update_mode`, `merge_condition` (a column, of Tarn alone), `scan_bytes_per_task` (what a task on a compute node should read at least), `bitmap_max_filter_ratio` and `time_zone`; the
/// others are there because clients set and read them.
pub const VARIABLES: &[Known] = &[
    switch("auto_generate_ctas_column", "true"),
    number("auto_increment_increment", "1", 1, 65_535),
    switch("autocommit", "true"),
    number("bitmap_max_filter_ratio", "1", 1, 1000),
    text("character_set_client", "utf8mb4"),
    text("character_set_connection", "utf8mb4"),
    text("character_set_database", "utf8mb4"),
    text("character_set_results", "utf8mb4"),
    text("character_set_server", "utf8mb4"),
    text("collation_connection", "utf8mb4_general_ci"),
    text("collation_database", "utf8mb4_general_ci"),
    text("collation_server", "utf8mb4_general_ci"),
    switch("dynamic_overwrite", "false"),
    switch("enable_insert_strict", "true"),
    switch("enable_profile", "false"),
    switch("enable_spill", "true"),
    variable("exec_mem_limit", "2147483648", Kind::Bytes),
    switch("foreign_key_checks", "true"),
    text("init_connect", ""),
    number("insert_timeout", "14400", 1, MAX_SECONDS),
    number("interactive_timeout", "3600", 1, i64::MAX),
    text("language", "/tarn/share/english/"),
    text("license", "Apache License 2.0"),
    number("lower_case_table_names", "0", 0, 2),
    number("max_allowed_packet", "33554432", 1024, 1_073_741_824),
    text("merge_condition", ""),
    text("names", "utf8mb4"),
    number("net_buffer_length", "16384", 1024, 1_048_576),
    number("net_read_timeout", "60", 1, i64::MAX),
    number("net_write_timeout", "60", 1, i64::MAX),
    number("parallel_fragment_exec_instance_num", "1", 1, 1024),
    variable("partial_update_mode", "auto", Kind::OneOf(&["auto", "row", "column"])),
    switch("performance_schema", "false"),
    number("pipeline_dop", "0", 0, 1024),
    switch("query_cache_type", "false"),
    variable("query_mem_limit", "0", Kind::Bytes),
    number("query_timeout", "300", 1, MAX_SECONDS),
    text("resource_group", ""),
    variable("scan_bytes_per_task", "33554432", Kind::Bytes),
    variable("spill_mode", "auto", Kind::OneOf(&["auto", "force"])),
    switch("sql_auto_is_null", "false"),
    text("sql_mode", "ONLY_FULL_GROUP_BY"),
    switch("sql_notes", "true"),
    switch("sql_quote_show_create", "true"),
    switch("sql_safe_updates", "false"),
    number("sql_select_limit", "9223372036854775807", 0, i64::MAX),
    text("system_time_zone", "UTC"),
    variable("time_zone", "UTC", Kind::Zone),
    variable("transaction_isolation", "REPEATABLE-READ", Kind::OneOf(ISOLATION)),
    switch("transaction_read_only", "false"),
    variable("tx_isolation", "REPEATABLE-READ", Kind::OneOf(ISOLATION)),
    switch("tx_read_only", "false"),
    switch("unique_checks", "true"),
    text("version", concat!("8.0.33-tarn-", env!("CARGO_PKG_VERSION"))),
    text("version_comment", concat!("Tarn ", env!("CARGO_PKG_VERSION"))),
    number("wait_timeout", "28800", 1, i64::MAX),
];

const ISOLATION: &[&str] = &["READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"];
