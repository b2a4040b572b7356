//! Partition bounds as the engine's scalars.

use datafusion::common::ScalarValue;
use tarn_catalog::model::value::Value;
use tarn_proto::DataType;

/// A partition key's value as a scalar of the column's arrow type. `None` when it does not fit the type, which no
/// catalog holds.
pub fn scalar_of(value: &Value, data_type: &DataType) -> Option<ScalarValue> {
    let arrow = data_type.to_arrow();
    Some(match (value, data_type) {
        (Value::Null, _) => ScalarValue::try_new_null(&arrow).ok()?,
        (Value::Boolean(b), DataType::Boolean) => ScalarValue::Boolean(Some(*b)),
        (Value::Int(i), DataType::TinyInt) => ScalarValue::Int8(Some((*i).try_into().ok()?)),
        (Value::Int(i), DataType::SmallInt) => ScalarValue::Int16(Some((*i).try_into().ok()?)),
        (Value::Int(i), DataType::Int) => ScalarValue::Int32(Some((*i).try_into().ok()?)),
        (Value::Int(i), DataType::BigInt) => ScalarValue::Int64(Some((*i).try_into().ok()?)),
        (Value::Int(i), DataType::LargeInt) => ScalarValue::Decimal128(Some(*i), 38, 0),
        (Value::Int(i), DataType::Decimal(p, s)) => ScalarValue::Decimal128(Some(*i), *p, *s as i8),
        (Value::Text(t), DataType::Char(_) | DataType::Varchar(_) | DataType::String) => {
            ScalarValue::Utf8View(Some(t.clone()))
        }
        (Value::Date(d), DataType::Date) => ScalarValue::Date32(Some(*d)),
        (Value::DateTime(t), DataType::DateTime) => ScalarValue::TimestampMicrosecond(Some(*t), None),
        _ => return None,
    })
}
