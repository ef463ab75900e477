"""From a number of a subject back to the dates, assessments, lesions and raw rows that made it.

Nothing is derived here: each step looks up what a dbt model wrote and says it in words. In which file a raw row
stands is evidence's business.
"""

import difflib

from duckdb import DuckDBPyConnection

from orchestration.errors import UserError
from orchestration.evidence import RowKey, raw_rows, row_lines, wrapped
from orchestration.exports.records import RECORDS
from orchestration.parameters import published_study
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.tracing.endpoints import ENDPOINTS, TIMES, Endpoints, check_endpoint
from orchestration.tracing.facts import Fact, SubjectTables, keys, plain
from orchestration.tracing.serum_her2 import serum_her2
from orchestration.warehouse import connect

__all__ = ["ENDPOINTS", "TIMES", "as_text", "trace"]


def trace(
    settings: Settings, study: Study, subject_id: str, endpoint: str | None = None, evaluator: str | None = None
) -> dict:
    """Where the numbers of a subject come from.

    Args:
        endpoint: one of ENDPOINTS; None: all times, with best response, assessments, serum HER2 and findings beside
            them.
        evaluator: whose assessments; None: the study's evaluator.

    Returns:
        subject_id, evaluator, build_id, data_cutoff_on, notes, endpoints (list of facts); without an endpoint also
        subject, best_response, assessments, serum_her2 (facts) and findings. A fact is a dict: says (the step in
        words), values (of an endpoint also its rule), rows (raw rows: record, path, row_number, source ...), because
        (facts it rests on). An endpoint that the subject has not got says why. Of a subject whose row of demographics
        has not come, only its waiting rows are told.

    Raises:
        UserError: no such subject, evaluator or endpoint, or nothing is published; says what exists.
    """
    if endpoint is not None:
        check_endpoint(endpoint)
    with connect(settings.warehouse, read_only=True) as connection:
        publication, study = _publication(connection, study)
        tables = SubjectTables(connection, subject_id)
        evaluator = _known_evaluator(connection, evaluator or study.response.evaluator)
        if tables.row("marts.dim_subject") is None:
            facts = {"endpoints": [_waiting(settings, tables, endpoint)]}
        elif endpoint is not None:
            facts = {"endpoints": [Endpoints(tables, study, evaluator).one(endpoint)]}
        else:
            endpoints = Endpoints(tables, study, evaluator)
            facts = {
                "endpoints": endpoints.all(),
                "subject": endpoints.subject(),
                "best_response": endpoints.best_response(),
                "assessments": endpoints.responses.all_briefly(),
                "serum_her2": serum_her2(tables),
            }
        found = [fact for group in facts.values() for fact in (group if isinstance(group, list) else [group])]
        sources = raw_rows(settings, connection, {key for fact in found for key in fact.row_keys()})
        content = {"subject_id": subject_id, "evaluator": evaluator} | publication
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
    if "best_response" not in content:
        return "\n".join(lines + [line for fact in content["endpoints"] for line in ["", *_fact_lines(fact)]])
    lines += ["", *_fact_lines(content["subject"], depth=2, with_rows=False)]
    for fact in content["endpoints"]:
        lines += ["", *_fact_lines(fact, depth=1, with_rows=False)]
    return "\n".join(lines + _rest_of_summary(content))


def _rest_of_summary(content: dict) -> list[str]:
    lines = ["", *_fact_lines(content["best_response"], depth=1, with_rows=False), "", "assessments"]
    for fact in content["assessments"]:
        lines += _fact_lines(fact, 2)
    lines += ["", *_fact_lines(content["serum_her2"])]
    if content["findings"]:
        lines += ["", "findings"]
    for finding in content["findings"]:
        lines += wrapped(f"{finding['severity']} {finding['kind']}: {finding['detail']}", 2, 2)
    hint = f"rule, lesions and raw rows of one of {', '.join(ENDPOINTS)}:"
    hint += f" sher2 trace {content['subject_id']} --endpoint NAME"
    return [*lines, "", *wrapped(hint, hanging=2)]


def _fact_lines(fact: dict, indent: int = 0, *, depth: int = 99, with_rows: bool = True) -> list[str]:
    lines = wrapped(fact["says"], indent, 2)
    if with_rows:
        if rule := fact["values"].get("rule"):
            lines += wrapped(f"rule: {rule}", indent + 2, 2)
        for row in fact["rows"]:
            lines += row_lines(row, indent + 4)
    if depth:
        for reason in fact["because"]:
            lines += _fact_lines(reason, indent + 2, depth=depth - 1, with_rows=with_rows)
    return lines


def _with_sources(group: Fact | list[Fact], sources: dict) -> dict | list[dict]:
    return [fact.plain(sources) for fact in group] if isinstance(group, list) else group.plain(sources)


def _waiting(settings: Settings, tables: SubjectTables, endpoint: str | None) -> Fact:
    """The rows of a subject that no row of demographics has come for.

    Raises:
        UserError: there are none either.
    """
    rows = {record: tables.staged(record) for record in RECORDS if record != "subjects"}
    facts = [Fact(f"{record}, rows {len(found)}", rows=keys(record, found)) for record, found in rows.items() if found]
    quarantined = _quarantined(settings, tables)
    if not facts:
        raise _unknown(tables, quarantined)
    told = f"{endpoint}: none, {tables.subject_id}" if endpoint else tables.subject_id
    told += f" is known from {', '.join(record for record, found in rows.items() if found)} only; these rows wait for"
    told += " its row of subjects and count as soon as that arrives"
    return Fact(told, {"endpoint": endpoint} if endpoint else {}, because=[*facts, *quarantined])


def _quarantined(settings: Settings, tables: SubjectTables) -> list[Fact]:
    """Rows of the subject that were set apart: the row that is missed may be among them."""
    rows = tables.query("select record, file_id, row_number, message from ops.quarantine where record is not null")
    messages = {RowKey(row.record, row.file_id, row.row_number): row.message for row in rows}
    sources = raw_rows(settings, tables.connection, messages)
    return [
        Fact(f"quarantined: {messages[key]}", rows=[key])
        for key in sorted(sources)
        if sources[key]["subject_id"] == tables.subject_id
    ]


def _unknown(tables: SubjectTables, quarantined: list[Fact]) -> UserError:
    if quarantined:
        return UserError(f"trace: {tables.subject_id} has rows in quarantine only, the first {quarantined[0].says}")
    known = [row.subject_id for row in tables.query("select subject_id from marts.dim_subject order by all")]
    near = ", ".join(difflib.get_close_matches(tables.subject_id, known, n=3, cutoff=0)) or "none"
    return UserError(f"trace: no subject {tables.subject_id!r} among the {len(known)} published; the nearest: {near}.")


def _known_evaluator(connection: DuckDBPyConnection, name: str) -> str:
    found = connection.execute("select distinct evaluator from marts.fct_time_to_event order by all").fetchall()
    known = [row[0] for row in found]
    if known and name.upper() not in known:
        raise UserError(f"trace: no evaluator {name!r}; there are: {', '.join(known)}.")
    return name.upper()


def _publication(connection: DuckDBPyConnection, study: Study) -> tuple[dict, Study]:
    """What is published, and the protocol that it was published with; today's where it does not say."""
    build_id, study_hash, cutoff_on = connection.execute(
        "select build_id, study_hash, data_cutoff_on from ops.publications order by published_at desc limit 1"
    ).fetchone()
    told, notes = published_study(connection), []
    if study_hash != study.study_hash:
        by = "those of now" if told is None else "those that it was published with"
        notes.append(f"study.yaml has changed since this build; parameters in words are {by}. Publish it: sher2 run")
    return {"build_id": build_id, "data_cutoff_on": plain(cutoff_on), "notes": notes}, told or study
