"""What operators do to a cluster of processes: look at it, change its members, move its work, stop its parts."""

import os
import re
import time

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from cluster import SPREAD, Cluster, address, wait_for

# A dead node is noticed within this time; the margin is for busy machines.
NOTICED_SECONDS, MARGIN_SECONDS = 5, 5
TABLE = "create table {} (a bigint, b int) duplicate key (a) distributed by hash (a) buckets 8"
GROUPS = "select b, count(*) from d.t group by b"
# Enough for several partitions, so that each node gets some.
ROWS = 200_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster.three(tmp_path_factory.mktemp("admin"), compute=3)
    cluster.run("create database d", TABLE.format("d.t"), f"insert into d.t select value, 1 from range(0, {ROWS})")
    wait_for("every node to be heard everywhere", lambda: all(
        member["alive"]
        for coordinator in cluster.of_role("coordinator")
        for status in [cluster.status(coordinator)]
        for member in status["coordinators"] + status["nodes"]
    ), 20)
    yield cluster
    cluster.kill_all()


def done(output):
    assert output.returncode == 0, output.stderr
    return output.stdout


def refused(output, words):
    assert output.returncode == 1 and words in output.stderr and output.stderr.count("\n") == 1, output


def member(cluster, node):
    """What `tarn admin status` says of a storage or compute node."""
    return next(n for n in cluster.status()["nodes"] if n["address"] == node.grpc)


def roles(cluster):
    return {c["node_id"]: c["role"] for c in cluster.status()["coordinators"]}


def tasks(node):
    """Tasks that a compute node has taken on so far."""
    families = text_string_to_metric_families(node.get("/metrics")[1])
    return sum(s.value for f in families for s in f.samples if s.name == "tarn_compute_tasks_total")


def test_status_tells_every_member(cluster):
    status = cluster.status()
    assert re.fullmatch(r"[0-9a-f-]{36}", status["cluster_id"])
    assert sorted(roles(cluster).values()) == ["leader", "voter", "voter"]
    assert {c["address"] for c in status["coordinators"]} == {n.grpc for n in cluster.of_role("coordinator")}
    assert {c["flight_address"] for c in status["coordinators"]} == {n.flight for n in cluster.of_role("coordinator")}
    assert {n["address"]: n["role"] for n in status["nodes"]} == {
        **{n.grpc: "storage" for n in cluster.of_role("storage")},
        **{n.grpc: "compute" for n in cluster.of_role("compute")},
    }
    assert all(n["alive"] and not n["draining"] and n["last_heartbeat_age_ms"] < 5000 for n in status["nodes"])
    text = done(cluster.admin("status"))
    assert status["cluster_id"] in text and all(n.grpc in text for n in cluster.nodes.values())


@pytest.mark.parametrize(("statement", "prefix", "role"), [
    ("show coordinators", "coordinator", "LEADER|FOLLOWER"), ("show compute nodes", "compute", "COMPUTE NODE"),
    ("show storage nodes", "storage", "STORAGE NODE"),
])
def test_sql_tells_role_address_version_load_and_capacity(cluster, statement, prefix, role):
    for coordinator in cluster.of_role("coordinator"):
        rows = cluster.table(statement, node=coordinator)
        assert {row["Address"] for row in rows} == {n.grpc for n in cluster.of_role(prefix)}
        for row in rows:
            assert re.fullmatch(role, row["Role"]) and row["Alive"] == "true" and row["Version"], row
            assert re.fullmatch(r"\d+\.\d %", row["CpuUsed"]) and float(row["CpuUsed"][:-2]) <= 100, row
            assert 1 <= int(row["CpuCores"]) <= len(os.sched_getaffinity(0)), row
            assert re.fullmatch(r"\d+(\.\d+)?[KMGT]B", row["MemTotal"]), row
            assert re.fullmatch(r"\d+(\.\d+)?[KMGT]B", row["DiskTotal"]), row
            assert row["MemUsed"] != "0B" and re.fullmatch(r"\d\.\d ?s", row["LastHeartbeat"]), row


def test_storage_nodes_tell_their_tablets(cluster):
    assert sum(int(row["Tablets"]) for row in cluster.table("show storage nodes")) >= 8


def test_reflection_describes_the_admin_service(cluster):
    with grpc.insecure_channel(cluster.entry().grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"tarn.v1.AdminService", "tarn.v1.CoordinatorService", "grpc.health.v1.Health"} <= set(database.get_services())
        method = DescriptorPool(database).FindServiceByName("tarn.v1.AdminService").methods_by_name["ClusterStatus"]
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(
            "/tarn.v1.AdminService/ClusterStatus", lambda message: message.SerializeToString(), answer.FromString,
        )
        assert call(request(), timeout=10).cluster_id == cluster.status()["cluster_id"]


def test_every_node_answers_health_checks(cluster):
    services = {"coordinator": "tarn.v1.AdminService", "storage": "tarn.v1.StorageService", "compute": ""}
    for prefix, service in services.items():
        for node in cluster.of_role(prefix):
            with grpc.insecure_channel(node.grpc) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                for name in {"", service}:
                    answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING, (node.name, name)


def test_leadership_is_handed_over_on_demand(cluster):
    leader = cluster.leader()
    heir = next(n for n in cluster.of_role("coordinator") if n is not leader)
    number = int(heir.name.rpartition("-")[2])
    assert done(cluster.admin("transfer-leadership", "--to", number)) == f"coordinator {number} leads\n"
    wait_for("all to follow", lambda: all(
        cluster.status(n)["leader_id"] == number for n in cluster.of_role("coordinator")
    ), 10)
    assert cluster.leader() is heir
    # Any follower may be asked; any other voter takes over.
    done(cluster.admin("transfer-leadership", node=leader))
    assert cluster.leader() is not heir
    refused(cluster.admin("transfer-leadership", "--to", 99), "is not a member")


def test_a_snapshot_is_taken_on_the_coordinator_that_is_asked(cluster):
    for node in cluster.of_role("coordinator"):
        cluster.run(f"create database snapshot_{node.name[-1]}")
        index = int(re.fullmatch(r"snapshot at log index (\d+)\n", done(cluster.admin("snapshot", node=node)))[1])
        status = cluster.status(node)
        assert 0 < index == status["snapshot_index"] <= status["last_log_index"]


def test_a_drained_compute_node_gets_no_work(cluster):
    drained, *others = cluster.of_role("compute")
    wait_for("queries to spread", lambda: cluster.is_spread(GROUPS, settings=SPREAD))
    number = member(cluster, drained)["node_id"]
    assert done(cluster.admin("drain", number)) == f"node {number} gets no new work\n"
    wait_for("the node to know", lambda: drained.get("/readyz")[0] == 503, 10)
    assert {r["Address"]: r["Draining"] for r in cluster.table("show compute nodes")}[drained.grpc] == "true"
    # Each coordinator looks again at once in a while.
    wait_for("plans without it", lambda: spread(cluster, drained) == 0, 10)
    before = sum(map(tasks, others))
    assert sum(spread(cluster, drained) for _ in range(5)) == 0
    assert sum(map(tasks, others)) > before
    assert done(cluster.admin("undrain", number)) == f"node {number} gets work again\n"
    wait_for("the node to be ready", drained.ready, 10)
    wait_for("work for it", lambda: spread(cluster, drained) > 0, 10)


def spread(cluster, node):
    """Tasks that `node` takes on for one query of each coordinator."""
    before = tasks(node)
    for coordinator in cluster.of_role("coordinator"):
        assert cluster.rows(GROUPS, node=coordinator, settings=SPREAD) == [(1, ROWS)]
    return tasks(node) - before


def test_a_drained_storage_node_gets_no_tablets(cluster):
    drained, other = cluster.of_role("storage")
    number = member(cluster, drained)["node_id"]
    done(cluster.admin("drain", number))
    cluster.run(TABLE.format("d.elsewhere"), "insert into d.elsewhere values (1, 1)")
    tablets = {r["Address"]: int(r["Tablets"]) for r in cluster.table("show storage nodes")}
    # Before it is balanced.
    nodes = {value for row in cluster.table("show tablets from d.elsewhere") for value in map(str, row.values())}
    done(cluster.admin("undrain", number))
    cluster.run(TABLE.format("d.both"))
    after = {r["Address"]: int(r["Tablets"]) for r in cluster.table("show storage nodes")}
    assert tablets[other.grpc] >= 8 and after[drained.grpc] > tablets[drained.grpc]
    assert str(number) not in nodes and str(member(cluster, other)["node_id"]) in nodes
    assert cluster.scalar("select count(*) from d.elsewhere") == 1


def test_what_cannot_be_done_is_refused_in_a_line(cluster):
    alive = member(cluster, cluster.of_role("compute")[0])["node_id"]
    refused(cluster.admin("drain", 4242), "not registered")
    refused(cluster.admin("remove-node", alive), "is alive: stop it first")
    # Drained or not: its next heartbeat would bring it back.
    done(cluster.admin("drain", alive))
    refused(cluster.admin("remove-node", alive), "is alive: stop it first")
    done(cluster.admin("undrain", alive))
    wait_for("the node to be ready", cluster.of_role("compute")[0].ready, 10)
    refused(cluster.admin("remove-coordinator", 77), "is not a member")
    nowhere = address()
    refused(cluster.admin("add-coordinator", 5, nowhere), f"no coordinator answers at {nowhere}: start it first")
    assert 5 not in roles(cluster)


def test_a_dead_compute_node_is_noticed_forgotten_and_comes_back(cluster, record_property):
    victim = cluster.of_role("compute")[2]
    number = member(cluster, victim)["node_id"]
    victim.kill()
    killed = time.monotonic()

    def noticed(coordinator):
        alive = {r["Address"]: r["Alive"] for r in cluster.table("show compute nodes", node=coordinator)}
        return alive[victim.grpc] == "false"

    wait_for(
        "every coordinator to notice", lambda: all(map(noticed, cluster.of_role("coordinator"))),
        NOTICED_SECONDS + MARGIN_SECONDS,
    )
    record_property("dead_node_noticed_after_s", round(time.monotonic() - killed, 2))
    assert done(cluster.admin("remove-node", number)) == f"node {number} removed\n"
    assert victim.grpc not in {n["address"] for n in cluster.status()["nodes"]}
    assert cluster.rows(GROUPS, settings=SPREAD) == [(1, ROWS)]
    victim.start().wait_ready()
    assert member(cluster, victim)["alive"]


def test_a_coordinator_joins_as_an_observer_votes_and_leaves(cluster):
    flight = address()
    new = cluster.add("coordinator", "coordinator-4", {"node_id": 4, "listen": address(), "flight": flight}, flight).start()
    wait_for("it to answer", lambda: new.get("/readyz") == (503, "not ready: no coordinator leads\n"), 20)
    assert done(cluster.admin("add-coordinator", 4, new.grpc, "--observer")) == "coordinator 4 added as an observer\n"
    assert roles(cluster)[4] == "observer"
    new.wait_ready()
    wait_for("it to be heard", lambda: {
        r["Id"]: (r["Role"], r["Alive"], r["FlightAddress"]) for r in cluster.table("show coordinators")
    }["4"] == ("OBSERVER", "true", flight), 10)
    # It answers, and forwards what only the leader can do.
    assert cluster.scalar("select count(*) from d.t", node=new) == ROWS
    cluster.run("create database by_observer", node=new)
    assert ("by_observer",) in cluster.rows("show databases")
    refused(cluster.admin("add-coordinator", 4, address()), f"is a member at {new.grpc}: remove it first")
    assert done(cluster.admin("add-coordinator", 4, new.grpc)) == "coordinator 4 added as a voter\n"
    assert roles(cluster)[4] == "voter"
    done(cluster.admin("transfer-leadership", "--to", 4))
    assert cluster.leader() is new
    # A leader that removes itself steps down.
    assert done(cluster.admin("remove-coordinator", 4)) == "coordinator 4 removed\n"
    wait_for("the others to lead", lambda: cluster.leader() is not new, 10)
    assert 4 not in roles(cluster)
    wait_for("it to be no more ready", lambda: new.get("/readyz")[0] == 503, 20)
    new.terminate()
    del cluster.nodes["coordinator-4"]


def test_a_terminated_leader_hands_over_before_it_ends(cluster):
    leader = cluster.leader()
    assert leader.terminate() == 0, leader.tail()
    # By the time it has ended another one leads: nobody waits for an election.
    assert "handed leadership over" in leader.tail()
    assert cluster.leader() is not leader
    cluster.run("create database after_the_leader")
    leader.start().wait_ready()
    assert ("after_the_leader",) in cluster.rows("show databases", node=leader)


def test_without_a_majority_a_coordinator_is_not_ready_and_still_answers(cluster):
    last, *others = cluster.of_role("coordinator")
    for node in others:
        node.kill()
    wait_for("readiness to end", lambda: last.get("/readyz")[0] == 503, NOTICED_SECONDS + MARGIN_SECONDS)
    assert last.get("/healthz") == (200, "ok\n")
    assert {r["Id"]: r["Alive"] for r in cluster.table("show coordinators", node=last)} == {"1": "true", "2": "false", "3": "false"}
    assert cluster.scalar("select count(*) from d.t", node=last) == ROWS
    for node in others:
        node.start()
    for node in others:
        node.wait_ready()
    last.wait_ready()
    cluster.run("create database majority")
