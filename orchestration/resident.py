"""A worker that stays: everything imported, dbt's statements at hand, the landing folder watched: `sher2 up` starts it.

It executes the very job that the sensor asks for, on the same instance, and stops when its code is no longer the one on
disk. Nothing rests on it: killed, it leaves what any killed run leaves, and the sensor goes on.
"""

import contextlib
import gc
import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from orchestration.errors import UserError
from orchestration.locking import is_held, writer_lock
from orchestration.settings import Settings

MOVED_ON = 75
"""Exit code: the code on disk is another one now, or memory has grown; start me again."""

_LONGEST_RUN_SECONDS = 3600
MOST_MEMORY_GB = 3


def is_resident(settings: Settings) -> bool:
    """Whether a worker is alive and watches this home."""
    return is_held(_seat(settings))


def _seat(settings: Settings) -> Path:
    return settings.build / "resident"


def serve(settings: Settings) -> int:
    """Take in what arrives until a signal comes, or until the process should be a fresh one; returns the exit code."""
    from orchestration.arrivals import Arrivals, Request
    from orchestration.pipeline import Pipeline

    pipeline = Pipeline(settings)
    _warm_up(settings)
    import dagster as dg

    from orchestration.publication import code_is_unchanged

    _seat(settings).mkdir(parents=True, exist_ok=True)
    with (
        dg.DagsterInstance.get() as instance,
        Arrivals(instance, settings) as landing,
        writer_lock(_seat(settings), timeout_seconds=0),
    ):
        # What is in memory now stays: the collector need not look through it at every run.
        gc.collect()
        gc.freeze()
        while code_is_unchanged() and not _is_bloated() and not landing.is_over():
            found = landing.look()
            if not isinstance(found, Request):
                landing.wait()
                continue
            with _limited(_LONGEST_RUN_SECONDS):
                outcome = pipeline.run(instance, tags=found.tags)
            print(f"{found.run_key}: {'done' if outcome.is_success else outcome.reason}", flush=True)
    return MOVED_ON


def _warm_up(settings: Settings) -> None:
    """Load what the first run would: what dbt renders."""
    from orchestration.lake import Lake
    from orchestration.study import load_study
    from orchestration.warehouse import Dbt

    with contextlib.suppress(UserError), writer_lock(settings.home, timeout_seconds=0):
        Lake(settings).prepare()
        Dbt(settings, load_study(settings.study_file)).load()


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """A run that hangs ends with its process: whoever started that starts another."""
    timer = threading.Timer(seconds, os._exit, args=(1,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _is_bloated() -> bool:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MOST_MEMORY_GB << 20  # KiB


def main() -> None:
    from orchestration.processes import tie

    tie()
    try:
        sys.exit(serve(Settings.from_environment()))
    except KeyboardInterrupt:
        sys.exit(0)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
