"""The dbt project as a whole: it builds on nothing, its own tests hold, every model says what a row of it is."""


import pytest
import yaml

from orchestration.settings import DBT_PROJECT

MARTS = {"dim_subject", "fct_visit", "fct_her2_delta", "fct_response", "fct_best_response", "fct_time_to_event"}


@pytest.fixture(scope="module")
def empty(build_warehouse):
    return build_warehouse({}, checks=("test", "unit_test"))


def test_an_empty_lake_builds_and_all_unit_and_data_tests_hold(empty):
    assert {"model", "seed", "test", "unit_test"} == {result.node.resource_type for result in empty.results}
    marts = empty.rows("select table_name from duckdb_tables() where schema_name = 'marts'")
    assert {name for (name,) in marts} == MARTS
    for mart in MARTS:
        assert empty.value(f"select count(*) from marts.{mart}") == 0


def test_an_empty_study_says_what_is_missing(empty):
    missing = {kind for (kind,) in empty.rows("select kind from ops.findings where subject_id is null")}
    assert missing == {"no_clinical_data", "no_serum_her2", "no_imaging"}


def test_every_user_table_and_column_is_described_in_the_database(empty):
    undescribed = empty.rows("""
        select schema_name, table_name, column_name from duckdb_columns()
        where schema_name in ('marts', 'ops') and comment is null
        union all
        select schema_name, table_name, null from duckdb_tables()
        where schema_name in ('marts', 'ops') and comment is null
    """)
    assert undescribed == []


def test_every_model_states_its_grain_in_a_yaml_beside_it():
    models = sorted((DBT_PROJECT / "models").rglob("*.sql"))
    assert models
    for path in models:
        described = yaml.safe_load(path.with_suffix(".yml").read_text("utf-8"))["models"]
        assert [model["name"] for model in described] == [path.stem]
        assert "Grain:" in described[0]["description"], path.name


def test_non_integer_numbers_of_the_marts_are_exact_decimals(empty):
    types = {name for (name,) in empty.rows("select data_type from duckdb_columns() where schema_name = 'marts'")}
    assert types
    assert not types & {"DOUBLE", "FLOAT"}


def test_marts_hold_no_load_metadata(empty):
    columns = {name for (name,) in empty.rows("select column_name from duckdb_columns() where schema_name = 'marts'")}
    assert not {name for name in columns if name.startswith("_") or name in ("batch", "path", "file_id", "received_at")}


def test_the_project_holds_no_number_of_the_study():
    assert "vars" not in yaml.safe_load((DBT_PROJECT / "dbt_project.yml").read_text("utf-8"))
