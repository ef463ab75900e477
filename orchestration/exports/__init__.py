"""Bytes of an export -> canonical rows with their source text. Knows no Dagster and no database.

`sniff` names the format by its content and hands over to that format's reader; `layouts` says which record and
which mapping a table's headings mean; `mapping` turns text into canonical text. What is *allowed* in a row is
judged later, by the record's expectations.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # study.py imports records.py of this package, and pyarrow is not needed to read a protocol
    import pyarrow as pa

    from orchestration.exports.spill import Spilled
    from orchestration.study import Study

READER_VERSION = "5"
"""Raise it when the same bytes under the same study.yaml would read differently: what was refused is judged again."""


@dataclass(frozen=True)
class Sheet:
    """The rows of one record in one file.

    ``table`` holds every column of the record as string (canonical text, null when missing), ``_row_number`` int64
    (1-based, data rows as a person counts them: no heading, no empty lines), ``_source``, a map (`mapping.SOURCE`:
    heading -> untouched text) and ``_misread`` string: why the row could not be read; its canonical columns are
    then null. Rows with a wrong number of fields stand last, with their whole line under the heading ``(line)``.

    A file with several tables (sheets of a workbook, members of a transport file) gives each one its ``part``; its rows
    are then numbered on through the file, and ``rows_before`` is what a message subtracts to say the part's own row.
    """

    record: str
    source: str  # name of the declared source, or the built-in layout
    layout: str  # "sdtm", "site" or "declared"
    table: "pa.Table | Spilled"  # of a very large table the rows lie on disk
    exported_on: str | None = None  # ISO date, where the source says how its file names carry it
    part: str = ""  # for example "sheet 'Labs'"; empty where the file is one table
    rows_before: int = 0
    note: str = ""  # what of the file was left out on purpose, for the verdict
    headings: Mapping[str, str] = field(default_factory=dict)  # canonical column -> heading of its source text
    rows_stand_alone: bool = False  # messages and entries: many that cannot be read say nothing about the others


class Rejected(Exception):
    """The whole file is refused: a machine-readable rule, and a message with what, where and the mend.

    The message quotes headings, never values: it goes to logs.
    """

    def __init__(self, rule: str, message: str):
        """A heading or a file's name may hold line breaks and a terminal's commands: a message is one line of text."""
        self.rule = rule
        self.message = "".join(letter if letter.isprintable() else "\ufffd" for letter in message)
        super().__init__(self.message)


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read one export.

    Args:
        path: a content-addressed copy of the bytes; never a name from outside.
        name: the file's path below the landing folder, for example ``lab/2026/lis_01.csv``.

    Raises:
        Rejected: it is no table of a known layout. An archive is read by its `members`.
    """
    from orchestration.exports import privacy, sniff

    sheets = _numbered_through(sniff.reader(path, name)(path, name, study))
    return [privacy.pseudonymised(sheet, study) for sheet in sheets] if study.privacy.pseudonymise else sheets


def members(path: Path, name: str, study: "Study") -> Iterator[tuple[str, Iterator[bytes]]] | None:
    """(name, bytes in chunks) of each file in an archive; None where the file is no archive.

    Raises:
        Rejected: the archive is damaged or hostile, found out perhaps only at a later member: nothing of it counts.
    """
    from orchestration.exports import archive, sniff

    if not sniff.is_archive(path, name):
        return None
    return archive.members(path, name, study.ingest.max_unpacked_mb << 20, study.ingest.max_members)


def _numbered_through(sheets: list[Sheet]) -> list[Sheet]:
    """Row numbers are unique in a file: those of each further part go on where the last one ended."""
    if len({sheet.part for sheet in sheets}) < 2:
        return sheets
    before: dict[str, int] = {}
    total = 0
    for part in dict.fromkeys(sheet.part for sheet in sheets):
        before[part] = total
        total += max(_last_row(sheet) for sheet in sheets if sheet.part == part)
    return [
        replace(sheet, table=_shifted(sheet.table, before[sheet.part]), rows_before=before[sheet.part])
        for sheet in sheets
    ]


def _last_row(sheet: Sheet) -> int:
    import pyarrow.compute as pc

    from orchestration.exports.spill import pieces

    return max((pc.max(piece["_row_number"]).as_py() or 0 for piece in pieces(sheet.table)), default=0)


def _shifted(table: "pa.Table | Spilled", by: int) -> "pa.Table | Spilled":
    import pyarrow.compute as pc

    from orchestration.exports.spill import changed

    def shift(piece: "pa.Table") -> "pa.Table":
        place = piece.column_names.index("_row_number")
        return piece.set_column(place, "_row_number", pc.add(piece["_row_number"], by))

    return changed(table, shift)
