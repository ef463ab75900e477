"""Workbooks (.xlsx): every visible sheet that a layout fits, parsed by openpyxl in a confined process.

A cell is taken as what it is (number, date, text), not as it is shown. What a person sees but a table does not hold
(merged cells, formulas, macros) is refused or set aside, never guessed.
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports import Rejected, Sheet, confined, layouts
from orchestration.exports.archive import check
from orchestration.exports.confined import Parsed
from orchestration.exports.spill import whole
from orchestration.exports.tables import MAX_COLUMNS, Typed, check_bytes, check_size, several, significant

if TYPE_CHECKING:
    from orchestration.study import Ingest, Study

_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d+):([A-Z]{1,3})(\d+)"')
_FORMULA = re.compile(rb'<(?:\w+:)?c\s[^>]*?\br="([A-Z]{1,3})(\d+)"[^>]*>\s*<(?:\w+:)?f[\s/>]')
_CHUNK_BYTES = 1 << 20
_OVERLAP_BYTES = 2_000
_MAX_FAULTS = 100_000
_BATCH_ROWS = 20_000
_ZEROS = re.compile("0{2,20}")  # the number format of an id such as 007


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read the sheets of a workbook.

    Raises:
        Rejected: ``too_large``, ``too_wide``, ``macros``, ``damaged``, ``merged_cells``, ``formula``, ``hidden_sheet``,
            or what `confined.tables` and `tables.several` raise.
    """
    declared = layouts.sheets(name, study)
    found = grids(path, name, study.ingest)
    named = [grid for grid in found if grid.title in declared]
    wanted = named or [grid for grid in found if not grid.is_hidden]
    filled = [grid for grid in wanted if grid.cells.num_rows]
    if not filled:
        raise Rejected("empty", f"{name}: no visible sheet holds a cell. Export it again.")
    first, *others = several(filled, name, study)
    titles = {grid.title for grid in wanted}
    if passed := [grid.part for grid in found if grid.title not in titles and grid.cells.num_rows]:
        why = "study.yaml names other sheets" if named else "hidden"
        first = replace(first, note="; ".join(filter(None, [first.note, f"left out, {why}: {', '.join(passed)}"])))
    return [first, *others]


def grids(path: Path, name: str, limits: "Ingest") -> list["Grid"]:
    """Every sheet, hidden ones too.

    Raises:
        Rejected: ``too_large``, ``too_wide``, ``macros``, ``damaged``, or what `confined.tables` raises.
    """
    check_bytes(name, path.stat().st_size, limits.max_unpacked_mb)
    found = confined.tables(
        __name__, path, name, limits, max_bytes=limits.max_unpacked_mb << 20, max_members=limits.max_members
    )
    return [Grid.of(name, title, whole(table), about) for title, table, about in found]


@dataclass(frozen=True)
class Grid:
    """The filled rows of a sheet as text, from its first column on.

    ``numbers``: where the text was a number. ``lines``: the sheet's own number of each row. ``formulas``: column ->
    first cell; ``merged``: (first row, last row, range); ``errors``: (row, column, text).
    """

    name: str
    title: str
    is_hidden: bool
    cells: pa.Table
    numbers: pa.Table
    lines: list[int]
    formulas: dict[int, str]
    merged: list[tuple[int, int, str]]
    errors: list[tuple[int, int, str]]

    @classmethod
    def of(cls, name: str, title: str, table: pa.Table, about: dict) -> "Grid":
        width = len(table.column_names) // 2
        names = [str(place) for place in range(width)]
        return cls(
            name, title, about["is_hidden"], pa.table(table.columns[:width], names=names),
            pa.table(table.columns[width : 2 * width], names=names), table.column("line").to_pylist(),
            {int(place): cell for place, cell in about["formulas"].items()},
            [tuple(item) for item in about["merged"]], [tuple(item) for item in about["errors"]],
        )  # fmt: skip

    @property
    def part(self) -> str:
        return f"sheet '{self.title}'"

    def opened(self, dialect: layouts.Dialect) -> Typed:
        """The table below its heading row.

        Raises:
            Rejected: the sheet ends before, or merged cells or formulas stand in the table.
        """
        above = dialect.heading_row - 1
        if above >= self.cells.num_rows:
            raise Rejected(
                "header_mismatch", f"{self.name}, {self.part}: it has no row {dialect.heading_row}, which heading_row"
                " in study.yaml declares."
            )  # fmt: skip
        line = self.lines[above]
        for first, last, cells in self.merged:
            if last >= line:
                where = "the heading" if first <= line else "the table"
                raise Rejected(
                    "merged_cells",
                    f"{self.name}, {self.part}: cells {cells} of {where} are merged. Unmerge them and fill each cell.",
                )
        headings = [column[above].as_py() for column in self.cells.columns]
        below, numbers = self.cells.slice(above + 1), self.numbers.slice(above + 1)
        kept = [
            place
            for place, heading in enumerate(headings)
            if heading.strip() or pc.any(pc.not_equal(below.column(place), "")).as_py()
        ]
        places = {place: headings[place] for place in kept}
        faults: dict[str, list[tuple[int, str]]] = {}
        for row, place, text in self.errors:
            if row > above and place in places:
                faults.setdefault(places[place], []).append((row - above - 1, f"the cell holds the error {text}"))
        columns = below.select(kept).rename_columns([str(place) for place in kept])
        numeric = {places[place]: numbers.column(place).combine_chunks() for place in kept}
        return Typed(
            list(places.values()), columns, self.part, self.title, numeric, faults,
            {places[place]: cell for place, cell in self.formulas.items() if place in places},
        )  # fmt: skip


# --- in the child --------------------------------------------------------------------------------------------------


def parse(path: str, max_bytes: int, max_members: int) -> Iterator[Parsed]:
    """One table a sheet: the text columns, as many columns that say which texts were numbers, and ``line``."""
    _check(path, max_bytes, max_members)
    from openpyxl import load_workbook

    with open(path, "rb") as file, zipfile.ZipFile(path) as archive:  # openpyxl goes by the suffix of a path
        workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        for sheet in workbook.worksheets:
            formulas, merged = _marks(archive, sheet._worksheet_path)
            sheet.reset_dimensions()  # what a sheet says of its size is not to be believed
            rows, lines, errors = _cells(path, sheet)
            width = max(map(len, rows), default=0)
            check_size(path, len(rows), width)
            about = {
                "is_hidden": sheet.sheet_state != "visible", "formulas": formulas, "merged": merged, "errors": errors,
            }  # fmt: skip
            texts = [(str(place), pa.string()) for place in range(width)]
            numbers = [(f"n{place}", pa.bool_()) for place in range(width)]
            schema = pa.schema([*texts, *numbers, ("line", pa.int64())])
            yield Parsed(sheet.title, schema, _batches(rows, lines, width, schema), about)


def _check(path: str, max_bytes: int, max_members: int) -> None:
    """Looks at the archive that a workbook is, before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise Rejected("damaged", f"{path}: the workbook is damaged or not whole. Deliver it again.") from None
    check(members, path, max_bytes, max_members)
    names = {member.filename.lower() for member in members}
    if any(name.endswith("vbaproject.bin") for name in names):
        raise Rejected("macros", f"{path}: the workbook holds macros. Save it as .xlsx without them.")
    if "xl/workbook.xml" not in names:
        raise Rejected(
            "type_mismatch", f"{path}: an Office document, but no .xlsx workbook. Save the sheet as .xlsx or CSV."
        )


def _marks(archive: zipfile.ZipFile, member: str) -> tuple[dict[int, str], list[tuple[int, int, str]]]:
    """Columns with formulas and merged ranges, looked for in the sheet's own text: openpyxl's reader drops both."""
    formulas: dict[int, str] = {}
    merged: list[tuple[int, int, str]] = []
    with archive.open(member) as file:
        text = b""
        while chunk := file.read(_CHUNK_BYTES):
            text = text[-_OVERLAP_BYTES:] + chunk
            for column, row in _FORMULA.findall(text):
                formulas.setdefault(_place(column), (column + row).decode())
            for left, top, right, bottom in _MERGED.findall(text):
                item = (int(top), int(bottom), f"{left.decode()}{int(top)}:{right.decode()}{int(bottom)}")
                if item not in merged[-20:] and len(merged) < _MAX_FAULTS:
                    merged.append(item)
    return formulas, merged


def _place(letters: bytes) -> int:
    place = 0
    for letter in letters:
        place = 26 * place + letter - ord("A") + 1
    return place - 1


def _cells(path: str, sheet) -> tuple[list[list[tuple[str, bool]]], list[int], list[tuple[int, int, str]]]:
    """Filled rows as (text, was a number), their numbers in the sheet, and cells with errors."""
    rows, lines, errors = [], [], []
    for line, found in enumerate(sheet.iter_rows(), 1):
        row, filled = [], 0
        for cell in found:
            text, is_number = _text(cell)
            if text:
                filled = len(row) + 1
                if filled > MAX_COLUMNS:
                    raise Rejected(
                        "too_wide", f"{path}: sheet '{sheet.title}': a cell beyond column {MAX_COLUMNS:,}. Delete it."
                    )
                if cell.data_type == "e" and len(errors) < _MAX_FAULTS:
                    errors.append((len(rows), len(row), text))
            row.append((text, is_number))
        if filled:
            rows.append(row[:filled])
            lines.append(line)
    return rows, lines, errors


def _text(cell) -> tuple[str, bool]:
    value = cell.value
    if value is None:
        return "", False
    if isinstance(value, str):
        return value, False
    if isinstance(value, bool):
        return str(value).upper(), False
    if isinstance(value, int):
        shape = cell.number_format or ""
        return (str(value).zfill(len(shape)), False) if _ZEROS.fullmatch(shape) else (str(value), True)
    if isinstance(value, float):
        text = significant(value)
        shape = cell.number_format or ""
        return (text.zfill(len(shape)), False) if _ZEROS.fullmatch(shape) and text.isdecimal() else (text, True)
    return _moment(value), False


def _moment(value: datetime | date | time | timedelta) -> str:
    """ISO 8601 to the second; a day number without a time of day is a date."""
    if isinstance(value, datetime):
        value = (value + timedelta(milliseconds=500)).replace(microsecond=0)
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, time):
        return value.replace(microsecond=0).isoformat()
    return str(value)


def _batches(rows: list, lines: list[int], width: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), _BATCH_ROWS):
        part = [row + [("", False)] * (width - len(row)) for row in rows[start : start + _BATCH_ROWS]]
        columns = [pa.array([row[place][0] for row in part], pa.string()) for place in range(width)]
        columns += [pa.array([row[place][1] for row in part], pa.bool_()) for place in range(width)]
        columns.append(pa.array(lines[start : start + _BATCH_ROWS], pa.int64()))
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
