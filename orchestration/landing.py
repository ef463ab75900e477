"""What lies in the landing folder, or in the bucket that stands for it: which files are exports, whole and readable.

Nothing there is ever changed. What a file's bytes mean, and whether they are known already, is decided elsewhere.
"""

import io
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath

from orchestration.storage import Bucket

_IGNORED_PREFIXES = (".", "~")
_IGNORED_SUFFIXES = (".tmp", ".part", ".filepart", ".crdownload", ".done")
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_LINE_SUFFIXES = (*_TABLE_SUFFIXES, ".hl7")
_CHUNK_BYTES = 1 << 20
_RACY_NS = 2_000_000_000
"""A file changed twice within the clock tick of its file system looks unchanged: its hash is kept only later."""

_CLOCK_SECONDS = 0.02
"""Times of files are those of the kernel's last tick, a little behind the clock."""

UNENDED_SECONDS = 10
"""A file of lines whose last one is not ended may be cut: it counts as whole once it has not changed for so long."""


@dataclass(frozen=True)
class Arrival:
    """A regular file. ``path`` is relative to the landing folder and printable; ``file`` is how to open it."""

    path: str
    file: Path
    bytes: int
    mtime_ns: int
    ctime_ns: int  # unlike mtime, nobody can set it: it tells a change that kept size and mtime
    inode: int

    @classmethod
    def of(cls, path: str, file: Path, status: os.stat_result) -> "Arrival":
        return cls(path, file, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @property
    def state(self) -> tuple[int, int, int, int]:
        return self.bytes, self.mtime_ns, self.ctime_ns, self.inode

    def told(self) -> dict:
        """As JSON says it."""
        return asdict(self) | {"file": str(self.file)}

    @property
    def is_declared_whole(self) -> bool:
        """Whether its sender says so."""
        return self.file.with_name(self.file.name + ".done").exists()


@dataclass(frozen=True)
class Deposit:
    """An object of a bucket: one is seen only when it was uploaded whole, and ``etag`` tells its states apart."""

    path: str
    name: str
    bytes: int
    etag: str
    mtime_ns: int
    is_declared_whole: bool
    bucket: Bucket = field(compare=False, repr=False)

    @property
    def ctime_ns(self) -> int:
        return self.mtime_ns

    @property
    def state(self) -> tuple[int, str]:
        return self.bytes, self.etag

    def told(self) -> dict:
        """As JSON says it; the bucket is that of the place."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.compare}


def as_told(told: dict, place: Path | Bucket) -> Arrival | Deposit:
    """What another process has found in the landing place."""
    if isinstance(place, Bucket):
        return Deposit(**told, bucket=place)
    return Arrival(**told | {"file": Path(told["file"])})


@dataclass(frozen=True)
class Held:
    """Something in the landing folder that stays there for now, and why."""

    path: str
    reason: str


class Unreadable(Exception):
    """The file cannot be taken in now; its text says why and the mend."""


def scan(place: Path | Bucket) -> tuple[list[Arrival | Deposit], list[Held]]:
    """Every export of the landing folder by path, and what looks like one but cannot be taken."""
    arrivals: list[Arrival | Deposit] = []
    held: list[Held] = []
    if isinstance(place, Bucket):
        arrivals += _deposits(place)
    else:
        _walk(place, "", arrivals, held)
    return sorted(arrivals, key=lambda item: item.path), sorted(held, key=lambda item: item.path)


def _deposits(bucket: Bucket) -> Iterator[Deposit]:
    objects = bucket.objects()
    for name, item in objects.items():
        if not name.endswith("/") and not any(_is_ignored(part) for part in name.split("/")):
            path = name.encode("utf-8", "backslashreplace").decode()
            yield Deposit(
                path, name, item.bytes, item.etag, int(item.modified * 1e9), f"{name}.done" in objects, bucket
            )


def _is_ignored(name: str) -> bool:
    return name.startswith(_IGNORED_PREFIXES) or name.lower().endswith(_IGNORED_SUFFIXES)


def _walk(folder: Path, prefix: str, arrivals: list[Arrival], held: list[Held]) -> None:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        name = prefix.rstrip("/") or "."
        held.append(Held(name, f"the folder cannot be read ({error.strerror}). Mend its permissions."))
        return
    for entry in entries:
        path = prefix + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
        if _is_ignored(entry.name):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(status.st_mode):
            if PurePosixPath(path).suffix.lower() in _TABLE_SUFFIXES:
                held.append(Held(path, "is a folder; what lies in it is taken. Deliver the export as a file."))
            _walk(Path(entry.path), path + "/", arrivals, held)
        elif stat.S_ISREG(status.st_mode):
            arrivals.append(Arrival.of(path, Path(entry.path), status))
        else:
            kind = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
            held.append(Held(path, f"is {kind}. Deliver the file itself."))


def whole(
    place: Path | Bucket, memory: "Observations", settle_seconds: float, patience_seconds: float
) -> tuple[list[Arrival | Deposit], list[Held]]:
    """The exports of the landing folder that are whole, by path, and what is not or cannot be taken.

    Args:
        patience_seconds: wait so long for files that will then be whole, unless they go on changing.
    """
    deadline, given_up = time.monotonic() + patience_seconds, set()
    while True:
        arrivals, held = scan(place)
        missing = {item: memory.unsettled_seconds(item, settle_seconds) for item in arrivals}
        left = deadline - time.monotonic()
        pauses = [pause for item, pause in missing.items() if 0 < pause <= left and item.path not in given_up]
        if not pauses:
            break
        given_up |= {item.path for item, pause in missing.items() if pause > 0 and pause <= max(pauses)}
        time.sleep(max(pauses) + _CLOCK_SECONDS)
    reason = "is still being written, or has just been; it is looked at again at the next run."
    waiting = [Held(item.path, reason) for item, pause in missing.items() if pause > 0]
    return [item for item, pause in missing.items() if pause == 0], sorted(
        [*held, *waiting], key=lambda item: item.path
    )


def chunks(arrival: Arrival | Deposit) -> Iterator[bytes]:
    """The bytes of a file, proven to be one state of it: nothing changed from the scan to the last byte.

    Raises:
        Unreadable: it is gone, may not be read, is no regular file any more, or changed meanwhile.
    """
    if isinstance(arrival, Deposit):
        yield from _chunks_of_deposit(arrival)
        return
    try:
        with _opened(arrival) as file:
            _same(arrival, os.fstat(file.fileno()))
            left = arrival.bytes
            while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):  # a growing file might never end
                left -= len(chunk)
                yield chunk
            _same(arrival, os.fstat(file.fileno()))
        _same(arrival, os.lstat(arrival.file))
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror}). Mend its permissions or deliver it again.") from None


def _chunks_of_deposit(deposit: Deposit) -> Iterator[bytes]:
    try:
        yield from deposit.bucket.chunks(deposit.name, deposit.etag)
    except FileNotFoundError:
        raise Unreadable("changed while it was read; it is tried again at the next run.") from None


def lies_there(arrival: Arrival | Deposit) -> bool:
    """Whether the very state that was found still lies at its path."""
    if isinstance(arrival, Deposit):
        found = arrival.bucket.objects(arrival.name).get(arrival.name)
        return found is not None and found.etag == arrival.etag
    try:
        _same(arrival, os.lstat(arrival.file))
    except (OSError, Unreadable):
        return False
    return True


def _opened(arrival: Arrival) -> io.FileIO:
    """Whatever lies there by now: no link is followed and no pipe waited for."""
    return open(os.open(arrival.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def _same(arrival: Arrival, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or Arrival.of(arrival.path, arrival.file, status) != arrival:
        raise Unreadable("changed while it was read; it is tried again at the next run.")


def _is_unended(arrival: Arrival | Deposit) -> bool:
    """Whether a file of lines ends in the middle of one, as far as can be seen."""
    if isinstance(arrival, Deposit) or not arrival.path.lower().endswith(_LINE_SUFFIXES):
        return False
    try:
        with _opened(arrival) as file:
            file.seek(max(arrival.bytes - 2, 0))
            return not file.read(2).rstrip(b"\0").endswith((b"\n", b"\r"))  # UTF-16 ends in a zero byte
    except OSError:
        return False  # reading will say what is wrong with it


class Observations:
    """A throw-away memory of unchanged files: when their state was first seen, and the sha256 of their bytes.

    Never needed to be right: without it files are hashed again, and wait once more until they have settled.
    """

    def __init__(self, file: Path):
        self._file = file
        try:
            known = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            known = None
        self._known: dict = known if isinstance(known, dict) else {}
        self._seen: dict[str, dict] = {}

    def unsettled_seconds(self, arrival: Arrival | Deposit, settle_seconds: float) -> float:
        """How long until a file that does not change any more counts as whole; 0 when it does.

        It is whole once it has not changed for so long and its last line is ended, or when its sender says so.
        """
        now = time.time()
        first_seen = min(self._recall(arrival, "first_seen") or now, now)
        sha = self._recall(arrival, "sha")
        self._seen[arrival.path] = {"state": list(arrival.state), "first_seen": first_seen, "sha": sha}
        unchanged = now - min(first_seen, arrival.mtime_ns / 1e9)
        if unchanged < max(settle_seconds, UNENDED_SECONDS) and _is_unended(arrival):
            settle_seconds = max(settle_seconds, UNENDED_SECONDS)
        if unchanged >= settle_seconds or arrival.is_declared_whole:
            return 0
        return settle_seconds - unchanged

    def sha(self, arrival: Arrival | Deposit) -> str | None:
        return self._recall(arrival, "sha")

    def remember(self, arrival: Arrival | Deposit, sha: str) -> None:
        if time.time_ns() - max(arrival.mtime_ns, arrival.ctime_ns) > _RACY_NS:
            self._seen[arrival.path]["sha"] = sha

    def _recall(self, arrival: Arrival | Deposit, what: str):
        known = self._seen.get(arrival.path) or self._known.get(arrival.path)
        if not isinstance(known, dict) or known.get("state") != list(arrival.state):
            return None
        return known.get(what)

    def save(self) -> None:
        """Keeps what was seen this time; the rest is gone from the landing folder."""
        temporary = self._file.with_name(f"{self._file.name}.{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._seen), "utf-8")
            os.replace(temporary, self._file)
        except OSError:  # a home that may only be read, or a full disk: nothing rests on this memory
            temporary.unlink(missing_ok=True)
