//! The parameter of an aggregate function.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CaseExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use tarn_proto::TableSchema;

/// The reason to merge if the parameter is none of those that are known here.
pub(super) const UNKNOWN: &str = "The parameter of aggregate function isn't value column or CAST/CASE-WHEN expression";

/// A column, or a choice among columns, zero and NULL by conditions. Columns are positions in the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Argument {
    /// What it may return.
    pub returns: Vec<usize>,
    /// What decides what it returns.
    pub conditions: Vec<usize>,
}

impl Argument {
    /// The parameter `expr` over the table's columns, or the reason why it is unknown.
    pub fn of(expr: &Arc<dyn PhysicalExpr>, schema: &TableSchema) -> Result<Self, &'static str> {
        let mut argument = Self::default();
        let (inner, _) = without_cast(expr, schema)?;
        let Some(case) = inner.downcast_ref::<CaseExpr>() else {
            let column = inner.downcast_ref::<Column>().ok_or(UNKNOWN)?;
            argument.returns.push(column.index());
            return Ok(argument);
        };
        let conditions = case.when_then_expr().iter().map(|(when, _)| when).chain(case.expr());
        for condition in conditions {
            if is_volatile(condition) {
                return Err(UNKNOWN);
            }
            argument.conditions.extend(collect_columns(condition).iter().map(Column::index));
        }
        for (_, then) in case.when_then_expr() {
            argument.returned(then, schema, "The result of THEN isn't value column")?;
        }
        if let Some(otherwise) = case.else_expr() {
            argument.returned(otherwise, schema, "The result of ELSE isn't value column")?;
        }
        Ok(argument)
    }

    fn returned(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        schema: &TableSchema,
        reason: &'static str,
    ) -> Result<(), &'static str> {
        let (inner, _) = without_cast(expr, schema)?;
        if let Some(column) = inner.downcast_ref::<Column>() {
            self.returns.push(column.index());
            return Ok(());
        }
        match inner.downcast_ref::<Literal>().map(Literal::value) {
            Some(value) if value.is_null() || is_zero(value) => Ok(()),
            _ => Err(reason),
        }
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value)
}

/// The expression in casts that change no number, and its type.
fn without_cast<'a>(
    expr: &'a Arc<dyn PhysicalExpr>,
    schema: &TableSchema,
) -> Result<(&'a Arc<dyn PhysicalExpr>, DataType), &'static str> {
    let data_type = |expr: &Arc<dyn PhysicalExpr>| expr.data_type(&schema.to_arrow()).map_err(|_| UNKNOWN);
    let Some(cast) = expr.downcast_ref::<CastExpr>() else { return Ok((expr, data_type(expr)?)) };
    let (inner, from) = without_cast(cast.expr(), schema)?;
    let to = cast.cast_type();
    if !from.is_numeric() || !to.is_numeric() {
        return Err("The parameter of aggregate function isn't numeric type");
    }
    if !keeps_numbers(&from, to) {
        return Err(UNKNOWN);
    }
    Ok((inner, to.clone()))
}

/// Whether a cast neither rounds nor cuts off. To a float it may round, as sums of floats do.
fn keeps_numbers(from: &DataType, to: &DataType) -> bool {
    let digits = |data_type: &DataType| match data_type {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), i16::from(*scale)))
        }
        _ => None,
    };
    match (from, to) {
        (DataType::Float32, DataType::Float32 | DataType::Float64) | (DataType::Float64, DataType::Float64) => true,
        (_, DataType::Float64) => digits(from).is_some(),
        // Ten digits are more than 32 bits hold, so that integers are compared by their widths.
        (_, to) if from.is_integer() && to.is_integer() => {
            from.is_signed_integer() && to.is_signed_integer() && from.primitive_width() <= to.primitive_width()
        }
        (_, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            let (Some((whole, scale)), Some((whole_to, scale_to))) = (digits(from), digits(to)) else { return false };
            whole <= whole_to && scale <= scale_to
        }
        _ => false,
    }
}
