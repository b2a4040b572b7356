//! The `WHERE` clause of a `DELETE` as comparisons of columns with expressions. Pure.

use tarn_catalog::Table;
use tarn_proto::storage::Comparison;
use tarn_proto::{Column, DataType, TableModel};
use tarn_sql::ast::{BinaryOperator, Expr, Ident, Value};
use tarn_sql::{Delete, Position};

use crate::ddl::model_kind;
use crate::session::Error;

/// A comparison of a column with values that are not computed yet.
#[derive(Clone, Debug, PartialEq)]
pub struct RawCondition {
    /// The column's position in the table.
    pub column: usize,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub values: Vec<Expr>,
}

/// What a `DELETE` of a table without a PRIMARY KEY asks for. All of it must hold.
pub fn conditions(delete: &Delete, table: &Table) -> Result<Vec<RawCondition>, Error> {
    let kind = model_kind(table.schema.model);
    let at = delete.table.at();
    if delete.with.is_some() || !delete.using.is_empty() {
        let message = format!(
            "DELETE from the {kind} table `{}` takes no USING and no WITH: write conditions on its own columns, or create \
             the table with PRIMARY KEY",
            table.name
        );
        return Err(Error::at(at, message));
    }
    let Some(filter) = &delete.filter else {
        let message =
            format!("DELETE without WHERE would empty table `{}`: use TRUNCATE TABLE, or write conditions", table.name);
        return Err(Error::at(at, message));
    };
    let mut lowering = Lowering { table, at, found: Vec::new() };
    lowering.conjunction(filter)?;
    Ok(lowering.found)
}

struct Lowering<'a> {
    table: &'a Table,
    at: Position,
    found: Vec<RawCondition>,
}

impl Lowering<'_> {
    fn conjunction(&mut self, expr: &Expr) -> Result<(), Error> {
        match expr {
            Expr::Nested(inner) => self.conjunction(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.conjunction(left)?;
                self.conjunction(right)
            }
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => Err(self.refused(
                expr,
                "conditions are combined by AND alone: run one DELETE for each alternative, or use IN for values of one \
                 column",
            )),
            Expr::BinaryOp { left, op, right } => match comparison(op) {
                Some(comparison) => self.comparison(expr, left, comparison, right),
                None => Err(self.simple(expr)),
            },
            Expr::InList { expr: column, list, negated } => {
                let column = self.column(expr, column)?;
                self.compare(expr, column, if *negated { Comparison::NotIn } else { Comparison::In }, list.clone())
            }
            Expr::Between { expr: column, negated: false, low, high } => {
                let column = self.column(expr, column)?;
                self.compare(expr, column, Comparison::GreaterOrEqual, vec![low.as_ref().clone()])?;
                self.compare(expr, column, Comparison::LessOrEqual, vec![high.as_ref().clone()])
            }
            Expr::Between { negated: true, .. } => {
                Err(self.refused(expr, "NOT BETWEEN is two alternatives: run one DELETE for each of them"))
            }
            Expr::IsNull(column) => {
                let column = self.column(expr, column)?;
                self.compare(expr, column, Comparison::IsNull, Vec::new())
            }
            Expr::IsNotNull(column) => {
                let column = self.column(expr, column)?;
                self.compare(expr, column, Comparison::IsNotNull, Vec::new())
            }
            Expr::Value(value) if value.value == Value::Boolean(true) => {
                Err(self.refused(expr, "this would delete every row: use TRUNCATE TABLE"))
            }
            other => Err(self.simple(other)),
        }
    }

    fn comparison(&mut self, whole: &Expr, left: &Expr, comparison: Comparison, right: &Expr) -> Result<(), Error> {
        match (name_of(left), name_of(right)) {
            (Some(_), None) => {
                let column = self.column(whole, left)?;
                self.compare(whole, column, comparison, vec![right.clone()])
            }
            (None, Some(_)) => {
                let column = self.column(whole, right)?;
                self.compare(whole, column, swapped(comparison), vec![left.clone()])
            }
            (Some(_), Some(_)) => {
                Err(self.refused(whole, "a column is compared with constants, not with another column"))
            }
            (None, None) => Err(self.simple(whole)),
        }
    }

    fn compare(&mut self, whole: &Expr, column: usize, comparison: Comparison, values: Vec<Expr>) -> Result<(), Error> {
        let declared = &self.table.schema.columns[column];
        let tests_null = matches!(comparison, Comparison::IsNull | Comparison::IsNotNull);
        if !tests_null && !is_comparable(&declared.data_type) {
            let problem = format!(
                "values of {} cannot be compared: column `{}` can only be tested by IS NULL and IS NOT NULL",
                declared.data_type, declared.name
            );
            return Err(self.refused(whole, &problem));
        }
        if let Some(name) = values.iter().find_map(name_of) {
            let problem = format!("a column is compared with constants, and `{}` is none", name.value);
            return Err(self.refused(whole, &problem));
        }
        self.found.push(RawCondition { column, comparison, values });
        Ok(())
    }

    /// The column that an expression names, which rows may be deleted by.
    fn column(&self, whole: &Expr, expr: &Expr) -> Result<usize, Error> {
        let Some(name) = name_of(expr) else { return Err(self.simple(whole)) };
        let columns = &self.table.schema.columns;
        let found = columns.iter().position(|c| c.name.eq_ignore_ascii_case(&name.value));
        let found = found
            .ok_or_else(|| Error::at(self.at, format!("table `{}` has no column `{}`", self.table.name, name.value)))?;
        let is_key = |column: &Column| self.table.schema.keys.contains(&column.id);
        if self.table.schema.model != TableModel::Duplicate && !is_key(&columns[found]) {
            let keys: Vec<String> = columns.iter().filter(|c| is_key(c)).map(|c| format!("`{}`", c.name)).collect();
            let problem = format!(
                "column `{}` is not a key column: rows of {} tables are deleted by conditions on key columns ({}), as \
                 their other values are merged when they are read",
                columns[found].name,
                model_kind(self.table.schema.model),
                keys.join(", ")
            );
            return Err(self.refused(whole, &problem));
        }
        Ok(found)
    }

    fn simple(&self, expr: &Expr) -> Error {
        let kind = model_kind(self.table.schema.model);
        let problem = format!(
            "DELETE from {kind} tables takes comparisons of a column with constants (=, !=, <, <=, >, >=, IN, NOT IN, \
             BETWEEN, IS NULL, IS NOT NULL) combined by AND; any condition is for PRIMARY KEY tables"
        );
        self.refused(expr, &problem)
    }

    fn refused(&self, expr: &Expr, problem: &str) -> Error {
        Error::at(self.at, format!("cannot delete by `{expr}`: {problem}"))
    }
}

/// The column's name, if an expression is nothing else.
fn name_of(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        Expr::Nested(inner) => name_of(inner),
        _ => None,
    }
}

const fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

const fn swapped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

const fn is_comparable(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::Varbinary | DataType::Json | DataType::Array(_) | DataType::Map(..) | DataType::Struct(_)
    )
}

#[cfg(test)]
mod tests {
    use tarn_sql::{Statement, parse_one};

    use super::*;
    use crate::ddl::table_of;

    const LOG: &str = "create table t (k int, v varchar(9), d json) duplicate key (k)";
    const SUMS: &str = "create table t (k int, l date, v bigint sum) aggregate key (k, l)";

    fn lowered(table: &str, filter: &str) -> Result<Vec<String>, String> {
        let table = table_of(table);
        let Ok(Statement::Delete(delete)) = parse_one(&format!("delete from t where {filter}")) else {
            panic!("{filter}")
        };
        let found = conditions(&delete, &table).map_err(|e| e.to_string())?;
        let text = |c: RawCondition| {
            let values: Vec<String> = c.values.iter().map(ToString::to_string).collect();
            format!("{} {:?} {}", table.schema.columns[c.column].name, c.comparison, values.join(","))
        };
        Ok(found.into_iter().map(text).collect())
    }

    #[test]
    fn comparisons_are_taken_apart_in_their_order() {
        let filter = "K >= 1 and (t.v != 'x' and 3 > k) and v in ('a', 'b') and k between ? and ? + 1 and d is null \
                      and v is not null and k not in (4)";
        let expected = [
            "k GreaterOrEqual 1",
            "v NotEqual 'x'",
            "k Less 3",
            "v In 'a','b'",
            "k GreaterOrEqual ?",
            "k LessOrEqual ? + 1",
            "d IsNull ",
            "v IsNotNull ",
            "k NotIn 4",
        ];
        assert_eq!(lowered(LOG, filter).unwrap(), expected);
        assert_eq!(lowered(SUMS, "l < current_date() and k = 1").unwrap(), ["l Less current_date()", "k Equal 1"]);
    }

    #[test]
    fn what_is_not_simple_is_refused_with_the_remedy() {
        let refused = |table, filter, expected: &str| {
            let error = lowered(table, filter).unwrap_err();
            assert!(error.contains(expected) && error.contains("line 1, column 13"), "{filter}: {error}");
        };
        refused(LOG, "k = 1 or v = 'x'", "combined by AND alone");
        refused(LOG, "k + 1 = 2", "takes comparisons of a column with constants");
        refused(LOG, "k = k", "not with another column");
        refused(LOG, "k in (1, v)", "and `v` is none");
        refused(LOG, "v like 'x%'", "takes comparisons of a column with constants");
        refused(LOG, "not k = 1", "takes comparisons of a column with constants");
        refused(LOG, "k not between 1 and 2", "NOT BETWEEN is two alternatives");
        refused(LOG, "true", "use TRUNCATE TABLE");
        refused(LOG, "z = 1", "has no column `z`");
        refused(LOG, "d = '1'", "can only be tested by IS NULL");
        refused(SUMS, "v = 1", "column `v` is not a key column");
    }
}
