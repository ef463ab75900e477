"""Two publications side by side: which numbers changed, through which files and rows.

Every kept build is a complete warehouse, so both are read as they were published; nothing is derived again. How builds
are kept and published belongs to publication.
"""

import json
import math
import textwrap
from collections import defaultdict
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from orchestration.errors import UserError
from orchestration.evidence import RowKey, raw_rows, row_lines, wrapped
from orchestration.exports.records import RECORDS
from orchestration.parameters import published_parameters
from orchestration.publication import GRAIN, current_build_id, kept_builds
from orchestration.settings import Settings
from orchestration.warehouse import quoted

_INPUTS = {"data": "data_hash", "study": "study_hash", "code": "code_version"}
_TOLD = ("build_id", "published_at", "data_cutoff_on", "code_version")
_METRIC_KEY = ("analysis", "endpoint", "population", "stratum", "term", "statistic")
_METRIC_VALUES = ("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "n", "events", "caveat")
_NOT_CONTENT = {"_file_id", "_row_number", "has_conflict", "is_changed_without_correction"}
"""Columns of staging rows that do not come from the row itself."""
_SHOWN_CELLS, _SHOWN_ROWS = 12, 6
"""Of each subject, in text; --json has them all."""


def find_build(settings: Settings, build_id: str | None) -> Path:
    """The kept build whose id begins with ``build_id``; without one, the build before the current one.

    Raises:
        UserError: no or several builds answer to it.
    """
    builds = kept_builds(settings)
    names = [_name(path) for path in builds]
    known = ", ".join(dict.fromkeys(names)) or "none"
    if build_id is None:
        current = current_build_id(settings)
        position = len(names) - 1 - names[::-1].index(current) if current in names else len(names)
        if position < 1:
            raise UserError(f"diff: no build before the published one is kept. Name one; kept are: {known}.")
        return builds[position - 1]
    found = [path for path, name in zip(builds, names, strict=True) if name.startswith(build_id)]
    if len({_name(path) for path in found}) != 1:
        number = "more than one" if found else "no"
        raise UserError(f"diff: {build_id!r} names {number} kept build; kept are: {known}.")
    return found[-1]


def compare(settings: Settings, earlier: Path) -> dict:
    """What changed from an earlier build to what is published.

    Returns:
        before, after: build_id, published_at, data_cutoff_on, code_version. inputs: which of data, study, code changed.
        parameters: key of study.yaml, ``before``, ``after`` (JSON; None: absent), of those that changed.
        metrics: rows of metrics.estimates that changed, their key and ``before``, ``after`` (values; None: absent).
        files: path, file_id, ``before``, ``after`` (status; None: absent), reason, rows_accepted, rows_quarantined.
        subjects: subject_id; cells (mart, key, column, before, after; a whole row has column ``(row)`` and
        ``absent``/``present``); rows (change and the raw row: ``new``, ``superseded``, ``reread`` [same row, other
        reading], ``quarantined``, ``released``).

    Raises:
        UserError: nothing is published.
    """
    if not settings.warehouse.exists():
        raise UserError(f"{settings.warehouse}: nothing is published yet. Run: sher2 run")
    with duckdb.connect() as connection:
        for alias, path in (("before", earlier), ("after", settings.warehouse)):
            connection.execute(f"attach {quoted(str(path))} as {alias} (read_only)")
        before, after = (_publication(connection, alias) for alias in ("before", "after"))
        cells = _changed_cells(connection)
        rows = _changed_rows(settings, connection, list(cells))
        return {
            "before": {name: before[name] for name in _TOLD},
            "after": {name: after[name] for name in _TOLD},
            "inputs": [name for name, column in _INPUTS.items() if before[column] != after[column]],
            "parameters": _changed_parameters(connection),
            "metrics": _changed_metrics(connection),
            "files": _changed_files(connection),
            "subjects": [
                {"subject_id": subject_id, "cells": changed, "rows": rows[subject_id]}
                for subject_id, changed in sorted(cells.items())
            ],
        }


def as_text(comparison: dict) -> str:
    """What ``compare`` returns, for reading; lines have at most LINE_WIDTH columns."""
    before, after = comparison["before"], comparison["after"]
    if before["build_id"] == after["build_id"]:
        return f"nothing changed: build {after['build_id']} is what is published"
    causes = _causes(comparison)
    lines = [f"build {before['build_id']} -> {after['build_id']}, changed: {' and '.join(comparison['inputs'])}"]
    for cause in causes:
        lines += wrapped(cause, 2, 4)
    if not comparison["metrics"] and not comparison["subjects"]:
        lines.append("no number changed")
    lines += ["", f"metrics that changed: {len(comparison['metrics'])}"]
    for metric in comparison["metrics"]:
        who = ", ".join(metric[name] for name in ("population", "stratum", "term") if metric[name])
        change = f"{_estimate(metric['before'])} -> {_estimate(metric['after'])}"
        lines += wrapped(f"{metric['analysis']}, {metric['endpoint']}, {metric['statistic']} ({who}): {change}", 2, 4)
    lines += ["", f"files that came or changed: {len(comparison['files'])}"]
    for file in comparison["files"]:
        counts = f"{file['rows_accepted']} rows accepted, {file['rows_quarantined']} quarantined"
        what = file["after"] if file["before"] is None else f"{file['before']} -> {file['after'] or 'gone'}"
        lines += wrapped(f"{file['path']}: {what}, {file['reason'] or counts}", 2, 4)
    lines += ["", f"subjects whose numbers changed: {len(comparison['subjects'])}"]
    for subject in comparison["subjects"]:
        lines += _subject_lines(subject, has_cause=bool(causes))
    return "\n".join(lines)


def _causes(comparison: dict) -> list[str]:
    """What changed for all subjects at once, in words."""
    before, after = comparison["before"], comparison["after"]
    causes = [
        f"study.yaml {parameter['key']}: {_shortened(parameter['before'])} -> {_shortened(parameter['after'])}"
        for parameter in comparison["parameters"]
    ]
    if "study" in comparison["inputs"] and not causes:
        causes.append("study.yaml, in keys that the earlier build did not record")
    if "code" in comparison["inputs"]:
        causes.append(f"sher2 {before['code_version']} -> {after['code_version']}")
    if before["data_cutoff_on"] != after["data_cutoff_on"]:
        causes.append(f"data cut-off {before['data_cutoff_on']} -> {after['data_cutoff_on']}")
    return causes


def _shortened(value: str | None) -> str:
    return "absent" if value is None else textwrap.shorten(value, 200, placeholder=" ...")


def _subject_lines(subject: dict, *, has_cause: bool) -> list[str]:
    lines = [f"  {subject['subject_id']}"]
    for cell in subject["cells"][:_SHOWN_CELLS]:
        key = " ".join(str(value) for name, value in cell["key"].items() if name != "subject_id" and value)
        what = f"{cell['mart']} {key + ' ' if key else ''}{cell['column']}: {cell['before']} -> {cell['after']}"
        lines += wrapped(what, 4, 4)
    if (more := len(subject["cells"]) - _SHOWN_CELLS) > 0:
        lines.append(f"    and {more} more (--json has all)")
    through = "through" if subject["rows"] else "through no row of its own"
    if has_cause:
        through += ", and what changed for all (above)" if subject["rows"] else ", but what changed for all (above)"
    lines.append(f"    {through}")
    for row in subject["rows"][:_SHOWN_ROWS]:
        lines += wrapped(f"{row['change']} in {row['record']}", 6)
        lines += row_lines(row, 8)
    if (more := len(subject["rows"]) - _SHOWN_ROWS) > 0:
        lines.append(f"      and {more} more rows (--json has all)")
    return lines


def _estimate(values: dict | None) -> str:
    if values is None:
        return "absent"
    if values["estimate"] is None:
        main = values["caveat"] or "not estimable"
    else:
        main = f"{values['estimate']:.4g}"
    if values["ci_low"] is not None or values["ci_high"] is not None:
        main += (
            " ("
            + " to ".join("NE" if values[name] is None else f"{values[name]:.4g}" for name in ("ci_low", "ci_high"))
            + ")"
        )
    parts = [
        f"{label} {values[name]:.4g}"
        for label, name in (("p", "p_value"), ("adjusted p", "p_adjusted"))
        if values[name] is not None
    ]
    parts += [f"{name} {values[name]}" for name in ("n", "events") if values[name] is not None]
    return ", ".join([main, *parts])


def _name(build: Path) -> str:
    return build.stem.split("_")[1]


def _publication(connection: DuckDBPyConnection, database: str) -> dict:
    names = ("build_id", "data_hash", "study_hash", "code_version", "published_at", "data_cutoff_on")
    row = connection.execute(
        f"select {', '.join(names)} from {database}.ops.publications order by published_at desc limit 1"
    ).fetchone()
    *texts, published_at, cutoff_on = row
    return dict(zip(names, (*texts, f"{published_at.isoformat()}Z", cutoff_on and cutoff_on.isoformat()), strict=True))


def _changed_parameters(connection: DuckDBPyConnection) -> list[dict]:
    """Empty where the earlier build did not record its protocol."""
    before, after = (published_parameters(connection, f"{database}.") for database in ("before", "after"))
    if not before:
        return []
    return [
        {"key": key, "before": before.get(key), "after": after.get(key)}
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _changed_metrics(connection: DuckDBPyConnection) -> list[dict]:
    """In the order of the report; what is gone comes last."""
    names = (*_METRIC_KEY, *_METRIC_VALUES)
    found = {}
    for database in ("after", "before"):
        rows = connection.execute(f"select {', '.join(names)} from {database}.metrics.estimates").fetchall()
        found[database] = {
            row[: len(_METRIC_KEY)]: dict(zip(_METRIC_VALUES, map(_finite, row[len(_METRIC_KEY) :]))) for row in rows
        }
    changes = []
    for key in dict.fromkeys([*found["after"], *found["before"]]):
        before, after = found["before"].get(key), found["after"].get(key)
        if before is None or after is None or not all(_is_same(before[name], after[name]) for name in _METRIC_VALUES):
            changes.append(dict(zip(_METRIC_KEY, key, strict=True)) | {"before": before, "after": after})
    return changes


def _finite(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_same(before, after) -> bool:
    """Iterative fits agree to their tolerance, not to the last bit."""
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-12)
    return before == after


def _changed_files(connection: DuckDBPyConnection) -> list[dict]:
    names = ("path", "file_id", "before", "after", "reason", "rows_accepted", "rows_quarantined")
    rows = connection.execute(
        """select path, file_id, b.status, a.status, coalesce(a.reason, b.reason),
            coalesce(a.rows_accepted, b.rows_accepted), coalesce(a.rows_quarantined, b.rows_quarantined)
        from after.ops.files as a full outer join before.ops.files as b using (path, file_id)
        where a.status is distinct from b.status or a.rows_accepted is distinct from b.rows_accepted
        order by path, file_id"""
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _changed_cells(connection: DuckDBPyConnection) -> dict[str, list[dict]]:
    """By subject, the cells of the marts that differ."""
    changes = defaultdict(list)
    for mart, grain in GRAIN.items():
        known = set(_columns(connection, f"before.marts.{mart}"))
        compared = [name for name in _columns(connection, f"after.marts.{mart}") if name in known and name not in grain]
        join = " and ".join(f"b.{name} is not distinct from a.{name}" for name in grain)
        key = "to_json({" + ", ".join(f"'{name}': coalesce(a.{name}, b.{name})" for name in grain) + "})"
        cells = ", ".join(
            f"struct_pack(c := '{name}', b := b.{name}::varchar, a := a.{name}::varchar)" for name in compared
        )
        rows = connection.execute(
            f"""with pairs as (
                    select {key} as key, b._here is null as is_new, a._here is null as is_gone, [{cells}] as cells
                    from (select *, true as _here from before.marts.{mart}) as b
                    full outer join (select *, true as _here from after.marts.{mart}) as a on {join}),
                changed as (
                    select key, 'absent' as before, 'present' as after, '(row)' as cell from pairs where is_new
                    union all select key, 'present', 'absent', '(row)' from pairs where is_gone
                    union all
                    select key, cell.b, cell.a, cell.c from (
                        select key, unnest(list_filter(cells, lambda x: x.a is distinct from x.b)) as cell
                        from pairs where not is_new and not is_gone))
                select key, cell, before, after from changed order by all"""
        ).fetchall()
        for key_text, column, before, after in rows:
            key = json.loads(key_text)
            changes[key["subject_id"]].append(
                {"mart": mart, "key": key, "column": column, "before": before, "after": after}
            )
    return changes


def _changed_rows(settings: Settings, connection: DuckDBPyConnection, subjects: list[str]) -> dict[str, list[dict]]:
    """By subject, the raw rows through which its numbers may have changed."""
    connection.execute("create temp table subjects as select unnest($1::varchar[]) as subject_id", [subjects])
    rows = defaultdict(list)
    new, gone = set(), set()
    for record in RECORDS:
        new |= _only_in(connection, record, "after", "before")
        gone |= _only_in(connection, record, "before", "after")
    changes = {"new": new - gone, "superseded": gone - new, "reread": new & gone}
    changes |= {
        "quarantined": _quarantined(connection, "after", "before"),
        "released": _quarantined(connection, "before", "after"),
    }
    for change, keys in changes.items():
        is_of_before = change in {"superseded", "released"}
        sources = raw_rows(settings, connection, keys, "before." if is_of_before else "after.")
        for key in sorted(sources):
            rows[sources[key]["subject_id"]].append({"change": change} | sources[key])
    return rows


def _only_in(connection: DuckDBPyConnection, record: str, here: str, there: str) -> set[RowKey]:
    """Rows of the subjects that staging has in one build and not, with this content, in the other."""
    table = "stg_subject_values" if record == "subjects" else f"stg_{record}"
    columns = _columns(connection, f"{here}.staging.{table}")
    shared = [name for name in columns if name in _columns(connection, f"{there}.staging.{table}")]
    if "_file_id" not in shared:  # a build by an earlier version of the models
        return set()
    content = ", ".join(f"'{name}', {name}" for name in shared if name not in _NOT_CONTENT)

    def rows_of(database: str) -> str:
        return (
            f"(select _file_id, _row_number, json_object({content}) as content"
            f" from {database}.staging.{table} semi join subjects using (subject_id))"
        )

    rows = connection.execute(
        f"select distinct _file_id, _row_number from {rows_of(here)} as here"
        f" anti join {rows_of(there)} as there on here.content = there.content"
    ).fetchall()
    return {RowKey(record, *row) for row in rows}


def _quarantined(connection: DuckDBPyConnection, here: str, there: str) -> set[RowKey]:
    """Rows, of any subject, that are quarantined in one build and not in the other."""
    rows = connection.execute(
        f"""select record, file_id, row_number from {here}.ops.quarantine where record is not null
        except select record, file_id, row_number from {there}.ops.quarantine"""
    ).fetchall()
    return {RowKey(*row) for row in rows}


def _columns(connection: DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in connection.execute(f"describe {table}").fetchall()]
