"""The report says what is published, no more and no less, and the same bytes for the same publication."""

import csv
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import duckdb
import pytest

from orchestration.errors import UserError
from orchestration.report import figures, missing
from orchestration.report.page import draw, render, table_csv
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
    "her2_vs_sum",
}


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
    change = f"update metrics.estimates set ci_low = {low}, ci_high = {high} where is_primary"
    assert reading in visible(page_of(tmp_path, study, statements=(change,)))


def test_what_cannot_be_estimated_is_said_in_the_words_of_its_caveat(tmp_path, study):
    change = (
        "update metrics.estimates set estimate = null, ci_low = null, ci_high = null, p_value = null,"
        " caveat = 'too few events: 3' where is_primary",
        "update metrics.estimates set estimate = 'nan'::double, ci_low = 'nan'::double, ci_high = 'nan'::double"
        " where statistic = 'median_months' and endpoint = 'PFS' and analysis = 'survival'",
    )
    text = visible(page_of(tmp_path, study, statements=change))
    assert "not estimable n = 19 Too few events: 3." in text
    assert "not reached n = 24, 17 events" in text
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
            "select count(*) from metrics.estimates where analysis in ('response rate', 'landmark', 'Mantel-Byar',"
            " 'correlation', 'novel method')"
        ).fetchone()[0]
    lines = [table for name in ("response", "landmark", "further") for table in body_rows(page, name)]
    assert len(lines) == rows


def body_rows(page: str, table: str) -> list[str]:
    found = re.search(rf'<table id="table-{table}">.*?</table>', page, re.S)[0]
    return re.findall(r'<tr(?: class="primary")?>\s*<th scope="row">', found)


def test_patients_are_counted_on_the_way_to_the_landmark_with_reasons(rendered):
    text = visible(rendered.read_text("utf-8"))
    assert "30 Known subjects 28 Treated" in text and "Not in it: 2 not treated" in text
    assert "24 Efficacy: treated, tumour HER2-low Not in it: 4 HER2-zero" in text
    assert "19 At risk at the landmark (week 6)" in text and "3 left out by event, 1 by censoring" in text


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
    assert "response disagreement info 2 2" in text
    assert "after infusion 28" in text


# --- figures ----------------------------------------------------------------------------------------------------------


def test_every_figure_has_its_data_behind_it(warehouse, rendered):
    files = {path.stem: list(csv.reader(path.open(encoding="utf-8"))) for path in (rendered.parent / "data").iterdir()}
    assert set(files) == FIGURES
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        published = connection.execute(
            "select time_months, survival, at_risk from metrics.survival_curves where endpoint = 'PFS'"
            " and stratum = 'all' order by time_months"
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
    assert [figures.at_risk(curve, time) for time in (0, 3, 6, 9, 12, 15)] == [10, 10, 6, 2, 2, 0]

    for drawing in draw(published, study)["kaplan_meier_pfs"].drawings.values():
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
    figure = draw(read(warehouse, study), study)["waterfall"]
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
        return draw(read(build(tmp_path / "w.duckdb", statements=statements), study), study)["her2_trajectories"]

    raised = drawn("update metrics.estimates set estimate = 40 where analysis = 'kinetics' and term = 'C1D1'")
    assert drawn().drawings["wide"] != raised.drawings["wide"]
    assert "40.0 ng/mL at the start" in raised.alt


@pytest.mark.parametrize(
    ("without", "absent", "words"),
    [
        (("her2",), {"her2_trajectories", "landmark_pfs", "her2_vs_sum"}, "No serum HER2 result has been loaded"),
        (
            ("imaging",),
            {"kaplan_meier_pfs", "kaplan_meier_os", "waterfall", "spider", "landmark_pfs", "her2_vs_sum"},
            "No tumour assessment by investigator has been loaded",
        ),
        (("metrics",), {"kaplan_meier_pfs", "kaplan_meier_os", "landmark_pfs"}, "No survival curve was computed"),
    ],
    ids=["no serum HER2", "no imaging", "no metrics"],
)
def test_a_study_with_parts_missing_says_so_in_place_of_the_figure(tmp_path, study, without, absent, words):
    warehouse = build(tmp_path / "w.duckdb", without=without)
    assert {name for name, figure in draw(read(warehouse, study), study).items() if figure.missing} == absent
    page = render(warehouse, tmp_path / "out", study)
    text = page.read_text("utf-8")
    assert words in text and "not estimable" in text
    assert {path.stem for path in (page.parent / "data").iterdir()} == FIGURES  # no data of an earlier render stays


def test_an_empty_study_renders(tmp_path, study):
    page = page_of(
        tmp_path, study, subjects=0, without=("ops",), statements=("update ops.publications set data_cutoff_on = null",)
    )
    text = visible(page)
    assert text.count("No subject is known yet") >= 3 + len(FIGURES)
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
    page = render(build(tmp_path / "w.duckdb", subjects=700), tmp_path / "out", study)
    assert page.stat().st_size < 1_000_000
    assert "Every 5th of 700 patients is drawn" in page.read_text("utf-8")
    swimmers = list(csv.reader((page.parent / "data" / "swimmer.csv").open(encoding="utf-8")))
    assert len(swimmers) == 701


# --- the page as a document -------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_but_itself(rendered):
    page = rendered.read_text("utf-8")
    assert "://" not in page and "<script" not in page and "@import" not in page
    links = [attributes.get("href") or attributes.get("xlink:href") for _, attributes in Tags(page).found]
    outside = {link for link in links if link and not link.startswith("#")}
    assert outside == {f"data/{name}.csv" for name in FIGURES}
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
    assert len(images) == 2 * len(FIGURES)
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


def test_the_warehouse_is_only_read(warehouse, study, tmp_path):
    before = warehouse.read_bytes()
    warehouse.chmod(0o444)
    render(warehouse, tmp_path, study)
    assert warehouse.read_bytes() == before and not warehouse.with_name(warehouse.name + ".wal").exists()


@pytest.mark.parametrize("content", [None, b"", b"no database"], ids=["absent", "empty", "other file"])
def test_without_a_publication_the_mend_is_said(study, tmp_path, content):
    path = tmp_path / "warehouse.duckdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="sher2 run"):
        render(path, tmp_path / "out", study)
