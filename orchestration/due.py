"""What is to be decided about: the whole files of the landing folder, held against what the ledger says of them.

Which files are whole is `landing`'s; what becomes of those that are due is `batches`'.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from orchestration.errors import UserError
from orchestration.exports import layouts
from orchestration.lake import Lake
from orchestration.landing import Arrival, Deposit, Held, Observations, Unreadable, chunks, whole
from orchestration.rules import rules_hash
from orchestration.settings import Settings
from orchestration.study import Study

MAX_FILES = 2_000
MAX_BYTES = 256 << 20
"""Bounds of one batch, which ends with the file that reaches one of them."""

ARCHIVE = "archive"
"""The layout of a file that is no table itself: each of its members is taken in as a file of its own."""

_PATIENCE_SECONDS = 2.0
"""A run waits so long for fresh files to settle, rather than ask for another run."""

Progress = Callable[[int, int, str], None]
"""Is told of files done, files in all, and what is being done."""


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


@dataclass(frozen=True)
class Item:
    """One file to decide about at one path; ``is_known``: its bytes are loaded, only the delivery is new."""

    path: str
    file_id: str
    bytes: int
    sequence: int
    received_at: datetime | None
    is_known: bool = False


def keep_arrivals(
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


def ready(settings: Settings, study: Study) -> tuple[list[Item], list[Held]]:
    """As `keep_arrivals` and `find_due`, but nothing is kept, and fresh files are not waited for."""
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
    return find_due(Lake(settings), found, Rules(study)), held


def _sha(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _whole(settings: Settings, study: Study, patience: float) -> tuple[list[Arrival], list[Held], Observations]:
    """Files that have settled; the others are held."""
    memory = Observations(settings.build / "landing.json")
    return *whole(settings.landing_place, memory, study.landing.settle_seconds, patience), memory


Found = Sequence[tuple["Arrival | Deposit | Member", str]]
"""What lies in the landing folder or in an archive of it, with its sha256."""


class Rules:
    """Hashes of the rules in force: ``all``, and those that concern a file at a path."""

    def __init__(self, study: Study):
        self.all = rules_hash(study)
        self._study, self._by_sources = study, {}

    def own(self, path: str) -> str:
        sources = tuple(source.name for source in layouts.declared(path, self._study))
        if sources not in self._by_sources:
            self._by_sources[sources] = rules_hash(self._study, path)
        return self._by_sources[sources]


def find_due(lake: Lake, found: Found, rules: Rules) -> list[Item]:
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
        items.append(Item(arrival.path, sha, arrival.bytes, last, received.get((sha, arrival.path)), is_known))
    new = {(item.path, item.file_id) for item in items if not item.is_known}
    for (sha, path), row in judgements.items():
        in_force = row is verdicts[sha] or verdicts[sha].status == "rejected"
        if in_force and is_old(row) and (path, sha) not in new and lake.has(sha):
            items.append(Item(path, sha, row.bytes, row.sequence, received[sha, path]))
    return items


def bytes_lost(lake: Lake) -> list[Held]:
    """Files that count as they were judged, but could not be judged again."""
    ledger = lake.ledger()
    reason = "its kept bytes are damaged or gone; it counts as it was judged. Deliver the same file again."
    return [Held(row.path, reason) for row in ledger.itertuples() if not lake.has(row.file_id)]


@dataclass(frozen=True)
class Member:
    """A file of an archive, which arrives when the archive is taken in and lies below its path."""

    path: str
    bytes: int


def _members(lake: Lake, verdicts: dict, newest: dict[str, tuple[int, str]]) -> list[tuple[Member, str]]:
    """What the archives that now lie at their paths hold, with the sha256 of each member."""
    return [
        (Member(f"{path}/{name}", size), member)
        for path, (_, sha) in newest.items()
        if sha in verdicts and verdicts[sha].status == "loaded" and verdicts[sha].layout == ARCHIVE
        for name, size, member in lake.members(sha)
    ]


def next_batch(due: list[Item], dead: dict[str, int], max_attempts: int) -> list[Item]:
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
