//! Uniting the columns of many files by name. Pure.

use std::collections::HashMap;

use tarn_proto::DataType;

use super::error::FilesError;

/// A column of one file. Without a type, all values seen were NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileColumn {
    pub name: String,
    pub data_type: Option<DataType>,
    pub nullable: bool,
}

/// A column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableColumn {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
}

/// Unites files, given with their names, in order: columns stand in the order of their first appearance.
pub(super) fn unite(files: &[(String, Vec<FileColumn>)], fill_missing: bool) -> Result<Vec<TableColumn>, FilesError> {
    let mut columns: Vec<FileColumn> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    let mut seen: Vec<usize> = Vec::new();
    for (path, file) in files {
        for column in file {
            let Some(&at) = positions.get(column.name.as_str()) else {
                positions.insert(&column.name, columns.len());
                columns.push(column.clone());
                seen.push(1);
                continue;
            };
            let known = &mut columns[at];
            known.data_type = match (known.data_type.take(), &column.data_type) {
                (None, other) => other.clone(),
                (some, None) => some,
                (Some(a), Some(b)) => Some(widen(&a, b).ok_or_else(|| FilesError::Union {
                    path: path.clone(),
                    column: column.name.clone(),
                    found: b.to_string(),
                    expected: a.to_string(),
                })?),
            };
            known.nullable |= column.nullable;
            seen[at] += 1;
        }
    }
    let mut table = Vec::with_capacity(columns.len());
    for (column, seen) in columns.into_iter().zip(seen) {
        let everywhere = seen == files.len();
        if !everywhere && !fill_missing {
            let lacks = |(_, file): &&(String, Vec<FileColumn>)| file.iter().all(|own| own.name != column.name);
            let path = files.iter().find(lacks).map(|(path, _)| path.clone()).unwrap_or_default();
            let reason = format!("\"{path}\" lacks the column `{}`; \"null\" reads it as NULL", column.name);
            return Err(FilesError::Property { name: "fill_mismatch_column_with".to_owned(), reason });
        }
        table.push(TableColumn {
            data_type: column.data_type.unwrap_or(DataType::String),
            nullable: column.nullable || !everywhere,
            name: column.name,
        });
    }
    Ok(table)
}

/// The narrowest type that holds the values of both; `None` when a nested type or bytes meet something else.
pub(super) fn widen(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Array, Boolean, Date, DateTime, Decimal, Double, Float, Map, String, Struct, Varbinary};
    if a == b {
        return Some(a.clone());
    }
    Some(match (a, b) {
        (Array(a), Array(b)) => Array(Box::new(widen(a, b)?)),
        (Map(ak, av), Map(bk, bv)) => Map(Box::new(widen(ak, bk)?), Box::new(widen(av, bv)?)),
        (Struct(a), Struct(b)) => Struct(widen_fields(a, b)?),
        (Array(_) | Map(..) | Struct(_) | Varbinary, _) | (_, Array(_) | Map(..) | Struct(_) | Varbinary) => {
            return None;
        }
        (Date, DateTime) | (DateTime, Date) => DateTime,
        (Float | Double, other) | (other, Float | Double) if is_number(other) => Double,
        (Decimal(..), other) | (other, Decimal(..)) if is_number(other) => widen_decimals(a, b).unwrap_or(Double),
        (a, b) if is_number(a) && is_number(b) => {
            if digits(a) > digits(b) {
                a.clone()
            } else {
                b.clone()
            }
        }
        (Boolean | Date | DateTime, _) | (_, Boolean | Date | DateTime) => String,
        _ => String,
    })
}

fn widen_fields(a: &[(String, DataType)], b: &[(String, DataType)]) -> Option<Vec<(String, DataType)>> {
    let mut fields = a.to_vec();
    for (name, data_type) in b {
        match fields.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = widen(own, data_type)?,
            None => fields.push((name.clone(), data_type.clone())),
        }
    }
    Some(fields)
}

fn is_number(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float | DataType::Double | DataType::Decimal(..)) || digits(data_type) > 0
}

/// Decimal digits of an integer type; 0 for others.
fn digits(data_type: &DataType) -> u8 {
    match data_type {
        DataType::TinyInt => 3,
        DataType::SmallInt => 5,
        DataType::Int => 10,
        DataType::BigInt => 19,
        DataType::LargeInt => 38,
        _ => 0,
    }
}

fn widen_decimals(a: &DataType, b: &DataType) -> Option<DataType> {
    let parts = |data_type: &DataType| match data_type {
        DataType::Decimal(precision, scale) => (precision - scale, *scale),
        integer => (digits(integer), 0),
    };
    let ((whole_a, scale_a), (whole_b, scale_b)) = (parts(a), parts(b));
    let (whole, scale) = (whole_a.max(whole_b), scale_a.max(scale_b));
    (whole + scale <= tarn_proto::types::MAX_DECIMAL_PRECISION).then_some(DataType::Decimal(whole + scale, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, columns: &[(&str, Option<&str>)]) -> (String, Vec<FileColumn>) {
        let column = |(name, data_type): &(&str, Option<&str>)| FileColumn {
            name: (*name).to_owned(),
            data_type: data_type.map(|text| text.parse().unwrap()),
            nullable: false,
        };
        (name.to_owned(), columns.iter().map(column).collect())
    }

    #[test]
    fn columns_are_united_by_name_and_missing_ones_are_nullable() {
        let files = [
            file("1", &[("id", Some("int")), ("name", Some("string")), ("x", None)]),
            file("2", &[("amount", Some("double")), ("id", Some("bigint"))]),
        ];
        let found = unite(&files, true).unwrap();
        let text: Vec<_> = found.iter().map(|c| format!("{} {} {}", c.name, c.data_type, c.nullable)).collect();
        assert_eq!(text, ["id bigint false", "name string true", "x string true", "amount double true"]);
    }

    #[test]
    fn a_missing_column_is_an_error_when_asked_for() {
        let files = [file("1", &[("id", Some("int")), ("name", Some("string"))]), file("2", &[("id", Some("int"))])];
        let message = unite(&files, false).unwrap_err().to_string();
        assert!(message.contains("\"2\" lacks the column `name`"), "{message}");
    }

    #[test]
    fn types_are_widened() {
        for (a, b, expected) in [
            ("int", "bigint", Some("bigint")),
            ("int", "double", Some("double")),
            ("float", "bigint", Some("double")),
            ("int", "decimal(10,2)", Some("decimal(12,2)")),
            ("decimal(38,10)", "largeint", Some("double")),
            ("date", "datetime", Some("datetime")),
            ("int", "date", Some("string")),
            ("boolean", "int", Some("string")),
            ("string", "bigint", Some("string")),
            ("array<int>", "array<bigint>", Some("array<bigint>")),
            ("struct<`a` int>", "struct<`b` date>", Some("struct<`a` int,`b` date>")),
            ("array<int>", "int", None),
            ("varbinary", "string", None),
        ] {
            let (a, b): (DataType, DataType) = (a.parse().unwrap(), b.parse().unwrap());
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(widen(&a, &b), expected, "{a} {b}");
            if !matches!(a, DataType::Struct(_)) {
                assert_eq!(widen(&b, &a), expected, "{b} {a}");
            }
        }
    }

    #[test]
    fn an_impossible_union_names_file_and_column() {
        let files = [file("1", &[("tags", Some("array<int>"))]), file("2", &[("tags", Some("int"))])];
        let message = unite(&files, true).unwrap_err().to_string();
        assert_eq!(
            message,
            "\"2\", column `tags`: int here, array<int> in the files before it; read them in two calls"
        );
    }
}
