"""`tarn sql` at a terminal: what somebody types and sees."""

import os
import re

import pexpect
import pytest

from cluster import TARN, wait_for, without_settings

PROMPT = "tarn> "
# What the prompt tells the terminal: it begins to read a statement, it has read one, a drawing is complete.
READS, READ, DRAWN = "\x1b[?2004h", "\x1b[?2004l", "\x1b[?2026l"
# Colours, cursor movements and modes of the terminal.
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
# Runs for minutes.
ENDLESS = "select count(*) from range(0, 100000000) a, range(0, 1000000) b"


class Shell:
    """A shell on a pseudo terminal."""

    def __init__(self, cluster, home, *arguments, size=(24, 80), pager=""):
        environment = without_settings(HOME=str(home), XDG_STATE_HOME="", TERM="xterm", PAGER=pager)
        self.terminal = pexpect.spawn(
            str(TARN), ["sql", "--url", cluster.url, *arguments], env=environment, encoding="utf-8", timeout=20,
            dimensions=size, echo=False,
        )
        self.prompt()

    def prompt(self):
        """Waits for the next prompt, and tells what came before it as somebody reads it."""
        self.terminal.expect_exact(READS)
        output = self.terminal.before
        # The prompt is drawn in one go, and the cursor set behind it.
        self.terminal.expect_exact(DRAWN)
        assert PROMPT in self.terminal.before
        return ESCAPE.sub("", output).replace("\r", "")

    def type(self, keys):
        self.terminal.send(keys)

    def run(self, text):
        """Types a statement and waits for its end. What the prompt echoes of it is left out."""
        self.type(text + "\r")
        self.terminal.expect_exact(READ)
        return self.prompt()

    def sees(self, pattern):
        self.terminal.expect(pattern)
        return self.terminal.match

    def end(self):
        self.terminal.sendeof()
        self.terminal.expect(pexpect.EOF)
        self.terminal.close()
        return self.terminal.exitstatus


@pytest.fixture(scope="module")
def cluster(embedded):
    embedded.run(
        "create database d",
        "create table d.visitors (id bigint, page varchar(50)) duplicate key (id) distributed by hash (id) buckets 1",
        "insert into d.visitors values (1, 'home'), (20, null)",
    )
    return embedded


@pytest.fixture
def shell(cluster, tmp_path):
    made = []

    def make(*arguments, **options):
        made.append(Shell(cluster, tmp_path, "-d", "d", *arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.terminal.close(force=True)


def running(cluster):
    return [row[9] for row in cluster.rows("show full processlist") if row[5] == "Query" and "processlist" not in row[9]]


def test_a_statement_over_several_lines_runs_at_its_semicolon(shell):
    terminal = shell()
    terminal.type("select 1 as one,\r")
    terminal.type("';' as two\r")
    output = terminal.run(";")
    assert re.search(r"one \| two\n-----\+-----\n   1 \| ;\n1 row \(\d+\.\d{3} s\)\n", output), output
    assert terminal.end() == 0


def test_rows_are_aligned_and_timed_and_errors_leave_the_shell(shell):
    terminal = shell()
    output = terminal.run("select * from visitors order by id;")
    assert re.search(r" id \| page\n----\+------\n  1 \| home\n 20 \| NULL\n2 rows \(\d+\.\d{3} s\)\n", output), output
    assert "error: " in terminal.run("selec 1;") and "line 1, column 1" in terminal.run("selec 1;")
    assert re.search(r"OK, 1 row affected .*VISIBLE.* \(\d+\.\d{3} s\)", terminal.run("insert into visitors values (3, 'a');"))
    assert "1 row" in terminal.run("select 1;")


def test_tab_completes_keywords_and_names(cluster, shell):
    terminal = shell()
    terminal.type("sele\t * from visit\t where pag\t is not null limit 1;\r")
    assert " id | page\n" in terminal.prompt()
    terminal.type("fro\t\t")
    terminal.sees(r"from +frontends")
    terminal.type("\x03")
    terminal.prompt()
    # A table that was made here is known at once.
    terminal.run("create table brandnew (a int) duplicate key (a) distributed by hash (a) buckets 1;")
    terminal.type("select count(*) as n from brandn\t;\r")
    assert re.search(r" n\n---\n 0\n", terminal.prompt())
    cluster.run("drop table d.brandnew")


def test_history_lasts_over_sessions_without_secrets(shell, tmp_path):
    first = shell()
    first.run("select 41 + 1 as answer;")
    first.run("select 'password' as p;")
    assert first.end() == 0
    second = shell()
    second.type("\x1b[A")
    output = second.run("")
    assert re.search(r" answer\n--------\n     42\n", output), output
    assert "password" not in (tmp_path / ".local/state/tarn/history").read_text()


def test_ctrl_c_at_the_prompt_drops_the_line_and_ctrl_d_leaves(shell):
    terminal = shell()
    terminal.type("select nonsense")
    terminal.sees("nonsense")
    terminal.type("\x03")
    terminal.prompt()
    assert "1 row" in terminal.run("select 1;")
    assert terminal.end() == 0
    for leave in ("\\q\r", "exit\r", "quit;\r"):
        terminal = shell()
        terminal.type(leave)
        terminal.terminal.expect(pexpect.EOF)


@pytest.mark.parametrize("statement", [
    ENDLESS, "insert into visitors (id) select a.value from range(0, 100000000) a, range(0, 1000000) b",
])
def test_ctrl_c_ends_the_statement_and_not_the_shell(cluster, shell, statement):
    count = cluster.scalar("select count(*) from d.visitors")
    terminal = shell()
    terminal.type(statement + ";\r")
    wait_for("the statement to run", lambda: statement in running(cluster), 20)
    terminal.type("\x03\x03")
    terminal.sees("cancelled")
    terminal.prompt()
    wait_for("it to end on the server", lambda: statement not in running(cluster), 20)
    # That ctrl-c was pressed twice says nothing of the next statement.
    assert "1 row" in terminal.run("select 1;")
    assert cluster.scalar("select count(*) from d.visitors") == count


def test_a_slow_statement_shows_that_it_works(shell):
    terminal = shell()
    terminal.type(ENDLESS + ";\r")
    assert float(terminal.sees(r"(\d+\.\d) s  running")[1]) >= 0.5
    assert float(terminal.sees(r"(\d+\.\d) s  running")[1]) >= 1.0
    terminal.type("\x03")
    terminal.sees("cancelled")
    terminal.prompt()
    terminal.type("insert into visitors (id) select a.value from range(0, 100000000) a, range(0, 1000000) b;\r")
    terminal.sees(r"\d+\.\d s  loading  [\d,]+ rows")
    terminal.type("\x03")
    terminal.sees("cancelled")
    terminal.prompt()


@pytest.mark.parametrize("statement", [
    "select sum(length(repeat(cast(id as string), 400))) as n from big",
    "insert into copy select length(repeat(cast(id as string), 400)) from big",
])
def test_a_bar_shows_how_much_of_its_input_a_statement_has_read(cluster, shell, statement):
    cluster.run(
        *(f"drop table if exists d.{name}" for name in ("big", "copy")),
        *(f"create table d.{name} (id bigint) duplicate key (id) distributed by hash (id) buckets 1" for name in ("big", "copy")),
        "insert into d.big select value from range(0, 3000000)",
    )
    terminal = shell()
    terminal.type(statement + ";\r")
    bar, percent, state = terminal.sees(r"s  \[(=* *)\] +(\d+) %  (\w+)").groups()
    assert len(bar) == 30 and abs(bar.count("=") - int(percent) * 30 // 100) <= 1 and state in ("running", "loading")
    assert re.search(r"(1 row|OK, 3,000,000 rows affected .*) \(", terminal.prompt())


@pytest.mark.parametrize(("statement", "size"), [
    ("select repeat('x', 200) as wide;", (24, 80)), ("select value as long from range(0, 30);", (24, 80)),
])
def test_what_does_not_fit_goes_through_the_pager(shell, tmp_path, statement, size):
    paged = tmp_path / "paged"
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {paged}\n")
    pager.chmod(0o755)
    terminal = shell(size=size, pager=str(pager))
    output = terminal.run(statement)
    assert re.search(r"^\d+ rows? \(", output, re.MULTILINE) and "-----" not in output, output
    assert paged.read_text().startswith((" wide\n", " long\n"))
    paged.unlink()
    assert " fits\n" in terminal.run("select 1 as fits;") and not paged.exists()


def test_the_time_in_the_pager_is_not_the_statements(shell):
    terminal = shell(pager="less -S -F -X")
    terminal.type("select value from range(0, 100);\r")
    terminal.sees(r"\r\n *20\r\n:")
    # The pager's own ctrl-c is not meant for the statement after it.
    terminal.type("\x03")
    with pytest.raises(pexpect.TIMEOUT):
        terminal.terminal.expect_exact(READS, timeout=1.5)
    terminal.type("q")
    seconds = float(terminal.sees(r"100 rows \((\d+\.\d+) s\)")[1])
    assert seconds < 1.5
    terminal.prompt()
    assert "1 row" in terminal.run("select 1;")


def test_leaving_the_pager_ends_what_is_still_read(cluster, shell):
    statement = "select a.value from range(0, 1000000) a, range(0, 1000000) b"
    terminal = shell(pager="less -S -F -X")
    terminal.type(statement + ";\r")
    terminal.sees(r"\r\n:")
    # Meanwhile nobody else writes to the screen.
    with pytest.raises(pexpect.TIMEOUT):
        terminal.terminal.expect(r"running|rows read", timeout=1.5)
    terminal.type("q")
    terminal.sees("the rest was not read")
    terminal.prompt()
    wait_for("it to end on the server", lambda: statement not in running(cluster), 20)


def test_a_shell_that_ends_leaves_no_session_behind(cluster, shell):
    def sessions():
        return {row[1] for row in cluster.rows("show processlist", database="d") if row[4] == "d" or row[5] == "Sleep"}

    before = sessions()
    terminal = shell()
    terminal.run("select 1;")
    [own] = {row[1] for row in cluster.rows("show processlist") if row[1] not in before and row[5] == "Sleep"}
    assert terminal.end() == 0
    assert own not in {row[1] for row in cluster.rows("show processlist")}


def test_sigterm_ends_the_shell(shell):
    terminal = shell()
    os.kill(terminal.terminal.pid, 15)
    terminal.terminal.expect(pexpect.EOF)
