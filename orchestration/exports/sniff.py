"""Which format the bytes are, by their first bytes, and which reader takes it. The file's name only confirms.

A further format is one reader module and its name in the table below. How a format is parsed does not belong here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.exports import Rejected, Sheet

if TYPE_CHECKING:
    from orchestration.study import Study

    Reader = Callable[[Path, str, Study], list[Sheet]]

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """``begins``: regular expression on the first bytes; ``module``: the reader, a module with a function ``read``, and
    where the format holds tables of named columns with ``tables``, for who proposes a layout."""

    name: str
    begins: bytes
    suffixes: tuple[str, ...]
    mend: str = ""
    module: str | None = None
    start: str = ""  # where a person can see it


_BLANK = rb"(?:\xef\xbb\xbf)?\s*"
_AS_CSV = "Export the table as CSV"
_ROOM = "orchestration.exports."

TEXT = Format("delimited text", b"", (".csv", ".tsv", ".tab", ".txt"), module=_ROOM + "delimited")
XLSX = Format(
    "an XLSX workbook",
    rb"PK\x03\x04.{0,2000}(?:xl/|\[Content_Types\])",
    (".xlsx", ".xlsm"),
    module=_ROOM + "xlsx",
)
ARCHIVE = Format("a ZIP archive", rb"PK(?:\x03\x04|\x05\x06)", (".zip",), module=_ROOM + "archive")
FORMATS = (  # the first that fits; text is what nothing else is
    Format("gzip", rb"\x1f\x8b", (".gz", ".tgz"), "Unpack it and deliver the file inside"),
    XLSX,
    ARCHIVE,
    Format(
        "an old or encrypted Office document",
        rb"\xd0\xcf\x11\xe0",
        (".xls",),
        "Save the sheet as .xlsx without a password, or as CSV (UTF-8)",
    ),
    Format(
        "a compressed file",
        rb"BZh[1-9]|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!",
        (".bz2", ".xz", ".zst", ".7z", ".rar"),
        "Unpack it and deliver the file inside",
    ),
    Format("SAS transport (XPT)", rb"HEADER RECORD", (".xpt", ".xpt5", ".xpt8"), module=_ROOM + "xpt"),
    Format("a SAS data set", rb"\x00{12}\xc2\xea\x81\x60", (".sas7bdat",), module=_ROOM + "sas7bdat"),
    Format("Parquet", rb"PAR1", (".parquet",), module=_ROOM + "parquet"),
    Format("an SPSS file", rb"\$FL[23]", (".sav", ".zsav"), _AS_CSV),
    Format("an R data file", rb"RD[AX][23]\n", (".rda", ".rdata", ".rds"), _AS_CSV),
    Format("DICOM", rb".{128}DICM", (".dcm",), module=_ROOM + "dicom_sr"),
    Format(
        "HL7 v2",
        rb"(?:\xef\xbb\xbf)?[\x0b\s]*(?:MSH|FHS|BHS)[^\w\s]",
        (".hl7", ".oru", ".msg", ".txt"),
        module=_ROOM + "hl7v2",
        start="a segment MSH, FHS or BHS",
    ),
    Format(
        "HTML",
        _BLANK + rb"(?i:<!doctype html|<html|<head|<body)",
        (".html", ".htm"),
        "It is a web page, perhaps of a failed download: fetch the export again",
    ),
    Format(
        "CDISC ODM",
        _BLANK + rb"(?:<[?!].{0,3000}?)?<(?:\w+:)?ODM[\s>]",
        (".xml", ".odm"),
        module=_ROOM + "odm",
    ),
    Format("XML", _BLANK + rb"<[?!A-Za-z]", (".xml",), _AS_CSV),
    Format(
        "Dataset-JSON",
        _BLANK + rb'\{.{0,4000}?"datasetJSONVersion"',
        (".json", ".ndjson"),
        module=_ROOM + "datasetjson",
    ),
    Format(
        "FHIR",
        _BLANK + rb'(?:\{(?=\s*")|\[(?=\s*\{)).{0,4000}?"resourceType"\s*:',
        (".json", ".ndjson", ".jsonl"),
        module=_ROOM + "fhir",
    ),
    Format("JSON", _BLANK + rb"(?:\{\s*[\"}]|\[\s*[\[{\"\]])", (".json", ".ndjson"), _AS_CSV),
    Format("PDF", rb"%PDF", (".pdf",), "Ask the sender for the table as CSV"),
    Format(
        "an image",
        rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\x00|MM\x00\*",
        (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff"),
        "Ask the sender for the table as CSV",
    ),
)


def sniff(head: bytes) -> Format:
    """The format of the first bytes of a file."""
    return next((item for item in FORMATS if re.match(item.begins, head, re.DOTALL)), TEXT)


def reader(path: Path, name: str) -> "Reader":
    """The reader for a file's content.

    Raises:
        Rejected: ``type_mismatch``, nothing reads this format, or the name claims another one.
    """
    return import_module(_named_rightly(path, name).module).read


def is_archive(path: Path, name: str) -> bool:
    """Whether the file's members are what is to be read.

    Raises:
        Rejected: as `reader`.
    """
    return _named_rightly(path, name) is ARCHIVE


def _named_rightly(path: Path, name: str) -> Format:
    with path.open("rb") as file:
        found = sniff(file.read(HEAD_BYTES))
    if found.module is None:
        raise Rejected("type_mismatch", f"{name}: the content is {found.name}, which is not read. {found.mend}.")
    suffix = Path(name).suffix.lower()
    claimed = [item for item in (*FORMATS, TEXT) if suffix in item.suffixes]
    if claimed and found not in claimed:
        begins = f" (it does not begin with {claimed[0].start})" if claimed[0].start else ""
        raise Rejected(
            "type_mismatch",
            f"{name}: the name says {claimed[0].name}, the content is {found.name}{begins}. "
            "Deliver it again under its right name, whole.",
        )
    return found
