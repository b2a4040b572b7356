//! Which filters a scan evaluates itself.
//!
//! Vortex agrees with DataFusion on comparisons, lists, patterns and null tests over integers, decimals, text, bytes,
//! dates, times and booleans. It does not on floats (its zone maps leave NaN out, DataFusion sorts it last), on
//! arithmetic (it fails where DataFusion wraps) and on fields of null structs; those stay with DataFusion. Segments hold
//! times as integers, so that literals become integers too, and what casts times stays with DataFusion.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{DynamicFilterTracking, split_conjunction};
use datafusion::physical_expr_common::physical_expr::{is_volatile, snapshot_physical_expr};
use tarn_proto::TableSchema;
use tarn_proto::segment::{field_name, storage_schema, storage_type};
use vortex::expr::Expression;
use vortex_datafusion::convert::ExpressionConverter;

use super::older::{Comparable, SegmentColumns};
use crate::context::ScanContext;

/// Whether `filter` changes while the query runs: the keys that a join has seen, the threshold of a top-k.
pub(crate) fn is_dynamic(filter: &Arc<dyn PhysicalExpr>) -> bool {
    DynamicFilterTracking::classify(filter).contains_dynamic_filter()
}

/// Whether the scan evaluates `filter` exactly. A filter that changes while the query runs is never exact.
pub(crate) fn is_exact(context: &ScanContext, schema: &TableSchema, filter: &Arc<dyn PhysicalExpr>) -> bool {
    !is_dynamic(filter) && native(context, schema, filter, &SegmentColumns::today(schema)).is_some()
}

/// Whether `filter`, over the table's columns, looks at columns of the key only: rows of one key pass it all or not at all.
pub(crate) fn is_over_keys(schema: &TableSchema, filter: &Arc<dyn PhysicalExpr>) -> bool {
    let is_key = |column: &Column| schema.columns.get(column.index()).is_some_and(|c| schema.keys.contains(&c.id));
    !is_volatile(filter) && collect_columns(filter).iter().all(is_key)
}

/// `filter` for Vortex, over a segment that holds the table's columns as `held` says. `None` if Vortex cannot evaluate it
/// there, or not as DataFusion does.
pub(crate) fn native(
    context: &ScanContext,
    schema: &TableSchema,
    filter: &Arc<dyn PhysicalExpr>,
    held: &SegmentColumns,
) -> Option<Expression> {
    let arrow = schema.to_arrow();
    if !same_meaning(filter, &arrow) {
        return None;
    }
    let stored = map_columns(filter.clone(), |column| {
        let declared = schema.columns.get(column.index())?;
        match held.comparable(schema, column.index()) {
            Comparable::Field => Some(Arc::new(Column::new(&field_name(declared.id), column.index()))),
            Comparable::Null => {
                let null = ScalarValue::try_new_null(&storage_type(&declared.data_type.to_arrow()));
                Some(Arc::new(Literal::new(null.ok()?)))
            }
            Comparable::No => None,
        }
    })?;
    let stored = times_as_integers(stored)?;
    context.converter().try_convert(&stored, &storage_schema(&schema.columns)).ok().flatten()
}

/// What a dynamic filter says now, which only saves work: conjuncts that Vortex evaluates, and the others.
pub(crate) struct Current {
    pub native: Vec<Expression>,
    pub others: Vec<Arc<dyn PhysicalExpr>>,
}

/// The conjuncts of what a dynamic filter says now.
pub(crate) fn current(
    context: &ScanContext,
    schema: &TableSchema,
    filter: &Arc<dyn PhysicalExpr>,
    held: &SegmentColumns,
) -> Result<Current> {
    let snapshot = snapshot_physical_expr(filter.clone())?;
    let mut current = Current { native: Vec::new(), others: Vec::new() };
    for conjunct in split_conjunction(&snapshot) {
        match native(context, schema, conjunct, held) {
            _ if conjunct.is::<Literal>() => {}
            Some(native) => current.native.push(native),
            None => current.others.push(conjunct.clone()),
        }
    }
    Ok(current)
}

/// Replaces every column. `None` if `replace` has no replacement for one.
pub(crate) fn map_columns(
    expr: Arc<dyn PhysicalExpr>,
    replace: impl Fn(&Column) -> Option<Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let mut complete = true;
    let mapped = expr
        .transform(|node| {
            Ok(match node.downcast_ref::<Column>().map(&replace) {
                None => Transformed::no(node),
                Some(Some(replacement)) => Transformed::yes(replacement),
                Some(None) => {
                    complete = false;
                    Transformed::new(node, false, TreeNodeRecursion::Stop)
                }
            })
        })
        .ok()?;
    complete.then_some(mapped.data)
}

/// Replaces literals of times by what segments hold of them.
fn times_as_integers(expr: Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let integers = expr.transform(|node| {
        Ok(match node.downcast_ref::<Literal>().map(Literal::value) {
            Some(ScalarValue::TimestampMicrosecond(micros, None)) => {
                Transformed::yes(Arc::new(Literal::new(ScalarValue::Int64(*micros))) as _)
            }
            _ => Transformed::no(node),
        })
    });
    Some(integers.ok()?.data)
}

/// Whether a condition keeps the same rows in Vortex. Its `BETWEEN`, which it makes of two comparisons and of lists of
/// neighbours, is false where SQL says unknown: a filter does not tell one from the other, but a negation would. So
/// conditions are joined by `AND` and `OR` only, and what is negated or tested for NULL is a column.
fn same_meaning(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let condition = |expr| same_meaning(expr, schema);
    let value = |expr| is_value(expr, schema);
    if let Some(binary) = filter.downcast_ref::<BinaryExpr>() {
        return match *binary.op() {
            Operator::And | Operator::Or => condition(binary.left()) && condition(binary.right()),
            operator => is_comparison(operator) && value(binary.left()) && value(binary.right()),
        };
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        return !list.negated() && value(list.expr()) && list.list().iter().all(value);
    }
    if let Some(like) = filter.downcast_ref::<LikeExpr>() {
        return value(like.expr()) && value(like.pattern());
    }
    let tested = filter.downcast_ref::<NotExpr>().map(NotExpr::arg);
    let tested = tested.or_else(|| filter.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg));
    let tested = tested.or_else(|| filter.downcast_ref::<IsNotNullExpr>().map(IsNotNullExpr::arg));
    value(tested.unwrap_or(filter))
}

/// Whether an expression is a column or a constant of a type that both know, or a cast of one.
fn is_value(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    if !expr.data_type(schema).is_ok_and(|t| is_comparable(&t)) {
        return false;
    }
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => {
            let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..));
            !is_time(cast.cast_type())
                && cast.expr().data_type(schema).is_ok_and(|t| !is_time(&t))
                && is_value(cast.expr(), schema)
        }
        None => expr.is::<Column>() || expr.is::<Literal>(),
    }
}

fn is_comparison(operator: Operator) -> bool {
    matches!(operator, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn is_comparable(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_string()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Null
                | DataType::Decimal128(..)
                | DataType::Binary
                | DataType::BinaryView
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, None)
        )
}
