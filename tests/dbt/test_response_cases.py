"""The models of the best response against 168 published cases, with each case's own parameters (tests/response_cases.py)."""

import duckdb
import pytest

from orchestration.study import Study
from tests.dbt.conftest import Warehouse, run_dbt
from tests.response_cases import (
    answers,
    expected,
    first_dose,
    numbered_by_parameters,
    response_parameters,
    sequence,
)

MODELS = [
    "overall_response_rank", "int_response_sequence", "int_confirmation", "int_best_response_classes",
    "int_best_response", "fct_best_response",
]  # fmt: skip
NO_TESTS = ["--exclude-resource-type=test", "--exclude-resource-type=unit_test"]


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
def answers_of_models(tmp_path_factory, dbt_target) -> dict[str, tuple]:
    found = {}
    for key, cases in numbered_by_parameters().items():
        folder = tmp_path_factory.mktemp("models")
        database = folder / "build.duckdb"
        prepare(database, cases)
        study = Study.model_validate({"response": response_parameters(*key)})
        run_dbt("build", "--select", *MODELS, *NO_TESTS, lake=folder, database=database, target=dbt_target, study=study)
        found |= answers(cases, Warehouse(database, []).rows)
    return found


def test_the_models_answer_every_case_with_its_own_parameters(answers_of_models):
    cases = {subject: case for group in numbered_by_parameters().values() for subject, case in group.items()}
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
