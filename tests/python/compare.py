"""Compares two answers to one query."""

import datetime
import decimal
import math


def normal(value):
    if isinstance(value, (decimal.Decimal, int)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, str):
        return value.rstrip()
    return value


def key(row):
    return [(value is None, f"{value:.4e}" if isinstance(value, float) else str(value)) for value in row]


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)
    return a == b


def assert_same_rows(actual, expected, what):
    """As multisets: the order of equal sort keys is not defined."""
    actual = sorted(([normal(v) for v in row] for row in actual), key=key)
    expected = sorted(([normal(v) for v in row] for row in expected), key=key)
    assert len(actual) == len(expected), f"{what}: {len(actual)} rows, expected {len(expected)}"
    for i, (a, b) in enumerate(zip(actual, expected)):
        assert len(a) == len(b) and all(map(same, a, b)), f"{what}, row {i}: {a}, expected {b}"
