"""Work split over processes that end with the one that started them, and what they tell as it comes.

What the work is belongs to who hands it out. `python -m orchestration.ingesters` is one of the processes: the name of a
function and its arguments come in by the standard input, what the function yields goes out by the standard output, all
of it as JSON.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from orchestration.errors import UserError
from orchestration.processes import tie
from orchestration.settings import REPOSITORY


class Killed(Exception):
    """A process ended without a word."""


class Failed(Exception):
    """A process could not go on, and it is nobody's mistake: its text says why, its note where."""


def in_processes(function: Callable[..., Iterator], jobs: Sequence[dict]) -> Iterator[Any]:
    """Call a generator function of a module once a job, with the job's arguments, each in a process of its own.

    Yields:
        whatever the calls yield, as it comes; arguments and what is yielded are what JSON can say.

    Raises:
        Exception: what the first call that failed tells (`UserError`, `OSError`, `Failed`), or `Killed`; the others
            have gone on to their end, so that nothing they had open counts against it.
    """
    told: queue.SimpleQueue = queue.SimpleQueue()
    processes = [_started(function, job) for job in jobs]
    try:
        for process in processes:
            threading.Thread(target=_listen, args=(process, told), daemon=True).start()
        errors, running = [], len(processes)
        while running:
            kind, content = told.get()
            if kind == "yields":
                yield content
            else:
                running -= 1
                errors += [content] if content is not None else []
        if errors:
            raise errors[0]
    finally:
        for process in processes:  # of an interrupted run: each sees it, closes what it has open, and ends
            process.stdin.close()
        for process in processes:
            process.wait()


def _started(function: Callable, job: dict) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.ingesters"],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with Connection(os.dup(process.stdin.fileno()), readable=False) as questions:
        questions.send_bytes(json.dumps([function.__module__, function.__name__, job]).encode())
    return process


def _listen(process: subprocess.Popen, told: queue.SimpleQueue) -> None:
    try:
        with Connection(os.dup(process.stdout.fileno()), writable=False) as answers:
            while True:
                kind, content = json.loads(answers.recv_bytes())
                told.put((kind, _raised(content) if kind == "ends" and content else content))
                if kind == "ends":
                    return
    except (EOFError, OSError):  # before or in the middle of an answer
        code = process.wait()
        told.put(("ends", Killed(f"a process that was reading files ended ({code}): killed, or out of memory.")))


def _told(error: Exception) -> dict:
    """An error as JSON."""
    kind = "user" if isinstance(error, UserError) else "machine" if isinstance(error, OSError) else "ours"
    said = [error.errno, error.strerror, error.filename and str(error.filename)] if kind == "machine" else str(error)
    trace = "".join(traceback.format_exception(error))
    return {"kind": kind, "said": said, "type": type(error).__name__, "trace": trace}


def _raised(told: dict) -> Exception:
    if told["kind"] == "user":
        error: Exception = UserError(told["said"])
    elif told["kind"] == "machine":
        error = OSError(*told["said"])
    else:
        error = Failed(f"{told['type']}: {told['said']}")
    error.add_note(told["trace"])
    return error


def main() -> None:
    answers = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # whatever a library prints is none of the answers
    with Connection(os.dup(0), writable=False) as questions:
        module, name, job = json.loads(questions.recv_bytes())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us is told as well, and closes our input
    tie()

    def tell(kind: str, content: Any) -> None:
        answers.send_bytes(json.dumps([kind, content]).encode())

    error = None
    try:
        for item in getattr(import_module(module), name)(**job):
            tell("yields", item)
    except Exception as raised:
        error = _told(raised)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # our input is closed when the end is known
    tell("ends", error)


if __name__ == "__main__":
    main()
