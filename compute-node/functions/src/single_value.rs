//! `single_value(x)`: the value of the only row, NULL without rows, an error if there are more. What a subquery that stands
//! for a value must be.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// The function.
pub fn single_value() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(SingleValue { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single { value: ScalarValue::try_from(args.return_field.data_type())?, rows: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new(format_state_name(args.name, "value"), args.return_type().clone(), true)),
            Arc::new(Field::new(format_state_name(args.name, "rows"), DataType::UInt64, false)),
        ])
    }
}

#[derive(Debug)]
struct Single {
    value: ScalarValue,
    rows: u64,
}

impl Single {
    fn take(&mut self, values: &ArrayRef, index: usize, rows: u64) -> Result<()> {
        self.rows += rows;
        if self.rows > 1 {
            return exec_err!("a subquery that stands for a value returned more than one row: add LIMIT 1, or use IN");
        }
        self.value = ScalarValue::try_from_array(values, index)?;
        Ok(())
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values[0].len() {
            0 => Ok(()),
            rows => self.take(&values[0], 0, rows as u64),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states[1].as_primitive::<UInt64Type>().values();
        rows.iter().enumerate().filter(|(_, rows)| **rows > 0).try_for_each(|(i, rows)| self.take(&states[0], i, *rows))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::UInt64(Some(self.rows))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn single() -> Single {
        Single { value: ScalarValue::Int64(None), rows: 0 }
    }

    fn rows(values: Vec<Option<i64>>) -> [ArrayRef; 1] {
        [Arc::new(Int64Array::from(values))]
    }

    #[test]
    fn one_row_over_all_parts_is_the_value_and_two_are_an_error() {
        let mut total = single();
        for values in [vec![], vec![Some(7)], vec![]] {
            let mut part = single();
            part.update_batch(&rows(values)).unwrap();
            let state: Vec<ArrayRef> = part.state().unwrap().iter().map(|s| s.to_array().unwrap()).collect();
            total.merge_batch(&state).unwrap();
        }
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(7)));
        assert_eq!(single().evaluate().unwrap(), ScalarValue::Int64(None));
        total.update_batch(&rows(vec![None])).unwrap_err();
        single().update_batch(&rows(vec![None, None])).unwrap_err();
    }
}
