"""`sher2 up`: Dagster's webserver and daemon as children on the loopback address, stopped together."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from orchestration.errors import UserError
from orchestration.pipeline import prepare_instance
from orchestration.settings import REPOSITORY, Settings

READY_SECONDS = 120
STOP_SECONDS = 20


def serve(settings: Settings, port: int) -> int:
    """Run until a signal or until one of the two ends; returns the exit code.

    Raises:
        UserError: the port is taken.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(
                f"up: port {port} is taken. Stop what uses it or choose another: sher2 up --port {port + 1}"
            )
    prepare_instance(settings)
    _make_storage()
    workspace = str(REPOSITORY / "workspace.yaml")
    module = [sys.executable, "-m"]
    commands = {
        "webserver": [*module, "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace],
        "daemon": [*module, "dagster._daemon", "run", "-w", workspace],
    }
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: stopping.append(received))
    # A session of their own: a Ctrl-C at the terminal reaches this process alone, which then stops them in order.
    children = {name: _start(settings, name, command) for name, command in commands.items()}
    try:
        began, is_ready = time.monotonic(), False
        while not stopping and all(child.poll() is None for child in children.values()):
            if not is_ready and _answers(port):
                is_ready = True
                print(f"sher2 is up: http://127.0.0.1:{port} (home {settings.home}; Ctrl-C stops it)", flush=True)
            if not is_ready and time.monotonic() - began > READY_SECONDS:
                print(f"sher2: the webserver did not answer within {READY_SECONDS} s", file=sys.stderr)
                return 1
            time.sleep(0.2)
        for name, child in children.items():
            if not stopping and child.poll() is not None:
                print(f"sher2: the {name} ended with {child.returncode}; see {_log(settings, name)}", file=sys.stderr)
    finally:
        _stop(list(children.values()))
    return 0 if stopping else 1


def _make_storage() -> None:
    """Two processes that make Dagster's tables in a fresh home at once trip over each other."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.get_runs(limit=1)
        instance.all_instigator_state()


def _start(settings: Settings, name: str, command: list[str]) -> subprocess.Popen:
    with _log(settings, name).open("ab") as log:
        return subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _log(settings: Settings, name: str) -> Path:
    return settings.dagster / f"{name}.log"


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _stop(children: list[subprocess.Popen]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    for child in children:
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        # Code servers and runs are its children, in its session: none may live on and write after us.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
