"""Clients that change different columns of the same rows at the same time, and deletes by condition."""

import threading

import pyarrow as pa
import pytest

ROWS = 2000
ROUNDS = 12

WIDE = """
create table wide (
    id bigint not null, clicks bigint, cost bigint, city varchar(10) default 'nowhere', note varchar(20)
) primary key (id) distributed by hash (id) buckets 3
"""


def together(*tasks):
    """Runs tasks at the same time; the first failure of one is that of all."""
    failures = []

    def guarded(task):
        try:
            task()
        except Exception as error:  # noqa: BLE001: told below
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def repeated(cluster, database, statements):
    def run():
        with cluster.connect(database=database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    return run


def test_two_streams_fill_different_columns_of_the_same_rows(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(WIDE)
        source = f"from range(0, {ROWS})"
        clicks = [f"insert into wide (id, clicks) select value, value + {i} {source}" for i in range(ROUNDS)]
        cost = [f"insert into wide (id, cost) select value, value * {i} {source}" for i in range(ROUNDS)]
        together(repeated(cluster, database, clicks), repeated(cluster, database, cost))
        cursor.execute("select count(*), sum(clicks - id), sum(cost), min(city), max(city), count(note) from wide")
        last = ROUNDS - 1
        total = last * ROWS * (ROWS - 1) // 2
        assert cursor.fetchall() == [(ROWS, last * ROWS, total, "nowhere", "nowhere", 0)]


def test_updates_of_different_columns_lose_nothing(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(WIDE)
        cursor.execute(f"insert into wide select value, 0, 0, 'c', 'n' from range(0, {ROWS})")
        # Each statement reads what it changes itself, and nobody else changes that.
        clicks = ["update wide set clicks = clicks + 1 where id % 2 = 0"] * ROUNDS
        cost = ["update wide set cost = cost + 10 where true"] * ROUNDS
        notes = [f"insert into wide (id, note) values ({i}, 'noted')" for i in range(ROUNDS)]
        together(*(repeated(cluster, database, statements) for statements in (clicks, cost, notes)))
        cursor.execute("select sum(clicks), sum(cost), count(*), count(case when note = 'noted' then 1 end) from wide")
        assert cursor.fetchall() == [(ROUNDS * ROWS // 2, 10 * ROUNDS * ROWS, ROWS, ROUNDS)]


def test_rows_that_are_deleted_while_they_are_updated_do_not_come_back(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute(WIDE)
        cursor.execute(f"insert into wide select value, 0, 0, 'c', 'n' from range(0, {ROWS})")
        updates = ["update wide set clicks = clicks + 1 where true"] * ROUNDS
        step = ROWS // ROUNDS
        deletes = [f"delete from wide where id >= {i * step} and id < {(i + 1) * step}" for i in range(ROUNDS)]
        together(repeated(cluster, database, updates), repeated(cluster, database, deletes))
        cursor.execute("select count(*), min(id) from wide")
        assert cursor.fetchall() == [(ROWS - ROUNDS * step, ROUNDS * step)]


def test_only_newer_rows_count_under_a_merge_condition(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("create table state (id int, at int, v varchar(10)) primary key (id)")
        values = [f"insert into state select value, {i}, concat('v', {i}) from range(0, 500)" for i in range(ROUNDS)]
        condition = ["set merge_condition = 'at'"]
        # In whatever order they commit, the greatest stays.
        together(
            repeated(cluster, database, condition + values[::2]),
            repeated(cluster, database, condition + values[1::2][::-1]),
        )
        cursor.execute("select count(*), min(at), max(v), min(v) from state")
        newest = ROUNDS - 1
        assert cursor.fetchall() == [(500, newest, f"v{newest}", f"v{newest}")]


def test_deletes_by_condition_take_what_was_there_before_them(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("create table log (k int, v varchar(10)) duplicate key (k) distributed by hash (k) buckets 3")
        rows = pa.table({"k": pa.array([i % 100 for i in range(10_000)], pa.int32()), "v": ["x"] * 10_000})
        cursor.adbc_ingest("log", rows, mode="append", db_schema_name=database)
        cursor.execute("delete from log where k < ? and v = ?", (30, "x"))
        cursor.adbc_ingest("log", rows.slice(0, 100), mode="append", db_schema_name=database)
        cursor.execute("select count(*), count(case when k < 30 then 1 end) from log")
        assert cursor.fetchall() == [(7100, 30)]
        cursor.execute("select count(*) from log")
        assert cursor.fetchall() == [(7100,)]
        with pytest.raises(Exception, match="combined by AND alone"):
            cursor.execute("delete from log where k = 1 or k = 2")
