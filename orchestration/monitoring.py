"""What became of runs, for whoever watches from outside: state.json, sher2.prom and the alert hook.

HOME/monitoring/state.json holds one alarm for each thing that can fail (the pipeline's run, the cut of a day, the
protocol), as it is and as it was last told; sher2.prom the same and the counts in Prometheus' text format, replaced
whole after every run.
Nothing here decides about data. Who writes holds the writer lock.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestration.alerts import NotDelivered, send
from orchestration.errors import UserError
from orchestration.inspection import counts, last_publication
from orchestration.locking import writer_lock
from orchestration.settings import Settings

RUN, PROTOCOL = "run", "protocol"
_REASON_CHARACTERS = 500
_DIED = "ended without a word: killed, out of memory, or the machine went down"


class Watch:
    """One run as it goes: which stage failed, and which alarm its end clears."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._failed: dict[str, dict] = {}
        self._cleared = {PROTOCOL}  # no run begins without one that makes sense
        self._is_cut_off = False
        self._began = time.monotonic()

    def begin(self) -> None:
        """Note that a run is under way; one that still is under way, though nobody holds the lock, has died."""
        state = read_state(self._settings)
        if state["under_way"]:
            state["alarms"][RUN] = _failure("run", _DIED, "")
        state["under_way"] = {"pid": os.getpid(), "since": _now()}
        with contextlib.suppress(OSError):  # no room: the run itself will say so
            _write_state(self._settings, state)

    @contextmanager
    def stage(self, name: str, alarm: str = RUN, *, clears: bool = False) -> Iterator[None]:
        """A part of the run. Its error raises the alarm; with ``clears``, its success shows that things work again."""
        try:
            yield
        except Exception as error:
            self._failed.setdefault(alarm, _failure(name, type(error).__name__, str(error)))
            raise
        except BaseException:  # interrupted: no failure, and no success either
            self._is_cut_off = True
            raise
        if clears:
            self._cleared.add(alarm)

    def end(self) -> list[str]:
        """Write what became of the run and tell of each alarm that changed; returns what could not be told."""
        state = read_state(self._settings)
        for alarm, failure in self._failed.items():
            since = state["alarms"].get(alarm, failure)["since"]  # it may have stood before
            state["alarms"][alarm] = failure | {"since": since}
        for alarm in self._cleared - self._failed.keys():
            state["alarms"].pop(alarm, None)
        state["under_way"] = None
        state["last_run"] = {
            "ended_at": _now(),
            "seconds": round(time.monotonic() - self._began, 3),
            "is_success": not self._failed and not self._is_cut_off,
        }
        return _tell_and_write(self._settings, state)


def note_protocol(settings: Settings, error: UserError | None) -> None:
    """Between runs: none can begin while study.yaml makes no sense (``error``), and whoever is away should know."""
    if _is_noted(read_state(settings), error):
        return
    with contextlib.suppress(UserError), writer_lock(settings.home, timeout_seconds=0):  # else at the next look
        state = read_state(settings)
        if error is None:
            state["alarms"].pop(PROTOCOL, None)
        else:
            state["alarms"][PROTOCOL] = _failure("reading study.yaml", type(error).__name__, str(error))
        _tell_and_write(settings, state)


def _is_noted(state: dict, error: UserError | None) -> bool:
    return (PROTOCOL in state["alarms"]) == (PROTOCOL in state["told"]) == (error is not None)


def read_state(settings: Settings) -> dict:
    """alarms (by name: stage, error, reason, since), told (names of those that were told), under_way and last_run."""
    state = {"alarms": {}, "told": [], "under_way": None, "last_run": None}
    try:
        return state | json.loads((settings.monitoring / "state.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # a power cut may tear it: then every alarm that stands is told anew
        return state


def _tell_and_write(settings: Settings, state: dict) -> list[str]:
    untold = _tell(settings, state)
    try:
        _write_state(settings, state)
        _replace(_folder(settings) / "sher2.prom", _metrics(settings, state))
    except OSError as error:
        untold.append(f"{settings.monitoring} was not written: {error.strerror}")
    return untold


def _tell(settings: Settings, state: dict) -> list[str]:
    untold, told = [], set(state["told"])
    for alarm in sorted(state["alarms"].keys() ^ told):
        is_failure = alarm in state["alarms"]
        if settings.alert:
            alert = {"event": "failure" if is_failure else "recovery", "alarm": alarm, "at": _now()}
            if is_failure:
                alert |= {key: state["alarms"][alarm][key] for key in ("stage", "error", "since")}
            try:
                send(settings.alert, alert | {"home": str(settings.home)} | counts(settings) | {"see": "sher2 status"})
            except NotDelivered as error:
                untold.append(str(error))
                continue
        told ^= {alarm}
    state["told"] = sorted(told)
    return untold


def _failure(stage: str, error: str, reason: str) -> dict:
    text = " ".join(reason.split())[:_REASON_CHARACTERS]
    return {"stage": stage, "error": error, "reason": text, "since": _now()}


def _metrics(settings: Settings, state: dict) -> str:
    counted, last, published = counts(settings), state["last_run"], last_publication(settings)
    metrics = [
        ("files", "Files by verdict", [(f'{{status="{k}"}}', v) for k, v in counted["files"].items()]),
        ("rows", "Rows by verdict", [(f'{{verdict="{k}"}}', v) for k, v in counted["rows"].items()]),
        ("alarms", "Alarms that stand; sher2 status names them", [("", len(state["alarms"]))]),
    ]
    if last:
        metrics += [
            ("last_run_success", "1 if the last run did all it began", [("", int(last["is_success"]))]),
            ("last_run_seconds", "Length of the last run", [("", last["seconds"])]),
            ("last_run_timestamp_seconds", "End of the last run", [("", _seconds(last["ended_at"]))]),
        ]
    if published:
        at = _seconds(published["published_at"])
        metrics.append(("last_publication_timestamp_seconds", "When the newest numbers were published", [("", at)]))
    lines = []
    for name, text, values in metrics:
        lines += [f"# HELP sher2_{name} {text}", f"# TYPE sher2_{name} gauge"]
        lines += [f"sher2_{name}{labels} {value}" for labels, value in values]
    return "\n".join(lines) + "\n"


def _seconds(text: str) -> float:
    return round(datetime.fromisoformat(text).timestamp(), 3)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _folder(settings: Settings) -> Path:
    settings.monitoring.mkdir(mode=0o755, exist_ok=True)
    return settings.monitoring


def _write_state(settings: Settings, state: dict) -> None:
    _replace(_folder(settings) / "state.json", json.dumps(state, indent=1, sort_keys=True), 0o600)


def _replace(path: Path, text: str, mode: int = 0o644) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, "utf-8")
    temporary.chmod(mode)
    temporary.replace(path)
