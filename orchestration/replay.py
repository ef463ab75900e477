"""What dbt executed, executed again: the same statements in the same order, without dbt compiling them anew.

Of the four seconds that dbt needs for its two hundred nodes, DuckDB works one; the rest renders templates whose result
depends on the project and the protocol alone. A process that builds again and again records the statements that dbt
sends (it tells of each in its events) and sends them itself. Only a build without any failure may be made so: whatever
goes wrong here, dbt is asked, and its verdict counts. No model asks the database while it is compiled; a test holds it.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import yaml

from orchestration.settings import DBT_PROJECT

_COMMENT = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)
_WRITES = ("create", "alter", "drop", "comment", "copy")
_ABRIDGED = "..."  # dbt appends it to what it sends for a seed


@dataclass
class Recording:
    """The statements of one build by dbt, in the order sent, each with the node it was sent for."""

    statements: list[tuple[str, str]] = field(default_factory=list)
    severities: dict[str, str] = field(default_factory=dict)

    def hear(self, event) -> None:
        """An event of dbt; those that tell of a statement are kept. dbt's questions to the catalogue are not."""
        if event.info.name != "SQLQuery":
            return
        node, sql = event.data.node_info.unique_id, _COMMENT.sub("", event.data.sql).strip().removesuffix(_ABRIDGED)
        if "should_error" in sql if node.startswith("test.") else sql.lower().startswith(_WRITES):
            self.statements.append((node, sql))


@dataclass(frozen=True)
class Replayed:
    """One node: how long its statements took, and of a test the rows that fail and whether they are a warning."""

    unique_id: str
    seconds: float
    failures: int | None = None
    is_warning: bool = False


class NotReplayed(Exception):
    """Something failed; dbt is to build and to say what."""


def replay(recording: Recording, database: Path) -> list[Replayed]:
    """Build a fresh file by the recorded statements.

    Raises:
        NotReplayed: a statement failed, or a test of severity error.
    """
    seconds: dict[str, float] = {}
    tests: dict[str, tuple[int, bool]] = {}
    try:
        with _connected(database) as connection:
            connection.execute("begin")
            for node, sql in recording.statements:
                began = time.perf_counter()
                connection.execute(sql)
                if node.startswith("test."):
                    failures, should_warn, should_error = connection.fetchone()
                    if should_error and recording.severities[node] == "ERROR":
                        raise NotReplayed(node)
                    tests[node] = int(failures), bool(should_warn)
                if node:
                    seconds[node] = seconds.get(node, 0.0) + time.perf_counter() - began
            connection.execute("commit")
    except duckdb.Error as error:
        raise NotReplayed(str(error)) from error
    return [Replayed(node, taken, *tests.get(node, ())) for node, taken in seconds.items()]


@contextmanager
def _connected(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """As dbt's profile opens it."""
    profile = yaml.safe_load((DBT_PROJECT / "profiles.yml").read_text("utf-8"))["sher2"]["outputs"]["duckdb"]
    with duckdb.connect(str(database), config=profile["config_options"]) as connection:
        for name, value in profile["settings"].items():
            connection.execute(f"set {name} = '{value}'")
        yield connection
