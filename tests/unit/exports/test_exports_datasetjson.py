"""Dataset-JSON 1.1: numbers stay as written, the count is proven, and JSON's traps are refused."""

import json

import pytest

from orchestration.exports import Rejected
from tests.unit.exports import writers

NAME = "lab/lb.json"
ROW = {"USUBJID": "S1", "LBTESTCD": "HER2", "LBORRES": "5", "LBORRESU": "ng/mL", "LBDTC": "2024-03-01", "LBLLOQ": 1.5}
DATASET = writers.as_datasetjson([ROW, ROW | {"LBORRES": "6", "LBLLOQ": 2.0}])
TEXT = json.dumps(DATASET)


@pytest.mark.parametrize("number", ["1.50", "1.5", "15e-1", "0.15E1"])
def test_a_number_is_its_digits(rows, number):
    assert rows(TEXT.replace("1.5]", f"{number}]"), NAME)[0]["lloq"] == "1.5"


def test_a_document_may_be_laid_out_over_many_lines(rows):
    assert rows(json.dumps(DATASET, indent=2), NAME) == rows(TEXT, NAME)


def test_newline_delimited_rows_end_as_the_sender_ends_lines(rows):
    whole = writers.lines(DATASET)
    assert rows(whole, "lab/lb.ndjson") == rows(whole.replace(b"\n", b"\r\n") + b"\r\n\r\n", "lab/lb.ndjson") == rows(TEXT, NAME)


@pytest.mark.parametrize("value", [{"a": 1}, [1]])
def test_a_value_that_is_none_sets_its_row_aside(rows, value):
    dataset = writers.as_datasetjson([ROW, ROW])
    dataset["rows"][0][5] = value
    found = rows(json.dumps(dataset), NAME)
    assert "LBLLOQ" in found[0]["_misread"] and found[1]["lloq"] == "1.5"


def test_a_number_of_no_measured_size_is_never_computed(rows):
    found = rows(TEXT.replace("1.5]", "1e9999999]"), NAME)
    assert "LBLLOQ" in found[0]["_misread"] and found[1]["lloq"] == "2"


@pytest.mark.parametrize(
    ("text", "rule", "says"),
    [
        (TEXT.replace("1.5", "NaN"), "json", "NaN"),
        (TEXT.replace("1.5", "-Infinity"), "json", "Infinity"),
        (TEXT.replace('"name": "LB"', '"name": "LB", "name": "DM"'), "json", "'name' stands twice"),
        (TEXT.replace("1.5", "[" * 60 + "]" * 60), "json", "50 deep"),
        (TEXT.replace("1.5", "[" * 100_000), "json", "50 deep"),
        (TEXT.replace("1.5", "1" * 5_000), "json", "5,000 characters"),
        (TEXT[:-20], "json", "line 1, column"),
        (TEXT.replace("S1", "\udce9", 1).encode("utf-8", "surrogateescape"), "json", "not UTF-8"),
        (TEXT.replace("S1", "S1\\ud800", 1), "json", "half a character"),
        (TEXT.replace('"records": 2', '"records": 3'), "record_count", "2 rows are there"),
        (TEXT.replace('"records": 2', '"records": 1e6'), "record_count", "2 rows are there"),
        (TEXT.replace('"records": 2, ', ""), "record_count", "no number"),
        (TEXT.replace('"1.1.0"', '"1.0.0"'), "metadata", "version 1.1"),
        (TEXT.replace("1.5]", "1.5, 7]"), "metadata", "row 1: 7 values where columns has 6"),
        (TEXT.replace('"dataType": "float"', '"dataType": "list"'), "metadata", "entry 6"),
        (TEXT.replace('"columns"', '"columnz"'), "metadata", "no columns"),
        (TEXT.replace('"rows": [[', '"rowz": [['), "record_count", "0 rows are there"),
        (json.dumps(DATASET | {"rows": [{}, {}]}), "metadata", "row or line 1"),
        (writers.lines(DATASET).rsplit(b"\n", 1)[0], "record_count", "1 rows are there"),
        (writers.lines(DATASET)[:-4], "json", "line 3"),
        (TEXT.replace("LBLLOQ", "USUBJID"), "duplicate_header", "USUBJID"),
    ],
    ids=["nan", "infinity", "key-twice", "deep", "very-deep", "long-number", "cut", "latin-1", "half-a-character", "count", "count-exponent", "no-count",
         "version", "long-row", "data-type", "no-columns", "no-rows", "row-object", "ndjson-count", "ndjson-cut", "column-twice"],
)  # fmt: skip
def test_what_is_no_dataset_is_refused_with_the_place(rows, text, rule, says):
    with pytest.raises(Rejected) as refusal:
        rows(text, "lab/lb.ndjson" if b"\n" in (text if isinstance(text, bytes) else b"") else NAME)
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True), refusal.value.message


def test_a_document_above_the_limit_is_refused_before_it_is_parsed(rows):
    with pytest.raises(Rejected) as refusal:
        rows(TEXT + " " * (1 << 20), NAME, ingest={"max_document_mb": 1})
    assert refusal.value.rule == "too_large"
