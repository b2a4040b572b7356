"""Measures Tarn against DuckDB and DataFusion: the Star Schema Benchmark and TPC-H, side by side, hot and cold.

    bench/run.py [--suites ssb,tpch] [--scales 1,10] [--runs 5] [--cold-runs 5] [--engines ...] [--append]

Hot: one process, a first run that does not count, the median of the next ones. Cold: a new process and, where the
system allows it, an empty page cache for every single run. Every engine's rows are compared. With --append earlier
measurements stay in the report, unless they are taken again: `--append --runs 0` adds cold ones to the hot ones.
Data and results: see --data and --out.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

import engines
import report
from engines import ENGINES, TABLES, Server, Worker, connect_tarn, parquet

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache/tarn/target")) / "release"
TARN, SSB_GEN = TARGET / "tarn", TARGET / "tarn-ssb-gen"


def statements(path):
    text = re.sub(r"--[^\n]*", "", path.read_text())
    return [s.strip() for s in text.split(";") if s.strip()]


def queries(suite):
    found = (ROOT / "tests" / "queries" / suite).glob("q*.sql")
    found = sorted(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p.stem)])
    return {path.stem: statements(path)[0] for path in found}


def generate(suite, scale, data):
    """The data set as LZ4 Parquet."""
    done = data / "complete"
    if done.exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    if suite == "ssb":
        subprocess.run([SSB_GEN, "--scale", str(scale), "--out", data], check=True)
    else:
        tool = pathlib.Path(sys.executable).parent / "tpchgen-cli"
        subprocess.run(
            [tool, "parquet", "-s", str(scale), "--compression", "LZ4_RAW", "--output-dir", data], check=True,
        )
    done.touch()


def load_tarn(suite, data, store):
    """Loads a new data folder. Returns rows and seconds for each table."""
    shutil.rmtree(store, ignore_errors=True)
    server, loads = Server(TARN, store), {}
    try:
        with connect_tarn(server.url) as connection, connection.cursor() as cursor:
            cursor.execute(f"create database {suite}")
            cursor.execute(f"use {suite}")
            for sql in statements(ROOT / "bench" / suite / "schema.sql"):
                cursor.execute(sql)
            for sql in statements(ROOT / "bench" / suite / "load.sql"):
                table = re.match(r"(?i)insert into (\w+)", sql).group(1)
                started = time.perf_counter()
                cursor.execute(sql.replace("{data}", str(data)))
                seconds = time.perf_counter() - started
                cursor.execute(f"select count(*) from {table}")
                loads[table] = {"rows": cursor.fetchone()[0], "seconds": seconds}
    finally:
        server.stop()
    return loads


def load_duckdb(suite, data, store):
    import duckdb

    pathlib.Path(store).unlink(missing_ok=True)
    loads = {}
    with duckdb.connect(str(store)) as connection:
        for table in TABLES[suite]:
            started = time.perf_counter()
            connection.execute(f"create table {table} as from '{parquet(data, suite, table)}'")
            seconds = time.perf_counter() - started
            loads[table] = {"rows": connection.execute(f"select count(*) from {table}").fetchone()[0], "seconds": seconds}
    return loads


def drop_caches():
    """Empties the page cache. Tells whether it could."""
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    except OSError:
        return False


class Opened:
    """One engine, started; for Tarn with its server."""

    def __init__(self, engine, suite, data, store):
        self.server = Server(TARN, store) if engine == "tarn" else None
        self.worker = Worker(engine, suite, data, store, self.server.url if self.server else "")

    def __enter__(self):
        return self.worker

    def __exit__(self, *_):
        self.worker.stop()
        if self.server:
            self.server.stop()


def measure_hot(engine, suite, data, store, runs):
    results, rows = {}, {}
    with Opened(engine, suite, data, store) as worker:
        for name, sql in queries(suite).items():
            try:
                rows[name] = worker.run(sql)["rows"]
                results[name] = statistics.median(worker.run(sql)["seconds"] for _ in range(runs))
            except RuntimeError as error:
                results[name] = {"error": str(error)[:300]}
            print(f"  {engine:20} {name:6} hot  {results[name]}", flush=True)
    return results, rows


def measure_cold(engine, suite, data, store, runs):
    results = {}
    for name, sql in queries(suite).items():
        times = []
        try:
            for _ in range(runs):
                drop_caches()
                with Opened(engine, suite, data, store) as worker:
                    times.append(worker.run(sql)["seconds"])
            results[name] = statistics.median(times)
        except RuntimeError as error:
            results[name] = {"error": str(error)[:300]}
        print(f"  {engine:20} {name:6} cold {results[name]}", flush=True)
    return results


def compare(rows):
    """Queries whose answers differ from DuckDB's, with the first difference."""
    from compare import assert_same_rows

    def number(value):
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value[:10] if re.match(r"\d{4}-\d\d-\d\d 00:00:00$", value) else value

    wrong = {}
    reference = rows.get("duckdb", {})
    for engine, answers in rows.items():
        for name, answer in answers.items():
            if name in reference:
                plain = [[[number(v) for v in row] for row in table] for table in (answer, reference[name])]
                try:
                    assert_same_rows(*plain, f"{engine} {name}")
                except AssertionError as error:
                    wrong.setdefault(engine, {})[name] = str(error)[:300]
    return wrong


def median_ms(call, runs):
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def latency(store, suite, runs=2000):
    """Medians over Flight SQL: `SELECT 1`, and an aggregate with a filter over a table of one tablet. A plain client makes
    the two calls of a statement; ADBC's cursor prepares every statement and closes it, which makes four."""
    server, result = Server(TARN, store), {}
    statements = {
        "SELECT 1": "select 1",
        "one-tablet filtered aggregate": f"select count(*), sum(c_custkey) from {suite}.customer where c_custkey = 42",
    }
    try:
        time.sleep(10)
        result["server idle, MiB"] = server.resident_mib()
        plain = engines.FlightClient(server.url)
        with connect_tarn(server.url, suite) as connection, connection.cursor() as cursor:
            for name, sql in statements.items():
                result[f"{name} p50, ms"] = median_ms(lambda: plain.run(sql), runs)
                result[f"{name} p50 through ADBC, ms"] = median_ms(lambda: cursor.execute(sql).fetchall(), runs)
    finally:
        server.stop()
    return result


def coordinator_memory(folder):
    """Resident memory of a coordinator that has nothing to do, in MiB."""
    from cluster import Cluster

    shutil.rmtree(folder, ignore_errors=True)
    cluster = Cluster(folder)
    from cluster import address

    listen, flight = address(), address()
    node = cluster.add("coordinator", "coordinator-1", {
        "node_id": 1, "listen": listen, "flight": flight, "initial_voters": {"1": listen}}, flight)
    node.start().wait_ready()
    try:
        time.sleep(15)
        status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024
    finally:
        cluster.stop()


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1)) / 2**20
    import datafusion
    import duckdb

    return {
        "cpu": f"{os.cpu_count()} x {cpu}", "memory_gib": round(memory, 1), "system": platform.platform(),
        "date": datetime.date.today().isoformat(), "duckdb": duckdb.__version__, "datafusion": datafusion.__version__,
        "page cache dropped before cold runs": os.access("/proc/sys/vm/drop_caches", os.W_OK),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", default="ssb,tpch", type=lambda t: t.split(","))
    parser.add_argument("--scales", default="1,10", type=lambda t: [float(s) for s in t.split(",")])
    parser.add_argument("--engines", default=",".join(ENGINES), type=lambda t: t.split(","))
    parser.add_argument("--runs", default=5, type=int)
    parser.add_argument("--cold-runs", default=5, type=int, help="0: none")
    parser.add_argument("--append", action="store_true")
    parser.add_argument("--data", default=pathlib.Path.home() / ".cache/tarn/bench", type=pathlib.Path)
    parser.add_argument("--out", default=ROOT / "docs" / "benchmarks", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["bench/run.py", *sys.argv[1:]])
    results = {"machine": machine(), "suites": []}
    if arguments.append:
        results["suites"] = json.loads((arguments.out / "results.json").read_text())["suites"]
    for suite in arguments.suites:
        for scale in arguments.scales:
            name = f"{suite}-{scale:g}"
            data = arguments.data / name
            print(f"{name}: generating", flush=True)
            generate(suite, scale, data)
            before = [e for e in results["suites"] if (e["suite"], e["scale"]) == (suite, scale)]
            entry = before[0] if before else {
                "suite": suite, "scale": scale, "hot": {}, "cold": {}, "load": {}, "wrong": {}, "runs": {}}
            stores = {"tarn": arguments.data / f"{name}-tarn", "duckdb": arguments.data / f"{name}.duckdb"}
            rows = {}
            for engine in arguments.engines:
                store = stores.get(engine, "")
                load = {"tarn": load_tarn, "duckdb": load_duckdb}.get(engine)
                if load:
                    print(f"{name}: loading into {engine}", flush=True)
                    entry["load"][engine] = load(suite, data, store)
                if arguments.runs:
                    entry["runs"]["hot"] = arguments.runs
                    entry.setdefault("commands", {})["hot"] = command
                    entry["hot"][engine], rows[engine] = measure_hot(engine, suite, data, store, arguments.runs)
                if arguments.cold_runs:
                    entry["runs"]["cold"] = arguments.cold_runs
                    entry.setdefault("commands", {})["cold"] = command
                    entry["cold"][engine] = measure_cold(engine, suite, data, store, arguments.cold_runs)
            entry["wrong"] = compare(rows) if "duckdb" in rows else entry["wrong"]
            if "tarn" in arguments.engines:
                if suite == "ssb" and arguments.runs:
                    entry["latency"] = latency(stores["tarn"], suite)
                shutil.rmtree(stores["tarn"], ignore_errors=True)
            results["suites"] = [e for e in results["suites"] if e not in before] + [entry]
            results["suites"].sort(key=lambda e: (e["suite"], e["scale"]))
            # After each data set: a run that is stopped leaves what it has measured.
            (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if "tarn" in arguments.engines:
        results["coordinator idle, MiB"] = coordinator_memory(arguments.data / "coordinator")
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, arguments.out)
    print(f"written to {arguments.out}")
    wrong = [entry["wrong"] for entry in results["suites"] if entry["wrong"]]
    if wrong:
        sys.exit(f"answers differ: {json.dumps(wrong, indent=1)}")


if __name__ == "__main__":
    main()
