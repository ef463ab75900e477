r"""HL7 v2 result messages (ORU^R01), one or a batch: bytes -> a row of lab_results for each OBX.

Fields are split here, not by python-hl7: parsing every field of every segment costs 0.28 ms a message, these few
cuts 0.02 ms, and its way of unescaping writes values to the log. The tests hold both to the same fields. Files are
read message by message, so that a batch may be larger than memory.

Only the fields of `_KEPT` become source text; none of them names a person.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestration.exports import Rejected, Sheet
from orchestration.exports.messages import NARRATIVE, Rows, code_of, listing, result_and_unit, sortable, specimen

if TYPE_CHECKING:
    from orchestration.study import Source, Study

Segment = list[str]

_BLOCK_BYTES = 1 << 20
_ENDS = re.compile(rb"[\r\n\x0b\x1c]+")
_SEGMENT = re.compile(rb"[A-Z][A-Z0-9]{2}")
_ENVELOPE = (b"FHS", b"BHS", b"BTS", b"FTS")
_KEPT = {
    "MSH": (3, 4, 7, 9, 10, 11, 12),
    "OBR": (2, 3, 4, 7, 15, 22, 25),
    "SPM": (2, 4, 17),
    "OBX": (1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 17, 19, 23),
}
_HEADINGS = {
    "subject_id": "PID-3",
    "analyte": "OBX-3",
    "value": "OBX-5",
    "unit": "OBX-6",
    "collected_at": "OBR-7",
    "reported_at": "MSH-7",
    "result_status": "OBX-11",
    "assay": "OBX-17",
}
_CHARACTER_SETS = {"": "utf-8", "ASCII": "ascii", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8", "UTF-8": "utf-8"}
_CHARACTER_SETS |= {f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)}
_CHARACTER_SETS |= {"ISO IR87": "iso2022_jp", "GB 18030-2000": "gb18030", "KS X 1001": "euc_kr", "BIG-5": "big5"}
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(\.\d{1,9})?([+-]\d{4})?")
_PLAIN_TYPES = frozenset({"NM", "SN", "ST", "TX", "FT", "NA", ""})


def read(path: Path, name: str, study: "Study") -> list[Sheet]:
    """Read every message of a file.

    A message that cannot be read (of another type, without an OBX, in another character set) sets its own rows apart.

    Raises:
        Rejected: ``too_large``, ``no_results`` (no message holds an OBX), ``record_count`` (a trailer counts
            otherwise), ``truncated`` (a trailer is missing), ``structure``.
    """
    rows = Rows(name, "lab_results", "hl7v2", _HEADINGS, study)
    source = next((source for source in study.sources if source.name == rows.plan.source), None)
    types, trainings, results, unread = Counter(), Counter(), 0, ""
    with path.open("rb") as file:
        for number, raw in enumerate(_messages(file, name, study), 1):
            message = _Message.opened(raw, number, source)
            types[message.kind[:20]] += 1
            if message.mode in ("T", "D"):
                trainings[f"of MSH-11 {message.mode} (no production)"] += 1
            if message.fault is None:
                results += _add_results(message, rows)
            else:
                unread = unread or (message.fault if message.kind == "?" else "")
                for _ in range(max(1, message.results)):
                    rows.add({}, message.source, message.fault)
    if not results:
        raise _no_results(name, types, unread)
    return [rows.sheet(f"messages {listing(trainings)}" if trainings else "")]


def _no_results(name: str, types: Counter, unread: str) -> Rejected:
    """``unread``: why the first message could not be opened at all."""
    if unread:
        return Rejected("no_results", f"{name}: {unread}.")
    if any(kind in ("ORU", "ORU^R01") for kind in types):
        what = "no message holds a result that can be read (OBX)"
        mend = "Have the laboratory send its results again, whole, with an end of line after each segment"
    else:
        what = f"holds {listing(types)}, no ORU^R01"
        mend = "Have the laboratory send results as ORU^R01; other messages hold nothing that the study reads"
    return Rejected("no_results", f"{name}: {what}. {mend}.")


# --- bytes -> messages ---------------------------------------------------------------------------------------------


def _messages(file: BinaryIO, name: str, study: "Study") -> Iterator[list[bytes]]:
    """The segments of each message; the envelopes are checked and left out."""
    message: list[bytes] = []
    size, envelope = 0, _Envelope(name)
    most_bytes, most_segments = study.ingest.max_message_mb << 20, study.ingest.max_message_segments
    for segment in _segments(file, name, study):
        kind = segment[:3]
        if kind == b"MSH" or kind in _ENVELOPE:
            if message:
                yield message
            message, size = [], 0
            if kind == b"MSH":
                envelope.messages += 1
            else:
                envelope.meet(kind.decode(), segment)
                continue
        elif not message:
            raise Rejected("structure", f"{name}: text stands outside of any message. Export it again, whole.")
        size += len(segment)
        if size > most_bytes or len(message) >= most_segments:
            raise _too_large(name, study)
        separator = message[0][3:4] if message else segment[3:4]
        if _SEGMENT.match(segment) and segment[3:4] in (separator, b""):
            message.append(segment)
        else:  # a field with line breaks
            message[-1] += b"\n" + segment
    if message:
        yield message
    envelope.close()


def _too_large(name: str, study: "Study") -> Rejected:
    return Rejected(
        "too_large",
        f"{name}: a message is larger than ingest.max_message_mb ({study.ingest.max_message_mb}) or"
        f" ingest.max_message_segments ({study.ingest.max_message_segments:,}) of study.yaml allows."
        " Have its results sent as several messages, or raise the limit.",
    )


def _segments(file: BinaryIO, name: str, study: "Study") -> Iterator[bytes]:
    """Lines with CR, LF or CRLF at their end, or the frame of the lower layer protocol (0x0B, 0x1C)."""
    rest = file.read(3).removeprefix(b"\xef\xbb\xbf")
    while block := file.read(_BLOCK_BYTES):
        *lines, rest = _ENDS.split(rest + block)
        yield from (line for line in lines if line.strip())
        if len(rest) > study.ingest.max_message_mb << 20:
            raise _too_large(name, study)
    if rest.strip():
        yield rest


@dataclass
class _Envelope:
    """File and batch headers with their trailers, which count what stands between."""

    name: str
    messages: int = 0  # since the batch began
    batches: int = 0
    opened: list[str] = field(default_factory=list)

    def meet(self, kind: str, segment: bytes) -> None:
        if kind in ("FHS", "BHS"):
            self.opened.append(kind)
            if kind == "BHS":
                self.messages = 0
                self.batches += 1
            return
        header = kind[0] + "HS"
        if header in self.opened:
            while self.opened.pop() != header:
                pass
        allowed = {self.messages} if kind == "BTS" else {self.batches} if self.batches else {1, self.messages}
        counted = segment.split(segment[3:4])[1].strip() if len(segment) > 3 else b""
        if counted.isdigit() and int(counted[:9]) not in allowed:
            what = "messages" if kind == "BTS" else "batches"
            raise Rejected(
                "record_count",
                f"{self.name}: {kind}-1 counts {int(counted[:9])} {what}, {min(allowed)} are there."
                " The file is not whole: deliver it again.",
            )

    def close(self) -> None:
        if self.opened:
            kind = self.opened[-1]
            raise Rejected(
                "truncated",
                f"{self.name}: {kind} has no {kind[0]}TS: the end of the file is missing. Deliver it again, whole.",
            )


# --- one message ---------------------------------------------------------------------------------------------------


@dataclass
class _Message:
    """The segments of one message as text, with its separators and what its header says."""

    number: int
    segments: list[Segment]
    results: int  # OBX segments
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    kind: str = "?"
    mode: str = ""
    fault: str | None = None
    zone: str = ""
    authority: str | None = None
    source: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def opened(cls, raw: list[bytes], number: int, source: "Source | None") -> "_Message":
        place = [("(message)", str(number))]
        results = sum(segment[:3] == b"OBX" for segment in raw)
        no_separators = f"message {number}: MSH-2 names no separators (MSH|^~\\&|): have it sent again, whole"
        if not (separator := raw[0][3:4].decode("latin-1")):
            return cls(number, [], results, fault=no_separators, source=place)
        character_set = _character_set(raw[0])
        encoding = _CHARACTER_SETS.get(character_set, "ascii") if character_set or source is None else source.encoding
        try:
            text = b"\r".join(raw).decode(encoding)
        except UnicodeDecodeError:
            fault = (
                f"message {number} is not {encoding.upper()} text (MSH-18 says {character_set or 'nothing'}):"
                " have it sent as UNICODE UTF-8, or declare the encoding of the source"
            )
            return cls(number, [], results, fault=fault, source=place)
        segments = [line.split(separator) for line in text.split("\r")]
        msh = segments[0]
        marks = _field(msh, 1).replace("\\\\", "\\")[:4]  # doubled by a sender that escapes its own text
        if len(marks) < 2 or len(set(marks)) < len(marks):
            return cls(number, [], results, fault=no_separators, source=place)
        message = cls(number, segments, results, *(marks + "^~\\&"[len(marks) :]), source=place)
        message.authority = source.subject_authority if source else None
        parts = _field(msh, 8).split(message.component)
        message.kind = "^".join(parts[:2]) or "no message type"
        message.mode = _field(msh, 10).split(message.component)[0]
        sent = _MOMENT.match(_field(msh, 6))
        message.zone = (sent and sent[8]) or ""
        message.source = place + message._kept("MSH", msh)
        if parts[0] != "ORU" or (len(parts) > 1 and parts[1] not in ("", "R01")):
            message.fault = (
                f"message {number} is {message.kind[:20]}, no ORU^R01: it holds no results that the study reads"
            )
        elif not results:
            message.fault = f"message {number} holds no OBX: have its results sent again"
        return message

    def part(self, text: str, place: int) -> str:
        """A component, 1-based, of a field; without its subcomponents and escapes."""
        parts = text.split(self.component)
        return self.plain(parts[place - 1].split(self.subcomponent)[0]) if place <= len(parts) else ""

    def plain(self, text: str) -> str:
        """Escape sequences as what they stand for; formatting and what is not known as a blank."""
        if self.escape not in text:
            return "" if text == '""' else text
        marks = {"F": "|", "S": self.component, "T": self.subcomponent, "R": self.repetition, "E": self.escape}

        def meaning(found: re.Match) -> str:
            if found[1] in marks:
                return marks[found[1]]
            if re.fullmatch("X(?:[0-9A-Fa-f]{2})+", found[1]):
                return bytes.fromhex(found[1][1:]).decode("latin-1")
            return " "

        mark = re.escape(self.escape)
        return re.sub(f"{mark}([^{mark}]*){mark}", meaning, text)

    def moment(self, text: str) -> str:
        """A time stamp in ISO 8601, as precise as it is; the offset of MSH-7 holds where none is written."""
        return _iso(text.split(self.component, 1)[0].strip(), self.zone)

    def _kept(self, kind: str, segment: Segment) -> list[tuple[str, str]]:
        shift = 1 if kind == "MSH" else 0
        return [(f"{kind}-{place}", segment[place - shift]) for place in _KEPT[kind] if _field(segment, place - shift)]


def _character_set(header: bytes) -> str:
    """The first one of MSH-18; in a header all of it is ASCII."""
    fields = header.split(header[3:4])
    return re.split(r"[~^]", fields[17].decode("latin-1"))[0].strip().upper() if len(fields) > 17 else ""


def _field(segment: Segment, place: int) -> str:
    return segment[place] if place < len(segment) else ""


@lru_cache(maxsize=10_000)
def _iso(text: str, zone: str) -> str:
    found = _MOMENT.fullmatch(text)
    if not found:
        return text if len(text) not in (4, 6) or not text.isdigit() else "-".join(filter(None, (text[:4], text[4:])))
    year, month, day, hour, minute, second, _, offset = found.groups()
    date = f"{year}-{month}-{day}"
    return date if minute is None else f"{date}T{hour}:{minute}:{second or '00'}{offset or zone}"


def _add_results(message: _Message, rows: Rows) -> int:
    """The results of every order in a message; an SPM stands after the OBX segments of its order."""
    subject, patient, order, specimens, pending, count = "", [], [], [], [], 0
    common = _from_header(message)

    def finish() -> None:
        for segment in pending:
            _add_result(message, rows, common | {"subject_id": subject}, patient, order, specimens, segment)
        pending.clear()
        specimens.clear()

    filler = ""
    for segment in message.segments:
        kind = segment[0]
        if kind == "OBX":
            pending.append(segment)
            count += 1
        elif kind == "SPM":
            specimens.append(segment)
        elif kind in ("OBR", "ORC", "PID"):
            finish()
            if kind == "OBR":
                order = segment + [""] * (4 - len(segment))
                order[3] = order[3] or filler
            elif kind == "ORC":
                filler, order = _field(segment, 3), []
            else:
                order, filler = [], ""
                subject, patient = _subject(message, segment)
    finish()
    return count


def _from_header(message: _Message) -> dict[str, str]:
    msh = message.segments[0]
    sent = _field(msh, 6).split(message.component)[0]
    fraction = (found and found[7]) or "." if (found := _MOMENT.fullmatch(sent)) else "."
    return {
        "reported_at": message.moment(sent),
        "version": f"{fraction:0<10} {sortable(message.plain(_field(msh, 9)))}",
        "laboratory": message.part(_field(msh, 3), 1),
    }


def _subject(message: _Message, patient: Segment) -> tuple[str, list[tuple[str, str]]]:
    """The identifier of the declared authority (its name, its id, or the type of the identifier), else the first.

    PID-2, which HL7 2.5.1 keeps only for senders of older versions, is asked where PID-3 holds none.
    """
    for place in (3, 2):
        found = [text for text in _field(patient, place).split(message.repetition) if message.part(text, 1)]
        if message.authority is not None:
            found = [text for text in found if message.authority in _authorities(message, text)]
        if found:
            return message.part(found[0], 1), [(f"PID-{place}", found[0])]
    return "", []


def _authorities(message: _Message, identifier: str) -> list[str]:
    parts = identifier.split(message.component) + [""] * 5
    return [message.plain(text) for text in (*parts[3].split(message.subcomponent), parts[4]) if text]


def _add_result(
    message: _Message,
    rows: Rows,
    common: dict[str, str],
    patient: list[tuple[str, str]],
    order: Segment,
    specimens: list[Segment],
    obx: Segment,
) -> None:
    part = message.part
    value, unit = _value(message, obx)
    status = part(_field(obx, 11), 1) or part(_field(order, 25), 1)
    if status == "U" and value:
        status = "F"  # the final value itself, not only the word that the preliminary one is final
    drawn, fault = _collected(message, order, specimens)
    spm = specimens[0] if specimens else []
    texts = common | {
        "sample_id": _sample(message, order, spm, obx),
        "analyte": _analyte(message, _field(obx, 3), rows),
        "value": value,
        "unit": unit,
        "collected_at": drawn,
        "result_status": status,
        "specimen": _specimen(message, order, spm),
        "assay": _text(message, _field(obx, 17)),
    }
    if laboratory := part(_field(obx, 23), 1):
        texts["laboratory"] = laboratory
    if not texts["reported_at"]:
        texts["reported_at"] = message.moment(_field(order, 22))
    source = (
        message.source + patient + message._kept("OBR", order) + message._kept("SPM", spm) + message._kept("OBX", obx)
    )
    if value == NARRATIVE:
        source = [pair for pair in source if pair[0] != "OBX-5"]
    rows.add(texts, source, fault)


def _value(message: _Message, obx: Segment) -> tuple[str, str]:
    """OBX-5 as text, and its unit. A structured number is comparator, number, separator, number."""
    kind, raw = _field(obx, 2).strip().upper(), _field(obx, 5)
    units = _field(obx, 6)
    unit = message.part(units, 1) or message.part(units, 2)
    if message.part(units, 6) == "UCUM" and message.part(units, 3) != "UCUM":
        unit = message.part(units, 4)
    if kind == "SN" and message.repetition not in raw:
        parts = [message.plain(text) for text in raw.split(message.component)]
        return ("" if parts[0] == "=" else parts[0]) + "".join(parts[1:4]), unit
    if kind in ("ED", "RP"):  # documents and pointers to them
        return (NARRATIVE if raw else ""), unit
    text = message.plain(raw) if kind in _PLAIN_TYPES else _text(message, raw)
    return result_and_unit(text, unit, is_prose=kind in ("TX", "FT"))


def _text(message: _Message, coded: str) -> str:
    return message.part(coded, 2) or message.part(coded, 1)


def _analyte(message: _Message, coded: str, rows: Rows) -> str:
    """By either triple of code, text and system."""
    part = message.part
    return code_of(
        (
            (part(coded, 1), part(coded, 3)),
            (part(coded, 4), part(coded, 6)),
            (part(coded, 2), ""),
            (part(coded, 5), ""),
        ),
        rows,
    )


def _sample(message: _Message, order: Segment, spm: Segment, obx: Segment) -> str:
    """Filler order number (else placer's, else specimen) and sub-id: with the code, the identity of a result."""
    number = (
        message.part(_field(order, 3), 1)
        or message.part(_field(order, 2), 1)
        or message.plain(_field(spm, 2).split(message.component)[-1].split(message.subcomponent)[0])
    )
    sub = message.part(_field(obx, 4), 1)
    return f"{number}/{sub}" if number and sub else number


def _collected(message: _Message, order: Segment, specimens: list[Segment]) -> tuple[str, str | None]:
    """SPM-17, else OBR-7; never OBX-14, which may be the time of the analysis."""
    drawn = {moment for spm in specimens if (moment := message.moment(_field(spm, 17)))}
    if len(drawn) > 1:
        return "", f"message {message.number}: specimens of different times (SPM-17) in one order: send one order each"
    return (drawn.pop() if drawn else message.moment(_field(order, 7))), None


def _specimen(message: _Message, order: Segment, spm: Segment) -> str:
    for coded, places in (
        (_field(spm, 4), (1, 4)),
        (_field(order, 15).split(message.component)[0].replace(message.subcomponent, message.component), (1, 4)),
    ):
        for place in places:
            code, text = message.part(coded, place), message.part(coded, place + 1)
            if code or text:
                return specimen(code, text)
    return ""
