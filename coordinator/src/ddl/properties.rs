//! `PROPERTIES (..)` of tables and partitions. Pure.

use std::collections::BTreeMap;

use tarn_catalog::{LOCATION, STORAGE_VOLUME};
use tarn_sql::Property;

use super::indexes::BLOOM_FILTER_COLUMNS;
use super::lifetime::is_lifetime;
use super::replicas::{COLOCATE_WITH, REPLICATION_NUM};
use crate::session::Error;

/// Names less alike than this are not offered instead of an unknown one.
const SIMILAR: f64 = 0.75;

/// What a property does.
enum Effect {
    /// Kept by the catalog in a field of its own: [`Lowered`] has it.
    Own,
    /// Kept and shown. Tarn works as if it were set, or decides by itself.
    Kept,
    /// Says how long partitions live: [`super::lifetime`] checks it.
    Lifetime,
    /// Would be missed.
    NotYet,
}

const KNOWN: &[(&str, Effect)] = &[
    ("base_compaction_forbidden_time_ranges", Effect::NotYet),
    (BLOOM_FILTER_COLUMNS, Effect::Own),
    ("bloom_filter_fpp", Effect::NotYet),
    ("bucket_size", Effect::Kept),
    (COLOCATE_WITH, Effect::Own),
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
    (LOCATION, Effect::Kept),
    ("light_schema_change", Effect::Kept),
    ("mutable_bucket_num", Effect::NotYet),
    ("partition_live_number", Effect::Lifetime),
    ("partition_retention_condition", Effect::Lifetime),
    ("partition_ttl", Effect::NotYet),
    ("partition_ttl_number", Effect::NotYet),
    ("persistent_index_type", Effect::Kept),
    ("primary_index_cache_expire_sec", Effect::Kept),
    ("replicated_storage", Effect::Kept),
    (REPLICATION_NUM, Effect::Own),
    ("storage_cooldown_time", Effect::NotYet),
    ("storage_cooldown_ttl", Effect::NotYet),
    ("storage_format", Effect::Kept),
    ("storage_medium", Effect::Kept),
    ("storage_type", Effect::NotYet),
    (STORAGE_VOLUME, Effect::Kept),
    ("unique_constraints", Effect::NotYet),
    ("write_quorum", Effect::Kept),
];

/// A table's properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// Those that are kept as they are, names in lower case.
    pub kept: BTreeMap<String, String>,
    /// Those that the catalog has a field for, names in lower case.
    own: BTreeMap<String, Property>,
}

impl Lowered {
    /// What is declared of a property that the catalog has a field for.
    pub fn own(&self, name: &str) -> Option<&Property> {
        self.own.get(name)
    }
}

/// Checks a table's properties.
pub fn lower(declared: &[Property]) -> Result<Lowered, Error> {
    let mut lowered = Lowered::default();
    for property in declared {
        let name = check(property)?;
        let earlier = if is_own(&name) {
            lowered.own.insert(name, property.clone()).is_some()
        } else {
            lowered.kept.insert(name, property.value.clone()).is_some()
        };
        if earlier {
            return Err(Error::at(property.at, format!("property `{}` is there twice", property.name)));
        }
    }
    Ok(lowered)
}

fn is_own(name: &str) -> bool {
    KNOWN.iter().any(|(known, effect)| *known == name && matches!(effect, Effect::Own))
}

/// Checks properties of a single partition, which are as its table's.
pub fn check_partition(declared: &[Property]) -> Result<(), Error> {
    declared.iter().try_for_each(|property| {
        let name = check(property)?;
        if is_lifetime(&name) || name == LOCATION || is_own(&name) && name != REPLICATION_NUM {
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
        Some((_, Effect::Kept | Effect::Lifetime | Effect::Own)) => Ok(name),
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
