//! What filters say of single columns, in the terms of indexes. Pure.
//!
//! A filter keeps the rows for which it is true: neither false nor unknown. So NULL passes a condition only where every
//! part of it says `IS NULL`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::cast;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, IsNullExpr, Literal, NotExpr};
use tarn_proto::TableSchema;
use tarn_proto::index::{Class, value};
use tarn_proto::segment::storage_type;

/// A bound of the values that pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub value: Vec<u8>,
    pub inclusive: bool,
}

/// What the conjuncts on one column say together. Values are as in [`value`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// The column's position in the table.
    pub column: usize,
    /// What its values are.
    pub class: Class,
    /// Which conjuncts it stands for.
    pub conjuncts: Vec<usize>,
    /// Only these values pass.
    pub any: Option<BTreeSet<Vec<u8>>>,
    /// These values do not pass.
    pub none: BTreeSet<Vec<u8>>,
    /// No lesser value passes.
    pub lower: Option<Bound>,
    /// No greater value passes.
    pub upper: Option<Bound>,
    /// Whether NULL passes.
    pub null: bool,
}

impl Condition {
    /// Whether a value passes that is none of NULL.
    pub fn passes(&self, value: &[u8]) -> bool {
        let above = self.lower.as_ref().is_none_or(|bound| match bound.inclusive {
            true => value >= bound.value.as_slice(),
            false => value > bound.value.as_slice(),
        });
        let below = self.upper.as_ref().is_none_or(|bound| match bound.inclusive {
            true => value <= bound.value.as_slice(),
            false => value < bound.value.as_slice(),
        });
        above && below && !self.none.contains(value) && self.any.as_ref().is_none_or(|any| any.contains(value))
    }

    /// The values that can pass, if they are a list.
    pub fn values(&self) -> Option<Vec<&Vec<u8>>> {
        let any = self.any.as_ref()?;
        Some(any.iter().filter(|value| self.passes(value)).collect())
    }

    /// Whether it has a bound.
    pub const fn is_bounded(&self) -> bool {
        self.lower.is_some() || self.upper.is_some()
    }

    fn add(&mut self, test: Test) {
        self.null &= matches!(test, Test::In { null: true, .. });
        match test {
            Test::In { values, .. } => {
                self.any = Some(match self.any.take() {
                    Some(any) => any.intersection(&values).cloned().collect(),
                    None => values,
                });
            }
            Test::NotIn(values) => self.none.extend(values),
            Test::Lower(bound) => {
                // Of two at the same value the one without it is the stricter.
                let stricter = self
                    .lower
                    .as_ref()
                    .is_none_or(|now| (&bound.value, !bound.inclusive) > (&now.value, !now.inclusive));
                if stricter {
                    self.lower = Some(bound);
                }
            }
            Test::Upper(bound) => {
                let stricter =
                    self.upper.as_ref().is_none_or(|now| (&bound.value, bound.inclusive) < (&now.value, now.inclusive));
                if stricter {
                    self.upper = Some(bound);
                }
            }
        }
    }
}

/// What one conjunct says of one column.
#[derive(Debug, PartialEq, Eq)]
enum Test {
    /// It is one of these, or it is NULL where that is said.
    In {
        values: BTreeSet<Vec<u8>>,
        null: bool,
    },
    /// It is none of these, and not NULL.
    NotIn(BTreeSet<Vec<u8>>),
    Lower(Bound),
    Upper(Bound),
}

/// The conditions of conjuncts over the table's columns, one for each column that any says something simple about.
pub(super) fn conditions(schema: &TableSchema, conjuncts: &[Arc<dyn PhysicalExpr>]) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = Vec::new();
    for (number, conjunct) in conjuncts.iter().enumerate() {
        let Some((column, class, test)) = test(schema, conjunct) else { continue };
        let known = conditions.iter().position(|condition| condition.column == column);
        let condition = match known {
            Some(position) => &mut conditions[position],
            None => {
                conditions.push(Condition {
                    column,
                    class,
                    conjuncts: Vec::new(),
                    any: None,
                    none: BTreeSet::new(),
                    lower: None,
                    upper: None,
                    null: true,
                });
                let last = conditions.len() - 1;
                &mut conditions[last]
            }
        };
        condition.conjuncts.push(number);
        condition.add(test);
    }
    conditions
}

fn test(schema: &TableSchema, conjunct: &Arc<dyn PhysicalExpr>) -> Option<(usize, Class, Test)> {
    let column = |expr: &Arc<dyn PhysicalExpr>| {
        let position = expr.downcast_ref::<Column>()?.index();
        Some((position, Class::of(&schema.columns.get(position)?.data_type)?))
    };
    if let Some(binary) = conjunct.downcast_ref::<BinaryExpr>() {
        if *binary.op() == Operator::Or {
            return either(test(schema, binary.left())?, test(schema, binary.right())?);
        }
        let (tested, operator, literal) = match binary.left().downcast_ref::<Literal>() {
            Some(literal) => (binary.right(), binary.op().swap()?, literal),
            None => (binary.left(), *binary.op(), binary.right().downcast_ref::<Literal>()?),
        };
        let (position, class) = column(tested)?;
        return Some((position, class, comparison(schema, position, class, operator, literal.value())?));
    }
    if let Some(list) = conjunct.downcast_ref::<InListExpr>() {
        let (position, class) = column(list.expr())?;
        let mut values = BTreeSet::new();
        let mut unknown = false;
        for item in list.list() {
            match item.downcast_ref::<Literal>()?.value() {
                null if null.is_null() => unknown = true,
                value => drop(values.insert(stored(schema, position, class, value)?)),
            }
        }
        let test = match (list.negated(), unknown) {
            (false, _) => Test::In { values, null: false },
            // Whatever is not in the list may be what is not known.
            (true, true) => nothing(),
            (true, false) => Test::NotIn(values),
        };
        return Some((position, class, test));
    }
    if let Some(null) = conjunct.downcast_ref::<IsNullExpr>() {
        let (position, class) = column(null.arg())?;
        return Some((position, class, Test::In { values: BTreeSet::new(), null: true }));
    }
    let (tested, wanted) = match conjunct.downcast_ref::<NotExpr>() {
        Some(not) => (not.arg(), false),
        None => (conjunct, true),
    };
    let (position, class) = column(tested)?;
    let values = BTreeSet::from([vec![u8::from(wanted)]]);
    (class == Class::Boolean).then_some((position, class, Test::In { values, null: false }))
}

/// Either of two lists of one column.
fn either(one: (usize, Class, Test), other: (usize, Class, Test)) -> Option<(usize, Class, Test)> {
    match (one, other) {
        ((position, class, Test::In { mut values, null }), (same, _, Test::In { values: others, null: or_null }))
            if position == same =>
        {
            values.extend(others);
            Some((position, class, Test::In { values, null: null || or_null }))
        }
        _ => None,
    }
}

const fn nothing() -> Test {
    Test::In { values: BTreeSet::new(), null: false }
}

fn comparison(
    schema: &TableSchema,
    position: usize,
    class: Class,
    operator: Operator,
    literal: &ScalarValue,
) -> Option<Test> {
    let compares = matches!(
        operator,
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    );
    if literal.is_null() {
        // Never true.
        return compares.then(nothing);
    }
    let value = stored(schema, position, class, literal)?;
    Some(match operator {
        Operator::Eq => Test::In { values: BTreeSet::from([value]), null: false },
        Operator::NotEq => Test::NotIn(BTreeSet::from([value])),
        Operator::Gt => Test::Lower(Bound { value, inclusive: false }),
        Operator::GtEq => Test::Lower(Bound { value, inclusive: true }),
        Operator::Lt => Test::Upper(Bound { value, inclusive: false }),
        Operator::LtEq => Test::Upper(Bound { value, inclusive: true }),
        _ => return None,
    })
}

/// A constant as indexes of the column write it. `None` if it is of another type than the column.
fn stored(schema: &TableSchema, position: usize, class: Class, literal: &ScalarValue) -> Option<Vec<u8>> {
    let declared = schema.columns[position].data_type.to_arrow();
    let found = literal.data_type();
    let alike = found == declared || found.is_string() && declared.is_string();
    let literal = alike.then(|| literal.to_array().ok())??;
    value::of_one(class, &cast(&literal, &storage_type(&declared)).ok()?)
}
