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
from orchestration.exports.sdtm import Domain, Headings, domains

if TYPE_CHECKING:
    from orchestration.study import Source, Study

_BUILT_IN_DELIMITERS = (",", "\t")
_TOLD_BY_NAME_ONLY = ("DM", "SUPPDM")  # their required variables stand in other domains, too


class Headed(Protocol):
    """What is known of a table before its rows are read."""

    headings: list[str]

    @property
    def names_columns(self) -> bool:
        """Whether the format itself names the columns; else the first line may be a row of data."""

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


@dataclass(frozen=True)
class Dialect:
    """How a source says that its tables are written; each format takes of it what concerns it."""

    delimiter: str = ","
    encoding: str = "utf-8"
    heading_row: int = 1


class NoLayout(Rejected):
    """No layout fits. ``in_common``: how many headings the nearest one shares with the table."""

    def __init__(self, message: str, in_common: int):
        super().__init__("header_mismatch", message)
        self.in_common = in_common


def choose(name: str, open_as: Callable[[Dialect], Table], study: "Study", part: str = "") -> tuple[Table, Plan]:
    """The table, opened in the dialect that fits, and the plan that reads it.

    Args:
        name: the file's path below the landing folder.
        open_as: opens the table.
        part: title of the table in a file that may hold several; a source that names another ``sheet`` is not asked.

    Raises:
        Rejected: ``header_mismatch``, ``duplicate_header``, ``blank_header``, ``unknown_domain``, ``declaration``.
    """
    titled = [source for source in declared(name, study) if source.sheet in (None, part)]
    misfits: list[Misfit] = []
    refusals: list[Rejected] = []
    dialects = [(source, Dialect(source.delimiter, source.encoding, source.heading_row)) for source in titled]
    attempts = [(source, dialect) for source, dialect in dialects if is_at_home(source, name)]
    attempts += [(None, Dialect(delimiter)) for delimiter in _BUILT_IN_DELIMITERS]
    attempts += [(source, dialect) for source, dialect in dialects if not is_at_home(source, name)]
    stems = tuple(stem for stem in (part, PurePosixPath(name).stem) if stem)
    tables: list[Table] = []
    for source, dialect in attempts:
        try:
            table = open_as(dialect)
        except Rejected as refusal:
            refusals.append(refusal)
            continue
        tables.append(table)
        for outcome in _outcomes(name, stems, table, source, study):
            if isinstance(outcome, Plan):
                _check_headings(name, table.headings)
                return table, outcome
            misfits.append(outcome)
    if refusals and not any(misfit.in_common for misfit in misfits):
        raise refusals[0]
    raise _mismatch(name, max(tables, key=lambda table: len(table.headings)), misfits)


def message_plan(name: str, record: Record, layout: str, study: "Study") -> Plan:
    """The plan for messages, which bring their canonical columns: the first source of that layout, or none."""
    source = next((source for source in declared(name, study) if source.layout == layout), None)
    return _plan(record, layout, {column.name: (column.name,) for column in record.columns}, source, study)


def declared(name: str, study: "Study") -> list["Source"]:
    """Sources of study.yaml whose pattern fits the path, those of the file's folder first.

    Without `/` a pattern is for the file's name. The folder is a default: the sources of another one are asked last, so
    that a file in the wrong folder is still read as what it is.
    """
    below = name.partition("/")[2] or name

    def fits(source: "Source") -> bool:
        path = below if "/" in source.match else PurePosixPath(below).name
        return fnmatchcase(path.lower(), source.match.lower())

    return sorted(filter(fits, study.sources), key=lambda source: not is_at_home(source, name))


def sheets(name: str, study: "Study") -> set[str]:
    """Titles that sources of the file's folder name."""
    return {source.sheet for source in declared(name, study) if source.sheet and is_at_home(source, name)}


def is_at_home(source: "Source", name: str) -> bool:
    """Whether a source is for the file's folder; a file outside of the landing folder may be dropped into any."""
    folder, _, below = name.partition("/")
    return source.folder is None or not below or source.folder == folder


def exported_on(name: str, plan: Plan, study: "Study") -> str | None:
    """ISO date of the export, where its source says how file names carry it."""
    pattern = next((source.exported_on for source in study.sources if source.name == plan.source), None)
    found = pattern and re.search(pattern, PurePosixPath(name).name)
    digits = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", found[1] or "") if found else None
    return "-".join(digits.groups()) if digits else None


def _outcomes(
    name: str, stems: tuple[str, ...], table: Headed, source: "Source | None", study: "Study"
) -> Iterable[Plan | Misfit]:
    """``stems``: what the table is called, the nearest name first."""
    if source is not None and source.record is not None:
        yield _by_source(table, source, study)
    if source is None or source.layout == "sdtm":
        yield _by_sdtm(name, stems, table, source, study)
    if source is None or source.layout == "site":
        yield _by_site(stems, table, source, study)


def _by_source(table: Headed, source: "Source", study: "Study") -> Plan | Misfit:
    record = RECORDS[source.record]
    columns = _declared_columns(source, record)
    groups = [columns[column] for column in record.required if column in columns and column not in source.constants]
    groups += [(heading,) for heading in template_headings(source.subject_id or "")]
    missing = _missing(table, groups)
    if missing:
        return Misfit(f"source {source.name}", record.name, missing, _in_common(table, columns.values()))
    return _plan(record, "declared", columns, source, study)


def _by_sdtm(
    name: str, stems: tuple[str, ...], table: Headed, source: "Source | None", study: "Study"
) -> Plan | Misfit:
    known = domains({heading.strip().upper() for heading in table.headings})
    needs = {code: _needs(domain) for code, domain in known.items()}
    code = _domain_code(stems, table, needs)
    if code and code not in known and not _missing(table, [("USUBJID",)]):
        raise Rejected(
            "unknown_domain",
            (
                f"{name}: SDTM domain {code[:20]!r} holds nothing that the study reads ({', '.join(known)}). "
                "Leave it out, or declare it under sources: in study.yaml."
            ),
        )
    told = code if code in known else None
    domain = known[told or max(known, key=lambda item: _in_common(table, known[item].columns.values()))]
    missing = _missing(table, _needs(domain))
    if told is None or missing:
        return Misfit("sdtm", domain.record, missing or ("DOMAIN",), _in_common(table, domain.columns.values()))
    return _plan(
        RECORDS[domain.record],
        "sdtm",
        domain.columns,
        source,
        study,
        domain=domain.told_by or ("DOMAIN", code),
        step=domain.step,
        finish=domain.finish,
    )


def _needs(domain: Domain) -> list[Headings]:
    required = [column for column in RECORDS[domain.record].required if column not in domain.dispensable]
    return [*(domain.columns[column] for column in required), *domain.needs]


def _domain_code(stems: tuple[str, ...], table: Headed, needs: dict[str, list[Headings]]) -> str | None:
    """By the DOMAIN column and the table's name; where they differ by the column; without both by the headings."""
    longest_first = sorted(needs, key=len, reverse=True)
    named = next((code for stem in stems for code in longest_first if stem.lower().startswith(code.lower())), None)
    told = Counter(text.upper() for text in table.sample("DOMAIN"))
    told += Counter("SUPP" + text.upper() for text in table.sample("RDOMAIN"))
    if told and named not in told:
        return told.most_common(1)[0][0]
    if named and not _missing(table, needs[named]):
        return named
    own = [code for code in needs if code not in _TOLD_BY_NAME_ONLY and not _missing(table, needs[code])]
    return own[0] if len(own) == 1 else named


def _by_site(stems: tuple[str, ...], table: Headed, source: "Source | None", study: "Study") -> Plan | Misfit:
    candidates = {record: _site_columns(record, source) for record in RECORDS.values()}
    given = set(source.constants) if source else set()
    missing = {
        record: _missing(table, [columns[column] for column in record.required if column not in given])
        for record, columns in candidates.items()
    }
    in_common = {record: _in_common(table, columns.values()) for record, columns in candidates.items()}
    named = (record for stem in stems for record in candidates if _is_named(fold_heading(stem), record))
    record = next(named, None)
    if record is None:

        def nearness(record: Record) -> tuple[bool, int, int]:
            told = record.name != "subjects" or 2 <= in_common[record] >= len(table.headings) / 2
            return told and not missing[record], in_common[record], len(record.required)

        record = max(candidates, key=nearness)
        if not nearness(record)[0]:
            lacks = missing[record] or ("a file name that says the record",)
            return Misfit("site", record.name, lacks, in_common[record])
    if missing[record]:
        return Misfit("site", record.name, missing[record], in_common[record])
    return _plan(record, "site", candidates[record], source, study)


def _is_named(stem: str, record: Record) -> bool:
    """The file's name begins with the record's name, or with its domain code standing alone (`lb_2026`, not `lbx`)."""
    return stem.startswith(record.name) or re.match(rf"{record.domain.lower()}(?![a-z])", stem) is not None


def _site_columns(record: Record, source: "Source | None") -> dict[str, Headings]:
    columns = {column.name: (column.name,) for column in record.columns}
    return columns | (_declared_columns(source, record) if source else {})


def _declared_columns(source: "Source", record: Record) -> dict[str, Headings]:
    columns = {name: (found,) if isinstance(found, str) else tuple(found) for name, found in source.columns.items()}
    if source.subject_id:
        columns["subject_id"] = tuple(template_headings(source.subject_id))
    return {column.name: columns[column.name] for column in record.columns if column.name in columns}


def _plan(
    record: Record, layout: str, columns: dict[str, Headings], source: "Source | None", study: "Study", **steps
) -> Plan:
    """The layout's columns read as the source declares; a table without a source is read as a source without wishes."""
    if source is None:
        dates = DateStyle.declared("iso8601", None, study.study.timezone)
        return Plan(record, layout, layout, columns, dates, **steps)
    try:
        dates = DateStyle.declared(source.date_format, source.datetime_format, source.timezone or study.study.timezone)
    except ValueError as error:
        raise Rejected("declaration", f"study.yaml: sources, {source.name}: {error}.") from None
    columns = {**columns, **_declared_columns(source, record)}
    return Plan(
        record,
        source.name,
        layout,
        columns,
        dates,
        source.constants,
        source.codes,
        source.units,
        source.subject_id,
        source.decimal,
        frozenset(source.missing),
        **steps,
    )


def _missing(table: Headed, groups: Iterable[Headings]) -> tuple[str, ...]:
    """Of each group of headings one must be there."""
    present = {fold_heading(heading) for heading in table.headings}
    return tuple(" or ".join(group) for group in groups if not present & {fold_heading(heading) for heading in group})


def _in_common(table: Headed, groups: Iterable[Headings]) -> int:
    wanted = {fold_heading(heading) for group in groups for heading in group}
    return sum(fold_heading(heading) in wanted for heading in table.headings)


def _check_headings(name: str, headings: list[str]) -> None:
    """Columns are found by heading, so each needs one of its own."""
    if "" in (heading.strip() for heading in headings):
        place = [heading.strip() for heading in headings].index("") + 1
        raise Rejected("blank_header", f"{name}: line 1: column {place} has no heading. Name it, or leave it out.")
    folded = [fold_heading(heading) for heading in headings]
    twice = next((heading for heading, fold in zip(headings, folded) if folded.count(fold) > 1), None)
    if twice is not None:
        raise Rejected(
            "duplicate_header", (f"{name}: line 1: the heading {twice!r} stands more than once. Rename one of them.")
        )


def _mismatch(name: str, table: Headed, misfits: list[Misfit]) -> Rejected:
    nearest = max(misfits, key=lambda misfit: misfit.in_common)  # of equals the first: declared sources stand before
    lacks = f"nearest is {nearest.layout} for {nearest.record}, which lacks {', '.join(nearest.missing)}"
    if not nearest.in_common and nearest.layout in ("sdtm", "site"):
        lacks = "no heading is known, sdtm needs USUBJID and site subject_id"
    return NoLayout(
        f"{name}: {'' if table.names_columns else 'line 1: '}no layout fits: {lacks};"
        f" {_found(table, nearest.in_common)}. Rename the columns, or declare"
        " the export under sources: in study.yaml (sher2 layout FILE proposes an entry).",
        nearest.in_common,
    )


def _found(table: Headed, in_common: int) -> str:
    """What stands in the first line; not when it may be a row of data or a title, since messages go to logs."""
    headings = table.headings
    if len(headings) == 1 and (mark := next((mark for mark in ";|" if mark in headings[0]), None)):
        return f"found one column; delimiter {mark!r} must be declared"
    is_certain = table.names_columns or in_common > 0
    if is_certain and all(re.fullmatch(r"[^\W\d][^@]{0,60}", heading.strip()) for heading in headings):
        shown = ", ".join(heading.strip() for heading in headings[:20])
        return f"found {shown}" + (f" and {len(headings) - 20} more" if len(headings) > 20 else "")
    return f"found {len(headings)} cells that do not look like headings (is the heading line missing or not the first?)"
