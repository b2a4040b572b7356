//! `PROPERTIES (..)` of tables and partitions. Pure.

use std::collections::BTreeMap;

use tarn_sql::Property;

use super::lifetime::is_lifetime;
use crate::session::Error;

/// The property that says how many copies there are.
pub const REPLICATION_NUM: &str = "replication_num";

/// Names less alike than this are not offered instead of an unknown one.
const SIMILAR: f64 = 0.75;

/// What a property does.
enum Effect {
    /// Copies of each tablet.
    Replication,
    /// Kept and shown. Tarn works as if it were set, or decides by itself.
    Kept,
    /// Says how long partitions live: [`super::lifetime`] checks it.
    Lifetime,
    /// Would be missed.
    NotYet,
}

const KNOWN: &[(&str, Effect)] = &[
    ("base_compaction_forbidden_time_ranges", Effect::NotYet),
    ("bloom_filter_columns", Effect::NotYet),
    ("bloom_filter_fpp", Effect::NotYet),
    ("bucket_size", Effect::Kept),
    ("colocate_with", Effect::NotYet),
    ("compression", Effect::Kept),
    ("datacache.enable", Effect::Kept),
    ("datacache.partition_duration", Effect::NotYet),
    ("dynamic_partition.buckets", Effect::Lifetime),
    ("dynamic_partition.enable", Effect::Lifetime),
    ("dynamic_partition.end", Effect::Lifetime),
    ("dynamic_partition.history_partition_num", Effect::Lifetime),
    ("dynamic_partition.prefix", Effect::Lifetime),
    ("dynamic_partition.start", Effect::Lifetime),
    ("dynamic_partition.start_day_of_month", Effect::Lifetime),
    ("dynamic_partition.start_day_of_week", Effect::Lifetime),
    ("dynamic_partition.time_unit", Effect::Lifetime),
    ("dynamic_partition.time_zone", Effect::Lifetime),
    ("enable_async_write_back", Effect::Kept),
    ("enable_persistent_index", Effect::Kept),
    ("fast_schema_evolution", Effect::Kept),
    ("flat_json.enable", Effect::NotYet),
    ("foreign_key_constraints", Effect::NotYet),
    ("in_memory", Effect::Kept),
    ("labels.location", Effect::NotYet),
    ("light_schema_change", Effect::Kept),
    ("mutable_bucket_num", Effect::NotYet),
    ("partition_live_number", Effect::Lifetime),
    ("partition_retention_condition", Effect::Lifetime),
    ("partition_ttl", Effect::NotYet),
    ("partition_ttl_number", Effect::NotYet),
    ("persistent_index_type", Effect::Kept),
    ("primary_index_cache_expire_sec", Effect::Kept),
    ("replicated_storage", Effect::Kept),
    (REPLICATION_NUM, Effect::Replication),
    ("storage_cooldown_time", Effect::NotYet),
    ("storage_cooldown_ttl", Effect::NotYet),
    ("storage_format", Effect::Kept),
    ("storage_medium", Effect::Kept),
    ("storage_type", Effect::NotYet),
    ("storage_volume", Effect::NotYet),
    ("unique_constraints", Effect::NotYet),
    ("write_quorum", Effect::Kept),
];

/// A table's properties, with names in lower case and the number of replicas.
pub fn lower(declared: &[Property]) -> Result<BTreeMap<String, String>, Error> {
    let mut properties = BTreeMap::new();
    for property in declared {
        let name = check(property)?;
        if properties.insert(name, property.value.clone()).is_some() {
            return Err(Error::at(property.at, format!("property `{}` is there twice", property.name)));
        }
    }
    properties.entry(REPLICATION_NUM.to_owned()).or_insert_with(|| "1".to_owned());
    Ok(properties)
}

/// Checks properties of a single partition, which are as its table's.
pub fn check_partition(declared: &[Property]) -> Result<(), Error> {
    declared.iter().try_for_each(|property| {
        let name = check(property)?;
        if is_lifetime(&name) {
            let message = format!("property `{name}` is one of a table, not of a single partition");
            return Err(Error::at(property.at, message));
        }
        Ok(())
    })
}

/// A property that is `true` or `false`.
pub fn switch(property: &Property) -> Result<bool, Error> {
    match property.value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let message = format!("property `{}` takes `true` or `false`, not `{}`", property.name, property.value);
            Err(Error::at(property.at, message))
        }
    }
}

/// The property's name as it is kept.
fn check(property: &Property) -> Result<String, Error> {
    let name = property.name.trim().to_ascii_lowercase();
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, Effect::Kept | Effect::Lifetime)) => Ok(name),
        Some((_, Effect::Replication)) if property.value.trim() == "1" => Ok(name),
        Some((_, Effect::Replication)) => Err(Error::at(
            property.at,
            format!("`{REPLICATION_NUM}` is `{}`: only one replica (\"1\") is available yet", property.value),
        )),
        Some((_, Effect::NotYet)) => Err(Error::not_yet(property.at, &format!("property `{name}` is"))),
        None => {
            let nearest = KNOWN
                .iter()
                .map(|(known, _)| (strsim::jaro_winkler(&name, known), *known))
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .filter(|(likeness, _)| *likeness >= SIMILAR);
            let hint = nearest.map_or_else(String::new, |(_, known)| format!(": did you mean `{known}`?"));
            Err(Error::at(property.at, format!("unknown property `{}`{hint}", property.name)))
        }
    }
}
