//! Tests of the whole generator: files, shapes, and that each query finds rows.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// A fresh folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tarn-ssb-gen-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn arguments(out: &Path, scale: f64, more: &[&str]) -> Arguments {
    let scale = scale.to_string();
    let base = ["tarn-ssb-gen", "--scale", &scale, "--out", out.to_str().unwrap()];
    Arguments::parse_from(base.into_iter().chain(more.iter().copied()))
}

fn read(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches = builder.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect::<Vec<_>>();
    files.sort();
    files
}

#[test]
fn files_do_not_depend_on_the_number_of_threads() {
    let (one, four) = (Folder::new("one"), Folder::new("four"));
    run(&arguments(&one.0, 0.06, &["--files-per-table", "3", "--threads", "1"])).unwrap();
    run(&arguments(&four.0, 0.06, &["--files-per-table", "3", "--threads", "4"])).unwrap();
    for table in Table::ALL {
        assert_eq!(contents(&one.0.join(table.name())), contents(&four.0.join(table.name())), "{}", table.name());
    }
    assert_eq!(contents(&one.0.join("lineorder")).len(), 4, "three files and the manifest");
}

#[test]
fn rows_do_not_depend_on_the_number_of_files() {
    let scale = Scale::new(0.001).unwrap();
    for table in Table::ALL {
        let generator = table.generator(scale, 7);
        let rows = scale.rows(table);
        let whole = generator.batch(0..rows).unwrap();
        assert_eq!(whole.num_rows() as u64, rows);
        let cut = rows / 3;
        let halves = [generator.batch(0..cut).unwrap(), generator.batch(cut..rows).unwrap()];
        assert_eq!(concat_batches(&whole.schema(), &halves).unwrap(), whole, "{}", table.name());
    }
}

#[test]
fn a_second_run_leaves_the_files_alone_and_other_parameters_replace_them() {
    let folder = Folder::new("second");
    let customers = folder.0.join("customer");
    run(&arguments(&folder.0, 0.01, &["--tables", "customer,dates"])).unwrap();
    assert!(!folder.0.join("lineorder").exists());
    let stamp = |name: &str| std::fs::metadata(customers.join(name)).unwrap().modified().unwrap();
    let before = stamp("part-00000.parquet");
    run(&arguments(&folder.0, 0.01, &["--tables", "customer"])).unwrap();
    assert_eq!(stamp("part-00000.parquet"), before);

    std::fs::write(customers.join("part-00007.parquet"), "left by a stopped run").unwrap();
    std::fs::write(customers.join("notes.parquet"), "not ours").unwrap();
    run(&arguments(&folder.0, 0.02, &["--tables", "customer"])).unwrap();
    assert_eq!(read(&customers.join("part-00000.parquet")).num_rows(), 600);
    assert!(!customers.join("part-00007.parquet").exists());
    assert!(customers.join("notes.parquet").exists());

    std::fs::write(customers.join("part-00000.parquet"), "cut").unwrap();
    run(&arguments(&folder.0, 0.02, &["--tables", "customer"])).unwrap();
    assert_eq!(read(&customers.join("part-00000.parquet")).num_rows(), 600);
}

#[test]
fn readers_see_plain_integers_and_strings() {
    let folder = Folder::new("plain");
    run(&arguments(&folder.0, 0.001, &["--compression", "zstd"])).unwrap();
    for table in Table::ALL {
        let batch = read(&folder.0.join(table.name()).join("part-00000.parquet"));
        for field in batch.schema().fields() {
            assert!(matches!(field.data_type().to_string().as_str(), "Int32" | "Utf8"), "{field}");
        }
    }
}

#[test]
fn sizes_follow_the_benchmark() {
    let sizes = |factor: f64| Table::ALL.map(|table| Scale::new(factor).unwrap().rows(table));
    assert_eq!(sizes(1.0), [6_000_000, 30_000, 2_000, 200_000, 2_556]);
    assert_eq!(sizes(10.0), [60_000_000, 300_000, 20_000, 800_000, 2_556]);
    assert_eq!(sizes(0.1), [600_000, 3_000, 200, 20_000, 2_556]);
    assert!(Scale::new(0.0).is_err() && Scale::new(301.0).is_err());
}

#[test]
fn the_calendar_has_the_days_of_1992_to_1998() {
    let dates = Table::Dates.generator(Scale::new(1.0).unwrap(), 0).batch(0..2_556).unwrap();
    let row = |index: usize| {
        let text = |name: &str| dates[name].as_string::<i32>().value(index).to_owned();
        let int = |name: &str| dates[name].as_primitive::<Int32Type>().value(index);
        (int("d_datekey"), text("d_date"), text("d_dayofweek"), text("d_yearmonth"), int("d_weeknuminyear"))
    };
    let expected = |key, date: &str, day: &str, month: &str, week| (key, date.into(), day.into(), month.into(), week);
    assert_eq!(row(0), expected(19920101, "January 1, 1992", "Wednesday", "Jan1992", 1));
    assert_eq!(row(59), expected(19920229, "February 29, 1992", "Saturday", "Feb1992", 9));
    assert_eq!(row(2_555), expected(19981230, "December 30, 1998", "Wednesday", "Dec1998", 52));
}

#[test]
fn lines_are_ordered_and_their_sums_hold() {
    let scale = Scale::new(0.01).unwrap();
    let batch = Table::Lineorder.generator(scale, 3).batch(0..60_000).unwrap();
    let column = |name: &str| batch[name].as_primitive::<Int32Type>().values().to_vec();
    let (orders, numbers) = (column("lo_orderkey"), column("lo_linenumber"));
    let keys: Vec<_> = orders.iter().zip(&numbers).collect();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
    let (price, discount, revenue, tax) =
        (column("lo_extendedprice"), column("lo_discount"), column("lo_revenue"), column("lo_tax"));
    let mut totals = HashMap::<i32, i64>::new();
    for row in 0..orders.len() {
        assert_eq!(i64::from(revenue[row]), i64::from(price[row]) * i64::from(100 - discount[row]) / 100);
        *totals.entry(orders[row]).or_default() += i64::from(revenue[row]) * i64::from(100 + tax[row]) / 100;
    }
    assert!(orders.iter().zip(column("lo_ordtotalprice")).all(|(order, total)| totals[order] == i64::from(total)));
    assert!(column("lo_custkey").iter().all(|key| key % 3 != 0 && (1..=300).contains(key)));
}

/// Q3.4 is the narrowest of the thirteen, and Q3.3 the same without the month: two cities on each side.
#[test]
fn the_narrowest_query_has_rows_at_small_scales() {
    for factor in [0.1, 0.2, 0.25, 0.5, 1.0] {
        let scale = Scale::new(factor).unwrap();
        let keys = |table: Table, key: &str, city: &str| {
            let batch = table.generator(scale, DEFAULT_SEED).batch(0..scale.rows(table)).unwrap();
            let cities = batch[city].as_string::<i32>();
            let wanted = |row: &usize| matches!(cities.value(*row), "UNITED KI1" | "UNITED KI5");
            let keys = batch[key].as_primitive::<Int32Type>();
            (0..batch.num_rows()).filter(wanted).map(|row| keys.value(row)).collect::<HashSet<_>>()
        };
        let customers = keys(Table::Customer, "c_custkey", "c_city");
        let suppliers = keys(Table::Supplier, "s_suppkey", "s_city");
        let lines = Table::Lineorder.generator(scale, DEFAULT_SEED);
        let mut found = 0;
        for start in (0..scale.rows(Table::Lineorder)).step_by(100_000) {
            let batch = lines.batch(start..start + 100_000).unwrap();
            let column = |name: &str| batch[name].as_primitive::<Int32Type>().values().to_vec();
            let (customer, supplier, date) = (column("lo_custkey"), column("lo_suppkey"), column("lo_orderdate"));
            found += (0..customer.len())
                .filter(|&row| date[row] / 100 == 199_712)
                .filter(|&row| customers.contains(&customer[row]) && suppliers.contains(&supplier[row]))
                .count();
        }
        assert!(found > 0, "Q3.4 is empty at scale {factor}");
    }
}
