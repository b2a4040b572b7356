//! The functions in SQL.

// Helpers outside `#[test]` functions are tests too, which the lint does not see.
#![allow(clippy::unwrap_used)]

use datafusion::prelude::SessionContext;

async fn value(sql: &str) -> String {
    let mut session = SessionContext::new();
    tarn_functions::register(&mut session).unwrap();
    let batches = session.sql(&format!("select {sql}")).await.unwrap().collect().await.unwrap();
    let options = arrow::util::display::FormatOptions::new().with_null("NULL");
    let column = batches[0].column(0);
    let value = arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &options).unwrap().value(0).to_string();
    if value.is_empty() { "(empty)".to_owned() } else { value }
}

#[tokio::test]
async fn functions_give_what_starrocks_gives() {
    for (sql, expected) in [
        ("year(date '2024-02-29')", "2024"),
        ("quarter('2024-11-05 10:00:00')", "4"),
        ("month(timestamp '2024-02-29 23:59:59')", "2"),
        ("day(date '2024-02-29')", "29"),
        ("dayofmonth(date '2024-02-29')", "29"),
        ("dayofweek(date '2024-03-03')", "1"),
        ("weekday(date '2024-03-04')", "0"),
        ("dayofyear(date '2024-12-31')", "366"),
        ("weekofyear(date '2021-01-03')", "53"),
        ("hour('2024-01-01 13:14:15')", "13"),
        ("minute('2024-01-01 13:14:15')", "14"),
        ("second('2024-01-01 13:14:15')", "15"),
        ("to_days(date '1970-01-01')", "719528"),
        ("datediff('2024-03-01 00:00:01', '2024-02-28 23:59:59')", "2"),
        ("date_add('2010-11-30 23:59:59', interval '2 days')", "2010-12-02T23:59:59"),
        ("date_add(date '2024-01-31', interval '1 month')", "2024-02-29T00:00:00"),
        ("date_sub(date '2024-03-31', interval '1 month')", "2024-02-29T00:00:00"),
        ("days_add(date '2024-02-28', 2)", "2024-03-01T00:00:00"),
        ("time_slice('2000-01-01 12:34:56', interval '5 minutes')", "2000-01-01T12:30:00"),
        ("time_slice(date '2023-12-31', interval '1 month', 'ceil')", "2024-01-01T00:00:00"),
        ("time_slice(date '2024-01-10', interval '1 week')", "2024-01-08T00:00:00"),
        ("date_trunc('month', '9999-12-31 23:59:59.999999')", "9999-12-01T00:00:00"),
        (
            "date_trunc('second', arrow_cast('9999-12-31T23:59:59.999999', 'Timestamp(Microsecond, None)'))",
            "9999-12-31T23:59:59",
        ),
        ("date_trunc('WEEK', date '2024-01-10')", "2024-01-08T00:00:00"),
        ("date_trunc('millisecond', '1969-12-31 23:59:59.999999')", "1969-12-31T23:59:59.999"),
        ("date_trunc('year', cast(null as date))", "NULL"),
        ("year(cast(null as date))", "NULL"),
        ("date_trunc('week', arrow_cast(-62167219200000000, 'Timestamp(Microsecond, None)'))", "NULL"),
        ("date_add(date '9999-12-31', interval '1 day')", "NULL"),
        ("date_add(date '9999-12-31', 9223372036854775807)", "NULL"),
        ("date_sub(date '9999-12-31', -9223372036854775808)", "NULL"),
        ("date_sub(date '0001-01-01', interval '2 years')", "NULL"),
        ("time_slice(date '9999-12-31', interval '1 year', 'ceil')", "NULL"),
        ("time_slice(date '2024-01-01', interval '2000000000 days')", "0001-01-01T00:00:00"),
        ("date_format(date '2024-03-01', '%Y/%c/%D %T')", "2024/3/1st 00:00:00"),
        ("date_format(cast(null as date), '%Y')", "NULL"),
        ("date_format(date '2024-03-01', null)", "NULL"),
        ("datetime_to_text(timestamp '2024-03-01 10:00:00')", "2024-03-01 10:00:00"),
        ("datetime_to_text(timestamp '2024-03-01 10:00:00.5')", "2024-03-01 10:00:00.500000"),
        ("text_to_datetime('2024-3-1 1:2')", "2024-03-01T01:02:00"),
        ("text_to_date('20240301103000')", "2024-03-01"),
        ("text_to_date('soon')", "NULL"),
        ("left('abc', -1)", "(empty)"),
        ("left('abc', 2)", "ab"),
        ("right('abc', -1)", "(empty)"),
        ("right('abc', 0)", "(empty)"),
        ("right('abc', 2)", "bc"),
        ("right('abc', 5)", "abc"),
        ("str_to_date('21,5,2013', '%d,%m,%Y')", "2013-05-21T00:00:00"),
        ("ifnull(null, 5)", "5"),
        ("version()", "8.0.33"),
    ] {
        assert_eq!(value(sql).await, expected, "{sql}");
    }
    assert!(value("current_version()").await.starts_with("Tarn "));
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    let mut session = SessionContext::new();
    tarn_functions::register(&mut session).unwrap();
    for (sql, expected) in [
        ("select year(true)", "`year` needs a date or time"),
        ("select date_trunc('age', date '2024-01-01')", "no unit `age`"),
        ("select date_trunc('day', 5)", "`date_trunc` needs a date or time"),
        ("select time_slice(date '2024-01-01', 5)", "`time_slice` takes"),
        ("select time_slice(date '2024-01-01', interval '0 days')", "greater than zero"),
        ("select time_slice(date '2024-01-01', interval '1 day', 'round')", "'floor' or 'ceil'"),
    ] {
        let error = match session.sql(sql).await {
            Ok(frame) => frame.collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{sql}: {error}");
    }
}
