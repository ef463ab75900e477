"""SAS transport files: every data set, dates by their formats, missing as missing, and nothing of a cut file."""

import re
import struct

import pandas as pd
import pyreadstat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.exports import Rejected, read, xpt
from orchestration.exports.xpt import kind_of, parse
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


def parsed(path, encoding: str = "utf-8") -> list[dict]:
    return [row for found in parse(str(path), encoding) for batch in found.batches for row in batch.to_pylist()]


def by_pyreadstat(path, encoding: str = "utf-8") -> list[dict]:
    columns, _ = pyreadstat.read_xport(path, output_format="dict", disable_datetime_conversion=True, encoding=encoding)
    plain = {name: [None if pd.isna(value) else value for value in values] for name, values in columns.items()}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def with_cells(path, cells: list[bytes], kind: str, version: int = 5, stated: int | None = None) -> None:
    """A file with one column, its cells exactly these bytes, all of one width; ``stated``: the rows its header tells."""
    width = len(cells[0])
    value = 1.0 if kind == "number" else "x" * width
    pyreadstat.write_xport(pd.DataFrame({"A": [value]}), path, table_name="T", file_format_version=version)
    content = bytearray(path.read_bytes())
    names, rows = (re.search(rb"HEADER RECORD\*{7}" + kind, content).end() for kind in (rb"NAM.{57}", rb"OBS.{57}"))
    content[names + 4 : names + 6] = width.to_bytes(2, "big")
    if version == 8:
        content[rows - 32 : rows - 17] = b"%15d" % (len(cells) if stated is None else stated)
    data = b"".join(cells)
    path.write_bytes(bytes(content[:rows]) + data + b" " * (-len(data) % 80))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("version", [5, 8])
def test_numbers_of_every_width_are_those_that_pyreadstat_reads(tmp_path, version, data):
    """Bytes as SAS writes them (the first digit of the fraction is not zero), zero, and every mark of a missing value."""
    width = data.draw(st.integers(3, 8))
    digits = st.tuples(st.integers(0, 255), st.integers(16, 255), st.binary(min_size=width - 2, max_size=width - 2))
    normal = digits.map(lambda parts: bytes(parts[:2]) + parts[2])
    special = st.integers(0, 255).map(lambda first: bytes([first]) + bytes(width - 1))
    cells = data.draw(st.lists(st.one_of(normal, special), min_size=1, max_size=30))
    with_cells(tmp_path / "a.xpt", cells, "number", version)
    assert parsed(tmp_path / "a.xpt") == by_pyreadstat(tmp_path / "a.xpt")


BEGINS_NO_LETTER = re.compile(
    rb"([\xf5-\xfd][\x80-\xbf]{,4}|\xe0[\x80-\x9f]|\xf0[\x80-\x8f][\x80-\xbf]?|\xf4[\x90-\xbf][\x80-\xbf]?)[ \0]*\Z"
)
"""At the end of a text in UTF-8: pyreadstat leaves it out, as if it were a letter cut in two; here it is refused."""


@pytest.mark.parametrize("end", [b"\xfc", b"\xf5", b"\xe0\x80", b"\xf0\x8f\xbf", b"\xf4\x90"])
def test_a_text_that_ends_in_what_begins_no_letter_is_refused(tmp_path, end):
    """An umlaut of cp1252, for one, at the end of a file read as UTF-8."""
    with_cells(tmp_path / "a.xpt", [b"Karl " + end], "text", 8)
    assert by_pyreadstat(tmp_path / "a.xpt") == [{"A": "Karl "}]
    with pytest.raises(Rejected, match="not UTF-8"):
        parsed(tmp_path / "a.xpt")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin1", "cp932"])
def test_texts_are_those_that_pyreadstat_reads(tmp_path, encoding, data):
    """Also with NULs, with blanks before and within, and with a letter of several bytes cut at the end of its cell."""
    width = data.draw(st.integers(1, 12))
    letters = {"utf-8": "aB 0\0µßé漢🙂", "cp1252": "aB 0\0µßé€", "latin1": "aB 0\0µßé", "cp932": "aB\\ 0\0漢字カ"}[encoding]
    texts = st.text(letters, max_size=12).map(lambda text: text.encode(encoding)[:width].ljust(width))
    noise = st.binary(min_size=width, max_size=width)
    if encoding == "utf-8":
        noise = noise.filter(lambda cell: not BEGINS_NO_LETTER.search(cell))
    drawn = texts if encoding == "cp932" else st.one_of(texts, noise)
    cells = data.draw(st.lists(drawn, min_size=1, max_size=30))
    with_cells(tmp_path / "a.xpt", cells, "text", 8)
    try:
        expected = by_pyreadstat(tmp_path / "a.xpt", encoding)
    except (pyreadstat.ReadstatError, UnicodeDecodeError):
        with pytest.raises(Rejected, match="encoding"):
            parsed(tmp_path / "a.xpt", encoding)
    else:
        assert parsed(tmp_path / "a.xpt", encoding) == expected


def test_rows_of_blanks_are_rows_only_before_the_last_filled_one(tmp_path, monkeypatch):
    cells = [b"        ", b"a       ", b"        ", b"b       ", *[b"        "] * 25]
    with_cells(tmp_path / "a.xpt", cells, "text")
    for size in (16 << 20, 24, 1):
        monkeypatch.setattr(xpt, "_CHUNK_BYTES", size)
        assert parsed(tmp_path / "a.xpt") == by_pyreadstat(tmp_path / "a.xpt") == [{"A": text} for text in ("", "a", "", "b")]


@pytest.mark.parametrize("stated", [2, 4, 9, 10, 11, 0])
def test_the_header_of_version_8_tells_how_many_rows_there_are(tmp_path, stated):
    """pyreadstat reads as many, or as many as there are: here a row more or less than told is a file that was cut."""
    with_cells(tmp_path / "a.xpt", [b"a       ", b"        ", b"b       ", b"        "], "text", 8, stated)
    if stated in (2, 11):
        with pytest.raises(Rejected, match=f"header says {stated} rows, 3 are there"):
            parsed(tmp_path / "a.xpt")
    else:
        assert parsed(tmp_path / "a.xpt") == by_pyreadstat(tmp_path / "a.xpt")
        assert len(parsed(tmp_path / "a.xpt")) == (stated or 3)


def test_a_file_is_read_alike_in_pieces_and_at_once(tmp_path, monkeypatch):
    files = [writers.as_xpt(rows, tmp_path, title) for title, rows in (("LB", LB * 30), ("SV", SV * 7))]
    (tmp_path / "all.xpt").write_bytes(writers.as_xpts(*files))
    at_once = parsed(tmp_path / "all.xpt")
    assert len(at_once) == 157
    monkeypatch.setattr(xpt, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(xpt, "_BLOCK_BYTES", 80)
    assert parsed(tmp_path / "all.xpt") == at_once


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
    assert [kind_of(name) for name in names] == [kind] * len(names)
