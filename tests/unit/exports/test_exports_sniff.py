"""The content decides the format; a name that claims another one is a mismatch."""

import gzip
import json
from importlib import import_module

import pytest

from orchestration.exports import Rejected
from orchestration.exports.sniff import FORMATS, TEXT, sniff
from tests.unit.exports import writers

CSV = b"subject_id,visit_name,visit_on\nS1,C1D1,2025-03-01\n"
CONTENTS = {
    "gzip": gzip.compress(CSV, mtime=0),
    "an XLSX workbook": writers.as_zip({"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"}),
    "a ZIP archive": writers.as_zip({"dm.csv": b"x"}),
    "an old or encrypted Office document": b"\xd0\xcf\x11\xe0" + bytes(64),
    "a compressed file": b"7z\xbc\xaf\x27\x1c",
    "SAS transport (XPT)": b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!",
    "a SAS data set": bytes(12) + b"\xc2\xea\x81\x60",
    "Parquet": b"PAR1" + bytes(20),
    "an SPSS file": b"$FL2@(#) SPSS",
    "an R data file": b"RDX3\nX",
    "DICOM": bytes(128) + b"DICM",
    "HL7 v2": b"MSH|^~\\&|LAB|\rPID|1\r",
    "HTML": b"<!DOCTYPE html><html><body>Log in</body></html>",
    "Dataset-JSON": b'\xef\xbb\xbf {"fileOID": "x", "datasetJSONVersion": "1.1.0"}',
    "PDF": b"%PDF-1.7",
    "an image": b"\x89PNG\r\n",
    "delimited text": CSV,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_the_first_bytes_name_the_format(name):
    assert sniff(CONTENTS[name]).name == name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xef\xbb\xbf\x0bFHS|^~\\&|\r", "HL7 v2"),
        (b"\n <HTML>", "HTML"),
        (b'{\n  "datasetJSONVersion": "1.1.0"', "Dataset-JSON"),
        (b"PK\x05\x06" + bytes(18), "a ZIP archive"),
        (b"", "delimited text"),
        (b"{x},y\n", "delimited text"),
        (b"Parent,PAR1\n", "delimited text"),
    ],
)
def test_variants_of_a_beginning(content, name):
    assert sniff(content).name == name


UNREAD = [item.name for item in FORMATS if item.module is None and item.name in CONTENTS]


@pytest.mark.parametrize("name", UNREAD)
def test_a_format_that_is_not_read_is_refused_by_its_content_with_the_mend(rows, name):
    with pytest.raises(Rejected) as refusal:
        rows(CONTENTS[name], "clinical/visits.csv")
    assert refusal.value.rule == "type_mismatch"
    mend = next(item.mend for item in FORMATS if item.name == name)
    assert name in refusal.value.message and mend and mend in refusal.value.message


READ = [item for item in (*FORMATS, TEXT) if item.module]


@pytest.mark.parametrize("item", READ, ids=[item.name for item in READ])
def test_a_format_that_is_read_has_its_reader(item):
    module = import_module(item.module)
    assert hasattr(module, "read") or hasattr(module, "members")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clinical/visits.csv.gz", "delimited text"), ("clinical/visits.xlsx", "delimited text"),
        ("clinical/visits.zip", "delimited text"), ("visits.json", "delimited text"),
        ("visits.csv", "an XLSX workbook"), ("visits.csv", "a ZIP archive"), ("visits.csv", "Parquet"),
        ("visits.xpt", "a SAS data set"), ("visits.zip", "an XLSX workbook"), ("visits.xlsx", "a ZIP archive"),
        ("visits.tsv", "Dataset-JSON"), ("visits.hl7", "delimited text"),
    ],
)  # fmt: skip
def test_a_name_that_claims_another_format_is_refused(rows, name, content):
    with pytest.raises(Rejected) as refusal:
        rows(CONTENTS[content], name)
    assert refusal.value.rule == "type_mismatch" and "the name says" in refusal.value.message


@pytest.mark.parametrize("name", ["clinical/visits.csv", "clinical/VISITS.TXT", "visits.2025-03-01", "clinical/visits"])
def test_text_under_a_name_that_claims_nothing_else_is_read(rows, name):
    assert len(rows(CSV, name)) == 1


@pytest.mark.parametrize("name", ["clinical/sv.json", "clinical/sv.ndjson", "clinical/sv", "clinical/sv.dat"])
def test_json_is_known_under_each_of_its_names(rows, name):
    dataset = writers.as_datasetjson([{"subject_id": "S1", "visit_name": "C1D1", "visit_on": "2025-03-01"}], "SV")
    assert len(rows(json.dumps(dataset), name)) == 1
