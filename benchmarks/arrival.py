"""`python -m benchmarks.arrival`: from the rename of a file to its number in warehouse.duckdb, by `sher2 up`.

On the demo study of 120 subjects, once with the daemon's sensor alone and once with the resident worker: laboratory
corrections dropped one after the other (median and 95th percentile; the settling of landing.settle_seconds counts), a
burst of small files, CPU at rest and memory. A drop counts when marts and metrics of one publication show it.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import duckdb

from benchmarks.usage import run_process
from orchestration.locking import is_held
from orchestration.settings import REPOSITORY, Settings

SHER2 = [sys.executable, "-m", "orchestration.cli"]
HEADER = "subject_id,sample_id,analyte,value,unit,collected_at,reported_at,result_status,specimen,laboratory\n"
GIVE_UP_SECONDS = 180


class Served:
    """A home with a running `sher2 up`."""

    def __init__(self, settings: Settings, process: subprocess.Popen):
        self.settings, self.process = settings, process

    def value(self, query: str):
        with duckdb.connect(str(self.settings.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchone()[0]

    def drop(self, name: str, text: str) -> None:
        """As a careful sender does: under another name first, then one rename."""
        target = self.settings.landing / "lab" / name
        temporary = target.with_name(f".{name}.tmp")
        temporary.write_text(text)
        os.rename(temporary, target)

    def seconds_until(self, query: str, expected) -> float:
        """Until the published file answers a query with this; looks whenever that file is another one."""
        began, seen = time.perf_counter(), None
        while time.perf_counter() - began < GIVE_UP_SECONDS:
            now = os.stat(self.settings.warehouse).st_ino
            elapsed = time.perf_counter() - began
            if now != seen and self.value(query) == expected:
                return elapsed
            seen = now
            time.sleep(0.01)
        raise TimeoutError(f"{query} did not become {expected} within {GIVE_UP_SECONDS} s")

    def rest(self) -> None:
        """Until no run writes, report and documents included."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 3:
            if is_held(self.settings.home):
                quiet_since = time.monotonic()
            time.sleep(0.1)

    def processes(self) -> list[int]:
        """The process and everything below it."""
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        family = [self.process.pid]
        for pid in family:
            family += [child for child, parent in parents.items() if parent == pid]
        return family

    def cpu_seconds(self) -> float:
        ticks = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> dict[str, int]:
        """Memory of its own of each process, by command: what is shared is shared out."""
        sizes = {}
        for pid in self.processes():
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            size = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            sizes[f"{pid} {' '.join(words[1:4])[:50]}"] = size // 1024
        return sizes


@contextmanager
def served(settings: Settings, *options: str):
    """`sher2 up` on a free port, from its line that it is ready to its end."""
    environment = os.environ | {"SHER2_HOME": str(settings.home), "SHER2_STUDY": str(settings.study_file)}
    command = [*SHER2, "up", "--port", str(random.randint(20_000, 60_000)), *options]
    process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        began = time.perf_counter()
        print(f"  {process.stdout.readline().split(':')[0]} after {time.perf_counter() - began:.1f} s")
        yield Served(settings, process)
    finally:
        began = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        process.wait()
        print(f"  stopped in {time.perf_counter() - began:.1f} s with {process.returncode}")


def measure_drops(up: Served, mode: str, drops: int) -> None:
    subject = up.value("select min(subject_id) from marts.dim_subject where first_dose_on is not null")
    day = up.value(f"select first_dose_on + 20 from marts.dim_subject where subject_id = '{subject}'")
    sample, seconds = f"ARRIVAL-{mode}", []
    query = (
        f"select (select max(value_ng_ml) from marts.fct_her2_delta where sample_id = '{sample}')"
        " + 0 * (select count(*) from metrics.estimates join (from ops.publications order by rowid desc limit 1)"
        " using (build_id) having count(*) > 0)"
    )
    dice = random.Random(1)
    for number in range(drops):
        up.rest()
        time.sleep(dice.uniform(0, 6))  # anywhere between two looks of the sensor
        reported = f"{day}T{number // 60 + 9:02}:{number % 60:02}"
        row = f"{subject},{sample},42914-2,{number + 1},ng/mL,{day}T08:00,{reported},F,SERUM,BENCH\n"
        up.drop(f"{mode}_{number:04}.csv", HEADER + row)
        seconds.append(up.seconds_until(query, number + 1))
        print(f"  drop {number + 1}: {seconds[-1]:.2f} s", flush=True)
    ordered = sorted(seconds)
    p95 = statistics.quantiles(ordered, n=20, method="inclusive")[-1] if len(ordered) > 1 else ordered[0]
    print(
        f"{mode}: {drops} drops, median {statistics.median(ordered):.2f} s, 95th percentile {p95:.2f} s,"
        f" least {ordered[0]:.2f} s, most {ordered[-1]:.2f} s"
    )


def measure_burst(up: Served, mode: str, files: int) -> None:
    import dagster as dg

    subject = up.value("select min(subject_id) from marts.dim_subject where first_dose_on is not null")
    os.environ["DAGSTER_HOME"] = str(up.settings.dagster)
    with dg.DagsterInstance.get() as instance:
        up.rest()
        runs = instance.get_runs_count()
        began = time.perf_counter()
        for number in range(files):
            minute = f"{number // 1440 + 1:02}T{number // 60 % 24:02}:{number % 60:02}"
            times = f"2024-03-{minute},2024-04-{minute}"
            row = f"{subject},{mode}-{number:05},42914-2,1{number},ng/mL,{times},F,SERUM,BURST\n"
            up.drop(f"burst_{mode}_{number:05}.csv", HEADER + row)
        dropped = time.perf_counter() - began
        up.seconds_until(f"select count(*) from marts.fct_her2_delta where starts_with(sample_id, '{mode}-')", files)
        published = time.perf_counter() - began
        up.rest()
        print(
            f"{mode}: burst of {files} files: dropped in {dropped:.1f} s, all published {published:.1f} s after the"
            f" first, by {instance.get_runs_count() - runs} runs"
        )


def measure_rest(up: Served, mode: str, seconds: float) -> None:
    up.rest()
    time.sleep(30)  # until nobody looks again at what was just dropped
    before = up.cpu_seconds()
    time.sleep(seconds)
    share = (up.cpu_seconds() - before) / seconds
    print(f"{mode}: CPU at rest {100 * share:.1f} % of one core over {seconds:.0f} s")
    sizes = up.memory_mib()
    print(f"{mode}: memory {sum(sizes.values())} MiB: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arrival", description=__doc__)
    parser.add_argument("--drops", type=int, default=20)
    parser.add_argument("--burst", type=int, default=5000)
    parser.add_argument("--rest-seconds", type=float, default=60)
    parser.add_argument("--mode", choices=["sensor", "worker"], action="append", help="default: both")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sher2-arrival-") as folder:
        settings = Settings(Path(folder) / "home", REPOSITORY / "study.yaml")
        environment = {"SHER2_HOME": str(settings.home), "SHER2_STUDY": str(settings.study_file)}
        run_process([*SHER2, "simulate", str(settings.landing), "--subjects", "120"], environment)
        usage = run_process([*SHER2, "run"], environment)
        print(f"first run of the demo study: {usage.wall:.1f} s")
        for mode in options.mode or ["sensor", "worker"]:
            print(f"{mode}:")
            with served(settings, *(["--without-worker"] if mode == "sensor" else [])) as up:
                if options.rest_seconds:
                    measure_rest(up, mode, options.rest_seconds)
                measure_drops(up, mode, options.drops)
                if options.burst:
                    measure_burst(up, mode, options.burst)


if __name__ == "__main__":
    main()
