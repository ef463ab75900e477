"""Dates are read as declared or marked: nothing is guessed, no day is shifted."""

import pytest

from orchestration.exports import Rejected
from orchestration.exports.records import UNREADABLE

VISITS = "clinical/visits.csv"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2025-03-01", "2025-03-01"),
        ("20250301", "2025-03-01"),
        ("2024-02-29", "2024-02-29"),
        ("2025-03-01T23:30", "2025-03-01"),
        ("2025-03-01 00:00:00", "2025-03-01"),
        ("2025-03", "2025-03"),  # partial dates keep what is known
        ("2025", "2025"),
        ("2014-UN-UN", "2014"),
        ("2014-unk-unk", "2014"),
        ("2014-01-UN", "2014-01"),
        ("2014---15", "2014"),
        ("2014-01--", "2014-01"),
        ("", None),
        ("03/04/2025", None),
        ("3.4.2025", None),
        ("25-03-01", None),
        ("250301", None),
        ("2025-3-1", None),
        ("2025-02-29", None),
        ("2025-02-31", None),
        ("2025-13-01", None),
        ("0025-03-01", None),
        ("1025-03-01", None),
        ("--03-01", None),
        ("UN-UN-UN", None),
        ("2025-03-01T25:00", None),
        ("２０２５-03-01", None),
        ("45717", None),
    ],
)
def test_iso_dates(rows, text, canonical):
    [row] = rows(f"subject_id,visit_name,visit_on\nS1,C1D1,{text}\n", VISITS)
    assert row["visit_on"] == (canonical or (UNREADABLE + text if text else None))


@pytest.mark.parametrize(
    ("declared", "text", "canonical"),
    [
        ("%d.%m.%Y", "01.03.2025", "2025-03-01"),
        ("%d.%m.%Y", "1.3.2025", "2025-03-01"),
        ("%d.%m.%Y", "01.03.2025 14:30", "2025-03-01"),
        ("%d.%m.%Y", "UN.03.2025", "2025-03"),
        ("%d.%m.%Y", "31.02.2025", None),
        ("%d.%m.%Y", "01.03.25", None),
        ("%d.%m.%Y", "01/03/2025", None),
        ("%d.%m.%Y", "2025-03-01", None),  # declared is declared
        ("%m/%d/%Y", "03/04/2025", "2025-03-04"),
        ("%d/%m/%Y", "03/04/2025", "2025-04-03"),
        ("%d.%m.%y", "01.03.25", "2025-03-01"),
        ("%d.%m.%y", "01.03.85", "1985-03-01"),
        ("%d-%b-%Y", "01-mar-2025", "2025-03-01"),
        ("%d%b%Y", "01MAR2025", "2025-03-01"),
        ("%d-%b-%Y", "UN-MAR-2025", "2025-03"),
        ("%B %d %Y", "March 1 2025", "2025-03-01"),
        ("%d-%b-%Y", "01-Mrz-2025", None),
        ("%d%m%Y", "01032025", "2025-03-01"),
        ("%d%m%Y", "1122024", None),  # 1 December or 11 February
        ("%m/%d/%Y %I:%M %p", "03/04/2025 12:05 AM", "2025-03-04"),
    ],
)
def test_declared_dates(rows, declared, text, canonical):
    source = {
        "name": "edc",
        "record": "visits",
        "date_format": declared,
        "columns": {"subject_id": "id", "visit_name": "visit", "visit_on": "on"},
    }
    [row] = rows(f"id,visit,on\nS1,C1D1,{text}\n", VISITS, sources=[source])
    assert row["visit_on"] == (canonical or UNREADABLE + text)


@pytest.mark.parametrize(
    ("text", "at", "on"),
    [
        ("2025-01-15T23:30", "2025-01-15T22:30:00Z", "2025-01-15"),
        ("2025-07-01T00:30:15", "2025-06-30T22:30:15Z", "2025-07-01"),  # another day in UTC, the same one at the site
        ("2025-01-15 08:00:00.250", "2025-01-15T07:00:00Z", "2025-01-15"),
        ("20250115T0800", "2025-01-15T07:00:00Z", "2025-01-15"),
        (
            "2025-01-15T23:30Z",
            "2025-01-15T23:30:00Z",
            "2025-01-16",
        ),  # written in UTC: the day is that of the source's zone
        ("2025-01-15T23:30+00:00", "2025-01-15T23:30:00Z", "2025-01-16"),
        ("2025-01-15T23:30+09:00", "2025-01-15T14:30:00Z", "2025-01-15"),  # written with its offset: the day as written
        ("2025-01-15T23:30-0500", "2025-01-16T04:30:00Z", "2025-01-15"),
        ("2025-10-26T02:30", "2025-10-26T00:30:00Z", "2025-10-26"),  # this hour comes twice: the first counts
        ("2025-03-30T02:30", "2025-03-30T01:30:00Z", "2025-03-30"),  # this hour is skipped
        ("2025-01-15", "2025-01-15", "2025-01-15"),
        ("2025-01-15T13", "2025-01-15", "2025-01-15"),
        ("2025-01-15T-:30", "2025-01-15", "2025-01-15"),
        ("2025-01", "2025-01", "2025-01"),
        ("2025-01-15T24:30", UNREADABLE, UNREADABLE),
        ("15/01/2025 08:00", UNREADABLE, UNREADABLE),
        ("", None, None),
    ],
)
def test_instants_are_utc_and_days_are_the_sites(rows, text, at, on):
    content = f"subject_id,analyte,value,unit,collected_at\nS1,42914-2,5,ng/mL,{text}\n"
    [row] = rows(content, study={"timezone": "Europe/Berlin"})
    marked = [UNREADABLE + text if found == UNREADABLE else found for found in (at, on)]
    assert [row["collected_at"], row["collected_at_on"]] == marked


def test_a_datetime_format_stands_beside_the_date_format(rows):
    source = {
        "name": "lis",
        "record": "lab_results",
        "date_format": "%d.%m.%Y",
        "timezone": "America/New_York",
        "datetime_format": "%m/%d/%Y %I:%M %p",
        "columns": {"subject_id": "id", "analyte": "test", "value": "value", "unit": "unit", "collected_at": "at"},
    }
    lines = (
        "S1,X,1,U,07/01/2025 12:30 AM\nS1,X,1,U,07/01/2025 1:05 pm\nS1,X,1,U,01.07.2025 13:05\nS1,X,1,U,01.07.2025\n"
    )
    found = rows("id,test,value,unit,at\n" + lines, sources=[source])
    assert [row["collected_at"] for row in found] == [
        "2025-07-01T04:30:00Z",
        "2025-07-01T17:05:00Z",
        "2025-07-01T17:05:00Z",
        "2025-07-01",
    ]


def test_an_unknown_directive_names_the_source(rows):
    source = {
        "name": "edc",
        "record": "visits",
        "date_format": "%d.%Q.%Y",
        "columns": {"subject_id": "id", "visit_name": "visit", "visit_on": "on"},
    }
    with pytest.raises(Rejected) as refusal:
        rows("id,visit,on\nS1,C1D1,x\n", VISITS, sources=[source])
    assert refusal.value.rule == "declaration" and "edc" in refusal.value.message and "%Q" in refusal.value.message
