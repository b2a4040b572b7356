//! Which rows a `DELETE` predicate deletes. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp;
use arrow::compute::{cast_with_options, is_not_null, is_null};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use tarn_proto::segment::{from_storage, widened_initial};
use tarn_proto::storage::{Comparison, Condition, DeletePredicate};
use tarn_proto::{Column, TableSchema};

/// Fails where a constant is no value of its column.
const STRICT: arrow::compute::CastOptions<'static> =
    arrow::compute::CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// A predicate over the columns of a tablet.
pub(crate) struct Matcher {
    /// The columns that it looks at, one for each condition.
    columns: Vec<Column>,
    tests: Vec<Test>,
}

/// What a column is compared with.
enum Test {
    Constant(Comparison, ArrayRef),
    /// `IN` if true, else `NOT IN`.
    List(bool, RowConverter, HashSet<Box<[u8]>>),
    /// `IS NULL` if true, else `IS NOT NULL`.
    Null(bool),
}

impl Matcher {
    /// The predicate for a tablet of this schema. A column that is there counts as it is now: its type may have become
    /// wider since the statement was planned. Fails if a constant is no value of its column.
    pub(crate) fn new(predicate: &DeletePredicate, schema: &TableSchema) -> Result<Self, ArrowError> {
        let column = |condition: &Condition| match schema.index_of(condition.column) {
            Some(index) => schema.columns[index].clone(),
            None => Column {
                id: condition.column,
                name: condition.column.to_string(),
                data_type: condition.data_type.clone(),
                nullable: true,
                aggregation: None,
                initial: condition.initial.clone(),
            },
        };
        let columns: Vec<Column> = predicate.conditions.iter().map(column).collect();
        let tests = predicate.conditions.iter().zip(&columns).map(|(condition, column)| Test::new(condition, column));
        Ok(Self { tests: tests.collect::<Result<_, _>>()?, columns })
    }

    /// The columns that it looks at.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The rows for which every condition is true, of a batch that has [`Matcher::columns`] as segments hold them.
    pub(crate) fn matches(&self, batch: &RecordBatch) -> Result<BooleanBuffer, ArrowError> {
        let declared = from_storage(&self.columns, batch)?;
        let mut matching = BooleanBuffer::new_set(batch.num_rows());
        for (test, array) in self.tests.iter().zip(declared.columns()) {
            matching = &matching & &test.holds(array)?;
        }
        Ok(matching)
    }
}

impl Test {
    fn new(condition: &Condition, column: &Column) -> Result<Self, ArrowError> {
        let texts = condition.values.iter();
        let texts: Vec<String> =
            texts.map(|text| widened_initial(text, &condition.data_type, &column.data_type)).collect();
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        let declared = column.data_type.to_arrow();
        let constants = || cast_with_options(&texts, &declared, &STRICT);
        Ok(match condition.comparison {
            Comparison::IsNull => Self::Null(true),
            Comparison::IsNotNull => Self::Null(false),
            listed @ (Comparison::In | Comparison::NotIn) => {
                let converter = RowConverter::new(vec![SortField::new(declared.clone())])?;
                let rows = converter.convert_columns(&[constants()?])?;
                Self::List(listed == Comparison::In, converter, rows.iter().map(|row| row.data().into()).collect())
            }
            comparison => {
                let constant = constants()?;
                if constant.len() != 1 {
                    return Err(ArrowError::InvalidArgumentError(format!(
                        "a condition on column `{}` compares with {} values instead of one",
                        column.name,
                        constant.len()
                    )));
                }
                Self::Constant(comparison, constant)
            }
        })
    }

    /// The rows for which it is true, which it is not where it is unknown.
    fn holds(&self, array: &ArrayRef) -> Result<BooleanBuffer, ArrowError> {
        let result: BooleanArray = match self {
            Self::Null(true) => is_null(array)?,
            Self::Null(false) => is_not_null(array)?,
            Self::List(wanted, converter, values) => {
                let rows = converter.convert_columns(std::slice::from_ref(array))?;
                let nulls = array.logical_nulls();
                let is_value = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                let listed = |row: usize| values.contains(rows.row(row).data()) == *wanted;
                return Ok(BooleanBuffer::collect_bool(array.len(), |row| is_value(row) && listed(row)));
            }
            Self::Constant(comparison, constant) => {
                let constant = Scalar::new(constant.clone());
                match comparison {
                    Comparison::Equal => cmp::eq(array, &constant)?,
                    Comparison::NotEqual => cmp::neq(array, &constant)?,
                    Comparison::Less => cmp::lt(array, &constant)?,
                    Comparison::LessOrEqual => cmp::lt_eq(array, &constant)?,
                    Comparison::Greater => cmp::gt(array, &constant)?,
                    Comparison::GreaterOrEqual => cmp::gt_eq(array, &constant)?,
                    Comparison::In | Comparison::NotIn | Comparison::IsNull | Comparison::IsNotNull => {
                        return Err(ArrowError::InvalidArgumentError("a list is no constant".to_owned()));
                    }
                }
            }
        };
        Ok(match result.nulls() {
            Some(nulls) => result.values() & nulls.inner(),
            None => result.values().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringViewArray};
    use proptest::prelude::*;
    use tarn_proto::segment::{storage_schema, to_storage};
    use tarn_proto::{ColumnId, DataType, SchemaVersion, TableModel};

    use super::*;

    fn column(id: u32, data_type: DataType) -> Column {
        Column { id: ColumnId(id), name: format!("c{id}"), data_type, nullable: true, aggregation: None, initial: None }
    }

    fn schema(columns: Vec<Column>) -> TableSchema {
        TableSchema {
            version: SchemaVersion(1),
            model: TableModel::Duplicate,
            columns,
            keys: Vec::new(),
            sort_key: Vec::new(),
            indexes: Vec::new(),
        }
    }

    fn condition(column: &Column, comparison: Comparison, values: &[&str]) -> Condition {
        Condition {
            column: column.id,
            data_type: column.data_type.clone(),
            initial: column.initial.clone(),
            comparison,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    fn matching(schema: &TableSchema, conditions: Vec<Condition>, arrays: Vec<ArrayRef>) -> Vec<bool> {
        let matcher = Matcher::new(&DeletePredicate { conditions }, schema).unwrap();
        let fields: Vec<_> = matcher.columns().iter().map(Column::to_arrow).collect();
        let rows = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), arrays).unwrap();
        let stored = to_storage(matcher.columns(), &storage_schema(matcher.columns()), &rows).unwrap();
        matcher.matches(&stored).unwrap().iter().collect()
    }

    proptest! {
        #[test]
        fn a_row_goes_where_every_condition_is_true(
            rows in prop::collection::vec((prop::option::of(-2i32..3), prop::option::of("[ab]{0,2}")), 1..30),
            number in -2i32..3,
            text in "[ab]{0,2}",
            comparison in 0usize..10,
        ) {
            use Comparison as C;
            let (numbers, texts) = (column(1, DataType::Int), column(2, DataType::Varchar(9)));
            let schema = schema(vec![texts.clone(), numbers.clone()]);
            let all = [
                C::Equal, C::NotEqual, C::Less, C::LessOrEqual, C::Greater, C::GreaterOrEqual, C::In, C::NotIn, C::IsNull,
                C::IsNotNull,
            ];
            let comparison = all[comparison];
            let (constant, other) = (number.to_string(), (number + 1).to_string());
            let values: Vec<&str> = match comparison {
                C::In | C::NotIn => vec![&constant, &other],
                C::IsNull | C::IsNotNull => vec![],
                _ => vec![&constant],
            };
            let conditions =
                vec![condition(&numbers, comparison, &values), condition(&texts, C::LessOrEqual, &[text.as_str()])];
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))),
                Arc::new(StringViewArray::from_iter(rows.iter().map(|r| r.1.as_deref()))),
            ];
            let expected: Vec<bool> = rows
                .iter()
                .map(|(value, word)| {
                    let first = match (comparison, value) {
                        (C::IsNull, value) => value.is_none(),
                        (C::IsNotNull, value) => value.is_some(),
                        (_, None) => false,
                        (C::Equal, Some(value)) => *value == number,
                        (C::NotEqual, Some(value)) => *value != number,
                        (C::Less, Some(value)) => *value < number,
                        (C::LessOrEqual, Some(value)) => *value <= number,
                        (C::Greater, Some(value)) => *value > number,
                        (C::GreaterOrEqual, Some(value)) => *value >= number,
                        (C::In, Some(value)) => [number, number + 1].contains(value),
                        (C::NotIn, Some(value)) => ![number, number + 1].contains(value),
                    };
                    first && word.as_ref().is_some_and(|word| *word <= text)
                })
                .collect();
            prop_assert_eq!(matching(&schema, conditions, arrays), expected);
        }
    }

    #[test]
    fn constants_follow_a_column_that_became_wider() {
        let (then, now) = (column(1, DataType::Float), column(1, DataType::Double));
        let values: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![f64::from(0.1f32), 0.1]));
        let equal = condition(&then, Comparison::Equal, &["0.1"]);
        assert_eq!(matching(&schema(vec![now]), vec![equal], vec![values]), [true, false]);
    }

    #[test]
    fn times_and_decimals_compare_as_they_are_declared() {
        let (at, amount) = (column(1, DataType::DateTime), column(2, DataType::Decimal(10, 2)));
        let conditions = vec![
            condition(&at, Comparison::GreaterOrEqual, &["2024-02-29 12:00:00"]),
            condition(&amount, Comparison::Less, &["1.50"]),
        ];
        let noon = 1_709_208_000_000_000;
        let times: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![noon - 1, noon, noon]));
        let amounts = arrow::array::Decimal128Array::from(vec![0, 149, 150]).with_precision_and_scale(10, 2).unwrap();
        let schema = schema(vec![at, amount]);
        assert_eq!(matching(&schema, conditions, vec![times, Arc::new(amounts)]), [false, true, false]);
    }

    #[test]
    fn a_column_that_is_gone_counts_as_it_was() {
        let gone = column(9, DataType::Int);
        let conditions = vec![condition(&gone, Comparison::Equal, &["3"])];
        let values: ArrayRef = Arc::new(Int32Array::from(vec![3, 4]));
        assert_eq!(matching(&schema(Vec::new()), conditions, vec![values]), [true, false]);
    }

    #[test]
    fn a_constant_that_is_no_value_of_the_column_is_refused() {
        let numbers = column(1, DataType::Int);
        let predicate = DeletePredicate { conditions: vec![condition(&numbers, Comparison::Equal, &["x"])] };
        assert!(Matcher::new(&predicate, &schema(vec![numbers])).is_err());
    }
}
