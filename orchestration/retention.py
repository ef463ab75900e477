"""What is thrown away, so that a home can be left running for years: Dagster's old runs and long logs.

Never data: the lake, cuts and backups are kept for ever, published builds by orchestration.publication (the last five).
"""

import contextlib
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

KEPT_RUNS = timedelta(days=30)  # as long as the ticks of the schedule (dagster.yaml)
KEPT_AT_LEAST = 100
KEPT_LOG_BYTES = 10 << 20
DELETED_AT_ONCE = 500
_EVERY_SECONDS = 24 * 3600


def tidy(settings: Settings, instance: "dg.DagsterInstance") -> None:
    """Once a day: forget runs that are over and older than KEPT_RUNS, and cut long logs. The caller holds the lock."""
    stamp = settings.dagster / ".tidied"
    if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < _EVERY_SECONDS:
        return
    forget_runs(settings, instance, datetime.now(UTC) - KEPT_RUNS)
    for log in settings.dagster.glob("*.log"):
        cut_log(log)
    stamp.touch()


def forget_runs(settings: Settings, instance: "dg.DagsterInstance", before: datetime) -> int:
    """Delete the runs that ended, were made before a moment and are not among the newest; returns how many."""
    import dagster as dg

    ended = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        created_before=before,
    )
    newest = {run.run_id for run in instance.get_runs(limit=KEPT_AT_LEAST)}
    old = [run.run_id for run in instance.get_runs(ended, limit=KEPT_AT_LEAST + DELETED_AT_ONCE, ascending=True)]
    old = [run_id for run_id in old if run_id not in newest][:DELETED_AT_ONCE]
    for run_id in old:
        instance.delete_run(run_id)
        # Dagster empties what it kept of a run and leaves the files
        for leftover in (settings.dagster / "history" / "runs").glob(f"{run_id}.db*"):
            leftover.unlink(missing_ok=True)
        shutil.rmtree(settings.dagster / "storage" / run_id, ignore_errors=True)
    return len(old)


def cut_log(log: Path) -> None:
    """Keep a long log's text as <name>.log.1 and empty it in place: whoever appends to it goes on."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > KEPT_LOG_BYTES:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            with log.open("r+b") as file:
                file.truncate()
