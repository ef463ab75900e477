"""The lake is the ledger: immutable raw records, and the one place that says what counts as taken in.

Layout and protocol of SHER2_HOME/lake belong here; what a file's verdict is, does not. Several processes may write at
once, each holding `Lake.writing`; reading needs nothing. Where the lake lies in a bucket (orchestration.storage), every
file is uploaded before it gets its name in SHER2_HOME/lake, which then is the copy that is read; the number of a batch
is taken by creating its ledger object, which the bucket grants once. Attempts stay on the machine that made them.

Many small parcels are merged into one file, which holds their rows as they are and names them: from the moment it has
its name they are read there, and their own files may go.

A batch is written data first, as a parcel that nobody else writes, then its ledger file, whose number is its place in
one order of all commits: a number is taken once, and who comes second looks again at what is still due. What no ledger
file names does not exist. Rows of a file count when they lie in the parcel of its newest judgement (loaded or
rejected), so a file is judged again by adding a batch, never by changing one. ``sequence`` numbers deliveries (these
bytes at this path), ``batch`` commits; neither is a clock. A build reads the ledger as it was frozen, so that batches
committed meanwhile are in all of it or in nothing.
"""

import gzip
import hashlib
import json
import os
import re
import secrets
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from itertools import chain, islice
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration import entries
from orchestration.errors import UserError
from orchestration.exports.records import META_COLUMNS, RECORDS
from orchestration.exports.spill import ahead, regrouped
from orchestration.files import sync
from orchestration.findings import FAULT_SCHEMA
from orchestration.locking import exclusive, shared
from orchestration.settings import Settings
from orchestration.validation import RESULT_SCHEMA

_UTC = pa.timestamp("us", "UTC")
_META_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "timestamp[us, UTC]": _UTC,
    "map<string, string>": pa.map_(pa.string(), pa.string()),
}
LEDGER_SCHEMA = pa.schema(
    {
        "file_id": pa.string(),
        "path": pa.string(),
        "source": pa.string(),
        "layout": pa.string(),
        "bytes": pa.int64(),
        "received_at": _UTC,
        "exported_on": pa.string(),
        "status": pa.string(),
        "reason": pa.string(),
        "rows_read": pa.int64(),
        "rows_accepted": pa.int64(),
        "rows_quarantined": pa.int64(),
        "rules_hash": pa.string(),
        "own_rules_hash": pa.string(),  # of the rules that concern this file
        "batch": pa.int64(),
        "sequence": pa.int64(),
        "parcel": pa.int64(),  # what rows and faults carry as their batch; null in lakes of earlier versions: batch
    }
)
_BATCH = pa.field("batch", pa.int64())
TABLES = {
    "quarantine": FAULT_SCHEMA.append(_BATCH),
    "validations": RESULT_SCHEMA.append(_BATCH),
    "ledger": LEDGER_SCHEMA,
}
_EVERYTHING = "all"
_ROW_GROUP_ROWS = 122_880
_COPY_BYTES = 1 << 20
_SMALL_BYTES, _SMALL_FILES, _MERGED_BYTES = 4 << 20, 64, 256 << 20
"""So many files that are smaller are merged, into one that is not larger."""

_MERGED = re.compile(r"merged-([0-9]+)\.parquet")
_NUMBERED = re.compile(r"[0-9]+\.parquet$")


def record_schema(record: str) -> pa.Schema:
    """Columns of a record's Parquet files: where a row comes from, then the canonical columns."""
    meta = [pa.field(name, _META_TYPES[kind]) for name, kind in META_COLUMNS.items()]
    return pa.schema([*meta, *(pa.field(name, pa.string()) for name in RECORDS[record].column_names)])


def _once_more(read: Callable) -> Callable:
    """For what reads without a lock: the files that it has just found may have been merged into another one."""

    @wraps(read)
    def patient(*arguments):
        try:
            return read(*arguments)
        except (FileNotFoundError, duckdb.IOException):
            return read(*arguments)

    return patient


class Lake:
    """The lake of one home."""

    def __init__(self, settings: Settings):
        self.root = settings.lake
        self._bucket = settings.lake_bucket
        self._refuse_another(settings.lake_url)
        self._kept: set[str] | None = None  # ids of the files in the bucket, as far as known
        self._files = self.root / "files"
        self._attempts = self.root / "attempts"
        self._again = self.root / "again"
        self._frozen = settings.frozen
        self._memory = settings.build / "ledger.parquet"
        self._parcels: dict[Path, set[int]] = {}  # of merged files
        self._open_note = self._attempts / f"open-{secrets.token_hex(8)}.json"

    def _refuse_another(self, url: str) -> None:
        """The lake of another place must not be taken for this one: its batches have the same numbers."""
        mark = self.root / ".bucket"
        told = mark.read_text("utf-8") if mark.exists() else ""
        if told == url:
            return
        if self._numbers(self.root / "ledger"):
            raise UserError(
                f"SHER2_LAKE_URL: {self.root} holds the lake of {told or 'this home itself'}, not of"
                f" {url or 'this home itself'}. Set SHER2_LAKE_URL as it was, or point SHER2_HOME at another home; the"
                " runbook says how a lake is moved."
            )
        if url or told:
            _make(self.root)
            _replace(mark, url)

    # --- writing ---------------------------------------------------------------------------------------------------

    def prepare(self) -> bool:
        """Make the folders; where nobody is writing, count the attempts of runs that died and clear away what they did
        not commit.

        Returns:
            whether nobody else was writing.
        """
        for folder in (self._files, self._attempts, self._again):
            _make(folder)
        self._files.chmod(0o700)  # the files as they came: names of people are in there, and nowhere else
        with exclusive(self.root / ".writing", wait=False) as is_alone:
            if is_alone:
                self._count_dead_attempts()
            for folder, schema in self._folders().items():
                _make(folder)
                empty = folder / "empty.parquet"
                if not empty.exists() or pq.read_schema(empty) != schema:  # of an older version, with fewer columns
                    _write(empty, schema.empty_table())
            if is_alone:
                self._clear_away()
        return is_alone

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Held by who commits, so that nobody takes what is not committed yet for left over."""
        with shared(self.root / ".writing"):
            yield

    def _clear_away(self) -> None:
        committed = set(self.deliveries()["parcel"])
        for folder in self._folders():
            if folder.name != "ledger":
                self._drop_merged(folder)
                for parcel in set(self._numbers(folder)) - committed:
                    (folder / _name(parcel)).unlink()
        for folder in (self._files, self._attempts, self._again, self.root / "archives", *self._folders()):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()

    def keep(self, chunks: Iterable[bytes]) -> str:
        """Keep the bytes of a file under their sha256, once.

        Returns:
            the sha256, which is the file's identity.
        """
        digest = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        handle, temporary = tempfile.mkstemp(dir=self._files, prefix=".", suffix=".tmp")
        try:
            with open(handle, "wb") as raw:
                with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
                    for chunk in _overlapped(hashed()):
                        packed.write(chunk)
                if not self.has(digest.hexdigest()):
                    _sync(raw)
                    self._keep(digest.hexdigest(), Path(temporary))
        finally:
            Path(temporary).unlink(missing_ok=True)
        return digest.hexdigest()

    def _keep(self, file_id: str, packed: Path) -> None:
        if self._bucket:
            self._bucket.keep(f"files/{file_id}.gz", packed)
            self._kept.add(file_id)
        else:
            os.replace(packed, self._files / f"{file_id}.gz")
            sync(self._files)

    def list_members(self, file_id: str, members: list[tuple[str, int, str]]) -> None:
        """Note what an archive holds: (name, bytes, sha256) of each member, all of them kept."""
        self._write_note(f"archives/{file_id}", json.dumps(members))

    def members(self, file_id: str) -> list[tuple[str, int, str]]:
        """As `list_members` noted."""
        return [tuple(member) for member in _parsed(self._note(f"archives/{file_id}"), [])]

    def next_batch(self) -> int:
        self._pull_ledger()
        return max(self._numbers(self.root / "ledger"), default=0) + 1

    def new_parcel(self) -> int:
        """A number that no other parcel has; about in the order of commits."""
        return self.next_batch() << 32 | secrets.randbits(32)

    def commit(
        self,
        parcel: int,
        records: Mapping[str, Iterable[pa.Table]],
        faults: pa.Table,
        results: pa.Table,
        settle: Callable[[int], list[dict]],
    ) -> int | None:
        """Write one batch; when it returns, the batch counts, and before, nothing of it does.

        Args:
            records: by record, the rows of ``record_schema`` in pieces, quarantined ones included, with the parcel as
                batch.
            faults: FAULT_SCHEMA. results: RESULT_SCHEMA.
            settle: given the number that the batch would have, the rows of LEDGER_SCHEMA without ``batch`` and
                ``parcel`` that are right after the batches before it; none where there is nothing left to commit.

        Returns:
            the number of the batch; None where nothing was left.
        """
        for record, tables in records.items():
            self._place(f"records/{record}/{_name(parcel)}", tables, record_schema(record))
        for name, table in (("quarantine", faults), ("validations", results)):
            if table.num_rows:
                marked = table.append_column(_BATCH, pa.repeat(pa.scalar(parcel, pa.int64()), table.num_rows))
                self._place(f"{name}/{_name(parcel)}", (marked,), marked.schema)
        is_placed = False
        while not is_placed:
            with exclusive(self.root / ".committing"):
                batch = self.next_batch()
                ledger = settle(batch)
                rows = pa.Table.from_pylist([row | {"batch": batch, "parcel": parcel} for row in ledger], LEDGER_SCHEMA)
                is_placed = not ledger or self._place(f"ledger/{_name(batch)}", (rows,), LEDGER_SCHEMA)
        if not ledger:
            written = [f"records/{record}/{_name(parcel)}" for record in records]
            self._remove([*written, f"quarantine/{_name(parcel)}", f"validations/{_name(parcel)}"])
        self.attempted({row["file_id"] for row in ledger})
        return batch if ledger else None

    def _place(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> bool:
        """Write a Parquet file that nobody changes any more; False where somebody else had the name first."""

        def uploaded(temporary: Path) -> bool:
            return self._bucket is None or self._bucket.create(name, temporary)

        return _write_all(self.root / name, tables, schema, uploaded)

    def compact(self) -> int:
        """Merge small files; nothing that can be read changes. The caller holds the writer lock of the home, so that no
        build reads meanwhile.

        Returns:
            how many files were merged into others.
        """
        committed = set(self.deliveries()["parcel"])
        return sum(self._compact(folder, committed) for folder in self._folders() if folder.name != "ledger")

    def _compact(self, folder: Path, committed: set[int]) -> int:
        self._pull(folder, committed)
        self._drop_merged(folder)
        merged = self._merged(folder)
        own = {path: {int(path.stem)} for path in folder.glob("[0-9]*.parquet") if int(path.stem) in committed}
        small = {path: parcels for path, parcels in (own | merged).items() if path.stat().st_size < _SMALL_BYTES}
        if len(small) < _SMALL_FILES:
            return 0
        chosen, size = [], 0
        for path in sorted(small):
            if (size := size + path.stat().st_size) > _MERGED_BYTES:
                break
            chosen.append(path)
        parcels = sorted(set().union(*(small[path] for path in chosen)))
        schema = self._folders()[folder].with_metadata({"parcels": json.dumps(parcels)})
        number = max((int(_MERGED.fullmatch(path.name)[1]) for path in merged), default=0) + 1
        place = folder.relative_to(self.root).as_posix()
        rows = (pq.read_table(path, schema=self._folders()[folder]) for path in chosen)
        if not self._place(f"{place}/merged-{number:09d}.parquet", rows, schema):
            return 0  # somebody else is at it
        if self._bucket:
            self._bucket.remove([f"{place}/{path.name}" for path in chosen])
        self._drop_merged(folder)
        return len(chosen)

    def _merged(self, folder: Path) -> dict[Path, set[int]]:
        """The parcels of each merged file."""
        found = {}
        for path in folder.glob("merged-*.parquet"):
            if path not in self._parcels:
                self._parcels[path] = set(json.loads(pq.read_schema(path).metadata[b"parcels"]))
            found[path] = self._parcels[path]
        return found

    def _drop_merged(self, folder: Path) -> None:
        """Remove the files of what is read elsewhere: left over where a merge was killed."""
        covered: set[int] = set()
        for path, parcels in sorted(self._merged(folder).items(), reverse=True):
            if parcels <= covered:
                path.unlink(missing_ok=True)
            covered |= parcels
        for parcel in covered & set(self._numbers(folder)):
            (folder / _name(parcel)).unlink(missing_ok=True)

    def settled(self) -> None:
        """Finish merges that were killed: before it, rows may lie in two files."""
        for folder in self._folders():
            self._drop_merged(folder)

    def _holding(self, folder: Path, parcels: Iterable[int]) -> list[str]:
        """The files in which the rows of these parcels lie, each parcel in one of them."""
        self._pull(folder, parcels)
        wanted, files = set(parcels), []
        for path, held in sorted(self._merged(folder).items(), reverse=True):
            if held & wanted:
                files.append(str(path))
                wanted -= held
        return files + [str(path) for parcel in wanted if (path := folder / _name(parcel)).exists()]

    def _remove(self, names: list[str]) -> None:
        there = [name for name in names if (self.root / name).exists()]
        if self._bucket:
            self._bucket.remove(there)
        for name in there:
            (self.root / name).unlink()

    # --- attempts --------------------------------------------------------------------------------------------------

    def attempt(self, file_ids: Iterable[str]) -> None:
        """Note which files are open now. A crash leaves the note; no sync, as a lost one only costs a further try."""
        _replace(self._open_note, json.dumps(sorted(file_ids)))

    def attempted(self, file_ids: set[str]) -> None:
        """A verdict on these files stands, or they were closed in order: their attempts are forgotten."""
        self._open_note.unlink(missing_ok=True)
        if self.dead_attempts().keys() & file_ids:
            with exclusive(self._attempts / ".lock"):
                left = {key: count for key, count in self.dead_attempts().items() if key not in file_ids}
                _replace(self._attempts / "dead.json", json.dumps(left))

    def dead_attempts(self) -> dict[str, int]:
        """How many runs died with a file open, by file id."""
        return _json(self._attempts / "dead.json", {})

    def _count_dead_attempts(self) -> None:
        dead = self.dead_attempts()
        for note in list(self._attempts.glob("open*.json")):
            dead |= {key: dead.get(key, 0) + 1 for key in _json(note, [])}
            _replace(self._attempts / "dead.json", json.dumps(dead))
            note.unlink()

    # --- judging again ---------------------------------------------------------------------------------------------

    def reprocess(self, sha: str) -> str:
        """Have one file judged again at the next run.

        Returns:
            where it lay.

        Raises:
            UserError: no file, or more than one, begins with ``sha``.
        """
        rows = self.deliveries()
        found = rows[rows["file_id"].str.startswith(sha.lower())] if sha else rows[:0]
        if found["file_id"].nunique() != 1:
            what = "is no file of the lake" if found.empty else "fits more than one file; give more of it"
            raise UserError(f"reprocess: {sha!r} {what}. sher2 quarantine lists the file ids.")
        self._judge_again(found["file_id"].iloc[0])
        return found["path"].iloc[-1]

    def forget(self) -> None:
        """Have every file judged again from its kept bytes; its rows count until its new verdict stands."""
        self._judge_again(_EVERYTHING)

    def asked(self) -> Mapping[str, int]:
        """By file id, the batch before which a judgement was asked to be made again; 0 where nobody asked."""
        if self._bucket:
            names = [name.removeprefix("again/") for name in self._bucket.objects("again/")]
        else:
            names = [path.name for path in self._again.glob("[!.]*")]
        asked = {name: int(text) for name in names if (text := self._note(f"again/{name}"))}
        everything = asked.pop(_EVERYTHING, 0)
        return defaultdict(lambda: everything, {name: max(batch, everything) for name, batch in asked.items()})

    def _judge_again(self, name: str) -> None:
        self._write_note(f"again/{name}", str(self.next_batch()))

    def _note(self, name: str) -> str:
        """A small text that may be written over; empty where there is none."""
        if self._bucket:
            return (self._bucket.read(name) or b"").decode()
        path = self.root / name
        return path.read_text("utf-8") if path.exists() else ""

    def _write_note(self, name: str, text: str) -> None:
        if self._bucket:
            self._bucket.write(name, text.encode())
            return
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            _sync(file)
        os.replace(temporary, path)
        sync(path.parent)

    # --- reading ---------------------------------------------------------------------------------------------------

    def has(self, file_id: str) -> bool:
        """Whether the bytes of a file are kept."""
        if self._bucket is None:
            return (self._files / f"{file_id}.gz").exists()
        if self._kept is None:
            listed = self._bucket.objects("files/")
            self._kept = {name[len("files/") : -len(".gz")] for name in listed if name.endswith(".gz")}
        if file_id not in self._kept and self._bucket.exists(f"files/{file_id}.gz"):  # kept by somebody else since
            self._kept.add(file_id)
        return file_id in self._kept

    def copy(self, file_id: str, folder: Path) -> Path | None:
        """A private copy of a file's bytes, named by their sha256: all that readers ever open.

        Returns:
            None where the kept bytes are damaged. They are set aside: the file counts as it was judged, and its bytes
            are kept anew as soon as they are found in the landing folder.
        """
        name, kept = f"files/{file_id}.gz", self._files / f"{file_id}.gz"
        if self._bucket:
            kept = folder / f"{file_id}.gz"
            self._bucket.fetch({name: kept})
        target, digest = folder / file_id, hashlib.sha256()
        try:
            with gzip.open(kept) as packed, target.open("wb") as file:
                for chunk in _overlapped(iter(partial(packed.read, _COPY_BYTES), b"")):
                    digest.update(chunk)
                    file.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            digest = None
        if self._bucket:
            kept.unlink()
        if digest is not None and digest.hexdigest() == file_id:
            return target
        target.unlink(missing_ok=True)
        if self._bucket:
            self._bucket.move(name, f"files/{file_id}.damaged")
            self._kept.discard(file_id)
        else:
            os.replace(kept, kept.with_suffix(".damaged"))
        return None

    def deliveries(self) -> pd.DataFrame:
        """Every ledger row (LEDGER_SCHEMA), oldest first: deliveries, duplicates and judgements."""
        return self._entries().to_pandas()

    def freeze(self, folder: Path | None = None) -> None:
        """Have builds read what counts now, until it is frozen anew. ``folder``: for a build apart."""
        folder = folder or self._frozen
        folder.mkdir(parents=True, exist_ok=True)
        rows = self._entries()
        for part in self._folders():
            if part.name != "ledger":
                self._pull(part, rows["parcel"].to_pylist())
        _write(folder / "ledger.parquet", rows)

    def frozen(self) -> pd.DataFrame:
        """As `deliveries`, of what the last build read or the next one will."""
        frozen = self._frozen / "ledger.parquet"
        rows = pq.read_table(frozen, schema=LEDGER_SCHEMA) if frozen.exists() else LEDGER_SCHEMA.empty_table()
        return _in_order(rows).to_pandas()

    def _entries(self) -> pa.Table:
        self._pull_ledger()
        folder = self.root / "ledger"
        names = [_name(number) for number in self._numbers(folder)]
        return _in_order(entries.read(folder, names, LEDGER_SCHEMA, self._memory))

    def ledger(self) -> pd.DataFrame:
        """The current verdict of each file at each path: loaded, rejected, duplicate, or superseded where the path
        later brought other bytes that were loaded. ``batch`` is that of the file's rows; ``sequence`` orders the
        deliveries at a path."""
        return self._ledger(self.deliveries())

    def frozen_ledger(self) -> pd.DataFrame:
        """As `ledger`, of what is frozen."""
        return self._ledger(self.frozen())

    @staticmethod
    def _ledger(rows: pd.DataFrame) -> pd.DataFrame:
        verdicts = _verdicts(rows)
        places = rows.groupby(["file_id", "path"], as_index=False, sort=False).agg(
            received_at=("received_at", "min"), exported_on=("exported_on", "last"), sequence=("sequence", "max")
        )
        view = places.merge(
            verdicts.drop(columns=["received_at", "exported_on", "sequence"]), on="file_id", suffixes=("", "_judged")
        )
        here = view["path"] == view["path_judged"]
        is_loaded = view["status"] == "loaded"
        newest = view["sequence"].where(is_loaded).groupby(view["path"]).transform("max")
        view.loc[is_loaded & (view["sequence"] < newest), "status"] = "superseded"
        view.loc[~here, "status"] = "duplicate"
        view.loc[~here, "reason"] = "same bytes as " + view["path_judged"]
        view.loc[~here, ["rows_read", "rows_accepted", "rows_quarantined"]] = 0
        return view[LEDGER_SCHEMA.names].sort_values(["path", "sequence"], ignore_index=True)

    @_once_more
    def quarantine(self) -> pd.DataFrame:
        """Faults of the verdicts in force (FAULT_SCHEMA, batch): quarantined rows (warning) and findings (info)."""
        rows = self.deliveries()
        files = self._holding(self.root / "quarantine", rows["parcel"].unique())
        tables = [pq.read_table(path) for path in files]
        faults = pa.concat_tables(tables).to_pandas() if tables else TABLES["quarantine"].empty_table().to_pandas()
        current = _loaded(rows)[["file_id", "batch", "parcel"]]
        found = faults.rename(columns={"batch": "parcel"}).merge(current, on=["file_id", "parcel"])
        return found[TABLES["quarantine"].names].sort_values(
            ["file_id", "row_number", "rule"], kind="stable", ignore_index=True
        )

    def accepted_rows(self) -> dict[str, int]:
        """Rows that count, by record."""
        current = pa.Table.from_pandas(_loaded(self.deliveries())[["file_id", "parcel"]], preserve_index=False)
        counts = dict.fromkeys(RECORDS, 0)
        with duckdb.connect() as connection:
            connection.register("current", current)
            for record in RECORDS:
                if files := self._holding(self.root / "records" / record, current["parcel"].to_pylist()):
                    counts[record] = connection.execute(
                        "select count(*) from read_parquet($files) as r join current as c"
                        " on r._file_id = c.file_id and r._batch = c.parcel where r._rejected_by is null",
                        {"files": files},
                    ).fetchone()[0]
        return counts

    def stamp(self) -> tuple:
        """Changes with whatever is committed, and whatever is asked to be judged again."""
        if self._bucket:
            return self.next_batch(), *sorted(
                (name, item.etag) for name, item in self._bucket.objects("again/").items()
            )
        watched = (self.root / "ledger", self._again)
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in watched)

    @_once_more
    def raw_rows(self, record: str, keys: Iterable[tuple[str, int, int]]) -> list[dict]:
        """Rows of a record as they were read, accepted or not.

        Args:
            keys: file_id, batch and row_number of each.

        Returns:
            dicts of file_id, row_number, subject_id and source (heading: untouched text); what is not there is left
            out.
        """
        rows, folder = self.deliveries(), self.root / "records" / record
        parcels = dict(zip(zip(rows["file_id"], rows["batch"]), rows["parcel"]))
        wanted = pa.Table.from_pylist(
            [
                {"file_id": file_id, "parcel": parcels[file_id, batch], "row_number": row_number}
                for file_id, batch, row_number in keys
                if (file_id, batch) in parcels
            ],
            pa.schema({"file_id": pa.string(), "parcel": pa.int64(), "row_number": pa.int64()}),
        )
        files = self._holding(folder, set(wanted["parcel"].to_pylist()))
        if not files:
            return []
        with duckdb.connect() as connection:
            connection.register("wanted", wanted)
            rows = connection.execute(
                "select r._file_id, r._row_number, r.subject_id, r._source from read_parquet($files) as r"
                " semi join wanted as w"
                " on r._file_id = w.file_id and r._batch = w.parcel and r._row_number = w.row_number"
                " order by r._file_id, r._row_number",
                {"files": files},
            ).fetchall()
        return [dict(zip(("file_id", "row_number", "subject_id", "source"), row, strict=True)) for row in rows]

    def data_hash(self, *, frozen: bool = False) -> str:
        """sha256 over what is published about the deliveries: which files lie where, which are loaded or refused, by
        which rules they were judged, and in which order paths brought different ones. Batches and times of receipt play
        no part. ``frozen``: of what the last build read."""
        rows = self.frozen() if frozen else self.deliveries()
        exported = (
            rows.dropna(subset=["exported_on"])
            .groupby("file_id")["exported_on"]
            .agg(lambda days: sorted(set(days)))
            .to_dict()
        )
        verdicts = sorted(
            [item.file_id, item.status, item.own_rules_hash, item.source, exported.get(item.file_id, [])]
            for item in _verdicts(rows).itertuples()
        )
        places = rows.groupby(["path", "file_id"], as_index=False)["sequence"].max().sort_values("sequence")
        chains = sorted(places.groupby("path")["file_id"].agg(list).items())
        return hashlib.sha256(json.dumps([verdicts, chains]).encode()).hexdigest()

    # --- the copy of a bucket -----------------------------------------------------------------------------------------

    def _pull_ledger(self) -> None:
        if self._bucket:
            folder = self.root / "ledger"
            _make(folder)
            self._fetch(folder, [name for name in self._bucket.objects("ledger/") if _NUMBERED.search(name)])

    def _pull(self, folder: Path, parcels: Iterable[int]) -> None:
        """Have the files of these parcels in the copy; what a ledger object names has been there before it."""
        if self._bucket is None:
            return
        _make(folder)
        place = folder.relative_to(self.root).as_posix()
        covered = set().union(*self._merged(folder).values())
        missing = {parcel for parcel in set(parcels) - covered if not (folder / _name(parcel)).exists()}
        if not missing:
            return
        there = self._bucket.objects(f"{place}/")
        self._fetch(folder, [name for name in there if _MERGED.fullmatch(Path(name).name)])
        self._drop_merged(folder)
        missing -= set().union(*self._merged(folder).values())
        self._fetch(folder, [name for parcel in missing if (name := f"{place}/{_name(parcel)}") in there])

    def _fetch(self, folder: Path, names: list[str]) -> None:
        wanted = {name: folder / Path(name).name for name in names}
        self._bucket.fetch({name: path for name, path in wanted.items() if not path.exists()})

    # --- paths -----------------------------------------------------------------------------------------------------

    def _folders(self) -> dict[Path, pa.Schema]:
        records = {self.root / "records" / record: record_schema(record) for record in RECORDS}
        return records | {self.root / name: schema for name, schema in TABLES.items()}

    @staticmethod
    def _numbers(folder: Path) -> list[int]:
        return [int(path.stem) for path in folder.glob("*.parquet") if _NUMBERED.fullmatch(path.name)]


def _in_order(rows: pa.Table) -> pa.Table:
    """Rows of the ledger in the order of commits."""
    parcels = pc.coalesce(rows["parcel"], rows["batch"])
    return rows.set_column(LEDGER_SCHEMA.get_field_index("parcel"), "parcel", parcels).sort_by(
        [("batch", "ascending"), ("sequence", "ascending")]
    )


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest judgement of each file."""
    return rows[rows["status"] != "duplicate"].drop_duplicates("file_id", keep="last")


def _loaded(rows: pd.DataFrame) -> pd.DataFrame:
    verdicts = _verdicts(rows)
    return verdicts[verdicts["status"] == "loaded"]


def _name(number: int) -> str:
    return f"{number:09d}.parquet"


def _write(path: Path, table: pa.Table) -> None:
    _write_all(path, (table,), table.schema)


def _write_all(
    path: Path, tables: Iterable[pa.Table], schema: pa.Schema, before: Callable[[Path], bool] = lambda path: True
) -> bool:
    """Data that a power cut cannot tear: temporary name, sync, rename, sync of the folder.

    Args:
        before: called with the temporary file before it gets its name; where it says False the file is dropped.
    """
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        # source texts are mostly different: a dictionary of them is begun, found too large and thrown away
        repeated = [name for name in _leaves(schema) if name != "_source.key_value.value"]
        asked_for = [name for name in _leaves(schema) if not name.startswith("_source.")]  # nobody looks for rows by it
        groups = ahead(table.unify_dictionaries() for table in regrouped(tables, _ROW_GROUP_ROWS))
        first = next(groups, schema.empty_table())
        with pq.ParquetWriter(
            file,
            first.schema,
            compression="zstd",
            use_dictionary=repeated,
            write_statistics=asked_for,
            store_schema=False,
        ) as writer:
            writer.add_key_value_metadata(schema.metadata or {})
            for table in chain((first,), groups):
                writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)
        _sync(file)
    if not before(temporary):
        temporary.unlink()
        return False
    os.replace(temporary, path)
    sync(path.parent)
    return True


def _overlapped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks; the next one is made while one is used. A small file costs no thread."""
    first = list(islice(chunks, 2))
    yield from first
    if len(first) == 2:
        yield from ahead(chunks)


def _leaves(schema: pa.Schema) -> Iterator[str]:
    """Columns as Parquet has them."""
    for field in schema:
        parts = (".key_value.key", ".key_value.value") if pa.types.is_map(field.type) else ("",)
        yield from (field.name + part for part in parts)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _make(folder: Path) -> None:
    """A folder that a power cut cannot take away together with what was synced into it."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    temporary = _temporary(path)
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def _json(path: Path, absent):
    try:
        return _parsed(path.read_text("utf-8"), absent)
    except FileNotFoundError:
        return absent


def _parsed(text: str, absent):
    try:
        return json.loads(text)
    except ValueError:  # torn by a power cut: these notes are not synced
        return absent
