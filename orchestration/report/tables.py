"""How rows become a table of the page: as they are, a line an estimate, or a line a thing with its estimates beside it.

Which rows stand in which table belongs in estimates.py and quality.py. Nothing is computed here.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass

from orchestration.report import wording
from orchestration.report.published import WHOLE, Row

Words = Callable[[Row], str]


@dataclass(frozen=True)
class Line:
    cells: tuple[str, ...]
    is_primary: bool = False


@dataclass(frozen=True)
class Table:
    """Headings and groups of lines, each group under an optional heading of its own, with lettered notes below."""

    name: str
    title: str
    headings: tuple[str, ...]
    groups: list[tuple[str, list[Line]]]
    numeric: frozenset[str] = frozenset()
    missing: str = ""
    note: str = ""
    notes: tuple[tuple[str, str], ...] = ()


def plain(
    name: str, title: str, headings: tuple[str, ...], rows: list[tuple], numeric: tuple[str, ...], missing: str
) -> Table:
    """Rows as they are, in one group."""
    lines = [
        Line(
            tuple(
                wording.count(cell) if heading in numeric else cell or ""
                for heading, cell in zip(headings, row, strict=True)
            )
        )
        for row in rows
    ]
    return Table(name, title, headings, [("", lines)] if lines else [], frozenset(numeric), missing)


def pivot(
    name: str,
    title: str,
    rows: list[Row],
    *,
    first: str,
    group: Words,
    line: Words,
    column: Words,
    cell: Words,
    has_counts: bool = True,
    note: str = "",
) -> Table:
    """A line a thing, a column a quantity, both in the order of the rows.

    Args:
        first: heading of the first column.
        group, line, column: what a row says under; where a place is taken, the row begins another line.
        cell: the text of a row.
        has_counts: n and events of each line stand in columns of their own, those of its first row.
    """
    notes = _Notes(rows)
    columns = list(dict.fromkeys(column(row) for row in rows))
    groups: dict[str, list[tuple[str, dict[str, Row]]]] = {}
    for row in rows:
        lines = groups.setdefault(group(row), [])
        free = (cells for label, cells in lines if label == line(row) and column(row) not in cells)
        cells = next(free, None)
        if cells is None:
            cells = {}
            lines.append((line(row), cells))
        cells[column(row)] = row

    def text(label: str, cells: dict[str, Row]) -> Line:
        top = next(iter(cells.values()))
        counts = (wording.count(top.n), wording.count(top.events)) if has_counts else ()
        values = (cell(cells[key]) if key in cells else "" for key in columns)
        is_primary = any(row.is_primary for row in cells.values())
        named = f"{label} (primary)" if is_primary else label
        return Line((named, *counts, *values, notes.marks(*cells.values())), is_primary)

    headings = (first, *(("n", "Events") if has_counts else ()), *columns, "Notes")
    made = [(wording.capital(heading), [text(*line) for line in lines]) for heading, lines in groups.items()]
    if not any(line.cells[-1] for _, lines in made for line in lines):
        headings = headings[:-1]
        made = [(heading, [Line(line.cells[:-1], line.is_primary) for line in lines]) for heading, lines in made]
    numeric = frozenset(headings[1:]) - {"Notes"}
    return Table(name, title, headings, made, numeric, "nothing was computed.", note, notes.listed)


def listed(
    name: str,
    title: str,
    rows: list[Row],
    limits: str,
    group: Words,
    quantity: Words,
    events: str = "Events",
    said: tuple[str, ...] = (),
) -> Table:
    """A line an estimate. A column that says the same everywhere, or nothing, is left out.

    Args:
        limits: heading of the confidence limits.
        group: the heading that a row stands under.
        quantity: what a row estimates, in words.
        events: heading of the events.
        said: headings that the group says already.
    """
    notes = _Notes(rows)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group(row), []).append(row)
    columns: dict[str, Callable[[Row], str]] = {
        "Endpoint": lambda row: wording.endpoint(row.endpoint),
        "Population": lambda row: wording.short_population(row.population),
        "Group": lambda row: "" if row.stratum in WHOLE else wording.signs(row.stratum).replace(" ", "\u00a0", 1),
        "Quantity": quantity,
        "n": lambda row: wording.count(row.n),
        events: lambda row: wording.count(row.events),
        "Estimate": lambda row: "" if row.statistic.endswith("_p") else wording.quantity(row.statistic, row.estimate),
        limits: lambda row: wording.interval(row.statistic, row.ci_low, row.ci_high),
        "p": lambda row: "" if row.p_value is None else wording.p_value(row.p_value),
        "p (Holm)": lambda row: "" if row.p_adjusted is None else wording.p_value(row.p_adjusted),
        "Notes": notes.marks,
    }
    cells = {heading: [cell(row) for row in rows] for heading, cell in columns.items()}
    shared = {
        heading: texts[0]
        for heading, texts in cells.items()
        if heading in ("Population", "Quantity") and len(rows) > 1 and len(set(texts)) == 1
    }
    shown = [heading for heading in columns if heading not in {*said, *shared} and any(cells[heading])]
    text = {
        id(row): Line(tuple(cells[heading][place] for heading in shown), row.is_primary)
        for place, row in enumerate(rows)
    }
    return Table(
        name,
        title,
        tuple(shown),
        [(wording.capital(heading), [text[id(row)] for row in members]) for heading, members in groups.items()],
        frozenset(shown) - {"Endpoint", "Population", "Group", "Quantity", "Notes"},
        "nothing was computed.",
        "; ".join(f"{heading.lower()}: {text}" for heading, text in shared.items()),
        notes.listed,
    )


class _Notes:
    """Methods and caveats said once below the table: those of every line as they are, the others by letter."""

    def __init__(self, rows: list[Row]) -> None:
        texts = [set(_remarks(row)) for row in rows]
        self._common = set.intersection(*texts) if len(rows) > 1 else set()
        self._marks = {text: "" for row in rows[:1] for text in _remarks(row) if text in self._common}
        self._letters = 0

    def marks(self, *rows: Row) -> str:
        for row in rows:
            for text in _remarks(row):
                if text not in self._marks:
                    self._marks[text] = _letters(self._letters)
                    self._letters += 1
        own = {self._marks[text] for row in rows for text in _remarks(row)} - {""}
        return " ".join(sorted(own, key=lambda mark: (len(mark), mark)))

    @property
    def listed(self) -> tuple[tuple[str, str], ...]:
        return tuple((mark, wording.signs(text)) for text, mark in self._marks.items())


def _remarks(row: Row) -> list[str]:
    """Method and caveats; the estimand is said once, above the tables."""
    texts = dict.fromkeys((row.method or "", *row.caveat.split("; ")))
    return [text for text in texts if text and not text.startswith("estimand: ")]


def _letters(position: int) -> str:
    rounds, place = divmod(position, 26)
    return string.ascii_lowercase[place] * (rounds + 1)
