"""What data managers are told of lesions, assessments and analysis sets: a subject a fault, and nothing of clean ones."""

from datetime import date

import pytest

from orchestration.study import Study
from tests.dbt.recist_rows import Rows, on

CLEAN = ("clean", "clean node", "clean screening visits", "unscheduled visits")


def subject(rows: Rows, name: str, **columns) -> None:
    """A treated subject with a HER2-low tumour."""
    rows.subject(name, **({"ihc_score": "1+", "ish_status": "NOT DONE", "site_id": "S1"} | columns))


def target(rows: Rows, name: str, *diameters: str | None, lesion: str = "T01", days=(-7, 42, 84), **columns) -> None:
    """A target with its diameters at baseline and every six weeks."""
    rows.lesion(name, lesion, day=days[0], **columns)
    for day, diameter in zip(days, diameters):
        rows.measured(name, lesion, day, diameter)


def clean_subjects(rows: Rows) -> None:
    for name in CLEAN:
        subject(rows, name)
    target(rows, "clean", "20", "12", "12")
    rows.lesion("clean node", "T01", location="LYMPH NODE")
    for day, short_axis in ((-7, "16"), (42, "9")):
        rows.measured("clean node", "T01", day, "25", "LDIAM")
        rows.measured("clean node", "T01", day, short_axis, "SAXIS")
        rows.measured("clean node", "T01", day, short_axis)
    # two scans of one screening visit
    for lesion, day in (("T01", -10), ("T02", -3)):
        rows.lesion("clean screening visits", lesion, day=day, visit_name="SCREENING")
        rows.measured("clean screening visits", lesion, day, "20", visit_name="SCREENING")
        rows.measured("clean screening visits", lesion, 42, "20")
    target(rows, "unscheduled visits", "20")
    for day, visit in ((42, "WEEK 6"), (60, "UNSCHEDULED 1"), (84, "WEEK 12"), (90, "UNSCHEDULED 2")):
        rows.measured("unscheduled visits", "T01", day, "20", visit_name=visit)


def faults_of_lesions(rows: Rows) -> None:
    for name in ("small target", "small node", "six targets", "three in one organ", "unmeasured target", "role",
                 "unknown lesion", "twice", "node without short axis", "longest of node in sum",
                 "lesion without longest"):  # fmt: skip
        subject(rows, name)
    target(rows, "small target", "8", "8")
    target(rows, "small node", "14", "14", location="LYMPH NODE")
    for number in range(1, 7):
        target(rows, "six targets", "20", "20", lesion=f"T0{number}", location=f"ORGAN {number}")
    for number in range(1, 4):
        target(rows, "three in one organ", "20", "20", lesion=f"T0{number}", location="LIVER")
    rows.lesion("unmeasured target", "T01")
    rows.measured("unmeasured target", "T01", -7, None)
    rows.measured("unmeasured target", "T01", 42, "20")
    target(rows, "role", "20", "20")
    rows.lesion("role", "T01", "NON-TARGET", day=42)
    target(rows, "unknown lesion", "20", "20")
    rows.measured("unknown lesion", "T09", 42, "20")
    target(rows, "twice", "20", "20")
    rows.measured("twice", "T01", 84, "15")
    rows.measured("twice", "T01", 84, "19", _file_id="other export")
    for name, test, location in (
        ("node without short axis", "LDIAM", "LYMPH NODE"),
        ("lesion without longest", "LPERP", "LIVER"),
    ):
        rows.lesion(name, "T01", location=location)
        rows.measured(name, "T01", -7, "20", test)
    rows.lesion("longest of node in sum", "T01", location="LYMPH NODE")
    for test, value in (("LDIAM", "25"), ("LPERP", "16"), ("DIAMETER", "25")):
        rows.measured("longest of node in sum", "T01", -7, value, test)


def faults_of_assessments(rows: Rows) -> None:
    for name in ("two baselines", "response too early", "no baseline", "never assessed", "partial, visit known",
                 "partial", "name used twice", "out of order", "stable by window", "after cut-off", "after complete response",
                 "two responses", "two accepted readers", "no accepted reader", "no disease"):  # fmt: skip
        subject(rows, name)
    for file, response in (("one export", "PR"), ("other export", "SD")):
        rows.reported("two responses", on(42), response, visit_name="DAY 42", _file_id=file)
    for reader in ("R1", "R2"):
        rows.reported("two accepted readers", on(42), "PR", visit_name="DAY 42", reader=reader, accepted="Y")
        rows.reported("no accepted reader", on(42), "PR", visit_name="DAY 42", reader=reader)
    rows.reported("no disease", on(-7), "NA", "NTRGRESP", visit_name="DAY -7")
    rows.lesion("no disease", "NEW01", "NEW", day=84)
    rows.reported("no disease", on(84), "NO", "NEWLPROG", visit_name="DAY 84")
    target(rows, "two baselines", "20", "20", "20", days=(-24, -3, 42))
    target(rows, "response too early", "20", "20")
    rows.reported("response too early", on(0), "PR", visit_name="DAY 0")
    rows.measured("no baseline", "T01", 42, "20")
    rows.lesion("no baseline", "T01", day=42)
    target(rows, "partial, visit known", "20")
    rows.measured("partial, visit known", "T01", 42, "20", visit_name="WEEK 6")
    rows.reported("partial, visit known", on(42)[:7], "SD", visit_name="WEEK 6")
    target(rows, "partial", "20")
    rows.add("tumor_measurements", "partial", lesion_id="T01", test="DIAMETER", value="20", assessed_on="2025-03")
    target(rows, "name used twice", "20")
    for day in (42, 84):
        rows.measured("name used twice", "T01", day, "20", visit_name="UNSCHEDULED")
    target(rows, "out of order", "20")
    for day, visit in ((42, "WEEK 12"), (84, "WEEK 6")):
        rows.measured("out of order", "T01", day, "20", visit_name=visit)
    target(rows, "stable by window", "20", "20", days=(-7, 36))
    target(rows, "after cut-off", "20", "20", "40", days=(-7, 42, 301))
    target(rows, "after complete response", "20", "0", "3")


DISAGREEMENTS = {  # of derived and reported responses on day 84: subject matter, derived and reported, reason
    "nadir ignored": ("target response", "PD derived, SD reported", "nadir"),
    "lesion left out": ("target response", "NE derived, PR reported", "missing lesion"),
    "miscalculated": ("target response", "PR derived, SD reported", "arithmetic"),
    "non-target still there": ("non-target response", "NON-CR/NON-PD derived, CR reported", "lesion states"),
    "new lesion ignored": ("overall response", "PD derived, SD reported", "new lesion"),
    "table not followed": ("overall response", "PR derived, CR reported", "table"),
    "code of the other table": ("overall response", "NON-CR/NON-PD derived, SD reported", "code"),
    "told and not counted": ("overall response", "PD derived, SD reported", "table"),
    "nothing to compare with": ("overall response", "NE derived, SD reported", "no baseline"),
}
KINDS = {
    "target response": "target_disagreement",
    "non-target response": "non_target_disagreement",
    "overall response": "disagreement",
}


def disagreements(rows: Rows) -> None:
    """Lesions as listed, and what was reported of them."""
    for name, diameters, test, reported in (
        ("nadir ignored", ("50", "40", "48"), "TRGRESP", "SD"),
        ("lesion left out", ("50", "30", "30"), "TRGRESP", "PR"),
        ("miscalculated", ("50", "50", "30"), "TRGRESP", "SD"),
        ("non-target still there", ("50", "50", "50"), "NTRGRESP", "CR"),
        ("new lesion ignored", ("50", "50", "50"), "OVRLRESP", "SD"),
        ("table not followed", ("50", "50", "30"), "OVRLRESP", "CR"),
        ("code of the other table", (), "OVRLRESP", "SD"),
        ("told and not counted", ("50", "50", "50"), "OVRLRESP", "SD"),
        ("nothing to compare with", (), "OVRLRESP", "SD"),
    ):
        subject(rows, name)
        if diameters:
            target(rows, name, *diameters)
        rows.reported(name, on(84), reported, test, visit_name="DAY 84")
    target(rows, "lesion left out", "20", "10", None, lesion="T02")
    rows.lesion("new lesion ignored", "NEW01", "NEW", day=84)
    rows.reported("told and not counted", on(84), "YES", "NEWLPROG", visit_name="DAY 84")
    rows.lesion("nothing to compare with", "T01", day=84)
    rows.measured("nothing to compare with", "T01", 84, "20")
    rows.reported("table not followed", on(84), "PR", "TRGRESP", visit_name="DAY 84")
    for name in ("non-target still there", "code of the other table"):
        rows.lesion(name, "NT01", "NON-TARGET")
        for day in (-7, 42, 84):
            rows.measured(name, "NT01", day, "PRESENT", "TUMSTATE")


@pytest.fixture(scope="module")
def warehouse(build_warehouse):
    rows = Rows()
    disagreements(rows)
    clean_subjects(rows)
    faults_of_lesions(rows)
    faults_of_assessments(rows)
    rows.add("subjects", "never treated", ihc_score="1+", enrolled_on=on(0))
    subject(rows, "HER2-zero", ihc_score="0")
    target(rows, "HER2-zero", "20", "20")
    subject(rows, "two sites")
    rows.add("subjects", "two sites", site_id="S2", _file_id="other export")
    target(rows, "two sites", "20", "20")
    subject(rows, "no target")
    rows.lesion("no target", "NT01", "NON-TARGET")
    rows.measured("no target", "NT01", -7, "PRESENT", "TUMSTATE")
    rows.measured("no target", "NT01", 42, "PRESENT", "TUMSTATE")
    subject(rows, "baseline only")
    target(rows, "baseline only", "20")
    return build_warehouse(rows.records, Study.model_validate({"study": {"data_cutoff": date.fromisoformat(on(300))}}))


@pytest.fixture(scope="module")
def findings(warehouse) -> dict[str, list[tuple[str, str, str]]]:
    """Kind, detail and severity of every finding of a subject, sets left out."""
    found: dict[str, list] = {}
    for name, *finding in warehouse.rows("""
        select subject_id, kind, detail, severity from ops.findings where kind <> 'left_out_of_set' order by all
    """):
        found.setdefault(name, []).append(tuple(finding))
    return found


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_said_of_clean_data(findings, name):
    assert findings.get(name, []) == []


@pytest.mark.parametrize(
    ("name", "kind", "severity", "detail"),
    [
        ("small target", "target_not_measurable", "warning", "INVESTIGATOR T01: 8.0 mm, a target needs 10 mm"),
        ("small node", "target_not_measurable", "warning", "INVESTIGATOR T01: 14.0 mm, a node needs 15 mm"),
        ("six targets", "too_many_targets", "warning", "INVESTIGATOR: 6 targets, at most 5"),
        ("three in one organ", "too_many_targets_in_organ", "warning",
         "INVESTIGATOR LIVER: 3 targets, at most 2 an organ"),
        ("unmeasured target", "target_without_baseline_value", "warning",
         "INVESTIGATOR T01: not measured at the baseline assessment"),
        ("role", "role_changed", "warning",
         "INVESTIGATOR T01: NON-TARGET and TARGET; the last before first dose counts"),
        ("unknown lesion", "lesion_never_identified", "warning",
         "INVESTIGATOR T09: measured, but not identified at baseline; not used"),
        ("twice", "lesion_measured_twice", "warning",
         f"INVESTIGATOR T01 on {on(84)}: 15.0 mm and 19.0 mm, the larger counts"),
        ("node without short axis", "wrong_axis", "warning",
         "INVESTIGATOR T01, 1 measurements: a node without its short axis; the longest diameter is not used"),
        ("lesion without longest", "wrong_axis", "warning",
         "INVESTIGATOR T01, 1 measurements: a lesion without its longest diameter; the short axis is not used"),
        ("longest of node in sum", "wrong_axis", "warning",
         "INVESTIGATOR T01, 1 measurements: the sum holds the longest diameter of a node, not its short axis"),
        ("two baselines", "several_baselines", "warning",
         f"INVESTIGATOR: lesions assessed at 2 visits on or before the first dose, from {on(-24)};"
         f" the last is the baseline, on {on(-3)}"),
        ("response too early", "response_before_treatment", "warning",
         f"INVESTIGATOR on {on(0)}: PR reported on or before the first dose; a baseline is never a response"),
        ("no baseline", "no_baseline_assessment", "warning",
         "INVESTIGATOR: lesions were assessed, but none on or before the first dose;"
         " by fda rules progression-free survival is censored at the start"),
        ("never assessed", "no_tumor_assessment", "warning",
         f"treated from {on(0)} on, but no lesion and no response was ever reported"),
        ("partial, visit known", "partial_date", "info",
         "tumor_responses.assessed_on: 1 partial dates, 1 completed from the full date of their visit,"
         " 0 by dates.impute_day = first"),
        ("partial", "partial_date", "info",
         "tumor_measurements.assessed_on: 1 partial dates, 0 completed from the full date of their visit,"
         " 1 by dates.impute_day = first"),
        ("name used twice", "visit_name_used_twice", "warning",
         f"INVESTIGATOR UNSCHEDULED: again on {on(84)}, an assessment of its own"),
        ("out of order", "visits_out_of_order", "warning",
         f"INVESTIGATOR WEEK 6 on {on(84)} comes after a visit with a higher number; the dates decide"),
        ("stable by window", "stable_disease_by_window", "info",
         f"INVESTIGATOR on {on(36)}: SD on day 36 counts only by the window of 7 days"),
        ("after cut-off", "after_cutoff", "info",
         f"tumor_measurements.assessed_on: 1 rows dated after the data cut-off {on(300)} are used nowhere"),
        ("two responses", "response_conflict", "warning",
         "INVESTIGATOR: different overall responses at one assessment, the worst counts: SD"),
        ("two accepted readers", "several_accepted_reads", "warning",
         f"INVESTIGATOR on {on(42)}: 2 accepted readers, the worst response counts"),
        ("no accepted reader", "no_accepted_read", "warning",
         f"INVESTIGATOR on {on(42)}: 2 readers, none accepted; not analysed"),
        ("no disease", "no_disease_at_baseline", "warning",
         f"INVESTIGATOR on {on(84)}: no lesion at baseline, the response is not adequate"),
        ("after complete response", "disease_after_cr", "warning",
         f"INVESTIGATOR on {on(84)}: PR after a complete response; to be judged (PD by the footnote of RECIST)"),
    ],
)  # fmt: skip
def test_a_fault_is_listed_once_and_says_what_is_made_of_it(findings, name, kind, severity, detail):
    assert (kind, detail, severity) in findings[name]
    assert [other for other, *_ in findings[name] if other == kind] == [kind]


@pytest.mark.parametrize(("name", "expected"), DISAGREEMENTS.items())
def test_a_disagreement_of_derived_and_reported_responses_has_its_reason(findings, name, expected):
    matter, responses, reason = expected
    assert [listed for listed in findings[name] if "disagreement" in listed[0]] == [
        (KINDS[matter], f"INVESTIGATOR on {on(84)}, {matter}: {responses} ({reason})", "warning")
    ]


def test_every_disagreement_of_the_marts_has_one_finding(warehouse):
    told = warehouse.rows(
        "select subject_id, count(*) from ops.findings where kind = 'disagreement' group by 1 order by 1"
    )
    assert len(told) >= 5
    assert told == warehouse.rows(
        "select subject_id, count(*) from marts.fct_response where is_disagreement group by 1 order by 1"
    )


def test_faults_are_listed_for_nobody_else(findings):
    """Each subject has the fault that it is named for; of some another one follows."""
    kinds = {name: {kind for kind, *_ in listed} for name, listed in findings.items()}
    assert {name: listed for name, listed in kinds.items() if len(listed) > 1} == {
        "node without short axis": {"wrong_axis", "target_without_baseline_value"},
        "lesion without longest": {"wrong_axis", "target_without_baseline_value"},
        "no baseline": {"no_baseline_assessment", "lesion_never_identified"},
        "nothing to compare with": {"disagreement", "no_baseline_assessment", "lesion_never_identified"},
    }


def test_who_is_left_out_of_a_set_is_told_once_with_the_reason(warehouse):
    listed = dict(
        warehouse.rows("""
        select subject_id, detail from ops.findings where kind = 'left_out_of_set' and severity = 'info'
    """)
    )
    expected = {
        "clean": None,
        "never treated": "in_treated: no dose of a study drug up to the data cut-off",
        "two sites": "in_treated: one id at two sites",
        "HER2-zero": "in_efficacy: HER2 status of the tumour: HER2-zero",
        "no target": "in_response_evaluable: no target lesion at baseline",
        "baseline only":
            "in_response_evaluable: neither an adequate assessment after baseline nor progression nor death",
    }  # fmt: skip
    assert {name: listed.get(name) for name in expected} == expected
    # what a set holds is what the wider one holds, less those who are left out of it
    everybody = warehouse.value("select count(*) from marts.dim_subject")
    for name in ("in_treated", "in_efficacy", "in_response_evaluable"):
        everybody -= sum(detail.startswith(name) for detail in listed.values())
        assert warehouse.value(f"select count(*) from marts.dim_subject where {name}") == everybody
