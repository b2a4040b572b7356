//! Functions of text whose results differ from DataFusion's functions of the same names.

use datafusion::arrow::array::{ArrayRef, make_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions::string::concat::ConcatFunc;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

/// The functions of this module.
pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(Concat::default())]
}

/// `concat(a, ..)`: NULL if any argument is. DataFusion's leaves NULLs out.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Concat(ConcatFunc);

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut nulls: Option<NullBuffer> = None;
        for arg in &args.args {
            match arg {
                ColumnarValue::Scalar(value) if value.is_null() => {
                    return Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_field.data_type())?));
                }
                ColumnarValue::Scalar(_) => {}
                ColumnarValue::Array(array) => {
                    nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
                }
            }
        }
        match (self.0.invoke_with_args(args)?, nulls) {
            (ColumnarValue::Array(array), Some(nulls)) => {
                let nulls = NullBuffer::union(array.logical_nulls().as_ref(), Some(&nulls));
                let data = array.to_data().into_builder().nulls(nulls).build()?;
                let array: ArrayRef = make_array(data);
                Ok(ColumnarValue::Array(array))
            }
            (value, _) => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{AsArray, StringArray};
    use datafusion::arrow::datatypes::Field;
    use datafusion::config::ConfigOptions;

    use super::*;

    fn concat(args: Vec<ColumnarValue>, rows: usize) -> Vec<Option<String>> {
        let args = ScalarFunctionArgs {
            arg_fields: args.iter().map(|a| Arc::new(Field::new("a", a.data_type(), true))).collect(),
            args,
            number_rows: rows,
            return_field: Arc::new(Field::new("r", DataType::Utf8, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let array = Concat::default().invoke_with_args(args).unwrap().into_array(rows).unwrap();
        array.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()
    }

    #[test]
    fn one_null_makes_the_whole_null() {
        let column = ColumnarValue::Array(Arc::new(StringArray::from(vec![Some("x"), None, Some("")])));
        let text = |text: Option<&str>| ColumnarValue::Scalar(ScalarValue::Utf8(text.map(str::to_owned)));
        let joined = concat(vec![text(Some("a")), column.clone(), column.clone()], 3);
        assert_eq!(joined, vec![Some("axx".to_owned()), None, Some("a".to_owned())]);
        assert_eq!(concat(vec![column, text(None)], 3), vec![None, None, None]);
        assert_eq!(concat(vec![text(Some("a")), text(Some("b"))], 1), vec![Some("ab".to_owned())]);
    }
}
