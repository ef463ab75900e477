"""Which record a file holds: headings decide, names choose, declared sources win, and a refusal names the mend."""

import pytest

from orchestration.exports import Rejected
from orchestration.exports.records import RECORDS

LAB = "subject_id,analyte,value,unit,collected_at\nS1,42914-2,5,ng/mL,2025-03-01\n"
LIS = {
    "name": "lis",
    "folder": "lab",
    "match": "lis_*.csv",
    "record": "lab_results",
    "delimiter": ";",
    "date_format": "%d.%m.%Y",
    "constants": {"unit": "ng/mL", "specimen": "Serum"},
    "codes": {"analyte": {"HER2S": "HER2"}},
    "subject_id": "{Zentrum}-{Patient}",
    "exported_on": r"(\d{8})\.csv$",
    "columns": {"analyte": "Test", "value": ["Wert", "Text"], "collected_at": "Abnahme", "lloq": "UNG"},
}
LIS_TEXT = "Zentrum;Patient;Test;Wert;Text;Abnahme\n01;007;HER2S;;<5;01.03.2025\n01;;HER2S;7;;02.03.2025\n"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("lab/lab_results_2025.csv", "lab_results"),
        ("clinical/lb_2025-01-05.csv", "lab_results"),
        ("lab/export.csv", "lab_results"),
        ("imaging/deep/er/LB.CSV", "lab_results"),
        ("x.csv", "lab_results"),
    ],
)
def test_a_site_table_is_known_by_name_or_headings_in_any_folder(sheet, name, record):
    found = sheet(LAB, name)
    assert (found.record, found.source, found.layout, found.exported_on) == (record, "site", "site", None)


@pytest.mark.parametrize("record", [name for name in RECORDS if name != "subjects"])
def test_each_record_is_known_by_its_required_headings_alone(sheet, record):
    assert sheet(",".join(RECORDS[record].required) + "\n", "clinical/export.csv").record == record


@pytest.mark.parametrize(
    ("headings", "name", "is_read"),
    [
        ("subject_id", "clinical/subjects.csv", True),
        ("subject_id,sex,regimen", "clinical/export.csv", True),
        ("subject_id", "clinical/export.csv", False),
        ("subject_id,weight,height", "clinical/export.csv", False),
        ("subject_id,sex,pulse,weight,height", "clinical/export.csv", False),
    ],
)
def test_subjects_are_not_guessed_from_a_subject_id(sheet, headings, name, is_read):
    if is_read:
        assert sheet(headings + "\n", name).record == "subjects"
    else:
        with pytest.raises(Rejected) as refusal:
            sheet(headings + "\n", name)
        assert refusal.value.rule == "header_mismatch"


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (LAB.replace("unit", "einheit"), "lab/lab_results.csv", ["lab_results", "lacks unit", "einheit", "sources:"]),
        (LAB.replace("lue,unit", "lue,"), "lab/lab_results.csv", ["lacks unit"]),
        ("USUBJID,LBTESTCD,LBORRES,LBDTC\n", "lab/lb.csv", ["lab_results", "lacks LBORRESU"]),
        ("USUBJID,TRLNKID,TRTESTCD,TRDTC\n", "tr.csv", ["TRSTRESC"]),
        ("USUBJID,AGE,SEX\n", "clinical/people.csv", ["subjects", "lacks DOMAIN"]),
        (LAB.replace(",", ";"), "lab/lab_results.csv", ["delimiter ';'"]),
        (LAB.replace(",", "|"), "lab/lab_results.csv", ["delimiter '|'"]),
        ("a,b\n1,2\n", "lab/lab_results.csv", ["USUBJID", "subject_id", "2 cells"]),
        (LIS_TEXT.replace("Abnahme", "Datum"), "lab/lis_01.csv", ["source lis", "lacks Abnahme", "Datum"]),
        (LIS_TEXT.replace("Patient", "Pat"), "lab/lis_01.csv", ["source lis", "lacks Patient"]),
        ("Study results\n" + LAB, "lab/lab_results.csv", ["is the heading line missing or not the first", "sher2 layout"]),
    ],
)
def test_a_table_of_no_layout_is_refused_with_the_nearest_one(sheet, content, name, says):
    with pytest.raises(Rejected) as refusal:
        sheet(content, name, sources=[LIS])
    assert refusal.value.rule == "header_mismatch"
    assert all(text in refusal.value.message for text in (name, *says)), refusal.value.message


def test_a_missing_heading_line_is_refused_without_quoting_the_data(sheet):
    with pytest.raises(Rejected) as refusal:
        sheet("S1,42914-2,5,ng/mL,2025-03-01\nS2,42914-2,6,ng/mL,2025-03-01\n")
    assert refusal.value.rule == "header_mismatch"
    assert "heading line missing" in refusal.value.message and "42914" not in refusal.value.message


def test_a_declared_source_reads_constants_codes_template_and_the_first_filled_heading(rows, sheet):
    found = rows(LIS_TEXT, "lab/2025/lis_20250305.csv", sources=[LIS])
    assert [row["subject_id"] for row in found] == ["01-007", None]  # a template with a blank part names nobody
    assert [row["value"] for row in found] == ["<5", "7"]
    assert {(row["analyte"], row["analyte_key"], row["unit_code"], row["specimen"], row["lloq"]) for row in found} == {
        ("HER2", "serum_her2", "ng/mL", "SERUM", None)
    }
    read = sheet(LIS_TEXT, "lab/2025/lis_20250305.csv", sources=[LIS])
    assert (read.source, read.layout, read.exported_on) == ("lis", "declared", "2025-03-05")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("lab/lis_01.csv", "lis"),
        ("lab/sub/LIS_01.CSV", "lis"),
        ("lab/other.csv", "site"),
        ("clinical/lis_01.csv", "site"),
    ],
)
def test_a_source_is_asked_where_folder_and_pattern_fit(sheet, name, source):
    lis = {"name": "lis", "folder": "lab", "match": "lis_*.csv", "layout": "site", "timezone": "Asia/Tokyo"}
    assert sheet(LAB, name, sources=[lis]).source == source


def test_a_source_whose_headings_are_absent_leaves_the_file_to_the_built_in_layouts(sheet):
    found = sheet(LAB, "lab/lis_01.csv", sources=[LIS, {**LIS, "name": "utf", "encoding": "utf-16"}])
    assert (found.source, found.record) == ("site", "lab_results")


def test_a_source_may_read_a_built_in_layout_its_own_way(rows):
    source = {
        "name": "central",
        "match": "*",
        "layout": "site",
        "decimal": ",",
        "delimiter": ";",
        "constants": {"unit": "ng/mL"},
    }
    text = "subject_id;analyte;value;collected_at\nS1;42914-2;5,5;2025-03-01\n"
    [row] = rows(text, "lab/lab_results.csv", sources=[source])
    assert (row["value_number"], row["unit_code"]) == ("5.5", "ng/mL")


def test_a_sample_without_id_gets_one_from_laboratory_time_and_analyte(rows):
    [row] = rows(
        LAB.replace("analyte,", "laboratory,analyte,").replace("S1,", "S1,LAB A,").replace("03-01", "03-01T08:00")
    )
    assert row["sample_id"] == "LAB A|2025-03-01T08:00:00Z|serum_her2"


@pytest.mark.parametrize("name", ["labs.csv", "lab/labs.csv", "clinical/labs.csv", "imaging/2025/labs.csv"])
def test_the_folder_of_a_source_is_a_default(rows, name):
    source = {"name": "lis", "folder": "lab", "match": "labs*.csv", "record": "lab_results", "delimiter": ";", "decimal": ","}
    source["columns"] = {"subject_id": "Pat", "analyte": "Test", "value": "Wert", "unit": "Einheit", "collected_at": "Tag"}
    [row] = rows("Pat;Test;Wert;Einheit;Tag\nS1;42914-2;12,5;ng/mL;2025-01-01\n", name, sources=[source])
    assert (row["subject_id"], row["value_number"]) == ("S1", "12.5")


def test_a_source_of_another_folder_is_asked_only_where_nothing_else_fits(sheet):
    source = {"name": "comma", "folder": "lab", "layout": "site", "decimal": ","}
    content = "subject_id,analyte,value,unit,collected_at\nS1,42914-2,12.5,ng/mL,2025-01-01\n"
    found = {folder: sheet(content, f"{folder}/labs.csv", sources=[source]) for folder in ("lab", "clinical")}
    assert {folder: item.source for folder, item in found.items()} == {"lab": "comma", "clinical": "site"}


@pytest.mark.parametrize(
    ("content", "name", "headings"),
    [
        ("USUBJID,LBTESTCD,LBORRES,LBORRESU,LBDTC\nS1,x,1,u,2025-01-01\n", "lab/lb.csv", ("USUBJID", "LBORRES", None)),
        ("Subject_ID,Analyte,VALUE,unit,collected_at,sample_id\nS1,x,1,u,2025-01-01,A\n", "lab/labs.csv", ("Subject_ID", "VALUE", "sample_id")),
    ],
    ids=["sdtm", "site"],
)  # fmt: skip
def test_a_sheet_says_under_which_heading_of_the_file_a_column_stands(sheet, content, name, headings):
    found = sheet(content, name).headings
    assert tuple(found.get(column) for column in ("subject_id", "value", "sample_id")) == headings


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ("PLANTED,JANE,F", "is the heading line missing"),
        ("List of Dr PLANTED", "is the heading line missing"),
        ("subject_id,HER2 IHC,Age at consent", "found subject_id, HER2 IHC, Age at consent"),
    ],
    ids=["a row of data", "a title", "headings"],
)
def test_a_first_line_that_may_name_a_person_is_not_quoted(rows, first, says):
    with pytest.raises(Rejected) as refusal:
        rows(f"{first}\nx,y,z\n", "clinical/list.csv")
    assert says in refusal.value.message and "PLANTED" not in refusal.value.message
