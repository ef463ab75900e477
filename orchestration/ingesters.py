"""Work split over processes that end with the one that started them, and what they tell as it comes.

What the work is belongs to who hands it out. `python -m orchestration.ingesters` is one of the processes: a function
and its arguments come in by the standard input, what the function yields goes out by the standard output.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from orchestration.processes import tie
from orchestration.settings import REPOSITORY


class Killed(Exception):
    """A process ended without a word."""


def in_processes(function: Callable[..., Iterator], jobs: Sequence[tuple]) -> Iterator[Any]:
    """Call a generator function of a module once a job, each in a process of its own.

    Yields:
        whatever the calls yield, as it comes.

    Raises:
        Exception: what the first call that failed raised, or `Killed`; the others have gone on to their end, so that
            nothing they had open counts against it.
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


def _started(function: Callable, job: tuple) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.ingesters"],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with Connection(os.dup(process.stdin.fileno()), readable=False) as questions:
        questions.send((function, job))
    return process


def _listen(process: subprocess.Popen, told: queue.SimpleQueue) -> None:
    try:
        with Connection(os.dup(process.stdout.fileno()), writable=False) as answers:
            while True:
                kind, content = answers.recv()
                told.put((kind, content))
                if kind == "ends":
                    return
    except (EOFError, OSError):  # before or in the middle of an answer
        code = process.wait()
        told.put(("ends", Killed(f"a process that was reading files ended ({code}): killed, or out of memory.")))


def main() -> None:
    answers = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # whatever a library prints is none of the answers
    with Connection(os.dup(0), writable=False) as questions:
        function, job = questions.recv()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us is told as well, and closes our input
    tie()

    def tell(kind: str, content: Any) -> None:
        answers.send((kind, content))

    error = None
    try:
        for item in function(*job):
            tell("yields", item)
    except Exception as raised:
        error = raised
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # our input is closed when the end is known
    tell("ends", error)


if __name__ == "__main__":
    main()
