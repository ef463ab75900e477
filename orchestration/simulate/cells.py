"""Columns of text for millions of rows: each different text is made once, the rows hold its number.

Only the spelling of values belongs here; which value a column shows is decided by the writers of the layouts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.simulate.codes import NEVER


@dataclass(frozen=True)
class Cells:
    """One column: ``texts[codes]``."""

    codes: np.ndarray  # int32, by row
    texts: np.ndarray  # of str

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Array of str for the given rows."""
        return self.texts[self.codes[rows]]


def constant(text: str, rows: int) -> Cells:
    return Cells(np.zeros(rows, dtype=np.int32), np.array([text], dtype=object))


def label(codes: Sequence | np.ndarray, texts: Sequence[str] | np.ndarray) -> Cells:
    """Each code is the number of its text; booleans count as 0 and 1."""
    return Cells(np.asarray(codes).astype(np.int32), np.array(texts, dtype=object))


def spelled(values: np.ndarray, spell: Callable[[int], str]) -> Cells:
    """Spell whole numbers one by one, each different one once."""
    different, codes = np.unique(np.asarray(values), return_inverse=True)
    return Cells(codes.astype(np.int32), np.array([spell(int(value)) for value in different], dtype=object))


def whole(values: np.ndarray) -> Cells:
    return spelled(values, str)


def tenths(values: np.ndarray, decimal: str = ".") -> Cells:
    """123 -> ``12.3``; a negative number is no value: an empty cell."""
    return spelled(values, lambda value: "" if value < 0 else f"{value // 10}{decimal}{value % 10}")


def day(values: np.ndarray, pattern: str = "%Y-%m-%d") -> Cells:
    """Days since 1970 by a pattern of %Y, %m, %b and %d; months in English whatever the locale; NEVER is empty."""
    return spelled(values, lambda value: "" if value >= NEVER else _spell_day(value, pattern))


def moment(days: np.ndarray, minutes: np.ndarray, pattern: str = "%Y-%m-%d", between: str = "T") -> Cells:
    """Day by its pattern and minute of the day as HH:MM, with ``between`` between them."""
    stamps = np.asarray(days).astype(np.int64) * 1440 + np.asarray(minutes)
    clock = [f"{between}{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440)]
    dates: dict[int, str] = {}

    def spell(stamp: int) -> str:
        date, minute = divmod(stamp, 1440)
        if date not in dates:
            dates[date] = _spell_day(date, pattern)
        return dates[date] + clock[minute]

    return spelled(stamps, spell)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _spell_day(value: int, pattern: str) -> str:
    year, month, date = str(np.datetime64(value, "D")).split("-")
    spelling = {"%Y": year, "%m": month, "%d": date, "%b": _MONTHS[int(month) - 1]}
    for part, text in spelling.items():
        pattern = pattern.replace(part, text)
    return pattern


def either(condition: np.ndarray, cells: Cells, otherwise: Cells) -> Cells:
    """``cells`` where the condition holds, else ``otherwise``."""
    texts = np.concatenate([cells.texts, otherwise.texts])
    return Cells(np.where(condition, cells.codes, otherwise.codes + len(cells.texts)).astype(np.int32), texts)
