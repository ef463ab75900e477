"""The page: what is published, put in words and tables around the figures. Drawing belongs in figures.py."""

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestration.report import figures, wording
from orchestration.report.figures import Figure
from orchestration.report.published import WHOLE, Published, Row, read
from orchestration.study import Study

_TEMPLATES = Path(__file__).parent / "templates"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render(warehouse: Path, out_dir: Path, study: Study) -> Path:
    """Write ``efficacy.html`` and the data behind its figures, each in place at once.

    The page depends on the published file and the study alone: the same publication gives the same bytes.

    Args:
        warehouse: the published DuckDB file; opened read-only.
        out_dir: folder of the report; made where absent. The data goes to ``data/<figure>.csv`` in it.
        study: the protocol that the publication was made by.

    Returns:
        path of the page.

    Raises:
        UserError: nothing is published yet, or the file is no warehouse.
    """
    published = read(warehouse, study)
    drawn = draw(published, study)
    for figure in drawn.values():
        _write(out_dir / "data" / f"{figure.name}.csv", table_csv(figure.columns, figure.rows))
    page = out_dir / "efficacy.html"
    _write(page, page_html(published, drawn, study))
    return page


def draw(published: Published, study: Study) -> dict[str, Figure]:
    """Every figure of the report by its name, in the order of the page."""
    made = (
        figures.kaplan_meier(published, study, "PFS"),
        figures.kaplan_meier(published, study, "OS"),
        figures.waterfall(published, study),
        figures.spider(published, study),
        figures.swimmer(published, study),
        figures.trajectories(published, study),
        figures.landmark_curves(published, study),
        figures.change_scatter(published, study),
    )
    return {figure.name: figure for figure in made}


def page_html(published: Published, drawn: dict[str, Figure], study: Study) -> str:
    """The whole page as text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["say"] = wording
    return environment.get_template("efficacy.html.jinja").render(
        study=study,
        publication=published.publication[0] if published.publication else None,
        figures=drawn,
        headlines=headlines(published, study),
        flow=patient_flow(published, study),
        tables=all_tables(published),
        members=len(published.members(study.analysis.population)),
        landmark_week=int(study.analysis.primary.rsplit("_", 1)[1]),
        landmark_day=figures.landmark_day(study, int(study.analysis.primary.rsplit("_", 1)[1])),
    )


# --- headline ---------------------------------------------------------------------------------------------------------


def headlines(published: Published, study: Study) -> list[dict]:
    """The answers at the top: label, figure in large type, limits, and a sentence that a clinician would say."""
    population = study.analysis.population
    response = published.estimate("response rate", "confirmed ORR", "proportion", population)
    survival = published.estimate("survival", "PFS", "median_months", population)
    return [_response(published, study, response), _survival(published, study, survival),
            _landmark(published, study, primary_estimate(published, study))]  # fmt: skip


def primary_estimate(published: Published, study: Study) -> Row | None:
    """The one primary result: the hazard ratio of the landmark that the protocol names."""
    rows = [row for row in published.estimates
            if (row.analysis, row.endpoint, row.statistic, row.term) == ("landmark", "PFS", "hazard_ratio", "log2_ratio")]  # fmt: skip
    stratum = study.analysis.primary.removeprefix("landmark_").replace("_", " ")
    named = [row for row in rows if row.stratum == stratum]
    own = [row for row in named if row.population == study.analysis.population]
    return next((row for row in rows if row.is_primary), next(iter(own or named), None))


def _response(published: Published, study: Study, row: Row | None) -> dict:
    label = "Confirmed objective response rate"
    if row is None or row.estimate is None:
        return _nothing(label, row, figures.why_empty(published, study, "times"))
    who = wording.population(row.population)
    return {
        "label": label,
        "value": wording.quantity("proportion", row.estimate),
        "limits": _limits(row),
        "counts": f"n = {wording.count(row.n)}, {wording.plural(row.events, 'responder')}",
        "sentence": f"Of {wording.count(row.n)} {who}, {wording.count(row.events)} had a complete or partial response that a later scan"
        " confirmed. Patients who could not be evaluated count as non-responders.",
        "caveat": row.caveat,
    }


def _survival(published: Published, study: Study, row: Row | None) -> dict:
    label = "Median progression-free survival"
    if row is None:
        return _nothing(label, row, figures.why_empty(published, study, "times"))
    counts = f"n = {wording.count(row.n)}, {wording.plural(row.events or 0, 'event')}"
    if row.estimate is None:
        if not row.n:
            return _nothing(label, row, figures.why_empty(published, study, "times"))
        return {
            "label": label, "value": "not reached", "limits": _limits(row), "counts": counts,
            "sentence": f"Among {wording.count(row.n)} {wording.population(row.population)}, so few have progressed or died"
            f" ({wording.count(row.events)}) that the time by which half would have done so cannot be told yet.",
            "caveat": row.caveat,
        }  # fmt: skip
    return {
        "label": label,
        "value": f"{wording.quantity(row.statistic, row.estimate)} months",
        "limits": _limits(row),
        "counts": counts,
        "sentence": f"By estimate half of the {wording.population(row.population)} were alive without progression"
        f" {wording.quantity(row.statistic, row.estimate)} months after"
        f" {'the first dose' if study.endpoints.start == 'first_dose' else 'enrolment'}.",
        "caveat": row.caveat,
    }


def _landmark(published: Published, study: Study, row: Row | None) -> dict:
    week = study.analysis.primary.rsplit("_", 1)[1]
    label = f"Early serum HER2 and later progression (landmark week {week})"
    if row is None or row.estimate is None:
        return _nothing(label, row, figures.why_empty(published, study, "landmark"))
    ratio = wording.quantity(row.statistic, row.estimate)
    p = "" if row.p_value is None else f", p {_relation(row.p_value)}"
    limits = row.ci_low is not None and row.ci_high is not None
    if limits and row.ci_low > 1:
        reading = "A rise went with earlier progression or death, a fall with later."
    elif limits and row.ci_high < 1:
        reading = "A rise went with later progression or death, a fall with earlier."
    else:
        reading = "The data are compatible with no association in either direction."
    return {
        "label": label,
        "value": f"HR {ratio}",
        "limits": _limits(row) + p,
        "counts": f"n = {wording.count(row.n)}, {wording.plural(row.events or 0, 'event')}",
        "sentence": f"Among {wording.plural(row.n, 'patient')} alive, progression-free and with an evaluable change at week {week}, each"
        f" doubling of serum HER2 against baseline multiplied the hazard of later progression or death by {ratio} (adjusted for"
        f" baseline). {reading}",
        "caveat": row.caveat,
    }


def _nothing(label: str, row: Row | None, why: str) -> dict:
    """Not estimable: the caveat that came with the estimate, else what is missing on the way to it."""
    n = f"n = {wording.count(row.n)}" if row is not None and row.n is not None else ""
    caveat = row.caveat if row is not None else ""
    return {"label": label, "value": "not estimable", "limits": "", "counts": n, "sentence": why if not caveat else "", "caveat": caveat}


def _limits(row: Row) -> str:
    text = wording.interval(row.statistic, row.ci_low, row.ci_high)
    return f"{wording.fixed(float(row.level or 0.95) * 100, 0)} % CI {text}" if text else ""


def _relation(p: float) -> str:
    text = wording.p_value(p)
    return text if text[0] in "<>" else f"= {text}"


# --- patient flow -----------------------------------------------------------------------------------------------------


def patient_flow(published: Published, study: Study) -> list[dict]:
    """From known subjects to the landmark: step, number, and who did not go on, with the reason."""
    treated = [subject for subject in published.subjects if subject.in_treated]
    efficacy = published.members("in_efficacy")
    evaluable = published.members("in_response_evaluable")
    statuses = Counter(subject.her2_status or "unknown" for subject in treated if not subject.in_efficacy)
    steps = [
        {"label": "Known subjects", "n": len(published.subjects), "left": ""},
        {"label": "Treated: at least one dose of study drug", "n": len(treated),
         "left": _left({"not treated": len(published.subjects) - len(treated)})},
        {"label": "Efficacy: treated, tumour HER2-low", "n": len(efficacy),
         "left": _left({"HER2 status unknown" if status == "unknown" else status: n for status, n in sorted(statuses.items())})},
        {"label": "Response-evaluable: a target lesion at baseline and an assessment after it", "n": len(evaluable),
         "left": _left({"without": len(efficacy) - len(evaluable)})},
    ]  # fmt: skip
    primary = primary_estimate(published, study)
    if primary is not None and primary.n is not None:
        excluded = {
            wording.spaced(row.statistic.removeprefix("excluded_")): int(row.estimate) for row in published.estimates
            if (row.analysis, row.endpoint, row.stratum, row.population) == ("landmark", "PFS", primary.stratum, primary.population)
            and row.statistic.startswith("excluded_") and row.estimate is not None
        }  # fmt: skip
        steps.append({
            "label": f"At risk at the landmark ({primary.stratum}) with an evaluable change of serum HER2", "n": int(primary.n),
            "left": _left(excluded),
        })  # fmt: skip
    return steps


def _left(reasons: dict[str, int]) -> str:
    return "; ".join(f"{wording.count(n)} {reason}" for reason, n in reasons.items() if n)


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    cells: tuple[str, ...]
    is_primary: bool = False


@dataclass(frozen=True)
class Table:
    """A table as text: headings, and groups of lines under an optional heading of their own."""

    name: str
    title: str
    headings: tuple[str, ...]
    groups: list[tuple[str, list[Line]]]
    note: str = ""
    numeric: frozenset[str] = frozenset()
    missing: str = ""

    @classmethod
    def plain(cls, name: str, title: str, headings: tuple[str, ...], rows: list[tuple], numeric: tuple[str, ...], missing: str) -> "Table":
        lines = [Line(tuple(wording.count(cell) if heading in numeric else cell or "" for heading, cell in zip(headings, row, strict=True)))
                 for row in rows]  # fmt: skip
        return cls(name, title, headings, [("", lines)] if lines else [], "", frozenset(numeric), missing)


_ESTIMATES = (
    ("response", "Response rates", ("response rate",)),
    ("survival", "Survival and follow-up", ("survival", "follow-up")),
    ("landmark", "Landmark analyses", ("landmark",)),
    ("further", "Further analyses", None),
)
_ENDPOINTS = ("confirmed ORR", "ORR", "DCR", "CBR", "PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED", "TTR")
_STATISTICS = ("proportion", "median_months", "hazard_ratio", "odds_ratio")
_MAY_BE_SHARED = ("Population", "Quantity", "Method")


def all_tables(published: Published) -> dict[str, Table]:
    """Every table of the page by its name."""
    made = [
        *estimate_tables(published.estimates),
        Table(
            "remark", "REMARK profile", ("Analysis", "Endpoint", "Population", "n", "Events", "Role", "Status", "Reason"),
            [("", [Line((row.analysis, wording.endpoint(row.endpoint), wording.short_population(row.population), wording.count(row.n),
                         wording.count(row.events), row.role, row.status, row.reason), row.role == "primary")
                   for row in published.profile])] if published.profile else [],
            numeric=frozenset(("n", "Events")), missing="No analysis was run.",
        ),
        Table.plain("files", "Files by status", ("Status", "Files", "Rows read", "Accepted", "Quarantined"), published.files,
                    ("Files", "Rows read", "Accepted", "Quarantined"), "No file has been taken in."),
        Table.plain("rejected", "Rejected files" + _first(published.rejected), ("File", "Reason"), published.rejected[:MOST_FILES], (),
                    "No file was rejected."),
        Table.plain("quarantine", "Quarantined rows by rule", ("Record", "Rule", "Field", "Rows", "For example"),
                    [(wording.spaced(row[0]), wording.spaced(row[1]), *row[2:]) for row in published.quarantine], ("Rows",),
                    "No row is quarantined."),
        Table.plain("findings", "Findings by kind", ("Kind", "Severity", "Findings", "Subjects", "For example"),
                    [(wording.spaced(row[0]), *row[1:]) for row in published.findings], ("Findings", "Subjects"), "There is no finding."),
        Table.plain("unusable", "Serum HER2 samples not analysed, by reason", ("Reason", "Samples"), published.her2_unusable, ("Samples",),
                    "Every serum HER2 sample is fit for analysis." if published.her2 else "There is no serum HER2 sample."),
    ]  # fmt: skip
    return {table.name: table for table in made}


MOST_FILES = 20


def _first(rows: list) -> str:
    return f" (the first {MOST_FILES} of {wording.count(len(rows))})" if len(rows) > MOST_FILES else ""


def estimate_tables(estimates: list[Row]) -> list[Table]:
    """Every row of metrics.estimates, in the table that its analysis belongs to: none is dropped."""
    named = {analysis for *_, analyses in _ESTIMATES if analyses for analysis in analyses}
    tables = []
    for name, title, analyses in _ESTIMATES:
        rows = [row for row in estimates if (row.analysis in analyses if analyses else row.analysis not in named)]
        order = analyses or sorted({row.analysis for row in rows})
        groups = [(analysis, sorted((row for row in rows if row.analysis == analysis), key=_place)) for analysis in order]
        tables.append(_estimate_table(name, title, [group for group in groups if group[1]]))
    return tables


def _estimate_table(name: str, title: str, groups: list[tuple[str, list[Row]]]) -> Table:
    """What all lines share (population, quantity, method) is said once, above them; a column without content is left out."""
    rows = [row for _, group in groups for row in group]
    cells = {id(row): _estimate_cells(row, "Responders" if name == "response" else "Events") for row in rows}
    headings = list(next(iter(cells.values()), {}))
    shared, above = {}, {}
    for heading in _MAY_BE_SHARED:
        values = [{cells[id(row)][heading] for row in group} for _, group in groups]
        if len(set().union(*values)) == 1 and len(rows) > 1:
            shared[heading] = next(iter(values[0]))
        elif heading == "Method" and len(groups) > 1 and all(len(value) == 1 for value in values):
            above = {analysis: next(iter(value)) for (analysis, _), value in zip(groups, values, strict=True)}
    headings = [
        heading for heading in headings
        if heading not in shared and not (heading == "Method" and above) and any(cells[id(row)][heading] for row in rows)
    ]  # fmt: skip
    lines = [
        (analysis[:1].upper() + analysis[1:] + (f": {above[analysis]}" if above.get(analysis) else "") if len(groups) > 1 else "",
         [Line(tuple(cells[id(row)][heading] for heading in headings), row.is_primary) for row in group])
        for analysis, group in groups
    ]  # fmt: skip
    note = "; ".join(f"{heading.lower()}: {text}" for heading, text in shared.items() if text)
    numeric = frozenset(heading for heading in headings if heading not in ("Endpoint", "Group", "Remarks", *_MAY_BE_SHARED))
    return Table(name, title, tuple(headings), lines, note, numeric, "Nothing was computed.")


def _estimate_cells(row: Row, events: str) -> dict[str, str]:
    quantity = wording.statistic(row.statistic) + (f" {wording.term(row.term)}" if row.term else "")
    return {
        "Endpoint": wording.endpoint(row.endpoint),
        "Population": wording.short_population(row.population),
        "Group": "" if row.stratum in WHOLE else row.stratum.replace(">=", "\u2265"),
        "Quantity": quantity + (" (primary)" if row.is_primary else ""),
        "n": wording.count(row.n),
        events: wording.count(row.events),
        "Estimate": wording.quantity(row.statistic, row.estimate),
        f"{wording.fixed(float(row.level or 0.95) * 100, 0)} % CI": wording.interval(row.statistic, row.ci_low, row.ci_high),
        "p": wording.p_value(row.p_value) if row.p_value is not None else "",
        "p adjusted": wording.p_value(row.p_adjusted) if row.p_adjusted is not None else "",
        "Method": row.method or "",
        "Remarks": row.caveat,
    }


def _place(row: Row) -> tuple:
    """Order within an analysis: endpoint as a clinician reads them, population, week 6 before week 12, the marker before others."""
    return (
        _ENDPOINTS.index(row.endpoint) if row.endpoint in _ENDPOINTS else len(_ENDPOINTS), row.endpoint, row.population,
        row.stratum not in WHOLE, _number(row.stratum.split(":")[0]), row.stratum,
        _STATISTICS.index(row.statistic) if row.statistic in _STATISTICS else len(_STATISTICS),
        _number(row.statistic), row.statistic, row.term != "log2_ratio", row.term, row.method or "",
    )  # fmt: skip


def _number(text: str) -> int:
    return int("".join(character for character in text if character.isdigit()) or 0)


# --- files ------------------------------------------------------------------------------------------------------------


def table_csv(columns: tuple[str, ...], rows: list[tuple]) -> str:
    """CSV text; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    if isinstance(value, bool):
        return str(value).lower()
    return value


def _write(path: Path, text: str) -> None:
    """Written beside its place and renamed into it: a reader sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
