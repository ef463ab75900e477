"""From the private build to what analysts open: one atomic replace, the last five builds kept.

Whether a build may be published is decided by the pipeline that made it, never here; how it becomes visible, is.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb

from orchestration import __version__
from orchestration.errors import UserError
from orchestration.files import sync, tree_hash
from orchestration.settings import DBT_PROJECT, EXPECTATIONS, REPOSITORY, Settings
from orchestration.warehouse import connect, quoted

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
    "published_at": ("TIMESTAMP", "When the file was replaced (UTC); after its predecessor, whatever the clock said"),
    "data_hash": ("VARCHAR", "sha256 over the deliveries that the marts are made of, in any order of arrival"),
    "study_hash": ("VARCHAR", "sha256 of the protocol (study.yaml) as read"),
    "code_version": ("VARCHAR", "Version of sher2 and hash of its rules"),
    "previous_build_id": ("VARCHAR", "What was published before; null for the first"),
    "data_cutoff_on": ("DATE", "Rows dated later are used nowhere"),
    "rows_per_mart": ("VARCHAR", "JSON object: rows in each mart"),
}

_PARAMETERS = {
    "key": "Dotted key of study.yaml; a source of the exports is one key",
    "value": "Its value as JSON, defaults included",
}


@dataclass(frozen=True)
class Build:
    """What a publication is made of; its id is the hash of the three."""

    data_hash: str
    study_hash: str
    code_version: str
    parameters: Mapping[str, str] = field(default_factory=dict, compare=False)  # what study_hash is the hash of

    @property
    def build_id(self) -> str:
        return hashlib.sha256(f"{self.data_hash}\n{self.study_hash}\n{self.code_version}".encode()).hexdigest()[:16]


@cache
def code_version() -> str:
    """Version and a hash of everything that decides a number."""
    return f"{__version__}+{tree_hash(REPOSITORY / 'orchestration', DBT_PROJECT, EXPECTATIONS)[:12]}"


def code_is_unchanged() -> bool:
    """Whether what decides a number is on disk still as this process began with it."""
    return code_version.__wrapped__() == code_version()


def was_published_last(settings: Settings, build_id: str) -> bool:
    """Whether this build is what analysts see, or the one that a rollback took back."""
    return settings.warehouse.exists() and [_build_id(path) for path in kept_builds(settings)[-1:]] == [build_id]


def publish(settings: Settings, build: Build, database: Path) -> bool:
    """Make the private file what analysts open. Returns False when that very build is already published.

    The file is checkpointed, copied by a child process (copying it here would drop DuckDB's lock), synced to disk,
    made read-only and put in place by one rename: a reader sees the old state or the new one, whole.

    Args:
        database: the private file with schemas marts, metrics, ops, complete and tested.

    Raises:
        UserError: no room, or the home cannot be written; the previous publication stays.
    """
    is_new = not _is_whole(settings.warehouse, build.build_id)
    if is_new:
        try:
            record_build(database, build, _history(settings), current_build_id(settings))
        except duckdb.Error as error:
            raise UserError(
                f"publication: {database} was not written ({str(error).splitlines()[0]}); what was published stays."
                " Make room and run again."
            ) from None
        put_in_place(database, settings.warehouse)
    _keep(settings, build.build_id)
    return is_new


def _keep(settings: Settings, build_id: str) -> None:
    """Keep what is published for rollback and diff, also when a publication was killed before it came to that."""
    builds = kept_builds(settings)
    if not builds or _build_id(builds[-1]) != build_id:
        number = int(builds[-1].stem.split("_")[0]) + 1 if builds else 1
        put_in_place(settings.warehouse, settings.builds / f"{number:06d}_{build_id}.duckdb")
    for old in [*kept_builds(settings)[:-KEPT_BUILDS], *settings.builds.glob(".*.tmp")]:
        old.unlink()


def kept_builds(settings: Settings) -> list[Path]:
    """The kept builds, oldest first."""
    return sorted(settings.builds.glob("[0-9]*_*.duckdb"))


def current_build_id(settings: Settings) -> str | None:
    rows = _publications(settings.warehouse)
    return rows[-1][0] if rows else None


def rollback(settings: Settings) -> str:
    """Publish the build before the current one again; returns its build_id.

    Raises:
        UserError: there is no earlier build.
    """
    current = current_build_id(settings)
    builds = kept_builds(settings)
    names = [_build_id(path) for path in builds]
    position = len(names) - 1 - names[::-1].index(current) if current in names else len(names)
    for earlier in reversed(builds[:position]):
        if _build_id(earlier) != current and _is_whole(earlier, _build_id(earlier)):
            put_in_place(earlier, settings.warehouse)
            return _build_id(earlier)
    raise UserError("rollback: no earlier build is kept whole, so what is published stays.")


def record_build(database: Path, build: Build, history: Sequence[tuple] = (), published_now: str | None = None) -> None:
    """Write ops.publications (the history, and this build as its newest row) and ops.parameters; then checkpoint.

    Args:
        history: rows of ops.publications, oldest first; a newest one of this very build is written anew.
        published_now: the build_id that analysts see until this one takes its place.
    """
    if history and history[-1][0] == build.build_id:
        history = history[:-1]
    if published_now in (None, build.build_id):
        published_now = history[-1][0] if history else None
    now = datetime.now(UTC).replace(tzinfo=None)
    if history:
        now = max(now, history[-1][1] + timedelta(microseconds=1))  # clocks are set back, publications are not
    with connect(database, read_only=False) as connection:
        counts = {mart: connection.execute(f"select count(*) from marts.{mart}").fetchone()[0] for mart in GRAIN}
        cutoff = connection.execute("select max(cutoff_on) from intermediate.int_data_cutoff").fetchone()[0]
        row = (
            build.build_id,
            now,
            build.data_hash,
            build.study_hash,
            build.code_version,
            published_now,
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
        connection.execute("create or replace table ops.parameters (key varchar, value varchar)")
        connection.execute(
            "comment on table ops.parameters is 'The protocol that this build was made with. Grain: key of study.yaml.'"
        )
        for name, text in _PARAMETERS.items():
            connection.execute(f"comment on column ops.parameters.{name} is {quoted(text)}")
        if build.parameters:
            connection.executemany("insert into ops.parameters values (?, ?)", sorted(build.parameters.items()))
        connection.execute("checkpoint")


def _history(settings: Settings) -> list[tuple]:
    """Rows of ops.publications, oldest first: of what is published or of the newest kept build, whichever knows more.

    The published file may be lost or damaged, or an earlier build that a rollback put back.
    """
    return max((_publications(path) for path in [settings.warehouse, *kept_builds(settings)[-1:]]), key=len)


def _publications(path: Path) -> list[tuple]:
    try:
        with connect(path, read_only=True) as connection:
            return connection.execute(
                f"select {', '.join(_PUBLICATIONS)} from ops.publications order by rowid"
            ).fetchall()
    except (UserError, duckdb.Error):
        return []


def _is_whole(path: Path, build_id: str) -> bool:
    """It is this build, and every table can be read to its end, those that `sher2 trace` reads included."""
    try:
        with connect(path, read_only=True) as connection:
            newest = connection.execute("select build_id from ops.publications order by rowid desc limit 1").fetchone()
            if newest is None or newest[0] != build_id:
                return False
            tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
            for schema, table in tables:
                connection.execute(f'select count(columns(*)) from "{schema}"."{table}"').fetchall()
    except (UserError, duckdb.Error):
        return False
    return True


def _build_id(kept: Path) -> str:
    return kept.stem.split("_")[1]


def put_in_place(source: Path, target: Path) -> None:
    """Copy a closed, checkpointed database file to its public place: whole, synced, read-only, by one rename.

    Raises:
        UserError: no room; what stood there stays.
    """
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        leftover.unlink()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")  # the copying child of a killed run may live on
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
    sync(temporary)
    os.replace(temporary, target)
    sync(target.parent)
