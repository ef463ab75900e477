"""Builds a database by the statements that dbt recorded.

dbt's templates depend on the project and the protocol alone, so what it sends for an empty lake is what it would send
for a full one. No model asks the database while it is compiled; a test holds it.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import yaml

from orchestration.settings import DBT_PROJECT

_COMMENT = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)
_WRITES = ("create", "alter", "drop", "comment", "copy")
_ABRIDGED = "..."  # dbt appends it to what it sends for a seed


@dataclass(frozen=True)
class Node:
    """A seed, model or test: what it reads, and the statements that make it, in the order sent."""

    unique_id: str
    kind: str  # seed | table | view | test, or empty for what belongs to no node (schemas)
    statements: list[str] = field(default_factory=list)
    severity: str = ""


@dataclass(frozen=True)
class NodeResult:
    """What became of one dbt model, seed or test."""

    unique_id: str
    status: str  # success | error | skipped | pass | warn | fail
    seconds: float
    message: str
    failures: int | None

    @property
    def is_failed(self) -> bool:
        return self.status in {"error", "fail", "skipped", "runtime error"}


class Statements:
    """Hears dbt's events and keeps the statements that write or test; its questions to the catalogue are not."""

    def __init__(self):
        self.by_node: dict[str, list[str]] = {}

    def hear(self, event) -> None:
        if event.info.name != "SQLQuery":
            return
        node, sql = event.data.node_info.unique_id, _COMMENT.sub("", event.data.sql).strip().removesuffix(_ABRIDGED)
        if "should_error" in sql if node.startswith("test.") else sql.lower().startswith(_WRITES):
            self.by_node.setdefault(node, []).append(sql)

    def nodes(self, built: Mapping) -> list[Node]:
        """In the order of their first statements, so that parents come first.

        Args:
            built: by unique id, dbt's own nodes of a build without any failure.
        """
        return [
            Node("", "", self.by_node.get("", [])),
            *(
                Node(
                    unique_id,
                    node.resource_type if node.resource_type in {"seed", "test"} else node.config.materialized,
                    self.by_node[unique_id],
                    node.config.severity.upper() if node.resource_type == "test" else "",
                )
                for unique_id in self.by_node
                if (node := built.get(unique_id))
            ),
        ]


@contextmanager
def opened(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """As dbt's profile opens it."""
    profile = yaml.safe_load((DBT_PROJECT / "profiles.yml").read_text("utf-8"))["sher2"]["outputs"]["duckdb"]
    with duckdb.connect(str(database), config=profile["config_options"]) as connection:
        for name, value in profile["settings"].items():
            connection.execute(f"set {name} = '{value}'")
        yield connection


def build(nodes: list[Node], database: Path, tell: Callable[[str], None]) -> list[NodeResult]:
    """Build everything into a fresh file. The first statement that the database refuses ends the build."""
    with opened(database) as connection:
        connection.execute("begin")
        results = _run(nodes, lambda node: _executed(connection, node), tell)
        if not any(result.status == "error" for result in results):
            connection.execute("commit")
    return results


def _run(nodes: list[Node], do: Callable[[Node], NodeResult], tell: Callable[[str], None]) -> list[NodeResult]:
    results: list[NodeResult] = []
    for node in nodes:
        if results and results[-1].status in {"error", "skipped"}:
            results.append(NodeResult(node.unique_id, "skipped", 0, "", None))
            continue
        began = time.perf_counter()
        try:
            result = do(node)
        except duckdb.Error as error:
            result = NodeResult(node.unique_id, "error", time.perf_counter() - began, str(error), None)
        results.append(result)
        tell(node.unique_id.split(".")[2] if node.unique_id else "")
    return [result for result in results if result.unique_id]


def _executed(connection: duckdb.DuckDBPyConnection, node: Node) -> NodeResult:
    began = time.perf_counter()
    for sql in node.statements:
        connection.execute(sql)
    if node.kind != "test":
        return NodeResult(node.unique_id, "success", time.perf_counter() - began, "", None)
    failures, should_warn, should_error = connection.fetchone()
    status = "fail" if should_error and node.severity == "ERROR" else "warn" if should_warn or should_error else "pass"
    message = "" if status == "pass" else f"Got {failures} results, configured to {status} if != 0"
    return NodeResult(node.unique_id, status, time.perf_counter() - began, message, int(failures))
