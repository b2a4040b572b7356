"""The files of a tablet are read by the public Vortex package: their rows are those that Tarn answers."""

import json
import os
import pathlib
import subprocess

import pytest

from cluster import ROOT, tarn, wait_for

VENV = pathlib.Path(os.environ.get("TARN_VENV", pathlib.Path.home() / ".cache/tarn/venv"))
# The package needs other versions of packages than the tests do.
PYTHON = pathlib.Path(f"{VENV}-vortex") / "bin" / "python"

TABLE = """
create table t (id bigint not null, name varchar(20), price decimal(10, 2), day date, at datetime, tags array<int>)
{keys} distributed by hash (id) buckets 2
"""


def read(folder, tmp_path):
    """The live rows in a tablet's directory."""
    layout = tmp_path / f"{folder.name}.json"
    layout.write_text(tarn("admin", "segment", "inspect", "--json", folder, check=True).stdout)
    assert all(not segment["problems"] for segment in json.loads(layout.read_text())["segments"])
    script = ROOT / "scripts" / "read_tablet.py"
    done = subprocess.run([PYTHON, script, folder, "--layout", layout], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("keys", ["duplicate key (id)", "primary key (id)"])
def test_rows_of_a_tablet_are_those_that_tarn_answers(embedded, tmp_path, keys):
    assert PYTHON.exists(), f"{PYTHON} is missing: run scripts/setup.sh"
    embedded.run("drop database if exists without_tarn", "create database without_tarn")
    embedded.run(
        TABLE.format(keys=keys),
        "insert into t values (1, 'a', 1.5, '2024-02-29', '2024-02-29 01:02:03', [1, 2]), (2, null, null, null, null, null)",
        "insert into t select x.value, 'many', 0.25, '2020-01-01', '2020-01-01 00:00:00', [3] "
        "from range(3, 5000) x where x.value <> 7",
        "insert into t values (3, 'again', 2, null, null, [])",
        database="without_tarn",
    )
    if keys.startswith("primary"):
        embedded.run("delete from t where id % 10 = 4", database="without_tarn")
    expected = embedded.rows("select id, name, cast(price as string), cast(day as string) from without_tarn.t")
    tablets = {row["TabletId"] for row in embedded.table("show tablets from without_tarn.t")}

    def found():
        folders = [folder for folder in embedded.folder.rglob("tablets/*") if folder.name in tablets]
        assert len(folders) == len(tablets)
        return [row for folder in folders for row in read(folder, tmp_path)]

    def same(rows):
        rows = [(r["id"], r["name"], r["price"], r["day"]) for r in rows]
        key = lambda row: tuple(map(str, row))
        return sorted(rows, key=key) == sorted(map(tuple, expected), key=key)

    assert same(found())
    # And when the tablet was merged.
    embedded.run("alter table t compact", database="without_tarn")
    done = lambda: all(row["State"] == "FINISHED" for row in embedded.table("show compactions from without_tarn.t"))
    wait_for("the compaction", done)
    assert same(found())
