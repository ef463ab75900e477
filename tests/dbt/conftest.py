"""A small lake written from rows, and the dbt project built on it in process.

Use (once a module, because a build costs seconds):

    @pytest.fixture(scope="module")
    def warehouse(build_warehouse):
        return build_warehouse({"subjects": [{"subject_id": "S1"}], "exposures": [...]})

    def test_...(warehouse):
        assert warehouse.rows("select ... from marts.dim_subject") == [...]

A row is a dict of canonical columns (text); what it does not name is null. Derived columns of lab results and tumour
measurements are filled in from the value unless the row names them. `_file_id` (default "file"), `_batch` (default 1),
`_row_number` (default: counted within the file) and `_rejected_by` may be given. The ledger is derived: a loaded file
for every `_file_id`, at the path `<_file_id>.csv`; entries in `ledger` come on top or replace those of the same file.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.exports.records import META_COLUMNS, RECORDS
from orchestration.settings import DBT_PROJECT
from orchestration.study import Study

TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "timestamp[us, UTC]": pa.timestamp("us", "UTC"),
    "map<string, string>": pa.map_(pa.string(), pa.string()),
}
RECEIVED_AT = datetime(2025, 1, 1, tzinfo=UTC)
LEDGER = pa.schema({
    "file_id": pa.string(), "path": pa.string(), "source": pa.string(), "layout": pa.string(), "bytes": pa.int64(),
    "received_at": TYPES["timestamp[us, UTC]"], "exported_on": pa.string(), "status": pa.string(),
    "reason": pa.string(), "rows_read": pa.int64(), "rows_accepted": pa.int64(), "rows_quarantined": pa.int64(),
    "rules_hash": pa.string(), "batch": pa.int64(), "sequence": pa.int64(), "parcel": pa.int64(),
})
QUARANTINE = pa.schema({
    "file_id": pa.string(), "row_number": pa.int64(), "record": pa.string(), "field": pa.string(), "value": pa.string(),
    "rule": pa.string(), "severity": pa.string(), "message": pa.string(), "batch": pa.int64(),
})
VALIDATIONS = pa.schema({
    "suite": pa.string(), "expectation": pa.string(), "column": pa.string(), "success": pa.bool_(),
    "evaluated": pa.int64(), "unexpected": pa.int64(), "severity": pa.string(),
    "validated_at": TYPES["timestamp[us, UTC]"], "batch": pa.int64(),
})


@dataclass(frozen=True)
class Warehouse:
    """A built database and dbt's results; `rows` answers a query with tuples, `value` with the first field."""

    path: Path
    results: list

    def rows(self, query: str) -> list[tuple]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def value(self, query: str):
        return self.rows(query)[0][0]


def _derived(record: str, row: dict) -> dict:
    """What the reader would compute from the plain forms that tests use (`<0.5`, `12.3`, `TOO SMALL TO MEASURE`)."""
    row = dict(row)
    value = row.get("value") or ""
    number = re.fullmatch(r"([<>]=?)?\s*(-?\d+(?:\.\d+)?)", value)
    if record == "lab_results":
        row = {"analyte": "SERUM HER2", "analyte_key": "serum_her2", "unit": "ng/mL"} | row
        row = {"unit_code": row["unit"]} | row
        row = {"value_operator": (number and number[1]) or ("<" if value == "BLQ" else None)} | row
        for name in ("collected_at", "reported_at"):
            row.setdefault(f"{name}_on", row.get(name) and row[name][:10])
    if record == "tumor_measurements":
        row = {"unit_code": row.get("unit") or ("mm" if number else None)} | row
        row = {"value_code": None if number else value or None} | row
    if record == "tumor_responses":
        row = {"value_code": value or None} | row
    if record in ("lab_results", "tumor_measurements"):
        row = {"value_number": number and number[2]} | row
    if record.startswith("tumor"):
        row = {"evaluator": "INVESTIGATOR"} | row
    return row


def _write(folder: Path, schema: pa.Schema, rows: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(schema.empty_table(), folder / "empty.parquet")
    if rows:
        unknown = {key for row in rows for key in row} - set(schema.names)
        assert not unknown, f"{folder.name} has no column {', '.join(sorted(unknown))}"
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "000000001.parquet")


def write_lake(folder: Path, records: dict[str, list[dict]], ledger=(), quarantine=(), validations=()) -> Path:
    """Write rows as a lake of the layout that the dbt sources read."""
    counted: dict[tuple[str, int], int] = {}
    for name, record in RECORDS.items():
        columns = {column: TYPES[kind] for column, kind in META_COLUMNS.items()}
        schema = pa.schema(columns | {column: pa.string() for column in record.column_names})
        rows = []
        for row in records.get(name, []):
            file = (row.get("_file_id", "file"), row.get("_batch", 1))
            counted[file] = counted.get(file, 0) + 1
            meta = {"_file_id": file[0], "_batch": file[1], "_row_number": counted[file], "_received_at": RECEIVED_AT}
            rows.append(meta | {"_source": {}} | _derived(name, row))
        _write(folder / "records" / name, schema, rows)
    given = {entry["file_id"] for entry in ledger}
    entries = [
        {"file_id": file, "batch": batch, "rows_read": count, "rows_accepted": count}
        for (file, batch), count in counted.items()
        if file not in given
    ] + list(ledger)
    _write(folder / "ledger", LEDGER, [
        {
            "path": f"{entry['file_id']}.csv", "source": "site", "layout": "site", "bytes": 1, "batch": 1,
            "sequence": sequence, "received_at": RECEIVED_AT, "status": "loaded", "rows_read": 0, "rows_accepted": 0,
            "rows_quarantined": 0,
        } | entry
        for sequence, entry in enumerate(entries, 1)
    ])
    _write(folder / "quarantine", QUARANTINE, list(quarantine))
    _write(folder / "validations", VALIDATIONS, list(validations))
    return folder


def run_dbt(*arguments: str, lake: Path, database: Path, target: Path, study: Study) -> list:
    """One dbt command in this process; raises AssertionError with dbt's own message where it does not succeed."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    os.environ |= {"SHER2_LAKE": str(lake), "SHER2_LEDGER": str(lake / "ledger"), "SHER2_BUILD_DB": str(database)}
    try:
        outcome = dbtRunner().invoke([
            *arguments, "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--log-level", "none",
            "--target-path", str(target), "--log-path", str(target), "--vars", json.dumps(study.dbt_vars()),
        ])
    finally:
        DuckDBConnectionManager.close_all_connections()
    failures = [
        f"{result.node.unique_id}: {result.message}"
        for result in getattr(outcome.result, "results", [])
        if result.status in ("error", "fail", "runtime error")
    ]
    assert outcome.success, "\n".join(failures) or str(outcome.exception)
    return list(getattr(outcome.result, "results", []))


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory) -> Path:
    """dbt's parsed project, shared so that it is parsed again only where the study changes."""
    return tmp_path_factory.mktemp("target")


@pytest.fixture(scope="session")
def build_warehouse(tmp_path_factory, dbt_target) -> Callable[..., Warehouse]:
    """(records, study=None, checks=("test",), **other tables of the lake) -> Warehouse; `checks`: tests to run."""

    def build(records: dict[str, list[dict]], study: Study | None = None, checks=("test",), **tables) -> Warehouse:
        folder = tmp_path_factory.mktemp("warehouse")
        lake = write_lake(folder / "lake", records, **tables)
        database = folder / "build.duckdb"
        left_out = [f"--exclude-resource-type={kind}" for kind in ("test", "unit_test") if kind not in checks]
        results = run_dbt("build", *left_out, lake=lake, database=database, target=dbt_target, study=study or Study())
        return Warehouse(database, results)

    return build
