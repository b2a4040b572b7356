//! What names may be.

use tarn_proto::schema::OP;
use tarn_sql::Ident;

use crate::session::Error;

/// Longest name of a database, in characters.
const MAX_DATABASE: usize = 256;
/// Longest name of anything else, in characters.
const MAX_OTHER: usize = 1024;

/// Databases that are not a user's to make.
const RESERVED: [&str; 3] = ["information_schema", "sys", "_statistics_"];

/// Checks the name of a new database.
pub fn check_database(name: &Ident) -> Result<(), Error> {
    if RESERVED.iter().any(|reserved| name.name.eq_ignore_ascii_case(reserved)) {
        return Err(Error::at(name.at, format!("the name `{}` is reserved", name.name)));
    }
    check(name, "database", MAX_DATABASE)
}

/// Checks the name of a new `what`: a table, view, column or partition.
pub fn check_name(name: &Ident, what: &str) -> Result<(), Error> {
    if what == "column" && name.name.eq_ignore_ascii_case(OP) {
        let message = format!("the name `{}` is reserved: by it loads say which keys they delete", name.name);
        return Err(Error::at(name.at, message));
    }
    check(name, what, MAX_OTHER)
}

fn check(name: &Ident, what: &str, max: usize) -> Result<(), Error> {
    let text = &name.name;
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.chars().count() > max {
        format!("is longer than {max} characters")
    } else if text.trim() != text {
        "begins or ends with a space".to_owned()
    } else if text.chars().any(char::is_control) {
        "contains a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::at(name.at, format!("the {what}'s name {wrong}")))
}
