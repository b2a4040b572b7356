"""Storage nodes die, hang, lose their disks and leave: loads and queries go on, and replicas are equal again."""

import random
import shutil
import signal
import threading

import pytest

from checksums import checksums, replicas
from cluster import SPREAD, wait_for

pytestmark = pytest.mark.faults

# A replica that is back has caught up within this time.
CATCH_UP_SECONDS = 60
KEYS = 500
MODELS = {
    "dup": "duplicate key (k)",
    "uniq": "unique key (k)",
    "prim": "primary key (k)",
    "agg": "aggregate key (k)",
}


def all_current(cluster, *tables):
    return all(row["State"] == "NORMAL" and row["Status"] == "OK" for table in tables for row in replicas(cluster, table))


def assert_equal_replicas(cluster, *tables, copies=3):
    """Every tablet has so many replicas, with the same rows. Nothing is being loaded."""
    wait_for("every replica to be current", lambda: all_current(cluster, *tables), CATCH_UP_SECONDS)
    for table in tables:
        for key, sums in checksums(cluster, table).items():
            assert len(sums) == copies, (table, key, sums)
            assert len(set(sums.values())) == 1, f"replicas of {table} differ: {key}: {sums}"


def create(cluster, model, replication=3):
    merged = " max" if model == "agg" else ""
    cluster.run(
        "create database if not exists d",
        f"create table d.{model} (k bigint not null, batch bigint{merged}, v string{merged}) {MODELS[model]} "
        f'distributed by hash (k) buckets 4 properties ("replication_num" = "{replication}")',
    )


class Work:
    """Loads into tables and queries them, each in a thread, until it is left; nothing of it may fail."""

    def __init__(self, cluster, *models):
        self.cluster, self.models = cluster, models
        self.batches, self.queries, self.errors = 0, 0, []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.guarded, args=(work,)) for work in (self.load, self.query)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout=120)
            assert not thread.is_alive()

    def guarded(self, work):
        while not self.stop.is_set() and not self.errors:
            try:
                work()
            except Exception as error:
                self.errors.append(f"{work.__name__}: {error}")

    def load(self):
        batch = self.batches
        for model in self.models:
            values = ", ".join(f"({key}, {batch}, 'value {batch} of {key}')" for key in range(KEYS))
            self.cluster.run(f"insert into d.{model} values {values}")
        self.batches += 1

    def query(self):
        for model in self.models:
            done = self.batches
            [(rows, keys, newest)] = self.cluster.rows(
                f"select count(*), count(distinct k), max(batch) from d.{model}", settings=SPREAD
            )
            if done == 0:
                continue
            # What was acknowledged when the query began is there, whole.
            assert keys == KEYS and newest >= done - 1, (model, done, rows, keys, newest)
            assert rows == (KEYS if model != "dup" else rows // KEYS * KEYS) and rows >= KEYS, (model, done, rows)
        self.queries += 1

    def goes_on(self, rounds=3):
        """Waits for some loads and queries that begin after now."""
        batches, queries = self.batches, self.queries
        wait_for(
            "loads and queries to go on",
            lambda: self.errors or (self.batches > batches + rounds and self.queries > queries + rounds), 90,
        )
        assert not self.errors, self.errors

    def check(self):
        """What was acknowledged is there, once."""
        assert not self.errors, self.errors
        for model in self.models:
            [(rows, newest, last)] = self.cluster.rows(
                f"select count(*), max(batch), sum(case when batch = {self.batches - 1} then 1 else 0 end) from d.{model}"
            )
            assert newest == self.batches - 1 and last == KEYS, (model, self.batches, rows, newest, last)
            assert rows == (KEYS * self.batches if model == "dup" else KEYS), (model, self.batches, rows)


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    """Three coordinators, three storage nodes, two compute nodes."""
    from cluster import Cluster
    cluster = Cluster.three(tmp_path_factory.mktemp("replicated"), storage=3)
    for model in MODELS:
        create(cluster, model)
    yield cluster
    cluster.stop()


@pytest.fixture
def tables(replicated):
    """Its tables, empty, and every node there."""
    replicated.start()
    for model in MODELS:
        replicated.run(f"truncate table d.{model}")
    return replicated


def test_each_storage_node_may_be_killed_in_turn(tables):
    cluster = tables
    names = [f"d.{model}" for model in MODELS]
    with Work(cluster, *MODELS) as work:
        work.goes_on()
        for node in cluster.of_role("storage"):
            node.kill()
            work.goes_on()
            node.start().wait_ready()
            wait_for("it to catch up under load", lambda: work.errors or all_current(cluster, *names), CATCH_UP_SECONDS)
            assert not work.errors, work.errors
    work.check()
    assert_equal_replicas(cluster, *names)
    # Each node has all of it: the others may go.
    for node in cluster.of_role("storage"):
        others = [other for other in cluster.of_role("storage") if other is not node]
        for other in others:
            other.kill()
        work.check()
        for other in others:
            other.start()
        for other in others:
            other.wait_ready()


def test_a_storage_node_that_hangs_stops_nobody(tables):
    cluster = tables
    node = cluster.of_role("storage")[1]
    with Work(cluster, *MODELS) as work:
        work.goes_on()
        node.process.send_signal(signal.SIGSTOP)
        try:
            work.goes_on()
        finally:
            node.process.send_signal(signal.SIGCONT)
        work.goes_on()
    work.check()
    assert_equal_replicas(cluster, *[f"d.{model}" for model in MODELS])


def test_loads_without_a_majority_are_refused_and_queries_go_on(tables):
    cluster = tables
    cluster.run("insert into d.dup values (1, 1, 'a'), (2, 1, 'b')")
    lost = cluster.of_role("storage")[1:]
    for node in lost:
        node.kill()

    def refusal():
        try:
            cluster.run("insert into d.dup values (9, 1, 'never acknowledged')")
        except Exception as error:
            return str(error)
        raise AssertionError("a load was acknowledged that one node has")
    assert refusal()

    def known():
        text = refusal()
        return text if "of which 2 must take a load" in text else None
    told = wait_for("the nodes to be known to be away", known, 30)
    assert all(node.grpc in told for node in lost), told
    assert cluster.scalar("select count(*) from d.dup") == 2
    lost[0].start().wait_ready()
    wait_for("loads to go on", lambda: cluster.run("insert into d.dup values (3, 1, 'c')") is None, 30)
    assert cluster.scalar("select count(*) from d.dup") == 3
    lost[1].start().wait_ready()
    assert_equal_replicas(cluster, "d.dup")


def test_a_large_load_and_a_large_query_outlive_a_storage_node(tables):
    cluster = tables
    rows = 2_000_000
    done = {}

    def load():
        try:
            cluster.run(f"insert into d.prim select value, 7, 'a value of some length' from range(0, {rows})")
            done["load"] = True
        except Exception as error:
            done["error"] = str(error)

    worker = threading.Thread(target=load)
    worker.start()
    loading = "insert into d.prim select"
    wait_for("the load to run", lambda: done or any(
        loading in str(row) and "loading" in str(row) for row in cluster.rows("show processlist")
    ))
    node = cluster.of_role("storage")[0]
    node.kill()
    worker.join(timeout=180)
    assert done == {"load": True}, done
    count = "select count(*), sum(k), count(distinct v) from d.prim"
    expected = [(rows, rows * (rows - 1) // 2, 1)]
    assert cluster.rows(count) == expected
    node.start().wait_ready()
    assert_equal_replicas(cluster, "d.prim")
    result = {}

    def query():
        result["rows"] = cluster.rows(count, settings=SPREAD)

    for victim in cluster.of_role("storage"):
        reader = threading.Thread(target=query)
        reader.start()
        victim.kill()
        reader.join(timeout=120)
        assert result.pop("rows", None) == expected
        victim.start().wait_ready()


def test_coordinators_and_storage_nodes_die_at_random_and_every_load_counts_once(fresh):
    cluster = fresh("three", storage=3)
    create(cluster, "dup")
    create(cluster, "prim")
    chance = random.Random(7)
    done, stop, wrong = [], threading.Event(), []

    def load(batch):
        """Repeats a load under its label until its outcome is known, as a client does."""
        values = ", ".join(f"({key}, {batch}, 'x')" for key in range(batch * 100, batch * 100 + 100))
        for model in ("dup", "prim"):
            def attempt(model=model):
                node = chance.choice([n for n in cluster.of_role("coordinator") if n.running()])
                cluster.run(f"insert into d.{model} with label {model}_{batch} values {values}", node=node)
                return True
            wait_for(f"load {batch} of {model}", attempt, 60)
        done.append(batch)

    def work():
        batch = 0
        while not stop.is_set():
            try:
                load(batch)
            except BaseException as error:
                wrong.append(error)
                return
            batch += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(8):
            victims = [chance.choice(cluster.of_role(role)) for role in ("coordinator", "storage")]
            for victim in victims[chance.randrange(2):]:
                victim.kill()
            before = len(done)
            wait_for("loads to go on", lambda: wrong or len(done) >= before + 2, 60)
            for victim in victims:
                if not victim.running():
                    victim.start()
            for victim in victims:
                victim.wait_ready()
            # Another node may only go when this one has what it missed.
            wait_for("replicas to catch up", lambda: wrong or all_current(cluster, "d.dup", "d.prim"), CATCH_UP_SECONDS)
            assert not wrong, wrong
    finally:
        stop.set()
        worker.join(timeout=150)
    assert not wrong, wrong
    rows = len(done) * 100
    for model in ("dup", "prim"):
        counts = cluster.rows(f"select count(*), count(distinct k), sum(k) from d.{model}")
        assert counts == [(rows, rows, rows * (rows - 1) // 2)], (model, counts, rows)
    assert_equal_replicas(cluster, "d.dup", "d.prim")


def test_a_lost_data_directory_is_rebuilt(fresh):
    cluster = fresh("three", storage=3, coordinator={"replica_repair_delay_secs": 3})
    for model in MODELS:
        create(cluster, model)
    names = [f"d.{model}" for model in MODELS]
    with Work(cluster, *MODELS) as work:
        work.goes_on(1)
        node = cluster.of_role("storage")[2]
        node.kill()
        shutil.rmtree(cluster.folder / node.name)
        node.start().wait_ready()

        def is_whole():
            rows = [row for name in names for row in replicas(cluster, name)]
            there = {row["Address"] for row in rows}
            return work.errors or (there == {n.grpc for n in cluster.of_role("storage")} and all_current(cluster, *names))
        wait_for("the replicas to be made anew", is_whole, CATCH_UP_SECONDS)
    work.check()
    assert_equal_replicas(cluster, *names)


def test_a_node_is_decommissioned_under_load(fresh):
    cluster = fresh("three", storage=4)
    for model in MODELS:
        create(cluster, model)
    names = [f"d.{model}" for model in MODELS]
    node = cluster.of_role("storage")[0]
    with Work(cluster, *MODELS) as work:
        work.goes_on(1)
        cluster.run(f'alter system decommission storage node "{node.grpc}"')

        def is_empty():
            return work.errors or all(row["Address"] != node.grpc for name in names for row in replicas(cluster, name))
        wait_for("the node to be empty", is_empty, CATCH_UP_SECONDS)
        work.goes_on(1)
        node.kill()
        work.goes_on(1)
    work.check()
    assert_equal_replicas(cluster, *names)
