"""Everything pending, from the landing folder into the lake: the whole way, and what would become of a file on it.

What is due is found by `due` and taken in by `batches`. Here they are put together, so that running again is always
safe, running twice changes nothing, and several may run at once: who commits looks again at what the others have done
since.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from orchestration.batches import Counts, Verdict, judge, read, take_in
from orchestration.due import (
    Found,
    Item,
    Progress,
    Rules,
    Share,
    bytes_lost,
    find_due,
    keep_arrivals,
    next_batch,
    ready,
)  # fmt: skip
from orchestration.errors import UserError
from orchestration.ingesters import in_processes
from orchestration.lake import Lake
from orchestration.landing import Arrival, Held, Unreadable, as_told, chunks
from orchestration.rules import rules_hash
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.warehouse import connect

_BYTES_A_FILE = 50_000
"""What opening a file costs, in bytes read."""


@dataclass(frozen=True)
class Judgement(Verdict):
    """What would become of one file, with the faults found in it (FAULT_SCHEMA), and of the members of an archive."""

    faults: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False, repr=False)
    members: tuple["Judgement", ...] = ()


@dataclass
class Ingested:
    """What a run took in: verdicts by file, what it left in the landing folder, rows by record."""

    files: list[Verdict] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    records: dict[str, Counts] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, batch: int, verdicts: list[Verdict], counts: dict[str, Counts]) -> None:
        self.files += verdicts
        self.batches.append(batch)
        for record, count in counts.items():
            self.records[record] = self.records.get(record, Counts()) + count


_Batch = tuple[int, list[Verdict], dict[str, Counts]]


def ingest(
    settings: Settings,
    study: Study,
    progress: Progress | None = None,
    trust_memory: bool = True,
    share: Share | None = None,
) -> Ingested:
    """Take in every whole file of the landing folder, and judge again what the rules or a user ask for.

    Args:
        progress: called with (files done, files in all, text).
        trust_memory: take files whose size, time and inode have not changed for unchanged; otherwise hash them all.
        share: only a part of the files, because others take the rest; and nothing is frozen for a build.
    """
    started = time.monotonic()
    tell = progress or (lambda done, total, text: None)
    settings.prepare()
    lake = Lake(settings)
    if lake.prepare():
        for leftover in settings.build.glob("reading-*"):
            shutil.rmtree(leftover)
    result = Ingested()
    with lake.writing():
        found, result.held = keep_arrivals(settings, study, lake, share or Share(), tell, trust_memory)
        _decide_together(settings, study, lake, found, share or Share(), result, tell)
    result.held += bytes_lost(lake)
    if share is None:
        lake.compact()
        lake.freeze()
    pa.default_memory_pool().release_unused()  # to the machine: what builds the marts has a store of its own
    result.seconds = time.monotonic() - started
    return result


def _decide_together(
    settings: Settings, study: Study, lake: Lake, found: Found, share: Share, result: Ingested, tell: Progress
) -> None:
    """Take in what is due in as many processes as the machine is set to, and then alone what is left: what the first
    ones brought to light, and files that were open in too many dead runs."""
    rules, handed_out = Rules(study), set()

    def is_mine(item: Item) -> bool:
        return share.has(item.path)

    while settings.workers > 1:
        dead = lake.dead_attempts()
        due = [
            item
            for item in find_due(lake, found, rules)
            if is_mine(item)
            and (item.path, item.file_id) not in handed_out
            and dead.get(item.file_id, 0) < study.ingest.max_attempts
        ]
        parts = _split(due, settings.workers)
        if len(parts) < 2:
            break
        handed_out.update((item.path, item.file_id) for item in due)
        total = len(result.files) + len(due)
        tell(len(result.files), total, f"reading in {len(parts)} processes")
        for told in in_processes(work, [_job(settings, study, found, part) for part in parts]):
            batch = _batch_as_told(told)
            result.add(*batch)
            tell(len(result.files), total, f"batch {batch[0]} committed")

    def say(left: int, text: str) -> None:
        tell(len(result.files), len(result.files) + left, text)

    for batch in _decide(settings, study, lake, found, is_mine, say):
        result.add(*batch)
        say(0, f"batch {batch[0]} committed")


def _split(due: list[Item], most: int) -> list[frozenset[tuple[str, str]]]:
    """Parts of about the same size, at most so many; the copies of a file are in one."""
    files: dict[str, list[Item]] = {}
    for item in due:
        files.setdefault(item.file_id, []).append(item)
    parts: list[list] = [[0, set()] for _ in range(min(most, len(files)))]
    for items in sorted(files.values(), key=lambda items: (-items[0].bytes, items[0].path)):
        smallest = min(parts, key=lambda part: part[0])
        smallest[0] += items[0].bytes + _BYTES_A_FILE
        smallest[1].update((item.path, item.file_id) for item in items)
    return [frozenset(keys) for _, keys in parts]


def _job(settings: Settings, study: Study, found: Found, keys: frozenset[tuple[str, str]]) -> dict:
    """A part of the files as one of several processes is told of it."""
    own = [(arrival.told(), sha) for arrival, sha in found if (arrival.path, sha) in keys]
    return {
        "settings": settings.told(),
        "study": study.model_dump(mode="json"),
        "found": own,
        "keys": sorted(keys),
    }


def work(settings: dict, study: dict, found: list, keys: list) -> Iterator[tuple]:
    """What one of several processes does; it is told, and tells, what JSON can say."""
    own = Settings.as_told(settings)
    lake, place, mine = Lake(own), own.landing_place, {tuple(key) for key in keys}
    files = [(as_told(arrival, place), sha) for arrival, sha in found]

    def is_mine(item: Item) -> bool:
        return (item.path, item.file_id) in mine

    with lake.writing():
        for batch, verdicts, counts in _decide(
            own, Study.model_validate(study), lake, files, is_mine, lambda left, text: None
        ):
            yield batch, [asdict(verdict) for verdict in verdicts], {name: asdict(own) for name, own in counts.items()}


def _batch_as_told(told: list) -> _Batch:
    batch, verdicts, counts = told
    return batch, [Verdict(**item) for item in verdicts], {name: Counts(**item) for name, item in counts.items()}


def _decide(
    settings: Settings,
    study: Study,
    lake: Lake,
    found: Found,
    is_mine: Callable[[Item], bool],
    tell: Callable[[int, str], None],
) -> Iterator[_Batch]:
    """Take in what is due, batch after batch. ``tell`` is called with how many files are left, and what is done."""
    rules, done = Rules(study), set()
    while True:
        first_unseen = lake.next_batch()
        due = [item for item in find_due(lake, found, rules) if is_mine(item) and (item.path, item.file_id) not in done]
        if not due:
            return

        def say(text: str, left: int = len(due)) -> None:
            tell(left, text)

        items = next_batch(due, lake.dead_attempts(), study.ingest.max_attempts)
        batch, verdicts, counts = take_in(settings, study, lake, found, items, first_unseen, rules, say)
        damaged = [item for item in items if not lake.has(item.file_id)]
        done.update((item.path, item.file_id) for item in [*verdicts, *damaged])
        if batch is not None:
            yield batch, verdicts, counts


def pending(settings: Settings, study: Study) -> list[Held]:
    """What waits: files that the next run would decide about, and what it would leave, with the reason. Writes nothing
    but the throw-away memory of hashes."""
    items, held = ready(settings, study)
    return [Held(item.path, "waits for the next run") for item in items] + held + bytes_lost(Lake(settings))


def pending_fingerprint(settings: Settings, study: Study) -> str | None:
    """sha256 over what the next run would decide about; None where there is nothing."""
    items, _ = ready(settings, study)
    if not items:
        return None
    content = sorted([item.path, item.file_id] for item in items)
    return hashlib.sha256(json.dumps([content, rules_hash(study)]).encode()).hexdigest()


def refuse_flood(settings: Settings, study: Study) -> None:
    """Stop a run whose new rows are nearly all quarantined: there a mapping or an export went wrong, not some values.

    What counts as new: the judgements since the last publication, by source; so runs stop until it is mended.

    Raises:
        UserError: names the source, the counts and the mend; what is published stays.
    """
    alarms = study.alarms
    rows = _since_publication(settings)
    for source, own in rows[rows["status"] == "loaded"].groupby("source"):
        read, quarantined = int(own["rows_read"].sum()), int(own["rows_quarantined"].sum())
        if read >= alarms.quarantined_from_rows and quarantined * 100 > read * alarms.max_quarantined_pct:
            raise UserError(
                f"{source}: {quarantined:,} of {read:,} rows taken in since the last publication are quarantined, more"
                f" than alarms.max_quarantined_pct ({alarms.max_quarantined_pct}) of study.yaml allows: nothing is"
                " published."
                " sher2 quarantine says why; mend the export or its entry under sources:, and run again."
            )


def _since_publication(settings: Settings) -> pd.DataFrame:
    """The judgements in force, of what is frozen, that what is published does not know yet; all where nothing is."""
    published = 0
    if settings.warehouse.exists():
        try:
            with connect(settings.warehouse, read_only=True) as connection:
                published = connection.execute("select coalesce(max(batch), 0) from ops.files").fetchone()[0]
        except (UserError, duckdb.Error):
            published = 0  # damaged: it is about to be built anew
    rows = Lake(settings).frozen_ledger()
    return rows[rows["batch"] > published]


def judge_file(settings: Settings, study: Study, path: Path, name: str) -> Judgement:
    """What would become of a file, without taking it in. ``name``: its path relative to the landing folder.

    Raises:
        UserError: it is no readable file.
    """
    status = path.lstat()
    arrival = Arrival.of(name, path, status)
    settings.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="checking-", dir=settings.build) as folder:
        copy, digest = Path(folder) / "copy", hashlib.sha256()
        try:
            with copy.open("wb") as file:
                for chunk in chunks(arrival):
                    digest.update(chunk)
                    file.write(chunk)
        except Unreadable as error:
            raise UserError(f"{path}: {error}") from None
        item = Item(name, digest.hexdigest(), status.st_size, 0, None)
        return _would_become(copy, item, study)


def _would_become(copy: Path, item: Item, study: Study) -> Judgement:
    members: list[Judgement] = []

    def look(member: str, content: Iterator[bytes]) -> None:
        with tempfile.NamedTemporaryFile(dir=copy.parent) as file:
            for chunk in content:
                file.write(chunk)
            file.flush()
            own = Item(f"{item.path}/{member}", item.file_id, file.tell(), 0, None)
            members.append(_would_become(Path(file.name), own, study))

    judged = judge([read(copy, item, study, look)], study, datetime.now(UTC))
    [verdict] = judged.verdicts
    kept = () if verdict.status == "rejected" else tuple(members)
    return Judgement(**asdict(verdict), faults=judged.faults.to_pandas(), members=kept)
