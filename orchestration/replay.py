"""Builds a database by the statements that dbt recorded: all of them into a fresh file, or, in a file whose build is
known, those whose result may be another one now.

dbt's templates depend on the project and the protocol alone, so what it sends for an empty lake is what it would send
for a full one. No model asks the database while it is compiled; a test holds it.

What a statement gives depends on what it reads, and on nothing else, where orchestration.proofs can prove that; where
it cannot, it is sent again. So in a file that this very recording built from an earlier state of this very lake:
  1. a model none of whose inputs changed is what it was, and so is the result of a test, of any severity: it is a query
     like any other, and its result is kept with the file;
  2. a model that is made of accepted rows of the lake is what it was when no row of the files whose verdict came, went
     or changed is among those records;
  3. where a model is proved to be made of one subject's rows at a time, and all that changed of what it reads are rows
     of known subjects, it is built for these, in place of their rows of before. Whose rows are others by that is known
     in turn. A test that found nothing finds nothing among the others' rows: it looks at theirs;
  4. every other model is built anew and compared with the one before, row by row. If it is equal, its children rest.
Which recording and which lake a file was built from is the caller's to prove (orchestration.warehouse).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import duckdb
import yaml

from orchestration.proofs import ANYHOW, BY_SUBJECT, MARK, Query, plain
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
        ledger = plain(built[_FILES].relation_name)
        for unique_id, statements in self.by_node.items():
            if not (node := built.get(unique_id)):
                continue
            is_query = node.resource_type != "seed"
            parents = list(node.depends_on.nodes) if is_query else []
            tables = {plain(built[parent].relation_name): parent for parent in parents if parent in built}
            models = [nodes[parent] for parent in parents if parent in nodes]
            views = {plain(model.relation): model.reading for model in models if model.kind == "view"}
            of_subjects = [model.relation for model in models if model.kind == "table" and model.reading == BY_SUBJECT]
            sources = {parent.rpartition(".")[2] for parent in parents if parent.startswith("source.")}
            query = Query(node.compiled_code or "", ledger, views, of_subjects) if is_query else None
            nodes[unique_id] = Node(
                unique_id,
                node.resource_type if node.resource_type in {"seed", "test"} else node.config.materialized,
                statements,
                node.config.severity.upper() if node.resource_type == "test" else "",
                parents,
                node.relation_name or "",
                query.text if query else "",
                bool(query) and query.is_steady() and query.tables() <= tables.keys() and query.folders() <= sources,
                _reading(query, node) if query else ANYHOW,
            )
        return list(nodes.values())


def _reading(query: Query, node) -> str:
    """How a model or test reads the lake. The result of a test is looked at as whether there is a row."""
    if node.resource_type != "test":
        return query.reading()
    return query.reading(is_told=False) if node.config.fail_calc == "count(*)" else ANYHOW


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
class _Subjects:
    """Those in a table, and how many of them have no name."""

    table: str
    number: int
    unnamed: int

    def only(self, query: str) -> str:
        """The query, reading only their rows wherever rows of subjects come in."""
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
        self._moved: dict[str, _Subjects] = {}  # of tables that changed: whose rows are others, where that is known
        self._judged: dict[tuple[str, ...], _Subjects] = {}  # whose rows are of files judged otherwise, by record
        self._numbers = count()

    def node(self, node: Node) -> NodeResult:
        began = time.perf_counter()
        touched = self._touched(node)
        is_concerned = not node.is_steady or (
            bool(self.changed & set(node.parents)) and (touched is None or touched.number > 0)
        )
        if node.kind in {"", "seed"} or not is_concerned:  # seeds are part of the project
            if node.kind == "test":
                return self.tests[node.unique_id]
            return NodeResult(node.unique_id, "success", time.perf_counter() - began, "", None, is_rebuilt=False)
        if touched and (node.reading != BY_SUBJECT or touched.unnamed):
            touched = None
        if node.kind == "test":
            if touched and self._still_finds_nothing(node, touched):
                return replace(self.tests[node.unique_id], seconds=time.perf_counter() - began, is_rebuilt=True)
            return _executed(self.connection, node)
        if node.kind == "view" or self._built(node, touched):
            self.changed.add(node.unique_id)
        return NodeResult(node.unique_id, "success", time.perf_counter() - began, "", None, node.kind != "view")

    def _touched(self, node: Node) -> _Subjects | None:
        """Whose rows are all that can have changed of what a node reads, where that is proved."""
        inputs, views = self._inputs(node)
        records = sorted(parent for parent in inputs if self._is_record(parent))
        moved = sorted((inputs & self.changed) - {*records, *([_FILES] if records else [])})
        if (
            node.reading == ANYHOW
            or not all(part.is_steady for part in (node, *views))
            or (moved and node.reading != BY_SUBJECT)
            or not all(parent in self._moved for parent in moved)
        ):
            return None
        told = [self._moved[parent] for parent in moved]
        if records and _FILES in self.changed:
            told.append(self._judged_otherwise(tuple(records)))
        if len(told) < 2:
            return told[0] if told else _Subjects("", 0, 0)
        return self._subjects(" union all ".join(f"select subject_id from {subjects.table}" for subjects in told))

    def _is_record(self, parent: str) -> bool:
        return parent.startswith(_RECORDS) and (self.lake / "records" / parent.removeprefix(_RECORDS)).is_dir()

    def _inputs(self, node: Node) -> tuple[set[str], list[Node]]:
        """What a node reads, through views: tables, seeds and sources; and those views."""
        inputs, views = set(), []
        for parent in node.parents:
            if (view := self.nodes.get(parent)) and view.kind == "view":
                further, more = self._inputs(view)
                inputs |= further
                views += [view, *more]
            else:
                inputs.add(parent)
        return inputs, views

    def _judged_otherwise(self, records: tuple[str, ...]) -> _Subjects:
        """Whose rows, in some records, are of a file whose verdict came, went or changed."""
        if records in self._judged:
            return self._judged[records]
        parcels = self.connection.execute("select distinct parcel from judged_otherwise order by all").fetchall()
        among = ", ".join(str(parcel) for (parcel,) in parcels) if len(parcels) <= _MOST_PARCELS else "_batch"
        rows = " union all ".join(
            "select subject_id, _file_id, _batch"
            f" from read_parquet('{self._files_of(record)}', union_by_name = true) where _batch in ({among})"
            for record in records
        )
        self._judged[records] = self._subjects(
            f"select subject_id from ({rows}) as lake_rows semi join judged_otherwise as files"
            " on lake_rows._file_id = files.file_id and lake_rows._batch = files.parcel"
        )
        return self._judged[records]

    def _files_of(self, record: str) -> str:
        path = self.lake / "records" / record.removeprefix(_RECORDS) / "*.parquet"
        return str(path).replace("'", "''")

    def _subjects(self, rows: str) -> _Subjects:
        """Those of the rows of a query, as they are now."""
        table = f"subjects_{next(self._numbers)}"
        self.connection.execute(f"create temp table {table} as select distinct subject_id from ({rows})")
        return _Subjects(table, *self._row(f"select count(*), count(*) - count(subject_id) from {table}"))

    def _still_finds_nothing(self, test: Node, touched: _Subjects) -> bool:
        """Whether a test that found nothing is proved to find nothing now, by the rows of touched subjects."""
        if self.tests[test.unique_id].failures:
            return False
        with self._only(touched, test) as query:
            return not self._row(f"select exists ({query}\n)")[0]

    def _built(self, node: Node, touched: _Subjects | None) -> bool:
        """Build a table, as far as that is needed; returns whether it is another one."""
        if touched and not self._are_many(touched, node):
            return self._of_touched(node, touched)
        return self._anew(node, is_asked_whose=node.reading == BY_SUBJECT and not self._are_most_others(node, touched))

    def _are_most_others(self, node: Node, touched: _Subjects | None) -> bool:
        """Whether so much was delivered that it is not worth asking whose rows are others."""
        inputs, _ = self._inputs(node)
        return any(
            self._is_record(parent) if touched else self._reads_by_subject(parent) and parent not in self._moved
            for parent in inputs & self.changed
        )

    def _reads_by_subject(self, unique_id: str) -> bool:
        return unique_id in self.nodes and self.nodes[unique_id].reading == BY_SUBJECT

    def _are_many(self, touched: _Subjects, node: Node) -> bool:
        """Of the subjects in a table and in those that it is made of."""
        inputs, _ = self._inputs(node)
        tables = [node, *(self.nodes[parent] for parent in sorted(inputs) if self._reads_by_subject(parent))]
        return all(
            touched.number
            > _MOST_SUBJECTS * self._row(f"select approx_count_distinct(subject_id) from {table.relation}")[0]
            for table in tables
        )

    def _anew(self, node: Node, *, is_asked_whose: bool) -> bool:
        """Build a table anew; returns whether it is another one. That of before waits under another name."""
        before = f'{node.relation.rpartition(".")[0]}."before"'
        self.connection.execute(f'alter table {node.relation} rename to "before"')
        for sql in node.statements:
            self.connection.execute(sql)
        is_changed = not self._are_equal(before, node.relation)
        if is_changed and is_asked_whose and (moved := self._moved_between(before, node.relation)):
            self._moved[node.unique_id] = moved
        if node.unique_id == _FILES:
            self.connection.execute(
                "create or replace temp table judged_otherwise as select distinct file_id, parcel from ("
                f"(select * from {before} except select * from {node.relation})"
                f" union all (select * from {node.relation} except select * from {before}))"
            )
        self.connection.execute(f"drop table {before}")
        return is_changed

    def _of_touched(self, node: Node, touched: _Subjects) -> bool:
        """Build the rows of touched subjects anew; returns whether they are others."""
        with self._only(touched, node) as query:
            self.connection.execute(f"create or replace temp table came as {query}")
        if self._columns("came") != self._columns(node.relation):
            return self._anew(node, is_asked_whose=True)
        self.connection.execute(
            f"create or replace temp table went as select * from {node.relation} where rowid in"
            f" (select rowid from {node.relation} where subject_id in (select subject_id from {touched.table}))"
        )
        moved = self._moved_between("went", "came") or touched
        if not moved.number:
            return False
        self._moved[node.unique_id] = moved
        theirs = f"subject_id in (select subject_id from {moved.table})"
        self.connection.execute(f"delete from {node.relation} where {theirs}")
        self.connection.execute(f"insert into {node.relation} select * from came where {theirs}")
        return True

    @contextmanager
    def _only(self, subjects: _Subjects, node: Node) -> Iterator[str]:
        """The query of a node for some subjects, while tables with their rows stand for views: they are read often."""
        _, views = self._inputs(node)
        for view in views:
            self.connection.execute(f"drop view {view.relation}")
            self.connection.execute(f"create table {view.relation} as {subjects.only(view.query)}")
        yield subjects.only(node.query)
        for view in views:
            self.connection.execute(f"drop table {view.relation}")
            for sql in view.statements:
                self.connection.execute(sql)

    def _moved_between(self, one: str, other: str) -> _Subjects | None:
        """Whose rows in one table are not those in the other, where they can be compared."""
        if not (told := self._told(one, other)):
            return None
        return self._subjects(
            f"(select {told} from {one} except all select {told} from {other})"
            f" union all (select {told} from {other} except all select {told} from {one})"
        )

    def _are_equal(self, one: str, other: str) -> bool:
        """Whether it is proved that two tables hold the same rows, each as often, in any order."""
        told = self._told(one, other)
        return (
            bool(told)
            and self._row(
                f"select (select count(*) from {one}) = (select count(*) from {other})"
                f" and not exists (select {told} from {one} except all select {told} from {other})"
            )[0]
        )

    def _told(self, one: str, other: str) -> str:
        """The columns of two tables, as rows are compared by them; empty where they cannot be.

        SQL takes some values for equal that are not the same: 0.0 and -0.0, which are told apart by their text, a month
        and thirty days, and what is in lists; a table with such a column is taken for another one.
        """
        columns = self._columns(one)
        if columns != self._columns(other):
            return ""
        if not all(kind in _FLOATS or _SAME_WHEN_EQUAL.fullmatch(kind) for _, kind in columns):
            return ""
        return ", ".join(f'cast("{name}" as varchar)' if kind in _FLOATS else f'"{name}"' for name, kind in columns)

    def _columns(self, table: str) -> list[tuple[str, str]]:
        return [(name, kind) for name, kind, *_ in self.connection.execute(f"describe {table}").fetchall()]

    def _row(self, sql: str) -> tuple:
        return self.connection.execute(sql).fetchone()
