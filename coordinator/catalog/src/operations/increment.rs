//! Values of AUTO_INCREMENT columns.

use tarn_proto::TableId;

use super::Outcome;
use crate::command::Response;
use crate::{Catalog, DefaultValue, Error, Table};

/// The first value that a table gives.
const FIRST: i64 = 1;

impl Catalog {
    pub(super) fn take_increments(&mut self, id: TableId, count: u64) -> Outcome {
        let table = self.existing_table(id)?;
        if !has_increment(&table) {
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

    /// Lets two tables that swap names go on where the further one is: one of them may hold the other's rows.
    pub(super) fn join_increments(&mut self, one: &Table, other: &Table) {
        let next = [one, other].iter().filter_map(|table| self.increments.get(&table.id)).max().copied();
        if let Some(next) = next.filter(|_| has_increment(one) && has_increment(other)) {
            self.increments.insert(one.id, next);
            self.increments.insert(other.id, next);
        }
    }
}

fn has_increment(table: &Table) -> bool {
    table.columns.values().any(|column| column.default == Some(DefaultValue::AutoIncrement))
}
