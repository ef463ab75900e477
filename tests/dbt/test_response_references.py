"""Responses and endpoints against results that nobody on this project computed (shared/reference, shared/samples)."""

from collections import Counter

import pytest

from orchestration.study import Study
from tests.dbt.recist_rows import Rows, on, public_study, reference

TARGET_VALUES = {"CR": "0", "PR": "50", "SD": "90", "PD": "130", "NE": None}  # from a baseline of 100 mm
NON_TARGET_STATES = {"CR": "ABSENT", "NON-CR/NON-PD": "PRESENT", "PD": "UNEQUIVOCAL", "NE": None}


def study(**response) -> Study:
    return Study.model_validate({"response": response})


@pytest.fixture(scope="module")
def small_set(build_warehouse, tmp_path_factory):
    return build_warehouse(public_study("onco_recist", tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def large_set(build_warehouse, tmp_path_factory):
    return build_warehouse(public_study("onco", tmp_path_factory.mktemp("large")), checks=())


def time_points(rows: Rows) -> None:
    """A subject for each row of the table of time points."""
    for number, case in enumerate(reference("recist11_timepoint_table.csv")):
        subject = f"time point {number}"
        rows.subject(subject)
        if case["target"] != "NA":
            rows.lesion(subject, "T01")
            rows.measured(subject, "T01", -7, "100")
            rows.measured(subject, "T01", 42, TARGET_VALUES[case["target"]])
        if case["non_target"] != "NA":
            rows.lesion(subject, "NT01", "NON-TARGET")
            rows.measured(subject, "NT01", -7, "PRESENT", "TUMSTATE")
            rows.measured(subject, "NT01", 42, NON_TARGET_STATES[case["non_target"]], "TUMSTATE")
        if case["target"] == case["non_target"] == "NA":
            rows.reported(subject, on(-7), "NA", "NTRGRESP")
        if case["new_lesion"] == "YES":
            rows.lesion(subject, "NEW01", "NEW", day=42)


def boundaries(rows: Rows) -> None:
    """A subject for each boundary case, its sums in one lesion."""
    for case in reference("recist_boundary_cases.csv"):
        subject = case["case_id"]
        is_node = subject == "pv3"
        rows.subject(subject)
        rows.lesion(subject, "T01", location="LYMPH NODE" if is_node else "LIVER")
        sums = [case["baseline_sum"], *filter(None, case["prior_sums"].split(";")), case["current_sum"]]
        for visit, value in enumerate(sums):
            rows.measured(subject, "T01", 42 * visit - 7, value)
        if subject == "pv4":  # a second target that is missing at the last visit
            rows.lesion(subject, "T02")
            for visit in range(len(sums)):
                rows.measured(subject, "T02", 42 * visit - 7, "0" if visit < len(sums) - 1 else None)


def confirmations(rows: Rows) -> None:
    """Two subjects for each row of the table of confirmation: its first response late enough, and too early."""
    for number, case in enumerate(reference("recist11_confirmation_table.csv")):
        for when, first in (("long enough", 42), ("early", 3)):
            subject = f"confirmation {number} {when}"
            rows.subject(subject)
            rows.reported(subject, on(first), case["first_time_point"])
            rows.reported(subject, on(first + 28), case["subsequent_time_point"])


@pytest.fixture(scope="module")
def cases(build_warehouse):
    rows = Rows()
    time_points(rows)
    boundaries(rows)
    confirmations(rows)
    return build_warehouse(rows.records, checks=())


@pytest.fixture(scope="module")
def carried_cases(build_warehouse):
    rows = Rows()
    boundaries(rows)
    return build_warehouse(rows.records, study(carry_partial_response=True), checks=())


def test_overall_response_at_every_combination_of_a_time_point(cases):
    derived = dict(cases.rows("select subject_id, derived_response from marts.fct_response where not is_baseline"))
    tables = set(
        cases.rows("""
        select target_response, non_target_response, new_lesion, overall_response from seeds.recist_target_overall
        union all
        select 'NA', non_target_response, new_lesion, overall_response from seeds.recist_non_target_overall
    """)
    )
    table = reference("recist11_timepoint_table.csv")
    assert tables == {(case["target"], case["non_target"], case["new_lesion"], case["overall"]) for case in table}
    for number, case in enumerate(table):
        if (case["target"], case["non_target"], case["new_lesion"]) != (
            "NA",
            "NA",
            "NO",
        ):  # no row to read
            assert derived[f"time point {number}"] == case["overall"], case


@pytest.mark.parametrize("study_of_cases", ["cases", "carried_cases"])
def test_target_response_at_the_boundaries(request, study_of_cases):
    warehouse = request.getfixturevalue(study_of_cases)
    last = dict(
        warehouse.rows("""
        select subject_id, target_response from marts.fct_response
        where (subject_id, assessed_on) in (
            select (subject_id, max(assessed_on)) from marts.fct_response group by subject_id
        )
    """)
    )
    for case in reference("recist_boundary_cases.csv"):
        response, expected = last[case["case_id"]], case["expected_target"]
        if case["case_id"] in ("py3", "eo2", "eo3") and study_of_cases == "cases":
            assert response == "SD", f"{case}: only carry_partial_response keeps the PR"
        elif expected.startswith("not "):
            assert response != expected.removeprefix("not "), case
        else:
            assert response == expected, case


# Pairs for which the table presumes what section 5 of ours leaves to a finding: too early, they cannot be evaluated.
TOO_EARLY = {("CR", "PR"): "NE", ("CR", "SD"): "NE", ("PR", "SD"): "NE"}


def test_best_response_where_confirmation_is_required(cases):
    best = dict(cases.rows("select subject_id, confirmed_best_overall_response from marts.fct_best_response"))
    for number, case in enumerate(reference("recist11_confirmation_table.csv")):
        pair = (case["first_time_point"], case["subsequent_time_point"])
        early = TOO_EARLY.get(pair, case["bor_if_min_sd_duration_not_met"])
        assert best[f"confirmation {number} long enough"] == case["bor_if_min_sd_duration_met"], case
        assert best[f"confirmation {number} early"] == early, case


def test_small_public_set_derives_what_was_reported(small_set):
    assert small_set.rows("""
        select evaluator, reader, count(*), count(*) filter (derived_response = reported_response)
        from marts.fct_response
        where reported_response is not null group by all order by all
    """) == [
        ("INDEPENDENT ASSESSOR", "RADIOLOGIST 1", 22, 22),
        ("INDEPENDENT ASSESSOR", "RADIOLOGIST 2", 22, 22),
        ("INVESTIGATOR", "", 22, 22),
    ]
    assert small_set.value("select count(*) from ops.findings where kind like '%disagreement'") == 0


def test_small_public_set_gives_the_published_overall_responses_and_progressions(small_set):
    """OVR and PD of the published ADaM. Its clinical benefit (CB, CCB) starts on day 42, ours on day 168."""
    published = {
        (row["USUBJID"], row["AVISIT"]): (row["AVALC"], row["ADT"])
        for row in reference("published_adrs_small_set.csv")
        if row["PARAMCD"] == "OVR"
    }
    ours = {
        (subject, visit): (response, assessed_on)
        for subject, visit, response, assessed_on in small_set.rows("""
            select subject_id, visit_name, overall_response, assessed_on::text from marts.fct_response
            where evaluator = 'INVESTIGATOR' and not is_baseline
        """)
    }
    assert len(published) == 22
    # a response dated 2014-02 only: they take the month's last day, we the full date of that visit's measurements
    differing = {key: (ours[key], published[key]) for key in published if ours[key] != published[key]}
    assert differing == {("01-701-1015", "WEEK 6"): (("NE", "2014-02-12"), ("NE", "2014-02-28"))}
    progressions = dict(
        small_set.rows("""
        select subject_id, progression_on::text from intermediate.int_first_progression where evaluator = 'INVESTIGATOR'
    """)
    )
    for row in reference("published_adrs_small_set.csv"):
        if row["PARAMCD"] == "PD":
            assert progressions.get(row["USUBJID"], "") == row["ADT"], row


def test_small_public_set_gives_the_published_best_responses(small_set):
    """BOR, CBOR, RSP and CRSP of the published ADaM, dates included (it counts SD from day 42 without a window)."""
    published = {
        (row["USUBJID"], row["PARAMCD"]): (row["AVALC"], row["ADT"] or None)
        for row in reference("published_adrs_small_set.csv")
    }
    ours = small_set.rows("""
        select
            subject_id, best_overall_response, best_overall_response_on, confirmed_best_overall_response,
            confirmed_best_overall_response_on, first_response_on, confirmed_response_on
        from marts.fct_best_response where evaluator = 'INVESTIGATOR' and best_overall_response <> 'MISSING'
    """)
    assert len(ours) == 8
    for subject, best, best_on, confirmed, confirmed_on, response_on, confirmed_response_on in ours:
        assert (best, str(best_on)) == published[subject, "BOR"]
        assert (confirmed, str(confirmed_on)) == published[subject, "CBOR"]
        assert published[subject, "RSP"] == (("Y", str(response_on)) if response_on else ("N", None))
        assert published[subject, "CRSP"] == (
            ("Y", str(confirmed_response_on)) if confirmed_response_on else ("N", None)
        )


def test_small_public_set_gives_the_published_progression_free_survival(small_set):
    published = [row for row in reference("published_adtte_small_set.csv") if row["PARAMCD"] in ("PFS", "RSD")]
    names = {"PFS": "PFS", "RSD": "DOR_UNCONFIRMED"}
    ours = {
        (subject, endpoint): row
        for subject, endpoint, *row in small_set.rows("""
            select subject_id, endpoint, start_on::text, end_on::text, duration_days, is_event
            from marts.fct_time_to_event
            where evaluator = 'INVESTIGATOR'
        """)
    }
    assert published
    for row in published:
        expected = [row["STARTDT"], row["ADT"], int(float(row["AVAL"])), row["CNSR"] == "0"]
        assert ours[row["USUBJID"], names[row["PARAMCD"]]] == expected, row


def test_large_public_set_agrees_with_every_reported_non_target_response(large_set):
    assert large_set.rows("""
        select count(*), count(*) filter (derived_non_target_response = reported_non_target_response)
        from intermediate.int_reader_responses where reported_non_target_response is not null
    """) == [(1896, 1896)]


def test_large_public_set_disagrees_with_reported_target_responses_only_where_the_report_is_not_recist(large_set):
    """The report ignores the nadir (157) and counts lesions not done as 0 mm (42; see shared/samples/README.md).

    By visit number there is one more against the nadir: the next test.
    """
    assert large_set.value("select count(reported_target_response) from intermediate.int_reader_responses") == 1899
    reasons = Counter(
        reason
        for (reason,) in large_set.rows(
            "select reason from intermediate.int_response_disagreements where subject_matter = 'target response'"
        )
    )
    assert reasons == {"nadir": 157, "missing lesion": 42}
    listed = large_set.value("select count(*) from ops.findings where kind like '%disagreement'")
    assert listed == large_set.value("select count(*) from intermediate.int_response_disagreements")


def test_large_public_set_has_one_point_whose_response_depends_on_the_order_of_visits(large_set):
    """Order is by date, never by visit number: UNSCHEDULED 9.3 comes nine days before 9.2.

    By number its 53 mm would follow 44 mm and be the 158th disagreement, a progression; by date they follow 50 mm.
    """
    visits = large_set.rows("""
        select visit_name, assessed_on::text, sum_of_diameters_mm::integer, nadir_sum_mm::integer, target_response
        from marts.fct_response
        where subject_id = '01-701-1153' and evaluator = 'INVESTIGATOR' and visit_name like 'UNSCHEDULED%'
        order by assessed_on
    """)
    assert visits == [
        ("UNSCHEDULED 9.3", "2013-12-30", 53, 50, "SD"),
        ("UNSCHEDULED 9.2", "2014-01-08", 44, 50, "PR"),
    ]
    listed = large_set.rows("""
        select subject_id, detail from ops.findings where kind = 'visits_out_of_order' and detail like 'INVESTIGATOR%'
    """)
    assert (
        "01-701-1153",
        "INVESTIGATOR UNSCHEDULED 9.2 on 2014-01-08 comes after a visit with a higher number; the dates decide",
    ) in listed


def test_large_public_set_lists_what_a_data_manager_should_see(large_set):
    """Partial dates of one subject, the visit name used twice, targets that are not measurable."""
    found = Counter(kind for (kind,) in large_set.rows("select kind from ops.findings where subject_id is not null"))
    assert {kind: found[kind] for kind in ("partial_date", "visit_name_used_twice", "target_not_measurable")} == {
        "partial_date": 2,
        "visit_name_used_twice": 3,
        "target_not_measurable": 1170,
    }
    details = large_set.rows("select subject_id, detail from ops.findings where kind = 'partial_date' order by detail")
    assert details == [
        (
            "01-701-1015",
            f"{field}: {rows} partial dates, {rows} completed from the full date of their visit,"
            " 0 by dates.impute_day = first",
        )
        for field, rows in (("tumor_identifications.identified_on", 5), ("tumor_measurements.assessed_on", 16))
    ]


def test_large_public_set_sums_equal_the_reported_ones(large_set):
    """Every investigator visit with a full date; the visit number that was used twice is two visits by date."""
    compared, equal = large_set.rows("""
        select count(*), count(*) filter (responses.sum_of_diameters_mm = reported.diameter_mm)
        from staging.stg_tumor_measurements as reported
        left join marts.fct_response as responses
            on reported.subject_id = responses.subject_id and reported.evaluator = responses.evaluator
            and reported.visit_name = responses.visit_name and reported.assessed_on = responses.assessed_on
        where reported.test = 'SUMDIAM' and reported.evaluator = 'INVESTIGATOR'
            and length(reported.assessed_on_text) = 10
    """)[0]
    assert compared == equal
    assert compared >= 877


@pytest.mark.parametrize("data_set", ["small_set", "large_set", "cases"])
def test_every_time_to_event_says_why_it_ends(request, data_set):
    warehouse = request.getfixturevalue(data_set)
    assert warehouse.value("select count(*) from marts.fct_time_to_event") >= 300
    assert (
        warehouse.rows("""
        select * from marts.fct_time_to_event
        where (event_description is not null) <> is_event or (censoring_reason is not null) = is_event
    """)
        == []
    )
