"""One batch of files: opened, judged together, and committed to the lake.

What bytes mean is `exports`', what is allowed is `validation`'s, what counts is `lake`'s, which files are due is
`due`'s.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from orchestration import datadocs, exports
from orchestration.due import ARCHIVE, Found, Item, Member, Rules, find_due
from orchestration.exports.records import META_COLUMNS, RECORDS
from orchestration.exports.spill import Spilled, pieces
from orchestration.findings import FAULT_SCHEMA
from orchestration.judged import Origin, Part
from orchestration.lake import LEDGER_SCHEMA, Lake, record_schema
from orchestration.landing import lies_there
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.validation import RESULT_SCHEMA, validate

pa.set_memory_pool(pa.system_memory_pool())  # its default gives pages back and fetches them again: a tenth of the CPU

MAX_ROWS = 500_000
"""A batch ends with the file that reaches it: rows bound the memory."""


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


@dataclass(frozen=True)
class Opened:
    """One file, read: its sheets, the number of members of an archive, or the rule and message of a refusal."""

    item: Item
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

    def __init__(self, sheets: list[tuple[Item, exports.Sheet]]):
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


def take_in(
    settings: Settings,
    study: Study,
    lake: Lake,
    found: Found,
    items: list[Item],
    first_unseen: int,
    rules: Rules,
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
        judged = judge(opened, study, now)
        received = {file.item.file_id: file.item.received_at or now for file in opened}
        del opened
        decided: list[tuple[Verdict, Item]] = []

        def settle(batch: int) -> list[dict]:
            keys = {(item.path, item.file_id) for item in items}
            due = items
            if batch != first_unseen:  # others have committed since
                due = [item for item in find_due(lake, found, rules) if (item.path, item.file_id) in keys]
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


def _decided(verdicts: list[Verdict], due: list[Item]) -> list[tuple[Verdict, Item]]:
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
    lake: Lake, found: Found, decided: list[tuple[Verdict, Item]], first_unseen: int
) -> list[tuple[Verdict, Item]]:
    """Deliveries to be repeated behind ours: another process has committed what came to the path after we had looked,
    and ours, though it is committed later, was there before."""
    rows = lake.deliveries()
    newest = rows.sort_values("sequence").drop_duplicates("path", keep="last").set_index("path")
    last = max([int(rows["sequence"].max()), *(item.sequence for _, item in decided)])
    arrivals = {(arrival.path, sha): arrival for arrival, sha in found if not isinstance(arrival, Member)}
    repeated = []
    for _, item in decided:
        arrival = arrivals.get((item.path, item.file_id))
        if arrival is None or item.path not in newest.index or lies_there(arrival):
            continue
        row = newest.loc[item.path]
        if row["batch"] >= first_unseen and row["file_id"] != item.file_id:
            last += 1
            again = Item(item.path, row["file_id"], int(row["bytes"]), last, row["received_at"].to_pydatetime())
            repeated.append((Verdict(item.path, row["file_id"], "duplicate"), again))
    return repeated


def _open(settings: Settings, study: Study, lake: Lake, items: list[Item], say: Callable[[str], None]) -> list[Opened]:
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
                opened.append(Opened(item, [], ("poison", poison)))
                continue
            lake.attempt([item.file_id])
            if (copy := lake.copy(item.file_id, Path(folder))) is None:
                continue
            listed: list[tuple[str, int, str]] = []
            opened.append(read(copy, item, study, partial(_keep_member, lake, listed)))
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


def read(copy: Path, item: Item, study: Study, take: Callable[[str, Iterator[bytes]], None]) -> Opened:
    """``take`` is given the members of an archive, one by one."""
    if item.bytes == 0:
        return Opened(item, [], ("empty", f"{item.path}: holds no bytes. Deliver it again, whole."))
    try:
        if (members := exports.members(copy, item.path, study)) is not None:
            return Opened(item, [], members=sum(take(*member) is None for member in members))
        return Opened(item, exports.read(copy, item.path, study))
    except exports.Rejected as refusal:
        return Opened(item, [], (refusal.rule, refusal.message))
    except MemoryError:
        raise
    except Exception as error:  # a reader's fault must not keep other files out; a mended reader judges the file again
        reason = f"{item.path}: the reader failed on it ({type(error).__name__}). Report it; its bytes are kept."
        return Opened(item, [], ("reader_error", reason))


def judge(opened: list[Opened], study: Study, now: datetime) -> _Judged:
    """Validate the rows of all files together, one validation a record, and say what becomes of each file."""
    parts: dict[str, list[tuple[Item, exports.Sheet]]] = {}
    for file in opened:
        for sheet in file.sheets:
            parts.setdefault(sheet.record, []).append((file.item, sheet))
    validations = {}
    for record, sheets in sorted(parts.items()):
        by_file: dict[Item, list[exports.Sheet]] = {}
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


def _verdict(file: Opened, critical: tuple[str, str] | None, own: list[_Rows]) -> Verdict:
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


def _origin(item: Item, sheets: list[exports.Sheet], now: datetime) -> Origin:
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


def _ledger_row(verdict: Verdict, item: Item, rules: Rules, now: datetime) -> dict:
    own = {name: value for name, value in asdict(verdict).items() if name in LEDGER_SCHEMA.names}
    return own | {
        "bytes": item.bytes,
        "received_at": item.received_at or now,
        "rules_hash": rules.all,
        "own_rules_hash": rules.own(item.path),
        "sequence": item.sequence,
    }
