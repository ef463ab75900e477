"""Builds the private database file by what dbt made of the project, and opens database files. Derivations belong in
dbt_project, not here."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from orchestration.compilation import CATALOG, MANIFEST, Compilation, DbtFailed
from orchestration.errors import UserError
from orchestration.files import state, sync
from orchestration.lake import Lake
from orchestration.replay import NodeResult, build, refresh
from orchestration.settings import Settings
from orchestration.study import Study

Progress = Callable[[int, int, str], None]

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


class Dbt:
    """The dbt project with the study as its vars, building into a private file of a home.

    Args:
        cut: a data cut instead of the running state: {"on": ISO date, "received_from": "ledger" or "filename"}.
    """

    def __init__(self, settings: Settings, study: Study, cut: dict[str, str] | None = None):
        self.settings = settings
        self._is_cut = cut is not None
        self.vars = study.dbt_vars() | ({"cut": cut} if cut else {})
        self.ledger = settings.frozen_cut if cut else settings.frozen
        name = f"cut-{cut['on']}" if cut else "warehouse"
        self.database = settings.build / f"{name}.duckdb"
        self.target = settings.build / ("dbt-cut" if cut else "dbt")

    def start(self) -> None:
        """Have dbt at work on the project, if it has not been yet, while this process does something else."""
        self._compilation().start()

    def load(self) -> None:
        """Have what dbt makes of the project in memory."""
        self._compilation().nodes(self.settings.lake, self.ledger)

    def manifest(self) -> Path:
        """dbt's manifest of this project and protocol."""
        return self._compilation().path(MANIFEST)

    def build(self, progress: Progress | None = None) -> list[NodeResult]:
        """Bring the private file to what the lake holds and have every data test's result.

        All of it is built anew, unless the file is the one that was published last (`keep`) and all that it was made of
        is as it was: then only what the files since then may have changed. Where that does not succeed, all of it.
        Unit tests hold the rules, not the data: they run in the test-suite. A node that failed is in the result;
        whoever publishes has to look.
        """
        compilation = self._compilation()
        made_of = self._made_of(compilation)
        nodes = compilation.nodes(self.settings.lake, self.ledger)
        Lake(self.settings).settled()
        parcels = self._parcels()  # before the ledger is read: what counts is among them
        kept = self._take_kept(made_of, parcels)

        def told(name: str) -> None:
            if progress:
                progress(0, 0, name)

        results = refresh(nodes, self.database, self.settings.lake, kept, told) if kept is not None else []
        if not results or any(result.status == "error" for result in results):
            self._start_anew()
            results = build(nodes, self.database, told)
        if not self._is_cut and not any(result.is_failed for result in results):
            tests = [asdict(result) for result in results if result.unique_id.startswith("test.")]
            self._built.write_text(json.dumps({"made_of": made_of, "parcels": parcels, "tests": tests}), "utf-8")
        return results

    def keep(self) -> None:
        """The private file is what has just been published: the next build may start from it."""
        with suppress(OSError, ValueError):  # the next build makes everything anew
            note = json.loads(self._built.read_text("utf-8"))
            self._built.unlink()
            if made := state(self.database):
                temporary = self._kept.with_suffix(".tmp")
                temporary.write_text(json.dumps(note | {"file": made}), "utf-8")
                temporary.replace(self._kept)

    def forget(self) -> None:
        """Have the next build make everything anew."""
        self._built.unlink(missing_ok=True)
        self._kept.unlink(missing_ok=True)
        sync(self._kept.parent)

    def _take_kept(self, made_of: list[str], parcels: dict[str, list[int]]) -> dict[str, NodeResult] | None:
        """Results of the tests in the private file, if it is proved that the next build may start from it.

        Proved is that this very project, protocol and code made it, for this very lake, that nobody has touched the
        file since it was published, and that the lake still holds every parcel that it was made of, untouched. From
        here on the note is gone: a build that does not come to publication is never started from.
        """
        try:
            note = json.loads(self._kept.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            note = {}
        self.forget()
        if (
            note.get("made_of") != made_of
            or note["file"] != state(self.database)
            or any(parcels.get(name) != made for name, made in note["parcels"].items())
        ):
            return None
        return {test["unique_id"]: NodeResult(**test | {"is_rebuilt": False}) for test in note["tests"]}

    def _made_of(self, compilation: Compilation) -> list[str]:
        from orchestration.publication import code_version

        return [compilation.fingerprint, code_version(), str(self.settings.lake), str(self.ledger)]

    def _parcels(self) -> dict[str, list[int] | None]:
        """The state of every file of rows in the lake."""
        return {
            path.relative_to(self.settings.lake).as_posix(): state(path)
            for path in self.settings.lake.glob("records/*/*.parquet")
        }

    @property
    def _built(self) -> Path:
        return self.database.with_suffix(".built.json")

    @property
    def _kept(self) -> Path:
        return self.database.with_suffix(".kept.json")

    def lay_out(self) -> None:
        """A fresh private file with every table, its types and comments, as an empty lake makes it: another engine
        fills it.
        """
        Lake(self.settings).settled()
        self.forget()
        self._start_anew()
        with TemporaryDirectory(prefix="sher2-empty-") as folder:
            empty = Settings(Path(folder), self.settings.study_file)
            lake = Lake(empty)
            lake.prepare()
            lake.freeze()
            nodes = self._compilation().nodes(empty.lake, empty.frozen)
            results = build([node for node in nodes if node.kind != "test"], self.database, lambda _: None)
        if failed := next((result for result in results if result.is_failed), None):
            raise DbtFailed(f"{failed.unique_id}: {failed.message}")

    def name_paths(self) -> None:
        """Tell dbt's profile and sources where the lake and the private file are."""
        os.environ |= {
            "SHER2_LAKE": str(self.settings.lake),
            "SHER2_LEDGER": str(self.ledger),
            "SHER2_BUILD_DB": str(self.database),
        }

    def write_catalog(self, folder: Path) -> Path:
        """dbt docs as one self-contained page. They tell of the project and its tables, of no data."""
        made = self._compilation().path(CATALOG)
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "index.html"
        temporary = folder / ".index.html.tmp"
        shutil.copyfile(made, temporary)
        temporary.replace(page)
        return page

    def _start_anew(self) -> None:
        self.database.unlink(missing_ok=True)
        self.database.with_name(self.database.name + ".wal").unlink(missing_ok=True)

    def _compilation(self) -> Compilation:
        return Compilation(self.target, self.database.name, self.vars)


def node_results(nodes) -> list[NodeResult]:
    """What became of the nodes of a build, as dbt tells it."""
    return [NodeResult(r.node.unique_id, str(r.status), r.execution_time, r.message or "", r.failures) for r in nodes]


def tell(progress: Progress | None) -> list[Callable]:
    """dbt's callbacks that tell of every node that is done."""

    def on_event(event) -> None:
        if event.info.name == "NodeFinished":
            progress(0, 0, event.data.node_info.node_name)

    return [on_event] if progress else []
