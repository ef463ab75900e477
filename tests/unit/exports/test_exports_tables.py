"""What typed tables share: the same rows in every tabular format give the same canonical rows, typed values as text."""

import math
from datetime import date, datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from orchestration.exports import Rejected
from orchestration.exports.tables import MAX_COLUMNS, check_size, texts
from tests.unit.exports import writers

LAB = [
    {"USUBJID": "007", "LBTESTCD": "HER2", "LBORRES": "12.5", "LBORRESU": "ng/mL", "LBDTC": "2024-03-01T08:30",
     "LBSPEC": "SERUM", "VISIT": "C1D1", "LBSPID": "A1"},
    {"USUBJID": "NA", "LBTESTCD": "HER2", "LBORRES": "<5", "LBORRESU": "ug/L", "LBDTC": "2024-03",
     "LBSPEC": "SERUM", "VISIT": "", "LBSPID": "A2"},
    {"USUBJID": "Å-1", "LBTESTCD": "HER2", "LBORRES": "x", "LBORRESU": "", "LBDTC": "2024-03-02",
     "LBSPEC": "", "VISIT": "C2D1", "LBSPID": "A3"},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["xlsx", "parquet", "xpt5", "xpt8", "json", "ndjson"])
def test_a_table_reads_alike_in_every_format(rows, tmp_path, kind):
    content, name = {
        "xlsx": lambda: (writers.as_xlsx({"LB": writers.grid(LAB)}), "lab/export.xlsx"),
        "parquet": lambda: (writers.as_parquet(LAB), "lab/lb.parquet"),
        "xpt5": lambda: (writers.as_xpt(LAB, tmp_path), "lab/lb.xpt"),
        "xpt8": lambda: (writers.as_xpt(LAB, tmp_path, version=8), "lab/lb.xpt"),
        "json": lambda: (writers.document(writers.as_datasetjson(LAB)), "lab/lb.json"),
        "ndjson": lambda: (writers.lines(writers.as_datasetjson(LAB)), "lab/lb.ndjson"),
    }[kind]()
    assert rows(content, name) == rows(writers.as_csv(LAB), "lab/lb.csv")


NOISE = 14.999999999999998


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([1.0, -2.0, None]), ["1", "-2", ""]),
        (pa.array([0.1 + 0.2, 14.999999999, NOISE, 1e-5, 5.1]), ["0.3", "14.999999999", "15", "0.00001", "5.1"]),
        (pa.array([math.nan, math.inf, -0.0, 0.5]), ["", "", "0", "0.5"]),
        (pa.array([9007199254740991.0, 12345678901234.0, 1e300, 0.5]), ["9007199254740991", "12345678901234", "1e+300", "0.5"]),
        (pa.array([0.1, 12.7], pa.float32()), ["0.1", "12.7"]),
        (pa.array([Decimal("5.10"), Decimal("0.00"), None]), ["5.1", "0", ""]),
        (pa.array([1, None], pa.int8()), ["1", ""]),
        (pa.array([True, None]), ["true", ""]),
        (pa.array([date(2024, 3, 1)]), ["2024-03-01"]),
        (pa.array([datetime(2024, 3, 1), datetime(2024, 3, 1, 8, 30, 59, 999_999)], pa.timestamp("us")), ["2024-03-01", "2024-03-01T08:30:59"]),
        (pa.array([datetime(2024, 3, 1, 7)], pa.timestamp("ns", "Europe/Berlin")), ["2024-03-01T07:00:00Z"]),
        (pa.array([time(8, 30, 1)], pa.time64("us")), ["08:30:01"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"]),
        (pa.nulls(2), ["", ""]),
    ],
    ids=["whole", "noise", "no-number", "large", "float32", "decimal", "int", "bool", "date", "timestamp", "zoned", "time", "dictionary", "null"],
)  # fmt: skip
def test_typed_values_become_the_text_that_a_person_would_have_typed(column, text):
    assert texts(column).to_pylist() == text


def test_a_decimal_comma_is_written_as_the_source_declares_it():
    assert texts(pa.array([12.5, 3.0]), ",").to_pylist() == ["12,5", "3"]


@pytest.mark.parametrize(("rows", "columns", "rule"), [(1, MAX_COLUMNS + 1, "too_wide"), (10**9, 10, "too_large")])
def test_a_table_larger_than_any_export_is_refused(rows, columns, rule):
    with pytest.raises(Rejected) as refusal:
        check_size("lab/a.parquet", rows, columns)
    assert refusal.value.rule == rule and "lab/a.parquet" in refusal.value.message


SOURCE = {
    "name": "lis", "match": "*", "record": "lab_results", "decimal": ",", "date_format": "%d.%m.%Y",
    "columns": {"subject_id": "Patient", "analyte": "Test", "value": "Wert", "collected_at": "Abnahme"},
    "constants": {"unit": "ng/mL"},
}  # fmt: skip


def test_real_numbers_and_dates_stand_beside_the_declared_spelling(rows):
    found = rows(
        writers.as_xlsx({
            "Tabelle1": [
                ["Patient", "Test", "Wert", "Abnahme"],
                ["S1", "42914-2", 12.5, datetime(2024, 3, 1, 8, 30)],
                ["S1", "42914-2", "12,5", "01.03.2024"],
                ["S1", "42914-2", "1.234", "03/01/2024"],
            ]
        }),
        "lab/lis.xlsx", sources=[SOURCE],
    )  # fmt: skip
    assert [row["value_number"] for row in found] == ["12.5", "12.5", None]
    assert [row["collected_at_on"] for row in found] == ["2024-03-01", "2024-03-01", "\ufffd03/01/2024"]


def test_a_declared_spelling_that_takes_an_iso_date_for_another_day_is_refused(rows):
    with pytest.raises(Rejected) as refusal:
        rows(writers.as_parquet([{"Patient": "S1", "Test": "x", "Wert": 1.0, "Abnahme": date(2024, 3, 1)}]), "lab/a.parquet",
             sources=[SOURCE | {"date_format": "%Y-%d-%m"}])  # fmt: skip
    assert refusal.value.rule == "declaration" and "date_format" in refusal.value.message
