"""Dagster's history in PostgreSQL: one server of our own, killed and started again; what is published never minds."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster_postgres import DagsterPostgresStorage

from orchestration.cli import main
from orchestration.instance import prepare_instance
from orchestration.publication import current_build_id
from orchestration.resident import is_resident
from orchestration.settings import REPOSITORY
from orchestration.simulate import write_study
from tests.conftest import Home, make_home
from tests.served import Served, eventually, free_port, has_sample, put_sample

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
PASSWORD = secrets.token_urlsafe(12)
UNIT = REPOSITORY / "deploy" / "systemd" / "sher2.service"


class Server:
    """A PostgreSQL cluster in a folder of its own, on the loopback address. It refuses to run as root."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if self._as_user:
            for path in (folder, secret):
                os.chown(path, *self._owner())
        self._do("initdb", "-U", "sher2", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    @staticmethod
    def _owner() -> tuple[int, int]:
        import pwd

        entry = pwd.getpwnam("postgres")
        return entry.pw_uid, entry.pw_gid

    def _do(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(BINARIES.with_name(program)), "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=120, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._do("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._do("pg_ctl", "-w", "-m", "immediate", "stop")

    def kill(self) -> None:
        """As a power cut does: the server and every process that serves a connection."""
        first = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        parents = {int(path.name): path / "stat" for path in Path("/proc").glob("[0-9]*")}
        served = []
        for pid, stat in parents.items():
            try:
                served += [pid] if int(stat.read_text().rpartition(")")[2].split()[1]) == first else []
            except (FileNotFoundError, ProcessLookupError):
                continue
        for pid in [first, *served]:
            with contextlib.suppress(ProcessLookupError):  # a connection that has just ended, or noticed the end of the first
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in [first, *served]), "the server is gone")

    def url(self, database: str, user: str = f"sher2:{PASSWORD}") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        import psycopg2

        connection = psycopg2.connect(self.url(database))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if BINARIES is None:
        pytest.skip("needs the PostgreSQL server of Debian: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="sher2-postgres-") as folder:  # pytest's own folders are for root alone
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


def recorded_in(server: Server, home: Home, database: str) -> Home:
    server.execute(f"create database {database}")
    return Home(replace(home.settings, history=server.url(database)))


@pytest.fixture(scope="module")
def team(server, tmp_path_factory) -> Home:
    """A home with a small study, whose history is in the database `team`."""
    home = recorded_in(server, make_home(tmp_path_factory.mktemp("team")), "team")
    write_study(home.settings.landing, 10, 5)
    for path in home.settings.landing.rglob("*.*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return home


def statuses(server: Server) -> list[str]:
    return [status for (status,) in server.execute("select status from runs order by id", "team")]


# --- recorded there -------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_in_the_database_and_nowhere_else(server, team):
    done = team.sher2("run")
    assert done.returncode == 0, done.stderr
    assert statuses(server) == ["SUCCESS"]
    assert server.execute("select count(distinct asset_key) > 50 from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'", "team") == [(True,)]  # fmt: skip
    assert not (team.settings.dagster / "history").exists()


def test_dagsters_own_storage_reads_what_was_recorded(server, team):
    events = DagsterPostgresStorage(server.url("team").replace("postgresql:", "postgresql+psycopg2:")).event_log_storage
    [warehouse] = events.get_asset_records([dg.AssetKey("warehouse")])
    run_id = warehouse.asset_entry.last_run_id
    kinds = [entry.dagster_event_type for entry in events.get_logs_for_run(run_id) if entry.is_dagster_event]
    assert kinds[-1] is dg.DagsterEventType.RUN_SUCCESS
    assert kinds.count(dg.DagsterEventType.STEP_FAILURE) == 0


def test_the_password_is_in_no_file_of_the_home(team):
    assert "SHER2_HISTORY" in (team.settings.dagster / "dagster.yaml").read_text()
    told = [path for path in team.settings.home.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert told == []


def test_connections_end_with_their_instance(server, team, monkeypatch):
    for name in ("DAGSTER_HOME", "SHER2_HISTORY"):
        monkeypatch.setenv(name, "")  # restored afterwards; preparing an instance sets them
    prepare_instance(team.settings)
    open_ones = "select count(*) from pg_stat_activity where datname = 'team' and pid <> pg_backend_pid()"
    with dg.DagsterInstance.get() as instance:
        assert len(instance.get_runs()) == 1
        assert server.execute(open_ones, "team")[0][0] >= 1
    eventually(lambda: server.execute(open_ones, "team") == [(0,)], "no connection is left open")


# --- the server is killed -------------------------------------------------------------------------------------------


def test_a_run_whose_database_is_killed_says_so_and_the_next_one_recovers(server, team):
    before, build_id = team.content(), current_build_id(team.settings)
    put_sample(team, "in-the-power-cut")
    environment = os.environ | {
        "SHER2_HOME": str(team.settings.home), "SHER2_STUDY": str(team.settings.study_file),
        "SHER2_HISTORY": team.settings.history, "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "orchestration.cli", "run"]
    run = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
    begun = "select count(*) from event_logs where dagster_event_type = 'STEP_SUCCESS' and run_id = (select run_id from runs order by id desc limit 1)"
    eventually(lambda: len(statuses(server)) == 2 and server.execute(begun, "team")[0][0] >= 1, "a step has ended")
    server.kill()
    try:
        said = run.communicate(timeout=300)[1].splitlines()
        assert run.returncode == 2 and "went away during the run" in said[-1], said
        assert PASSWORD not in "".join(said)
        # what is published is whole, of before or of after: history is written behind the publication
        is_before = current_build_id(team.settings) == build_id and team.content() == before
        assert is_before or has_sample(team, "in-the-power-cut")
    finally:
        server.start()

    done = team.sher2("run")
    assert done.returncode == 0, done.stderr
    assert has_sample(team, "in-the-power-cut")
    assert statuses(server) == ["SUCCESS", "STARTED", "SUCCESS"]


@pytest.fixture(scope="module")
def served(team) -> Iterator[Served]:
    """As the systemd unit starts it: its command, and nothing of the environment of a terminal."""
    line = re.search(r"^ExecStart=(.+) \$\{SHER2_PORT\}$", UNIT.read_text("utf-8"), re.MULTILINE)[1]
    command = line.replace("/opt/sher2/.venv", sys.prefix).split()
    up = Served(team, free_port(), command, {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(team.settings.home)})
    assert up.host in up.line, up.process.stderr.read()
    yield up
    up.process.send_signal(signal.SIGTERM)
    up.process.wait(60)


def test_the_interface_shows_the_history_and_what_the_dead_run_left_is_closed(server, served):
    assert list(served.runs().values()) == ["SUCCESS", "FAILURE", "SUCCESS"]


def test_a_drop_is_published_and_seen(server, served):
    put_sample(served.home, "dropped")
    eventually(lambda: has_sample(served.home, "dropped"), "the file is published")
    eventually(lambda: list(served.runs().values()) == ["SUCCESS", "SUCCESS", "FAILURE", "SUCCESS"], "its run is shown")
    nodes = served.ask("{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }")["assetNodes"]
    made = {"/".join(node["assetKey"]["path"]): node["assetMaterializations"] for node in nodes}
    assert made["warehouse"][0]["runId"] == next(iter(served.runs()))


def test_arrivals_go_on_after_the_server_was_killed_in_a_run(server, served):
    eventually(lambda: is_resident(served.home.settings), "the worker is there")
    before = len(statuses(server))
    put_sample(served.home, "in-the-second-cut")
    eventually(lambda: len(statuses(server)) > before, "a run has begun")
    server.kill()
    time.sleep(2)
    server.start()
    eventually(lambda: has_sample(served.home, "in-the-second-cut"), "the file is published")
    eventually(lambda: {"STARTED", "STARTING", "QUEUED"}.isdisjoint(statuses(server)), "no run stays open")
    assert served.process.poll() is None


# --- a database that cannot be used ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("postgresql://sher2:{password}@127.0.0.1:{closed}/team", ["127.0.0.1:{closed}/team", "refused", "Start the server"]),
        ("postgresql://sher2:{password}@no-such-host.invalid/team", ["no-such-host.invalid", "mend the URL"]),
        ("postgresql://sher2:{password}x@127.0.0.1:{port}/team", ["password authentication failed", "mend the URL"]),
        ("postgresql://sher2:{password}@127.0.0.1:{port}/absent", ['"absent" does not exist', "mend the URL"]),
        ("postgresql://guest:{password}@127.0.0.1:{port}/team", ["guest may not make tables", "OWNER"]),
        ("mysql://sher2:{password}@127.0.0.1/team", ["no PostgreSQL URL", "postgresql://USER:PASSWORD@HOST:5432/DATABASE"]),
        ("postgresql://sher2:{password}@127.0.0.1:{port}", ["no PostgreSQL URL"]),
        ("postgresql://sher2:{password}@127.0.0.1:port/team", ["no PostgreSQL URL"]),
    ],
    ids=["no server", "no host", "wrong password", "no database", "no right", "another kind", "no database named", "no port"],
)  # fmt: skip
def test_a_database_that_cannot_be_used_is_told_before_any_work(server, tmp_path, command, history, words):
    if "guest" in history and not server.execute("select 1 from pg_roles where rolname = 'guest'"):
        server.execute(f"create role guest login password '{PASSWORD}'")
        server.execute("create database team") if not server.execute("select 1 from pg_database where datname = 'team'") else None
        server.execute("revoke create on schema public from public", "team")
    values = {"password": PASSWORD, "port": server.port, "closed": free_port()}
    home = make_home(tmp_path)
    environment = {
        "SHER2_HOME": str(home.settings.home), "SHER2_STUDY": str(home.settings.study_file),
        "SHER2_HISTORY": history.format(**values),
    }  # fmt: skip
    done = CliRunner().invoke(main, [command], env=environment)
    assert done.exit_code == 2, done.output
    [line] = done.output.strip().splitlines()
    assert line.startswith("sher2: SHER2_HISTORY: ") and PASSWORD not in line
    assert all(word.format(**values) in line for word in words), line
    assert not (home.settings.lake / "ledger").exists() and not home.settings.warehouse.exists()
