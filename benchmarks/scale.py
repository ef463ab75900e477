"""`python -m benchmarks.scale`: the tables of docs/scale.md, from what the benchmark recorded.

Every estimate is a recorded figure times an assumption that stands below with its unit; nothing is measured here. After
another recorded run, or with other prices: change the assumption, run this again and read what the tables say then.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.results import RECORDED, machine_line
from orchestration.batches import MAX_ROWS
from orchestration.resident import MOST_MEMORY_GB
from orchestration.settings import REPOSITORY

PAGE = REPOSITORY / "docs" / "scale.md"
GB = 1e9
_MARTS = "marts (dbt: seeds, models, tests)"
_COSTS = {  # what is fitted, as the page calls it, and how it is written
    "cpu_s": ("CPU s", ".1f"),
    "peak_gib": ("peak GiB", ".2f"),
    "marts_cpu_s": ("marts, CPU s", ".1f"),
    "lake_bytes": ("lake, bytes", ",.0f"),
    "home_bytes": ("home, bytes", ",.0f"),
}


@dataclass(frozen=True)
class Assumptions:
    """What no benchmark of ours can tell. Prices are list prices of the order that large providers ask, as of
    November 2026, before any discount and without transfer; put your own in."""

    studies: int = 1_000
    rows: float = 1e10
    deliveries_per_study_and_year: int = 250
    machine_memory_gib: float = 24
    deployed_memory_gib: float = 8  # of the systemd unit and of a run's pod, as they stand in deploy/
    machine_disk_gb: float = 500
    idle_mib: float = 982  # of one home's servers and worker; measured once, as benchmarks.arrival does
    history_bytes: float = 2.6e6  # of PostgreSQL, a run; measured once, by the growth of the database
    window_hours: float = 8  # in which everything is built again, once a day at most
    spark_cpu_per_duckdb_cpu: float = 4  # the same models cost Spark so many times the CPU: shuffles, row format, JVM
    spark_executor_cores: int = 4
    spark_memory_gib_per_core: float = 4
    spark_partition_bytes: float = 128e6
    file_bytes: float = 256e6  # of a compacted Parquet file
    objects_a_batch: int = 4  # the file's own bytes, its rows, its validations, the ledger's entry
    price_gb_month: float = 0.023
    price_1000_writes: float = 0.005
    price_1000_reads: float = 0.0004
    reads_per_file: int = 5  # footer and the column chunks that a model needs, in ranges
    price_core_hour: float = 0.05  # with the memory that goes with a core


@dataclass(frozen=True)
class Measured:
    """One whole process over one study: sher2 run, from landed files to the report."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_gib: float
    marts_cpu_s: float
    lake_bytes: int
    home_bytes: int


@dataclass(frozen=True)
class Recorded:
    told: str
    runs: list[Measured]

    @classmethod
    def load(cls, path: Path = RECORDED) -> "Recorded":
        content = json.loads(path.read_text("utf-8"))
        runs = [
            Measured(
                rows=size["rows"]["all"],
                marts_cpu_s=size["stages"][_MARTS]["cpu_s"],
                lake_bytes=size["lake_bytes"],
                home_bytes=size["home_bytes"],
                **size["whole"],
            )
            for size in content["sizes"]
        ]
        return cls(machine_line(content["machine"]), sorted(runs, key=lambda run: run.rows))


@dataclass(frozen=True)
class Law:
    """What the smallest run costs, and a power of the rows that come on top of its rows."""

    fixed: float
    exponent: float
    rows: tuple[int, int]  # measured from, to
    largest: float

    @classmethod
    def fit(cls, rows: Sequence[int], costs: Sequence[float]) -> "Law":
        """A straight line through the logarithms of what the other runs have more than the smallest, rows and cost."""
        more = [(math.log(n - rows[0]), math.log(c - costs[0])) for n, c in zip(rows[1:], costs[1:]) if c > costs[0]]
        if len(more) < 2 or costs[-1] <= costs[0]:
            raise SystemExit(f"{costs} do not grow with {rows} rows: record the benchmark again, on an idle machine")
        x, y = (sum(values) / len(more) for values in zip(*more))
        slope = sum((a - x) * (b - y) for a, b in more) / sum((a - x) ** 2 for a, _ in more)
        return cls(costs[0], slope, (rows[0], rows[-1]), costs[-1])

    @property
    def used(self) -> float:
        """Beyond what was measured nothing gets cheaper by the row."""
        return max(self.exponent, 1.0)

    def at(self, rows: float) -> float:
        share = max(rows - self.rows[0], 0) / (self.rows[1] - self.rows[0])
        return self.fixed + (self.largest - self.fixed) * share**self.used

    def rows_at(self, cost: float) -> float:
        share = ((cost - self.fixed) / (self.largest - self.fixed)) ** (1 / self.used)
        return self.rows[0] + (self.rows[1] - self.rows[0]) * share


class Plan:
    """The recorded figures and the assumptions, and what follows from both."""

    def __init__(self, recorded: Recorded, assumptions: Assumptions):
        self.recorded, self.assumed = recorded, assumptions
        rows = [run.rows for run in recorded.runs]
        self.laws = {name: Law.fit(rows, [getattr(run, name) for run in recorded.runs]) for name in _COSTS}

    # --- tables -----------------------------------------------------------------------------------------------------

    def measured(self) -> str:
        heads = ["rows", "wall s", *(head for head, _ in _COSTS.values())]
        return _table(
            heads,
            (
                [
                    f"{run.rows:,}",
                    f"{run.wall_s:.1f}",
                    *(format(getattr(run, name), shape) for name, (_, shape) in _COSTS.items()),
                ]
                for run in self.recorded.runs
            ),
        )

    def fits(self) -> str:
        return _table(
            ["cost", "of every run", "exponent of what rows add", "measured from", "to", "used beyond"],
            (
                [
                    _COSTS[name][0],
                    format(law.fixed, _COSTS[name][1]),
                    f"{law.exponent:.2f}",
                    *map(_short, law.rows),
                    f"{law.used:.2f}",
                ]
                for name, law in self.laws.items()
            ),
        )

    def one_home(self) -> str:
        cpu, peak, disk = (self.laws[name] for name in ("cpu_s", "peak_gib", "home_bytes"))
        return _table(
            ["rows in one home", "CPU time of a run", "peak memory", "disk", "times the largest measured"],
            (
                [
                    _short(rows),
                    _duration(cpu.at(rows)),
                    f"{peak.at(rows):,.1f} GiB",
                    _bytes(disk.at(rows)),
                    f"{rows / cpu.rows[1]:,.1f}",
                ]
                for rows in (1e5, 1e6, 1e7, 1e8, 1e9, 1e10)
            ),
        )

    def breaks(self) -> str:
        assumed, cpu, peak = self.assumed, self.laws["cpu_s"], self.laws["peak_gib"]
        instance = yaml.safe_load((REPOSITORY / "orchestration" / "dagster.yaml").read_text("utf-8"))
        longest = instance["run_monitoring"]["max_runtime_seconds"]
        limits = [
            (
                f"a run ends after {longest:,} s (worker, run monitoring)",
                cpu.rows_at(longest),
                "raise both, or take the engine that has more cores: --engine spark",
            ),
            (
                f"the worker has grown above {MOST_MEMORY_GB} GiB",
                peak.rows_at(MOST_MEMORY_GB),
                "it is started afresh after each run: the next arrival may wait for that; nothing else changes",
            ),
            (
                f"memory of the unit or of a run's pod, {assumed.deployed_memory_gib:g} GiB",
                peak.rows_at(assumed.deployed_memory_gib),
                "the run is killed and its data stay out: MemoryMax, or the limit in instance.yaml",
            ),
            (
                f"memory of one machine, {assumed.machine_memory_gib:g} GiB",
                peak.rows_at(assumed.machine_memory_gib),
                "DuckDB spills before; the frames of statistics and validation do not: more memory, or Spark",
            ),
            (
                f"disk of one machine, {assumed.machine_disk_gb:,.0f} GB",
                self.laws["home_bytes"].rows_at(assumed.machine_disk_gb * GB),
                "lake on object storage; fewer kept builds",
            ),
            (
                f"a full rebuild in {assumed.window_hours:g} h",
                cpu.rows_at(assumed.window_hours * 3600),
                "split by study: one home each",
            ),
        ]
        limits.sort(key=lambda limit: limit[1])
        return _table(
            ["what breaks in one home, its run on one core", "at rows", "then"],
            ([a, _short(n), c] for a, n, c in limits),
        )

    def programme(self) -> str:
        assumed = self.assumed
        each = assumed.rows / assumed.studies
        seconds = self.laws["cpu_s"].at(each)
        pods = math.ceil(assumed.studies * seconds / (assumed.window_hours * 3600))
        runs = assumed.studies * assumed.deliveries_per_study_and_year
        idle = assumed.studies * assumed.idle_mib / 1024
        lines = [
            ("rows a study", _short(each)),
            ("one study's run on one core", f"{_duration(seconds)}, {self.laws['peak_gib'].at(each):.1f} GiB"),
            ("every study built again", f"{assumed.studies * seconds / 3600:,.0f} core hours"),
            (
                f"runs side by side for that in {assumed.window_hours:g} h",
                f"{pods:,} pods of one core",
            ),
            (
                "the same once a month",
                f"{12 * assumed.studies * seconds / 3600 * assumed.price_core_hour:,.0f} a year for cores",
            ),
            ("runs a year", f"{runs:,}, {runs / 365 / 24:,.0f} an hour on average"),
            (
                "busy pods on average, each delivery a full rebuild",
                f"{math.ceil(runs * seconds / (365 * 24 * 3600)):,}",
            ),
            ("history in PostgreSQL, 30 days kept", _bytes(runs / 365 * 30 * assumed.history_bytes)),
            ("servers at rest, one `sher2 up` a study", f"{idle:,.0f} GiB of memory"),
            (
                f"homes with `sher2 up` on a machine of {assumed.machine_memory_gib:g} GiB",
                f"{assumed.machine_memory_gib * 1024 / assumed.idle_mib:,.0f} at rest",
            ),
        ]
        return _table(["programme", ""], map(list, lines))

    def lake(self) -> str:
        assumed = self.assumed
        size = self._lake_bytes()
        compacted = math.ceil(size / assumed.file_bytes)
        batches = max(assumed.studies * assumed.deliveries_per_study_and_year, math.ceil(assumed.rows / MAX_ROWS))
        a_row = size / assumed.rows
        small = batches * assumed.objects_a_batch
        lines = [
            ("lake", f"{_bytes(size)} ({a_row:,.0f} bytes a row, kept bytes included)"),
            ("a year's batches, never compacted", f"{small:,} objects of {_bytes(size / small)}"),
            (
                f"compacted to {_bytes(assumed.file_bytes)}",
                f"{compacted:,} files of {_short(assumed.file_bytes / a_row)} rows",
            ),
            ("storage", f"{size / GB * assumed.price_gb_month:,.0f} a month"),
            ("writing a year's batches", f"{small / 1000 * assumed.price_1000_writes:,.2f} a year"),
            (
                "reading everything once, never compacted",
                f"{small * assumed.reads_per_file / 1000 * assumed.price_1000_reads:,.3f}",
            ),
            (
                "reading everything once, compacted",
                f"{compacted * assumed.reads_per_file / 1000 * assumed.price_1000_reads:,.3f}",
            ),
        ]
        return _table(["object storage", ""], map(list, lines))

    def _lake_bytes(self) -> float:
        return self.assumed.studies * self.laws["lake_bytes"].at(self.assumed.rows / self.assumed.studies)

    def spark(self) -> str:
        assumed = self.assumed
        size = self._lake_bytes()
        core_hours = self.laws["marts_cpu_s"].at(assumed.rows) * assumed.spark_cpu_per_duckdb_cpu / 3600
        cores = math.ceil(core_hours / assumed.window_hours)
        executors = math.ceil(cores / assumed.spark_executor_cores)
        memory = assumed.spark_executor_cores * assumed.spark_memory_gib_per_core
        lines = [
            ("marts of all studies in one build", f"{core_hours:,.0f} core hours"),
            (
                f"in {assumed.window_hours:g} h",
                f"{executors:,} executors of {assumed.spark_executor_cores} cores, {memory:g} GiB",
            ),
            ("`spark.sql.shuffle.partitions`", f"{math.ceil(size / assumed.spark_partition_bytes):,}"),
            ("a build", f"{core_hours * assumed.price_core_hour:,.0f} for cores"),
        ]
        return _table(["Spark", ""], map(list, lines))

    def assumptions(self) -> str:
        return _table(
            ["assumption", "value"],
            ([f"`{k}`", f"{v:,}" if v < 1e6 else _short(v)] for k, v in vars(self.assumed).items()),
        )

    def source(self) -> str:
        return f"{self.recorded.told}\n"


def rendered(page: str, plan: Plan) -> str:
    """The page with each part between `<!-- scale: NAME -->` and `<!-- end -->` made anew."""
    marked = re.compile(r"(<!-- scale: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda found: found[1] + getattr(plan, found[2])() + found[3], page)


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short(number: float) -> str:
    power = math.floor(math.log10(number))
    return f"{number:,.0f}" if power < 5 else f"{number / 10**power:.1f} x 10^{power}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _bytes(size: float) -> str:
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            return f"{size / step:,.1f} {unit}"
    return f"{size:,.0f} bytes"


def main() -> None:
    plan = Plan(Recorded.load(), Assumptions())
    PAGE.write_text(rendered(PAGE.read_text("utf-8"), plan), "utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
