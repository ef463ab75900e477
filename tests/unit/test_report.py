"""The report says what is published, no more and no less, and the same bytes for the same publication."""

import csv
import html
import io
import itertools
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import duckdb
import pytest

from orchestration.errors import UserError
from orchestration.report import estimates, flow, missing, page, quality, wording
from orchestration.report.figures import draw, forest, kaplan_meier, roc, trajectories, waterfall
from orchestration.report.headlines import headlines
from orchestration.report.page import render, table_csv
from orchestration.report.pdf import write_pdf
from orchestration.report.published import read
from orchestration.settings import REPOSITORY
from orchestration.study import Study, load_study
from tests.unit.report_warehouse import build

FIGURES = {
    "kaplan_meier_pfs",
    "kaplan_meier_os",
    "waterfall",
    "spider",
    "swimmer",
    "her2_trajectories",
    "landmark_pfs",
    "forest",
    "roc",
    "her2_vs_sum",
}
OF_BOTH = {"landmark_pfs", "forest", "roc", "her2_vs_sum"}  # they need serum HER2 and imaging
PIVOTS = ("survival", "kinetics", "changes", "categories", "landmark", "landmark_groups", "subgroups")
DATA = FIGURES | {"patient_flow", "findings", "patients"}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(REPOSITORY / "study.yaml")


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    return build(tmp_path_factory.mktemp("report") / "warehouse.duckdb")


@pytest.fixture(scope="module")
def rendered(warehouse, study, tmp_path_factory):
    return render(warehouse, tmp_path_factory.mktemp("out"), study)


def page_of(tmp_path, study, **options) -> str:
    return render(build(tmp_path / "w.duckdb", **options), tmp_path / "out", study).read_text("utf-8")


def visible(page: str) -> str:
    """The page's text without markup, figures and style, blanks folded."""
    text = re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", page, flags=re.S)
    return " ".join(text.replace("\u202f", " ").split())


class Tags(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)


# --- what is published, and nothing else ------------------------------------------------------------------------------


def test_the_headline_prints_the_published_estimates_with_n_and_events(tmp_path, study):
    change = (
        "update metrics.estimates set estimate = 1.4249, ci_low = 1.105, ci_high = 1.835, p_value = 0.0064"
        " where is_primary",
        "update metrics.estimates set estimate = 0.5156, ci_low = 0.4119, ci_high = 0.6184, n = 96, events = 49"
        " where endpoint = 'confirmed ORR' and population = 'in_efficacy'",
        "update metrics.estimates set estimate = 10.05, ci_low = 8.94, ci_high = 12.21, n = 96, events = 63"
        " where statistic = 'median_months' and endpoint = 'PFS' and analysis = 'survival'",
    )
    text = visible(page_of(tmp_path, study, statements=change))
    assert "51.6 % 95 % CI 41.2 to 61.8 n = 96, 49 responders" in text
    assert "10.1 months 95 % CI 8.9 to 12.2 n = 96, 63 events" in text
    assert "HR 1.42 95 % CI 1.11 to 1.84, p = 0.006" in text
    assert "A rise went with earlier progression or death" in text


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [
        (0.31, 0.82, "A rise went with later progression"),
        (0.81, 1.46, "compatible with no association in either direction"),
        ("null", "null", "compatible with no association in either direction"),
    ],
)
def test_the_reading_of_the_hazard_ratio_follows_its_limits(tmp_path, study, low, high, reading):
    change = f"update metrics.estimates set estimate = 1.4, ci_low = {low}, ci_high = {high} where is_primary"
    published = read(build(tmp_path / "w.duckdb", statements=(change,)), study)
    assert reading in headlines(published, study)[-1]["sentence"]


def test_what_cannot_be_estimated_is_said_in_the_words_of_its_caveat(tmp_path, study):
    change = (
        "update metrics.estimates set estimate = null, ci_low = null, ci_high = null, p_value = null,"
        " caveat = 'too few events: 3' where is_primary",
        "update metrics.estimates set estimate = 'nan'::double, ci_low = 'nan'::double, ci_high = 'nan'::double"
        " where statistic = 'median_months' and endpoint = 'PFS' and analysis = 'survival'",
    )
    text = visible(page_of(tmp_path, study, statements=change))
    assert re.search(r"not estimable n = \d+ Too few events: 3\.", text)
    assert re.search(r"not reached n = 24, \d+ events", text)
    assert "nan" not in text.lower().split()


def test_no_row_of_the_estimates_is_left_out(tmp_path, study):
    """Also an analysis that nobody has named to the report."""
    unknown = (
        "insert into metrics.estimates values ('novel method', 'PFS', 'in_treated', 'site 7', 'x', 'novel_ratio',"
        " 3.14159, 2.5, 3.5, 0.95, 0.0312, null, 17, 9, 'novel', false, 'look twice', 'b')"
    )
    warehouse = build(tmp_path / "w.duckdb", statements=(unknown,))
    page = render(warehouse, tmp_path / "out", study).read_text("utf-8")
    assert "novel ratio x" in visible(page) and "3.14" in page and "look twice" in page
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.execute(
            "select analysis, statistic, estimate from metrics.estimates where analysis <> 'patient flow'"
        ).fetchall()
    tables = " ".join(re.findall(r"<table.*?</table>", page, re.S))
    said = html.unescape(tables)
    absent = [
        (analysis, statistic, estimate)
        for analysis, statistic, estimate in rows
        if estimate is not None and wording.quantity(statistic, estimate) not in said
    ]
    assert absent == []


def test_every_row_has_a_place_in_exactly_one_table(warehouse, study):
    published = read(warehouse, study)
    tables = estimates.estimate_tables(published, study)
    cells = sum(
        1
        for name, table in tables.items()
        if name != "remark"
        for _, lines in table.groups
        for line in lines
        for heading, cell in zip(table.headings[1:], line.cells[1:], strict=True)
        if cell and (heading == "Quantity" or (name in PIVOTS and heading not in ("n", "Events", "Notes")))
    )
    listed = [table for name, table in tables.items() if name not in PIVOTS and name != "remark"]
    without = sum(len(lines) for table in listed if "Quantity" not in table.headings for _, lines in table.groups)
    assert cells + without == sum(row.analysis != "patient flow" for row in published.estimates)


def test_a_biased_number_is_never_shown_without_saying_so(tmp_path, study):
    naive = (
        "insert into metrics.estimates values ('ever fallen', 'PFS', 'in_efficacy', 'all', 'fall_20', 'hazard_ratio',"
        " 0.31, 0.2, 0.5, 0.95, 0.0001, null, 24, 17, 'Cox from day 0', false, 'biased: guarantee time; naive', 'b')"
    )
    warehouse = build(tmp_path / "w.duckdb", statements=(naive,))
    figure = forest.forest(read(warehouse, study), study)
    text = visible(render(warehouse, tmp_path / "out", study).read_text("utf-8"))
    assert "hazard ratio by fall ≥ 20 % (biased: guarantee time)" in text
    for drawing in figure.drawings.values():
        assert "ever fallen: biased: guarantee time" in drawing
    assert "ever fallen: biased: guarantee time" in figure.alt


def test_patients_are_counted_on_the_way_to_the_landmark_with_reasons(rendered):
    text = visible(rendered.read_text("utf-8"))
    assert "30 Known subjects 28 Treated" in text and "2 no dose of a study drug" in text
    assert "24 Efficacy: treated, tumour HER2-low" in text and "4 HER2 status of the tumour: HER2-zero" in text
    assert "records of 1 further subject wait for their demographics" in text


def test_the_flow_adds_up_and_says_what_the_statistics_counted(warehouse, study):
    published = read(warehouse, study)
    steps = flow.patient_flow(published, study)
    for before, after in itertools.pairwise(steps):
        assert before.n == after.n + sum(left.n for left in after.left), after.label
        if before.events is not None:
            assert before.events == after.events + sum(left.events for left in after.left), after.label
    counted = {row.term: (row.n, row.events) for row in published.estimates if row.statistic == "subjects"}
    order = ("treated", "analysis population", "evaluable baseline", "evaluable change", "at risk at the landmark")
    assert [(step.n, step.events) for step in steps[1:]] == [counted[term] for term in order]
    primary = published.primary(study)
    assert (steps[-1].n, steps[-1].events) == (primary.n, primary.events)


@pytest.mark.parametrize(("population", "last"), [("in_treated", 28), ("in_response_evaluable", 24)])
def test_the_flow_follows_the_population_of_the_protocol(warehouse, study, population, last):
    content = study.model_dump()
    content["analysis"]["population"] = population
    other = Study.model_validate(content)
    steps = flow.patient_flow(read(warehouse, other), other)
    before_marker = [step for step in steps if "serum HER2" not in step.label and "landmark" not in step.label]
    assert before_marker[-1].n == last


def test_disagreements_and_decisions_of_rules_are_counted(tmp_path, study):
    differ = (
        "update marts.fct_response set reported_response = 'SD', is_disagreement = true"
        " where derived_response = 'PR' and subject_id in ('DE-0000', 'DE-0001', 'DE-0002', 'DE-0003')",
        "insert into intermediate.int_response_disagreements select subject_id, evaluator, assessed_on,"
        " 'overall response', 'PR', 'SD', 'arithmetic' from marts.fct_response where is_disagreement",
    )
    published = read(build(tmp_path / "w.duckdb", statements=differ), study)
    reads = sum(row.overall_response is not None for row in published.responses)
    (sentence,) = quality.agreement(published)
    tables = quality.tables(published, study)
    ((_, (line,)),) = tables["disagreements"].groups
    assert f"of {wording.count(reads)} assessments with both" in sentence
    assert f" {line.cells[3]} disagree" in sentence and line.cells[2] == "arithmetic"
    decided = {line.cells[0]: line.cells[1:] for _, lines in tables["decisions"].groups for line in lines}
    assert any("1 assessment of stable disease counted only by the window" in said for said, _ in decided.values())
    assert any("1 baseline outside the window used all the same" in said for said, _ in decided.values())


def test_findings_are_listed_by_kind_and_all_are_in_the_data(rendered):
    text = visible(rendered.read_text("utf-8"))
    assert "disagreement: the first 10 of 13 findings" in text and "DE-9999 lab rows of an unknown subject" in text
    rows = list(csv.reader((rendered.parent / "data" / "findings.csv").open(encoding="utf-8")))
    assert sum(row[0] == "disagreement" for row in rows) == 13


def test_the_newest_publication_is_named_with_its_hashes_and_the_data_cut(rendered):
    text = visible(rendered.read_text("utf-8"))
    for part in ("2026-01-31", "b" * 16, "3" * 64, "4" * 64, "0.1.0+bbbbbbbbbbbb"):
        assert part in text
    assert "a" * 16 not in text and "2026-02-02" not in text  # an older build; a clock


def test_methods_state_the_parameters_of_the_protocol(tmp_path, study):
    content = study.model_dump()
    content["response"]["confirm_days"], content["analysis"]["landmark_grace_days"] = 35, 11
    text = visible(page_of(tmp_path, Study.model_validate(content)))
    assert "at least 35 days later" in text and "study day 53: 11 days of grace" in text


def test_data_quality_counts_files_rows_and_findings(rendered):
    text = visible(rendered.read_text("utf-8"))
    assert "loaded 2 1 382 1 378 4" in text
    assert "imaging/broken.csv header_mismatch" in text
    assert "lab results known unit unit 2 U/mL cannot be converted" in text
    assert "disagreement warning 13 1" in text
    assert "after infusion 28" in text and "ELISA LAB" in text


# --- figures ----------------------------------------------------------------------------------------------------------


def test_every_figure_has_its_data_behind_it(warehouse, rendered):
    files = {path.stem: list(csv.reader(path.open(encoding="utf-8"))) for path in (rendered.parent / "data").iterdir()}
    assert set(files) == DATA
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        published = connection.execute(
            "select time_months, survival, at_risk from metrics.survival_curves where endpoint = 'PFS'"
            " and stratum = 'all' and population = 'in_efficacy' order by time_months"
        ).fetchall()
    heading, *rows = files["kaplan_meier_pfs"]
    places = [heading.index(name) for name in ("time_months", "survival", "at_risk")]
    assert [tuple(float(row[place]) for place in places) for row in rows] == [
        tuple(map(float, row)) for row in published
    ]


def test_the_number_at_risk_counts_times_at_or_after_the_tick_and_stands_exactly_under_it(tmp_path, study):
    rows = [(3.0, 1.0, 10, 0, 4), (6.0, 0.5, 6, 3, 0), (6.01, 0.5, 3, 0, 1), (12.0, 0.25, 2, 1, 1)]
    values = ", ".join(f"('PFS', 'in_efficacy', 'all', {t}, {s}, null, null, {n}, {d}, {c})" for t, s, n, d, c in rows)
    warehouse = build(
        tmp_path / "w.duckdb",
        statements=("delete from metrics.survival_curves", f"insert into metrics.survival_curves values {values}"),
    )
    published = read(warehouse, study)
    curve = published.curve("PFS", "in_efficacy")
    assert [kaplan_meier.at_risk(curve, time) for time in (0, 3, 6, 9, 12, 15)] == [10, 10, 6, 2, 2, 0]

    for drawing in kaplan_meier.survival(published, study, "PFS").drawings.values():
        texts = re.findall(r'<text style="[^"]*" x="([\d.]+)"[^>]*>([^<]*)</text>', drawing)
        labels = [text for _, text in texts]
        ticks = {label: x for x, label in texts[: labels.index("Months from first dose")]}
        counts = texts[labels.index("At risk") + 1 :]
        assert {(ticks["0"], "10"), (ticks["6"], "6"), (ticks["12"], "2")} <= set(counts)


def test_the_waterfall_states_who_is_not_shown_and_sorts_by_change(tmp_path, study):
    warehouse = build(
        tmp_path / "w.duckdb",
        statements=("update marts.fct_best_response set best_pct_change = null where subject_id < 'DE-0003'",),
    )
    figure = waterfall.waterfall(read(warehouse, study), study)
    changes = [row[1] for row in figure.rows]
    assert changes == sorted(changes, reverse=True)
    assert f"{24 - len(changes)} patients are not shown" in figure.note and len(changes) <= 21
    assert not {row[0] for row in figure.rows} & {"DE-0000", "DE-0001", "DE-0002"}
    assert "+20 %" in figure.drawings["wide"] and "−30 %" in figure.drawings["wide"]


def test_patients_outside_the_analysis_population_are_in_no_figure(warehouse, study):
    others = {f"DE-{number:04d}" for number in range(24, 30)}
    for figure in draw(read(warehouse, study), study).values():
        if "subject_id" in figure.columns:
            assert not {row[0] for row in figure.rows} & others, figure.name


def test_the_bold_line_of_the_trajectories_is_the_published_geometric_mean(tmp_path, study):
    def drawn(*statements):
        published = read(build(tmp_path / "w.duckdb", statements=statements), study)
        return trajectories.trajectories(published, study)

    raised = drawn("update metrics.estimates set estimate = 40 where analysis = 'kinetics' and term = 'C1D1'")
    assert drawn().drawings["wide"] != raised.drawings["wide"]
    assert "40.0 ng/mL at the start" in raised.alt


def test_the_roc_curve_is_of_those_whose_area_is_published(warehouse, study):
    published = read(warehouse, study)
    figure = roc.roc(published, study)
    area = published.estimate("ROC", "ORR", "auc", "in_efficacy", "week 6")
    curve = [row for row in figure.rows if row[0] == "ORR"]
    heights, widths = zip(*((row[2], row[3]) for row in curve), strict=True)
    trapezoids = sum(
        (x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in itertools.pairwise(zip(widths, heights, strict=True))
    )
    assert curve[0][2:4] == (0, 0) and curve[-1][2:4] == (1, 1)
    assert trapezoids == pytest.approx(area.estimate) and curve[0][4] + curve[0][5] == area.n
    cut = published.estimate("ROC", "ORR", "sensitivity", "in_efficacy", "week 6")
    assert any(height == pytest.approx(cut.estimate) for height in heights)


def test_the_forest_shows_each_ratio_with_n_events_and_limits(tmp_path, study):
    beyond = "update metrics.estimates set ci_high = 90 where is_primary"
    subgroup = (
        "insert into metrics.estimates values ('subgroup', 'PFS', 'in_efficacy', 'IHC: 1+', 'log2_ratio',"
        " 'hazard_ratio', 1.77, 1.2, 2.5, 0.95, 0.01, null, 11, 7, 'Cox', false, null, 'b')"
    )
    interaction = (
        "update metrics.estimates set p_value = 0.0123 where analysis = 'interaction' and endpoint = 'PFS'"
        " and stratum = 'IHC' and statistic = 'interaction_p'"
    )
    published = read(build(tmp_path / "w.duckdb", statements=(beyond, subgroup, interaction)), study)
    figure, primary = forest.forest(published, study), published.primary(study)
    rows = {(row[2], row[4], row[5]): row for row in figure.rows if row[3] == "PFS"}
    assert rows["landmark", "week 6", "log2_ratio"][6:10] == (
        primary.n, primary.events, primary.estimate, primary.ci_low,
    )  # fmt: skip
    assert "An arrow: the limit lies beyond the axis." in figure.note and "to 90.00" in figure.alt
    for drawing in figure.drawings.values():
        assert "1.77 (1.20 to 2.50)" in drawing and "interaction p = 0.012" in drawing


def test_each_treated_patient_has_a_panel_with_its_numbers(rendered, warehouse, study):
    page = rendered.read_text("utf-8")
    panels = re.findall(r'<details class="patient".*?</details>', page, re.S)
    assert len(panels) == 28 and "2 known subjects without a first dose have no such axis" in visible(page)
    assert [re.search(r"<b>(.*?)</b>", panel)[1] for panel in panels] == [f"DE-{number:04d}" for number in range(28)]
    own = [row for row in read(warehouse, study).responses if row.subject_id == "DE-0000"]
    (described,) = re.findall(r"<desc[^>]*>(.*?)</desc>", panels[0])
    for read_ in own:
        assert wording.fixed(read_.sum_of_diameters_mm) in described
    assert panels[0].count('class="les"') == 2 * len(own)
    assert "not in the analysis population" in panels[-1] and "not in the analysis population" not in panels[0]


def test_patients_too_many_for_one_page_stand_on_pages_of_their_own(tmp_path, study, monkeypatch):
    monkeypatch.setattr(page, "MOST_PANELS", 20)
    monkeypatch.setattr(page, "PANELS_A_PAGE", 10)
    warehouse = build(tmp_path / "w.duckdb")
    out = tmp_path / "out"
    text = render(warehouse, out, study).read_text("utf-8")
    names = sorted(path.name for path in (out / "patients").iterdir())
    assert names == ["000001.html", "000011.html", "000021.html"]
    assert '<details class="patient"' not in text and all(f'href="patients/{name}"' in text for name in names)
    assert sum((out / "patients" / name).read_text("utf-8").count('<details class="patient"') for name in names) == 28
    monkeypatch.undo()
    render(warehouse, out, study)
    assert not list((out / "patients").iterdir())  # a page that is linked no longer does not stay


@pytest.mark.parametrize(
    ("without", "absent", "words"),
    [
        (("her2",), {"her2_trajectories", *OF_BOTH}, "No serum HER2 result has been loaded"),
        (
            ("imaging",),
            {"kaplan_meier_pfs", "waterfall", "spider", *OF_BOTH},
            "No tumour assessment by investigator has been loaded",
        ),
        (
            ("her2", "imaging"),
            {"kaplan_meier_pfs", "waterfall", "spider", "her2_trajectories", *OF_BOTH},
            "No serum HER2 result has been loaded",
        ),
        (
            ("metrics",),
            {"kaplan_meier_pfs", "kaplan_meier_os", "landmark_pfs", "forest", "roc"},
            "No survival curve was computed",
        ),
    ],
    ids=["no serum HER2", "no imaging", "clinical data alone", "no metrics"],
)
def test_a_study_with_parts_missing_says_so_in_place_of_the_figure(tmp_path, study, without, absent, words):
    warehouse = build(tmp_path / "w.duckdb", without=without)
    assert {name for name, figure in draw(read(warehouse, study), study).items() if figure.missing} == absent
    page = render(warehouse, tmp_path / "out", study)
    text = page.read_text("utf-8")
    assert words in text and "not estimable" in text
    assert {path.stem for path in (page.parent / "data").iterdir()} == DATA  # no data of an earlier render stays


@pytest.mark.parametrize(("subjects", "without"), [(1, ()), (24, ("events",))], ids=["one subject", "no events"])
def test_too_little_data_gives_reasons_instead_of_numbers(tmp_path, study, subjects, without):
    text = visible(page_of(tmp_path, study, subjects=subjects, without=without))
    assert "not estimable" in text and "not reached" in text
    assert not {"nan", "inf", "None"} & set(re.findall(r"\w+", text))


def test_an_empty_study_renders(tmp_path, study):
    page = page_of(
        tmp_path, study, subjects=0, without=("ops",), statements=("update ops.publications set data_cutoff_on = null",)
    )
    text = visible(page)
    assert text.count("No subject is known yet") >= 3 + len(FIGURES) and 'class="patient"' not in page
    assert "0 Known subjects" in text and "Data cut-off not known" in text and "none has been taken in" in text


@pytest.mark.parametrize(
    ("statement", "what", "words"),
    [
        (
            "update marts.dim_subject set in_treated = false, in_efficacy = false",
            "times",
            "recorded dose of a study drug",
        ),
        ("update marts.dim_subject set in_efficacy = false", "times", "HER2 status is missing or not HER2-low"),
        (
            "update marts.fct_her2_delta set is_usable = false, unusable_reason = 'no baseline'",
            "landmark",
            "no baseline (",
        ),
    ],
)
def test_the_reason_for_an_empty_figure_is_the_first_thing_missing(tmp_path, study, statement, what, words):
    assert words in missing.why(read(build(tmp_path / "w.duckdb", statements=(statement,)), study), study, what)


def test_thousands_of_patients_are_thinned_aloud_and_kept_in_the_data(tmp_path, study):
    page = render(build(tmp_path / "w.duckdb", subjects=700, without=("metrics",)), tmp_path / "out", study)
    text = page.read_text("utf-8")
    assert page.stat().st_size < 2_000_000
    assert "Every 5th of 700 patients is drawn" in text and "DE-0000 to DE-0499" in visible(text)
    swimmers = list(csv.reader((page.parent / "data" / "swimmer.csv").open(encoding="utf-8")))
    assert len(swimmers) == 701


# --- the page as a document -------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(rendered):
    page = rendered.read_text("utf-8")
    assert "://" not in page and "<script" not in page and "@import" not in page
    links = [attributes.get("href") or attributes.get("xlink:href") for _, attributes in Tags(page).found]
    outside = {link for link in links if link and not link.startswith("#")}
    assert outside == {f"data/{name}.csv" for name in DATA}
    assert all((rendered.parent / link).is_file() for link in outside)


def test_identities_are_unique_and_references_resolve(rendered):
    page = rendered.read_text("utf-8")
    tags = Tags(page).found
    identities = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    named = {
        name for _, a in tags for key in ("aria-labelledby", "aria-describedby") for name in (a.get(key) or "").split()
    }
    wanted = set(re.findall(r'(?:url\(#|href="#)([^")]+)', page)) | named
    assert wanted <= set(identities)


def test_figures_and_tables_can_be_read_without_seeing_them(rendered):
    page = rendered.read_text("utf-8")
    images = re.findall(r'<svg [^>]*role="img".*?</svg>', page, re.S)
    assert len(images) == 2 * len(FIGURES) + 28  # two sizes of each figure, and the panels of the patients
    for image in images:
        assert re.search(r"<title[^>]*>\w", image)
        assert re.search(r"<desc[^>]*>[^<]*\d", image)
    tags = Tags(page).found
    assert {attributes.get("scope") for tag, attributes in tags if tag == "th"} == {"col", "row", "rowgroup"}
    assert page.count("<caption") == page.count("<table")
    assert any(attributes.get("class") == "skip" and attributes["href"] == "#main" for _, attributes in tags)


def test_text_from_the_data_cannot_become_markup(tmp_path, study):
    hostile = "<img src=x onerror=alert(1)>"
    change = (
        f"insert into ops.findings values ('{hostile}', 'DE-1', '{hostile}', 'info')",
        f"update ops.files set path = '{hostile}', reason = '{hostile}'",
        f"update metrics.estimates set caveat = '{hostile}', method = '{hostile}'",
        f"update marts.dim_subject set her2_status = '{hostile}'",
        f"update marts.fct_her2_delta set analysis_visit_name = '{hostile}'",
    )
    page = page_of(tmp_path, study, statements=change)
    assert "<img" not in page and "&lt;img" in page


def test_cells_that_a_spreadsheet_would_run_are_defused():
    cells = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "plain", 'a "quoted", one', "", None, -1.5, True]
    rows = list(csv.reader(io.StringIO(table_csv(("value",), [(cell,) for cell in cells]), newline="")))
    assert [row[0] for row in rows[1:]] == [
        "'=1+1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "plain", 'a "quoted", one', "", "", "-1.5", "true",
    ]  # fmt: skip


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_same_publication_gives_the_same_bytes_in_any_process(warehouse, rendered, tmp_path):
    """Hash seed, time zone, locale and a reader's matplotlib settings must not show."""
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\naxes.grid: True\n")
    program = (
        "import sys; from pathlib import Path; from orchestration.report.page import render;"
        "from orchestration.study import load_study; paths = [Path(argument) for argument in sys.argv[1:]];"
        "render(paths[0], paths[1], load_study(paths[2]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Auckland", "MATPLOTLIBRC": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", program, str(warehouse), str(tmp_path / "again"), str(REPOSITORY / "study.yaml")],
        check=True, cwd=REPOSITORY, env=environment,
    )  # fmt: skip
    for path in (rendered, *sorted((rendered.parent / "data").iterdir())):
        assert (tmp_path / "again" / path.relative_to(rendered.parent)).read_bytes() == path.read_bytes(), path.name


def test_a_report_is_replaced_whole_and_leaves_nothing_behind(warehouse, study, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "efficacy.html").write_text("the report before")
    with (out / "efficacy.html").open() as reader:
        page = render(warehouse, out, study)
        assert reader.read() == "the report before"
    assert page.read_text("utf-8").rstrip().endswith("</html>")
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_without_chromium_the_pdf_says_what_to_install(rendered, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"needs Chromium.*apt-get install chromium"):
        write_pdf(rendered)
    assert not rendered.with_suffix(".pdf").exists()


def test_a_chromium_that_fails_is_named_with_its_reason(rendered, tmp_path, monkeypatch):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho 'no display' >&2\nexit 1\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"wrote no PDF \(no display\)"):
        write_pdf(rendered)


def test_the_warehouse_is_only_read(warehouse, study, tmp_path):
    before = warehouse.read_bytes()
    warehouse.chmod(0o444)
    render(warehouse, tmp_path, study)
    assert warehouse.read_bytes() == before and not warehouse.with_name(warehouse.name + ".wal").exists()


@pytest.mark.parametrize(
    "older",
    [
        "alter table marts.fct_response drop column is_baseline_outside_window",
        "alter table marts.fct_her2_delta drop column lloq_ng_ml",
        "drop table intermediate.int_doses",
    ],
    ids=["column of the statistics", "column of the report", "table"],
)
def test_a_publication_of_an_older_version_says_to_publish_anew(study, tmp_path, older):
    with pytest.raises(UserError, match=r"another version of the code .*Publish it anew: sher2 run"):
        read(build(tmp_path / "w.duckdb", statements=(older,)), study)


@pytest.mark.parametrize("content", [None, b"", b"no database"], ids=["absent", "empty", "other file"])
def test_without_a_publication_the_mend_is_said(study, tmp_path, content):
    path = tmp_path / "warehouse.duckdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="sher2 run"):
        render(path, tmp_path / "out", study)
