"""`make bench`: whole runs on studies of growing size, each stage measured, beside what else could do the job.

For each number of laboratory rows a study is made (`benchmarks.studies`), `sher2 run` takes it from the landing folder
to the published marts, metrics and report as one process, validation on, and on the same files run DuckDB's bare scan
(the limit of the machine) and two plain scripts that compute the serum HER2 deltas alone. Then `benchmarks.responses`.

    make bench                                                     10^4 to 10^6 laboratory rows
    python -m benchmarks --sizes 1e4 1e5 1e6 1e7 --record          the figures of docs/performance.md
    python -m benchmarks --sizes 5e7                               when there is an hour and 60 GB of disk

Figures go to --output as JSON and Markdown with a plot; --record makes them the recorded ones, with which every run is
compared, and writes them into docs/performance.md and docs/scale.md.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from benchmarks import responses, scale, studies
from benchmarks.results import RECORDED, compared, markdown, record, write
from benchmarks.usage import Usage, run_process
from orchestration.settings import REPOSITORY

SHER2 = [sys.executable, "-m", "orchestration.cli"]
SIZES = (10**4, 10**5, 10**6)
LARGE = 2_000_000
"""Sizes from here on run once."""

_STAGES = {
    "start": "start (imports)",
    "raw": "read, validate, commit",
    "seconds building the marts": "marts (dbt: seeds, models, tests)",
    "seconds computing efficacy metrics": "metrics",
    "seconds publishing": "publish",
    "history": "history of the run",
    "reports__efficacy": "report",
    "documents": "validation docs, catalog",
    "between": "between steps, end",
}
_DOCUMENTS = ("reports__validation", "reports__catalog")
_LARGEST_FILE_MB = 8192


def measure(lab_rows: int, folder: Path, runs: int, panel: int, one_file: bool) -> dict:
    """All figures of one size, each the median of the runs."""
    home = folder / f"{lab_rows:.0e}"
    made = studies.make(home / "landing", lab_rows, panel=panel, one_file=one_file)
    environment = {"SHER2_HOME": str(home), "SHER2_STUDY": str(_study(folder)), "PYTHONDONTWRITEBYTECODE": ""}
    taken = []
    for _ in range(runs):
        _empty(home)
        usage = run_process([*SHER2, "run"], environment, sampled=True)
        if usage.exit_code:
            raise SystemExit(f"sher2 run failed on {lab_rows:,} laboratory rows")
        taken.append({"whole": _figures(usage), "stages": _by_stage(usage, home)})
    rows, kept = _rows_read(home), {"lake_bytes": _bytes(home / "lake"), "home_bytes": _bytes(home) - made.bytes}
    others = {}
    for name, arguments in (("scan", [str(home / "scan.duckdb")]), ("with_pandas", []), ("with_duckdb", [])):
        command = [sys.executable, "-m", f"benchmarks.plain.{name}", str(home / "landing"), *arguments]
        usages = [run_process(command, {}) for _ in range(runs)]
        others[name] = _median([_figures(usage) for usage in usages]) | {"said": usages[-1].said.strip()}
        (home / "scan.duckdb").unlink(missing_ok=True)
    shutil.rmtree(home)
    return {
        "lab_rows": lab_rows,
        "subjects": made.subjects,
        "panel": panel,
        "files": "one" if one_file else f"of {studies.FILE_ROWS:,} rows",
        "bytes": made.bytes,
        "runs": runs,
        "rows": rows,
        **kept,
        "whole": _median([run["whole"] for run in taken]),
        "stages": {name: _median([run["stages"][name] for run in taken]) for name in _STAGES.values()},
        **others,
    }


def _figures(usage: Usage) -> dict:
    return {"wall_s": usage.wall, "cpu_s": usage.cpu, "peak_gib": usage.peak_gib}


def _median(figures: Sequence[dict]) -> dict:
    return {name: round(statistics.median(item[name] for item in figures), 3) for name in figures[0]}


def _by_stage(usage: Usage, home: Path) -> dict[str, dict]:
    """What of a run fell to each stage, by the times that Dagster noted for its steps."""
    spans = [(key, start, end) for key, start, end in _steps(home) if start and end]
    began, ended = usage.samples[0].at, usage.samples[-1].at
    found = {name: {"wall_s": 0.0, "cpu_s": 0.0, "peak_gib": 0.0} for name in _STAGES.values()}

    def add(stage: str, start: float, end: float) -> None:
        cpu, peak = usage.during(start, end)
        into = found[_STAGES[stage]]
        into["wall_s"] += end - start
        into["cpu_s"] += cpu
        into["peak_gib"] = max(into["peak_gib"], peak)

    add("start", began, spans[0][1])
    for (_, _, end), (_, start, _) in itertools.pairwise(spans):
        add("between", end, max(start, end))
    add("between", spans[-1][2], ended)
    for key, start, end in spans:
        add("documents" if key in _DOCUMENTS else key, start, end)
    return found


def _steps(home: Path) -> list[tuple[str, float, float]]:
    """(key, start, end) of each step of the home's last run, in their order."""
    script = (
        "import dagster as dg, json\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    steps = instance.get_run_step_stats(instance.get_runs(limit=1)[0].run_id)\n"
        "    made = instance.get_latest_materialization_event(dg.AssetKey('warehouse')).asset_materialization\n"
        "seconds = {name: data.value for name, data in made.metadata.items() if name.startswith('seconds ')}\n"
        "print(json.dumps([[(s.step_key, s.start_time, s.end_time) for s in steps], seconds]))"
    )
    said = run_process([sys.executable, "-c", script], {"DAGSTER_HOME": str(home / "dagster")}).said
    steps, seconds = json.loads(said)
    return [span for step in sorted(steps, key=lambda step: step[1] or 0) for span in _spans(*step, seconds)]


def _spans(key: str, start: float, end: float, seconds: dict[str, float]) -> Iterator[tuple[str, float, float]]:
    """The step `publication` has stages of its own; after them it writes what it did into the history."""
    if key == "publication":
        for name, taken in seconds.items():
            yield name, start, start + taken
            start += taken
        key = "history"
    yield key, start, end


def _rows_read(home: Path) -> dict[str, int]:
    """Rows of every record and of all; what was read is what was accepted and what was quarantined."""
    read, accepted, quarantined = duckdb.sql(
        "select sum(rows_read), sum(rows_accepted), sum(rows_quarantined)"
        f" from read_parquet('{home}/lake/ledger/*.parquet')"
    ).fetchall()[0]
    if read != accepted + quarantined:
        raise SystemExit(f"rows were lost: {read:,} read, {accepted:,} accepted, {quarantined:,} quarantined")
    measured = duckdb.sql(
        f"select count(*) from read_parquet('{home}/lake/records/tumor_measurements/*.parquet')"
    ).fetchall()[0][0]
    return {"all": int(read), "quarantined": int(quarantined), "tumor_measurements": measured}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _study(folder: Path) -> Path:
    """The protocol of the repository; a feed in one file may be larger than an export usually is."""
    path = folder / "study.yaml"
    text = (REPOSITORY / "study.yaml").read_text("utf-8")
    path.write_text(text.replace("max_file_mb: 512", f"max_file_mb: {_LARGEST_FILE_MB}"), "utf-8")
    return path


def _empty(home: Path) -> None:
    for item in home.iterdir():
        if item.name != "landing":
            shutil.rmtree(item) if item.is_dir() else item.unlink()


def _machine() -> dict:
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "measured_on": datetime.now(UTC).date().isoformat(),
        "code": commit,
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "machine": platform.machine(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=lambda text: int(float(text)), nargs="+", default=list(SIZES), metavar="ROWS")
    parser.add_argument("--runs", type=int, default=3, help=f"of each size below {LARGE:,} rows; the others run once")
    parser.add_argument("--panel", type=int, default=studies.PANEL, help="analytes of a blood draw")
    parser.add_argument("--one-file", action="store_true", help="the laboratory's feed as one file")
    parser.add_argument("--without-responses", action="store_true", help="leave benchmarks.responses out")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "bench")
    parser.add_argument("--record", action="store_true", help="keep these figures, in docs/performance.md, too")
    options = parser.parse_args()
    figures = {"machine": _machine(), "sizes": [], "responses": []}
    with tempfile.TemporaryDirectory(prefix="sher2-bench-") as name:
        for lab_rows in sorted(options.sizes):
            print(f"{lab_rows:,} laboratory rows ...", file=sys.stderr, flush=True)
            runs = options.runs if lab_rows < LARGE else 1
            figures["sizes"].append(measure(lab_rows, Path(name), runs, options.panel, options.one_file))
        if not options.without_responses:
            print("responses ...", file=sys.stderr, flush=True)
            figures["responses"] = responses.figures(Path(name))
    write(figures, options.output)
    print(markdown(figures))
    if RECORDED.exists():
        print(compared(figures, json.loads(RECORDED.read_text("utf-8"))))
    if options.record:
        record(figures)
        scale.main()


if __name__ == "__main__":
    main()
