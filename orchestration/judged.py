"""The columns that the expectations judge, made of canonical rows; and what whole files tell about a row.

An expectation judges a column of the record, or one of these, null where the rule does not apply to the row (so
that the denominator counts the rows to which it does):

- ``<column>.given``: given or blank, where the record needs the value
- ``<column>.precision``: time, day, month, year or unreadable; ``<column>.year``; ``<column>.day`` (days since
  0001-01-01, full dates only); ``<column>.moment`` (seconds, comparable with the other moment of the same row)
- ``<column>.number``: a number column as a number
- ``value.reading`` (number, bound, below_lloq, unreadable), ``value.number``, ``value.exact`` (without comparator),
  ``value.ng_ml``, ``unit.ucum``: of the analytes that study.yaml declares
- ``diameter.reading`` (number, state, unreadable), ``diameter.unit``, ``diameter.mm``, ``state.code``, ``sum.number``,
  ``response.code``: of the tests that RECIST uses
- ``dose.occurred``: occurred, where a dose is told; ``occurred.dose``: the dose, where it took place;
  ``death.flag``: consistent or contradictory, where the table asks whether the subject died
- ``file.misread_share``, ``file.subject_share``: of the row's file; ``row.unreadable``: the column whose value is not
  as declared; ``row.future``: the column whose date lies after the receipt of the file; ``row.conflict``: conflict,
  where the file holds another value for the same result and version
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports.records import RECORDS, UNREADABLE
from orchestration.rules import no_value_statuses, units

SHARE_ROWS = 10
"""A share says nothing about a file with fewer rows."""

_DIAMETERS = ["DIAMETER", "LDIAM", "LPERP", "SAXIS"]
_LESION_TESTS = [*_DIAMETERS, "TUMSTATE"]
_RESPONSES = ["TRGRESP", "NTRGRESP", "NEWLPROG", "OVRLRESP"]
_RESULT_VERSION = (
    "subject_id",
    "laboratory",
    "sample_id",
    "analyte",
    "specimen",
    "assay",
    "collected_at",
    "reported_at",
    "result_status",
)
_RESULT_SAID = ("value", "value_number", "value_operator", "unit_code")
_ISO_DAY = re.compile("([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")


@dataclass(frozen=True)
class Origin:
    """What a message says about a file, and where the untouched text of a field stands in its rows."""

    path: str
    headings: Mapping[str, str] = field(default_factory=dict)  # canonical column -> heading
    received_on: date | None = None  # nothing in the file can have happened later
    rows_stand_alone: bool = False  # unreadable rows say nothing about the file's structure
    parts: tuple["Part", ...] = ()  # of a file with several tables, in their order


@dataclass(frozen=True)
class Part:
    """One table of a file: rows are numbered on through the file, so its first row has ``rows_before`` + 1."""

    name: str
    rows_before: int
    headings: Mapping[str, str] = field(default_factory=dict)


class Files:
    """What only whole files tell about a row: gathered in a first pass over the pieces, before they are judged."""

    @staticmethod
    def columns(record: str) -> frozenset[str]:
        """All that is looked at; the file of a row stands beside them."""
        own = {"subjects": ("age_years",), "lab_results": (*_RESULT_VERSION, "analyte_key", *_RESULT_SAID)}
        return frozenset(("_misread", "subject_id", *own.get(record, ())))

    def __init__(self, record: str, tables: Iterable[pa.Table], origins: Mapping[str, Origin]):
        self._place: dict[str, int] = {}
        self._is_lab, self._is_subjects = record == "lab_results", record == "subjects"
        counted = {name: np.zeros(0) for name in ("rows", "misread", "subject", "age")}
        declared, keys, contents = [], [], []
        connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        for table in tables:
            ordinal = self._ordinals(table)
            flags = {
                "rows": np.ones(table.num_rows),
                "misread": pc.is_valid(table["_misread"]).to_numpy(),
                "subject": pc.is_valid(table["subject_id"]).to_numpy(),
            }
            if self._is_subjects:
                flags["age"] = pc.is_valid(table["age_years"]).to_numpy()
            for name, values in flags.items():
                counts = np.bincount(ordinal, weights=values, minlength=len(self._place)).astype(float)
                counts[: len(counted[name])] += counted[name]
                counted[name] = counts
            if self._is_lab:
                key, content = _versions(connection, table, ordinal)
                declared.append(pc.is_valid(table["analyte_key"]).to_numpy())
                keys.append(key)
                contents.append(content)
        connection.close()
        known = [origins.get(file_id, Origin(file_id)) for file_id in self._place]
        in_structure = np.array([not origin.rows_stand_alone for origin in known], dtype=bool)
        tells = (counted["rows"] >= SHARE_ROWS) & in_structure
        rows = np.maximum(counted["rows"], 1)
        self._misread_share = np.where(tells, counted["misread"] / rows, np.nan)
        self._subject_share = np.where(tells, counted["subject"] / rows, np.nan)
        self._tells_age = counted["age"] > 0  # other tables of subjects (MI, SUPPDM) tell no age
        self._latest_days = pa.array([_latest_day(origins.get(file_id)) for file_id in self._place], pa.string())
        if keys:
            self._is_declared = np.concatenate(declared)
            self._is_conflict = _conflicts(np.concatenate(keys), np.concatenate(contents), self._is_declared)

    def _ordinals(self, table: pa.Table) -> np.ndarray:
        """Which file each row is of, numbered by their first appearance."""
        files = table["_file_id"].unify_dictionaries().combine_chunks()
        files = files if pa.types.is_dictionary(files.type) else files.dictionary_encode()
        places = [self._place.setdefault(file_id, len(self._place)) for file_id in files.dictionary.to_pylist()]
        return np.array(places, dtype=np.int64)[files.indices.to_numpy()]

    def told(self, table: pa.Table, start: int) -> pa.Table:
        """A piece, whose first row is row ``start`` of all, with what its files tell."""
        ordinal = self._ordinals(table)
        for name, shares in (
            ("file.misread_share", self._misread_share), ("file.subject_share", self._subject_share),
        ):  # fmt: skip
            table = table.append_column(name, pa.array(shares[ordinal], pa.float64(), from_pandas=True))
        table = table.append_column("file.latest_day", self._latest_days.take(pa.array(ordinal)))
        if self._is_subjects:
            table = table.append_column("file.tells_age", pa.array(self._tells_age[ordinal]))
        if self._is_lab:
            own = slice(start, start + table.num_rows)
            verdict = pc.if_else(pa.array(self._is_conflict[own]), "conflict", "none")
            table = table.append_column("row.conflict", pc.if_else(pa.array(self._is_declared[own]), verdict, None))
        return table


def _latest_day(origin: Origin | None) -> str | None:
    """The day of receipt in UTC and one more: east of Greenwich the next day has begun."""
    return (origin.received_on + timedelta(days=1)).isoformat() if origin and origin.received_on else None


def _versions(connection: duckdb.DuckDBPyConnection, table: pa.Table, ordinal: np.ndarray) -> list[np.ndarray]:
    """64-bit hashes a row: of the result and its version within the file, and of that with what is said of it."""
    number = _number(table["value_number"].combine_chunks())
    text = pc.if_else(pc.is_valid(number), None, table["value"].combine_chunks())
    own = {"_file": pa.array(ordinal), "_number": number, "_text": text}
    columns = {name: table[name] for name in (*_RESULT_VERSION, "unit_code", "value_operator")}
    connection.register("piece", pa.table(own | columns))
    key = ", ".join(("_file", *_RESULT_VERSION))
    said = "_number, _text, unit_code, value_operator"
    found = connection.execute(f"select hash({key}) as key, hash({key}, {said}) as content from piece").fetchnumpy()
    return [found["key"], found["content"]]


def _conflicts(key: np.ndarray, content: np.ndarray, declared: np.ndarray) -> np.ndarray:
    """Where one file holds different values for the same result and version; identical rows are no conflict.

    By 64-bit hashes: the chance of a false pair is 3e-8 in a million rows.
    """
    found = np.zeros(len(key), dtype=bool)
    keys = np.sort(key[declared])
    repeated = np.unique(keys[1:][keys[1:] == keys[:-1]])
    if len(repeated):  # few, so that little more than the keys needs to be in memory
        nearest = np.minimum(np.searchsorted(repeated, key), len(repeated) - 1)
        order = np.flatnonzero(declared & (repeated[nearest] == key))
        order = order[np.argsort(key[order], kind="stable")]
        keys, contents = key[order], content[order]
        differs = (keys[1:] == keys[:-1]) & (contents[1:] != contents[:-1])
        found[order] = np.isin(keys, np.unique(keys[1:][differs]))
    return found


class Frame:
    """At most FRAME_ROWS rows of one record, and the judged columns made of them on demand."""

    def __init__(self, record: str, table: pa.Table):
        self.record, self.table = record, table
        self._made: dict[str, pa.Array] = {}
        self.good = pc.is_null(self.text("_misread"))

    def text(self, name: str) -> pa.Array:
        if name not in self._made:
            self._made[name] = self.table[name].combine_chunks()
        return self._made[name]

    def column(self, name: str) -> pa.Array:
        if name in self.table.column_names:
            return self.text(name)
        if name not in self._made:
            self._made.update(self._make(name))
        return self._made[name]

    def _make(self, name: str) -> dict[str, pa.Array]:
        base, _, aspect = name.rpartition(".")
        if name in ("dose.occurred", "occurred.dose"):
            return self._occurrence()
        if name == "death.flag":
            return {name: self._death_flag()}
        if base == "row":
            return {name: self._future() if aspect == "future" else self._unreadable()}
        if aspect == "given":
            return {name: self._given(base)}
        if aspect == "moment":
            names = ("reported_at", "collected_at")
            return dict(zip((f"{item}.moment" for item in names), self._moments(*names), strict=True))
        if aspect in ("precision", "year", "day"):
            precision, year, day = _calendar(self.text(base))
            return {f"{base}.precision": precision, f"{base}.year": year, f"{base}.day": day}
        if self.record == "lab_results" and base in ("value", "unit"):
            return self._lab()
        if self.record == "tumor_measurements":
            return self._measurement()
        if self.record == "tumor_responses":
            known = pc.is_in(self.text("test"), pa.array(_RESPONSES))
            return {name: _only(known, pc.coalesce(self.text("value_code"), self.text("value")))}
        return {name: _number(self.text(base))}

    def _given(self, name: str) -> pa.Array:
        filled, needed = pc.is_valid(self.text(name)), self.good
        if self.record == "lab_results" and name in ("value", "unit"):
            needed = pc.and_(needed, self._carries_value())
            if name == "unit":
                needed = pc.and_(
                    pc.and_(needed, pc.is_valid(self.text("analyte_key"))), pc.is_valid(self.text("value"))
                )
        elif name == "dose_unit":
            needed = pc.fill_null(pc.greater(self.column("dose.number"), 0), False)
        elif name == "age_years":
            needed = pc.and_(needed, self.text("file.tells_age"))
        elif name == "location":
            needed = pc.fill_null(pc.equal(self.text("role"), "TARGET"), False)
        elif name == "identified_on":
            filled = pc.or_(filled, pc.is_valid(self.text("visit_name")))
        elif self.record == "tumor_measurements" and name == "value":
            needed = pc.and_(needed, pc.fill_null(pc.not_equal(self.text("status"), "NOT DONE"), True))
        elif self.record == "tumor_measurements" and name == "lesion_id":
            needed = pc.is_in(self.text("test"), pa.array(_LESION_TESTS))  # a sum belongs to no lesion
        return _only(needed, pc.if_else(filled, "given", "blank"))

    def _occurrence(self) -> dict[str, pa.Array]:
        occurred, dose = self.text("occurred"), self.column("dose.number")
        has_dose = pc.fill_null(pc.greater(dose, 0), False)
        took_place = pc.fill_null(pc.equal(occurred, "Y"), False)
        return {"dose.occurred": _only(has_dose, occurred), "occurred.dose": _only(took_place, dose)}

    def _death_flag(self) -> pa.Array:
        flag, dated = self.text("death_flag"), pc.is_valid(self.text("death_on"))
        agrees = pc.equal(pc.equal(flag, "Y"), dated)
        return pc.if_else(agrees, "consistent", "contradictory")

    def _unreadable(self) -> pa.Array:
        found = pa.nulls(self.table.num_rows, pa.string())
        for column in RECORDS[self.record].columns:
            if column.kind in ("text", "code") and not column.derived:  # the others have rules of their own
                marked = pc.fill_null(pc.starts_with(self.text(column.name), UNREADABLE), False)
                if pc.any(marked).as_py():
                    found = pc.coalesce(found, _only(marked, pa.repeat(pa.scalar(column.name), self.table.num_rows)))
        return found

    def _future(self) -> pa.Array:
        """ISO dates compare as text: a partial one is later only where all its days are."""
        found = pa.nulls(self.table.num_rows, pa.string())
        for column in RECORDS[self.record].columns:
            if column.kind in ("date", "timestamp"):
                latest = self.text("file.latest_day")
                if not pc.any(pc.greater(self.text(column.name), latest)).as_py():  # nor is its day
                    continue
                day = pc.utf8_slice_codeunits(self.text(column.name), 0, 10)
                is_later = pc.and_(pc.greater(day, latest), pc.less(day, UNREADABLE))
                name = pa.repeat(pa.scalar(column.name), self.table.num_rows)
                found = pc.coalesce(found, _only(pc.fill_null(is_later, False), name))
        return found

    def _moments(self, *names: str) -> list[pa.Array]:
        """Seconds; only the days where one of the two carries no time, each as the source's calendar showed it."""
        clocks = [_once(self.text(name), _clock) for name in names]
        timed = pc.and_(pc.is_valid(clocks[0]), pc.is_valid(clocks[1]))
        days = [_calendar(self.text(f"{name}_on"))[2] for name in names]
        return [
            pc.if_else(timed, clock.cast(pa.float64()), pc.multiply(day, 86400.0))
            for clock, day in zip(clocks, days, strict=True)
        ]

    def _carries_value(self) -> pa.Array:
        return pc.invert(pc.is_in(self.text("result_status"), pa.array(no_value_statuses(), pa.string())))

    def _lab(self) -> dict[str, pa.Array]:
        declared = pc.and_(pc.is_valid(self.text("analyte_key")), pc.is_valid(self.text("value")))
        declared = pc.and_(declared, self._carries_value())
        operator, number = self.text("value_operator"), _only(declared, _number(self.text("value_number")))
        exact = _only(pc.is_null(operator), number)
        reading = pc.case_when(
            pc.make_struct(pc.is_valid(exact), pc.is_valid(number), pc.fill_null(pc.equal(operator, "<"), False)),
            pa.scalar("number"),
            pa.scalar("bound"),
            pa.scalar("below_lloq"),
            pa.scalar("unreadable"),
        )
        unit = _only(pc.is_valid(self.text("unit")), pc.coalesce(self.text("unit_code"), self.text("unit")))
        return {
            "value.reading": _only(declared, reading),
            "value.number": number,
            "value.exact": exact,
            "value.ng_ml": pc.multiply(number, _factors(self.text("unit_code"), "mass_concentration")),
            "unit.ucum": _only(declared, unit),
        }

    def _measurement(self) -> dict[str, pa.Array]:
        test, value, code = self.text("test"), self.text("value"), self.text("value_code")
        number = _number(self.text("value_number"))
        diameter = pc.and_(pc.is_in(test, pa.array(_DIAMETERS)), pc.is_valid(value))
        millimetres = _only(diameter, number)
        unit = pc.coalesce(self.text("unit_code"), self.text("unit"), "")
        reading = pc.if_else(pc.is_valid(number), "number", pc.if_else(pc.is_valid(code), "state", "unreadable"))
        return {
            "diameter.reading": _only(diameter, reading),
            "diameter.unit": _only(pc.is_valid(millimetres), unit),
            "diameter.mm": pc.multiply(millimetres, _factors(self.text("unit_code"), "length")),
            "state.code": _only(pc.fill_null(pc.equal(test, "TUMSTATE"), False), pc.coalesce(code, value)),
            "sum.number": _only(pc.fill_null(pc.equal(test, "SUMDIAM"), False), number),
        }


def _only(where: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(where, values, pa.scalar(None, values.type))


def _once(text: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Each different text is read once."""
    encoded = text.dictionary_encode()
    return read(encoded.dictionary).take(encoded.indices)


def _clock(text: pa.Array) -> pa.Array:
    return pc.strptime(text, "%Y-%m-%dT%H:%M:%SZ", "s", error_is_null=True).cast(pa.int64())


def _number(text: pa.Array) -> pa.Array:
    """Decimal text as float64; null where it is none."""
    return _once(text, _distinct_number)


def _distinct_number(text: pa.Array) -> pa.Array:
    is_number = pc.match_substring_regex(text, r"^-?[0-9]{1,300}(\.[0-9]+)?$")
    return _only(pc.fill_null(is_number, False), text).cast(pa.float64())


def _factors(unit: pa.Array, quantity: str) -> pa.Array:
    known = units(quantity)
    index = pc.index_in(unit, pa.array(list(known), pa.string()))
    return pa.array(list(known.values()), pa.float64()).take(index)


def _calendar(text: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Precision, year and day of ISO dates and timestamps; each distinct text is looked at once, each day read once."""
    encoded = text.dictionary_encode()
    if 2 * len(encoded.dictionary) < len(text):
        return tuple(column.take(encoded.indices) for column in _calendar(encoded.dictionary))
    days = pc.utf8_slice_codeunits(text, 0, 10).dictionary_encode()
    read = [_read_day(item) for item in days.dictionary.to_pylist()]
    precision = pa.array([item[0] for item in read], pa.string()).take(days.indices)
    year = pa.array([item[1] for item in read], pa.float64()).take(days.indices)
    day = pa.array([item[2] for item in read], pa.float64()).take(days.indices)
    rest = pc.utf8_slice_codeunits(text, 10)
    timed = pc.match_substring_regex(rest, r"^T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$")
    precision = pc.if_else(
        pc.equal(rest, ""), precision, pc.if_else(pc.and_(timed, pc.equal(precision, "day")), "time", "unreadable")
    )
    return precision, year, day


def _read_day(text: str) -> tuple[str, int | None, int | None]:
    """(precision, year, days since 0001-01-01 of a full date): '2025-03' is a month, '2025-02-30' unreadable."""
    match = _ISO_DAY.fullmatch(text)
    try:
        year, month, day = (int(part) if part else None for part in match.groups())
        first = date(year, month or 1, day or 1)
    except (AttributeError, ValueError):  # no date at all, or no day of the calendar
        return "unreadable", None, None
    return "day" if day else "month" if month else "year", year, first.toordinal() if day else None
