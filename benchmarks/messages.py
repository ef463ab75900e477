"""HL7 v2 messages and FHIR resources a second, from the file to the lake with validation on.

`python -m benchmarks.messages [--results N]`. Aims: 5,000 messages/s and 3,000 resources/s. One process; the first line
pays for the import of Great Expectations. Seconds of the CPU stand beside those of the clock: a machine may be busy.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestration import exports
from orchestration.ingestion import ingest
from orchestration.settings import REPOSITORY, Settings
from orchestration.study import Study, load_study

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


def messages(count: int) -> Iterator[str]:
    for number in range(count):
        yield MESSAGE.format(
            number=number, subject=number // 12, day=1 + number % 12, value=f"{5 + number % 300 / 10:.1f}"
        )


def resources(count: int) -> Iterator[str]:
    for number in range(count):
        day = f"2024-01-{1 + number % 12:02d}"
        yield json.dumps(
            {
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
        ) + "\n"  # fmt: skip


def measure(title: str, name: str, make: Callable[[int], Iterator[str]], count: int, study: Study) -> None:
    with tempfile.TemporaryDirectory(prefix="sher2-bench-") as folder:
        settings = Settings(home=Path(folder), study_file=REPOSITORY / "study.yaml")
        settings.prepare()
        path = settings.landing / name
        with path.open("w", newline="") as file:
            file.writelines(make(count))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        read, _ = timed(lambda: exports.read(path, name, study), count)
        whole, taken = timed(lambda: ingest(settings, study), count)
        accepted = sum(item.rows_accepted for item in taken.files)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{title}: {count:,}, {accepted:,} accepted, peak of the process {peak:.2f} GiB")
    print(f"  reader alone                {read}\n  file to lake with validation {whole}")


def timed(work: Callable[[], object], count: int) -> tuple[str, object]:
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    return (
        f"{clock:7.2f} s = {count / clock:7,.0f}/s by the clock, {cpu:7.2f} s = {count / cpu:7,.0f}/s by the CPU",
        result,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.messages", description=__doc__)
    parser.add_argument("--results", type=int, default=100_000)
    count = parser.parse_args().results
    study = load_study(REPOSITORY / "study.yaml").model_copy(update={"sources": []})
    measure("warming up", "lab/warm.hl7", messages, 1_000, study)
    measure("HL7 v2 messages", "lab/messages.hl7", messages, count, study)
    measure("FHIR resources", "lab/resources.ndjson", resources, count, study)


if __name__ == "__main__":
    main()
