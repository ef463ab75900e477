"""Rows of a study for the tests of response and endpoints: subjects with lesions or responses, and the public study.

Built here, as canonical rows: what a test says in a line. What is expected of them belongs in the tests.
"""

import csv
import gzip
from datetime import date, timedelta
from pathlib import Path

import pytest

from orchestration.exports import read
from orchestration.settings import REPOSITORY
from orchestration.study import Study

SHARED = REPOSITORY.parent / "shared"
REFERENCE = SHARED / "reference" / "recist"
FIRST_DOSE = date(2025, 1, 1)


def on(day: int) -> str:
    """ISO date so many days after the first dose."""
    return str(FIRST_DOSE + timedelta(days=day))


def reference(name: str) -> list[dict]:
    """Rows of a reference table that nobody on this project computed; skips where it is absent."""
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"{path.relative_to(SHARED.parent)} is absent: nothing to hold the responses against")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Rows:
    """Collects the rows of a study, a record name each."""

    def __init__(self) -> None:
        self.records: dict[str, list[dict]] = {
            name: []
            for name in (
                "subjects",
                "exposures",
                "tumor_identifications",
                "tumor_measurements",
                "tumor_responses",
                "therapies",
                "dispositions",
                "survival_status",
            )
        }

    def add(self, record: str, subject: str, **columns) -> None:
        self.records[record].append({"subject_id": subject} | columns)

    def subject(self, subject: str, first_dose: str = on(0), **columns) -> None:
        self.add("subjects", subject, **columns)
        self.add("exposures", subject, treatment="STUDY DRUG", dose="5.4", start_on=first_dose)

    def lesion(self, subject: str, lesion: str, role: str = "TARGET", day: int = -7, **columns) -> None:
        self.add(
            "tumor_identifications",
            subject,
            lesion_id=lesion,
            role=role,
            identified_on=on(day),
            **({"visit_name": f"DAY {day}"} | columns),
        )

    def measured(
        self, subject: str, lesion: str, day: int, value: str | None, test: str = "DIAMETER", **columns
    ) -> None:
        """A diameter in mm or a state; None: not done."""
        columns = {"value": value, "status": None if value else "NOT DONE", "visit_name": f"DAY {day}"} | columns
        self.add("tumor_measurements", subject, lesion_id=lesion, test=test, assessed_on=on(day), **columns)

    def reported(self, subject: str, when: str, value: str, test: str = "OVRLRESP", **columns) -> None:
        self.add(
            "tumor_responses",
            subject,
            test=test,
            value=value,
            assessed_on=when,
            **({"visit_name": f"VISIT {when}"} | columns),
        )


def public_study(tumor_set: str, folder: Path) -> dict[str, list[dict]]:
    """The public SDTM study with a tumour set (`onco_recist`: 8 subjects, `onco`: 254), read by our own readers."""
    source = SHARED / "samples" / "sdtm"
    if not source.exists():
        pytest.skip("shared/samples is absent: no public study to derive")
    names = [
        "dm.csv",
        "ds.csv",
        "ex.csv",
        "sv.csv",
        f"tu_{tumor_set}.csv",
        f"tr_{tumor_set}.csv",
        f"rs_{tumor_set}.csv",
    ]
    records: dict[str, list[dict]] = {}
    for name in names:
        path = source / name
        if not path.exists():
            path = folder / name
            path.write_bytes(gzip.decompress((source / f"{name}.gz").read_bytes()))
        for sheet in read(path, name, Study()):
            rows = sheet.table.drop_columns(["_row_number", "_source", "_misread"]).to_pylist()
            records.setdefault(sheet.record, []).extend(row | {"_file_id": name} for row in rows)
    return records
