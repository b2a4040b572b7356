//! Which nodes a table's replicas are for, by where those stand: the property "labels.location".

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Table};

/// The property of a table, and of a node.
pub const LOCATION: &str = "labels.location";

/// The locations that a table's replicas are for. Nodes elsewhere get them only while too few of those live: better there
/// than nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Locations {
    /// Any node; replicas are spread over locations. Written `*`, or not at all.
    #[default]
    Every,
    /// Any node, wherever the others are. Written as nothing.
    Unaware,
    /// Nodes at one of these; replicas are spread over them. Written `rack:r1, rack:r2`, or `rack:*` for any that has the key.
    Of(Vec<LocationPattern>),
}

/// A key and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationPattern {
    key: String,
    /// Any if `None`.
    value: Option<String>,
}

impl Locations {
    /// Reads the property's value.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.trim() {
            "" => Ok(Self::Unaware),
            "*" => Ok(Self::Every),
            list => list.split(',').map(LocationPattern::parse).collect::<Result<_, _>>().map(Self::Of),
        }
    }

    /// What the properties of a table say. What cannot be read, which was refused when it was given, is none.
    pub fn of(properties: &BTreeMap<String, String>) -> Self {
        properties.get(LOCATION).and_then(|text| Self::parse(text).ok()).unwrap_or_default()
    }

    /// Whether replicas are for a node that stands here.
    pub fn allow(&self, location: Option<&str>) -> bool {
        match self {
            Self::Every | Self::Unaware => true,
            Self::Of(patterns) => location.is_some_and(|at| patterns.iter().any(|pattern| pattern.matches(at))),
        }
    }

    /// Whether replicas of one tablet should stand apart.
    pub const fn spread(&self) -> bool {
        !matches!(self, Self::Unaware)
    }

    /// The first that is none of `locations`.
    pub fn missing<'a>(&self, locations: impl Iterator<Item = &'a str> + Clone) -> Option<&LocationPattern> {
        match self {
            Self::Every | Self::Unaware => None,
            Self::Of(patterns) => patterns.iter().find(|pattern| !locations.clone().any(|at| pattern.matches(at))),
        }
    }
}

impl LocationPattern {
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::Invalid(format!(
                "`{LOCATION}`: `{}` is no location: write \"*\", \"rack:*\", \"rack:r1\" or several such with commas \
                 between them",
                text.trim()
            ))
        };
        let (key, value) = text.split_once(':').ok_or_else(wrong)?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() || key == "*" {
            return Err(wrong());
        }
        Ok(Self { key: key.to_owned(), value: Some(value.to_owned()).filter(|value| value != "*") })
    }

    fn matches(&self, location: &str) -> bool {
        let Some((key, value)) = location.split_once(':') else { return false };
        key.trim() == self.key && self.value.as_ref().is_none_or(|wanted| value.trim() == wanted)
    }
}

impl fmt::Display for LocationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, self.value.as_deref().unwrap_or("*"))
    }
}

impl Table {
    /// The locations that its replicas are for. A colocation group's are for any.
    pub fn locations(&self) -> Locations {
        Locations::of(&self.properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_matched_by_its_key_and_its_value_or_any() {
        let of = |text| Locations::parse(text).unwrap();
        let racks = of("rack:r1, rack : r2");
        assert!(racks.allow(Some("rack:r1")) && racks.allow(Some("rack:r2")));
        assert!(!racks.allow(Some("rack:r3")) && !racks.allow(Some("zone:r1")) && !racks.allow(None));
        let any = of("rack:*");
        assert!(any.allow(Some("rack:r9")) && !any.allow(Some("zone:r9")) && !any.allow(None));
        for everywhere in [of("*"), of("")] {
            assert!(everywhere.allow(None) && everywhere.allow(Some("rack:r1")));
        }
        assert!(of("*").spread() && racks.spread() && !of(" ").spread());
        let missing = racks.missing(["rack:r1", "zone:r2"].into_iter()).map(ToString::to_string);
        assert_eq!(missing, Some("rack:r2".to_owned()));
        assert_eq!(any.missing(["rack:r1"].into_iter()), None);
    }

    #[test]
    fn what_is_no_location_is_refused_with_what_to_write() {
        for wrong in ["r1", "rack:", ":r1", "*:r1", "rack:r1,", "rack:r1,,rack:r2"] {
            let message = Locations::parse(wrong).unwrap_err().to_string();
            assert!(message.contains("labels.location") && message.contains("\"rack:*\""), "{message}");
        }
    }
}
