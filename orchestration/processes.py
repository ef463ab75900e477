"""Which process is which, that none outlives the one that started it, and how it ends. What they do belongs elsewhere.

`python -m orchestration.processes MODULE ARGUMENTS...` runs a module tied to its parent.
"""

import atexit
import os
import platform
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestration.settings import Settings

PROCESS = "sher2/process"
"""Tag of a run: the `identity` of the process that executes it."""

_GRACE_SECONDS = 10


def identity(pid: int | None = None) -> str:
    """Machine, number and start of a process, which no other will ever have. Default: this one.

    Raises:
        ProcessLookupError: there is no such process.
    """
    pid = pid or os.getpid()
    try:
        # the name, in brackets, may hold anything; the start is the 20th field after it (proc_pid_stat(5))
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        os.kill(pid, 0)
        started = "unknown"
    return f"{platform.node()} {pid} {started}"


def is_gone(process: str) -> bool:
    """Whether the process of an `identity` has ended; of another machine nobody can say, so it has not."""
    machine, pid, _ = process.rsplit(" ", 2)
    if machine != platform.node():
        return False
    try:
        return identity(int(pid)) != process
    except ProcessLookupError:
        return True
    except PermissionError:
        return False


def stop_mark(settings: Settings) -> Path:
    """Lies there while the children of `sher2 up` are being stopped: who waits for something should not."""
    return settings.dagster / "stopping"


def tie() -> None:
    """From now on this process, and what it started in its session, ends with its parent, however that one ends.

    The parent holds the other end of the standard input; the kernel closes it with the parent.
    """
    threading.Thread(target=_end_with_parent, name="tie", daemon=True).start()


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Around all that a process does: after it, and after what modules registered for the end, the process is gone.

    Python would first take millions of objects apart, one by one, for two seconds.
    """
    codes = [1]

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[-1])

    atexit.register(leave)  # what is registered first runs last
    try:
        yield
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


if __name__ == "__main__":
    with ends_at_once():
        tie()
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
