"""CDISC ODM-XML 1.3 clinical data (an EDC's snapshot): one table an item group, its columns named by item OID.

ODM fixes no record, so study.yaml says which item group becomes which: a source names it under ``sheet`` and its
columns by ItemOID, or by SubjectKey, SiteOID, StudyEventOID, StudyEventName, StudyEventRepeatKey, FormOID,
FormRepeatKey, ItemGroupRepeatKey; the unit of an item stands under `<ItemOID>.unit`. What a form tells once (its date)
stands in the rows of its other item groups, too. Users, sites' staff and audit records are not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError

import pyarrow as pa
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from orchestration.exports import Rejected, Sheet
from orchestration.exports.privacy import names_person
from orchestration.exports.tables import Typed, check_bytes, several

if TYPE_CHECKING:
    from orchestration.study import Study

MAX_DEPTH = 50
_VERSION = "http://www.cdisc.org/ns/odm/v1."
_CONTEXT = {
    "SubjectData": ("SubjectKey",),
    "SiteRef": ("SiteOID",),
    "StudyEventData": ("StudyEventOID", "StudyEventName", "StudyEventRepeatKey"),
    "FormData": ("FormOID", "FormRepeatKey"),
    "ItemGroupData": ("ItemGroupRepeatKey",),
}
_COLUMNS = tuple(column for columns in _CONTEXT.values() for column in columns)
Row = dict[str, str]


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read the item groups that a source declares; the others are named in the note.

    Raises:
        Rejected: as `tables`, or what `tables.several` raises.
    """
    return several(tables(path, name, study), name, study)


def tables(path: Path, name: str, study: "Study") -> list[Typed]:
    """Every item group, before anybody knows what it means.

    Raises:
        Rejected: ``too_large``, ``xml`` (no valid XML, or with a DTD), ``version`` (not ODM 1.x), ``transactional``
            (changes instead of a snapshot), ``no_results`` (no clinical data).
    """
    check_bytes(name, path.stat().st_size, study.ingest.max_document_mb, "Export fewer subjects or forms at a time.")
    groups: dict[str, list[Row]] = {}
    try:
        for group, row in _Snapshot(name, study).rows(path):
            groups.setdefault(group, []).append(row)
    except DefusedXmlException:
        raise Rejected("xml", f"{name}: it has a DTD, which is never read. Export it without one.") from None
    except (LookupError, ValueError):  # of the XML declaration
        raise Rejected("xml", f"{name}: line 1: its encoding is not read. Export it as UTF-8.") from None
    except ParseError as error:
        line, column = error.position
        raise Rejected(
            "xml", f"{name}: line {line:,}, column {column}: no valid XML. Export it again, whole."
        ) from None
    if not groups:
        raise Rejected("no_results", f"{name}: it holds no clinical data (ItemGroupData). Export the data, too.")
    return [_table(group, rows) for group, rows in groups.items()]


def _table(group: str, rows: list[Row]) -> Typed:
    items = dict.fromkeys(heading for row in rows for heading in row)
    headings = [*_COLUMNS, *(heading for heading in items if heading not in _COLUMNS)]
    columns = [pa.array([row.get(heading, "") for row in rows], pa.string()) for heading in headings]
    table = pa.table(columns, names=[str(place) for place in range(len(headings))])
    return Typed(headings, table, f"item group {group}", group)


@dataclass
class _Form:
    """The item groups of one form of one visit, in order: (ItemGroupOID, its items)."""

    groups: list[tuple[str, Row]] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """A row each; what only one group of the form tells is told to the others."""
        counts: dict[str, int] = {}
        for group, _ in self.groups:
            counts[group] = counts.get(group, 0) + 1
        once = [(group, items) for group, items in self.groups if counts[group] == 1]
        for group, items in self.groups:
            shared: Row = {}
            for other, told in once:
                if other != group:
                    shared |= {heading: text for heading, text in told.items() if heading not in _COLUMNS}
            yield group, shared | items


class _Snapshot:
    """Walks the document once; nothing that was left behind stays in memory."""

    def __init__(self, name: str, study: "Study"):
        self._name, self._study = name, study
        self._events: dict[str, str] = {}  # StudyEventOID -> name
        self._units: dict[str, str] = {}  # OID -> symbol
        self._hidden: set[str] = set()  # items that ask for a person's name
        self._context: Row = {}
        self._items: Row = {}
        self._form = _Form()

    def rows(self, path: Path) -> Iterator[tuple[str, Row]]:
        stack: list[Element] = []
        for event, element in iterparse(path, events=("start", "end"), forbid_dtd=True):
            if event == "start":
                stack.append(element)
                if len(stack) > MAX_DEPTH:
                    raise Rejected("xml", f"{self._name}: nested more than {MAX_DEPTH} deep. Export it again.")
                self._begin(element, len(stack))
                continue
            stack.pop()
            yield from self._end(element, stack)
            if stack:
                stack[-1].remove(element)

    def _begin(self, element: Element, depth: int) -> None:
        kind = _kind(element)
        if depth == 1:
            self._check_root(element)
        if kind == "StudyEventDef":
            self._events[element.get("OID", "")] = element.get("Name", "")
        elif kind == "ItemDef":
            spellings = (element.get(key, "") for key in ("OID", "Name", "SDSVarName", "SASFieldName"))
            if any(names_person(text.rpartition(".")[2] or text, self._study) for text in spellings):
                self._hidden.add(element.get("OID", ""))
        elif kind in _CONTEXT:
            told = {column: element.get(column, "") for column in _CONTEXT[kind]}
            if kind == "SiteRef":
                told = {"SiteOID": element.get("LocationOID", "")}
            elif kind == "StudyEventData":
                told["StudyEventName"] = self._events.get(told["StudyEventOID"], "")
            if kind == "SubjectData":
                self._context = {}
            self._context |= told
            if kind == "FormData":
                self._form = _Form()
            elif kind == "ItemGroupData":
                self._items = {}

    def _check_root(self, root: Element) -> None:
        namespace = root.tag.partition("}")[0].lstrip("{")
        if (
            _kind(root) != "ODM"
            or (namespace and not namespace.startswith(_VERSION))
            or not root.get("ODMVersion", "1").startswith("1")
        ):
            raise Rejected("version", f"{self._name}: this is not ODM 1.3. Export the snapshot as ODM 1.3.")
        if root.get("FileType", "Snapshot") != "Snapshot":
            raise Rejected("transactional", f"{self._name}: it holds changes, not a snapshot. Export a snapshot.")

    def _end(self, element: Element, parents: list[Element]) -> Iterator[tuple[str, Row]]:
        kind, text = _kind(element), (element.text or "").strip()
        above = [_kind(parent) for parent in parents]
        if kind == "TranslatedText" and above[-2:] == ["MeasurementUnit", "Symbol"]:
            self._units.setdefault(parents[-2].get("OID", ""), text)
        elif kind == "TranslatedText" and above[-2:] == ["ItemDef", "Question"] and names_person(text, self._study):
            self._hidden.add(parents[-2].get("OID", ""))
        elif kind == "MeasurementUnitRef" and above[-1:] and above[-1].startswith("ItemData"):
            unit = element.get("MeasurementUnitOID", "")
            self._items[f"{parents[-1].get('ItemOID', '')}.unit"] = self._units.get(unit, unit)
        elif kind.startswith("ItemData") and "ItemGroupData" in above:
            if (oid := element.get("ItemOID", "")) not in self._hidden:
                self._items[oid] = element.get("Value", "") if kind == "ItemData" else text
        elif kind == "ItemGroupData":
            self._form.groups.append((element.get("ItemGroupOID", ""), dict(self._context) | self._items))
        elif kind == "FormData":
            yield from self._form.rows()
            self._form = _Form()


def _kind(element: Element) -> str:
    return element.tag.rpartition("}")[2]
