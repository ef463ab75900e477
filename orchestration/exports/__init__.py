"""Bytes of an export -> canonical rows with their source text. Knows no Dagster and no database.

`sniff` names the format by its content and hands over to that format's reader; `layouts` says which record and
which mapping a table's headings mean; `mapping` turns text into canonical text. What is *allowed* in a row is
judged later, by the record's expectations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # study.py imports records.py of this package, and pyarrow is not needed to read a protocol
    import pyarrow as pa

    from orchestration.study import Study

READER_VERSION = "1"
"""Raise it when the same bytes under the same study.yaml would read differently: what was refused is judged again."""


@dataclass(frozen=True)
class Sheet:
    """The rows of one record in one file.

    ``table`` holds every column of the record as string (canonical text, null when missing), ``_row_number`` int64
    (1-based, data rows as a person counts them: no heading, no empty lines), ``_source`` map<string, string>
    (heading -> untouched text) and ``_misread`` string: why the row could not be read; its canonical columns are
    then null. Rows with a wrong number of fields stand last, with their whole line under the heading ``(line)``.
    """

    record: str
    source: str  # name of the declared source, or the built-in layout
    layout: str  # "sdtm", "site" or "declared"
    table: "pa.Table"
    exported_on: str | None = None  # ISO date, where the source says how its file names carry it


class Rejected(Exception):
    """The whole file is refused: a machine-readable rule, and a message with what, where and the mend.

    The message quotes headings, never values: it goes to logs.
    """

    def __init__(self, rule: str, message: str):
        super().__init__(message)
        self.rule = rule
        self.message = message


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read one export.

    Args:
        path: a content-addressed copy of the bytes; never a name from outside.
        name: the file's path below the landing folder, for example ``lab/2026/lis_01.csv``.

    Raises:
        Rejected: it is no table of a known layout.
    """
    from orchestration.exports import sniff

    return sniff.reader(path, name)(path, name, study)
