"""Parquet, read batch by batch in a confined process: flat columns only.

The parser is pyarrow's; which columns mean what is decided as for any table.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestration.exports import Rejected, Sheet, confined
from orchestration.exports.confined import Parsed
from orchestration.exports.tables import Typed, check_bytes, check_size, sheet

if TYPE_CHECKING:
    from orchestration.study import Study

_BATCH_ROWS = 65_536
_PLAIN = ("string", "large_string", "integer", "floating", "decimal", "boolean", "date", "time", "timestamp", "null")


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read one table.

    Raises:
        Rejected: as `tables`, or what `tables.sheet` raises.
    """
    [table] = tables(path, name, study)
    return [sheet(table, name, study)]


def tables(path: Path, name: str, study: "Study") -> list[Typed]:
    """The one table, before anybody knows what it means.

    Raises:
        Rejected: ``too_large``, ``too_wide``, ``nested``, ``damaged``, or what `confined.tables` raises.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_file_mb)
    [(_, table, _)] = confined.tables(__name__, path, name, study.ingest)
    return [Typed(table.schema.names, table)]


def parse(path: str) -> Iterator[Parsed]:
    """In the child: sizes are looked at before anything is unpacked."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=False, page_checksum_verification=True) as file:
        check_size(path, file.metadata.num_rows, file.metadata.num_columns)
        for column in file.schema_arrow:
            if not _is_plain(column.type):
                raise Rejected(
                    "nested", f"{path}: the column {column.name[:60]!r} is {column.type.__class__.__name__}, not one"
                    " value a row. Export flat columns."
                )  # fmt: skip
        yield Parsed("", file.schema_arrow.remove_metadata(), _batches(file))


def _batches(file) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
        batch.validate(full=True)  # text that is no UTF-8 would fail only where it is used
        yield batch.replace_schema_metadata(None)


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return any(getattr(pa.types, f"is_{plain}")(kind) for plain in _PLAIN)
