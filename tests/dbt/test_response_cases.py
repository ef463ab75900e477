"""Best responses of published cases (admiral, admiralonco: shared/reference), derived from reported overall responses.

Left out by rule, never by name, are cases whose premises differ from section 5 of our rules.
"""

from collections import defaultdict

import pytest

from orchestration.study import Study
from tests.dbt.recist_rows import FIRST_DOSE, Rows, reference

CODES = {"CR", "PR", "SD", "PD", "NE", "NA", "NON-CR/NON-PD"}
DEFAULTS = {
    "ref_start_window": "28",
    "ref_confirm": "28",
    "max_nr_ne": "1",
    "accept_sd": "False",
    "clinben_vals": "CR|PR|SD",
}
ANSWERS = {
    "bor": "best_overall_response, cast(best_overall_response_on as text)",
    "confirmed_bor": "confirmed_best_overall_response, cast(confirmed_best_overall_response_on as text)",
    "response": "if(is_responder, 'Y', 'N'), cast(first_response_on as text)",
    "confirmed_resp": "if(is_confirmed_responder, 'Y', 'N'), cast(confirmed_response_on as text)",
    "clinbenefit": "if(has_clinical_benefit, 'Y', 'N'), cast(null as text)",  # ours has no date
}


def parameters(case: dict) -> tuple[str, ...]:
    return tuple(case[name] or default for name, default in DEFAULTS.items())


def sequence(case: dict) -> list[tuple[str, str]]:
    """(date, code), without codes that are no response (ND): those are quarantined."""
    pairs = [tuple(item.split(":")) for item in case["sequence"].split(";") if item]
    return [pair for pair in pairs if pair[1] in CODES]


def premise_that_differs(case: dict) -> str | None:
    """Why the expected answer of a case rests on a rule that is not ours, or None where it does not."""
    progressions = [when for when, code in sequence(case) if code == "PD"]
    if case["expected_adt"] and case["expected_adt"] <= case["reference_date"]:
        return "an assessment on or before first dose is a baseline and never a response"
    if progressions and case["expected_adt"] > progressions[0]:
        return "nothing after the first progression counts"
    if case["first_pd_date"] and not progressions:
        return "a progression comes from the assessments, not from elsewhere"
    if not sequence(case) and case["expected_avalc"] not in ("MISSING", "N"):
        return "without a response the best one is MISSING, not NE or a code that is none"
    return None


@pytest.fixture(scope="module")
def answers(build_warehouse) -> dict[str, tuple[str, str]]:
    """What our marts say of every case, a build for each set of parameters."""
    groups = defaultdict(list)
    for number, case in enumerate(reference("response_cases.csv")):
        groups[parameters(case)].append((str(number), case))
    found = {}
    for (window, confirm, most_ne, accept_sd, values), cases in groups.items():
        rows = Rows()
        for subject, case in cases:
            rows.subject(subject, case["reference_date"] or str(FIRST_DOSE.replace(year=2020)))
            for when, code in sequence(case):
                rows.reported(subject, when, code)
        response = {
            "min_sd_days": int(window), "clinical_benefit_days": int(window), "duration_window_days": 0,
            "confirm_days": int(confirm), "confirm_max_ne": int(most_ne), "confirm_accept_sd": accept_sd == "True",
            "disease_control_values": values.split("|"),
        }  # fmt: skip
        warehouse = build_warehouse(rows.records, Study.model_validate({"response": response}), checks=())
        for subject, case in cases:
            query = f"select {ANSWERS[case['endpoint']]} from marts.fct_best_response where subject_id = '{subject}'"
            found[subject] = warehouse.rows(query)[0]
    return found


def test_published_cases_that_obey_our_rules(answers):
    cases = {str(number): case for number, case in enumerate(reference("response_cases.csv"))}
    obeying = {subject: case for subject, case in cases.items() if premise_that_differs(case) is None}
    assert len(obeying) == 142
    for subject, case in obeying.items():
        value, on = answers[subject]
        assert value == case["expected_avalc"], case
        if case["endpoint"] != "clinbenefit":
            assert (on or "") == case["expected_adt"], case
