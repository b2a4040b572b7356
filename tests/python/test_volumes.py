"""Tables on storage volumes: a real S3 server, faults before it, and owners that die."""

import contextlib
import random
import shutil
import threading
import time

import pytest

from checksums import checksums
from cluster import SPREAD, wait_for
from s3_server import FaultyProxy, S3Server, volume

# From the death of an owner to the next acknowledged write of its tablets.
RESUME_SECONDS = 10
COLUMNS = "(id bigint not null, batch int, v varchar(40))"
FAULTS = {"500": 4, "503": 4, "slow": 2, "torn": 5, "unanswered": 4}


@pytest.fixture(scope="module")
def s3():
    server = S3Server("tarn")
    yield server
    server.stop()


@pytest.fixture
def proxy(s3):
    proxy = FaultyProxy(s3)
    yield proxy
    proxy.stop()


def table(name, model="duplicate key (id)", buckets=4, on="v", columns=COLUMNS):
    return (
        f"create table d.{name} {columns} {model} distributed by hash (id) buckets {buckets} "
        f'properties ("storage_volume" = "{on}")'
    )


def values(batch, rows=50, first=None):
    first = batch * rows if first is None else first
    return ", ".join(f"({first + i}, {batch}, 'row {first + i} of {batch}')" for i in range(rows))


class Writer:
    """Loads batches, one after the other, until it is stopped. A label tells whether a load whose answer is lost is in."""

    def __init__(self, cluster, name, first=lambda batch: None):
        self.cluster, self.name, self.first = cluster, name, first
        self.done, self.times, self.stopped, self.error = [], [], threading.Event(), None
        self.thread = threading.Thread(target=self.work)

    def work(self):
        batch = 0
        while not self.stopped.is_set():
            attempt = 0
            while not self.stopped.is_set():
                sql = f"insert into d.{self.name} with label {self.name}_{batch} values {values(batch, first=self.first(batch))}"
                try:
                    self.cluster.run(sql, database="d")
                    self.done.append(batch)
                    self.times.append(time.monotonic())
                    break
                except Exception as error:
                    self.error = error
                    attempt += 1
                    time.sleep(0.1)
            batch += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


def batches(cluster, name):
    sql = f"select batch, count(*), min(id), max(id) from d.{name} group by batch order by batch"
    return {batch: (count, low, high) for batch, count, low, high in cluster.rows(sql)}


def check_whole(cluster, name, writer, rows=50):
    """Every acknowledged batch is there once, and none in part."""
    found = wait_for("the rows", lambda: batches(cluster, name), 30)
    assert set(writer.done) <= set(found), f"lost: {set(writer.done) - set(found)}"
    wrong = {batch: counted for batch, counted in found.items() if counted != (rows, batch * rows, batch * rows + rows - 1)}
    assert not wrong


def test_tables_in_a_bucket_are_written_and_read_and_their_objects_are_there(fresh, s3):
    cluster = fresh("three", coordinator={"cache_memory_bytes": 64 << 20})
    cluster.run("create database d", volume("v", s3.endpoint, "plain"), table("t"), table("p", "primary key (id)"))
    for batch in range(5):
        cluster.run(f"insert into d.t values {values(batch)}", f"insert into d.p values {values(batch, first=0)}")
    assert cluster.rows("select count(*), count(distinct batch) from d.t", settings=SPREAD) == [(250, 5)]
    assert cluster.rows("select count(*), min(batch), max(batch) from d.p", settings=SPREAD) == [(50, 4, 4)]
    cluster.run("delete from d.p where id < 10", "update d.p set v = 'new' where id = 10")
    assert cluster.rows("select count(*), min(id), min(v) from d.p", settings=SPREAD) == [(40, 10, "new")]
    names = s3.names()
    assert any(name.startswith("plain/") and name.endswith(".vortex") for name in names)
    assert any("/manifest/" in name for name in names)
    # What loads left pending is published, and its records go.
    wait_for("pending records to go", lambda: not any("/pending/" in name for name in s3.names()), 30)


def test_a_storage_node_that_loses_its_disk_loses_nothing(fresh, s3):
    cluster = fresh("three", storage=1)
    cluster.run("create database d", volume("v", s3.endpoint, "wiped"), table("t"), table("p", "primary key (id)"))
    for batch in range(4):
        cluster.run(f"insert into d.t values {values(batch)}", f"insert into d.p values {values(batch, first=0)}")
    node = cluster.of_role("storage")[0]
    node.kill()
    shutil.rmtree(cluster.folder / node.name)
    node.start().wait_ready()
    wait_for("the rows", lambda: cluster.rows("select count(*) from d.t") == [(200,)], 40)
    wait_for("the rows", lambda: cluster.rows("select count(*), min(batch) from d.p") == [(50, 3)], 40)
    wait_for("a load", lambda: cluster.run(f"insert into d.p values {values(9, first=0)}") is None, 40)
    assert cluster.rows("select count(*), min(batch) from d.p") == [(50, 9)]


@pytest.mark.faults
def test_loads_go_on_within_ten_seconds_of_the_death_of_an_owner_and_nothing_is_lost(fresh, s3):
    cluster = fresh("three", storage=3)
    cluster.run("create database d", volume("v", s3.endpoint, "killed"), table("t", buckets=6), table("p", "primary key (id)"))
    with Writer(cluster, "t") as loads, Writer(cluster, "p") as upserts:
        for node in cluster.of_role("storage")[:2]:
            counts = len(loads.done), len(upserts.done)
            wait_for("some loads", lambda: len(loads.done) > counts[0] + 3 and len(upserts.done) > counts[1] + 3, 60)
            node.kill()
            killed = time.monotonic()
            for writer in (loads, upserts):
                # One may be on its way when the node dies: the second after it has found the new owner.
                after = wait_for("loads", lambda: [t for t in writer.times if t > killed][1:], 60)
                assert after[0] - killed < RESUME_SECONDS, f"{after[0] - killed:.1f} s, last error {writer.error!r}"
            node.start().wait_ready()
    check_whole(cluster, "t", loads)
    check_whole(cluster, "p", upserts)


@pytest.mark.faults
def test_statements_outlive_the_owners_of_their_tablets(fresh, s3):
    cluster = fresh("three", storage=3)
    cluster.run("create database d", volume("v", s3.endpoint, "outlived"), table("t", buckets=6),
                table("p", "primary key (id)", buckets=6))
    statements = [
        "select count(*), count(distinct id) from d.{t}",
        "insert into d.{t} values (1000, 1, 'one more')",
        "insert into d.{t} select id + 2000, batch, v from d.{t}",
        "delete from d.{t} where id >= 1000",
        "update d.p set v = 'new' where id < 10",
    ]
    for number, statement in enumerate(statements):
        name = "p" if "update" in statement else "tp"[number % 2]
        # A version whose manifests nobody has.
        cluster.run(f"insert into d.{name} values {values(0, first=0)}")
        victim = cluster.of_role("storage")[number % 3]
        victim.kill()
        # No client repeats it.
        (cluster.rows if "select count" in statement else cluster.run)(statement.format(t=name))
        victim.start().wait_ready()
    assert cluster.rows("select count(*), count(distinct v) from d.p") == [(50, 41)]
    cluster.run(f"insert into d.p values {values(0, first=0)}")
    for node in cluster.of_role("storage"):
        node.kill()
    with pytest.raises(Exception, match="owner of .* is away or changes.*see SHOW STORAGE NODES"):
        cluster.rows("select count(*) from d.p")


@pytest.mark.faults
def test_a_store_that_fails_and_answers_late_or_in_part_loses_nothing(fresh, proxy):
    cluster = fresh("three", storage=2)
    cluster.run("create database d", volume("v", proxy.endpoint, "faults"), table("t"), table("p", "primary key (id)"))
    proxy.weather = FAULTS
    with Writer(cluster, "t") as loads, Writer(cluster, "p") as upserts:
        wait_for("loads", lambda: len(loads.done) > 12 and len(upserts.done) > 12, 240)
        cluster.of_role("storage")[0].kill()
        counts = len(loads.done), len(upserts.done)
        wait_for("loads", lambda: len(loads.done) > counts[0] + 5 and len(upserts.done) > counts[1] + 5, 240)
    assert set(proxy.counts) == set(FAULTS), proxy.counts
    proxy.weather = {}
    check_whole(cluster, "t", loads)
    check_whole(cluster, "p", upserts)


@pytest.mark.faults
def test_an_owner_that_was_stopped_and_goes_on_is_fenced(fresh, s3):
    cluster = fresh("three", storage=2)
    cluster.run("create database d", volume("v", s3.endpoint, "stopped"), table("t"))
    with Writer(cluster, "t") as loads:
        wait_for("some loads", lambda: len(loads.done) > 3, 60)
        node = cluster.of_role("storage")[0]
        node.process.send_signal(19)
        stopped = time.monotonic()
        wait_for("loads on the other", lambda: [t for t in loads.times if t > stopped + 1][2:], 60)
        node.process.send_signal(18)
        count = len(loads.done)
        wait_for("loads", lambda: len(loads.done) > count + 5, 60)
    check_whole(cluster, "t", loads)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_every_owner_has_the_same_rows_whoever_was_killed_when(fresh, s3, tmp_path, kind):
    cluster = fresh("three", storage=3)
    local = f'create storage volume v type = local locations = ("file://{tmp_path}/volume")'
    cluster.run("create database d", volume("v", s3.endpoint, "equal") if kind == "bucket" else local)
    models = {name: f"{name} key (id)" for name in ("duplicate", "unique", "primary")}
    cluster.run(*(table(f"m_{name}", model, buckets=3) for name, model in models.items()))
    merged = "(id bigint not null, batch int max, v varchar(40) max)"
    cluster.run(table("m_aggregate", "aggregate key (id)", buckets=3, columns=merged))
    names = [f"m_{name}" for name in (*models, "aggregate")]
    chance = random.Random(11)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Writer(cluster, name)) for name in names]

        def loads():
            return sum(len(writer.done) for writer in writers)

        for _ in range(6):
            before, after = loads(), chance.randrange(1, 6)
            wait_for("some loads", lambda: loads() >= before + after, 90)
            victim = chance.choice(cluster.of_role("storage"))
            victim.kill()
            before = loads()
            wait_for("loads after the kill", lambda: loads() > before + 1, 90)
            victim.start().wait_ready()
    for name, writer in zip(names, writers, strict=True):
        check_whole(cluster, name, writer)

    def settled():
        """What each tablet's owner tells; fails while an owner is away."""
        found = checksums(cluster, *(f"d.{name}" for name in names))
        return {tablet: (version, *told.values()) for (tablet, version), told in found.items()}

    expected = wait_for("all owners", settled, 60)
    assert len(expected) == 3 * len(names) and sum(rows for _, (rows, _) in expected.values()) > 0
    for node in cluster.of_role("storage"):
        node.kill()
        told = wait_for("the owners that are left", settled, 60)
        assert told == expected, f"owners differ after the death of {node.name}"
        node.start().wait_ready()
