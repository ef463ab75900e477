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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import READER_VERSION, layouts
from orchestration.exports.records import RECORDS, UNREADABLE
from orchestration.exports.spill import regrouped
from orchestration.settings import DBT_PROJECT, EXPECTATIONS
from orchestration.study import Ingest, Study

FRAME_ROWS = 500_000
"""Rows that are judged at once: bounds the memory of the judged columns. One validation of the laboratory's suite costs
0.4 CPU seconds even on a single row."""

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
_DATE_RULES = ("date_readable", "timestamp_readable")
_DAY_NUMBER = re.compile(r"[1-5][0-9]{4}([.,][0-9]+)?")  # of the years 1927 to 2064
_SPREADSHEET_EPOCH = date(1899, 12, 30)
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


@dataclass(frozen=True)
class Part:
    """One table of a file: rows are numbered on through the file, so its first row has ``rows_before`` + 1."""

    name: str
    rows_before: int
    headings: Mapping[str, str] = field(default_factory=dict)


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


@runtime_checkable
class Pieces(Protocol):
    """Rows that need not lie in memory all at once."""

    def pieces(self) -> Iterator[pa.Table]:
        """All of them, in their order; asked for twice."""


def validate(
    record: str, table: pa.Table | Pieces, study: Study, origins: Mapping[str, Origin] | None = None
) -> Validation:
    """Judge the rows of one record, of one file or of many.

    Args:
        table: a sheet's columns (exports.Sheet) and ``_file_id``.
        origins: by file id; without it, messages name the file id and values are the canonical text.

    Raises:
        BrokenExpectation: an expectation crashed or judged nothing that it should have.
    """
    checks = _checks(record)
    tables = table.pieces if isinstance(table, Pieces) else lambda: iter((table,))
    files = _Files(record, regrouped(tables(), FRAME_ROWS), origins or {})
    tally = {check: [0, 0] for check in checks}  # evaluated, unexpected
    rejections: dict[str, tuple[str, str]] = {}
    faults, documents, rejected_by = [], [], []
    rows_judged = 0
    for piece in regrouped(tables(), FRAME_ROWS):
        frame = _Frame(record, files.told(piece, rows_judged))
        rows_judged += piece.num_rows
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
        told = [
            # a finding on a row that is set apart would say nothing more
            (check, np.setdiff1d(positions, apart) if check.severity == "info" else positions)
            for check, _, positions in outcome.hits
            if check.severity != "critical"
        ]
        for check, positions in told:
            if len(positions):
                faults.append(_faults(record, frame, check, _Picked.of(frame, positions, origins or {})))
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
        if rows_judged
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


@dataclass(frozen=True)
class _Picked:
    """Some rows of a frame, and where each stands: ``place`` is its index among ``parts``, the tables of the files."""

    frame: "_Frame"
    at: np.ndarray
    parts: list[tuple[str, Part]]  # path of the file, table
    place: np.ndarray

    @classmethod
    def of(cls, frame: "_Frame", at: np.ndarray, origins: Mapping[str, Origin]) -> "_Picked":
        return cls(
            frame, at, *_parts(_some(frame.table["_file_id"], at), _some(frame.table["_row_number"], at), origins)
        )

    def column(self, name: str) -> pa.Array:
        return _some(self.frame.table[name], self.at)

    def source(self, heading: str) -> pa.Array:
        """The untouched text under a heading."""
        return _some(self.frame.source(heading), self.at)

    def told(self, tell: Callable[[str, Part], str | None]) -> pa.Array:
        """A text that depends on the table only."""
        texts = pa.array([tell(path, part) for path, part in self.parts], pa.string())
        return texts.take(pa.array(self.place))

    def where(self) -> pa.Array:
        """Where each row stands, as a person finds it."""
        before = np.array([part.rows_before for _, part in self.parts], dtype=np.int64)
        number = pc.subtract(self.column("_row_number"), pa.array(before[self.place])).cast(pa.string())
        table = self.told(lambda path, part: f"{path}{', ' if part.name else ''}{part.name}, row ")
        return pc.binary_join_element_wise(table, number, "")


def _some(column: pa.ChunkedArray, at: np.ndarray) -> pa.Array:
    """Values at ascending places, chunk by chunk: taken from the whole, all of its text would be copied first."""
    found, start = [], 0
    for chunk in column.chunks:
        first, end = np.searchsorted(at, (start, start + len(chunk)))
        if first < end:
            found.append(chunk.take(pa.array(at[first:end] - start)))
        start += len(chunk)
    return pa.chunked_array(found, column.type).unify_dictionaries().combine_chunks()


def _parts(
    files: pa.Array, row_numbers: pa.Array, origins: Mapping[str, Origin]
) -> tuple[list[tuple[str, Part]], np.ndarray]:
    files = files if pa.types.is_dictionary(files.type) else files.dictionary_encode()
    indices, numbers = files.indices.to_numpy(), row_numbers.to_numpy()
    parts, place = [], np.zeros(len(files), dtype=np.int64)
    for index, file_id in enumerate(files.dictionary.to_pylist()):
        origin = origins.get(file_id, Origin(file_id))
        known = sorted(origin.parts, key=lambda part: part.rows_before) or [Part("", 0, origin.headings)]
        own = indices == index
        before = np.array([part.rows_before for part in known])
        place[own] = len(parts) + np.maximum(np.searchsorted(before, numbers[own]) - 1, 0)
        parts += [(origin.path, part) for part in known]
    return parts, place


def _faults(record: str, frame: "_Frame", check: Check, picked: _Picked) -> pa.Table:
    count = len(picked.at)
    if check.column in ("row.unreadable", "row.future"):  # the rule looks at every column: it says itself which one
        fields = frame.column(check.column).take(pa.array(picked.at))
    else:
        fields = pa.repeat(pa.scalar(check.field), count)
    values, headed = pa.nulls(count, pa.string()), pa.nulls(count, pa.string())
    for name in fields.unique().to_pylist():
        own = pc.equal(fields, name)
        values = pc.if_else(own, _original(picked, name), values)
        headed = pc.if_else(own, picked.told(partial(_as_headed, name)), headed)
    text = pc.coalesce(values, "")
    shown = pc.if_else(
        pc.equal(pc.utf8_trim_whitespace(text), ""), "is blank", pc.binary_join_element_wise("'", text, "'", "")
    )
    what = picked.column("_misread") if check.field == _LINE else pc.binary_join_element_wise(headed, shown, " ")
    mends = _mends(check, values)
    message = pc.binary_join_element_wise(picked.where(), ": ", what, f" ({check.rule}). ", mends, "")
    message = pc.replace_substring_regex(message, r"[\p{Cc}\p{Zl}\p{Zp}]", "\ufffd")  # one line of text
    columns = [
        picked.column("_file_id").cast(pa.string()),
        picked.column("_row_number"),
        pa.repeat(pa.scalar(record), count),
        fields,
        values,
        pa.repeat(pa.scalar(check.rule), count),
        pa.repeat(pa.scalar(check.severity), count),
        message,
    ]
    return pa.Table.from_arrays(columns, schema=FAULT_SCHEMA)


def _mends(check: Check, values: pa.Array) -> pa.Array:
    """The mend of each value: a date that is a spreadsheet's number needs another one than a date misspelled."""
    if check.rule not in _DATE_RULES:
        return pa.repeat(pa.scalar(check.mend), len(values))
    return pa.array([_mend_of_day_number(text or "") or check.mend for text in values.to_pylist()], pa.string())


def _mend_of_day_number(text: str) -> str | None:
    if not _DAY_NUMBER.fullmatch(text.strip()):
        return None
    day = _SPREADSHEET_EPOCH + timedelta(days=int(text.strip()[:5]))
    return (
        f"It looks like a spreadsheet's day number ({day.isoformat()}, if it counts from 1900): format the column as a"
        " date (yyyy-mm-dd) in the workbook and export it again; a number is never taken for a date."
    )


def _as_headed(name: str, path: str, part: Part) -> str:
    """The field as the record calls it, and as the table does."""
    heading = part.headings.get(name, name)
    return name if layouts.fold_heading(heading) == name else f"{name} ({heading})"


def _original(picked: _Picked, name: str) -> pa.Array:
    """The untouched text of a field where its heading is known, else the canonical text."""
    if name == _LINE:
        return picked.source(_LINE)
    if name in picked.frame.table.column_names:
        values = pc.replace_substring(picked.column(name), UNREADABLE, "")
    else:
        values = pa.nulls(len(picked.at), pa.string())
    headings = picked.told(lambda path, part: part.headings.get(name))
    for heading in sorted(set(headings.unique().to_pylist()) - {None}):
        own = pc.fill_null(pc.equal(headings, heading), False)
        values = pc.if_else(own, pc.coalesce(picked.source(heading), values), values)
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
    # Great Expectations copies meta some 100 times for each expectation: while it judges, meta is a number
    numbered = [item | {"meta": {"place": place}} for place, item in enumerate(content["expectations"])]
    suite = gx.ExpectationSuite(name=record, expectations=numbered, meta=content["meta"])
    judged = _Distinct.of(frame, content["expectations"])
    data = judged.data()
    result_format = {"result_format": "COMPLETE", "return_unexpected_index_query": False, "partial_unexpected_count": 0}
    result = definition.get_batch({"dataframe": data}).validate(
        suite, result_format=result_format, expectation_parameters=_parameters(study)
    )
    missed = dict(enumerate(checks))
    hits = []
    for item in result.results:
        config = item.expectation_config
        check = missed.pop(config.meta["place"])
        where = f"expectations/{record}.json: {check.rule} on {check.column}"
        if _crashed(item.exception_info) or "element_count" not in item.result:
            raise BrokenExpectation(f"{where} could not be evaluated: {item.exception_info}")
        outcome = item.result
        bad = np.asarray(outcome.get("unexpected_index_list") or [], dtype=np.int64)
        if len(bad) != outcome["unexpected_count"]:
            raise BrokenExpectation(f"{where} names {len(bad)} of {outcome['unexpected_count']} values")
        positions = judged.rows_of(check.column, bad)
        evaluated = judged.count(config.kwargs, outcome, where)
        outcome.update(_in_rows(outcome, judged.rows, evaluated, len(positions)))
        for values in [key for key, value in outcome.items() if isinstance(value, list)]:
            outcome.pop(values)  # documents carry counts, never values
        hits.append((check, evaluated, positions))
    if missed:
        rules = ", ".join(sorted(check.rule for check in missed.values()))
        raise BrokenExpectation(f"expectations/{record}.json: not evaluated: {rules}")
    document = result.to_json_dict()
    for config in (item["expectation_config"] for item in document["results"]):
        config["meta"] = content["expectations"][config["meta"]["place"]]["meta"]
    return _Outcome(document, hits)


def _in_rows(outcome: dict, rows: int, evaluated: int, unexpected: int) -> dict:
    """The counts of a result in rows, as documents show them."""
    counts = {
        "element_count": rows,
        "missing_count": rows - evaluated,
        "missing_percent": 100 * (rows - evaluated) / rows,
        "unexpected_count": unexpected,
        "unexpected_percent": 100 * unexpected / evaluated if evaluated else None,
        "unexpected_percent_total": 100 * unexpected / rows,
        "unexpected_percent_nonmissing": 100 * unexpected / evaluated if evaluated else None,
    }
    return {name: value for name, value in counts.items() if name in outcome}


@dataclass(frozen=True)
class _Distinct:
    """The different values of a frame's judged columns, and which rows hold them.

    An expectation's verdict depends on the value alone (on the pair, where it compares two columns), so that each is
    judged once: Great Expectations costs some ten passes over its frame for every expectation. Columns that are
    compared stand together, as their different combinations.
    """

    rows: int
    groups: dict[str, tuple[pa.RecordBatch, np.ndarray]]  # column -> combinations of its group, and that of each row

    @classmethod
    def of(cls, frame: "_Frame", expectations: list[dict]) -> "_Distinct":
        together: dict[str, tuple[str, ...]] = {}
        for item in expectations:
            named = [item["kwargs"][key] for key in ("column", "column_A", "column_B") if key in item["kwargs"]]
            joined = tuple(dict.fromkeys(name for other in named for name in together.get(other, (other,))))
            together |= dict.fromkeys(joined, joined)
        made = {names: _combinations(frame, names) for names in dict.fromkeys(together.values())}
        return cls(frame.table.num_rows, {name: made[names] for name, names in sorted(together.items())})

    def data(self) -> pd.DataFrame:
        """One frame for all groups: the shorter ones repeat their first combination."""
        longest = max(batch.num_rows for batch, _ in self.groups.values())
        columns = {}
        for name, (batch, _) in self.groups.items():
            places = np.zeros(longest, dtype=np.int64)
            places[: batch.num_rows] = np.arange(batch.num_rows)
            column = batch.column(name).take(pa.array(places))
            text = pa.types.is_string(column.type)
            columns[name] = (column.dictionary_encode() if text else column).to_pandas()
        return pd.DataFrame(columns)

    def rows_of(self, column: str, bad: np.ndarray) -> np.ndarray:
        """The rows, ascending, that hold a combination of these places of `data`."""
        batch, held = self.groups[column]
        is_bad = np.zeros(batch.num_rows, dtype=bool)
        is_bad[bad[bad < batch.num_rows]] = True
        return np.flatnonzero(is_bad[held]) if is_bad.any() else np.empty(0, dtype=np.int64)

    def count(self, kwargs: Mapping, outcome: Mapping, where: str) -> int:
        """Rows that were judged: those whose value is not missing, by what the expectation takes for missing.

        Raises:
            BrokenExpectation: Great Expectations took others.
        """
        if "missing_count" not in outcome:
            return self.rows
        names = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
        batch, held = self.groups[names[0]]
        filled = np.array([pc.is_valid(batch.column(name)).to_numpy(zero_copy_only=False) for name in names])
        both = kwargs.get("ignore_row_if") == "both_values_are_missing"
        is_judged = filled.any(axis=0) if both else filled.all(axis=0)
        padding = int(outcome["element_count"]) - len(is_judged)
        expected = int(is_judged.sum()) + padding * int(is_judged[0])
        if expected != int(outcome["element_count"]) - int(outcome["missing_count"] or 0):
            raise BrokenExpectation(f"{where} judged other values than those that are there")
        return int(np.bincount(held, minlength=len(is_judged))[is_judged].sum())


def _combinations(frame: "_Frame", names: tuple[str, ...]) -> tuple[pa.RecordBatch, np.ndarray]:
    """The different combinations of some columns, and which one each row holds."""
    columns = [frame.column(name) for name in names]
    if len(columns) == 1:
        encoded = columns[0].dictionary_encode(null_encoding="encode")
        return pa.RecordBatch.from_arrays([encoded.dictionary], list(names)), encoded.indices.to_numpy()
    held = np.zeros(frame.table.num_rows, dtype=np.int64)
    for column in columns:
        codes = _codes(column) + 1
        held = pd.factorize(held * (int(codes.max()) + 1) + codes)[0]
    first = np.zeros(int(held.max()) + 1, dtype=np.int64)
    first[held[::-1]] = np.arange(len(held))[::-1]
    return pa.RecordBatch.from_arrays([column.take(pa.array(first)) for column in columns], list(names)), held


def _crashed(info: dict | None) -> bool:
    """exception_info is one mapping, or one a metric."""
    infos = [info or {}, *(value for value in (info or {}).values() if isinstance(value, dict))]
    return any(item.get("raised_exception") for item in infos)


# --- the columns that are judged -----------------------------------------------------------------------------------


class _Files:
    """What only whole files tell about a row: gathered in a first pass over the pieces, before they are judged."""

    def __init__(self, record: str, tables: Iterable[pa.Table], origins: Mapping[str, Origin]):
        self._place: dict[str, int] = {}
        self._is_lab, self._is_subjects = record == "lab_results", record == "subjects"
        counted = {name: np.zeros(0) for name in ("rows", "misread", "subject", "age")}
        declared, keys, contents = [], [], []
        connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        for table in tables:
            ordinal = self._ordinals(table)
            flags = {
                "rows": np.ones(table.num_rows),
                "misread": pc.is_valid(table["_misread"]).to_numpy(),
                "subject": pc.is_valid(table["subject_id"]).to_numpy(),
            }
            if self._is_subjects:
                flags["age"] = pc.is_valid(table["age_years"]).to_numpy()
            for name, values in flags.items():
                counts = np.bincount(ordinal, weights=values, minlength=len(self._place)).astype(float)
                counts[: len(counted[name])] += counted[name]
                counted[name] = counts
            if self._is_lab:
                key, content = _versions(connection, table, ordinal)
                declared.append(pc.is_valid(table["analyte_key"]).to_numpy())
                keys.append(key)
                contents.append(content)
        connection.close()
        known = [origins.get(file_id, Origin(file_id)) for file_id in self._place]
        in_structure = np.array([not origin.rows_stand_alone for origin in known], dtype=bool)
        tells = (counted["rows"] >= SHARE_ROWS) & in_structure
        rows = np.maximum(counted["rows"], 1)
        self._misread_share = np.where(tells, counted["misread"] / rows, np.nan)
        self._subject_share = np.where(tells, counted["subject"] / rows, np.nan)
        self._tells_age = counted["age"] > 0  # other tables of subjects (MI, SUPPDM) tell no age
        self._latest_days = pa.array([_latest_day(origins.get(file_id)) for file_id in self._place], pa.string())
        if keys:
            self._is_declared = np.concatenate(declared)
            self._is_conflict = _conflicts(np.concatenate(keys), np.concatenate(contents), self._is_declared)

    def _ordinals(self, table: pa.Table) -> np.ndarray:
        """Which file each row is of, numbered by their first appearance."""
        files = table["_file_id"].unify_dictionaries().combine_chunks()
        files = files if pa.types.is_dictionary(files.type) else files.dictionary_encode()
        places = [self._place.setdefault(file_id, len(self._place)) for file_id in files.dictionary.to_pylist()]
        return np.array(places, dtype=np.int64)[files.indices.to_numpy()]

    def told(self, table: pa.Table, start: int) -> pa.Table:
        """A piece, whose first row is row ``start`` of all, with what its files tell."""
        ordinal = self._ordinals(table)
        for name, shares in (
            ("file.misread_share", self._misread_share), ("file.subject_share", self._subject_share),
        ):  # fmt: skip
            table = table.append_column(name, pa.array(shares[ordinal], pa.float64(), from_pandas=True))
        table = table.append_column("file.latest_day", self._latest_days.take(pa.array(ordinal)))
        if self._is_subjects:
            table = table.append_column("file.tells_age", pa.array(self._tells_age[ordinal]))
        if self._is_lab:
            own = slice(start, start + table.num_rows)
            verdict = pc.if_else(pa.array(self._is_conflict[own]), "conflict", "none")
            table = table.append_column("row.conflict", pc.if_else(pa.array(self._is_declared[own]), verdict, None))
        return table


def _latest_day(origin: Origin | None) -> str | None:
    """The day of receipt in UTC and one more: east of Greenwich the next day has begun."""
    return (origin.received_on + timedelta(days=1)).isoformat() if origin and origin.received_on else None


def _versions(connection: duckdb.DuckDBPyConnection, table: pa.Table, ordinal: np.ndarray) -> list[np.ndarray]:
    """64-bit hashes a row: of the result and its version within the file, and of that with what is said of it."""
    number = _number(table["value_number"].combine_chunks())
    text = pc.if_else(pc.is_valid(number), None, table["value"].combine_chunks())
    own = {"_file": pa.array(ordinal), "_number": number, "_text": text}
    columns = {name: table[name] for name in (*_RESULT_VERSION, "unit_code", "value_operator")}
    connection.register("piece", pa.table(own | columns))
    key = ", ".join(("_file", *_RESULT_VERSION))
    said = "_number, _text, unit_code, value_operator"
    found = connection.execute(f"select hash({key}) as key, hash({key}, {said}) as content from piece").fetchnumpy()
    return [found["key"], found["content"]]


def _conflicts(key: np.ndarray, content: np.ndarray, declared: np.ndarray) -> np.ndarray:
    """Where one file holds different values for the same result and version; identical rows are no conflict.

    By 64-bit hashes: the chance of a false pair is 3e-8 in a million rows.
    """
    order = np.flatnonzero(declared)
    order = order[np.argsort(key[order], kind="stable")]
    keys, contents = key[order], content[order]
    differs = (keys[1:] == keys[:-1]) & (contents[1:] != contents[:-1])
    found = np.zeros(len(key), dtype=bool)
    if differs.any():
        found[order] = np.isin(keys, np.unique(keys[1:][differs]))
    return found


def _codes(column: pa.Array) -> np.ndarray:
    return pc.fill_null(column.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)


class _Frame:
    """At most FRAME_ROWS rows of one record, and the judged columns made of them on demand."""

    def __init__(self, record: str, table: pa.Table):
        self.record, self.table = record, table
        self._made: dict[str, pa.Array] = {}
        self._sources: dict[str, pa.ChunkedArray] = {}
        self.good = pc.is_null(self.text("_misread"))

    def text(self, name: str) -> pa.Array:
        if name not in self._made:
            self._made[name] = self.table[name].combine_chunks()
        return self._made[name]

    def source(self, heading: str) -> pa.ChunkedArray:
        """The untouched text under a heading."""
        if heading not in self._sources:
            found = [pc.map_lookup(chunk, heading, "first") for chunk in self.table["_source"].chunks]
            self._sources[heading] = pa.chunked_array(found, pa.string())
        return self._sources[heading]

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
        clocks = [_once(self.text(name), _clock) for name in names]
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


def _once(text: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Each different text is read once."""
    encoded = text.dictionary_encode()
    return read(encoded.dictionary).take(encoded.indices)


def _clock(text: pa.Array) -> pa.Array:
    return pc.strptime(text, "%Y-%m-%dT%H:%M:%SZ", "s", error_is_null=True).cast(pa.int64())


def _number(text: pa.Array) -> pa.Array:
    """Decimal text as float64; null where it is none."""
    return _once(text, _distinct_number)


def _distinct_number(text: pa.Array) -> pa.Array:
    is_number = pc.match_substring_regex(text, r"^-?[0-9]{1,300}(\.[0-9]+)?$")
    return _only(pc.fill_null(is_number, False), text).cast(pa.float64())


def _factors(unit: pa.Array, quantity: str) -> pa.Array:
    known = _units(quantity)
    index = pc.index_in(unit, pa.array(list(known), pa.string()))
    return pa.array(list(known.values()), pa.float64()).take(index)


def _calendar(text: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Precision, year and day of ISO dates and timestamps; each distinct text is looked at once, each day read once."""
    encoded = text.dictionary_encode()
    if 2 * len(encoded.dictionary) < len(text):
        return tuple(column.take(encoded.indices) for column in _calendar(encoded.dictionary))
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
