"""From the private build to what analysts open: one atomic replace, the last five builds kept.

Whether a build may be published is decided by the pipeline that made it, never here; how it becomes visible, is.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import duckdb

from orchestration import __version__
from orchestration.errors import UserError
from orchestration.settings import DBT_PROJECT, EXPECTATIONS, REPOSITORY, Settings
from orchestration.warehouse import connect, quoted, tree_hash

KEPT_BUILDS = 5
PUBLIC_SCHEMAS = ("marts", "metrics", "ops")

GRAIN = {
    "dim_subject": ["subject_id"],
    "fct_visit": ["subject_id", "visit_name", "visit_on"],
    "fct_her2_delta": ["subject_id", "laboratory", "sample_id"],
    "fct_response": ["subject_id", "evaluator", "reader", "assessed_on", "visit_name"],
    "fct_best_response": ["subject_id", "evaluator"],
    "fct_time_to_event": ["subject_id", "evaluator", "endpoint"],
}

_PUBLICATIONS = {
    "build_id": ("VARCHAR", "Hash of data, study and code: equal inputs give an equal build_id"),
    "published_at": ("TIMESTAMP", "When the file was replaced (UTC)"),
    "data_hash": ("VARCHAR", "sha256 over the deliveries that the marts are made of, in any order of arrival"),
    "study_hash": ("VARCHAR", "sha256 of the protocol (study.yaml) as read"),
    "code_version": ("VARCHAR", "Version of sher2 and hash of its rules"),
    "previous_build_id": ("VARCHAR", "What was published before; null for the first"),
    "data_cutoff_on": ("DATE", "Rows dated later are used nowhere"),
    "rows_per_mart": ("VARCHAR", "JSON object: rows in each mart"),
}


@dataclass(frozen=True)
class Build:
    """What a publication is made of; its id is the hash of the three."""

    data_hash: str
    study_hash: str
    code_version: str

    @property
    def build_id(self) -> str:
        return hashlib.sha256(f"{self.data_hash}\n{self.study_hash}\n{self.code_version}".encode()).hexdigest()[:16]


@cache
def code_version() -> str:
    """Version and a hash of everything that decides a number."""
    return f"{__version__}+{tree_hash(REPOSITORY / 'orchestration', DBT_PROJECT, EXPECTATIONS)[:12]}"


def publish(settings: Settings, build: Build, database: Path) -> bool:
    """Make the private file what analysts open. Returns False when that very build is already published.

    The file is checkpointed, copied by a child process (copying it here would drop DuckDB's lock), synced to disk,
    made read-only and put in place by one rename: a reader sees the old state or the new one, whole.

    Args:
        database: the private file with schemas marts, metrics, ops, complete and tested.

    Raises:
        UserError: no room, or the home cannot be written; the previous publication stays.
    """
    history = _history(settings)
    if history and history[-1][0] == build.build_id and _is_whole(settings.warehouse, build.build_id):
        return False
    record_build(database, build, history)
    kept = settings.builds / f"{_next_number(settings):06d}_{build.build_id}.duckdb"
    put_in_place(database, kept)
    put_in_place(kept, settings.warehouse)
    for old in kept_builds(settings)[:-KEPT_BUILDS]:
        old.unlink()
    return True


def kept_builds(settings: Settings) -> list[Path]:
    """The kept builds, oldest first."""
    return sorted(settings.builds.glob("[0-9]*_*.duckdb"))


def current_build_id(settings: Settings) -> str | None:
    history = _history(settings, current_only=True)
    return history[-1][0] if history else None


def rollback(settings: Settings) -> str:
    """Publish the build before the current one again; returns its build_id.

    Raises:
        UserError: there is no earlier build.
    """
    current = current_build_id(settings)
    builds = kept_builds(settings)
    names = [path.stem.split("_")[1] for path in builds]
    position = len(names) - 1 - names[::-1].index(current) if current in names else len(names)
    if position < 1:
        raise UserError("rollback: no earlier build is kept, so what is published stays.")
    put_in_place(builds[position - 1], settings.warehouse)
    return names[position - 1]


def record_build(database: Path, build: Build, history: Sequence[tuple] = ()) -> None:
    """Write ops.publications into the private file: the history, and this build as its newest row; then checkpoint."""
    with connect(database, read_only=False) as connection:
        counts = {mart: connection.execute(f"select count(*) from marts.{mart}").fetchone()[0] for mart in GRAIN}
        cutoff = connection.execute("select max(cutoff_on) from intermediate.int_data_cutoff").fetchone()[0]
        previous = history[-1][0] if history else None
        row = (
            build.build_id,
            datetime.now(UTC).replace(tzinfo=None),
            build.data_hash,
            build.study_hash,
            build.code_version,
            previous,
            cutoff,
            json.dumps(counts, sort_keys=True),
        )
        connection.execute("create schema if not exists ops")
        connection.execute(
            "create or replace table ops.publications ("
            + ", ".join(f"{name} {kind}" for name, (kind, _) in _PUBLICATIONS.items())
            + ")"
        )
        connection.execute(
            "comment on table ops.publications is 'One row a publication, the newest last. Grain: publication.'"
        )
        for name, (_, text) in _PUBLICATIONS.items():
            connection.execute(f"comment on column ops.publications.{name} is {quoted(text)}")
        connection.executemany(
            f"insert into ops.publications values ({', '.join('?' * len(_PUBLICATIONS))})", [*history, row]
        )
        connection.execute("checkpoint")


def _history(settings: Settings, *, current_only: bool = False) -> list[tuple]:
    """Rows of ops.publications as last published; from the newest kept build when that file is lost or damaged."""
    for path in [settings.warehouse] + ([] if current_only else kept_builds(settings)[::-1]):
        try:
            with connect(path, read_only=True) as connection:
                return connection.execute(
                    f"select {', '.join(_PUBLICATIONS)} from ops.publications order by published_at"
                ).fetchall()
        except (UserError, duckdb.Error):
            continue
    return []


def _is_whole(path: Path, build_id: str) -> bool:
    """Every published table can be read to its end."""
    try:
        with connect(path, read_only=True) as connection:
            newest = connection.execute(
                "select build_id from ops.publications order by published_at desc limit 1"
            ).fetchone()
            tables = connection.execute(
                "select schema_name, table_name from duckdb_tables() where schema_name in ('marts', 'metrics', 'ops')"
            ).fetchall()
            for schema, table in tables:
                connection.execute(f'select count(columns(*)) from "{schema}"."{table}"').fetchall()
    except (UserError, duckdb.Error):
        return False
    return newest is not None and newest[0] == build_id


def _next_number(settings: Settings) -> int:
    return max((int(path.stem.split("_")[0]) for path in kept_builds(settings)), default=0) + 1


def put_in_place(source: Path, target: Path) -> None:
    """Copy a closed, checkpointed database file to its public place: whole, synced, read-only, by one rename.

    Raises:
        UserError: no room; what stood there stays.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    done = subprocess.run(
        ["cp", "--reflink=auto", "--", str(source), str(temporary)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"publication: {target} was not written ({done.stderr.strip()}); what was published stays."
            " Make room and run again."
        )
    os.chmod(temporary, 0o444)
    _sync(temporary)
    os.replace(temporary, target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
