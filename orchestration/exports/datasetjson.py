"""Dataset-JSON 1.1 of CDISC, one document or newline-delimited, as typed tables.

Attributes and types are those of the CDISC Dataset-JSON specification, version 1.1. The limits of JSON itself stand
in `jsontext`.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestration.exports import Rejected, Sheet
from orchestration.exports.jsontext import Number, parse, plain
from orchestration.exports.tables import Typed, check_bytes, check_size, sheet

if TYPE_CHECKING:
    from orchestration.study import Study

_NUMBERS = frozenset({"integer", "float", "double", "decimal"})
_TEXTS = frozenset({"string", "boolean", "datetime", "date", "time", "URI"})
_END = re.compile(rb"\r\n|\r|\n")


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read one dataset.

    Raises:
        Rejected: as `tables`, or what `tables.sheet` raises.
    """
    [table] = tables(path, name, study)
    return [sheet(table, name, study)]


def tables(path: Path, name: str, study: "Study") -> list[Typed]:
    """The one dataset, before anybody knows what it means.

    Raises:
        Rejected: ``too_large``, ``json``, ``metadata``, ``record_count``.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_document_mb, "Deliver it as Parquet or CSV, or split it.")
    data = path.read_bytes()
    first, *rest = _lines(data)
    is_document = _ends_as_document(first, rest)
    meta = parse(data if is_document else first, name if is_document else f"{name}: line 1")
    columns = _columns(meta, name)
    rows = _rows(meta.get("rows"), name) if is_document else [
        _row(parse(line, f"{name}: line {number}"), number, name) for number, line in enumerate(rest, 2) if line.strip()
    ]  # fmt: skip
    _check_count(meta.get("records"), len(rows), name)
    check_size(name, len(rows), len(columns))
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            fields = f"{len(row)} values where columns has {len(columns)}"
            raise Rejected("metadata", f"{name}: row {number:,}: {fields}. Export it again.")
    faults: dict[str, list[tuple[int, str]]] = {}
    arrays = []
    for place, (heading, kind) in enumerate(columns):
        texts = []
        for number, row in enumerate(rows):
            text, fault = _text(row[place], kind)
            texts.append(text)
            if fault:
                faults.setdefault(heading, []).append((number, fault))
        arrays.append(pa.array(texts, pa.string()))
    headings = [heading for heading, _ in columns]
    numeric = {
        heading: pa.repeat(pa.scalar(True), len(rows)) for heading, kind in columns if kind in _NUMBERS
    }  # fmt: skip
    table = pa.table(arrays, names=[str(place) for place in range(len(columns))])
    return [Typed(headings, table, title=str(meta.get("name", "")), numeric=numeric, faults=faults)]


def _lines(data: bytes) -> list[bytes]:
    return _END.split(data.strip())


def _ends_as_document(first: bytes, rest: list[bytes]) -> bool:
    """A document on one line, or pretty-printed over many; in the newline-delimited form line 1 is whole by itself."""
    if not any(line.strip() for line in rest):
        return re.search(rb'"rows"\s*:', first) is not None
    return not first.rstrip().endswith(b"}") or first.strip() == b"{"


def _columns(meta: object, name: str) -> list[tuple[str, str]]:
    """(name, dataType) of each column."""
    version = str(meta.get("datasetJSONVersion", "")) if isinstance(meta, dict) else ""
    if not re.match(r"1\.1(\.|$)", version):
        raise Rejected(
            "metadata", f"{name}: Dataset-JSON {version[:20] or 'without version'} is not read. Export version 1.1."
        )
    columns = meta.get("columns")
    if not isinstance(columns, list) or not columns or not all(isinstance(column, dict) for column in columns):
        raise Rejected("metadata", f"{name}: it has no columns. Export it again with its metadata.")
    found = [(column.get("name"), column.get("dataType")) for column in columns]
    for place, (heading, kind) in enumerate(found, 1):
        if not isinstance(heading, str) or kind not in _NUMBERS | _TEXTS:
            raise Rejected(
                "metadata",
                f"{name}: columns, entry {place}: needs a name and a dataType of Dataset-JSON 1.1. Export it again.",
            )
    return found


def _rows(rows: object, name: str) -> list[list]:
    if not isinstance(rows, list):
        raise Rejected("metadata", f"{name}: it has no rows, not even an empty list. Export it again.")
    return [_row(row, number, name) for number, row in enumerate(rows, 1)]


def _row(row: object, number: int, name: str) -> list:
    if not isinstance(row, list):
        raise Rejected("metadata", f"{name}: row or line {number:,} is no list of values. Export it again.")
    return row


def _check_count(records: object, rows: int, name: str) -> None:
    """The metadata says how many rows there are: fewer means that the file was cut."""
    if not isinstance(records, Number) or not records.isdecimal() or int(records) != rows:
        said = records if isinstance(records, Number) else "no number"
        raise Rejected(
            "record_count", f"{name}: records says {said[:20]}, {rows:,} rows are there. Export it again, whole."
        )


def _text(value: object, kind: str) -> tuple[str, str | None]:
    """(text, why it cannot be read)."""
    if value is None:
        return "", None
    if isinstance(value, bool):
        return str(value).upper(), None
    if isinstance(value, Number):
        text = str(value) if kind in ("integer", "string") else plain(value)
        return (text, None) if text is not None else (str(value)[:40], "a number of no measured size")
    if isinstance(value, str):
        return value, None
    return "", f"{type(value).__name__} where {kind} is declared"
