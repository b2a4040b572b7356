-- The Star Schema Benchmark. The fact table has a partition for each year and is sorted by date in it, because every
-- query that limits facts directly or through `dates` does so by year, month or week.

CREATE TABLE IF NOT EXISTS dates (
    d_datekey          int NOT NULL,
    d_date             varchar(20) NOT NULL,
    d_dayofweek        varchar(10) NOT NULL,
    d_month            varchar(11) NOT NULL,
    d_year             int NOT NULL,
    d_yearmonthnum     int NOT NULL,
    d_yearmonth        varchar(9) NOT NULL,
    d_daynuminweek     int NOT NULL,
    d_daynuminmonth    int NOT NULL,
    d_daynuminyear     int NOT NULL,
    d_monthnuminyear   int NOT NULL,
    d_weeknuminyear    int NOT NULL,
    d_sellingseason    varchar(14) NOT NULL,
    d_lastdayinweekfl  int NOT NULL,
    d_lastdayinmonthfl int NOT NULL,
    d_holidayfl        int NOT NULL,
    d_weekdayfl        int NOT NULL
)
DUPLICATE KEY(d_datekey)
DISTRIBUTED BY HASH(d_datekey) BUCKETS 1;

CREATE TABLE IF NOT EXISTS customer (
    c_custkey    int NOT NULL,
    c_name       varchar(26) NOT NULL,
    c_address    varchar(41) NOT NULL,
    c_city       varchar(11) NOT NULL,
    c_nation     varchar(16) NOT NULL,
    c_region     varchar(13) NOT NULL,
    c_phone      varchar(16) NOT NULL,
    c_mktsegment varchar(11) NOT NULL
)
DUPLICATE KEY(c_custkey)
DISTRIBUTED BY HASH(c_custkey) BUCKETS 1;

CREATE TABLE IF NOT EXISTS supplier (
    s_suppkey int NOT NULL,
    s_name    varchar(26) NOT NULL,
    s_address varchar(26) NOT NULL,
    s_city    varchar(11) NOT NULL,
    s_nation  varchar(16) NOT NULL,
    s_region  varchar(13) NOT NULL,
    s_phone   varchar(16) NOT NULL
)
DUPLICATE KEY(s_suppkey)
DISTRIBUTED BY HASH(s_suppkey) BUCKETS 1;

CREATE TABLE IF NOT EXISTS part (
    p_partkey   int NOT NULL,
    p_name      varchar(23) NOT NULL,
    p_mfgr      varchar(7) NOT NULL,
    p_category  varchar(8) NOT NULL,
    p_brand1    varchar(10) NOT NULL,
    p_color     varchar(12) NOT NULL,
    p_type      varchar(26) NOT NULL,
    p_size      int NOT NULL,
    p_container varchar(11) NOT NULL
)
DUPLICATE KEY(p_partkey)
DISTRIBUTED BY HASH(p_partkey) BUCKETS 1;

CREATE TABLE IF NOT EXISTS lineorder (
    lo_orderdate     int NOT NULL,
    lo_orderkey      int NOT NULL,
    lo_linenumber    int NOT NULL,
    lo_custkey       int NOT NULL,
    lo_partkey       int NOT NULL,
    lo_suppkey       int NOT NULL,
    lo_orderpriority varchar(16) NOT NULL,
    lo_shippriority  int NOT NULL,
    lo_quantity      int NOT NULL,
    lo_extendedprice int NOT NULL,
    lo_ordtotalprice int NOT NULL,
    lo_discount      int NOT NULL,
    lo_revenue       int NOT NULL,
    lo_supplycost    int NOT NULL,
    lo_tax           int NOT NULL,
    lo_commitdate    int NOT NULL,
    lo_shipmode      varchar(11) NOT NULL
)
DUPLICATE KEY(lo_orderdate, lo_orderkey)
PARTITION BY RANGE(lo_orderdate) (
    PARTITION p1992 VALUES [("19920101"), ("19930101")),
    PARTITION p1993 VALUES [("19930101"), ("19940101")),
    PARTITION p1994 VALUES [("19940101"), ("19950101")),
    PARTITION p1995 VALUES [("19950101"), ("19960101")),
    PARTITION p1996 VALUES [("19960101"), ("19970101")),
    PARTITION p1997 VALUES [("19970101"), ("19980101")),
    PARTITION p1998 VALUES [("19980101"), ("19990101"))
)
DISTRIBUTED BY HASH(lo_orderkey) BUCKETS 2;
