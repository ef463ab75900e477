"""Runs of the pipeline that die or fail when a test says so. Nothing of the product knows of this.

A warm process imports the stack once and forks a child for every run, so that a run costs what its work costs and
still is a process of its own that a real SIGKILL ends. `Runs` starts it and speaks to it in lines of JSON.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestration.settings import REPOSITORY, Settings

KILLED = -signal.SIGKILL
WHOLE_WAY = ("ingest", "build", "metrics", "publish", "report")
"""The steps of a run. `run` instead is the whole of `sher2 run`, recorded on Dagster's instance of the home."""

_PATIENCE_SECONDS = 900


@dataclass(frozen=True)
class Disturbance:
    """What happens to a run; without any of it the run is an ordinary one.

    kill_at: SIGKILL before the n-th change of a file below the home (Dagster's own files are not counted).
    kill_after: SIGKILL after so many seconds.
    kill_reading: SIGKILL while a file is read whose path ends so.
    kill_before: SIGKILL before this step.
    kill_building: SIGKILL when dbt's node of this name is built.
    max_file_bytes: no file can grow beyond it, as on a disk that is full.
    clock_shift: seconds by which the clock is wrong.
    files_a_batch: bound of a batch.
    """

    kill_at: int = 0
    kill_after: float = 0
    kill_reading: str = ""
    kill_before: str = ""
    kill_building: str = ""
    max_file_bytes: int = 0
    clock_shift: float = 0
    files_a_batch: int = 0


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (KILLED, 0, or 1 with the error), and the changes of files it made, in order."""

    code: int
    error: str = ""
    changes: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Runs:
    """The warm process. Use it as a context manager."""

    def __enter__(self) -> "Runs":
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disturbance"], cwd=REPOSITORY, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self

    def __exit__(self, *exception) -> None:
        self._process.communicate(timeout=_PATIENCE_SECONDS)

    def run(self, settings: Settings, *steps: str, **disturbance) -> Ended:
        """Run the steps (default: the whole way) in a process of their own and wait for its end."""
        [ended] = self._ask(settings, steps or WHOLE_WAY, [Disturbance(**disturbance)])
        return ended

    def ingest_together(self, settings: Settings, disturbances: list[Disturbance], environment=None) -> list[Ended]:
        """Ingest in several processes at once, none of which knows of the others, and wait for the end of all."""
        return self._ask(settings, ("ingest-beside",), disturbances, environment)

    def _ask(self, settings: Settings, steps, disturbances: list[Disturbance], environment=None) -> list[Ended]:
        request = {
            "home": str(settings.home), "study": str(settings.study_file), "landing_url": settings.landing_url,
            "lake_url": settings.lake_url, "steps": steps, "environment": environment or {},
            "disturbances": [asdict(item) for item in disturbances],
        }  # fmt: skip
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self._process.stdout.readline())]


# --- in the warm process -------------------------------------------------------------------------------------------


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a run prints is none of the answers
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        urls = {name: request[name] for name in ("landing_url", "lake_url")}
        settings = Settings(Path(request["home"]), Path(request["study"]), **urls)
        if {"build", "run"} & set(request["steps"]):
            _parse(settings)
        os.environ |= request["environment"]
        asked = [Disturbance(**item) for item in request["disturbances"]]
        ends = [_forked(settings, request["steps"], disturbance) for disturbance in asked]
        print(json.dumps([asdict(end()) for end in ends]), file=answers, flush=True)


def _import_everything() -> None:
    import matplotlib.pyplot
    import statsmodels.api
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    from orchestration import definitions, publication, validation
    from orchestration.efficacy import metrics
    from orchestration.report import page

    assert matplotlib.pyplot and statsmodels.api and DuckDBConnectionManager and dbtRunner
    assert definitions and metrics and page
    publication.code_version()
    validation._engine()


def _parse(settings: Settings) -> None:
    from orchestration.study import load_study
    from orchestration.warehouse import Dbt

    if settings.home.exists():
        Dbt(settings, load_study(settings.study_file)).manifest()


def _forked(settings: Settings, steps: list[str], disturbance: Disturbance) -> Callable[[], Ended]:
    """Start a run; what is returned waits for its end."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(settings, steps, disturbance, writing)
    os.close(writing)
    killer = threading.Timer(disturbance.kill_after or _PATIENCE_SECONDS, os.kill, (child, signal.SIGKILL))
    killer.start()

    def end() -> Ended:
        with os.fdopen(reading) as pipe:
            told = json.loads(pipe.read() or "{}")
        _, status = os.waitpid(child, 0)
        killer.cancel()
        return Ended(os.waitstatus_to_exitcode(status), seconds=time.monotonic() - began, **told)

    return end


def _child(settings: Settings, steps: list[str], disturbance: Disturbance, writing: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    changes: list[str] = []
    error = ""
    try:
        _disturb(settings, disturbance, changes)
        _go(settings, steps, disturbance.kill_before)
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with os.fdopen(writing, "w") as pipe:
        json.dump({"error": error, "changes": list(changes)}, pipe)
    os._exit(1 if error else 0)


def _go(settings: Settings, steps: list[str], kill_before: str) -> None:
    if steps == ["run"]:
        from orchestration.pipeline import run_pipeline

        outcome = run_pipeline(settings)
        if not outcome.is_success:
            raise RuntimeError(outcome.reason)
        return

    from orchestration.due import Share
    from orchestration.ingestion import ingest
    from orchestration.locking import writer_lock
    from orchestration.metrics import build_metrics, current_build
    from orchestration.publication import publish
    from orchestration.report.page import render
    from orchestration.study import load_study
    from orchestration.warehouse import Dbt

    settings.prepare()
    study = load_study(settings.study_file)
    if steps == ["ingest-beside"]:
        ingest(settings, study, share=Share())
        return
    dbt = Dbt(settings, study)

    def build() -> None:
        if failed := [result for result in dbt.build() if result.is_failed]:
            raise RuntimeError(f"{failed[0].unique_id}: {failed[0].message}")

    do = {
        "ingest": lambda: ingest(settings, study),
        "build": build,
        "metrics": lambda: build_metrics(study, current_build(settings, study, frozen=True), dbt.database),
        "publish": lambda: publish(settings, current_build(settings, study, frozen=True), dbt.database),
        "report": lambda: render(settings.warehouse, settings.reports, study),
    }
    with writer_lock(settings.home):
        for step in steps:
            if step == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            do[step]()
        if kill_before == "end":
            os.kill(os.getpid(), signal.SIGKILL)


def _disturb(settings: Settings, disturbance: Disturbance, changes: list[str]) -> None:
    from orchestration import due, exports, replay

    _count_changes(settings.home, changes, disturbance.kill_at)
    if disturbance.files_a_batch:
        due.MAX_FILES = disturbance.files_a_batch
    if disturbance.kill_reading:
        read = exports.read

        def deadly(path: Path, name: str, study):
            if name.endswith(disturbance.kill_reading):
                os.kill(os.getpid(), signal.SIGKILL)
            return read(path, name, study)

        exports.read = deadly
    if disturbance.kill_building:
        run = replay._run

        def deadly_run(nodes, do, tell):
            def built(node):
                result = do(node)
                if node.unique_id.endswith(f".{disturbance.kill_building}"):
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            return run(nodes, built, tell)

        replay._run = deadly_run
    if disturbance.clock_shift:
        _shift_clock(disturbance.clock_shift)
    if disturbance.max_file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (disturbance.max_file_bytes, resource.RLIM_INFINITY))


def _count_changes(home: Path, changes: list[str], kill_at: int) -> None:
    """Python tells of every file that it opens, renames or removes; of files that DuckDB writes it knows nothing."""
    root, not_ours = f"{home}/", f"{home}/dagster/"
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def note(what: str, path) -> None:
        path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if path.startswith(root) and not path.startswith(not_ours):
            changes.append(f"{what} {path.removeprefix(root)}")
            if len(changes) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"):
            note(event.partition(".")[2], arguments[0])
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & writing:
            note("write", arguments[0])
        elif event == "subprocess.Popen":
            note("command", arguments[1][-1])

    sys.addaudithook(hook)
    sync = os.fsync

    def counted_sync(descriptor: int) -> None:
        note("sync", os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    os.fsync = counted_sync


def _shift_clock(seconds: float) -> None:
    """For every part of the product that asks for the time."""
    import datetime as module

    from orchestration import batches, ingestion, publication, validation

    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)

    class Wrong(module.datetime):
        @classmethod
        def now(cls, tz=None):
            return module.datetime.fromtimestamp(time.time(), tz)

    for part in (batches, ingestion, publication, validation):
        part.datetime = Wrong


if __name__ == "__main__":
    _serve()
