//! The date table: a calendar, nothing drawn.

use std::ops::Range;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Columns, Generator, batch_of, ints, schema_of, strings};
use crate::calendar::Day;
use crate::words::{HOLIDAYS, MONTHS, WEEKDAYS, season};

/// Days from 1992-01-01. The benchmark says 2,556, which leaves out the last day of 1998; no order reaches it.
pub const DAYS: u64 = 2_556;

/// Generates `dates`.
pub struct Dates;

fn columns(rows: Range<u64>) -> Columns {
    let days = rows.map(|row| Day::at(row as u32)).collect::<Vec<_>>();
    let int = |of: fn(&Day) -> i32| ints(days.iter().map(of).collect());
    let text = |of: fn(&Day) -> String| strings(days.iter().map(of));
    vec![
        ("d_datekey", int(|day| day.key())),
        ("d_date", text(|day| format!("{} {}, {}", month(day), day.day, day.year))),
        ("d_dayofweek", text(|day| WEEKDAYS[day.weekday as usize].to_owned())),
        ("d_month", text(|day| month(day).to_owned())),
        ("d_year", int(|day| day.year)),
        ("d_yearmonthnum", int(|day| day.year * 100 + day.month)),
        ("d_yearmonth", text(|day| format!("{:.3}{}", month(day), day.year))),
        ("d_daynuminweek", int(|day| day.weekday + 1)),
        ("d_daynuminmonth", int(|day| day.day)),
        ("d_daynuminyear", int(|day| day.day_of_year)),
        ("d_monthnuminyear", int(|day| day.month)),
        ("d_weeknuminyear", int(|day| (day.day_of_year - 1) / 7 + 1)),
        ("d_sellingseason", text(|day| season(day.month).to_owned())),
        ("d_lastdayinweekfl", int(|day| i32::from(day.weekday == 6))),
        ("d_lastdayinmonthfl", int(|day| i32::from(day.last_of_month))),
        ("d_holidayfl", int(|day| i32::from(HOLIDAYS.contains(&(day.month, day.day))))),
        ("d_weekdayfl", int(|day| i32::from((1..=5).contains(&day.weekday)))),
    ]
}

fn month(day: &Day) -> &'static str {
    MONTHS[day.month as usize - 1]
}

impl Generator for Dates {
    fn schema(&self) -> SchemaRef {
        schema_of(&columns(0..0))
    }

    fn batch(&self, rows: Range<u64>) -> Result<RecordBatch> {
        batch_of(columns(rows))
    }
}
