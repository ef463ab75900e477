"""Every limit on hostile input, as study.yaml ships it: the error, and the memory that was used until it was said."""

import io
import json
import resource
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.exports import Rejected, confined, members, read
from orchestration.settings import REPOSITORY
from orchestration.study import load_study
from tests.result_messages import observation, oru
from tests.unit.exports import writers
from tests.unit.exports.test_exports_odm import TWO

OWN_MB = 100
"""How much the process of the run may grow while it refuses a file. Refusing 512 MB by reading them would show."""

PARSER_MB = 700
"""The process of a parser, its libraries included; it may use 2 GB (ingest.parser_memory_mb) more than that."""

MB = 1 << 20
CSV = b"subject_id,visit_name,visit_on\nS1,C1D1,2024-03-01\n"
LAUGHS = '<!DOCTYPE a [<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9)) + "]>"
PLAIN = json.dumps(observation())


def _sparse(head: bytes, megabytes: int) -> Callable[[Path], None]:
    """A file that says to be large and takes no room."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate((megabytes << 20) + 1)

    return write


def _bytes(content: Callable[[], bytes | str]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        found = content()
        path.write_bytes(found.encode() if isinstance(found, str) else found)

    return write


def _bomb(name: str, megabytes: int) -> bytes:
    return writers.as_zip({name: bytes(megabytes << 20), "[Content_Types].xml": b"", "xl/workbook.xml": b"<a/>"})


def _zipped_member(**changes) -> bytes:
    out, entry = io.BytesIO(), zipfile.ZipInfo("sv.csv")
    for key, value in changes.items():
        setattr(entry, key, value)
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(entry, CSV)
    return out.getvalue()


def _encrypted() -> bytes:
    plain = writers.as_zip({"sv.csv": CSV})
    return plain.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )


def _cells() -> bytes:
    out = io.BytesIO()
    column = pa.nulls(200_001, pa.int32())
    pq.write_table(pa.table({f"c{place}": column for place in range(1_000)}), out)
    return out.getvalue()


def _far_cell() -> bytes:
    return writers.as_xlsx({"SV": [["subject_id"]]}, SV=lambda sheet: sheet.cell(1_048_576, 16_384, "far"))


def _dicom(syntax: str, kind: str = "1.2.840.10008.5.1.4.1.1.88.33") -> bytes:
    """The meta group alone is looked at: what follows would unfold."""

    def element(number: int, vr: bytes, text: str) -> bytes:
        value = text.encode() + b"\0" * (len(text) % 2)
        return b"\x02\x00" + bytes([number, 0]) + vr + len(value).to_bytes(2, "little") + value

    group = element(2, b"UI", kind) + element(3, b"UI", "1.2.3") + element(16, b"UI", syntax)
    size = b"\x02\x00\x00\x00UL\x04\x00" + len(group).to_bytes(4, "little")
    return bytes(128) + b"DICM" + size + group + bytes(2 * MB)


LIMITS: dict[str, tuple[str, Callable[[Path], None], str, str]] = {  # what: name, writer, rule, says
    "CSV above 512 MB": ("lb.csv", _sparse(CSV, 512), "too_large", "512 MB"),
    "CSV line above 1 MB": ("sv.csv", _bytes(lambda: CSV + b"S2," + b"x" * (2 * MB) + b",2024-03-01\n"), "line_too_long", "line 3"),
    "CSV of 3,000 columns": ("lb.csv", _bytes(lambda: ",".join(f"c{i}" for i in range(3_000)) + "\n"), "too_wide", "2,000"),
    "XPT above 512 MB": ("lb.xpt", _sparse(b"HEADER RECORD", 512), "too_large", "512 MB"),
    "Parquet above 512 MB": ("lb.parquet", _sparse(b"PAR1", 512), "too_large", "512 MB"),
    "Parquet of 200,001,000 cells": ("lb.parquet", _bytes(_cells), "too_large", "200,000,000 cells"),
    "FHIR document above 50 MB": ("a.json", _sparse(b'{"resourceType": "Observation"', 50), "too_large", "50 MB"),
    "Dataset-JSON above 50 MB": ("a.json", _sparse(b'{"datasetJSONVersion": "1.1.0"', 50), "too_large", "50 MB"),
    "ODM above 50 MB": ("a.xml", _sparse(b"<ODM ", 50), "too_large", "50 MB"),
    "XML with entities": ("a.xml", _bytes(lambda: TWO.replace("<ODM", LAUGHS + "<ODM", 1).replace("12.5", "&a9;")), "xml", "DTD"),
    "JSON deeper than 50": ("a.json", _bytes(lambda: PLAIN[:-1] + ', "x": ' + "[" * MB), "json", "50 deep"),
    "JSON with NaN": ("a.json", _bytes(lambda: PLAIN.replace("12.5", "NaN")), "json", "NaN"),
    "JSON with a key twice": ("a.json", _bytes(lambda: PLAIN[:-1] + ', "id": "o2"}'), "json", "stands twice"),
    "DICOM above 20 MB": ("a.dcm", _sparse(bytes(128) + b"DICM", 20), "too_large", "20 MB"),
    "DICOM that is deflated": ("a.dcm", _bytes(lambda: _dicom("1.2.840.10008.1.2.1.99")), "type_mismatch", "packed"),
    "DICOM that is an image": ("a.dcm", _bytes(lambda: _dicom("1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2")), "type_mismatch", "no structured report"),
    "HL7 message above 10 MB": ("a.hl7", _bytes(lambda: oru() + "NTE|1||" + "x" * (11 * MB)), "too_large", "max_message_mb"),
    "HL7 message of 20,001 segments": ("a.hl7", _bytes(lambda: oru() + "NTE|1\r" * 20_001), "too_large", "max_message_segments"),
    "ZIP that unfolds to 201 MB": ("a.zip", _bytes(lambda: writers.as_zip({"lb.csv": bytes(201 * MB)})), "too_large", "max_unpacked_mb"),
    "ZIP of 2,001 members": ("a.zip", _bytes(lambda: writers.as_zip({f"{i}.csv": b"" for i in range(2_001)})), "too_large", "max_members"),
    "ZIP with ..": ("a.zip", _bytes(lambda: writers.as_zip({"../lb.csv": CSV})), "path", "leads out"),
    "ZIP with an absolute path": ("a.zip", _bytes(lambda: writers.as_zip({"/tmp/lb.csv": CSV})), "path", "leads out"),
    "ZIP with a link": ("a.zip", _bytes(lambda: _zipped_member(external_attr=(stat.S_IFLNK | 0o777) << 16)), "path", "link"),
    "ZIP with a password": ("a.zip", _bytes(_encrypted), "encrypted", "password"),
    "ZIP in a ZIP": ("a.zip", _bytes(lambda: writers.as_zip({"b.zip": writers.as_zip({"lb.csv": CSV})})), "nested_archive", "b.zip"),
    "XLSX that unfolds to 201 MB": ("a.xlsx", _bytes(lambda: _bomb("xl/x.xml", 201)), "too_large", "max_unpacked_mb"),
    "XLSX with a far cell": ("a.xlsx", _bytes(_far_cell), "too_wide", "column 2,000"),
}  # fmt: skip


def main() -> None:
    """In a process of its own: refuse every file below the folder, and say by how much the memory grew."""
    folder, study, told = Path(sys.argv[1]), load_study(REPOSITORY / "study.yaml"), {}
    start = _peak(resource.RUSAGE_SELF)
    for number, (what, (name, *_)) in enumerate(LIMITS.items()):
        try:
            if (found := members(folder / str(number), f"lab/{name}", study)) is not None:
                for _, chunks in found:
                    for _ in chunks:
                        pass
            else:
                read(folder / str(number), f"lab/{name}", study)
            outcome = "rows", ""
        except Rejected as refusal:
            outcome = refusal.rule, refusal.message
        confined.close()
        told[what] = [*outcome, _peak(resource.RUSAGE_SELF) - start, _peak(resource.RUSAGE_CHILDREN)]
    print(json.dumps(told))


def _peak(who: int) -> int:
    return resource.getrusage(who).ru_maxrss >> 10


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, list]:
    folder = tmp_path_factory.mktemp("hostile")
    for number, (_, write, *_) in enumerate(LIMITS.values()):
        write(folder / str(number))
    command = [sys.executable, "-m", "tests.unit.exports.test_exports_limits", str(folder)]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, timeout=300).stdout)


@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_refuses_with_its_error_and_within_bounded_memory(told, what):
    name, _, rule, says = LIMITS[what]
    found, message, own_mb, parser_mb = told[what]
    assert (found, says in message, f"lab/{name}" in message) == (rule, True, True), message
    assert own_mb < OWN_MB and parser_mb < PARSER_MB


if __name__ == "__main__":
    main()
