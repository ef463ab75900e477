"""Dagster's history with kept connections holds what Dagster's own storage would, in the same files."""

import shutil

import dagster as dg
import pytest
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from orchestration.instance import prepare_instance
from tests.conftest import make_home


@dg.asset(check_specs=[dg.AssetCheckSpec("holds", asset="samples")])
def samples():
    yield dg.MaterializeResult(metadata={"dagster/row_count": 3}, check_results=[dg.AssetCheckResult(passed=False)])


JOB = dg.Definitions(assets=[samples], jobs=[dg.define_asset_job("job")]).resolve_job_def("job")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")  # restored afterwards; preparing an instance sets it
    settings = make_home(tmp_path).settings
    prepare_instance(settings)
    return settings


def run(instance: dg.DagsterInstance) -> str:
    result = JOB.execute_in_process(instance=instance)
    assert result.success
    return result.run_id


def test_dagsters_own_storage_reads_every_event_check_and_run(settings):
    with dg.DagsterInstance.get() as instance:
        run_id = run(instance)
        written = [event.message for event in instance.all_logs(run_id)]
    plain = DagsterSqliteStorage.from_local(str(settings.dagster))
    events = plain.event_log_storage
    assert [record.event_log_entry.message for record in events.get_records_for_run(run_id).records] == written
    [record] = plain.run_storage.get_run_records()
    assert record.dagster_run.run_id == run_id and record.dagster_run.is_success
    [materialised] = events.get_asset_records([dg.AssetKey("samples")])
    assert materialised.asset_entry.last_run_id == run_id
    [check] = events.get_asset_check_execution_history(dg.AssetCheckKey(dg.AssetKey("samples"), "holds"), limit=5)
    assert check.run_id == run_id and check.status.value == "FAILED"


def test_events_of_one_process_are_seen_by_another_at_once(settings):
    with dg.DagsterInstance.get() as writer, dg.DagsterInstance.get() as reader:
        for number in (1, 2):
            run_id = run(writer)
            assert reader.get_run_by_id(run_id).is_success
            assert len(reader.get_runs()) == number
            assert reader.get_latest_materialization_event(dg.AssetKey("samples")).run_id == run_id


def test_a_run_goes_on_when_the_events_are_deleted_under_it(settings):
    with dg.DagsterInstance.get() as instance:
        run(instance)
        shutil.rmtree(settings.dagster / "history" / "runs")
        (settings.dagster / "history" / "runs").mkdir()
        run_id = run(instance)
        assert instance.get_latest_materialization_event(dg.AssetKey("samples")).run_id == run_id
