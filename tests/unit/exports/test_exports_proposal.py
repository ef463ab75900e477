"""A proposed layout is a valid `sources:` entry that reads its own file, and says what a person must decide."""

from datetime import datetime

import pytest
import yaml

from orchestration.errors import UserError
from orchestration.exports import read
from orchestration.exports.proposal import propose
from orchestration.study import Study
from tests.unit.exports import writers

GERMAN = (
    "Patientennr;Probe;Analyt;Ergebnis;Einheit;Entnahme;Bemerkung\r\n"
    "S1;P1;42914-2;12,5;µg/L;13.03.2024 08:30;x\r\nS2;P2;42914-2;<5,0;µg/L;14.03.2024 09:00;\r\n"
)
VISITS = [["subject_id", "visit_name", "visit_on"], ["S1", "C1D1", datetime(2024, 3, 1)], ["S2", "C1D1", "2024-03-02"]]


@pytest.fixture
def proposed(tmp_path):
    """(text, entries) proposed for a file of this content."""

    def of(content: bytes, name: str):
        path = tmp_path / name
        path.write_bytes(content)
        text = propose(path, Study())
        return text, yaml.safe_load(text)["sources"], path

    return of


def test_a_foreign_table_is_proposed_as_it_is_written_and_reads(proposed):
    text, entries, path = proposed(GERMAN.encode("cp1252"), "lis [nord]_1.csv")
    [entry] = entries
    assert (entry["delimiter"], entry["encoding"], entry["decimal"], entry["datetime_format"]) == (";", "cp1252", ",", "%d.%m.%Y %H:%M")
    assert "# check: Bemerkung: matched to no column" in text and "# check: encoding" in text and "µg/L" in text
    [sheet] = read(path, f"lab/{path.name}", Study.model_validate({"sources": entries}))
    assert sheet.source == entry["name"]
    assert sheet.table["value_number"].to_pylist() == ["12.5", "5.0"] and sheet.table["unit_code"].to_pylist() == ["ug/L"] * 2


def test_each_sheet_of_a_workbook_gets_its_entry_and_reads(proposed):
    labs = [["Results of the laboratory"], [], ["Patient", "Test", "Result", "Unit", "Collected"], ["S1", "42914-2", 12.5, "ng/mL", datetime(2024, 3, 1, 8, 30)]]
    hidden = {"Old": lambda sheet: setattr(sheet, "sheet_state", "hidden")}
    text, entries, path = proposed(writers.as_xlsx({"SV": VISITS, "Labs": labs, "Old": VISITS}, **hidden), "book.xlsx")
    assert [(entry["sheet"], entry["record"], entry.get("heading_row")) for entry in entries] == [("SV", "visits", None), ("Labs", "lab_results", 2)]
    assert "date_format" not in text and "heading_row: 1 filled rows above" in text
    sheets = read(path, "clinical/book.xlsx", Study.model_validate({"sources": entries}))
    assert [(sheet.record, sheet.table.num_rows) for sheet in sheets] == [("visits", 2), ("lab_results", 1)]


def test_what_a_workbook_must_not_hold_is_told_beforehand(proposed):
    def spoil(sheet):
        sheet.merge_cells("A2:A3")
        sheet["B2"].value = "=1+1"

    text, *_ = proposed(writers.as_xlsx({"SV": VISITS}, SV=spoil), "book.xlsx")
    assert "cells A2:A3 are merged" in text and "cell B2 is a formula" in text


@pytest.mark.parametrize(
    ("dates", "formats"),
    [(["01.02.2024"], "%d.%m.%Y"), (["13/02/2024"], "%d/%m/%Y"), (["02/13/2024"], "%m/%d/%Y"), (["01/02/2024"], "%d/%m/%Y"), (["2024-02-01"], None)],
)  # fmt: skip
def test_dates_that_read_two_ways_are_a_question(proposed, dates, formats):
    text, [entry], _ = proposed(("subject_id,visit_name,visit_on\n" + "".join(f"S1,C1,{day}\n" for day in dates)).encode(), "sv.csv")
    assert entry.get("date_format") == formats
    assert ("ask the sender" in text) == (dates == ["01/02/2024"])


def test_a_heading_cannot_leave_its_comment(proposed):
    text, [entry], _ = proposed(b'subject_id,visit_name,visit_on,"x\n- name: evil"\nS1,C1,2024-02-01,1\n', "sv.csv")
    assert entry["name"] == "sv" and "x - name: evil" in text


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "a.csv", "no table"), (b"only one line\n", "a.csv", "no table"), (b"a,b\n\0,1\n", "a.csv", "no text"),
        (b"PAR1" + bytes(9), "a.parquet", "damaged"), (writers.as_xlsx({"A": []}), "a.xlsx", "no table"),
        (writers.as_xlsx({"A": [["a", "b"], [1, 2]]})[:-20], "a.xlsx", "damaged"), (b'a,b\n"' + b"x" * 200_000, "a.csv", "rows"),
    ],
    ids=["empty", "one-line", "nul", "parquet", "empty-workbook", "cut-workbook", "unclosed"],
)  # fmt: skip
def test_what_is_no_table_is_said_in_one_line(proposed, content, name, says):
    with pytest.raises(UserError) as error:
        proposed(content, name)
    assert says in str(error.value) and "\n" not in str(error.value)


TITLED = "Laboratory of the North\nas of: 2024-05-01, page 1\n\n"
LABS = "subject_id;sample_id;analyte;value;unit;collected_at;Patientenname\nS1;A1;42914-2;12,5;ng/mL;13.03.2024 08:30;PLANTED, JANE\n"


@pytest.mark.parametrize(
    ("content", "written"),
    [
        (TITLED + LABS, {"heading_row": 3, "delimiter": ";"}),
        ("sep=;\n" + LABS, {"heading_row": 2, "delimiter": ";"}),
        (LABS.replace("\n", "\r"), {"delimiter": ";"}),
        (LABS.replace(";", "\t").encode("utf-16"), {"delimiter": "\t", "encoding": "utf-16"}),
        (LABS + "S2;A2;42914-2;13,5;ng/mL;14.03.2024;x\n", {"date_format": "%d.%m.%Y", "datetime_format": "%d.%m.%Y %H:%M"}),
        (LABS.replace("13.03.2024 08:30", "03/13/2024 8:30 AM"), {"datetime_format": "%m/%d/%Y %I:%M %p"}),
    ],
    ids=["titles", "sep", "old line ends", "utf-16", "days and times", "half days"],
)
def test_tables_as_programs_save_them_are_proposed_and_read(proposed, content, written):
    text, [entry], path = proposed(content if isinstance(content, bytes) else content.encode(), "labs.csv")
    assert {key: entry.get(key) for key in written} == written
    assert "Patientenname: holds names of people" in text and "PLANTED" not in text
    [sheet] = read(path, "lab/labs.csv", Study.model_validate({"sources": [entry], "study": {"timezone": "Europe/Berlin"}}))
    assert sheet.table["value_number"][0].as_py() == "12.5" and sheet.table["collected_at"][0].as_py() == "2024-03-13T07:30:00Z"


LAB = [{"Patient": "S1", "Probe": "P1", "Test": "42914-2", "Ergebnis": "12.5", "Einheit": "µg/L", "Abnahme": "13.03.2024 08:30"}]
ODM = """<?xml version="1.0" encoding="UTF-8"?>
<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" FileType="Snapshot" ODMVersion="1.3"><ClinicalData><SubjectData SubjectKey="S1">
<StudyEventData StudyEventOID="SE"><FormData FormOID="F"><ItemGroupData ItemGroupOID="LAB">{items}</ItemGroupData></FormData>
</StudyEventData></SubjectData></ClinicalData></ODM>"""


@pytest.mark.parametrize("name", ["lis.xpt", "lis.parquet", "lis.json", "lis.xml", "two.xpt"])
def test_every_format_of_tables_gets_a_layout_that_reads_it(proposed, tmp_path, name):
    cp1252 = [{"Patient": "S1", "Probe": "P1", "Test": "42914-2", "Ergebnis": "12.5", "Einheit": "ug/L", "Abnahme": "13.03.2024 08:30"}]
    visits = [{"Patient": "S1", "Visit": "C1D1", "VISITDT": "13.03.2024"}]
    lis = writers.as_xpt(cp1252, tmp_path, "LIS").replace(b"ug/L", "µg/L".encode("cp1252"))
    content = {
        "lis.xpt": lambda: lis,
        "lis.parquet": lambda: writers.as_parquet(LAB),
        "lis.json": lambda: writers.document(writers.as_datasetjson(LAB)),
        "lis.xml": lambda: ODM.format(items="".join(f'<ItemData ItemOID="{key}" Value="{text}"/>' for key, text in LAB[0].items() if key != "Patient")).encode(),
        "two.xpt": lambda: writers.as_xpts(lis, writers.as_xpt(visits, tmp_path, "VISITS")),
    }[name]()  # fmt: skip
    text, entries, path = proposed(content, name)
    assert ("encoding: no UTF-8" in text) == name.endswith(".xpt")
    assert [entry.get("sheet") for entry in entries] == (["LIS", "VISITS"] if name == "two.xpt" else [None])
    sheets = read(path, f"lab/{name}", Study.model_validate({"sources": entries}))
    assert sheets[0].table.select(["subject_id", "value", "unit_code", "collected_at"]).to_pylist() == [
        {"subject_id": "S1", "value": "12.5", "unit_code": "ug/L", "collected_at": "2024-03-13T08:30:00Z"}
    ]


def test_a_file_without_tables_gets_no_layout(proposed):
    with pytest.raises(UserError, match=r"HL7 v2\. Layouts are proposed for tables"):
        proposed(b"MSH|^~\\&|LIS|\rPID|1\r", "a.hl7")
