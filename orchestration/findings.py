"""What is told about rows that an expectation does not hold for: where they stand, the value as it came, the mend.

Which rows these are is `validation`'s.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import layouts
from orchestration.exports.records import UNREADABLE
from orchestration.judged import Frame, Origin, Part
from orchestration.rules import Check

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

_DATE_RULES = ("date_readable", "timestamp_readable")
_DAY_NUMBER = re.compile(r"[1-5][0-9]{4}([.,][0-9]+)?")  # of the years 1927 to 2064
_SPREADSHEET_EPOCH = date(1899, 12, 30)
_FEW = 8  # rows of which so many times more are there are taken out before they are looked at
_LINE = "(line)"  # the heading under which a reader keeps a line that it could not divide


@dataclass(frozen=True)
class Picked:
    """Some rows of a frame, and where each stands: ``place`` is its index among ``parts``, the tables of the files."""

    frame: Frame
    at: np.ndarray
    parts: list[tuple[str, Part]]  # path of the file, table
    place: np.ndarray

    @classmethod
    def of(cls, frame: Frame, at: np.ndarray, origins: Mapping[str, Origin]) -> "Picked":
        return cls(
            frame, at, *_parts(_some(frame.table["_file_id"], at), _some(frame.table["_row_number"], at), origins)
        )

    def column(self, name: str) -> pa.Array:
        return _some(self.frame.table[name], self.at)

    def source(self, heading: str) -> pa.Array:
        """The untouched text under a heading."""
        whole = self.frame.table["_source"]
        if _FEW * len(self.at) < len(whole):
            return _under(heading, _some(whole, self.at))
        return _some(pa.chunked_array([_under(heading, chunk) for chunk in whole.chunks]), self.at)

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


def _under(heading: str, sources: pa.MapArray) -> pa.Array:
    return pc.map_lookup(sources.cast(pa.map_(pa.string(), pa.string())), heading, "first")


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


def faults_of(record: str, frame: Frame, check: Check, picked: Picked) -> pa.Table:
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


def _original(picked: Picked, name: str) -> pa.Array:
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
