//! `MODIFY COLUMN`: what a column's definition may become, and whether rows are written anew for it.

use tarn_proto::{Aggregation, Column, TableModel, segment};

use super::keys::check_has_order;
use super::{Effect, REWRITE, Use};
use crate::{Error, Table};

impl Table {
    /// Gives a column another definition.
    pub(super) fn modify_column(&mut self, wanted: Column) -> Result<Effect, Error> {
        let column = self.column(wanted.id)?;
        let (name, from, to) = (&column.name, &column.data_type, &wanted.data_type);
        let role = self.use_of(wanted.id);
        let is_primary = self.schema.model == TableModel::PrimaryKey && self.schema.keys.contains(&wanted.id);
        if is_primary && (from != to || column.nullable != wanted.nullable) {
            return Err(Error::Alter(format!(
                "column `{name}` is a primary key column: of its definition only name, default and comment can change; \
                 {REWRITE}"
            )));
        }
        // Text has the same order, hash and index entries at any length; numbers of another width have others.
        let in_place = from == to || segment::widens(from, to) && (from.is_text() || role.is_none());
        let mut effect = Effect::Instant;
        if !in_place {
            self.check_conversion(column, &wanted, role)?;
            effect = Effect::Rewrite;
        }
        if column.nullable && !wanted.nullable {
            // NULL beside a value counts for nothing in these, and how many are there depends on what has been merged.
            if !matches!(column.aggregation, None | Some(Aggregation::Replace)) {
                let aggregation = column.aggregation.map_or("", Aggregation::name);
                return Err(Error::Alter(format!(
                    "column `{name}` is a {aggregation} that takes NULL, and cannot become NOT NULL: {REWRITE}"
                )));
            }
            effect = Effect::Rewrite;
        }
        let initial = match effect {
            // Rows that are written anew all have a value.
            Effect::Rewrite if from != to => None,
            _ => column.initial.as_ref().map(|text| segment::widened_initial(text, from, to)),
        };
        if let Some(index) = self.schema.index_of(wanted.id) {
            self.schema.columns[index] = Column { initial, ..wanted };
        }
        Ok(effect)
    }

    /// Refuses a change of a type that no row could be converted by, or whose result would not be known.
    fn check_conversion(&self, column: &Column, wanted: &Column, role: Option<Use>) -> Result<(), Error> {
        let (name, from, to) = (&column.name, &column.data_type, &wanted.data_type);
        match role {
            Some(role @ (Use::Partition | Use::Bucket)) => {
                return Err(Error::Alter(format!(
                    "column `{name}` is {role}, whose type {from} cannot be changed to {to}: {REWRITE}"
                )));
            }
            Some(Use::Key | Use::Sort) => check_has_order(wanted)?,
            None => {}
        }
        // Which of them would be the last is not known once they are merged.
        let replaces = self.schema.columns.iter().any(|column| column.aggregation.is_some_and(Aggregation::is_last));
        if role == Some(Use::Key) && replaces && segment::converts(from, to) && !segment::keeps_apart(from, to) {
            return Err(Error::Alter(format!(
                "key column `{name}` cannot become {to}: values of {from} that differ could be equal then, and which row of \
                 such a key is the last is not known; {REWRITE}"
            )));
        }
        if !segment::converts(from, to) {
            return Err(Error::Alter(format!(
                "column `{name}` cannot become {to}: there is no conversion of {from} to it; {REWRITE}"
            )));
        }
        // How many rows of a key there are depends on what has been merged before.
        let merges = match column.aggregation {
            Some(Aggregation::Sum) => true,
            Some(Aggregation::Min | Aggregation::Max) => !segment::keeps_order(from, to),
            Some(Aggregation::Replace | Aggregation::ReplaceIfNotNull) | None => false,
        };
        if merges {
            let aggregation = column.aggregation.map_or("", Aggregation::name);
            return Err(Error::Alter(format!(
                "column `{name}` cannot become {to}: a {aggregation} of {from} that are not merged yet would be another one \
                 afterwards; {REWRITE}"
            )));
        }
        if let Some(index) = self.schema.indexes.iter().find(|index| index.column == wanted.id) {
            let index =
                if index.name.is_empty() { "a bloom filter".to_owned() } else { format!("index `{}`", index.name) };
            return Err(Error::Alter(format!("column `{name}` cannot become {to}: it has {index}, drop that first")));
        }
        Ok(())
    }
}
