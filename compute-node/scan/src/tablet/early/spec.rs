//! Which aggregations a scan can do part of. Pure.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

/// What to aggregate of a scan's output.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Positions of the grouping columns in the output.
    pub keys: Vec<usize>,
    pub aggregates: Vec<Aggregate>,
    /// The grouping columns and the states of the aggregates, as a partial aggregation passes them on.
    pub schema: SchemaRef,
}

/// An aggregate of a column, or of rows.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub function: Function,
    /// The position of its argument in the output; `None` if it counts rows.
    pub column: Option<usize>,
    /// Whether its sum is one modulo 2^64.
    pub wrapping: bool,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    Sum,
    Min,
    Max,
    Avg,
}

impl Spec {
    /// Of a partial aggregation right above a scan, if it is one of this kind.
    pub fn of(plan: &AggregateExec) -> Option<Self> {
        let grouped = plan.group_expr();
        let plain = *plan.mode() == AggregateMode::Partial
            && (grouped.is_single() || grouped.is_true_no_grouping())
            && plan.filter_expr().iter().all(Option::is_none)
            && plan.limit_options().is_none()
            && plan.dynamic_expressions_produced().is_empty()
            && *plan.input_order_mode() == InputOrderMode::Linear
            && !(plan.aggr_expr().is_empty() && grouped.is_empty());
        if !plain {
            return None;
        }
        let input = plan.input_schema();
        let schema = plan.schema();
        let key = |expr: &Arc<dyn PhysicalExpr>| {
            let column = expr.downcast_ref::<Column>()?.index();
            let data_type = input.field(column).data_type();
            (data_type.is_signed_integer() || *data_type == DataType::Utf8View).then_some(column)
        };
        let keys = grouped.expr().iter().map(|(expr, _)| key(expr)).collect::<Option<Vec<_>>>()?;
        let mut states = keys.len();
        let mut aggregates = Vec::with_capacity(plan.aggr_expr().len());
        for aggregate in plan.aggr_expr() {
            let fields = aggregate.state_fields().ok()?.len();
            let types: Vec<&DataType> = (states..states + fields)
                .map(|state| schema.fields().get(state).map(|f| f.data_type()))
                .collect::<Option<_>>()?;
            aggregates.push(Aggregate::of(aggregate, &input, &types)?);
            states += fields;
        }
        (states == schema.fields().len()).then_some(Self { keys, aggregates, schema })
    }
}

impl Aggregate {
    fn of(aggregate: &AggregateFunctionExpr, input: &Schema, states: &[&DataType]) -> Option<Self> {
        if aggregate.is_distinct() || aggregate.ignore_nulls() || !aggregate.order_bys().is_empty() {
            return None;
        }
        let arguments = aggregate.expressions();
        let [argument] = arguments.as_slice() else { return None };
        let function = Function::of(aggregate)?;
        if let Some(literal) = argument.downcast_ref::<Literal>() {
            let counts_rows = function == Function::Count && !literal.value().is_null();
            return counts_rows.then_some(Self { function, column: None, wrapping: false });
        }
        // Integers are widened for sums and averages.
        let (argument, is_cast) = match argument.downcast_ref::<CastExpr>() {
            Some(cast) if widens(cast, input) && matches!(function, Function::Sum | Function::Avg) => {
                (cast.expr(), true)
            }
            _ => (argument, false),
        };
        let column = argument.downcast_ref::<Column>()?.index();
        let fits = match (input.field(column).data_type(), function, states) {
            (t, Function::Count, [DataType::Int64]) => t.is_signed_integer() || matches!(t, DataType::Decimal128(..)),
            (t, Function::Sum, [DataType::Int64]) => t.is_signed_integer(),
            (t, Function::Avg, [DataType::UInt64, DataType::Float64]) => t.is_signed_integer() && is_cast,
            (DataType::Decimal128(_, scale), Function::Sum, [DataType::Decimal128(_, of_sum)])
            | (DataType::Decimal128(_, scale), Function::Avg, [DataType::UInt64, DataType::Decimal128(_, of_sum)]) => {
                scale == of_sum && !is_cast
            }
            (t, Function::Min | Function::Max, [state]) => {
                t == *state && (t.is_signed_integer() || matches!(t, DataType::Decimal128(..)))
            }
            _ => false,
        };
        let wrapping = matches!(states, [DataType::Int64]);
        fits.then_some(Self { function, column: Some(column), wrapping })
    }
}

/// Whether a cast is of an integer to the type that its sum or average is computed in.
fn widens(cast: &CastExpr, input: &Schema) -> bool {
    let from = cast.expr().data_type(input);
    matches!(cast.cast_type(), DataType::Int64 | DataType::Float64) && from.is_ok_and(|t| t.is_signed_integer())
}

impl Function {
    fn of(aggregate: &AggregateFunctionExpr) -> Option<Self> {
        let function = aggregate.fun().inner();
        Some(match () {
            () if function.is::<Count>() => Self::Count,
            () if function.is::<Sum>() => Self::Sum,
            () if function.is::<Min>() => Self::Min,
            () if function.is::<Max>() => Self::Max,
            () if function.is::<Avg>() => Self::Avg,
            () => return None,
        })
    }
}
