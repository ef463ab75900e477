"""The lake is the ledger: immutable raw records, and the one place that says what counts as taken in.

Layout and protocol of SHER2_HOME/lake belong here; what a file's verdict is, does not. Whoever writes holds the
writer lock of the home (orchestration.locking); reading needs none.

A batch is written data first, its ledger file last, each under a temporary name, synced and renamed. What no ledger
file names does not exist. Rows of a file count when they lie in the batch of its newest judgement (loaded or
rejected), so a file is judged again by adding a batch, never by changing one. ``sequence`` numbers deliveries (these
bytes at this path), ``batch`` commits; neither is a clock.
"""

import gzip
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.errors import UserError
from orchestration.exports.records import META_COLUMNS, RECORDS
from orchestration.exports.spill import regrouped
from orchestration.settings import Settings
from orchestration.validation import FAULT_SCHEMA, RESULT_SCHEMA

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


def record_schema(record: str) -> pa.Schema:
    """Columns of a record's Parquet files: where a row comes from, then the canonical columns."""
    meta = [pa.field(name, _META_TYPES[kind]) for name, kind in META_COLUMNS.items()]
    return pa.schema([*meta, *(pa.field(name, pa.string()) for name in RECORDS[record].column_names)])


class Lake:
    """The lake of one home."""

    def __init__(self, settings: Settings):
        self.root = settings.lake
        self._files = self.root / "files"
        self._attempts = self.root / "attempts"
        self._again = self.root / "again"

    # --- writing ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folders; count the attempts of a run that died and clear away what it did not commit."""
        for folder in (self._files, self._attempts, self._again):
            _make(folder)
        self._files.chmod(0o700)  # the files as they came: names of people are in there, and nowhere else
        self._count_dead_attempts()
        committed = set(self._numbers(self.root / "ledger"))
        for folder, schema in self._folders().items():
            _make(folder)
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()
            for number in set(self._numbers(folder)) - committed:
                (folder / _name(number)).unlink()
            empty = folder / "empty.parquet"
            if not empty.exists() or pq.read_schema(empty) != schema:  # of an older version, with fewer columns
                _write(empty, schema.empty_table())
        for leftover in self._files.glob(".*.tmp"):
            leftover.unlink()

    def keep(self, chunks: Iterable[bytes]) -> str:
        """Keep the bytes of a file under their sha256, once.

        Returns:
            the sha256, which is the file's identity.
        """
        digest = hashlib.sha256()
        handle, temporary = tempfile.mkstemp(dir=self._files, prefix=".", suffix=".tmp")
        try:
            with open(handle, "wb") as raw:
                with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
                    for chunk in chunks:
                        digest.update(chunk)
                        packed.write(chunk)
                target = self._files / f"{digest.hexdigest()}.gz"
                if not target.exists():
                    _sync(raw)
                    os.replace(temporary, target)
                    _sync_folder(self._files)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return digest.hexdigest()

    def list_members(self, file_id: str, members: list[tuple[str, int, str]]) -> None:
        """Note what an archive holds: (name, bytes, sha256) of each member, all of them kept."""
        folder = self.root / "archives"
        folder.mkdir(exist_ok=True)
        temporary = folder / f".{file_id}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(members, file)
            _sync(file)
        os.replace(temporary, folder / file_id)
        _sync_folder(folder)

    def members(self, file_id: str) -> list[tuple[str, int, str]]:
        """As `list_members` noted."""
        return [tuple(member) for member in _json(self.root / "archives" / file_id, [])]

    def next_batch(self) -> int:
        return max(self._numbers(self.root / "ledger"), default=0) + 1

    def commit(
        self,
        batch: int,
        records: Mapping[str, Iterable[pa.Table]],
        faults: pa.Table,
        results: pa.Table,
        ledger: list[dict],
    ) -> None:
        """Write one batch; when it returns, the batch counts, and before, nothing of it does.

        Args:
            records: by record, the rows of ``record_schema`` in pieces, quarantined ones included.
            faults: FAULT_SCHEMA. results: RESULT_SCHEMA. ledger: rows of LEDGER_SCHEMA without ``batch``.
        """
        for record, tables in records.items():
            _write_all(self.root / "records" / record / _name(batch), tables, record_schema(record))
        for name, table in (("quarantine", faults), ("validations", results)):
            if table.num_rows:
                _write(
                    self.root / name / _name(batch),
                    table.append_column(_BATCH, pa.repeat(pa.scalar(batch, pa.int64()), table.num_rows)),
                )
        rows = pa.Table.from_pylist([row | {"batch": batch} for row in ledger], LEDGER_SCHEMA)
        _write(self.root / "ledger" / _name(batch), rows)
        self.attempted({row["file_id"] for row in ledger})

    # --- attempts --------------------------------------------------------------------------------------------------

    def attempt(self, file_ids: Iterable[str]) -> None:
        """Note which files are open now. A crash leaves the note; no sync, as a lost one only costs a further try."""
        _replace(self._attempts / "open.json", json.dumps(sorted(file_ids)))

    def attempted(self, file_ids: set[str]) -> None:
        """A verdict on these files stands, or they were closed in order: their attempts are forgotten."""
        (self._attempts / "open.json").unlink(missing_ok=True)
        dead = self.dead_attempts()
        if dead.keys() & file_ids:
            _replace(
                self._attempts / "dead.json",
                json.dumps({key: count for key, count in dead.items() if key not in file_ids}),
            )

    def dead_attempts(self) -> dict[str, int]:
        """How many runs died with a file open, by file id."""
        return _json(self._attempts / "dead.json", {})

    def _count_dead_attempts(self) -> None:
        dead = self.dead_attempts()
        if opened := _json(self._attempts / "open.json", []):
            _replace(self._attempts / "dead.json", json.dumps(dead | {key: dead.get(key, 0) + 1 for key in opened}))
        (self._attempts / "open.json").unlink(missing_ok=True)

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
        asked = {path.name: int(path.read_text()) for path in self._again.glob("[!.]*")}
        everything = asked.pop(_EVERYTHING, 0)
        return defaultdict(lambda: everything, {name: max(batch, everything) for name, batch in asked.items()})

    def _judge_again(self, name: str) -> None:
        self._again.mkdir(parents=True, exist_ok=True)
        _replace(self._again / name, str(self.next_batch()))

    # --- reading ---------------------------------------------------------------------------------------------------

    def has(self, file_id: str) -> bool:
        return (self._files / f"{file_id}.gz").exists()

    def copy(self, file_id: str, folder: Path) -> Path | None:
        """A private copy of a file's bytes, named by their sha256: all that readers ever open.

        Returns:
            None where the kept bytes are damaged. They are set aside: the file counts as it was judged, and its bytes
            are kept anew as soon as they are found in the landing folder.
        """
        target, kept, digest = folder / file_id, self._files / f"{file_id}.gz", hashlib.sha256()
        try:
            with gzip.open(kept) as packed, target.open("wb") as file:
                while chunk := packed.read(_COPY_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            digest = None
        if digest is not None and digest.hexdigest() == file_id:
            return target
        target.unlink(missing_ok=True)
        os.replace(kept, kept.with_suffix(".damaged"))
        return None

    def deliveries(self) -> pd.DataFrame:
        """Every ledger row (LEDGER_SCHEMA), oldest first: deliveries, duplicates and judgements."""
        folder = self.root / "ledger"
        tables = [
            pq.read_table(folder / _name(number), schema=LEDGER_SCHEMA) for number in sorted(self._numbers(folder))
        ]
        rows = pa.concat_tables(tables) if tables else LEDGER_SCHEMA.empty_table()
        return rows.to_pandas().sort_values(["batch", "sequence"], kind="stable", ignore_index=True)

    def ledger(self) -> pd.DataFrame:
        """The current verdict of each file at each path: loaded, rejected, duplicate, or superseded where the path
        later brought other bytes that were loaded. ``batch`` is that of the file's rows; ``sequence`` orders the
        deliveries at a path."""
        rows = self.deliveries()
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

    def quarantine(self) -> pd.DataFrame:
        """Faults of the verdicts in force (FAULT_SCHEMA, batch): quarantined rows (warning) and findings (info)."""
        folder = self.root / "quarantine"
        committed = set(self._numbers(self.root / "ledger"))  # a run may be clearing away what is not
        tables = [pq.read_table(folder / _name(number)) for number in self._numbers(folder) if number in committed]
        faults = pa.concat_tables(tables).to_pandas() if tables else TABLES["quarantine"].empty_table().to_pandas()
        current = _loaded(self.deliveries())[["file_id", "batch"]]
        return faults.merge(current, on=["file_id", "batch"]).sort_values(
            ["file_id", "row_number", "rule"], kind="stable", ignore_index=True
        )

    def accepted_rows(self, record: str) -> int:
        """Rows of a record that count."""
        current = pa.Table.from_pandas(_loaded(self.deliveries())[["file_id", "batch"]], preserve_index=False)
        files = [str(path) for path in (self.root / "records" / record).glob("*.parquet")]
        if not files:
            return 0
        with duckdb.connect() as connection:
            connection.register("current", current)
            return connection.execute(
                "select count(*) from read_parquet($files) as r"
                " join current as c on r._file_id = c.file_id and r._batch = c.batch where r._rejected_by is null",
                {"files": files},
            ).fetchone()[0]

    def raw_rows(self, record: str, keys: Iterable[tuple[str, int, int]]) -> list[dict]:
        """Rows of a record as they were read, accepted or not.

        Args:
            keys: file_id, batch and row_number of each.

        Returns:
            dicts of file_id, row_number, subject_id and source (heading: untouched text); what is not there is left
            out.
        """
        keys = list(keys)
        folder = self.root / "records" / record
        files = [str(path) for batch in sorted({key[1] for key in keys}) if (path := folder / _name(batch)).exists()]
        if not files:
            return []
        file_ids, batches, row_numbers = zip(*keys, strict=True)
        wanted = pa.table({"file_id": file_ids, "batch": batches, "row_number": row_numbers})
        with duckdb.connect() as connection:
            connection.register("wanted", wanted)
            rows = connection.execute(
                "select r._file_id, r._row_number, r.subject_id, r._source from read_parquet($files) as r"
                " semi join wanted as w"
                " on r._file_id = w.file_id and r._batch = w.batch and r._row_number = w.row_number",
                {"files": files},
            ).fetchall()
        return [dict(zip(("file_id", "row_number", "subject_id", "source"), row, strict=True)) for row in rows]

    def data_hash(self) -> str:
        """sha256 over what is published about the deliveries: which files lie where, which are loaded or refused, by
        which rules they were judged, and in which order paths brought different ones. Batches and times of receipt play
        no part."""
        rows = self.deliveries()
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

    # --- paths -----------------------------------------------------------------------------------------------------

    def _folders(self) -> dict[Path, pa.Schema]:
        records = {self.root / "records" / record: record_schema(record) for record in RECORDS}
        return records | {self.root / name: schema for name, schema in TABLES.items()}

    @staticmethod
    def _numbers(folder: Path) -> list[int]:
        return [int(path.stem) for path in folder.glob("*.parquet") if re.fullmatch("[0-9]+", path.stem)]


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest judgement of each file."""
    return rows[rows["status"] != "duplicate"].drop_duplicates("file_id", keep="last")


def _loaded(rows: pd.DataFrame) -> pd.DataFrame:
    verdicts = _verdicts(rows)
    return verdicts[verdicts["status"] == "loaded"]


def _name(batch: int) -> str:
    return f"{batch:09d}.parquet"


def _write(path: Path, table: pa.Table) -> None:
    _write_all(path, (table,), table.schema)


def _write_all(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Data that a power cut cannot tear: temporary name, sync, rename, sync of the folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in regrouped(tables, _ROW_GROUP_ROWS):
                writer.write_table(table, row_group_size=_ROW_GROUP_ROWS)
        _sync(file)
    os.replace(temporary, path)
    _sync_folder(path.parent)


def _make(folder: Path) -> None:
    """A folder that a power cut cannot take away together with what was synced into it."""
    if not folder.exists():
        folder.mkdir(parents=True)
        _sync_folder(folder.parent)


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


def _json(path: Path, absent):
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return absent
    except ValueError:  # torn by a power cut: these notes are not synced
        return absent
