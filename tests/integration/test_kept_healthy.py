"""A home that is left running: who is told when runs fail, what a watcher reads, what is kept, and how it comes back."""

import json
import os
import shutil
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestration import backup, monitoring, retention
from orchestration.alerts import checked
from orchestration.errors import UserError
from orchestration.health import problems
from orchestration.inspection import status
from orchestration.pipeline import run_pipeline
from orchestration.settings import Settings
from orchestration.simulate import write_study
from orchestration.study import load_study
from tests.conftest import Home, make_home

LABS = "subject_id,sample_id,analyte,value,unit,collected_at,result_status,specimen\n"
SECRET = 987_654.5  # a value of a subject: it must never be told
BAD = LABS + "".join(f"S1,X{row},42914-2,{SECRET},%,2024-03-01,F,SERUM\n" for row in range(120))
GOOD = LABS + "S1,X0,42914-2,12.5,ng/mL,2024-03-01,F,SERUM\n"


class Webhook(HTTPServer):
    """A real listener on loopback; ``answer`` is the status that it gives."""

    def __init__(self):
        self.bodies, self.answer = [], 204
        super().__init__(("127.0.0.1", 0), Post)
        self.url = f"http://127.0.0.1:{self.server_port}/alerts"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Post(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def webhook():
    server = Webhook()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory, webhook) -> Home:
    made = make_home(tmp_path_factory.mktemp("healthy"))
    write_study(made.settings.landing, 6, 3)
    for path in made.settings.landing.rglob("*.csv"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    home = Home(Settings(made.settings.home, made.settings.study_file, webhook.url))
    home.run()
    return home


def publications(home: Home) -> list[dict]:
    return home.sql("select build_id, published_at from ops.publications")


def metric(home: Home, name: str) -> float:
    lines = (home.settings.monitoring / "sher2.prom").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def test_a_restored_home_has_the_same_numbers_and_the_next_run_changes_nothing(home, tmp_path):
    count = backup.backup(home.settings, tmp_path / "home.tar")
    restored = Home(Settings(tmp_path / "elsewhere", home.settings.study_file))
    assert backup.restore(restored.settings, tmp_path / "home.tar") == count
    before = restored.content(), publications(restored)
    assert before == (home.content(), publications(home))
    restored.run()
    assert (restored.content(), publications(restored)) == before
    assert (restored.settings.lake.stat().st_mode & 0o777) == 0o700


def test_one_alert_when_runs_begin_to_fail_and_one_when_they_work_again(home, webhook):
    assert webhook.bodies == []
    home.drop("lab/flood.csv", BAD)
    for _ in range(2):
        assert not run_pipeline(home.settings).is_success
    (failure,) = map(json.loads, webhook.bodies)
    assert (failure["event"], failure["alarm"], failure["stage"]) == ("failure", "run", "reading files")
    assert failure["rows"]["quarantined"] >= 120
    assert metric(home, "sher2_alarms") == 1 and metric(home, "sher2_last_run_success") == 0
    told = status(home.settings, load_study(home.settings.study_file))["broken"]
    assert {item["problem"] for item in told} >= {"failing_run", "quarantined_rows", "stale_publication"}
    home.drop("lab/flood.csv", GOOD)
    home.run()
    home.run()
    assert [json.loads(body)["event"] for body in webhook.bodies] == ["failure", "recovery"]
    assert metric(home, "sher2_alarms") == 0 and metric(home, "sher2_last_run_success") == 1
    assert not any(str(int(SECRET)) in body for body in webhook.bodies)


def test_a_run_that_died_is_told_by_the_next(home, webhook):
    watch = monitoring.Watch(home.settings)
    watch.begin()
    del webhook.bodies[:]
    after = monitoring.Watch(home.settings)
    after.begin()
    with after.stage("publishing", clears=False):
        pass
    assert after.end() == []
    assert json.loads(webhook.bodies[0])["event"] == "failure"
    last = monitoring.Watch(home.settings)
    last.begin()
    with last.stage("publishing", clears=True):
        pass
    last.end()
    assert [json.loads(body)["event"] for body in webhook.bodies] == ["failure", "recovery"]


def failing(home: Home) -> list[str]:
    watch = monitoring.Watch(home.settings)
    watch.begin()
    with pytest.raises(ValueError), watch.stage("building the marts"):
        raise ValueError(f"value {SECRET} of subject S1")
    return watch.end()


def test_what_could_not_be_told_is_told_after_the_next_run(home, webhook):
    del webhook.bodies[:]
    webhook.answer = 500
    assert "answered 500" in failing(home)[0]
    webhook.answer = 204
    assert failing(home) == []
    assert len(webhook.bodies) == 2 and str(SECRET) not in webhook.bodies[1] and "S1" not in webhook.bodies[1]


def test_a_command_gets_the_alert_on_its_standard_input(tmp_path):
    home = make_home(tmp_path)
    script = tmp_path / "told.sh"
    script.write_text(f"#!/bin/sh\ncat > '{tmp_path}/told.json'\n")
    script.chmod(0o755)
    assert failing(Home(Settings(home.settings.home, home.settings.study_file, str(script)))) == []
    assert json.loads((tmp_path / "told.json").read_text())["stage"] == "building the marts"


@pytest.mark.parametrize(
    "target",
    ["http://example.org/x", "https://127.0.0.1/x", "http://127.0.0.1.example.org/", "http://127.0.0.1:port/",
     "file:///etc/passwd", "http://user@10.0.0.1/", "/nowhere/at/all", "'unclosed"],
)  # fmt: skip
def test_a_hook_that_leaves_the_machine_or_is_not_there_is_refused_at_start(target):
    with pytest.raises(UserError, match="SHER2_ALERT"):
        checked(target)


@pytest.mark.parametrize("target", ["", "http://127.0.0.1:9/x", "http://localhost:9/", "http://[::1]:9/", "sh -c true"])
def test_a_hook_of_this_machine_is_taken(target):
    assert checked(target) == target


def rewritten(source, target, change) -> None:
    """A backup with its members put through ``change(member, content)``, which may return None to leave one out."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            changed = change(member, old.extractfile(member).read())
            if changed is not None:
                import io

                member.size = len(changed)
                new.addfile(member, io.BytesIO(changed))


def climb(member, content):
    if member.name.startswith("lake/ledger"):
        member.name = "../outside"
    return content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda member, content: content[:-1] if member.name == "warehouse.duckdb" else content, "warehouse.duckdb"),
        (lambda member, content: None if member.name.startswith("lake/ledger/0") else content, "lake/ledger"),
        (lambda member, content: None if member.name == "MANIFEST.json" else content, "cut short"),
        (climb, "nothing that a backup holds"),
    ],
    ids=["changed", "file left out", "cut short", "leads out"],
)
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_restored(home, tmp_path, change, says):
    backup.backup(home.settings, tmp_path / "home.tar")
    rewritten(tmp_path / "home.tar", tmp_path / "other.tar", change)
    empty = Settings(tmp_path / "empty", home.settings.study_file)
    with pytest.raises(UserError, match=says):
        backup.restore(empty, tmp_path / "other.tar")
    assert [path.name for path in empty.home.iterdir()] == [".restoring"]
    assert not (tmp_path / "outside").exists()
    backup.restore(empty, tmp_path / "home.tar")  # the whole one goes in afterwards
    assert empty.warehouse.exists() and not (empty.home / ".restoring").exists()


def test_a_backup_never_overwrites_and_a_restore_never_mixes(home, tmp_path):
    backup.backup(home.settings, tmp_path / "home.tar")
    with pytest.raises(UserError, match="never written over"):
        backup.backup(home.settings, tmp_path / "home.tar")
    with pytest.raises(UserError, match="is not empty"):
        backup.restore(home.settings, tmp_path / "home.tar")
    with pytest.raises(UserError, match="in the home itself"):
        backup.backup(home.settings, home.settings.home / "home.tar")


def test_old_runs_are_forgotten_with_their_files_and_numbers_stay(home, monkeypatch):
    import dagster as dg

    monkeypatch.setattr(retention, "KEPT_AT_LEAST", 1)
    before = home.content()
    with dg.DagsterInstance.get() as instance:
        known = [run.run_id for run in instance.get_runs()]
        assert retention.forget_runs(home.settings, instance, datetime.now(UTC) - timedelta(days=30)) == 0
        assert retention.forget_runs(home.settings, instance, datetime.now(UTC) + timedelta(days=1)) == len(known) - 1
        assert [run.run_id for run in instance.get_runs()] == known[:1]
    left = {path.name.partition(".")[0] for path in (home.settings.dagster / "history" / "runs").glob("*.db")}
    assert left - {"index"} == {known[0]}
    assert home.content() == before


def test_a_long_log_is_cut_under_the_process_that_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_LOG_BYTES", 10)
    log = tmp_path / "daemon.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a long line\n")
        retention.cut_log(log)
        writer.write(b"next\n")
    assert log.read_bytes() == b"next\n" and (tmp_path / "daemon.log.1").read_bytes() == b"a long line\n"


def test_nothing_is_broken_in_a_home_where_all_is_well(home):
    shutil.rmtree(home.settings.monitoring)
    named = {problem.name for problem in problems(home.settings, load_study(home.settings.study_file))}
    assert named <= {"rejected_files", "quarantined_rows"}  # the simulated study has some
