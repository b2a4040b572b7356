//! Column types as drivers describe them.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{CommandGetXdbcTypeInfo, Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};
use tarn_proto::DataType;
use tarn_proto::types::{MAX_CHAR_BYTES, MAX_DECIMAL_PRECISION, MAX_VARCHAR_BYTES};

use super::super::error::Error;

/// A type's name without its parameters, and what the parameters say.
pub(super) struct TypeText {
    pub(super) name: String,
    pub(super) precision: Option<u32>,
    pub(super) scale: Option<u32>,
}

impl TypeText {
    pub(super) fn of(data_type: &DataType) -> Self {
        let text = data_type.to_string().to_ascii_uppercase();
        let nested = matches!(data_type, DataType::Array(_) | DataType::Map(..) | DataType::Struct(_));
        let name = if nested { text } else { text.split('(').next().unwrap_or(&text).to_owned() };
        let (precision, scale) = match data_type {
            DataType::Decimal(p, s) => (Some(u32::from(*p)), Some(u32::from(*s))),
            DataType::Char(n) | DataType::Varchar(n) => (Some(*n), None),
            DataType::String => (Some(MAX_VARCHAR_BYTES), None),
            DataType::TinyInt => (Some(3), Some(0)),
            DataType::SmallInt => (Some(5), Some(0)),
            DataType::Int => (Some(10), Some(0)),
            DataType::BigInt => (Some(19), Some(0)),
            DataType::LargeInt => (Some(u32::from(MAX_DECIMAL_PRECISION)), Some(0)),
            DataType::Float => (Some(7), None),
            DataType::Double => (Some(15), None),
            DataType::Date => (Some(10), None),
            DataType::DateTime => (Some(26), Some(6)),
            DataType::Boolean
            | DataType::Varbinary
            | DataType::Json
            | DataType::Array(_)
            | DataType::Map(..)
            | DataType::Struct(_) => (None, None),
        };
        Self { name, precision, scale }
    }
}

static TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    all().into_iter().for_each(|info| builder.append(info));
    builder.build().expect("the types are constant")
});

pub(crate) fn schema() -> Schema {
    TYPES.schema().as_ref().clone()
}

pub(crate) fn batch(command: CommandGetXdbcTypeInfo) -> Result<RecordBatch, Error> {
    Ok(command.into_builder(&TYPES).build()?)
}

fn all() -> Vec<XdbcTypeInfo> {
    use XdbcDataType as X;
    let decimal = Some(i32::from(MAX_DECIMAL_PRECISION));
    vec![
        plain("BOOLEAN", X::XdbcBit, 1),
        number("TINYINT", X::XdbcTinyint, 3),
        number("SMALLINT", X::XdbcSmallint, 5),
        number("INT", X::XdbcInteger, 10),
        number("BIGINT", X::XdbcBigint, 19),
        number("LARGEINT", X::XdbcNumeric, 38),
        XdbcTypeInfo { num_prec_radix: Some(2), column_size: Some(24), ..number("FLOAT", X::XdbcReal, 7) },
        XdbcTypeInfo { num_prec_radix: Some(2), column_size: Some(53), ..number("DOUBLE", X::XdbcDouble, 15) },
        XdbcTypeInfo {
            create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
            fixed_prec_scale: true,
            minimum_scale: Some(0),
            maximum_scale: decimal,
            ..number("DECIMAL", X::XdbcDecimal, 38)
        },
        XdbcTypeInfo {
            create_params: Some(vec!["length".to_owned()]),
            ..text("CHAR", X::XdbcChar, i32::try_from(MAX_CHAR_BYTES).ok())
        },
        XdbcTypeInfo {
            create_params: Some(vec!["max length".to_owned()]),
            ..text("VARCHAR", X::XdbcVarchar, i32::try_from(MAX_VARCHAR_BYTES).ok())
        },
        text("STRING", X::XdbcVarchar, i32::try_from(MAX_VARCHAR_BYTES).ok()),
        XdbcTypeInfo { searchable: Searchable::None, ..text("JSON", X::XdbcLongvarchar, None) },
        XdbcTypeInfo {
            literal_prefix: Some("x'".to_owned()),
            case_sensitive: false,
            searchable: Searchable::Basic,
            ..text("VARBINARY", X::XdbcVarbinary, None)
        },
        XdbcTypeInfo {
            case_sensitive: false,
            searchable: Searchable::Basic,
            sql_data_type: X::XdbcDatetime,
            ..text("DATE", X::XdbcDate, Some(10))
        },
        XdbcTypeInfo {
            case_sensitive: false,
            searchable: Searchable::Basic,
            minimum_scale: Some(0),
            maximum_scale: Some(6),
            sql_data_type: X::XdbcDatetime,
            datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            ..text("DATETIME", X::XdbcTimestamp, Some(26))
        },
        nested("ARRAY", "element type"),
        nested("MAP", "key and value types"),
        nested("STRUCT", "fields"),
    ]
}

fn plain(name: &str, data_type: XdbcDataType, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        sql_data_type: data_type,
        column_size: Some(size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Basic,
        auto_increment: Some(false),
        local_type_name: Some(name.to_owned()),
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        minimum_scale: Some(0),
        maximum_scale: Some(0),
        ..plain(name, data_type, digits)
    }
}

fn text(name: &str, data_type: XdbcDataType, size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: size,
        literal_prefix: Some("'".to_owned()),
        literal_suffix: Some("'".to_owned()),
        case_sensitive: true,
        searchable: Searchable::Full,
        auto_increment: None,
        ..plain(name, data_type, 0)
    }
}

fn nested(name: &str, parameters: &str) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: None,
        create_params: Some(vec![parameters.to_owned()]),
        searchable: Searchable::None,
        auto_increment: None,
        ..plain(name, XdbcDataType::XdbcUnknownType, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_a_column_can_have_is_described() {
        let described: Vec<String> = all().into_iter().map(|t| t.type_name).collect();
        for data_type in [
            DataType::Boolean,
            DataType::TinyInt,
            DataType::SmallInt,
            DataType::Int,
            DataType::BigInt,
            DataType::LargeInt,
            DataType::Float,
            DataType::Double,
            DataType::Decimal(10, 2),
            DataType::Char(3),
            DataType::Varchar(20),
            DataType::String,
            DataType::Varbinary,
            DataType::Date,
            DataType::DateTime,
            DataType::Json,
        ] {
            let name = TypeText::of(&data_type).name;
            assert!(described.contains(&name), "{name}");
        }
        assert_eq!(TypeText::of(&DataType::Array(Box::new(DataType::Decimal(5, 1)))).name, "ARRAY<DECIMAL(5,1)>");
    }

    #[test]
    fn the_type_filter_is_by_xdbc_type() {
        let all = batch(CommandGetXdbcTypeInfo { data_type: None }).unwrap();
        let varchars = batch(CommandGetXdbcTypeInfo { data_type: Some(XdbcDataType::XdbcVarchar as i32) }).unwrap();
        assert_eq!((all.num_rows(), varchars.num_rows()), (19, 2));
    }
}
