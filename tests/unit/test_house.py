"""The house keeps its own rules: who may import whom, and where a number may stand."""

import ast
import re

import pytest

from orchestration.settings import DBT_PROJECT, REPOSITORY
from orchestration.study import Study, load_study

LOCKS = ("requirements.lock", "requirements.spark.lock", "requirements.bootstrap.lock", "deploy/requirements.lock")
PURE_ROOMS = ("exports", "efficacy", "report", "simulate")


def imports(path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_pure_rooms_never_import_dagster(room):
    sources = list((REPOSITORY / "orchestration" / room).rglob("*.py"))
    assert sources
    for path in sources:
        assert not {name for name in imports(path) if name.split(".")[0].startswith("dagster")}, path


def test_statistics_touch_no_file_and_no_database():
    for path in (REPOSITORY / "orchestration" / "efficacy").rglob("*.py"):
        forbidden = {"duckdb", "pathlib", "os", "io", "sqlite3", "pyarrow"}
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


def test_marts_read_neither_staging_nor_raw():
    models = list((DBT_PROJECT / "models" / "marts").glob("*.sql"))
    assert models
    for path in models:
        text = path.read_text("utf-8")
        assert "source(" not in text and not re.search(r"ref\('stg_", text), path


def test_texts_are_joined_so_that_a_missing_part_is_left_out_on_every_engine():
    """concat() leaves a null out on DuckDB and is null on Spark; concat_ws() leaves it out on both."""
    for path in DBT_PROJECT.rglob("*.sql"):
        assert not re.search(r"\bconcat\(", path.read_text("utf-8")), path


def test_dbt_project_holds_no_number_of_the_study():
    assert "vars:" not in (DBT_PROJECT / "dbt_project.yml").read_text("utf-8")


def test_what_a_protocol_leaves_out_is_as_the_repositorys_protocol_has_it():
    own = {"study", "sources"}
    assert Study().model_dump(exclude=own) == load_study(REPOSITORY / "study.yaml").model_dump(exclude=own)


def test_every_module_opens_by_saying_what_belongs_there():
    for path in (REPOSITORY / "orchestration").rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_the_lock_names_no_registry():
    for name in LOCKS:
        text = (REPOSITORY / name).read_text("utf-8")
        assert "://" not in text and "--index-url" not in text
        assert text.count("--hash=sha256:") > text.count("\n==")


def test_the_lock_of_the_extra_agrees_with_the_lock_that_it_is_installed_on():
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==\S+", (REPOSITORY / name).read_text("utf-8"), re.M))

    def names(found: set[str]) -> set[str]:
        return {pin.partition("==")[0] for pin in found}

    ours, extra = pins("requirements.lock"), pins("requirements.spark.lock")
    assert {"pyspark", "dbt-spark"} <= names(extra) - names(ours)
    shared = names(ours) & names(extra)
    assert shared and {p for p in extra if p.partition("==")[0] in shared} <= ours
