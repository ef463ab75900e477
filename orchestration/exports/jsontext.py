"""JSON from outside: parsed with limits, every number kept as it is written.

What a document means belongs to the formats that are written in JSON.
"""

import json
import re
from decimal import Decimal

import numpy as np

from orchestration.exports import Rejected

MAX_DEPTH = 50
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MAX_DIGITS = 400


class Number(str):
    """A number's own text: 5.10 stays 5.10, and 1e9999999 is never computed."""

    __slots__ = ()


def parse(data: bytes, where: str) -> object:
    """One JSON text; numbers are `Number`.

    Args:
        data: UTF-8, with or without byte order mark.
        where: what a message begins with, for example the file's name.

    Raises:
        Rejected: ``json``: no JSON, NaN or infinity, a key twice in one object, too deep, a number too long, or half
            a character.
    """
    _check_depth(data, where)
    try:
        parsed = json.loads(
            data.decode("utf-8-sig"), parse_float=_number, parse_int=_number, parse_constant=_constant,
            object_pairs_hook=_object,
        )  # fmt: skip
        if _SURROGATE.search(data):
            json.dumps(parsed, ensure_ascii=False).encode()
        return parsed
    except json.JSONDecodeError as error:
        fault = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except UnicodeDecodeError as error:
        fault = f"byte {error.start + 1:,} is not UTF-8"
    except UnicodeEncodeError:
        fault = "a text holds half a character: \\ud800 to \\udfff stand in pairs"
    except _Fault as error:
        fault = str(error)
    except RecursionError:
        fault = f"it is nested more than {MAX_DEPTH} deep"
    raise Rejected("json", f"{where}: no valid JSON: {fault}. Export it again, whole.")


def plain(number: Number) -> str | None:
    """The number without exponent and closing zeros; None where its size is that of no measured value."""
    mantissa, _, exponent = number.lower().partition("e")
    if exponent and len(exponent) > 4:
        return None
    value = Decimal(number)
    if value == 0:
        return "0"
    if abs(value.adjusted()) > 30:
        return None
    return format(value.normalize(), "f") if "." in mantissa or exponent else str(number)


class _Fault(Exception):
    pass


def _number(text: str) -> Number:
    if len(text) > _MAX_DIGITS:
        raise _Fault(f"a number of {len(text):,} characters")
    return Number(text)


def _constant(text: str):
    raise _Fault(f"{text} is no JSON value")


def _object(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _Fault(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _check_depth(data: bytes, where: str) -> None:
    """Before parsing, since the parser's own recursion is what a deep document attacks."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    marks = np.frombuffer(_STRING.sub(b"", data), np.uint8)
    steps = np.isin(marks, (ord("["), ord("{"))).astype(np.int32)
    steps -= np.isin(marks, (ord("]"), ord("}")))
    if len(steps) and np.cumsum(steps).max() > MAX_DEPTH:
        raise Rejected("json", f"{where}: no valid JSON: it is nested more than {MAX_DEPTH} deep. Export it again.")
