"""DICOM structured reports by TID 1500 (OHIF, 3D Slicer, some PACS): measurements -> rows of tumor_measurements.

The file's meta group is read first: only SR classes in a transfer syntax that needs no unpacking are opened, in a
child process (see `confined`). Of the numbers only long and short axes in mm or cm are taken, each other one is set
aside with the reason. A report knows no RECIST role: it comes from tumor_identifications, by the lesion's id. Names of
patients and observers are not read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestration.exports import Rejected, Sheet, confined
from orchestration.exports.messages import Rows
from orchestration.exports.spill import whole
from orchestration.exports.tables import check_bytes

if TYPE_CHECKING:
    from pydicom import Dataset

    from orchestration.study import Study

_HEADINGS = {
    "subject_id": "PatientID",
    "lesion_id": "Tracking Identifier",
    "test": "Concept Name",
    "value": "Numeric Value",
    "unit": "Measurement Units",
    "assessed_on": "StudyDate",
}
_AXES = {
    "103339001": "LDIAM",  # SNOMED CT: long axis
    "G-A185": "LDIAM",
    "410668003": "LDIAM",  # length
    "81827009": "LDIAM",  # diameter
    "103340004": "LPERP",  # short axis
    "G-A186": "LPERP",
}
_LENGTHS = ("mm", "cm")
_PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
_GROUP, _TRACKING, _TRACKING_UID = "125007", "112039", "112040"
_MODALITY, _TIME_POINT, _SITE = "121139", "C2348792", ("363698007", "G-C0E3")
_MAX_DEPTH, _MAX_ITEMS = 30, 200_000
_COLUMNS = ("PatientID", "StudyDate", "Modality", "Time Point", "Tracking Identifier", "Tracking Unique Identifier")
_COLUMNS += ("Finding Site", "Concept Name", "Concept Meaning", "Numeric Value", "Measurement Units")


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read every measurement of a report.

    Raises:
        Rejected: ``too_large``, ``type_mismatch`` (no SR, or a packed transfer syntax), ``no_results`` (no measurement
            group with a number), or as `confined.tables`.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_dicom_mb, "Export the structured report without images.")
    [(_, found, _)] = confined.tables(__name__, path, name, study.ingest)
    table = whole(found)
    if not table.num_rows:
        raise Rejected(
            "no_results",
            f"{name}: the report holds no measurement in a measurement group (TID 1500). Export the measurements.",
        )
    rows = Rows(name, "tumor_measurements", "dicom_sr", _HEADINGS, study)
    for item in table.to_pylist():
        texts = {
            "subject_id": item["PatientID"],
            "lesion_id": item["Tracking Identifier"] or item["Tracking Unique Identifier"],
            "test": _AXES.get(item["Concept Name"]),
            "value": item["Numeric Value"],
            "unit": item["Measurement Units"],
            "assessed_on": _day(item["StudyDate"]),
            "visit_name": item["Time Point"],
            "method": item["Modality"],
        }
        rows.add(texts, [(key, value) for key, value in item.items() if value], _fault(item))
    return [rows.sheet()]


def _fault(item: dict[str, str]) -> str | None:
    what = f"{item['Concept Name']} {item['Concept Meaning']}".strip()[:80]
    if item["Concept Name"] not in _AXES:
        return f"{what} is neither a long nor a short axis: it is not used"
    if item["Measurement Units"] not in _LENGTHS:
        return f"{what} in the unit {item['Measurement Units'][:20] or '(none)'}: only mm and cm are lengths"
    return None if item["Numeric Value"] else f"{what} has no value"


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


# --- in the child process ------------------------------------------------------------------------------------------


def parse(path: str) -> Iterator[confined.Parsed]:
    """Every number of the measurement groups, one row each, as text."""
    import pydicom
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(path)
    kind, syntax = str(meta.get("MediaStorageSOPClassUID", "")), str(meta.get("TransferSyntaxUID", ""))
    if not kind.startswith(_REPORTS):
        raise Rejected("type_mismatch", f"{path}: this DICOM object is no structured report. Export the report (SR).")
    if syntax not in _PLAIN_SYNTAXES:
        raise Rejected(
            "type_mismatch",
            f"{path}: the transfer syntax {_shown(syntax)} is packed. Export the report as Explicit VR Little Endian.",
        )
    report = pydicom.dcmread(path)
    found: list[dict[str, str]] = []
    about = {"PatientID": _text(report, "PatientID"), "StudyDate": _text(report, "StudyDate")}
    about["Modality"] = next((_coded(item) for item, _ in _items(report) if _concept(item)[0] == _MODALITY), "")
    for item, depth in _items(report):
        if _concept(item)[0] == _GROUP:
            found += _measurements(item, depth, about)
    schema = pa.schema([(column, pa.string()) for column in _COLUMNS])
    batch = pa.RecordBatch.from_pylist([{column: row.get(column, "") for column in _COLUMNS} for row in found], schema)
    yield confined.Parsed("", schema, [batch])


def _items(report: "Dataset") -> Iterator[tuple["Dataset", int]]:
    """Every content item, parents first, with its depth."""
    stack, seen = [(item, 1) for item in reversed(report.get("ContentSequence") or [])], 0
    while stack:
        item, depth = stack.pop()
        seen += 1
        if seen > _MAX_ITEMS or depth > _MAX_DEPTH:
            raise Rejected("too_large", f"{report.filename}: more than {_MAX_ITEMS:,} items, or {_MAX_DEPTH} levels.")
        yield item, depth
        stack += [(child, depth + 1) for child in reversed(item.get("ContentSequence") or [])]


def _measurements(group: "Dataset", depth: int, about: dict[str, str]) -> Iterator[dict[str, str]]:
    """The numbers of a group; what is said of the group holds for each."""
    told, numbers = dict(about), []
    for item in group.get("ContentSequence") or []:
        code, meaning = _concept(item)
        kind = _text(item, "ValueType")
        if kind == "NUM":
            value, unit = _measured(item)
            numbers.append(
                {"Concept Name": code, "Concept Meaning": meaning, "Numeric Value": value, "Measurement Units": unit}
            )
        elif code == _TRACKING:
            told["Tracking Identifier"] = _text(item, "TextValue")
        elif code == _TRACKING_UID:
            told["Tracking Unique Identifier"] = _text(item, "UID")
        elif code == _TIME_POINT:
            told["Time Point"] = _text(item, "TextValue")
        elif code in _SITE:
            told["Finding Site"] = _coded(item)
    return (told | number for number in numbers)


def _measured(item: "Dataset") -> tuple[str, str]:
    """(number as written, code of its unit)."""
    for measured in item.get("MeasuredValueSequence") or []:
        units = measured.get("MeasurementUnitsCodeSequence") or []
        value = measured.get("NumericValue")
        number = getattr(value, "original_string", None) or ("" if value is None else str(value))
        return number.strip(), _text(units[0], "CodeValue") if units else ""
    return "", ""


def _concept(item: "Dataset") -> tuple[str, str]:
    for name in item.get("ConceptNameCodeSequence") or []:
        return _text(name, "CodeValue"), _text(name, "CodeMeaning")
    return "", ""


def _coded(item: "Dataset") -> str:
    return next((_text(code, "CodeValue") for code in item.get("ConceptCodeSequence") or []), "")


def _shown(text: str) -> str:
    """Of a damaged file an identifier may be anything."""
    return "".join(letter for letter in text if letter.isdigit() or letter == ".")[:64] or "(none)"


def _text(item: "Dataset", keyword: str) -> str:
    value = item.get(keyword)
    return "" if value is None else str(value).strip("\0 ")
