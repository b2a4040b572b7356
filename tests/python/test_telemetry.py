"""Logs and traces: what a collector and a reader of the logs get."""

import concurrent.futures
import json
import re
import socket

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from cluster import SPREAD, Node, address, wait_for

QUERY = re.compile(r"^query ([0-9a-f-]{36}): ")


class Collector(trace_grpc.TraceServiceServicer):
    """Keeps the spans that it gets: name, attributes, and attributes of the process."""

    def __init__(self):
        self.spans = []

    def Export(self, request, context):  # noqa: N802
        for group in request.resource_spans:
            process = values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans.extend((span.name, values(span.attributes), process) for span in scope.spans)
        return trace.ExportTraceServiceResponse()


def values(attributes):
    return {a.key: a.value.string_value or a.value.int_value for a in attributes}


@pytest.fixture
def collector():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    collector = Collector()
    trace_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(None)


def query_id(cluster, sql, **options):
    """Runs a query and tells its id."""
    rows = cluster.rows(f"explain analyze {sql}", **options)
    return next(found[1] for row in rows if (found := QUERY.match(row[0])))


def records(node):
    """The log as objects. Every line is one, and no key stands twice in it."""
    def unique(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), keys
        return dict(pairs)

    return [json.loads(line, object_pairs_hook=unique) for line in node.log.read_text().splitlines()]


def ids(record):
    return {record.get("query_id"), *(span.get("query_id") for span in record.get("spans", []))} - {None}


def test_a_collector_gets_the_spans_of_queries(fresh, collector):
    cluster = fresh("dev", "--set", f"otlp_endpoint={collector.address}")
    query = query_id(cluster, "select count(*) from range(0, 1000)")
    node = cluster.entry()
    assert node.terminate() == 0, node.tail()
    # The last spans are sent before the process ends.
    assert query in {attributes.get("query_id") for name, attributes, _ in collector.spans if name == "query"}
    process = collector.spans[0][2]
    assert (process["service.name"], process["tarn.role"]) == ("tarn", "dev") and process["service.version"]
    assert "raft-leadership" in {attributes.get("task") for name, attributes, _ in collector.spans if name == "task"}


@pytest.mark.parametrize("collector", ["refuses", "is silent"])
def test_a_server_serves_and_stops_without_its_collector(fresh, collector):
    with socket.socket() as silent:
        if collector == "is silent":
            silent.bind(("127.0.0.1", 0))
            silent.listen(16)
            endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        else:
            endpoint = f"http://{address()}"
        cluster = fresh("dev", "--set", f"otlp_endpoint={endpoint}")
        assert cluster.scalar("select 1") == 1
        node = cluster.entry()
        node.process.terminate()
        assert node.process.wait(timeout=10) == 0, node.tail()


def test_an_endpoint_that_is_none_is_refused(tmp_path):
    node = Node(tmp_path, "compute", ["compute-node", "--set", "otlp_endpoint=nonsense", "--http", "off"], None).start()
    try:
        assert node.process.wait(timeout=10) == 1
    finally:
        node.kill()
    assert "otlp_endpoint `nonsense` is not of the form http://host:port" in node.tail()


def test_every_node_that_works_for_a_query_logs_its_id(fresh):
    cluster = fresh("three", log="info,tarn=debug", log_format="json")
    cluster.run(
        "create database d",
        "create table d.t (a bigint, b int) duplicate key (a) distributed by hash (a) buckets 8",
        "insert into d.t select value, 1 from range(0, 200000)",
    )
    sql = "select b, count(*) from d.t group by b"
    wait_for("compute nodes to be known", lambda: cluster.is_spread(sql, settings=SPREAD))
    coordinator = cluster.entry()
    query = query_id(cluster, sql, settings=SPREAD)
    with pytest.raises(Exception, match="(?i)absent"):
        cluster.rows("select * from absent")
    for node in [coordinator, *cluster.of_role("compute")]:
        wait_for(f"{node.name} to log the query", lambda node=node: any(query in ids(r) for r in records(node)), 10)
    # Statements of other kinds have ids, too; and what fails is told with its own.
    answered = [r for r in records(coordinator) if r.get("message") == "statement answered"]
    assert len(set.union(*map(ids, answered))) >= 4
    failed = [r for r in records(coordinator) if r.get("message") == "statement failed"]
    assert any("absent" in r["error"] and ids(r) for r in failed), failed
    for node in cluster.nodes.values():
        assert {"timestamp", "level", "message", "target"} <= records(node)[0].keys()
    cluster.kill_all()


def test_a_voter_that_is_down_is_not_told_again_and_again(fresh):
    cluster = fresh("three", storage=1, compute=0)
    leader = cluster.leader()
    all_alive = lambda: all(c["alive"] for c in cluster.status(leader)["coordinators"])  # noqa: E731
    wait_for("every coordinator to be heard", all_alive, 20)
    next(n for n in cluster.of_role("coordinator") if n is not leader).kill()
    wait_for("the loss to be noticed", lambda: not all_alive(), 10)
    lines = [line for line in leader.log.read_text().splitlines() if " WARN " in line or " ERROR " in line]
    assert len(lines) < 10, lines
    cluster.kill_all()
