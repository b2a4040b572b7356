//! Days of the benchmark's seven years, counted from 1992-01-01.

/// The first year.
const FIRST_YEAR: i32 = 1992;
/// 1992-01-01 was a Wednesday; Sunday is 0.
const FIRST_WEEKDAY: u32 = 3;

/// A day on the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// The year.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 1 to 366.
    pub day_of_year: i32,
    /// 0 (Sunday) to 6.
    pub weekday: i32,
    /// Whether the month ends with it.
    pub last_of_month: bool,
}

impl Day {
    /// The day `offset` days after 1992-01-01.
    pub fn at(offset: u32) -> Self {
        let mut rest = offset as i32;
        let mut year = FIRST_YEAR;
        while rest >= year_length(year) {
            rest -= year_length(year);
            year += 1;
        }
        let day_of_year = rest + 1;
        let mut month = 1;
        while rest >= month_length(year, month) {
            rest -= month_length(year, month);
            month += 1;
        }
        let last_of_month = rest + 1 == month_length(year, month);
        Self { year, month, day: rest + 1, day_of_year, weekday: ((offset + FIRST_WEEKDAY) % 7) as i32, last_of_month }
    }

    /// As `yyyymmdd`.
    pub fn key(self) -> i32 {
        self.year * 10_000 + self.month * 100 + self.day
    }
}

/// The keys of all days, indexed by their offset.
pub fn keys(days: u32) -> Vec<i32> {
    (0..days).map(|offset| Day::at(offset).key()).collect()
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn year_length(year: i32) -> i32 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_length(year: i32, month: i32) -> i32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
