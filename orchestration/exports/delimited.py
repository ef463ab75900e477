"""Delimited text (CSV, TSV): bytes -> text columns, every value as it stands, every record accounted for.

pyarrow.csv splits the rows. What it takes silently is looked at here first: encoding, quotes that swallow rows, lines
and tables too large, the number of records. Nothing is sniffed: delimiter and encoding come with the layout.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from orchestration.exports import Rejected, Sheet, layouts
from orchestration.exports.mapping import SOURCE, Plan, canonical, fold_heading, headings_read, schema
from orchestration.exports.privacy import WITHHELD, without_names
from orchestration.exports.spill import SPILL_ROWS, Mapped, Spilled, letting_go, side_by_side
from orchestration.exports.tables import MAX_COLUMNS, check_bytes

if TYPE_CHECKING:
    from orchestration.study import Study

MAX_LINE_BYTES = 1 << 20
MAX_RAGGED_ROWS = 100_000  # of so many the declaration is wrong, not the rows
_BLOCK_BYTES = 4 << 20
_KEPT_BLOCKS = 16
_SAMPLE_ROWS = 50
_LINE_END = re.compile(rb"\r\n|\r|\n")
_QUOTE, _LF, _CR = b'"\n\r'


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read one table.

    Raises:
        Rejected: ``empty``, ``too_large``, ``encoding``, ``line_too_long``, ``too_wide``, ``unclosed_quote``,
            ``ragged_rows``, or what `layouts.choose` raises.
    """
    size = path.stat().st_size
    check_bytes(name, size, study.ingest.max_file_mb, "Split the export, or raise ingest.max_file_mb in study.yaml.")
    if not size:
        raise Rejected("empty", f"{name}: the file is empty. Export it again.")
    raw = Mapped.of(path)
    text, plan = layouts.choose(name, lambda dialect: Text.opened(raw.buffer, name, dialect), study)
    table = _table(text, raw, plan, study, path.parent)
    exported_on, headings = layouts.exported_on(name, plan, study), headings_read(plan, text.headings)
    return [Sheet(plan.record.name, plan.source, plan.layout, table, exported_on, headings=headings)]


@dataclass(frozen=True)
class Text:
    """A table as delimited text: its headings and first rows, not yet the rest."""

    name: str
    raw: pa.Buffer
    delimiter: str
    encoding: str
    headings: list[str]
    heading_lines: int  # lines of text before the first row
    rows: list[list[str]]

    @classmethod
    def opened(cls, raw: pa.Buffer, name: str, dialect: layouts.Dialect) -> "Text":
        """Read the heading line.

        Raises:
            Rejected: there is none that could be read.
        """
        delimiter, encoding = dialect.delimiter, dialect.encoding
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise Rejected(
                "declaration",
                (f"study.yaml: sources: delimiter {delimiter!r} must be one ASCII character, and no quotation mark."),
            )
        head = bytes(raw[: MAX_LINE_BYTES + 1])
        whole = len(head) == raw.size
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not _is_utf16(encoding):
            raise Rejected(
                "encoding",
                (f"{name}: line 1: the file is UTF-16. Save it as UTF-8, or declare encoding: utf-16 in study.yaml."),
            )
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            raise Rejected("empty", f"{name}: the file is empty. Export it again.")
        if not whole and not _LINE_END.search(head):
            raise Rejected(
                "line_too_long",
                (
                    f"{name}: line 1 is longer than {MAX_LINE_BYTES >> 20} MB. "
                    "Export it again with an end of line after each row."
                ),
            )
        lines = list(io.StringIO(head.decode(encoding, errors="replace").removeprefix("\ufeff"), newline=""))
        if "\0" in lines[0]:
            raise Rejected("encoding", f"{name}: line 1: NUL bytes in the heading. Save the file as UTF-8 text.")
        if lines[0].count(delimiter) >= MAX_COLUMNS:
            raise Rejected(
                "too_wide",
                (f"{name}: line 1: more than {MAX_COLUMNS:,} columns. Export only the columns that are needed."),
            )
        rows = csv.reader(lines if whole else lines[:-1], delimiter=delimiter)
        try:
            headings = next(itertools.islice(filter(None, rows), dialect.heading_row - 1, None))
            heading_lines = rows.line_num
        except (csv.Error, StopIteration):
            raise Rejected(
                "unclosed_quote",
                (f"{name}: line 1: a quotation mark in the heading is never closed. Mend the heading."),
            ) from None
        return cls(name, raw, delimiter, encoding, headings, heading_lines, _first_rows(rows))

    names_columns = False

    def sample(self, heading: str) -> list[str]:
        """The column's filled texts in the first rows."""
        places = [place for place, found in enumerate(self.headings) if fold_heading(found) == fold_heading(heading)]
        cells = [row[place].strip() for place in places for row in self.rows if place < len(row)]
        return [cell for cell in cells if cell]


def _first_rows(rows: Iterator[list[str]]) -> list[list[str]]:
    """As many as read well: what is wrong further down is told of when the rows are read."""
    found: list[list[str]] = []
    try:
        for row in rows:
            found.append(row)
            if len(found) == _SAMPLE_ROWS:
                break
    except csv.Error:
        pass
    return found


def _is_utf16(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf-16")


def _table(text: Text, raw: Mapped, plan: Plan, study: "Study", folder: Path) -> pa.Table | Spilled:
    """All rows in canonical text. Good rows keep the file's order; those with a wrong number of fields stand last."""
    if codecs.lookup(text.encoding).name not in ("utf-8", "utf-8-sig"):
        raw = Mapped.written(folder, _recoded(text))
    body = _body(raw.buffer, text)
    records, has_quotes = _count_records(body, text, raw)
    ragged: list[pa.csv.InvalidRow] = []
    batches = _batches(body, text, has_quotes, ragged) if records else ()
    batches = letting_go(batches, _KEPT_BLOCKS, raw.let_go)

    def read_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
        return canonical(batch, text.headings, plan, study)

    read_batches = side_by_side(read_batch, batches) if body.size > _BLOCK_BYTES else map(read_batch, batches)
    if records > SPILL_ROWS and not plan.finish:
        table = Spilled(folder, read_batches, schema(plan.record))
    else:
        table = pa.Table.from_batches(read_batches, schema(plan.record))
    if plan.finish:
        table = plan.finish(table)
    if table.num_rows + len(ragged) != records:
        raise Rejected(
            "record_count",
            (
                f"{text.name}: {records:,} records by their ends, {table.num_rows + len(ragged):,} by their fields. "
                "Look for stray quotation marks, and export again."
            ),
        )
    numbers = np.delete(np.arange(1, records + 1), [row.number - 1 for row in ragged])
    whole = schema(plan.record).append(pa.field("_row_number", pa.int64()))
    hides = len(without_names(text.headings, study)) < len(text.headings)
    last = _ragged_table(ragged, whole, hides) if ragged else None
    if isinstance(table, Spilled):
        return table.finish(numbers, last)
    table = table.append_column(whole.field("_row_number"), pa.array(numbers, pa.int64()))
    return pa.concat_tables([table, last]) if last else table


def _ragged_table(ragged: list[pa.csv.InvalidRow], into: pa.Schema, hides: bool) -> pa.Table:
    """``hides``: the table has a column of names, and where in such a line they stand nobody knows."""
    columns = {name: pa.nulls(len(ragged), into.field(name).type) for name in into.names}
    columns["_source"] = pa.array([[("(line)", WITHHELD if hides else row.text)] for row in ragged], SOURCE)
    columns["_misread"] = pa.array([_ragged(row) for row in ragged], pa.string())
    columns["_row_number"] = pa.array([row.number for row in ragged], pa.int64())
    return pa.table(columns, schema=into)


def _ragged(row: pa.csv.InvalidRow) -> str:
    said = f"{row.actual_columns} fields where the heading has {row.expected_columns}"
    more = row.actual_columns > row.expected_columns
    return said + (": a delimiter in a value (a decimal comma?) needs quotation marks" if more else ": the row is cut")


def _batches(
    body: pa.Buffer, text: Text, has_quotes: bool, ragged: list[pa.csv.InvalidRow]
) -> Iterator[pa.RecordBatch]:
    """The rows as text columns; rows with a wrong number of fields go to ``ragged``."""

    def set_aside(row: pa.csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip" if len(ragged) <= MAX_RAGGED_ROWS else "error"

    try:
        with pa.csv.open_csv(
            pa.BufferReader(body),
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=text.headings),
            parse_options=pa.csv.ParseOptions(
                delimiter=text.delimiter, newlines_in_values=has_quotes, invalid_row_handler=set_aside
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(text.headings, pa.string()), check_utf8=False, strings_can_be_null=False
            ),
        ) as reader:
            yield from (batch for batch in reader if batch.num_rows)
    except pa.ArrowInvalid:
        if len(ragged) <= MAX_RAGGED_ROWS:
            raise
        raise Rejected(
            "ragged_rows",
            (
                f"{text.name}: more than {MAX_RAGGED_ROWS:,} rows lack the heading's {len(text.headings)} fields, the "
                f"first is row {ragged[0].number:,} with {ragged[0].actual_columns}. Check the delimiter, and decimal "
                "commas without quotation marks."
            ),
        ) from None


def _body(buffer: pa.Buffer, text: Text) -> pa.Buffer:
    """What follows the heading."""
    ends = _LINE_END.finditer(buffer)
    last = None
    for _ in range(text.heading_lines):
        last = next(ends, None)
    return buffer.slice(last.end()) if last else buffer.slice(buffer.size)


def _recoded(text: Text) -> Iterator[bytes]:
    """The text as UTF-8."""
    decoder = codecs.getincrementaldecoder(text.encoding)()
    lines = 0
    for begin in range(0, text.raw.size, _BLOCK_BYTES):
        block = bytes(text.raw[begin : begin + _BLOCK_BYTES])
        try:
            recoded = decoder.decode(block, final=begin + _BLOCK_BYTES >= text.raw.size).encode()
        except UnicodeDecodeError as error:
            line = 1 + lines + len(_LINE_END.findall(block[: error.start]))
            raise _not_encoded(text, line) from None
        lines += _lines(recoded)
        yield recoded


def _not_encoded(text: Text, line: int) -> Rejected:
    return Rejected(
        "encoding",
        (
            f"{text.name}: line {line:,}: not {text.encoding.upper()}. Save the file as UTF-8, or declare its encoding "
            "(for example cp1252) under sources: in study.yaml."
        ),
    )


def _lines(buffer: pa.Buffer | bytes, until: int | None = None) -> int:
    return sum(1 for _ in _LINE_END.finditer(buffer, 0, len(buffer) if until is None else until))


def _count_records(body: pa.Buffer, text: Text, raw: Mapped) -> tuple[int, bool]:
    """Number of records that are not empty lines, and whether any is quoted; block by block, so that memory is bounded.

    Raises:
        Rejected: the text is not UTF-8, a line is too long, or a quotation mark swallows what follows.
    """
    records, last_end, is_open, opened, has_quotes = 0, -1, False, 0, False
    for begin, end in letting_go(_blocks(body, text), _KEPT_BLOCKS, raw.let_go):
        content = body[begin:end].to_pybytes()
        try:
            if not content.isascii():
                content.decode()
        except UnicodeDecodeError as error:
            raise _not_encoded(text, text.heading_lines + _lines(body, begin + error.start) + 1) from None
        block = np.frombuffer(content, np.uint8)
        is_end = (block == _LF) | (block == _CR) if _CR in content else block == _LF
        ends = np.flatnonzero(is_end)
        is_quoted = _QUOTE in content
        has_quotes = has_quotes or is_quoted
        turns = _quote_turns(block, is_open, text, body, begin) if is_quoted else np.empty(0, np.int64)
        if len(turns):
            opened = begin + int(turns[-1])
        inside = (np.searchsorted(turns, ends) + is_open) % 2 == 1
        is_open ^= len(turns) % 2 == 1
        ends = ends[~inside] + begin
        lengths = np.diff(ends, prepend=last_end)
        if len(ends):
            if lengths.max() > MAX_LINE_BYTES:
                raise _too_long(text, body, int(ends[lengths.argmax()]))
            records += int(np.count_nonzero(lengths > 1))
            last_end = int(ends[-1])
    if is_open:
        raise _unclosed(text, body, opened, "is never closed and swallows the rows after it")
    return records + (body.size - last_end > 1), has_quotes


def _blocks(body: pa.Buffer, text: Text) -> Iterator[tuple[int, int]]:
    """Cuts of about ``_BLOCK_BYTES`` at ends of lines."""
    begin = 0
    while begin < body.size:
        end = min(begin + _BLOCK_BYTES, body.size)
        if end < body.size:
            found = _LINE_END.search(body, end, min(end + MAX_LINE_BYTES, body.size))
            if found is None and end + MAX_LINE_BYTES < body.size:
                raise _too_long(text, body, end)
            end = found.end() if found else body.size
        yield begin, end
        begin = end


def _quote_turns(block: np.ndarray, is_open: bool, text: Text, body: pa.Buffer, begin: int) -> np.ndarray:
    """Where quoting begins and ends, in turn. Two marks together turn nothing; one amid a plain field is text.

    Raises:
        Rejected: text follows a closing mark, as when a mark is missing and the next one, rows later, closes.
    """
    marks = np.flatnonzero(block == _QUOTE)
    if not len(marks):
        return marks
    first = np.flatnonzero(np.diff(marks, prepend=-2) > 1)
    lengths = np.diff(first, append=len(marks))
    odd = lengths % 2 == 1
    starts, afters = marks[first[odd]], marks[first[odd]] + lengths[odd]
    edges = np.array([ord(text.delimiter), _LF, _CR])
    can_open = (starts == 0) | np.isin(block[starts - 1], edges)
    can_close = (afters == len(block)) | np.isin(block[np.minimum(afters, len(block) - 1)], edges)
    opening = (np.arange(len(starts)) + is_open) % 2 == 0
    if np.where(opening, can_open, can_close).all():
        return starts
    turns = []
    for start, opens, closes in zip(starts.tolist(), can_open.tolist(), can_close.tolist()):
        if is_open and not closes:
            raise _unclosed(text, body, begin + (turns[-1] if turns else start), "is closed only by one amid text")
        if is_open or opens:
            turns.append(start)
            is_open = not is_open
    return np.array(turns, dtype=np.int64)


def _unclosed(text: Text, body: pa.Buffer, position: int, what: str) -> Rejected:
    line = text.heading_lines + _lines(body, position) + 1
    return Rejected(
        "unclosed_quote",
        (f"{text.name}: line {line:,}: the quotation mark {what}. Mend it, or double it if it is text."),
    )


def _too_long(text: Text, body: pa.Buffer, position: int) -> Rejected:
    line = text.heading_lines + _lines(body, position) + 1
    return Rejected(
        "line_too_long",
        (
            f"{text.name}: line {line:,}: a row is longer than {MAX_LINE_BYTES >> 20} MB. "
            "Export it again with an end of line after each row."
        ),
    )
