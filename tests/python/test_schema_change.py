"""Columns change while loads and queries go on, and after nodes die: no value is ever in a wrong column."""

import threading

import pytest

from cluster import SPREAD, wait_for

pytestmark = pytest.mark.faults

# A row's values follow from its id, whatever columns the table has at the time.
TABLE = (
    "create table {} (id bigint not null, a int, b varchar(20)) duplicate key (id) "
    "distributed by hash (id) buckets 4"
)
# What a row that is older than the column reads, and what one that was loaded with it has.
ADDED = {"x": 7, "y": 11}


def row(number, columns):
    values = {"id": number, "a": number * 2, "b": f"'b{number}'", "x": number * 3, "y": number * 5}
    return ", ".join(str(values[column]) for column in columns)


def wrong(number, column, value):
    """Whether no schema gives the row this value in the column."""
    own = {"a": number * 2, "b": f"b{number}", "x": number * 3, "y": number * 5}[column]
    return value not in (own, ADDED.get(column, own))


def check(cluster, node=None):
    """Every row has its own values, under the names that the columns have now."""
    rows = cluster.table("select * from d.t", node=node)
    for found in rows:
        for column, value in found.items():
            assert column == "id" or not wrong(found["id"], column, value), (column, found)
    numbers = [found["id"] for found in rows]
    assert len(numbers) == len(set(numbers)), "a row is there twice"
    return set(numbers)


class Loader:
    """Loads rows by the names of the columns that it has just asked for. A statement may name one that is gone by then."""

    def __init__(self, cluster, first):
        self.cluster, self.next, self.done, self.stop = cluster, first, set(), threading.Event()
        self.failures = []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.stop.is_set():
            numbers = range(self.next, self.next + 20)
            self.next += 20
            try:
                node = next(n for n in self.cluster.of_role("coordinator") if n.running())
                columns = [name for name, *_ in self.cluster.rows("desc d.t", node=node)]
                values = ", ".join(f"({row(number, columns)})" for number in numbers)
                names = ", ".join(columns)
                self.cluster.run(f"insert into d.t ({names}) values {values}", node=node)
                self.done.update(numbers)
            except Exception as error:
                # Only what names a column that came or went meanwhile, or a node that is away, may fail.
                self.failures.append(str(error))

    def end(self):
        self.stop.set()
        self.thread.join()


def alterations(turn):
    place, order = ("after id", "id, y, x, b, a") if turn % 2 else ("", "id, b, a, x, y")
    yield "alter table d.t add column x bigint not null default '7'"
    yield f"alter table d.t add column (y int default '11') {place}"
    yield f"alter table d.t order by ({order})"
    yield "alter table d.t drop column x"
    yield "alter table d.t drop column y, modify column b comment 'again'"


def test_loads_and_queries_go_on_while_columns_come_and_go(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format("d.t"))
    loaders = [Loader(cluster, 1_000_000 * i) for i in (1, 2)]
    stop, read, broken = threading.Event(), [0], []

    def query():
        while not stop.is_set():
            try:
                check(cluster)
                read[0] += 1
            except AssertionError as error:
                broken.append(error)
                return
            except Exception as error:
                # A query that was described or planned before the columns changed may be told so.
                told = ["run the query again", "changed since the statement was prepared"]
                if not any(text in str(error) for text in told):
                    broken.append(error)
                    return

    reader = threading.Thread(target=query)
    reader.start()
    try:
        wait_for("some rows", lambda: all(len(loader.done) >= 40 for loader in loaders))
        for turn in range(6):
            for statement in alterations(turn):
                before = [len(loader.done) for loader in loaders]
                cluster.run(statement)
                wait_for(
                    f"loads after `{statement}`",
                    lambda: all(len(loader.done) > count for loader, count in zip(loaders, before, strict=True)),
                )
            cluster.run("alter table d.t modify column a bigint" if turn == 0 else "alter table d.t comment = 'still'")
        wait_for("some queries", lambda: read[0] >= 5 or broken)
    finally:
        for loader in loaders:
            loader.end()
        stop.set()
        reader.join()
    assert not broken, broken[0]
    for loader in loaders:
        unexplained = [failure for failure in loader.failures if "no column `" not in failure]
        assert not unexplained, unexplained[0]
    loaded = set().union(*(loader.done for loader in loaders))
    assert check(cluster) == loaded
    assert cluster.scalar("select count(*) from d.t", settings=SPREAD) == len(loaded)
    jobs = cluster.table("show alter table column from d where TableName = 't' order by JobId desc limit 3")
    assert [job["State"] for job in jobs] == ["FINISHED"] * 3


def test_two_alterations_at_once_are_both_there(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format("d.t"))
    names = [f"c{i}" for i in range(12)]
    errors = []

    def add(name, node):
        try:
            cluster.run(f"alter table d.t add column {name} int default '1'", node=node)
        except Exception as error:
            errors.append(error)

    nodes = cluster.of_role("coordinator")
    threads = [threading.Thread(target=add, args=(name, nodes[i % len(nodes)])) for i, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    columns = [name for name, *_ in cluster.rows("desc d.t")]
    assert sorted(columns) == sorted(["id", "a", "b", *names])


def test_a_killed_storage_node_comes_back_with_old_and_new_columns(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format("d.t"))

    def load(first, columns):
        values = ", ".join(f"({row(number, columns)})" for number in range(first, first + 100))
        cluster.run(f"insert into d.t ({', '.join(columns)}) values {values}")

    load(0, ["id", "a", "b"])
    victims = cluster.of_role("storage")
    # While the nodes are away, tables change all the same.
    for victim in victims:
        victim.kill()
    cluster.run("alter table d.t add column x bigint not null default '7' after id, modify column a bigint")
    for victim in victims:
        victim.start().wait_ready()
    wait_for("the tablets", lambda: cluster.scalar("select count(*) from d.t where x = 7") == 100)
    wait_for("a load", lambda: load(100, ["id", "x", "a", "b"]) or True)
    # The new columns were only in rowsets and in the catalog: both survive.
    for node in [*victims, *cluster.of_role("coordinator")]:
        node.kill()
        node.start().wait_ready()
    wait_for("the cluster", lambda: cluster.scalar("select count(*) from d.t") == 200)
    cluster.run("alter table d.t drop column b, add column y int default '11'")
    load(200, ["id", "x", "a", "y"])
    assert check(cluster) == set(range(300))
    assert cluster.rows("select count(*), sum(x), sum(y) from d.t") == [
        (300, 7 * 100 + 3 * sum(range(100, 300)), 11 * 200 + 5 * sum(range(200, 300)))
    ]
    assert cluster.scalar("select count(*) from d.t where y = 11 and x <> 7") == 100
