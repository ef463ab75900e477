"""The page: what is published, put in words and tables around the figures. Drawing belongs in figures.py."""

import csv
import io
import os
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestration.report import figures, wording
from orchestration.report.figures import Figure
from orchestration.report.missing import why
from orchestration.report.published import Published, Row, read
from orchestration.report.tables import all_tables
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
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["say"] = wording
    return environment.get_template("efficacy.html.jinja").render(
        study=study,
        publication=published.publication[0] if published.publication else None,
        figures=drawn,
        headlines=headlines(published, study),
        flow=patient_flow(published, study),
        tables=all_tables(published, study),
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
    return [
        _response(published, study, response),
        _survival(published, study, survival),
        _landmark(published, study, primary_estimate(published, study)),
    ]


def primary_estimate(published: Published, study: Study) -> Row | None:
    """The one primary result: the hazard ratio of the landmark that the protocol names."""
    rows = [
        row
        for row in published.estimates
        if (row.analysis, row.endpoint, row.statistic, row.term) == ("landmark", "PFS", "hazard_ratio", "log2_ratio")
    ]
    stratum = study.analysis.primary.removeprefix("landmark_").replace("_", " ")
    named = [row for row in rows if row.stratum == stratum]
    own = [row for row in named if row.population == study.analysis.population]
    return next((row for row in rows if row.is_primary), next(iter(own or named), None))


def _response(published: Published, study: Study, row: Row | None) -> dict:
    label = "Confirmed objective response rate"
    if row is None or row.estimate is None:
        return _nothing(label, row, why(published, study, "times"))
    who = wording.population(row.population)
    return {
        "label": label,
        "value": wording.quantity("proportion", row.estimate),
        "limits": _limits(row),
        "counts": f"n = {wording.count(row.n)}, {wording.plural(row.events, 'responder')}",
        "sentence": f"Of {wording.count(row.n)} {who}, {wording.count(row.events)} had a complete or partial response"
        " that a later scan confirmed. Patients who could not be evaluated count as non-responders.",
        "caveat": row.caveat,
    }


def _survival(published: Published, study: Study, row: Row | None) -> dict:
    label = "Median progression-free survival"
    if row is None:
        return _nothing(label, row, why(published, study, "times"))
    counts = f"n = {wording.count(row.n)}, {wording.plural(row.events or 0, 'event')}"
    if row.estimate is None:
        if not row.n:
            return _nothing(label, row, why(published, study, "times"))
        return {
            "label": label,
            "value": "not reached",
            "limits": _limits(row),
            "counts": counts,
            "sentence": f"Among {wording.count(row.n)} {wording.population(row.population)}, so few have progressed"
            f" or died ({wording.count(row.events)}) that the time by which half will have cannot be told yet.",
            "caveat": row.caveat,
        }
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
        return _nothing(label, row, why(published, study, "landmark"))
    ratio = wording.quantity(row.statistic, row.estimate)
    p = "" if row.p_value is None else f", p {wording.relation(row.p_value)}"
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
        "sentence": f"Among {wording.plural(row.n, 'patient')} alive, progression-free and with an evaluable change at"
        f" week {week}, each doubling of serum HER2 against baseline multiplied the hazard of later progression or"
        f" death by {ratio} (adjusted for baseline). {reading}",
        "caveat": row.caveat,
    }


def _nothing(label: str, row: Row | None, why: str) -> dict:
    """Not estimable: the caveat that came with the estimate, else what is missing on the way to it."""
    n = f"n = {wording.count(row.n)}" if row is not None and row.n is not None else ""
    caveat = row.caveat if row is not None else ""
    return {
        "label": label,
        "value": "not estimable",
        "limits": "",
        "counts": n,
        "sentence": why if not caveat else "",
        "caveat": caveat,
    }


def _limits(row: Row) -> str:
    text = wording.interval(row.statistic, row.ci_low, row.ci_high)
    return f"{wording.level(row.level)} CI {text}" if text else ""


# --- patient flow -----------------------------------------------------------------------------------------------------


def patient_flow(published: Published, study: Study) -> list[dict]:
    """From known subjects to the landmark: step, number, and who did not go on, with the reason."""
    treated = [subject for subject in published.subjects if subject.in_treated]
    efficacy = published.members("in_efficacy")
    evaluable = published.members("in_response_evaluable")
    statuses = Counter(subject.her2_status or "unknown" for subject in treated if not subject.in_efficacy)
    steps = [
        {"label": "Known subjects", "n": len(published.subjects), "left": ""},
        {
            "label": "Treated: at least one dose of study drug",
            "n": len(treated),
            "left": _left({"not treated": len(published.subjects) - len(treated)}),
        },
        {
            "label": "Efficacy: treated, tumour HER2-low",
            "n": len(efficacy),
            "left": _left(
                {"HER2 status unknown" if status == "unknown" else status: n for status, n in sorted(statuses.items())}
            ),
        },
        {
            "label": "Response-evaluable: a target lesion at baseline and an assessment after it",
            "n": len(evaluable),
            "left": _left({"without these": len(efficacy) - len(evaluable)}),
        },
    ]
    primary = primary_estimate(published, study)
    if primary is not None and primary.n is not None:
        reason = next((row.reason for row in published.profile if row.role == "primary" and row.status == "done"), "")
        steps.append(
            {
                "label": f"At risk at the landmark ({primary.stratum}) with an evaluable change of serum HER2",
                "n": int(primary.n),
                "left": reason,
            }
        )
    return steps


def _left(reasons: dict[str, int]) -> str:
    text = "; ".join(f"{wording.count(n)} {reason}" for reason, n in reasons.items() if n)
    return f"Not in it: {text}" if text else ""


# --- files ------------------------------------------------------------------------------------------------------------


def table_csv(columns: tuple[str, ...], rows: list[tuple]) -> str:
    """CSV text; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream)  # RFC 4180 line ends: with any other, a lone CR would go unquoted
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
