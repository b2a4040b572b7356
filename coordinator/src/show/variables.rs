//! `SHOW VARIABLES`.

use super::pattern::Pattern;
use super::rows::Rows;
use crate::session::SessionContext;

pub const HEADER: &[&str] = &["Variable_name", "Value"];

pub fn variables(context: &SessionContext, rows: &mut Rows, like: Option<&str>) {
    // Names are in lower case and found in any.
    let like = like.map(str::to_lowercase);
    let pattern = Pattern::new(like.as_deref());
    for (name, value) in context.variables.all().filter(|(name, _)| pattern.matches(name)) {
        rows.push([name.to_owned(), value.to_owned()]);
    }
}
