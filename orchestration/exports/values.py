"""Numbers, codes, units and results: text -> canonical text, column at a time.

Kernels of pyarrow do the work row by row; Python sees each *different* text once. Which spellings exist stands in
the seeds of the dbt project, so that the warehouse and the reader share one list. Dates have their own module.
"""

import csv
import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from orchestration.exports.records import UNREADABLE
from orchestration.settings import DBT_PROJECT

_TEXT = pa.string()
_SIMPLE_NUMBER = r"^-?\d{1,15}(\.\d{1,30})?$"
_OTHER_NUMBER = r"^[+-]?(\d{1,15}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,2})?$"
_LARGEST_EXPONENT = 15  # beyond it lies no dose, age, diameter or concentration
_RESULT = r"^(?P<operator><=|>=|≤|≥|<|>)?\s*(?P<number>[-+.,\d][-+.,\dEe]*)\s*(?P<flag>HH|LL|H|L|\*)?$"
_BELOW_LIMIT = frozenset(
    {
        "<LLOQ",
        "<LOQ",
        "<LOD",
        "BLQ",
        "BLOQ",
        "BQL",
        "BLLOQ",
        "ND",
        "NOTDETECTED",
        "UNDETECTABLE",
        "BELOWLLOQ",
        "BELOWLOQ",
        "BELOWLIMITOFQUANTIFICATION",
        "BELOWLIMITOFQUANTITATION",
        "BELOWDETECTIONLIMIT",
    }
)
_ABOVE_LIMIT = frozenset(
    {">ULOQ", ">LOQ", "ALQ", "AULOQ", "ABOVEULOQ", "ABOVELIMITOFQUANTIFICATION", "ABOVELIMITOFQUANTITATION"}
)


def fold_code(text: str) -> str:
    """Upper case, blanks folded."""
    return " ".join(text.upper().split())


def fold_unit(text: str) -> str:
    """As the seed ucum_units spells: both micro signs are u, no case, no blanks, no `^^UCUM`."""
    folded = "".join(unicodedata.normalize("NFKC", text).lower().split()).replace("\u03bc", "u")
    return folded.removesuffix("^^ucum")


@cache
def seed(name: str, key: tuple[str, ...], value: str) -> dict[tuple[str, ...], str]:
    """A dbt seed as a look-up: texts of the key columns -> text of the value column."""
    with (DBT_PROJECT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {tuple(row[column] for column in key): row[value] for row in csv.DictReader(file)}


def nulls(length: int) -> pa.Array:
    return pa.nulls(length, pa.string())


def join(*parts: pa.Array | str) -> pa.Array:
    """Concatenate text; null where a part is null."""
    return pc.binary_join_element_wise(*parts, "")


def by_distinct(texts: pa.Array, spell: Callable[[str], object], kind: pa.DataType = _TEXT) -> pa.Array:
    """Apply a Python function once to each different text; null stays null."""
    encoded = texts.dictionary_encode()
    return pa.array([spell(text) for text in encoded.dictionary.to_pylist()], kind).take(encoded.indices)


def mark_unreadable(canonical: pa.Array, original: pa.Array) -> pa.Array:
    """Where a text was given and nothing canonical came of it: the mark and the text."""
    if canonical.null_count == original.null_count:
        return canonical
    return pc.coalesce(canonical, join(UNREADABLE, original))


def codes(texts: pa.Array) -> pa.Array:
    return by_distinct(texts, fold_code)


def numbers(texts: pa.Array, decimal: str) -> pa.Array:
    """Plain decimal text; null for what is no number as declared (other decimal mark, thousands marks, NaN ...)."""
    if decimal == ",":
        texts = pc.if_else(pc.match_substring(texts, "."), None, pc.replace_substring(texts, ",", "."))
    simple = pc.match_substring_regex(texts, _SIMPLE_NUMBER)
    if pc.all(simple).as_py() is not False:
        return texts
    rest = pc.if_else(simple, None, texts)
    others = pc.if_else(pc.match_substring_regex(rest, _OTHER_NUMBER), rest, None)
    return pc.if_else(simple, texts, by_distinct(others, _plain_number))


def _plain_number(text: str) -> str | None:
    number = Decimal(text)  # the exponent has two digits at most
    if number == 0:
        return "0"
    return format(number, "f") if abs(number.adjusted()) <= _LARGEST_EXPONENT else None


def results(texts: pa.Array, decimal: str) -> tuple[pa.Array, pa.Array]:
    """(operator, number) of laboratory results.

    `<0.5` and `≤ 0,5` have both; `BLQ`, `ND`, `<LLOQ` have the operator alone; a trailing H, L, HH, LL or `*` is the
    laboratory's flag and no part of the number. Any other text has neither: the expectations judge it.
    """
    number = numbers(texts, decimal)
    if number.null_count == texts.null_count:
        return nulls(len(texts)), number
    rest = pc.if_else(pc.is_null(number), texts, None)
    parts = pc.extract_regex(rest, _RESULT)
    bounded = numbers(pc.struct_field(parts, "number"), decimal)
    sign = pc.if_else(pc.is_valid(bounded), by_distinct(pc.struct_field(parts, "operator"), _OPERATORS.get), None)
    words = by_distinct(pc.if_else(pc.is_null(bounded), rest, None), _limit_word)
    return pc.coalesce(sign, words), pc.coalesce(number, bounded)


_OPERATORS = {"<": "<", ">": ">", "<=": "<=", "≤": "<=", ">=": ">=", "≥": ">="}


def _limit_word(text: str) -> str | None:
    word = "".join(text.upper().split())
    return "<" if word in _BELOW_LIMIT else ">" if word in _ABOVE_LIMIT else None


def unit_codes(texts: pa.Array, declared: Mapping[str, str]) -> pa.Array:
    """UCUM code of a unit's spelling: by the source's declaration, else by the seed; null when neither knows it."""
    known = seed("ucum_units", ("spelling",), "ucum_code")
    ours = {fold_unit(spelling): fold_unit(unit) for spelling, unit in declared.items()}

    def code(text: str) -> str | None:
        folded = fold_unit(text)
        return known.get((ours.get(folded, folded),))

    return by_distinct(texts, code)


def unit_factor(unit: str) -> tuple[str, Decimal] | None:
    """(quantity, factor to its base unit) of a unit's spelling; None when the seed does not know it."""
    key = (fold_unit(unit),)
    factor = seed("ucum_units", ("spelling",), "factor_to_base").get(key)
    return factor and (seed("ucum_units", ("spelling",), "quantity")[key], Decimal(factor))


def tumor_states(texts: pa.Array) -> pa.Array:
    """Code of a lesion's state; null for anything else, numbers included."""
    known = seed("tumor_states", ("spelling",), "state_code")
    return by_distinct(texts, lambda text: known.get((fold_code(text),)))


def response_codes(tests: pa.Array, texts: pa.Array) -> pa.Array:
    """Code of a response, by the test it answers; null when the seed does not know it."""
    known = seed("response_codes", ("test", "spelling"), "value_code")
    return by_distinct(join(tests, "\n", texts), lambda pair: known.get(_test_and_spelling(pair)))


def _test_and_spelling(pair: str) -> tuple[str, str]:
    test, _, text = pair.partition("\n")
    return test, fold_code(text)


def accepted(texts: pa.Array) -> pa.Array:
    """`Y` or null; anything but yes and no is marked."""
    return by_distinct(
        texts,
        lambda text: (
            "Y"
            if re.fullmatch("Y|YES|TRUE|1", text.strip().upper())
            else None
            if re.fullmatch("N|NO|FALSE|0", text.strip().upper())
            else UNREADABLE + text
        ),
    )
