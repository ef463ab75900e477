"""When a run is due, and whether to ask for one now: what the sensor and the resident worker share.

What is pending is the ingestion's to say, what a run does is the pipeline's. Both askers go through the same writer
lock and the same lake, so that asking twice costs time and nothing else.
"""

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from watchfiles import watch

from orchestration.errors import UserError
from orchestration.ingestion import pending_fingerprint
from orchestration.lake import Lake
from orchestration.landing import UNENDED_SECONDS, Arrival, scan
from orchestration.locking import is_held
from orchestration.metrics import current_build
from orchestration.monitoring import note_protocol
from orchestration.processes import PROCESS, is_gone, stop_mark
from orchestration.publication import was_published_last
from orchestration.settings import Settings
from orchestration.study import Study, load_study

FINGERPRINT = "sher2/due"

_BACK_OFF_SECONDS = 10
"""After the first failure; twice as long after each further one."""

_TICK_MS, _QUIET_MS, _BURST_MS = 250, 50, 5_000
"""How often to look at the clock; changes are one arrival until it has been quiet so long, or they lasted so long."""

_IDLE_SECONDS = 15
"""A look without a change: a network folder tells of none, and the protocol may have been mended."""


@dataclass(frozen=True)
class Request:
    """A run to be asked for now."""

    fingerprint: str
    attempt: int

    @property
    def run_key(self) -> str:
        return f"{self.fingerprint}-{self.attempt}"

    @property
    def tags(self) -> dict[str, str]:
        return {FINGERPRINT: self.fingerprint}


@dataclass(frozen=True)
class Rest:
    """No run is asked for now, and why."""

    reason: str


_nothing_due: dict[Path, tuple] = {}  # by home: the state in which this process found that nothing was due


class Arrivals:
    """The landing folder of one home, watched. As a context manager: watches from entering to leaving it."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings):
        self._instance, self._settings = instance, settings

    def __enter__(self) -> "Arrivals":
        self._settings.prepare()
        bury(self._instance)
        self._changes = watch(
            self._settings.landing,
            watch_filter=None,
            step=_QUIET_MS,
            debounce=_BURST_MS,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        next(self._changes)  # from here on nothing is missed
        return self

    def __exit__(self, *exception) -> None:
        self._changes.close()

    def wait(self, seconds: float = _IDLE_SECONDS) -> None:
        """Until something has changed in the landing folder, something there may have settled, or time is up."""
        is_fresh = self._is_fresh(scan(self._settings.landing_place)[0])
        pause = self._settle_seconds() + 0.05 if is_fresh else _IDLE_SECONDS
        until = time.monotonic() + min(seconds, pause)
        while not self.is_over():
            left = until - time.monotonic()
            if left < _TICK_MS / 1000:
                time.sleep(max(left, 0))
                return
            if next(self._changes):
                return

    def is_over(self) -> bool:
        """Whether whoever serves this home is being stopped."""
        return stop_mark(self._settings).exists()

    def _is_fresh(self, arrivals: list[Arrival]) -> bool:
        """Whether a file changed so lately that it may not be whole yet."""
        newest = max((arrival.ctime_ns for arrival in arrivals), default=0) / 1e9
        return abs(time.time() - newest) < UNENDED_SECONDS + self._settle_seconds() + _IDLE_SECONDS

    def look(self) -> Request | Rest:
        """Whether a run is due that should be asked for now."""
        try:
            study = load_study(self._settings.study_file)
        except UserError as error:
            note_protocol(self._settings, error)
            return Rest(str(error))
        note_protocol(self._settings, None)
        if is_held(self._settings.home):
            return Rest("a run is under way")
        fingerprint = self._due(study)
        if fingerprint is None:
            return Rest("nothing is due: every whole file is taken in and published")
        bury(self._instance)
        return self._next(fingerprint, most=study.ingest.max_attempts + 2)

    def _due(self, study: Study) -> str | None:
        """Names what the next run would do; None where it would change nothing."""
        arrivals, _ = scan(self._settings.landing_place)
        state = self._state(arrivals)
        if _nothing_due.get(self._settings.home) == state:
            return None
        if fingerprint := pending_fingerprint(self._settings, study):
            return fingerprint
        build_id = current_build(self._settings, study).build_id
        if not Lake(self._settings).deliveries().empty and not was_published_last(self._settings, build_id):
            return f"publish-{build_id}"
        if not self._is_fresh(arrivals):
            _nothing_due[self._settings.home] = state
        return None

    def _state(self, arrivals: list[Arrival]) -> tuple:
        """Changes with everything that decides whether a run is due; what else is taken in stands in the lake."""
        watched = (self._settings.study_file, self._settings.builds)
        times = [path.stat().st_mtime_ns if path.exists() else 0 for path in watched]
        landed = hash(tuple((arrival.path, arrival.state) for arrival in arrivals))
        return landed, *times, *Lake(self._settings).stamp(), self._settings.warehouse.exists()

    def _next(self, fingerprint: str, most: int) -> Request | Rest:
        """The next attempt, in its time.

        Args:
            most: attempts before only a change helps: those that the lake needs to set a file aside that kills runs.
        """
        records = self._instance.get_run_records(dg.RunsFilter(tags={FINGERPRINT: fingerprint}))
        if any(not record.dagster_run.is_finished for record in records):
            return Rest("a run for it is asked for already")
        failed = list(itertools.takewhile(lambda record: not record.dagster_run.is_success, records))
        if len(failed) >= most:
            return Rest(f"{most} runs for it failed: see the last one, mend its cause, then: sher2 run")
        if records and records[0].end_time:
            # as long after a success: what is due all the same will not be mended by haste
            pause = _BACK_OFF_SECONDS * 2 ** max(len(failed) - 1, 0)
            since = time.time() - records[0].end_time
            if 0 <= since < pause:
                return Rest(f"the last run for it failed; the next attempt follows in {pause - since:.0f} s")
        return Request(fingerprint, len(records) + 1)

    def _settle_seconds(self) -> float:
        try:
            return load_study(self._settings.study_file).landing.settle_seconds
        except UserError:
            return _IDLE_SECONDS


def bury(instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process is gone: killed, or the machine was switched off."""
    under_way = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=under_way)):
        if (process := run.tags.get(PROCESS)) and is_gone(process):
            instance.report_run_failed(run, f"The process of this run is gone ({process}): killed, or a power cut.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
