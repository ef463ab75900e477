"""Everything pending, from the landing folder into the lake: find, batch, read, validate, commit.

Which files are whole is `landing`'s, what bytes mean is `exports`', what is allowed is `validation`'s, what counts is
`lake`'s. Here they are put together, so that running again is always safe, running twice changes nothing, and several
may run at once: who commits looks again at what the others have done since.
"""

import hashlib
import json
import re
import shutil
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestration import datadocs, exports
from orchestration.errors import UserError
from orchestration.exports import layouts
from orchestration.exports.records import META_COLUMNS, RECORDS
from orchestration.exports.spill import Spilled, pieces
from orchestration.findings import FAULT_SCHEMA
from orchestration.ingesters import in_processes
from orchestration.judged import Origin, Part
from orchestration.lake import LEDGER_SCHEMA, Lake, record_schema
from orchestration.landing import (
    Arrival,
    Deposit,
    Held,
    Observations,
    Unreadable,
    as_told,
    chunks,
    lies_there,
    whole,
)  # fmt: skip
from orchestration.rules import rules_hash
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.validation import RESULT_SCHEMA, validate
from orchestration.warehouse import connect

pa.set_memory_pool(pa.system_memory_pool())  # its default gives pages back and fetches them again: a tenth of the CPU

MAX_FILES = 2_000
MAX_BYTES = 256 << 20
MAX_ROWS = 500_000
"""Bounds of one batch. A batch ends with the file that reaches one of them; rows bound the memory."""

_BYTES_A_FILE = 50_000
"""What opening a file costs, in bytes read."""

ARCHIVE = "archive"
"""The layout of a file that is no table itself: each of its members is taken in as a file of its own."""

_PATIENCE_SECONDS = 2.0
"""A run waits so long for fresh files to settle, rather than ask for another run."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Verdict:
    """What became of one file."""

    path: str
    file_id: str
    status: str  # loaded | rejected | duplicate
    reason: str | None = None
    source: str | None = None
    layout: str | None = None
    exported_on: str | None = None
    rows_read: int = 0
    rows_accepted: int = 0
    rows_quarantined: int = 0


@dataclass(frozen=True)
class Judgement(Verdict):
    """What would become of one file, with the faults found in it (FAULT_SCHEMA), and of the members of an archive."""

    faults: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False, repr=False)
    members: tuple["Judgement", ...] = ()


@dataclass(frozen=True)
class Counts:
    """Rows of one record in the files that were loaded."""

    rows_read: int = 0
    rows_accepted: int = 0
    rows_quarantined: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.rows_read + other.rows_read,
            self.rows_accepted + other.rows_accepted,
            self.rows_quarantined + other.rows_quarantined,
        )


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


@dataclass(frozen=True)
class _Item:
    """One file to decide about at one path; ``is_known``: its bytes are loaded, only the delivery is new."""

    path: str
    file_id: str
    bytes: int
    sequence: int
    received_at: datetime | None
    is_known: bool = False


@dataclass(frozen=True)
class _Opened:
    """One file, read: its sheets, the number of members of an archive, or the rule and message of a refusal."""

    item: _Item
    sheets: list[exports.Sheet]
    refusal: tuple[str, str] | None = None
    members: int = 0

    @property
    def rows(self) -> int:
        return sum(sheet.table.num_rows for sheet in self.sheets)


@dataclass(frozen=True)
class _Rows:
    """The rows of one record in one file that is loaded; ``rejected_by`` is null for accepted ones."""

    file_id: str
    table: pa.Table | Spilled
    rejected_by: pa.ChunkedArray

    @property
    def accepted(self) -> int:
        return self.rejected_by.null_count


class _Stack:
    """The rows of one record in many files, with their file's id, in pieces that can be asked for again."""

    def __init__(self, sheets: list[tuple[_Item, exports.Sheet]]):
        self._sheets = sheets

    def pieces(self, names: Collection[str] | None = None) -> Iterator[pa.Table]:
        for item, sheet in self._sheets:
            for table in pieces(sheet.table, names):
                yield table.append_column("_file_id", _constant(item.file_id, table.num_rows))


@dataclass
class _Judged:
    """Files of one batch, judged but not committed."""

    verdicts: list[Verdict]
    records: dict[str, list[_Rows]]
    faults: pa.Table
    results: pa.Table
    documents: list[dict]


# --- the whole way -------------------------------------------------------------------------------------------------


def ingest(
    settings: Settings,
    study: Study,
    progress: Progress | None = None,
    trust_memory: bool = True,
    share: "Share | None" = None,
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
        found, result.held = _kept(settings, study, lake, share or Share(), tell, trust_memory)
        _decide_together(settings, study, lake, found, share or Share(), result, tell)
    result.held += _bytes_lost(lake)
    if share is None:
        lake.compact()
        lake.freeze()
    pa.default_memory_pool().release_unused()  # to the machine: what builds the marts has a store of its own
    result.seconds = time.monotonic() - started
    return result


@dataclass(frozen=True)
class Share:
    """One of several parts of the files, by their paths: the ``number``-th of ``parts``."""

    number: int = 1
    parts: int = 1

    @classmethod
    def of(cls, text: str) -> "Share":
        """From "2/4".

        Raises:
            UserError: it is no share.
        """
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--share: {text!r} is no share. Write the second of four machines as 2/4.")
        return cls(int(found[1]), int(found[2]))

    def has(self, path: str) -> bool:
        return zlib.crc32(path.encode()) % self.parts == self.number - 1


def _decide_together(
    settings: Settings, study: Study, lake: Lake, found: "_Found", share: Share, result: Ingested, tell: Progress
) -> None:
    """Take in what is due in as many processes as the machine is set to, and then alone what is left: what the first
    ones brought to light, and files that were open in too many dead runs."""
    rules, handed_out = _Rules(study), set()

    def is_mine(item: _Item) -> bool:
        return share.has(item.path)

    while settings.workers > 1:
        dead = lake.dead_attempts()
        due = [
            item
            for item in _due(lake, found, rules)
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


def _split(due: list[_Item], most: int) -> list[frozenset[tuple[str, str]]]:
    """Parts of about the same size, at most so many; the copies of a file are in one."""
    files: dict[str, list[_Item]] = {}
    for item in due:
        files.setdefault(item.file_id, []).append(item)
    parts: list[list] = [[0, set()] for _ in range(min(most, len(files)))]
    for items in sorted(files.values(), key=lambda items: (-items[0].bytes, items[0].path)):
        smallest = min(parts, key=lambda part: part[0])
        smallest[0] += items[0].bytes + _BYTES_A_FILE
        smallest[1].update((item.path, item.file_id) for item in items)
    return [frozenset(keys) for _, keys in parts]


def _job(settings: Settings, study: Study, found: "_Found", keys: frozenset[tuple[str, str]]) -> dict:
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

    def is_mine(item: _Item) -> bool:
        return (item.path, item.file_id) in mine

    with lake.writing():
        for batch, verdicts, counts in _decide(
            own, Study.model_validate(study), lake, files, is_mine, lambda left, text: None
        ):
            yield batch, [asdict(verdict) for verdict in verdicts], {name: asdict(own) for name, own in counts.items()}


def _batch_as_told(told: list) -> "_Batch":
    batch, verdicts, counts = told
    return batch, [Verdict(**item) for item in verdicts], {name: Counts(**item) for name, item in counts.items()}


def _decide(
    settings: Settings,
    study: Study,
    lake: Lake,
    found: "_Found",
    is_mine: Callable[["_Item"], bool],
    tell: Callable[[int, str], None],
) -> Iterator["_Batch"]:
    """Take in what is due, batch after batch. ``tell`` is called with how many files are left, and what is done."""
    rules, done = _Rules(study), set()
    while True:
        first_unseen = lake.next_batch()
        due = [item for item in _due(lake, found, rules) if is_mine(item) and (item.path, item.file_id) not in done]
        if not due:
            return

        def say(text: str, left: int = len(due)) -> None:
            tell(left, text)

        items = _next_batch(due, lake.dead_attempts(), study.ingest.max_attempts)
        batch, verdicts, counts = _take_in(settings, study, lake, found, items, first_unseen, rules, say)
        damaged = [item for item in items if not lake.has(item.file_id)]
        done.update((item.path, item.file_id) for item in [*verdicts, *damaged])
        if batch is not None:
            yield batch, verdicts, counts


def pending(settings: Settings, study: Study) -> list[Held]:
    """What waits: files that the next run would decide about, and what it would leave, with the reason. Writes nothing
    but the throw-away memory of hashes."""
    ready, held = _ready(settings, study)
    return [Held(item.path, "waits for the next run") for item in ready] + held + _bytes_lost(Lake(settings))


def pending_fingerprint(settings: Settings, study: Study) -> str | None:
    """sha256 over what the next run would decide about; None where there is nothing."""
    ready, _ = _ready(settings, study)
    if not ready:
        return None
    content = sorted([item.path, item.file_id] for item in ready)
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
        item = _Item(name, digest.hexdigest(), status.st_size, 0, None)
        return _would_become(copy, item, study)


def _would_become(copy: Path, item: _Item, study: Study) -> Judgement:
    members: list[Judgement] = []

    def look(member: str, content: Iterator[bytes]) -> None:
        with tempfile.NamedTemporaryFile(dir=copy.parent) as file:
            for chunk in content:
                file.write(chunk)
            file.flush()
            own = _Item(f"{item.path}/{member}", item.file_id, file.tell(), 0, None)
            members.append(_would_become(Path(file.name), own, study))

    judged = _judge([_read(copy, item, study, look)], study, datetime.now(UTC))
    [verdict] = judged.verdicts
    kept = () if verdict.status == "rejected" else tuple(members)
    return Judgement(**asdict(verdict), faults=judged.faults.to_pandas(), members=kept)


# --- what is due ---------------------------------------------------------------------------------------------------


def _kept(
    settings: Settings, study: Study, lake: Lake, share: Share, tell: Progress, trust_memory: bool
) -> tuple[list[tuple[Arrival | Deposit, str]], list[Held]]:
    """The whole files of the landing folder with their sha256, their bytes kept."""
    arrivals, held, memory = _whole(settings, study, patience=_PATIENCE_SECONDS)
    arrivals = [arrival for arrival in arrivals if share.has(arrival.path)]

    def keep(arrival: Arrival | Deposit) -> str | Unreadable:
        sha = memory.sha(arrival) if trust_memory else None
        try:
            return sha if sha is not None and lake.has(sha) else lake.keep(chunks(arrival))
        except Unreadable as error:
            return error

    found = []
    with ThreadPoolExecutor(settings.workers) as threads:  # hashing and packing need no interpreter
        for number, (arrival, sha) in enumerate(zip(arrivals, threads.map(keep, arrivals), strict=True)):
            tell(number, len(arrivals), f"looking at {arrival.path}")
            if isinstance(sha, Unreadable):
                held.append(Held(arrival.path, str(sha)))
                continue
            memory.remember(arrival, sha)
            found.append((arrival, sha))
    memory.save()
    return found, held


def _ready(settings: Settings, study: Study) -> tuple[list[_Item], list[Held]]:
    """As `_kept` and `_due`, but nothing is kept, and fresh files are not waited for."""
    arrivals, held, memory = _whole(settings, study, patience=0)
    found = []
    for arrival in arrivals:
        try:
            sha = memory.sha(arrival) or _sha(chunks(arrival))
        except Unreadable as error:
            held.append(Held(arrival.path, str(error)))
            continue
        memory.remember(arrival, sha)
        found.append((arrival, sha))
    memory.save()
    return _due(Lake(settings), found, _Rules(study)), held


def _sha(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _whole(settings: Settings, study: Study, patience: float) -> tuple[list[Arrival], list[Held], Observations]:
    """Files that have settled; the others are held."""
    memory = Observations(settings.build / "landing.json")
    return *whole(settings.landing_place, memory, study.landing.settle_seconds, patience), memory


_Found = Sequence[tuple["Arrival | Deposit | _Member", str]]
"""What lies in the landing folder or in an archive of it, with its sha256."""


class _Rules:
    """Hashes of the rules in force: ``all``, and those that concern a file at a path."""

    def __init__(self, study: Study):
        self.all = rules_hash(study)
        self._study, self._by_sources = study, {}

    def own(self, path: str) -> str:
        sources = tuple(source.name for source in layouts.declared(path, self._study))
        if sources not in self._by_sources:
            self._by_sources[sources] = rules_hash(self._study, path)
        return self._by_sources[sources]


def _due(lake: Lake, found: _Found, rules: _Rules) -> list[_Item]:
    """What is to be decided, by path: new deliveries, then files to be judged again."""
    rows = list(lake.deliveries().itertuples())
    verdicts = {row.file_id: row for row in rows if row.status != "duplicate"}
    judgements = {(row.file_id, row.path): row for row in rows if row.status != "duplicate"}
    received: dict[tuple[str, str], datetime] = {}
    newest: dict[str, tuple[int, str]] = {}
    for row in rows:
        received.setdefault((row.file_id, row.path), row.received_at.to_pydatetime())
        newest[row.path] = max(newest.get(row.path, (0, "")), (row.sequence, row.file_id))
    last = max((row.sequence for row in rows), default=0)
    found = [*found, *_members(lake, verdicts, newest)]

    asked = lake.asked()

    def is_old(row) -> bool:
        is_whole = row.status == "loaded" and row.rows_quarantined == 0
        return (
            row.batch < asked[row.file_id]
            or row.own_rules_hash != rules.own(row.path)
            or (row.rules_hash != rules.all and not is_whole)
        )

    items = []
    for arrival, sha in found:
        if newest.get(arrival.path, (0, ""))[1] == sha:
            continue
        last += 1
        judged_here = judgements.get((sha, arrival.path))
        is_known = (sha in verdicts and verdicts[sha].status == "loaded") or (
            judged_here is not None and not is_old(judged_here)
        )
        items.append(_Item(arrival.path, sha, arrival.bytes, last, received.get((sha, arrival.path)), is_known))
    new = {(item.path, item.file_id) for item in items if not item.is_known}
    for (sha, path), row in judgements.items():
        in_force = row is verdicts[sha] or verdicts[sha].status == "rejected"
        if in_force and is_old(row) and (path, sha) not in new and lake.has(sha):
            items.append(_Item(path, sha, row.bytes, row.sequence, received[sha, path]))
    return items


def _bytes_lost(lake: Lake) -> list[Held]:
    """Files that count as they were judged, but could not be judged again."""
    ledger = lake.ledger()
    reason = "its kept bytes are damaged or gone; it counts as it was judged. Deliver the same file again."
    return [Held(row.path, reason) for row in ledger.itertuples() if not lake.has(row.file_id)]


@dataclass(frozen=True)
class _Member:
    """A file of an archive, which arrives when the archive is taken in and lies below its path."""

    path: str
    bytes: int


def _members(lake: Lake, verdicts: dict, newest: dict[str, tuple[int, str]]) -> list[tuple[_Member, str]]:
    """What the archives that now lie at their paths hold, with the sha256 of each member."""
    return [
        (_Member(f"{path}/{name}", size), member)
        for path, (_, sha) in newest.items()
        if sha in verdicts and verdicts[sha].status == "loaded" and verdicts[sha].layout == ARCHIVE
        for name, size, member in lake.members(sha)
    ]


def _next_batch(due: list[_Item], dead: dict[str, int], max_attempts: int) -> list[_Item]:
    """The next files within the bounds; those that were open in too many dead runs come last, each alone."""
    healthy = [item for item in due if dead.get(item.file_id, 0) < max_attempts]
    if not healthy:
        return due[:1]
    batch, size = [], 0
    for item in healthy[:MAX_FILES]:
        if batch and size + item.bytes > MAX_BYTES:
            break
        batch.append(item)
        size += 0 if item.is_known else item.bytes
    return batch


# --- one batch -----------------------------------------------------------------------------------------------------


def _take_in(
    settings: Settings,
    study: Study,
    lake: Lake,
    found: _Found,
    items: list[_Item],
    first_unseen: int,
    rules: _Rules,
    say: Callable[[str], None],
) -> tuple[int | None, list[Verdict], dict[str, Counts]]:
    """Judge a batch and commit it under the number that is returned; None where there was nothing to commit.

    Files beyond the bound of rows, and copies of a file that is refused, stay due.

    Args:
        first_unseen: number of the first batch that was not there yet when it was found what is due.
    """
    parcel, now = lake.new_parcel(), datetime.now(UTC)
    try:
        opened = _open(settings, study, lake, [item for item in items if not item.is_known], say)
        lake.attempt(sorted({file.item.file_id for file in opened if not file.refusal}))
        say(f"validating {sum(file.rows for file in opened)} rows")
        judged = _judge(opened, study, now)
        received = {file.item.file_id: file.item.received_at or now for file in opened}
        del opened
        decided: list[tuple[Verdict, _Item]] = []

        def settle(batch: int) -> list[dict]:
            keys = {(item.path, item.file_id) for item in items}
            due = items
            if batch != first_unseen:  # others have committed since
                due = [item for item in _due(lake, found, rules) if (item.path, item.file_id) in keys]
            decided[:] = _decided(judged.verdicts, due)
            taken_over = _taken_over(lake, found, decided, first_unseen) if batch != first_unseen else []
            return [_ledger_row(verdict, item, rules, now) for verdict, item in [*decided, *taken_over]]

        if not settle(first_unseen):  # the kept bytes of every file were damaged
            lake.attempted(set())
            return None, [], {}
        counts = _counts(judged)
        say("writing")
        records = {record: _lake_rows(record, judged.records[record], parcel, received) for record in judged.records}
        number = lake.commit(parcel, records, judged.faults, judged.results, settle)
    except BaseException as error:
        if isinstance(error, OSError) or not isinstance(error, Exception):
            lake.attempted(set())  # no fault of the files: the disk is full, a server down, or somebody stopped the run
        raise  # otherwise the note of what was open stays, and the next run counts it
    if number is None:
        return None, [], {}
    datadocs.keep(settings, number, judged.documents)
    return number, [verdict for verdict, _ in decided], counts


def _decided(verdicts: list[Verdict], due: list[_Item]) -> list[tuple[Verdict, _Item]]:
    """What can be said now about the items that are due: the verdicts on what was read, and which are copies."""
    read = {(verdict.path, verdict.file_id): verdict for verdict in verdicts}
    decided = []
    for item in due:
        verdict = read.get((item.path, item.file_id))
        if verdict and not item.is_known:
            decided.append((verdict, item))
    loaded = {verdict.file_id for verdict, _ in decided if verdict.status == "loaded"}
    judged = {(item.path, item.file_id) for _, item in decided}
    return decided + [
        (Verdict(item.path, item.file_id, "duplicate"), item)
        for item in due
        if (item.path, item.file_id) not in judged and (item.is_known or item.file_id in loaded)
    ]


def _taken_over(
    lake: Lake, found: _Found, decided: list[tuple[Verdict, _Item]], first_unseen: int
) -> list[tuple[Verdict, _Item]]:
    """Deliveries to be repeated behind ours: another process has committed what came to the path after we had looked,
    and ours, though it is committed later, was there before."""
    rows = lake.deliveries()
    newest = rows.sort_values("sequence").drop_duplicates("path", keep="last").set_index("path")
    last = max([int(rows["sequence"].max()), *(item.sequence for _, item in decided)])
    arrivals = {(arrival.path, sha): arrival for arrival, sha in found if not isinstance(arrival, _Member)}
    repeated = []
    for _, item in decided:
        arrival = arrivals.get((item.path, item.file_id))
        if arrival is None or item.path not in newest.index or lies_there(arrival):
            continue
        row = newest.loc[item.path]
        if row["batch"] >= first_unseen and row["file_id"] != item.file_id:
            last += 1
            again = _Item(item.path, row["file_id"], int(row["bytes"]), last, row["received_at"].to_pydatetime())
            repeated.append((Verdict(item.path, row["file_id"], "duplicate"), again))
    return repeated


def _open(
    settings: Settings, study: Study, lake: Lake, items: list[_Item], say: Callable[[str], None]
) -> list[_Opened]:
    """Read files, each from a private copy and noted before it is opened, until there are rows enough."""
    dead, opened = lake.dead_attempts(), []
    readable: set[str] = set()
    rows = 0
    with tempfile.TemporaryDirectory(prefix="reading-", dir=settings.build) as folder:
        for item in items:
            if rows >= MAX_ROWS:
                break
            if item.file_id in readable:
                continue
            say(item.path)
            if dead.get(item.file_id, 0) > study.ingest.max_attempts:
                poison = (
                    f"{item.path}: {dead[item.file_id]} runs failed while it was open, the last with it alone."
                    f" Have the file looked at, then: sher2 reprocess {item.file_id[:12]}"
                )
                opened.append(_Opened(item, [], ("poison", poison)))
                continue
            lake.attempt([item.file_id])
            if (copy := lake.copy(item.file_id, Path(folder))) is None:
                continue
            listed: list[tuple[str, int, str]] = []
            opened.append(_read(copy, item, study, partial(_keep_member, lake, listed)))
            rows += opened[-1].rows
            if opened[-1].members:
                lake.list_members(item.file_id, listed)
            copy.unlink()
            if not opened[-1].refusal:
                readable.add(item.file_id)
    return opened


def _keep_member(lake: Lake, listed: list[tuple[str, int, str]], name: str, content: Iterator[bytes]) -> None:
    """Keep the bytes of a member and list it with their number and sha256."""
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in content:
            size += len(chunk)
            yield chunk

    sha = lake.keep(counted())
    listed.append((name, size, sha))


def _read(copy: Path, item: _Item, study: Study, take: Callable[[str, Iterator[bytes]], None]) -> _Opened:
    """``take`` is given the members of an archive, one by one."""
    if item.bytes == 0:
        return _Opened(item, [], ("empty", f"{item.path}: holds no bytes. Deliver it again, whole."))
    try:
        if (members := exports.members(copy, item.path, study)) is not None:
            return _Opened(item, [], members=sum(take(*member) is None for member in members))
        return _Opened(item, exports.read(copy, item.path, study))
    except exports.Rejected as refusal:
        return _Opened(item, [], (refusal.rule, refusal.message))
    except MemoryError:
        raise
    except Exception as error:  # a reader's fault must not keep other files out; a mended reader judges the file again
        reason = f"{item.path}: the reader failed on it ({type(error).__name__}). Report it; its bytes are kept."
        return _Opened(item, [], ("reader_error", reason))


def _judge(opened: list[_Opened], study: Study, now: datetime) -> _Judged:
    """Validate the rows of all files together, one validation a record, and say what becomes of each file."""
    parts: dict[str, list[tuple[_Item, exports.Sheet]]] = {}
    for file in opened:
        for sheet in file.sheets:
            parts.setdefault(sheet.record, []).append((file.item, sheet))
    validations = {}
    for record, sheets in sorted(parts.items()):
        by_file: dict[_Item, list[exports.Sheet]] = {}
        for item, sheet in sheets:
            by_file.setdefault(item, []).append(sheet)
        origins = {item.file_id: _origin(item, own, now) for item, own in by_file.items()}
        validations[record] = validate(record, _Stack(sheets), study, origins)
    critical = {key: value for validation in validations.values() for key, value in validation.rejections.items()}
    records: dict[str, list[_Rows]] = {}
    rows: dict[str, list[_Rows]] = defaultdict(list)
    for record, sheets in parts.items():
        start = 0
        for item, sheet in sheets:
            rejected_by = validations[record].rejected_by.slice(start, sheet.table.num_rows)
            start += sheet.table.num_rows
            if item.file_id not in critical:
                own = _Rows(item.file_id, sheet.table, rejected_by)
                records.setdefault(record, []).append(own)
                rows[item.file_id].append(own)
    faults = pa.concat_tables([FAULT_SCHEMA.empty_table(), *(item.row_faults for item in validations.values())])
    return _Judged(
        verdicts=[_verdict(file, critical.get(file.item.file_id), rows[file.item.file_id]) for file in opened],
        records=records,
        faults=faults.filter(pc.invert(pc.is_in(faults["file_id"], pa.array(list(critical), pa.string())))),
        results=pa.concat_tables([RESULT_SCHEMA.empty_table(), *(item.results for item in validations.values())]),
        documents=[document for validation in validations.values() for document in validation.documents],
    )


def _verdict(file: _Opened, critical: tuple[str, str] | None, own: list[_Rows]) -> Verdict:
    item = file.item
    verdict = Verdict(
        item.path,
        item.file_id,
        "rejected",
        source=", ".join(sorted({sheet.source for sheet in file.sheets})) or None,
        layout=", ".join(sorted({sheet.layout for sheet in file.sheets})) or None,
        exported_on=max((sheet.exported_on for sheet in file.sheets if sheet.exported_on), default=None),
    )
    if refusal := file.refusal or critical:
        return replace(verdict, reason=": ".join(refusal))
    if file.members:
        return replace(verdict, status="loaded", layout=ARCHIVE, reason=f"archive of {file.members:,} files")
    read, accepted = sum(rows.table.num_rows for rows in own), sum(rows.accepted for rows in own)
    notes = [sheet.note for sheet in file.sheets if sheet.note]
    return replace(
        verdict,
        status="loaded",
        reason="; ".join(notes if read else ["no rows", *notes]) or None,
        rows_read=read,
        rows_accepted=accepted,
        rows_quarantined=read - accepted,
    )


def _origin(item: _Item, sheets: list[exports.Sheet], now: datetime) -> Origin:
    """``sheets``: those of one record in the file."""
    return Origin(
        item.path,
        sheets[0].headings,
        (item.received_at or now).date(),
        sheets[0].rows_stand_alone,
        tuple(Part(sheet.part, sheet.rows_before, sheet.headings) for sheet in sheets),
    )


def _constant(text: str, rows: int) -> pa.Array:
    """A column of one text, at four bytes a row."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text], pa.string()))


def _counts(judged: _Judged) -> dict[str, Counts]:
    counts = {}
    for record, parts in judged.records.items():
        read, accepted = sum(rows.table.num_rows for rows in parts), sum(rows.accepted for rows in parts)
        counts[record] = Counts(read, accepted, read - accepted)
    return counts


def _lake_rows(record: str, parts: list[_Rows], parcel: int, received: dict[str, datetime]) -> Iterator[pa.Table]:
    """The rows of a record as the lake keeps them, in pieces."""
    schema = record_schema(record)
    for part in parts:
        start = 0
        for table in pieces(part.table):
            count = table.num_rows
            meta = {
                "_file_id": pa.repeat(pa.scalar(part.file_id), count),
                "_row_number": table["_row_number"],
                "_batch": pa.repeat(pa.scalar(parcel, pa.int64()), count),
                "_received_at": pa.repeat(pa.scalar(received[part.file_id], schema.field("_received_at").type), count),
                "_rejected_by": part.rejected_by.slice(start, count),
                "_source": table["_source"],
            }
            start += count
            columns = [meta[name] for name in META_COLUMNS] + [table[name] for name in RECORDS[record].column_names]
            yield pa.table(columns, schema.names)


def _ledger_row(verdict: Verdict, item: _Item, rules: _Rules, now: datetime) -> dict:
    own = {name: value for name, value in asdict(verdict).items() if name in LEDGER_SCHEMA.names}
    return own | {
        "bytes": item.bytes,
        "received_at": item.received_at or now,
        "rules_hash": rules.all,
        "own_rules_hash": rules.own(item.path),
        "sequence": item.sequence,
    }
