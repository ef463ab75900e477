"""168 published cases of best responses through `sher2 run`: exports in the landing folder, answers in the warehouse.

Those agree that obey section 5 of our rules, and no other does. The cases share four sets of parameters: four protocols,
four runs. The models alone are held against all 168 in tests/dbt.
"""

import csv
import io
from collections import defaultdict

import pytest

from tests.conftest import make_home
from tests.response_cases import (
    answers,
    expected,
    first_dose,
    numbered_by_parameters,
    outside_progression,
    response_parameters,
    rule_that_differs,
    sequence,
)

DIFFERING = {
    "an assessment on or before first dose is a baseline and never a response": [
        "derive_param_bor.R#1|5", "derive_param_confirmed_resp.R#4|1", "derive_param_confirmed_resp.R#5|1",
        "derive_param_bor Test 1: No source_pd#1|5", "derive_param_bor Test 1: No source_pd#2|5",
        "derive_param_bor Test 1: No source_pd#3|5", "derive_param_bor Test 1: No source_pd#3|7",
        "derive_param_bor Test 1: No source_pd#4|5", "derive_param_bor Test 1: No source_pd#4|7",
        "derive_param_bor Test 2: With source_pd#1|5",
        "derive_param_confirmed_bor Test 2: accept SD, ND handling, missing as NE#1|1",
        "derive_param_confirmed_bor Test 2: accept SD, ND handling, missing as NE#1|5",
        "derive_param_confirmed_resp Test 1: default confirmed response#1|1",
        "derive_param_confirmed_resp Test 2: accept SD#1|1", "derive_param_confirmed_resp Test 2: accept SD#1|5",
    ],
    "nothing after the first progression counts": [
        "derive_param_clinbenefit Test 2: No source_pd#1|06", "derive_param_confirmed_bor Test 4: No source_pd#1|9",
        "derive_param_confirmed_resp Test 4: No source_pd#1|1", "derive_param_response Test 2: No source_pd#1|3",
    ],
    "without a response the best one is MISSING, neither NE nor a code that is none": [
        "derive_param_confirmed_bor.R#3|8",
        "derive_param_confirmed_bor Test 2: accept SD, ND handling, missing as NE#1|7",
        "derive_param_confirmed_bor Test 2: accept SD, ND handling, missing as NE#1|8",
    ],
    "a progression is itself a response": ["derive_param_bor Test 2: With source_pd#1|6"],
}  # fmt: skip


def as_csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module", params=range(4), ids=lambda number: f"parameters {number + 1} of 4")
def cases_and_answers(request, tmp_path_factory) -> tuple[dict[str, dict], dict[str, tuple]]:
    """The cases of one set of parameters, and what the published warehouse says of them after one run.

    A progression that a case takes from elsewhere is exported as a response of that day.
    """
    groups = numbered_by_parameters()
    assert len(groups) == 4
    key, cases = list(groups.items())[request.param]
    changes = {"response": response_parameters(*key), "study": {"drugs": []}}
    home = make_home(tmp_path_factory.mktemp("cases"), changes)
    doses = [
        {"subject_id": subject, "treatment": "STUDY DRUG", "start_on": first_dose(case)}
        for subject, case in cases.items()
    ]
    responses = [
        {"subject_id": subject, "test": "OVRLRESP", "value": code, "assessed_on": when, "visit_name": when + code}
        for subject, case in cases.items()
        for when, code in [*sequence(case), (outside_progression(case), "PD")]
        if when
    ]
    home.drop("clinical/subjects.csv", as_csv([{"subject_id": subject} for subject in cases]))
    home.drop("clinical/exposures.csv", as_csv(doses))
    home.drop("imaging/responses.csv", as_csv(responses))
    done = home.sher2("run")
    assert done.returncode == 0, done.stderr
    return cases, answers(cases, lambda query: [tuple(row.values()) for row in home.sql(query)])


def test_the_cases_agree_that_obey_our_rules_and_no_other(cases_and_answers):
    cases, found = cases_and_answers
    obeying = {subject for subject, case in cases.items() if rule_that_differs(case) is None}
    agreeing = {subject for subject, case in cases.items() if found[subject] == expected(case)}
    assert [cases[subject] for subject in obeying ^ agreeing] == []


def test_the_cases_that_do_not_obey_our_rules_are_named():
    differing, cases = defaultdict(set), 0
    for group in numbered_by_parameters().values():
        for case in group.values():
            cases += 1
            if reason := rule_that_differs(case):
                differing[reason].add(case["case_id"].rpartition("::")[2])
    assert differing == {reason: set(names) for reason, names in DIFFERING.items()}
    assert cases - sum(map(len, DIFFERING.values())) == 145
