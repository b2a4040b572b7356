"""Measures the tablet engine: loads of each table model, upserts, scans after updates, indexes and storage.

    bench/tablets.py [--rows 10] [--upsert-rows 50] [--upserts 10] [--runs 5] [--only load,scan,..] [--out FILE]

Rows are in millions. DuckDB's own storage and DataFusion on LZ4 Parquet answer the same questions in the same run; their
answers are compared. Results are appended to FILE as JSON and printed as they come.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import statistics
import sys
import threading
import time

import report
import run as common
from engines import Server, connect_tarn

MILLION = 1_000_000
COLUMNS = "id, day, device, country, amount, price, seen, note"
TYPES = """
    id BIGINT NOT NULL, day DATE NOT NULL, device INT NOT NULL, country VARCHAR(2) NOT NULL, amount BIGINT NOT NULL,
    price DECIMAL(12, 2) NOT NULL, seen DATETIME NOT NULL, note VARCHAR(64) NOT NULL
"""
VALUES = ["day", "device", "country", "amount", "price", "seen", "note"]
MODELS = ["duplicate", "aggregate", "unique", "primary"]
PART_ROWS = MILLION
# A table of 50 million rows that have just been loaded is compacted by then, on two processors.
SETTLED_WITHIN = 1800

QUERIES = {
    "full scan": "select sum(amount), sum(device), max(price) from {t}",
    "text scan": "select count(*) from {t} where note like '%77%'",
    "filter": "select count(*), sum(amount) from {t} where amount between 1000 and 1200",
    "group": "select country, count(*), sum(amount), avg(price) from {t} group by country order by country",
    "many groups": "select device, count(*), sum(amount) from {t} group by device order by 3 desc, 1 limit 10",
    "point lookup": "select * from {t} where id = 4711042",
    "short range": "select sum(amount), count(*) from {t} where id between 3000000 and 3000999",
}
# Look-ups of all columns whose bytes are counted, and how many tablets have their rows.
PAGES = {
    "point lookup": ("select * from {t} where id = {id}", 1),
    "short range": ("select * from {t} where id between {id} and {id} + 999", 4),
}


def part(ids, seed):
    """Rows with these ids, as a table. `seed` tells versions of a row apart."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute

    random = np.random.default_rng(seed)
    rows = len(ids)
    days = (ids * 365 // max(int(ids.max(initial=0)) + 1, 1) + 19_358).astype("int32")
    words = pa.array(["order", "refund", "visit", "click", "signup"])
    note = pa.compute.binary_join_element_wise(
        words.take(pa.array(random.integers(0, 5, rows))), pa.array(random.integers(0, 100_000, rows)).cast("string"), " ")
    return pa.table({
        "id": pa.array(ids),
        "day": pa.array(days).cast(pa.date32()),
        "device": pa.array(random.integers(0, 1000, rows).astype("int32")),
        "country": pa.array([f"{chr(65 + i // 10)}{chr(65 + i % 10)}" for i in range(50)]).take(
            pa.array(random.zipf(1.3, rows) % 50)),
        "amount": pa.array(random.integers(0, 100_000, rows)),
        "price": pa.array(random.integers(0, 10_000_000, rows)).cast(pa.decimal128(19, 0)).cast(
            pa.decimal128(21, 2)).cast(pa.decimal128(12, 2)),
        "seen": pa.array(1_700_000_000_000_000 + ids * 1_000_000 + random.integers(0, 1_000_000, rows)).cast(
            pa.timestamp("us")),
        "note": note,
    })


def generate(data, rows, upserts):
    """Parquet files of a million rows: `base/` with ids in order, `upserts/` with ids drawn at random among them."""
    import numpy as np
    import pyarrow.parquet as pq

    done = data / "complete"
    if done.exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    for name in ("base", "upserts"):
        (data / name).mkdir(parents=True)
    for number in range(rows // PART_ROWS):
        ids = np.arange(number * PART_ROWS, (number + 1) * PART_ROWS, dtype="int64")
        pq.write_table(part(ids, number), data / "base" / f"{number:03}.parquet", compression="lz4")
    random = np.random.default_rng(1)
    for number in range(upserts // PART_ROWS):
        ids = random.choice(rows, PART_ROWS, replace=False).astype("int64")
        pq.write_table(part(ids, 10_000 + number), data / "upserts" / f"{number:03}.parquet", compression="lz4")
    done.touch()


def create(model, name):
    keys = {"duplicate": "DUPLICATE KEY (id)", "unique": "UNIQUE KEY (id)", "primary": "PRIMARY KEY (id)",
            "aggregate": "AGGREGATE KEY (id)"}[model]
    types = aggregated() if model == "aggregate" else TYPES
    return f"CREATE TABLE {name} ({types}) {keys} DISTRIBUTED BY HASH (id) BUCKETS 4"


def aggregated():
    """The columns of an AGGREGATE table: `amount` is summed, the others are replaced."""
    types = TYPES
    for column in VALUES:
        how = "SUM" if column == "amount" else "REPLACE"
        types = re.sub(rf"({column} \S+( 2\))?) NOT NULL", rf"\1 {how} NOT NULL", types)
    return types


class Memory:
    """The most resident memory of a process while a block runs, in MiB."""

    def __init__(self, server):
        self.server, self.peak, self.over = server, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.server.resident_mib() or 0)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Bench:
    """One run: a Tarn server, a DuckDB file, and the results so far."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.results = {}
        self.data = arguments.data
        self.store = self.data / "tablets-tarn"
        self.duckdb_file = self.data / "tablets.duckdb"

    def note(self, what, value):
        self.results[what] = value
        value = value if isinstance(value, str) else f"{value:,.4g}"
        print(f"{what:60} {value:>12} {report.aim(what)}".rstrip(), flush=True)

    @contextlib.contextmanager
    def tarn(self):
        shutil.rmtree(self.store, ignore_errors=True)
        self.server = Server(common.TARN, self.store)
        try:
            with connect_tarn(self.server.url) as connection, connection.cursor() as cursor:
                cursor.execute("create database bench")
                cursor.execute("use bench")
                yield cursor
        finally:
            self.server.stop()
            shutil.rmtree(self.store, ignore_errors=True)

    @contextlib.contextmanager
    def duckdb(self):
        import duckdb

        self.duckdb_file.unlink(missing_ok=True)
        with duckdb.connect(str(self.duckdb_file)) as connection:
            yield connection
        self.duckdb_file.unlink(missing_ok=True)


def timed(call):
    started = time.perf_counter()
    answer = call()
    return time.perf_counter() - started, answer


def files(path):
    return f'FILES("path" = "file://{path}", "format" = "parquet")'


def insert(cursor, table, path):
    cursor.execute(f"INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM {files(path)}")


def settled(cursor, table, rows):
    """Waits until a table shows so many rows and compaction has left its tablets alone for some seconds."""
    deadline, before, quiet_since = time.monotonic() + SETTLED_WITHIN, None, time.monotonic()
    while before is None or time.monotonic() - quiet_since < 5:
        if time.monotonic() > deadline:
            raise SystemExit(f"table {table} is not at rest after {SETTLED_WITHIN} s: {before}")
        visible = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        tablets = cursor.execute(f"SHOW TABLETS FROM {table}").fetchall()
        compactions = cursor.execute(f"SHOW COMPACTIONS FROM {table}")
        state = [column[0] for column in compactions.description].index("State")
        compactions = compactions.fetchall()
        now = (visible, sorted(map(str, tablets)), sorted(map(str, compactions)))
        if now != before or visible != rows or any(row[state] in ("PENDING", "RUNNING") for row in compactions):
            before, quiet_since = now, time.monotonic()
        time.sleep(0.5)


def touched(cursor, sql):
    """Bytes and pieces of segments that a query needs, read or cached."""
    plan = "\n".join(row[0] for row in cursor.execute(f"EXPLAIN ANALYZE {sql}").fetchall())

    def sum_of(counters):
        found = re.findall(rf"\b(?:{counters})=([\d.]+)(?: ([KMG]))?", plan)
        if not found:
            raise SystemExit(f"EXPLAIN ANALYZE does not count {counters}: {plan}")
        return sum(float(number) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[unit] for number, unit in found)

    return sum_of("bytes_read|bytes_cached"), sum_of("pieces")


def folder_bytes(path):
    return sum(f.stat().st_size for f in pathlib.Path(path).rglob("*") if f.is_file())


def median(call, runs):
    call()
    return statistics.median(timed(call)[0] for _ in range(runs))


def loads(bench):
    """Rows a second into an empty table of each model, the server's memory meanwhile, bytes afterwards."""
    a = bench.arguments
    base = bench.data / f"rows-{a.rows}"
    generate(base, a.rows * MILLION, 0)
    for model in MODELS:
        with bench.tarn() as cursor:
            cursor.execute(create(model, "t"))
            with Memory(bench.server) as memory:
                seconds, _ = timed(lambda: insert(cursor, "t", f"{base}/base/*.parquet"))
            bench.note(f"load, {model}: rows/s", a.rows * MILLION / seconds)
            bench.note(f"load, {model}: most memory, MiB", memory.peak)
            if model == "duplicate":
                settled(cursor, "t", a.rows * MILLION)
                bench.note("storage, Tarn: MiB", folder_bytes(bench.store / "storage" / "tablets") / 2**20)
                scans(bench, cursor, base)
                pages(bench, cursor)


def pages(bench, cursor):
    """How much of each tablet with rows look-ups touch. A page is a piece of a column that is compressed and read as one."""
    columns = len(COLUMNS.split(","))
    for name, (sql, tablets) in PAGES.items():
        sql = sql.format(t="t", id=bench.arguments.rows * MILLION * 3 // 10)
        cursor.execute(sql).fetchall()
        size, pieces = touched(cursor, sql)
        bench.note(f"{name}, KiB of a tablet's segments", size / tablets / 1024)
        bench.note(f"{name}, pages a column", pieces / tablets / columns)


def scans(bench, cursor, base):
    """Scans, filters, groups and lookups of a DUPLICATE table beside DuckDB's storage and DataFusion on LZ4 Parquet."""
    import datafusion
    import duckdb

    runs = bench.arguments.runs
    with bench.duckdb() as duck:
        duck.execute(f"create table t as from '{base}/base/*.parquet' order by id")
        duck.execute("checkpoint")
        bench.note("storage, DuckDB: MiB", bench.duckdb_file.stat().st_size / 2**20)
        bench.note("storage, Tarn / DuckDB", bench.results["storage, Tarn: MiB"] / bench.results["storage, DuckDB: MiB"])
        fusion = datafusion.SessionContext()
        fusion.register_parquet("t", f"{base}/base/")
        engines = {
            "Tarn": lambda sql: (cursor.execute(sql), cursor.fetch_arrow_table())[1],
            "DuckDB": lambda sql: duck.sql(sql).to_arrow_table(),
            "DataFusion on Parquet": lambda sql: fusion.sql(sql).to_arrow_table(),
        }
        for name, sql in QUERIES.items():
            sql = sql.format(t="t")
            times, rows = {}, {}
            for engine, ask in engines.items():
                rows[engine] = ask(sql).num_rows
                times[engine] = median(lambda: ask(sql), runs)
                bench.note(f"{name}, {engine}: ms", times[engine] * 1000)
            if len(set(rows.values())) != 1:
                raise SystemExit(f"{name}: engines return different numbers of rows: {rows}")
            for other in ("DuckDB", "DataFusion on Parquet"):
                bench.note(f"{name}, Tarn / {other}", times["Tarn"] / times[other])
    with duckdb.connect() as duck:
        zstd = bench.data / "zstd.parquet"
        duck.execute(f"copy (from '{base}/base/*.parquet' order by id) to '{zstd}' (format parquet, compression zstd)")
        bench.note("storage, zstd Parquet: MiB", zstd.stat().st_size / 2**20)
        bench.note("storage, Tarn / zstd Parquet",
                   bench.results["storage, Tarn: MiB"] / bench.results["storage, zstd Parquet: MiB"])
        zstd.unlink()


def upserts(bench):
    """Upserts of random keys into a large PRIMARY KEY table, a million rows a load, and what scans cost afterwards."""
    a = bench.arguments
    rows, more = a.upsert_rows * MILLION, a.upserts * MILLION
    base = bench.data / f"upserts-{a.upsert_rows}-{a.upserts}"
    generate(base, rows, more)
    loads = sorted((base / "upserts").glob("*.parquet"))
    scan = QUERIES["full scan"]
    with bench.tarn() as cursor:
        cursor.execute(create("primary", "t"))
        with Memory(bench.server) as memory:
            seconds, _ = timed(lambda: insert(cursor, "t", f"{base}/base/*.parquet"))
            bench.note("upsert, Tarn: rows/s of the first load", rows / seconds)
            settled(cursor, "t", rows)
            untouched = median(lambda: cursor.execute(scan.format(t="t")).fetchall(), a.runs)
            bench.note("scan of untouched table: ms", untouched * 1000)
            seconds, _ = timed(lambda: [insert(cursor, "t", path) for path in loads])
        bench.note("upsert, Tarn: rows/s", more / seconds)
        bench.note("upsert, Tarn: most memory, MiB", memory.peak)
        # As users find it: the old rows are marked as deleted, and compaction goes on.
        updated = median(lambda: cursor.execute(scan.format(t="t")).fetchall(), a.runs)
        bench.note("scan after updates: ms", updated * 1000)
        bench.note("scan after updates / untouched", updated / untouched)
        settled(cursor, "t", rows)
        compacted = median(lambda: cursor.execute(scan.format(t="t")).fetchall(), a.runs)
        bench.note("scan after updates, compaction done: ms", compacted * 1000)
        bench.note("scan after updates, compaction done / untouched", compacted / untouched)
        answer = cursor.execute(scan.format(t="t")).fetchall()
        cursor.execute("DROP TABLE t FORCE")
        cursor.execute(create("unique", "u"))
        for path in [f"{base}/base/*.parquet", *loads]:
            insert(cursor, "u", path)
        merged = median(lambda: cursor.execute(scan.format(t="u")).fetchall(), a.runs)
        bench.note("the same scan, UNIQUE: ms", merged * 1000)
        bench.note("the same scan, UNIQUE / PRIMARY KEY", merged / updated)
    if a.without_duckdb:
        return
    with bench.duckdb() as duck:
        duck.execute(f"create table t ({TYPES}, primary key (id))".replace("DATETIME", "TIMESTAMP"))
        seconds, _ = timed(lambda: duck.execute(f"insert into t from '{base}/base/*.parquet'"))
        bench.note("upsert, DuckDB: rows/s of the first load", rows / seconds)
        seconds, _ = timed(lambda: [duck.execute(f"insert or replace into t from '{path}'") for path in loads])
        bench.note("upsert, DuckDB: rows/s", more / seconds)
        theirs = duck.sql(scan.format(t="t")).fetchall()
    if [[str(v) for v in row] for row in theirs] != [[str(v) for v in row] for row in answer]:
        raise SystemExit(f"answers after the upserts differ: Tarn {answer}, DuckDB {theirs}")


def indexes(bench):
    """Three predicates on columns of 1,000 values each, AND-ed, with bitmap indexes and without."""
    a = bench.arguments
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = a.rows * MILLION
    path = bench.data / "indexed.parquet"
    random = np.random.default_rng(3)
    pq.write_table(pa.table({"id": np.arange(rows), **{
        c: random.integers(0, 1000, rows).astype("int32") for c in "abc"}, "v": random.integers(0, 100_000, rows)}), path)
    query = "select count(*), sum(v) from {t} where a = 17 and b in (3, 400, 999) and c in (5, 6, 7, 8, 9)"
    with bench.tarn() as cursor, bench.duckdb() as duck:
        for table, index in [("plain", ""), ("indexed", "".join(f", INDEX i{c} ({c}) USING BITMAP" for c in "abc"))]:
            cursor.execute(f"""CREATE TABLE {table} (id BIGINT NOT NULL, a INT NOT NULL, b INT NOT NULL, c INT NOT NULL,
                v BIGINT NOT NULL{index}) DUPLICATE KEY (id) DISTRIBUTED BY HASH (id) BUCKETS 4""")
            cursor.execute(f"INSERT INTO {table} SELECT id, a, b, c, v FROM {files(path)}")
            settled(cursor, table, rows)
        duck.execute(f"create table t as from '{path}'")
        answers = [cursor.execute(query.format(t=t)).fetchall() for t in ("plain", "indexed")]
        answers.append(duck.sql(query.format(t="t")).fetchall())
        if any([int(v or 0) for v in a[0]] != [int(v or 0) for v in answers[0][0]] for a in answers):
            raise SystemExit(f"answers with and without indexes differ: {answers}")
        for table in ("plain", "indexed"):
            bench.note(f"three predicates, {table}: ms",
                       median(lambda: cursor.execute(query.format(t=table)).fetchall(), a.runs) * 1000)
        bench.note("three predicates, DuckDB: ms", median(lambda: duck.sql(query.format(t="t")).fetchall(), a.runs) * 1000)
    path.unlink()


PARTS = {"load": loads, "upsert": upserts, "index": indexes}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=10, type=int)
    parser.add_argument("--upsert-rows", default=50, type=int)
    parser.add_argument("--upserts", default=10, type=int)
    parser.add_argument("--runs", default=5, type=int)
    parser.add_argument("--only", default=",".join(PARTS), type=lambda t: t.split(","))
    parser.add_argument("--without-duckdb", action="store_true", help="no upserts in DuckDB: its index takes long")
    parser.add_argument("--data", default=pathlib.Path.home() / ".cache/tarn/bench", type=pathlib.Path)
    parser.add_argument("--out", default=common.ROOT / "docs/benchmarks/tablets.json", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments)
    for name in arguments.only:
        PARTS[name](bench)
        before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        command = " ".join(["bench/tablets.py", *sys.argv[1:]])
        arguments.out.write_text(json.dumps({**before, **bench.results, f"{name}, command": command}, indent=1) + "\n")


if __name__ == "__main__":
    main()
