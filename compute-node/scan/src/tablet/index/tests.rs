use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, IsNullExpr, Literal, in_list};
use proptest::prelude::*;
use tarn_proto::index::{Class, value};
use tarn_proto::{ColumnId, DataType, SchemaVersion, TableModel, TableSchema};

use super::condition::conditions;

fn schema() -> TableSchema {
    TableSchema {
        version: SchemaVersion(1),
        model: TableModel::Duplicate,
        columns: vec![tarn_proto::Column {
            id: ColumnId(4),
            name: "n".to_owned(),
            data_type: DataType::Int,
            nullable: true,
            aggregation: None,
            initial: None,
        }],
        keys: Vec::new(),
        sort_key: Vec::new(),
        indexes: Vec::new(),
    }
}

fn column() -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new("n", 0))
}

fn literal(value: Option<i32>) -> Arc<dyn PhysicalExpr> {
    Arc::new(Literal::new(ScalarValue::Int32(value)))
}

fn number() -> impl Strategy<Value = Option<i32>> {
    prop::option::weighted(0.9, -4i32..5)
}

fn conjunct() -> impl Strategy<Value = Arc<dyn PhysicalExpr>> {
    let operators = vec![Operator::Eq, Operator::NotEq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];
    let comparison = (prop::sample::select(operators), number(), any::<bool>()).prop_map(|(operator, number, swap)| {
        let (left, right) = if swap { (literal(number), column()) } else { (column(), literal(number)) };
        Arc::new(BinaryExpr::new(left, operator, right)) as Arc<dyn PhysicalExpr>
    });
    let list = (prop::collection::vec(number(), 1..5), any::<bool>()).prop_map(|(numbers, negated)| {
        let list = numbers.into_iter().map(literal).collect();
        in_list(column(), list, &negated, &schema().to_arrow()).unwrap()
    });
    let null = Just(Arc::new(IsNullExpr::new(column())) as Arc<dyn PhysicalExpr>);
    let leaf = prop_oneof![4 => comparison, 2 => list, 1 => null];
    leaf.prop_recursive(2, 4, 2, |inner| {
        (inner.clone(), inner)
            .prop_map(|(one, other)| Arc::new(BinaryExpr::new(one, Operator::Or, other)) as Arc<dyn PhysicalExpr>)
    })
}

/// The values of a test column, NULL first.
fn values() -> Vec<Option<i32>> {
    [None].into_iter().chain((-6..7).map(Some)).collect()
}

proptest! {
    #[test]
    fn a_condition_passes_what_its_conjuncts_pass(conjuncts in prop::collection::vec(conjunct(), 1..5)) {
        let array: ArrayRef = Arc::new(Int32Array::from(values()));
        let batch = RecordBatch::try_new(schema().to_arrow(), vec![array]).unwrap();
        let conditions = conditions(&schema(), &conjuncts);
        prop_assert!(conditions.len() <= 1, "one for each column");
        for condition in conditions {
            let mut expected = vec![true; values().len()];
            for number in &condition.conjuncts {
                let holds = conjuncts[*number].evaluate(&batch).unwrap().into_array(expected.len()).unwrap();
                let holds = holds.as_boolean();
                for (row, expected) in expected.iter_mut().enumerate() {
                    *expected &= holds.is_valid(row) && holds.value(row);
                }
            }
            for (number, expected) in values().into_iter().zip(expected) {
                let passes = match number {
                    None => condition.null,
                    Some(_) => {
                        let one: ArrayRef = Arc::new(Int32Array::from(vec![number]));
                        condition.passes(&value::of_one(Class::Integer, &one).unwrap())
                    }
                };
                prop_assert_eq!(passes, expected, "{:?} of {:?}", number, conjuncts);
            }
        }
    }
}

#[test]
fn what_is_no_simple_condition_of_one_column_is_left_alone() {
    let other: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Int64(Some(3))));
    let conjuncts: Vec<Arc<dyn PhysicalExpr>> = vec![
        Arc::new(BinaryExpr::new(column(), Operator::Eq, other)),
        Arc::new(BinaryExpr::new(column(), Operator::Lt, column())),
        Arc::new(BinaryExpr::new(column(), Operator::Plus, literal(Some(1)))),
        column(),
    ];
    assert_eq!(conditions(&schema(), &conjuncts), []);
    let list = in_list(column(), vec![column()], &false, &schema().to_arrow()).unwrap();
    assert!(
        list.downcast_ref::<InListExpr>().is_none_or(|_| conditions(&schema(), std::slice::from_ref(&list)).is_empty())
    );
}
