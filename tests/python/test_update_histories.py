"""Random histories of loads of some columns, loads that count only if they are newer, updates and deletes, told to Tarn and
to DuckDB: after each step both hold the same table.

DuckDB is told of a load what it means, as an `INSERT .. ON CONFLICT DO UPDATE` of one row for each key; updates and deletes
are the same statements. A failure prints its seed; `TARN_SEED=<seed> pytest test_update_histories.py` repeats it.
"""

import datetime
import decimal
import os
import random

import duckdb
import pyarrow as pa
import pytest

HISTORIES = 20
STEPS = 14
SEED = os.environ.get("TARN_SEED")

# Names, types for both, and what a row gets whose load does not give the column.
KEYS = {"a": "INT", "b": "VARCHAR(8)"}
COLUMNS = {
    "clicks": ("BIGINT", "NOT NULL", "0"),
    "name": ("VARCHAR(20)", "", "'nobody'"),
    "price": ("DECIMAL(12, 2)", "NOT NULL", "1.50"),
    "score": ("DOUBLE", "", "NULL"),
    "seen": ("DATETIME", "", "NULL"),
    "day": ("DATE", "", "'2024-02-29'"),
    "flag": ("BOOLEAN", "", "NULL"),
}
ARROW = {
    "a": pa.int32(), "b": pa.string(), "clicks": pa.int64(), "name": pa.string(), "price": pa.decimal128(12, 2),
    "score": pa.float64(), "seen": pa.timestamp("us"), "day": pa.date32(), "flag": pa.bool_(),
}
ALL = list(ARROW)
# Of types that have an order, as `merge_condition` asks for.
ORDERED = ["clicks", "name", "price", "seen", "day"]
MODES = ["auto", "row", "column"]

# What both understand, and what changes rows in ways that depend on what they hold.
CHANGES = [
    "clicks = clicks + 3", "name = upper(name)", "name = NULL", "price = price + 1", "score = clicks / 2.0",
    "seen = '2024-05-06 07:08:09'", "day = NULL", "flag = NOT flag", "clicks = a, score = a * 0.5",
    "name = b, flag = clicks > 50",
]
CONDITIONS = [
    "a < {small}", "a % 3 = {third}", "b = 'k{third}'", "clicks > {large}", "name IS NULL", "flag", "price >= {small}.25",
    "a IN (SELECT max(a) FROM t)", "clicks < (SELECT avg(clicks) FROM t) AND a > {small}", "seen < '2024-06-01 00:00:00'",
    "NOT flag OR day IS NULL", "TRUE",
]


class History:
    def __init__(self, cluster, seed):
        self.random = random.Random(seed)
        self.connection = cluster.connect()
        self.tarn, self.duck = self.connection.cursor(), duckdb.connect()
        self.taken = []
        keys = [f"{name} {type} NOT NULL" for name, type in KEYS.items()]
        columns = keys + [f"{name} {type} {null} DEFAULT {value}" for name, (type, null, value) in COLUMNS.items()]
        mine = [column.replace("DEFAULT NULL", "").replace("DEFAULT 0", "") for column in columns]
        mine = [column.replace("1.50", "'1.50'") for column in mine]
        sort = self.random.choice(["", " ORDER BY (seen)", " ORDER BY (b, clicks)"])
        self.change("DROP DATABASE IF EXISTS histories", "CREATE DATABASE histories", "USE histories")
        self.change(f"CREATE TABLE t ({', '.join(mine)}) PRIMARY KEY (a, b) DISTRIBUTED BY HASH (a) BUCKETS 3{sort}")
        types = ", ".join(f"{name} {COLUMNS[name][0] if name in COLUMNS else KEYS[name]}" for name in ALL)
        self.change(f"CREATE TABLE stage ({types}) DUPLICATE KEY (a)")
        self.told(f"CREATE TABLE t ({', '.join(columns)}, PRIMARY KEY (a, b))")

    def close(self):
        self.tarn.close()
        self.connection.close()
        self.duck.close()

    def change(self, *statements):
        for statement in statements:
            self.tarn.execute(statement)

    def told(self, statement):
        """DuckDB's answer."""
        return self.duck.execute(statement).fetchall()

    def value(self, column):
        pick = self.random
        value = {
            "clicks": lambda: pick.randrange(100),
            "name": lambda: pick.choice(["", "ann", "bob", "Zoë", f"n{pick.randrange(1000)}"]),
            "price": lambda: decimal.Decimal(pick.randrange(-10_000, 10_000)) / 100,
            "score": lambda: pick.randrange(-4000, 4000) / 8,
            "seen": lambda: datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=pick.randrange(31_000_000)),
            "day": lambda: datetime.date(2024, 1, 1) + datetime.timedelta(days=pick.randrange(366)),
            "flag": lambda: pick.random() < 0.5,
        }[column]
        optional = column not in ("clicks", "price")
        return None if optional and pick.random() < 0.25 else value()

    def batch(self, columns, keys):
        rows = [[a, b] + [self.value(column) for column in columns] for a, b in keys]
        named = list(zip([*KEYS, *columns], zip(*rows)))
        return pa.table({name: pa.array(values, ARROW[name]) for name, values in named})

    # Steps.

    def load(self):
        """A few rows as VALUES, with keys that come more than once, or many of another table."""
        pick = self.random
        columns = pick.sample(list(COLUMNS), pick.randrange(1, len(COLUMNS) + 1))
        condition = pick.choice([column for column in columns if column in ORDERED] or [None]) if pick.random() < 0.4 else None
        if many := pick.random() < 0.4:
            keys = [(a, f"k{b}") for a in range(400) for b in range(3) if pick.random() < 0.5]
            pick.shuffle(keys)
        else:
            keys = [(pick.randrange(40), f"k{pick.randrange(3)}") for _ in range(pick.choice([1, 5, 60]))]
        batch = self.batch(columns, keys)
        mode = pick.choice(MODES)
        self.taken.append(f"load {len(keys)} of {columns}, {mode}, if newer by {condition}")
        names = ", ".join(batch.column_names)
        self.change(f"SET partial_update_mode = '{mode}'", f"SET merge_condition = '{condition or ''}'")
        if many:
            self.change("TRUNCATE TABLE stage")
            self.tarn.adbc_ingest("stage", batch, mode="append", db_schema_name="histories")
            self.change(f"INSERT INTO t ({names}) SELECT {names} FROM stage")
        else:
            rows = ", ".join("(" + ", ".join(map(literal, row.values())) + ")" for row in batch.to_pylist())
            self.change(f"INSERT INTO t ({names}) VALUES {rows}")
        self.change("SET merge_condition = ''")
        self.merge(batch, columns, condition)

    def merge(self, batch, columns, condition):
        """What a load means: of the rows of a key the last counts, or the newest, which is the last of those that are equal."""
        batch = batch.append_column("n", pa.array(range(len(batch)), pa.int64()))
        names, newer = ", ".join(batch.column_names[:-1]), f"{condition} DESC NULLS LAST, " if condition else ""
        self.duck.register("batch", batch)
        given = ", ".join(f"{column} = excluded.{column}" for column in columns)
        where = f"WHERE t.{condition} IS NULL OR excluded.{condition} >= t.{condition}" if condition else ""
        self.told(f"""INSERT INTO t ({names})
            SELECT {names} FROM batch QUALIFY row_number() OVER (PARTITION BY a, b ORDER BY {newer} n DESC) = 1
            ON CONFLICT (a, b) DO UPDATE SET {given} {where}""")
        self.duck.unregister("batch")

    def condition(self):
        pick = self.random
        fill = {"small": pick.randrange(40), "large": pick.randrange(100), "third": pick.randrange(3)}
        return pick.choice(CONDITIONS).format(**fill)

    def both(self, statement):
        self.taken.append(statement)
        self.change(statement)
        self.told(statement)

    def update(self):
        self.change(f"SET partial_update_mode = '{self.random.choice(MODES)}'")
        self.both(f"UPDATE t SET {self.random.choice(CHANGES)} WHERE {self.condition()}")

    def delete(self):
        condition = self.condition()
        self.both(f"DELETE FROM t WHERE {condition if condition != 'TRUE' else 'a = 7'}")

    def compact(self):
        self.taken.append("compact")
        self.change("ALTER TABLE t COMPACT")

    def check(self):
        query = f"SELECT {', '.join(ALL)} FROM t ORDER BY a, b"
        self.tarn.execute(query)
        rows, expected = self.tarn.fetchall(), self.told(query)
        assert len(rows) == len(expected)
        differ = [(row, other) for row, other in zip(rows, expected) if tuple(map(plain, row)) != tuple(map(plain, other))]
        assert not differ, differ[:5]
        # One row of those that a condition chooses, by key and by values.
        condition = self.condition()
        counted = f"SELECT count(*), sum(clicks), count(name), max(seen) FROM t WHERE {condition}"
        self.tarn.execute(counted)
        answer, expected = self.tarn.fetchone(), self.told(counted)[0]
        assert tuple(map(plain, answer)) == tuple(map(plain, expected)), condition


WEIGHTS = {"load": 10, "update": 5, "delete": 2, "compact": 1}


def plain(value):
    """Whatever type a driver gives a value."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    return value


def literal(value):
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value)
        case int() | float() | decimal.Decimal():
            return str(value)
        case _:
            return f"'{value}'"


@pytest.mark.parametrize("number", range(HISTORIES))
def test_a_table_holds_what_another_database_makes_of_its_history(embedded, number):
    if SEED and number:
        pytest.skip("one history of that seed")
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    history = History(embedded, seed)
    try:
        history.load()
        for _ in range(STEPS):
            step = history.random.choices(list(WEIGHTS), WEIGHTS.values())[0]
            getattr(history, step)()
            history.check()
            history.check()
    except BaseException:
        print(f"seed {seed}:", *history.taken, sep="\n  ")
        raise
    finally:
        history.close()
