"""SAS transport files: every data set, dates by their formats, missing as missing, and nothing of a cut file."""

import struct

import pandas as pd
import pytest

from orchestration.exports import Rejected, read
from orchestration.exports.xpt import _kind
from orchestration.study import Study
from tests.unit.exports import writers

LB = [
    {"USUBJID": f"S{row}", "LBTESTCD": "HER2", "LBORRES": str(row), "LBORRESU": "ng/mL", "LBDTC": "2024-03-01"}
    for row in range(1, 6)
]  # fmt: skip
SV = [{"USUBJID": "S1", "VISIT": "C1D1", "VISITNUM": 1.1, "SVSTDTC": "2024-03-01"}]


@pytest.fixture
def sheets(tmp_path):
    def of(content: bytes, name: str = "lab/lb.xpt", **study):
        path = tmp_path / "copy"
        path.write_bytes(content)
        return read(path, name, Study.model_validate(study))

    return of


@pytest.mark.parametrize("version", [5, 8])
def test_every_data_set_of_a_file_is_read(sheets, tmp_path, version):
    files = [writers.as_xpt(rows, tmp_path, title, version) for title, rows in (("LB", LB), ("SV", SV), ("AE", [{"USUBJID": "S1", "AETERM": "x"}]))]
    found = sheets(writers.as_xpts(*files), "clinical/study.xpt")
    assert [(sheet.record, sheet.part, sheet.table["_row_number"].to_pylist()) for sheet in found] == [
        ("lab_results", "data set 'LB'", [1, 2, 3, 4, 5]), ("visits", "data set 'SV'", [6]),
    ]  # fmt: skip
    assert found[1].table["visit_number"].to_pylist() == ["1.1"] and "data set 'AE'" in found[0].note


def test_dates_times_and_missing_values_are_read_by_their_formats(sheets, tmp_path):
    days = (pd.Timestamp("2024-03-01") - pd.Timestamp("1960-01-01")).days
    rows = [{"subject_id": "S1", "analyte": "x", "unit": "u", "value": 0.1, "collected_at": days * 86_400 + 30_600.0, "d": float(days), "t": 30_601.0, "m": None},
            {"subject_id": "S2", "analyte": "x", "unit": "u", "value": 1e9, "collected_at": None, "d": None, "t": None, "m": None}]  # fmt: skip
    content = writers.as_xpt(rows, tmp_path, "LB", 8, variable_format={"collected_at": "DATETIME20.", "d": "DATE9.", "t": "TIME8."})
    [found] = sheets(content)
    assert found.table["collected_at"].to_pylist() == ["2024-03-01T08:30:00Z", None]
    assert found.table["value"].to_pylist() == ["0.1", "1000000000"]
    assert dict(found.table["_source"][0].as_py()) == {
        "subject_id": "S1", "analyte": "x", "unit": "u", "value": "0.1", "collected_at": "2024-03-01T08:30:00",
        "d": "2024-03-01", "t": "08:30:01", "m": "",
    }  # fmt: skip


@pytest.mark.parametrize("mark", [b"A", b"Z", b"_", b"."])
def test_special_missing_values_are_missing(sheets, tmp_path, mark):
    content = writers.as_xpt([{"subject_id": "S1", "visit_name": "C1", "visit_number": 2.0, "visit_on": "2024-03-01"}], tmp_path, "SV", 8)
    two = struct.pack(">Q", 0x4120000000000000)  # 2 as IBM hexadecimal floating point
    assert content.count(two) == 1
    [found] = sheets(content.replace(two, mark.ljust(8, b"\0")))
    assert found.table["visit_number"].to_pylist() == [None]


def test_an_encoding_is_declared_never_guessed(sheets, tmp_path):
    content = writers.as_xpt([{**LB[0], "VISIT": "Zyklus fuer"}], tmp_path).replace(b"fuer", "f\xfcr ".encode("cp1252"))
    with pytest.raises(Rejected) as refusal:
        sheets(content)
    assert refusal.value.rule == "encoding" and "cp1252" in refusal.value.message
    source = {"name": "cro", "match": "*.xpt", "layout": "sdtm", "encoding": "cp1252"}
    assert sheets(content, sources=[source])[0].table["visit_name"].to_pylist() == ["Zyklus für"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda content: content[:-7], "truncated"),
        (lambda content: content[:-80], "truncated"),
        (lambda content: content[:240], "damaged"),
        (lambda content: content[:400], "damaged"),
        (lambda content: content[:80], "damaged"),
        (lambda content: b"HEADER RECORD" + bytes(67 + 160), "damaged"),
    ],
    ids=["not-80", "row-cut", "library-only", "half-member", "one-record", "zeros"],
)
def test_a_cut_or_damaged_file_is_refused(sheets, tmp_path, change, rule):
    wide = [{**row, "VISIT": "x" * 40} for row in LB]
    with pytest.raises(Rejected) as refusal:
        sheets(change(writers.as_xpt(wide, tmp_path)))
    assert refusal.value.rule == rule and "lab/lb.xpt" in refusal.value.message, refusal.value.message


def test_closing_blanks_of_a_text_are_no_part_of_it(sheets, tmp_path):
    content = writers.as_xpt([{**LB[0], "LBSPEC": "SERUM"}, {**LB[1], "LBSPEC": "SERUM PLASMA"}], tmp_path)
    assert sheets(content)[0].table["specimen"].to_pylist() == ["SERUM", "SERUM PLASMA"]


def test_a_damaged_sas_data_set_is_refused(sheets):
    with pytest.raises(Rejected) as refusal:
        sheets(bytes(12) + b"\xc2\xea\x81\x60" + bytes(4_000), "lab/lb.sas7bdat")
    assert refusal.value.rule == "damaged" and "lab/lb.sas7bdat" in refusal.value.message


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("date", ["DATE9", "YYMMDD10", "DDMMYYS10", "E8601DA10", "MONYY7", "JULIAN7"]),
        ("datetime", ["DATETIME20", "DATETIME", "E8601DT19", "B8601DT", "DTDATE9"]),
        ("time", ["TIME8", "HHMM5", "TOD8", "E8601TM8"]),
        (None, ["BEST12", "F8.2", "$10", "12", None, "COMMA9", "DOLLAR8", "DATES_ONLY"]),
    ],
    ids=["date", "datetime", "time", "none"],
)
def test_a_format_says_what_a_number_is(kind, names):
    assert [_kind(name) for name in names] == [kind] * len(names)
