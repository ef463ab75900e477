"""The lake's protocol: bytes are kept once, a batch counts whole or not at all, attempts are counted."""

import gzip
import os
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.exports.records import RECORDS
from orchestration.findings import FAULT_SCHEMA
from orchestration.lake import LEDGER_SCHEMA, Lake, record_schema
from orchestration.validation import RESULT_SCHEMA

NOW = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def lake(home):
    lake = Lake(home.settings)
    lake.prepare()
    return lake


def rows(file_id: str, parcel: int, count: int) -> pa.Table:
    row = {"_file_id": file_id, "_batch": parcel, "_received_at": NOW, "_source": [], "subject_id": "S1"}
    return pa.Table.from_pylist([row | {"_row_number": number + 1} for number in range(count)], record_schema("visits"))


def entry(file_id: str, path: str, sequence: int, status: str = "loaded", count: int = 0) -> dict:
    nothing = dict.fromkeys(LEDGER_SCHEMA.names)
    facts = {"file_id": file_id, "path": path, "sequence": sequence, "status": status, "received_at": NOW, "bytes": 1}
    counts = {"rows_read": count, "rows_accepted": count, "rows_quarantined": 0, "rules_hash": "r"}
    return {name: value for name, value in (nothing | facts | counts).items() if name not in ("batch", "parcel")}


def commit(lake: Lake, *entries: dict) -> int:
    parcel = lake.new_parcel()
    visits = [rows(item["file_id"], parcel, item["rows_read"]) for item in entries if item["status"] == "loaded"]
    records = {"visits": visits} if visits else {}
    return lake.commit(
        parcel, records, FAULT_SCHEMA.empty_table(), RESULT_SCHEMA.empty_table(), lambda batch: list(entries)
    )


def statuses(lake: Lake) -> dict[tuple[str, str], str]:
    return {(row.path, row.file_id): row.status for row in lake.ledger().itertuples()}


def test_readers_always_find_a_file_of_every_table(lake):
    for record in RECORDS:
        assert pq.read_table(lake.root / "records" / record / "empty.parquet").schema.equals(record_schema(record))
    assert lake.ledger().empty and lake.quarantine().empty and lake.accepted_rows()["visits"] == 0


def test_bytes_are_kept_once_under_their_hash_and_packed_the_same_every_time(lake, tmp_path):
    sha = lake.keep([b"abc", b"def"])
    kept = lake.root / "files" / f"{sha}.gz"
    first = kept.read_bytes(), kept.stat().st_mtime_ns
    assert lake.keep([b"abcdef"]) == sha
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == first
    assert gzip.decompress(first[0]) == lake.copy(sha, tmp_path).read_bytes() == b"abcdef"
    kept.unlink()
    lake.keep([b"abcdef"])
    assert kept.read_bytes() == first[0]
    assert [path.name for path in (lake.root / "files").iterdir()] == [f"{sha}.gz"]


def test_data_without_its_ledger_file_does_not_exist(lake):
    commit(lake, entry("a", "x.csv", 1, count=2))
    batch = commit(lake, entry("b", "y.csv", 2, count=3))
    (lake.root / "ledger" / f"{batch:09d}.parquet").unlink()
    (lake.root / "records" / "visits" / ".000000009.parquet.tmp").write_bytes(b"torn")
    assert lake.accepted_rows()["visits"] == 2 and statuses(lake) == {("x.csv", "a"): "loaded"}
    lake.prepare()
    left = sorted(os.listdir(lake.root / "records" / "visits"))
    assert len(left) == 2 and left[1] == "empty.parquet" and lake.next_batch() == batch


def test_rows_count_in_the_batch_of_the_newest_judgement(lake):
    commit(lake, entry("a", "x.csv", 1, count=2))
    commit(lake, entry("a", "x.csv", 1, count=3))
    assert lake.accepted_rows()["visits"] == 3
    commit(lake, entry("a", "x.csv", 1, "rejected"))
    assert lake.accepted_rows()["visits"] == 0 and statuses(lake) == {("x.csv", "a"): "rejected"}


def test_the_newest_loaded_delivery_of_a_path_supersedes(lake):
    commit(lake, entry("a", "x.csv", 1))
    commit(lake, entry("b", "x.csv", 2, "rejected"))
    assert statuses(lake) == {("x.csv", "a"): "loaded", ("x.csv", "b"): "rejected"}
    commit(lake, entry("c", "x.csv", 3), entry("c", "copy.csv", 4, "duplicate"))
    expected = {("x.csv", "a"): "superseded", ("x.csv", "b"): "rejected", ("x.csv", "c"): "loaded"}
    assert statuses(lake) == expected | {("copy.csv", "c"): "duplicate"}
    commit(lake, entry("a", "x.csv", 5, "duplicate"))  # the older bytes are back
    assert statuses(lake)["x.csv", "a"] == "loaded" and statuses(lake)["x.csv", "c"] == "superseded"


def test_data_hash_knows_corrections_and_refusals_but_no_batches(home, tmp_path):
    def content(name: str, *batches) -> str:
        from dataclasses import replace

        lake = Lake(replace(home.settings, home=tmp_path / name))
        lake.prepare()
        for batch in batches:
            commit(lake, *batch)
        return lake.data_hash()

    a, b = entry("a", "x.csv", 1), entry("b", "y.csv", 2)
    reference = content("one batch", [a, b])
    assert content("two batches", [b], [a]) == reference
    assert content("also refused", [a, b], [entry("c", "z.csv", 3, "rejected")]) != reference
    assert content("also elsewhere", [a, b], [entry("a", "copy.csv", 3, "duplicate")]) != reference
    assert content("one file", [a]) != reference
    corrected = content("b corrects a", [a], [entry("b", "x.csv", 2)])
    assert len({reference, corrected, content("a corrects b", [entry("b", "x.csv", 1)], [entry("a", "x.csv", 2)])}) == 3


def test_attempts_of_dead_runs_are_counted_until_a_verdict_stands(lake):
    for count in (1, 2):
        lake.attempt(["a", "b"])
        lake.prepare()  # the next run finds the note of one that died
        assert lake.dead_attempts() == {"a": count, "b": count}
    lake.attempt(["b"])
    lake.attempted(set())  # closed in order
    lake.prepare()
    assert lake.dead_attempts() == {"a": 2, "b": 2}
    commit(lake, entry("b", "x.csv", 1))
    assert lake.dead_attempts() == {"a": 2}
