"""One table as Parquet, CSV, SAS transport version 5 and Dataset-JSON 1.1. The same table gives the same bytes, always.

What a table holds is decided in datasets.py. Dates are ISO 8601 text in CSV and JSON, SAS dates shown as DATE9. in the
transport file, DATE in Parquet; a missing value is missing in each.
"""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.adam.variables import Dataset
from orchestration.errors import UserError

SAS_EPOCH = date(1960, 1, 1)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
XPT_TIMES = (144, 160, 464, 480)
"""Where a transport file of version 5 with one member holds its times: created and changed, of library and member."""


@dataclass(frozen=True)
class Origin:
    """What a file says of itself. ``made_on`` is the data cut-off, not a clock: equal builds give equal bytes."""

    study_id: str
    build_id: str
    code_version: str
    made_on: date


def check_text(dataset: Dataset, table: pa.Table) -> None:
    """Raises UserError when a text is longer than a transport file can hold, naming variable and row (1-based)."""
    for variable in dataset.variables:
        if variable.kind != "text":
            continue
        is_too_long = pc.greater(pc.binary_length(table[variable.name]), variable.max_bytes)
        row = pc.index(is_too_long, True).as_py()
        if row >= 0:
            text, subject = table[variable.name][row].as_py(), table["USUBJID"][row].as_py()
            raise UserError(
                f"export: {dataset.name}.{variable.name}, row {row + 1} (USUBJID {subject[:40]}):"
                f" {len(text.encode())} bytes, and SAS takes {variable.max_bytes} here ({text[:40]!r} ...)."
                " Shorten it in the export, or map it under sources: codes in study.yaml."
            )


def write_parquet(dataset: Dataset, table: pa.Table, origin: Origin, path: Path) -> None:
    """Labels stand in the metadata of the fields (key ``label``), origin in that of the schema."""
    fields = [field.with_metadata({"label": v.label}) for field, v in zip(table.schema, dataset.variables, strict=True)]
    described = {"name": dataset.name, "label": dataset.label, "study": origin.study_id, "build_id": origin.build_id}
    pq.write_table(table.cast(pa.schema(fields, metadata=described)), path)


def write_csv(dataset: Dataset, table: pa.Table, origin: Origin, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


def write_json(dataset: Dataset, table: pa.Table, origin: Origin, path: Path) -> None:
    columns = []
    for variable in dataset.variables:
        column = {
            "itemOID": f"IT.{dataset.name}.{variable.name}",
            "name": variable.name,
            "label": variable.label,
            "dataType": {"text": "string"}.get(variable.kind, variable.kind),
        }
        if variable.kind == "date":
            column |= {"targetDataType": "integer", "displayFormat": "DATE9."}
        if variable.kind == "text":
            column["length"] = max(pc.max(pc.utf8_length(table[variable.name])).as_py() or 1, 1)
        if variable.name in dataset.keys:
            column["keySequence"] = dataset.keys.index(variable.name) + 1
        columns.append(column)
    made_at = f"{origin.made_on.isoformat()}T00:00:00"
    content = {
        "datasetJSONCreationDateTime": made_at,
        "datasetJSONVersion": "1.1.0",
        "fileOID": f"{origin.study_id}.{origin.build_id}.{dataset.name}",
        "dbLastModifiedDateTime": made_at,
        "originator": "sher2",
        "sourceSystem": {"name": "sher2", "version": origin.code_version},
        "studyOID": origin.study_id,
        "itemGroupOID": f"IG.{dataset.name}",
        "records": table.num_rows,
        "name": dataset.name,
        "label": dataset.label,
        "columns": columns,
        "rows": list(zip(*(column.to_pylist() for column in table.columns), strict=True)),
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=date.isoformat)
    path.write_text(text + "\n", "utf-8")


def write_xpt(dataset: Dataset, table: pa.Table, origin: Origin, path: Path) -> None:
    import pandas as pd
    import pyreadstat

    columns = {}
    for variable in dataset.variables:
        values = table[variable.name].to_pylist()
        if variable.kind == "date":
            values = [None if day is None else (day - SAS_EPOCH).days for day in values]
        columns[variable.name] = pd.Series(values, dtype=object if variable.kind == "text" else float)
    pyreadstat.write_xport(
        pd.DataFrame(columns), path, file_label=dataset.label, table_name=dataset.name, file_format_version=5,
        column_labels=[variable.label for variable in dataset.variables],
        variable_format={variable.name: "DATE9." for variable in dataset.variables if variable.kind == "date"},
    )  # fmt: skip
    _set_times(path, origin.made_on)


def _set_times(path: Path, day: date) -> None:
    # the library stamps the clock, and has no way to give it another time
    stamp = f"{day.day:02}{MONTHS[day.month - 1]}{day.year % 100:02}:00:00:00".encode()
    with path.open("r+b") as file:
        for offset in XPT_TIMES:
            file.seek(offset)
            if not re.fullmatch(rb"\d\d[A-Z]{3}\d\d(:\d\d){3}", found := file.read(len(stamp))):
                raise ValueError(f"{path.name}: no time at byte {offset} but {found!r}")
            file.seek(offset)
            file.write(stamp)


WRITERS: dict[str, Callable[[Dataset, pa.Table, Origin, Path], None]] = {
    "parquet": write_parquet, "csv": write_csv, "xpt": write_xpt, "json": write_json,
}  # fmt: skip
