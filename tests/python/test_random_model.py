"""Random histories of one table against a model in plain Python: loads of each kind, updates, deletes, changes of columns,
indexes, overwrites, truncation, compaction, and kill -9 between any two of them, for every table model.

A failure prints its seed; `TARN_SEED=<seed> pytest test_random_model.py` repeats it.
"""

import os
import random

import pytest

from cluster import wait_for

STEPS = 60
KEYS = 40
SEED = os.environ.get("TARN_SEED")

COLUMN = {
    "duplicate": {"n": "BIGINT", "s": "VARCHAR(40)", "m": "INT"},
    "aggregate": {"n": "BIGINT SUM", "s": "VARCHAR(40) REPLACE", "m": "INT MAX"},
    "unique": {"n": "BIGINT", "s": "VARCHAR(40)", "m": "INT"},
    "primary": {"n": "BIGINT", "s": "VARCHAR(40)", "m": "INT"},
}


class Model:
    """What the table must hold: rows as dictionaries by column, in the order in which they came."""

    def __init__(self, kind):
        self.kind = kind
        self.columns = ["k", "p", "n", "s", "m"]
        self.rows = []

    def key(self, row):
        return row["k"], row["p"]

    def upsert(self, row):
        if self.kind == "duplicate":
            self.rows.append(row)
            return
        old = next((r for r in self.rows if self.key(r) == self.key(row)), None)
        if old is None:
            self.rows.append(row)
        elif self.kind == "aggregate":
            for column, value in row.items():
                if column == "n":
                    old[column] = value if old[column] is None else old[column] + (value or 0)
                elif column == "m":
                    present = [v for v in (old[column], value) if v is not None]
                    old[column] = max(present) if present else None
                else:
                    old[column] = value
        else:
            old.update(row)

    def remove(self, wanted):
        before = len(self.rows)
        self.rows = [r for r in self.rows if not wanted(r)]
        return before - len(self.rows)

    def sorted(self):
        return sorted((tuple(r[c] for c in self.columns) for r in self.rows), key=repr)


def literal(value):
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


class History:
    """One table, its model, and the random steps that both take."""

    def __init__(self, cluster, kind, seed):
        self.cluster, self.kind, self.random = cluster, kind, random.Random(seed)
        self.model, self.added, self.indexed, self.defaults, self.wide = Model(kind), 0, False, {}, False
        types = ", ".join(f"{name} {type}" for name, type in COLUMN[kind].items())
        self.sql("DROP DATABASE IF EXISTS history", "CREATE DATABASE history")
        self.sql(f"""CREATE TABLE history.t (k INT NOT NULL, p INT NOT NULL, {types}) {kind.upper()} KEY (k, p)
            PARTITION BY LIST (p) (PARTITION p0 VALUES IN ("0"), PARTITION p1 VALUES IN ("1"), PARTITION p2 VALUES IN ("2"))
            DISTRIBUTED BY HASH (k) BUCKETS 3""")

    def sql(self, *statements):
        self.cluster.run(*statements)

    def row(self):
        pick = self.random
        row = {
            "k": pick.randrange(KEYS), "p": pick.randrange(3),
            "n": pick.choice([None, pick.randrange(-1000, 1000)]),
            "s": pick.choice([None, "", f"text {pick.randrange(100)}"]),
            "m": pick.choice([None, pick.randrange(100)]),
        }
        for column in self.model.columns[5:]:
            row[column] = pick.randrange(1000)
        return row

    def values(self, rows):
        return ", ".join("(" + ", ".join(literal(r[c]) for c in self.model.columns) + ")" for r in rows)

    # Steps: each changes the table by a statement and the model likewise.

    def insert(self):
        rows = [self.row() for _ in range(self.random.choice([1, 3, 30]))]
        self.sql(f"INSERT INTO history.t ({', '.join(self.model.columns)}) VALUES {self.values(rows)}")
        for row in rows:
            self.model.upsert(row)

    def condition(self, columns):
        column = self.random.choice(columns)
        limit = self.random.randrange({"k": KEYS, "p": 3, "n": 1000}[column])
        sign = self.random.choice(["<", "=", ">="])
        test = {"<": lambda v: v < limit, "=": lambda v: v == limit, ">=": lambda v: v >= limit}[sign]
        return f"{column} {sign} {limit}", lambda row: row[column] is not None and test(row[column])

    def delete(self):
        # AGGREGATE and UNIQUE tables delete by keys alone.
        text, wanted = self.condition(["k", "p", "n"] if self.kind in ("duplicate", "primary") else ["k", "p"])
        self.sql(f"DELETE FROM history.t WHERE {text}")
        self.model.remove(wanted)

    def update(self):
        if self.kind != "primary":
            return
        text, wanted = self.condition(["k", "n"])
        self.sql(f"UPDATE history.t SET n = k * 7, s = 'updated' WHERE {text}")
        for row in filter(wanted, self.model.rows):
            row.update(n=row["k"] * 7, s="updated")

    def partial_update(self):
        if self.kind != "primary":
            return
        rows = [{c: r[c] for c in ("k", "p", "m")} for r in (self.row() for _ in range(5))]
        values = ", ".join("(" + ", ".join(map(literal, r.values())) + ")" for r in rows)
        # Rows that are new need values for columns that are NOT NULL without a default: there are none.
        self.sql(f"INSERT INTO history.t (k, p, m) VALUES {values}")
        for row in rows:
            old = next((r for r in self.model.rows if self.model.key(r) == self.model.key(row)), None)
            defaults = {"n": None, "s": None, **self.defaults}
            self.model.upsert(row if old else {**{c: defaults[c] for c in self.model.columns[2:] if c != "m"}, **row})

    def truncate(self):
        partition = self.random.randrange(3)
        self.sql(f"TRUNCATE TABLE history.t PARTITION (p{partition})")
        self.model.remove(lambda row: row["p"] == partition)

    def overwrite(self):
        partition = self.random.randrange(3)
        rows = [{**self.row(), "p": partition} for _ in range(5)]
        self.sql(f"INSERT OVERWRITE history.t PARTITION (p{partition}) ({', '.join(self.model.columns)}) "
                 f"VALUES {self.values(rows)}")
        self.model.remove(lambda row: row["p"] == partition)
        for row in rows:
            self.model.upsert(row)

    def alter(self, change):
        """A change of columns or indexes, which waits for the one before it."""
        self.altered()
        self.sql(change)

    def altered(self):
        wait_for("the change of the table to end", lambda: all(
            row["State"] in ("FINISHED", "CANCELLED") for row in self.cluster.table("SHOW ALTER TABLE COLUMN FROM history")))

    def modify(self):
        # Narrower, and wider again: the one rewrites all rows in the background, the other none.
        if self.kind != "aggregate":
            self.wide = not self.wide
            self.alter(f"ALTER TABLE history.t MODIFY COLUMN m {'BIGINT' if self.wide else 'INT'}")

    def add_column(self):
        if len(self.model.columns) > 7:
            return
        self.added += 1
        column, default = f"c{self.added}", self.random.randrange(100)
        how = " REPLACE" if self.kind == "aggregate" else ""
        self.alter(f'ALTER TABLE history.t ADD COLUMN {column} BIGINT{how} NOT NULL DEFAULT "{default}"')
        self.defaults[column] = default
        self.model.columns.append(column)
        for row in self.model.rows:
            row[column] = default

    def drop_column(self):
        if len(self.model.columns) > 5:
            column = self.model.columns.pop()
            self.alter(f"ALTER TABLE history.t DROP COLUMN {column}")
            for row in self.model.rows:
                del row[column]

    def index(self):
        # AGGREGATE and UNIQUE tables have indexes of keys alone.
        column = "n" if self.kind in ("duplicate", "primary") else "k"
        self.alter("DROP INDEX i ON history.t" if self.indexed else f"CREATE INDEX i ON history.t ({column}) USING BITMAP")
        self.indexed = not self.indexed

    def compact(self):
        self.sql("ALTER TABLE history.t COMPACT")

    def kill(self):
        node = self.cluster.nodes["dev"]
        node.kill()
        node.start().wait_ready()

    def check(self):
        answer = self.cluster.rows(f"SELECT {', '.join(self.model.columns)} FROM history.t")
        answer = sorted(map(tuple, answer), key=repr)
        assert answer == self.model.sorted()
        # By conditions that indexes and key ranges answer.
        text, wanted = self.condition(["k", "n"])
        counted = self.cluster.scalar(f"SELECT count(*) FROM history.t WHERE {text}")
        assert counted == sum(map(wanted, self.model.rows)), text


STEP_WEIGHTS = {
    "insert": 12, "delete": 3, "update": 4, "truncate": 1, "overwrite": 1, "add_column": 1, "drop_column": 1, "index": 1,
    "compact": 2, "kill": 1, "modify": 1, "partial_update": 2,
}


@pytest.mark.parametrize("kind", list(COLUMN))
def test_a_table_is_what_its_history_says(fresh, kind):
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    history = History(fresh("dev"), kind, seed)
    taken = []
    try:
        for _ in range(STEPS):
            step = history.random.choices(list(STEP_WEIGHTS), STEP_WEIGHTS.values())[0]
            taken.append(step)
            getattr(history, step)()
            history.check()
    except BaseException:
        print(f"seed {seed}, {kind}: {' '.join(taken)}")
        raise
