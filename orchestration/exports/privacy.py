"""What never passes a reader: names of people, and, where the study asks for it, subject ids as they were delivered.

Columns under a heading of `privacy.name_headings` are dropped before anything is made of a table; readers of messages
copy only the fields that they list. Pseudonyms are HMAC-SHA256 of the subject id under a key from the environment: the
same id gets the same pseudonym in every file, and nobody without the key can try ids out.
"""

import hashlib
import hmac
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestration.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestration.exports import Sheet
    from orchestration.study import Study

KEY_VARIABLE = "SHER2_PSEUDONYM_KEY"
WITHHELD = "(withheld)"
"""Stands for source text that may name a person or hold a subject id, and of which nothing else is needed."""

_SHORTEST_KEY = 16
_ID_COLUMNS = ("sample_id", "lesion_id", "result_id")
_SUBJECT_HEADINGS = {"sdtm": ("USUBJID", "SUBJID"), "site": ("subject_id",)}


def names_person(heading: str, study: "Study") -> bool:
    """Whether a column of this heading holds names; case, accents, blanks and marks do not count."""
    return _letters(heading) in _name_headings(tuple(study.privacy.name_headings))


def without_names(headings: list[str], study: "Study") -> list[int]:
    """Places of the columns that may be read."""
    return [place for place, heading in enumerate(headings) if not names_person(heading, study)]


def key() -> bytes:
    """The secret behind the pseudonyms.

    Raises:
        UserError: the environment holds none, or one that is too short.
    """
    text = os.environ.get(KEY_VARIABLE, "")
    if len(text) < _SHORTEST_KEY:
        raise UserError(
            f"study.yaml: privacy.pseudonymise needs a key: set the environment variable {KEY_VARIABLE} to a secret of"
            f" at least {_SHORTEST_KEY} characters, always the same one for a study."
        )
    return text.encode()


def fingerprint() -> str:
    """Tells keys apart without telling the key: files are read again under another one."""
    return hmac.new(key(), b"fingerprint", hashlib.sha256).hexdigest()


def pseudonymised(sheet: "Sheet", study: "Study") -> "Sheet":
    """The sheet with pseudonyms for its subject ids, also where sample and lesion ids or source texts quote them."""
    from orchestration.exports.spill import changed

    return replace(sheet, table=changed(sheet.table, lambda table: _in_pseudonyms(table, sheet, study, key())))


def _in_pseudonyms(table: "pa.Table", sheet: "Sheet", study: "Study", secret: bytes) -> "pa.Table":
    import pyarrow as pa

    subjects = table["subject_id"].to_pylist()
    known = {subject: _pseudonym(subject, secret) for subject in set(subjects) - {None}}
    quoted = {subject: _quotation(subject) for subject in known}

    def told(text: str | None, subject: str | None) -> str | None:
        if text is None or subject is None or quoted[subject] is None or subject not in text:
            return text
        return quoted[subject].sub(known[subject], text)

    columns = {"subject_id": [known.get(subject) for subject in subjects]}
    for name in _ID_COLUMNS:
        if name in table.column_names:
            columns[name] = [told(text, subject) for text, subject in zip(table[name].to_pylist(), subjects)]
    own = _subject_headings(table, sheet, study)
    columns["_source"] = [
        [(heading, known.get(subject, WITHHELD) if heading in own else told(text, subject)) for heading, text in source]
        for source, subject in zip(table["_source"].to_pylist(), subjects)
    ]
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return table


def _pseudonym(subject: str, secret: bytes) -> str:
    return "P" + hmac.new(secret, subject.encode(), hashlib.sha256).hexdigest()[:24].upper()


def _quotation(subject: str) -> re.Pattern | None:
    """Finds a subject id in another text; None for one so short that it may be any number."""
    is_telling = len(subject) >= 6 or (len(subject) >= 4 and not subject.isdigit())
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(subject)}(?![A-Za-z0-9])") if is_telling else None


def _subject_headings(table: "pa.Table", sheet: "Sheet", study: "Study") -> frozenset[str]:
    """Headings whose text is the subject id or a part of it; a line that could not be divided is one, too."""
    from orchestration.exports.mapping import template_headings

    found = {"(line)", sheet.headings.get("subject_id", ""), *_SUBJECT_HEADINGS.get(sheet.layout, ())}
    source = next((source for source in study.sources if source.name == sheet.source), None)
    if source is not None:
        declared = source.columns.get("subject_id", [])
        found |= {declared} if isinstance(declared, str) else set(declared)
        found |= set(template_headings(source.subject_id or ""))
    folded = {_letters(heading) for heading in found}
    headings = _all_headings(table)
    return frozenset(heading for heading in headings if heading in found or _letters(heading) in folded - {""})


def _all_headings(table: "pa.Table") -> Iterable[str]:
    import pyarrow.compute as pc

    return {heading for chunk in table["_source"].chunks for heading in pc.unique(chunk.keys).to_pylist()}


@lru_cache(maxsize=8)
def _name_headings(headings: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_letters(heading) for heading in headings)


@lru_cache(maxsize=10_000)
def _letters(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading.lower())
    return "".join(letter for letter in plain if letter.isalpha())
