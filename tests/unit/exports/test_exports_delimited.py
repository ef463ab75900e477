"""Structure of delimited text: what is refused whole, what is set aside row by row, and that no row is lost."""

import pytest

from orchestration.exports import Rejected
from orchestration.exports.delimited import _BLOCK_BYTES, MAX_LINE_BYTES

VISITS = "clinical/visits.csv"
HEAD = "subject_id,visit_name,visit_on"
GOOD = "S1,C1D1,2025-03-01"


@pytest.mark.parametrize(
    ("content", "rule", "says"),
    [
        (b"", "empty", "empty"),
        (b"\n \n", "empty", "empty"),
        (b"\xef\xbb\xbf", "empty", "empty"),
        (f"{HEAD}\n{GOOD}\n".encode("utf-16"), "encoding", "UTF-16"),
        (f"{HEAD}\n{GOOD}\n".encode("utf-16-le"), "encoding", "NUL"),
        (f"{HEAD}\n{GOOD}\nS2,Zyklus für 2,2025-03-02\n".encode("cp1252"), "encoding", "line 3"),
        (f'{HEAD}\n{GOOD}\nS2,"C2D1,2025-03-02\nS3,C1D1,2025-03-03\n', "unclosed_quote", "line 3"),
        (f'{HEAD}\nS1,"C1D1,2025-03-01\nS2,C1D1,2025-03-02\nS3,"C1D1,2025-03-03\n', "unclosed_quote", "line 2"),
        (f'"subject_id,visit_name,visit_on\n{GOOD}\n', "header_mismatch", "visit"),
        (f"{HEAD},visit_on\n{GOOD},2025-03-02\n", "duplicate_header", "'visit_on'"),
        (f"{HEAD},Visit On\n{GOOD},2025-03-02\n", "duplicate_header", "'visit_on'"),
        (f"{HEAD},\n{GOOD},x\n", "blank_header", "column 4"),
        ("x" * (MAX_LINE_BYTES + 10), "line_too_long", "line 1"),
        (f"{HEAD}\n{GOOD}\nS2,{'x' * (MAX_LINE_BYTES + 10)},2025-03-01\n", "line_too_long", "line 3"),
        (",".join(f"c{place}" for place in range(3_000)) + "\n", "too_wide", "2,000 columns"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_place_and_mend(rows, content, rule, says):
    with pytest.raises(Rejected) as refusal:
        rows(content, VISITS)
    assert refusal.value.rule == rule
    assert VISITS in refusal.value.message and says in refusal.value.message


def test_a_file_above_the_limit_is_refused_before_it_is_read(rows):
    with pytest.raises(Rejected) as refusal:
        rows(f"{HEAD}\n" + f"{GOOD}\n" * 60_000, VISITS, ingest={"max_file_mb": 1})
    assert refusal.value.rule == "too_large" and "max_file_mb" in refusal.value.message


@pytest.mark.parametrize(
    "content",
    [
        f"{HEAD}\n{GOOD}\nS2,C1D1,2025-03-02\n",
        f"{HEAD}\n{GOOD}\nS2,C1D1,2025-03-02",  # last line whole, without its end
        f"\ufeff{HEAD}\n{GOOD}\nS2,C1D1,2025-03-02\n",
        f"{HEAD}\r\n{GOOD}\r\nS2,C1D1,2025-03-02\r\n",
        f"{HEAD}\r{GOOD}\rS2,C1D1,2025-03-02\r",
        f"{HEAD}\n{GOOD}\r\nS2,C1D1,2025-03-02\r",
        f"\n{HEAD}\n\n{GOOD}\n\n\nS2,C1D1,2025-03-02\n\n",
        '"subject_id","visit_name","visit_on"\n"S1","C1D1","2025-03-01"\n"S2",C1D1,"2025-03-02"\n',
        f"{HEAD}\n{GOOD}\nS2,C1D1,2025-03-02\n".replace(",", "\t"),
        "Visit_On , VISIT NAME,Subject ID\n2025-03-01, C1D1 ,S1\n2025-03-02,C1D1,S2 \n",  # order, case, blanks
    ],
)
def test_spellings_of_one_table_read_the_same(rows, content):
    found = rows(content, VISITS)
    keys = ("_row_number", "subject_id", "visit_name", "visit_on", "_misread")
    assert [tuple(row[key] for key in keys) for row in found] == [
        (1, "S1", "C1D1", "2025-03-01", None),
        (2, "S2", "C1D1", "2025-03-02", None),
    ]


def test_a_heading_alone_is_a_table_without_rows(sheet):
    for content in (HEAD, HEAD + "\n", HEAD + "\r\n\r\n"):
        table = sheet(content, VISITS).table
        assert table.num_rows == 0
        assert {"subject_id", "_row_number", "_source", "_misread"} <= set(table.column_names)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("S2,C1D1", "2 fields where the heading has 3: the row is cut"),
        ("S2,C1D1,2025-03-02,more", "4 fields where the heading has 3: a delimiter in a value (a decimal comma?) needs quotation marks"),
        ("# end of export", "1 fields where the heading has 3: the row is cut"),
        (HEAD, "the heading once more"),
        ("S2,C1\0D1,2025-03-02", "NUL"),
    ],
)
def test_a_row_that_is_none_is_set_aside_with_its_text_and_the_others_load(rows, line, reason):
    found = rows(f"{HEAD}\n{GOOD}\n{line}\nS3,C1D1,2025-03-03\n", VISITS)
    assert [row["_row_number"] for row in found] == [1, 2, 3]
    assert [row["subject_id"] for row in found] == ["S1", None, "S3"]
    assert [row["visit_on"] for row in found] == ["2025-03-01", None, "2025-03-03"]
    assert reason in found[1]["_misread"] and found[0]["_misread"] is found[2]["_misread"] is None
    source = found[1]["_source"]
    assert source.get("(line)", ",".join(source.values())) == line


def test_a_last_line_cut_off_is_set_aside(rows):
    assert [row["_misread"] for row in rows(f"{HEAD}\n{GOOD}\nS2,C1", VISITS)] == [
        None,
        "2 fields where the heading has 3: the row is cut",
    ]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"seen,\nthen left"', "seen,\nthen left"),
        ('"seen,\r\n\r\nS9,C1D1"', "seen,\r\n\r\nS9,C1D1"),
        ('"said ""no"""', 'said "no"'),
        ('""""', '"'),
        ('""', None),
        ('6" scar', '6" scar'),  # amid a plain field a quotation mark is text
    ],
)
def test_quotes_hold_what_they_enclose_and_rows_stay_counted(rows, cell, text):
    found = rows(f"{HEAD}\n{GOOD}\nS2,{cell},2025-03-02\nS3,C1D1\nS4,C1D1,2025-03-04\n", VISITS)
    assert [row["_row_number"] for row in found] == [1, 2, 3, 4]
    assert [row["subject_id"] for row in found] == ["S1", "S2", None, "S4"]
    assert found[1]["visit_name"] == text


def test_counts_and_quotes_hold_across_blocks(rows):
    """A table larger than one block, with quoted line ends and a short row on both sides of the cut."""
    filler = "x" * 200
    lines = [f'S{place},"{filler}\n{place}",2025-03-01' for place in range(_BLOCK_BYTES // 220 + 2_000)]
    lines[3] = lines[-3] = "short"
    found = rows("\n".join([HEAD, *lines]), VISITS)
    assert [row["_row_number"] for row in found] == list(range(1, len(lines) + 1))
    assert [place for place, row in enumerate(found) if row["_misread"]] == [3, len(lines) - 3]
    assert all(row["subject_id"] == f"S{place}" for place, row in enumerate(found) if not row["_misread"])


def test_type_drift_late_in_a_file_changes_nothing_before_it(rows):
    lab = "subject_id,analyte,value,unit,collected_at\n"
    found = rows(lab + "S1,42914-2,12.50,ng/mL,2025-03-01\n" * 30_000 + "S1,42914-2,haemolysed,ng/mL,2025-03-01\n")
    assert found[0]["value"] == "12.50" and found[0]["value_number"] == "12.50"
    assert found[-1]["value"] == "haemolysed" and found[-1]["value_number"] is None


def test_source_text_is_untouched_and_extra_columns_are_kept(rows):
    [row] = rows(f"{HEAD},Remark\n S1 ,C1D1,03/04/2025,=1+1\n", VISITS)
    assert row["_source"] == {"subject_id": " S1 ", "visit_name": "C1D1", "visit_on": "03/04/2025", "Remark": "=1+1"}


def test_declared_delimiter_encoding_and_zone_are_followed(rows):
    source = {
        "name": "lis",
        "folder": "lab",
        "match": "lis_*.csv",
        "record": "lab_results",
        "delimiter": ";",
        "encoding": "cp1252",
        "decimal": ",",
        "date_format": "%d.%m.%Y",
        "timezone": "Europe/Berlin",
        "columns": {
            "subject_id": "Patient",
            "analyte": "Prüfung",
            "value": "Wert",
            "unit": "Einheit",
            "collected_at": "Abnahme",
        },
    }
    text = "Patient;Prüfung;Wert;Einheit;Abnahme\n007;SERUM HER2;12,5;µg/L;01.07.2025 00:30\n"
    [row] = rows(text.encode("cp1252"), "lab/2025/lis_01.csv", sources=[source])
    assert (row["subject_id"], row["value_number"], row["unit"], row["unit_code"]) == ("007", "12.5", "µg/L", "ug/L")
    assert (row["collected_at"], row["collected_at_on"]) == ("2025-06-30T22:30:00Z", "2025-07-01")
    with pytest.raises(Rejected) as refusal:
        rows(b"Patient;Pr\x81fung", "lab/lis_02.csv", sources=[source])
    assert refusal.value.rule == "header_mismatch" and "source lis" in refusal.value.message


def test_so_many_ragged_rows_that_the_declaration_must_be_wrong_refuse_the_file(rows):
    with pytest.raises(Rejected) as refusal:
        rows(f"{HEAD}\n" + "S1,C1D1,2025-03-01,5\n" * 100_002, VISITS)
    assert refusal.value.rule == "ragged_rows"
