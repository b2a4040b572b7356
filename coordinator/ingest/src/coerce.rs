//! Source columns to declared columns, strictly: a value that does not fit fails the load and is named.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options, take};
use arrow::datatypes::{DataType as ArrowType, Decimal128Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tarn_proto::{Column, DataType, TableSchema};

/// A row that a table cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}row {row}, column `{column}`: value {value} {problem}", place(.file))]
pub struct RowError {
    /// The file it comes from, where one is known.
    pub file: Option<String>,
    /// The row in the file, or in the load, from 1.
    pub row: u64,
    /// The target column.
    pub column: String,
    /// The value as text.
    pub value: String,
    /// What is wrong, and what would fit.
    pub problem: String,
}

fn place(file: &Option<String>) -> String {
    file.as_ref().map(|f| format!("file {f}, ")).unwrap_or_default()
}

/// Why a batch cannot be coerced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One row's value.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The types never fit.
    #[error("column `{column}`: a value of type {from} cannot be stored as {to}")]
    Type {
        /// The target column.
        column: String,
        /// The source's arrow type.
        from: ArrowType,
        /// The declared type.
        to: DataType,
    },
    /// Arrow kernels failed.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Coerces `batch`, whose columns are `schema`'s in order, to the declared types.
///
/// `first_row` is the number of the batch's first row in its source, from 1, for errors. Fails at the first row that has
/// NULL in a NOT NULL column, text longer than declared, or a value out of the type's range.
pub fn coerce(batch: &RecordBatch, schema: &TableSchema, first_row: u64) -> Result<RecordBatch, Error> {
    let columns = schema
        .columns
        .iter()
        .zip(batch.columns())
        .map(|(column, array)| coerce_column(array, column, first_row))
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.to_arrow(), columns, &options)?)
}

fn coerce_column(array: &ArrayRef, column: &Column, first_row: u64) -> Result<ArrayRef, Error> {
    let wanted = column.data_type.to_arrow();
    let fail = |row: usize, problem: String| -> Error {
        let options = FormatOptions::default().with_null("NULL");
        let value = ArrayFormatter::try_new(array, &options).map(|f| f.value(row).to_string()).unwrap_or_default();
        let quoted = if value == "NULL" { value } else { format!("`{value}`") };
        Error::Row(RowError {
            file: None,
            row: first_row + row as u64,
            column: column.name.clone(),
            value: quoted,
            problem,
        })
    };
    let fitted = match array.data_type() {
        t if *t == wanted => array.clone(),
        ArrowType::Null => new_null_array(&wanted, array.len()),
        from => {
            let never =
                || Error::Type { column: column.name.clone(), from: from.clone(), to: column.data_type.clone() };
            // Numbers are dates by their digits, `20240229`, not by the days that arrow counts.
            let digits = (from.is_integer() && wanted.is_temporal()).then(|| cast(array, &ArrowType::Utf8));
            let digits = digits.transpose()?;
            let source = digits.as_ref().unwrap_or(array);
            let unfit = |row| fail(row, format!("is not a value of {}", column.data_type));
            if wanted.is_nested() {
                // What does not fit is deep inside: only the cast that fails tells of it.
                cast_strictly(source, &wanted, never, unfit)?
            } else {
                // `safe` turns what does not fit into NULL, so that the row can be found and named.
                let options = CastOptions { safe: true, ..CastOptions::default() };
                let fitted = cast_with_options(source, &wanted, &options).map_err(|_| never())?;
                if fitted.null_count() != array.logical_null_count()
                    && let Some(row) = (0..array.len()).find(|&row| fitted.is_null(row) && !is_null(array, row))
                {
                    return Err(unfit(row));
                }
                fitted
            }
        }
    };
    if !column.nullable
        && let Some(row) = (0..fitted.len()).find(|&row| fitted.is_null(row))
    {
        return Err(fail(row, "is not allowed: the column is NOT NULL".to_owned()));
    }
    if let Some(max) = column.data_type.max_bytes() {
        let text = fitted.as_string_view();
        // The length is the lower half of a view, so that no text is touched.
        if let Some(row) = text.views().iter().position(|view| *view as u32 > max)
            && text.is_valid(row)
        {
            let length = text.value(row).len();
            return Err(fail(row, format!("has {length} bytes, more than {} holds", column.data_type)));
        }
    }
    if let DataType::Decimal(precision, _) = column.data_type {
        let limit = 10i128.pow(u32::from(precision));
        let values = fitted.as_primitive::<Decimal128Type>();
        if let Some(row) = (0..values.len()).find(|&row| values.is_valid(row) && values.value(row).abs() >= limit) {
            return Err(fail(row, format!("is out of the range of {}", column.data_type)));
        }
    }
    Ok(fitted)
}

/// Casts where every row fits; otherwise the error is of the first row that does not.
fn cast_strictly(
    array: &ArrayRef,
    wanted: &ArrowType,
    never: impl Fn() -> Error,
    row_error: impl Fn(usize) -> Error,
) -> Result<ArrayRef, Error> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    if !can_cast_types(array.data_type(), wanted) {
        return Err(never());
    }
    cast_with_options(array, wanted, &options).map_err(|_| {
        // Taken, not sliced: a slice of a list still holds the values of all lists, and all are cast.
        let fits = |row: usize| {
            let one = take(array, &UInt64Array::from(vec![row as u64]), None);
            one.and_then(|one| cast_with_options(&one, wanted, &options)).is_ok()
        };
        let first = (0..array.len()).find(|&row| !fits(row));
        first.map_or_else(never, row_error)
    })
}

fn is_null(array: &ArrayRef, row: usize) -> bool {
    array.logical_nulls().is_some_and(|n| n.is_null(row))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListBuilder, StringArray, StringBuilder};
    use arrow::datatypes::{Field, Schema};
    use tarn_proto::{ColumnId, SchemaVersion};

    use super::*;

    fn one(data_type: DataType, nullable: bool, array: ArrayRef) -> Result<RecordBatch, Error> {
        let schema = TableSchema {
            version: SchemaVersion(1),
            columns: vec![Column { id: ColumnId(1), name: "c".into(), data_type, nullable }],
            sort_key: vec![],
        };
        let source = Schema::new(vec![Field::new("x", array.data_type().clone(), true)]);
        coerce(&RecordBatch::try_new(Arc::new(source), vec![array]).unwrap(), &schema, 11)
    }

    #[test]
    fn the_first_value_out_of_range_is_named() {
        let error = one(DataType::TinyInt, true, Arc::new(Int64Array::from(vec![1, 127, 128, 300]))).unwrap_err();
        assert_eq!(error.to_string(), "row 13, column `c`: value `128` is not a value of tinyint");
    }

    #[test]
    fn text_that_is_no_number_is_named() {
        let error = one(DataType::Int, true, Arc::new(StringArray::from(vec![None, Some("x1")]))).unwrap_err();
        assert_eq!(error.to_string(), "row 12, column `c`: value `x1` is not a value of int");
    }

    #[test]
    fn null_in_a_not_null_column_is_refused() {
        let error = one(DataType::BigInt, false, Arc::new(Int64Array::from(vec![Some(1), None]))).unwrap_err();
        assert_eq!(error.to_string(), "row 12, column `c`: value NULL is not allowed: the column is NOT NULL");
    }

    #[test]
    fn text_is_measured_in_bytes() {
        assert!(one(DataType::Varchar(3), true, Arc::new(StringArray::from(vec!["abc"]))).is_ok());
        let error = one(DataType::Varchar(3), true, Arc::new(StringArray::from(vec!["ab", "äöü"]))).unwrap_err();
        assert_eq!(error.to_string(), "row 12, column `c`: value `äöü` has 6 bytes, more than varchar(3) holds");
    }

    #[test]
    fn values_inside_a_list_are_checked() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("1"), None]);
        lists.append_value([Some("x")]);
        let error = one(DataType::Array(Box::new(DataType::Int)), true, Arc::new(lists.finish())).unwrap_err();
        assert_eq!(error.to_string(), "row 12, column `c`: value `[x]` is not a value of array<int>");
    }

    #[test]
    fn a_number_is_a_date_by_its_digits() {
        let batch = one(DataType::Date, true, Arc::new(Int64Array::from(vec![20_240_229]))).unwrap();
        let text = ArrayFormatter::try_new(batch.column(0), &FormatOptions::default()).unwrap().value(0).to_string();
        assert_eq!(text, "2024-02-29");
        let error = one(DataType::Date, true, Arc::new(Int64Array::from(vec![20_240_230]))).unwrap_err();
        assert_eq!(error.to_string(), "row 11, column `c`: value `20240230` is not a value of date");
    }

    #[test]
    fn decimals_are_bounded_by_their_precision() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["99.99", "100.00"]));
        let error = one(DataType::Decimal(4, 2), true, array).unwrap_err();
        assert!(error.to_string().starts_with("row 12, column `c`: value `100.00` is"), "{error}");
    }
}
