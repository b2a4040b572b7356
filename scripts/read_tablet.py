#!/usr/bin/env python3
"""Reads the rows of a tablet's directory without Tarn, by the public `vortex-data` package (0.90.0) alone.

    pip install vortex-data==0.90.0 pyarrow
    read_tablet.py DATA/tablets/1009 > rows.jsonl

Segments are ordinary Vortex files, whose columns are named `c` and the id of the table's column. The directory does not
say which rows have been replaced or deleted, and which segments a compaction has superseded: the node's metadata does,
from which `tarn admin segment inspect --json DATA/tablets/1009 > layout.json` takes it. With `--layout layout.json` only
live rows are read, under the columns' names, oldest rowset first. Of an AGGREGATE or UNIQUE table these are still to be
merged by key.
"""

import argparse
import json
import pathlib
import sys

import vortex


def rows(file, deleted, names):
    """The rows of a segment, without those that are deleted."""
    table = vortex.open(str(file)).to_arrow().read_all()
    table = table.rename_columns([names.get(column, column) for column in table.column_names])
    gone = set()
    for first, last in deleted:
        gone.update(range(first, last + 1))
    # Row by row: pyarrow does not filter views of text.
    return [row for number, row in enumerate(table.to_pylist()) if number not in gone]


def segments(folder, layout):
    """Files, deleted rows and names of columns, oldest first."""
    if layout is None:
        for file in sorted(folder.glob("*.vortex")):
            yield file, [], {}
        return
    places = {r["rowset"]: (r["version"], r["rowset"]) for r in layout["tablet"]["rowsets"] if r["state"] == "LIVE"}
    found = []
    for segment in layout["segments"]:
        rowset, number = segment["file"].removesuffix(".vortex").split("_")
        if int(rowset) in places:
            found.append((*places[int(rowset)], int(number), segment))
    for _, _, _, segment in sorted(found, key=lambda place: place[:3]):
        names = {column["field"]: column["name"] for column in segment["columns"] if column["name"]}
        yield folder / segment["file"], segment["deleted_ranges"], names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="a tablet's directory: DATA/tablets/ID")
    parser.add_argument("--layout", type=argparse.FileType(), help="what `tarn admin segment inspect --json` printed")
    arguments = parser.parse_args()
    layout = json.load(arguments.layout) if arguments.layout else None
    for file, deleted, names in segments(arguments.folder, layout):
        for row in rows(file, deleted, names):
            json.dump(row, sys.stdout, default=str)
            sys.stdout.write("\n")


if __name__ == "__main__":
    main()
