"""Table models through ADBC's Python driver: upserts, deletes and updates, and how many rows they tell."""

import pyarrow as pa
import pytest

PRIMARY = """
create table p (id bigint not null, name varchar(20) not null, score double)
primary key (id) distributed by hash (id) buckets 2
"""


def changed(cursor, sql):
    """The number of rows that a statement tells to have changed."""
    cursor.adbc_statement.set_sql_query(sql)
    return cursor.adbc_statement.execute_update()


def read(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchall()


def test_updates_and_deletes_tell_how_many_rows_they_changed(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(PRIMARY)
        assert changed(cursor, "insert into p values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', null)") == 4
        assert changed(cursor, "update p set score = score * 10 where id < 3") == 2
        assert changed(cursor, "update p set score = 0 where id = 99") == 0
        assert changed(cursor, "delete from p where score is null") == 1
        assert changed(cursor, "delete from p using (select 3 as id union all select 3) x where p.id = x.id") == 1
        assert read(cursor, "select * from p order by id") == [(1, "a", 10.0), (2, "b", 20.0)]


def test_parameters_of_updates_and_deletes_are_bound(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(PRIMARY)
        cursor.execute("insert into p values (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
        # In the order of the text, which is not that of the table's columns.
        cursor.execute("update p set score = ?, name = ? where id = ?", (7.5, "x", 2))
        cursor.execute("delete from p where id > ?", (2,))
        assert read(cursor, "select * from p order by id") == [(1, "a", 1.0), (2, "x", 7.5)]


def test_an_ingested_batch_upserts_and_deletes_keys(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(PRIMARY)
        rows = pa.table({"id": pa.array(range(100), pa.int64()), "name": ["n"] * 100, "score": [0.5] * 100})
        cursor.adbc_ingest("p", rows, mode="append", db_schema_name=database)
        changes = pa.table(
            {
                "__op": pa.array([0, 1, 1, 0], pa.int8()),
                "id": pa.array([7, 8, 1000, 200], pa.int64()),
                "name": ["changed", "", "", "new"],
                "score": pa.array([None, None, None, 2.0], pa.float64()),
            }
        )
        cursor.adbc_ingest("p", changes, mode="append", db_schema_name=database)
        assert read(cursor, "select count(*) from p") == [(100,)]
        found = read(cursor, "select * from p where name <> 'n' or id = 8 order by id")
        assert found == [(7, "changed", None), (200, "new", 2.0)]

        wrong = changes.set_column(0, "__op", pa.array([0, 2, 0, 0], pa.int8()))
        with pytest.raises(Exception, match="`__op`: value `2` is no operation: 0 upserts the row, 1 deletes it"):
            cursor.adbc_ingest("p", wrong, mode="append", db_schema_name=database)
        cursor.execute("create table u (id bigint, name varchar(20), score double) unique key (id)")
        with pytest.raises(Exception, match="table `u` has no column `__op`"):
            cursor.adbc_ingest("u", changes, mode="append", db_schema_name=database)


def test_ingested_batches_are_merged_by_the_model(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("create table a (k int, total bigint sum, top int max) aggregate key (k)")
        cursor.execute("create table u (k int, total bigint, top int) unique key (k)")
        for turn in range(3):
            rows = pa.table(
                {
                    "k": pa.array([i % 10 for i in range(1000)], pa.int32()),
                    "total": pa.array([1] * 1000, pa.int64()),
                    "top": pa.array([i * (2 - turn) for i in range(1000)], pa.int32()),
                }
            )
            for table in ["a", "u"]:
                cursor.adbc_ingest(table, rows, mode="append", db_schema_name=database)
        assert read(cursor, "select * from a order by k") == [(k, 300, 2 * (990 + k)) for k in range(10)]
        assert read(cursor, "select * from u order by k") == [(k, 1, 0) for k in range(10)]


def test_a_failed_update_changes_nothing(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(PRIMARY)
        cursor.execute("insert into p values (1, 'a', 1), (2, 'b', 2)")
        with pytest.raises(Exception, match="NOT NULL"):
            cursor.execute("update p set score = 0, name = case when id = 2 then null else 'x' end where true")
        with pytest.raises(Exception, match="primary key.*line 1, column 14"):
            cursor.execute("update p set id = 5 where id = 1")
        assert read(cursor, "select * from p order by id") == [(1, "a", 1.0), (2, "b", 2.0)]
