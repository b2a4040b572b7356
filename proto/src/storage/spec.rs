//! What a load writes: whole rows, some columns of rows, or a predicate whose rows go.

use serde::{Deserialize, Serialize};

use crate::types::ParseTypeError;
use crate::{ColumnId, DataType, TableSchema, wire};

/// What a load writes, as it was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSpec {
    /// The table's schema when the load was planned: its rows have these columns, whatever becomes of the table meanwhile.
    pub schema: TableSchema,
    /// The load changes some columns of rows that are there, or only those rows that it is newer than. PRIMARY KEY tables
    /// alone.
    pub update: Option<PartialUpdate>,
    /// The load has no rows: it deletes those of every tablet that an empty batch is written to. Not of PRIMARY KEY tables.
    pub delete: Option<DeletePredicate>,
}

impl LoadSpec {
    /// Whole rows of this schema.
    pub const fn rows(schema: TableSchema) -> Self {
        Self { schema, update: None, delete: None }
    }

    /// Some columns of rows of this schema, or whole rows under a condition.
    pub const fn update(schema: TableSchema, update: PartialUpdate) -> Self {
        Self { schema, update: Some(update), delete: None }
    }

    /// No rows, and what deletes those that are there.
    pub const fn delete(schema: TableSchema, delete: DeletePredicate) -> Self {
        Self { schema, update: None, delete: Some(delete) }
    }

    /// What becomes of the load's rows, if they are not simply added.
    pub fn change(&self) -> Option<Change> {
        let delete = self.delete.clone().map(Change::Delete);
        delete.or_else(|| self.update.clone().map(Change::Update))
    }
}

/// What a load does to rows that are there, beside adding its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Its rows are completed from those that are there when it is published.
    Update(PartialUpdate),
    /// It deletes rows that are there when it is published.
    Delete(DeletePredicate),
}

/// A load into a PRIMARY KEY table that gives some of its columns, or whose rows count only if they are not older than
/// those that are there. Its batches have all columns: of those that it does not give, each row has what a new row gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialUpdate {
    /// The columns that it gives, those of the key among them. Of the others, rows that are there keep their values.
    pub columns: Vec<ColumnId>,
    /// How it is done. The outcome is the same.
    pub mode: UpdateMode,
    /// One of `columns`, and not of the key: a row takes the place of another of its key only if its value here is not
    /// less, NULL being less than any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ColumnId>,
    /// Rows whose key is not there are left out, instead of being inserted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_existing: bool,
}

/// How a partial update is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateMode {
    /// For few rows.
    #[default]
    Row,
    /// For few columns of many rows.
    Column,
}

/// Which rows a `DELETE` deletes: those for which every condition is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletePredicate {
    /// At least one.
    pub conditions: Vec<Condition>,
}

/// A comparison of a column with constants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The column.
    pub column: ColumnId,
    /// Its type when the statement was planned.
    pub data_type: DataType,
    /// What rows read that are older than the column, as a constant's text; `None`: NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// How it is compared.
    pub comparison: Comparison,
    /// The constants' texts in the column's type, none of them NULL: one, any number for `In` and `NotIn`, none for
    /// tests for NULL.
    pub values: Vec<String>,
}

/// How a column is compared with constants. NULL compares with none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `IN`
    In,
    /// `NOT IN`
    NotIn,
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
}

/// A delete predicate message that breaks the contract.
#[derive(Debug, thiserror::Error)]
pub enum WireDeleteError {
    /// A type text of a column.
    #[error("a condition on column {column} has an unknown type")]
    Type {
        /// The column.
        column: ColumnId,
        /// The text that is no type.
        #[source]
        source: ParseTypeError,
    },
    /// A comparison.
    #[error("{0} is no comparison")]
    Comparison(i32),
}

impl From<Comparison> for wire::Comparison {
    fn from(comparison: Comparison) -> Self {
        match comparison {
            Comparison::Equal => Self::Equal,
            Comparison::NotEqual => Self::NotEqual,
            Comparison::Less => Self::Less,
            Comparison::LessOrEqual => Self::LessOrEqual,
            Comparison::Greater => Self::Greater,
            Comparison::GreaterOrEqual => Self::GreaterOrEqual,
            Comparison::In => Self::In,
            Comparison::NotIn => Self::NotIn,
            Comparison::IsNull => Self::IsNull,
            Comparison::IsNotNull => Self::IsNotNull,
        }
    }
}

impl From<&DeletePredicate> for wire::DeletePredicate {
    fn from(predicate: &DeletePredicate) -> Self {
        let condition = |condition: &Condition| wire::DeleteCondition {
            column: condition.column.get(),
            r#type: condition.data_type.to_string(),
            initial: condition.initial.clone(),
            comparison: wire::Comparison::from(condition.comparison).into(),
            values: condition.values.clone(),
        };
        Self { conditions: predicate.conditions.iter().map(condition).collect() }
    }
}

impl TryFrom<wire::DeletePredicate> for DeletePredicate {
    type Error = WireDeleteError;

    fn try_from(predicate: wire::DeletePredicate) -> Result<Self, Self::Error> {
        let condition = |condition: wire::DeleteCondition| {
            let comparison = match condition.comparison() {
                wire::Comparison::Unspecified => return Err(WireDeleteError::Comparison(condition.comparison)),
                wire::Comparison::Equal => Comparison::Equal,
                wire::Comparison::NotEqual => Comparison::NotEqual,
                wire::Comparison::Less => Comparison::Less,
                wire::Comparison::LessOrEqual => Comparison::LessOrEqual,
                wire::Comparison::Greater => Comparison::Greater,
                wire::Comparison::GreaterOrEqual => Comparison::GreaterOrEqual,
                wire::Comparison::In => Comparison::In,
                wire::Comparison::NotIn => Comparison::NotIn,
                wire::Comparison::IsNull => Comparison::IsNull,
                wire::Comparison::IsNotNull => Comparison::IsNotNull,
            };
            let column = ColumnId(condition.column);
            let data_type = condition.r#type.parse();
            let data_type = data_type.map_err(|source| WireDeleteError::Type { column, source })?;
            Ok(Condition { column, data_type, initial: condition.initial, comparison, values: condition.values })
        };
        Ok(Self { conditions: predicate.conditions.into_iter().map(condition).collect::<Result<_, _>>()? })
    }
}

impl From<&PartialUpdate> for wire::PartialUpdate {
    fn from(update: &PartialUpdate) -> Self {
        Self {
            columns: update.columns.iter().map(|c| c.get()).collect(),
            by_column: update.mode == UpdateMode::Column,
            condition: update.condition.map(ColumnId::get),
            only_existing: update.only_existing,
        }
    }
}

impl From<wire::PartialUpdate> for PartialUpdate {
    fn from(update: wire::PartialUpdate) -> Self {
        Self {
            columns: update.columns.into_iter().map(ColumnId).collect(),
            mode: if update.by_column { UpdateMode::Column } else { UpdateMode::Row },
            condition: update.condition.map(ColumnId),
            only_existing: update.only_existing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_from_the_wire_and_from_disk() {
        let all = [
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
            Comparison::In,
            Comparison::NotIn,
            Comparison::IsNull,
            Comparison::IsNotNull,
        ];
        let condition = |comparison| Condition {
            column: ColumnId(7),
            data_type: DataType::Decimal(10, 2),
            initial: Some("1.50".to_owned()),
            comparison,
            values: vec!["2.25".to_owned(), "-1".to_owned()],
        };
        let delete = DeletePredicate { conditions: all.into_iter().map(condition).collect() };
        assert_eq!(DeletePredicate::try_from(wire::DeletePredicate::from(&delete)).unwrap(), delete);
        let update = PartialUpdate {
            columns: vec![ColumnId(1), ColumnId(3)],
            mode: UpdateMode::Column,
            condition: Some(ColumnId(3)),
            only_existing: true,
        };
        assert_eq!(PartialUpdate::from(wire::PartialUpdate::from(&update)), update);
        for change in [Change::Update(update), Change::Delete(delete)] {
            let bytes = crate::encoding::encode(1, &change);
            assert_eq!(crate::encoding::decode::<Change>("change", 1, &bytes).unwrap(), change);
        }
    }

    #[test]
    fn what_is_no_comparison_or_no_type_is_refused() {
        let condition = |comparison, text: &str| wire::DeletePredicate {
            conditions: vec![wire::DeleteCondition {
                column: 3,
                r#type: text.to_owned(),
                comparison,
                ..wire::DeleteCondition::default()
            }],
        };
        let refused = |message| DeletePredicate::try_from(message).unwrap_err();
        assert!(matches!(refused(condition(0, "int")), WireDeleteError::Comparison(0)));
        assert!(matches!(refused(condition(99, "int")), WireDeleteError::Comparison(99)));
        assert!(matches!(refused(condition(1, "integers")), WireDeleteError::Type { .. }));
    }
}
