"""Versions, corrections, analysis sets, serum HER2 and findings, from raw rows to the marts of one small study.

The rules at their boundaries are dbt unit tests beside the models; here is what spans several of them.
"""

from datetime import date, datetime
from decimal import Decimal

import pytest

from orchestration.study import Study

DRUG = "TRASTUZUMAB DERUXTECAN"
ENDED = "DISPOSITION EVENT"
STUDY = Study(study={"drugs": [DRUG, "T-DXD"], "data_cutoff": "2025-12-31"})


def subject(subject_id, **columns):
    return {"subject_id": subject_id, "site_id": "101", "enrolled_on": "2024-12-20", "ihc_score": "1+"} | columns


def dose(subject_id, start_on="2025-01-01", **columns):
    return {"subject_id": subject_id, "treatment": DRUG, "dose": "5.4", "start_on": start_on} | columns


def sample(subject_id, sample_id, value, collected_at, **columns):
    return {"subject_id": subject_id, "sample_id": sample_id, "value": value, "collected_at": collected_at} | columns


def therapy(subject_id, started_on, **columns):
    return {"subject_id": subject_id, "treatment": "RT", "category": "RADIOTHERAPY", "started_on": started_on} | columns


RECORDS = {
    "subjects": [
        subject("S1", age_years="54", sex="F"),
        subject("S1", site_id=None, enrolled_on=None, ihc_score=None, death_on="2025-09-01", _file_id="deaths"),
        subject("two sites"),
        subject("two sites", site_id="102", _file_id="other site"),
        subject("conflict", sex="F"),
        subject("conflict", sex="M", _file_id="other site"),
        subject("redelivered", sex="M", _file_id="dm old"),
        subject("redelivered", sex="F", _file_id="dm new"),
        subject("left out of the new delivery", sex="F", _file_id="dm old"),
        subject("exported", sex="M", _file_id="march export"),
        subject("exported", sex="F", _file_id="april export"),
        subject("untreated", ihc_score="0"),
        subject("no file in force", _file_id="rejected later"),
        subject("quarantined", _rejected_by="age_years_range"),
    ],
    "exposures": [
        dose("S1", started_at="2025-01-01T09:00:00Z"),
        dose("S1", "2025-01-22", started_at="2025-01-22T09:00:00Z"),
        dose("S1", "2026-02-01"),
        dose("two sites"),
        dose("conflict"),
        dose("conflict", "2025-01-22", dose="0"),
        dose("redelivered", "2024-12"),
    ],
    "visits": [
        {"subject_id": "S1", "visit_name": "C1D1", "visit_number": "1", "visit_on": "2025-01-01"},
        {"subject_id": "S1", "visit_name": "C2D1", "visit_number": "2", "visit_on": "2025-01-30"},
        {"subject_id": "S1", "visit_name": "UNSCHEDULED", "visit_on": "2025-02-10"},
        {"subject_id": "S1", "visit_name": "UNSCHEDULED", "visit_on": "2025-02-20"},
        {"subject_id": "S1", "visit_name": "LATE", "visit_on": "2026-01-10"},
        {"subject_id": "stranger", "visit_name": "C1D1", "visit_on": "2025-01-01"},
    ],
    "lab_results": [
        sample("S1", "B", "5.5", "2025-01-01T08:00:00Z", assay="EIA", laboratory="central", visit_name="C1D1"),
        sample("S1", "1", "4.4", "2025-01-22T08:30:00Z", assay="EIA", laboratory="central"),
        sample("S1", "2", "9", "2025-01-22T09:30:00Z", assay="EIA", laboratory="central"),
        sample("S1", "3", "6000", "2025-02-12T08:00:00Z", assay="EIA", laboratory="central", unit="pg/mL"),
        sample("S1", "4", "7", "2025-03-05", assay="CLIA", laboratory="central"),
        sample("S1", "5", "<0.5", "2025-03-26T08:00:00Z", assay="EIA", laboratory="central"),
        sample("S1", "6", "4", "2025-04-16T08:00:00Z", assay="EIA", laboratory="central", result_status="P"),
        sample("S1", "6", "11", "2025-04-16T08:00:00Z", assay="EIA", laboratory="central", _file_id="lab 2"),
        sample("S1", "7", "8", "2025-05-07T08:00:00Z", assay="EIA", laboratory="central"),
        sample("S1", "7", "8", "2025-05-07T08:00:00Z", laboratory="central", result_status="D", _file_id="lab 2"),
        sample("S1", "8", "8", "2025-05-28T08:00:00Z", assay="EIA", laboratory="central"),
        sample("S1", "8", "9", "2025-05-28T08:00:00Z", assay="EIA", laboratory="central", _file_id="lab 2"),
        sample("S1", "9", "8", "2026-01-28T08:00:00Z", assay="EIA", laboratory="central"),
        sample("S1", "10", "8", "2025-10-01T08:00:00Z", assay="EIA", laboratory="central"),
        sample("S1", "11", "8", "2025-06", assay="EIA", laboratory="central"),
        sample("stranger", "1", "8", "2025-01-01"),
        sample("stranger", "2", "8", "2025-01-22"),
        sample("untreated", "1", "8", "2025-01-22"),
        sample("S1", "ALB", "40", "2025-01-22", analyte="ALB", analyte_key=None, unit="g/L", unit_code=None),
    ],
    "therapies": [
        {"subject_id": "S1", "treatment": "CAPECITABINE", "category": "CHEMOTHERAPY", "started_on": "2025-03-20"},
        therapy("exported", "2025-03-05", _file_id="march export"),
        therapy("exported", "2025-03-25", _file_id="april export"),
        therapy("redelivered", "2025-02-28", _file_id="dm old"),
        therapy("redelivered", "2025-02-08", _file_id="dm new"),
    ],
    "dispositions": [
        {"subject_id": "S1", "category": ENDED, "term": "DEATH", "occurred_on": "2025-09-03"},
        {"subject_id": "S1", "category": ENDED, "term": "PROGRESSIVE DISEASE", "occurred_on": "2025-03-10"},
    ],
    "survival_status": [{"subject_id": "S1", "status": "ALIVE", "assessed_on": "2025-08-15"}],
}
# in order of arrival: file, path, date of export, verdict
LEDGER = [
    {"file_id": "file", "path": "file.csv"},
    {"file_id": "deaths", "path": "deaths.csv"},
    {"file_id": "other site", "path": "other site.csv"},
    {"file_id": "dm old", "path": "clinical/dm.csv"},
    {"file_id": "dm new", "path": "clinical/dm.csv"},
    {"file_id": "april export", "path": "clinical/a.csv", "exported_on": "2025-04-01"},
    {"file_id": "march export", "path": "clinical/b.csv", "exported_on": "2025-03-01"},
    {"file_id": "lab 2", "path": "lab 2.csv"},
    {"file_id": "rejected later", "path": "clinical/c.csv"},
    {"file_id": "rejected later", "path": "clinical/c.csv", "status": "rejected", "batch": 2},
    {"file_id": "lab 2", "path": "copy of lab.csv", "status": "duplicate", "batch": 2},
]
QUARANTINE = [
    {"file_id": "file", "row_number": 9, "record": "subjects", "field": "age_years", "value": "540", "batch": 1,
     "rule": "age_years_range", "severity": "warning", "message": "age out of range"},
    {"file_id": "file", "row_number": 1, "record": "lab_results", "field": "lloq", "value": None, "batch": 1,
     "rule": "lloq_stated", "severity": "info", "message": "no LLOQ"},
    {"file_id": "rejected later", "row_number": 1, "record": "subjects", "field": "sex", "value": "Q", "batch": 1,
     "rule": "sex_codes", "severity": "warning", "message": "of a verdict that is no longer in force"},
]


@pytest.fixture(scope="module")
def study(build_warehouse):
    return build_warehouse(RECORDS, STUDY, ledger=LEDGER, quarantine=QUARANTINE)


def test_a_subject_is_merged_from_several_exports(study):
    assert study.rows("""
        select site_id, age_years, enrolled_on, first_dose_on, last_dose_on, death_on, last_alive_on, new_therapy_on,
            discontinued_on, discontinuation_reason, her2_status
        from marts.dim_subject where subject_id = 'S1'
    """) == [(
        "101", 54, date(2024, 12, 20), date(2025, 1, 1), date(2025, 1, 22), date(2025, 9, 1), date(2025, 10, 1),
        date(2025, 3, 20), date(2025, 3, 10), "PROGRESSIVE DISEASE", "HER2-low",
    )]


@pytest.mark.parametrize(("subject_id", "sex"), [
    ("redelivered", "F"),  # the newer delivery at the same path
    ("left out of the new delivery", "F"),  # its old row stays
    ("exported", "F"),  # the newer export, though it was taken in first
    ("conflict", None),  # no order: no value
])
def test_the_version_of_a_field_is_decided_by_delivery_and_export(study, subject_id, sex):
    assert study.rows(f"select sex from marts.dim_subject where subject_id = '{subject_id}'") == [(sex,)]


def test_only_accepted_rows_of_a_verdict_in_force_count(study):
    subjects = {subject_id for (subject_id,) in study.rows("select subject_id from marts.dim_subject")}
    assert "S1" in subjects
    assert not subjects & {"no file in force", "quarantined"}


@pytest.mark.parametrize(("subject_id", "sets"), [
    ("S1", (True, True, False)),
    ("two sites", (False, False, False)),
    ("untreated", (False, False, False)),
    ("conflict", (True, True, False)),
])
def test_analysis_sets(study, subject_id, sets):
    columns = "in_treated, in_efficacy, in_response_evaluable"
    assert study.rows(f"select {columns} from marts.dim_subject where subject_id = '{subject_id}'") == [sets]


def test_a_partial_first_dose_is_completed_by_the_one_rule(study):
    first_dose_on = study.value("select first_dose_on from marts.dim_subject where subject_id = 'redelivered'")
    assert first_dose_on == date(2024, 12, 20)  # the first of the month, but not before enrolment


@pytest.mark.parametrize(("sample_id", "category", "reason"), [
    ("B", None, None),
    ("1", "FALL_20", None),  # 5.5 -> 4.4 is exactly -20 %
    ("2", "NOT EVALUABLE", "after infusion"),
    ("3", "STABLE", None),  # 6000 pg/mL
    ("4", "NOT EVALUABLE", "different assay from baseline"),
    ("5", "FALL_20", None),
    ("6", "RISE_20", None),  # the final result, not the preliminary one
    ("8", "NOT EVALUABLE", "conflicting results"),
    ("9", "NOT EVALUABLE", "after the data cut-off"),
    ("10", "RISE_20", None),
    ("11", "NOT EVALUABLE", "day of collection unknown"),
])
def test_each_sample_has_a_category_or_a_reason(study, sample_id, category, reason):
    samples = "marts.fct_her2_delta where subject_id = 'S1'"
    query = f"select change_category, unusable_reason from {samples} and sample_id = '{sample_id}'"
    assert study.rows(query) == [(category, reason)]


def test_a_deleted_result_is_gone_and_other_analytes_never_enter(study):
    assert study.value("select count(*) from marts.fct_her2_delta where sample_id in ('7', 'ALB')") == 0


def test_figures_of_a_sample(study):
    assert study.rows("""
        select value_ng_ml, value_operator, lloq_ng_ml, analysed_value_ng_ml, baseline_ng_ml, change_ng_ml, pct_change,
            log2_ratio, nadir_ng_ml, is_bound, is_at_most_77pct, is_fall_55, is_normalised, study_day,
            analysis_visit_name, collected_at
        from marts.fct_her2_delta where sample_id = '5'
    """) == [(
        Decimal("0.5"), "<", Decimal("0.5"), Decimal("0.25"), Decimal("5.5"), Decimal("-5.25"), Decimal("-95.454545"),
        Decimal("-4.459431619"), Decimal("4.4"), True, True, True, None, 85, "WEEK 12", datetime(2025, 3, 26, 8),
    )]


@pytest.mark.parametrize(
    ("subject_id", "starts"),
    [("exported", [date(2025, 3, 5), date(2025, 3, 25)]), ("redelivered", [date(2025, 2, 8)])],
    ids=["two courses in two exports are two", "a start mended at its own path is one"],
)
def test_courses_of_one_treatment(study, subject_id, starts):
    query = f"select started_on from staging.stg_therapies where subject_id = '{subject_id}' order by all"
    assert [row[0] for row in study.rows(query)] == starts


def test_samples_under_a_new_therapy_are_flagged(study):
    flagged = study.rows("select sample_id from marts.fct_her2_delta where is_after_new_therapy")
    assert {sample_id for (sample_id,) in flagged} == {"5", "6", "8", "9", "10", "11"}


def test_visits_against_their_windows(study):
    assert study.rows("""
        select visit_name, visit_on, study_day, planned_day, is_in_window, has_serum_her2
        from marts.fct_visit order by visit_on
    """) == [
        ("C1D1", date(2025, 1, 1), 1, 1, True, True),
        ("C2D1", date(2025, 1, 30), 30, 22, False, False),
        ("UNSCHEDULED", date(2025, 2, 10), 41, None, None, False),
        ("UNSCHEDULED", date(2025, 2, 20), 51, None, None, False),
    ]


@pytest.mark.parametrize(("kind", "subject_id", "detail"), [
    ("subject_unknown", "stranger", "lab_results: 2 rows"),
    ("subject_unknown", "stranger", "visits: 1 rows"),
    ("subject_at_two_sites", "two sites", "101 and 102"),
    ("conflict", "conflict", "subjects.sex: F and M"),
    ("conflict", "S1", "sample 8 of central"),
    ("death_dates_differ", "S1", "2025-09-01 or 2025-09-03"),
    ("after_death", "S1", "lab_results.collected_on 2025-10-01"),
    ("after_cutoff", "S1", "exposures.start_on: 1 rows"),
    ("partial_date", "redelivered", "exposures.start_on"),
    ("assay_switch", "S1", "baseline by EIA"),
    ("visit_outside_window", "S1", "C2D1 on day 30"),
    ("validation_remark", None, "file.csv row 1, lab_results.lloq: no LLOQ"),
    ("no_imaging", None, ""),
])
def test_findings_name_what_the_data_manager_should_see(study, kind, subject_id, detail):
    found = study.rows(f"select subject_id, detail from ops.findings where kind = '{kind}'")
    assert [text for who, text in found if who == subject_id and detail in text]


@pytest.mark.parametrize("kind", ["unit_jump", "her2_status_unknown", "no_serum_her2", "limits_inconsistent"])
def test_findings_do_not_cry_wolf(study, kind):
    assert study.value(f"select count(*) from ops.findings where kind = '{kind}'") == 0


def test_files_and_quarantine_show_the_verdicts_in_force(study):
    assert set(study.rows("select file_id, path, status from ops.files")) == {
        ("dm old", "clinical/dm.csv", "superseded"), ("dm new", "clinical/dm.csv", "loaded"),
        ("april export", "clinical/a.csv", "loaded"), ("march export", "clinical/b.csv", "loaded"),
        ("rejected later", "clinical/c.csv", "rejected"), ("lab 2", "lab 2.csv", "loaded"),
        ("lab 2", "copy of lab.csv", "duplicate"), ("file", "file.csv", "loaded"),
        ("deaths", "deaths.csv", "loaded"), ("other site", "other site.csv", "loaded"),
    }
    assert study.rows("select path, row_number, rule from ops.quarantine") == [("file.csv", 9, "age_years_range")]


def test_any_order_of_arrival_gives_the_same_marts(study, build_warehouse):
    files = {entry["file_id"]: entry for entry in LEDGER if entry.get("status") != "duplicate"}
    # the two deliveries at one path keep their order; everything else arrives the other way round, a file a batch
    order = [name for name in reversed(files) if not name.startswith("dm")] + ["dm old", "dm new"]
    entries = [files[name] | {"batch": batch} for batch, name in enumerate(order, 1)]
    records = {
        record: [row | {"_batch": 1 + order.index(row.get("_file_id", "file"))} for row in rows]
        for record, rows in RECORDS.items()
    }
    other = build_warehouse(records, STUDY, checks=(), ledger=entries)
    for mart in ("dim_subject", "fct_visit", "fct_her2_delta"):
        query = f"select * from marts.{mart} order by all"
        assert other.rows(query) == study.rows(query), mart
