"""Dates and times: declared spelling -> canonical text. Column at a time; nothing here guesses a spelling.

Canonical are `YYYY-MM-DD`, the partial `YYYY-MM` and `YYYY`, and `YYYY-MM-DDTHH:MM:SSZ` (UTC). Whatever the declared
spelling does not cover (ambiguous, impossible, two-digit years, years before 1900) is marked as unreadable.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports.values import by_distinct, join, mark_unreadable

_PARTS = ("year", "month", "day", "hour", "minute", "second", "half", "offset")
_YEAR, _MONTH, _DAY = r"19\d\d|2[01]\d\d", r"0[1-9]|1[0-2]", r"0[1-9]|[12]\d|3[01]"
_HOUR, _SIXTY, _UNKNOWN = r"[01]\d|2[0-3]", r"[0-5]\d", r"UNK?"
_OFFSET = r"(?P<offset>Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?"
_MINUTES = rf":?(?P<minute>{_SIXTY}|-)(?::?(?P<second>{_SIXTY})(?:[.,]\d+)?)?"
_TIME = rf"(?:(?:T| +)(?P<hour>{_HOUR}|-)(?:{_MINUTES})?)?{_OFFSET}"
_ISO = (
    rf"(?P<year>{_YEAR})(?:-(?P<month>{_MONTH}|{_UNKNOWN}|-)(?:-(?P<day>{_DAY}|{_UNKNOWN}|-))?)?{_TIME}",
    rf"(?P<year>{_YEAR})(?P<month>{_MONTH})(?P<day>{_DAY}){_TIME}",
)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH_NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_TOKENS = {
    "Y": rf"(?P<year>{_YEAR})",
    "y": r"(?P<year>\d\d)",
    "m": rf"(?P<month>0?[1-9]|1[0-2]|{_UNKNOWN})",
    "b": rf"(?P<month>{'|'.join(_MONTHS)}|{_UNKNOWN})",
    "B": rf"(?P<month>{'|'.join(_MONTH_NAMES)}|{_UNKNOWN})",
    "d": rf"(?P<day>0?[1-9]|[12]\d|3[01]|{_UNKNOWN})",
    "H": r"(?P<hour>[01]?\d|2[0-3])",
    "I": r"(?P<hour>0?[1-9]|1[0-2])",
    "M": rf"(?P<minute>{_SIXTY})",
    "S": rf"(?P<second>{_SIXTY})",
    "f": r"\d{1,6}",
    "p": r"(?P<half>AM|PM)",
    "z": _OFFSET,
    "%": "%",
}


@dataclass(frozen=True)
class DateStyle:
    """How a source writes its dates: regular expressions with one and the same set of groups, and its time zone."""

    patterns: tuple[str, ...]
    zone: ZoneInfo

    @classmethod
    def declared(cls, date_format: str, datetime_format: str | None, zone: str) -> "DateStyle":
        """From the keys of a source in study.yaml.

        Raises:
            ValueError: a format uses a directive that is not known here.
        """
        patterns = [part for text in (datetime_format, date_format) if text for part in _expressions(text)]
        return cls(tuple(_with_all_parts(pattern) for pattern in patterns), ZoneInfo(zone))

    def or_iso(self) -> "DateStyle":
        """Also for dates that the format itself holds as dates: readers write these in ISO 8601.

        Raises:
            ValueError: the declared spelling takes an ISO date for another day.
        """
        probe = _day_text(_parts(pa.array(["2024-01-02"]), self))[0].as_py()
        if probe not in (None, "2024-01-02"):
            raise ValueError("its date_format reads 2024-01-02 as another day, and this format holds real dates")
        return replace(self, patterns=(*(_with_all_parts(pattern) for pattern in _ISO[:1]), *self.patterns))


def days(texts: pa.Array, style: DateStyle) -> pa.Array:
    """Calendar days at the source, full or partial; a time of day is dropped."""
    return moments(texts, style)[1]


def moments(texts: pa.Array, style: DateStyle) -> tuple[pa.Array, pa.Array]:
    """(UTC instant where the time is known, else the day; the local calendar day), both as canonical text.

    The local day is the one written, except that an instant written in UTC falls on the day of the source's zone.
    In the doubled hour when clocks go back the first one counts; a time skipped when they go forward is moved on.
    """
    encoded = texts.dictionary_encode()
    if 2 * len(encoded.dictionary) < len(texts):  # the results of one sample carry the same times
        at, day = _moments(encoded.dictionary, style)
        return at.take(encoded.indices), day.take(encoded.indices)
    return _moments(texts, style)


def _moments(texts: pa.Array, style: DateStyle) -> tuple[pa.Array, pa.Array]:
    parts = _parts(texts, style)
    known = _day_text(parts)
    day = mark_unreadable(known, texts)
    has_time = pc.and_(_is_number(parts["hour"]), _is_number(parts["minute"]))
    timed = pc.and_(pc.equal(pc.utf8_length(known), 10), has_time)
    if not pc.any(timed).as_py():
        return day, day
    second = pc.if_else(_is_number(parts["second"]), parts["second"], "00")
    local = pc.if_else(timed, join(known, "T", _hour(parts), ":", parts["minute"], ":", second), None)
    offset = by_distinct(parts["offset"], _written_offset, pa.int64())
    utc = pc.subtract(_seconds(local), pc.coalesce(offset, _zone_offset(local, style.zone)))
    instant = _instant_text(utc)
    at, in_utc = pc.coalesce(instant, day), pc.and_(timed, pc.equal(offset, 0))
    if pc.any(in_utc).as_py():
        in_zone = _instant_text(pc.add(utc, _zone_offset(instant, style.zone)))
        day = pc.if_else(pc.fill_null(in_utc, False), pc.utf8_slice_codeunits(in_zone, 0, 10), day)
    return at, day


def _parts(texts: pa.Array, style: DateStyle) -> dict[str, pa.Array]:
    """The groups of the first pattern that matches, null where none does."""
    found = [pc.extract_regex(texts, pattern) for pattern in style.patterns]
    return {name: pc.coalesce(*(pc.struct_field(match, name) for match in found)) for name in _PARTS}


def _day_text(parts: dict[str, pa.Array]) -> pa.Array:
    """What is known of the day: full, `YYYY-MM` or `YYYY`; null for a day that the calendar does not have."""
    year = by_distinct(parts["year"], _whole_year)
    month = by_distinct(parts["month"], _month_number)
    day = pc.if_else(_is_number(parts["day"]), pc.utf8_lpad(parts["day"], 2, "0"), None)
    full = join(year, "-", month, "-", day)
    real = by_distinct(full, _is_real, pa.bool_())
    return pc.if_else(pc.is_valid(full), pc.if_else(real, full, None), pc.coalesce(join(year, "-", month), year))


def _is_number(texts: pa.Array) -> pa.Array:
    return pc.ascii_is_decimal(texts)


def _whole_year(text: str) -> str:
    """Two digits (only where the source declares %y) by the POSIX pivot: 69-99 are 19xx."""
    return text if len(text) == 4 else ("19" if int(text) >= 69 else "20") + text


def _month_number(text: str) -> str | None:
    if text.isdecimal():
        return text.zfill(2)
    return f"{_MONTHS.index(text[:3].upper()) + 1:02d}" if text[:3].upper() in _MONTHS else None


def _is_real(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _hour(parts: dict[str, pa.Array]) -> pa.Array:
    return by_distinct(join(parts["hour"], parts["half"]), _hour_of_day)


def _hour_of_day(text: str) -> str:
    half = text[-2:].upper()
    if half in ("AM", "PM"):
        return f"{int(text[:-2]) % 12 + (12 if half == 'PM' else 0):02d}"
    return text.zfill(2)


def _written_offset(text: str) -> int | None:
    """Seconds east of UTC; None where no offset is written."""
    if not text:
        return None
    if text.upper() == "Z":
        return 0
    seconds = 3600 * int(text[1:3]) + 60 * int(text[-2:])
    return -seconds if text[0] == "-" else seconds


def _zone_offset(texts: pa.Array, zone: ZoneInfo) -> pa.Array:
    """Seconds east of UTC, from local texts (no Z) or UTC ones."""
    hours = join(pc.utf8_slice_codeunits(texts, 0, 13), pc.utf8_slice_codeunits(texts, 19, 20))
    return by_distinct(hours, lambda hour: _offset_of_hour(hour, zone), pa.int64())


@lru_cache(maxsize=100_000)
def _offset_of_hour(hour: str, zone: ZoneInfo) -> int:
    """Clocks are changed on the hour, so one offset holds for `2025-03-30T02` (local) or `2025-03-30T02Z` (UTC)."""
    moment = datetime.fromisoformat(hour[:13] + ":00")
    moment = moment.replace(tzinfo=UTC).astimezone(zone) if hour.endswith("Z") else moment.replace(tzinfo=zone)
    return int(moment.utcoffset().total_seconds())


def _seconds(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.timestamp("s")).cast(pa.int64())


def _instant_text(seconds: pa.Array) -> pa.Array:
    text = seconds.cast(pa.timestamp("s")).cast(pa.string())
    return join(pc.replace_substring(text, " ", "T"), "Z")


def _expressions(date_format: str) -> tuple[str, ...]:
    if date_format == "iso8601":
        return _ISO
    padded = re.search(r"%[A-Za-z]%[A-Za-z]", date_format) is not None  # without separators only full width is certain
    expression = ""
    for token, directive, literal in re.findall(r"(%(.?))|([^%]+)", date_format):
        if not token:
            expression += re.sub(r"(\\ )+", r"\\s+", re.escape(literal))
        elif directive in _TOKENS:
            expression += _TOKENS[directive].replace("0?[1-9]", "0[1-9]") if padded else _TOKENS[directive]
        else:
            raise ValueError(f"{token} in {date_format!r} is not known; use %Y %y %m %b %B %d %H %I %p %M %S %f %z")
    return (expression if re.search("%[HI]", date_format) else expression + _TIME,)


def _with_all_parts(expression: str) -> str:
    absent = "".join(f"(?P<{name}>)" for name in _PARTS if f"(?P<{name}>" not in expression)
    return f"(?i)^{expression}{absent}$"
