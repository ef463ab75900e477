"""A build by recorded statements is the build that dbt would have made."""

import json
import re

import duckdb
import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from orchestration.compilation import STATEMENTS, Compilation, DbtFailed, _nodes
from orchestration.ingestion import ingest
from orchestration.replay import Node, build
from orchestration.settings import DBT_PROJECT
from orchestration.simulate import write_study
from orchestration.study import load_study
from orchestration.warehouse import Dbt
from tests.conftest import make_home


def everything(database) -> dict:
    """Rows, columns, types and descriptions of every table that dbt makes."""
    with duckdb.connect(str(database), read_only=True) as connection:
        made = "schema_name not in ('metrics', 'main') and {} not in ('publications', 'parameters')"
        tables = connection.execute(
            f"select schema_name, table_name, comment from duckdb_tables() where {made.format('table_name')} union all"
            " select schema_name, view_name, comment from duckdb_views() where not internal order by all"
        ).fetchall()
        content = {
            (schema, name): connection.execute(f'select * from "{schema}"."{name}" order by all').fetchall()
            for schema, name, _ in tables
        }
        columns = connection.execute(
            "select schema_name, table_name, column_name, data_type, is_nullable, comment from duckdb_columns()"
            f" where not internal and {made.format('table_name')} order by all"
        ).fetchall()
    return {"tables": tables, "columns": columns, "content": content}


def verdicts(results) -> set:
    return {(r.unique_id, r.status, r.failures) for r in results}


def deliver(home, folder, paths) -> None:
    for path in paths:
        home.drop(path.relative_to(folder).as_posix(), path.read_bytes())
    ingest(home.settings, load_study(home.settings.study_file))


def built_by_dbt(dbt, folder, monkeypatch):
    """The same lake, built by dbt itself."""
    monkeypatch.setenv("SHER2_LAKE", str(dbt.settings.lake))
    monkeypatch.setenv("SHER2_LEDGER", str(dbt.ledger))
    monkeypatch.setenv("SHER2_BUILD_DB", str(folder / dbt.database.name))
    try:
        outcome = dbtRunner().invoke([
            "--quiet", "--log-level-file", "none", "build", "--exclude-resource-type", "unit_test",
            "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target-path", str(folder),
            "--log-path", str(folder), "--vars", json.dumps(dbt.vars),
        ])
    finally:
        DuckDBConnectionManager.close_all_connections()
    return folder / dbt.database.name, {(r.node.unique_id, str(r.status), r.failures) for r in outcome.result}


def test_a_build_is_that_of_dbt(tmp_path, monkeypatch):
    home = make_home(tmp_path)
    write_study(tmp_path / "out", 12, 4)
    deliver(home, tmp_path / "out", sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()))
    dbt = Dbt(home.settings, load_study(home.settings.study_file))
    results = dbt.build()
    database, of_dbt = built_by_dbt(dbt, tmp_path, monkeypatch)
    assert everything(dbt.database) == everything(database)
    assert verdicts(results) == of_dbt


@pytest.mark.parametrize(
    ("severity", "sql", "status"),
    [
        ("ERROR", "select 3, true, true", "fail"),
        ("WARN", "select 3, true, true", "warn"),
        ("WARN", "select nothing", "error"),
        ("ERROR", "select * from nowhere", "error"),
        ("ERROR", "select 0, false, false", "pass"),
    ],
)
def test_each_test_has_its_verdict(tmp_path, severity, sql, status):
    nodes = [
        Node("model.sher2.m", "table", ["create table m as select 1 as a"]),
        Node("test.sher2.t", "test", [sql], severity=severity),
        Node("model.sher2.after", "table", ["create table n as select 1 as a"]),
    ]
    results = build(nodes, tmp_path / "warehouse.duckdb", lambda name: None)
    assert [r.status for r in results] == ["success", status, "skipped" if status == "error" else "success"]
    assert any(r.is_failed for r in results) == (status in {"error", "fail"})


def test_a_project_that_dbt_refuses_says_why(tmp_path):
    with pytest.raises(DbtFailed, match="is undefined"):
        Compilation(tmp_path, "warehouse.duckdb", {"study": {}}).path(STATEMENTS)


def test_damaged_statements_are_made_anew(tmp_path):
    home = make_home(tmp_path)
    dbt = Dbt(home.settings, load_study(home.settings.study_file))

    def nodes() -> dict[str, Node]:
        made = dbt._compilation().nodes(home.settings.lake, dbt.ledger)
        return {node.unique_id: node for node in made if node.unique_id}

    before = nodes()
    path = dbt._compilation().path(STATEMENTS)
    text = path.read_text("utf-8")
    number = text.index("'Y'")
    path.unlink()  # the tests share it
    path.write_text(f"{text[:number]}'N'{text[number + 3 :]}", "utf-8")
    _nodes.cache_clear()
    assert nodes() == before


def test_what_dbt_made_is_of_the_project_and_the_protocol_as_they_are(tmp_path, monkeypatch):
    def of(variables):
        return Compilation(tmp_path, "warehouse.duckdb", variables).fingerprint

    before = of({"study": {"cutoff": 15}})
    assert of({"study": {"cutoff": 15}}) == before
    assert of({"study": {"cutoff": 16}}) != before
    monkeypatch.setattr("orchestration.compilation.version", lambda name: f"another {name}")
    assert of({"study": {"cutoff": 15}}) != before
    monkeypatch.undo()
    monkeypatch.setattr("orchestration.compilation.DBT_PROJECT", tmp_path)
    assert of({"study": {"cutoff": 15}}) != before


def test_no_model_asks_for_what_is_not_in_the_lake_or_the_protocol():
    asks = re.compile(
        r"run_query|load_result|fetch_result|adapter\.(execute|get_|run_)|run_started_at|\bnow\(|current_(date|time)"
        r"|random\(|uuid|nextval"
    )
    for path in [*DBT_PROJECT.rglob("*.sql"), *DBT_PROJECT.rglob("*.yml")]:
        if "target" not in path.parts:
            assert not (found := asks.search(path.read_text("utf-8"))), f"{path}: {found}"
