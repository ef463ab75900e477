"""Typed tables -> sheets: what workbooks, transport files, Dataset-JSON and Parquet share once they are parsed.

Typed values become the text that a person would have typed: numbers by their significant digits, dates in ISO 8601.
How a format is parsed does not belong here; delimited text, whose cells are text already, has its own way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import Rejected, Sheet, layouts
from orchestration.exports.mapping import Plan, canonical, fold_heading, headings_read, schema, template_headings
from orchestration.exports.spill import Spilled, pieces, regrouped, side_by_side
from orchestration.exports.values import by_distinct, join

if TYPE_CHECKING:
    from orchestration.study import Study

MAX_COLUMNS = 2_000
MAX_CELLS = 200_000_000
_BATCH_ROWS = 100_000
_SAMPLE_ROWS = 50
_WHOLE = float(1 << 53)  # up to here a float64 holds every whole number
_PLAIN = r"^-?\d+(\.\d+)?$"


@dataclass(frozen=True)
class Typed:
    """A parsed table.

    ``columns`` holds one column a heading: text, whole or floating numbers, decimals, booleans, dates, times or
    timestamps. ``part`` says which of several tables it is, ``title`` what it is called. ``numeric``: per heading,
    where a text column was a number in the file (mixed columns of a workbook).
    ``faults``: per heading, (row from 0, why the cell cannot be read). ``formulas``: per heading, the first cell that
    is computed.
    """

    headings: list[str]
    columns: pa.Table | Spilled
    part: str = ""
    title: str = ""
    numeric: dict[str, pa.Array] | None = None
    faults: dict[str, list[tuple[int, str]]] | None = None
    formulas: dict[str, str] | None = None

    def opened(self, dialect: layouts.Dialect) -> "Typed":
        return self

    @property
    def names_columns(self) -> bool:
        return self.formulas is None  # of a workbook the first row is what it is

    def sample(self, heading: str) -> list[str]:
        """The column's filled texts in the first rows."""
        places = [place for place, found in enumerate(self.headings) if fold_heading(found) == fold_heading(heading)]
        cells = [cell.strip() for place in places for cell in self._head.column(place).to_pylist()]
        return [cell for cell in cells if cell]

    @cached_property
    def _head(self) -> pa.RecordBatch:
        return self.first(_SAMPLE_ROWS)

    def first(self, rows: int) -> pa.RecordBatch:
        """So many rows at most, as text."""
        return _text(self, next(pieces(self.columns)).slice(0, rows), 0, ".")

    def read_by(self, plan: Plan) -> list[str]:
        """Headings whose values count. A step of the plan may read any column."""
        if plan.step:
            return self.headings
        read = {fold_heading(heading) for group in plan.columns.values() for heading in group}
        read |= {fold_heading(heading) for heading in template_headings(plan.subject_id or "")}
        if plan.domain:
            read.add(fold_heading(plan.domain[0]))
        return [heading for heading in self.headings if fold_heading(heading) in read]


class Openable(Protocol):
    """A table, or what becomes one once it is known which row holds the headings."""

    part: str
    title: str

    def opened(self, dialect: layouts.Dialect) -> Typed: ...


def sheet(source: Openable, name: str, study: "Study") -> Sheet:
    """The rows of one table by the layout that fits.

    Raises:
        Rejected: ``too_wide``, ``too_large``, ``declaration``, or what `layouts.choose` raises.
    """
    table, plan = layouts.choose(name, source.opened, study, source.title)
    check_size(f"{name}, {table.part}" if table.part else name, table.columns.num_rows, len(table.headings))
    return planned(table, plan, name, study)


def planned(table: Typed, plan: Plan, name: str, study: "Study") -> Sheet:
    """The rows of a table whose plan is known."""
    try:
        plan = replace(plan, dates=plan.dates.or_iso())
    except ValueError as error:
        raise Rejected("declaration", f"study.yaml: sources, {plan.source}: {error}.") from None
    for heading in table.read_by(plan):
        if table.formulas and heading in table.formulas:
            raise Rejected(
                "formula",
                f"{name}, {table.part}: cell {table.formulas[heading]} in the column {heading!r} is a formula, whose"
                " stored result may be out of date. Copy the sheet and paste it as values.",
            )
    rows = table.columns.num_rows
    reasons = _reasons(table, plan, rows)

    def read(piece: tuple[int, pa.Table]) -> pa.RecordBatch:
        start, columns = piece
        own = reasons and reasons.slice(start, columns.num_rows)
        return canonical(_text(table, columns, start, plan.decimal), table.headings, plan, study, misread=own)

    parts = enumerate(regrouped(pieces(table.columns), _BATCH_ROWS))
    placed = ((place * _BATCH_ROWS, columns) for place, columns in parts)
    batches = side_by_side(read, placed) if rows > _BATCH_ROWS else map(read, placed)
    whole = schema(plan.record)
    if isinstance(table.columns, Spilled) and not plan.finish:
        numbered = Spilled(table.columns.folder, batches, whole).finish(np.arange(1, rows + 1))
    else:
        found = pa.Table.from_batches(batches, whole)
        if plan.finish:
            found = plan.finish(found)
        numbered = found.append_column("_row_number", pa.array(np.arange(1, rows + 1), pa.int64()))
    return Sheet(
        plan.record.name, plan.source, plan.layout, numbered, layouts.exported_on(name, plan, study), table.part,
        headings=headings_read(plan, table.headings),
    )  # fmt: skip


def _reasons(table: Typed, plan: Plan, rows: int) -> pa.Array | None:
    """Rows with a cell that cannot be read, in a column that counts, are set aside with the reason."""
    reasons: dict[int, str] = {}
    for heading in table.read_by(plan) if table.faults else ():
        for row, why in table.faults.get(heading, ()):
            reasons.setdefault(row, f"{heading}: {why}")
    return pa.array([reasons.get(row) for row in range(rows)], pa.string()) if reasons else None


def check_size(where: str, rows: int, columns: int) -> None:
    """Raises Rejected where a table has more columns or cells than any export needs."""
    if columns > MAX_COLUMNS:
        raise Rejected(
            "too_wide", f"{where}: more than {MAX_COLUMNS:,} columns. Export only the columns that are needed."
        )
    if rows * columns > MAX_CELLS:
        raise Rejected(
            "too_large",
            f"{where}: {rows:,} rows of {columns:,} columns, more than {MAX_CELLS:,} cells. Split the export.",
        )


def check_bytes(name: str, size: int, limit_mb: int, mend: str = "Split the export.") -> None:
    """Raises Rejected where a file is larger than its format may be."""
    if size > limit_mb << 20:
        raise Rejected(
            "too_large", f"{name}: {size >> 20:,} MB, and the limit of this format is {limit_mb:,} MB. {mend}"
        )


def texts(column: pa.Array, decimal: str = ".") -> pa.Array:
    """A column of any plain type as text; missing is empty text.

    Raises:
        pa.ArrowInvalid, pa.ArrowNotImplementedError: a type that no table of values holds.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return texts(column.cast(kind.value_type), decimal)
    if pa.types.is_floating(kind):
        text = _marked(_float_text(column.cast(pa.float64()), 7 if kind.bit_width < 64 else 15), decimal)
    elif pa.types.is_decimal(kind):
        text = _marked(by_distinct(column.cast(pa.string()), _plain), decimal)
    elif pa.types.is_timestamp(kind):
        text = _timestamp_text(column)
    elif pa.types.is_time(kind):
        text = pc.utf8_slice_codeunits(column.cast(pa.string()), 0, 8)
    else:
        text = column.cast(pa.string())
    return pc.fill_null(text, "")


def _text(table: Typed, columns: pa.Table, start: int, decimal: str) -> pa.RecordBatch:
    """Some rows of a table as text, the first of which is its row ``start``."""
    made = []
    for heading, column in zip(table.headings, columns.columns, strict=True):
        text = texts(column.combine_chunks(), decimal)
        if decimal != "." and table.numeric and heading in table.numeric:
            is_number = table.numeric[heading].slice(start, len(text))
            text = pc.if_else(is_number, pc.replace_substring(text, ".", decimal), text)
        made.append(text)
    return pa.RecordBatch.from_arrays(made, [str(place) for place in range(len(made))])


def _marked(text: pa.Array, decimal: str) -> pa.Array:
    return text if decimal == "." else pc.replace_substring(text, ".", decimal)


def _float_text(column: pa.Array, digits: int) -> pa.Array:
    """The shortest text within the digits that every writer keeps: what a conversion added (1e-14) falls away."""
    encoded = column.dictionary_encode()
    if 2 * len(encoded.dictionary) < len(column):  # limits, visits, doses: few numbers, many times
        return _float_text(encoded.dictionary, digits).take(encoded.indices)
    column = pc.add(pc.if_else(pc.is_finite(column), column, None), 0.0)  # NaN and infinity are no values, -0 is 0
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less_equal(pc.abs(column), _WHOLE))
    if pc.all(whole).as_py() is not False:
        return column.cast(pa.int64()).cast(pa.string())
    text = column.cast(pa.string())
    is_short = pc.and_(pc.match_substring_regex(text, _PLAIN), pc.less_equal(pc.utf8_length(text), digits + 1))
    long = by_distinct(pc.if_else(is_short, None, text), lambda found: significant(float(found), digits))
    return pc.if_else(is_short, pc.replace_substring_regex(text, r"\.0$", ""), long)


def significant(number: float, digits: int = 15) -> str:
    """The number by the digits that every writer keeps: 14.999999999999998 is the noise of a sum and was 15."""
    if number.is_integer() and abs(number) <= _WHOLE:
        return str(int(number))
    return _plain(format(number, f".{digits}g"))


def _plain(text: str) -> str:
    """Without exponent and closing zeros; very large and very small numbers stay as they are."""
    number = Decimal(text)
    if number == 0:
        return "0"
    return format(number.normalize(), "f") if abs(number.adjusted()) <= 30 else text


def _timestamp_text(column: pa.Array) -> pa.Array:
    """ISO 8601 in UTC where the column has a zone, else without one; midnight without a zone is the day alone."""
    zoned = column.type.tz is not None
    local = pc.cast(column, pa.timestamp(column.type.unit)) if not zoned else column.cast(pa.timestamp("us", "UTC"))
    seconds = pc.floor_temporal(local, unit="second").cast(pa.timestamp("s", "UTC" if zoned else None))
    text = pc.strftime(seconds, "%Y-%m-%dT%H:%M:%S")
    if zoned:
        return join(text, "Z")
    return pc.if_else(pc.ends_with(text, "T00:00:00"), pc.utf8_slice_codeunits(text, 0, 10), text)


def several(tables: Sequence[Openable], name: str, study: "Study") -> list[Sheet]:
    """The sheets of a file with several tables.

    A table that shares at most one heading with any layout (a legend, a cover) or is of an SDTM domain that the study
    does not read is left out, and the verdict says so. Any other is meant to be read: it refuses the file, as its rows
    would be lost.

    Raises:
        Rejected: as `sheet`, or no table of the file has a layout.
    """
    sheets, left_out = [], []
    for table in tables:
        try:
            sheets.append(sheet(table, name, study))
        except layouts.NoLayout as misfit:
            wanted = layouts.sheets(name, study)
            if len(tables) == 1 or (misfit.in_common > 1 and not wanted) or table.title in wanted:
                raise _naming(misfit, name, table.part) from None
            left_out.append((table.part, misfit))
        except Rejected as refusal:
            if refusal.rule != "unknown_domain" or len(tables) == 1:
                raise _naming(refusal, name, table.part) from None
            left_out.append((table.part, refusal))
    if not sheets:
        part, refusal = max(left_out, key=lambda item: getattr(item[1], "in_common", MAX_COLUMNS))
        raise _naming(refusal, name, part)
    if left_out:
        note = f"left out, as nothing of the study reads it: {', '.join(part for part, _ in left_out)}"
        sheets[0] = replace(sheets[0], note=note)
    return sheets


def _naming(refusal: Rejected, name: str, part: str) -> Rejected:
    if not part or part in refusal.message:
        return refusal
    return Rejected(refusal.rule, refusal.message.replace(name, f"{name}, {part}", 1))
