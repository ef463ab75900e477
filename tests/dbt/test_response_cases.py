"""Best responses of 168 published cases (admiral, admiralonco: shared/reference) from reported overall responses.

Twice: through the models of the best response with each case's own parameters, where all agree but one code that is
no response; and as exports, from the landing folder to the marts, where those agree that obey section 5 of our rules,
and no other does.
"""

import csv
import io
from collections import Counter, defaultdict

import duckdb
import pytest

from orchestration.ingestion import ingest
from orchestration.study import Study, load_study
from tests.conftest import make_home
from tests.dbt.conftest import Warehouse, run_dbt
from tests.dbt.recist_rows import FIRST_DOSE, reference

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
MODELS = [
    "overall_response_rank", "int_response_sequence", "int_confirmation", "int_best_response_classes",
    "int_best_response", "fct_best_response",
]  # fmt: skip
NO_TESTS = ["--exclude-resource-type=test", "--exclude-resource-type=unit_test"]


def parameters(case: dict) -> tuple[str, ...]:
    return tuple(case[name] or default for name, default in DEFAULTS.items())


def first_dose(case: dict) -> str:
    return case["reference_date"] or str(FIRST_DOSE.replace(year=2020))


def sequence(case: dict) -> list[tuple[str, str]]:
    """(date, code) of every assessment with a value, with codes that are no response."""
    pairs = [item.split(":") for item in case["sequence"].split(";") if item]
    return [(when, code) for when, code in pairs if code != "None"]


def outside_progression(case: dict) -> str | None:
    """Date of a first progression that is no part of the sequence."""
    is_outside = case["use_first_pd_cut"] == "Y" and "PD" not in dict(map(reversed, sequence(case)))
    return (is_outside and case["first_pd_date"]) or None


def rule_that_differs(case: dict) -> str | None:
    """Which of our rules makes the answer of a case another one, or None where there is none."""
    progressions = [when for when, code in sequence(case) if code == "PD"]
    if case["expected_adt"] and case["expected_adt"] <= case["reference_date"]:
        return "an assessment on or before first dose is a baseline and never a response"
    if progressions and case["expected_adt"] > progressions[0]:
        return "nothing after the first progression counts"
    if outside_progression(case) and case["expected_avalc"] == "MISSING":
        return "a progression is itself a response"
    if not CODES & {code for _, code in sequence(case)} and case["expected_avalc"] not in ("MISSING", "N"):
        return "without a response the best one is MISSING, neither NE nor a code that is none"
    return None


def expected(case: dict) -> tuple[str, str | None]:
    return case["expected_avalc"], None if case["endpoint"] == "clinbenefit" else case["expected_adt"] or None


@pytest.fixture(scope="module")
def groups() -> dict[tuple[str, ...], dict[str, dict]]:
    """Numbered cases of each set of parameters."""
    found = defaultdict(dict)
    for number, case in enumerate(reference("response_cases.csv")):
        found[parameters(case)][str(number)] = case
    return found


def response_parameters(window: str, confirm: str, most_ne: str, accept_sd: str, values: str) -> dict:
    return {
        "min_sd_days": int(window), "clinical_benefit_days": int(window), "duration_window_days": 0,
        "confirm_days": int(confirm), "confirm_max_ne": int(most_ne), "confirm_accept_sd": accept_sd == "True",
        "disease_control_values": values.split("|"),
    }  # fmt: skip


def answers(cases: dict[str, dict], warehouse: Warehouse) -> dict[str, tuple]:
    """What marts.fct_best_response says of the asked endpoint of every case."""
    query = "select {} from marts.fct_best_response where subject_id = '{}' and evaluator in ('I', 'INVESTIGATOR')"
    return {
        subject: warehouse.rows(query.format(ANSWERS[case["endpoint"]], subject))[0] for subject, case in cases.items()
    }


# --- the models, with each case's own parameters ---------------------------------------------------------------------


def prepare(database, cases: dict[str, dict]) -> None:
    """What the models read: the responses in order, the progression that ends them, the subjects."""
    with duckdb.connect(str(database)) as connection:
        connection.execute("""
            create schema intermediate;
            create table intermediate.int_subject_timeline (subject_id text, new_therapy_on date);
            create table intermediate.int_subject_evaluators (subject_id text, evaluator text);
            create table intermediate.int_best_change (subject_id text, evaluator text, best_pct_change decimal(18, 4));
            create table intermediate.int_first_progression (subject_id text, evaluator text, progression_on date);
            create table intermediate.int_overall_response (
                subject_id text, evaluator text, response_no integer, assessed_on date, reference_on date,
                overall_response text
            );
        """)
        for subject, case in cases.items():
            connection.execute("insert into intermediate.int_subject_timeline values (?, null)", [subject])
            connection.execute("insert into intermediate.int_subject_evaluators values (?, 'I')", [subject])
            if case["use_first_pd_cut"] == "Y" and case["first_pd_date"]:
                progression = [subject, case["first_pd_date"]]
                connection.execute("insert into intermediate.int_first_progression values (?, 'I', ?)", progression)
            for number, (when, code) in enumerate(sequence(case), 1):
                connection.execute(
                    "insert into intermediate.int_overall_response values (?, 'I', ?, ?, ?, ?)",
                    [subject, number, when, first_dose(case), "NE" if code == "NA" else code],
                )


@pytest.fixture(scope="module")
def answers_of_models(groups, tmp_path_factory, dbt_target) -> dict[str, tuple]:
    found = {}
    for key, cases in groups.items():
        folder = tmp_path_factory.mktemp("models")
        database = folder / "build.duckdb"
        prepare(database, cases)
        study = Study.model_validate({"response": response_parameters(*key)})
        run_dbt("build", "--select", *MODELS, *NO_TESTS, lake=folder, database=database, target=dbt_target, study=study)
        found |= answers(cases, Warehouse(database, []))
    return found


def test_the_models_answer_every_case_with_its_own_parameters(groups, answers_of_models):
    cases = {subject: case for group in groups.values() for subject, case in group.items()}
    assert len(cases) == 168
    differing = {}
    for subject, case in cases.items():
        answer = answers_of_models[subject]
        if answer[0] == "MISSING" and case["missing_as_ne"] == "True":
            answer = ("NE", None)  # a label that our mart does not offer
        if answer != expected(case):
            differing[case["sequence"]] = (answer, expected(case))
    # a code that is no response is quarantined and never a best response
    assert differing == {"2020-04-02:ND": (("NE", None), ("ND", "2020-04-02"))}


# --- exports, from the landing folder to the marts --------------------------------------------------------------------


def as_csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="module")
def answers_of_exports(groups, tmp_path_factory, dbt_target) -> dict[str, tuple]:
    """A progression that a case takes from elsewhere is exported as a response of that day."""
    found = {}
    for key, cases in groups.items():
        study_changes = {"response": response_parameters(*key), "study": {"drugs": []}}
        home = make_home(tmp_path_factory.mktemp("home"), study_changes)
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
        study = load_study(home.settings.study_file)
        assert ingest(home.settings, study).files
        database = home.settings.home / "build.duckdb"
        run_dbt("build", *NO_TESTS, lake=home.settings.lake, database=database, target=dbt_target, study=study)
        found |= answers(cases, Warehouse(database, []))
    return found


def test_exports_answer_the_cases_that_obey_our_rules_and_no_other(groups, answers_of_exports):
    cases = {subject: case for group in groups.values() for subject, case in group.items()}
    obeying = {subject for subject, case in cases.items() if rule_that_differs(case) is None}
    agreeing = {subject for subject, case in cases.items() if answers_of_exports[subject] == expected(case)}
    assert [cases[subject] for subject in obeying ^ agreeing] == []
    assert Counter(rule_that_differs(case) for case in cases.values()) == {
        None: 145,
        "an assessment on or before first dose is a baseline and never a response": 15,
        "nothing after the first progression counts": 4,
        "without a response the best one is MISSING, neither NE nor a code that is none": 3,
        "a progression is itself a response": 1,
    }
