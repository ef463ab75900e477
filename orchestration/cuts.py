"""Data cuts: marts, metrics and report as they were known on a day, frozen beside the running warehouse.

A cut is cuts/<day>.duckdb with the folder cuts/<day>/: report, study.yaml, and a manifest that names the code, the
files with their generations and a hash of every table. The lake never changes a batch, so "committed up to batch N and
received by the day" means the same rows for ever: from that, a cut is built again and must come out the same. Which
rows count is decided in dbt (stg_files, accepted_rows, int_data_cutoff), not here.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import yaml
from duckdb import DuckDBPyConnection

from orchestration.errors import UserError
from orchestration.inspection import headline_estimates
from orchestration.lake import Lake
from orchestration.metrics import METRICS, build_metrics
from orchestration.parameters import parameters_of
from orchestration.publication import PUBLIC_SCHEMAS, Build, code_version, put_in_place, record_build
from orchestration.settings import Settings
from orchestration.study import Study, load_study
from orchestration.warehouse import Dbt, connect

RECEIVED_FROM = ("ledger", "filename")
_MANIFEST = "manifest.json"
_FETCHED_ROWS = 10_000


@dataclass(frozen=True)
class Cut:
    """A frozen cut; ``is_new`` is False where it had been frozen before and was built again to the same tables."""

    on: date
    database: Path
    folder: Path
    is_new: bool
    manifest: dict

    @property
    def report(self) -> Path:
        return self.folder / "efficacy.html"


@dataclass(frozen=True)
class _Rule:
    """Which files a cut knows."""

    on: date
    received_from: str
    through_batch: int

    def variables(self, study: Study) -> dict:
        """What stg_files reads: the day ends at midnight of the study's time zone."""
        ends = datetime.combine(self.on + timedelta(days=1), time(), study.zone).astimezone(UTC)
        return {
            "on": self.on.isoformat(),
            "received_from": self.received_from,
            "received_before": ends.strftime("%Y-%m-%d %H:%M:%S"),
            "through_batch": self.through_batch,
        }


def cut(settings: Settings, study: Study, on: date, received_from: str | None = None) -> Cut:
    """Freeze a data cut: only files received by the day, only events dated on or before it. The caller holds the lock.

    A day is frozen once. Asked for again, it is built again from the study.yaml and the files that it was frozen with,
    whatever has arrived or changed since; a damaged or deleted file of it is replaced.

    Args:
        on: the day; it also becomes the data cut-off of the study, unless study.yaml has an earlier one.
        received_from: ``ledger`` (default): when a file first came; ``filename``: the date of the export where its
            source declares one, for studies that were loaded afterwards.

    Raises:
        UserError: a test of the data failed or nothing had been received by the day (nothing is written), the day was
            frozen by another rule, or it cannot be built again to the same tables.
    """
    if received_from not in (None, *RECEIVED_FROM):
        raise UserError(f"cut: received_from {received_from!r} is none of: {', '.join(RECEIVED_FROM)}")
    lake = Lake(settings)
    lake.prepare()
    settings.cuts.mkdir(exist_ok=True, mode=0o700)
    frozen = _frozen(settings, on)
    if frozen is None:
        return _freeze(settings, study, _Rule(on, received_from or "ledger", lake.next_batch() - 1))
    if received_from not in (None, frozen.manifest["received_from"]):
        raise UserError(
            f"cut: {on} is frozen with --received-from {frozen.manifest['received_from']}."
            f" For another cut of that day move {frozen.database} and {frozen.folder} away first."
        )
    return _build_again(settings, frozen)


def frozen_cuts(settings: Settings) -> list[Cut]:
    """Every cut of the home, by day."""
    days = sorted(path.parent.name for path in settings.cuts.glob(f"[0-9]*/{_MANIFEST}"))
    return [cut for day in days if (cut := _frozen(settings, date.fromisoformat(day)))]


def estimates(settings: Settings) -> tuple[list[str], list[tuple]]:
    """metrics.estimates of every cut: columns, with ``cut_on`` (ISO date) before them, and rows by day."""
    columns = list(METRICS["estimates"].columns)
    rows = []
    for frozen in frozen_cuts(settings):
        with connect(frozen.database, read_only=True) as connection:
            found = connection.execute(f"select {', '.join(columns)} from metrics.estimates order by all").fetchall()
        rows += [(frozen.on.isoformat(), *row) for row in found]
    return ["cut_on", *columns], rows


def headlines(settings: Settings, study: Study) -> tuple[list[str], list[tuple]]:
    """The headline numbers of every cut: columns and rows, by day."""
    rows, columns = [], []
    for frozen in frozen_cuts(settings):
        with connect(frozen.database, read_only=True) as connection:
            for name, row in headline_estimates(connection, study).items():
                if row is not None:
                    columns = ["cut_on", "number", *row]
                    rows.append((frozen.on.isoformat(), name, *row.values()))
    return columns, rows


def _frozen(settings: Settings, on: date) -> Cut | None:
    folder = settings.cuts / on.isoformat()
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Cut(on, _database(settings, on), folder, False, manifest)


def _database(settings: Settings, on: date) -> Path:
    return settings.cuts / f"{on.isoformat()}.duckdb"


def _freeze(settings: Settings, study: Study, rule: _Rule) -> Cut:
    """Database first, the folder with the manifest last, by one rename: before that the day is not frozen."""
    from orchestration.report.page import render

    target, folder = _database(settings, rule.on), settings.cuts / rule.on.isoformat()
    made, manifest = _build(settings, study, rule)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    content = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (temporary / "study.yaml").write_text(content, "utf-8")
    manifest["report"] = _sha256(render(made, temporary, _with_cutoff(study, rule.on)))
    (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), "utf-8")
    put_in_place(made, target)
    made.unlink()
    os.sync()
    shutil.rmtree(folder, ignore_errors=True)  # without a manifest it was never whole
    temporary.replace(folder)
    return Cut(rule.on, target, folder, True, manifest)


def _build_again(settings: Settings, frozen: Cut) -> Cut:
    from orchestration.report.page import render

    told = frozen.manifest
    study = load_study(frozen.folder / "study.yaml")
    made, manifest = _build(settings, study, _Rule(frozen.on, told["received_from"], told["through_batch"]))
    other = ["its files"] if manifest["files"] != told["files"] else []
    other += sorted(
        name for name in told["tables"] | manifest["tables"] if told["tables"].get(name) != manifest["tables"].get(name)
    )
    if other:
        made.unlink()
        code = told["code_version"]
        why = (
            f"it was frozen by code version {code}, this is {code_version()}: use that version to build it again"
            if code != code_version()
            else "by the same code: the lake is not what it was; restore it from a backup"
        )
        raise UserError(
            f"cut: {frozen.on} stays as it was frozen; built again it differs in {', '.join(other)}; {why}."
        )
    if not frozen.database.exists() or _tables(frozen.database) != told["tables"]:
        put_in_place(made, frozen.database)
    made.unlink()
    if not frozen.report.exists() or _sha256(frozen.report) != told["report"]:
        render(frozen.database, frozen.folder, _with_cutoff(study, frozen.on))
    return frozen


def _build(settings: Settings, study: Study, rule: _Rule) -> tuple[Path, dict]:
    """The private database of a cut, complete and tested, and what its manifest says."""
    study = _with_cutoff(study, rule.on)
    Lake(settings).freeze(settings.frozen_cut)
    dbt = Dbt(settings, study, rule.variables(study))
    failed = [result for result in dbt.build() if result.is_failed]
    if failed:
        raise UserError(f"cut: nothing was written: {failed[0].unique_id.split('.')[2]}: {failed[0].message.strip()}")
    with connect(dbt.database, read_only=True) as connection:
        files = _files(connection)
    if not files:
        raise UserError(
            f"cut: nothing was written: by {rule.on} nothing had been received ({rule.received_from})."
            " For a study that was loaded afterwards: --received-from filename goes by the dates in the names of files"
            " (exported_on of a source in study.yaml)."
        )
    data_hash = hashlib.sha256(json.dumps([files, rule.variables(study)], sort_keys=True).encode()).hexdigest()
    build = Build(data_hash, study.study_hash, code_version(), parameters_of(study))
    build_metrics(study, build, dbt.database)
    record_build(dbt.database, build)
    manifest = {
        "cut_on": rule.on.isoformat(),
        "received_from": rule.received_from,
        "through_batch": rule.through_batch,
        "code_version": build.code_version,
        "study_hash": build.study_hash,
        "build_id": build.build_id,
        "files": files,
        "tables": _tables(dbt.database),
    }
    return dbt.database, manifest


def _with_cutoff(study: Study, on: date) -> Study:
    cutoff = min(on, study.study.data_cutoff or on)
    return study.model_copy(update={"study": study.study.model_copy(update={"data_cutoff": cutoff})})


def _files(connection: DuckDBPyConnection) -> list[dict]:
    """Every file that the cut knows, with the generation (batch) of its rows and the number of its delivery."""
    names = ("path", "file_id", "generation", "delivery", "status", "exported_on", "received_at")
    rows = connection.execute(
        "select path, file_id, batch, delivery, status, cast(exported_on as varchar), cast(received_at as varchar)"
        " from staging.stg_files order by all"
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _tables(database: Path) -> dict[str, dict]:
    """Rows and sha256 of what each table says, by its name. A build's own name and time are no part of it."""
    told = {}
    try:
        with connect(database, read_only=True) as connection:
            tables = connection.execute(
                "select schema_name, table_name, list_contains(list(column_name), 'build_id') from duckdb_columns()"
                " where list_contains($schemas, schema_name) group by all order by all",
                {"schemas": list(PUBLIC_SCHEMAS)},
            ).fetchall()
            for schema, table, has_build_id in tables:
                if (schema, table) == ("ops", "publications"):
                    continue
                columns = "* exclude (build_id)" if has_build_id else "*"
                rows, digest = 0, hashlib.sha256()
                cursor = connection.execute(f'select {columns} from "{schema}"."{table}" order by all')
                while block := cursor.fetchmany(_FETCHED_ROWS):
                    rows += len(block)
                    digest.update("\n".join(map(repr, block)).encode() + b"\n")
                told[f"{schema}.{table}"] = {"rows": rows, "sha256": digest.hexdigest()}
    except UserError:  # no database any more
        return {}
    return told


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
