//! Properties that say which partitions are made ahead of time, and how long they live. Pure.
//!
//! A table has one rule: `dynamic_partition.*` (partitions from `start` to `end` units around now),
//! `partition_live_number` (so many of the latest) or `partition_retention_condition` (those that may hold rows for which it
//! is true). The leader follows it: [`crate::reconcile::partitions`].

use std::collections::BTreeMap;

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, Date32Type, Time64MicrosecondType, TimeUnit as ArrowUnit};
pub use tarn_catalog::RETENTION_CONDITION as RETENTION;
use tarn_catalog::{Distribution, PartitionExpr, Partitioning};
use tarn_proto::time::{DAY_MICROS, TimeUnit};
use tarn_proto::{ColumnId, DataType, TableSchema};
use tarn_sql::Property;

use crate::session::Error;

/// How the names of dynamic partitions' properties begin.
const DYNAMIC: &str = "dynamic_partition.";
const LIVE_NUMBER: &str = "partition_live_number";

/// The names behind [`DYNAMIC`].
const SETTINGS: &[&str] = &[
    "enable",
    "time_unit",
    "time_zone",
    "start",
    "end",
    "prefix",
    "buckets",
    "history_partition_num",
    "start_day_of_week",
    "start_day_of_month",
];

/// Most partitions that a table keeps ahead and behind (StarRocks' `max_dynamic_partition_num`).
const MAX_DYNAMIC: i64 = 500;
/// Most buckets of a partition.
const MAX_BUCKETS: i64 = 4096;
/// Most tablets of the partitions that are kept ahead and behind: they may have to be made at once.
const MAX_TABLETS: i64 = 100_000;

/// The rule of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Partitions stay as they are.
    Forever,
    /// Made from now on to some units ahead, dropped some units back.
    Dynamic(Dynamic),
    /// Of those that have begun, only so many of the latest live.
    Latest {
        /// At least 1.
        count: usize,
        /// Type of the partition column: DATE or DATETIME.
        data_type: DataType,
    },
    /// Partitions live that may hold a row for which this SQL condition over the partition columns is true.
    Where(String),
}

/// `dynamic_partition.*`, switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// Length of a partition: hour, day, week, month or year.
    pub unit: TimeUnit,
    /// Where the day begins, as arrow names time zones.
    pub zone: String,
    /// Partitions that end so many units back or before are dropped: negative, or `None` to drop none.
    pub start: Option<i64>,
    /// The last partition made ahead, in units from now.
    pub end: i64,
    /// How the partitions' names begin.
    pub prefix: String,
    /// Buckets of the partitions, or the table's.
    pub buckets: Option<u32>,
    /// How many are made for the past.
    pub history: i64,
    /// 1 (Monday) to 7: where a week begins.
    pub first_of_week: i64,
    /// 1 to 28: where a month begins.
    pub first_of_month: i64,
    /// Type of the partition column: DATE or DATETIME.
    pub data_type: DataType,
}

/// A property that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its name.
    pub property: String,
    /// What is wrong, and what to do.
    pub message: String,
}

type Read<T> = Result<T, Wrong>;

fn wrong<T>(property: &str, message: impl Into<String>) -> Read<T> {
    Err(Wrong { property: property.to_owned(), message: message.into() })
}

/// Whether a property, by its name in lower case, is one of these.
pub fn is_lifetime(name: &str) -> bool {
    [LIVE_NUMBER, RETENTION].contains(&name)
        || name.strip_prefix(DYNAMIC).is_some_and(|setting| SETTINGS.contains(&setting))
}

/// Checks the properties of a table; the error stands where the statement declares the one that is wrong.
pub fn check(
    properties: &BTreeMap<String, String>,
    partitioning: &Partitioning,
    schema: &TableSchema,
    distribution: &Distribution,
    declared: &[Property],
) -> Result<(), Error> {
    match lifetime(properties, partitioning, schema, distribution) {
        Ok(_) => Ok(()),
        Err(Wrong { property, message }) => {
            let place = declared.iter().find(|p| p.name.trim().eq_ignore_ascii_case(&property)).or(declared.first());
            Err(Error::at(place.map(|p| p.at).unwrap_or_default(), message))
        }
    }
}

/// The rule that the properties of a table make.
pub fn lifetime(
    properties: &BTreeMap<String, String>,
    partitioning: &Partitioning,
    schema: &TableSchema,
    distribution: &Distribution,
) -> Read<Lifetime> {
    let dynamic = properties.keys().find(|name| name.starts_with(DYNAMIC));
    match (dynamic, properties.get(LIVE_NUMBER), properties.get(RETENTION)) {
        (None, None, None) => Ok(Lifetime::Forever),
        (Some(first), None, None) => self::dynamic(properties, partitioning, schema, distribution, first),
        (None, Some(count), None) => latest(count, partitioning, schema),
        (None, None, Some(_)) if *partitioning == Partitioning::None => {
            wrong(RETENTION, format!("`{RETENTION}` is for partitioned tables: use PARTITION BY"))
        }
        (None, None, Some(condition)) => Ok(Lifetime::Where(condition.clone())),
        (_, live_number, _) => wrong(
            if live_number.is_some() { LIVE_NUMBER } else { RETENTION },
            "a table has one rule for the life of its partitions: use `partition_live_number`, \
             `partition_retention_condition` or dynamic partitions (`dynamic_partition.start`)",
        ),
    }
}

fn dynamic(
    properties: &BTreeMap<String, String>,
    partitioning: &Partitioning,
    schema: &TableSchema,
    distribution: &Distribution,
    first: &str,
) -> Read<Lifetime> {
    let columns = match partitioning {
        Partitioning::Range(columns) => columns,
        _ => return wrong(first, "dynamic partitions are for tables partitioned by range: use PARTITION BY RANGE"),
    };
    let [column] = columns[..] else {
        return wrong(first, "dynamic partitions are for tables with one partition column");
    };
    let data_type = time_type(column, schema, first)?;
    let name = |setting: &str| format!("{DYNAMIC}{setting}");
    let get = |setting: &str| properties.get(&name(setting)).map(|value| value.trim());
    let number = |setting: &str, wanted: &str, allowed: std::ops::RangeInclusive<i64>| match get(setting) {
        None => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(number) if allowed.contains(&number) => Ok(Some(number)),
            _ => wrong(&name(setting), format!("`{}` must be {wanted}, not `{text}`", name(setting))),
        },
    };
    let enable = match get("enable").unwrap_or("true").to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        other => return wrong(&name("enable"), format!("`{}` takes true or false, not `{other}`", name("enable"))),
    };
    let Some(unit) = get("time_unit") else {
        return wrong(first, "dynamic partitions need `dynamic_partition.time_unit`: HOUR, DAY, WEEK, MONTH or YEAR");
    };
    let unit = match unit.to_ascii_uppercase().as_str() {
        "HOUR" if data_type == DataType::Date => {
            return wrong(&name("time_unit"), "`dynamic_partition.time_unit` HOUR needs a DATETIME column, not a DATE");
        }
        "HOUR" => TimeUnit::Hour,
        "DAY" => TimeUnit::Day,
        "WEEK" => TimeUnit::Week,
        "MONTH" => TimeUnit::Month,
        "YEAR" => TimeUnit::Year,
        other => {
            let message = format!("unsupported time unit `{other}`: expected HOUR, DAY, WEEK, MONTH or YEAR");
            return wrong(&name("time_unit"), message);
        }
    };
    // StarRocks' default, which keeps all.
    let start = number("start", "a whole number less than 0", i64::from(i32::MIN)..=-1)?;
    let start = start.filter(|start| *start != i64::from(i32::MIN));
    let Some(end) = number("end", "a whole number greater than 0", 1..=i64::from(i32::MAX))? else {
        return wrong(first, "dynamic partitions need `dynamic_partition.end`: how many units ahead they are made");
    };
    let history = number("history_partition_num", "a whole number, at least 0", 0..=i64::from(i32::MAX))?.unwrap_or(0);
    let history = start.map_or(history, |start| history.min(-start));
    if end + history + 1 > MAX_DYNAMIC {
        let message = format!(
            "too many dynamic partitions: {} from `dynamic_partition.history_partition_num` to `dynamic_partition.end`, \
             at most {MAX_DYNAMIC} are allowed",
            end + history + 1
        );
        return wrong(&name("end"), message);
    }
    let prefix = get("prefix").unwrap_or("p");
    if prefix.is_empty() || !prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!("`dynamic_partition.prefix` is made of letters, digits and _, not `{prefix}`");
        return wrong(&name("prefix"), message);
    }
    let zone = get("time_zone").unwrap_or("UTC");
    if local(0, zone).is_none() {
        let message =
            format!("unknown time zone `{zone}`: use a name like `Asia/Shanghai`, or an offset like `+08:00`");
        return wrong(&name("time_zone"), message);
    }
    let buckets = number("buckets", &format!("a whole number from 1 to {MAX_BUCKETS}"), 1..=MAX_BUCKETS)?;
    let tablets = (end + history + 1) * buckets.unwrap_or_else(|| distribution.buckets.into());
    if tablets > MAX_TABLETS {
        let message = format!(
            "the dynamic partitions have {tablets} tablets (partitions x buckets), at most {MAX_TABLETS} are allowed: use \
             fewer buckets (`dynamic_partition.buckets`) or a smaller `dynamic_partition.end`"
        );
        return wrong(&name("end"), message);
    }
    let first_of_week = number("start_day_of_week", "1 (Monday) to 7 (Sunday)", 1..=7)?.unwrap_or(1);
    let first_of_month = number("start_day_of_month", "1 to 28", 1..=28)?.unwrap_or(1);
    if !enable {
        return Ok(Lifetime::Forever);
    }
    Ok(Lifetime::Dynamic(Dynamic {
        unit,
        zone: zone.to_owned(),
        start,
        end,
        prefix: prefix.to_owned(),
        buckets: buckets.and_then(|n| u32::try_from(n).ok()),
        history,
        first_of_week,
        first_of_month,
        data_type,
    }))
}

fn latest(text: &str, partitioning: &Partitioning, schema: &TableSchema) -> Read<Lifetime> {
    let column = match partitioning {
        Partitioning::Range(columns) if columns.len() == 1 => columns[0],
        Partitioning::Expression(exprs) => match exprs[..] {
            [PartitionExpr::DateTrunc(_, column) | PartitionExpr::TimeSlice(_, _, column)] => column,
            _ => return wrong(LIVE_NUMBER, NO_TIME),
        },
        _ => return wrong(LIVE_NUMBER, NO_TIME),
    };
    let data_type = time_type(column, schema, LIVE_NUMBER)?;
    match text.trim().parse::<i64>() {
        Ok(-1) => Ok(Lifetime::Forever),
        Ok(count) if count > 0 => {
            Ok(Lifetime::Latest { count: usize::try_from(count).unwrap_or(usize::MAX), data_type })
        }
        _ => wrong(
            LIVE_NUMBER,
            format!("`{LIVE_NUMBER}` must be a whole number, at least 1, or -1 for all partitions, not `{text}`"),
        ),
    }
}

const NO_TIME: &str = "`partition_live_number` is for tables partitioned by time: by range of one DATE or DATETIME column, \
                       or by date_trunc or time_slice";

fn time_type(column: ColumnId, schema: &TableSchema, property: &str) -> Read<DataType> {
    let column = schema.index_of(column).map(|index| &schema.columns[index]);
    match column.map(|column| (&column.data_type, column)) {
        Some((t @ (DataType::Date | DataType::DateTime), _)) => Ok(t.clone()),
        Some((t, column)) => {
            let message = format!(
                "the life of partitions goes by time, and partition column `{}` is of type {t}: wanted is DATE or DATETIME",
                column.name
            );
            wrong(property, message)
        }
        None => wrong(property, "the partition column does not exist"),
    }
}

/// The wall clock in a time zone, in microseconds since 1970-01-01 00:00 there; `now` is in microseconds since 1970 UTC.
/// `None` if there is no such zone.
pub fn local(now: i64, zone: &str) -> Option<i64> {
    let now = TimestampMicrosecondArray::from(vec![now]).with_timezone(zone);
    let days = cast(&now, &ArrowType::Date32).ok()?;
    let time = cast(&now, &ArrowType::Time64(ArrowUnit::Microsecond)).ok()?;
    let days = days.as_primitive_opt::<Date32Type>()?.value(0);
    let time = time.as_primitive_opt::<Time64MicrosecondType>()?.value(0);
    Some(i64::from(days) * DAY_MICROS + time)
}
