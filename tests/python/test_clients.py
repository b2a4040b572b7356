"""What ADBC's Python driver does works unchanged."""

import datetime
import decimal

import pyarrow as pa
import pytest

from cluster import wait_for

ALL_TYPES = """
create table everything (
    id bigint not null, b boolean, i8 tinyint, i16 smallint, i32 int, big largeint, f float, d double,
    dec decimal(20, 4), c char(4), v varchar(20), s string, bin varbinary, day date, at datetime, j json
) duplicate key (id) distributed by hash (id) buckets 2
"""


def test_a_select_without_a_table(cluster):
    assert cluster.rows("select 1 as one, 'a' as a, null as nothing") == [(1, "a", None)]


def test_types_arrive_as_arrow_types(cluster, database):
    cluster.run(
        ALL_TYPES,
        """insert into everything values (1, true, -8, -16, -32, 12345678901234567890123456789, 1.5, 2.25,
           1234.5678, 'ab', 'vc', 'text', x'00ff', '2024-02-29', '2024-02-29 12:34:56.789012', '{"a": 1}')""",
        "insert into everything (id) values (2)",
        database=database,
    )
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("select * from everything order by id")
        table = cursor.fetch_arrow_table()
    assert table.num_rows == 2
    first, second = table.to_pylist()
    assert first["b"] is True and first["i8"] == -8 and first["i16"] == -16 and first["i32"] == -32
    assert int(first["big"]) == 12345678901234567890123456789
    assert first["f"] == 1.5 and first["d"] == 2.25 and first["dec"] == decimal.Decimal("1234.5678")
    assert first["v"] == "vc" and first["s"] == "text" and first["bin"] == b"\x00\xff"
    assert first["day"] == datetime.date(2024, 2, 29)
    assert first["at"] == datetime.datetime(2024, 2, 29, 12, 34, 56, 789012)
    assert all(value is None for name, value in second.items() if name != "id")


def test_parameters_are_bound(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("create table p (a int, b varchar(10)) duplicate key (a) distributed by hash (a) buckets 1")
        cursor.execute("insert into p values (1, 'x'), (2, 'y'), (3, 'z')")
        cursor.execute("select b from p where a >= ? and b <> ? order by a", (2, "z"))
        assert cursor.fetchall() == [("y",)]


def test_a_prepared_statement_tells_its_columns(cluster):
    with cluster.connect() as connection, connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema("select 1 as a, 'x' as b")
        assert schema.names == ["a", "b"]


def test_an_update_tells_how_many_rows_it_changed(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("create table n (a int) duplicate key (a) distributed by hash (a) buckets 1")
        cursor.adbc_statement.set_sql_query("insert into n values (1), (2), (3)")
        assert cursor.adbc_statement.execute_update() == 3


def test_objects_are_listed_down_to_columns(cluster, database):
    cluster.run(
        "create table o (k bigint not null, v varchar(10)) duplicate key (k) distributed by hash (k) buckets 1",
        "create view w as select k from o",
        database=database,
    )
    with cluster.connect() as connection:
        objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        assert "TABLE" in " ".join(connection.adbc_get_table_types()).upper()
        schema = connection.adbc_get_table_schema("o", db_schema_filter=database)
    schemas = {s["db_schema_name"]: s for c in objects for s in c["catalog_db_schemas"] or []}
    assert database in schemas
    tables = {t["table_name"]: t for t in schemas[database]["db_schema_tables"]}
    assert set(tables) == {"o", "w"}
    assert tables["w"]["table_type"].upper() == "VIEW"
    assert [c["column_name"] for c in tables["o"]["table_columns"]] == ["k", "v"]
    assert schema.names == ["k", "v"]


def test_the_driver_learns_whom_it_talks_to(cluster):
    with cluster.connect() as connection:
        info = connection.adbc_get_info()
    assert info["vendor_name"] == "Tarn"
    assert info["vendor_version"]


def test_bulk_ingest_creates_appends_and_replaces(cluster, database):
    def count():
        return cluster.scalar("select count(*) from bulk", database=database)

    data = pa.table({"id": pa.array(range(1000), pa.int64()), "name": [f"n{i}" for i in range(1000)]})
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("bulk", data, mode="create", db_schema_name=database)
        assert count() == 1000
        with pytest.raises(Exception, match="(?i)exist"):
            cursor.adbc_ingest("bulk", data, mode="create", db_schema_name=database)
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("bulk", data.to_reader(), mode="append", db_schema_name=database)
        assert count() == 2000
        cursor.adbc_ingest("bulk", data.slice(0, 10), mode="replace", db_schema_name=database)
        assert count() == 10
        cursor.adbc_ingest("bulk", data.slice(0, 5), mode="create_append", db_schema_name=database)
        assert count() == 15
        with pytest.raises(Exception, match="(?i)absent"):
            cursor.adbc_ingest("absent", data, mode="append", db_schema_name=database)


def test_a_wrong_password_is_refused(cluster):
    with pytest.raises(Exception, match="(?i)denied|unauth|password"):
        with cluster.connect(password="wrong") as connection, connection.cursor() as cursor:
            cursor.execute("select 1")


def test_an_error_says_where(cluster):
    with pytest.raises(Exception, match=r"(?i)line 1, column 8"):
        cluster.rows("select absent_column from (select 1 as a) t")


def test_a_session_keeps_its_database_and_others_do_not(cluster, database):
    cluster.run("create table mine (a int) duplicate key (a) distributed by hash (a) buckets 1", database=database)
    with cluster.connect() as one, cluster.connect() as two, one.cursor() as a, two.cursor() as b:
        a.execute(f"use {database}")
        a.execute("select count(*) from mine")
        assert a.fetchone() == (0,)
        with pytest.raises(Exception):
            b.execute("select count(*) from mine")
            b.fetchone()


def test_a_reader_that_leaves_ends_its_query(cluster):
    with cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("select a.value, b.value from range(0, 100000) a, range(0, 100000) b")
        cursor.fetchone()

    def gone():
        return not any("100000" in str(row) for row in cluster.rows("show processlist") if "range(" in str(row))

    wait_for("the query to end", gone, 20)
