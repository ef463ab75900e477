"""A fact and what it rests on, the tables of one subject, and how numbers are said. No clinical rule."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from types import SimpleNamespace

from duckdb import DuckDBPyConnection

from orchestration.evidence import RowKey


@dataclass
class Fact:
    """One step of the way back.

    Attributes:
        says: the step in words.
        values: the same for machines, named as in the marts.
        rows: raw rows that say so.
        because: the steps that it rests on.
    """

    says: str
    values: dict = field(default_factory=dict)
    rows: list[RowKey] = field(default_factory=list)
    because: list["Fact"] = field(default_factory=list)

    def row_keys(self) -> Iterator[RowKey]:
        yield from self.rows
        for fact in self.because:
            yield from fact.row_keys()

    def plain(self, sources: dict[RowKey, dict]) -> dict:
        """JSON's own types, the raw rows in place of their keys."""
        return {
            "says": self.says,
            "values": {name: plain(value) for name, value in self.values.items()},
            "rows": [sources[key] for key in self.rows],
            "because": [fact.plain(sources) for fact in self.because],
        }


class SubjectTables:
    """Tables of a warehouse as far as they speak of one subject, each read once."""

    def __init__(self, connection: DuckDBPyConnection, subject_id: str):
        self.subject_id = subject_id
        self.connection = connection
        self._read: dict[str, list[SimpleNamespace]] = {}

    def rows(self, table: str, **where) -> list[SimpleNamespace]:
        """The subject's rows of ``schema.table`` whose columns hold these values."""
        if table not in self._read:
            self._read[table] = self.query(
                f"select * from {table} where subject_id = ? order by all", [self.subject_id]
            )
        return [row for row in self._read[table] if all(getattr(row, name) == value for name, value in where.items())]

    def row(self, table: str, **where) -> SimpleNamespace | None:
        return next(iter(self.rows(table, **where)), None)

    def staged(self, record: str, **where) -> list[SimpleNamespace]:
        """Rows of a record in force; of subjects, a row a field."""
        return self.rows("staging.stg_subject_values" if record == "subjects" else f"staging.stg_{record}", **where)

    def query(self, sql: str, parameters: Iterable = ()) -> list[SimpleNamespace]:
        cursor = self.connection.execute(sql, list(parameters))
        names = [item[0] for item in cursor.description]
        return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def keys(record: str, rows: Iterable[SimpleNamespace]) -> list[RowKey]:
    return [RowKey(record, row._file_id, row._row_number) for row in rows]


def picked(row: SimpleNamespace, names: str) -> dict:
    """Columns of a row by name; names are separated by blanks."""
    return {name: getattr(row, name) for name in names.split()}


def plain(value):
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, dt.date) else value


def mm(value: Decimal | None) -> str:
    """A length with every digit that was measured, at least one decimal."""
    if value is None:
        return "unknown"
    text = f"{value:f}".rstrip("0")
    return f"{text}0 mm" if text.endswith(".") else f"{text} mm"


def rounded(value: Decimal) -> str:
    return str(value.quantize(Decimal("0.1"), ROUND_HALF_UP))


def signed(value: Decimal) -> str:
    return f"{'+' if value > 0 else ''}{rounded(value)}"


def apart(sum_mm: Decimal, reference_mm: Decimal) -> str:
    """How far a sum lies from another, for reading; the rule itself was applied by dbt, to exact numbers."""
    difference = sum_mm - reference_mm
    if not difference:
        return "equal to"
    share = f"{rounded(100 * abs(difference) / reference_mm)} % and " if reference_mm else ""
    return f"{share}{mm(abs(difference))} {'above' if difference > 0 else 'below'}"
