"""Read-only views for people at a terminal: status, quarantine, SQL, what would happen to a file."""

import datetime as dt
import decimal
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from orchestration.errors import UserError
from orchestration.lake import Lake
from orchestration.publication import PUBLIC_SCHEMAS
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.warehouse import connect, quoted

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.ingestion import Judgement


def query_rows(settings: Settings, query: str) -> tuple[list[str], list[tuple]]:
    """Columns and rows of a read-only query, in JSON's types: dates as ISO text, decimals as numbers, missing as None.

    Raises:
        UserError: the query is wrong, tries to write or to reach another file.
    """
    with connect(settings.warehouse, read_only=True) as connection:
        try:
            cursor = connection.execute(query)
            columns = [item[0] for item in cursor.description or []]
            rows = cursor.fetchall()
        except duckdb.Error as error:
            raise UserError(f"sql: {str(error).strip().splitlines()[0]}") from None
    return columns, [tuple(_plain(value) for value in row) for row in rows]


def _plain(value):
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent >= 0 else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (dt.date, dt.datetime, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def quarantined(settings: Settings) -> list[dict]:
    """Every quarantined row (one entry a fault) and every rejected file, by path and row number."""
    lake = Lake(settings)
    ledger = lake.ledger()
    paths = ledger[ledger["status"].isin(["loaded", "superseded"])].set_index("file_id")["path"].to_dict()
    faults = lake.quarantine()
    faults = faults[faults["severity"] != "info"]
    names = ("record", "field", "value", "rule", "message")
    rows = [
        {"file_id": fault.file_id, "path": paths.get(fault.file_id), "row_number": int(fault.row_number)}
        | {name: getattr(fault, name) for name in names}
        for fault in faults.itertuples()
        if fault.file_id in paths
    ]
    rows += [
        {"file_id": item.file_id, "path": item.path, "row_number": None, "record": None, "field": None, "value": None}
        | dict(zip(("rule", "message"), item.reason.split(": ", 1)))
        for item in ledger[ledger["status"] == "rejected"].itertuples()
    ]
    return sorted(rows, key=lambda row: (row["path"] or "", row["row_number"] or 0, row["field"] or ""))


def counts(settings: Settings) -> dict[str, dict[str, int]]:
    """Files by verdict and rows by what became of them, from the lake."""
    ledger = Lake(settings).ledger()
    is_read = ledger["status"].isin(["loaded", "superseded"])
    return {
        "files": {
            name: int((ledger["status"] == name).sum()) for name in ("loaded", "rejected", "duplicate", "superseded")
        },
        "rows": {name: int(ledger.loc[is_read, f"rows_{name}"].sum()) for name in ("read", "accepted", "quarantined")},
    }


def last_publication(settings: Settings) -> dict | None:
    """build_id, published_at (ISO, UTC) and open findings by severity of what analysts see; None before the first."""
    if not settings.warehouse.exists():
        return None
    with connect(settings.warehouse, read_only=True) as connection:
        build_id, published_at = connection.execute(
            "select build_id, published_at from ops.publications order by published_at desc limit 1"
        ).fetchone()
        findings = connection.execute("select severity, count(*) from ops.findings group by severity order by severity")
        return {
            "build_id": build_id,
            "published_at": published_at.isoformat() + "Z",
            "open_findings": dict(findings.fetchall()),
        }


def queries(settings: Settings, rows: list[dict]) -> list[dict]:
    """`quarantined` rows as a list to send back to the site: whose row it is, where it stands (``where`` names also the
    sheet and its own row), and room for an answer. A file that is refused whole is one query."""
    lake = Lake(settings)
    batches = {item.file_id: item.batch for item in lake.ledger().itertuples()}
    subjects: dict[tuple[str, int], str | None] = {}
    by_record: dict[str, set] = {}
    for row in rows:
        if row["record"]:
            by_record.setdefault(row["record"], set()).add((row["file_id"], batches[row["file_id"]], row["row_number"]))
    for record, keys in by_record.items():
        found = lake.raw_rows(record, keys)
        subjects |= {(item["file_id"], item["row_number"]): item["subject_id"] for item in found}
    return [
        {"query": number, "subject_id": subjects.get((row["file_id"], row["row_number"])), "where": _where(row)}
        | {name: row[name] for name in ("path", "row_number", "record", "field", "value", "rule", "message")}
        | {"answer": None, "answered_on": None}
        for number, row in enumerate(rows, 1)
    ]


def _where(row: dict) -> str:
    """A row's message begins with its place and a colon."""
    path, message = row["path"] or "", row["message"] or ""
    if row["row_number"] is None or not message.startswith(path):
        return path
    return path + message[len(path) :].partition(": ")[0]


def status(settings: Settings, study: Study) -> dict:
    """Counts of files and rows from the lake, the last publication, its age, open findings, and what is broken now."""
    from orchestration.health import problems
    from orchestration.ingestion import pending
    from orchestration.monitoring import read_state

    counted = counts(settings)
    waiting = pending(settings, study) if settings.landing.exists() else []
    published = last_publication(settings)
    age = None
    if published:
        age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(published["published_at"])
    return {
        "home": str(settings.home),
        "files": counted["files"] | {"pending": len(waiting)},
        "rows": counted["rows"],
        "waiting": [{"path": item.path, "reason": item.reason} for item in waiting],
        "last_publication": published and {key: published[key] for key in ("build_id", "published_at")},
        "freshness_seconds": age and round(age.total_seconds()),
        "open_findings": published["open_findings"] if published else {},
        "last_run": read_state(settings)["last_run"],
        "broken": [
            {"problem": problem.name, "count": problem.count, "says": problem.text, "mend": problem.mend}
            for problem in problems(settings, study)
        ],
    }


def headline(settings: Settings, study: Study) -> str:
    """What a run ends with: files, rows, the headline numbers and where to look."""
    content = status(settings, study)
    files, rows = content["files"], content["rows"]
    lines = [
        "files     " + ", ".join(f"{count} {name}" for name, count in files.items() if count or name == "loaded"),
        f"rows      {rows['read']} read = {rows['accepted']} accepted + {rows['quarantined']} quarantined",
    ]
    lines += [f"          waits    {item['path']}: {item['reason']}" for item in content["waiting"]]
    for rejected in [row for row in quarantined(settings) if row["row_number"] is None]:
        lines.append(f"          rejected {rejected['message']}")
    if rows["quarantined"]:
        lines.append("          each quarantined row and its mend: sher2 quarantine")
    lines += ["", *headline_numbers(settings, study), ""]
    lines += [f"warehouse {settings.warehouse}", f"report    {settings.reports / 'efficacy.html'}"]
    return "\n".join(lines)


_HEADLINES = (
    ("confirmed ORR", "response rate", "confirmed ORR", "proportion", 100, "%"),
    ("median PFS", "survival", "PFS", "median_months", 1, " months"),
    ("median OS", "survival", "OS", "median_months", 1, " months"),
)
_OF_HEADLINE = ("estimate", "ci_low", "ci_high", "p_value", "n", "events", "caveat")


def headline_estimates(connection: duckdb.DuckDBPyConnection, study: Study) -> dict[str, dict | None]:
    """The headline numbers of a warehouse or cut, by name: estimate, limits, p_value, n, events, caveat of each."""
    find = f"select {', '.join(_OF_HEADLINE)} from metrics.estimates where "
    found = {
        label: connection.execute(
            find + "analysis = ? and endpoint = ? and statistic = ? and population = ? and stratum = 'all' limit 1",
            [analysis, endpoint, statistic, study.analysis.population],
        ).fetchone()
        for label, analysis, endpoint, statistic, _, _ in _HEADLINES
    }
    found["hazard ratio"] = connection.execute(find + "is_primary and statistic = 'hazard_ratio' limit 1").fetchone()
    return {label: row and dict(zip(_OF_HEADLINE, row, strict=True)) for label, row in found.items()}


def headline_numbers(settings: Settings, study: Study) -> list[str]:
    """The headline numbers of what is published, a line each, with limits and counts."""
    with connect(settings.warehouse, read_only=True) as connection:
        found = headline_estimates(connection, study)
    lines = [f"{label:<14}{_number(found[label], factor, unit)}" for label, *_, factor, unit in _HEADLINES]
    row = found["hazard ratio"]
    p = row and row["p_value"]
    said = "" if p is None else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"
    lines.append(f"hazard ratio  {_number(row, 1, '', digits=2)}{said}")
    what = f"of progression or death per doubling of serum HER2, {study.analysis.primary.replace('_', ' ')}"
    caveat = f" ({row['caveat']})" if row and row["estimate"] is not None and row["caveat"] else ""
    return [*lines, f"              {what}{caveat}"]


def _number(row: dict | None, factor: float, unit: str, digits: int = 1) -> str:
    if row is None:
        return "no estimate: not computed"
    if row["estimate"] is None:
        return f"no estimate: {row['caveat']} (n = {row['n']}, events {row['events']})"
    low, high = (
        "NE" if row[limit] is None else _half_up(row[limit] * factor, digits) for limit in ("ci_low", "ci_high")
    )
    n, events = row["n"], row["events"]
    return f"{_half_up(row['estimate'] * factor, digits)}{unit} (95 % CI {low} to {high}; n = {n}, events {events})"


def _half_up(value: float, digits: int) -> str:
    step = decimal.Decimal(1).scaleb(-digits)
    return str(decimal.Decimal(repr(value)).quantize(step, decimal.ROUND_HALF_UP))


@dataclass(frozen=True)
class FileVerdict:
    would_load: bool
    text: str


def check_file(settings: Settings, study: Study, path: Path) -> FileVerdict:
    """What would happen to a file: read and validated as in a run, nothing written.

    Raises:
        UserError: there is no such file.
    """
    from orchestration.ingestion import judge_file

    if not path.exists():
        raise UserError(f"check: {path}: no such file.")
    try:
        name = path.resolve().relative_to(settings.landing).as_posix()
    except ValueError:
        name = path.name
    return _said(path, judge_file(settings, study, path, name))


def _said(path: Path, verdict: "Judgement") -> FileVerdict:
    if verdict.status == "rejected":
        return FileVerdict(False, f"{path}: would be refused: {verdict.reason}")
    if verdict.members:
        said = [_said(path / member.path.removeprefix(f"{verdict.path}/"), member) for member in verdict.members]
        return FileVerdict(all(item.would_load for item in said), "\n".join(item.text for item in said))
    lines = [
        f"{path}: would load as {verdict.layout}: {verdict.rows_read} rows read,"
        f" {verdict.rows_accepted} accepted, {verdict.rows_quarantined} quarantined"
    ]
    lines += [f"  {verdict.reason}"] if verdict.reason else []
    lines += [f"  {fault.message}" for fault in _by_row(verdict.faults) if fault.severity != "info"]
    return FileVerdict(True, "\n".join(lines))


def _by_row(faults: "pd.DataFrame") -> Iterator:
    return faults.sort_values("row_number", kind="stable").itertuples()


def export_parquet(settings: Settings, folder: Path) -> list[Path]:
    """Every table of marts, metrics and ops as one Parquet file each, from one publication.

    Returns:
        the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with duckdb.connect() as connection:
        if not settings.warehouse.exists():
            raise UserError(f"{settings.warehouse}: nothing is published yet. Run: sher2 run")
        connection.execute(f"attach {quoted(str(settings.warehouse))} as published (read_only)")
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where database_name = 'published' order by all"
        ).fetchall()
        for schema, table in tables:
            if schema in PUBLIC_SCHEMAS:
                path = folder / f"{schema}.{table}.parquet"
                rows = f'select * from published."{schema}"."{table}" order by all'
                connection.execute(f"copy ({rows}) to {quoted(str(path))} (format parquet)")
                written.append(path)
    return written
