"""Which record a table holds and which plan reads it: the sources declared in study.yaml, then `sdtm`, then `site`.

The headings decide; folder and file name only choose among what the headings allow. Turning text into canonical
text is `mapping`'s.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol, TypeVar

from orchestration.exports import Rejected
from orchestration.exports.dates import DateStyle
from orchestration.exports.mapping import Plan, fold_heading, template_headings
from orchestration.exports.records import RECORDS, Record
from orchestration.exports.sdtm import domains

if TYPE_CHECKING:
    from orchestration.study import Source, Study

_BUILT_IN_DELIMITERS = (",", "\t")


class Headed(Protocol):
    """What is known of a table before its rows are read."""

    headings: list[str]

    def sample(self, heading: str) -> list[str]:
        """The column's filled texts in the first rows."""


Table = TypeVar("Table", bound=Headed)


@dataclass(frozen=True)
class Misfit:
    """Why a table is not what a layout expects. Of several the one with most headings in common explains best."""

    layout: str
    record: str
    missing: tuple[str, ...]
    in_common: int


def choose(name: str, open_as: Callable[[str, str], Table], study: "Study") -> tuple[Table, Plan]:
    """The table, opened in the dialect that fits, and the plan that reads it.

    Args:
        name: the file's path below the landing folder.
        open_as: opens the table by delimiter and encoding (formats without such a choice ignore them).

    Raises:
        Rejected: ``header_mismatch``, ``duplicate_header``, ``blank_header``, ``unknown_domain``, ``declaration``.
    """
    misfits: list[Misfit] = []
    refusals: list[Rejected] = []
    attempts = [(source, source.delimiter, source.encoding) for source in declared(name, study)]
    attempts += [(None, delimiter, "utf-8") for delimiter in _BUILT_IN_DELIMITERS]
    tables: list[Table] = []
    for source, delimiter, encoding in attempts:
        try:
            table = open_as(delimiter, encoding)
        except Rejected as refusal:
            refusals.append(refusal)
            continue
        tables.append(table)
        for outcome in _outcomes(name, table, source, study):
            if isinstance(outcome, Plan):
                _check_headings(name, table.headings)
                return table, outcome
            misfits.append(outcome)
    if not tables:
        raise refusals[0]
    raise _mismatch(name, max(tables, key=lambda table: len(table.headings)).headings, misfits)


def declared(name: str, study: "Study") -> list["Source"]:
    """Sources of study.yaml whose folder and pattern fit the file's path. A pattern without `/` is for the file's name alone."""
    folder, _, below = name.partition("/")
    if not below:
        folder, below = "", name

    def fits(source: "Source") -> bool:
        path = below if "/" in source.match else PurePosixPath(below).name
        return source.folder in (None, folder) and fnmatchcase(path.lower(), source.match.lower())

    return [source for source in study.sources if fits(source)]


def exported_on(name: str, plan: Plan, study: "Study") -> str | None:
    """ISO date of the export, where its source says how file names carry it."""
    pattern = next((source.exported_on for source in study.sources if source.name == plan.source), None)
    found = pattern and re.search(pattern, PurePosixPath(name).name)
    digits = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", found[1] or "") if found else None
    return "-".join(digits.groups()) if digits else None


def _outcomes(name: str, table: Headed, source: "Source | None", study: "Study") -> Iterable[Plan | Misfit]:
    if source is not None and source.record is not None:
        yield _by_source(table, source, study)
    if source is None or source.layout == "sdtm":
        yield _by_sdtm(name, table, source, study)
    if source is None or source.layout == "site":
        yield _by_site(name, table, source, study)


def _by_source(table: Headed, source: "Source", study: "Study") -> Plan | Misfit:
    record = RECORDS[source.record]
    columns = _declared_columns(source, record)
    groups = [columns[column] for column in record.required if column in columns and column not in source.constants]
    groups += [(heading,) for heading in template_headings(source.subject_id or "")]
    missing = _missing(table, groups)
    if missing:
        return Misfit(f"source {source.name}", record.name, missing, _in_common(table, columns.values()))
    return _plan(record, "declared", columns, source, study)


def _by_sdtm(name: str, table: Headed, source: "Source | None", study: "Study") -> Plan | Misfit:
    known = domains({heading.strip().upper() for heading in table.headings})
    groups = {code: _sdtm_needs(domain) for code, domain in known.items()}
    code = _domain_code(name, table, groups)
    if code is None:
        code = max(known, key=lambda item: _in_common(table, known[item].columns.values()))
    elif code not in known and not _missing(table, [("USUBJID",)]):
        raise Rejected("unknown_domain", f"{name}: SDTM domain {code} holds nothing that the study reads "
                                         f"({', '.join(known)}). Leave it out, or declare it under sources: in study.yaml.")
    elif code not in known:
        return Misfit("sdtm", code, ("USUBJID",), 0)
    domain = known[code]
    record = RECORDS[domain.record]
    missing = _missing(table, groups[code])
    if missing or (code == "DM" and _domain_code(name, table, groups) is None):
        return Misfit("sdtm", record.name, missing or ("DOMAIN",), _in_common(table, domain.columns.values()))
    return _plan(record, "sdtm", domain.columns, source, study, domain=domain.told_by or ("DOMAIN", code),
                 step=domain.step, finish=domain.finish)


def _sdtm_needs(domain) -> list[tuple[str, ...]]:
    required = [column for column in RECORDS[domain.record].required if column not in domain.dispensable]
    return [*(domain.columns[column] for column in required), *domain.needs]


def _domain_code(name: str, table: Headed, groups: dict[str, list[tuple[str, ...]]]) -> str | None:
    """By file name and DOMAIN column; where they differ by the column; without both by headings that only one domain has."""
    stem = PurePosixPath(name).stem.lower()
    named = next((code for code in sorted(groups, key=len, reverse=True) if stem.startswith(code.lower())), None)
    told = Counter(text.upper() for text in table.sample("DOMAIN"))
    told += Counter("SUPP" + text.upper() for text in table.sample("RDOMAIN"))
    if named and (not told or named in told):
        return named
    if told:
        return told.most_common(1)[0][0]
    complete = [code for code, needed in groups.items() if len(needed) > 1 and not _missing(table, needed)]
    return complete[0] if len(complete) == 1 else None
