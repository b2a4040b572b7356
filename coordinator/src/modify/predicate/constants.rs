//! The values that a `DELETE` compares columns with.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType as ArrowType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, lit};
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use tarn_catalog::Table;
use tarn_gateway::engine::{EngineError, Result};
use tarn_proto::storage::{Comparison, Condition, DeletePredicate};
use tarn_proto::{DataType, ErrorKind};
use tarn_sql::{Position, Statement, parse_one};

use super::conditions::RawCondition;
use crate::query::{planner_error, planning, run_error};
use crate::session::{Error, SessionContext};

/// Conditions whose values are known.
pub struct Constants(Vec<(usize, Comparison, Vec<ScalarValue>)>);

/// Computes the values of conditions. One that is not exactly a value of its column is refused: what it would delete is
/// not what the condition says.
pub async fn evaluate(
    context: &SessionContext,
    table: &Table,
    conditions: &[RawCondition],
    parameters: Option<&RecordBatch>,
    at: Position,
) -> Result<Constants> {
    let values: Vec<(&RawCondition, String)> =
        conditions.iter().flat_map(|c| c.values.iter().map(move |value| (c, value.to_string()))).collect();
    let row = if values.is_empty() { None } else { Some(query(context, table, &values, parameters).await?) };
    let mut constants = Vec::with_capacity(conditions.len());
    let mut next = 0;
    for condition in conditions {
        let column = &table.schema.columns[condition.column];
        let mut scalars = Vec::with_capacity(condition.values.len());
        for value in &condition.values {
            let Some(row) = &row else { break };
            let [given, typed, same] = [0, 1, 2].map(|i| row.column(3 * next + i).clone());
            next += 1;
            let refused = |problem: String| -> EngineError {
                Error::at(at, format!("cannot delete by column `{}` and the value `{value}`: {problem}", column.name))
                    .into()
            };
            if typed.is_null(0) && given.logical_null_count() > 0 {
                // It is in no list, and nothing is known not to be it.
                match condition.comparison {
                    Comparison::In => continue,
                    _ => return Err(refused("NULL compares with nothing: use IS NULL or IS NOT NULL".to_owned())),
                }
            }
            let same = same.as_boolean_opt().is_some_and(|same| same.is_valid(0) && same.value(0));
            if !same || !is_of_kind(&column.data_type, given.data_type()) {
                return Err(refused(format!("it is not a value of the column, which is {}", column.data_type)));
            }
            let typed = cast(&typed, &column.data_type.to_arrow()).map_err(|e| refused(e.to_string()))?;
            scalars.push(ScalarValue::try_from_array(&typed, 0).map_err(|e| refused(e.strip_backtrace()))?);
        }
        constants.push((condition.column, condition.comparison, scalars));
    }
    Ok(Constants(constants))
}

/// A row of three columns for each value: itself, as its column's type has it, and whether these are the same.
async fn query(
    context: &SessionContext,
    table: &Table,
    values: &[(&RawCondition, String)],
    parameters: Option<&RecordBatch>,
) -> Result<RecordBatch> {
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for (i, (condition, value)) in values.iter().enumerate() {
        let typed = format!("CAST(v{i} AS {})", type_text(&table.schema.columns[condition.column].data_type));
        outer.push(format!("v{i}, {typed} AS t{i}, v{i} = {typed} AS s{i}"));
        // Each stands once: parameters are counted.
        inner.push(format!("{value} AS v{i}"));
    }
    let text = format!("SELECT {} FROM (SELECT {}) AS given", outer.join(", "), inner.join(", "));
    let Ok(Statement::Query(query)) = parse_one(&text) else {
        return Err(Error::Internal(format!("not a query: {text}")).into());
    };
    let mut planning = planning(context);
    planning.distributed = false;
    let plan = context.shared.planner.plan(&query, planning, parameters).await.map_err(planner_error)?;
    let rows = context.shared.threads.run(|| execute_stream(plan.physical, plan.task)).map_err(run_error)?;
    let rows: Vec<RecordBatch> = rows.try_collect().await.map_err(run_error)?;
    match rows.into_iter().find(|batch| batch.num_rows() > 0) {
        Some(row) if row.num_columns() == 3 * values.len() => Ok(row),
        _ => Err(Error::Internal("constants without a row".to_owned()).into()),
    }
}

/// A type for `CAST`: texts of any length, which are told apart from those that fit by being compared.
fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Char(_) | DataType::Varchar(_) | DataType::String => "STRING".to_owned(),
        other => other.to_string(),
    }
}

/// Whether a value of this arrow type is compared with the column as its own values are.
fn is_of_kind(column: &DataType, given: &ArrowType) -> bool {
    let is_text = matches!(given, ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View);
    match column {
        DataType::Char(_) | DataType::Varchar(_) | DataType::String => is_text,
        DataType::Date | DataType::DateTime => is_text || given.is_temporal(),
        DataType::Boolean => matches!(given, ArrowType::Boolean),
        _ => is_text || given.is_numeric(),
    }
}

impl Constants {
    /// The same for the planner, over the table's columns.
    pub fn predicate(&self, table: &Table) -> Result<Arc<dyn PhysicalExpr>> {
        let schema = table.schema.to_arrow();
        let mut all: Option<Arc<dyn PhysicalExpr>> = None;
        for (column, comparison, values) in &self.0 {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(*column).name(), *column));
            let value =
                || values.first().map_or_else(|| lit(false), |value| Arc::new(Literal::new(value.clone())) as _);
            let compared = |op| Arc::new(BinaryExpr::new(column.clone(), op, value())) as Arc<dyn PhysicalExpr>;
            let list = |negated| -> Result<Arc<dyn PhysicalExpr>> {
                let values = values.iter().map(|value| Arc::new(Literal::new(value.clone())) as _).collect();
                let list = InListExpr::try_new(column.clone(), values, negated, &schema);
                list.map(|list| Arc::new(list) as _)
                    .map_err(|e| EngineError { kind: ErrorKind::Internal, message: e.strip_backtrace() })
            };
            let condition = match comparison {
                Comparison::Equal => compared(Operator::Eq),
                Comparison::NotEqual => compared(Operator::NotEq),
                Comparison::Less => compared(Operator::Lt),
                Comparison::LessOrEqual => compared(Operator::LtEq),
                Comparison::Greater => compared(Operator::Gt),
                Comparison::GreaterOrEqual => compared(Operator::GtEq),
                Comparison::In if values.is_empty() => lit(false),
                Comparison::In => list(false)?,
                Comparison::NotIn => list(true)?,
                Comparison::IsNull => Arc::new(IsNullExpr::new(column.clone())),
                Comparison::IsNotNull => Arc::new(IsNotNullExpr::new(column.clone())),
            };
            all = Some(match all {
                None => condition,
                Some(before) => Arc::new(BinaryExpr::new(before, Operator::And, condition)),
            });
        }
        Ok(all.unwrap_or_else(|| lit(true)))
    }

    /// The same for storage nodes.
    pub fn into_predicate(self, table: &Table) -> DeletePredicate {
        let condition = |(column, comparison, values): (usize, Comparison, Vec<ScalarValue>)| {
            let column = &table.schema.columns[column];
            Condition {
                column: column.id,
                data_type: column.data_type.clone(),
                initial: column.initial.clone(),
                comparison,
                values: values.iter().filter_map(text).collect(),
            }
        };
        DeletePredicate { conditions: self.0.into_iter().map(condition).collect() }
    }
}

/// A value's text, from which its column's type gives it back.
fn text(value: &ScalarValue) -> Option<String> {
    let array: ArrayRef = value.to_array().ok()?;
    let text = cast(&array, &ArrowType::Utf8).ok()?;
    (!text.is_null(0)).then(|| text.as_string::<i32>().value(0).to_owned())
}
