"""Tables larger than memory should hold say the same as small ones, row by row and in the same order."""

import threading
import weakref
from random import Random

import pyarrow as pa
import pytest

from orchestration.exports import confined, delimited, read, tables
from orchestration.exports.spill import Spilled, ahead, pieces, regrouped, side_by_side, whole
from orchestration.study import Study
from tests.unit.exports import writers

HEAD = "subject_id,sample_id,analyte,value,unit,collected_at"


def export(count: int, random: Random, end: str) -> str:
    """Rows of which some have a field too many or too few, some a quoted end of line, some letters beyond ASCII."""
    lines = []
    for number in range(count):
        cells = [f"S{number % 7}", f"A{number}", "42914-2", f"{number / 10}", "ng/mL", "2024-03-01T08:00"]
        fault = random.random()
        if fault < 0.05:
            cells.append("x")
        elif fault < 0.1:
            cells.pop()
        elif fault < 0.2:
            cells[1] = f'"A{end}{number}"'
        elif fault < 0.3:
            cells[4] = "µg/L"
        lines.append(",".join(cells))
    return HEAD + end + end.join(lines) + end


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_set_down_on_disk_holds_the_rows_of_one_in_memory(sheet, monkeypatch, end):
    content = export(500, Random(end), end)
    in_memory = sheet(content).table
    monkeypatch.setattr(delimited, "SPILL_ROWS", 100)
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 4096)
    on_disk = sheet(content).table
    assert isinstance(on_disk, Spilled)
    assert len(list(pieces(on_disk))) > 3
    assert on_disk.num_rows == in_memory.num_rows == 500
    for _ in range(2):  # it is read more than once
        assert pa.concat_tables(pieces(on_disk)).combine_chunks().equals(in_memory.combine_chunks())


@pytest.mark.parametrize("names", [("_row_number",), ("value", "subject_id"), ("_misread", "_row_number", "_source")])
def test_columns_that_are_asked_for_are_those_of_the_table_on_disk_as_in_memory(sheet, monkeypatch, names):
    content = export(500, Random("columns"), "\n")
    in_memory = sheet(content).table
    monkeypatch.setattr(delimited, "SPILL_ROWS", 100)
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 4096)
    asked_for = [name for name in in_memory.column_names if name in names]
    for table in (sheet(content).table, in_memory):
        found = pa.concat_tables(pieces(table, names)).combine_chunks()
        assert found.equals(in_memory.select(asked_for).combine_chunks())


@pytest.mark.parametrize("pseudonymise", [False, True], ids=["ids", "pseudonyms"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "xpt", "several"])
def test_a_table_of_any_format_set_down_on_disk_holds_the_rows_of_one_in_memory(tmp_path, monkeypatch, kind, pseudonymise):
    monkeypatch.setenv("SHER2_PSEUDONYM_KEY", "a secret of the test")
    study = Study.model_validate({"privacy": {"pseudonymise": pseudonymise}})
    lab = [{"subject_id": f"S-{row % 7:05}", "analyte": "42914-2", "value": row / 4, "unit": "ng/mL", "collected_at": "2024-03-01"} for row in range(300)]
    visits = [{"subject_id": f"S-{row:05}", "visit_name": "C1D1", "visit_on": "2024-03-01"} for row in range(150)]
    content = {
        "csv": lambda: writers.as_csv(lab),
        "parquet": lambda: writers.as_parquet(lab),
        "xpt": lambda: writers.as_xpt(lab, tmp_path, "LAB", 8),
        "several": lambda: writers.as_xpts(*(writers.as_xpt(rows, tmp_path, title, 8) for title, rows in (("LAB", lab), ("VISITS", visits)))),
    }[kind]()  # fmt: skip
    (tmp_path / "copy").write_bytes(content)
    name = f"lab/lab_results.{'xpt' if kind == 'several' else kind}"
    in_memory = read(tmp_path / "copy", name, study)
    monkeypatch.setattr(confined, "SPILL_ROWS", 100)
    monkeypatch.setattr(delimited, "SPILL_ROWS", 100)
    monkeypatch.setattr(tables, "_BATCH_ROWS", 64)
    on_disk = read(tmp_path / "copy", name, study)
    assert [type(item.table) for item in on_disk] == [Spilled] * len(in_memory)
    for one, other in zip(in_memory, on_disk, strict=True):
        assert (one.part, one.rows_before, one.headings) == (other.part, other.rows_before, other.headings)
        assert whole(other.table).combine_chunks().equals(one.table.combine_chunks())
    assert ("S-00001" in str(whole(on_disk[0].table).to_pylist())) != pseudonymise


def test_only_the_next_item_is_made_ahead():
    made = []

    def items():
        for number in range(4):
            made.append(number)
            yield number

    found = ahead(items())
    assert made == []
    assert next(found) == 0
    assert list(found) == [1, 2, 3] and made == [0, 1, 2, 3]


@pytest.mark.parametrize("sizes", [[], [3], [10], [4, 0, 9, 1, 1], [25]])
def test_regrouped_rows_keep_their_order_and_number(sizes):
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    tables = [pa.table({"n": range(start, start + size)}) for start, size in zip(starts, sizes, strict=True)]
    groups = [table["n"].to_pylist() for table in regrouped(tables, 5)]
    assert [number for group in groups for number in group] == list(range(sum(sizes)))
    assert all(len(group) == 5 for group in groups[:-1]) and all(0 < len(group) <= 5 for group in groups)


def test_a_group_of_rows_is_held_by_its_user_alone():
    groups = regrouped([pa.table({"n": range(start, start + 4)}) for start in range(0, 20, 4)], 5)
    held = [weakref.ref(next(groups)) for _ in range(4)]
    assert [group() for group in held] == [None] * 4


def test_work_side_by_side_keeps_the_order_and_stays_few_items_ahead():
    first_may_end, asked = threading.Event(), []

    def items():
        for number in range(20):
            asked.append(number)
            yield number

    def work(number: int) -> int:
        if number == 0:
            first_may_end.wait(10)
        else:
            first_may_end.set()  # the second is under way while the first still waits
        return number * number

    found = side_by_side(work, items(), threads=2)
    assert next(found) == 0
    assert len(asked) <= 4
    assert list(found) == [number * number for number in range(1, 20)]


def test_an_error_of_work_side_by_side_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda number: 1 // number, [2, 1, 0, 3]))
