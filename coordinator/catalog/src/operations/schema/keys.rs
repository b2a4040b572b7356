//! Key columns that come, go and change places, and the sort key: rows are written anew for all of these.

use tarn_proto::{Aggregation, Column, ColumnId, TableModel};

use super::{Effect, REWRITE};
use crate::command::Place;
use crate::{Error, Table};

impl Table {
    /// Adds a column to the keys. Where it may stand among them, `place` decides.
    pub(super) fn add_key(&mut self, column: Column, place: Place) -> Result<(), Error> {
        let name = &column.name;
        if self.schema.model == TableModel::PrimaryKey {
            return Err(Error::Alter(format!(
                "column `{name}` would become a primary key column: the key of a PRIMARY KEY table stays as it is; {REWRITE}"
            )));
        }
        check_has_order(&column)?;
        let at = match place {
            Place::First => 0,
            Place::Last => self.schema.keys.len(),
            Place::After(other) => {
                let behind = self.column(other)?;
                let position = self.schema.keys.iter().position(|key| *key == other);
                position.map(|position| position + 1).ok_or_else(|| {
                    Error::Alter(format!(
                        "key columns stay in front: key column `{name}` cannot stand behind column `{}`, which is no key",
                        behind.name
                    ))
                })?
            }
        };
        self.schema.keys.insert(at, column.id);
        match self.explicit_sort_key {
            false => self.schema.sort_key = self.schema.keys.clone(),
            // These are sorted by all keys.
            true if self.schema.model.merges_on_read() => self.schema.sort_key.push(column.id),
            true => {}
        }
        self.schema.columns.insert(at, column);
        Ok(())
    }

    /// Takes a column out of the keys. Rows that were told apart by it alone are aggregated then, where the model says so.
    pub(super) fn drop_key(&mut self, id: ColumnId) -> Result<(), Error> {
        let name = self.column(id)?.name.clone();
        let replaced = |column: &&Column| column.aggregation.is_some_and(Aggregation::is_last);
        let why = match self.schema.model {
            TableModel::PrimaryKey => Some("the key of a PRIMARY KEY table stays as it is".to_owned()),
            TableModel::Unique => Some(
                "which of the rows of a UNIQUE KEY table that are left with one key is the last is not known"
                    .to_owned(),
            ),
            TableModel::Aggregate => self.schema.columns.iter().find(replaced).map(|column| {
                format!("column `{}` is replaced, and which of its values would be the last is not known", column.name)
            }),
            TableModel::Duplicate => None,
        };
        if let Some(why) = why {
            return Err(Error::Alter(format!("key column `{name}` cannot be dropped: {why}; {REWRITE}")));
        }
        if self.schema.keys.len() == 1 {
            return Err(Error::Alter(format!("column `{name}` is the only key column of table `{}`", self.name)));
        }
        if self.explicit_sort_key && self.schema.model == TableModel::Duplicate && self.schema.sort_key.contains(&id) {
            return Err(Error::Alter(format!(
                "column `{name}` is a sort key column, which cannot be dropped: first give the table another sort key by \
                 ALTER TABLE `{}` ORDER BY (..)",
                self.name
            )));
        }
        self.schema.keys.retain(|key| *key != id);
        self.schema.sort_key.retain(|key| *key != id);
        Ok(())
    }

    /// Gives the keys the order of `first`, the columns that shall stand where they do.
    pub(super) fn order_keys(&mut self, first: &[ColumnId]) -> Result<Effect, Error> {
        if first == self.schema.keys {
            return Ok(Effect::Instant);
        }
        let all_keys = self.schema.keys.iter().all(|key| first.contains(key));
        if !all_keys || self.schema.model == TableModel::PrimaryKey {
            let names: Vec<String> =
                self.schema.columns.iter().take(self.schema.keys.len()).map(|c| format!("`{}`", c.name)).collect();
            let order = if all_keys { " and in their order" } else { "" };
            return Err(Error::Alter(format!("key columns stay in front{order} ({})", names.join(", "))));
        }
        self.schema.keys = first.to_vec();
        if !self.explicit_sort_key {
            self.schema.sort_key = first.to_vec();
        }
        Ok(Effect::Rewrite)
    }

    /// Sorts the rows by these columns from now on.
    pub(super) fn set_sort_key(&mut self, columns: &[ColumnId]) -> Result<Effect, Error> {
        let mut seen = Vec::with_capacity(columns.len());
        for id in columns {
            let column = self.column(*id)?;
            check_has_order(column)?;
            if seen.contains(id) {
                return Err(Error::Alter(format!("column `{}` is twice in the sort key", column.name)));
            }
            if self.schema.model.merges_on_read() && !self.schema.keys.contains(id) {
                return Err(Error::Alter(format!(
                    "sort key column `{}` is no key column: this table is sorted by its key columns, in any order",
                    column.name
                )));
            }
            seen.push(*id);
        }
        if self.schema.model.merges_on_read()
            && let Some(missing) = self.schema.keys.iter().find(|key| !seen.contains(key))
        {
            return Err(Error::Alter(format!(
                "the sort key leaves out key column `{}`: this table is sorted by all its key columns, in any order",
                self.column(*missing)?.name
            )));
        }
        if seen.is_empty() {
            return Err(Error::Alter(format!("the sort key of table `{}` names no column", self.name)));
        }
        self.explicit_sort_key = seen != self.schema.keys;
        if seen == self.schema.sort_key {
            return Ok(Effect::Instant);
        }
        self.schema.sort_key = seen;
        Ok(Effect::Rewrite)
    }
}

/// Refuses columns that rows cannot be sorted by.
pub(super) fn check_has_order(column: &Column) -> Result<(), Error> {
    if column.data_type.is_key() {
        return Ok(());
    }
    let (name, t) = (&column.name, &column.data_type);
    Err(Error::Alter(format!("column `{name}` is of type {t}, which key and sort key columns cannot have")))
}
