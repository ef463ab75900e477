"""SAS transport files, versions 5 and 8, with one data set or several.

A confined process parses: pyreadstat reads the headers of each data set, and its rows, cells of fixed width, are taken
column by column. The records of the format: SAS Technical Support, TS-140 and "Record Layout of a SAS Version 8 or 9
Data Set in SAS Transport Format".
"""

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import Rejected, Sheet, confined
from orchestration.exports.confined import Parsed
from orchestration.exports.layouts import declared
from orchestration.exports.tables import Typed, check_bytes, check_size, several

if TYPE_CHECKING:
    from orchestration.study import Study

_RECORD = 80
_LIBRARY = 3 * _RECORD
_HEADER = re.compile(rb"HEADER RECORD\*{7}(MEMBER  |MEMBV8  |OBS     |OBSV8   )HEADER RECORD!{7}(.{15})", re.DOTALL)
_BLOCK_BYTES = 100_000 * _RECORD
_CHUNK_ROWS, _CHUNK_BYTES = 100_000, 16 << 20
_NARROWEST, _WIDEST = 3, 8  # bytes of a number
_CUT = np.array([0, 0, 1, 1, *[2] * 4, *[3] * 8], np.uint64)  # by the first hexadecimal digit: bits beyond a float64's
_FIRST_DAY, _LAST_DAY = -137_774, 73_050  # 1582-10-15, where SAS begins, and 2160-01-01
_EPOCH_DAYS = 3653  # from 1960-01-01, SAS's day 0, to 1970-01-01
_DATE = re.compile(
    r"(DATE|DDMMYY|MMDDYY|YYMMDD|YYMM|YYMON|MONYY|MMYY|JULIAN|JULDAY|WEEKDAT|WORDDAT|NLDATE(?!TM)|EURDFD[DEMNW]|"
    r"[BE]8601D[AN]|IS8601DA|MINGUO|NENGO|PDJUL|YYQ|QTR|YEAR|MONTH|DAY|DOWNAME|MONNAME)[A-Z]?\d*(\.\d+)?$"
)
_DATETIME = re.compile(
    r"(DATETIME|DATEAMPM|DTDATE|DTMONYY|DTYEAR|DTWKDATX|NLDATM|EURDFDT|MDYAMPM|[BE]8601D[TXZ]|IS8601DT)"
)
_TIME = re.compile(r"(TIME|TOD|HHMM|HOUR|MMSS|NLTIM|[BE]8601TM|IS8601TM)")


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read every data set of the file.

    Raises:
        Rejected: as `tables`, or what `tables.several` raises.
    """
    return several(tables(path, name, study), name, study)


def tables(path: Path, name: str, study: "Study") -> list[Typed]:
    """Every data set, before anybody knows what it means.

    Raises:
        Rejected: ``too_large``, ``truncated``, ``record_count``, ``encoding``, ``damaged``, or what `confined.tables`
            raises.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_file_mb)
    encodings = list(dict.fromkeys([*(source.encoding for source in declared(name, study)), "utf-8"]))
    for encoding in encodings:
        try:
            found = confined.tables(__name__, path, name, study.ingest, encoding=encoding)
            break
        except Rejected as refusal:
            if refusal.rule != "encoding" or encoding == encodings[-1]:
                raise
    return [
        Typed(table.schema.names, table, f"data set '{title}'" if len(found) > 1 else "", title)
        for title, table, _ in found
    ]


# --- in the child --------------------------------------------------------------------------------------------------


def parse(path: str, encoding: str) -> Iterator[Parsed]:
    """One table a data set: text as text, dates by their formats as ISO text, numbers as float64.

    Special missing values (``.A`` to ``.Z``, ``._``) are missing.
    """
    size = os.path.getsize(path)
    if size % _RECORD:
        raise Rejected(
            "truncated", f"{path}: not whole: a transport file is made of records of 80 bytes. Deliver it again, whole."
        )
    with open(path, "rb") as file:
        members = list(_members(file, size))
        if not members:
            raise Rejected("damaged", f"{path}: it holds no data set. Export it again.")
        for member in members:
            yield _data_set(file, path, member, encoding)


@dataclass(frozen=True)
class _Member:
    """A data set by the places of its header, of its first row and of its end; it may have no rows' header.

    ``stated``: the number of rows that the header of version 8 tells; 0 where it tells none.
    """

    start: int
    rows: int | None
    end: int
    stated: int


def _members(file: BinaryIO, size: int) -> Iterator[_Member]:
    """Headers begin a record."""
    start, rows, stated = None, None, 0
    for begin in range(0, size, _BLOCK_BYTES):
        file.seek(begin)
        for found in _HEADER.finditer(file.read(_BLOCK_BYTES)):
            place = begin + found.start()
            if place % _RECORD:
                continue
            if found[1].startswith(b"MEM"):
                if start is not None:
                    yield _Member(start, rows, place, stated)
                start, rows, stated = place, None, 0
            elif start is not None and rows is None:
                rows = place + _RECORD
                stated = int(found[2]) if found[1].startswith(b"OBSV8") and found[2].strip().isdigit() else 0
    if start is not None:
        yield _Member(start, rows, size, stated)


def _data_set(file: BinaryIO, path: str, member: _Member, encoding: str) -> Parsed:
    about = _about(file, path, member, encoding)
    widths = [about.variable_storage_width[name] for name in about.column_names]
    width = sum(widths)
    if member.rows is None or not width:
        raise Rejected("damaged", f"{path}: it holds no rows' header or no columns. Export it again.")
    count = _whole_rows(file, path, member, width)
    check_size(path, count, len(widths))
    kinds = [kind_of(about.original_variable_types.get(name)) for name in about.column_names]
    is_text = [about.readstat_variable_types[name] == "string" for name in about.column_names]
    schema = pa.schema(
        [
            (name, pa.string() if text or kind else pa.float64())
            for name, text, kind in zip(about.column_names, is_text, kinds)
        ]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        step = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // width))
        for first in range(0, count, step):
            rows, arrays, begin = _rows(file, member, width, first, min(step, count - first)), [], 0
            for own, text, kind in zip(widths, is_text, kinds):
                cells = np.ascontiguousarray(rows[:, begin : begin + own])
                begin += own
                if text:
                    arrays.append(_texts(cells, path, encoding))
                else:
                    numbers = _numbers(cells)
                    arrays.append(moments(numbers, kind) if kind else numbers)
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return Parsed(about.table_name or "", schema, batches())


def _about(file: BinaryIO, path: str, member: _Member, encoding: str):
    """What the headers say, by pyreadstat: it reads the first data set of a file only, and is given no rows."""
    import pyreadstat

    headers = os.memfd_create("headers")
    with os.fdopen(headers, "wb") as part:
        file.seek(0)
        part.write(file.read(_LIBRARY))
        file.seek(member.start)
        part.write(file.read((member.rows or member.end) - member.start))
        part.flush()
        try:
            return pyreadstat.read_xport(
                f"/proc/self/fd/{headers}", metadataonly=True, encoding=codecs.lookup(encoding).name
            )[1]
        except (pyreadstat.ReadstatError, UnicodeDecodeError) as error:
            if "encoding" not in str(error).lower() and not isinstance(error, UnicodeDecodeError):
                raise
            raise _not_encoded(path, "a label", encoding) from None


def _rows(file: BinaryIO, member: _Member, width: int, first: int, count: int) -> np.ndarray:
    """Some rows as bytes."""
    file.seek(member.rows + first * width)
    return np.frombuffer(file.read(count * width), np.uint8).reshape(-1, width)


def _whole_rows(file: BinaryIO, path: str, member: _Member, width: int) -> int:
    """How many rows there are. After the last one only blanks may fill the last record, which may be wider than a row:
    rows of blanks at the end are none unless the header counts them, and anything else is a row that was cut."""
    room, left = divmod(member.end - member.rows, width)
    file.seek(member.end - left)
    if file.read(left).strip(b" \0"):
        raise Rejected("truncated", f"{path}: the last row is cut. Deliver it again, whole.")
    filled = _filled_rows(file, member, width, room)
    if member.stated and not filled <= member.stated <= room:
        raise Rejected(
            "record_count",
            f"{path}: its header says {member.stated:,} rows, {filled:,} are there. Deliver it again, whole.",
        )
    return member.stated or filled


def _filled_rows(file: BinaryIO, member: _Member, width: int, count: int) -> int:
    """Of so many rows those up to the last one that is not blank."""
    step = max(1, _CHUNK_BYTES // width)
    while count:
        first = max(0, count - step)
        filled = np.flatnonzero((_rows(file, member, width, first, count - first) != ord(" ")).any(axis=1))
        if len(filled):
            return first + int(filled[-1]) + 1
        count = first
    return 0


def _texts(cells: np.ndarray, path: str, encoding: str) -> pa.Array:
    """Cells of text without the blanks that fill them up."""
    count, width = cells.shape
    if not count or not width:
        return pa.array([""] * count, pa.string())
    if _holds_ascii(encoding) and cells.max() < 0x80 and cells.min() > 0:
        places = np.arange(0, (count + 1) * width, width, dtype=np.int32)
        text = pa.StringArray.from_buffers(count, pa.py_buffer(places), pa.py_buffer(cells))
        return pc.ascii_rtrim(text, " ")
    whole = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), count, [None, pa.py_buffer(cells)])
    encoded = whole.dictionary_encode()
    try:
        found = [_text(cell, encoding) for cell in encoded.dictionary.to_pylist()]
    except UnicodeDecodeError:
        raise _not_encoded(path, "a text", encoding) from None
    return pa.array(found, pa.string()).take(encoded.indices)


def _holds_ascii(encoding: str) -> bool:
    ascii_bytes = bytes(range(1, 0x80))
    return ascii_bytes.decode(encoding, "replace") == ascii_bytes.decode("ascii")


def _text(cell: bytes, encoding: str) -> str:
    """Without what fills it up, and up to the first NUL; a letter of several bytes that was cut in two is left out."""
    return codecs.getincrementaldecoder(encoding)().decode(cell.rstrip(b" \0")).partition("\0")[0]


def _not_encoded(path: str, what: str, encoding: str) -> Rejected:
    return Rejected(
        "encoding",
        f"{path}: {what} is not {encoding.upper()}. Declare the file's encoding (for example cp1252) under sources: in"
        " study.yaml.",
    )


def _numbers(cells: np.ndarray) -> pa.Array:
    """IBM's hexadecimal floating point, cut to the bytes of its column: sign, exponent of 16, 56 bits of fraction.

    A float64 holds 53 bits: the others are cut off, as SAS and pyreadstat do. A zero with a first byte is missing.
    """
    count, width = cells.shape
    if not _NARROWEST <= width <= _WIDEST:
        return pa.nulls(count, pa.float64())
    filled = np.zeros((count, 8), np.uint8)
    filled[:, :width] = cells
    fraction = filled.view(">u8").ravel().astype(np.uint64) & np.uint64((1 << 56) - 1)
    first = filled[:, 0]
    cut = _CUT[(fraction >> np.uint64(52)).astype(np.intp)]
    numbers = np.ldexp((fraction >> cut << cut).astype(np.float64), 4 * ((first & 0x7F).astype(np.int32) - 64) - 56)
    return pa.array(np.where(first & 0x80, -numbers, numbers), pa.float64(), mask=(fraction == 0) & (first != 0))


def kind_of(format_name: str | None) -> str | None:
    """What a number is by the format that SAS shows it in: date, datetime, time, or a number."""
    name = (format_name or "").upper()
    for kind, pattern in (("datetime", _DATETIME), ("time", _TIME), ("date", _DATE)):
        if pattern.match(name):
            return kind
    return None


def moments(numbers: pa.Array, kind: str) -> pa.Array:
    """Days or seconds since 1960 as ISO text; a number that is no day of the calendar stays a number."""
    unit = 86_400 if kind == "datetime" else 1
    low, high = (0, 86_400) if kind == "time" else (_FIRST_DAY * unit, _LAST_DAY * unit)
    sane = pc.and_(pc.greater_equal(numbers, low), pc.less(numbers, high))
    whole = pc.floor(pc.if_else(sane, numbers, None)).cast(pa.int64())
    if kind == "date":
        text = pc.subtract(whole, _EPOCH_DAYS).cast(pa.int32()).cast(pa.date32()).cast(pa.string())
    elif kind == "datetime":
        moment = pc.subtract(whole, _EPOCH_DAYS * 86_400).cast(pa.timestamp("s"))
        text = pc.strftime(moment, "%Y-%m-%dT%H:%M:%S")
    else:
        text = whole.cast(pa.int32()).cast(pa.time32("s")).cast(pa.string())
    return pc.coalesce(text, numbers.cast(pa.string()))
