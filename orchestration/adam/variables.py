"""What an analysis dataset is made of: variables with name, label, kind and the column they rename.

The limits of SAS transport version 5 are held here, so that a name or label that SAS cannot read never comes to be.
Which variables there are, stands in datasets.py; how they are written, in formats.py.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "integer", "float", "date"]

SQL_TYPES: dict[Kind, str] = {"text": "varchar", "integer": "integer", "float": "double", "date": "date"}
NAME = re.compile(r"[A-Z][A-Z0-9_]{0,7}")
LABEL_BYTES = 40
TEXT_BYTES = 200


@dataclass(frozen=True)
class Variable:
    """One variable of a dataset; ``source`` is the SQL expression over the dataset's rows that it renames; text has at
    most ``max_bytes``."""

    name: str
    label: str
    source: str
    kind: Kind = "text"
    max_bytes: int = TEXT_BYTES

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or not 0 < len(self.label.encode()) <= LABEL_BYTES:
            raise ValueError(f"{self.name}: SAS reads names of 8 characters and labels of 40 bytes, not {self.label!r}")

    @property
    def sql(self) -> str:
        value = f"cast({self.source} as {SQL_TYPES[self.kind]})"
        return f"nullif({value}, '') as {self.name}" if self.kind == "text" else f"{value} as {self.name}"


@dataclass(frozen=True)
class Dataset:
    """One analysis dataset: ``rows`` is the FROM clause over published tables, ``keys`` its grain and order."""

    name: str
    label: str
    rows: str
    keys: tuple[str, ...]
    variables: tuple[Variable, ...]

    @property
    def sql(self) -> str:
        columns = ",\n".join(variable.sql for variable in self.variables)
        return f"create temp table {self.name} as select {columns} from {self.rows} order by {', '.join(self.keys)}"


def study_day(on_date: str, reference: str) -> str:
    """Analysis relative day: the reference is day 1, the day before -1."""
    return f"{on_date} - {reference} + case when {on_date} >= {reference} then 1 else 0 end"


def number_text(number: str) -> str:
    """A decimal as text, without zeros that say nothing."""
    return f"rtrim(rtrim(cast({number} as varchar), '0'), '.')"


def yes_no(condition: str) -> str:
    """Y or N, missing where the condition is."""
    return f"case when {condition} then 'Y' when not ({condition}) then 'N' end"


def yes(condition: str) -> str:
    """Y or missing: the way of flags that pick records."""
    return f"case when {condition} then 'Y' end"
