-- Loads what `tpchgen-cli parquet --output-dir={data}` wrote: replace {data} by the folder's absolute path.

INSERT INTO region (
    r_regionkey, r_name, r_comment
)
SELECT
    r_regionkey, r_name, r_comment
FROM FILES("path" = "file://{data}/region.parquet", "format" = "parquet");

INSERT INTO nation (
    n_nationkey, n_name, n_regionkey, n_comment
)
SELECT
    n_nationkey, n_name, n_regionkey, n_comment
FROM FILES("path" = "file://{data}/nation.parquet", "format" = "parquet");

INSERT INTO supplier (
    s_suppkey, s_name, s_address, s_nationkey, s_phone, s_acctbal, s_comment
)
SELECT
    s_suppkey, s_name, s_address, s_nationkey, s_phone, s_acctbal, s_comment
FROM FILES("path" = "file://{data}/supplier.parquet", "format" = "parquet");

INSERT INTO customer (
    c_custkey, c_name, c_address, c_nationkey, c_phone, c_acctbal, c_mktsegment, c_comment
)
SELECT
    c_custkey, c_name, c_address, c_nationkey, c_phone, c_acctbal, c_mktsegment, c_comment
FROM FILES("path" = "file://{data}/customer.parquet", "format" = "parquet");

INSERT INTO part (
    p_partkey, p_name, p_mfgr, p_brand, p_type, p_size, p_container, p_retailprice, p_comment
)
SELECT
    p_partkey, p_name, p_mfgr, p_brand, p_type, p_size, p_container, p_retailprice, p_comment
FROM FILES("path" = "file://{data}/part.parquet", "format" = "parquet");

INSERT INTO partsupp (
    ps_partkey, ps_suppkey, ps_availqty, ps_supplycost, ps_comment
)
SELECT
    ps_partkey, ps_suppkey, ps_availqty, ps_supplycost, ps_comment
FROM FILES("path" = "file://{data}/partsupp.parquet", "format" = "parquet");

INSERT INTO orders (
    o_orderdate, o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderpriority, o_clerk, o_shippriority,
    o_comment
)
SELECT
    o_orderdate, o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderpriority, o_clerk, o_shippriority,
    o_comment
FROM FILES("path" = "file://{data}/orders.parquet", "format" = "parquet");

INSERT INTO lineitem (
    l_shipdate, l_orderkey, l_linenumber, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount,
    l_tax, l_returnflag, l_linestatus, l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode, l_comment
)
SELECT
    l_shipdate, l_orderkey, l_linenumber, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount,
    l_tax, l_returnflag, l_linestatus, l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode, l_comment
FROM FILES("path" = "file://{data}/lineitem.parquet", "format" = "parquet");
