"""INSERT OVERWRITE: readers see all of the old rows or all of the new ones, whoever dies meanwhile."""

import threading

import pytest

from cluster import wait_for

TABLE = (
    "create table {} (day date not null, round int, v bigint) duplicate key (day) "
    "partition by range (day) (start ('2024-01-01') end ('2024-01-05') every (interval 1 day)) "
    "distributed by hash (v) buckets 2"
)
# Rows of one round, in all four partitions.
ROWS = 4000


def fill(round):
    return f"select days_add('2024-01-01', value % 4), {round}, value from range(0, {ROWS})"


class Reader:
    """Reads the table all the time, and keeps what is neither old nor new."""

    def __init__(self, cluster, node=None):
        self.cluster, self.node = cluster, node
        self.stop, self.seen, self.wrong = threading.Event(), [], []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        with self.cluster.connect(self.node) as connection, connection.cursor() as cursor:
            while not self.stop.is_set():
                try:
                    cursor.execute("select count(*), min(round), max(round), count(distinct day) from d.t")
                    [row] = cursor.fetchall()
                except Exception as error:
                    self.wrong.append(repr(error))
                    return
                if row[0] != ROWS or row[1] != row[2] or row[3] != 4:
                    self.wrong.append(row)
                self.seen.append(row[1])

    def end(self):
        self.stop.set()
        self.thread.join()
        assert not self.wrong, self.wrong[:5]
        assert self.seen == sorted(self.seen), "an older state after a newer one"


def test_a_reader_sees_all_old_or_all_new_rows(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format("d.t"), f"insert into d.t {fill(0)}")
    readers = [Reader(cluster, node) for node in cluster.of_role("coordinator")[:2]]
    try:
        for round in range(1, 9):
            before = len(readers[0].seen)
            cluster.run(f"insert overwrite d.t {fill(round)}")
            wait_for("the reader to read", lambda: len(readers[0].seen) > before + 1)
        wait_for("the last round", lambda: all(reader.seen[-1] == 8 for reader in readers))
    finally:
        for reader in readers:
            reader.end()
    assert all(len(set(reader.seen)) > 2 for reader in readers), "the reader has slept through it"


def test_an_overwrite_from_the_table_itself_loses_no_row_of_a_load_beside_it(fresh):
    cluster = fresh("three")
    cluster.run(
        "create database d",
        "create table d.t (k bigint, v bigint) duplicate key (k) distributed by hash (k) buckets 2",
    )
    stop, loaded, failures = threading.Event(), [], []

    def load():
        number = 0
        while not stop.is_set():
            number += 1
            try:
                cluster.run(f"insert into d.t values ({number}, 0)")
                loaded.append(number)
            except Exception as error:
                failures.append(str(error))

    loader = threading.Thread(target=load)
    loader.start()
    done = 0
    try:
        wait_for("some rows", lambda: len(loaded) >= 3)
        for _ in range(15):
            try:
                cluster.run("insert overwrite d.t select k, v + 1 from d.t")
                done += 1
            except Exception as error:
                assert "repeat the statement" in str(error), error
        wait_for("more rows", lambda: len(loaded) >= 10)
    finally:
        stop.set()
        loader.join()
    for failure in failures:
        assert "repeat" in failure or "load again" in failure, failure
    rows = sorted(row[0] for row in cluster.rows("select k from d.t"))
    assert rows == sorted(loaded), f"{done} overwrites, {len(failures)} loads refused"


@pytest.mark.faults
def test_an_overwrite_whose_coordinator_dies_leaves_the_old_rows_and_nothing_else(fresh):
    cluster = fresh("three")
    cluster.run("create database d", TABLE.format("d.t"), f"insert into d.t {fill(0)}")
    leader = cluster.leader()
    victim = next(node for node in cluster.of_role("coordinator") if node is not leader)
    endless = (
        "insert overwrite d.t with label dies select a.day, 1, a.v from d.t a join d.t b on a.v % 2 = b.v % 2 "
        "join d.t c on b.v % 2 = c.v % 2"
    )

    def work():
        try:
            cluster.run(endless, node=victim)
        except Exception:
            pass  # its coordinator dies

    worker = threading.Thread(target=work)
    worker.start()
    wait_for("the overwrite to run", lambda: any(
        "label dies" in str(row) and "loading" in str(row) for row in cluster.rows("show processlist", node=leader)
    ))
    reader = Reader(cluster, leader)
    victim.kill()
    worker.join(timeout=60)
    assert not worker.is_alive()

    def again():
        cluster.run(f"insert overwrite d.t with label dies {fill(2)}", node=leader)
        return True

    # The label is free as soon as the load is given up, and with it everything that it had written.
    wait_for("the overwrite to be given up", again, 60)
    wait_for("the new rows", lambda: reader.seen[-1] == 2)
    reader.end()
    assert set(reader.seen) == {0, 2}
    assert len(cluster.rows("show partitions from d.t", node=leader)) == 4
    assert len({tablet for tablet, *_ in cluster.rows("show tablets from d.t", node=leader)}) == 8
    assert not cluster.rows("show temporary partitions from d.t", node=leader)
