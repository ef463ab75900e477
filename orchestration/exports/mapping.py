"""Columns of an export -> columns of a canonical record, by declaration: headings, codes, units, dates, constants.

Works on one batch of text columns at a time, by kernels of pyarrow. Which mapping a file gets is decided in `layouts`;
whether a value is allowed is judged by the record's expectations.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from string import Formatter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import values
from orchestration.exports.dates import DateStyle, days, moments
from orchestration.exports.privacy import without_names
from orchestration.exports.records import Record
from orchestration.exports.values import by_distinct, fold_code, join, mark_unreadable, nulls

if TYPE_CHECKING:
    from orchestration.study import Study

Columns = dict[str, pa.Array]
_NUL = re.compile(b"\0")
SOURCE = pa.map_(pa.dictionary(pa.int32(), pa.string()), pa.string())


@dataclass(frozen=True)
class Plan:
    """What the columns of one table mean.

    ``step`` amends the picked texts where a layout needs more than renaming; ``finish`` the whole canonical table.
    ``domain`` names a heading and the code that each of its rows must carry.
    """

    record: Record
    source: str
    layout: str
    columns: Mapping[str, tuple[str, ...]]  # canonical column -> headings; the first one that is filled counts
    dates: DateStyle
    constants: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    subject_id: str | None = None  # template over headings
    decimal: str = "."
    missing: frozenset[str] = frozenset()
    domain: tuple[str, str] | None = None
    step: Callable[[Columns, "Fields", "Study"], None] | None = None
    finish: Callable[[pa.Table], pa.Table] | None = None


@lru_cache(maxsize=4096)  # every file is asked whether it fits each source: the same few headings, again and again
def fold_heading(heading: str) -> str:
    """Headings are compared without case; blanks and underscores are one."""
    return "_".join(re.split(r"[\s_]+", heading.strip().lower()))


class Fields:
    """The export's own columns: trimmed text by heading, null where missing by the source's declaration."""

    def __init__(self, batch: pa.RecordBatch, headings: list[str], missing: frozenset[str]):
        self._batch = batch
        self._place = {fold_heading(heading): place for place, heading in enumerate(headings)}
        self._missing = pa.array(sorted(missing | {""}), pa.string())
        self._read: dict[int, pa.Array] = {}
        self.rows = batch.num_rows

    def __getitem__(self, heading: str) -> pa.Array:
        """All null for a heading that the export does not have."""
        place = self._place.get(fold_heading(heading))
        if place is None:
            return nulls(self.rows)
        if place not in self._read:
            text = pc.utf8_trim_whitespace(self._batch.column(place))
            self._read[place] = pc.if_else(pc.is_in(text, self._missing), None, text)
        return self._read[place]

    def asks(self, heading: str) -> bool:
        """Whether the export has the column."""
        return fold_heading(heading) in self._place

    def first_filled(self, headings: tuple[str, ...]) -> pa.Array:
        found = [self[heading] for heading in headings if self.asks(heading)]
        return pc.coalesce(*found) if found else nulls(self.rows)


def canonical(
    batch: pa.RecordBatch,
    headings: list[str],
    plan: Plan,
    study: "Study",
    source: pa.MapArray | None = None,
    misread: pa.Array | None = None,
) -> pa.RecordBatch:
    """The record's columns, `_source` and `_misread` of a batch of text columns.

    Args:
        source: the rows' source text, where it is not that of the columns.
        misread: why the reader found rows unreadable.
    """
    readable = without_names(headings, study)
    if len(readable) < len(headings):
        batch, headings = batch.select(readable), [headings[place] for place in readable]
    fields = Fields(batch, headings, plan.missing)
    picked = {column.name: _picked(column.name, fields, plan) for column in plan.record.columns}
    if plan.step:
        plan.step(picked, fields, study)
    columns = _converted(picked, plan)
    _DERIVE.get(plan.record.name, lambda *_: None)(columns, plan, study)
    reason = _misread(batch, headings, plan, fields)
    if misread is not None:
        reason = pc.coalesce(misread, reason)
    if reason.null_count < len(reason):
        columns = {name: pc.if_else(pc.is_null(reason), column, None) for name, column in columns.items()}
    arrays = [columns[name] for name in plan.record.column_names]
    texts = _source(batch, headings) if source is None else source
    return pa.RecordBatch.from_arrays([*arrays, texts, reason], schema=schema(plan.record))


def schema(record: Record) -> pa.Schema:
    """Of a canonical batch, without `_row_number`."""
    fields = [pa.field(name, pa.string()) for name in record.column_names]
    return pa.schema([*fields, pa.field("_source", SOURCE), pa.field("_misread", pa.string())])


def headings_read(plan: Plan, headings: list[str]) -> dict[str, str]:
    """Canonical column -> heading of the table, for messages; of several the first that the table has."""
    spelled = {fold_heading(heading): heading for heading in headings}
    columns = {name: own for name, own in plan.columns.items() if not (name == "subject_id" and plan.subject_id)}
    found = {
        name: [spelled[fold_heading(item)] for item in own if fold_heading(item) in spelled]
        for name, own in columns.items()
    }
    return {name: own[0] for name, own in found.items() if own}


def template_headings(template: str) -> list[str]:
    """Headings that a subject_id template names."""
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def _picked(name: str, fields: Fields, plan: Plan) -> pa.Array:
    """A canonical column's text before its kind is read."""
    if name == "subject_id" and plan.subject_id:
        parts = [
            part
            for literal, heading, _, _ in Formatter().parse(plan.subject_id)
            for part in (literal, None if heading is None else fields[heading])
            if part is not None
        ]
        return join(*parts) if fields.rows else nulls(0)
    text = fields.first_filled(plan.columns.get(name, ()))
    if name in plan.constants:
        text = pc.fill_null(text, plan.constants[name])
    if name in plan.codes:
        declared = {fold_code(code): value for code, value in plan.codes[name].items()}
        text = by_distinct(text, lambda found: declared.get(fold_code(found), found))
    return text


def _converted(picked: Columns, plan: Plan) -> Columns:
    """Read each text by its column's kind. What is outside the declaration gets the mark."""
    columns: Columns = {}
    for column in plan.record.columns:
        text = picked[column.name]
        if text.null_count == len(text):
            columns[column.name] = text
            columns.update((name, text) for name in column.derived)
        elif column.kind == "code":
            columns[column.name] = values.codes(text)
        elif column.kind == "number":
            columns[column.name] = mark_unreadable(values.numbers(text, plan.decimal), text)
        elif column.kind == "date":
            columns[column.name] = days(text, plan.dates)
        elif column.kind == "timestamp":
            columns[column.name], columns[column.derived[0]] = moments(text, plan.dates)
        else:
            columns[column.name] = text
    if "evaluator" in columns:
        columns["evaluator"] = pc.fill_null(columns["evaluator"], "INVESTIGATOR")
        columns["accepted"] = values.accepted(columns["accepted"])
    return columns


def _derive_lab(columns: Columns, plan: Plan, study: "Study") -> None:
    columns["analyte_key"] = analyte_keys(columns["analyte"], columns["specimen"], study)
    columns["value_operator"], columns["value_number"] = values.results(columns["value"], plan.decimal)
    columns["unit_code"] = values.unit_codes(columns["unit"], plan.units)
    made = join(
        pc.fill_null(columns["laboratory"], ""),
        "|",
        columns["collected_at"],
        "|",
        pc.coalesce(columns["analyte_key"], columns["analyte"]),
    )
    columns["sample_id"] = pc.coalesce(columns["sample_id"], made)


def _derive_measurement(columns: Columns, plan: Plan, study: "Study") -> None:
    columns["value_number"] = values.numbers(columns["value"], plan.decimal)
    columns["value_code"] = values.tumor_states(columns["value"])
    columns["unit_code"] = values.unit_codes(columns["unit"], plan.units)


def _derive_response(columns: Columns, plan: Plan, study: "Study") -> None:
    columns["value_code"] = values.response_codes(columns["test"], columns["value"])


_DERIVE = {
    "lab_results": _derive_lab,
    "tumor_measurements": _derive_measurement,
    "tumor_responses": _derive_response,
}


def analyte_keys(analytes: pa.Array, specimens: pa.Array, study: "Study") -> pa.Array:
    """Key of the declared analyte (of study.yaml) that a code names, null for other analytes."""
    always, if_serum = analyte_codes(study)
    is_serum = pc.starts_with(pc.utf8_upper(specimens), "SERUM")
    in_serum = pc.if_else(is_serum, by_distinct(analytes, lambda text: if_serum.get(fold_code(text))), None)
    return pc.coalesce(by_distinct(analytes, lambda text: always.get(fold_code(text))), in_serum)


def analyte_codes(study: "Study") -> tuple[dict[str, str], dict[str, str]]:
    """Folded code -> key of a declared analyte: those that name it always, and those that do so in serum."""
    always, if_serum = {}, {}
    for key in type(study.analytes).model_fields:
        analyte = getattr(study.analytes, key)
        always.update((fold_code(code), key) for code in analyte.codes)
        if_serum.update((fold_code(code), key) for code in analyte.codes_if_serum)
    return always, if_serum


def _misread(batch: pa.RecordBatch, headings: list[str], plan: Plan, fields: Fields) -> pa.Array:
    """Why a row is none: the heading once more, another domain's row, NUL bytes. Null for good rows."""
    reasons = nulls(batch.num_rows)
    repeated = pc.equal(pc.utf8_trim_whitespace(batch.column(0)), headings[0])
    for place in range(1, len(headings)):
        if not pc.any(repeated).as_py():
            break
        repeated = pc.and_(repeated, pc.equal(pc.utf8_trim_whitespace(batch.column(place)), headings[place]))
    reasons = pc.if_else(repeated, "the heading once more: several exports stand in one file", reasons)
    for column in batch.columns:
        if _NUL.search(column.buffers()[2] or b""):  # looked for once in all texts, seldom in each
            reasons = pc.if_else(pc.match_substring(column, "\0"), "a NUL byte in a value", reasons)
    if plan.domain:
        heading, code = plan.domain
        other = pc.fill_null(pc.not_equal(pc.utf8_upper(fields[heading]), code), False)
        reasons = pc.if_else(pc.and_(other, pc.invert(repeated)), f"{heading} is not {code}", reasons)
    return reasons


def _source(batch: pa.RecordBatch, headings: list[str]) -> pa.MapArray:
    """Heading -> untouched text, row by row. The texts of a row stand one after the other, as they do joined together:
    that is ten times faster than taking them one by one."""
    rows, width = batch.num_rows, len(headings)
    columns = [pc.fill_null(column, "") for column in batch.columns]
    lengths = np.empty((rows, width), np.int32)
    for place, column in enumerate(columns):
        lengths[:, place] = pc.binary_length(column).to_numpy()
    ends = np.zeros(rows * width + 1, np.int32)
    np.cumsum(lengths.ravel(), out=ends[1:])
    joined = pc.binary_join_element_wise(*columns, "") if rows else nulls(0)
    texts = pa.StringArray.from_buffers(rows * width, pa.py_buffer(ends), joined.buffers()[2])
    keys = _keys(tuple(headings), 1 << (rows - 1).bit_length() if rows else 0).slice(0, rows * width)
    return pa.MapArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * width), keys, texts)


@lru_cache(maxsize=1)
def _keys(headings: tuple[str, ...], rows: int) -> pa.Array:
    """The headings, once a row. All batches of a table share one copy."""
    places = np.tile(np.arange(len(headings), dtype=np.int32), rows)
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(headings, pa.string()))
