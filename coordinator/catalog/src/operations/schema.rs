//! `AlterTable`: changes of a table's columns.
//!
//! Most touch no file, because ids bind what is stored, and are made at once. Those after which rows have other keys, another
//! order, or values of types that are not just wider are begun here and done by a job ([`super::schema_job`]). What would move
//! rows to other partitions or buckets is refused with the way to do it by hand. Each command names the schema version that
//! it was computed from, so that of two at once the second is computed anew.

mod index;
mod keys;
mod modify;

use std::sync::Arc;

use tarn_proto::{Aggregation, Column, ColumnId, SchemaVersion, TableId, segment};

use super::{Outcome, RETENTION_CONDITION, check_name, table_model};
use crate::command::{Alteration, NewColumn, Place, Response};
use crate::model::{ColumnInfo, DefaultValue, Rewrite, SchemaChange, SchemaJob, SchemaWork};
use crate::{Catalog, Error, Partitioning, Table};

pub(super) use index::check as check_indexes;
pub use index::index_refusal;

/// What a change of a table asks of what is stored; of several the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: it is made at once.
    Instant,
    /// It is made at once, and storage nodes build something for files that are there.
    Build,
    /// All rows are written anew before it is made.
    Rewrite,
}

/// What to do where a table would have to be written anew.
const REWRITE: &str = "make a table that is so and fill it by INSERT INTO .. SELECT, or use CREATE TABLE .. AS SELECT";

impl Catalog {
    pub(super) fn alter_table(
        &mut self,
        table: TableId,
        from: SchemaVersion,
        alterations: &[Alteration],
        timeout_ms: u64,
        now_ms: u64,
    ) -> Outcome {
        let before = self.existing_table(table)?;
        if before.job.is_some() {
            return Err(Error::SchemaJobRunning { table: before.name.clone() });
        }
        if before.schema.version != from {
            return Err(Error::SchemaChanged { table: before.name.clone() });
        }
        let mut altered = Table::clone(&before);
        let mut effect = Effect::Instant;
        for alteration in alterations {
            effect = effect.max(altered.alter(alteration)?);
        }
        if alterations.iter().all(|alteration| matches!(alteration, Alteration::SetComment { .. })) {
            *self.table_mut(table)? = altered;
            return Ok(Response::Done);
        }
        altered.schema.version = SchemaVersion(from.get() + 1);
        let (id, version) = (self.next_id(), altered.schema.version);
        let work = match effect {
            Effect::Instant => {
                let change = SchemaChange { id, version, created_ms: now_ms, at_ms: now_ms, cancelled: None };
                altered.history.record(change);
                *self.table_mut(table)? = altered;
                return Ok(Response::Done);
            }
            Effect::Build => SchemaWork::Build { before: before.schema.indexes.clone() },
            Effect::Rewrite => {
                altered.check_model()?;
                let Table { schema: to, columns, explicit_sort_key, history, comment, .. } = altered;
                // All else stays as it is until the end. Ids of columns are never given again, come what may.
                altered = Table { history, comment, ..Table::clone(&before) };
                let shadows = imbl::OrdMap::new();
                SchemaWork::Rewrite(Rewrite { to, columns, explicit_sort_key, shadows, frozen_ms: None })
            }
        };
        let expires_ms = now_ms.saturating_add(timeout_ms);
        altered.job = Some(Arc::new(SchemaJob { id, created_ms: now_ms, expires_ms, work, progress: None }));
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
    /// Makes one change of the columns or the comment, as if rows had been written anew where that is its effect, and leaves
    /// the schema version to who makes them all.
    pub fn alter(&mut self, alteration: &Alteration) -> Result<Effect, Error> {
        match alteration {
            Alteration::AddColumns { columns, place } => self.add_columns(columns, *place),
            Alteration::DropColumn { column } => self.drop_column(*column),
            Alteration::RenameColumn { column, name } => self.rename_column(*column, name).map(|()| Effect::Instant),
            Alteration::ModifyColumn { column, data_type, nullable, info, place } => {
                let wanted =
                    Column { data_type: data_type.clone(), nullable: *nullable, ..self.column(*column)?.clone() };
                self.check_counter(&wanted, info)?;
                let effect = self.modify_column(wanted)?;
                self.set_info(*column, info.clone());
                let moved = place.map_or(Ok(Effect::Instant), |place| self.move_column(*column, place))?;
                Ok(effect.max(moved))
            }
            Alteration::OrderColumns { columns } => self.order_columns(columns),
            Alteration::SetSortKey { columns } => self.set_sort_key(columns),
            Alteration::AddIndex { index } => self.add_index(index),
            Alteration::DropIndex { name } => self.drop_index(name),
            Alteration::SetBloomColumns { columns } => self.set_bloom_columns(columns),
            Alteration::SetComment { comment } => {
                self.comment.clone_from(comment);
                Ok(Effect::Instant)
            }
        }
    }

    /// Checks what the table's model asks, of a schema whose changes were checked one by one.
    fn check_model(&self) -> Result<(), Error> {
        table_model::check(&self.schema, &self.partition_columns(), &self.distribution.columns)
            .map_err(|why| Error::Alter(format!("table `{}` then {why}", self.name)))
    }

    fn partition_columns(&self) -> Vec<ColumnId> {
        match &self.partitioning {
            Partitioning::None => Vec::new(),
            Partitioning::Range(columns) | Partitioning::List(columns) => columns.clone(),
            Partitioning::Expression(expressions) => expressions.iter().map(|e| e.column()).collect(),
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

    fn add_columns(&mut self, columns: &[NewColumn], place: Place) -> Result<Effect, Error> {
        let mut place = place;
        let mut effect = Effect::Instant;
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
            self.set_info(id, new.info.clone());
            if new.key {
                self.add_key(column, place)?;
                effect = Effect::Rewrite;
            } else {
                self.schema.columns.push(column);
                self.move_column(id, place)?;
            }
            place = Place::After(id);
        }
        Ok(effect)
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
        let merged = self.schema.model.merges_on_read() && !new.key;
        if merged != new.aggregation.is_some() {
            let message = if merged {
                format!("column `{name}` has no aggregation: give it one, or mark it KEY")
            } else if new.key {
                format!("key column `{name}` cannot have an aggregation: leave it out")
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

    fn drop_column(&mut self, id: ColumnId) -> Result<Effect, Error> {
        let name = self.column(id)?.name.clone();
        let effect = match self.use_of(id) {
            Some(Use::Key) => {
                self.drop_key(id)?;
                Effect::Rewrite
            }
            Some(role) => {
                return Err(Error::Alter(format!("column `{name}` is {role}, which cannot be dropped: {REWRITE}")));
            }
            None => Effect::Instant,
        };
        if self.schema.columns.len() == 1 {
            return Err(Error::Alter(format!("column `{name}` is the only one of table `{}`", self.name)));
        }
        // Ids stay in use: no later column finds this one's values.
        self.history.next_column(&self.schema);
        self.schema.columns.retain(|column| column.id != id);
        self.schema.indexes.retain(|index| index.column != id);
        self.columns.remove(&id);
        Ok(effect)
    }

    fn rename_column(&mut self, id: ColumnId, name: &str) -> Result<(), Error> {
        let index = self.schema.index_of(id);
        if !self.column(id)?.name.eq_ignore_ascii_case(name) {
            self.check_free(name)?;
            self.check_unnamed(id)?;
        }
        if let Some(index) = index {
            self.schema.columns[index].name = name.to_owned();
        }
        Ok(())
    }

    /// Refuses to rename a column that a property's text names.
    fn check_unnamed(&self, id: ColumnId) -> Result<(), Error> {
        let (name, condition) = (&self.column(id)?.name, self.properties.get(RETENTION_CONDITION));
        match condition.is_some_and(|condition| names(condition, name)) {
            true => Err(Error::Alter(format!(
                "column `{name}` of table `{}` is named by its property \"{RETENTION_CONDITION}\": ALTER TABLE .. SET \
                 (\"{RETENTION_CONDITION}\" = \"\") first, and set it again with the column's new name",
                self.name
            ))),
            false => Ok(()),
        }
    }

    /// What the rows of the table are arranged by. What places them in partitions and buckets counts first.
    fn use_of(&self, id: ColumnId) -> Option<Use> {
        match () {
            () if self.partition_columns().contains(&id) => Some(Use::Partition),
            () if self.distribution.columns.contains(&id) => Some(Use::Bucket),
            () if self.schema.keys.contains(&id) => Some(Use::Key),
            () if self.schema.sort_key.contains(&id) => Some(Use::Sort),
            () => None,
        }
    }

    fn move_column(&mut self, id: ColumnId, place: Place) -> Result<Effect, Error> {
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

    fn order_columns(&mut self, order: &[ColumnId]) -> Result<Effect, Error> {
        let columns: Vec<Column> = order.iter().map(|id| self.column(*id).cloned()).collect::<Result<_, _>>()?;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.schema.columns.len() || order.len() != sorted.len() {
            let message = format!("the order of the columns of table `{}` must name each of them once", self.name);
            return Err(Error::Alter(message));
        }
        let effect = self.order_keys(&order[..self.schema.keys.len().min(order.len())])?;
        self.schema.columns = columns;
        Ok(effect)
    }
}

/// Whether an expression's text may name a column: its name stands there as a word.
fn names(text: &str, column: &str) -> bool {
    let (text, column) = (text.to_lowercase(), column.to_lowercase());
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(&column).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + column.len()..]);
        !before.ends_with(is_word) && !after.starts_with(is_word)
    })
}

/// What a column places or orders rows by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Partition,
    Bucket,
    Key,
    Sort,
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Partition => "a partition column",
            Self::Bucket => "a bucket column",
            Self::Key => "a key column",
            Self::Sort => "a sort key column",
        })
    }
}
