"""From the key of a staging row to where it came from: file, row number and untouched source text.

What a row means to a number belongs to tracing and comparison, not here.
"""

import textwrap
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from orchestration.lake import Lake
from orchestration.settings import Settings

LINE_WIDTH = 100


@dataclass(frozen=True, order=True)
class RowKey:
    """A row of a staging model: the record, and the file and row that it was read from."""

    record: str
    file_id: str
    row_number: int


def raw_rows(
    settings: Settings, connection: DuckDBPyConnection, keys: Iterable[RowKey], database: str = ""
) -> dict[RowKey, dict]:
    """Where rows came from.

    Args:
        connection: on the warehouse file whose staging rows are meant; ``database``: its alias and a dot, if attached.

    Returns:
        by key: record, file_id, path, row_number, received_at (ISO, UTC), subject_id and source (heading:
        untouched text; None where the lake no longer has the row).
    """
    found = connection.execute(
        f"select file_id, path, batch, received_at from {database}staging.stg_files where is_judged_here"
    ).fetchall()
    files = {file_id: (path, batch, received_at) for file_id, path, batch, received_at in found}
    by_record = defaultdict(set)
    for key in keys:
        if key.file_id in files:
            by_record[key.record].add(key)
    lake = Lake(settings)
    rows = {}
    for record, wanted in by_record.items():
        read = lake.raw_rows(record, [(key.file_id, files[key.file_id][1], key.row_number) for key in wanted])
        texts = {(row["file_id"], row["row_number"]): row for row in read}
        for key in wanted:
            path, _, received_at = files[key.file_id]
            text = texts.get((key.file_id, key.row_number), {})
            rows[key] = {
                "record": record,
                "path": path,
                "row_number": key.row_number,
                "file_id": key.file_id,
                "received_at": f"{received_at.isoformat()}Z",
                "subject_id": text.get("subject_id"),
                "source": text.get("source"),
            }
    return rows


def row_lines(row: dict, indent: int) -> list[str]:
    """One raw row as text: the place, then every field as it stands in the file."""
    lines = wrapped(f"{row['path']}, row {row['row_number']}", indent)
    if row["source"] is None:
        return [*lines, *wrapped("the lake no longer holds the source text", indent + 2)]
    filled = [f"{heading}={text}" for heading, text in row["source"].items() if text and text.strip()]
    blank = [heading for heading, text in row["source"].items() if not (text and text.strip())]
    lines += wrapped("; ".join(filled), indent + 2)
    return lines + (wrapped("blank: " + ", ".join(blank), indent + 2) if blank else [])


def wrapped(text: str, indent: int = 0, hanging: int = 0) -> list[str]:
    """Lines of at most LINE_WIDTH columns; ``hanging``: further columns from the second line on."""
    return textwrap.wrap(
        text,
        LINE_WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_on_hyphens=False,
    )
