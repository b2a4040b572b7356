//! Range partitions as declared, to partition specifications. Pure.

use tarn_catalog::command::PartitionSpec;
use tarn_catalog::{Bounds, Value};
use tarn_proto::time::DAY_MICROS;
use tarn_proto::{Column, DataType};
use tarn_sql::{Bound, Ident, IntervalUnit, Literal, RangePartition};

use super::every::{self, MAX_PARTITIONS};
use super::names::check_name;
use super::{literal, properties};
use crate::session::Error;

/// The partitions that `declared` adds to a table partitioned by `columns` that has `existing` ones.
pub fn lower(
    declared: &[RangePartition],
    columns: &[&Column],
    existing: Vec<PartitionSpec>,
) -> Result<Vec<PartitionSpec>, Error> {
    let given = existing.len();
    let mut layout = Layout { columns, partitions: existing };
    for partition in declared {
        layout.add(partition)?;
    }
    Ok(layout.partitions.split_off(given))
}

struct Layout<'a> {
    columns: &'a [&'a Column],
    /// Existing ones, then new ones.
    partitions: Vec<PartitionSpec>,
}

impl Layout<'_> {
    fn add(&mut self, partition: &RangePartition) -> Result<(), Error> {
        match partition {
            RangePartition::LessThan { name, if_not_exists, upper, properties } => {
                properties::check_partition(properties)?;
                if self.exists(name, *if_not_exists)? {
                    return Ok(());
                }
                let upper = self.tuple(upper, name)?;
                let lower = self.below(upper.as_deref());
                self.push(name, Bounds::Range { lower, upper })
            }
            RangePartition::Between { name, if_not_exists, lower, upper, properties } => {
                properties::check_partition(properties)?;
                if self.exists(name, *if_not_exists)? {
                    return Ok(());
                }
                let Some(lower) = self.tuple(lower, name)? else {
                    return Err(Error::at(name.at, format!("partition `{}` begins at MAXVALUE", name.name)));
                };
                let upper = self.tuple(upper, name)?;
                if upper.as_ref().is_some_and(|upper| *upper <= lower) {
                    return Err(Error::at(
                        name.at,
                        format!("partition `{}` is empty: its lower bound is not below its upper bound", name.name),
                    ));
                }
                self.push(name, Bounds::Range { lower: Some(lower), upper })
            }
            RangePartition::Every { start, end, step, unit } => self.every(start, end, *step, *unit),
        }
    }

    /// Whether the name is taken and that is no error.
    fn exists(&self, name: &Ident, if_not_exists: bool) -> Result<bool, Error> {
        check_name(name, "partition")?;
        let exists = self.partitions.iter().any(|p| p.name.eq_ignore_ascii_case(&name.name));
        if exists && !if_not_exists {
            return Err(Error::at(name.at, format!("partition `{}` exists already", name.name)));
        }
        Ok(exists)
    }

    /// A bound's values; `None` for MAXVALUE.
    fn tuple(&self, bounds: &[Bound], name: &Ident) -> Result<Option<Vec<Value>>, Error> {
        if bounds.len() > self.columns.len() {
            let (given, columns) = (bounds.len(), self.columns.len());
            let message =
                format!("partition `{}` has {given} values in a bound, for {columns} partition columns", name.name);
            return Err(Error::at(name.at, message));
        }
        if bounds.iter().all(|b| *b == Bound::MaxValue) {
            return Ok(None);
        }
        let values = bounds.iter().zip(self.columns).map(|(bound, column)| match bound {
            Bound::Value(literal) => value(literal, column),
            Bound::MaxValue => Err(Error::not_yet(name.at, "bounds that mix values and MAXVALUE are")),
        });
        Ok(Some(values.collect::<Result<_, _>>()?))
    }

    /// Where `VALUES LESS THAN upper` begins: at the greatest upper bound below.
    fn below(&self, upper: Option<&[Value]>) -> Option<Vec<Value>> {
        self.partitions
            .iter()
            .filter_map(|p| match &p.bounds {
                Bounds::Range { upper: Some(bound), .. } => Some(bound),
                _ => None,
            })
            .filter(|bound| upper.is_none_or(|upper| bound.as_slice() < upper))
            .max()
            .cloned()
    }

    fn push(&mut self, name: &Ident, bounds: Bounds) -> Result<(), Error> {
        if let Some(other) = self.partitions.iter().find(|p| p.bounds.overlaps(&bounds)) {
            let message = format!("partition `{}` overlaps partition `{}`", name.name, other.name);
            return Err(Error::at(name.at, message));
        }
        self.partitions.push(PartitionSpec { name: name.name.clone(), bounds });
        Ok(())
    }

    fn every(&mut self, start: &Literal, end: &Literal, step: u32, unit: Option<IntervalUnit>) -> Result<(), Error> {
        let [column] = self.columns else {
            return Err(Error::at(start.at, "START .. END .. EVERY takes one partition column"));
        };
        let (first, last) = (value(start, column)?, value(end, column)?);
        if first >= last {
            return Err(Error::at(end.at, format!("END ({end}) is not above START ({start})")));
        }
        let steps = steps(&first, &last, step, unit).map_err(|message| {
            Error::at(start.at, format!("column `{}` is of type {}: {message}", column.name, column.data_type))
        })?;
        let steps = steps.ok_or_else(|| {
            let message =
                format!("EVERY makes more than {MAX_PARTITIONS} partitions: take wider ones, or fewer at once");
            Error::at(start.at, message)
        })?;
        let given = self.partitions.len();
        for (name, lower, upper) in steps {
            let bounds = Bounds::Range { lower: Some(vec![lower]), upper: Some(vec![upper]) };
            // Steps do not overlap one another.
            for other in &self.partitions[..given] {
                if other.name.eq_ignore_ascii_case(&name) {
                    return Err(Error::at(start.at, format!("partition `{name}` exists already")));
                }
                if other.bounds.overlaps(&bounds) {
                    return Err(Error::at(start.at, format!("partition `{name}` overlaps partition `{}`", other.name)));
                }
            }
            self.partitions.push(PartitionSpec { name, bounds });
        }
        Ok(())
    }
}

type Steps = Option<Vec<(String, Value, Value)>>;

/// The steps between two values of one type; `None` when there are too many.
fn steps(first: &Value, last: &Value, n: u32, unit: Option<IntervalUnit>) -> Result<Steps, String> {
    let map = |steps: Option<Vec<every::Step<i64>>>, to: fn(i64) -> Value| {
        steps.map(|steps| steps.into_iter().map(|(name, a, b)| (name, to(a), to(b))).collect())
    };
    Ok(match (first, last, unit) {
        (Value::Int(first), Value::Int(last), None) => every::integers(*first, *last, n)
            .map(|steps| steps.into_iter().map(|(name, a, b)| (name, Value::Int(a), Value::Int(b))).collect()),
        (Value::Int(_), ..) => return Err("EVERY takes a number, not an interval".to_owned()),
        (Value::Date(_), _, Some(IntervalUnit::Second | IntervalUnit::Minute | IntervalUnit::Hour)) => {
            return Err("EVERY takes an interval of days or more".to_owned());
        }
        (Value::Date(first), Value::Date(last), Some(unit)) => {
            let (first, last) = (i64::from(*first) * DAY_MICROS, i64::from(*last) * DAY_MICROS);
            map(every::times(first, last, n, every::time_unit(unit)), |m| Value::Date(m.div_euclid(DAY_MICROS) as i32))
        }
        (Value::DateTime(first), Value::DateTime(last), Some(unit)) => {
            map(every::times(*first, *last, n, every::time_unit(unit)), Value::DateTime)
        }
        _ => return Err("EVERY takes an interval".to_owned()),
    })
}

fn value(literal: &Literal, column: &Column) -> Result<Value, Error> {
    literal::value(&literal.text, &column.data_type)
        .map_err(|why| Error::at(literal.at, format!("bound of partition column `{}`: {why}", column.name)))
}

/// Whether a column of this type can divide a table into ranges.
pub const fn is_range_type(t: &DataType) -> bool {
    matches!(
        t,
        DataType::TinyInt
            | DataType::SmallInt
            | DataType::Int
            | DataType::BigInt
            | DataType::LargeInt
            | DataType::Date
            | DataType::DateTime
    )
}
