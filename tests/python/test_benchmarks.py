"""The Star Schema Benchmark and TPC-H give DuckDB's answers."""

import re

import pytest

from cluster import ROOT, files
from compare import assert_same_rows

QUERIES = ROOT / "tests" / "queries"
TPCH_TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]
SSB_TABLES = ["dates", "customer", "supplier", "part", "lineorder"]


def statements(path, comment=re.compile(r"--[^\n]*")):
    text = comment.sub("", path.read_text())
    return [s.strip() for s in text.split(";") if s.strip()]


def ordered(folder):
    return sorted(folder.glob("q*.sql"), key=lambda p: [int(n) for n in re.findall(r"\d+", p.stem)])


@pytest.fixture(scope="session")
def tpch(cluster, tpch_data, duck):
    cluster.run("drop database if exists tpch", "create database tpch")
    cluster.run(*statements(QUERIES.parent / "python" / "tpch_schema.sql"), database="tpch")
    duck.execute("create schema if not exists tpch")
    for table in TPCH_TABLES:
        cluster.run(f"insert into {table} select * from {files(tpch_data, f'{table}.parquet')}", database="tpch")
        duck.execute(f"create or replace view tpch.{table} as from '{tpch_data}/{table}.parquet'")
    return cluster


@pytest.fixture(scope="session")
def ssb(cluster, ssb_data, duck):
    cluster.run("drop database if exists ssb", "create database ssb")
    cluster.run(*statements(ROOT / "bench" / "ssb" / "schema.sql"), database="ssb")
    load = ROOT / "bench" / "ssb" / "load.sql"
    cluster.run(*[s.replace("{data}", str(ssb_data)) for s in statements(load)], database="ssb")
    duck.execute("create schema if not exists ssb")
    for table in SSB_TABLES:
        duck.execute(f"create or replace view ssb.{table} as from '{ssb_data}/{table}/*.parquet'")
    return cluster


def run_duck(duck, schema, sql):
    duck.execute(f"use {schema}")
    return duck.execute(sql).fetchall()


@pytest.mark.parametrize("query", ordered(QUERIES / "tpch"), ids=lambda p: p.stem)
def test_tpch_gives_the_answers_of_duckdb(tpch, duck, query):
    (sql,) = statements(query)
    expected = run_duck(duck, "tpch", sql)
    assert_same_rows(tpch.rows(sql, database="tpch"), expected, query.stem)


@pytest.mark.parametrize("query", ordered(QUERIES / "ssb"), ids=lambda p: p.stem)
def test_ssb_gives_the_answers_of_duckdb(ssb, duck, query):
    (sql,) = statements(query)
    expected = run_duck(duck, "ssb", sql)
    assert_same_rows(ssb.rows(sql, database="ssb"), expected, query.stem)


def test_every_row_arrives_once(tpch, ssb, duck):
    for schema, tables in (("tpch", TPCH_TABLES), ("ssb", SSB_TABLES)):
        for table in tables:
            expected = duck.execute(f"select count(*) from {schema}.{table}").fetchone()[0]
            assert tpch.scalar(f"select count(*) from {schema}.{table}") == expected, f"{schema}.{table}"
