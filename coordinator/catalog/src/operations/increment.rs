//! Values of AUTO_INCREMENT columns.

use tarn_proto::TableId;

use super::Outcome;
use crate::command::Response;
use crate::{Catalog, DefaultValue, Error};

/// The first value that a table gives.
const FIRST: i64 = 1;

impl Catalog {
    pub(super) fn take_increments(&mut self, id: TableId, count: u64) -> Outcome {
        let table = self.existing_table(id)?;
        let is_increment = |column: &crate::ColumnInfo| column.default == Some(DefaultValue::AutoIncrement);
        if !table.columns.values().any(is_increment) {
            return Err(Error::Invalid(format!("table `{}` has no AUTO_INCREMENT column", table.name)));
        }
        let first = self.increments.get(&id).copied().unwrap_or(FIRST);
        let Some(next) = i64::try_from(count).ok().and_then(|count| first.checked_add(count)) else {
            return Err(Error::Invalid(format!(
                "the AUTO_INCREMENT column of table `{}` has no {count} values left: give the values, or make the table anew",
                table.name
            )));
        };
        self.increments.insert(id, next);
        Ok(Response::Increments { first })
    }
}
