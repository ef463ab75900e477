"""Dates known by month or year only: the one rule (dates.impute_day), and the order of events that it must not break."""

from datetime import date

import pytest

from orchestration.study import Study
from tests.dbt.recist_rows import Rows

MONTH = "2025-03"
LAST_DATE = "2025-12-30"

# what is known beside a first dose in March 2025, and the first dose by impute_day first, mid and last
FIRST_DOSES = {
    "scan in the month": ("2025-03-10", "2025-03-15", "2025-03-31"),
    "scan after its middle": ("2025-03-20", "2025-03-20", "2025-03-31"),
    "scan of the month before": ("2025-03-01", "2025-03-15", "2025-03-31"),
    "scan of the month after": ("2025-03-01", "2025-03-15", "2025-03-31"),  # no order is possible: as imputed, listed
    "lesions identified again": ("2025-03-01", "2025-03-15", "2025-03-31"),  # the first scan is the baseline
    "scan of two readers": ("2025-03-14", "2025-03-15", "2025-03-31"),
    "scan told by its visit": ("2025-03-11", "2025-03-15", "2025-03-31"),
    "scan of that month, too": ("2025-03-01", "2025-03-15", "2025-03-31"),
    "enrolled in the month": ("2025-03-05", "2025-03-15", "2025-03-31"),
    "enrolled in that month, too": ("2025-03-01", "2025-03-15", "2025-03-31"),
    "sampled before the dose": ("2025-03-18", "2025-03-18", "2025-03-31"),
    "visit of day 1": ("2025-03-19", "2025-03-19", "2025-03-31"),
    "dose that ended": ("2025-03-06", "2025-03-08", "2025-03-08"),
    "scan after the dose ended": ("2025-03-01", "2025-03-10", "2025-03-10"),
    "died in the month": ("2025-03-01", "2025-03-12", "2025-03-12"),
    "died before": ("2025-03-01", "2025-03-15", "2025-03-31"),
    "year only": ("2025-05-10", "2025-06-30", "2025-12-31"),
    "full date": ("2025-03-03", "2025-03-03", "2025-03-03"),
}


def treated(rows: Rows, name: str, first_dose: str = MONTH, end_on: str | None = None, **subject) -> None:
    rows.add("subjects", name, **subject)
    rows.add("exposures", name, treatment="STUDY DRUG", dose="5.4", start_on=first_dose, end_on=end_on)


def scan(rows: Rows, name: str, when: str, mm: str = "20", role: str | None = "TARGET", **columns) -> None:
    """A lesion measured, and identified unless without a role."""
    columns = {"visit_name": f"SCAN {when}"} | columns
    if role:
        rows.add("tumor_identifications", name, lesion_id="T1", role=role, identified_on=when, **columns)
    rows.add("tumor_measurements", name, lesion_id="T1", test="DIAMETER", value=mm, assessed_on=when, **columns)


@pytest.fixture(scope="module")
def rows() -> Rows:
    rows = Rows()
    rows.records |= {"visits": [], "lab_results": []}
    for name in FIRST_DOSES:
        if name.startswith("scan") and name != "scan told by its visit":
            treated(rows, name, end_on="2025-03-10" if name == "scan after the dose ended" else None)
    scan(rows, "scan in the month", "2025-03-10")
    scan(rows, "scan in the month", "2025-04-21", "10", role=None)
    scan(rows, "scan after its middle", "2025-03-20")
    scan(rows, "scan of the month before", "2025-02-20")
    scan(rows, "scan of the month after", "2025-04-02")
    scan(rows, "scan of two readers", "2025-03-10", evaluator="INVESTIGATOR")
    scan(rows, "scan of two readers", "2025-03-14", evaluator="INDEPENDENT ASSESSOR")
    scan(rows, "scan of that month, too", MONTH)
    scan(rows, "scan after the dose ended", "2025-03-20")
    treated(rows, "lesions identified again")
    scan(rows, "lesions identified again", "2025-02-20")
    scan(rows, "lesions identified again", "2025-03-25")
    treated(rows, "scan told by its visit")
    screening = {"lesion_id": "T1", "visit_name": "SCREENING"}
    rows.add("tumor_identifications", "scan told by its visit", role="TARGET", identified_on=MONTH, **screening)
    rows.add(
        "tumor_measurements",
        "scan told by its visit",
        test="DIAMETER",
        value="20",
        assessed_on="2025-03-11",
        **screening,
    )
    treated(rows, "enrolled in the month", enrolled_on="2025-03-05")
    treated(rows, "enrolled in that month, too", enrolled_on=MONTH)
    treated(rows, "sampled before the dose")
    sample = {"sample_id": "1", "value": "12", "visit_name": "Cycle 1 Day 1", "specimen": "SERUM", "assay": "CLIA"}
    rows.add("lab_results", "sampled before the dose", collected_at="2025-03-18", **sample)
    treated(rows, "visit of day 1")
    rows.add("visits", "visit of day 1", visit_name="C1D1", visit_on="2025-03-19")
    rows.add("visits", "visit of day 1", visit_name="C2D1", visit_on="2025-03-30")
    treated(rows, "dose that ended", end_on="2025-03-08")
    scan(rows, "dose that ended", "2025-03-06")
    treated(rows, "died in the month", death_on="2025-03-12")
    treated(rows, "died before", death_on="2025-02-12")
    treated(rows, "year only", "2025")
    scan(rows, "year only", "2025-05-10")
    treated(rows, "full date", "2025-03-03")
    scan(rows, "full date", "2025-03-10")

    # whose first dose is known, but not their enrolment or their assessments
    treated(rows, "enrolment by month", "2025-03-10", enrolled_on=MONTH)
    for name in ("baseline by month", "response by month", "scan of week 6 by year", "contradiction"):
        treated(rows, name, "2025-03-10")
    scan(rows, "baseline by month", MONTH)
    for name in ("response by month", "scan of week 6 by year", "contradiction"):
        scan(rows, name, "2025-03-05")
    rows.reported("response by month", MONTH, "PD", visit_name="UNSCHEDULED")
    scan(rows, "scan of week 6 by year", "2025", "30", role=None, visit_name="Week 6")
    rows.reported("contradiction", "2025-02", "PD")

    rows.add("survival_status", "full date", status="ALIVE", assessed_on=LAST_DATE)
    return rows


@pytest.fixture(scope="module")
def warehouses(build_warehouse, rows):
    return {
        impute_day: build_warehouse(
            rows.records, Study.model_validate({"dates": {"impute_day": impute_day}}), checks=("test",)
        )
        for impute_day in ("first", "mid", "last")
    }


@pytest.mark.parametrize("place", range(3), ids=["first", "mid", "last"])
def test_a_partial_first_dose_keeps_an_order_that_its_month_allows(warehouses, place):
    warehouse = list(warehouses.values())[place]
    found = dict(warehouse.rows("select subject_id, cast(first_dose_on as text) from marts.dim_subject"))
    assert {name: found[name] for name in FIRST_DOSES} == {name: days[place] for name, days in FIRST_DOSES.items()}


def test_it_is_flagged_and_the_finding_says_what_moved_it(warehouses):
    flagged = warehouses["first"].rows("select subject_id from marts.dim_subject where is_first_dose_imputed")
    assert {name for (name,) in flagged} == set(FIRST_DOSES) - {"full date"}
    query = "select subject_id, detail from ops.findings where kind = 'first_dose_imputed'"
    first, last = (dict(warehouses[day].rows(query)) for day in ("first", "last"))
    assert set(first) == set(FIRST_DOSES) - {"full date"}
    assert first["scan of the month before"] == (
        "exposures.start_on 2025-03: 2025-03-01 is taken as the first dose (dates.impute_day = first)"
    )
    assert first["scan in the month"] == (
        "exposures.start_on 2025-03: 2025-03-10 is taken as the first dose"
        " (dates.impute_day = first, but not before the baseline scan)"
    )
    assert first["enrolled in the month"].endswith("not before the enrolment)")
    assert first["sampled before the dose"].endswith("not before the visit C1D1)")
    assert last["died in the month"].endswith("not after the end of the dose or the death)")


def test_the_scan_before_a_moved_first_dose_is_the_baseline(warehouses):
    """Otherwise it would be a post-baseline assessment and the subject without a baseline."""
    warehouse = warehouses["first"]
    assert warehouse.rows("""
        select assessed_on, study_day, is_baseline, cast(baseline_sum_mm as integer), overall_response
        from marts.fct_response where subject_id = 'scan in the month' order by assessed_on
    """) == [(date(2025, 3, 10), 1, True, 20, None), (date(2025, 4, 21), 43, False, 20, "PR")]
    assert warehouse.rows("""
        select endpoint, start_on, end_on, is_event from marts.fct_time_to_event
        where subject_id = 'scan in the month' and evaluator = 'INVESTIGATOR' and endpoint = 'PFS'
    """) == [("PFS", date(2025, 3, 10), date(2025, 4, 21), False)]
    without = warehouse.rows("select subject_id from ops.findings where kind = 'no_baseline_assessment'")
    assert {name for (name,) in without} == {"scan of the month after", "scan after the dose ended", "full date"}


def test_the_sample_before_a_moved_first_dose_is_the_baseline(warehouses):
    query = "select study_day, is_baseline from marts.fct_her2_delta where subject_id = 'sampled before the dose'"
    assert warehouses["first"].rows(query) == warehouses["mid"].rows(query) == [(1, True)]


def test_nothing_of_a_moved_first_dose_contradicts_the_death(warehouses):
    for warehouse in warehouses.values():
        listed = warehouse.rows("""
            select distinct subject_id from ops.findings
            where kind in ('after_death', 'end_before_start') and subject_id like 'died%'
        """)
        assert listed == [("died before",)]


@pytest.mark.parametrize(
    ("name", "days"),
    [  # by impute_day first, mid and last; the first dose is on the 10th of March
        ("baseline by month", ("2025-03-01", "2025-03-10", "2025-03-10")),  # a baseline is not after it
        ("response by month", ("2025-03-11", "2025-03-15", "2025-03-31")),  # a response is not before it
        ("scan of week 6 by year", ("2025-03-11", "2025-06-30", "2025-12-31")),  # nor what is planned for later
    ],
)
def test_a_partial_assessment_keeps_its_side_of_the_first_dose(warehouses, name, days):
    query = f"""
        select cast(assessed_on as text) from marts.fct_response
        where subject_id = '{name}' and evaluator = 'INVESTIGATOR' and is_date_imputed
    """
    assert tuple(warehouse.value(query) for warehouse in warehouses.values()) == days


def test_an_early_progression_of_an_uncertain_day_is_not_lost(warehouses):
    progressions = dict(
        warehouses["first"].rows("""
        select subject_id, best_overall_response from marts.fct_best_response where evaluator = 'INVESTIGATOR'
    """)
    )
    assert (progressions["response by month"], progressions["scan of week 6 by year"]) == ("PD", "PD")
    assert progressions["contradiction"] == "MISSING"
    assert warehouses["first"].rows(
        "select kind from ops.findings where subject_id = 'contradiction' and kind = 'response_before_treatment'"
    ) == [("response_before_treatment",)]


def test_a_partial_enrolment_is_not_after_the_first_dose(warehouses):
    query = "select cast(enrolled_on as text) from marts.dim_subject where subject_id = 'enrolment by month'"
    assert [warehouse.value(query) for warehouse in warehouses.values()] == ["2025-03-01", "2025-03-10", "2025-03-10"]
