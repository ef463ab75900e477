"""What the benchmark found: as JSON, as Markdown tables, as a plot of how cost grows, and against what is recorded.

How things are measured does not belong here.
"""

import json
import math
import re
from pathlib import Path

from benchmarks.responses import ADMIRALONCO
from orchestration.settings import REPOSITORY

RECORDED = REPOSITORY / "benchmarks" / "recorded.json"
_DOCUMENT = REPOSITORY / "docs" / "performance.md"
_PLOT = REPOSITORY / "docs" / "images" / "growth.svg"
_BEGIN, _END = "<!-- figures: python -m benchmarks --record -->", "<!-- end of figures -->"
_INGEST = "read, validate, commit"
_NOTABLE = 0.1  # a run differs so much from the recorded one by the machine's mood alone


def write(figures: dict, folder: Path) -> None:
    """results.json, results.md and growth.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(figures, indent=1), "utf-8")
    (folder / "results.md").write_text(markdown(figures), "utf-8")
    _plot(figures, folder / "growth.svg")


def record(figures: dict) -> None:
    """Make them the recorded figures, and put them into docs/performance.md."""
    RECORDED.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    _plot(figures, _PLOT)
    text = _DOCUMENT.read_text("utf-8")
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    _DOCUMENT.write_text(f"{before}{_BEGIN}\n{markdown(figures)}\n{_END}{after}", "utf-8")


def markdown(figures: dict) -> str:
    parts = [machine_line(figures["machine"])]
    if figures["sizes"]:
        parts += [_whole(figures["sizes"]), _growth_text(figures["sizes"]), _stages(figures["sizes"][-1])]
        parts += [_limit(figures["sizes"]), _side_by_side(figures["sizes"])]
    parts += [_responses(item) for item in figures["responses"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def compared(figures: dict, recorded: dict) -> str:
    """CPU seconds and peak memory against the recorded run, stage by stage, where they differ."""
    was = {(item["lab_rows"], item["panel"], item["files"]): item for item in recorded["sizes"]}
    lines = []
    for item in figures["sizes"]:
        before = was.get((item["lab_rows"], item["panel"], item["files"]))
        if before is None:
            continue
        for name, now in [("whole run", item["whole"]), *item["stages"].items()]:
            then = before["whole"] if name == "whole run" else before["stages"].get(name)
            if then and (_differs(now["cpu_s"], then["cpu_s"]) or _differs(now["peak_gib"], then["peak_gib"])):
                lines.append(
                    f"  {item['lab_rows']:,} rows, {name}: CPU {then['cpu_s']:.1f} -> {now['cpu_s']:.1f} s,"
                    f" peak {then['peak_gib']:.2f} -> {now['peak_gib']:.2f} GiB"
                )
    machine = recorded["machine"]
    head = f"against the recorded run of {machine['measured_on']} ({machine['code']}, {machine['cores']} cores)"
    return "\n".join([f"{head}:", *(lines or ["  no stage differs by more than a tenth"])])


def exponent(sizes: list[dict], figure: str) -> float | None:
    """Of cost = a * rows ** exponent, by least squares on logarithms; from 10^5 rows on: below, starting up is most."""
    large = [item for item in sizes if item["lab_rows"] >= 1e5]
    points = [(math.log(item["lab_rows"]), math.log(item["whole"][figure])) for item in large]
    if len(points) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def _differs(now: float, then: float) -> bool:
    return abs(now - then) > max(_NOTABLE * then, 0.2)


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [headings, *rows]]
    return "\n".join([lines[0], "|---" + "|--:" * (len(headings) - 1) + "|", *lines[1:]])


def machine_line(machine: dict) -> str:
    is_busy = machine["load_before"] > machine["cores"] / 2
    return (
        f"Measured on {machine['measured_on']}, code {machine['code']}:"
        f" {machine['cores']} cores ({machine['machine']}), {machine['memory_gib']:.0f} GiB,"
        f" Python {machine['python']}, DuckDB {machine['duckdb']};"
        f" load before the start {machine['load_before']:.1f}."
        f"{' The machine was busy: wall times and ratios of them say nothing, CPU seconds are too high.' * is_busy}"
    )


def _whole(sizes: list[dict]) -> str:
    headings = ["laboratory rows", "lesion sizes", "all rows", "bytes", "wall", "CPU", "peak", "rows/s", "runs"]
    rows = [
        [
            f"{item['lab_rows']:,}", f"{item['rows']['tumor_measurements']:,}", f"{item['rows']['all']:,}",
            f"{item['bytes'] / 1e6:,.0f} MB", f"{item['whole']['wall_s']:.1f} s", f"{item['whole']['cpu_s']:.1f} s",
            f"{item['whole']['peak_gib']:.2f} GiB", f"{item['rows']['all'] / item['whole']['wall_s']:,.0f}",
            str(item["runs"]),
        ]
        for item in sizes
    ]  # fmt: skip
    return "**Landing folder to published marts, metrics and report, validation on** (`sher2 run`, one process)\n\n" + (
        _table(headings, rows)
    )


def _growth_text(sizes: list[dict]) -> str:
    found = [(name, exponent(sizes, figure)) for name, figure in (("wall", "wall_s"), ("CPU", "cpu_s"))]
    told = ", ".join(f"{name} {value:.2f}" for name, value in found if value is not None)
    return told and f"Cost grows with the rows to the power of: {told} (fitted from 100,000 laboratory rows on)."


def _stages(item: dict) -> str:
    rows = [
        [name, f"{stage['wall_s']:.1f} s", f"{stage['cpu_s']:.1f} s", f"{stage['peak_gib']:.2f} GiB",
         f"{item['rows']['all'] / max(stage['wall_s'], 1e-3):,.0f}"]
        for name, stage in item["stages"].items()
    ]  # fmt: skip
    return f"**Where the time goes, {item['lab_rows']:,} laboratory rows**\n\n" + _table(
        ["stage", "wall", "CPU", "peak", "rows/s"], rows
    )


def _limit(sizes: list[dict]) -> str:
    rows = []
    for item in sizes:
        ours, scan = item["stages"][_INGEST], item["scan"]
        rows.append(
            [f"{item['lab_rows']:,}", f"{scan['wall_s']:.1f} s", f"{scan['cpu_s']:.1f} s",
             f"{ours['wall_s']:.1f} s", f"{ours['cpu_s']:.1f} s", f"{ours['wall_s'] / scan['wall_s']:.1f}",
             f"{ours['cpu_s'] / scan['cpu_s']:.1f}", f"{item['rows']['all'] / ours['wall_s']:,.0f}"]
        )  # fmt: skip
    headings = ["laboratory rows", "scan, wall", "scan, CPU", f"{_INGEST}, wall", "CPU", "ratio, wall", "ratio, CPU"]
    return "**The limit: DuckDB's bare scan of the same bytes into typed tables, nothing checked**\n\n" + _table(
        [*headings, "our rows/s"], rows
    )


def _side_by_side(sizes: list[dict]) -> str:
    rows = []
    for item in sizes:
        others = [item["with_pandas"], item["with_duckdb"]]
        if others[0]["said"] != others[1]["said"]:
            raise SystemExit(f"the plain scripts disagree: {others[0]['said']} and {others[1]['said']}")
        cells = [f"{item['lab_rows']:,}", others[0]["said"].split()[0]]
        for figures in (item["whole"], *others):
            cells.append(f"{figures['wall_s']:.1f} s / {figures['cpu_s']:.1f} s / {figures['peak_gib']:.2f} GiB")
        rows.append(cells)
    headings = ["laboratory rows", "deltas", "sher2 run, everything", "plain pandas, deltas", "plain DuckDB, deltas"]
    return (
        "**Side by side: the same serum HER2 deltas by a plain script** (wall / CPU / peak of the whole process; the"
        " scripts keep no source text, judge nothing and know no responses)\n\n" + _table(headings, rows)
    )


def _responses(item: dict) -> str:
    rows = [
        [build["what"], f"{build['wall_s']:.1f} s", f"{build['cpu_s']:.1f} s", f"{build['start_cpu_s']:.1f} s",
         f"{build['build_cpu_s']:.1f} s", f"{build['build_s']:.1f} s", f"{build['peak_gib']:.2f} GiB"]
        for build in item["builds"]
    ]  # fmt: skip
    if item["beside_admiralonco"]:
        dashes = ["", "", "", "", ""]
        rows.append(
            ["admiralonco, the same derivation", *dashes[:1], f"{ADMIRALONCO['cpu_s']} s", *dashes[:3],
             f"{ADMIRALONCO['peak_gib']:.2f} GiB"]
        )  # fmt: skip
    counts = ", ".join(f"{count:,} {record}" for record, count in item["rows"].items())
    headings = ["dbt alone", "process, wall", "CPU", "of it start and parsing", "of it the build", "build, wall"]
    return f"**{item['title'].capitalize()}** ({counts})\n\n" + _table([*headings, "peak"], rows)


def _plot(figures: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "growth"
    sizes = figures["sizes"]
    rows = [item["lab_rows"] for item in sizes]
    figure, axes = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    lines = {"whole run, wall": [item["whole"]["wall_s"] for item in sizes]}
    lines |= {f"{_INGEST}, wall": [item["stages"][_INGEST]["wall_s"] for item in sizes]}
    lines |= {"whole run, CPU": [item["whole"]["cpu_s"] for item in sizes]}
    lines |= {"DuckDB's bare scan, wall": [item["scan"]["wall_s"] for item in sizes]}
    for (name, values), style in zip(lines.items(), ("o-", "s-", "o:", "^--")):
        axes.loglog(rows, values, style, label=name)
    power = exponent(sizes, "wall_s")
    axes.set(xlabel="laboratory rows", ylabel="seconds")
    axes.set_title(f"wall time ~ rows^{power:.2f}" if power is not None else "cost by rows", fontsize=10)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    path.write_text(re.sub(r"[ \t]+\n", "\n", path.read_text("utf-8")), "utf-8")
