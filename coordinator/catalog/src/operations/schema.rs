//! `AlterTable`: changes of a table's columns that touch no file, because ids bind what is stored.
//!
//! A change that would have to rewrite rows, sort them anew or move them to other buckets is refused with the way to do it
//! by hand. Each command names the schema version that it was computed from, so that of two at once the second is computed
//! anew.

use std::sync::Arc;

use tarn_proto::{Aggregation, Column, ColumnId, SchemaVersion, TableId, TableModel, segment};

use super::{Outcome, check_name};
use crate::command::{Alteration, NewColumn, Place, Response};
use crate::model::{ColumnInfo, DefaultValue, SchemaChange};
use crate::{Catalog, Error, Partitioning, Table};

/// What to do where a table would have to be written anew.
const REWRITE: &str = "make a table that is so and fill it by INSERT INTO .. SELECT, or use CREATE TABLE .. AS SELECT";

impl Catalog {
    pub(super) fn alter_table(
        &mut self,
        table: TableId,
        from: SchemaVersion,
        alterations: &[Alteration],
        now_ms: u64,
    ) -> Outcome {
        let mut altered = Table::clone(&*self.existing_table(table)?);
        if altered.schema.version != from {
            return Err(Error::SchemaChanged { table: altered.name });
        }
        for alteration in alterations {
            altered.alter(alteration)?;
        }
        if alterations.iter().any(|alteration| !matches!(alteration, Alteration::SetComment { .. })) {
            altered.schema.version = SchemaVersion(from.get() + 1);
            let change = SchemaChange { id: self.next_id(), version: altered.schema.version, at_ms: now_ms };
            altered.history.record(change);
        }
        *self.table_mut(table)? = altered;
        Ok(Response::Done)
    }

    /// Gives two tables of a database each other's name.
    pub(super) fn swap_tables(&mut self, one: TableId, other: TableId) -> Outcome {
        let (one, other) = (self.existing_table(one)?, self.existing_table(other)?);
        if one.database != other.database {
            let message = format!("tables `{}` and `{}` are in two databases: move one first", one.name, other.name);
            return Err(Error::Alter(message));
        }
        if one.id == other.id {
            return Ok(Response::Done);
        }
        self.give_name(&one, &other.name);
        self.give_name(&other, &one.name);
        // The second renaming has given up the name that the first had just taken.
        self.relation_names.insert((one.database, Arc::from(other.name.as_str())), one.id);
        self.join_increments(&one, &other);
        Ok(Response::Done)
    }
}

impl Table {
    /// Makes one change of the columns or the comment, and leaves the schema version to who makes them all.
    pub fn alter(&mut self, alteration: &Alteration) -> Result<(), Error> {
        match alteration {
            Alteration::AddColumns { columns, place } => self.add_columns(columns, *place),
            Alteration::DropColumn { column } => self.drop_column(*column),
            Alteration::RenameColumn { column, name } => self.rename_column(*column, name),
            Alteration::ModifyColumn { column, data_type, nullable, info, place } => {
                let wanted =
                    Column { data_type: data_type.clone(), nullable: *nullable, ..self.column(*column)?.clone() };
                self.check_counter(&wanted, info)?;
                self.modify_column(wanted)?;
                self.set_info(*column, info.clone());
                place.map_or(Ok(()), |place| self.move_column(*column, place))
            }
            Alteration::OrderColumns { columns } => self.order_columns(columns),
            Alteration::SetComment { comment } => {
                self.comment.clone_from(comment);
                Ok(())
            }
        }
    }

    fn column(&self, id: ColumnId) -> Result<&Column, Error> {
        let index = self.schema.index_of(id);
        index.map(|index| &self.schema.columns[index]).ok_or_else(|| {
            let (table, column) = (self.name.clone(), id.to_string());
            Error::UnknownColumn { table, column }
        })
    }

    fn set_info(&mut self, column: ColumnId, info: ColumnInfo) {
        if info == ColumnInfo::default() {
            self.columns.remove(&column);
        } else {
            self.columns.insert(column, info);
        }
    }

    /// An AUTO_INCREMENT column is one for ever, and no other column becomes one.
    fn check_counter(&self, wanted: &Column, info: &ColumnInfo) -> Result<(), Error> {
        let now = self.columns.get(&wanted.id).and_then(|info| info.default.as_ref());
        let counters = [now, info.default.as_ref()].map(|default| default == Some(&DefaultValue::AutoIncrement));
        if counters == [false, false] {
            return Ok(());
        }
        let column = self.column(wanted.id)?;
        if counters == [true, true] && column == wanted {
            return Ok(());
        }
        Err(Error::Alter(format!(
            "column `{}`: an AUTO_INCREMENT column is made with its table, and of it only name, comment and place can change",
            column.name
        )))
    }

    fn add_columns(&mut self, columns: &[NewColumn], place: Place) -> Result<(), Error> {
        let mut place = place;
        for new in columns {
            self.check_free(&new.name)?;
            self.check_new(new)?;
            let id = self.history.next_column(&self.schema);
            let column = Column {
                id,
                name: new.name.clone(),
                data_type: new.data_type.clone(),
                nullable: new.nullable,
                aggregation: new.aggregation,
                initial: new.initial.clone(),
            };
            segment::initial(&column, 1).map_err(|error| {
                Error::Alter(format!(
                    "default of column `{}` is no value of {}: {error}",
                    column.name, column.data_type
                ))
            })?;
            self.schema.columns.push(column);
            self.set_info(id, new.info.clone());
            self.move_column(id, place)?;
            place = Place::After(id);
        }
        Ok(())
    }

    fn check_free(&self, name: &str) -> Result<(), Error> {
        check_name("column", name)?;
        match self.schema.column(name) {
            Some(column) => Err(Error::Alter(format!("table `{}` has a column `{}` already", self.name, column.name))),
            None => Ok(()),
        }
    }

    fn check_new(&self, new: &NewColumn) -> Result<(), Error> {
        let name = &new.name;
        let merged = self.schema.model.merges_on_read();
        if merged != new.aggregation.is_some() {
            let message = if merged {
                format!(
                    "column `{name}` has no aggregation, and would be a key column: key columns cannot be added; {REWRITE}"
                )
            } else {
                format!("column `{name}` has an aggregation, which only AGGREGATE KEY tables have: leave it out")
            };
            return Err(Error::Alter(message));
        }
        if !new.nullable && new.initial.is_none() {
            return Err(Error::Alter(format!(
                "column `{name}` is NOT NULL and has no default, so rows that are there have no value for it: \
                 give it a DEFAULT, or let it be NULL"
            )));
        }
        // Every row that is there reads it, and how many of them make up a sum depends on what was compacted before.
        let zero = |text: &String| text.trim().parse::<f64>().is_ok_and(|number| number == 0.0);
        if new.aggregation == Some(Aggregation::Sum) && new.initial.as_ref().is_some_and(|text| !zero(text)) {
            return Err(Error::Alter(format!(
                "default of column `{name}`, a SUM, would be added once for each row of a key that is there: \
                 use DEFAULT \"0\", or none"
            )));
        }
        Ok(())
    }

    fn drop_column(&mut self, id: ColumnId) -> Result<(), Error> {
        let name = self.column(id)?.name.clone();
        if let Some(role) = self.use_of(id) {
            return Err(Error::Alter(format!("column `{name}` is {role}, which cannot be dropped: {REWRITE}")));
        }
        if self.schema.columns.len() == 1 {
            return Err(Error::Alter(format!("column `{name}` is the only one of table `{}`", self.name)));
        }
        // Ids stay in use: no later column finds this one's values.
        self.history.next_column(&self.schema);
        self.schema.columns.retain(|column| column.id != id);
        self.columns.remove(&id);
        Ok(())
    }

    fn rename_column(&mut self, id: ColumnId, name: &str) -> Result<(), Error> {
        let index = self.schema.index_of(id);
        if !self.column(id)?.name.eq_ignore_ascii_case(name) {
            self.check_free(name)?;
        }
        if let Some(index) = index {
            self.schema.columns[index].name = name.to_owned();
        }
        Ok(())
    }

    /// What the rows of the table are arranged by, and so names the column for ever.
    fn use_of(&self, id: ColumnId) -> Option<&'static str> {
        let partitioned = match &self.partitioning {
            Partitioning::None => false,
            Partitioning::Range(columns) | Partitioning::List(columns) => columns.contains(&id),
            Partitioning::Expression(expressions) => expressions.iter().any(|e| e.column() == id),
        };
        match () {
            () if self.schema.keys.contains(&id) => Some("a key column"),
            () if self.schema.sort_key.contains(&id) => Some("a sort key column"),
            () if partitioned => Some("a partition column"),
            () if self.distribution.columns.contains(&id) => Some("a bucket column"),
            () => None,
        }
    }

    fn modify_column(&mut self, wanted: Column) -> Result<(), Error> {
        let column = self.column(wanted.id)?;
        let (name, from, to) = (&column.name, &column.data_type, &wanted.data_type);
        if !segment::widens(from, to) {
            return Err(Error::Alter(format!(
                "column `{name}` cannot become {to}: {from} is changed in place to wider types of its kind only; {REWRITE}"
            )));
        }
        // Text has the same order, hash and index entries at any length; numbers of another width have others.
        if from != to
            && !from.is_text()
            && let Some(role) = self.use_of(wanted.id)
        {
            return Err(Error::Alter(format!(
                "column `{name}` is {role}, whose type {from} cannot be changed to {to}: {REWRITE}"
            )));
        }
        if column.nullable && !wanted.nullable {
            return Err(Error::Alter(format!(
                "column `{name}` takes NULL and may hold it, so it cannot become NOT NULL: {REWRITE}"
            )));
        }
        let is_primary = self.schema.model == TableModel::PrimaryKey && self.schema.keys.contains(&wanted.id);
        if is_primary && (from != to || column.nullable != wanted.nullable) {
            return Err(Error::Alter(format!(
                "column `{name}` is a primary key column: of its definition only name, default and comment can change; \
                 {REWRITE}"
            )));
        }
        let initial = column.initial.as_ref().map(|text| segment::widened_initial(text, from, to));
        if let Some(index) = self.schema.index_of(wanted.id) {
            self.schema.columns[index] = Column { initial, ..wanted };
        }
        Ok(())
    }

    fn move_column(&mut self, id: ColumnId, place: Place) -> Result<(), Error> {
        let mut order: Vec<ColumnId> = self.schema.columns.iter().map(|c| c.id).filter(|other| *other != id).collect();
        let at = match place {
            Place::First => 0,
            Place::Last => order.len(),
            Place::After(other) if other == id => {
                let name = &self.column(id)?.name;
                return Err(Error::Alter(format!("column `{name}` cannot stand behind itself")));
            }
            Place::After(other) => {
                self.column(other)?;
                order.iter().position(|column| *column == other).map_or(order.len(), |position| position + 1)
            }
        };
        order.insert(at, id);
        self.order_columns(&order)
    }

    fn order_columns(&mut self, order: &[ColumnId]) -> Result<(), Error> {
        let columns: Vec<Column> = order.iter().map(|id| self.column(*id).cloned()).collect::<Result<_, _>>()?;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.schema.columns.len() || order.len() != sorted.len() {
            let message = format!("the order of the columns of table `{}` must name each of them once", self.name);
            return Err(Error::Alter(message));
        }
        let keys = &self.schema.keys;
        if !order.iter().take(keys.len()).eq(keys) {
            let names: Vec<String> =
                self.schema.columns.iter().take(keys.len()).map(|column| format!("`{}`", column.name)).collect();
            return Err(Error::Alter(format!(
                "key columns stay in front and in their order ({}): to order them otherwise, {REWRITE}",
                names.join(", ")
            )));
        }
        self.schema.columns = columns;
        Ok(())
    }
}
