"""`tarn sql` without a terminal: `-e`, `-f`, formats and exit statuses, for scripts."""

import csv
import io
import json
import signal
import subprocess

import pytest

from cluster import TARN, tarn, wait_for, without_settings

TEXT = 'a,"b"\n\tü漢\\'
ENDLESS = "select count(*) from range(0, 100000000) a, range(0, 1000000) b"


@pytest.fixture(scope="module")
def cluster(embedded):
    embedded.run(
        "create database d",
        """create table d.everything (
            id bigint not null, b boolean, big largeint, dec decimal(20, 4), d double, s string, bin varbinary, day date,
            at datetime, j json, l array<int>, m map<varchar(5), int>, st struct<a int, b string>
        ) duplicate key (id) distributed by hash (id) buckets 1""",
        """insert into d.everything values (
            1, true, 12345678901234567890123456789, 1234.5678, 2.25, 'a,"b"\n\tü漢\\\\', x'00ff', '2024-02-29',
            '2024-02-29 12:34:56.789012', '{"a": 1}', [1, null], map{'k': 1}, row(1, 'x'))""",
        "insert into d.everything (id) values (2)",
        "insert into d.everything (id, s) values (3, ''), (4, 'NULL')",
    )
    return embedded


def ok(output):
    assert output.returncode == 0, output.stderr
    return output.stdout


def rows(cluster, form):
    return ok(cluster.sql("-d", "d", "--format", form, "-e", "select * from everything order by id"))


def test_csv_keeps_null_apart_from_an_empty_text(cluster):
    text = rows(cluster, "csv")
    lines = list(csv.reader(io.StringIO(text)))
    assert lines[0] == ["id", "b", "big", "dec", "d", "s", "bin", "day", "at", "j", "l", "m", "st"]
    assert lines[1] == [
        "1", "true", "12345678901234567890123456789", "1234.5678", "2.25", TEXT, "00ff", "2024-02-29",
        "2024-02-29 12:34:56.789012", '{"a": 1}', "[1, NULL]", "{k: 1}", "{a: 1, b: x}",
    ]
    assert text.endswith('2,,,,,,,,,,,,\n3,,,,,"",,,,,,,\n4,,,,,NULL,,,,,,,\n')


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_json_is_json(cluster, form):
    text = rows(cluster, form)
    objects = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    assert objects[0] == {
        "id": 1, "b": True, "big": 12345678901234567890123456789, "dec": 1234.5678, "d": 2.25, "s": TEXT, "bin": "00ff",
        "day": "2024-02-29", "at": "2024-02-29 12:34:56.789012", "j": '{"a": 1}', "l": [1, None], "m": {"k": 1},
        "st": {"a": 1, "b": "x"},
    }
    assert objects[1] == dict.fromkeys(objects[0]) | {"id": 2}
    assert [o["s"] for o in objects[2:]] == ["", "NULL"]


def test_a_table_keeps_each_row_on_its_line_and_commands_no_terminal(cluster):
    lines = rows(cluster, "table").splitlines()
    assert len(lines) == 6 and 'a,"b"\\n\\tü漢\\ ' in lines[2]
    output = ok(cluster.sql("-e", "select '\x1b[31m\x07' as c"))
    assert output.splitlines()[2] == " \\u{1b}[31m\\u{7}"


def test_no_rows_still_have_their_form(cluster):
    empty = {form: ok(cluster.sql("--format", form, "-e", "select id from d.everything where id < 0")) for form in
             ("table", "csv", "json", "ndjson")}
    assert empty == {"table": " id\n----\n", "csv": "id\n", "json": "[]\n", "ndjson": ""}


def test_statements_come_from_flags_from_a_file_and_from_the_input(cluster, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("-- two statements\nselect 1 as a; select ';' as b;\n")
    expected = "a\n1\nb\n;\n"
    as_csv = ["--format", "csv"]
    assert ok(cluster.sql(*as_csv, "-f", script)) == expected
    assert ok(cluster.sql(*as_csv, "-f", "-", input=script.read_text())) == expected
    assert ok(cluster.sql(*as_csv, input=script.read_text())) == expected
    assert ok(cluster.sql(*as_csv, "-e", "select 1 as a", "-e", "select ';' as b")) == expected
    assert ok(cluster.sql(*as_csv, "-e", "use d; select count(*) as n from everything")) == "n\n4\n"


def test_the_exit_status_tells_how_it_went(cluster, tmp_path):
    def failed(status, words, *arguments):
        output = cluster.sql(*arguments)
        assert output.returncode == status and words in output.stderr, output

    failed(1, "line 1, column 1", "-e", "selec 1")
    failed(1, "cannot read", "-f", tmp_path / "absent.sql")
    failed(1, "nowhere", "-d", "nowhere", "-e", "select 1")
    failed(1, "access denied", "-p", "wrong", "-e", "select 1")
    failed(1, "access denied", "-u", "nobody", "-e", "select 1")
    failed(2, "xml", "--format", "xml", "-e", "select 1")
    failed(2, "cannot be used with", "-f", "a.sql", "-e", "select 1")
    elsewhere = tarn("sql", "--url", "grpc://127.0.0.1:1", "-e", "select 1")
    assert elsewhere.returncode == 1 and elsewhere.stderr.startswith("error: cannot connect"), elsewhere
    stopped = cluster.sql("--format", "csv", "-e", "select 1 as a; selec 2; select 3 as b")
    assert (stopped.returncode, stopped.stdout) == (1, "a\n1\n")


def test_an_interrupt_ends_the_statement_on_the_server_too(cluster):
    process = subprocess.Popen(
        [TARN, "sql", "--url", cluster.url, "-e", ENDLESS], env=without_settings(), stderr=subprocess.PIPE, text=True,
    )

    def listed():
        return any(row[9] == ENDLESS for row in cluster.rows("show full processlist"))

    wait_for("the query to run", listed, 20)
    process.send_signal(signal.SIGINT)
    assert (process.wait(timeout=20), process.stderr.read()) == (130, "cancelled\n")
    wait_for("it to end on the server", lambda: not listed(), 20)


@pytest.mark.parametrize("form", ["table", "csv", "json", "ndjson"])
def test_a_reader_that_leaves_ends_the_query_without_a_word(cluster, form):
    sql = "select a.value from range(0, 1000000) a, range(0, 1000000) b"
    process = subprocess.Popen(
        [TARN, "sql", "--url", cluster.url, "--format", form, "-e", sql], env=without_settings(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )
    try:
        assert process.stdout.read(1)
        process.stdout.close()
        assert (process.wait(timeout=20), process.stderr.read()) == (141, "")
    finally:
        process.kill()
    wait_for("it to end on the server", lambda: not any(
        row[9] == sql for row in cluster.rows("show full processlist")
    ), 20)


def test_a_client_leaves_no_session_behind(cluster):
    with cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("show processlist")
        before = {row[1] for row in cursor.fetchall()}
        ok(cluster.sql("-e", "select 1"))
        cursor.execute("show processlist")
        assert {row[1] for row in cursor.fetchall()} <= before
