"""When a run is asked for: for what is new, in its time, not for ever, and never because of what a dead run left."""

import json
import subprocess
import sys

import dagster as dg
import pytest

from orchestration import arrivals
from orchestration.arrivals import FINGERPRINT, Arrivals, Request, Rest, bury
from orchestration.instance import prepare_instance
from orchestration.locking import writer_lock
from orchestration.processes import PROCESS, identity, is_gone
from orchestration.settings import Settings
from orchestration.study import load_study
from tests.conftest import Home, make_home

SUBJECT = "subject_id,site_id,enrolled_on\nA,1,2024-01-01\n"


@dg.op
def nothing(): ...


JOB = dg.GraphDefinition("pipeline", node_defs=[nothing]).to_job()


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("published"))
    home.drop("clinical/subjects.csv", SUBJECT)
    home.run()
    return home


@pytest.fixture
def instance(home, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")
    prepare_instance(home.settings)
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def waiting(home, instance, monkeypatch):
    """A home with a file that is due."""
    home.drop("clinical/subjects.csv", SUBJECT)
    return Arrivals(instance, home.settings)


def begin(instance, found: Request, process: str | None = None) -> dg.DagsterRun:
    tags = found.tags | ({PROCESS: process} if process else {})
    return instance.create_run_for_job(JOB, tags=tags, status=dg.DagsterRunStatus.STARTED)


def finish(instance, run: dg.DagsterRun, *, is_success: bool) -> None:
    from dagster._core.events import DagsterEvent, DagsterEventType

    kind = DagsterEventType.RUN_SUCCESS if is_success else DagsterEventType.RUN_FAILURE
    instance.report_dagster_event(DagsterEvent(kind.value, "pipeline"), run.run_id)


def dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = identity(child.pid)
    assert not is_gone(process)
    child.communicate(b"\n")
    return process


def test_an_empty_home_has_nothing_due(home, instance):
    assert isinstance(Arrivals(instance, home.settings).look(), Rest)


def test_what_is_new_is_asked_for_and_named_by_its_content(waiting, home):
    first = waiting.look()
    assert isinstance(first, Request) and first == waiting.look() and first.attempt == 1
    home.drop("clinical/more.csv", SUBJECT.replace("A,", "B,"))
    assert waiting.look().fingerprint != first.fingerprint


def test_what_is_asked_for_is_not_asked_for_again(waiting, instance):
    begin(instance, waiting.look())
    assert "asked for already" in waiting.look().reason


def test_a_home_that_is_being_written_is_left_alone(waiting, home):
    with writer_lock(home.settings.home):
        assert "under way" in waiting.look().reason
    assert isinstance(waiting.look(), Request)


def test_a_failed_run_is_asked_for_again_later(waiting, instance, monkeypatch):
    finish(instance, begin(instance, waiting.look()), is_success=False)
    assert "next attempt" in waiting.look().reason
    monkeypatch.setattr(arrivals, "_BACK_OFF_SECONDS", 0)
    assert waiting.look().attempt == 2


def test_the_pause_grows_with_each_failure(waiting, instance, monkeypatch):
    pauses = []
    for _ in range(4):
        monkeypatch.setattr(arrivals, "_BACK_OFF_SECONDS", 0)
        finish(instance, begin(instance, waiting.look()), is_success=False)
        monkeypatch.setattr(arrivals, "_BACK_OFF_SECONDS", 1000)
        pauses.append(int(waiting.look().reason.split()[-2]))
    assert all(990 * 2**n < pause <= 1000 * 2**n for n, pause in enumerate(pauses))


def test_after_the_configured_tries_only_a_change_helps(waiting, instance, home, monkeypatch):
    monkeypatch.setattr(arrivals, "_BACK_OFF_SECONDS", 0)
    tries = load_study(home.settings.study_file).ingest.max_attempts + 2
    for _ in range(tries):
        finish(instance, begin(instance, waiting.look()), is_success=False)
    assert f"{tries} runs" in waiting.look().reason
    home.drop("clinical/more.csv", SUBJECT.replace("A,", "B,"))
    assert waiting.look().attempt == 1


def test_failures_before_a_success_do_not_count(waiting, instance, monkeypatch):
    monkeypatch.setattr(arrivals, "_BACK_OFF_SECONDS", 0)
    for is_success in (False, False, False, False, True, False):
        finish(instance, begin(instance, waiting.look()), is_success=is_success)
    assert isinstance(waiting.look(), Request)


def test_a_run_whose_process_is_gone_is_over(waiting, instance, monkeypatch):
    monkeypatch.setattr(arrivals, "_BACK_OFF_SECONDS", 0)
    dead = begin(instance, waiting.look(), dead_process())
    assert waiting.look().attempt == 2
    assert instance.get_run_by_id(dead.run_id).status == dg.DagsterRunStatus.FAILURE


def test_a_run_whose_process_lives_goes_on(waiting, instance):
    alive = begin(instance, waiting.look(), identity())
    bury(instance)
    assert instance.get_run_by_id(alive.run_id).status == dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("process", ["elsewhere 1 1", "elsewhere 999999999 unknown"])
def test_of_another_machine_nobody_can_say(process):
    assert not is_gone(process)


def test_a_protocol_that_makes_no_sense_stops_the_asking(waiting, home):
    home.settings.study_file.write_text("landing: {settle: 1}\n")
    assert "landing.settle: unknown key" in waiting.look().reason


def test_a_protocol_that_makes_no_sense_is_told_once_and_its_mending_too(home, instance, tmp_path):
    script, told = tmp_path / "told.sh", tmp_path / "told.txt"
    script.write_text(f"#!/bin/sh\ncat >> '{told}'\necho >> '{told}'\n")
    script.chmod(0o755)
    landing = Arrivals(instance, Settings(home.settings.home, home.settings.study_file, str(script)))
    sound = home.settings.study_file.read_text()
    landing.look()
    assert not told.exists()
    home.settings.study_file.write_text("landing: {settle_secs: 1}\n")
    with writer_lock(home.settings.home):
        landing.look()  # a run is under way: it is told at the next look
    assert not told.exists()
    landing.look()
    assert home.sher2("run").returncode == 2  # asked for by a timer: it is told already
    home.settings.study_file.write_text(sound)
    landing.look()
    landing.look()
    alerts = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(alert["event"], alert["alarm"]) for alert in alerts] == [("failure", "protocol"), ("recovery", "protocol")]


@pytest.fixture
def shown(published, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(published.settings.dagster))
    with dg.DagsterInstance.get() as instance:
        yield Arrivals(instance, published.settings)


def test_nothing_is_due_when_everything_is_published(shown):
    assert "nothing is due" in shown.look().reason


def test_a_lost_publication_is_due(shown, published):
    assert "nothing is due" in shown.look().reason
    lost = published.settings.warehouse.rename(published.settings.home / "lost")
    assert isinstance(shown.look(), Request)
    lost.rename(published.settings.warehouse)
    assert "nothing is due" in shown.look().reason


def test_numbers_by_an_older_protocol_are_due(shown, published):
    before = published.settings.study_file.read_text()
    published.settings.study_file.write_text(before.replace("confirm_days: 28", "confirm_days: 35"))
    assert shown.look().fingerprint.startswith("publish-")
    published.settings.study_file.write_text(before)
    assert "nothing is due" in shown.look().reason


def test_a_change_wakes_who_waits(waiting, home):
    import threading

    with waiting as landing:
        threading.Timer(0.3, home.drop, ("lab/new.csv", "x\n")).start()
        landing.wait(seconds=60)
    assert FINGERPRINT in landing.look().tags
