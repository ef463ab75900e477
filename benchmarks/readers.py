"""`python -m benchmarks.readers`: concurrent readers query the warehouse through many publications.

Prints publications, looks, which publications were seen, and every error or mixed state; exits with 1 if there is one.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.usage import run_process
from orchestration.settings import REPOSITORY, Settings
from tests.faults.readers import Readers, publish_again_and_again

SHER2 = [sys.executable, "-m", "orchestration.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=__doc__)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--publications", type=int, default=50)
    parser.add_argument("--subjects", type=int, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sher2-readers-") as name:
        settings = Settings(Path(name), REPOSITORY / "study.yaml")
        environment = {"SHER2_HOME": str(settings.home), "PYTHONDONTWRITEBYTECODE": ""}
        for command in (["simulate", str(settings.landing), "--subjects", str(options.subjects)], ["run"]):
            if run_process([*SHER2, *command], environment).exit_code:
                sys.exit(1)
        prepared = [settings.build / "one.duckdb", settings.build / "other.duckdb"]
        for database in prepared:
            shutil.copy(settings.warehouse, database)
            database.chmod(0o644)
        publish_again_and_again(settings, prepared, 0, range(1))
        with Readers(settings, options.readers) as readers:
            slowest = publish_again_and_again(settings, prepared, 0.2, range(1, options.publications + 1))
        megabytes = settings.warehouse.stat().st_size / 2**20
    faults = [fault for seen in readers.seen for fault in seen.faults]
    builds = {build for seen in readers.seen for build in seen.builds}
    looks = [seen.looks for seen in readers.seen]
    print(f"{options.publications} publications of {megabytes:.1f} MB, the slowest {slowest:.2f} s")
    print(f"{options.readers} readers, {sum(looks):,} looks, the fewest of a reader {min(looks)}")
    print(f"publications seen {len(builds)} of {options.publications + 1}; errors or mixed states {len(faults)}")
    for fault in faults[:20]:
        print(f"  {fault}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
