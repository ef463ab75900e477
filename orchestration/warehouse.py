"""Runs dbt inside this process and opens database files. Derivations belong in dbt_project, not here."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from orchestration.errors import UserError
from orchestration.lake import Lake
from orchestration.locking import writer_lock
from orchestration.replay import NotReplayed, Recording, Replayed, replay
from orchestration.settings import DBT_PROJECT, Settings
from orchestration.study import Study

Progress = Callable[[int, int, str], None]

PARSE_TIMEOUT_SECONDS = 300

READERS_CONFIG = {
    "enable_external_access": "false",
    "lock_configuration": "true",
    "autoinstall_known_extensions": "false",
}


@contextmanager
def connect(path: Path, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """One connection, closed whatever happens. A read-only one cannot reach any other file.

    Raises:
        UserError: the file is not there, or it is no database of ours.
    """
    if read_only and not path.exists():
        raise UserError(f"{path}: nothing is published yet. Drop exports into the landing folder and run: sher2 run")
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=READERS_CONFIG if read_only else {})
    except duckdb.Error as error:
        raise UserError(
            f"{path}: cannot be opened ({str(error).splitlines()[0]}). Rebuild it from the lake: sher2 run"
        ) from None
    try:
        connection.execute("set time zone 'UTC'") if not read_only else None
        yield connection
    finally:
        connection.close()


def quoted(text: str) -> str:
    """A SQL string literal, for the few statements that take no parameter (COMMENT, ATTACH, COPY)."""
    return "'" + text.replace("'", "''") + "'"


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


# fingerprint -> what this process need not do again: parse the project, have its statements rendered
_parsed: dict = {}
_recorded: dict[str, Recording] = {}


class DbtFailed(Exception):
    """dbt could not start at all; what it said."""


class Dbt:
    """The dbt project with the study as its vars, building into a private file of a home.

    Args:
        cut: a data cut instead of the running state: {"on": ISO date, "received_from": "ledger" or "filename"}.
    """

    def __init__(self, settings: Settings, study: Study, cut: dict[str, str] | None = None):
        self.settings = settings
        self.vars = study.dbt_vars() | ({"cut": cut} if cut else {})
        self.ledger = settings.frozen_cut if cut else settings.frozen
        name = f"cut-{cut['on']}" if cut else "warehouse"
        self.database = settings.build / f"{name}.duckdb"
        self.target = settings.build / ("dbt-cut" if cut else "dbt")

    def manifest(self) -> Path:
        """dbt's manifest of this project and study, parsed only when there is none yet.

        Several processes (web interface, daemon, a run) ask at once: one parses, under a lock of its own, and the file
        is theirs by its name, so that nobody reads what another is writing.
        """
        fingerprint = self._fingerprint()
        path = self.target / f"manifest-{fingerprint[:16]}.json"
        self.target.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with writer_lock(self.target, timeout_seconds=PARSE_TIMEOUT_SECONDS):
                if not path.exists():
                    self._parse(fingerprint)
                    temporary = path.with_suffix(".tmp")
                    shutil.copyfile(self.target / "manifest.json", temporary)
                    temporary.replace(path)
        return path

    def parse(self) -> None:
        """Read the project once for this process, unless it has been read as it is now."""
        if (fingerprint := self._fingerprint()) not in _parsed:
            self.target.mkdir(parents=True, exist_ok=True)
            with writer_lock(self.target, timeout_seconds=PARSE_TIMEOUT_SECONDS):
                self._parse(fingerprint)

    def _parse(self, fingerprint: str) -> None:
        _parsed.clear()
        _parsed[fingerprint] = self._invoke("parse")

    def build(self, progress: Progress | None = None) -> list[NodeResult]:
        """Build every seed and model into a fresh private file and run every data test.

        Unit tests hold the rules, not the data: they run in the test-suite. A node that failed is in the result;
        whoever publishes has to look.
        """
        self.parse()
        Lake(self.settings).settled()
        fingerprint = self._fingerprint()
        if fingerprint in _recorded:
            self._start_anew()
            try:
                return [_as_result(node) for node in replay(_recorded[fingerprint], self.database)]
            except NotReplayed:
                _recorded.clear()
        self._start_anew()
        recording = Recording()
        nodes = self._invoke(
            "build", "--exclude-resource-type", "unit_test", callbacks=[recording.hear, *tell(progress)]
        ).results
        results = node_results(nodes)
        if not any(result.is_failed for result in results):
            tests = [r.node for r in nodes if r.node.unique_id.startswith("test.")]
            recording.severities = {node.unique_id: node.config.severity.upper() for node in tests}
            _recorded.clear()
            _recorded[fingerprint] = recording
        return results

    def lay_out(self) -> None:
        """A fresh private file with every table, its types and comments, but without the rows of the data: another
        engine fills it.
        """
        self.parse()
        Lake(self.settings).settled()
        self._start_anew()
        results = node_results(self._invoke("build", "--empty", "--exclude-resource-type", "test", "unit_test").results)
        if failed := next((result for result in results if result.is_failed), None):
            raise DbtFailed(f"{failed.unique_id}: {failed.message}")

    def _start_anew(self) -> None:
        self.database.unlink(missing_ok=True)
        self.database.with_name(self.database.name + ".wal").unlink(missing_ok=True)

    def write_catalog(self, folder: Path) -> Path:
        """dbt docs as one self-contained page, from the private file as it was last built."""
        self.parse()
        with writer_lock(self.target, timeout_seconds=PARSE_TIMEOUT_SECONDS):
            self._invoke("docs", "generate", "--static", "--no-compile")
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "index.html"
        temporary = folder / ".index.html.tmp"
        temporary.write_bytes((self.target / "static_index.html").read_bytes())
        temporary.replace(page)
        return page

    def _invoke(self, *arguments: str, callbacks: Sequence[Callable] = ()):
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        self.name_paths()
        try:
            return invoke_dbt(
                *arguments, target="duckdb", folder=self.target, variables=self.vars,
                manifest=_parsed.get(self._fingerprint()), callbacks=callbacks,
            )  # fmt: skip
        finally:
            # dbt keeps its connection, and with it DuckDB's lock on the file, for the life of the process.
            DuckDBConnectionManager.close_all_connections()

    def name_paths(self) -> None:
        """Tell dbt's profile and sources where the lake and the private file are."""
        os.environ |= {
            "SHER2_LAKE": str(self.settings.lake),
            "SHER2_LEDGER": str(self.ledger),
            "SHER2_BUILD_DB": str(self.database),
        }

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(self.vars, sort_keys=True).encode())
        digest.update(f"{self.settings.lake}\n{self.ledger}".encode())
        digest.update(tree_hash(DBT_PROJECT).encode())
        return digest.hexdigest()


def invoke_dbt(
    *arguments: str, target: str, folder: Path, variables: dict, manifest=None, callbacks: Sequence[Callable] = ()
):
    """One dbt command in this process.

    Args:
        target: of profiles.yml.
        folder: where dbt writes.
        manifest: the parsed project, where there is one.

    Raises:
        DbtFailed: dbt could not start; a node that failed is in the result.
    """
    from dbt.cli.main import dbtRunner

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["DO_NOT_TRACK"] = "1"
    command = [
        "--log-level", "none", "--log-level-file", "none", *arguments, "--target", target,
        "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT),
        "--target-path", str(folder), "--log-path", str(folder),
        "--vars", json.dumps(variables, sort_keys=True),
    ]  # fmt: skip
    outcome = dbtRunner(manifest=manifest, callbacks=list(callbacks)).invoke(command)
    if outcome.exception is not None:
        raise DbtFailed(f"dbt {arguments[0]}: {outcome.exception}") from outcome.exception
    return outcome.result


def node_results(nodes) -> list[NodeResult]:
    """What became of the nodes of a build, as dbt tells it."""
    return [NodeResult(r.node.unique_id, str(r.status), r.execution_time, r.message or "", r.failures) for r in nodes]


def tree_hash(*folders: Path) -> str:
    """sha256 over names and bytes of all source files below the folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if (
                path.suffix in {".py", ".sql", ".yml", ".yaml", ".csv", ".json", ".jinja"}
                and "target" not in path.parts
            ):
                digest.update(path.relative_to(folder.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def tell(progress: Progress | None) -> list[Callable]:
    """dbt's callbacks that tell of every node that is done."""

    def on_event(event) -> None:
        if event.info.name == "NodeFinished":
            progress(0, 0, event.data.node_info.node_name)

    return [on_event] if progress else []


def _as_result(node: Replayed) -> NodeResult:
    if node.failures is None:
        return NodeResult(node.unique_id, "success", node.seconds, "", None)
    return NodeResult(node.unique_id, "warn" if node.is_warning else "pass", node.seconds, "", node.failures)
