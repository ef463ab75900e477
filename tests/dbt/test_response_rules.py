"""Rules of response and endpoints that no public table tests: whole subjects, from lake rows to marts."""

from datetime import date

import pytest

from orchestration.study import Study
from tests.dbt.recist_rows import Rows, on


def sized(rows: Rows, subject: str, *diameters: str | None, lesion: str = "T01") -> None:
    """A target identified on day -7, with its diameters there and every 42 days after first dose."""
    rows.lesion(subject, lesion)
    for visit, diameter in enumerate(diameters):
        rows.measured(subject, lesion, 42 * visit if visit else -7, diameter)


@pytest.fixture(scope="module")
def rows() -> Rows:
    rows = Rows()
    for subject in (
        "never assessed",
        "equivocal",
        "split",
        "merged",
        "centimetres",
        "measured only",
        "measured and reported",
        "old baseline",
        "old baseline, died",
        "disagreeing readers",
        "after cr",
        "reported after cr",
        "no baseline date",
        "spelled differently",
    ):
        rows.subject(subject)
    rows.add("subjects", "never dosed", enrolled_on=on(0))
    sized(rows, "never dosed", "20", "10")

    sized(rows, "equivocal", "20", "10", "10", "10")
    rows.lesion("equivocal", "NEW01", "NEW", day=42)
    for day, value in ((42, "EQUIVOCAL"), (126, "YES")):
        rows.reported("equivocal", on(day), value, "NEWLPROG", visit_name=f"DAY {day}", lesion_id="NEW01")

    sized(rows, "split", "30")
    rows.measured("split", "T01.1", 42, "10")
    rows.measured("split", "T01.2", 42, "12.5")

    sized(rows, "merged", "20")
    sized(rows, "merged", "20", lesion="T02")
    rows.measured("merged", "T01/T02", 42, "28")

    sized(rows, "centimetres", "20")
    rows.measured("centimetres", "T01", 42, "1.4", unit="cm")

    rows.measured("measured only", "T01", -7, "20")
    rows.measured("measured only", "T01", 42, "10")
    rows.measured("measured and reported", "T01", -7, "20")
    rows.measured("measured and reported", "T01", 42, "10")
    rows.reported("measured and reported", on(42), "PR", visit_name="DAY 42")

    rows.lesion("old baseline", "T01", day=-40)
    rows.measured("old baseline", "T01", -40, "20")
    rows.measured("old baseline", "T01", 42, "10")

    rows.lesion("old baseline, died", "T01", day=-40)
    rows.measured("old baseline, died", "T01", -40, "20")
    rows.add("dispositions", "old baseline, died", category="DISPOSITION EVENT", term="DEATH", occurred_on=on(30))

    for reader in ("READER 1", "READER 2"):
        rows.reported("disagreeing readers", on(42), "PR", evaluator="INDEPENDENT ASSESSOR", reader=reader)

    sized(rows, "after cr", "20", "0", "3")
    rows.reported("reported after cr", on(42), "CR")
    rows.reported("reported after cr", on(84), "PR")

    rows.add("tumor_identifications", "no baseline date", lesion_id="T01", role="TARGET", visit_name="SCREENING")
    rows.measured("no baseline date", "T01", -3, "20", visit_name="SCREENING")
    rows.records["visits"] = [{"subject_id": "no baseline date", "visit_name": "WEEK 6", "visit_on": on(40)}]
    rows.add(
        "tumor_measurements",
        "no baseline date",
        lesion_id="T01",
        test="DIAMETER",
        value="10",
        assessed_on=on(40)[:7],
        visit_name="WEEK 6",
    )

    rows.lesion("spelled differently", "T01", visit_name="Before")
    rows.measured("spelled differently", "T01", -7, "20", visit_name="BEFORE")
    rows.records["visits"].append({"subject_id": "spelled differently", "visit_name": " cycle three", "visit_on": on(44)})
    rows.add(
        "tumor_measurements", "spelled differently", lesion_id="T01", test="DIAMETER", value="10",
        assessed_on=on(44)[:7], visit_name="Cycle Three",
    )  # fmt: skip
    rows.reported("spelled differently", on(44), "SD", visit_name="CYCLE THREE")
    return rows


@pytest.fixture(scope="module")
def warehouse(build_warehouse, rows):
    return build_warehouse(rows.records)


@pytest.fixture(scope="module")
def strict_warehouse(build_warehouse, rows):
    response = {"basis": "derived", "disease_after_cr": "pd", "baseline_outside_window": "exclude"}
    return build_warehouse(rows.records, Study.model_validate({"response": response}), checks=())


def responses(warehouse, subject: str) -> list[tuple]:
    return warehouse.rows(f"""
        select study_day, cast(sum_of_diameters_mm as double), overall_response from marts.fct_response
        where subject_id = '{subject}' and not is_baseline order by assessment_no, reader
    """)


def findings(warehouse, subject: str) -> set[str]:
    return {
        kind
        for (kind,) in warehouse.rows(f"""
        select kind from intermediate.int_findings_response where subject_id = '{subject}'
        union all
        select kind from intermediate.int_findings_endpoints where subject_id = '{subject}'
    """)
    }


def test_a_treated_subject_without_assessments_is_missing_and_never_null(warehouse):
    assert warehouse.rows("""
        select evaluator, best_overall_response, confirmed_best_overall_response, is_responder, is_confirmed_responder,
            has_disease_control, has_clinical_benefit
        from marts.fct_best_response where subject_id = 'never assessed' order by 1
    """) == [
        (who, "MISSING", "MISSING", False, False, False, False) for who in ("INDEPENDENT ASSESSOR", "INVESTIGATOR")
    ]
    endpoints = warehouse.rows(
        "select endpoint from marts.fct_time_to_event"
        " where subject_id = 'never assessed' and evaluator = 'INVESTIGATOR'"
    )
    assert {endpoint for (endpoint,) in endpoints} == {"PFS", "PFS_OTHER_RULES", "OS"}


def test_an_untreated_subject_has_responses_but_no_best_one(warehouse):
    assert responses(warehouse, "never dosed") == [(43, 10.0, "PR")]
    assert warehouse.value("select count(*) from marts.fct_best_response where subject_id = 'never dosed'") == 0


def test_an_equivocal_lesion_that_becomes_certain_was_a_progression_when_it_appeared(warehouse):
    assert [response for _, _, response in responses(warehouse, "equivocal")] == ["PD", "PD", "PD"]
    assert "new_lesion_dated_back" in findings(warehouse, "equivocal")
    progression = date.fromisoformat(on(42))
    assert warehouse.rows("""
        select end_on, is_event, event_description from marts.fct_time_to_event
        where subject_id = 'equivocal' and evaluator = 'INVESTIGATOR' and endpoint = 'PFS'
    """) == [(progression, True, "progressive disease")]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("split", [(43, 22.5, "SD")]),  # parts add up
        ("merged", [(43, 28.0, "PR")]),  # the merged diameter counts once, both are assessed
        ("centimetres", [(43, 14.0, "PR")]),
        (
            "no baseline date",
            [(41, 10.0, "PR")],
        ),  # both take the day of their visit
    ],
)
def test_lesions_that_change_and_dates_that_are_partial(warehouse, subject, expected):
    assert responses(warehouse, subject) == expected


def test_a_visit_is_one_however_its_name_is_spelled(warehouse):
    """Else its measurements and its report would be two assessments of one day, of which the worst counts."""
    assert responses(warehouse, "spelled differently") == [(45, 10.0, "PR")]
    assert findings(warehouse, "spelled differently") == {"partial_date", "disagreement"}
    assert warehouse.rows("select subject_id, detail from ops.findings where kind = 'visit_name_spelled_differently' order by 2") == [
        (None, "BEFORE and Before are one visit"), (None, "CYCLE THREE and cycle three are one visit"),
    ]  # fmt: skip


def test_lesions_without_an_identification_derive_nothing_and_yield_to_a_report(warehouse):
    assert responses(warehouse, "measured only") == [(43, None, "NE")]
    assert responses(warehouse, "measured and reported") == [(43, None, "PR")]
    assert "lesion_never_identified" in findings(warehouse, "measured only")
    reasons = dict(
        warehouse.rows("""
        select subject_id, censoring_reason from marts.fct_time_to_event
        where subject_id like 'measured%' and evaluator = 'INVESTIGATOR' and endpoint = 'PFS'
    """)
    )
    assert reasons["measured only"] == "no baseline assessment"
    assert reasons["measured and reported"] == "ongoing at the last date in the data"


def test_several_readers_without_an_accepted_one_are_listed_and_not_analysed(warehouse):
    assert "no_accepted_read" in findings(warehouse, "disagreeing readers")
    assert warehouse.rows(
        "select distinct best_overall_response from marts.fct_best_response where subject_id = 'disagreeing readers'"
    ) == [("MISSING",)]


def test_an_old_baseline_is_used_and_listed_or_excluded(warehouse, strict_warehouse):
    assert responses(warehouse, "old baseline") == [(43, 10.0, "PR")]
    assert "baseline_outside_window" in findings(warehouse, "old baseline")
    assert responses(strict_warehouse, "old baseline") == [(43, None, "NE")]
    listed = findings(strict_warehouse, "old baseline")
    assert listed == {"baseline_outside_window", "no_baseline_assessment", "lesion_never_identified"}


def test_without_a_usable_baseline_not_even_a_death_ends_progression_free_survival(warehouse, strict_warehouse):
    query = """
        select end_on - start_on, is_event, coalesce(event_description, censoring_reason) from marts.fct_time_to_event
        where subject_id = 'old baseline, died' and endpoint like 'PFS%' and evaluator = 'INVESTIGATOR' order by endpoint
    """
    death = (30, True, "death")
    assert warehouse.rows(query) == [death, death]
    assert strict_warehouse.rows(query) == [(0, False, "no baseline assessment"), death]
    assert "no_baseline_assessment" in findings(strict_warehouse, "old baseline, died")


def test_reported_responses_vouch_for_a_baseline_that_is_not_there(warehouse):
    assert responses(warehouse, "measured and reported") == [(43, None, "PR")]
    listed = dict(warehouse.rows("select kind, detail from ops.findings where subject_id = 'measured and reported'"))
    assert listed["no_baseline_assessment"].endswith("; the reported overall responses count")


def test_disease_after_a_complete_response_is_listed_or_a_progression(warehouse, strict_warehouse):
    assert responses(warehouse, "after cr") == [(43, 0.0, "CR"), (85, 3.0, "PR")]
    assert findings(warehouse, "after cr") == {"disease_after_cr"}
    assert findings(warehouse, "reported after cr") == {"disease_after_cr"}
    assert responses(strict_warehouse, "after cr") == [(43, 0.0, "CR"), (85, 3.0, "PD")]


def test_reported_responses_do_not_count_on_a_derived_basis(warehouse, strict_warehouse):
    assert [response for *_, response in responses(warehouse, "reported after cr")] == ["CR", "PR"]
    assert [response for *_, response in responses(strict_warehouse, "reported after cr")] == [None, None]
    assert strict_warehouse.rows("""
        select end_on = start_on, is_event, censoring_reason from marts.fct_time_to_event
        where subject_id = 'reported after cr' and evaluator = 'INVESTIGATOR' and endpoint = 'PFS'
    """) == [(True, False, "no baseline assessment")]
