"""Clusters and data sets that several test files share."""

import pathlib
import subprocess
import sys

import duckdb
import pytest

from cluster import ROOT, SSB_GEN, TARN, Cluster


def pytest_configure(config):
    if not TARN.exists():
        raise pytest.UsageError(f"{TARN} is missing: `make build` first")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Cluster):
                report.sections.append(("logs of the nodes", value.tails()))


@pytest.fixture(scope="session")
def _clusters(tmp_path_factory):
    running = {}

    def get(mode):
        if mode not in running:
            for other in list(running):
                running.pop(other).stop()
            running[mode] = getattr(Cluster, mode)(tmp_path_factory.mktemp(mode))
        return running[mode]

    yield get
    for cluster in running.values():
        cluster.stop()


@pytest.fixture(params=["dev", "three"], scope="session")
def cluster(request, _clusters):
    """An embedded cluster, then one of processes."""
    return _clusters(request.param)


@pytest.fixture
def fresh(tmp_path):
    """Makes clusters of this test alone."""
    made = []

    def make(mode="three", *arguments, **options):
        made.append(getattr(Cluster, mode)(tmp_path / f"{mode}-{len(made)}", *arguments, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """An embedded cluster of this file alone."""
    cluster = Cluster.dev(tmp_path_factory.mktemp("embedded"))
    yield cluster
    cluster.stop()


@pytest.fixture
def database(cluster, request):
    """An empty database of this test alone."""
    name = "t_" + "".join(c if c.isalnum() else "_" for c in request.node.name.split("[")[0])[:40].lower()
    cluster.run(f"drop database if exists {name}", f"create database {name}")
    yield name
    cluster.run(f"drop database if exists {name}")


@pytest.fixture(scope="session")
def tpch_data(tmp_path_factory):
    """TPC-H at scale factor 0.1 as Parquet: a folder with one file a table."""
    folder = tmp_path_factory.mktemp("tpch")
    tool = pathlib.Path(sys.executable).parent / "tpchgen-cli"
    subprocess.run([tool, "parquet", "-s", "0.1", "--output-dir", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def ssb_data(tmp_path_factory):
    """The Star Schema Benchmark at scale factor 0.1 as Parquet: a folder for each table."""
    folder = tmp_path_factory.mktemp("ssb")
    subprocess.run([SSB_GEN, "--scale", "0.1", "--out", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def duck():
    """DuckDB, to compare with."""
    with duckdb.connect() as connection:
        yield connection
