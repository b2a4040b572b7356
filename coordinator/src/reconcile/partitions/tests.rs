//! Rules against brute force, at any moment.

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta};
use proptest::prelude::*;
use tarn_catalog::{Command, Context, Response};
use tarn_proto::DatabaseId;

use super::*;

/// A catalog with one table.
struct World {
    catalog: tarn_catalog::Catalog,
    database: DatabaseId,
    requests: u128,
}

impl World {
    fn new(sql: &str) -> Self {
        let mut world = Self { catalog: tarn_catalog::Catalog::default(), database: DatabaseId(0), requests: 0 };
        let node = world.run(Operation::RegisterNode {
            role: tarn_catalog::Role::Storage,
            address: "127.0.0.1:1".into(),
            node_id: None,
        });
        let Response::Node(node) = node else { panic!("{node:?}") };
        let database = world.run(Operation::CreateDatabase { name: "d".into(), if_not_exists: false });
        let Response::Database(database) = database else { panic!("{database:?}") };
        world.database = database;
        let table = Box::new(crate::ddl::spec_of(sql));
        let created =
            world.run(Operation::CreateTable { database, table, if_not_exists: false, placement: vec![node].into() });
        assert!(matches!(created, Response::Table(_)), "{created:?}");
        world
    }

    fn run(&mut self, operation: Operation) -> Response {
        self.requests += 1;
        let command = Command { request_id: self.requests, operation };
        self.catalog.apply(&command, &Context { now_ms: 1 })
    }

    fn table(&self) -> Arc<Table> {
        self.catalog.table(self.database, "t").unwrap()
    }

    /// Takes the step of a moment, after which there is none left.
    fn follow(&mut self, now: i64) -> Step {
        let table = self.table();
        let taken = step(&table, now);
        let Step { add, drop, buckets } = taken.clone();
        let placement = self.catalog.storage_nodes().map(|n| n.id).collect();
        let properties = table.properties.clone();
        let maintain = Operation::MaintainPartitions { table: table.id, add, drop, buckets, placement, properties };
        let done = self.run(maintain);
        assert!(matches!(&done, Response::Partitions(made) if made.len() == taken.add.len()), "{done:?}");
        assert_eq!(step(&self.table(), now), Step { buckets, ..Step::default() });
        taken
    }

    fn names(&self) -> Vec<String> {
        let mut partitions: Vec<_> = self.table().partitions.values().cloned().collect();
        partitions.sort_by(|a, b| a.bounds.cmp(&b.bounds));
        partitions.into_iter().map(|p| p.name.clone()).collect()
    }
}

fn at(text: &str) -> i64 {
    let (date, hour) = text.split_once(' ').unwrap_or((text, "0"));
    let date: NaiveDate = date.parse().unwrap();
    (date.and_hms_opt(hour.parse().unwrap(), 0, 0).unwrap()).and_utc().timestamp_micros()
}

fn dynamic_table(column: &str, properties: &str) -> String {
    format!(
        "create table t (d date, t datetime) partition by range({column}) () distributed by random buckets 2 \
         properties({properties}, 'dynamic_partition.end' = '2')"
    )
}

#[test]
fn partitions_are_made_ahead_and_dropped_behind() {
    let rule = "'dynamic_partition.time_unit' = 'DAY', 'dynamic_partition.start' = '-1', 'dynamic_partition.prefix' = 'q', \
                'dynamic_partition.buckets' = '5', 'dynamic_partition.history_partition_num' = '9'";
    let mut world = World::new(&dynamic_table("d", rule));
    world.follow(at("2024-02-28"));
    assert_eq!(world.names(), ["q20240227", "q20240228", "q20240229", "q20240301"]);
    assert!(world.table().partitions.values().all(|p| p.tablets.len() == 5));
    world.follow(at("2024-03-02 23"));
    assert_eq!(world.names(), ["q20240301", "q20240302", "q20240303", "q20240304"]);
}

#[test]
fn units_have_the_names_of_starrocks() {
    let cases = [
        ("t", "HOUR", "", ["p2024123123", "p2025010100", "p2025010101"]),
        ("t", "DAY", "", ["p20241231", "p20250101", "p20250102"]),
        ("t", "WEEK", "", ["p2024_53", "p2025_02", "p2025_03"]),
        ("d", "WEEK", ", 'dynamic_partition.start_day_of_week' = '7'", ["p2024_53", "p2025_02", "p2025_03"]),
        ("d", "MONTH", "", ["p202412", "p202501", "p202502"]),
        ("d", "MONTH", ", 'dynamic_partition.start_day_of_month' = '28'", ["p202412", "p202501", "p202502"]),
        ("d", "YEAR", "", ["p2024", "p2025", "p2026"]),
        ("t", "DAY", ", 'dynamic_partition.time_zone' = 'Asia/Shanghai'", ["p20250101", "p20250102", "p20250103"]),
    ];
    for (column, unit, more, expected) in cases {
        let mut world = World::new(&dynamic_table(column, &format!("'dynamic_partition.time_unit' = '{unit}'{more}")));
        world.follow(at("2024-12-31 23"));
        assert_eq!(world.names(), expected, "{unit}{more}");
    }
}

#[test]
fn partitions_that_are_there_are_worked_around() {
    let mut world = World::new(
        "create table t (d date) partition by range(d) (
           partition p20240103 values [('2024-01-01'), ('2024-01-02')), partition rest values [('2024-01-04'), ('2030-01-01')))
         properties('dynamic_partition.time_unit' = 'DAY', 'dynamic_partition.end' = '4')",
    );
    world.follow(at("2024-01-01"));
    assert_eq!(world.names(), ["p20240103", "p20240102", "p20240103_1", "rest"]);
}

#[test]
fn the_latest_that_have_begun_live_and_so_do_those_to_come() {
    let days = "create table t (d date) partition by range(d) (
           partition low values less than ('2024-01-01'), start ('2024-01-01') end ('2024-01-08') every (interval 1 day))
         properties('partition_live_number' = '2')";
    let mut world = World::new(days);
    world.follow(at("2024-01-04 23"));
    assert_eq!(world.names(), ["low", "p20240103", "p20240104", "p20240105", "p20240106", "p20240107"]);
    world.follow(at("2024-02-01"));
    assert_eq!(world.names(), ["low", "p20240106", "p20240107"]);
}

proptest! {
    #[test]
    fn now_and_what_is_ahead_always_have_a_partition_and_no_row_goes_too_early(
        moments in prop::collection::vec(0i64..40_000 * 24, 1..6),
        unit in prop::sample::select(vec!["HOUR", "DAY", "WEEK", "MONTH", "YEAR"]),
        (start, history, end) in (1i64..6, 0i64..6, 1i64..5),
        (week, month) in (1i64..8, 1i64..29),
    ) {
        let sql = format!(
            "create table t (t datetime) partition by range(t) () distributed by random buckets 1 properties(
               'dynamic_partition.time_unit' = '{unit}', 'dynamic_partition.start' = '-{start}',
               'dynamic_partition.end' = '{end}', 'dynamic_partition.history_partition_num' = '{history}',
               'dynamic_partition.start_day_of_week' = '{week}', 'dynamic_partition.start_day_of_month' = '{month}')"
        );
        let mut world = World::new(&sql);
        let mut moments = moments;
        moments.sort_unstable();
        for hour in moments {
            let now = DateTime::from_timestamp(hour * 3600, 0).unwrap().naive_utc();
            world.follow(now.and_utc().timestamp_micros());
            let table = world.table();
            let has = |time: chrono::NaiveDateTime| {
                let key = [Value::DateTime(time.and_utc().timestamp_micros())];
                table.partitions.values().any(|p| p.bounds.contains(&key))
            };
            prop_assert!(has(now));
            // So many whole units ahead, the calendar's shortest taken.
            let ahead = match unit {
                "HOUR" => TimeDelta::hours(end),
                "DAY" => TimeDelta::days(end),
                "WEEK" => TimeDelta::weeks(end),
                "MONTH" => TimeDelta::days(28 * end),
                _ => TimeDelta::days(365 * end),
            };
            prop_assert!(has(now + ahead), "{now} has nothing at {}", now + ahead);
            // Nothing that may hold rows of the last `start` units is gone, and nothing that ended before is there.
            let longest = match unit {
                "HOUR" => TimeDelta::hours(start + 1),
                "DAY" => TimeDelta::days(start + 1),
                "WEEK" => TimeDelta::weeks(start + 1),
                "MONTH" => TimeDelta::days(31 * (start + 1)),
                _ => TimeDelta::days(366 * (start + 1)),
            };
            let limit = Value::DateTime((now - longest).and_utc().timestamp_micros());
            for partition in table.partitions.values() {
                let Bounds::Range { lower: Some(lower), upper: Some(upper) } = &partition.bounds else { panic!() };
                prop_assert!(upper[0] > limit, "{} is too old at {now}", partition.name);
                let Value::DateTime(begin) = lower[0] else { panic!() };
                let begin = DateTime::from_timestamp_micros(begin).unwrap().naive_utc();
                match unit {
                    "WEEK" => prop_assert_eq!(i64::from(begin.weekday().number_from_monday()), week),
                    "MONTH" => prop_assert_eq!(i64::from(begin.day()), month),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn of_those_that_have_begun_exactly_the_latest_live(
        days in prop::collection::btree_set(0i64..60, 1..20),
        count in 1usize..8,
        now in 0i64..70,
    ) {
        let first = at("2024-01-01") / DAY_MICROS;
        let text = |day: i64| DateTime::from_timestamp((first + day) * 86_400, 0).unwrap().format("%Y-%m-%d").to_string();
        let partitions: Vec<String> = days
            .iter()
            .map(|day| format!("partition p{day} values [('{}'), ('{}'))", text(*day), text(day + 1)))
            .collect();
        let mut world = World::new(&format!(
            "create table t (d date) partition by range(d) ({}) properties('partition_live_number' = '{count}')",
            partitions.join(", ")
        ));
        world.follow((first + now) * DAY_MICROS + 5);
        let (begun, ahead): (Vec<i64>, Vec<i64>) = days.iter().copied().partition(|day| *day <= now);
        let expected: Vec<String> = begun[begun.len().saturating_sub(count)..]
            .iter()
            .chain(&ahead)
            .map(|day| format!("p{day}"))
            .collect();
        prop_assert_eq!(world.names(), expected);
    }
}
