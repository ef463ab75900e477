"""The tables of the page as text: rows of metrics.* and ops.*, ordered for a reader. Nothing is computed here."""

import string
from collections.abc import Callable
from dataclasses import dataclass

from orchestration.report import wording
from orchestration.report.published import WHOLE, Published, Row
from orchestration.study import Study


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


MOST_FILES = 20


def all_tables(published: Published, study: Study) -> dict[str, Table]:
    """Every table of the page by its name. All rows of metrics.estimates are in one of the first five."""
    rest = list(published.estimates)

    def take(*analyses: str) -> list[Row]:
        taken = [row for row in rest if row.analysis in analyses]
        rest[:] = [row for row in rest if row.analysis not in analyses]
        return sorted(taken, key=_place)

    rates, survival = take("response rate"), take("survival", "follow-up")
    kinetics, landmarks = take("kinetics"), take("landmark")
    profile = [
        Line(
            (
                row.analysis,
                wording.endpoint(row.endpoint),
                wording.short_population(row.population),
                wording.count(row.n),
                wording.count(row.events),
                row.role,
                row.status,
                row.reason,
            ),
            row.role == "primary",
        )
        for row in published.profile
    ]
    more = (
        f" (the first {MOST_FILES} of {wording.count(len(published.rejected))})"
        if len(published.rejected) > MOST_FILES
        else ""
    )
    made = (
        _long("response", "Response rates", rates, study, lambda row: wording.population(row.population), "Responders"),
        _survival(survival, study),
        _kinetics(kinetics, study),
        _long(
            "landmark",
            "Landmark analyses",
            landmarks,
            study,
            lambda row: f"{wording.endpoint(row.endpoint)}, {row.stratum.split(':')[0]}",
        ),
        _long(
            "further",
            "Further analyses",
            sorted(rest, key=lambda row: (row.analysis, _place(row))),
            study,
            lambda row: row.analysis,
        ),
        Table(
            "remark",
            "REMARK profile",
            ("Analysis", "Endpoint", "Population", "n", "Events", "Role", "Status", "Reason"),
            [("", profile)] if profile else [],
            frozenset(("n", "Events")),
            "no analysis was run.",
        ),
        _plain(
            "files",
            "Files by status",
            ("Status", "Files", "Rows read", "Accepted", "Quarantined"),
            published.files,
            ("Files", "Rows read", "Accepted", "Quarantined"),
            "none has been taken in.",
        ),
        _plain("rejected", f"Rejected files{more}", ("File", "Reason"), published.rejected[:MOST_FILES], (), "none."),
        _plain(
            "quarantine",
            "Quarantined rows by rule",
            ("Record", "Rule", "Field", "Rows", "For example"),
            [(wording.spaced(row[0]), wording.spaced(row[1]), *row[2:]) for row in published.quarantine],
            ("Rows",),
            "none.",
        ),
        _plain(
            "findings",
            "Findings by kind",
            ("Kind", "Severity", "Findings", "Subjects", "For example"),
            [(wording.spaced(row[0]), *row[1:]) for row in published.findings],
            ("Findings", "Subjects"),
            "none.",
        ),
        _plain(
            "unusable",
            "Serum HER2 samples not analysed",
            ("Reason", "Samples"),
            published.her2_unusable,
            ("Samples",),
            "none.",
        ),
    )
    return {table.name: table for table in made}


def _plain(
    name: str, title: str, headings: tuple[str, ...], rows: list[tuple], numeric: tuple[str, ...], missing: str
) -> Table:
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
        return tuple((mark, _signs(text)) for text, mark in self._marks.items())


def _signs(text: str) -> str:
    return text.replace(">=", "\u2265").replace("<=", "\u2264")


def _remarks(row: Row) -> list[str]:
    return [text for text in dict.fromkeys((row.method or "", *row.caveat.split("; "))) if text]


def _letters(position: int) -> str:
    rounds, place = divmod(position, 26)
    return string.ascii_lowercase[place] * (rounds + 1)


def _long(
    name: str, title: str, rows: list[Row], study: Study, group_of: Callable[[Row], str], events: str = "Events"
) -> Table:
    """A line an estimate. A column that says the same everywhere, or nothing, is left out."""
    notes = _Notes(rows)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_of(row), []).append(row)
    columns: dict[str, Callable[[Row], str]] = {
        "Endpoint": lambda row: wording.endpoint(row.endpoint),
        "Population": lambda row: wording.short_population(row.population),
        "Group": lambda row: "" if row.stratum in WHOLE else _signs(row.stratum).replace(" ", "\u00a0", 1),
        "Quantity": _quantity,
        "n": lambda row: wording.count(row.n),
        events: lambda row: wording.count(row.events),
        "Estimate": lambda row: "" if row.statistic.endswith("_p") else wording.quantity(row.statistic, row.estimate),
        _limits_heading(study): lambda row: wording.interval(row.statistic, row.ci_low, row.ci_high),
        "p": lambda row: "" if row.p_value is None else wording.p_value(row.p_value),
        "p (Holm)": lambda row: "" if row.p_adjusted is None else wording.p_value(row.p_adjusted),
        "Notes": notes.marks,
    }
    cells = {heading: [cell(row) for row in rows] for heading, cell in columns.items()}
    said = {"landmark": {"Endpoint", "Group"}, "response": {"Population"}}.get(name, set())  # in the group's heading
    shared = {
        heading: texts[0]
        for heading, texts in cells.items()
        if heading in ("Population", "Quantity") and len(rows) > 1 and len(set(texts)) == 1
    }
    shown = [heading for heading in columns if heading not in said | set(shared) and any(cells[heading])]
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
        "; ".join(f"{heading.lower()}: {said}" for heading, said in shared.items()),
        notes.listed,
    )


def _quantity(row: Row) -> str:
    """Statistic and term in words; a term that only repeats the statistic is left out."""
    parts = [wording.statistic(row.statistic)]
    if row.term not in WHOLE and row.statistic != "auc" and not row.statistic.endswith(f"_{row.term}"):
        parts.append(wording.term(row.term))
    if row.analysis == "landmark" and ": " in row.stratum:  # one of the two groups at a landmark
        parts.append(f"with {_signs(row.stratum.split(': ')[1])}")
    return " ".join([*parts, *(["(primary)"] if row.is_primary else [])])


def _survival(rows: list[Row], study: Study) -> Table:
    """A line an endpoint, a column a statistic (median, quartiles, rates) with its limits; a group a population."""
    notes = _Notes(rows)
    statistics = list(dict.fromkeys(row.statistic for row in sorted(rows, key=lambda row: (_rank(row), row.statistic))))
    found: dict[tuple[str, str], dict[tuple[str, str], dict[str, Row]]] = {}
    for row in sorted(rows, key=lambda row: (row.analysis != "survival", row.population)):
        group = found.setdefault((row.analysis, row.population), {})
        group.setdefault((row.endpoint, row.stratum), {})[row.statistic] = row

    def line(cells: dict[str, Row]) -> Line:
        first = next(iter(cells.values()))
        numbers = (wording.count(first.n), wording.count(first.events))
        estimates = (_with_limits(cells.get(statistic)) for statistic in statistics)
        return Line((wording.endpoint(first.endpoint), *numbers, *estimates, notes.marks(*cells.values())))

    groups = [
        (f"{wording.capital(analysis)}: {wording.population(population)}", [line(cells) for cells in lines.values()])
        for (analysis, population), lines in found.items()
    ]
    headings = ("Endpoint", "n", "Events", *(wording.statistic(name) for name in statistics), "Notes")
    return _trimmed(
        "survival",
        "Survival and follow-up",
        headings,
        groups,
        frozenset(headings[1:-1]),
        "nothing was computed.",
        f"below each estimate its {_limits_heading(study)}",
        notes.listed,
    )


def _kinetics(rows: list[Row], study: Study) -> Table:
    """A line a visit, a column a group: geometric mean with limits and number."""
    notes = _Notes(rows)
    visits: dict[str, dict[str, Row]] = {}
    for row in rows:
        visits.setdefault(row.term, {})[row.stratum] = row
    groups = [
        group
        for group in ("all", "confirmed response", "no confirmed response")
        if any(group in found for found in visits.values())
    ]
    lines = []
    for visit in sorted(visits, key=lambda name: (name.startswith("WEEK"), _number(name), name)):
        found = visits[visit]
        lines.append(
            Line(
                (
                    visit.replace(" ", "\u00a0"),
                    *(text for group in groups for text in (_count(found.get(group)), _with_limits(found.get(group)))),
                    notes.marks(*found.values()),
                )
            )
        )
    headings = (
        "Visit",
        *(text for group in groups for text in (f"{group.capitalize()}, n", f"{group.capitalize()}, ng/mL")),
        "Notes",
    )
    return _trimmed(
        "kinetics",
        "Geometric mean of serum HER2 by visit",
        headings,
        [("", lines)] if lines else [],
        frozenset(headings[1:-1]),
        "nothing was computed.",
        f"below each estimate its {_limits_heading(study)}",
        notes.listed,
    )


def _trimmed(name: str, title: str, headings: tuple[str, ...], groups: list[tuple[str, list[Line]]], *rest) -> Table:
    """Without the column of notes where no line has one of its own."""
    if any(line.cells[-1] for _, lines in groups for line in lines):
        return Table(name, title, headings, groups, *rest)
    short = [(heading, [Line(line.cells[:-1], line.is_primary) for line in lines]) for heading, lines in groups]
    return Table(name, title, headings[:-1], short, *rest)


def _count(row: Row | None) -> str:
    return "" if row is None else wording.count(row.n)


def _with_limits(row: Row | None) -> str:
    if row is None:
        return ""
    limits = wording.interval(row.statistic, row.ci_low, row.ci_high)
    return wording.quantity(row.statistic, row.estimate) + (f"\n{limits}" if limits else "")


def _limits_heading(study: Study) -> str:
    return f"{wording.fixed(study.analysis.level * 100, 0)} % CI"


# --- order ------------------------------------------------------------------------------------------------------------

_ENDPOINTS = ("confirmed ORR", "ORR", "DCR", "CBR", "PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED", "TTR")
_STATISTICS = (
    "proportion",
    "min_months",
    "median_months",
    "max_months",
    "lower_quartile_months",
    "upper_quartile_months",
    "hazard_ratio",
    "lrt_p",
    "logrank_p",
)
_TERMS = ("log2_ratio", "log2_baseline", "log2_ratio_unadjusted", "fall_20")


def _place(row: Row) -> tuple:
    """As a clinician reads: endpoint, population, week 6 before week 12, the adjusted effect before the rest."""
    return (
        _position(_ENDPOINTS, row.endpoint),
        row.endpoint,
        row.population,
        row.stratum not in WHOLE,
        _number(row.stratum),
        row.stratum,
        _position(_TERMS, row.term),
        _rank(row),
        row.term,
        row.statistic,
        row.method or "",
    )


def _rank(row: Row) -> tuple[int, int]:
    return _position(_STATISTICS, row.statistic), _number(row.statistic)


def _position(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _number(text: str) -> int:
    digits = "".join(character if character.isdigit() else " " for character in text).split()
    return int(digits[0]) if digits else 0
