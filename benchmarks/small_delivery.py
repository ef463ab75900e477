"""`python -m benchmarks.small_delivery`: 100 new laboratory rows on a base of 10,000,000, until they are published.

The base is taken in by `sher2 run`. Then, each as a whole process of `sher2 run` with validation on: the delivery, a
second one whose days move the data cut-off of the study, and a run with nothing new. With `--worker` the resident
worker of `sher2 up` publishes two more. A delivery counts when marts and metrics of one publication show its rows. At
the end everything is built from nothing, and each table that dbt makes must be equal, row by row.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.arrival import HEADER, SHER2, served
from benchmarks.studies import make
from benchmarks.usage import run_process
from orchestration.settings import REPOSITORY, Settings
from orchestration.study import load_study
from orchestration.warehouse import Dbt, connect

ROWS = 100
SCHEMAS = ("staging", "intermediate", "marts", "ops")


def rows(settings: Settings, name: str, after_days: int) -> str:
    """A sample of each of some treated subjects, days after the last date of the study."""
    with connect(settings.warehouse, read_only=True) as connection:
        subjects = connection.execute(
            "select subject_id, (select max(cutoff_on) from intermediate.int_data_cutoff) + cast($days as integer)"
            " from marts.dim_subject where in_treated order by hash(subject_id, $name) limit $rows",
            {"days": after_days, "name": name, "rows": ROWS},
        ).fetchall()
    return HEADER + "".join(
        f"{subject},{name}-{number},42914-2,{10 + number % 9}.5,ng/mL,{day}T08:00,{day}T18:00,F,SERUM,BENCH\n"
        for number, (subject, day) in enumerate(subjects)
    )


def published(name: str) -> str:
    return (
        f"select (select count(*) from marts.fct_her2_delta where starts_with(sample_id, '{name}-'))"
        " + 0 * (select count(*) from metrics.estimates join (from ops.publications order by rowid desc limit 1)"
        " using (build_id) having count(*) > 0)"
    )


def run(settings: Settings, what: str, name: str = "") -> dict:
    usage = run_process(
        [*SHER2, "run"], {"SHER2_HOME": str(settings.home), "SHER2_STUDY": str(settings.study_file)}, sampled=True
    )
    if usage.exit_code:
        raise SystemExit(f"{what}: sher2 run failed")
    if name:
        with connect(settings.warehouse, read_only=True) as connection:
            if (found := connection.execute(published(name)).fetchone()[0]) != ROWS:
                raise SystemExit(f"{what}: {found} of {ROWS} rows are published")
    figures = {"wall_s": round(usage.wall, 1), "cpu_s": round(usage.cpu, 1), "peak_gib": round(usage.peak_gib, 2)}
    print(f"{what}: {json.dumps(figures)}", flush=True)
    return figures


def differing(settings: Settings) -> list[str]:
    """Build from nothing beside what is published; the tables that are not equal."""
    dbt = Dbt(settings, load_study(settings.study_file))
    dbt.forget()
    if any(result.is_failed for result in dbt.build()):
        raise SystemExit("the build from nothing failed")
    with duckdb.connect() as connection:
        connection.execute(f"attach '{settings.warehouse}' as published (read_only)")
        connection.execute(f"attach '{dbt.database}' as anew (read_only)")
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = 'anew'"
            " and list_contains($schemas, schema_name) order by all",
            {"schemas": list(SCHEMAS)},
        ).fetchall()
        print(f"{len(tables)} tables compared with a build from nothing", flush=True)
        return [
            f"{schema}.{table}"
            for schema, table in tables
            if connection.execute(
                f'select (select count(*) from anew."{schema}"."{table}") <> (select count(*) from'
                f' published."{schema}"."{table}") or exists (from anew."{schema}"."{table}"'
                f' except all from published."{schema}"."{table}")'
            ).fetchone()[0]
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_delivery", description=__doc__)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=10_000_000, help="of the base")
    parser.add_argument("--worker", action="store_true", help="also by the resident worker")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sher2-bench-") as folder:
        settings = Settings(Path(folder) / "home", REPOSITORY / "study.yaml")
        made = make(settings.landing, options.rows)
        print(f"base: {made.subjects} subjects, {made.lab_rows} laboratory rows", flush=True)
        run(settings, "base")
        for name, days in (("SMALL", -1), ("LATER", 3)):
            (settings.landing / "lab" / f"{name}.csv").write_text(rows(settings, name, days))
            run(settings, f"{ROWS} rows, {'inside the data cut-off' if days < 0 else 'which move it'}", name)
        run(settings, "nothing new")
        if options.worker:
            with served(settings) as up:
                for name, days in (("FIRST", -1), ("SECOND", -2)):
                    up.rest()
                    text = rows(settings, name, days)
                    up.drop(f"{name}.csv", text)
                    seconds = up.seconds_until(published(name), ROWS)
                    print(f"{ROWS} rows by the worker: {seconds:.1f} s", flush=True)
                up.rest()
        if others := differing(settings):
            sys.exit(f"not equal to a build from nothing: {', '.join(others)}")


if __name__ == "__main__":
    main()
