"""Loading from files: Parquet, CSV and JSON, on local disk and in S3."""

import subprocess
import sys
import urllib.request

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import files, free_port, wait_for

TABLE = "create table t (id bigint, name varchar(20), amount double) duplicate key (id) distributed by hash (id) buckets 2"


@pytest.fixture(scope="session")
def s3():
    """A real S3 server process with one bucket."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        wait_for("the S3 server", lambda: urllib.request.urlopen(endpoint, timeout=2).status == 200)
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="key", aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket="lake")
        client.endpoint = endpoint
        yield client
    finally:
        server.kill()
        server.wait()


def rows(first, count):
    return pa.table({
        "id": pa.array(range(first, first + count), pa.int64()),
        "name": [f"n{i}" for i in range(first, first + count)],
        "amount": [i / 2 for i in range(first, first + count)],
    })


def test_s3_objects_are_loaded_by_glob(cluster, database, s3, tmp_path):
    for i in range(3):
        pq.write_table(rows(i * 100, 100), tmp_path / f"{i}.parquet")
        s3.upload_file(str(tmp_path / f"{i}.parquet"), "lake", f"{database}/{i}.parquet")
    source = (
        f'FILES("path" = "s3://lake/{database}/*.parquet", "format" = "parquet", "aws.s3.endpoint" = "{s3.endpoint}", '
        '"aws.s3.region" = "us-east-1", "aws.s3.access_key" = "key", "aws.s3.secret_key" = "secret", '
        '"aws.s3.enable_path_style_access" = "true", "aws.s3.enable_ssl" = "false")'
    )
    assert cluster.scalar(f"select count(*) from {source}") == 300
    cluster.run(TABLE, f"insert into t select * from {source}", database=database)
    assert cluster.rows("select count(*), sum(id) from t", database=database) == [(300, 44850)]
    assert [row[0] for row in cluster.rows(f"desc {source}")] == ["id", "name", "amount"]


def test_files_with_different_columns_are_united_by_name(cluster, database, tmp_path):
    pq.write_table(pa.table({"id": pa.array([1], pa.int64()), "name": ["a"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": pa.array([2], pa.int64()), "amount": [2.5]}), tmp_path / "2.parquet")
    cluster.run(TABLE, f"insert into t (id, name, amount) select id, name, amount from {files(tmp_path)}", database=database)
    assert cluster.rows("select * from t order by id", database=database) == [(1, "a", None), (2, None, 2.5)]


def test_csv_and_json_are_read(cluster, database, tmp_path):
    (tmp_path / "a.csv").write_text("1,one,0.5\n2,two,1.5\n")
    (tmp_path / "a.json").write_text('{"id": 3, "name": "three", "amount": 2.5}\n')
    cluster.run(TABLE, database=database)
    csv = files(tmp_path, "a.csv", format="csv")
    cluster.run(f"insert into t select * from {csv}", database=database)
    json = files(tmp_path, "a.json", format="json")
    cluster.run(f"insert into t (id, name, amount) select id, name, amount from {json}", database=database)
    assert cluster.rows("select id, name from t order by id", database=database) == [(1, "one"), (2, "two"), (3, "three")]


def test_a_bad_row_is_named_and_nothing_is_loaded(cluster, database, tmp_path):
    pq.write_table(pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b" * 50, "c"],
                             "amount": [1.0, 2.0, 3.0]}), tmp_path / "bad.parquet")
    cluster.run(TABLE, database=database)
    with pytest.raises(Exception) as error:
        cluster.run(f"insert into t with label bad_rows select * from {files(tmp_path)}", database=database)
    message = str(error.value)
    assert "name" in message and "b" * 10 in message and "bad.parquet" in message, message
    assert cluster.scalar("select count(*) from t", database=database) == 0
    # The label of a failed load can be used again.
    pq.write_table(rows(0, 3), tmp_path / "bad.parquet")
    cluster.run(f"insert into t with label bad_rows select * from {files(tmp_path)}", database=database)
    assert cluster.scalar("select count(*) from t", database=database) == 3


def test_a_repeated_label_loads_once(cluster, database, tmp_path):
    pq.write_table(rows(0, 10), tmp_path / "a.parquet")
    cluster.run(TABLE, database=database)
    statement = f"insert into t with label once select * from {files(tmp_path)}"
    cluster.run(statement, database=database)
    try:
        cluster.run(statement, database=database)
    except Exception as error:
        assert "label" in str(error).lower()
    assert cluster.scalar("select count(*) from t", database=database) == 10


def test_a_missing_file_is_named(cluster, tmp_path):
    with pytest.raises(Exception, match="absent"):
        cluster.rows(f"select * from {files(tmp_path, 'absent.parquet')}")
