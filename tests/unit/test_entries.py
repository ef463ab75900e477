"""Ledger files are read once, and what is remembered of them never stands against them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration import entries

SCHEMA = pa.schema({"file_id": pa.string(), "batch": pa.int64()})
FILES = 70


class Ledger:
    def __init__(self, folder):
        self.folder, self.memory = folder / "ledger", folder / "memory.parquet"
        self.folder.mkdir()
        for number in range(FILES):
            self.write(number, f"file {number}")

    def write(self, number, file_id):
        pq.write_table(pa.table({"file_id": [file_id], "batch": [number]}, SCHEMA), self.folder / f"{number:03}.parquet")

    def read(self) -> set:
        names = sorted(path.name for path in self.folder.iterdir())
        rows = entries.read(self.folder, names, SCHEMA, self.memory).to_pylist()
        assert len(rows) == len(names)
        return {(row["batch"], row["file_id"]) for row in rows}


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path)


@pytest.fixture(params=["in this process", "in the next process"])
def remembered(ledger, request) -> Ledger:
    ledger.read()
    if request.param == "in the next process":
        entries._in_this_process.clear()
    return ledger


def expected(**changes) -> set:
    return {(number, changes.get(str(number), f"file {number}")) for number in range(FILES)}


def test_all_files_are_one_table(ledger):
    assert ledger.read() == expected()


def test_only_what_is_new_is_read(remembered, monkeypatch):
    remembered.write(FILES, "new")
    read, opened = pq.read_table, []
    monkeypatch.setattr(pq, "read_table", lambda path, **options: opened.append(path.name) or read(path, **options))
    assert remembered.read() == expected() | {(FILES, "new")}
    assert set(opened) - {"memory.parquet"} == {f"{FILES:03}.parquet"}


def test_a_file_that_is_another_one_counts_as_it_is(remembered):
    remembered.write(7, "fileX7")  # as long as before
    assert remembered.read() == expected(**{"7": "fileX7"})


def test_a_file_that_is_gone_counts_no_more(remembered):
    (remembered.folder / "007.parquet").unlink()
    assert remembered.read() == expected() - {(7, "file 7")}


def test_a_file_that_was_damaged_is_noticed(remembered):
    path = remembered.folder / "007.parquet"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(pa.ArrowInvalid):
        remembered.read()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"PAR1"), lambda path: path.unlink(), lambda path: (
    pq.write_table(pa.table({"file_id": ["false"]}), path))], ids=["cut", "gone", "another table"])  # fmt: skip
def test_a_memory_that_cannot_be_read_is_done_without(ledger, damage):
    ledger.read()
    entries._in_this_process.clear()
    damage(ledger.memory)
    assert ledger.read() == expected()


def test_a_home_that_is_only_read_is_read(ledger):
    ledger.memory = ledger.folder.parent / "nowhere" / "memory.parquet"
    assert ledger.read() == expected()
