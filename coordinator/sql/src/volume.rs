//! Statements of storage volumes.

use crate::name::{Ident, Position};
use crate::table::Property;

/// `CREATE STORAGE VOLUME [IF NOT EXISTS] name TYPE = type LOCATIONS = ('..') [COMMENT ''] [PROPERTIES (..)]`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateStorageVolume {
    /// Whether an existing one is left as it is.
    pub if_not_exists: bool,
    /// Its name.
    pub name: Ident,
    /// `S3` or `LOCAL`, as written.
    pub kind: Ident,
    /// Where it is; at least one, with where each stands.
    pub locations: Vec<(String, Position)>,
    /// The comment.
    pub comment: Option<String>,
    /// How to reach it, and `enabled`.
    pub properties: Vec<Property>,
}

/// `ALTER STORAGE VOLUME [IF EXISTS] name {COMMENT '..' | SET (..)}`
#[derive(Clone, Debug, PartialEq)]
pub struct AlterStorageVolume {
    /// Whether it is no error that it is not there.
    pub if_exists: bool,
    /// Its name.
    pub name: Ident,
    /// Its new comment.
    pub comment: Option<String>,
    /// What changes of its properties.
    pub properties: Vec<Property>,
}
