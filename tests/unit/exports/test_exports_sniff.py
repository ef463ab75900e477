"""The content decides the format; a name that claims another one is a mismatch."""

import gzip
import io
import zipfile

import pytest

from orchestration.exports import Rejected

CSV = b"subject_id,visit_name,visit_on\nS1,C1D1,2025-03-01\n"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says", "mend"),
    [
        (gzip.compress(CSV, mtime=0), "gzip", "Unpack"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "XLSX", "as CSV"),
        (zipped("dm.csv"), "ZIP", "Unpack"),
        (b"\xd0\xcf\x11\xe0" + bytes(64), "Office", "as CSV"),
        (b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!", "XPT", "as CSV"),
        (b"PAR1" + bytes(20), "Parquet", "as CSV"),
        (bytes(128) + b"DICM", "DICOM", "as CSV"),
        (b"MSH|^~\\&|LAB|\rPID|1\r", "HL7", "as CSV"),
        (b"\xef\xbb\xbf\x0bFHS|^~\\&|\r", "HL7", "as CSV"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "HTML", "fetch the export again"),
        (b"\n <HTML>", "HTML", "fetch the export again"),
        (b"<?xml version='1.0'?><ODM/>", "XML", "as CSV"),
        (b'{"resourceType": "Observation"}', "JSON", "as CSV"),
        (b'[{"a": 1}]', "JSON", "as CSV"),
        (b"%PDF-1.7", "PDF", "as CSV"),
    ],
    # Two test processes must collect the same names: none may hold bytes that carry the time.
    ids=[
        "gzip", "xlsx", "zip", "xls", "xpt", "parquet", "dicom", "hl7", "hl7-batch", "html-doctype", "html-tag",
        "xml", "json-object", "json-array", "pdf",
    ],
)
def test_other_formats_are_refused_by_their_content_with_the_mend(rows, content, says, mend):
    with pytest.raises(Rejected) as refusal:
        rows(content, "clinical/visits.csv")
    assert refusal.value.rule == "type_mismatch"
    assert says in refusal.value.message and mend in refusal.value.message


@pytest.mark.parametrize(
    "name", ["clinical/visits.csv.gz", "clinical/visits.xlsx", "clinical/visits.zip", "visits.json"]
)
def test_text_under_another_formats_name_is_refused(rows, name):
    with pytest.raises(Rejected) as refusal:
        rows(CSV, name)
    assert refusal.value.rule == "type_mismatch"


@pytest.mark.parametrize("name", ["clinical/visits.csv", "clinical/VISITS.TXT", "visits.2025-03-01", "clinical/visits"])
def test_text_under_a_name_that_claims_nothing_is_read(rows, name):
    assert len(rows(CSV, name)) == 1
