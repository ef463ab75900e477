"""Small files of the lake are merged: what can be read stays what it was, whenever a merge is killed."""

import os
import shutil

import duckdb
import pyarrow.parquet as pq
import pytest

from orchestration import lake as module
from orchestration.lake import Lake, record_schema
from tests.unit.test_lake import commit, entry


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "_SMALL_FILES", 3)


def filled(home, batches: int = 5) -> Lake:
    lake = Lake(home.settings)
    lake.prepare()
    for number in range(batches):
        commit(lake, entry(f"f{number}", f"{number}.csv", number + 1, count=number + 1))
    commit(lake, entry("f0", "0.csv", 1, count=7))  # judged again: the former rows stay, and count no more
    return lake


def read(lake: Lake) -> list[tuple]:
    """Every row as a build reads it, by the folder's own names."""
    lake.settled()
    files = str(lake.root / "records" / "visits" / "*.parquet")
    query = f"select _file_id, _batch, _row_number, subject_id from read_parquet('{files}', union_by_name = true)"
    return duckdb.sql(f"{query} order by all").fetchall()


def names(lake: Lake) -> list[str]:
    return sorted(path.name for path in (lake.root / "records" / "visits").glob("*.parquet") if path.stem != "empty")


def test_merged_rows_are_the_same_rows_in_one_file(home):
    lake = filled(home)
    before, keys = read(lake), [("f3", 4, 2), ("f0", 6, 7)]
    traced, ledger = lake.raw_rows("visits", keys), lake.deliveries()
    assert lake.compact() == 6 and names(lake) == ["merged-000000001.parquet"]
    again = Lake(home.settings)
    assert read(again) == before and again.accepted_rows()["visits"] == 2 + 3 + 4 + 5 + 7
    assert again.raw_rows("visits", keys) == traced and len(traced) == 2
    assert again.deliveries().equals(ledger) and again.compact() == 0


def test_files_that_tell_arrows_types_are_merged_with_those_that_do_not(home):
    """Versions before wrote Arrow's own schema into every file of the lake."""
    lake = filled(home)
    older = lake.root / "records" / "visits" / names(lake)[0]
    pq.write_table(pq.read_table(older).cast(record_schema("visits")), older)
    assert b"ARROW:schema" in pq.read_metadata(older).metadata
    before, keys = read(lake), [("f0", 1, 1), ("f3", 4, 2), ("f0", 6, 7)]
    traced = lake.raw_rows("visits", keys)
    assert lake.compact() == 6
    again = Lake(home.settings)
    assert read(again) == before and again.raw_rows("visits", keys) == traced and len(traced) == 3


def test_what_comes_later_is_merged_with_what_was_merged(home):
    lake = filled(home)
    lake.compact()
    for number in range(6, 9):
        commit(lake, entry(f"f{number}", f"{number}.csv", number + 1, count=1))
    before = read(lake)
    assert lake.compact() == 4 and names(lake) == ["merged-000000002.parquet"]
    assert read(lake) == before


def test_large_files_stay_and_a_merged_one_has_a_bound(home, monkeypatch):
    lake = filled(home)
    before, size = read(lake), max(path.stat().st_size for path in (lake.root / "records" / "visits").iterdir())
    monkeypatch.setattr(module, "_MERGED_BYTES", 3 * size)
    assert lake.compact() == 3 and read(lake) == before
    monkeypatch.setattr(module, "_SMALL_BYTES", 1)
    assert lake.compact() == 0


def test_rows_that_no_ledger_file_names_are_not_merged(home):
    lake = filled(home)
    newest = max((lake.root / "ledger").glob("[0-9]*.parquet"))
    newest.unlink()
    lake.compact()
    assert len(names(lake)) == 2 and lake.accepted_rows()["visits"] == 1 + 2 + 3 + 4 + 5


class Death(BaseException):
    """A process that ends here leaves what was done until now."""


def test_a_merge_that_is_killed_at_any_change_of_a_file_loses_and_doubles_nothing(home, monkeypatch):
    lake = filled(home)
    before, kept = read(lake), home.settings.home.with_name("kept")
    shutil.copytree(home.settings.lake, kept)
    replace, unlink = os.replace, module.Path.unlink

    def dies_at(change: int):
        made = 0

        def counted(do):
            def doing(*arguments, **options):
                nonlocal made
                made += 1
                if made == change:
                    raise Death
                return do(*arguments, **options)

            return doing

        monkeypatch.setattr(os, "replace", counted(replace))
        monkeypatch.setattr(module.Path, "unlink", counted(unlink))

    change = 0
    while True:
        change += 1
        shutil.rmtree(home.settings.lake)
        shutil.copytree(kept, home.settings.lake)
        dies_at(change)
        try:
            Lake(home.settings).compact()
            break
        except Death:
            monkeypatch.setattr(os, "replace", replace)
            monkeypatch.setattr(module.Path, "unlink", unlink)
        assert read(Lake(home.settings)) == before, f"killed before change {change}"
        Lake(home.settings).prepare()
        assert Lake(home.settings).compact() in (0, 6)
        assert read(Lake(home.settings)) == before and names(lake) == ["merged-000000001.parquet"]
    assert change > 7
