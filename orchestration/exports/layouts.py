"""Which record a table holds and which plan reads it: the sources declared in study.yaml, then `sdtm`, then `site`.

The headings decide; folder and file name only choose among what the headings allow. Turning text into canonical
text is `mapping`'s.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from orchestration.exports import Rejected
from orchestration.exports.dates import DateStyle
from orchestration.exports.mapping import Plan, template_headings
from orchestration.exports.records import RECORDS, Record
from orchestration.exports.sdtm import domains

if TYPE_CHECKING:
    from orchestration.study import Source, Study


class Headed(Protocol):
    """What is known of a table before it is read."""

    headings: list[str]

    def sample(self, heading: str) -> list[str]:
        """Different filled texts of a column in the first rows."""


@dataclass(frozen=True)
class Misfit:
    """Why a table is not what a layout expects."""

    layout: str
    record: str
    missing: list[str]
    hits: int  # known headings that are there: the nearest candidate explains best


def choose[T: Headed](name: str, open_as: Callable[[str, str], T], study: "Study") -> tuple[T, Plan]:
    ...
