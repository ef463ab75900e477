"""Proposes `sources:` entries for a file of unknown tables. A person checks them; nothing is applied."""

import codecs
import csv
import difflib
import glob
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path

import yaml

from orchestration.errors import UserError
from orchestration.exports import Rejected, xlsx
from orchestration.exports.privacy import names_person
from orchestration.exports.records import RECORDS, Column, Record
from orchestration.exports.sniff import HEAD_BYTES, TEXT, XLSX, sniff
from orchestration.exports.tables import Typed
from orchestration.study import Ingest, Source, Study

SAMPLE_ROWS = 2000
SAMPLE_BYTES = 8 << 20
MOSTLY_FILLED = 0.6  # of a row's cells: what has fewer is a title
DELIMITERS = ",;\t|"
HEADING_LINES = 20  # among which the delimiter is looked for: titles have none
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
TIME_FORMATS = ("T%H:%M", "T%H:%M:%S", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
LIKE_ENOUGH = 0.75
ISO = re.compile(r"\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?")

SYNONYMS = {
    "subject_id": "usubjid subjid subject patient patientid patnr patientnumber participant pid id proband mrn",
    "site_id": "siteid site centre center zentrum",
    "sample_id": "sample specimenid probe probennummer accession barcode lbrefid observationid auftrag",
    "analyte": "test testcode testname parameter analysis loinc loinccode code lbtestcd analyt",
    "value": "result ergebnis wert lborres messwert finding",
    "unit": "units einheit lborresu uom",
    "collected_at": "collected collection collectiondate drawn abnahme entnahme sampledate effectivedate lbdtc",
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


@dataclass(frozen=True)
class Sample:
    """The first rows of a table as text, the keys of a source that say how it is written, and what is uncertain."""

    headings: list[str]
    rows: list[list[str]]
    written: dict[str, object]
    notes: list[str]


def propose(path: Path, study: Study) -> str:
    """YAML text of `sources:` entries for a file of tables, with a comment on all that a person must decide.

    Raises:
        UserError: the file is not there, or holds no table with a heading line and at least one row.
    """
    try:
        with path.open("rb") as file:
            format = sniff(file.read(HEAD_BYTES))
    except OSError as error:
        raise UserError(f"layout: {path}: {error.strerror}.") from None
    if format is XLSX:
        samples = _sheets(path, study.ingest)
    elif format is TEXT:
        samples = [_text(path)]
    elif format.module and (tables := getattr(import_module(format.module), "tables", None)):
        samples = _typed(tables, path, study)
    else:
        raise UserError(
            f"layout: {path}: the content is {format.name}. Layouts are proposed for tables: CSV, XLSX, XPT, SAS7BDAT,"
            " Parquet, Dataset-JSON and ODM."
        )
    whole = [sample for sample in samples if sample.rows and len(sample.headings) > 1]
    if not whole:
        raise UserError(
            f"layout: {path}: no table with a heading line and rows was found. Export it with one heading line."
        )
    return "sources:\n" + "".join(_entry(path, sample, len(whole) > 1, study) for sample in whole)


def _entry(path: Path, sample: Sample, is_one_of_many: bool, study: Study) -> str:
    headings = sample.headings
    named = {heading for heading in headings if names_person(heading, study)}
    values = {
        name: [row[position] for row in sample.rows if position < len(row) and row[position].strip()]
        for position, name in enumerate(headings)
    }
    record, matches = _best_record([heading for heading in headings if heading not in named])
    notes = [
        f"{heading}: " + ("holds names of people, and is never read" if heading in named else "matched to no column")
        for heading in headings
        if heading not in matches.values()
    ]
    notes += [f"{heading}: stands more than once" for heading in dict.fromkeys(headings) if headings.count(heading) > 1]
    title = f" {sample.written.get('sheet')}" if is_one_of_many else ""
    entry = {
        "name": f"{path.stem}{title}",
        **({} if is_one_of_many else {"folder": record.folder}),
        "match": f"{glob.escape(path.stem)}*{path.suffix.lower()}",
        "record": record.name,
        "columns": dict(matches),
    }
    notes += [
        f"{name}: required by {record.name}, found under no heading: map it or give it under constants"
        for name in record.required
        if name not in matches
    ]
    formats, format_notes = _formats(record, matches, values)
    numbers = [
        value
        for name in matches
        if record.column(name).kind == "number" or name == "value"
        for value in values[matches[name]]
    ]
    if any(re.fullmatch(r"[<>]?\s*\d+,\d+", number.strip()) for number in numbers):
        formats["decimal"] = ","
        format_notes.append("decimal: numbers such as 12,5 were found; a comma for thousands would look the same")
    if "unit" in matches:
        format_notes.append("units found: " + ", ".join(sorted(set(values[matches["unit"]]))[:8]))
    comments = "".join(f"  # check: {' '.join(note.split())}\n" for note in [*notes, *format_notes, *sample.notes])
    return comments + yaml.safe_dump(
        [entry | formats | sample.written], sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )


def _text(path: Path) -> Sample:
    with path.open("rb") as file:
        data = file.read(SAMPLE_BYTES)
        is_cut = file.read(1) != b""
    if is_cut:
        data = data[: data.rfind(b"\n") + 1] or data
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data[: len(data) // 2 * 2]
    elif b"\0" in data:
        raise UserError(f"layout: {path}: is no text. Export it as CSV.")
    text, encoding = _decoded(path, data)
    lines = list(itertools.islice(io.StringIO(text, newline=""), SAMPLE_ROWS))
    first = lines[:HEADING_LINES]
    delimiter = max(DELIMITERS, key=lambda mark: (sum(mark in line for line in first), "".join(first).count(mark)))
    try:
        found = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error as error:
        raise UserError(f"layout: {path}: cannot be divided into rows ({error}). Export it as CSV.") from None
    above = _rows_above(found)
    headings, *rows = found[above:] or [[]]
    written, notes = _heading_row(above)
    if delimiter != ",":
        written["delimiter"] = delimiter
    if encoding != "utf-8":
        written["encoding"] = encoding
        if encoding != "utf-16":
            notes.append(f"encoding: no UTF-8; {encoding} reads it, but check the special characters")
    return Sample(headings, rows, written, notes)


def _decoded(path: Path, data: bytes) -> tuple[str, str]:
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if is_wide else ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding), "utf-8" if encoding == "utf-8-sig" else encoding
        except UnicodeDecodeError:
            continue
    raise UserError(f"layout: {path}: neither UTF-8 nor cp1252. Save it as UTF-8.")


def _sheets(path: Path, limits: Ingest) -> list[Sample]:
    """One sample a visible sheet; its headings are the first row that fills most of its width."""
    try:
        grids = [grid for grid in xlsx.grids(path, str(path), limits) if grid.cells.num_rows and not grid.is_hidden]
    except Rejected as refusal:
        raise UserError(f"layout: {refusal.message}") from None
    samples = []
    for grid in grids:
        rows = list(zip(*(column.to_pylist() for column in grid.cells.slice(0, SAMPLE_ROWS).columns), strict=True))
        above = _rows_above(rows)
        places = [place for place, heading in enumerate(rows[above]) if heading.strip()]
        written, notes = _heading_row(above)
        written = {"sheet": grid.title} | written
        if grid.merged:
            notes.append(f"cells {grid.merged[0][2]} are merged: unmerge and fill them, or the sheet is refused")
        if computed := [cell for place, cell in grid.formulas.items() if place in places]:
            notes.append(f"cell {computed[0]} is a formula: if its column is read, paste it as values")
        headings = [rows[above][place] for place in places]
        below = [[row[place] for place in places] for row in rows[above + 1 :]]
        samples.append(Sample(headings, below, written, notes))
    return samples


def _typed(tables: Callable[[Path, str, Study], list[Typed]], path: Path, study: Study) -> list[Sample]:
    """One sample a table of a format that names its columns itself."""
    written, notes = {}, []
    try:
        try:
            found = tables(path, str(path), study)
        except Rejected as refusal:
            if refusal.rule != "encoding":
                raise
            written = {"encoding": "cp1252"}
            notes = ["encoding: no UTF-8; cp1252 reads it, but check the special characters"]
            guess = Source(name="as cp1252", layout="sdtm", encoding="cp1252")
            found = tables(path, str(path), study.model_copy(update={"sources": [guess]}))
    except Rejected as refusal:
        raise UserError(f"layout: {refusal.message}") from None
    return [
        Sample(
            table.headings,
            list(zip(*(column.to_pylist() for column in table.first(SAMPLE_ROWS).columns), strict=True)),
            ({"sheet": table.title} if len(found) > 1 else {}) | written,
            notes,
        )
        for table in found
    ]


def _rows_above(rows: Sequence[Sequence[str]]) -> int:
    """How many titles stand above the headings, which are the first row that fills most of the width."""
    filled = [sum(cell.strip() != "" for cell in row) for row in rows]
    return next((place for place, count in enumerate(filled) if count >= max(filled) * MOSTLY_FILLED), 0)


def _heading_row(above: int) -> tuple[dict[str, object], list[str]]:
    """The key of a source that says where the headings stand, and what a person must check about it."""
    if not above:
        return {}, []
    return {"heading_row": above + 1}, [f"heading_row: {above} filled rows above it are passed over"]


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
    timed = [day + time for day in DATE_FORMATS for time in TIME_FORMATS]
    for kind, key, candidates in (("date", "date_format", DATE_FORMATS), ("timestamp", "datetime_format", timed)):
        texts = [v.strip() for name in matches if record.column(name).kind == kind for v in values[matches[name]]]
        found = [text for text in texts if not ISO.fullmatch(text)]  # the default, and real dates of a workbook
        if kind == "timestamp" and (days := _fitting(found, DATE_FORMATS)):  # without a time of day throughout
            key, candidates = "date_format", days  # noqa: PLW2901
        if not found:
            continue
        fitting = _fitting(found, candidates)
        if not fitting and kind == "timestamp":  # some with a time of day and some without: both formats are needed
            pairs = [(day, day + time) for day in DATE_FORMATS for time in TIME_FORMATS]
            both = [pair for pair in pairs if all(any(_reads(text, item) for item in pair) for text in found)]
            fitting = [pair[1] for pair in both]
            if both and not formats:
                formats["date_format"] = both[0][0]
        if not fitting:
            notes.append(f"{key}: no known format reads every date, for example {found[0]!r}")
            continue
        formats[key] = fitting[0]
        if len(fitting) > 1:
            notes.append(f"{key}: {' and '.join(fitting[:3])} read every date alike: ask the sender which one it is")
    return formats, notes


def _fitting(texts: list[str], candidates: Sequence[str]) -> list[str]:
    return [item for item in candidates if texts and all(_reads(text, item) for text in texts)]


def _reads(value: str, candidate: str) -> bool:
    try:
        datetime.strptime(value, candidate)
    except ValueError:
        return False
    return True
