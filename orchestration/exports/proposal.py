"""Proposes a `sources:` entry for an unknown table. A person checks it; nothing is applied."""

import csv
import difflib
import io
import itertools
import re
from datetime import datetime
from pathlib import Path

import yaml

from orchestration.errors import UserError
from orchestration.exports.records import RECORDS, Column, Record

SAMPLE_ROWS = 2000
DELIMITERS = ",;\t|"
DATE_FORMATS = (
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%Y%m%d",
    "%d-%m-%Y",
    "%Y/%m/%d",
)
TIME_FORMATS = ("T%H:%M", "T%H:%M:%S", " %H:%M", " %H:%M:%S")
LIKE_ENOUGH = 0.75

SYNONYMS = {
    "subject_id": "usubjid subjid subject patient patientid patnr participant pid id proband",
    "site_id": "siteid site centre center zentrum",
    "sample_id": "sample specimenid probe probennummer accession barcode lbrefid",
    "analyte": "test testcode testname parameter analysis loinc lbtestcd analyt",
    "value": "result ergebnis wert lborres messwert finding",
    "unit": "units einheit lborresu uom",
    "collected_at": "collected collection collectiondate drawn abnahme entnahme sampledate lbdtc",
    "reported_at": "reported released validated befund befunddatum resultdate",
    "result_status": "status resultstatus befundstatus",
    "specimen": "material lbspec specimentype",
    "laboratory": "lab labor labname lbnam",
    "assay": "method kit platform methode lbmethod",
    "lesion_id": "lesion lesionid lesionno trlnkid tulnkid herd laesion",
    "location": "organ loc site_of_lesion tuloc lokalisation",
    "assessed_on": "assessment assessmentdate scandate scan datum date trdtc rsdtc untersuchung",
    "identified_on": "identified tudtc",
    "visit_name": "visit visitname visite timepoint",
    "visit_on": "visitdate svstdtc besuchsdatum",
    "reader": "reader readerid radiologist",
    "treatment": "drug medication substance extrt cmtrt medikament",
    "start_on": "start startdate infusion dosedate exstdtc beginn",
    "started_on": "start startdate cmstdtc beginn",
    "dose": "dosis exdose",
    "enrolled_on": "enrolled consent consentdate einschluss",
    "death_on": "death deathdate dthdtc todesdatum",
    "age_years": "age alter",
    "sex": "gender geschlecht",
}


def propose(path: Path) -> str:
    """YAML text of a `sources:` entry for a delimited table, with a comment on all that a person must decide.

    Raises:
        UserError: the file is not there, or is no delimited text with a header and at least one row.
    """
    text, encoding = _decode(path)
    sample = "".join(itertools.islice(io.StringIO(text), SAMPLE_ROWS))
    header = sample.splitlines()[0] if sample.strip() else ""
    delimiter = max(DELIMITERS, key=header.count)
    rows = list(csv.reader(io.StringIO(sample), delimiter=delimiter))
    if len(rows) < 2 or len(rows[0]) < 2:
        raise UserError(
            f"layout: {path}: no table with a heading line and rows was found. Export it as CSV with one heading line."
        )
    headings = rows[0]
    values = {
        name: [row[position] for row in rows[1:] if position < len(row) and row[position].strip()]
        for position, name in enumerate(headings)
    }
    record, matches = _best_record(headings)
    notes = [f"{heading}: matched to no column" for heading in headings if heading not in matches.values()]
    entry = {"name": path.stem, "folder": record.folder, "match": f"{path.stem}*{path.suffix}", "record": record.name}
    entry["columns"] = dict(matches)
    missing = [name for name in record.required if name not in matches]
    notes += [
        f"{name}: required by {record.name}, found under no heading: map it or give it under constants"
        for name in missing
    ]
    formats, format_notes = _formats(record, matches, values)
    entry |= formats
    notes += format_notes
    if delimiter != ",":
        entry["delimiter"] = delimiter
    if encoding != "utf-8":
        entry["encoding"] = encoding
        notes.append(f"encoding: no UTF-8; {encoding} reads it, but check the special characters")
    numbers = [
        v
        for name, c in ((n, record.column(n)) for n in matches)
        if c.kind == "number" or name == "value"
        for v in values[matches[name]]
    ]
    if any(re.fullmatch(r"[<>]?\s*\d+,\d+", number.strip()) for number in numbers):
        entry["decimal"] = ","
        notes.append("decimal: numbers such as 12,5 were found; a comma for thousands would look the same")
    if "unit" in matches:
        notes.append("units found: " + ", ".join(sorted(set(values[matches["unit"]]))[:8]))
    comments = "".join(f"  # check: {note}\n" for note in notes)
    return (
        "sources:\n"
        + comments
        + yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    )


def _decode(path: Path) -> tuple[str, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"layout: {path}: {error.strerror}.") from None
    if b"\0" in data:
        raise UserError(f"layout: {path}: is no text. Export it as CSV.")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding
        except UnicodeDecodeError:
            continue
    raise UserError(f"layout: {path}: neither UTF-8 nor cp1252. Save it as UTF-8.")


def _best_record(headings: list[str]) -> tuple[Record, dict[str, str]]:
    candidates = [(record, _match(record, headings)) for record in RECORDS.values()]

    def fit(candidate: tuple[Record, dict[str, str]]) -> tuple[float, int]:
        record, matches = candidate
        return sum(name in matches for name in record.required) / len(record.required), len(matches)

    informative = [c for c in candidates if len(c[0].required) > 1] if len(headings) > 2 else candidates
    best = max(informative, key=fit)
    subjects = next(c for c in candidates if c[0].name == "subjects")
    return subjects if fit(subjects)[1] > fit(best)[1] else best


def _match(record: Record, headings: list[str]) -> dict[str, str]:
    """canonical column -> heading, the likeliest pairs first, each heading once."""
    pairs = sorted(
        ((_likeness(column, heading), column.name, heading) for column in record.columns for heading in headings),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    matches: dict[str, str] = {}
    for likeness, name, heading in pairs:
        if likeness >= LIKE_ENOUGH and name not in matches and heading not in matches.values():
            matches[name] = heading
    return {column.name: matches[column.name] for column in record.columns if column.name in matches}


def _likeness(column: Column, heading: str) -> float:
    folded = re.sub(r"[^a-z0-9]", "", heading.lower())
    names = [column.name.replace("_", ""), *SYNONYMS.get(column.name, "").replace("_", "").split()]
    return max(difflib.SequenceMatcher(None, folded, name).ratio() for name in names)


def _formats(record: Record, matches: dict[str, str], values: dict[str, list[str]]) -> tuple[dict, list[str]]:
    formats, notes = {}, []
    for kind, key, candidates in (
        ("date", "date_format", DATE_FORMATS),
        ("timestamp", "datetime_format", [d + t for d in DATE_FORMATS for t in TIME_FORMATS] + list(DATE_FORMATS)),
    ):
        found = [v.strip() for name in matches if record.column(name).kind == kind for v in values[matches[name]]]
        if not found:
            continue
        fitting = [candidate for candidate in candidates if all(_reads(value, candidate) for value in found)]
        if not fitting:
            notes.append(f"{key}: no known format reads every date, for example {found[0]!r}")
        elif fitting[0].startswith("%Y-%m-%d"):
            continue  # ISO 8601 is the default
        else:
            formats[key] = fitting[0]
            if len(fitting) > 1:
                notes.append(
                    f"{key}: {' and '.join(fitting[:3])} read every date alike: ask the sender which one it is"
                )
    return formats, notes


def _reads(value: str, candidate: str) -> bool:
    try:
        datetime.strptime(value, candidate)
    except ValueError:
        return False
    return True
