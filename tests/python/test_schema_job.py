"""Columns change in the background while loads and queries go on and nodes die: no row is lost, doubled or changed."""

import threading

import pytest

from cluster import SPREAD, wait_for

pytestmark = pytest.mark.faults

TABLE = (
    "create table d.t (k bigint not null, g int not null, s varchar(20), v bigint) duplicate key (k, g) "
    'distributed by hash (k) buckets 4 properties ("replication_num" = "{}")'
)
# Rows of one statement.
ROWS = 25


def row(number):
    return number, number % 7, str(number * 3), number * 5


class Loader:
    """Inserts rows by their columns' names, and knows which were acknowledged and of which nobody can tell."""

    def __init__(self, cluster, first):
        self.cluster, self.next = cluster, first
        self.done, self.open, self.failures = set(), set(), []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.stop.is_set():
            numbers = range(self.next, self.next + ROWS)
            self.next += ROWS
            values = ", ".join("({}, {}, '{}', {})".format(*row(number)) for number in numbers)
            try:
                self.cluster.run(f"insert into d.t (k, g, s, v) values {values}")
                self.done.update(numbers)
            except Exception as error:
                self.failures.append(str(error))
                # It may have been committed, and its answer lost.
                self.open.update(numbers)

    def end(self):
        self.stop.set()
        self.thread.join()


class Reader:
    """Counts rows again and again: as many as keys, and never fewer than were acknowledged before."""

    def __init__(self, cluster, loaders):
        self.cluster, self.loaders = cluster, loaders
        self.reads, self.broken = 0, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.stop.is_set():
            least = sum(len(loader.done) for loader in self.loaders)
            try:
                count, keys, values, sums = self.cluster.rows(
                    "select count(*), count(distinct k), sum(v), sum(k) * 5 from d.t", settings=SPREAD
                )[0]
            except Exception:
                continue  # a node is away, or the query has to be run again
            self.reads += 1
            if count != keys or count < least or values != sums:
                self.broken.append((least, count, keys, values, sums))

    def end(self):
        self.stop.set()
        self.thread.join()


def last_job(cluster):
    jobs = cluster.table("show alter table column from d where TableName = 't' order by JobId desc limit 1")
    return jobs[0] if jobs else {"State": "none", "JobId": 0, "Msg": ""}


def ends(cluster, statement, during=lambda: None, state="FINISHED", seconds=180):
    """Runs an ALTER TABLE to its end, with something in its midst."""
    before = last_job(cluster)["JobId"]
    cluster.run(statement)
    during()
    job = wait_for(
        f"the end of `{statement}`",
        lambda: (found := last_job(cluster))["JobId"] != before
        and found["State"] in ("FINISHED", "CANCELLED")
        and found,
        seconds,
    )
    assert job["State"] == state, job
    return job


def check(cluster, loaders):
    rows = cluster.rows("select k, g, s, v from d.t")
    numbers = [found[0] for found in rows]
    assert len(numbers) == len(set(numbers)), "a row is there twice"
    for k, g, s, v in rows:
        assert (k, g, str(s), v) == row(k)
    done = set().union(*(loader.done for loader in loaders))
    maybe = done.union(*(loader.open for loader in loaders))
    assert done <= set(numbers), f"lost: {sorted(done - set(numbers))[:10]}"
    assert set(numbers) <= maybe, "rows that nobody loaded"


def grown(cluster, doublings):
    """Gives the table so many rows that a change takes a while, and says which."""
    cluster.run("insert into d.t values (0, 0, '0', 0)")
    for i in range(doublings):
        more = 1 << i
        cluster.run(
            f"insert into d.t select k + {more}, (k + {more}) % 7, cast((k + {more}) * 3 as varchar(20)), "
            f"(k + {more}) * 5 from d.t where k < {more}"
        )
    return set(range(1 << doublings))


def restarted(node):
    def kill():
        node.kill()
        node.start().wait_ready()

    return kill


def test_loads_and_queries_go_on_while_rows_are_written_anew(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format(2))
    loaders = [Loader(cluster, 10_000_000 * i) for i in (1, 2, 3)]
    reader = Reader(cluster, loaders)
    try:
        wait_for("some rows", lambda: all(len(loader.done) >= 4 * ROWS for loader in loaders))
        for statement in [
            "alter table d.t order by (v)",
            "alter table d.t add column h int key default '1' after k",
            "alter table d.t modify column s bigint, modify column v largeint",
            "alter table d.t drop column h",
            "alter table d.t modify column s varchar(30), order by (k, g)",
        ]:
            ends(cluster, statement)
            before = [len(loader.done) for loader in loaders]
            wait_for("loads", lambda: all(len(l.done) > count for l, count in zip(loaders, before, strict=True)))
        wait_for("queries", lambda: reader.reads >= 10 or reader.broken)
    finally:
        for loader in loaders:
            loader.end()
        reader.end()
    assert not reader.broken, reader.broken[0]
    failures = [failure for loader in loaders for failure in loader.failures]
    assert not failures, failures[0]
    check(cluster, loaders)


@pytest.mark.parametrize("victim", ["storage", "leader", "all"])
def test_a_change_survives_the_death_of_nodes(fresh, victim):
    cluster = fresh("three", storage=3)
    cluster.run("create database d", TABLE.format(3))
    first = grown(cluster, 17)
    loaders = [Loader(cluster, 10_000_000 * i) for i in (1, 2)]
    loaders[0].done.update(first)
    reader = Reader(cluster, loaders)

    def die():
        if victim == "storage":
            for node in cluster.of_role("storage")[:2]:
                restarted(node)()
        elif victim == "leader":
            for _ in range(2):
                restarted(cluster.leader())()
        else:
            cluster.kill_all()
            cluster.start()

    try:
        wait_for("some rows", lambda: all(len(loader.done - first) >= 8 * ROWS for loader in loaders))
        ends(cluster, "alter table d.t add column h int key default '1' after k", die)

        def die_later():
            wait_for("it runs", lambda: last_job(cluster)["State"] != "PENDING")
            die()

        ends(cluster, "alter table d.t modify column s bigint, order by (v, k)", die_later)
    finally:
        for loader in loaders:
            loader.end()
        reader.end()
    assert not reader.broken, reader.broken[0]
    check(cluster, loaders)
    assert cluster.scalar("select count(*) from d.t where h <> 1") == 0


def test_a_value_that_does_not_fit_or_a_user_ends_a_change_and_leaves_the_table(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format(2), "insert into d.t values (1, 1, '3', 5), (2, 2, 'six', 10)")
    job = ends(cluster, "alter table d.t modify column s int", state="CANCELLED")
    assert "column `s`: value `six` is no value of int" in job["Msg"]
    assert cluster.rows("select s from d.t order by k") == [("3",), ("six",)]
    # A storage node that is away keeps a table of one replica from its end.
    cluster.run('create table d.u (k int) duplicate key (k) distributed by hash (k) buckets 4 '
                'properties ("replication_num" = "1")', "insert into d.u values (1), (2), (3)")
    victims = cluster.of_role("storage")
    for node in victims:
        node.kill()
    cluster.run("alter table d.u add column h int key default '2'")
    with pytest.raises(Exception, match="A schema change operation is in progress on the table"):
        cluster.run("alter table d.u comment = 'second'")
    cluster.run("cancel alter table column from d.u")
    for node in victims:
        node.start().wait_ready()
    states = cluster.table("show alter table column from d where TableName = 'u'")
    assert [(job["State"], job["Msg"]) for job in states] == [("CANCELLED", "user cancelled")]
    wait_for("the rows", lambda: cluster.scalar("select count(*) from d.u") == 3)
    assert [name for name, *_ in cluster.rows("desc d.u")] == ["k"]


def test_a_change_that_takes_too_long_is_given_up_and_leaves_the_table(fresh):
    cluster = fresh("three")
    cluster.run("create database d")
    cluster.run('create table d.t (k int, v int) duplicate key (k) distributed by hash (k) buckets 2 '
                'properties ("replication_num" = "1")', "insert into d.t values (2, 1), (1, 2)")
    # Without its node a table of one replica does not come to its end.
    victims = cluster.of_role("storage")
    for node in victims:
        node.kill()
    cluster.run('alter table d.t order by (v) properties ("timeout" = "15")')
    assert int(last_job(cluster)["Timeout"]) == 15
    # The time goes on while nobody leads.
    leader = cluster.leader()
    leader.kill()
    leader.start().wait_ready()
    job = wait_for("its end", lambda: (found := last_job(cluster))["State"] == "CANCELLED" and found, 60)
    assert "timeout: it has not ended within 15 s" in job["Msg"], job
    for node in victims:
        node.start().wait_ready()
    wait_for("the rows", lambda: cluster.rows("select k, v from d.t order by k") == [(1, 2), (2, 1)])
    assert "ORDER BY" not in cluster.rows("show create table d.t")[0][1]
    ends(cluster, 'alter table d.t order by (v) properties ("timeout" = "600")')
    with pytest.raises(Exception, match="Invalid timeout format"):
        cluster.run('alter table d.t order by (k) properties ("timeout" = "soon")')
