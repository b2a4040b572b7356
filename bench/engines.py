"""The engines that are compared. Each runs in a process of its own, so that a cold run can begin with a new one.

A worker process reads statements from its standard input, one JSON text a line, and answers each with a line of JSON:
the seconds it took to fetch all rows, and the rows.
"""

import json
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "python"))

ENGINES = ["tarn", "duckdb", "duckdb-parquet", "datafusion-parquet"]
TITLES = {
    "tarn": "Tarn", "duckdb": "DuckDB", "duckdb-parquet": "DuckDB on Parquet",
    "datafusion-parquet": "DataFusion on Parquet",
}
TABLES = {
    "ssb": ["dates", "customer", "supplier", "part", "lineorder"],
    "tpch": ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"],
}


def parquet(data, suite, table):
    return f"{data}/{table}/*.parquet" if suite == "ssb" else f"{data}/{table}.parquet"


class Server:
    """`tarn dev` over one data folder."""

    def __init__(self, tarn, folder):
        from cluster import address

        self.flight, self.http, self.grpc = address(), address(), address()
        self.log = open(f"{folder}.log", "ab")
        self.process = subprocess.Popen(
            [str(tarn), "dev", "--data", str(folder), "--flight", self.flight, "--http", self.http],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        deadline = time.monotonic() + 60
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"tarn dev did not start: see {folder}.log")
            time.sleep(0.05)

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    @property
    def url(self):
        return f"grpc://{self.flight}"

    def resident_mib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class FlightClient:
    """The two calls that Flight SQL has for a statement, and nothing else."""

    def __init__(self, url):
        import pyarrow.flight as flight

        self.flight = flight
        self.client = flight.connect(url.replace("grpc://", "grpc+tcp://"))
        self.options = flight.FlightCallOptions(headers=[self.client.authenticate_basic_token("root", "")])

    def run(self, sql):
        command = self.flight.FlightDescriptor.for_command(any_of("CommandStatementQuery", field(1, sql.encode())))
        endpoint = self.client.get_flight_info(command, self.options).endpoints[0]
        return self.client.do_get(endpoint.ticket, self.options).read_all()


def field(number, data):
    """A length-delimited field of a protobuf message."""
    length, size = len(data), b""
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def any_of(message, data):
    return field(1, f"type.googleapis.com/arrow.flight.protocol.sql.{message}".encode()) + field(2, data)


class Worker:
    """A process that runs statements in one engine."""

    def __init__(self, engine, suite, data, store, url=""):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "engines.py"), engine, suite, str(data), str(store), url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{engine} did not start")

    def run(self, sql):
        self.process.stdin.write(json.dumps(sql) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the engine's process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def connect_tarn(url, database=None):
    import adbc_driver_flightsql.dbapi as flight_sql
    from adbc_driver_flightsql import DatabaseOptions

    options = {"username": "root", "password": "", DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(256 << 20)}
    connection = flight_sql.connect(url, db_kwargs=options, autocommit=True)
    if database:
        with connection.cursor() as cursor:
            cursor.execute(f"use {database}")
    return connection


def opened(engine, suite, data, store, url):
    """A function that runs a statement and returns an Arrow table."""
    if engine == "tarn":
        connection = connect_tarn(url, suite)

        def run(sql):
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetch_arrow_table()

        return run
    if engine.startswith("duckdb"):
        import duckdb

        own = engine == "duckdb"
        connection = duckdb.connect(store if own else ":memory:", read_only=own)
        if not own:
            for table in TABLES[suite]:
                connection.execute(f"create view {table} as from '{parquet(data, suite, table)}'")
        return lambda sql: connection.sql(sql).to_arrow_table()
    import datafusion
    import pyarrow as pa

    context = datafusion.SessionContext()
    for table in TABLES[suite]:
        path = f"{data}/{table}/" if suite == "ssb" else parquet(data, suite, table)
        context.register_parquet(table, path)

    def run(sql):
        frame = context.sql(sql)
        return pa.Table.from_batches(frame.collect(), schema=frame.schema())

    return run


def serve(engine, suite, data, store, url):
    run = opened(engine, suite, data, store, url)
    print("ready", flush=True)
    for line in sys.stdin:
        sql = json.loads(line)
        try:
            started = time.perf_counter()
            table = run(sql)
            seconds = time.perf_counter() - started
            rows = [list(row.values()) for row in table.to_pylist()] if table.num_rows <= 100_000 else []
            answer = {"seconds": seconds, "count": table.num_rows, "rows": rows}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:6])
