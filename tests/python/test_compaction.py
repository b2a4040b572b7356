"""ALTER TABLE .. COMPACT: rowsets become one on every replica, SHOW COMPACTIONS tells, and answers stay."""

from cluster import wait_for

MODELS = {
    "d": ("duplicate key (k)", "v int"),
    "a": ("aggregate key (k)", "v int sum"),
    "u": ("unique key (k)", "v int"),
    "p": ("primary key (k)", "v int"),
}


def shown(cursor, what, table):
    cursor.execute(f"show {what} from {table}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def compactions(cursor, table):
    return shown(cursor, "compactions", table)


def has_score(cursor, table, runs):
    """Whether each tablet of a table has so many sorted runs on its worst replica."""
    scores = [(p["AvgCS"], p["P50CS"], p["MaxCS"]) for p in shown(cursor, "partitions", table)]
    return scores == [(f"{runs:.2f}", str(runs), str(runs))]


def settled(cursor, table):
    """The compactions of a table once none waits or runs."""
    found = compactions(cursor, table)
    return found if found and all(c["State"] in ("FINISHED", "FAILED") for c in found) else None


def test_tables_of_all_models_are_compacted_on_demand(cluster, database):
    with cluster.connect(database=database) as connection, connection.cursor() as cursor:
        for name, (keys, value) in MODELS.items():
            cursor.execute(f"create table {name} (k int not null, {value}) {keys} distributed by hash (k) buckets 1")
            for load in range(3):
                cursor.execute(f"insert into {name} values (1, {load}), ({10 + load}, {load})")
            cursor.execute(f"select * from {name} order by k, v")
            before = cursor.fetchall()
            wait_for("the score of three loads", lambda: has_score(cursor, name, 3))
            cursor.execute(f"alter table {name} compact")
            done = wait_for("the compaction", lambda: settled(cursor, name))
            # One of each replica; all of them merged the three loads, whoever began.
            merged = [c for c in done if c["State"] == "FINISHED"]
            assert merged and all(c["Error"] is None for c in done), done
            assert {c["TableName"] for c in done} == {name} and {c["DbName"] for c in done} == {database}
            assert any(c["Type"] == "MANUAL" and c["Rowsets"] == "3" for c in merged), done
            assert all(c["ColumnGroups"] == "0" and c["ReadSize"] and c["PeakMemory"] for c in merged), done
            wait_for("the score of one rowset", lambda: has_score(cursor, name, 1))
            cursor.execute(f"select * from {name} order by k, v")
            assert cursor.fetchall() == before
            # Loads go on where the rows were merged.
            cursor.execute(f"insert into {name} values (1, 100)")
            cursor.execute(f"select sum(v) from {name} where k = 1")
            expected = {"d": 103, "a": 103, "u": 100, "p": 100}[name]
            assert cursor.fetchall() == [(expected,)], name
