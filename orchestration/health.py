"""What is broken now, each with its mend: the same words at the terminal and on the checks of the web interface.

Only keys and counts are told here, never a clinical value: those are shown by `sher2 quarantine`, on demand.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestration.lake import Lake
from orchestration.metrics import current_build
from orchestration.monitoring import read_state
from orchestration.publication import current_build_id
from orchestration.settings import Settings
from orchestration.study import Study

FRESH = timedelta(hours=26)
"""The daily run looks at everything, whatever else happened: a day without one, and two hours for it, is too old."""

MENDS = {
    "failing_run": "What was published stays. Mend the cause, then: sher2 run. docs/runbook.md names the usual ones.",
    "rejected_files": "sher2 quarantine says why. Have the sender mend the file and drop it again; where study.yaml or"
    " this version was wrong, mend that: the next run judges it again. sher2 reprocess FILE_ID asks for it.",
    "quarantined_rows": "They are kept and count nowhere. sher2 quarantine names file, row, field, rule and mend of"
    " each, --csv as a list for the site. A corrected export under the file's own name replaces them.",
    "stale_publication": "sher2 run publishes the newest state. If it should have run by itself: is sher2 up still up?",
}


@dataclass(frozen=True)
class Problem:
    name: str  # of MENDS
    count: int
    text: str
    keys: list[dict] = field(default_factory=list)

    @property
    def mend(self) -> str:
        return MENDS[self.name]


def rejected_files(settings: Settings) -> Problem:
    """Files refused as a whole: path, file_id and rule of each."""
    ledger = Lake(settings).ledger()
    rejected = ledger[ledger["status"] == "rejected"]
    keys = [
        {"path": item.path, "file_id": item.file_id[:12], "rule": item.reason.partition(":")[0]}
        for item in rejected.itertuples()
    ]
    return Problem("rejected_files", len(keys), f"{len(keys)} files are rejected", keys)


def quarantined_rows(settings: Settings) -> Problem:
    """Rows set aside in the files that count: how many, by record, field and rule."""
    lake = Lake(settings)
    ledger = lake.ledger()
    in_force = ledger.loc[ledger["status"] == "loaded", "file_id"]
    faults = lake.quarantine()
    faults = faults[(faults["severity"] == "warning") & faults["file_id"].isin(in_force)]
    rows = len(faults[["file_id", "row_number"]].drop_duplicates())
    by_rule = (
        faults.groupby(["record", "field", "rule"], dropna=False).size().sort_values(ascending=False, kind="stable")
    )
    keys = [
        {"record": record, "field": field, "rule": rule, "rows": int(n)} for (record, field, rule), n in by_rule.items()
    ]
    return Problem("quarantined_rows", rows, f"{rows} rows are quarantined", keys)


def stale_publication(settings: Settings, study: Study) -> Problem:
    """What analysts see is not made of what the lake holds, by these rules; or nobody looked for longer than a day."""
    published = current_build_id(settings)
    if published is None:
        return Problem("stale_publication", int(settings.warehouse.exists()), "what is published cannot be read")
    if published != current_build(settings, study).build_id:
        return Problem("stale_publication", 1, "what is published is not the newest state of data, study.yaml and code")
    last = read_state(settings)["last_run"]
    if last and datetime.now(UTC) - datetime.fromisoformat(last["ended_at"]) > FRESH:
        return Problem("stale_publication", 1, f"no run since {last['ended_at']}")
    return Problem("stale_publication", 0, "what is published is the newest state")


def problems(settings: Settings, study: Study) -> list[Problem]:
    """Everything that is broken now; empty when nothing is."""
    found = [
        Problem("failing_run", 1, f"{alarm} failed at {item['stage']} since {item['since']}: {_why(item)}")
        for alarm, item in read_state(settings)["alarms"].items()
    ]
    found += [rejected_files(settings), quarantined_rows(settings), stale_publication(settings, study)]
    return [problem for problem in found if problem.count]


def _why(failure: dict) -> str:
    return failure["reason"] or failure["error"]
