"""What dbt makes of the project and a protocol, before any data: manifest, statements, catalog.

dbt works for ten seconds where DuckDB works for one: it parses the project and renders templates, whose result depends
on the project and the protocol alone. So dbt runs once for each protocol, in a process of its own, beside the imports
and the reading of files: it builds the whole project on an empty lake, and the statements that it sends are kept for
orchestration.replay. `python -m orchestration.compilation FOLDER` is that process. Without FOLDER it works for the
protocol of the repository, once, when sher2 is installed: a home that uses it as it is need not wait for dbt at all.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from orchestration.errors import UserError
from orchestration.files import sync, tree_hash
from orchestration.locking import writer_lock
from orchestration.replay import Node, Statements
from orchestration.settings import DBT_PROJECT, REPOSITORY, Settings

MANIFEST, STATEMENTS, CATALOG = "manifest.json", "statements.json", "catalog.html"
LAKE, LEDGER = "/lake-5d0f2c1b9e7a4c63", "/ledger-5d0f2c1b9e7a4c63"
"""What the files say where the lake and its frozen ledger lie: the same for every home."""

INSTALLED = DBT_PROJECT / "target" / "compiled"
"""What was made for the protocol of the repository when sher2 was installed."""

_REQUEST, _ERROR = "request.json", "error.txt"
_KEPT = 5
_TIMEOUT_SECONDS = 300
_POLL_SECONDS = 0.01
_MADE_BY = ("dbt-core", "dbt-duckdb", "dbt-adapters", "dbt-common", "duckdb")

_under_way: dict[Path, subprocess.Popen] = {}


class DbtFailed(Exception):
    """dbt could not make anything of the project; what it said."""


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


class Compilation:
    """What dbt makes of the project as it is now, made by a process of its own when it is not there.

    Args:
        folder: holds those of several protocols, each in a folder named by its `fingerprint`.
        database: name of the database file that is built; statements name it.
        variables: dbt's vars.
    """

    def __init__(self, folder: Path, database: str, variables: dict):
        self._request = {"database": database, "variables": variables}
        self.fingerprint = _fingerprint(self._request)
        self.folder = folder / self.fingerprint

    def is_made(self) -> bool:
        return (self.folder / CATALOG).exists()

    def start(self) -> None:
        """Have it made, unless it is there, installed or under way; returns at once."""
        if self.is_made() or self._is_under_way() or self._is_taken_from(INSTALLED / self.fingerprint):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / _REQUEST, json.dumps(self._request, sort_keys=True))
        _under_way[self.folder] = subprocess.Popen(
            [sys.executable, "-m", "orchestration.processes", "orchestration.compilation", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=REPOSITORY,
        )

    def path(self, name: str) -> Path:
        """One of the files, as soon as it is there.

        Raises:
            DbtFailed: dbt cannot make it.
        """
        path = self.folder / name
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not path.exists():
            self.start()
            while self._is_under_way() and not path.exists():
                if time.monotonic() > deadline:
                    raise DbtFailed(f"dbt has not ended after {_TIMEOUT_SECONDS} s")
                time.sleep(_POLL_SECONDS)
            if not path.exists():
                told = self.folder / _ERROR
                raise DbtFailed(told.read_text("utf-8") if told.exists() else "dbt ended without saying why")
        if self.is_made():
            _under_way.pop(self.folder, None)  # it ends by itself
        return path

    def nodes(self, lake: Path, ledger: Path) -> list[Node]:
        """Seeds, models and tests with their statements, parents first, reading this lake and its frozen ledger."""
        try:
            return list(_nodes(self.path(STATEMENTS), str(lake), str(ledger)))
        except ValueError:
            shutil.rmtree(self.folder)
            return list(_nodes(self.path(STATEMENTS), str(lake), str(ledger)))

    def _is_taken_from(self, folder: Path) -> bool:
        """Copy what is there, if it is whole: the homes of one installation have it without dbt."""
        try:
            made = {name: (folder / name).read_text("utf-8") for name in (MANIFEST, STATEMENTS, CATALOG)}
            _whole(made[STATEMENTS])
        except (OSError, ValueError):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            _write(self.folder / name, text)
        return True

    def _is_under_way(self) -> bool:
        child = _under_way.get(self.folder)
        return child is not None and child.poll() is None


@lru_cache(maxsize=1)
def _nodes(path: Path, lake: str, ledger: str) -> tuple[Node, ...]:
    """As they were noted down.

    Raises:
        ValueError: the file is damaged.
    """
    text = _whole(path.read_text("utf-8"))
    return tuple(Node(**node) for node in json.loads(_replaced(text, {LAKE: lake, LEDGER: ledger})))


def _whole(statements: str) -> str:
    """The statements without the hash that they begin with.

    Raises:
        ValueError: they are damaged: another number in them would be another number everywhere.
    """
    told, _, text = statements.partition("\n")
    if told != _sha256(text):
        raise ValueError("damaged statements")
    return text


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """Text of JSON that names paths in SQL strings, with other paths."""
    for name, path in names.items():
        text = text.replace(name, json.dumps(path.replace("'", "''"))[1:-1])
    return text


def _fingerprint(request: dict) -> str:
    """Of all that decides what dbt makes: protocol, project, what renders it and what notes it down."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    digest.update(tree_hash(DBT_PROJECT, REPOSITORY / "orchestration").encode())
    digest.update("\n".join(version(name) for name in _MADE_BY).encode())
    return digest.hexdigest()[:32]


def compile_project(folder: Path) -> None:
    """Make the files of a `Compilation`, the catalog last.

    Raises:
        DbtFailed: dbt refuses the project, or its files were changed meanwhile.
    """
    request = json.loads((folder / _REQUEST).read_text("utf-8"))
    (folder / _ERROR).unlink(missing_ok=True)

    def keep(name: str, text: str) -> None:
        if _fingerprint(request) != folder.name:
            raise DbtFailed("the dbt project was changed while dbt was reading it. Run again.")
        _write(folder / name, text)

    with tempfile.TemporaryDirectory(prefix="sher2-dbt-") as name:
        dbt = _OnAnEmptyLake(Path(name), request)
        manifest = dbt.run("parse")
        keep(MANIFEST, dbt.written("manifest.json"))
        statements = Statements()
        results = dbt.run(
            "build", "--exclude-resource-type", "unit_test", manifest=manifest, callbacks=[statements.hear]
        ).results
        if failed := [r for r in results if str(r.status) not in {"success", "pass", "warn"}]:
            raise DbtFailed("; ".join(f"{r.node.name}: {r.status} {(r.message or '').strip()}" for r in failed[:10]))
        nodes = statements.nodes({r.node.unique_id: r.node for r in results})
        text = dbt.nowhere(json.dumps([asdict(node) for node in nodes]))
        keep(STATEMENTS, f"{_sha256(text)}\n{text}")
        dbt.run("docs", "generate", "--static", "--no-compile", manifest=manifest)
        keep(CATALOG, dbt.written("static_index.html"))
    for old in sorted(folder.parent.glob(f"*/{CATALOG}"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        (old.parent / CATALOG).unlink(missing_ok=True)  # first: what has lost another file has not been made
        shutil.rmtree(old.parent, ignore_errors=True)


class _OnAnEmptyLake:
    """dbt in this process, on a lake without rows."""

    def __init__(self, folder: Path, request: dict):
        from orchestration.lake import Lake

        self.variables = request["variables"]
        self._settings = Settings(folder / "home", folder / "study.yaml")
        self._target = folder / "target"
        self._settings.build.mkdir(parents=True)
        self._settings.lake.mkdir()
        lake = Lake(self._settings)
        lake.prepare()
        lake.freeze()
        os.environ |= {
            "SHER2_LAKE": str(self._settings.lake),
            "SHER2_LEDGER": str(self._settings.frozen),
            "SHER2_BUILD_DB": str(self._settings.build / request["database"]),
        }

    def run(self, *arguments: str, manifest=None, callbacks: Sequence[Callable] = ()):
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        try:
            return invoke_dbt(
                *arguments, target="duckdb", folder=self._target, variables=self.variables,
                manifest=manifest, callbacks=callbacks,
            )  # fmt: skip
        finally:
            DuckDBConnectionManager.close_all_connections()

    def written(self, name: str) -> str:
        return self.nowhere((self._target / name).read_text("utf-8"))

    def nowhere(self, text: str) -> str:
        """The text, telling of no folder of this machine."""
        return _replaced(text, {str(self._settings.lake): LAKE, str(self._settings.frozen): LEDGER})


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, "utf-8")
    sync(temporary)
    temporary.replace(path)


def main(folder: Path) -> None:
    import gc

    gc.disable()  # parsing makes millions of objects that stay, for seconds
    with writer_lock(folder.parent, timeout_seconds=_TIMEOUT_SECONDS):
        if (folder / CATALOG).exists():
            return
        try:
            compile_project(folder)
        except Exception as error:
            _write(folder / _ERROR, str(error) or type(error).__name__)
            raise


def install() -> None:
    """Make it for the protocol of the repository."""
    from orchestration.study import load_study

    try:
        study = load_study(REPOSITORY / "study.yaml")
        Compilation(INSTALLED, "warehouse.duckdb", study.dbt_vars()).path(CATALOG)
    except (UserError, DbtFailed) as error:
        sys.exit(f"sher2: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1])) if sys.argv[1:] else install()
