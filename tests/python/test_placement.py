"""Where replicas are placed: by the room on disks and by the locations that tables are for."""

import pytest

from cluster import Cluster, address, wait_for

pytestmark = pytest.mark.faults

TABLE = "create table d.{} (k int) duplicate key (k) distributed by hash (k) buckets 4"


def nodes(cluster):
    return {row["Address"]: row for row in cluster.table("show storage nodes")}


def tablets(cluster, node):
    return int(nodes(cluster)[node.grpc]["Tablets"])


def add_storage(cluster, name, **settings):
    seeds = [node.grpc for node in cluster.of_role("coordinator")]
    node = cluster.add("storage-node", name, {"listen": address(), "coordinators": seeds, **settings})
    node.start().wait_ready()
    return node


def copies(cluster, table):
    created = cluster.rows(f"show create table d.{table}")[0][1]
    return int(created.split('"replication_num" = "')[1].split('"')[0])


@pytest.fixture
def cluster(tmp_path):
    # Nodes stay as full as they are: what moves, moves for a reason.
    cluster = Cluster.three(tmp_path, storage=2, compute=1, coordinator={"balance_replicas": False})
    cluster.run("create database d")
    yield cluster
    cluster.stop()


def test_a_node_whose_disk_fills_up_takes_what_no_other_can_and_a_full_one_nothing(cluster):
    first, second = cluster.of_role("storage")
    # Any disk is as full as that.
    low = add_storage(cluster, "storage-low", disk_warn_percent=1)
    wait_for("its level", lambda: (row := nodes(cluster).get(low.grpc)) and row["DiskLevel"] == "LOW", 30)
    assert nodes(cluster)[first.grpc]["DiskLevel"] == "OK"

    cluster.run(TABLE.format("three"))
    assert copies(cluster, "three") == 3
    assert tablets(cluster, low) == 4
    cluster.run(TABLE.format("two") + ' properties ("replication_num" = "2")', "insert into d.two values (1), (2), (3)")
    assert tablets(cluster, low) == 4
    with pytest.raises(Exception, match="replication num should be less than or equal"):
        cluster.run(TABLE.format("four") + ' properties ("replication_num" = "4")')

    # No other node is left for what the second one has.
    cluster.run("drop table d.three", f'alter system decommission backend "{second.grpc}"')
    wait_for("it to be empty", lambda: tablets(cluster, second) == 0, 60)
    assert tablets(cluster, low) == 4
    assert cluster.scalar("select sum(k) from d.two") == 6
    cluster.run(f'cancel decommission backend "{second.grpc}"')

    full = add_storage(cluster, "storage-full", disk_warn_percent=1, disk_refuse_percent=2)
    wait_for("its level", lambda: (row := nodes(cluster).get(full.grpc)) and row["DiskLevel"] == "FULL", 30)
    with pytest.raises(Exception, match="replication num should be less than or equal"):
        cluster.run(TABLE.format("four") + ' properties ("replication_num" = "4")')
    cluster.run(TABLE.format("default"))
    assert (copies(cluster, "default"), tablets(cluster, full)) == (3, 0)


def test_tables_lie_at_their_locations_and_move_when_these_change(cluster):
    first, second = cluster.of_role("storage")
    third = add_storage(cluster, "storage-third", disk_warn_percent=94)
    for node, location in [(first, "rack:r1"), (second, "rack:r2"), (third, "zone:z1")]:
        cluster.run(f'alter system modify backend "{node.grpc}" set ("labels.location" = "{location}")')

    properties = ' properties ("labels.location" = "rack:*", "replication_num" = "2")'
    cluster.run(TABLE.format("t") + properties, "insert into d.t values (1), (2), (3)")
    assert [tablets(cluster, node) for node in (first, second, third)] == [4, 4, 0]
    assert '"labels.location" = "rack:*"' in cluster.rows("show create table d.t")[0][1]
    with pytest.raises(Exception, match="Cannot find any backend with location: rack:r9"):
        cluster.run('alter table d.t set ("labels.location" = "rack:r1, rack:r9")')
    with pytest.raises(Exception, match="replication num should be less than or equal"):
        cluster.run('alter table d.t set ("labels.location" = "rack:r1")')

    cluster.run('alter table d.t set ("labels.location" = "rack:r2, zone:*")')
    wait_for("the tablets to move", lambda: [tablets(cluster, n) for n in (first, second, third)] == [0, 4, 4], 60)
    assert cluster.scalar("select sum(k) from d.t") == 6
    # Where the nodes stand counts, too.
    cluster.run(f'alter system modify backend "{third.grpc}" set ("labels.location" = "zone:z2")')
    cluster.run(f'alter system modify backend "{second.grpc}" set ("labels.location" = "")')
    cluster.run(f'alter system modify backend "{first.grpc}" set ("labels.location" = "zone:z1")')
    wait_for("the tablets to move", lambda: [tablets(cluster, n) for n in (first, second, third)] == [4, 0, 4], 60)
    cluster.run("insert into d.t values (4)")
    assert cluster.scalar("select sum(k) from d.t") == 10
