"""SAS data sets (.sas7bdat), parsed by pyreadstat in a confined process. Dates and missing values are as in `xpt`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from orchestration.exports import Rejected, Sheet, confined
from orchestration.exports.confined import Parsed
from orchestration.exports.tables import Typed, check_bytes, check_size, sheet
from orchestration.exports.xpt import kind_of, moments

if TYPE_CHECKING:
    from orchestration.study import Study

_CHUNK_ROWS = 100_000


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read the data set.

    Raises:
        Rejected: as `tables`, or what `tables.sheet` raises.
    """
    [table] = tables(path, name, study)
    return [sheet(table, name, study)]


def tables(path: Path, name: str, study: "Study") -> list[Typed]:
    """The data set, before anybody knows what it means.

    Raises:
        Rejected: ``too_large``, ``encoding``, ``record_count``, ``damaged``, or what `confined.tables` raises.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_file_mb)
    [(title, table, _)] = confined.tables(__name__, path, name, study.ingest)
    return [Typed(table.schema.names, table, title=title)]


def parse(path: str) -> Iterator[Parsed]:
    """In the child: text as text, dates by their formats as ISO text, numbers as float64."""
    import pyreadstat

    _, about = pyreadstat.read_sas7bdat(path, metadataonly=True)
    names = about.column_names
    check_size(path, about.number_rows, len(names))
    kinds = {name: kind_of(about.original_variable_types.get(name)) for name in names}
    is_text = {name: about.readstat_variable_types[name] == "string" for name in names}
    schema = pa.schema([(name, pa.string() if is_text[name] or kinds[name] else pa.float64()) for name in names])

    def batches() -> Iterator[pa.RecordBatch]:
        offset, length = 0, _CHUNK_ROWS
        while length == _CHUNK_ROWS:
            rows = _chunk(path, offset)
            length = len(next(iter(rows.values()), ()))
            offset += length
            if length:
                arrays = [_column(rows[name], is_text[name], kinds[name]) for name in names]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    yield Parsed(about.table_name or "", schema, batches())


def _chunk(path: str, offset: int) -> dict:
    import pyreadstat

    try:
        return pyreadstat.read_sas7bdat(
            path, row_offset=offset, row_limit=_CHUNK_ROWS, output_format="dict", disable_datetime_conversion=True
        )[0]
    except (pyreadstat.ReadstatError, UnicodeDecodeError) as error:
        if "encoding" not in str(error).lower() and not isinstance(error, UnicodeDecodeError):
            raise
        raise Rejected(
            "encoding", f"{path}: a text is not in the encoding that it declares. Export it again as UTF-8, or as CSV."
        ) from None


def _column(values: list, is_text: bool, kind: str | None) -> pa.Array:
    if is_text:
        return pa.array(values, pa.string())
    numbers = pa.array(values, pa.float64(), from_pandas=True)
    return moments(numbers, kind) if kind else numbers
