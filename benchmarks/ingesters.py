"""How ingestion grows with its processes, from folders and from buckets, and what merging small files costs.

`python -m benchmarks.ingesters [--files 40] [--rows 25000]`. The server of the buckets runs on this machine and takes
part of its processors; its CPU time is not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.usage import run_process
from orchestration import lake as lake_module
from orchestration.lake import Lake
from orchestration.settings import REPOSITORY, Settings

_HEAD = "subject_id,sample_id,analyte,value,unit,collected_at,result_status,specimen\n"
_SERVER = "from tests.object_store import ObjectStore\nwith ObjectStore() as s:\n print(s.url, flush=True)\n input()"


def _write(folder: Path, files: int, rows: int) -> None:
    (folder / "lab").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = (
            f"S{row % 500},{number}-{row},42914-2,{row % 97}.5,ng/mL,2024-{row % 12 + 1:02}-{row % 28 + 1:02},F,SERUM\n"
            for row in range(rows)
        )
        (folder / "lab" / f"{number:05}.csv").write_text(_HEAD + "".join(lines), "utf-8")


def _ingest(settings: Settings, files: int, rows: int, what: str) -> None:
    environment = {
        "SHER2_HOME": str(settings.home),
        "SHER2_STUDY": str(settings.study_file),
        "SHER2_LANDING_URL": settings.landing_url,
        "SHER2_LAKE_URL": settings.lake_url,
        "SHER2_WORKERS": str(settings.workers),
    }
    used = run_process([sys.executable, "-m", "orchestration.cli", "ingest"], environment)
    done = len(Lake(settings).deliveries())
    assert used.exit_code == 0 and done == files, f"{what}: {done} of {files} files"
    speed = files * rows / used.wall
    print(f"| {what} | {settings.workers} | {used.wall:.1f} | {used.cpu:.1f} | {speed:,.0f} | {used.peak_gib:.2f} |")


def _merge(folder: Path, parcels: int, rows: int) -> None:
    home = Settings(folder / "merged", REPOSITORY / "study.yaml")
    home.prepare()
    _write(home.landing, parcels, rows)
    from orchestration import due, ingestion
    from orchestration.study import load_study

    due.MAX_FILES = 1
    ingestion.ingest(home, load_study(home.study_file), share=due.Share())
    visits = home.lake / "records" / "lab_results"
    size = sum(path.stat().st_size for path in visits.iterdir())
    began, cpu = time.perf_counter(), time.process_time()
    merged = Lake(home).compact()
    print(
        f"\n{merged} files of {size / 1e6:.1f} MB merged in {time.perf_counter() - began:.2f} s,"
        f" {time.process_time() - cpu:.2f} CPU s; files were merged from {lake_module._SMALL_FILES} on."
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--parcels", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| lake | processes | wall s | CPU s | rows/s | peak GiB |\n|---|---|---|---|---|---|")
        for workers in (1, 2, 4):
            home = Settings(folder / f"folder{workers}", REPOSITORY / "study.yaml", workers=workers)
            home.prepare()
            _write(home.landing, options.files, options.rows)
            _ingest(home, options.files, options.rows, "folder")
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            os.environ |= {
                "AWS_ENDPOINT_URL": server.stdout.readline().strip(),
                "AWS_ACCESS_KEY_ID": "sher2",
                "AWS_SECRET_ACCESS_KEY": "a secret of this machine",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            import boto3

            client = boto3.client("s3")
            client.create_bucket(Bucket="landing")
            for path in (folder / "folder1" / "landing" / "lab").iterdir():
                client.upload_file(str(path), "landing", f"lab/{path.name}")
            for workers in (1, 2, 4):
                client.create_bucket(Bucket=f"lake-{workers}")
                home = Settings(folder / f"bucket{workers}", REPOSITORY / "study.yaml", workers=workers)
                home = replace(home, landing_url="s3://landing", lake_url=f"s3://lake-{workers}")
                home.prepare()
                time.sleep(2)  # objects settle
                _ingest(home, options.files, options.rows, "bucket")
        finally:
            server.communicate("\n", timeout=60)
        _merge(folder, options.parcels, 50)


if __name__ == "__main__":
    main()
