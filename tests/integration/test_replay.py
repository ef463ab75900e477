"""A build by recorded statements is the build that dbt would have made; where it could differ, dbt builds."""

import re

import duckdb
import pytest

from orchestration import warehouse
from orchestration.ingestion import ingest
from orchestration.replay import NotReplayed, Recording, replay
from orchestration.settings import DBT_PROJECT
from orchestration.simulate import write_study
from orchestration.study import load_study
from orchestration.warehouse import Dbt
from tests.conftest import make_home


def everything(database) -> dict:
    """Rows, columns, types and descriptions of every table."""
    with duckdb.connect(str(database), read_only=True) as connection:
        tables = connection.execute(
            "select schema_name, table_name, comment from duckdb_tables() union all"
            " select schema_name, view_name, comment from duckdb_views() where not internal order by all"
        ).fetchall()
        content = {
            (schema, name): connection.execute(f'select * from "{schema}"."{name}" order by all').fetchall()
            for schema, name, _ in tables
        }
        columns = connection.execute(
            "select schema_name, table_name, column_name, data_type, is_nullable, comment from duckdb_columns()"
            " where not internal order by all"
        ).fetchall()
    return {"tables": tables, "columns": columns, "content": content}


@pytest.fixture
def no_memory(monkeypatch):
    """What this process has parsed and recorded is forgotten before and after."""
    monkeypatch.setattr(warehouse, "_parsed", {})
    monkeypatch.setattr(warehouse, "_recorded", {})


def test_a_build_with_new_data_is_that_of_dbt(tmp_path, no_memory):
    home = make_home(tmp_path)
    study = load_study(home.settings.study_file)
    dbt = Dbt(home.settings, study)
    write_study(tmp_path / "out", 12, 4)
    files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    for part in (files[::2], files[1::2]):
        for path in part:
            home.drop(path.relative_to(tmp_path / "out").as_posix(), path.read_bytes())
        ingest(home.settings, study)
        results = dbt.build()
    replayed = everything(dbt.database)
    assert warehouse._recorded, "the second build was not made from the recording"
    warehouse._recorded.clear()
    built = dbt.build()
    assert everything(dbt.database) == replayed
    assert {(r.unique_id, r.status, r.failures) for r in results} == {(r.unique_id, r.status, r.failures) for r in built}


@pytest.mark.parametrize(
    ("severity", "sql"),
    [("ERROR", "select 3, true, true"), ("WARN", "select nothing"), ("ERROR", "select * from nowhere")],
    ids=["a test fails", "a statement fails", "a table is missing"],
)
def test_a_failure_is_left_to_dbt(tmp_path, severity, sql):
    recording = Recording([("model.m", "create table m as select 1 as a"), ("test.t", sql)], {"test.t": severity})
    with pytest.raises(NotReplayed):
        replay(recording, tmp_path / "warehouse.duckdb")


def test_a_warning_is_told_with_its_rows(tmp_path):
    recording = Recording([("test.t", "select 3, true, true"), ("test.u", "select 0, false, false")])
    recording.severities = {"test.t": "WARN", "test.u": "ERROR"}
    found = replay(recording, tmp_path / "warehouse.duckdb")
    assert [(test.unique_id, test.failures, test.is_warning) for test in found] == [
        ("test.t", 3, True),
        ("test.u", 0, False),
    ]


def test_another_protocol_is_built_by_dbt(tmp_path, no_memory):
    home = make_home(tmp_path)
    for cutoff in (15, 20):
        study = load_study(make_home(tmp_path, {"analytes": {"serum_her2": {"cutoff_ng_ml": cutoff}}}).settings.study_file)
        ingest(home.settings, study)
        Dbt(home.settings, study).build()
        assert len(warehouse._recorded) == 1
    assert any("20" in sql for _, sql in next(iter(warehouse._recorded.values())).statements)


def test_no_model_asks_the_database_while_it_is_compiled():
    asks = re.compile(r"run_query|load_result|fetch_result|adapter\.(execute|get_|run_)|run_started_at|\bnow\(|current_(date|time)")
    for path in [*DBT_PROJECT.rglob("*.sql"), *DBT_PROJECT.rglob("*.yml")]:
        if "target" not in path.parts:
            assert not (found := asks.search(path.read_text("utf-8"))), f"{path}: {found}"
