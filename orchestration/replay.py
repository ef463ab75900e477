"""Builds a database by the statements that dbt recorded: all of them into a fresh file, or, in a file whose build is
known, those whose result may be another one now.

dbt's templates depend on the project and the protocol alone, so what it sends for an empty lake is what it would send
for a full one. No model asks the database while it is compiled; a test holds it.

What a statement gives depends on what it reads, and on nothing else, where orchestration.proofs can prove that; where
it cannot, it is sent again. So in a file that this very recording built from an earlier state of this very lake:
  1. a model none of whose inputs changed is what it was, and so is the result of a test, of any severity: it is a query
     like any other, and its result is kept with the file;
  2. a model that is made of accepted rows of the lake is what it was when no row of the files whose verdict came, went
     or changed is among those records; where it is proved to be made of one subject's rows at a time, it is built for
     the subjects of those files, in place of their rows of before;
  3. every other model is built anew and compared with the one before, row by row. If it is equal, its children rest.
Which recording and which lake a file was built from is the caller's to prove (orchestration.warehouse).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import yaml

from orchestration.proofs import ANYHOW, BY_SUBJECT, MARK, Query
from orchestration.settings import DBT_PROJECT

_COMMENT = re.compile(r"\A\s*/\*.*?\*/", re.DOTALL)
_WRITES = ("create", "alter", "drop", "comment", "copy")
_ABRIDGED = "..."  # dbt appends it to what it sends for a seed
_FILES = "model.sher2.stg_files"
_RECORDS = "source.sher2.lake."
_MOST_SUBJECTS = 0.25
"""Of a table's subjects: when more than this share is touched, building the table anew costs less."""

_MOST_PARCELS = 1000
"""That are named in a statement, so that it need not look into others."""

_SAME_WHEN_EQUAL = re.compile(
    r"VARCHAR|BOOLEAN|U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL\([0-9]+,[0-9]+\)|DATE|TIME"
    r"|TIMESTAMP( WITH TIME ZONE)?"
)
_FLOATS = ("FLOAT", "DOUBLE")


@dataclass(frozen=True)
class Node:
    """A seed, model or test: what it reads, and the statements that make it, in the order sent."""

    unique_id: str
    kind: str  # seed | table | view | test, or empty for what belongs to no node (schemas)
    statements: list[str] = field(default_factory=list)
    severity: str = ""
    parents: list[str] = field(default_factory=list)
    relation: str = ""
    query: str = ""
    is_steady: bool = False  # proved: it depends on nothing but its parents
    reading: str = ANYHOW  # how it is proved to read the lake


@dataclass(frozen=True)
class NodeResult:
    """What became of one dbt model, seed or test."""

    unique_id: str
    status: str  # success | error | skipped | pass | warn | fail
    seconds: float
    message: str
    failures: int | None
    is_rebuilt: bool = True  # False: nothing that it reads has changed, so it is as it was

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
        nodes: dict[str, Node] = {"": Node("", "", self.by_node.get("", []))}
        ledger = _plain(built[_FILES].relation_name)
        for unique_id, statements in self.by_node.items():
            if not (node := built.get(unique_id)):
                continue
            is_query = node.resource_type != "seed"
            parents = list(node.depends_on.nodes) if is_query else []
            tables = {_plain(built[parent].relation_name): parent for parent in parents if parent in built}
            views = {name: nodes[of].reading for name, of in tables.items() if of in nodes and nodes[of].kind == "view"}
            sources = {parent.rpartition(".")[2] for parent in parents if parent.startswith("source.")}
            query = Query(node.compiled_code or "", ledger, views) if is_query else None
            nodes[unique_id] = Node(
                unique_id,
                node.resource_type if node.resource_type in {"seed", "test"} else node.config.materialized,
                statements,
                node.config.severity.upper() if node.resource_type == "test" else "",
                parents,
                node.relation_name or "",
                (node.compiled_code or "") if is_query else "",
                bool(query) and query.is_steady() and query.tables() <= tables.keys() and query.folders() <= sources,
                query.reading() if query else ANYHOW,
            )
        return list(nodes.values())


def _plain(relation: str) -> str:
    return relation.replace('"', "").lower()


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


def refresh(
    nodes: list[Node],
    database: Path,
    lake: Path,
    tests: Mapping[str, NodeResult],
    tell: Callable[[str], None],
) -> list[NodeResult]:
    """Bring a file that these nodes built from an earlier state of this lake to what it holds now.

    Args:
        tests: results of the tests as they were.

    Returns:
        nothing where the file cannot be read or written.
    """
    try:
        with opened(database) as connection:
            return _run(nodes, _Refresh(nodes, connection, lake, tests).node, tell)
    except duckdb.Error:
        return []


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


@dataclass(frozen=True)
class _Touched:
    """Subjects of a table, and how many of them have no name."""

    table: str
    number: int
    unnamed: int

    def only(self, query: str) -> str:
        """The query, reading only their rows where the macro accepted_rows reads the lake."""
        return MARK.sub(lambda match: f"and {match[1]} in (select subject_id from {self.table})", query)


class _Refresh:
    """One pass over the nodes; `changed` are those whose content is another one than before."""

    def __init__(self, nodes, connection: duckdb.DuckDBPyConnection, lake: Path, tests: Mapping[str, NodeResult]):
        self.nodes = {node.unique_id: node for node in nodes}
        self.connection = connection
        self.lake = lake
        self.tests = tests
        # a source is what the ledger says that counts: it is looked at whenever something is read from it directly
        self.changed = {parent for node in nodes for parent in node.parents if parent.startswith("source.")}
        self._touched: dict[tuple[str, ...], _Touched] = {}

    def node(self, node: Node) -> NodeResult:
        began = time.perf_counter()
        if node.kind in {"", "seed"} or not self._is_concerned(node):  # seeds are part of the project
            if node.kind == "test":
                return self.tests[node.unique_id]
            return NodeResult(node.unique_id, "success", time.perf_counter() - began, "", None, is_rebuilt=False)
        if node.kind == "test":
            return _executed(self.connection, node)
        if node.kind == "view" or self._built(node):
            self.changed.add(node.unique_id)
        return NodeResult(node.unique_id, "success", time.perf_counter() - began, "", None, node.kind != "view")

    def _is_concerned(self, node: Node) -> bool:
        """Whether it may be another one."""
        if not node.is_steady:
            return True
        if not self.changed & set(node.parents):
            return False
        return not self._is_of_touched(node) or self._those_touched(node).number > 0

    def _is_of_touched(self, node: Node) -> bool:
        """Whether it can only have changed by the accepted rows of files whose verdict is another one."""
        inputs, views = self._inputs(node)
        others = {parent for parent in inputs if not self._is_record(parent) and parent != _FILES}
        return (
            node.reading != ANYHOW
            and any(self._is_record(parent) for parent in inputs)
            and all(part.is_steady for part in (node, *views))
            and not others & self.changed
        )

    def _is_record(self, parent: str) -> bool:
        return parent.startswith(_RECORDS) and (self.lake / "records" / parent.removeprefix(_RECORDS)).is_dir()

    def _inputs(self, node: Node) -> tuple[set[str], list[Node]]:
        """What a model reads, through views: tables, seeds and sources; and those views."""
        inputs, views = set(), []
        for parent in node.parents:
            if (view := self.nodes.get(parent)) and view.kind == "view":
                further, more = self._inputs(view)
                inputs |= further
                views += [view, *more]
            else:
                inputs.add(parent)
        return inputs, views

    def _built(self, node: Node) -> bool:
        """Build a table, as far as that is needed; returns whether it is another one."""
        if node.reading == BY_SUBJECT and self._is_of_touched(node):
            return self._of_touched(node)
        return self._anew(node)

    def _anew(self, node: Node) -> bool:
        """Build a table anew; returns whether it is another one. That of before waits under another name."""
        before = f'{node.relation.rpartition(".")[0]}."before"'
        self.connection.execute(f'alter table {node.relation} rename to "before"')
        for sql in node.statements:
            self.connection.execute(sql)
        is_changed = not self._are_equal(before, node.relation)
        if node.unique_id == _FILES:
            self.connection.execute(
                "create or replace temp table judged_otherwise as select distinct file_id, parcel from ("
                f"(select * from {before} except select * from {node.relation})"
                f" union all (select * from {node.relation} except select * from {before}))"
            )
        self.connection.execute(f"drop table {before}")
        return is_changed

    def _those_touched(self, node: Node) -> _Touched:
        """Whose rows, in the records that a node reads, are of a file whose verdict came, went or changed."""
        inputs, _ = self._inputs(node)
        records = tuple(sorted(parent.removeprefix(_RECORDS) for parent in inputs if self._is_record(parent)))
        if _FILES not in self.changed:
            return _Touched("", 0, 0)
        if records not in self._touched:
            table = f"touched_{len(self._touched)}"
            parcels = self.connection.execute("select distinct parcel from judged_otherwise").fetchall()
            among = ", ".join(str(parcel) for (parcel,) in parcels) if len(parcels) <= _MOST_PARCELS else "_batch"
            rows = " union all ".join(
                "select subject_id, _file_id, _batch"
                f" from read_parquet('{self._files_of(record)}', union_by_name = true) where _batch in ({among})"
                for record in records
            )
            self.connection.execute(
                f"create temp table {table} as select distinct subject_id from ({rows}) as lake_rows"
                " semi join judged_otherwise as files"
                " on lake_rows._file_id = files.file_id and lake_rows._batch = files.parcel"
            )
            counts = self._row(f"select count(*), count(*) - count(subject_id) from {table}")
            self._touched[records] = _Touched(table, *counts)
        return self._touched[records]

    def _files_of(self, record: str) -> str:
        return str(self.lake / "records" / record / "*.parquet").replace("'", "''")

    def _of_touched(self, node: Node) -> bool:
        """Build the rows of touched subjects anew; returns whether they are others."""
        touched = self._those_touched(node)
        subjects = self._row(f"select approx_count_distinct(subject_id) from {node.relation}")[0]
        if touched.unnamed or touched.number > _MOST_SUBJECTS * subjects:
            return self._anew(node)
        _, views = self._inputs(node)
        for view in views:
            self.connection.execute(f"create or replace view {view.relation} as {touched.only(view.query)}")
        self.connection.execute(f"create or replace temp table came as {touched.only(node.query)}")
        for view in views:
            self.connection.execute(f"drop view {view.relation}")
            for sql in view.statements:
                self.connection.execute(sql)
        if self._columns("came") != self._columns(node.relation):
            return self._anew(node)
        theirs = f"subject_id in (select subject_id from {touched.table})"
        self.connection.execute(f"create or replace temp table went as select * from {node.relation} where {theirs}")
        is_changed = not self._are_equal("went", "came")
        if is_changed:
            self.connection.execute(f"delete from {node.relation} where {theirs}")
            self.connection.execute(f"insert into {node.relation} select * from came")
        return is_changed

    def _are_equal(self, one: str, other: str) -> bool:
        """Whether it is proved that two tables hold the same rows, each as often, in any order.

        SQL takes some values for equal that are not the same: 0.0 and -0.0, which are told apart by their text, a month
        and thirty days, and what is in lists; a table with such a column is taken for another one.
        """
        columns = self._columns(one)
        if columns != self._columns(other):
            return False
        if not all(kind in _FLOATS or _SAME_WHEN_EQUAL.fullmatch(kind) for _, kind in columns):
            return False
        told = ", ".join(f'cast("{name}" as varchar)' if kind in _FLOATS else f'"{name}"' for name, kind in columns)
        return self._row(
            f"select (select count(*) from {one}) = (select count(*) from {other})"
            f" and not exists (select {told} from {one} except all select {told} from {other})"
        )[0]

    def _columns(self, table: str) -> list[tuple[str, str]]:
        return [(name, kind) for name, kind, *_ in self.connection.execute(f"describe {table}").fetchall()]

    def _row(self, sql: str) -> tuple:
        return self.connection.execute(sql).fetchone()
