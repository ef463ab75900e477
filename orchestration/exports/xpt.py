"""SAS transport files, versions 5 and 8, with one data set or several.

pyreadstat parses, in a confined process; it reads the first data set only, so that a file with several is cut into
one file a data set before. The records of the format: SAS Technical Support, TS-140 and "Record Layout of a SAS
Version 8 or 9 Data Set in SAS Transport Format".
"""

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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
_MEMBER = re.compile(rb"HEADER RECORD\*{7}(?:MEMBER  |MEMBV8  )HEADER RECORD!{7}")
_ROWS = re.compile(rb"HEADER RECORD\*{7}(?:OBS     |OBSV8   )HEADER RECORD!{7}")
_CHUNK_ROWS = 100_000
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
        Rejected: ``too_large``, ``truncated``, ``encoding``, ``damaged``, or what `confined.tables` and
            `tables.several` raise.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_file_mb)
    encodings = dict.fromkeys([*(source.encoding for source in declared(name, study)), "utf-8"])
    for encoding in encodings:
        try:
            found = confined.tables(__name__, path, name, study.ingest, encoding=encoding)
            break
        except Rejected as refusal:
            if refusal.rule != "encoding" or encoding == list(encodings)[-1]:
                raise
    tables = [
        Typed(table.column_names, table, f"data set '{title}'" if len(found) > 1 else "", title)
        for title, table, _ in found
    ]
    return several(tables, name, study)


# --- in the child --------------------------------------------------------------------------------------------------


def parse(path: str, encoding: str) -> Iterator[Parsed]:
    """One table a data set."""
    size = os.path.getsize(path)
    if size % _RECORD:
        raise Rejected(
            "truncated", f"{path}: not whole: a transport file is made of records of 80 bytes. Deliver it again, whole."
        )
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = [item.start() for item in _MEMBER.finditer(data) if item.start() % _RECORD == 0]
        if not starts:
            raise Rejected("damaged", f"{path}: it holds no data set. Export it again.")
        for start, end in zip(starts, [*starts[1:], size], strict=True):
            if len(starts) == 1:
                yield _data_set(path, path, data, start, end, encoding)
                continue
            cut = os.memfd_create("data set")
            with os.fdopen(cut, "wb") as part:
                part.write(data[:_LIBRARY] + data[start:end])
                part.flush()
                yield _data_set(f"/proc/self/fd/{cut}", path, data, start, end, encoding)


def _data_set(where: str, path: str, data: mmap.mmap, start: int, end: int, encoding: str) -> Parsed:
    import pyreadstat

    _, about = pyreadstat.read_xport(where, metadataonly=True, encoding=encoding)
    width = sum(about.variable_storage_width.values())
    rows = _ROWS.search(data, start, end)
    if rows is None or not width:
        raise Rejected("damaged", f"{path}: it holds no rows' header or no columns. Export it again.")
    _check_whole(path, data, rows.start() + _RECORD, end, width)
    count = about.number_rows
    check_size(path, count or 0, len(about.column_names))
    schema, batches = sas_rows(pyreadstat.read_xport, where, path, about, encoding)
    return Parsed(about.table_name or "", schema, batches)


def _check_whole(path: str, data: mmap.mmap, start: int, end: int, width: int) -> None:
    """After the last row only blanks may fill the last record: anything else is a row that was cut."""
    left = (end - start) % width
    if left and data[end - left : end].strip(b" \0"):
        raise Rejected("truncated", f"{path}: the last row is cut. Deliver it again, whole.")


def sas_rows(reader, where: str, path: str, about, encoding: str | None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Schema and batches of a SAS data set: text as text, dates by their formats as ISO text, numbers as float64.

    Special missing values (``.A`` to ``.Z``, ``._``) are missing.
    """
    kinds = {name: _kind(about.original_variable_types.get(name)) for name in about.column_names}
    is_text = {name: about.readstat_variable_types[name] == "string" for name in about.column_names}
    schema = pa.schema(
        [(name, pa.string() if is_text[name] or kinds[name] else pa.float64()) for name in about.column_names]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        offset = 0
        while True:
            rows = _chunk(reader, where, path, offset, encoding)
            length = len(next(iter(rows.values()), ()))
            if length:
                arrays = [
                    _column(rows[name], is_text[name], kinds[name]) for name in about.column_names
                ]  # fmt: skip
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            if length < _CHUNK_ROWS:
                return
            offset += length

    return schema, batches()


def _chunk(reader, where: str, path: str, offset: int, encoding: str | None) -> dict:
    import pyreadstat

    try:
        return reader(
            where, row_offset=offset, row_limit=_CHUNK_ROWS, output_format="dict", disable_datetime_conversion=True,
            encoding=encoding,
        )[0]  # fmt: skip
    except (pyreadstat.ReadstatError, UnicodeDecodeError) as error:
        if "encoding" not in str(error).lower() and not isinstance(error, UnicodeDecodeError):
            raise
        raise Rejected(
            "encoding",
            f"{path}: a text is not {(encoding or 'in the encoding it declares').upper()}. Declare the file's encoding"
            " (for example cp1252) under sources: in study.yaml.",
        ) from None


def _kind(format_name: str | None) -> str | None:
    name = (format_name or "").upper()
    for kind, pattern in (("datetime", _DATETIME), ("time", _TIME), ("date", _DATE)):
        if pattern.match(name):
            return kind
    return None


def _column(values: list, is_text: bool, kind: str | None) -> pa.Array:
    if is_text:
        return pa.array(values, pa.string())
    numbers = pa.array(values, pa.float64(), from_pandas=True)
    return _moments(numbers, kind) if kind else numbers


def _moments(numbers: pa.Array, kind: str) -> pa.Array:
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
