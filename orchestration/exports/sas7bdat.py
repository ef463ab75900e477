"""SAS data sets (.sas7bdat), parsed by pyreadstat in a confined process. Dates and missing values are as in `xpt`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.exports import Sheet, confined
from orchestration.exports.confined import Parsed
from orchestration.exports.tables import Typed, check_bytes, check_size, sheet
from orchestration.exports.xpt import sas_rows

if TYPE_CHECKING:
    from orchestration.study import Study


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read the data set.

    Raises:
        Rejected: ``too_large``, ``encoding``, ``record_count``, ``damaged``, or what `confined.tables` and
            `tables.sheet` raise.
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_file_mb)
    [(title, table, _)] = confined.tables(__name__, path, name, study.ingest)
    return [sheet(Typed(table.column_names, table, title=title), name, study)]


def parse(path: str) -> Iterator[Parsed]:
    """In the child."""
    import pyreadstat

    _, about = pyreadstat.read_sas7bdat(path, metadataonly=True)
    check_size(path, about.number_rows, len(about.column_names))
    schema, batches = sas_rows(pyreadstat.read_sas7bdat, path, path, about, None)
    yield Parsed(about.table_name or "", schema, batches)
