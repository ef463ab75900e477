"""Analysts at work: processes that query the published file in a loop while it is replaced again and again.

Every reader opens the file anew for each look; every second one keeps its connection over several looks, as a notebook
does, and must go on seeing the publication that it opened.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.publication import Build, publish
from orchestration.settings import REPOSITORY, Settings
from orchestration.warehouse import connect

_LOOKS_A_CONNECTION = 5


@dataclass(frozen=True)
class Seen:
    """What one reader saw: looks, publications by build_id, and everything that was wrong."""

    looks: int
    builds: list[str]
    faults: list[str]


def mark(database: Path, build_id: str) -> None:
    """Write the build_id on every table of marts and ops, as its comment, and into the metrics, which carry it anyway:
    so a reader can tell of each table which publication it belongs to."""
    with connect(database, read_only=False) as connection:
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where schema_name in ('marts', 'ops') and table_name not in ('publications', 'parameters')"
        ).fetchall()
        for schema, table in tables:
            connection.execute(f"comment on table {schema}.{table} is '{build_id}'")
        for (table,) in connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'metrics'"
        ).fetchall():
            connection.execute(f"update metrics.{table} set build_id = '{build_id}'")


def publish_again_and_again(settings: Settings, databases: list[Path], pause: float, numbers: Iterable[int]) -> float:
    """Publish the prepared files in turn, a build of its own for each number; returns the seconds of the slowest."""
    slowest = 0.0
    for number in numbers:
        build = Build(f"data {number}", "study", "code")
        database = databases[number % len(databases)]
        mark(database, build.build_id)
        began = time.perf_counter()
        assert publish(settings, build, database)
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(pause)
    return slowest


class Readers:
    """So many reader processes, at work until the context ends; ``seen`` then tells what each of them saw."""

    def __init__(self, settings: Settings, count: int):
        self.seen: list[Seen] = []
        command = [sys.executable, "-m", "tests.faults.readers", str(settings.warehouse)]
        self._processes = [
            subprocess.Popen(
                [*command, str(number)], cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for number in range(count)
        ]

    def __enter__(self) -> "Readers":
        for process in self._processes:
            assert process.stdout.readline() == "reading\n"
        return self

    def __exit__(self, *exception) -> None:
        for process in self._processes:
            process.stdin.write("stop\n")
            process.stdin.flush()
        self.seen = [Seen(**json.loads(process.communicate(timeout=120)[0])) for process in self._processes]


# --- one reader ----------------------------------------------------------------------------------------------------


def _look(connection: duckdb.DuckDBPyConnection) -> str:
    """The build_id that the tables agree about; one table a query, so that a replacement may come in between."""
    (build_id, rows_per_mart) = connection.execute(
        "select build_id, rows_per_mart from ops.publications order by published_at desc limit 1"
    ).fetchone()
    marked = connection.execute(
        "select table_name, comment from duckdb_tables() where schema_name in ('marts', 'ops') and table_name not in ('publications', 'parameters')"
    ).fetchall()
    found = dict(marked)
    for (table,) in connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'metrics'"
    ).fetchall():
        for (own,) in connection.execute(f"select distinct build_id from metrics.{table}").fetchall():
            found[table] = own
    for mart, rows in json.loads(rows_per_mart).items():
        count = connection.execute(f"select count(*), count(columns(*)) from marts.{mart}").fetchone()[0]
        if count != rows:
            raise AssertionError(f"{mart} has {count} rows, its publication {rows}")
    if wrong := {table: own for table, own in found.items() if own != build_id}:
        raise AssertionError(f"publication {build_id}, but {wrong}")
    return build_id


def _read(warehouse: Path, number: int) -> Seen:
    import select

    chance, looks, builds, faults = random.Random(number), 0, [], []
    print("reading", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            with duckdb.connect(str(warehouse), read_only=True) as connection:
                first = _look(connection)
                looks += 1
                for _ in range(_LOOKS_A_CONNECTION if number % 2 else 0):
                    time.sleep(chance.uniform(0, 0.1))
                    looks += 1
                    if (again := _look(connection)) != first:
                        raise AssertionError(f"one connection saw {first} and then {again}")
            if builds[-1:] != [first]:
                builds.append(first)
        except (duckdb.Error, AssertionError) as error:
            faults.append(f"{type(error).__name__}: {error}"[:300])
    return Seen(looks, builds, faults)


if __name__ == "__main__":
    print(json.dumps(vars(_read(Path(sys.argv[1]), int(sys.argv[2])))), flush=True)
