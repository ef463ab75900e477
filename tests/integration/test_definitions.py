"""The Dagster definitions hold every step of the way, each described, owned and checked."""

from datetime import UTC, datetime

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
    expected |= {"warehouse", "reports/efficacy", "reports/catalog", "reports/validation", "cuts/day"}
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


@pytest.mark.parametrize("part", [["warehouse"], ["metrics", "estimates"], ["marts", "fct_response"]], ids="/".join)
def test_no_part_of_a_publication_is_made_alone(definitions, part):
    """The private file of an earlier run would be shown as the newest state."""
    everything = definitions.resolve_implicit_global_asset_job_def()  # of which the web interface starts parts
    with pytest.raises(dg.DagsterInvalidSubsetError, match="publication"):
        everything.get_subset(asset_selection={dg.AssetKey(part)})


def test_an_environment_may_leave_automation_out(tmp_path):
    definitions = build_defs(make_home(tmp_path).settings, with_automation=False)
    assert not definitions.schedules and not definitions.sensors


def test_the_pipeline_freezes_no_cut_and_every_day_can_be_frozen_from_the_web_interface(definitions):
    cuts = dg.AssetKey(["cuts", "day"])
    job = definitions.get_job_def("pipeline")
    assert cuts not in job.asset_layer.executable_asset_keys and job.partitions_def is None
    assert int(job.run_tags["dagster/priority"]) > 0  # what arrives goes before the rest of a backfill
    partitions = definitions.get_assets_def(cuts).partitions_def
    assert {"2020-01-01", "2026-06-30"} <= set(partitions.get_partition_keys(datetime(2026, 7, 2, tzinfo=UTC)))


def test_what_people_read_says_when_it_is_stale(specs):
    for name in ("warehouse", "reports/efficacy"):
        assert specs[name].freshness_policy is not None and "Stale after" in specs[name].description


def test_what_is_broken_now_is_a_check_that_names_the_mend(definitions):
    checks = {
        (key.asset_key.to_user_string(), key.name): definitions.resolve_asset_graph().get_check_spec(key)
        for key in definitions.resolve_asset_graph().asset_check_keys
    }
    for asset, name in (
        ("raw/ledger", "no_rejected_files"),
        ("raw/quarantine", "no_quarantined_rows"),
        ("warehouse", "shows_the_newest_state"),
    ):
        assert "sher2 " in checks[asset, name].metadata["mend"] and not checks[asset, name].blocking


@pytest.mark.parametrize("layer", ["raw", "marts", "ops", "metrics"])
def test_columns_of_a_table_are_shown(specs, layer):
    for name, spec in specs.items():
        if name.startswith(f"{layer}/"):
            assert spec.metadata["dagster/column_schema"].columns, name
