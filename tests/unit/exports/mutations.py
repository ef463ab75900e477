"""Files of every format, damaged: what the fuzzing of the tests and of benchmarks/fuzz.py share.

A trial is made by its number alone, so that a file that broke a reader can be made again. What a reader may do with a
damaged file stands in `attempt`.
"""

import csv
import io
import json
import os
import random
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

from orchestration import exports
from orchestration.exports import privacy, records, sniff
from orchestration.judged import Origin
from orchestration.settings import REPOSITORY
from orchestration.simulate import write_study
from orchestration.study import Study, load_study
from orchestration.validation import validate
from tests.result_messages import batch, bundle, observation, oru
from tests.unit.exports import writers
from tests.unit.exports.test_exports_dicom_sr import group, number, report
from tests.unit.exports.test_exports_odm import SOURCE, TWO

SAMPLES = REPOSITORY.parent / "shared" / "samples"
READ = frozenset(item.name for item in (*sniff.FORMATS, sniff.TEXT) if item.module)
JUDGED_EVERY = 25
"""Trials; judging rows by their expectations costs a hundred times more than reading them."""

_LINES = 40  # of a long table: what is wrong in line 5,000 is wrong in line 30
_LARGEST = 300_000
_MESSAGE = re.compile(r"[^\x00-\x08]{20,1500}", re.DOTALL)
_BYTES = (
    b"\0", b'"', b"'", b",", b";", b"\t", b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\r\n", b"\x0b", b"\x1c", b"\xff", b"\xfe\xff",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"{", b"}", b"[", b"]", b":", b"<", b">", b"]]>", b"&amp;",
    b"&#0;", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"\\u0000", b"\\ud800", b"\xe2\x80\xae", b"..", b"/../../../tmp/x", b"=cmd()", b"%s%n",
)  # fmt: skip
_TOKENS = (
    b"1e9999999", b"-1e400", b"9" * 400, b"0" * 70, b"-0", b"NaN", b"Infinity", b"1,5", b"1.5.5", b"\xd9\xa1\xd9\xa2", b"\xc2\xbd",
    b"0x10", b"1_000", b"2024-02-30", b"0000-00-00", b"9999-12-31T23:59:60Z", b"10000-01-01", b"-2024-01-01", b"20240231",
    b"2024-W01-1", b"24:00", b"", b" ", b"null", b"true", b"NA", b"A" * 3_000, b"18446744073709551616", b"-9223372036854775809",
)  # fmt: skip
_WORDS = re.compile(rb"[A-Za-z0-9_.+-]{1,40}")


@dataclass(frozen=True)
class Seed:
    """A whole file that some reader takes."""

    name: str
    content: bytes

    @property
    def format(self) -> str:
        return sniff.sniff(self.content[: sniff.HEAD_BYTES]).name


@cache
def study() -> Study:
    """The repository's sources, and one each for the formats that say nothing of the record themselves."""
    own = load_study(REPOSITORY / "study.yaml")
    return Study.model_validate({**own.model_dump(mode="json"), "sources": [*own.model_dump(mode="json")["sources"], SOURCE]})


def seeds(more: Path | None = None) -> list[Seed]:
    """The public samples, a small simulated study in both layouts, and what only a writer of ours makes.

    Args:
        more: a folder with further files, for example SAS data sets, which no library writes.
    """
    with tempfile.TemporaryDirectory() as name:
        found = [*_simulated(Path(name)), *_written(Path(name))]
    files = [path for folder in (SAMPLES, more) if folder for path in sorted(folder.rglob("*.*"))]
    found += [Seed(path.name, _short(path.read_bytes())) for path in files]
    return [seed for seed in found if len(seed.content) <= _LARGEST and seed.format in READ]


def formats(found: list[Seed]) -> set[str]:
    return {seed.format for seed in found}


def trials(found: list[Seed], start: int = 0) -> Iterator[tuple[int, Seed, bytes]]:
    """(number, what it was, damaged bytes) without end; formats take turns, whatever the number of their seeds."""
    by_format = [[seed for seed in found if seed.format == name] for name in sorted(formats(found))]
    trial = start
    while True:
        chance = random.Random(trial)
        seed = chance.choice(by_format[trial % len(by_format)])
        yield trial, seed, _damaged(seed, by_format[trial % len(by_format)], chance)
        trial += 1


@dataclass(frozen=True)
class Outcome:
    """What came of a file: rows or a refusal, and what is wrong with it."""

    is_refused: bool
    fault: str | None


def attempt(content: bytes, name: str, folder: Path, is_judged: bool = False) -> Outcome:
    """Read a file as a run does."""
    path = folder / "content"
    path.write_bytes(content)
    try:
        if (members := exports.members(path, name, study())) is not None:
            parts = [(f"{name}/{member}", b"".join(chunks)) for member, chunks in members]
            faults = [attempt(part, member, folder, is_judged).fault for member, part in parts]
            return Outcome(False, next(filter(None, faults), None))
        sheets = exports.read(path, name, study())
        return Outcome(False, _wrong_rows(sheets) or (_wrong_verdict(sheets, name) if is_judged else None))
    except exports.Rejected as refusal:
        return Outcome(True, _wrong_refusal(refusal, name))
    except Exception as error:
        return Outcome(False, f"{type(error).__name__}: {str(error)[:200]}")


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Collects what is written by this process outside ``folder``, and by anyone into the working directory.

    Relative paths of a hostile file would land at or above the working directory, so that one deep below is used.
    """
    elsewhere: list[str] = []
    nest = folder / "nest"
    deep = nest / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    listening = [True]

    def hear(event: str, arguments: tuple) -> None:
        if not listening:
            return
        if event == "open":
            path, _, flags = arguments
            is_written = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if is_written and not isinstance(path, int):
                _note(path, folder, elsewhere)
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.move"):
            _note(arguments[0], folder, elsewhere)

    sys.addaudithook(hear)
    before, tempfile.tempdir = Path.cwd(), str(folder)  # libraries may use their own temporary files
    os.chdir(deep)
    try:
        yield elsewhere
    finally:
        listening.clear()
        os.chdir(before)
        tempfile.tempdir = None
        elsewhere += [f"working directory: {path}" for path in nest.rglob("*") if not deep.is_relative_to(path)]


def _note(path: object, folder: Path, elsewhere: list[str]) -> None:
    text = os.fsdecode(path)
    if text not in (os.devnull, "/dev/tty") and "__pycache__" not in text and not Path(text).is_relative_to(folder):
        elsewhere.append(text)


# --- what is wrong -------------------------------------------------------------------------------------------------


def _wrong_refusal(refusal: exports.Rejected, name: str) -> str | None:
    """A message names the file, has a mend, one line, and no control characters."""
    message = refusal.message
    if not message.startswith((name, "study.yaml")):
        return f"the refusal {refusal.rule} does not name the file: {message[:150]!r}"
    if not message.isprintable() or not _MESSAGE.fullmatch(message):
        return f"the refusal {refusal.rule} is no line that can be read: {message[:300]!r}"
    if not re.fullmatch("[a-z][a-z0-9_]+", refusal.rule) or refusal.rule == "reader_error":
        return f"the rule {refusal.rule!r}"
    return None


def _wrong_rows(sheets: list[exports.Sheet]) -> str | None:
    numbers = sorted({number for sheet in sheets for number in sheet.table["_row_number"].to_pylist()})
    if numbers != list(range(1, len(numbers) + 1)):
        return f"rows are numbered {numbers[:5]} to {numbers[-5:]}"
    for sheet in sheets:
        wanted = {*records.RECORDS[sheet.record].column_names, "_row_number", "_source", "_misread"}
        if set(sheet.table.column_names) != wanted:
            return f"columns {set(sheet.table.column_names) ^ wanted}"
        sheet.table.validate(full=True)
        own = sheet.table["_row_number"].to_pylist()
        if len(set(own)) < len(own):
            return "a row number stands twice"
        if sheet.note and not sheet.note.isprintable():
            return f"the note is no line: {sheet.note[:100]!r}"
        for source in sheet.table["_source"].to_pylist():
            if any(privacy.names_person(heading, study()) for heading, _ in source):
                return "a column of names was kept"
    return None


def _wrong_verdict(sheets: list[exports.Sheet], name: str) -> str | None:
    for sheet in sheets:
        rows = sheet.table.num_rows
        table = sheet.table.append_column("_file_id", pa.repeat(pa.scalar("f"), rows))
        verdict = validate(sheet.record, table, study(), {"f": Origin(name)})
        if len(verdict.rejected_by) != rows:
            return f"{len(verdict.rejected_by)} verdicts on {rows} rows"
        for message in verdict.row_faults["message"].to_pylist():
            if not message.startswith(name):
                return f"a message does not name the file: {message[:100]!r}"
    return None


# --- seeds ---------------------------------------------------------------------------------------------------------


def _short(content: bytes) -> bytes:
    """The first lines of a long text."""
    if len(content) < 20_000 or sniff.sniff(content[: sniff.HEAD_BYTES]).name != sniff.TEXT.name:
        return content
    return b"".join(content.splitlines(keepends=True)[:_LINES])


def _simulated(folder: Path) -> Iterator[Seed]:
    for layout in ("sdtm", "site"):
        out = folder / layout
        write_study(out, 3, 1, layout=layout)
        seen: set[str] = set()
        for path in sorted(out.rglob("*.csv")):
            if (kind := re.sub(r"[\d_-]", "", path.stem)) not in seen and path.stat().st_size:
                seen.add(kind)
                yield Seed(path.name, _short(path.read_bytes()))
                if layout == "sdtm":
                    yield from _in_other_formats(path, folder)


def _in_other_formats(path: Path, folder: Path) -> Iterator[Seed]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))[:_LINES]
    except UnicodeDecodeError:
        return
    if not rows or "USUBJID" not in rows[0] or any(None in row or None in row.values() for row in rows):
        return
    title, table = path.stem[:2].upper(), writers.typed(rows)
    yield Seed(f"{path.stem}.json", writers.document(writers.as_datasetjson(table, title)))
    yield Seed(f"{path.stem}.ndjson", writers.lines(writers.as_datasetjson(table, title)))
    yield Seed(f"{path.stem}.parquet", writers.as_parquet(table))
    yield Seed(f"{path.stem}.xlsx", writers.as_xlsx({title: writers.grid(table), "Legend": [["see the manual"]]}))
    for version in (5, 8):
        yield Seed(f"{path.stem}.xpt", writers.as_xpt(table, folder, title, version))
    yield Seed(f"{path.stem}.zip", writers.as_zip({f"a/{path.name}": writers.as_csv(rows), "b.xpt": writers.as_xpt(table, folder, title)}))


def _written(folder: Path) -> Iterator[Seed]:
    numbers = [oru(), oru(type="SN", value="<^5.0", sample="F2", sub="1"), oru(type="ST", value="> 350", sample="F3", status="C")]
    yield Seed("batch.hl7", batch(numbers).encode())
    yield Seed("framed.hl7", b"\x0b" + oru("\r\n").encode() + b"\x1c\r")
    component = [{"code": {"text": "A"}, "valueString": "<5.0"}, {"code": {"text": "B"}, "dataAbsentReason": {"text": "x"}}]
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:s", "value": "S1"}]}
    yield Seed("bundle.json", bundle(patient, observation(), observation(id="o2", component=component)).encode())
    yield Seed("lines.ndjson", "\n".join(json.dumps(observation(id=f"o{row}")) for row in range(4)).encode())
    yield Seed("snapshot.xml", TWO.encode())
    groups = group("T1", number("G-A185", "20", "mm"), number("103340004", "1.2", "cm")), group("T2", number("x", "1", "1"))
    yield Seed("report.dcm", report(folder / "report", *groups))


# --- damage --------------------------------------------------------------------------------------------------------


def _damaged(seed: Seed, others: list[Seed], chance: random.Random) -> bytes:
    if zipfile.is_zipfile(io.BytesIO(seed.content)) and chance.random() < 0.7:  # else nothing but the checksum is tried
        return _with_damaged_members(seed.content, chance)
    content = seed.content
    if chance.random() < 0.1:
        other = chance.choice(others).content
        content = content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other) + 1) :]
    is_mild = chance.random() < 0.6  # else nothing but the wrong length, or syntax, is tried
    return _with_damage(content, chance, _MILD.get(seed.format) if is_mild else None)


def _with_damage(content: bytes, chance: random.Random, kinds: tuple | None = None) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(kinds or _KINDS)(changed, chance)
    return bytes(changed)


def _with_damaged_members(content: bytes, chance: random.Random) -> bytes:
    """Packed again, so that the damage is looked at and not only its checksum."""
    out = io.BytesIO()
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as packed, zipfile.ZipFile(out, "w") as damaged:
        chosen = chance.choice(packed.namelist())
        for member in packed.namelist():
            data = packed.read(member)
            name = chance.choice((member, member, member, member, f"../{member}", f"/{member}")) if member == chosen else member
            damaged.writestr(name, _with_damage(data, chance) if member == chosen else data)
    return out.getvalue()


def _flip(content: bytearray, chance: random.Random) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) + 1)
    size = chance.choice((1, 2, 4, 8))
    content[place : place + size] = chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * size


def _insert(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) + 1)
    content[place:place] = chance.choice(_BYTES) * chance.choice((1, 1, 1, 2, 60))


def _delete(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) + 1)
    del content[place : place + chance.choice((1, 2, 10, 100, 1_000))]


def _repeat(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content) + 1)
    content[place:place] = content[place : place + chance.choice((1, 10, 200))] * chance.choice((1, 3, 50))


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content) + 1) :]


def _token(content: bytearray, chance: random.Random) -> None:
    """A word becomes another one: what is no syntax error reaches the meaning."""
    words = list(_WORDS.finditer(content))
    if words:
        word = chance.choice(words)
        content[word.start() : word.end()] = chance.choice((*_TOKENS, *(item[0] for item in chance.sample(words, 1))))


def _line(content: bytearray, chance: random.Random) -> None:
    lines = content.splitlines(keepends=True)
    if len(lines) > 1:
        place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[place] = chance.choice((lines[other], b"", lines[place] + lines[other], lines[place].rstrip(b"\r\n")))
        content[:] = b"".join(lines)


def _number(content: bytearray, chance: random.Random) -> None:
    """A count, a size or an offset becomes another one."""
    size = chance.choice((1, 2, 4, 8))
    if len(content) > size:
        place = chance.randrange(len(content) - size)
        value = chance.choice((0, 1, 127, 128, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, chance.getrandbits(64)))
        content[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, chance.choice(("little", "big")))


_IN_PLACE = (_flip, _overwrite, _number)
_MILD = dict.fromkeys(("SAS transport (XPT)", "a SAS data set", "Parquet", "DICOM"), _IN_PLACE)
_MILD |= dict.fromkeys(("CDISC ODM", "Dataset-JSON", "FHIR"), (_token,))
_KINDS = (_flip, _overwrite, _insert, _delete, _repeat, _cut, _token, _token, _token, _line)
