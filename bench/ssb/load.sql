-- Loads what tarn-ssb-gen wrote to {data}: replace that by the folder's absolute path.

INSERT INTO dates (
    d_datekey, d_date, d_dayofweek, d_month, d_year, d_yearmonthnum, d_yearmonth, d_daynuminweek,
    d_daynuminmonth, d_daynuminyear, d_monthnuminyear, d_weeknuminyear, d_sellingseason, d_lastdayinweekfl,
    d_lastdayinmonthfl, d_holidayfl, d_weekdayfl
)
SELECT
    d_datekey, d_date, d_dayofweek, d_month, d_year, d_yearmonthnum, d_yearmonth, d_daynuminweek,
    d_daynuminmonth, d_daynuminyear, d_monthnuminyear, d_weeknuminyear, d_sellingseason, d_lastdayinweekfl,
    d_lastdayinmonthfl, d_holidayfl, d_weekdayfl
FROM FILES("path" = "file://{data}/dates/*.parquet", "format" = "parquet");

INSERT INTO customer (
    c_custkey, c_name, c_address, c_city, c_nation, c_region, c_phone, c_mktsegment
)
SELECT
    c_custkey, c_name, c_address, c_city, c_nation, c_region, c_phone, c_mktsegment
FROM FILES("path" = "file://{data}/customer/*.parquet", "format" = "parquet");

INSERT INTO supplier (
    s_suppkey, s_name, s_address, s_city, s_nation, s_region, s_phone
)
SELECT
    s_suppkey, s_name, s_address, s_city, s_nation, s_region, s_phone
FROM FILES("path" = "file://{data}/supplier/*.parquet", "format" = "parquet");

INSERT INTO part (
    p_partkey, p_name, p_mfgr, p_category, p_brand1, p_color, p_type, p_size, p_container
)
SELECT
    p_partkey, p_name, p_mfgr, p_category, p_brand1, p_color, p_type, p_size, p_container
FROM FILES("path" = "file://{data}/part/*.parquet", "format" = "parquet");

INSERT INTO lineorder (
    lo_orderdate, lo_orderkey, lo_linenumber, lo_custkey, lo_partkey, lo_suppkey, lo_orderpriority,
    lo_shippriority, lo_quantity, lo_extendedprice, lo_ordtotalprice, lo_discount, lo_revenue, lo_supplycost,
    lo_tax, lo_commitdate, lo_shipmode
)
SELECT
    lo_orderdate, lo_orderkey, lo_linenumber, lo_custkey, lo_partkey, lo_suppkey, lo_orderpriority,
    lo_shippriority, lo_quantity, lo_extendedprice, lo_ordtotalprice, lo_discount, lo_revenue, lo_supplycost,
    lo_tax, lo_commitdate, lo_shipmode
FROM FILES("path" = "file://{data}/lineorder/*.parquet", "format" = "parquet");
