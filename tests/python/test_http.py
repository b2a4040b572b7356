"""`/metrics`, `/healthz` and `/readyz` of every role in a cluster of processes."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster import SPREAD, Cluster, Node, address, wait_for

ROLES = {"coordinator": "coordinator", "storage": "storage-node", "compute": "compute-node"}

# Enough for several partitions, so that each compute node gets some.
ROWS = 200_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster.three(tmp_path_factory.mktemp("http"))
    cluster.run(
        "create database d",
        "create table d.t (a bigint, b int) duplicate key (a) distributed by hash (a) buckets 8",
        f"insert into d.t select value, 1 from range(0, {ROWS})",
    )
    groups = "select b, count(*) from d.t group by b"
    wait_for("queries to spread", lambda: cluster.is_spread(groups, settings=SPREAD))
    assert cluster.rows(groups, settings=SPREAD) == [(1, ROWS)]
    yield cluster
    cluster.kill_all()


def metrics(node):
    status, text = node.get("/metrics")
    assert status == 200
    return list(text_string_to_metric_families(text))


def total(nodes, name, **labels):
    return sum(
        sample.value for node in nodes for family in metrics(node) for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize("prefix", ROLES)
def test_every_role_is_alive_and_ready(cluster, prefix):
    for node in cluster.of_role(prefix):
        assert node.get("/healthz") == (200, "ok\n")
        assert node.get("/readyz") == (200, "ready\n")
        assert node.get("/nothing")[0] == 404


@pytest.mark.parametrize("prefix", ROLES)
def test_every_metric_is_ours_and_described(cluster, prefix):
    for node in cluster.of_role(prefix):
        families = metrics(node)
        names = [family.name for family in families]
        assert len(names) == len(set(names))
        for family in families:
            assert family.name.startswith("tarn_") and family.documentation and family.type != "unknown", (node.name, family)
        [build] = [family for family in families if family.name == "tarn_build_info"]
        [sample] = build.samples
        assert sample.value == 1 and sample.labels["role"] == ROLES[prefix] and sample.labels["version"]


def test_metrics_count_what_was_done(cluster):
    coordinators, storage, compute = (cluster.of_role(prefix) for prefix in ROLES)
    assert total(coordinators, "tarn_raft_is_leader") == 1
    assert total(coordinators, "tarn_gateway_requests_total", outcome="ok") > 0
    assert total(coordinators, "tarn_gateway_request_seconds_count") > 0
    assert total(coordinators, "tarn_load_rows_total") == ROWS
    assert total(coordinators, "tarn_loads_total", outcome="visible") == 1
    assert total(storage, "tarn_tablet_rows_written_total") == ROWS
    assert total(storage, "tarn_tablet_bytes_written_total") > 0
    assert total(compute, "tarn_compute_tasks_total") > 0
    assert total(compute, "tarn_scan_rows_total") > 0
    before = total(coordinators, "tarn_gateway_requests_total", outcome="invalid")
    with pytest.raises(Exception, match="line 1, column 1"):
        cluster.rows("selec 1")
    assert total(coordinators, "tarn_gateway_requests_total", outcome="invalid") > before


@pytest.mark.parametrize(("role", "reason"), [
    ("coordinator", "not ready: no coordinator leads\n"), ("storage-node", "not ready: starting or stopping\n"),
    ("compute-node", "not ready: not registered with a coordinator\n"),
])
def test_a_node_without_its_coordinators_is_alive_and_not_ready(tmp_path, role, reason):
    http = address()
    settings = {"data": tmp_path / "data", "listen": address()}
    settings |= {"flight": address(), "initial_voters.1": settings["listen"], "initial_voters.2": address()} \
        if role == "coordinator" else {"coordinators": f'["{address()}"]'}
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    node = Node(tmp_path, role, [role, "--http", http, *flags], http).start()
    try:
        wait_for("an answer", lambda: node.get("/healthz") == (200, "ok\n"), 20)
        wait_for("its reason", lambda: node.get("/readyz") == (503, reason), 20)
        assert node.terminate() == 0, node.tail()
    finally:
        node.kill()
