"""Indexes over real processes: built for what is there, through kills, and never changing an answer."""

import re

from cluster import wait_for

ROWS = 400_000
# Of about 1000 values each, one of them mostly NULL.
FILL = f"""
insert into t select value, value * 7919 % 1000, concat('name', cast(value * 104729 % 997 as string)),
    case when value % 5 = 0 then value * 31 % 1009 else null end, value * 2654435761 % 1000003
from range(0, {ROWS})
"""
QUERIES = [
    "select count(*), sum(k) from t where a = 17",
    "select count(*), sum(k) from t where a = 17 and name = 'name5'",
    "select count(*), sum(k) from t where a in (1, 2, 3) and b is null",
    "select count(*), sum(k) from t where a between 10 and 12 and name not in ('name1', 'name2')",
    "select count(*), sum(k) from t where name = 'nowhere'",
    "select count(*), sum(k) from t where id = 500000",
    "select count(*), sum(k) from t where id in (3, 77, 500001)",
    "select count(*), sum(k) from t where b < 20 and a >= 990",
]


def filtered(cluster, sql, settings=None):
    """What each kind of index left out of a query's scans."""
    plan = "\n".join(line for (line,) in cluster.rows(f"explain analyze {sql}", database="db", settings=settings))
    counts = {}
    for name, number, unit in re.findall(r"(\w+FilterRows)=([\d.]+) ?([KMB]?)", plan):
        scale = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9}[unit]
        counts[name] = counts.get(name, 0) + float(number) * scale
    return counts


def states(cluster):
    return [row["State"] for row in cluster.table("show alter table column from db")]


def answers(cluster, ratio):
    return [cluster.rows(sql, database="db", settings={"bitmap_max_filter_ratio": ratio}) for sql in QUERIES]


def settled(cluster):
    """Whether no job is under way."""
    found = states(cluster)
    return bool(found) and all(state in ("FINISHED", "CANCELLED") for state in found)


def test_indexes_are_built_for_what_is_there_and_survive_kills(fresh):
    cluster = fresh("dev")
    cluster.run("create database db")
    table = "create table t (k bigint, a int, name varchar(20), b int, id bigint) duplicate key (k)"
    cluster.run(f"{table} distributed by hash (k) buckets 2", FILL, database="db")
    before = answers(cluster, 1)
    assert before[0][0][0] == ROWS // 1000 and before[4][0][0] == 0
    assert filtered(cluster, QUERIES[0]).get("BitmapIndexFilterRows", 0) == 0
    cluster.run("create index by_a on t (a) using bitmap", database="db")
    cluster.kill_all()
    cluster.start()
    wait_for("the first index", lambda: settled(cluster))
    cluster.run("alter table t add index by_name (name), add index by_b (b)", database="db")
    wait_for("the other indexes", lambda: settled(cluster))
    cluster.run('alter table t set ("bloom_filter_columns" = "id")', database="db")
    wait_for("the bloom filters", lambda: settled(cluster))
    # Manifests that are known already may tell of no index for a minute: a new version has another one.
    cluster.run("insert into t values (-1, -1, null, null, null)", database="db")
    assert answers(cluster, 1) == before == answers(cluster, 1000)
    assert filtered(cluster, QUERIES[0])["BitmapIndexFilterRows"] > ROWS * 0.9
    assert filtered(cluster, QUERIES[5])["BloomFilterFilterRows"] > ROWS * 0.5
    cluster.run("drop index by_a on t", "alter table t drop index by_name, drop index by_b", database="db")
    cluster.run("delete from t where a = 17", database="db")
    assert cluster.scalar("select count(*) from t where a = 17", database="db") == 0

    def files(kind):
        return list(cluster.folder.rglob(f"*.{kind}.index"))

    wait_for("the files to go", lambda: not files("bitmap"))
    assert files("bloom")


def test_indexes_and_delete_vectors_leave_the_same_rows_on_every_replica(fresh):
    cluster = fresh("three")
    cluster.run("create database db")
    table = "create table t (k bigint not null, a int, name varchar(20), b int, id bigint, index i (a), index j (name))"
    properties = 'properties ("bloom_filter_columns" = "id", "replication_num" = "2")'
    cluster.run(f"{table} primary key (k) distributed by hash (k) buckets 3 {properties}", FILL, database="db")
    expected = answers(cluster, 1)
    assert answers(cluster, 1000) == expected
    cluster.run(f"insert into t select k, a, name, b, id from t where k < {ROWS // 2}", database="db")
    assert answers(cluster, 1) == expected == answers(cluster, 1000)
    cluster.run("delete from t where a = 17", database="db")
    after = answers(cluster, 1000)
    assert after[0][0][0] == 0 and after == answers(cluster, 1)
    # The copies were fetched without indexes and get theirs in the background.
    wait_for("indexes on both nodes", lambda: all(
        len(list((cluster.folder / f"storage-{n}").rglob("*.index"))) >= 9 for n in (1, 2)
    ))
