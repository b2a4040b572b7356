"""Every statement that changes a table, on tables on storage volumes: they end as tables on disks do, whoever owns them."""

import pytest

from cluster import SPREAD, Cluster, wait_for
from s3_server import S3Server, volume

# Of a job in the background.
JOB_SECONDS = 90
PLACES = ["bucket", "folder"]
NUMBERS = "from range(0, 3000)"


@pytest.fixture(scope="module")
def on_volumes(tmp_path_factory):
    """A cluster with a bucket and a folder as storage volumes."""
    folder = tmp_path_factory.mktemp("statements")
    server = S3Server("tarn")
    cluster = Cluster.three(folder / "cluster", storage=2)
    local = f'create storage volume folder type = local locations = ("file://{folder}/volume")'
    cluster.run(volume("bucket", server.endpoint, "statements"), local)
    yield cluster
    cluster.stop()
    server.stop()


class Twins:
    """A table on a volume, `{t}` in statements, and one on disks. What is done is done to both."""

    def __init__(self, cluster, name, place, definition):
        self.cluster, self.database = cluster, f"{name}_{place}"
        self.tables = {place: "there", "none": "here"}
        cluster.run(f"drop database if exists {self.database}", f"create database {self.database}")
        for place, table in self.tables.items():
            cluster.run(f'create table {table} {definition} properties ("storage_volume" = "{place}")', database=self.database)

    def run(self, *statements, settings=None):
        for table in self.tables.values():
            with self.cluster.connect(database=self.database, settings=settings) as connection, connection.cursor() as cursor:
                for sql in statements:
                    cursor.execute(sql.format(t=table))

    def rows(self, sql, table="there", settings=None):
        return self.cluster.rows(sql.format(t=table), database=self.database, settings=settings)

    def jobs(self, table):
        return self.cluster.table(f"show alter table column from {self.database} where TableName = '{table}' order by JobId desc")

    def job(self, *statements, state="FINISHED"):
        """Runs statements that change rows in the background to their ends."""
        for sql in statements:
            before = {table: len(self.jobs(table)) for table in self.tables.values()}
            self.run(sql)

            def ended(table):
                jobs = self.jobs(table)
                return len(jobs) > before[table] and jobs[0]["State"] in ("FINISHED", "CANCELLED") and jobs[0]

            for table in self.tables.values():
                job = wait_for(f"the end of `{sql}` on {table}", lambda: ended(table), JOB_SECONDS)
                assert job["State"] == state, job

    def refused(self, sql, part):
        for table in self.tables.values():
            with pytest.raises(Exception, match=part):
                self.cluster.run(sql.format(t=table), database=self.database)

    def same(self):
        """Both have the same columns and rows, and there are some."""
        columns = [[column[:4] for column in self.rows("desc {t}", table)] for table in self.tables.values()]
        assert columns[0] == columns[1]
        everything = f"select * from {{t}} order by {', '.join(str(n + 1) for n in range(len(columns[0])))}"
        there, here = (self.rows(everything, table, SPREAD) for table in self.tables.values())
        assert there == here
        assert there, "a comparison of nothing"
        return there

    def kept(self):
        """The same still where each storage node in turn is the only one, with nothing but the volume's objects."""
        before = self.same()
        everything = f"select * from {{t}} order by {', '.join(str(n + 1) for n in range(len(before[0])))}"
        for node in self.cluster.of_role("storage"):
            node.kill()
            wait_for("the rows at the other owner", lambda: self.rows(everything, settings=SPREAD) == before, 60)
            node.start().wait_ready()
        # The table on disks is read when its nodes are back.
        wait_for("both tables", lambda: self.same() == before, 60)
        return before


@pytest.fixture(params=PLACES)
def twins(request, on_volumes):
    on_volumes.start()
    return lambda name, definition: Twins(on_volumes, name, request.param, definition)


def test_columns_change_in_the_background(twins):
    dup = twins("dup", "(k bigint not null, g int not null, s varchar(20), v bigint) duplicate key (k, g) "
                "distributed by hash (k) buckets 3")
    dup.run(f"insert into {{t}} select value, value % 7, cast(value * 3 as varchar(20)), value * 5 {NUMBERS}",
            "insert into {t} values (5000, 1, null, null)", "delete from {t} where k < 100")
    dup.job("alter table {t} order by (v)", "alter table {t} add column h int key default '1' after k")
    dup.run("insert into {t} (k, h, g, s, v) values (6000, 2, 3, '77', 8)")
    dup.job("alter table {t} modify column s bigint, modify column v largeint", "alter table {t} drop column h")
    dup.same()
    # Narrower: it fits, then it does not.
    dup.job("alter table {t} modify column v int")
    dup.run("insert into {t} values (7000, 1, 99999, 1)")
    dup.job("alter table {t} modify column s smallint", state="CANCELLED")
    dup.run("alter table {t} add column note varchar(10) default 'x'")
    dup.kept()


def test_keys_of_other_models_change_in_the_background(twins):
    sums = twins("sums", "(k int, g int, total bigint sum, peak int max) aggregate key (k, g) distributed by hash (k) buckets 2")
    sums.run(f"insert into {{t}} select value % 50, value % 3, value, value {NUMBERS}", "insert into {t} values (1, 1, 1, 9)")
    sums.job("alter table {t} drop column g", "alter table {t} add column h varchar(5) key default 'x' after k")
    sums.run("insert into {t} values (1, 'y', 1, 1)")
    sums.kept()
    uniq = twins("uniq", "(k varchar(5), g int, v int) unique key (k, g) distributed by hash (g) buckets 2")
    uniq.run(f"insert into {{t}} select cast(value % 100 as varchar(5)), value % 3, value {NUMBERS} order by value")
    uniq.run("insert into {t} values ('1', 1, 3)")
    uniq.job("alter table {t} order by (g, k), modify column v varchar(9)")
    uniq.run("insert into {t} values ('2', 2, 'two')")
    uniq.kept()
    prim = twins("prim", "(id int, name varchar(10), age varchar(10)) primary key (id) distributed by hash (id) buckets 2")
    prim.run(f"insert into {{t}} select value % 1000, cast(value as varchar(10)), cast(value % 90 as varchar(10)) {NUMBERS} "
             "where value < 1000", "delete from {t} where id % 5 = 0", "update {t} set age = '99' where id % 7 = 0")
    prim.job("alter table {t} modify column age int, order by (age)")
    prim.run("insert into {t} values (3, 'again', 11), (5000, 'd', 40)", "delete from {t} where age = 12")
    prim.kept()


def test_indexes_are_built_and_used(twins):
    table = twins("indexed", "(k bigint, a int, name varchar(20), id bigint, index early (a)) duplicate key (k) "
                  "distributed by hash (k) buckets 2")
    table.run("insert into {t} select value, value * 7919 % 1000, concat('name', cast(value * 104729 % 997 as string)), "
              "value * 2654435761 % 1000003 from range(0, 100000)")
    table.job("create index by_name on {t} (name) using bitmap", 'alter table {t} set ("bloom_filter_columns" = "id")')
    # Manifests that are known already may tell of no index for a minute: a new version has another one.
    table.run("insert into {t} values (-1, -1, null, null)")

    def used(sql, counter):
        plan = "\n".join(line for (line,) in table.rows(f"explain analyze {sql}"))
        return f"{counter}=0" not in plan and f"{counter}=" in plan

    def answers():
        for sql, counter in [
            ("select count(*), sum(k) from {t} where a = 17", "BitmapIndexFilterRows"),
            ("select count(*), sum(k) from {t} where name = 'name5'", "BitmapIndexFilterRows"),
            ("select count(*), sum(k) from {t} where id = 500000", "BloomFilterFilterRows"),
        ]:
            assert table.rows(sql) == table.rows(sql, "here")
            assert used(sql, counter), sql

    answers()
    # A new owner has the indexes from the volume.
    victim = table.cluster.of_role("storage")[0]
    victim.kill()
    wait_for("the rows", lambda: table.rows("select count(*) from {t}") == [(100001,)], 60)
    victim.start().wait_ready()
    wait_for("both tables", lambda: table.rows("select count(*) from {t}", "here") == [(100001,)], 60)
    table.run("insert into {t} values (-2, -2, null, null)")
    answers()
    table.run("drop index early on {t}", "alter table {t} drop index by_name", "delete from {t} where a = 17")
    assert table.rows("select count(*) from {t} where a = 17") == [(0,)]
    assert table.rows("select count(*), sum(k), sum(a) from {t}") == table.rows("select count(*), sum(k), sum(a) from {t}", "here")


def test_rows_are_updated_in_part_and_deleted(twins):
    table = twins("parts", "(id bigint not null, name varchar(20) default 'nobody', clicks int, at datetime, tags array<int>) "
                  "primary key (id) distributed by hash (id) buckets 3")
    table.run(
        f"insert into {{t}} select value, cast(value as varchar(20)), value % 10, '2024-01-02', [1, 2] {NUMBERS}",
        f"insert into {{t}} (id, clicks) select value * 2, 77 {NUMBERS}",
        "insert into {t} (name, id) values ('one', 1), ('new', 90001)",
        "update {t} set clicks = clicks + 1, tags = [id] where id % 3 = 0",
        "delete from {t} where id % 11 = 0",
        "delete from {t} where clicks > 77 and id < 500",
        "delete from {t}  where id in (select id + 1 from {t} where id % 13 = 0)",
    )
    table.same()
    table.run("insert into {t} (id, at) values (1, '2023-01-01'), (2, '2025-01-01')", settings={"merge_condition": "'at'"})
    table.run(f"insert into {{t}} (id, tags) select value, [] {NUMBERS} where value % 4 = 1",
              settings={"partial_update_mode": "'column'"})
    table.kept()
    for model in ("duplicate key (k)", "unique key (k)"):
        others = twins("deletes", f"(k int not null, v int) {model} distributed by hash (k) buckets 2")
        others.run(f"insert into {{t}} select value, value % 10 {NUMBERS}", "delete from {t} where k between 10 and 2000",
                   "insert into {t} values (11, 1), (12, 2)", "delete from {t} where k = 12")
        others.kept()


def test_partitions_are_overwritten_and_replaced(twins):
    table = twins("days", "(day date not null, k int, v int) duplicate key (day, k) "
                  "partition by range (day) (start ('2024-01-01') end ('2024-01-05') every (interval 1 day)) "
                  "distributed by hash (k) buckets 2")
    filled = "select days_add(date '2024-01-01', value % 4), value, {} " + NUMBERS
    table.run(f"insert into {{t}} {filled.format(1)}", f"insert overwrite {{t}} {filled.format(2)}")
    table.same()
    table.run(
        "insert overwrite {t} partition (p20240102) values ('2024-01-02', 1, 3)",
        "alter table {t} add temporary partition tp values [('2024-01-03'), ('2024-01-04'))",
        "insert into {t} temporary partition (tp) values ('2024-01-03', 5, 5)",
        "alter table {t} replace partition (p20240103) with temporary partition (tp)",
        "truncate table {t} partition (p20240104)",
        "alter table {t} add partition p9 values [('2024-01-09'), ('2024-01-10'))",
        "insert into {t} values ('2024-01-09', 9, 9)",
        "alter table {t} drop partition p20240101",
    )
    table.same()
    table.run("insert overwrite {t} select day, k + 1, v from {t}")
    table.kept()
    table.run("insert overwrite {t} values ('2024-01-09', 1, 1)", "insert into {t} values ('2024-01-03', 2, 2)")
    assert len(table.kept()) == 2


@pytest.mark.parametrize("model", ["duplicate", "aggregate", "unique", "primary"])
def test_tablets_are_compacted_on_demand(twins, model):
    table = twins(f"c_{model}", f"(k int not null, v int{' sum' if model == 'aggregate' else ''}) {model} key (k) "
                  "distributed by hash (k) buckets 1")
    # So few rowsets that no compaction begins by itself.
    for load in range(2):
        table.run(f"insert into {{t}} select value + {load * 100}, {load} {NUMBERS}")
    if model != "aggregate":
        table.run("delete from {t} where k < 50")
    before = table.same()
    table.run("alter table {t} compact")

    def settled():
        found = table.cluster.table(f"show compactions from {table.database}.there")
        return found if found and all(row["State"] in ("FINISHED", "FAILED") for row in found) else None

    done = wait_for("the compaction", settled, JOB_SECONDS)
    assert all(row["Error"] is None for row in done), done
    assert any(row["Type"] == "MANUAL" and row["State"] == "FINISHED" and int(row["Rowsets"]) > 1 for row in done), done
    assert table.same() == before
    table.run("insert into {t} values (1, 100)")
    table.kept()
