//! What the planner makes of expressions that DataFusion's optimizer would simplify wrongly. The optimizer does not look
//! into functions.

use arrow::array::BooleanArray;
use arrow::compute::kernels::cmp::eq;
use arrow::compute::or_kleene;
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::arguments::result;

/// `as_cast(x)`: `x`, a cast that loses digits. A comparison with it is not one with what was cast.
pub fn as_cast(cast: Expr) -> Expr {
    ScalarUDF::from(AsCast::default()).call(vec![cast])
}

/// `is_in(x, a, ..)`: `x IN (a, ..)` with its NULLs, which is not merged with other lists.
pub fn is_in(tested: Expr, list: Vec<Expr>) -> Expr {
    ScalarUDF::from(IsIn::default()).call(std::iter::once(tested).chain(list).collect())
}

pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(AsCast::default()), ScalarUDF::from(IsIn::default())]
}

/// The name of [`as_cast`].
pub const AS_CAST: &str = "as_cast";

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsCast(Signature);

impl Default for AsCast {
    fn default() -> Self {
        Self(Signature::any(1, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for AsCast {
    fn name(&self) -> &str {
        AS_CAST
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [of] => Ok(of.clone()),
            _ => exec_err!("`{AS_CAST}` has one argument"),
        }
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(arguments.args.swap_remove(0))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IsIn(Signature);

impl Default for IsIn {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl ScalarUDFImpl for IsIn {
    fn name(&self) -> &str {
        "is_in"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let mut all = types.iter();
        let Some(first) = all.next() else { return exec_err!("`is_in` has a tested value") };
        let Some(met) = all.try_fold(first.clone(), |met, next| comparison_coercion(&met, next)) else {
            return exec_err!("the values of an IN list have no common type: {types:?}");
        };
        Ok(vec![met; types.len()])
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let Some((tested, list)) = arguments.args.split_first() else {
            return exec_err!("`is_in` has a tested value");
        };
        let tested = tested.to_array(rows)?;
        let mut found = BooleanArray::from(vec![false; rows]);
        for value in list {
            let equal = match value {
                ColumnarValue::Array(values) => eq(&tested, values)?,
                ColumnarValue::Scalar(value) => eq(&tested, &value.to_scalar()?)?,
            };
            found = or_kleene(&found, &equal)?;
        }
        result(found, &arguments.args)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int32Array};
    use arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::common::config::ConfigOptions;

    use super::*;

    fn run(list: Vec<ColumnarValue>) -> Vec<Option<bool>> {
        let tested: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None]));
        let arguments = ScalarFunctionArgs {
            args: std::iter::once(ColumnarValue::Array(tested)).chain(list).collect(),
            arg_fields: vec![],
            number_rows: 3,
            return_field: Arc::new(Field::new("", DataType::Boolean, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let found = IsIn::default().invoke_with_args(arguments).unwrap().to_array(3).unwrap();
        found.as_boolean().iter().collect()
    }

    fn constant(value: Option<i32>) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::Int32(value))
    }

    #[test]
    fn a_value_is_in_a_list_as_in_sql() {
        assert_eq!(run(vec![constant(Some(1))]), [Some(true), Some(false), None]);
        assert_eq!(run(vec![constant(Some(1)), constant(None)]), [Some(true), None, None]);
        let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), Some(2), Some(1)]));
        assert_eq!(run(vec![constant(Some(1)), ColumnarValue::Array(column)]), [Some(true), Some(true), None]);
    }
}
