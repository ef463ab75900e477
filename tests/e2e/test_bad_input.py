"""Everything bad at once in one landing folder: each file has its own outcome, and nothing else is lost.

One table of cases, one run for all of them. A case says what the file is, whether it is loaded or refused, which of
its rows are set apart, and by which rule.
"""



import gzip
import json
import os
from dataclasses import dataclass, field
from zlib import crc32

import pytest

from orchestration.study import load_study
from tests.conftest import Home, make_home

LAB = "subject_id,sample_id,analyte,value,unit,collected_at,reported_at,result_status,specimen,laboratory,lloq,uloq"
VISITS = "subject_id,visit_name,visit_on"
GERMAN = {
    "name": "lis-west", "folder": "lab", "match": "west_*.csv", "record": "lab_results", "delimiter": ";",
    "decimal": ",", "date_format": "%d.%m.%Y", "datetime_format": "%d.%m.%Y %H:%M", "timezone": "Europe/Berlin",
    "columns": {"subject_id": "Patient", "sample_id": "Probe", "value": "Ergebnis", "unit": "Einheit", "collected_at": "Abnahme"},
    "constants": {"analyte": "42914-2", "laboratory": "WEST"},
}  # fmt: skip

GOOD = {
    "clinical/subjects.csv": "subject_id,site_id,enrolled_on\n"
    + "".join(f"{subject},1,2024-01-01\n" for subject in ("A", "B", "007", "NA", "1E5")),
    "clinical/exposures.csv": "subject_id,treatment,dose,dose_unit,start_on\nA,T-DXd,100,mg,2024-01-02\nB,T-DXd,100,mg,2024-01-02\n",
    "lab/good.csv": f"{LAB}\nA,GOOD-1,42914-2,20.0,ng/mL,2024-01-02,,F,SERUM,EAST,,\nB,GOOD-2,42914-2,21.0,ng/mL,2024-01-02,,F,SERUM,EAST,,\n",
}


def lab(*rows: str | dict, head: str = LAB, end: str = "\n") -> str:
    """A lab export in the layout `site`; a row is a dict of what differs from an ordinary one, or a raw line."""
    ordinary = {
        "subject_id": "A", "analyte": "42914-2", "value": "12.5", "unit": "ng/mL", "collected_at": "2024-02-01T08:00:00",
        "result_status": "F", "specimen": "SERUM", "laboratory": "EAST",
    }  # fmt: skip
    lines = [head]
    for number, row in enumerate(rows, start=1):
        cells = (
            {"sample_id": f"{crc32(repr(rows).encode())}-{number}"} | ordinary | row if isinstance(row, dict) else {}
        )
        lines.append(",".join(cells.get(name, "") for name in LAB.split(",")) if cells else row)
    return end.join(lines) + end


@dataclass(frozen=True)
class Refused:
    """A file that is refused: by which rule, and what its message says beside the file's name."""

    path: str
    content: str | bytes
    rule: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Loaded:
    """A file that is loaded: how many rows it has, and which are set apart: row number -> (field, value, rule)."""

    path: str
    content: str | bytes
    rows: int
    apart: dict[int, tuple[str, str | None, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.path


REFUSED = [
    Refused("lab/wrong_header.csv", "colour,size,shape\nred,1,round\n", "header_mismatch", ("line 1", "no heading is known", "3 cells", "sources:")),
    Refused("lab/no_header.csv", "A,S1,42914-2,12.5,ng/mL,2024-02-01\n", "header_mismatch", ("line 1", "heading line missing")),
    Refused("clinical/visits_no_name.csv", "subject_id,visit_on\nA,2024-01-01\n", "header_mismatch", ("visit_name",)),
    Refused("lab/lab_results_no_unit.csv", "subject_id,analyte,value,collected_at\nA,42914-2,1,2024-01-01\n", "header_mismatch", ("lacks unit",)),
    Refused("clinical/sv.csv", "STUDYID,USUBJID,VISIT\nX,A,C1D1\n", "header_mismatch", ("SVSTDTC",)),
    Refused("clinical/ae.csv", "STUDYID,DOMAIN,USUBJID,AETERM\nX,AE,A,NAUSEA\n", "unknown_domain", ("'AE'", "sources:")),
    Refused("lab/semicolon.csv", lab({}).replace(",", ";"), "header_mismatch", ("delimiter ';' must be declared",)),
    Refused("lab/west_changed.csv", "Patient;Probe;Wert;Einheit;Abnahme\nA;1;12,5;ng/mL;01.02.2024\n", "header_mismatch", ("lis-west", "Ergebnis")),
    Refused("lab/empty.csv", b"", "empty", ("Deliver it again",)),
    Refused("lab/blank.csv", b"\n\n  \n", "empty"),
    Refused("lab/bom_only.csv", b"\xef\xbb\xbf", "empty"),
    Refused("lab/utf16.csv", lab({}).encode("utf-16"), "encoding", ("UTF-16", "Save it as UTF-8")),
    Refused("lab/utf16_without_bom.csv", lab({}).encode("utf-16-le"), "encoding", ("NUL bytes",)),
    Refused("lab/latin1.csv", lab({"unit": "µg/L"}).encode("cp1252"), "encoding", ("line 2", "cp1252")),
    Refused("lab/packed.csv", gzip.compress(lab({}).encode(), mtime=0), "type_mismatch", ("gzip", "Unpack it")),
    Refused("lab/table.csv.gz", lab({}), "type_mismatch", ("the name says gzip",)),
    Refused("lab/login.csv", "<!DOCTYPE html><html><body>Please log in</body></html>", "type_mismatch", ("HTML", "fetch the export again")),
    Refused("lab/book.csv", b"PK\x03\x04" + bytes(40) + b"xl/workbook.xml", "type_mismatch", ("XLSX", "right name")),
    Refused("lab/document.csv", '{"resourceType": "Bundle"}', "type_mismatch", ("FHIR", "right name")),
    Refused("lab/message.csv", "MSH|^~\\&|LIS|HOSPITAL\rPID|1\r", "type_mismatch", ("HL7",)),
    Refused("lab/noise.csv", bytes(range(256)) * 8, "encoding"),
    Refused("lab/open_quote.csv", lab({}, '"A,S,42914-2,1,ng/mL,2024-02-01,,F,SERUM,EAST,,', {}), "unclosed_quote", ("line 3",)),
    Refused("clinical/visits_twice.csv", "subject_id,visit_name,Visit_Name,visit_on\nA,X,Y,2024-01-01\n", "duplicate_header", ("visit_name",)),
    Refused("clinical/visits_unnamed.csv", "subject_id,visit_name,,visit_on\nA,X,,2024-01-01\n", "blank_header", ("column 3",)),
    Refused("clinical/visits_nobody.csv", f"{VISITS}\n" + ",C1D1,2024-01-01\n" * 10, "no_subjects", ("subject",)),
    Refused("clinical/visits_shifted.csv", f"{VISITS}\n" + "A,C1D1,2024-01-01,x\n" * 9 + "A,C1D1,2024-01-01\n", "structure", ("delimiter",)),
]  # fmt: skip

LOADED = [
    # --- dates and times
    Loaded("lab/dates.csv", lab(
        {"collected_at": "03/04/2025"}, {"collected_at": "31.12.2024"}, {"collected_at": "2024-02-30"}, {"collected_at": "25-03-01"},
        {"collected_at": ""}, {"collected_at": "2024-03-10T25:00"}, {"collected_at": "2024-03"}, {"collected_at": "2024"},
        {"collected_at": "2024-UN-UN"}, {"collected_at": "2024-03-31T02:30"}, {"collected_at": "2024-10-27T02:30"},
        {"collected_at": "2024-03-10T23:30:00+01:00"}, {"collected_at": "45352"},
    ), 13, {
        1: ("collected_at", "03/04/2025", "timestamp_readable"), 2: ("collected_at", "31.12.2024", "timestamp_readable"),
        3: ("collected_at", "2024-02-30", "timestamp_readable"), 4: ("collected_at", "25-03-01", "timestamp_readable"),
        5: ("collected_at", None, "required_value"), 6: ("collected_at", "2024-03-10T25:00", "timestamp_readable"),
        13: ("collected_at", "45352", "timestamp_readable"),
    }),
    Loaded("clinical/visits_dates.csv", f"{VISITS}\nA,V1,03/04/2025\nA,V2,2024-02-03\nA,V3,\nA,,2024-02-04\n,V5,2024-02-05\nA,V6,0024-02-05\n", 6, {
        1: ("visit_on", "03/04/2025", "date_readable"), 3: ("visit_on", None, "required_value"), 4: ("visit_name", None, "required_value"),
        5: ("subject_id", None, "required_value"), 6: ("visit_on", "0024-02-05", "date_readable"),
    }),
    Loaded("clinical/visits_future.csv", f"{VISITS}\nA,V1,2098-01-01\nA,V2,2024-02-06\n", 2, {1: ("visit_on", "2098-01-01", "not_in_the_future")}),
    # --- values
    Loaded("lab/values.csv", lab(
        *({"value": value} for value in ('"12,5"', "twelve", '"1.234,5"', "1e309", "NaN", "inf", "-3", "0x1F", "5..3", "１２")),
        *({"value": value} for value in ("<0.5", "< 0.5", "<LLOQ", ">350", "≤0.5", "0", "12.50", "1.5e1", "7.5 H", "BLQ")),
        {"value": ""},
    ), 21, {
        **{row: ("value", text, "value_readable") for row, text in enumerate(("12,5", "twelve", "1.234,5", "1e309", "NaN", "inf"), 1)},
        7: ("value", "-3", "negative_value"), 8: ("value", "0x1F", "value_readable"), 9: ("value", "5..3", "value_readable"),
        10: ("value", "１２", "value_readable"), 21: ("value", None, "required_value"),
    }),
    Loaded("lab/quoted_comma.csv", lab('A,QC1,42914-2,"12,5",ng/mL,2024-02-01,,F,SERUM,EAST,,'), 1, {1: ("value", "12,5", "value_readable")}),
    Loaded("lab/west_1.csv", "Patient;Probe;Ergebnis;Einheit;Abnahme\nA;W1;12,5;ng/mL;01.02.2024 08:00\nA;W2;12.5;ng/mL;01.02.2024\nA;W3;1;ng/mL;2024-02-01\nA;W4;<0,5;ng/mL;02.02.2024\n", 4, {
        2: ("value", "12.5", "value_readable"), 3: ("collected_at", "2024-02-01", "timestamp_readable"),
    }),
    Loaded("lab/units.csv", lab(
        *({"unit": unit} for unit in ("U/mL", "HNU/mL", "fmol/mL", "%", "nmol/L", "")),
        *({"unit": unit} for unit in ("ug/L", "µg/L", "μg/L", "pg/mL", " NG/ML ", "ng/mL^^UCUM", "mcg/L", "ng/dL")),
    ), 14, {
        **{row: ("unit", unit, "known_unit") for row, unit in enumerate(("U/mL", "HNU/mL", "fmol/mL", "%", "nmol/L"), 1)},
        6: ("unit", None, "required_value"),
    }),
    Loaded("lab/status.csv", lab({"result_status": "Q"}, {"result_status": ""}, {"result_status": "final"}, {"result_status": "X", "value": "", "unit": ""}), 4, {
        1: ("result_status", "Q", "known_result_status"),
    }),
    Loaded("lab/limits.csv", lab({"lloq": "low"}, {"lloq": "0.5", "uloq": "350"}, {"lloq": "10", "uloq": "5"}), 3, {1: ("lloq", "low", "number_readable")}),
    Loaded("lab/conflict.csv", lab({"sample_id": "K1", "value": "1.0"}, {"sample_id": "K1", "value": "2.0"}, {"sample_id": "K2"}, {"sample_id": "K2"}), 4, {
        1: ("value", "1.0", "conflict"), 2: ("value", "2.0", "conflict"),
    }),
    # --- tumour
    Loaded("imaging/tumor_measurements.csv",
        "subject_id,lesion_id,test,value,unit,assessed_on\n"
        "A,T1,LDIAM,25,mm,2024-02-01\nA,T1,LDIAM,2.5,cm,2024-02-02\nA,T1,LDIAM,25,,2024-02-03\nA,T1,LDIAM,25,inch,2024-02-04\n"
        "A,T1,LDIAM,about 3,mm,2024-02-05\nA,T1,LDIAM,2500,mm,2024-02-06\nA,T1,LDIAM,-4,mm,2024-02-07\nA,T2,TUMSTATE,SHRUNK,,2024-02-08\n"
        "A,,LDIAM,25,mm,2024-02-09\nA,T1,LDIAM,TOO SMALL TO MEASURE,,2024-02-10\n", 10, {
        3: ("unit", None, "known_unit"), 4: ("unit", "inch", "known_unit"), 5: ("value", "about 3", "value_readable"),
        6: ("value", "2500", "diameter_in_range"), 7: ("value", "-4", "diameter_in_range"), 8: ("value", "SHRUNK", "known_state"),
        9: ("lesion_id", None, "required_value"),
    }),
    Loaded("imaging/tumor_responses.csv",
        "subject_id,test,value,assessed_on,accepted\nA,OVRLRESP,CHECK,2024-02-01,\nA,OVRLRESP,PR,2024-02-02,perhaps\nA,OVRLRESP,non-cr/NON-PD,2024-02-03,Y\n", 3, {
        1: ("value", "CHECK", "known_response"), 2: ("accepted", "perhaps", "undeclared_value"),
    }),
    Loaded("imaging/tumor_identifications.csv", "subject_id,lesion_id,role,identified_on\nA,T1,TARGET,2024-01-01\nA,T2,BYSTANDER,2024-01-01\n", 2, {
        2: ("role", "BYSTANDER", "known_role"),
    }),
    Loaded("clinical/survival_status.csv", "subject_id,status,assessed_on\nA,ALIVE,2024-03-01\nA,UNDEAD,2024-03-02\n", 2, {2: ("status", "UNDEAD", "known_survival_status")}),
    # --- the shape of the file
    Loaded("lab/header_only.csv", f"{LAB}\n", 0),
    Loaded("clinical/visits_ragged.csv", f"{VISITS}\nA,R1,2024-02-01\nA,R2\nA,R3,2024-02-02,more\nA,R4,2024-02-03\n", 4, {
        2: ("(line)", "A,R2", "ragged_row"), 3: ("(line)", "A,R3,2024-02-02,more", "ragged_row"),
    }),
    Loaded("clinical/visits_nul.csv", f"{VISITS}\nA,N\x001,2024-02-01\nA,N2,2024-02-01\n", 2, {1: ("(line)", None, "ragged_row")}),
    Loaded("clinical/visits_joined.csv", f"{VISITS}\nA,J1,2024-02-01\n{VISITS}\nA,J2,2024-02-01\n", 3, {2: ("(line)", None, "ragged_row")}),
    Loaded("clinical/visits_bom.csv", f"\ufeff{VISITS}\nA,BOM,2024-02-01\n", 1),
    Loaded("clinical/visits_crlf.csv", f"{VISITS}\nA,CRLF,2024-02-01\nA,CRLF2,2024-02-02\n".replace("\n", "\r\n"), 2),
    Loaded("clinical/visits_cr.csv", f"{VISITS}\nA,CR,2024-02-01\nA,CR2,2024-02-02\n".replace("\n", "\r"), 2),
    Loaded("clinical/visits_last_line.csv", f"{VISITS}\nA,LAST,2024-02-01", 1),
    Loaded("clinical/visits_order.csv", "Visit On, VISIT_NAME ,extra,subject id\n2024-02-01,ORDER,x,A\n", 1),
    Loaded("clinical/visits_newline.csv", f'{VISITS}\nA,"two\nlines",2024-02-01\nA,AFTER,xx\n', 2, {2: ("visit_on", "xx", "date_readable")}),
    Loaded("clinical/visits_tab.tsv", f"{VISITS}\nA,TAB,2024-02-01\n".replace(",", "\t"), 1),
    Loaded("clinical/visits x[1]*;$(ls) '\".csv", f"{VISITS}\nA,ODD NAME,2024-02-01\n", 1),
    Loaded("clinical/folder.csv/visits_inside.csv", f"{VISITS}\nA,INSIDE,2024-02-01\n", 1),
    # --- subjects
    Loaded("lab/ids.csv", lab(*({"subject_id": subject} for subject in ("007", "NA", "1E5", " A ", "7", "GHOST"))), 6),
    Loaded("lab/formula.csv", lab({"subject_id": "=HYPERLINK(\"\"x\"\")", "sample_id": "F1"}), 1),
]  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> tuple[Home, str]:
    """The home after one run over everything, and what the run printed."""
    home = make_home(tmp_path_factory.mktemp("bad"), {"sources": [GERMAN], "study": {"drugs": []}})
    for path, content in GOOD.items():
        home.drop(path, content)
    for case in [*REFUSED, *LOADED]:
        home.drop(case.path, case.content)
    home.drop("lab/copy_of_good.csv", GOOD["lab/good.csv"])
    home.drop("lab/half.csv.part", "subject_id,")
    os.mkfifo(home.settings.landing / "lab" / "pipe.csv")
    (home.settings.landing / "lab" / "link.csv").symlink_to("/etc/hostname")
    (home.settings.landing / "lab" / "dangling.csv").symlink_to("nowhere.csv")
    done = home.sher2("run")
    assert done.returncode == 0, done.stderr
    return home, done.stdout


@pytest.fixture(scope="module")
def files(ran) -> dict[str, dict]:
    return {row["path"]: row for row in ran[0].sql("select * from ops.files")}


@pytest.fixture(scope="module")
def faults(ran) -> dict[str, dict[int, list[dict]]]:
    """Quarantined rows by path and row number, as `sher2 quarantine` lists them."""
    found: dict[str, dict[int, list[dict]]] = {}
    for row in json.loads(ran[0].sher2("quarantine", "--json").stdout):
        found.setdefault(row["path"], {}).setdefault(row["row_number"], []).append(row)
    return found


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_refused_file_says_which_why_and_the_mend(ran, files, faults, case):
    row = files[case.path]
    rule, _, message = row["reason"].partition(": ")
    assert (row["status"], rule) == ("rejected", case.rule), row["reason"]
    assert not row["rows_accepted"]
    assert message.startswith(case.path) and all(word in message for word in case.words), message
    assert message.rstrip().endswith((".", ")")) and message in ran[1]
    assert [item["message"] for item in faults[case.path][None]] == [message]


@pytest.mark.parametrize("case", LOADED, ids=str)
def test_a_loaded_file_keeps_its_good_rows_and_lists_the_others(files, faults, case):
    row, apart = files[case.path], faults.get(case.path, {})
    assert row["status"] == "loaded", row["reason"]
    assert (row["rows_read"], row["rows_accepted"], row["rows_quarantined"]) == (
        case.rows,
        case.rows - len(case.apart),
        len(case.apart),
    )
    assert set(apart) == set(case.apart), apart
    for number, (name, value, rule) in case.apart.items():
        (item,) = apart[number]
        assert (item["field"], item["rule"]) == (name, rule)
        if value is not None:
            assert item["value"] == value
        assert item["message"].startswith(f"{case.path}, row {number}: {name if name != '(line)' else ''}")
        assert item["message"].endswith(".") and "). " in item["message"]  # the mend


@pytest.mark.parametrize("case", [*REFUSED, *LOADED], ids=str)
def test_check_foretells_the_verdict(ran, files, case):
    from orchestration.ingestion import judge_file

    home = ran[0]
    verdict = judge_file(
        home.settings, load_study(home.settings.study_file), home.settings.landing / case.path, case.path
    )
    row = files[case.path]
    assert (verdict.status, verdict.reason, verdict.rows_read, verdict.rows_quarantined) == (
        row["status"], row["reason"], row["rows_read"] or 0, row["rows_quarantined"] or 0,
    )  # fmt: skip


def test_rows_read_are_rows_accepted_and_quarantined(ran):
    assert ran[0].value("select count(*) from ops.files where rows_read <> rows_accepted + rows_quarantined") == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("lab/pipe.csv", "no regular file"),
        ("lab/link.csv", "a link"),
        ("lab/dangling.csv", "a link"),
        ("clinical/folder.csv", "a folder"),
    ],
)
def test_what_is_no_file_waits_and_is_told(ran, path, words):
    waiting = {item["path"]: item["reason"] for item in json.loads(ran[0].sher2("status", "--json").stdout)["waiting"]}
    assert words in waiting[path] and "Deliver" in waiting[path] and f"{path}: {waiting[path]}" in ran[1]


def test_a_copy_is_a_duplicate_and_unfinished_names_are_left_alone(files):
    assert (files["lab/good.csv"]["status"], files["lab/good.csv"]["reason"]) == (
        "duplicate",
        "same bytes as lab/copy_of_good.csv",
    )
    assert not any("half" in path for path in files)


def test_a_date_after_the_receipt_reaches_no_mart(ran):
    assert ran[0].value("select max(last_alive_on) from marts.dim_subject") < "2025-01-01"


def test_the_good_files_beside_them_are_whole(ran):
    rows = ran[0].sql(
        "select subject_id, value_ng_ml, is_baseline from marts.fct_her2_delta where sample_id like 'GOOD-%' order by 1"
    )
    assert rows == [
        {"subject_id": "A", "value_ng_ml": 20, "is_baseline": True},
        {"subject_id": "B", "value_ng_ml": 21, "is_baseline": True},
    ]
