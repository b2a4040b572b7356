"""The Star Schema Benchmark and TPC-H give DuckDB's answers."""

import re

import pytest

from cluster import ROOT, SPREAD
from compare import assert_same_rows

QUERIES = ROOT / "tests" / "queries"
TPCH_TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]
SSB_TABLES = ["dates", "customer", "supplier", "part", "lineorder"]


def statements(path, comment=re.compile(r"--[^\n]*")):
    text = comment.sub("", path.read_text())
    return [s.strip() for s in text.split(";") if s.strip()]


def ordered(folder):
    return sorted(folder.glob("q*.sql"), key=lambda p: [int(n) for n in re.findall(r"\d+", p.stem)])


def loaded(cluster, suite, data):
    """The tables of bench/, loaded from the files in `data`."""
    cluster.run(f"drop database if exists {suite}", f"create database {suite}")
    cluster.run(*statements(ROOT / "bench" / suite / "schema.sql"), database=suite)
    load = statements(ROOT / "bench" / suite / "load.sql")
    cluster.run(*[sql.replace("{data}", str(data)) for sql in load], database=suite)
    return cluster


@pytest.fixture(scope="session")
def tpch(cluster, tpch_data, duck):
    duck.execute("create schema if not exists tpch")
    for table in TPCH_TABLES:
        duck.execute(f"create or replace view tpch.{table} as from '{tpch_data}/{table}.parquet'")
    return loaded(cluster, "tpch", tpch_data)


@pytest.fixture(scope="session")
def ssb(cluster, ssb_data, duck):
    duck.execute("create schema if not exists ssb")
    for table in SSB_TABLES:
        duck.execute(f"create or replace view ssb.{table} as from '{ssb_data}/{table}/*.parquet'")
    return loaded(cluster, "ssb", ssb_data)


def run_duck(duck, schema, sql):
    duck.execute(f"use {schema}")
    return duck.execute(sql).fetchall()


def check(cluster, duck, schema, query):
    """In the coordinator, as small queries run, and spread over the compute nodes."""
    (sql,) = statements(query)
    expected = run_duck(duck, schema, sql)
    assert_same_rows(cluster.rows(sql, database=schema), expected, query.stem)
    if cluster.of_role("compute"):
        assert cluster.is_spread(sql, schema, SPREAD)
        assert_same_rows(cluster.rows(sql, database=schema, settings=SPREAD), expected, f"{query.stem}, spread")


@pytest.mark.parametrize("query", ordered(QUERIES / "tpch"), ids=lambda p: p.stem)
def test_tpch_gives_the_answers_of_duckdb(tpch, duck, query):
    check(tpch, duck, "tpch", query)


@pytest.mark.parametrize("query", ordered(QUERIES / "ssb"), ids=lambda p: p.stem)
def test_ssb_gives_the_answers_of_duckdb(ssb, duck, query):
    check(ssb, duck, "ssb", query)


def test_every_row_arrives_once(tpch, ssb, duck):
    for schema, tables in (("tpch", TPCH_TABLES), ("ssb", SSB_TABLES)):
        for table in tables:
            expected = duck.execute(f"select count(*) from {schema}.{table}").fetchone()[0]
            assert tpch.scalar(f"select count(*) from {schema}.{table}") == expected, f"{schema}.{table}"
