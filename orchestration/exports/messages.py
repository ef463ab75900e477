"""What the readers of messages (HL7 v2, FHIR, DICOM SR) share: rows one at a time, in canonical text, into a sheet.

A message has no headings, so its reader names the canonical columns itself and keeps, as source text, only the fields
that it lists: no field that may name a person is ever copied. How one kind of message is taken apart does not belong
here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestration.exports import Sheet, layouts
from orchestration.exports.mapping import SOURCE, Plan, analyte_codes, canonical, schema
from orchestration.exports.records import RECORDS
from orchestration.exports.values import fold_code

if TYPE_CHECKING:
    from orchestration.study import Study

NARRATIVE = "(narrative text, not kept)"
"""Stands for a value that is prose: it is no result, and it may name a person."""

LONGEST_RESULT = 60
"""Characters; a text beyond it is prose."""

_FLUSH_ROWS = 50_000
_SPECIMENS = {"SER": "SERUM", "119364003": "SERUM", "PLAS": "PLASMA", "119361006": "PLASMA", "BLD": "WHOLE BLOOD"}
_WITH_UNIT = re.compile(r"([<>]=?\s*|[≤≥]\s*)?(\d[\d.,]*)\s*([A-Za-zµμ]+/[A-Za-z]+)")
_NUMBER = re.compile(r"([<>]=?|[≤≥])?\s*-?\d[\d.,]*")
_LOINC = frozenset({"LN", "LOINC", "HTTP://LOINC.ORG"})
_DIGITS = re.compile(r"\d+")


class Rows:
    """Collects the rows of one record.

    Args:
        headings: canonical column -> name of the field that holds it, for messages about quarantined rows.
    """

    def __init__(self, name: str, record: str, layout: str, headings: Mapping[str, str], study: "Study"):
        self._name, self._study = name, study
        self.plan: Plan = layouts.message_plan(name, RECORDS[record], layout, study)
        self.known_codes = frozenset().union(*analyte_codes(study))
        self._headings = headings
        self._columns = [column.name for column in RECORDS[record].columns]
        self._texts: dict[str, list[str | None]] = {column: [] for column in self._columns}
        self._sources: list[list[tuple[str, str]]] = []
        self._misread: list[str | None] = []
        self._batches: list[pa.RecordBatch] = []
        self.count = 0

    def add(self, texts: Mapping[str, str | None], source: list[tuple[str, str]], misread: str | None = None) -> None:
        """One row: canonical column -> text as it stands, and the fields it came from."""
        for column in self._columns:
            self._texts[column].append(texts.get(column) or "")
        self._sources.append(source)
        self._misread.append(misread)
        self.count += 1
        if len(self._misread) >= _FLUSH_ROWS:
            self._flush()

    def sheet(self, note: str = "") -> Sheet:
        """All rows, numbered in the order in which they were added."""
        self._flush()
        table = pa.Table.from_batches(self._batches, schema(self.plan.record))
        table = table.append_column("_row_number", pa.array(range(1, table.num_rows + 1), pa.int64()))
        return Sheet(
            self.plan.record.name,
            self.plan.source,
            self.plan.layout,
            table,
            layouts.exported_on(self._name, self.plan, self._study),
            note=note,
            headings=self._headings,
            rows_stand_alone=True,
        )

    def _flush(self) -> None:
        if not self._misread:
            return
        batch = pa.record_batch([pa.array(texts, pa.string()) for texts in self._texts.values()], self._columns)
        sources = pa.array(self._sources, SOURCE)
        misread = pa.array(self._misread, pa.string())
        self._batches.append(canonical(batch, self._columns, self.plan, self._study, sources, misread))
        for texts in (*self._texts.values(), self._sources, self._misread):
            texts.clear()


def specimen(code: str, text: str) -> str:
    """One word for the specimens that HL7 table 0487 and SNOMED CT code, else the text as it stands."""
    return _SPECIMENS.get(code.upper()) or _SPECIMENS.get(text.upper()) or text or code


def result_and_unit(text: str, unit: str, is_prose: bool = False) -> tuple[str, str]:
    """A result in text, its unit taken from the text where it is written there and nowhere else.

    Prose is not kept: text that is too long, or any that is no number where the sender calls it prose.
    """
    text = text.strip()
    if not unit and (found := _WITH_UNIT.fullmatch(text)):
        return (found[1] or "") + found[2], found[3]
    if len(text) > LONGEST_RESULT or (is_prose and text and not _NUMBER.fullmatch(text)):
        return NARRATIVE, unit
    return text, unit


def code_of(candidates: Iterable[tuple[str, str]], rows: Rows) -> str:
    """Of (code, system) pairs the LOINC code; without one the code that the study knows; else the first.

    The LOINC code decides even where the study does not know it: it says more than a local code beside it.
    """
    pairs = [(code, system) for code, system in candidates if code]
    loinc = next((code for code, system in pairs if system.upper() in _LOINC), None)
    known = next((code for code, _ in pairs if fold_code(code) in rows.known_codes), None)
    return loinc or known or (pairs[0][0] if pairs else "")


def sortable(text: str) -> str:
    """Text whose order is that of the numbers in it: MSG9 stands before MSG10."""
    return _DIGITS.sub(lambda digits: digits[0].zfill(20), text)


def listing(counts: Mapping[str, int]) -> str:
    """`3 Patient, 1 Specimen`, for notes."""
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
