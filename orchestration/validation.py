"""Great Expectations over canonical rows: which files are refused, which rows are set apart, what is worth a look.

The rules themselves stand in expectations/<record>.json; here are only the columns that they judge and the running
of them. Where rows come from and where verdicts are stored is no business of this module. Great Expectations is
imported when the first row is judged: it costs seconds.

An expectation judges a column of the record, or one of these, null where the rule does not apply to the row (so
that the denominator counts the rows to which it does):

- ``<column>.given``: given or blank, where the record needs the value
- ``<column>.precision``: time, day, month, year or unreadable; ``<column>.year``; ``<column>.day`` (days since
  0001-01-01, full dates only); ``<column>.moment`` (seconds, comparable with the other moment of the same row)
- ``<column>.number``: a number column as a number
- ``value.reading`` (number, bound, below_lloq, unreadable), ``value.number``, ``value.exact`` (without comparator),
  ``value.ng_ml``, ``unit.ucum``: of the analytes that study.yaml declares
- ``diameter.reading`` (number, state, unreadable), ``diameter.unit``, ``diameter.mm``, ``state.code``, ``sum.number``,
  ``response.code``: of the tests that RECIST uses
- ``dose.occurred``: occurred, where a dose is told; ``occurred.dose``: the dose, where it took place;
  ``death.flag``: consistent or contradictory, where the table asks whether the subject died
- ``file.misread_share``, ``file.subject_share``: of the row's file; ``row.unreadable``: the column whose value is not
  as declared; ``row.future``: the column whose date lies after the receipt of the file; ``row.conflict``: conflict,
  where the file holds another value for the same result and version
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import READER_VERSION, layouts
from orchestration.exports.records import RECORDS, UNREADABLE
from orchestration.settings import DBT_PROJECT, EXPECTATIONS
from orchestration.study import Ingest, Study

FRAME_ROWS = 250_000
"""Rows that are judged at once: bounds the memory of the pandas frame that Great Expectations needs."""

SEEDS = ("ucum_units", "result_status", "tumor_states", "response_codes")
"""Code lists that the readers and the expectations share with dbt."""

SHARE_ROWS = 10
"""A share says nothing about a file with fewer rows."""

FAULT_SCHEMA = pa.schema(
    {
        "file_id": pa.string(),
        "row_number": pa.int64(),
        "record": pa.string(),
        "field": pa.string(),
        "value": pa.string(),
        "rule": pa.string(),
        "severity": pa.string(),
        "message": pa.string(),
    }
)
RESULT_SCHEMA = pa.schema(
    {
        "suite": pa.string(),
        "expectation": pa.string(),
        "column": pa.string(),
        "rule": pa.string(),
        "success": pa.bool_(),
        "evaluated": pa.int64(),
        "unexpected": pa.int64(),
        "severity": pa.string(),
        "validated_at": pa.timestamp("us", "UTC"),
    }
)

_DIAMETERS = ["DIAMETER", "LDIAM", "LPERP", "SAXIS"]
_LESION_TESTS = [*_DIAMETERS, "TUMSTATE"]
_RESPONSES = ["TRGRESP", "NTRGRESP", "NEWLPROG", "OVRLRESP"]
_RESULT_VERSION = (
    "subject_id",
    "laboratory",
    "sample_id",
    "analyte",
    "specimen",
    "assay",
    "collected_at",
    "reported_at",
    "result_status",
)
_ISO_DAY = re.compile("([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_LINE = "(line)"  # the heading under which a reader keeps a line that it could not divide


# --- what is checked -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One expectation of a suite, as its file states it."""

    suite: str
    expectation: str
    column: str  # what is judged
    field: str  # the record's column that a person has to mend
    rule: str
    severity: str  # critical: refuses the file; warning: quarantines the row; info: a finding
    category: str  # Kahn: conformance, completeness, plausibility
    owner: str
    mend: str


def suites() -> dict[str, list[dict]]:
    """Every expectation by record, as a mapping of `Check`'s fields; read without Great Expectations."""
    return {record: [asdict(check) for check in _checks(record)] for record in RECORDS}


def rules_hash(study: Study, path: str | None = None) -> str:
    """sha256 of all that decides how bytes are read and judged: when it changes, what was refused is judged again.

    With ``path``, only of what concerns a whole file there, that is of the sources those that fit its path: when this
    changes, what was accepted may read differently and is judged again, too.
    """
    if path is not None:
        study = study.model_copy(update={"sources": layouts.declared(path, study), "ingest": Ingest()})
    digest = hashlib.sha256(f"{READER_VERSION}\n{study.reading_hash}\n".encode())
    files = [EXPECTATIONS / f"{record}.json" for record in RECORDS] + [_seed_file(name) for name in SEEDS]
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _suite(record: str) -> dict:
    return json.loads((EXPECTATIONS / f"{record}.json").read_text("utf-8"))


def _checks(record: str) -> list[Check]:
    return [_check(record, item) for item in _suite(record)["expectations"]]


def _check(record: str, item: dict) -> Check:
    kwargs, meta = item["kwargs"], item["meta"]
    column = kwargs.get("column") or kwargs["column_A"]
    return Check(
        record,
        item["type"],
        column,
        meta["field"] or column,
        meta["rule"],
        item["severity"],
        meta["kahn"]["category"],
        meta["owner"],
        meta["mend"],
    )


def _seed_file(name: str) -> Path:
    return DBT_PROJECT / "seeds" / f"{name}.csv"


@cache
def _seed(name: str) -> tuple[dict[str, str], ...]:
    with _seed_file(name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _units(quantity: str) -> dict[str, float]:
    """UCUM code -> factor to the base unit of the quantity."""
    return {
        row["ucum_code"]: float(row["factor_to_base"]) for row in _seed("ucum_units") if row["quantity"] == quantity
    }


def _no_value_statuses() -> list[str]:
    return [row["spelling"] for row in _seed("result_status") if row["carries_value"] == "false"]


def _parameters(study: Study) -> dict:
    """What ``$PARAMETER`` stands for in the suites: numbers of study.yaml, code lists of the seeds."""
    low, high = study.analytes.serum_her2.plausible_range
    return {
        "her2_units": sorted(_units("mass_concentration")),
        "her2_plausible_low": low,
        "her2_plausible_high": high,
        "length_units": sorted(_units("length")),
        "result_statuses": sorted({row["spelling"] for row in _seed("result_status")}),
        "tumor_states": sorted({row["state_code"] for row in _seed("tumor_states")}),
        "response_codes": sorted({row["value_code"] for row in _seed("response_codes")}),
    }


# --- judging -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """What a message says about a file, and where the untouched text of a field stands in its rows."""

    path: str
    headings: Mapping[str, str] = field(default_factory=dict)  # canonical column -> heading
    received_on: date | None = None  # nothing in the file can have happened later
    rows_stand_alone: bool = False  # unreadable rows say nothing about the file's structure
    parts: tuple["Part", ...] = ()  # of a file with several tables, in their order

    def part(self, row_number: int) -> "Part":
        """The table that a row of the file stands in."""
        own = Part("", 0, self.headings)
        return next((part for part in reversed(self.parts) if row_number > part.rows_before), own)


@dataclass(frozen=True)
class Part:
    """One table of a file: rows are numbered on through the file, so its first row has ``rows_before`` + 1."""

    name: str
    rows_before: int
    headings: Mapping[str, str] = field(default_factory=dict)

    def where(self, path: str, row_number: int) -> str:
        """Where a row stands, as a person finds it."""
        return f"{path}{', ' if self.name else ''}{self.name}, row {row_number - self.rows_before}"


@dataclass(frozen=True)
class Validation:
    """The verdicts on the rows of one record.

    ``rejections``: file id -> (rule, message). ``row_faults`` (FAULT_SCHEMA): severity warning = the row is
    quarantined, info = a finding on a row that is loaded. ``rejected_by``: the rules that quarantine each row, comma
    separated, null for an accepted one; aligned with the table. ``results`` (RESULT_SCHEMA): one row an expectation.
    ``documents``: Great Expectations' own results, one a frame, for the data docs.
    """

    rejections: dict[str, tuple[str, str]]
    row_faults: pa.Table
    rejected_by: pa.Array
    results: pa.Table
    documents: list[dict]


class BrokenExpectation(RuntimeError):
    """An expectation could not be evaluated: our fault, never the data's."""


def validate(record: str, table: pa.Table, study: Study, origins: Mapping[str, Origin] | None = None) -> Validation:
    """Judge the rows of one record, of one file or of many.

    Args:
        table: a sheet's columns (exports.Sheet) and ``_file_id``.
        origins: by file id; without it, messages name the file id and values are the canonical text.

    Raises:
        BrokenExpectation: an expectation crashed or judged nothing that it should have.
    """
    checks = _checks(record)
    table = _with_file_columns(record, table, origins or {})
    tally = {check: [0, 0] for check in checks}  # evaluated, unexpected
    rejections: dict[str, tuple[str, str]] = {}
    faults, documents, rejected_by = [], [], []
    for frame in _frames(record, table):
        outcome = _run(record, frame, checks, study)
        documents.append(outcome.document)
        quarantined: dict[int, list[str]] = {}
        for check, evaluated, positions in outcome.hits:
            tally[check][0] += evaluated
            tally[check][1] += len(positions)
            if check.severity == "critical":
                for file_id in pc.unique(frame.table["_file_id"].take(positions)).to_pylist():
                    name = origins[file_id].path if origins else file_id
                    rejections.setdefault(file_id, (check.rule, f"{name}: {check.mend}"))
            elif check.severity == "warning":
                for position in positions.tolist():
                    quarantined.setdefault(position, []).append(check.rule)
        rejected_by.append(_joined(quarantined, frame.table.num_rows))
        apart = np.fromiter(quarantined, dtype=np.int64)
        for check, _, positions in outcome.hits:
            # a finding on a row that is set apart would say nothing more
            rows = np.setdiff1d(positions, apart) if check.severity == "info" else positions
            if check.severity != "critical" and len(rows):
                faults.append(_faults(record, frame, check, rows, origins or {}))
    now = datetime.now(UTC)
    results = (
        [
            {
                "suite": record,
                "expectation": check.expectation,
                "column": check.field,
                "rule": check.rule,
                "success": unexpected == 0,
                "evaluated": evaluated,
                "unexpected": unexpected,
                "severity": check.severity,
                "validated_at": now,
            }
            for check, (evaluated, unexpected) in tally.items()
        ]
        if table.num_rows
        else []
    )  # nothing judged is not a pass
    return Validation(
        rejections,
        pa.concat_tables(faults) if faults else FAULT_SCHEMA.empty_table(),
        pa.chunked_array(rejected_by, pa.string()),
        pa.Table.from_pylist(results, RESULT_SCHEMA),
        documents,
    )


def _joined(quarantined: dict[int, list[str]], rows: int) -> pa.Array:
    texts = np.full(rows, None, dtype=object)
    for position, rules in quarantined.items():
        texts[position] = ",".join(dict.fromkeys(rules))
    return pa.array(texts, pa.string())


def _faults(
    record: str, frame: "_Frame", check: Check, positions: np.ndarray, origins: Mapping[str, Origin]
) -> pa.Table:
    needed = {"_file_id", "_row_number", "_misread", "_source", check.field} & set(frame.table.column_names)
    rows = frame.table.select(sorted(needed)).take(positions)
    count = rows.num_rows
    file_ids = rows["_file_id"].combine_chunks().cast(pa.string())
    if check.column in ("row.unreadable", "row.future"):  # the rule looks at every column: it says itself which one
        fields, values = frame.column(check.column).take(positions), pa.nulls(count, pa.string())
        for name in fields.unique().to_pylist():
            texts = rows.append_column(name, frame.text(name).take(positions))
            values = pc.if_else(pc.equal(fields, name), _original(texts, name, file_ids, origins), values)
    else:
        fields = pa.repeat(pa.scalar(check.field), count)
        values = _original(rows, check.field, file_ids, origins)
    known = [origins.get(item, Origin(item)) for item in file_ids.to_pylist()]
    places = pa.array(
        [origin.part(row).where(origin.path, row) for origin, row in zip(known, rows["_row_number"].to_pylist())],
        pa.string(),
    )
    shown = pc.if_else(
        pc.is_null(values), "is blank", pc.binary_join_element_wise("'", pc.coalesce(values, ""), "'", "")
    )
    what = (
        rows["_misread"].combine_chunks() if check.field == _LINE else pc.binary_join_element_wise(fields, shown, " ")
    )
    message = pc.binary_join_element_wise(
        places,
        ": ",
        what,
        pc.binary_join_element_wise(f" ({check.rule}). ", check.mend, ""),
        "",
    )
    columns = [
        file_ids,
        rows["_row_number"].combine_chunks(),
        pa.repeat(pa.scalar(record), count),
        fields,
        values,
        pa.repeat(pa.scalar(check.rule), count),
        pa.repeat(pa.scalar(check.severity), count),
        message,
    ]
    return pa.Table.from_arrays(columns, schema=FAULT_SCHEMA)


def _original(rows: pa.Table, name: str, file_ids: pa.Array, origins: Mapping[str, Origin]) -> pa.Array:
    """The untouched text of a field where its heading is known, else the canonical text."""
    if name in rows.column_names:
        canonical = pc.replace_substring(rows[name].combine_chunks(), UNREADABLE, "")
    else:
        canonical = pa.nulls(rows.num_rows, pa.string())
    if name == _LINE:
        return pc.map_lookup(rows["_source"].combine_chunks(), _LINE, "first")
    source = rows["_source"].combine_chunks()
    numbers = rows["_row_number"].to_pylist()
    known = zip((origins.get(item) for item in file_ids.to_pylist()), numbers, strict=True)
    headings = pa.array([origin and origin.part(row).headings.get(name) for origin, row in known], pa.string())
    values = canonical
    for heading in sorted(set(headings.to_pylist()) - {None}):
        own = pc.fill_null(pc.equal(headings, heading), False)
        values = pc.if_else(own, pc.coalesce(pc.map_lookup(source, heading, "first"), canonical), values)
    return values


# --- Great Expectations --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    document: dict
    hits: list[tuple[Check, int, np.ndarray]]  # check, rows judged, positions in the frame that failed


@cache
def _engine():
    """Great Expectations, its ephemeral context and the one batch definition that every frame goes through."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("canonical_rows").add_dataframe_asset("frame")
    return gx, asset.add_batch_definition_whole_dataframe("whole")


def _run(record: str, frame: "_Frame", checks: list[Check], study: Study) -> _Outcome:
    """One validation of one frame.

    COMPLETE with the frame's own row positions, without the query text, costs hardly more than a bare yes or no
    (0.26 s against 0.16 s for 250,000 failing rows), so no second pass is needed; named index columns cost 2.4 s.
    """
    gx, definition = _engine()
    content = _suite(record)
    suite = gx.ExpectationSuite(name=record, expectations=content["expectations"], meta=content["meta"])
    needed = {item["kwargs"].get(key) for item in content["expectations"] for key in ("column", "column_A", "column_B")}
    data = pd.DataFrame({name: _series(frame.column(name)) for name in sorted(needed - {None})})
    result_format = {"result_format": "COMPLETE", "return_unexpected_index_query": False, "partial_unexpected_count": 0}
    result = definition.get_batch({"dataframe": data}).validate(
        suite, result_format=result_format, expectation_parameters=_parameters(study)
    )
    by_rule = {
        (item["type"], json.dumps(item["meta"], sort_keys=True)): check
        for item, check in zip(content["expectations"], checks, strict=True)
    }
    hits = []
    for item in result.results:
        config = item.expectation_config
        check = by_rule.pop((config.type, json.dumps(dict(config.meta), sort_keys=True)))
        where = f"expectations/{record}.json: {check.rule} on {check.column}"
        if _crashed(item.exception_info) or "element_count" not in item.result:
            raise BrokenExpectation(f"{where} could not be evaluated: {item.exception_info}")
        outcome = item.result
        evaluated = int(outcome["element_count"]) - int(outcome.get("missing_count") or 0)
        positions = np.sort(np.asarray(outcome.get("unexpected_index_list") or [], dtype=np.int64))
        if len(positions) != outcome["unexpected_count"]:
            raise BrokenExpectation(f"{where} names {len(positions)} of {outcome['unexpected_count']} rows")
        for values in [key for key, value in outcome.items() if isinstance(value, list)]:
            outcome.pop(values)  # documents carry counts, never values
        hits.append((check, evaluated, positions))
    if by_rule:
        missed = ", ".join(sorted(check.rule for check in by_rule.values()))
        raise BrokenExpectation(f"expectations/{record}.json: not evaluated: {missed}")
    return _Outcome(result.to_json_dict(), hits)


def _series(column: pa.Array) -> pd.Series:
    """Text as categories: Great Expectations copies the whole frame for each expectation."""
    return (column.dictionary_encode() if pa.types.is_string(column.type) else column).to_pandas()


def _crashed(info: dict | None) -> bool:
    """exception_info is one mapping, or one a metric."""
    infos = [info or {}, *(value for value in (info or {}).values() if isinstance(value, dict))]
    return any(item.get("raised_exception") for item in infos)


# --- the columns that are judged -----------------------------------------------------------------------------------


def _with_file_columns(record: str, table: pa.Table, origins: Mapping[str, Origin]) -> pa.Table:
    """Adds what only the whole file tells, before it is cut into frames."""
    misread = pc.is_valid(table["_misread"]).to_numpy()
    files = table["_file_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    ordinal = files.indices.to_numpy()
    rows = np.bincount(ordinal, minlength=1)
    enough = rows >= SHARE_ROWS

    def share(flags: np.ndarray, counts: np.ndarray) -> pa.Array:
        shares = np.where(counts, np.bincount(ordinal, weights=flags, minlength=1) / np.maximum(rows, 1), np.nan)
        return pa.array(shares[ordinal], pa.float64(), from_pandas=True)

    origin = [origins.get(file_id, Origin(file_id)) for file_id in files.dictionary.to_pylist()]
    in_structure = np.array([not item.rows_stand_alone for item in origin] or [True])
    has_subject = pc.is_valid(table["subject_id"]).to_numpy()
    table = table.append_column("file.misread_share", share(misread, enough & in_structure))
    table = table.append_column("file.subject_share", share(has_subject, enough & in_structure))
    latest = [_latest_day(origins.get(file_id)) for file_id in files.dictionary.to_pylist()]
    table = table.append_column("file.latest_day", pa.array(latest, pa.string()).take(files.indices))
    if record == "subjects":  # other tables of subjects (MI, SUPPDM) tell no age
        told = np.bincount(ordinal, weights=pc.is_valid(table["age_years"]).to_numpy(), minlength=1) > 0
        table = table.append_column("file.tells_age", pa.array(told[ordinal]))
    if record == "lab_results":
        table = table.append_column("row.conflict", _conflicts(table, ordinal))
    return table


def _latest_day(origin: Origin | None) -> str | None:
    """The day of receipt in UTC and one more: east of Greenwich the next day has begun."""
    return (origin.received_on + timedelta(days=1)).isoformat() if origin and origin.received_on else None


def _conflicts(table: pa.Table, ordinal: np.ndarray) -> pa.Array:
    """Where one file holds different values for the same result and version; identical rows are no conflict.

    Rows are grouped by 64-bit hashes of dictionary codes: the chance of a false pair is 3e-8 in a million rows.
    """
    declared = pc.is_valid(table["analyte_key"]).to_numpy()
    number, text = _number(table["value_number"].combine_chunks()), table["value"].combine_chunks()
    value = pc.coalesce(number.cast(pa.string()), text)
    key = pd.DataFrame({"file": ordinal} | {name: _codes(table[name]) for name in _RESULT_VERSION})
    content = key.assign(value=_codes(value), unit=_codes(table["unit_code"]), operator=_codes(table["value_operator"]))
    hashes = {
        "key": pd.util.hash_pandas_object(key, index=False),
        "content": pd.util.hash_pandas_object(content, index=False),
    }
    pairs = pd.DataFrame(hashes)[declared]
    distinct = pairs.drop_duplicates()
    conflicting = distinct["key"][distinct["key"].duplicated()].unique()
    verdict = np.full(table.num_rows, None, dtype=object)
    verdict[declared] = np.where(pairs["key"].isin(conflicting), "conflict", "none")
    return pa.array(verdict, pa.string())


def _codes(text: pa.Array | pa.ChunkedArray) -> np.ndarray:
    whole = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    return pc.fill_null(whole.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)


def _frames(record: str, table: pa.Table) -> Iterator["_Frame"]:
    for start in range(0, table.num_rows, FRAME_ROWS):
        yield _Frame(record, table.slice(start, FRAME_ROWS))


class _Frame:
    """At most FRAME_ROWS rows of one record, and the judged columns made of them on demand."""

    def __init__(self, record: str, table: pa.Table):
        self.record, self.table = record, table
        self._made: dict[str, pa.Array] = {}
        self.good = pc.is_null(self.text("_misread"))

    def text(self, name: str) -> pa.Array:
        if name not in self._made:
            self._made[name] = self.table[name].combine_chunks()
        return self._made[name]

    def column(self, name: str) -> pa.Array:
        if name in self.table.column_names:
            return self.text(name)
        if name not in self._made:
            self._made.update(self._make(name))
        return self._made[name]

    def _make(self, name: str) -> dict[str, pa.Array]:
        base, _, aspect = name.rpartition(".")
        if name in ("dose.occurred", "occurred.dose"):
            return self._occurrence()
        if name == "death.flag":
            return {name: self._death_flag()}
        if base == "row":
            return {name: self._future() if aspect == "future" else self._unreadable()}
        if aspect == "given":
            return {name: self._given(base)}
        if aspect == "moment":
            names = ("reported_at", "collected_at")
            return dict(zip((f"{item}.moment" for item in names), self._moments(*names), strict=True))
        if aspect in ("precision", "year", "day"):
            precision, year, day = _calendar(self.text(base))
            return {f"{base}.precision": precision, f"{base}.year": year, f"{base}.day": day}
        if self.record == "lab_results" and base in ("value", "unit"):
            return self._lab()
        if self.record == "tumor_measurements":
            return self._measurement()
        if self.record == "tumor_responses":
            known = pc.is_in(self.text("test"), pa.array(_RESPONSES))
            return {name: _only(known, pc.coalesce(self.text("value_code"), self.text("value")))}
        return {name: _number(self.text(base))}

    def _given(self, name: str) -> pa.Array:
        filled, needed = pc.is_valid(self.text(name)), self.good
        if self.record == "lab_results" and name in ("value", "unit"):
            needed = pc.and_(needed, self._carries_value())
            if name == "unit":
                needed = pc.and_(
                    pc.and_(needed, pc.is_valid(self.text("analyte_key"))), pc.is_valid(self.text("value"))
                )
        elif name == "dose_unit":
            needed = pc.fill_null(pc.greater(self.column("dose.number"), 0), False)
        elif name == "age_years":
            needed = pc.and_(needed, self.text("file.tells_age"))
        elif name == "location":
            needed = pc.fill_null(pc.equal(self.text("role"), "TARGET"), False)
        elif name == "identified_on":
            filled = pc.or_(filled, pc.is_valid(self.text("visit_name")))
        elif self.record == "tumor_measurements" and name == "value":
            needed = pc.and_(needed, pc.fill_null(pc.not_equal(self.text("status"), "NOT DONE"), True))
        elif self.record == "tumor_measurements" and name == "lesion_id":
            needed = pc.is_in(self.text("test"), pa.array(_LESION_TESTS))  # a sum belongs to no lesion
        return _only(needed, pc.if_else(filled, "given", "blank"))

    def _occurrence(self) -> dict[str, pa.Array]:
        occurred, dose = self.text("occurred"), self.column("dose.number")
        has_dose = pc.fill_null(pc.greater(dose, 0), False)
        took_place = pc.fill_null(pc.equal(occurred, "Y"), False)
        return {"dose.occurred": _only(has_dose, occurred), "occurred.dose": _only(took_place, dose)}

    def _death_flag(self) -> pa.Array:
        flag, dated = self.text("death_flag"), pc.is_valid(self.text("death_on"))
        agrees = pc.equal(pc.equal(flag, "Y"), dated)
        return pc.if_else(agrees, "consistent", "contradictory")

    def _unreadable(self) -> pa.Array:
        found = pa.nulls(self.table.num_rows, pa.string())
        for column in RECORDS[self.record].columns:
            if column.kind in ("text", "code") and not column.derived:  # the others have rules of their own
                marked = pc.fill_null(pc.starts_with(self.text(column.name), UNREADABLE), False)
                found = pc.coalesce(found, _only(marked, pa.repeat(pa.scalar(column.name), self.table.num_rows)))
        return found

    def _future(self) -> pa.Array:
        """ISO dates compare as text: a partial one is later only where all its days are."""
        found = pa.nulls(self.table.num_rows, pa.string())
        for column in RECORDS[self.record].columns:
            if column.kind in ("date", "timestamp"):
                day = pc.utf8_slice_codeunits(self.text(column.name), 0, 10)
                is_later = pc.and_(pc.greater(day, self.text("file.latest_day")), pc.less(day, UNREADABLE))
                name = pa.repeat(pa.scalar(column.name), self.table.num_rows)
                found = pc.coalesce(found, _only(pc.fill_null(is_later, False), name))
        return found

    def _moments(self, *names: str) -> list[pa.Array]:
        """Seconds; only the days where one of the two carries no time, each as the source's calendar showed it."""
        clocks = [
            pc.strptime(self.text(name), "%Y-%m-%dT%H:%M:%SZ", "s", error_is_null=True).cast(pa.int64())
            for name in names
        ]
        timed = pc.and_(pc.is_valid(clocks[0]), pc.is_valid(clocks[1]))
        days = [_calendar(self.text(f"{name}_on"))[2] for name in names]
        return [
            pc.if_else(timed, clock.cast(pa.float64()), pc.multiply(day, 86400.0))
            for clock, day in zip(clocks, days, strict=True)
        ]

    def _carries_value(self) -> pa.Array:
        return pc.invert(pc.is_in(self.text("result_status"), pa.array(_no_value_statuses(), pa.string())))

    def _lab(self) -> dict[str, pa.Array]:
        declared = pc.and_(pc.is_valid(self.text("analyte_key")), pc.is_valid(self.text("value")))
        declared = pc.and_(declared, self._carries_value())
        operator, number = self.text("value_operator"), _only(declared, _number(self.text("value_number")))
        exact = _only(pc.is_null(operator), number)
        reading = pc.case_when(
            pc.make_struct(pc.is_valid(exact), pc.is_valid(number), pc.fill_null(pc.equal(operator, "<"), False)),
            pa.scalar("number"),
            pa.scalar("bound"),
            pa.scalar("below_lloq"),
            pa.scalar("unreadable"),
        )
        unit = _only(pc.is_valid(self.text("unit")), pc.coalesce(self.text("unit_code"), self.text("unit")))
        return {
            "value.reading": _only(declared, reading),
            "value.number": number,
            "value.exact": exact,
            "value.ng_ml": pc.multiply(number, _factors(self.text("unit_code"), "mass_concentration")),
            "unit.ucum": _only(declared, unit),
        }

    def _measurement(self) -> dict[str, pa.Array]:
        test, value, code = self.text("test"), self.text("value"), self.text("value_code")
        number = _number(self.text("value_number"))
        diameter = pc.and_(pc.is_in(test, pa.array(_DIAMETERS)), pc.is_valid(value))
        millimetres = _only(diameter, number)
        unit = pc.coalesce(self.text("unit_code"), self.text("unit"), "")
        reading = pc.if_else(pc.is_valid(number), "number", pc.if_else(pc.is_valid(code), "state", "unreadable"))
        return {
            "diameter.reading": _only(diameter, reading),
            "diameter.unit": _only(pc.is_valid(millimetres), unit),
            "diameter.mm": pc.multiply(millimetres, _factors(self.text("unit_code"), "length")),
            "state.code": _only(pc.fill_null(pc.equal(test, "TUMSTATE"), False), pc.coalesce(code, value)),
            "sum.number": _only(pc.fill_null(pc.equal(test, "SUMDIAM"), False), number),
        }


def _only(where: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(where, values, pa.scalar(None, values.type))


def _number(text: pa.Array) -> pa.Array:
    """Decimal text as float64; null where it is none."""
    is_number = pc.match_substring_regex(text, r"^-?[0-9]{1,300}(\.[0-9]+)?$")
    return _only(pc.fill_null(is_number, False), text).cast(pa.float64())


def _factors(unit: pa.Array, quantity: str) -> pa.Array:
    known = _units(quantity)
    index = pc.index_in(unit, pa.array(list(known), pa.string()))
    return pa.array(list(known.values()), pa.float64()).take(index)


def _calendar(text: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Precision, year and day of ISO dates and timestamps; each distinct day is read once."""
    days = pc.utf8_slice_codeunits(text, 0, 10).dictionary_encode()
    read = [_read_day(item) for item in days.dictionary.to_pylist()]
    precision = pa.array([item[0] for item in read], pa.string()).take(days.indices)
    year = pa.array([item[1] for item in read], pa.float64()).take(days.indices)
    day = pa.array([item[2] for item in read], pa.float64()).take(days.indices)
    rest = pc.utf8_slice_codeunits(text, 10)
    timed = pc.match_substring_regex(rest, r"^T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$")
    precision = pc.if_else(
        pc.equal(rest, ""), precision, pc.if_else(pc.and_(timed, pc.equal(precision, "day")), "time", "unreadable")
    )
    return precision, year, day


def _read_day(text: str) -> tuple[str, int | None, int | None]:
    """(precision, year, days since 0001-01-01 of a full date): '2025-03' is a month, '2025-02-30' unreadable."""
    match = _ISO_DAY.fullmatch(text)
    try:
        year, month, day = (int(part) if part else None for part in match.groups())
        first = date(year, month or 1, day or 1)
    except (AttributeError, ValueError):  # no date at all, or no day of the calendar
        return "unreadable", None, None
    return "day" if day else "month" if month else "year", year, first.toordinal() if day else None
