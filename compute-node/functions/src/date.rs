//! Dates: adding and subtracting intervals, differences, and parts under StarRocks' names.

use std::hash::Hash;

use arrow::array::{Int32Array, PrimitiveArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use tarn_proto::time::{DAY_MICROS, TimeUnit, civil_from_days, date_trunc, days_from_civil};

use crate::arguments::{DATETIME, INTERVAL, datetime_type, intervals, micros, result, within_years};

pub(crate) fn functions() -> Vec<ScalarUDF> {
    let mut functions = vec![
        ScalarUDF::from(Add { name: "date_add", sign: 1, signature: any() }).with_aliases(["adddate", "days_add"]),
        ScalarUDF::from(Add { name: "date_sub", sign: -1, signature: any() }).with_aliases(["subdate", "days_sub"]),
        ScalarUDF::from(DateDiff { signature: any() }),
    ];
    functions.extend(
        PARTS
            .iter()
            .map(|part| ScalarUDF::from(Part { part, signature: any() }).with_aliases(part.names[1..].iter().copied())),
    );
    functions
}

fn any() -> Signature {
    Signature::user_defined(Volatility::Immutable)
}

/// `date_add(dt, INTERVAL n unit)`: a DATETIME, NULL if it lies before the year 0 or after 9999.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Add {
    name: &'static str,
    sign: i64,
    signature: Signature,
}

impl ScalarUDFImpl for Add {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [time, DataType::Interval(_) | DataType::Null] => Ok(vec![datetime_type(self.name, time)?, INTERVAL]),
            [time, days] if days.is_integer() => Ok(vec![datetime_type(self.name, time)?, DataType::Int64]),
            _ => plan_err!("`{}` takes a date or time and an interval or a number of days", self.name),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DATETIME)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = micros(&args.args[0], args.number_rows)?;
        let intervals = intervals(&args.args[1], args.number_rows)?;
        let sum: PrimitiveArray<TimestampMicrosecondType> = times
            .iter()
            .zip(intervals)
            .map(|(time, interval)| {
                let (time, interval) = (time?, interval?);
                let time = TimeUnit::Month.add(time, self.sign * interval.months);
                let time = TimeUnit::Day.add(time, interval.days.saturating_mul(self.sign));
                within_years(time.saturating_add(self.sign * interval.micros))
            })
            .collect();
        result(sum, &args.args)
    }
}

/// `datediff(a, b)`: days from `b` to `a`, whatever the times of day.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DateDiff {
    signature: Signature,
}

impl ScalarUDFImpl for DateDiff {
    fn name(&self) -> &str {
        "datediff"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [a, b] => Ok(vec![datetime_type(self.name(), a)?, datetime_type(self.name(), b)?]),
            _ => plan_err!("`datediff` takes two dates or times"),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (a, b) = (micros(&args.args[0], args.number_rows)?, micros(&args.args[1], args.number_rows)?);
        let days: Int32Array = a
            .iter()
            .zip(&b)
            .map(|(a, b)| Some((a?.div_euclid(DAY_MICROS) - b?.div_euclid(DAY_MICROS)) as i32))
            .collect();
        result(days, &args.args)
    }
}

/// A part of a date or time, as a small number.
struct PartOf {
    names: &'static [&'static str],
    of: fn(i64) -> i64,
}

const PARTS: &[PartOf] = &[
    PartOf { names: &["year"], of: |t| civil(t).0 },
    PartOf { names: &["quarter"], of: |t| i64::from(civil(t).1 - 1) / 3 + 1 },
    PartOf { names: &["month"], of: |t| i64::from(civil(t).1) },
    PartOf { names: &["week", "weekofyear"], of: week },
    PartOf { names: &["day", "dayofmonth"], of: |t| i64::from(civil(t).2) },
    // 1 is Sunday; 1970-01-01 was a Thursday.
    PartOf { names: &["dayofweek"], of: |t| (t.div_euclid(DAY_MICROS) + 4).rem_euclid(7) + 1 },
    // 0 is Monday.
    PartOf { names: &["weekday"], of: |t| (t.div_euclid(DAY_MICROS) + 3).rem_euclid(7) },
    PartOf { names: &["dayofyear"], of: |t| (t - date_trunc(TimeUnit::Year, t)).div_euclid(DAY_MICROS) + 1 },
    PartOf { names: &["hour"], of: |t| t.rem_euclid(DAY_MICROS) / 3_600_000_000 },
    PartOf { names: &["minute"], of: |t| t.rem_euclid(3_600_000_000) / 60_000_000 },
    PartOf { names: &["second"], of: |t| t.rem_euclid(60_000_000) / 1_000_000 },
    // Days since year 0, as MySQL counts them.
    PartOf { names: &["to_days"], of: |t| t.div_euclid(DAY_MICROS) + 719_528 },
];

fn civil(micros: i64) -> (i64, u32, u32) {
    civil_from_days(micros.div_euclid(DAY_MICROS))
}

/// The ISO week: that of the week's Thursday.
fn week(micros: i64) -> i64 {
    let monday = date_trunc(TimeUnit::Week, micros).div_euclid(DAY_MICROS);
    let thursday = monday + 3;
    let first = days_from_civil(civil_from_days(thursday).0, 1, 1);
    (thursday - first) / 7 + 1
}

#[derive(Debug)]
struct Part {
    part: &'static PartOf,
    signature: Signature,
}

impl std::fmt::Debug for PartOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.names[0])
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.part.names == other.part.names
    }
}

impl Eq for Part {}

impl Hash for Part {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.part.names.hash(state);
    }
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        self.part.names[0]
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [time] => Ok(vec![datetime_type(self.name(), time)?]),
            _ => plan_err!("`{}` takes one date or time", self.name()),
        }
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = micros(&args.args[0], args.number_rows)?;
        let parts: Int32Array = times.iter().map(|time| time.map(|time| (self.part.of)(time) as i32)).collect();
        result(parts, &args.args)
    }
}
