"""The Dagster definitions hold every step of the way, each described, owned and checked."""

import dagster as dg
import pytest

from orchestration.definitions import build_defs
from orchestration.exports.records import RECORDS
from orchestration.metrics import METRICS
from orchestration.publication import GRAIN
from tests.conftest import make_home


@pytest.fixture(scope="module")
def definitions(tmp_path_factory) -> dg.Definitions:
    return build_defs(make_home(tmp_path_factory.mktemp("definitions")).settings)


@pytest.fixture(scope="module")
def specs(definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_every_step_of_the_way_is_an_asset(specs):
    expected = {f"landing/{folder}" for folder in ("clinical", "lab", "imaging")}
    expected |= {f"raw/{record}" for record in RECORDS} | {"raw/ledger", "raw/quarantine", "raw/validations"}
    expected |= {f"marts/{mart}" for mart in GRAIN}
    expected |= {f"ops/{table}" for table in ("files", "quarantine", "findings", "validations")}
    expected |= {f"metrics/{name}" for name in METRICS}
    expected |= {"warehouse", "reports/efficacy", "reports/catalog", "reports/validation"}
    assert expected <= set(specs)
    others = set(specs) - expected
    assert all(name.split("/")[0] in {"seeds", "staging", "intermediate"} for name in others), others


def test_every_asset_has_group_description_owner_and_kind(specs):
    for name, spec in specs.items():
        assert spec.group_name and spec.description and spec.owners and spec.kinds, name


def test_the_lineage_runs_from_the_landing_folders_to_the_report(definitions):
    graph = definitions.resolve_asset_graph()
    upstream = {dg.AssetKey(["reports", "efficacy"])}
    frontier = set(upstream)
    while frontier:
        frontier = {parent for key in frontier for parent in graph.get(key).parent_keys} - upstream
        upstream |= frontier
    assert {dg.AssetKey(["landing", folder]) for folder in ("clinical", "lab", "imaging")} <= upstream
    assert {dg.AssetKey(["marts", mart]) for mart in GRAIN} <= upstream


def test_validation_suites_and_dbt_tests_are_asset_checks(definitions):
    keys = definitions.resolve_asset_graph().asset_check_keys
    checked = {key.asset_key.path[0] for key in keys}
    assert {"raw", "marts"} <= checked
    assert {key.name for key in keys if key.asset_key == dg.AssetKey(["raw", "lab_results"])} >= {"warning"}


def test_schedule_sensor_and_command_line_run_the_same_job(definitions):
    assert definitions.get_schedule_def("daily").job_name == "pipeline"
    assert definitions.get_sensor_def("arrivals").job_name == "pipeline"
    job = definitions.get_job_def("pipeline")
    materialised = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert {
        "raw/lab_results",
        "marts/fct_response",
        "metrics/estimates",
        "warehouse",
        "reports/efficacy",
    } <= materialised


def test_an_environment_may_leave_automation_out(tmp_path):
    definitions = build_defs(make_home(tmp_path).settings, with_automation=False)
    assert not definitions.schedules and not definitions.sensors
