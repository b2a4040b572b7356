//! `version()` and `current_version()`.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// What MySQL clients look at to choose their dialect, as StarRocks answers it.
const MYSQL_VERSION: &str = "8.0.33";

pub(crate) fn functions() -> Vec<ScalarUDF> {
    let tarn = concat!("Tarn ", env!("CARGO_PKG_VERSION"));
    [("version", MYSQL_VERSION), ("current_version", tarn)]
        .map(|(name, text)| {
            ScalarUDF::from(Version { name, text, signature: Signature::nullary(Volatility::Immutable) })
        })
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Version {
    name: &'static str,
    text: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Version {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(self.text.to_owned()))))
    }
}
