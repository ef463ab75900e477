"""The page and what lies beside it: everything published, put in words, tables and figures, written in place at once.

What a part says belongs in its own module: headlines, flow, tables, quality, figures, patients.
"""

import csv
import gc
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import NoneType

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from orchestration.efficacy.metrics import estimand
from orchestration.report import flow, patients, quality, wording
from orchestration.report.estimates import estimate_tables
from orchestration.report.figures import Figure, draw
from orchestration.report.figures import panel as drawing_of_patient
from orchestration.report.headlines import headlines
from orchestration.report.missing import why
from orchestration.report.patients import Patient
from orchestration.report.published import Published, read
from orchestration.study import Study

MOST_PANELS = 600
"""Patients whose panels stand on the page itself (some 3 MB); of more, they stand on pages of their own."""
PANELS_A_PAGE = 500

_TEMPLATES = Path(__file__).parent / "templates"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_ROWS_AT_ONCE = 10_000  # of a CSV: columns of so many stay small


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of rows are no garbage: the collector would look through all of them again and again, for seconds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_no_collection()
def render(warehouse: Path, out_dir: Path, study: Study) -> Path:
    """Write ``efficacy.html``, the data behind its figures, and pages of patients where they are too many for one.

    They depend on the published file and the study alone: the same publication gives the same bytes.

    Args:
        warehouse: the published DuckDB file; opened read-only.
        out_dir: folder of the report; made where absent. The data goes to ``data/<figure>.csv`` in it, patients to
            ``patients/<number>.html``.
        study: the protocol that the publication was made by.

    Returns:
        path of the page.

    Raises:
        UserError: nothing is published yet, or the file is no warehouse.
    """
    published = read(warehouse, study)
    drawn = draw(published, study)
    steps = flow.patient_flow(published, study)
    people = list(patients.patients(published, study))
    data = {
        **{figure.name: (figure.columns, figure.rows) for figure in drawn.values()},
        "patient_flow": (flow.COLUMNS, flow.rows(steps)),
        "findings": (quality.COLUMNS, published.findings),
        "patients": (patients.COLUMNS, chain.from_iterable(map(patients.rows, people))),
    }
    _replace_all(
        out_dir / "data", {f"{name}.csv": partial(table_csv, columns, rows) for name, (columns, rows) in data.items()}
    )
    starts = range(0, len(people) if len(people) > MOST_PANELS else 0, PANELS_A_PAGE)
    pages = {f"{place + 1:06d}.html": people[place : place + PANELS_A_PAGE] for place in starts}
    _replace_all(
        out_dir / "patients", {name: partial(_patients_html, part, published, study) for name, part in pages.items()}
    )
    page = out_dir / "efficacy.html"
    _write(page, _page_html(published, drawn, steps, people, pages, study))
    return page


def _page_html(
    published: Published,
    drawn: dict[str, Figure],
    steps: list[flow.Step],
    people: list[Patient],
    pages: dict[str, list[Patient]],
    study: Study,
) -> str:
    waiting = {finding.subject_id for finding in published.findings if finding.kind == "subject_unknown"}
    return _template("efficacy.html.jinja").render(
        study=study,
        publication=published.publication[0] if published.publication else None,
        figures=drawn,
        estimand=estimand(study),
        headlines=headlines(published, study),
        flow=steps,
        waiting=len(waiting),
        tables=estimate_tables(published, study) | quality.tables(published, study),
        agreement=quality.agreement(published),
        findings=quality.findings(published),
        members=len(published.members(study.analysis.population)),
        panels=[] if pages else _panels(people, study),
        panel_pages=[
            {"href": f"patients/{name}", "first": part[0].name, "last": part[-1].name, "n": len(part)}
            for name, part in pages.items()
        ],
        panel_legend=drawing_of_patient.LEGEND,
        shown=len(people),
        unshown=len(published.subjects) - len(people),
        nobody=why(published, study, "members"),
    )


def _patients_html(part: list[Patient], published: Published, study: Study) -> str:
    return _template("patients.html.jinja").render(
        study=study,
        publication=published.publication[0] if published.publication else None,
        panels=_panels(part, study),
        panel_legend=drawing_of_patient.LEGEND,
    )


def _panels(people: list[Patient], study: Study) -> list[dict]:
    return [
        {
            "identity": f"patient-{number}",
            "patient": patient,
            "drawing": drawing_of_patient.panel(patient, f"p{number}", study),
        }
        for number, patient in enumerate(people, 1)
    ]


def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["say"] = wording
    return environment.get_template(name)


# --- files ------------------------------------------------------------------------------------------------------------


def table_csv(columns: tuple[str, ...], rows: Iterable[tuple]) -> str:
    """CSV text; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream)  # RFC 4180 line ends: with any other, a lone CR would go unquoted
    writer.writerow(columns)
    rest = iter(rows)
    while part := list(islice(rest, _ROWS_AT_ONCE)):
        writer.writerows(zip(*(_cells(column) for column in zip(*part, strict=True))))
    return stream.getvalue()


def _cells(values: Sequence) -> Iterable:
    """A column; looked through only where something in it may have to be written otherwise, each text once."""
    kinds = set(map(type, values))
    if not any(issubclass(kind, (str, bool)) for kind in kinds):
        return values
    if kinds <= {str, NoneType}:
        return map({value: _cell(value) for value in set(values)}.__getitem__, values)
    return map(_cell, values)


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    if isinstance(value, bool):
        return str(value).lower()
    return value


def _replace_all(folder: Path, texts: dict[str, Callable[[], str]]) -> None:
    """Write the files of a folder that is ours alone; what an earlier report left there goes."""
    for name, text in texts.items():
        _write(folder / name, text())
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in texts and path.suffix in (".csv", ".html"):
            path.unlink()


def _write(path: Path, text: str) -> None:
    """Written beside its place and renamed into it: a reader sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
