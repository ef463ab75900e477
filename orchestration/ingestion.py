"""Everything pending, from the landing folder into the lake: find, batch, read, validate, commit.

Which files are whole is `landing`'s, what bytes mean is `exports`', what is allowed is `validation`'s, what counts is
`lake`'s. Here they are put together, so that running again is always safe and running twice changes nothing. The
caller holds the writer lock of the home.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestration import exports
from orchestration.exports.records import META_COLUMNS, RECORDS
from orchestration.lake import LEDGER_SCHEMA, Lake, record_schema
from orchestration.landing import Arrival, Held, Observations, Unreadable, chunks, scan
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.validation import FAULT_SCHEMA, RESULT_SCHEMA, Origin, rules_hash, validate

MAX_FILES = 2_000
MAX_BYTES = 256 << 20
MAX_ROWS = 500_000
"""Bounds of one batch. A batch ends with the file that reaches one of them; rows bound the memory."""

_PATIENCE_SECONDS = 2.0
"""A run waits so long for fresh files to settle, rather than ask for another run."""

_DOCUMENTS = "validation"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Verdict:
    """What became of one file. ``faults``: the rows of FAULT_SCHEMA that it caused."""

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
    faults: pd.DataFrame = field(default_factory=lambda: FAULT_SCHEMA.empty_table().to_pandas(), repr=False, compare=False)


@dataclass
class Counts:
    """Rows of one record in the files that were loaded."""

    rows_read: int = 0
    rows_accepted: int = 0
    rows_quarantined: int = 0


@dataclass
class Ingested:
    """What a run took in: verdicts by file, what it left in the landing folder, rows by record."""

    files: list[Verdict] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    records: dict[str, Counts] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Item:
    """One file to decide about at one path; ``is_known``: its bytes are loaded, only the delivery is new."""

    path: str
    file_id: str
    bytes: int
    sequence: int
    received_at: datetime | None
    is_known: bool = False


@dataclass
class _Judged:
    """Files of one batch, judged but not committed."""

    verdicts: list[Verdict]
    records: dict[str, list[tuple[str, pa.Table, pa.ChunkedArray]]]  # record: (file id, rows, rejected_by) of loaded files
    faults: pa.Table
    results: pa.Table
    documents: list[dict]


# --- the whole way ------------------------------------------------------------------------------------------------------


def ingest(settings: Settings, study: Study, progress: Progress | None = None, trust_memory: bool = True) -> Ingested:
    """Take in every whole file of the landing folder, and judge again what the rules or a user ask for.

    Args:
        progress: called with (files done, files in all, text).
        trust_memory: take files whose size, time and inode have not changed for unchanged; otherwise hash them all.
    """
    started = time.monotonic()
    tell = progress or (lambda done, total, text: None)
    settings.prepare()
    lake = Lake(settings)
    lake.prepare()
    for leftover in settings.build.glob("reading-*"):
        shutil.rmtree(leftover)
    found, held = _kept(settings, study, lake, tell, trust_memory)
    result = Ingested(held=held)
    rules = rules_hash(study)
    done: set[tuple[str, str]] = set()
    while due := [item for item in _due(lake, found, rules) if (item.path, item.file_id) not in done]:
        batch = _next_batch(due, lake.dead_attempts(), study.ingest.max_attempts)
        verdicts, counts = _take_in(settings, study, lake, batch, rules, lambda text: tell(len(result.files), len(result.files) + len(due), text))
        done.update((item.path, item.file_id) for item in verdicts)
        result.files += verdicts
        result.batches.append(lake.next_batch() - 1)
        for record, count in counts.items():
            total = result.records.setdefault(record, Counts())
            total.rows_read += count.rows_read
            total.rows_accepted += count.rows_accepted
            total.rows_quarantined += count.rows_quarantined
        tell(len(result.files), len(result.files) + len(due) - len(verdicts), "committed")
    result.seconds = time.monotonic() - started
    return result


def pending(settings: Settings, study: Study) -> list[Held]:
    """What waits: files that the next run would decide about, and what it would leave, with the reason. Writes nothing
    but the throw-away memory of hashes."""
    ready, held = _ready(settings, study)
    return [Held(item.path, "waits for the next run") for item in ready] + held


def pending_fingerprint(settings: Settings, study: Study) -> str | None:
    """sha256 over what the next run would decide about; None where there is nothing."""
    ready, _ = _ready(settings, study)
    if not ready:
        return None
    content = sorted([item.path, item.file_id] for item in ready)
    return hashlib.sha256(json.dumps([content, rules_hash(study)]).encode()).hexdigest()


def judge_file(settings: Settings, study: Study, path: Path, name: str) -> Verdict:
    """What would become of a file, without taking it in. ``name``: its path relative to the landing folder."""
    status = path.stat()
    arrival = Arrival(name, path, status.st_size, status.st_mtime_ns, status.st_ino)
    settings.build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="checking-", dir=settings.build) as folder:
        copy, digest = Path(folder) / "copy", hashlib.sha256()
        try:
            with copy.open("wb") as file:
                for chunk in chunks(arrival):
                    digest.update(chunk)
                    file.write(chunk)
        except Unreadable as error:
            return Verdict(name, "", "rejected", f"unreadable: {name}: {error}")
        item = _Item(name, digest.hexdigest(), status.st_size, 0, None)
        return _judge([(item, _read(copy, item, study))], study).verdicts[0]


# --- what is due --------------------------------------------------------------------------------------------------------


def _kept(settings: Settings, study: Study, lake: Lake, tell: Progress, trust_memory: bool) -> tuple[list[tuple[Arrival, str]], list[Held]]:
    """The whole files of the landing folder with their sha256, their bytes kept."""
    arrivals, held, memory = _whole(settings, study, patience=_PATIENCE_SECONDS)
    found = []
    for number, arrival in enumerate(arrivals):
        tell(number, len(arrivals), f"looking at {arrival.path}")
        sha = memory.sha(arrival) if trust_memory else None
        try:
            if sha is None or not lake.has(sha):
                sha = lake.keep(chunks(arrival))
        except Unreadable as error:
            held.append(Held(arrival.path, str(error)))
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
    return _due(Lake(settings), found, rules_hash(study)), held


def _sha(parts: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _whole(settings: Settings, study: Study, patience: float) -> tuple[list[Arrival], list[Held], Observations]:
    """Files that have settled; the others are held."""
    memory = Observations(settings.build / "landing.json")
    settle = study.landing.settle_seconds
    arrivals, held = scan(settings.landing)
    fresh = {item.path: item for item in arrivals if not memory.settled(item, settle)}
    if fresh and settle <= patience:
        time.sleep(settle)
        arrivals, held = scan(settings.landing)
        fresh = {item.path: item for item in arrivals if item.path in fresh and item.state != fresh[item.path].state}
    whole = [item for item in arrivals if item.path not in fresh]
    return whole, held + [Held(path, "is still being written, or has just been; it is looked at again at the next run.") for path in fresh], memory


def _due(lake: Lake, found: list[tuple[Arrival, str]], rules: str) -> list[_Item]:
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

    def is_old(row) -> bool:
        return lake.is_due(row.file_id, row.batch) or (row.rules_hash != rules and (row.status == "rejected" or row.rows_quarantined > 0))

    items = []
    for arrival, sha in found:
        if newest.get(arrival.path, (0, ""))[1] == sha:
            continue
        last += 1
        judged_here = judgements.get((sha, arrival.path))
        is_known = (sha in verdicts and verdicts[sha].status == "loaded") or (judged_here is not None and not is_old(judged_here))
        items.append(_Item(arrival.path, sha, arrival.bytes, last, received.get((sha, arrival.path)), is_known))
    new = {(item.path, item.file_id) for item in items if not item.is_known}
    for (sha, path), row in judgements.items():
        in_force = row is verdicts[sha] or verdicts[sha].status == "rejected"
        if in_force and is_old(row) and (path, sha) not in new:
            items.append(_Item(path, sha, row.bytes, row.sequence, received[sha, path]))
    return items


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


# --- one batch ------------------------------------------------------------------------------------------------------------


def _take_in(settings: Settings, study: Study, lake: Lake, items: list[_Item], rules: str, say: Callable[[str], None]) -> tuple[list[Verdict], dict[str, Counts]]:
    """Judge a batch and commit it. Files beyond the bound of rows, and copies of a file that is refused, stay due."""
    number, now = lake.next_batch(), datetime.now(UTC)
    dead = lake.dead_attempts()
    opened: list[tuple[_Item, list[exports.Sheet] | exports.Rejected]] = []
    known: list[Verdict] = []
    rows, readable, copies = 0, set(), []
    try:
        with tempfile.TemporaryDirectory(prefix="reading-", dir=settings.build) as folder:
            for item in items:
                if item.file_id in readable:
                    copies.append(item)
                    continue
                if item.is_known:
                    known.append(Verdict(item.path, item.file_id, "duplicate"))
                    continue
                if rows >= MAX_ROWS:
                    break
                say(item.path)
                if dead.get(item.file_id, 0) > study.ingest.max_attempts:
                    content = exports.Rejected("poison", f"{item.path}: {dead[item.file_id]} runs died while it was open, the last with it alone."
                                               " Have the file looked at, then: sher2 reprocess " + item.file_id[:12])
                else:
                    lake.attempt([item.file_id])
                    copy = lake.copy(item.file_id, Path(folder))
                    content = _read(copy, item, study)
                    copy.unlink()
                opened.append((item, content))
                if not isinstance(content, exports.Rejected):
                    readable.add(item.file_id)
                    rows += sum(sheet.table.num_rows for sheet in content)
        lake.attempt(sorted(readable))
        say(f"validating {rows} rows")
        judged = _judge(opened, study)
        by_key = {(item.path, item.file_id): item for item in items}
        counts = _counts(judged)
        loaded = {verdict.file_id for verdict in judged.verdicts if verdict.status == "loaded"}
        known += [Verdict(item.path, item.file_id, "duplicate") for item in copies if item.file_id in loaded]
        verdicts = judged.verdicts + known
        received = {item.file_id: item.received_at or now for item, _ in opened}
        ledger = [_ledger_row(verdict, by_key[verdict.path, verdict.file_id], rules, now) for verdict in verdicts]
        say("writing")
        records = {record: _lake_rows(record, judged.records.pop(record), number, received) for record in list(judged.records)}
        lake.commit(number, records, judged.faults, judged.results, ledger)
    except MemoryError:
        raise  # the note of what was open stays: the next run counts it
    except BaseException:
        lake.attempted(set())
        raise
    _keep_documents(settings, number, judged.documents)
    return verdicts, counts


def _read(copy: Path, item: _Item, study: Study) -> "list[exports.Sheet] | exports.Rejected":
    if item.bytes == 0:
        return exports.Rejected("empty", f"{item.path}: holds no bytes. Deliver it again, whole.")
    try:
        return exports.read(copy, item.path, study)
    except exports.Rejected as refusal:
        return refusal
    except MemoryError:
        raise
    except Exception as error:  # a fault of a reader must not keep other files out; a mended reader judges the file again
        return exports.Rejected("reader_error", f"{item.path}: the reader failed on it ({type(error).__name__}). Report it; nothing is lost.")


def _judge(opened: list, study: Study) -> _Judged:
    """Validate the rows of all files together, one validation a record, and say what becomes of each file."""
    parts: dict[str, list[tuple[str, pa.Table]]] = {}
    origins, refused = {}, {}
    for item, content in opened:
        if isinstance(content, exports.Rejected):
            refused[item.path, item.file_id] = (content.rule, content.message)
            continue
        for sheet in content:
            parts.setdefault(sheet.record, []).append((item.file_id, sheet.table))
            origins[item.file_id] = Origin(item.path, _headings(sheet, study))
    records, faults, results, documents = {}, [], [], []
    critical: dict[str, tuple[str, str]] = {}
    for record, tables in sorted(parts.items()):
        whole = pa.concat_tables([table.append_column("_file_id", _constant(file_id, table.num_rows)) for file_id, table in tables])
        validation = validate(record, whole, study, origins)
        del whole
        critical |= validation.rejections
        faults.append(validation.row_faults)
        results.append(validation.results)
        documents += validation.documents
        start, records[record] = 0, []
        for file_id, table in tables:
            records[record].append((file_id, table, validation.rejected_by.slice(start, table.num_rows)))
            start += table.num_rows
    records = {record: [part for part in tables if part[0] not in critical] for record, tables in records.items()}
    records = {record: tables for record, tables in records.items() if tables}
    all_faults = pa.concat_tables(faults) if faults else FAULT_SCHEMA.empty_table()
    if critical:
        all_faults = all_faults.filter(pc.invert(pc.is_in(all_faults["file_id"], pa.array(sorted(critical)))))
    read, quarantined = Counter(), Counter()
    for tables in records.values():
        for file_id, table, rejected_by in tables:
            read[file_id] += table.num_rows
            quarantined[file_id] += table.num_rows - rejected_by.null_count
    by_file = dict(list(all_faults.to_pandas().groupby("file_id"))) if len(opened) == 1 else {}
    verdicts = []
    for item, content in opened:
        refusal = refused.get((item.path, item.file_id)) or critical.get(item.file_id)
        sheets = [] if isinstance(content, exports.Rejected) else content
        facts = {
            "source": ", ".join(sorted({sheet.source for sheet in sheets})) or None,
            "layout": ", ".join(sorted({sheet.layout for sheet in sheets})) or None,
            "exported_on": max((sheet.exported_on for sheet in sheets if sheet.exported_on), default=None),
        }
        if refusal:
            verdicts.append(Verdict(item.path, item.file_id, "rejected", ": ".join(refusal), **facts))
            continue
        rows, bad = read[item.file_id], quarantined[item.file_id]
        faults_here = {"faults": by_file[item.file_id]} if item.file_id in by_file else {}
        verdicts.append(Verdict(item.path, item.file_id, "loaded", None if rows else "no rows", **facts, rows_read=rows,
                                rows_accepted=rows - bad, rows_quarantined=bad, **faults_here))
    return _Judged(verdicts, records, all_faults, pa.concat_tables(results) if results else RESULT_SCHEMA.empty_table(), documents)


def _headings(sheet: "exports.Sheet", study: Study) -> dict[str, str]:
    """Where the untouched text of a canonical column stands, as far as the layout says it."""
    if sheet.layout == "site":
        return {name: name for name in RECORDS[sheet.record].column_names}
    source = next((source for source in study.sources if source.name == sheet.source), None)
    columns = source.columns if source else {}
    return {name: heading if isinstance(heading, str) else heading[0] for name, heading in columns.items()}


def _constant(text: str, rows: int) -> pa.Array:
    """A column of one text, at four bytes a row."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text], pa.string()))


def _counts(judged: _Judged) -> dict[str, Counts]:
    counts = {}
    for record, tables in judged.records.items():
        rows = sum(table.num_rows for _, table, _ in tables)
        accepted = sum(rejected_by.null_count for _, _, rejected_by in tables)
        counts[record] = Counts(rows, accepted, rows - accepted)
    return counts


def _lake_rows(record: str, tables: list[tuple[str, pa.Table, pa.ChunkedArray]], batch: int, received: dict[str, datetime]) -> pa.Table:
    schema = record_schema(record)
    parts = []
    for file_id, table, rejected_by in tables:
        rows = table.num_rows
        meta = {
            "_file_id": pa.repeat(pa.scalar(file_id), rows),
            "_row_number": table["_row_number"],
            "_batch": pa.repeat(pa.scalar(batch, pa.int64()), rows),
            "_received_at": pa.repeat(pa.scalar(received[file_id], pa.timestamp("us", "UTC")), rows),
            "_rejected_by": rejected_by,
            "_source": table["_source"],
        }
        parts.append(pa.table([meta[name] for name in META_COLUMNS] + [table[name] for name in RECORDS[record].column_names], schema=schema))
    return pa.concat_tables(parts)


def _ledger_row(verdict: Verdict, item: _Item, rules: str, now: datetime) -> dict:
    own = {name: getattr(verdict, name) for name in LEDGER_SCHEMA.names if hasattr(verdict, name)}
    return own | {"bytes": item.bytes, "received_at": item.received_at or now, "rules_hash": rules, "sequence": item.sequence}


# --- data docs ------------------------------------------------------------------------------------------------------------


def _keep_documents(settings: Settings, batch: int, documents: list[dict]) -> None:
    """Great Expectations' results of the last batches, for the data docs; a cache, never read for a decision."""
    folder = settings.build / _DOCUMENTS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{batch:09d}.json").write_text(json.dumps(documents), "utf-8")
