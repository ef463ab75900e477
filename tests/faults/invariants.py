"""What holds after every fault, whatever it was: the one helper that says so.

I1  the rows of a file are loaded or quarantined, none is lost
I2  the bytes of a file count once
I3  what is published is one publication, whole
I4  bytes are kept as they came, in the lake and in the landing folder
I5  one line of the ledger a delivery or judgement, and none is ever altered
I6  the end is that of an undisturbed run over the same files (where the test has one to compare with)
"""

import csv
import gzip
import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from orchestration.exports.records import RECORDS
from orchestration.lake import Lake
from orchestration.publication import GRAIN
from orchestration.settings import Settings
from orchestration.study import load_study

HISTORY = {"files": ("received_at", "batch"), "quarantine": (), "findings": ()}
"""Tables of ops that the state of the data decides, without the columns that tell when and how often we looked."""


@dataclass(frozen=True)
class Witness:
    """Files as they were before a fault: path -> sha256."""

    landing: dict[str, str]
    ledger: dict[str, str]


def witness(settings: Settings) -> Witness:
    return Witness(_hashes(settings.landing), _hashes(settings.lake / "ledger"))


def content(settings: Settings) -> dict[str, str]:
    """A hash of every row of every table of marts and metrics, and of ops as far as no history is in it."""
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() where schema_name in ('marts', 'metrics') order by all"
        ).fetchall()
        queries = {f"{schema}.{table}": f'select * from "{schema}"."{table}"' for schema, table in tables}
        for table, left_out in HISTORY.items():
            columns = f"* exclude ({', '.join(left_out)})" if left_out else "*"
            queries[f"ops.{table}"] = f"select {columns} from ops.{table}"
        found = {}
        for name, query in queries.items():
            rows = connection.execute(f"{query} order by all").fetchall()
            found[name] = f"{len(rows)} rows {hashlib.sha256(repr(rows).encode()).hexdigest()[:16]}"
        newest = "select build_id from ops.publications order by published_at desc limit 1"
        return found | {"build": connection.execute(newest).fetchone()[0]}


def assert_invariants(
    settings: Settings,
    since: Witness | None = None,
    undisturbed: dict[str, str] | None = None,
    is_at_rest: bool = True,
) -> None:
    """Assert I1 to I6 of a home, in the order of their numbers.

    Args:
        is_at_rest: a run has ended here; otherwise one was killed, and what it did not commit may still lie about.
        since: what `witness` saw before the fault: nothing of it may have changed.
        undisturbed: `content` of a home that had the same files and no fault.
    """
    lake = Lake(settings)
    _rows_are_accounted_for(settings, lake)
    _bytes_count_once(lake)
    if settings.warehouse.exists():
        _one_publication(settings)
    _bytes_are_kept(settings, lake)
    _ledger_is_a_log(lake)
    if is_at_rest:
        _nothing_lies_about(settings)
    if since is not None:
        assert since.landing.items() <= _hashes(settings.landing).items(), "I4: the landing folder was changed"
        assert since.ledger.items() <= _hashes(settings.lake / "ledger").items(), "I5: the ledger was changed"
    if undisturbed is not None:
        found = content(settings)
        differ = [name for name in undisturbed if found.get(name) != undisturbed[name]]
        set_aside = [row.path for row in lake.ledger().itertuples() if (row.reason or "").startswith("poison")]
        assert found == undisturbed, f"I6: not the end of an undisturbed run: {differ}; set aside: {set_aside}"


def _rows_are_accounted_for(settings: Settings, lake: Lake) -> None:
    kept = _rows_of_the_lake(settings)
    apart = lake.quarantine()
    apart = apart[apart["severity"] == "warning"].groupby("file_id")["row_number"].nunique().to_dict()
    sources = {source.name: source for source in load_study(settings.study_file).sources}
    for row in lake.ledger().itertuples():
        if row.status not in ("loaded", "superseded"):
            continue
        assert row.rows_read == row.rows_accepted + row.rows_quarantined, f"I1: {row.path}"
        assert kept.get((row.file_id, row.parcel), (0, 0)) == (row.rows_accepted, row.rows_quarantined), (
            f"I1: {row.path}"
        )
        assert apart.get(row.file_id, 0) == row.rows_quarantined, f"I1: {row.path}: quarantined rows without a reason"
        if Path(row.path).suffix in (".csv", ".tsv") and "," not in row.source:
            source = sources.get(row.source)
            delimiter = source.delimiter if source else "\t" if row.path.endswith(".tsv") else ","
            encoding = source.encoding if source else "utf-8"
            text = gzip.decompress((lake.root / "files" / f"{row.file_id}.gz").read_bytes()).decode(encoding)
            lines = [
                line for line in csv.reader(text.removeprefix("\ufeff").splitlines(True), delimiter=delimiter) if line
            ]
            assert row.rows_read == len(lines) - 1, f"I1: {row.path} has {len(lines) - 1} rows"


def _rows_of_the_lake(settings: Settings) -> dict[tuple[str, int], tuple[int, int]]:
    """(file, parcel) -> rows accepted, rows quarantined, as they lie in the Parquet files."""
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for record in RECORDS:
        for path in (settings.lake / "records" / record).glob("*.parquet"):
            table = pq.read_table(path, columns=["_file_id", "_batch", "_rejected_by"])
            for row in table.to_pylist():
                accepted, apart = counts.get((row["_file_id"], row["_batch"]), (0, 0))
                is_accepted = row["_rejected_by"] is None
                counts[row["_file_id"], row["_batch"]] = (accepted + is_accepted, apart + (not is_accepted))
    return counts


def _bytes_count_once(lake: Lake) -> None:
    ledger = lake.ledger()
    in_force = ledger[ledger["status"].isin(["loaded", "superseded"])]
    assert not in_force["file_id"].duplicated().any(), "I2: one file is loaded twice"
    assert not ledger.duplicated(["file_id", "path"]).any(), "I2: one file has two verdicts at one path"


def _one_publication(settings: Settings) -> None:
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        history = connection.execute(
            "select build_id, rows_per_mart from ops.publications order by published_at"
        ).fetchall()
        build_id, rows_per_mart = history[-1]
        assert all(one[0] != other[0] for one, other in pairwise(history)), "I5: one twice"
        for mart, rows in json.loads(rows_per_mart).items():
            assert connection.execute(f"select count(*) from marts.{mart}").fetchone()[0] == rows, f"I3: {mart}"
        assert set(json.loads(rows_per_mart)) == set(GRAIN), "I3: a mart is missing"
        carry = connection.execute(
            "select schema_name, table_name from duckdb_columns() where column_name = 'build_id'"
            " and schema_name = 'metrics'"
        ).fetchall()
        for schema, table in carry:
            found = connection.execute(f"select distinct build_id from {schema}.{table}").fetchall()
            assert found in ([], [(build_id,)]), f"I3: {schema}.{table} is of another build"
        assert carry, "I3: no metrics"


def _bytes_are_kept(settings: Settings, lake: Lake) -> None:
    for file_id in lake.deliveries()["file_id"].unique():
        kept = (settings.lake / "files" / f"{file_id}.gz").read_bytes()
        assert hashlib.sha256(gzip.decompress(kept)).hexdigest() == file_id, f"I4: {file_id}"


def _ledger_is_a_log(lake: Lake) -> None:
    rows = lake.deliveries()
    assert not rows.duplicated(["batch", "file_id", "path"]).any(), "I5: one verdict is written twice"
    placed = rows.drop_duplicates(["path", "file_id", "sequence"])
    assert not placed["sequence"].duplicated().any(), "I5: two deliveries have one number"
    batches = sorted(rows["batch"].unique())
    assert batches == list(range(1, len(batches) + 1)), "I5: a batch is missing"


def _nothing_lies_about(settings: Settings) -> None:
    """What no ledger file names is gone, and so are temporary files."""
    committed = {f"{parcel:09d}" for parcel in Lake(settings).deliveries()["parcel"]}
    for folder in [*(settings.lake / "records").iterdir(), settings.lake / "quarantine", settings.lake / "validations"]:
        assert {path.stem for path in folder.glob("[0-9]*.parquet")} <= committed, f"I5: {folder.name}"
    left = [path for part in ("lake", "builds") for path in (settings.home / part).rglob(".*.tmp")]
    assert not left + list(settings.home.glob(".*.tmp")) + list(settings.build.glob("reading-*")), left


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    }
