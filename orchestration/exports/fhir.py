"""FHIR R4 laboratory Observations (NDJSON, Bundle, array, single): resources -> rows of lab_results.

Each Observation is validated by the R4B classes of fhir.resources on its own: a bad one sets its row apart, the others
load. What a status or a unit may be is judged by the record's expectations. Resources of other types are counted in
the verdict; patients are looked at for the declared identifier alone. Only the fields of `_KEPT` become source text;
none of them names a person.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestration.exports import Rejected, Sheet
from orchestration.exports.jsontext import parse
from orchestration.exports.messages import NARRATIVE, Rows, code_of, listing, result_and_unit, sortable, specimen
from orchestration.exports.tables import check_bytes

if TYPE_CHECKING:
    from orchestration.study import Study

Resource = dict

_HEADINGS = {
    "subject_id": "subject.reference",
    "analyte": "code.coding",
    "value": "value",
    "unit": "valueQuantity.unit",
    "collected_at": "effectiveDateTime",
    "reported_at": "issued",
    "result_status": "status",
    "specimen": "specimen.display",
    "assay": "method.text",
}
_KEPT = ("id", "status", "effectiveDateTime", "effectiveInstant", "issued", "valueInteger", "valueBoolean")
_QUANTITY = ("value", "comparator", "unit", "system", "code")
_DRAWN = ("effectiveDateTime", "effectiveInstant")
_NO_VALUE_YET = frozenset({"registered", "cancelled", "entered-in-error"})


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read every Observation of a file.

    Raises:
        Rejected: ``too_large``, ``json`` (no valid JSON, or duplicate keys, NaN, Infinity, nested too deeply),
            ``no_results`` (no Observation in it).
    """
    rows = Rows(name, "lab_results", "fhir", _HEADINGS, study)
    source = next((source for source in study.sources if source.name == rows.plan.source), None)
    reader = _Reader(rows, source.subject_authority if source else None)
    for entries in _documents(path, name, study):
        reader.take(entries)
    if not reader.observations:
        what = listing(reader.others) or "no resource"
        raise Rejected("no_results", f"{name}: holds {what}, no Observation. Export the laboratory Observations.")
    left = f"left out: {listing(reader.others)}" if reader.others else ""
    return [rows.sheet(left)]


# --- bytes -> resources --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A resource and where it stands; or why nothing that can be read stands there."""

    place: str
    resource: Resource = field(default_factory=dict)
    address: str = ""  # fullUrl
    owner: str | None = None  # of a contained resource the one around it, by whose id it has a name; blank without
    beside: tuple[Resource, ...] = ()  # what else that one contains
    fault: str | None = None


def _documents(path: Path, name: str, study: "Study") -> Iterator[list[_Entry]]:
    """One Bundle, array or single resource, or the lines of NDJSON one by one: references hold within a document."""
    limit_mb = study.ingest.max_document_mb
    with path.open("rb") as file:
        if not _is_lines(file, limit_mb):
            check_bytes(name, path.stat().st_size, limit_mb, "Export it as NDJSON, which is read line by line.")
            file.seek(0)
            yield _entries(parse(file.read(), name), "")
            return
        file.seek(0)
        for number, line in enumerate(iter(lambda: file.readline((limit_mb << 20) + 2), b""), 1):
            place = f"line {number:,}"
            check_bytes(f"{name}: {place}", len(line), limit_mb)
            if not line.strip():
                continue
            try:
                yield _entries(parse(line, place), place)
            except Rejected as refusal:
                yield [_Entry(place, fault=refusal.message)]


def _is_lines(file: BinaryIO, limit_mb: int) -> bool:
    """Whether the first line is a whole object and another one follows."""
    first = file.readline((limit_mb << 20) + 1).removeprefix(b"\xef\xbb\xbf").strip()
    following = next((line for line in iter(lambda: file.readline(1 << 16), b"") if line.strip()), b"")
    return first.startswith(b"{") and first.endswith(b"}") and following.lstrip().startswith(b"{")


def _entries(document: object, place: str) -> list[_Entry]:
    if isinstance(document, dict) and document.get("resourceType") == "Bundle":
        listed = document.get("entry", [])
        if not isinstance(listed, list):
            return [_Entry(place or "entry", fault="the entries of the Bundle are no list")]
        return [_entry(item, f"{place}, entry {number}".lstrip(", ")) for number, item in enumerate(listed, 1)]
    if isinstance(document, list):
        return [_resource(item, f"entry {number}") for number, item in enumerate(document, 1)]
    return [_resource(document, place or "the file")]


def _entry(item: object, place: str) -> _Entry:
    if not isinstance(item, dict):
        return _Entry(place, fault=f"{place} is no object")
    request = item.get("request")
    if "resource" not in item and isinstance(request, dict) and request.get("method") == "DELETE":
        return _Entry(place, fault=f"{place} deletes a resource: send it with the status entered-in-error")
    return _resource(item.get("resource"), place, str(item.get("fullUrl", "")))


def _resource(item: object, place: str, address: str = "") -> _Entry:
    if not isinstance(item, dict) or not isinstance(item.get("resourceType"), str):
        return _Entry(place, fault=f"{place} holds no resource")
    return _Entry(place, _filled(item), address)


def _filled(item: object) -> object:
    """Without members that are null: where a member may be absent, some senders write null."""
    if isinstance(item, dict):
        return {key: _filled(value) for key, value in item.items() if value is not None}
    return [_filled(value) for value in item] if isinstance(item, list) else item


# --- one resource --------------------------------------------------------------------------------------------------


class _Reader:
    """Turns Observations into rows; keeps count of what else stood there."""

    def __init__(self, rows: Rows, authority: str | None):
        from fhir.resources.R4B.observation import Observation

        self._rows, self._authority, self._validate = rows, authority, Observation.model_validate
        self._named: dict[str, Resource] = {}
        self._within: dict[str, Resource] = {}  # what the resource itself contains
        self._looked_at: dict[int, bool] = {}
        self.observations, self.others = 0, Counter()

    def take(self, entries: list[_Entry]) -> None:
        self._named = {address: entry.resource for entry in entries for address in _addresses(entry)}
        self._looked_at = {}
        for entry in _with_contained(entries):
            kind = entry.resource.get("resourceType")
            if entry.fault:
                self._rows.add({}, [("(entry)", entry.place)], entry.fault)
            elif kind == "Bundle":
                self.take(_entries(entry.resource, entry.place))
            elif kind == "Observation":
                self.observations += 1
                self._observation(entry)
            else:
                self.others[kind[:40] if kind.isalnum() else "unknown"] += 1

    def _observation(self, entry: _Entry) -> None:
        """A row for the value, and one for each component; none for a panel that only names its members."""
        resource = entry.resource
        self._within = {f"#{item.get('id')}": item for item in (*entry.beside, *_contained(resource))}
        if fault := self._fault(resource, entry.place):
            self._rows.add({}, [("(entry)", entry.place)], fault)
            return
        components = resource.get("component", [])
        has_value = any(key.startswith("value") for key in resource)
        if not has_value and not components and "hasMember" in resource:
            self.others["Observation that only groups others"] += 1
            return
        texts = self._common(resource, entry.owner)
        source = [("(entry)", entry.place), *_source(resource)]
        if has_value or not components:
            self._rows.add(texts | self._result(resource), source + _value_source(resource))
        for component in components:
            own = texts | self._result(component | {"status": resource["status"]})
            own["result_id"] = f"{texts['result_id']}#{own['analyte']}"
            self._rows.add(own, source + _codings("component.code", component) + _value_source(component))

    def _fault(self, resource: Resource, place: str) -> str | None:
        """What makes it no R4 Observation, by element and kind of error: the library's own text quotes values."""
        try:
            self._validate(resource)
        except ValueError as error:
            details = error.errors() if hasattr(error, "errors") else []
            where = [f"{_element(item)} ({item['type']})" for item in details[:3]]
            times = any(re.search(r"(DateTime|Instant|issued|start|end) ", item) for item in where)
            hint = "; a time of day needs its offset, as in 2024-02-01T08:30:00+01:00" if times else ""
            return f"{place} is no valid R4 Observation: {', '.join(where) or type(error).__name__}{hint}"
        return None

    def _common(self, resource: Resource, owner: str | None) -> dict[str, str]:
        meta = resource.get("meta", {})
        identifier = next((item.get("value", "") for item in resource.get("identifier", [])), "")
        own = resource.get("id", "") or identifier
        if owner is not None:  # the id of a contained resource means something only there
            own = f"{owner}#{own}" if owner else identifier
        sampled, label = self._specimen(resource.get("specimen", {}))
        return {
            "subject_id": self._subject(resource.get("subject", {})),
            "sample_id": label or identifier or own,
            "result_id": (own if owner else f"Observation/{own}") if own else "",
            "collected_at": self._drawn(resource),
            "reported_at": resource.get("issued", "") or meta.get("lastUpdated", ""),
            "version": " ".join(filter(None, (meta.get("lastUpdated"), sortable(meta.get("versionId", ""))))),
            "result_status": resource["status"],
            "specimen": sampled,
            "laboratory": self._laboratory(resource),
            "assay": _concept_text(resource.get("method", {})),
        }

    def _result(self, element: Resource) -> dict[str, str]:
        value, unit = _value(element)
        status = element["status"]
        if not value and "dataAbsentReason" in element and status not in _NO_VALUE_YET:
            status = "N"
        coded = element.get("code", {})
        codes = [(item.get("code", ""), item.get("system", "")) for item in coded.get("coding", [])]
        codes += [(item.get("display", ""), "") for item in coded.get("coding", [])] + [(coded.get("text", ""), "")]
        return {"analyte": code_of(codes, self._rows), "value": value, "unit": unit, "result_status": status}

    def _drawn(self, resource: Resource) -> str:
        """When the sample was taken: the effective time, of a period its beginning, else the specimen's collection."""
        told = next((resource[key] for key in _DRAWN if key in resource), "")
        collection = self._at(resource.get("specimen", {})).get("collection", {})
        return (
            told
            or resource.get("effectivePeriod", {}).get("start", "")
            or collection.get("collectedDateTime", "")
            or collection.get("collectedPeriod", {}).get("start", "")
        )

    def _at(self, reference: Resource) -> Resource:
        """The resource that a reference names, where this document holds it."""
        target = reference.get("reference", "")
        found = self._within.get(target) or self._named.get(target, {})
        return found if found and self._is_valid(found) else {}

    def _is_valid(self, resource: Resource) -> bool:
        """Of what is only referred to nothing may be taken that is not shaped as the standard says."""
        from fhir.resources.R4B import get_fhir_model_class

        key = id(resource)  # the document is held as long as its entries are read
        if key not in self._looked_at:
            try:
                get_fhir_model_class(resource["resourceType"]).model_validate(resource)
                self._looked_at[key] = True
            except (KeyError, ValueError):
                self._looked_at[key] = False
        return self._looked_at[key]

    def _subject(self, reference: Resource) -> str:
        """The identifier in the declared system; else the id that the reference names, else the first identifier."""
        patient = self._at(reference)
        identifiers = [reference.get("identifier", {}), *patient.get("identifier", [])]
        if self._authority is not None:
            return next((item.get("value", "") for item in identifiers if item.get("system") == self._authority), "")
        target = reference.get("reference", "")
        first = next((item["value"] for item in identifiers if item.get("value")), "")
        if not target or target.startswith(("urn:", "#")):
            return first or patient.get("id", "") or target.removeprefix("urn:uuid:").lstrip("#")
        return re.sub(r"/_history/.*", "", target).rsplit("/", 1)[-1]

    def _specimen(self, reference: Resource) -> tuple[str, str]:
        """(kind of specimen, its number)."""
        resource = self._at(reference)
        kind = resource.get("type", {})
        codes = [item.get("code", "") for item in kind.get("coding", [])]
        text = _concept_text(kind) or reference.get("display", "")
        number = next(
            (
                item["value"]
                for item in (
                    resource.get("accessionIdentifier", {}),
                    *resource.get("identifier", []),
                    reference.get("identifier", {}),
                )
                if item.get("value")
            ),
            "",
        )
        target = reference.get("reference", "")
        known = next((found for code in codes if (found := specimen(code, "")) != code), "")
        return known or specimen("", text), number or (
            "" if target.startswith(("urn:", "#")) else target.rsplit("/", 1)[-1]
        )

    def _laboratory(self, resource: Resource) -> str:
        """The first performer that is an organisation: a performer may also be a person, whom nobody is to read of."""
        for performer in resource.get("performer", []):
            found = self._at(performer)
            target = performer.get("reference", "")
            if found.get("resourceType", performer.get("type")) == "Organization" or "Organization/" in target:
                return performer.get("display") or found.get("name") or target.rsplit("/", 1)[-1]
        return ""


def _contained(resource: Resource) -> tuple[Resource, ...]:
    found = resource.get("contained")
    return tuple(item for item in found if isinstance(item, dict)) if isinstance(found, list) else ()


def _with_contained(entries: list[_Entry]) -> Iterator[_Entry]:
    """The entries, and the Observations that they contain: those of a DiagnosticReport, or the members of a panel."""
    for entry in entries:
        yield entry
        beside = _contained(entry.resource)
        owner = next(iter(_addresses(_Entry("", entry.resource))), "")
        for number, item in enumerate(beside, 1):
            if item.get("resourceType") == "Observation":
                yield _Entry(f"{entry.place}, contained {number}", item, owner=owner, beside=beside)


def _element(item: Resource) -> str:
    """Where the library found an error; an element that the standard does not have may be named anything."""
    parts = item["loc"][:-1] if item["type"] == "extra_forbidden" else item["loc"]
    return ".".join(str(part)[:30] for part in parts) or "resource"


def _addresses(entry: _Entry) -> list[str]:
    kind, own = entry.resource.get("resourceType"), entry.resource.get("id")
    return [address for address in (entry.address, f"{kind}/{own}" if own else "") if address]


def _concept_text(concept: Resource) -> str:
    codings = concept.get("coding", [])
    return concept.get("text", "") or next((item.get("display") or item.get("code", "") for item in codings), "")


def _value(element: Resource) -> tuple[str, str]:
    if "valueQuantity" in element:
        quantity = element["valueQuantity"]
        is_ucum = quantity.get("system", "") == "http://unitsofmeasure.org" and quantity.get("code")
        unit = quantity["code"] if is_ucum else quantity.get("unit", "") or quantity.get("code", "")
        return quantity.get("comparator", "") + quantity.get("value", ""), unit
    if "valueString" in element:
        return result_and_unit(element["valueString"], "")
    if "valueCodeableConcept" in element:
        return result_and_unit(_concept_text(element["valueCodeableConcept"]), "-")[0], ""
    for key in ("valueInteger", "valueBoolean", "valueDateTime", "valueTime"):
        if key in element:
            return str(element[key]), ""
    return (NARRATIVE if any(key.startswith("value") for key in element) else ""), ""


def _source(resource: Resource) -> list[tuple[str, str]]:
    found = [(key, str(resource[key])) for key in _KEPT if key in resource]
    found += [("identifier.value", item["value"]) for item in resource.get("identifier", []) if "value" in item]
    found += [
        (f"meta.{key}", value) for key, value in resource.get("meta", {}).items() if key in ("versionId", "lastUpdated")
    ]
    found += _codings("code", resource)
    for key in ("start", "end"):
        if key in resource.get("effectivePeriod", {}):
            found.append((f"effectivePeriod.{key}", resource["effectivePeriod"][key]))
    found += [
        (f"subject.{key}", resource["subject"][key]) for key in ("reference",) if key in resource.get("subject", {})
    ]
    found += [
        (f"specimen.{key}", resource["specimen"][key])
        for key in ("reference", "display")
        if key in resource.get("specimen", {})
    ]
    if method := _concept_text(resource.get("method", {})):
        found.append(("method.text", method))
    return found


def _codings(where: str, element: Resource) -> list[tuple[str, str]]:
    codings = element.get("code", {}).get("coding", [])
    return [
        (f"{where}.coding[{place}].{key}", item[key])
        for place, item in enumerate(codings)
        for key in ("system", "code")
        if key in item
    ]


def _value_source(element: Resource) -> list[tuple[str, str]]:
    quantity = element.get("valueQuantity", {})
    found = [(f"valueQuantity.{key}", quantity[key]) for key in _QUANTITY if key in quantity]
    value, _ = _value(element)
    if "valueString" in element and value != NARRATIVE:
        found.append(("valueString", element["valueString"]))
    return found
