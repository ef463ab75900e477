"""From a number of a subject back to the dates, assessments, lesions and raw rows that made it.

Nothing is derived here: each step looks up what a dbt model wrote and says it in words. In which file a raw row
stands is evidence's business.
"""

import difflib

from duckdb import DuckDBPyConnection

from orchestration.errors import UserError
from orchestration.evidence import raw_rows, row_lines, wrapped
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.tracing.endpoints import ENDPOINTS, Endpoints
from orchestration.tracing.facts import Fact, SubjectTables, plain
from orchestration.tracing.serum_her2 import serum_her2
from orchestration.warehouse import connect

__all__ = ["ENDPOINTS", "as_text", "trace"]


def trace(
    settings: Settings, study: Study, subject_id: str, endpoint: str | None = None, evaluator: str | None = None
) -> dict:
    """Where the numbers of a subject come from.

    Args:
        endpoint: one of ENDPOINTS; None: all, with best response, assessments, serum HER2 and findings beside them.
        evaluator: whose assessments; None: the study's evaluator.

    Returns:
        subject_id, evaluator, build_id, data_cutoff_on, notes, endpoints (list of facts); without an endpoint also
        subject, best_response, assessments, serum_her2 (facts) and findings. A fact is a dict: says (the step in
        words), values, rows (raw rows: record, path, row_number, source ...), because (facts it rests on).

    Raises:
        UserError: no such subject, evaluator or endpoint, or nothing is published; says what exists.
    """
    with connect(settings.warehouse, read_only=True) as connection:
        _check_subject(connection, subject_id)
        evaluator = _known_evaluator(connection, evaluator or study.response.evaluator)
        tables = SubjectTables(connection, subject_id)
        endpoints = Endpoints(tables, study, evaluator)
        if endpoint is not None:
            facts = {"endpoints": [endpoints.one(endpoint)]}
        else:
            facts = {
                "endpoints": endpoints.all(),
                "subject": endpoints.subject(),
                "best_response": endpoints.best_response(),
                "assessments": endpoints.responses.all_briefly(),
                "serum_her2": serum_her2(tables),
            }
        found = [fact for group in facts.values() for fact in (group if isinstance(group, list) else [group])]
        sources = raw_rows(settings, connection, {key for fact in found for key in fact.row_keys()})
        content = {"subject_id": subject_id, "evaluator": evaluator} | _publication(connection, study)
        content |= {name: _with_sources(group, sources) for name, group in facts.items()}
        if endpoint is None:
            names = ("kind", "detail", "severity")
            content["findings"] = [{name: getattr(row, name) for name in names} for row in tables.rows("ops.findings")]
    return content


def as_text(content: dict) -> str:
    """What ``trace`` returns, for reading; lines have at most LINE_WIDTH columns."""
    lines = [f"{content['subject_id']}, {content['evaluator']}"]
    lines += wrapped(f"build {content['build_id']}, data cut-off {content['data_cutoff_on']}")
    for note in content["notes"]:
        lines += wrapped(f"note: {note}", hanging=6)
    is_summary = "best_response" in content
    if is_summary:
        lines += ["", *_fact_lines(content["subject"], depth=2, with_rows=False)]
    for fact in content["endpoints"]:
        lines += ["", *(_fact_lines(fact, depth=1, with_rows=False) if is_summary else _fact_lines(fact))]
    return "\n".join(lines + _rest_of_summary(content) if is_summary else lines)


def _rest_of_summary(content: dict) -> list[str]:
    lines = ["", *_fact_lines(content["best_response"], depth=1, with_rows=False), "", "assessments"]
    for fact in content["assessments"]:
        lines += _fact_lines(fact, 2)
    lines += ["", *_fact_lines(content["serum_her2"])]
    if content["findings"]:
        lines += ["", "findings"]
    for finding in content["findings"]:
        lines += wrapped(f"{finding['severity']} {finding['kind']}: {finding['detail']}", 2, 2)
    if content["endpoints"]:
        names = ", ".join(fact["values"]["endpoint"] for fact in content["endpoints"])
        hint = f"lesions and raw rows of one of {names}: sher2 trace {content['subject_id']} --endpoint NAME"
        lines += ["", *wrapped(hint, hanging=2)]
    return lines


def _fact_lines(fact: dict, indent: int = 0, *, depth: int = 99, with_rows: bool = True) -> list[str]:
    lines = wrapped(fact["says"], indent, 2)
    if with_rows:
        for row in fact["rows"]:
            lines += row_lines(row, indent + 4)
    if depth:
        for reason in fact["because"]:
            lines += _fact_lines(reason, indent + 2, depth=depth - 1, with_rows=with_rows)
    return lines


def _with_sources(group: Fact | list[Fact], sources: dict) -> dict | list[dict]:
    return [fact.plain(sources) for fact in group] if isinstance(group, list) else group.plain(sources)


def _check_subject(connection: DuckDBPyConnection, subject_id: str) -> None:
    known = [row[0] for row in connection.execute("select subject_id from marts.dim_subject order by all").fetchall()]
    if subject_id in known:
        return
    waiting = connection.execute(
        "select distinct record from intermediate.int_subject_dates where subject_id = ? order by all", [subject_id]
    ).fetchall()
    if waiting:
        records = ", ".join(row[0] for row in waiting)
        raise UserError(f"trace: {subject_id} is known from {records} only; these rows wait for its row of subjects.")
    near = ", ".join(difflib.get_close_matches(subject_id, known, n=3, cutoff=0)) or "none"
    raise UserError(f"trace: no subject {subject_id!r} among the {len(known)} published; the nearest: {near}.")


def _known_evaluator(connection: DuckDBPyConnection, name: str) -> str:
    found = connection.execute("select distinct evaluator from marts.fct_time_to_event order by all").fetchall()
    known = [row[0] for row in found]
    if known and name.upper() not in known:
        raise UserError(f"trace: no evaluator {name!r}; there are: {', '.join(known)}.")
    return name.upper()


def _publication(connection: DuckDBPyConnection, study: Study) -> dict:
    build_id, study_hash, cutoff_on = connection.execute(
        "select build_id, study_hash, data_cutoff_on from ops.publications order by published_at desc limit 1"
    ).fetchone()
    note = "study.yaml has changed since this build; thresholds in words are those of now. Publish it: sher2 run"
    notes = [note] if study_hash != study.study_hash else []
    return {"build_id": build_id, "data_cutoff_on": plain(cutoff_on), "notes": notes}
