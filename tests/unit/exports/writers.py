"""One table, or several, written in each tabular format, so that tests can say: read back, it is the same table."""

import csv
import io
import json
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyreadstat

Rows = list[dict]


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n", delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def typed(rows: Rows) -> Rows:
    """Columns of numbers as numbers, where no digit is lost by it; what is missing there is missing."""

    def is_number(text: str) -> bool:
        try:
            return not text or repr(float(text)).removesuffix(".0") == text
        except ValueError:
            return False

    columns = {name for name in rows[0] if all(is_number(row[name]) for row in rows) and any(row[name] for row in rows)}
    return [
        {name: (float(text) if text else None) if name in columns else text for name, text in row.items()} for row in rows
    ]


def as_xlsx(sheets: dict[str, list[list]], **changes) -> bytes:
    """``changes``: what to do to the workbook before it is saved, by sheet title."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        if title in changes:
            changes[title](sheet)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def grid(rows: Rows) -> list[list]:
    return [list(rows[0]), *([None if value == "" else value for value in row.values()] for row in rows)]


def as_parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def as_xpt(rows: Rows, folder: Path, title: str = "LB", version: int = 5, **options) -> bytes:
    path = folder / "written.xpt"
    pyreadstat.write_xport(pd.DataFrame(rows), path, table_name=title, file_format_version=version, **options)
    return path.read_bytes()


def as_xpts(*files: bytes) -> bytes:
    """Several data sets in one transport file: the library's records once, then each member."""
    return files[0] + b"".join(content[240:] for content in files[1:])


def as_datasetjson(rows: Rows, title: str = "LB", **changes) -> dict:
    kinds = {str: "string", int: "integer", float: "float", bool: "boolean"}
    kind = {name: next((kinds[type(row[name])] for row in rows if row[name] is not None), "string") for name in rows[0]}
    columns = [{"itemOID": f"IT.{name}", "name": name, "label": name, "dataType": kind[name]} for name in rows[0]]
    meta = {
        "datasetJSONCreationDateTime": "2024-01-01T00:00:00", "datasetJSONVersion": "1.1.0", "itemGroupOID": "IG",
        "records": len(rows), "name": title, "label": title, "columns": columns,
        "rows": [list(row.values()) for row in rows],
    }  # fmt: skip
    return meta | changes


def document(dataset: dict) -> bytes:
    return json.dumps(dataset).encode()


def lines(dataset: dict) -> bytes:
    meta = {name: value for name, value in dataset.items() if name != "rows"}
    return "\n".join(map(json.dumps, [meta, *dataset["rows"]])).encode()


def as_zip(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()
