"""Starts, kills and restarts real `tarn` processes on loopback."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path.home() / ".cache/tarn/target"))
TARN = TARGET / "release" / "tarn"
SSB_GEN = TARGET / "release" / "tarn-ssb-gen"

# A server that is not up by then will not be.
START_SECONDS = 60
# Makes compute nodes take part in queries of any size; else they do only in large ones.
SPREAD = {"scan_bytes_per_task": 1}
# Between two looks at a condition.
POLL_SECONDS = 0.05


def wait_for(what, condition, seconds=START_SECONDS):
    """The condition's first true value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except Exception as error:  # the condition may fail while a node is away
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s; last error: {last!r}") from last
        time.sleep(POLL_SECONDS)


def free_port(given=set()):
    """A free port below the range that the kernel gives to outgoing connections, another one at each call."""
    while True:
        port = random.randint(15000, 31000)
        if port in given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        given.add(port)
        return port


def address():
    return f"127.0.0.1:{free_port()}"


def without_settings(**more):
    """This process's environment without Tarn's variables, and with `more`."""
    return {k: v for k, v in os.environ.items() if not k.startswith("TARN_")} | more


def tarn(*arguments, environment=None, **options):
    """Runs a client command to its end."""
    return subprocess.run(
        [str(TARN), *map(str, arguments)], env=without_settings(**(environment or {})),
        **{"capture_output": True, "text": True, "timeout": 60, **options},
    )


class Node:
    """One process."""

    def __init__(self, folder, name, arguments, http, flight=None, grpc=None):
        self.name, self.arguments, self.http, self.flight, self.grpc = name, arguments, http, flight, grpc
        self.log = folder / f"{name}.log"
        self.environment = {}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(TARN), *map(str, self.arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=without_settings(**self.environment),
            )
        return self

    def get(self, path):
        """Status and text of an HTTP answer."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            assert time.monotonic() < deadline, f"{self.name} is not ready:\n{self.tail()}"
            time.sleep(POLL_SECONDS)
        return self

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM, and waits for the graceful end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def tail(self, lines=40):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


class Cluster:
    """Some nodes, and clients of them."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.nodes = {}
        # How clients connect.
        self.scheme, self.options = "grpc", {}

    @classmethod
    def dev(cls, folder, *more, scheme="grpc", options=None):
        """Every role in one process, started with `more` arguments."""
        cluster = cls(folder)
        cluster.scheme, cluster.options = scheme, options or {}
        flight, http, grpc = address(), address(), address()
        cluster.nodes["dev"] = Node(
            cluster.folder, "dev",
            ["dev", "--data", cluster.folder / "data", "--flight", flight, "--http", http,
             "--set", f"coordinator.listen={grpc}", *more],
            http, flight, grpc,
        )
        return cluster.start()

    @classmethod
    def three(cls, folder, storage=2, compute=2, coordinator=None, **settings):
        """Three coordinators, storage nodes and compute nodes, each its own process, with `settings` of all and those of
        coordinators."""
        cluster = cls(folder)
        coordinators = {i: address() for i in (1, 2, 3)}
        seeds = list(coordinators.values())
        for i, listen in coordinators.items():
            flight = address()
            cluster.add("coordinator", f"coordinator-{i}", {
                "node_id": i, "listen": listen, "flight": flight,
                "initial_voters": {str(k): v for k, v in coordinators.items()}, **settings, **(coordinator or {}),
            }, flight)
        for i in range(1, storage + 1):
            cluster.add("storage-node", f"storage-{i}", {
                # Replicas move on a machine whose disk fills up, too.
                "listen": address(), "coordinators": seeds, "disk_warn_percent": 94, **settings,
            })
        for i in range(1, compute + 1):
            cluster.add("compute-node", f"compute-{i}", {"listen": address(), "coordinators": seeds, **settings})
        return cluster.start()

    def add(self, role, name, settings, flight=None):
        http = address()
        data = self.folder / name
        settings = {"http": http, "data": str(data), **settings}
        lines, tables = [], []
        for key, value in settings.items():
            if isinstance(value, dict):
                tables.append(f"[{key}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in value.items()))
            else:
                lines.append(f"{key} = {json.dumps(value)}")
        file = self.folder / f"{name}.toml"
        file.write_text("\n".join([*lines, *tables]) + "\n")
        self.nodes[name] = Node(self.folder, name, [role, "--config", file], http, flight, settings["listen"])
        return self.nodes[name]

    def start(self):
        for node in self.nodes.values():
            if not node.running():
                node.start()
        for node in self.nodes.values():
            node.wait_ready()
        wait_for("the first statement", lambda: self.scalar("select 1") == 1)
        wait_for("every coordinator to know every node", self.is_acquainted)
        return self

    def is_acquainted(self):
        coordinators = [node for node in self.nodes.values() if node.flight and node.running()]
        return all(
            {node.grpc for node in self.of_role(role) if node.running()}
            <= {row["Address"] for row in self.table(f"show {role} nodes", coordinator) if row["Alive"] == "true"}
            for coordinator in coordinators for role in ("storage", "compute")
        )

    def stop(self):
        for node in self.nodes.values():
            if node.running():
                node.process.terminate()
        for node in self.nodes.values():
            if node.process is not None:
                try:
                    node.process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    node.kill()

    def kill_all(self):
        for node in self.nodes.values():
            if node.running():
                node.process.kill()
        for node in self.nodes.values():
            node.process.wait()

    def of_role(self, prefix):
        return [node for name, node in self.nodes.items() if name.startswith(prefix)]

    def entry(self):
        """A running node that speaks Flight SQL."""
        return next(node for node in self.nodes.values() if node.flight and node.running())

    @property
    def url(self):
        return f"{self.scheme}://{self.entry().flight}"

    def connect(self, node=None, database=None, settings=None, **options):
        flight = (node or self.entry()).flight
        connection = flight_sql.connect(
            f"{self.scheme}://{flight}",
            db_kwargs={
                "username": "root", "password": "", DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(256 << 20),
                **self.options, **options,
            },
            autocommit=True,
        )
        first = [f"use {database}"] if database else []
        first += [f"set {name} = {value}" for name, value in (settings or {}).items()]
        for sql in first:
            with connection.cursor() as cursor:
                cursor.execute(sql)
        return connection

    def rows(self, sql, node=None, database=None, settings=None):
        with self.connect(node, database, settings) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def table(self, sql, node=None):
        """Rows as dictionaries of column name to value."""
        with self.connect(node) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def scalar(self, sql, node=None, database=None, settings=None):
        return self.rows(sql, node, database, settings)[0][0]

    def is_spread(self, sql, database=None, settings=None):
        """Whether several tasks on compute nodes run the query."""
        plan = self.rows(f"explain {sql}", database=database, settings=settings)
        return any(int(tasks) > 1 for (line,) in plan for tasks in re.findall(r"Stage \d+ ── tasks=(\d+)", line))

    def run(self, *statements, node=None, database=None):
        """Runs statements that return no rows."""
        with self.connect(node, database) as connection, connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)

    def sql(self, *arguments, **options):
        """`tarn sql`."""
        return tarn("sql", "--url", self.url, *arguments, **options)

    def admin(self, *arguments, node=None):
        """`tarn admin`."""
        return tarn("admin", "--coordinator", (node or self.entry()).grpc, *arguments)

    def status(self, node=None):
        """`tarn admin status`."""
        output = self.admin("status", "--json", node=node)
        assert output.returncode == 0, output.stderr
        return json.loads(output.stdout)

    def leader(self):
        """The coordinator that leads, as its followers agree."""
        def find():
            status = self.status()
            name = f"coordinator-{status['leader_id']}"
            return self.nodes[name] if self.nodes.get(name) and self.nodes[name].running() else None
        return wait_for("a leader", find, 15)

    def cpu_seconds(self, prefix, during):
        """CPU that the running nodes of a role take in so many seconds."""
        def taken():
            stats = (pathlib.Path(f"/proc/{n.process.pid}/stat").read_text() for n in self.of_role(prefix) if n.running())
            # User and system time, in ticks; the name before the parenthesis may hold spaces.
            return sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats)
        before = taken()
        time.sleep(during)
        return (taken() - before) / os.sysconf("SC_CLK_TCK")

    def tails(self):
        return "\n".join(f"---- {node.name}\n{node.tail()}" for node in self.nodes.values())


def files(folder, pattern="*.parquet", **properties):
    """A FILES() call."""
    settings = {"path": f"file://{folder}/{pattern}", "format": "parquet", **properties}
    return "FILES(" + ", ".join(f'"{k}" = "{v}"' for k, v in settings.items()) + ")"
