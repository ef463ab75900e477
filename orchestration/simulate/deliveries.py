"""How exports arrive: dated files with overlaps, corrections, repeated files and a little realistic dirt.

Which rows a file holds, and its bytes, belong here; what happened to the patients is the model's, how a vendor
spells it the layouts'.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orchestration.errors import UserError
from orchestration.simulate import codes
from orchestration.simulate.cells import Cells
from orchestration.simulate.model import Streams
from orchestration.simulate.records import SimulatedStudy

MONTHLY, QUARTERLY = 1, 3
_FIRST_MONTH, _LAST_MONTH = np.datetime64("2022-03"), np.datetime64("2025-05")
FINAL = int((_LAST_MONTH + 1).astype("datetime64[D]").astype(int)) - 1
"""Day of the final export, by which everything up to the cut-off has been entered."""
_OVERLAP_DAYS = 7
_MAX_DIRT_COPIES = 5

_ERROR_PAGE = """<!DOCTYPE html>
<html><head><title>502 Bad Gateway</title></head>
<body><h1>Bad Gateway</h1><p>The export service did not answer in time.</p></body></html>
"""


@dataclass(frozen=True)
class Dialect:
    delimiter: str
    encoding: str


@dataclass(frozen=True)
class Export:
    """One table as a vendor spells it, before it is cut into dated files."""

    folder: str
    stem: str
    columns: dict[str, Cells]
    known_on: np.ndarray
    superseded_on: np.ndarray
    every_months: int
    dialect: Dialect
    dirt: tuple[dict[str, str], ...] = ()
    """Each plants extra rows: a delivered row with these cells changed. None replaces a good row."""


def amend(study: SimulatedStudy, streams: Streams) -> None:
    """Add the earlier versions that laboratories and readers mend later. The last version is always the model's."""
    study.frames["labs"] = _amend_labs(study["labs"], len(study.usubjid), streams)
    study.frames["measurements"] = _amend_measurements(study["measurements"], len(study.usubjid), streams)


def _amend_labs(labs: pd.DataFrame, subjects: int, streams: Streams) -> pd.DataFrame:
    """A few results are reported preliminarily, corrected or cancelled; each version carries its report's time."""
    shape = (subjects, codes.CYCLE_VISITS + codes.SCANS, len(codes.ANALYTES))
    place = (labs["subject"], labs["place"], labs["analyte"])
    draw, size = streams.uniform("laboratory versions", *shape)[place], streams.uniform("wrong results", *shape)[place]
    corrected, preliminary = draw < 0.004, (draw >= 0.004) & (draw < 0.007)
    cancelled = (draw >= 0.007) & (draw < 0.0075)

    first = labs[corrected].copy()
    first["value"] = np.round(first["value"] * (1.3 + 2 * size[corrected])).astype(first["value"].dtype)
    early = labs[preliminary].assign(status=np.int8(codes.PRELIMINARY))
    early["value"] = np.round(early["value"] * (0.9 + 0.2 * size[preliminary])).astype(early["value"].dtype)
    late = labs[cancelled].assign(status=np.int8(codes.CANCELLED))

    labs = labs.copy()
    labs.loc[corrected, "status"] = codes.CORRECTED
    for rows, delay in ((corrected, 7 + np.floor(30 * size)), (preliminary, 2 + 0 * size)):
        labs.loc[rows, ["reported_day", "known_on"]] += delay[rows].astype(np.int32)[:, None]
    late[["reported_day", "known_on"]] += 3
    return pd.concat([labs, first, early, late], ignore_index=True)


def _amend_measurements(measurements: pd.DataFrame, subjects: int, streams: Streams) -> pd.DataFrame:
    """A few target diameters are mistyped by a centimetre, and put right in a later export."""
    shape = (subjects, len(codes.VISITS), codes.TARGETS)
    draw = streams.uniform("mistyped diameters", *shape)
    sized = (measurements["state"] == codes.MEASURED) & (measurements["test"] < codes.TUMSTATE)
    sized &= (measurements["test"] == codes.SHORT_AXIS) | ~measurements.duplicated(
        ["subject", "lesion", "visit"], keep=False
    )
    lesion = measurements["lesion"].clip(0, codes.TARGETS - 1)
    mended_on = measurements["known_on"] + 100
    wrong = sized & (draw[measurements["subject"], measurements["visit"], lesion] < 0.0015) & (mended_on <= FINAL)
    typos = measurements[wrong].copy()
    typos["value"] += 100
    typos["superseded_on"] = mended_on[wrong]
    measurements = measurements.copy()
    measurements.loc[wrong, "known_on"] = mended_on[wrong]
    return pd.concat([measurements, typos], ignore_index=True)


def months(every: int) -> list[tuple[str, int]]:
    """(ISO date of the last day, the same as day number) of each delivery."""
    last = np.arange(_FIRST_MONTH, _LAST_MONTH + 1)[::-1][::every][::-1]
    days = (last + 1).astype("datetime64[D]") - 1
    return [(str(date), int(date.astype(int))) for date in days]


Progress = Callable[[int, int, str], None]
"""Called with the number of tables written, the number of all, and the name of the last one."""


def deliver(out: Path, exports: list[Export], subjects: int, progress: Progress | None = None) -> None:
    """Write all files below ``out``.

    Raises:
        UserError: ``out`` cannot be written, or holds a file of the same name with other content.
    """
    # Looking first costs a second rendering, so only where something could be overwritten.
    if any((out / export.folder).is_dir() and any((out / export.folder).iterdir()) for export in exports):
        for export in exports:
            for path, content in files(export, subjects):
                _refuse_other_content(out / path, content)
    for done, export in enumerate(exports, start=1):
        for path, content in files(export, subjects):
            _write(out / path, content)
        if progress:
            progress(done, len(exports), f"{export.folder}/{export.stem}")


def files(export: Export, subjects: int) -> Iterator[tuple[str, bytes]]:
    """(path below the output folder, bytes) of every file of one export; deliveries without rows are left out."""
    order = np.argsort(export.known_on, kind="stable")
    known = export.known_on[order]
    deliveries = [
        (date, rows) for date, end in months(export.every_months) if len(rows := _delivered(order, known, export, end))
    ]
    stem = f"{export.folder}/{export.stem}"
    planted = _plant(export, len(deliveries), subjects)
    for number, (date, rows) in enumerate(deliveries):
        header, lines = _render(export, rows, planted.get(number, ()))
        content = _encode(export, header, lines)
        yield f"{stem}_{date}.csv", content
        if export.folder == "lab":
            if number == len(deliveries) // 3:
                yield f"{stem}_{date}_resent.csv", content
            if number == len(deliveries) // 2:
                yield f"{stem}_{date}_download.csv", _ERROR_PAGE.encode()
            if number == 2 * len(deliveries) // 3:
                yield f"{stem}_{date}_noheader.csv", _encode(export, None, lines)


def _delivered(order: np.ndarray, known: np.ndarray, export: Export, end: int) -> np.ndarray:
    """Rows that became known since the last delivery, and a week before it, in the version of that day."""
    end_month = np.datetime64(end, "D").astype("datetime64[M]")
    start = int((end_month + 1 - export.every_months).astype("datetime64[D]").astype(int)) - 1
    if end_month - export.every_months < _FIRST_MONTH:
        start = -codes.NEVER
    first, last = np.searchsorted(known, [start - _OVERLAP_DAYS, end], side="right")
    rows = order[first:last]
    return rows[export.superseded_on[rows] > end]


def _plant(export: Export, deliveries: int, subjects: int) -> dict[int, list[tuple[int, dict[str, str]]]]:
    """Dirt by delivery: (which row to copy, cells to change). A handful however large the study."""
    planted: dict[int, list[tuple[int, dict[str, str]]]] = {}
    if deliveries:
        for copy in range(min(1 + subjects // 1000, _MAX_DIRT_COPIES)):
            for kind, changes in enumerate(export.dirt):
                number = (2 + 3 * kind + 7 * copy) % deliveries
                planted.setdefault(number, []).append((11 * kind + 5 * copy, changes))
    return planted


def _render(export: Export, rows: np.ndarray, planted: Sequence[tuple[int, dict[str, str]]]) -> tuple[str, list[str]]:
    delimiter = export.dialect.delimiter
    cells = {heading: column.take(rows) for heading, column in export.columns.items()}
    lines = [delimiter.join(line) for line in zip(*cells.values(), strict=True)]
    extra = []
    for position, changes in planted:
        row = {heading: texts[position % len(rows)] for heading, texts in cells.items()} | changes
        extra.append(delimiter.join(row.values()))
    return delimiter.join(cells), lines + extra


def _encode(export: Export, header: str | None, lines: list[str]) -> bytes:
    return ("\n".join([*([header] if header else []), *lines]) + "\n").encode(export.dialect.encoding)


def _refuse_other_content(path: Path, content: bytes) -> None:
    if path.is_dir() or (path.is_file() and path.read_bytes() != content):
        raise UserError(f"{path}: is there already with other content. Simulate into an empty folder.")


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: somebody may be watching the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}). Choose a folder you may write to.") from None
