//! Session variables: those Tarn obeys, and those that MySQL's and StarRocks' clients set out of habit. Pure.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use tarn_proto::storage::UpdateMode;
use tarn_sql::Position;

use super::Error;
use super::error::place;
use table::{Kind, Known, VARIABLES};

/// Names less alike than this are not offered instead of an unknown one.
const SIMILAR: f64 = 0.7;

/// A session's variables: what differs from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    changed: BTreeMap<&'static str, String>,
}

impl Variables {
    /// The value of a known variable, by its name in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let known = known(name)?;
        Some(self.changed.get(known.name).map_or(known.default, String::as_str))
    }

    /// Every variable and its value, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        VARIABLES.iter().map(|k| (k.name, self.changed.get(k.name).map_or(k.default, String::as_str)))
    }

    /// Sets a variable from the text of a value.
    pub fn set(&mut self, name: &str, value: &str, at: Position) -> Result<(), Error> {
        let known = known(name).ok_or_else(|| unknown(name, at))?;
        let value = known
            .check(value)
            .map_err(|wanted| Error::at(at, format!("variable `{}` takes {wanted}, not `{value}`", known.name)))?;
        self.changed.insert(known.name, value);
        Ok(())
    }

    /// Gives a variable its built-in value again.
    pub fn reset(&mut self, name: &str, at: Position) -> Result<(), Error> {
        let known = known(name).ok_or_else(|| unknown(name, at))?;
        self.changed.remove(known.name);
        Ok(())
    }

    /// Longest run of a query.
    pub fn query_timeout(&self) -> Duration {
        Duration::from_secs(self.number("query_timeout"))
    }

    /// Longest run of a load.
    pub fn insert_timeout(&self) -> Duration {
        Duration::from_secs(self.number("insert_timeout"))
    }

    /// Bytes of memory a query may take on a node; `None` leaves it to the node.
    pub fn query_mem_limit(&self) -> Option<u64> {
        // StarRocks' `exec_mem_limit` is the older name; the newer one wins.
        let limits = ["query_mem_limit", "exec_mem_limit"];
        limits.into_iter().filter(|name| self.changed.contains_key(name)).map(|name| self.number(name)).find(|n| *n > 0)
    }

    /// Whether `INSERT OVERWRITE` of a whole table replaces only the partitions that get rows.
    pub fn dynamic_overwrite(&self) -> bool {
        self.get("dynamic_overwrite") == Some("true")
    }

    /// What part of their columns' values filters may let pass for bitmap indexes to be used, in thousandths.
    pub fn bitmap_max_filter_ratio(&self) -> u16 {
        u16::try_from(self.number("bitmap_max_filter_ratio")).unwrap_or(tarn_scan::BITMAP_MAX_FILTER_RATIO)
    }

    /// How columns of rows are updated, `auto` being how it is done if nobody says otherwise.
    pub fn partial_update_mode(&self, auto: UpdateMode) -> UpdateMode {
        match self.get("partial_update_mode") {
            Some("row") => UpdateMode::Row,
            Some("column") => UpdateMode::Column,
            _ => auto,
        }
    }

    /// The column by which rows that are loaded take the place of those that are there; none if they always do.
    pub fn merge_condition(&self) -> Option<&str> {
        self.get("merge_condition").filter(|column| !column.is_empty())
    }

    /// Bytes that a task on a compute node should read at least.
    pub fn scan_bytes_per_task(&self) -> u64 {
        self.number("scan_bytes_per_task")
    }

    /// A variable that is a whole number; 0 if it is none.
    fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|v| v.parse().ok()).unwrap_or_default()
    }
}

impl Known {
    /// The value as it is kept, or what is wanted instead.
    fn check(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        match self.kind {
            Kind::Text => Ok(value.to_owned()),
            Kind::Switch => match value.to_ascii_lowercase().as_str() {
                "1" | "true" | "on" => Ok("true".to_owned()),
                "0" | "false" | "off" => Ok("false".to_owned()),
                _ => Err("true or false".to_owned()),
            },
            Kind::Number { min, max } => match value.parse::<i64>() {
                Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
                _ => Err(format!("a whole number from {min} to {max}")),
            },
            Kind::Bytes => bytes(value).map(|n| n.to_string()).ok_or_else(|| "a number of bytes, like 2G".to_owned()),
            Kind::Zone => {
                if is_zone(value) {
                    Ok(value.to_owned())
                } else {
                    Err("a time zone, like `UTC`, `+08:00` or `Asia/Shanghai`".to_owned())
                }
            }
            Kind::OneOf(values) => values
                .iter()
                .find(|v| v.eq_ignore_ascii_case(value))
                .map(|v| (*v).to_owned())
                .ok_or_else(|| format!("one of {}", values.join(", "))),
        }
    }
}

fn known(name: &str) -> Option<&'static Known> {
    VARIABLES.iter().find(|k| k.name.eq_ignore_ascii_case(name))
}

fn unknown(name: &str, at: Position) -> Error {
    let lower = name.to_ascii_lowercase();
    let nearest = VARIABLES
        .iter()
        .map(|k| (strsim::jaro_winkler(&lower, k.name), k.name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= SIMILAR);
    let hint = nearest.map_or_else(String::new, |(_, name)| format!(": did you mean `{name}`?"));
    Error::NotFound(format!("unknown variable `{name}`{hint}{}", place(at)))
}

/// `1024`, `64K`, `2GB`
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_uppercase();
    let text = text.strip_suffix('B').unwrap_or(&text);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit.trim() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Looks at the form alone: an unknown region shows when a query uses it.
fn is_zone(text: &str) -> bool {
    let offset = text.strip_prefix(['+', '-']).and_then(|rest| rest.split_once(':'));
    match offset {
        Some((hours, minutes)) => {
            hours.parse::<u8>().is_ok_and(|h| h <= 14)
                && minutes.len() == 2
                && minutes.parse::<u8>().is_ok_and(|m| m < 60)
        }
        None => {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<String, String> {
        let mut variables = Variables::default();
        variables.set(name, value, Position::default()).map_err(|e| e.to_string())?;
        Ok(variables.get(name).unwrap().to_owned())
    }

    #[test]
    fn every_default_is_a_valid_value_of_its_variable() {
        for known in VARIABLES {
            assert_eq!(known.check(known.default).as_deref(), Ok(known.default), "{}", known.name);
        }
    }

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(
            VARIABLES.windows(2).all(|w| w[0].name < w[1].name),
            "{:?}",
            VARIABLES.windows(2).find(|w| w[0].name >= w[1].name).map(|w| w[1].name)
        );
    }

    #[test]
    fn values_are_checked_and_kept_in_one_form() {
        assert_eq!(set("QUERY_TIMEOUT", " 7 ").as_deref(), Ok("7"));
        assert_eq!(set("query_mem_limit", "2G").as_deref(), Ok("2147483648"));
        assert_eq!(set("query_mem_limit", "64kb").as_deref(), Ok("65536"));
        assert_eq!(set("enable_profile", "ON").as_deref(), Ok("true"));
        assert_eq!(set("time_zone", "+08:00").as_deref(), Ok("+08:00"));
        assert_eq!(set("time_zone", "Asia/Shanghai").as_deref(), Ok("Asia/Shanghai"));
        assert!(set("time_zone", "+8").is_err());
        assert!(set("query_mem_limit", "2X").is_err());
        let error = set("query_timeout", "0").unwrap_err();
        assert!(error.contains("a whole number from 1 to 259200, not `0`"), "{error}");
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_known_one() {
        let at = Position { line: 1, column: 5 };
        let error = Variables::default().set("query_timout", "7", at).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown variable `query_timout`: did you mean `query_timeout`? at line 1, column 5"
        );
        let error = set("zzzzzzzz", "7").unwrap_err();
        assert_eq!(error, "unknown variable `zzzzzzzz`");
    }

    #[test]
    fn a_memory_limit_counts_only_when_it_is_set() {
        let mut variables = Variables::default();
        assert_eq!(variables.query_mem_limit(), None);
        variables.set("exec_mem_limit", "1G", Position::default()).unwrap();
        assert_eq!(variables.query_mem_limit(), Some(1 << 30));
        variables.set("query_mem_limit", "3G", Position::default()).unwrap();
        assert_eq!(variables.query_mem_limit(), Some(3 << 30));
        variables.reset("query_mem_limit", Position::default()).unwrap();
        assert_eq!(variables.query_mem_limit(), Some(1 << 30));
    }
}
