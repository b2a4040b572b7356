use datafusion::arrow::datatypes::{Field, IntervalMonthDayNano, Schema};
use datafusion::functions::core::expr_fn::{coalesce, nullif, nvl};
use datafusion::functions::string::expr_fn::concat;
use datafusion::logical_expr::{LogicalPlanBuilder, col, in_list, in_subquery, lit, table_scan, try_cast};

use super::*;

fn columns() -> Schema {
    Schema::new(vec![
        Field::new("v", DataType::Float64, true),
        Field::new("n", DataType::Decimal128(10, 2), true),
        Field::new("t", micros(), true),
        Field::new("d", DataType::Date32, true),
        Field::new("s", DataType::Utf8View, true),
        Field::new("i", DataType::Int8, true),
    ])
}

fn try_coerced(expr: Expr) -> Result<Expr> {
    let schema = DFSchema::try_from(columns())?;
    let once = expr.transform_up(|expr| coerce_expr(expr, &schema))?.data;
    let twice = once.clone().transform_up(|expr| coerce_expr(expr, &schema))?.data;
    assert_eq!(once, twice);
    Ok(once)
}

fn coerced(expr: Expr) -> String {
    try_coerced(expr).unwrap().to_string()
}

fn type_of(expr: Expr) -> DataType {
    try_coerced(expr).unwrap().get_type(&DFSchema::try_from(columns()).unwrap()).unwrap()
}

#[test]
fn a_decimal_is_a_double_beside_a_double_only() {
    let price = || lit(ScalarValue::Decimal128(Some(12_345), 5, 2));
    assert_eq!(coerced(col("v").eq(price())), "v = CAST(Decimal128(123.45,5,2) AS Float64)");
    assert_eq!(coerced(col("n").eq(price())), "n = Decimal128(123.45,5,2)");
    assert_eq!(
        coerced(in_list(col("v"), vec![price(), lit(1i64)], false)),
        "v IN ([CAST(Decimal128(123.45,5,2) AS Float64), Int64(1)])"
    );
}

#[test]
fn what_meets_a_datetime_is_one_in_microseconds() {
    let time = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), None)).to_string();
    assert_eq!(coerced(col("t").lt(lit("1970-1-2"))), format!("t < {}", time(86_400_000_000)));
    assert_eq!(coerced(col("t").eq(lit(19_700_101_000_001i64))), format!("t = {}", time(1_000_000)));
    assert_eq!(coerced(col("t").eq(col("s"))), "t = text_to_datetime(s)");
    let date = coerced(lit(ScalarValue::Date32(Some(1))).gt(col("t")));
    assert!(date.starts_with("CAST("), "{date}");
    assert_eq!(coerced(col("t").eq(col("t"))), "t = t");
    assert_eq!(type_of(coalesce(vec![col("t"), col("d")])), micros());
    assert_eq!(type_of(nullif(col("t"), col("d"))), micros());
    assert_eq!(type_of(nvl(col("t"), col("d"))), micros());
    assert_eq!(coerced(coalesce(vec![col("t"), lit("none")])), "coalesce(datetime_to_text(t), Utf8(\"none\"))");
}

#[test]
fn a_date_meets_texts_and_digits_as_a_day() {
    let day = |days| lit(ScalarValue::Date32(Some(days))).to_string();
    assert_eq!(coerced(col("d").eq(lit("1970-1-2"))), format!("d = {}", day(1)));
    assert_eq!(coerced(col("d").eq(lit("1970-01-02 00:00"))), format!("d = {}", day(1)));
    assert_eq!(coerced(col("d").eq(lit(19_700_102i64))), format!("d = {}", day(1)));
    assert!(coerced(col("d").lt(lit("1970-01-02 10:00"))).starts_with("CAST(d AS Timestamp"));
    for wrong in [lit("soon"), lit("2024-02-30"), lit(5i64)] {
        for time in ["d", "t"] {
            let error = try_coerced(col(time).eq(wrong.clone())).unwrap_err().to_string();
            assert!(error.contains("is not a date or time"), "{error}");
        }
    }
}

#[test]
fn an_interval_with_a_time_of_day_makes_a_date_a_datetime() {
    let interval =
        |days, nanos| lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, nanos))));
    assert_eq!(type_of(col("d") + interval(1, 0)), DataType::Date32);
    assert_eq!(type_of(col("d") + interval(0, 3_600_000_000_000)), micros());
    assert_eq!(type_of(interval(0, 1000) + col("d")), micros());
    assert_eq!(type_of(col("d") - interval(0, 1000)), micros());
}

#[test]
fn times_are_written_and_read_by_functions_of_tarn() {
    assert_eq!(coerced(try_cast(col("t"), DataType::Utf8View)), "datetime_to_text(t)");
    assert_eq!(coerced(concat(vec![col("t"), lit("x")])), "concat(datetime_to_text(t), Utf8(\"x\"))");
    assert_eq!(coerced(col("t").like(lit("2024%"))), "datetime_to_text(t) LIKE Utf8(\"2024%\")");
    assert_eq!(coerced(try_cast(col("s"), DataType::Date32)), "text_to_date(s)");
    assert_eq!(coerced(try_cast(col("s"), micros())), "text_to_datetime(s)");
    assert_eq!(type_of(cast(lit("9999-12-31 00:00:00"), micros())), micros());
    assert!(try_coerced(cast(lit("soon"), DataType::Date32)).is_err());
}

#[test]
fn the_negative_of_the_smallest_number_fits() {
    assert_eq!(coerced(Expr::Negative(Box::new(col("i")))), "(- CAST(i AS Int16))");
}

#[test]
fn a_key_has_the_type_of_the_maps_keys() {
    let entry = DataType::Struct(
        vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Int32, true)].into(),
    );
    let map = DataType::Map(Field::new("entries", entry, false).into(), false);
    let schema = DFSchema::try_from(Schema::new(vec![Field::new("m", map, true)])).unwrap();
    let read = datafusion::functions::core::expr_fn::get_field(col("m"), "k");
    let Expr::ScalarFunction(read) = coerce_expr(read, &schema).unwrap().data else { panic!("no function") };
    assert_eq!(read.args[1], lit(ScalarValue::Utf8View(Some("k".to_owned()))));
}

#[test]
fn inputs_of_unions_and_subqueries_meet_too() {
    let rows = |column| {
        table_scan(Some("x"), &columns(), None).unwrap().project(vec![col(column).alias("c")]).unwrap().build().unwrap()
    };
    let union = |left, right| {
        let plan = LogicalPlanBuilder::from(rows(left)).union(rows(right)).unwrap().build().unwrap();
        coerce(plan).unwrap().schema().field(0).data_type().clone()
    };
    assert_eq!(union("d", "t"), micros());
    assert_eq!(union("n", "v"), DataType::Float64);
    assert_eq!(union("t", "s"), DataType::Utf8View);
    assert_eq!(union("d", "d"), DataType::Date32);
    for (column, among, expected) in
        [("d", "t", micros()), ("t", "d", micros()), ("t", "s", micros()), ("n", "v", DataType::Float64)]
    {
        let Expr::InSubquery(test) = try_coerced(in_subquery(col(column), rows(among).into())).unwrap() else {
            panic!("no subquery")
        };
        let schema = DFSchema::try_from(columns()).unwrap();
        assert_eq!(test.expr.get_type(&schema).unwrap(), expected);
        assert_eq!(test.subquery.subquery.schema().field(0).data_type(), &expected);
    }
}
