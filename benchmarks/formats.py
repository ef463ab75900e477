"""Rows a second of each format, from file to lake, with validation on: `python -m benchmarks.formats [FORMAT ...]`.

One table of laboratory results, the same in each format, every row judged by all expectations. Each format has a
process of its own, which has taken in a small file before (the import of Great Expectations is not counted). Seconds of
the CPU are those of the process and of its parser, and stand beside those of the clock: a machine may be busy. The peak
is that of the larger of the two processes.

Aims: CSV, XPT and Parquet 120,000 rows/s, HL7 5,000 messages/s, FHIR 3,000 resources/s. SAS7BDAT is not here, as no
library writes it: it is parsed by the same code as XPT.
"""

import argparse
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from orchestration.settings import REPOSITORY, Settings
from orchestration.study import load_study

MESSAGE = "\r".join(
    [
        "MSH|^~\\&|LIS|LABOR NORD|SHER2|STUDY|202401{day:02d}101500+0100||ORU^R01^ORU_R01|M{number}|P|2.5.1||||||"
        "UNICODE UTF-8",
        "PID|1||S{subject:05d}^^^STUDY^PI||DOE^JANE^A||19600101|F|||1 STREET^^TOWN",
        "PV1|1|O|WARD|||||9^SMITH^JOHN",
        "ORC|RE|P{number}|F{number}^LIS",
        "OBR|1|P{number}|F{number}^LIS|42914-2^HER2 Ag^LN|||202401{day:02d}083000+0100"
        "|||||||||9^SMITH^JOHN||||||20240201||LAB|F",
        "OBX|1|NM|42914-2^HER2 Ag^LN^HER2S^HER2^L||{value}|ng/mL^^UCUM|0-15|N|||F"
        "|||20240102|||ELISA^Kit^L||||||LABOR NORD",
        "SPM|1|S{number}||SER^Serum^HL70487|||||||||||||202401{day:02d}083000+0100\r",
    ]
)
HEADINGS = (
    "STUDYID", "DOMAIN", "USUBJID", "LBSEQ", "LBREFID", "LBTESTCD", "LBTEST", "LBCAT", "LBLOINC", "LBORRES", "LBORRESU",
    "LBSPEC", "LBMETHOD", "LBNAM", "LBLLOQ", "LBULOQ", "VISIT", "LBDTC", "LBRPTDTC", "LBRSTAT",
)  # fmt: skip


def results(count: int) -> Iterator[tuple]:
    """Rows of LB: the serum HER2 of subjects with twelve samples each, every thirtieth below the lower limit, about one
    in a hundred above the upper one, which is a finding."""
    for number in range(count):
        day = f"2024-{1 + number % 12:02d}-{1 + number // 12 % 28:02d}"
        value = "<4.5" if number % 30 == 0 else f"{5 + number % 960 / 10:.1f}"
        yield (
            "SHER2", "LB", f"S2-{number // 12 % 90:03d}-{number // 12:06d}", float(number % 12 + 1), f"A{number:08d}",
            "HER2AG", "HER2 Antigen", "CHEMISTRY", "42914-2", value, "ng/mL", "SERUM", "ELISA", "LABOR NORD", 4.5,
            100.0, f"CYCLE {number % 12 + 1}", f"{day}T08:{number % 60:02d}", f"{day}T15:30", "F",
        )  # fmt: skip


def as_csv(count: int) -> bytes:
    out = io.BytesIO()
    for row in chain((HEADINGS,), results(count)):
        out.write(f"{','.join(map(str, row))}\n".encode())
    return out.getvalue()


def as_parquet(count: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table([list(column) for column in zip(*results(count), strict=True)], names=list(HEADINGS)), out)
    return out.getvalue()


def as_xpt(count: int) -> bytes:
    import pandas as pd
    import pyreadstat

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/lb.xpt"
        pyreadstat.write_xport(pd.DataFrame(results(count), columns=list(HEADINGS)), path, table_name="LB")
        return Path(path).read_bytes()


def as_xlsx(count: int) -> bytes:
    import openpyxl

    book, out = openpyxl.Workbook(write_only=True), io.BytesIO()
    sheet = book.create_sheet("LB")
    sheet.append(HEADINGS)
    for row in results(count):
        sheet.append(row)
    book.save(out)
    return out.getvalue()


def as_datasetjson(count: int) -> bytes:
    kinds = {float: "float", str: "string"}
    columns = [
        {"itemOID": f"IT.LB.{name}", "name": name, "label": name, "dataType": kinds[type(value)]}
        for name, value in zip(HEADINGS, next(results(1)), strict=True)
    ]
    meta = {"datasetJSONVersion": "1.1.0", "itemGroupOID": "IG.LB", "records": count, "name": "LB", "columns": columns}
    return "\n".join([json.dumps(meta), *map(json.dumps, results(count)), ""]).encode()


def as_zip(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lb.csv", as_csv(count))
    return out.getvalue()


def messages(count: int) -> bytes:
    return "".join(
        MESSAGE.format(number=number, subject=number // 12, day=1 + number % 12, value=f"{5 + number % 300 / 10:.1f}")
        for number in range(count)
    ).encode()


def resources(count: int) -> bytes:
    lines = []
    for number in range(count):
        day = f"2024-01-{1 + number % 12:02d}"
        resource = {
            "resourceType": "Observation",
            "id": f"o{number}",
            "meta": {"versionId": "1", "lastUpdated": f"{day}T11:00:00+01:00"},
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "42914-2", "display": "HER2 Ag"}]},
            "subject": {"reference": f"Patient/S{number // 12:05d}"},
            "effectiveDateTime": f"{day}T08:30:00+01:00",
            "issued": f"{day}T10:15:00+01:00",
            "performer": [{"reference": "Organization/1", "display": "LABOR NORD"}],
            "valueQuantity": {"value": 5 + number % 300 / 10, "unit": "ng/mL"},
            "method": {"text": "ELISA"},
            "specimen": {"reference": f"Specimen/F{number}", "display": "Serum"},
        }
        lines.append(json.dumps(resource))
    return "\n".join([*lines, ""]).encode()


FORMATS: dict[str, tuple[str, int, Callable[[int], bytes]]] = {  # name of the file, rows unless told, writer
    "csv": ("lb.csv", 1_000_000, as_csv),
    "xpt": ("lb.xpt", 1_000_000, as_xpt),
    "parquet": ("lb.parquet", 1_000_000, as_parquet),
    "zip": ("lb.zip", 1_000_000, as_zip),
    "datasetjson": ("lb.ndjson", 200_000, as_datasetjson),
    "xlsx": ("lb.xlsx", 100_000, as_xlsx),
    "hl7": ("messages.hl7", 100_000, messages),
    "fhir": ("resources.ndjson", 100_000, resources),
}


def take_in(home: Path) -> dict:
    """In a process of its own: the files of the landing folder, after a small one that warms up."""
    from orchestration.exports import confined
    from orchestration.ingestion import ingest

    settings = Settings(home=home, study_file=REPOSITORY / "study.yaml")
    study = load_study(settings.study_file)
    waiting = sorted(settings.landing.rglob("*.*"))
    largest_mb = max(path.stat().st_size >> 20 for path in waiting) + 1
    limits = study.ingest.model_copy(update={"max_file_mb": max(study.ingest.max_file_mb, largest_mb)})
    study = study.model_copy(update={"sources": [], "ingest": limits})
    for path in waiting:
        path.rename(path.with_name(f".{path.name}"))
    _drop(settings.landing / "lab/warm.csv", as_csv(100))
    ingest(settings, study)
    for path in waiting:
        path.with_name(f".{path.name}").rename(path)
    clock, cpu = time.perf_counter(), _cpu()
    taken = ingest(settings, study)
    clock = time.perf_counter() - clock
    parser = confined.process_id()
    own_mb, parser_mb = _peak_mb("self"), _peak_mb(parser) if parser else 0
    confined.close()
    return {
        "clock": clock,
        "CPU": _cpu() - cpu,
        "accepted": sum(item.rows_accepted for item in taken.files),
        "read": sum(item.rows_read for item in taken.files),
        "reasons": [item.reason for item in taken.files if item.status == "rejected"],
        "own_mb": own_mb,
        "parser_mb": parser_mb,
    }


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def _peak_mb(process: int | str) -> int:
    """Not by getrusage, which counts what the starting process held."""
    [peak] = re.findall(r"VmHWM:\s+([0-9]+) kB", Path(f"/proc/{process}/status").read_text())
    return int(peak) >> 10


def _drop(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def measure(kind: str, rows: int | None) -> None:
    name, usual, write = FORMATS[kind]
    count = rows or usual
    with tempfile.TemporaryDirectory(prefix="sher2-bench-") as folder:
        content = write(count)
        _drop(Path(folder) / "landing/lab" / name, content)
        command = [sys.executable, "-m", "benchmarks.formats", "--take-in", folder]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(told)
    speeds = [f"{found[what]:7.2f} s = {count / found[what]:9,.0f}/s by the {what}" for what in ("clock", "CPU")]
    peak = max(found["own_mb"], found["parser_mb"])
    print(
        f"{kind:<12}{count:>10,} rows, {len(content) / 1e6:6.1f} MB: {', '.join(speeds)}, peak {peak:,} MB", flush=True
    )
    if found["accepted"] != count:
        sys.exit(f"{found['read']:,} rows read, {found['accepted']:,} accepted; {found['reasons']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formats", description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}; without any, all")
    parser.add_argument("--rows", type=int, help="instead of as many as a format is usually sent with")
    parser.add_argument("--take-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take_in:
        print(json.dumps(take_in(options.take_in)))
        return
    if unknown := set(options.formats) - set(FORMATS):
        parser.error(f"unknown format: {', '.join(sorted(unknown))}")
    for kind in options.formats or FORMATS:
        measure(kind, options.rows)


if __name__ == "__main__":
    main()
