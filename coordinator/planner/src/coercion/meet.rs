//! The type in which operands meet, and how each comes to it.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions::datetime::expr_fn::to_local_time;
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use tarn_functions::{datetime_of_digits, datetime_to_text, parse_datetime, text_to_datetime};
use tarn_proto::time::DAY_MICROS;

/// A text or a whole number in a query, which may say a time.
pub(super) struct Spoken {
    text: String,
    micros: Option<i64>,
}

/// What an operand is brought to another type by: its own type, and what it says if it is a literal.
type Known = (Option<DataType>, Option<Spoken>);

/// Gives operands that are compared one type.
pub(super) fn compare(operands: Vec<&mut Expr>, schema: &DFSchema) -> Result<bool> {
    let known: Vec<Known> = operands.iter().map(|e| (e.get_type(schema).ok(), spoken(e))).collect();
    let target = compared(&known);
    bring_all(operands, known, target)
}

/// Gives the branches of a choice one type.
pub(super) fn choose(operands: Vec<&mut Expr>, schema: &DFSchema) -> Result<bool> {
    let known = operands.iter().map(|e| (e.get_type(schema).ok(), spoken(e)));
    // A number is no time there.
    let known = known.map(|(t, said)| if t.as_ref().is_some_and(is_text) { (t, said) } else { (t, None) });
    let known: Vec<Known> = known.collect();
    let target = chosen(&known);
    bring_all(operands, known, target)
}

fn bring_all(operands: Vec<&mut Expr>, known: Vec<Known>, target: Option<DataType>) -> Result<bool> {
    let Some(target) = target else { return Ok(false) };
    for (operand, (from, said)) in operands.into_iter().zip(known) {
        if let Some(from) = from {
            *operand = bring(std::mem::take(operand), &from, &target, said.as_ref())?;
        }
    }
    Ok(true)
}

/// The type that operands are compared in, unless DataFusion chooses it well.
pub(super) fn compared(operands: &[Known]) -> Option<DataType> {
    let any = |is: fn(&DataType) -> bool| operands.iter().filter_map(|(t, _)| t.as_ref()).any(is);
    if any(is_datetime) || (any(is_date) && any(|t| matches!(t, DataType::Timestamp(..)))) {
        return Some(micros());
    }
    let mut said = operands.iter().filter(|(t, said)| said.is_some() || t.as_ref().is_some_and(is_text)).peekable();
    if any(is_date) && said.peek().is_some() {
        let is_day = |said: &Spoken| said.micros.is_none_or(|micros| micros % DAY_MICROS == 0);
        let days = said.all(|(_, said)| said.as_ref().is_some_and(is_day));
        return Some(if days { DataType::Date32 } else { micros() });
    }
    floats(operands)
}

/// The type of a choice between operands. Beside a text that is no time, times are texts.
pub(super) fn chosen(operands: &[Known]) -> Option<DataType> {
    if !operands.iter().any(|(t, _)| t.as_ref().is_some_and(is_datetime)) {
        return floats(operands);
    }
    let is_time = |said: &Option<Spoken>| said.as_ref().is_some_and(|said| said.micros.is_some());
    let words = operands.iter().any(|(t, said)| t.as_ref().is_some_and(is_text) && !is_time(said));
    Some(if words { DataType::Utf8View } else { micros() })
}

fn floats(operands: &[Known]) -> Option<DataType> {
    let any = |is: fn(&DataType) -> bool| operands.iter().filter_map(|(t, _)| t.as_ref()).any(is);
    (any(DataType::is_floating) && any(is_decimal)).then_some(DataType::Float64)
}

/// An operand of the type `from` in the type that operands meet in. Types that DataFusion brings there stay.
pub(super) fn bring(expr: Expr, from: &DataType, to: &DataType, said: Option<&Spoken>) -> Result<Expr> {
    Ok(match to {
        DataType::Timestamp(..) | DataType::Date32 => match (from, said) {
            (_, Some(said)) => literal(said, to)?,
            (text, None) if is_text(text) => text_to_datetime().call(vec![expr]),
            (DataType::Date32 | DataType::Date64, None) if from != to => cast(expr, to.clone()),
            (DataType::Timestamp(unit, zone), None) if *unit != TimeUnit::Microsecond => {
                cast(expr, DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            _ => expr,
        },
        DataType::Float64 if is_decimal(from) => cast(expr, DataType::Float64),
        DataType::Utf8View => match from {
            DataType::Timestamp(..) => text_of(expr, from),
            DataType::Date32 => cast(expr, DataType::Utf8View),
            _ => expr,
        },
        _ => expr,
    })
}

/// A time of the type `from` as text.
pub(super) fn text_of(expr: Expr, from: &DataType) -> Expr {
    let local = if matches!(from, DataType::Timestamp(_, Some(_))) { to_local_time(vec![expr]) } else { expr };
    datetime_to_text().call(vec![local])
}

/// What a literal says.
pub(super) fn spoken(expr: &Expr) -> Option<Spoken> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Some(Spoken { text: text.clone(), micros: parse_datetime(text) })
        }
        ScalarValue::Int64(Some(number)) => {
            Some(Spoken { text: number.to_string(), micros: datetime_of_digits(*number) })
        }
        _ => None,
    }
}

/// The DATE or DATETIME that a literal says.
pub(super) fn literal(said: &Spoken, data_type: &DataType) -> Result<Expr> {
    let Some(micros) = said.micros else {
        return plan_err!("`{}` is not a date or time: write it like '2024-01-31 10:30:00'", said.text);
    };
    let value = match data_type {
        DataType::Date32 => ScalarValue::Date32(Some(micros.div_euclid(DAY_MICROS) as i32)),
        _ => ScalarValue::TimestampMicrosecond(Some(micros), None),
    };
    Ok(Expr::Literal(value, None))
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

pub(super) fn is_datetime(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, None))
}

pub(super) fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}

pub(super) const fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}
