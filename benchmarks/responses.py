"""`python -m benchmarks.responses`: responses to best response and PFS, and lesion measurements to all response marts.

Timed is dbt alone, on rows that were landed and taken into the lake before: seeds and models, no tests.

1. The responses of the 205 subjects of the public study (pharmaversesdtm), 100 times over: 20,500 subjects, 580,800
   rows, to best response, confirmed best response and PFS. It needs the folder of public samples beside the project.
2. 1,000,000 simulated measurements of lesions to all response marts.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import yaml

from benchmarks.usage import run_process
from orchestration.settings import DBT_PROJECT, REPOSITORY, Settings
from orchestration.study import load_study

PUBLIC_STUDY = REPOSITORY.parent / "shared" / "samples" / "sdtm"
PUBLIC_CHANGES = {"drugs": ["PLACEBO", "XANOMELINE"], "timezone": "UTC"}
COPIES = 100
MEASUREMENTS_PER_SUBJECT = 42
"""In simulated studies, on average."""

BEST_RESPONSE_AND_PFS = ("fct_best_response", "fct_time_to_event")
RESPONSE_MARTS = ("fct_response", *BEST_RESPONSE_AND_PFS)
TAKE_IN = """
from orchestration.ingestion import ingest
from orchestration.settings import Settings
from orchestration.study import load_study
settings = Settings.from_environment()
ingest(settings, load_study(settings.study_file))
"""

BUILD = """
import json, os, sys
from dbt.cli.main import dbtRunner

def cpu():
    used = os.times()
    return used.user + used.system

where, select = json.loads(sys.argv[1]), json.loads(sys.argv[2])
parsed = dbtRunner().invoke(["parse", *where])
started = cpu()
built = dbtRunner(manifest=parsed.result).invoke(["build", *where, *select])
if not built.success:
    sys.exit(str(built.exception or "a model failed"))
print(json.dumps([round(started, 2), round(cpu() - started, 2)]))
"""
ADMIRALONCO = {"cpu_s": 51.9, "peak_gib": 0.38}
"""admiralonco's derivation of confirmed best response and PFS on the same rows: one thread."""


def public_responses(home: Path) -> Settings:
    """The public study's responses, COPIES times over, with the demographics and doses of those subjects."""
    settings = _home(home, PUBLIC_CHANGES)
    assessed = {row["USUBJID"] for row in _rows(PUBLIC_STUDY / "rs_onco.csv")}
    for name, folder in (("dm", "clinical"), ("ex", "clinical"), ("ds", "clinical"), ("rs_onco", "imaging")):
        rows = [row for row in _rows(PUBLIC_STUDY / f"{name}.csv") if row["USUBJID"] in assessed]
        with (settings.landing / folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            for copy in range(COPIES):
                writer.writerows(row | {"USUBJID": f"{row['USUBJID']}-{copy:03}"} for row in rows)
    return settings


def simulated_measurements(home: Path, measurements: int) -> Settings:
    settings = _home(home, {})
    subjects = -(-measurements // MEASUREMENTS_PER_SUBJECT)
    sher2 = [sys.executable, "-m", "orchestration.cli"]
    run_process([*sher2, "simulate", str(settings.landing), "--subjects", str(subjects)], {})
    shutil.rmtree(settings.landing / "lab")
    return settings


def measure(title: str, settings: Settings, marts: tuple[str, ...]) -> dict:
    """Take the landing folder in, build the marts once with parsing and once without, and tell what it took."""
    environment = {"SHER2_HOME": str(settings.home), "SHER2_STUDY": str(settings.study_file)}
    taken = run_process([sys.executable, "-c", TAKE_IN], environment)
    rows = _rows_in_lake(settings)
    builds = [_build(settings, marts) | {"what": what} for what in ("the project parsed anew", "again")]
    with duckdb.connect(str(_database(settings)), read_only=True) as connection:
        counts = {mart: connection.execute(f"select count(*) from marts.{mart}").fetchone()[0] for mart in marts}
    return {
        "title": title,
        "rows": rows,
        "taken_in_s": taken.wall,
        "builds": builds,
        "marts": counts,
        "beside_admiralonco": False,
    }


def figures(folder: Path, measurements: int = 1_000_000) -> list[dict]:
    """All of them, the first one only where the public samples are."""
    found = []
    if PUBLIC_STUDY.exists():
        home = public_responses(folder / "responses")
        found.append(measure("responses to best response and PFS", home, BEST_RESPONSE_AND_PFS))
        found[0]["beside_admiralonco"] = True
    home = simulated_measurements(folder / "measurements", measurements)
    return [*found, measure("measurements to all response marts", home, RESPONSE_MARTS)]


def _build(settings: Settings, marts: tuple[str, ...]) -> dict:
    """What the process took, of it starting and parsing and the build alone, and the slowest nodes."""
    _database(settings).unlink(missing_ok=True)
    target = settings.build / "dbt"
    where = [
        "--quiet", "--log-level-file", "none", "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT),
        "--target-path", str(target), "--log-path", str(target),
        "--vars", json.dumps(load_study(settings.study_file).dbt_vars(), sort_keys=True),
    ]  # fmt: skip
    select = ["--select", *(f"+{mart}" for mart in marts), "--exclude-resource-type", "test", "unit_test"]
    environment = {
        "SHER2_LAKE": str(settings.lake),
        "SHER2_LEDGER": str(settings.lake / "ledger"),
        "SHER2_BUILD_DB": str(_database(settings)),
        "DO_NOT_TRACK": "1",
    }
    usage = run_process([sys.executable, "-c", BUILD, json.dumps(where), json.dumps(select)], environment)
    if usage.exit_code:
        raise SystemExit("dbt failed")
    results = json.loads((target / "run_results.json").read_text("utf-8"))
    nodes = [(node["unique_id"].split(".")[2], node["execution_time"]) for node in results["results"]]
    start, build = json.loads(usage.said.strip().splitlines()[-1])
    return {
        "wall_s": usage.wall, "cpu_s": usage.cpu, "peak_gib": usage.peak_gib, "start_cpu_s": start,
        "build_cpu_s": build, "build_s": results["elapsed_time"],
        "slowest_s": dict(sorted(nodes, key=lambda node: -node[1])[:10]),
    }  # fmt: skip


def _database(settings: Settings) -> Path:
    return settings.build / "warehouse.duckdb"


def _home(home: Path, changes: dict) -> Settings:
    study = yaml.safe_load((REPOSITORY / "study.yaml").read_text("utf-8"))
    study["study"] |= changes
    home.mkdir(parents=True)
    (home / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    settings = Settings(home, home / "study.yaml")
    settings.prepare()
    return settings


def _rows(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _rows_in_lake(settings: Settings) -> dict[str, int]:
    counts = {}
    for folder in sorted((settings.lake / "records").iterdir()):
        count = duckdb.sql(f"select count(*) from read_parquet('{folder}/*.parquet')").fetchall()[0][0]
        counts |= {folder.name: count} if count else {}
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.responses", description=__doc__)
    parser.add_argument("--measurements", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory(prefix="sher2-bench-") as folder:
        print(json.dumps(figures(Path(folder), options.measurements), indent=1))


if __name__ == "__main__":
    main()
