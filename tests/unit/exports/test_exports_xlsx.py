"""Workbooks: cells are taken as what they are; what a table cannot hold is refused with sheet, cell and mend."""

import io
import zipfile
from datetime import date, datetime

import pytest

from orchestration.exports import Rejected, read
from orchestration.study import Study
from tests.unit.exports import writers

VISITS = [["subject_id", "visit_name", "visit_on"], ["S1", "C1D1", date(2024, 3, 1)], ["S2", "C1D1", "2024-03-02"]]
LABS = [
    ["subject_id", "analyte", "value", "unit", "collected_at", "remark"],
    ["S1", "42914-2", 5, "ng/mL", datetime(2024, 3, 1, 8, 30), "x"],
]


@pytest.fixture
def sheets(tmp_path):
    def of(content: bytes, name: str = "clinical/book.xlsx", **study):
        path = tmp_path / "copy"
        path.write_bytes(content)
        return read(path, name, Study.model_validate(study))

    return of


def changed(content: bytes, member: str, old: str, new: str) -> bytes:
    """A workbook with one text of one member replaced: what openpyxl itself would not write."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            data = source.read(item)
            if item.filename == member:
                assert old.encode() in data
                data = data.replace(old.encode(), new.encode())
            target.writestr(item.filename, data)
    return out.getvalue()


def test_every_sheet_with_a_layout_is_read_and_its_rows_are_numbered_on(sheets):
    found = sheets(writers.as_xlsx({"SV": VISITS, "Labs": LABS, "Legend": [["how to read this"], ["x"]]}))
    assert [(sheet.record, sheet.part, sheet.rows_before) for sheet in found] == [
        ("visits", "sheet 'SV'", 0), ("lab_results", "sheet 'Labs'", 2),
    ]  # fmt: skip
    assert [sheet.table["_row_number"].to_pylist() for sheet in found] == [[1, 2], [3]]
    assert "sheet 'Legend'" in found[0].note


def test_a_declared_sheet_is_the_only_one_that_is_read(sheets):
    source = {"name": "edc", "match": "*.xlsx", "layout": "site", "sheet": "Second", "heading_row": 3}
    second = [["Study 1"], [None, "made by hand"], *VISITS]
    [found] = sheets(writers.as_xlsx({"First": VISITS, "Second": second}), sources=[source])
    assert (found.part, found.source, found.table.num_rows) == ("sheet 'Second'", "edc", 2)
    assert "study.yaml names other sheets: sheet 'First'" in found.note
    assert found.table["visit_on"].to_pylist() == ["2024-03-01", "2024-03-02"]


def test_a_declared_sheet_that_is_not_as_declared_refuses_the_file(sheets):
    source = {"name": "edc", "match": "*.xlsx", "layout": "site", "sheet": "Second"}
    with pytest.raises(Rejected) as refusal:
        sheets(writers.as_xlsx({"First": VISITS, "Second": [["a", "b"], [1, 2]]}), sources=[source])
    assert refusal.value.rule == "header_mismatch" and "sheet 'Second'" in refusal.value.message


def test_a_hidden_sheet_is_left_out_and_the_verdict_says_so(sheets):
    hide = {"Old": lambda sheet: setattr(sheet, "sheet_state", "hidden")}
    [found] = sheets(writers.as_xlsx({"SV": VISITS, "Old": VISITS}, **hide))
    assert found.note == "left out, hidden: sheet 'Old'"


def test_blank_rows_and_columns_are_no_part_of_the_table(sheets):
    [found] = sheets(writers.as_xlsx({"SV": [[], [*VISITS[0], None], [], VISITS[1], [None] * 3, VISITS[2]]}))
    assert found.table["_row_number"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("value", "shape", "text"),
    [
        (14.999999999999998, "General", "15"), (0.1 + 0.2, "General", "0.3"), (14.999999999, "General", "14.999999999"),
        (1e-7, "General", "0.0000001"), (5.0, "0.00", "5"), (7, "000", "007"), (7, "General", "7"), (True, "General", "TRUE"),
        ("007", "General", "007"), ("=1+1", "@", "=1+1"), (" x ", "General", " x "),
        (datetime(2024, 3, 1), "dd.mm.yy", "2024-03-01"), (datetime(2024, 3, 1, 8, 30, 0, 400), "dd.mm.yy hh:mm", "2024-03-01T08:30:00"),
    ],
)  # fmt: skip
def test_a_cell_is_taken_as_what_it_is_not_as_it_is_shown(sheets, value, shape, text):
    def spell(sheet):
        cell = sheet["F2"]
        cell.value, cell.number_format = value, shape
        if isinstance(value, str):
            cell.data_type = "s"

    [found] = sheets(writers.as_xlsx({"Labs": LABS}, Labs=spell))
    assert dict(found.table["_source"][0].as_py())["remark"] == text


def test_a_workbook_of_the_1904_calendar_keeps_its_days(sheets):
    content = writers.as_xlsx({"SV": [*VISITS[:1], ["S1", "C1D1", 43890]]}, SV=lambda sheet: setattr(sheet["C2"], "number_format", "yyyy-mm-dd"))
    assert [sheet.table["visit_on"].to_pylist() for sheet in sheets(content)] == [["2020-02-29"]]
    mac = changed(content, "xl/workbook.xml", "<workbookPr ", '<workbookPr date1904="1" ')
    assert [sheet.table["visit_on"].to_pylist() for sheet in sheets(mac)] == [["2024-03-01"]]


def test_an_error_in_a_column_that_counts_sets_the_row_aside(sheets):
    def break_cells(sheet):
        for cell in ("C2", "F3"):
            sheet[cell].value, sheet[cell].data_type = "#N/A", "e"

    [found] = sheets(writers.as_xlsx({"Labs": [*LABS, LABS[1]]}, Labs=break_cells))
    assert found.table["_misread"].to_pylist() == ["value: the cell holds the error #N/A", None]
    assert found.table["value"].to_pylist() == [None, "5"]


def test_a_formula_beside_the_columns_that_count_is_no_matter(sheets):
    [found] = sheets(writers.as_xlsx({"Labs": LABS}, Labs=lambda sheet: setattr(sheet["F2"], "value", "=C2*2")))
    assert found.table["value"].to_pylist() == ["5"]


@pytest.mark.parametrize(
    ("content", "rule", "says"),
    [
        (lambda: writers.as_xlsx({"Labs": LABS}, Labs=lambda sheet: setattr(sheet["C2"], "value", "=2+3")), "formula", "cell C2 in the column 'value'"),
        (lambda: writers.as_xlsx({"SV": VISITS}, SV=lambda sheet: sheet.merge_cells("A2:A3")), "merged_cells", "cells A2:A3"),
        (lambda: writers.as_xlsx({"SV": VISITS}, SV=lambda sheet: sheet.merge_cells("A1:B1")), "merged_cells", "the heading"),
        (lambda: writers.as_xlsx({"SV": VISITS, "Labs": [row[:4] for row in LABS]}), "header_mismatch", "sheet 'Labs'"),
        (lambda: writers.as_xlsx({"SV": [["A title of the sheet"], *VISITS]}), "header_mismatch", "sheet 'SV'"),
        (lambda: writers.as_xlsx({"SV": [[*VISITS[0], None], [*VISITS[1], "x"]]}), "blank_header", "column 4"),
        (lambda: writers.as_xlsx({"SV": VISITS}, SV=lambda sheet: sheet.cell(5, 5_000, "far")), "too_wide", "sheet 'SV'"),
        (lambda: writers.as_xlsx({"SV": []}), "empty", "no visible sheet"),
        (lambda: writers.as_xlsx({"A": [], "SV": VISITS}, SV=lambda sheet: setattr(sheet, "sheet_state", "hidden")), "empty", "no visible sheet"),
        (lambda: writers.as_zip({"[Content_Types].xml": b"", "xl/workbook.xml": b"", "xl/vbaProject.bin": b""}), "macros", "without them"),
        (lambda: writers.as_zip({"[Content_Types].xml": b"", "word/document.xml": b""}), "type_mismatch", "no .xlsx workbook"),
        (lambda: writers.as_zip({"[Content_Types].xml": b"", "xl/workbook.xml": b"<a/>"}), "damaged", "Export it again"),
        (lambda: writers.as_xlsx({"SV": VISITS})[:-30], "damaged", "not whole"),
    ],
    ids=["formula", "merged", "merged-heading", "one-sheet-unknown", "title-row", "blank-heading", "far-cell", "empty", "hidden", "macros", "word", "no-workbook", "cut"],
)  # fmt: skip
def test_what_a_table_cannot_hold_is_refused_with_place_and_mend(sheets, content, rule, says):
    with pytest.raises(Rejected) as refusal:
        sheets(content())
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True), refusal.value.message
    assert "clinical/book.xlsx" in refusal.value.message


def test_a_far_row_costs_no_memory_and_is_read(sheets):
    content = writers.as_xlsx({"SV": VISITS}, SV=lambda sheet: sheet.append([]) or sheet.cell(1_000_000, 1, "S3"))
    [found] = sheets(content)
    assert found.table.num_rows == 3


BOMB = '<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><workbook>&b;</workbook>'


@pytest.mark.parametrize(
    ("content", "rule", "says"),
    [
        (lambda: writers.as_zip({"[Content_Types].xml": b"", "xl/workbook.xml": b"", "xl/x.xml": bytes(3 << 20)}), "too_large", "max_unpacked_mb"),
        (lambda: writers.as_zip({"[Content_Types].xml": b"", "xl/workbook.xml": b""} | {f"xl/{i}": b"" for i in range(60)}), "too_large", "max_members"),
        (lambda: changed(writers.as_xlsx({"SV": VISITS}), "xl/workbook.xml", "<workbook ", BOMB + "<workbook "), "damaged", "Export it again"),
    ],
    ids=["bomb", "members", "entities"],
)  # fmt: skip
def test_hostile_workbooks_are_refused_before_they_unfold(sheets, content, rule, says):
    with pytest.raises(Rejected) as refusal:
        sheets(content(), ingest={"max_unpacked_mb": 2, "max_members": 50})
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True), refusal.value.message
