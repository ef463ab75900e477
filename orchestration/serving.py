"""`sher2 up`: Dagster's web interface, daemon and code server and the resident worker, on the loopback address.

Children of one process: started, watched, started again when they end, stopped together. What they do stands in their
own modules.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestration.errors import UserError
from orchestration.instance import prepare_instance
from orchestration.locking import writer_lock
from orchestration.processes import stop_mark
from orchestration.resident import MOVED_ON, is_resident
from orchestration.settings import DBT_PROJECT, EXPECTATIONS, REPOSITORY, Settings
from orchestration.study import load_study

_READY_SECONDS = 180
_STOP_SECONDS = 20
_HEALTHY_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 60
_LOOK_SECONDS = 3
"""How often the code and the protocol are looked at; a change counts when two looks find the same."""


@dataclass
class Child:
    """One process and its log; started again when it ends, after pauses that grow while it keeps ending."""

    name: str
    module: list[str]
    log: Path
    needs: Path | None = None  # a socket that must answer first
    process: subprocess.Popen | None = None
    started: float = 0.0
    failures: int = 0
    again_at: float = 0.0

    def tend(self) -> bool:
        """Start it where it should run and does not; whether it had ended."""
        now = time.monotonic()
        has_ended = self.process is not None and self.process.poll() is not None
        if has_ended:
            code = self.process.returncode
            self._bury()
            is_sound = code == MOVED_ON or now - self.started > _HEALTHY_SECONDS
            self.failures = 0 if is_sound else self.failures + 1
            pause = min(2**self.failures - 1, _LONGEST_PAUSE_SECONDS)
            self.again_at = now + pause
            if code != MOVED_ON:
                _say(f"the {self.name} ended with {code}; it is started again in {pause} s (see {self.log})")
        if self.process is None and now >= self.again_at and (self.needs is None or _listens(self.needs)):
            self._start()
        return has_ended

    def _start(self) -> None:
        # A session of its own: a Ctrl-C at the terminal reaches the parent alone, which then stops them in order.
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.module],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started = time.monotonic()

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def stop(self, seconds: float) -> None:
        if self.process is not None:
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self._bury()

    def _bury(self) -> None:
        """Runs are its children, in its session: none may live on and write after it."""
        self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process = None


def serve(settings: Settings, port: int, *, with_worker: bool = True) -> int:
    """Serve until a signal comes; returns the exit code.

    Raises:
        UserError: the port is no port or taken, or the home is served already.
    """
    if not 1024 <= port <= 65535:
        raise UserError(f"up: --port {port} is out of range. Choose one from 1024 to 65535.")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(
                f"up: port {port} is taken. Stop what uses it or choose another: sher2 up --port {port + 1}"
            )
    prepare_instance(settings)
    with _alone(settings), tempfile.TemporaryDirectory(prefix="sher2-") as folder:
        _in_a_process(_put_history_in_order)  # this one stays small
        return _serve(settings, port, _children(settings, port, Path(folder) / "code.sock", with_worker))


def _children(settings: Settings, port: int, code: Path, with_worker: bool) -> list[Child]:
    """One code server for all: each would start its own otherwise, and the daemon a fresh one every minute.

    Args:
        code: the socket of the code server, in a folder that nobody else can enter.
    """
    location = {"socket": str(code), "location_name": "sher2"}
    workspace = settings.dagster / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": location}]}), "utf-8")
    tied = "orchestration.processes"
    grpc = ["dagster", "api", "grpc", "--socket", str(code), "--module-name", "orchestration.definitions"]

    def child(name: str, module: list[str], needs: Path | None = None) -> Child:
        return Child(name, module, settings.dagster / f"{name.replace(' ', '-')}.log", needs)

    return [
        child("code server", [tied, *grpc, "--location-name", "sher2", "--lazy-load-user-code"]),
        child("webserver", ["orchestration.webserver", str(port), str(workspace)], code),
        child("daemon", [tied, "dagster._daemon", "run", "-w", str(workspace)], code),
        *([child("worker", ["orchestration.resident"])] if with_worker else []),
    ]


def _serve(settings: Settings, port: int, children: list[Child]) -> int:
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: stopping.append(received))
    has_worker = any(child.name == "worker" for child in children)
    changes = _changes(settings)
    began, is_ready = time.monotonic(), False
    try:
        while not stopping:
            ended = [child for child in children if child.tend()]
            if children[0] in ended:
                _stop(settings, children)  # they would go on asking the one that is gone
            if not is_ready and _answers(port) and (not has_worker or is_resident(settings)):
                is_ready = True
                print(f"sher2 is up: http://127.0.0.1:{port} (home {settings.home}; Ctrl-C stops it)", flush=True)
            if not is_ready and time.monotonic() - began > _READY_SECONDS:
                _say(f"not ready within {_READY_SECONDS} s; see the logs in {settings.dagster}")
                return 1
            if next(changes):
                _say("the code or the protocol was changed: starting anew")
                _stop(settings, children)
            time.sleep(0.2)
    finally:
        _stop(settings, children)
    return 0


def _stop(settings: Settings, children: list[Child]) -> None:
    mark = stop_mark(settings)
    mark.touch()
    for child in children[1:]:
        child.ask_to_stop()
    for child in children[1:]:
        child.stop(_STOP_SECONDS)
    children[0].ask_to_stop()
    children[0].stop(_STOP_SECONDS)
    mark.unlink()


def _changes(settings: Settings) -> Iterator[bool]:
    """At each look, whether what the children have read is another one now, settled and usable."""
    known = before = _sources(settings)
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked < _LOOK_SECONDS:
            yield False
            continue
        looked, now = time.monotonic(), _sources(settings)
        is_changed, before = now == before != known, now
        if is_changed:
            known = now
            try:
                load_study(settings.study_file)
            except UserError as error:
                _say(f"{error}. Until it is mended nothing is published.")
                is_changed = False
        yield is_changed


def _sources(settings: Settings) -> dict[str, int]:
    """When each file of the code and the protocol was changed last."""
    files = [settings.study_file]
    for folder in (REPOSITORY / "orchestration", DBT_PROJECT, EXPECTATIONS):
        files += [path for path in folder.rglob("*.*") if not {"__pycache__", "target"} & set(path.parts)]
    times = {}
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            times[str(path)] = path.stat().st_mtime_ns
    return times


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Two of us on one home would ask for every run twice."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(writer_lock(settings.dagster, timeout_seconds=0))
        except UserError:
            raise UserError(f"up: {settings.home} is served already. Stop the other sher2 up first.") from None
        yield


def _in_a_process(work) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()


def _put_history_in_order() -> None:
    """Make Dagster's tables, which two processes must not do at once, and close what a crash left open."""
    import dagster as dg

    from orchestration.arrivals import bury

    with dg.DagsterInstance.get() as instance:
        instance.all_instigator_state()
        bury(instance)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _say(text: str) -> None:
    print(f"sher2: {text}", file=sys.stderr, flush=True)
