"""Writes measurements as a page with tables and charts."""

import json
import math

from engines import ENGINES, TITLES

# What measurements of the tablet engine aim at.
AIMS = {
    "upsert, Tarn: rows/s": ">= 150,000",
    "scan after updates / untouched": "<= 1.25",
    "the same scan, UNIQUE / PRIMARY KEY": ">= 3",
    "point lookup, pages a column": "<= 2",
    "short range, pages a column": "<= 2",
    "full scan, Tarn / DuckDB": "<= 1.2",
    "filter, Tarn / DuckDB": "<= 1.2",
    "group, Tarn / DuckDB": "<= 1.2",
    "point lookup, Tarn / DuckDB": "<= 1.2",
    "full scan, Tarn / DataFusion on Parquet": "<= 0.4",
    "storage, Tarn / DuckDB": "<= 1.1",
    "storage, Tarn / zstd Parquet": "<= 1.1",
}


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def ratios(times, engine):
    """Tarn's time over the engine's, for each query that both answered."""
    ours, theirs = times.get("tarn", {}), times.get(engine, {})
    both = [q for q in ours if isinstance(ours[q], float) and isinstance(theirs.get(q), float)]
    return {q: ours[q] / theirs[q] for q in both}


def cell(value):
    if isinstance(value, float):
        return f"{value * 1000:.0f}"
    return "failed" if value else ""


def table(entry, kind):
    times = entry[kind]
    engines = [e for e in ENGINES if e in times]
    others = [e for e in engines if e != "tarn"] if "tarn" in engines else []
    header = ["query", *[TITLES[e] + ", ms" for e in engines], *[f"Tarn / {TITLES[e]}" for e in others]]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    by_engine = {e: ratios(times, e) for e in others}
    for query in times[engines[0]]:
        row = [query, *[cell(times[e].get(query)) for e in engines]]
        row += [f"{by_engine[e][query]:.2f}" if query in by_engine[e] else "" for e in others]
        lines.append("| " + " | ".join(row) + " |")
    means = [geometric_mean([t for t in times[e].values() if isinstance(t, float)]) for e in engines]
    row = ["**geometric mean**", *[cell(m) for m in means]]
    row += [f"**{m:.2f}**" if (m := geometric_mean(list(by_engine[e].values()))) else "" for e in others]
    lines.append("| " + " | ".join(row) + " |")
    return lines


def chart(entry, kind, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tarn"
    import matplotlib.pyplot as plt

    times = entry[kind]
    engines = [e for e in ENGINES if e in times]
    names = list(times[engines[0]])
    figure, axes = plt.subplots(figsize=(max(8, len(names) * 0.6), 4))
    width = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        heights = [t * 1000 if isinstance(t := times[engine].get(q), float) else 0 for q in names]
        axes.bar([x + i * width for x in range(len(names))], heights, width, label=TITLES[engine])
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(names))], names)
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds (log)")
    axes.set_title(f"{entry['suite'].upper()} at scale {entry['scale']:g}, {kind}")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def tablets(path):
    """The section about the tablet engine, if it was measured."""
    if not path.exists():
        return []
    results = json.loads(path.read_text())
    lines = ["", "## Tablets", "", "By " + ", ".join(f"`{c}`" for c in sorted(
        {v for k, v in results.items() if k.endswith(", command")})) + ".", ""]
    lines += ["| measured | | aim |", "|---|---:|---:|"]
    lines += [f"| {what} | {significant(value)} | {aim(what)} |" for what, value in results.items()
              if not isinstance(value, str)]
    return [*lines, ""]


def aim(what):
    """What a measurement should be, or nothing."""
    return AIMS.get(what, "")


def significant(value):
    """Three significant digits."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def write(results, out):
    machine = results["machine"]
    lines = [
        "# Measurements", "",
        f"{machine['cpu']}, {machine['memory_gib']} GiB, {machine['date']}; DuckDB {machine['duckdb']}, DataFusion "
        f"{machine['datafusion']} (Python packages). `make bench` measures all of it.", "",
        "Milliseconds until all rows have arrived, the median of several runs. Hot: one process, the first run not",
        "counted. Cold: a new process for each run"
        + (", page cache emptied." if machine["page cache dropped before cold runs"] else "; the page cache could not be emptied."),
        "Parquet files are LZ4. Tarn is one process (`tarn dev`), asked over Flight SQL on loopback; DuckDB and DataFusion run in",
        "the process that asks. A ratio below 1 means that Tarn is faster.", "",
    ]
    for entry in results["suites"]:
        name = f"{entry['suite']}-{entry['scale']:g}"
        for kind in ("hot", "cold"):
            if entry[kind]:
                file = f"{name}-{kind}.svg"
                chart(entry, kind, out / file)
                title = f"## {entry['suite'].upper()}, scale {entry['scale']:g}, {kind}"
                how = f"Median of {entry['runs'][kind]}, by `{entry['commands'][kind]}`."
                lines += [title, "", " ".join([how, *entry.get("remarks", [])]), "", f"![times]({file})", ""]
                lines += [*table(entry, kind), ""]
        for engine, loads in entry["load"].items():
            for of, load in loads.items():
                if load["rows"] >= 1_000_000:
                    rate = load["rows"] / load["seconds"]
                    lines.append(f"- {TITLES[engine]} loads `{of}`: {load['rows']:,} rows in {load['seconds']:.1f} s, {rate:,.0f} rows/s")
        for what, value in entry.get("latency", {}).items():
            lines.append(f"- {what}: {value:.2f}")
        for engine, wrong in entry["wrong"].items():
            lines.append(f"- **{TITLES[engine]} answers differently from DuckDB**: {', '.join(wrong)}")
        lines.append("")
    if results.get("coordinator idle, MiB"):
        lines.append(f"A coordinator that has nothing to do takes {results['coordinator idle, MiB']:.0f} MiB.")
    lines += tablets(out / "tablets.json")
    (out / "README.md").write_text("\n".join(lines).rstrip() + "\n")
