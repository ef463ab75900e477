"""`make bench`: `sher2 run` as a whole process, imports included, on simulated studies of three sizes; then the others.

Each of the others runs alone, too: `python -m benchmarks.responses`.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks import responses
from benchmarks.usage import run_process

SHER2 = [sys.executable, "-m", "orchestration.cli"]


def stages(home: Path) -> list[tuple[str, float]]:
    """Seconds of each step of the home's last run, as Dagster recorded them."""
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        run = instance.get_runs(limit=1)[0]
        steps = instance.get_run_step_stats(run.run_id)
    return [
        (step.step_key, (step.end_time or 0) - (step.start_time or 0))
        for step in sorted(steps, key=lambda s: s.start_time or 0)
    ]


def rows_read(home: Path) -> int:
    return duckdb.sql(f"select sum(rows_read) from read_parquet('{home}/lake/ledger/*.parquet')").fetchall()[0][0]


def measure(title: str, home: Path, runs: int) -> None:
    landing, usages = home / "landing", []
    for _ in range(runs):
        for item in home.iterdir():
            if item != landing:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        usages.append(run_process([*SHER2, "run"], {"SHER2_HOME": str(home)}))
    middle = sorted(usages, key=lambda usage: usage.wall)[len(usages) // 2]
    rows = rows_read(home)
    print(
        f"\n{title}: exit {middle.exit_code}, wall {middle.wall:.1f} s (median of {runs}), cpu {middle.cpu:.1f} s,"
        f" peak {middle.peak_gib:.2f} GiB, {rows:,} rows, {rows / middle.wall:,.0f} rows/s end to end"
    )
    for step, seconds in stages(home):
        print(f"  {step:<28}{seconds:8.2f} s {rows / max(seconds, 1e-3):>12,.0f} rows/s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="counted runs of the demo study (the large ones run once)")
    parser.add_argument(
        "--lab-subjects", type=int, default=20_000, help="subjects behind the study of about 1,000,000 lab rows"
    )
    options = parser.parse_args()
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory(prefix="sher2-bench-") as folder:
        base = Path(folder)
        for title, subjects, runs in (("demo study, 120 subjects", 120, options.runs), ("5,000 subjects", 5000, 1)):
            home = base / str(subjects)
            usage = run_process([*SHER2, "simulate", str(home / "landing"), "--subjects", str(subjects)], {})
            print(f"\nsimulate {subjects} subjects: wall {usage.wall:.1f} s, peak {usage.peak_gib:.2f} GiB")
            measure(title, home, runs)
            shutil.rmtree(home)
        home = base / "lab"
        usage = run_process([*SHER2, "simulate", str(home / "landing"), "--subjects", str(options.lab_subjects)], {})
        print(f"\nsimulate {options.lab_subjects:,} subjects: wall {usage.wall:.1f} s, peak {usage.peak_gib:.2f} GiB")
        shutil.rmtree(home / "landing" / "imaging")
        for path in (home / "landing" / "clinical").iterdir():
            if not path.name.lower().startswith(("dm", "ex")):
                path.unlink()
        measure("laboratory rows alone (with demography and exposure)", home, 1)
    responses.main([])


if __name__ == "__main__":
    main()
