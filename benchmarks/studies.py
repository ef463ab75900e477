"""Studies of any size for the benchmarks: a simulated study whose laboratory rows are a central laboratory's feed.

The subjects, their lesions and their serum HER2 are the simulator's, every one of them; only the laboratory's file is
made here, in DuckDB: beside each serum HER2 result stand the other results of the same blood draw. A central laboratory
reports some 40 analytes a draw, of which serum HER2 is one, and a subject of these studies gives blood ten times and
has its lesions measured 42 times: so 42 analytes make ten laboratory rows a measurement.

Rows are in the order of their release, as such feeds are, and cut after exactly as many as were asked for. The export
is that of the source ``lis-sued`` of study.yaml: codes, local times and words for the status have to be mapped.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.usage import run_process

SHER2 = [sys.executable, "-m", "orchestration.cli"]
PANEL = 42
"""Analytes of a blood draw, serum HER2 and the four others of the simulator included."""

FILE_ROWS = 1_000_000
DRAWS_PER_SUBJECT = 9.9
"""Of the simulator on average, corrected and resent results included."""

_SIMULATED = 5
_ANALYTES = [  # LOINC, unit, median, spread (standard deviation of the logarithm), decimals
    ("6690-2", "10*9/L", 6.2, 0.3, 1), ("789-8", "10*12/L", 4.3, 0.1, 2), ("718-7", "g/dL", 12.6, 0.12, 1),
    ("4544-3", "%", 38.0, 0.1, 1), ("787-2", "fL", 90.0, 0.06, 0), ("785-6", "pg", 30.0, 0.07, 1),
    ("786-4", "g/dL", 33.5, 0.03, 1), ("788-0", "%", 14.1, 0.12, 1), ("777-3", "10*9/L", 232.0, 0.35, 0),
    ("32623-1", "fL", 10.2, 0.1, 1), ("751-8", "10*9/L", 3.6, 0.4, 2), ("731-0", "10*9/L", 1.5, 0.4, 2),
    ("742-7", "10*9/L", 0.5, 0.4, 2), ("711-2", "10*9/L", 0.15, 0.7, 2), ("704-7", "10*9/L", 0.04, 0.5, 2),
    ("1920-8", "U/L", 26.0, 0.4, 0), ("6768-6", "U/L", 84.0, 0.4, 0), ("2324-2", "U/L", 32.0, 0.7, 0),
    ("1975-2", "mg/dL", 0.5, 0.4, 2), ("1968-7", "mg/dL", 0.15, 0.5, 2), ("2885-2", "g/dL", 7.0, 0.07, 1),
    ("1751-7", "g/dL", 4.1, 0.1, 1), ("2160-0", "mg/dL", 0.78, 0.25, 2), ("3094-0", "mg/dL", 14.0, 0.35, 0),
    ("3084-1", "mg/dL", 4.9, 0.25, 1), ("2951-2", "mmol/L", 140.0, 0.02, 0), ("2823-3", "mmol/L", 4.2, 0.09, 1),
    ("2075-0", "mmol/L", 103.0, 0.03, 0), ("2000-8", "mmol/L", 2.35, 0.05, 2), ("2777-1", "mg/dL", 3.5, 0.15, 1),
    ("19123-9", "mg/dL", 2.0, 0.1, 2), ("2345-7", "mg/dL", 98.0, 0.2, 0), ("1988-5", "mg/L", 3.1, 1.0, 1),
    ("2276-4", "ng/mL", 110.0, 0.8, 0), ("2532-0", "U/L", 198.0, 0.3, 0), ("3016-3", "m[IU]/L", 1.8, 0.6, 2),
    ("6301-6", "{INR}", 1.02, 0.08, 2), ("14979-9", "s", 29.0, 0.1, 1), ("3255-7", "mg/dL", 310.0, 0.25, 0),
    ("48065-7", "mg/L", 0.5, 0.8, 2), ("10334-1", "U/mL", 16.0, 0.7, 1), ("24108-3", "U/mL", 12.0, 0.7, 1),
    ("1798-8", "U/L", 58.0, 0.35, 0), ("3040-3", "U/L", 34.0, 0.4, 0), ("2157-6", "U/L", 82.0, 0.6, 0),
    ("10839-9", "ng/mL", 0.01, 0.7, 2), ("33762-6", "pg/mL", 92.0, 0.9, 0),
]  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What stands in a landing folder."""

    subjects: int
    lab_rows: int
    bytes: int
    feed: list[Path]  # the laboratory's files


def make(landing: Path, lab_rows: int, *, panel: int = PANEL, one_file: bool = False) -> Made:
    """A study with so many laboratory rows and the imaging and clinical rows of the same subjects.

    Args:
        panel: analytes a blood draw; with fewer, more subjects, and more imaging a laboratory row.
        one_file: the whole feed as one file, instead of one every FILE_ROWS rows.
    """
    if not _SIMULATED <= panel <= _SIMULATED + len(_ANALYTES):
        raise SystemExit(f"--panel: {_SIMULATED} to {_SIMULATED + len(_ANALYTES)} analytes, not {panel}")
    subjects = max(round(lab_rows / panel / DRAWS_PER_SUBJECT * 1.02), 5)
    while True:  # the mean number of draws differs a little from study to study
        shutil.rmtree(landing, ignore_errors=True)
        if run_process([*SHER2, "simulate", str(landing), "--subjects", str(subjects)], {}).exit_code:
            raise SystemExit("sher2 simulate failed")
        feed = _feed(landing / "lab", lab_rows, panel, lab_rows if one_file else FILE_ROWS)
        if feed:
            break
        subjects = round(subjects * 1.1) + 1
    size = sum(path.stat().st_size for path in landing.rglob("*") if path.is_file())
    return Made(subjects, lab_rows, size, feed)


def _feed(folder: Path, lab_rows: int, panel: int, file_rows: int) -> list[Path]:
    """The laboratory's files in place of the simulator's; none where these hold too few draws for so many rows."""
    with duckdb.connect(str(folder / "feed.duckdb")) as connection:
        connection.execute("set preserve_insertion_order = true")
        connection.execute("create table panel (code text, unit text, median double, spread double, decimals integer)")
        connection.executemany("insert into panel values (?, ?, ?, ?, ?)", _ANALYTES[: panel - _SIMULATED])
        connection.execute(
            """
            create table draws as
            select usubjid as patient_id, lbrefid as accession, lbloinc as loinc, lborres as result, lborresu as units,
                'SER' as specimen, lbmethod as platform, lblloq as lower_limit, lbuloq as upper_limit, visit as event,
                replace(replace(lbdtc, '-', '/'), 'T', ' ') as drawn,
                replace(replace(lbrptdtc, '-', '/'), 'T', ' ') as released,
                case lbrstat
                    when 'C' then 'corrected' when 'P' then 'preliminary' when 'X' then 'cancelled' else 'final'
                end as flag
            from read_csv($files, all_varchar = true)
            """,
            {"files": str(folder / "lb_????-??-??.csv")},
        )
        connection.execute(
            """
            create table feed as
            with others as (
                select d.*, p.*,
                    (hash(d.accession, d.released, p.code, 1) + 1.0) / 18446744073709551617.0 as first,
                    hash(d.accession, d.released, p.code, 2) / 18446744073709551616.0 as second
                from draws as d cross join panel as p
                where d.loinc = '42914-2'
            ),
            all_rows as (
                from draws
                union all
                select patient_id, accession, code,
                    rtrim(format('{:.' || decimals || 'f}',
                        median * exp(spread * sqrt(-2 * ln(first)) * cos(2 * pi() * second))), '.'),
                    unit, specimen, 'ANALYSER ' || (1 + hash(code) % 4), null, null, event, drawn, released, flag
                from others
            )
            from all_rows order by released, patient_id, loinc limit $rows
            """,
            {"rows": lab_rows},
        )
        if connection.execute("select count(*) from feed").fetchone()[0] < lab_rows:
            return []
        for path in folder.glob("*.csv"):
            path.unlink()
        paths = []
        for number, start in enumerate(range(0, lab_rows, file_rows), 1):
            last = min(start + file_rows, lab_rows) - 1
            released = connection.execute("select released from feed where rowid = ?", [last]).fetchone()[0]
            paths.append(folder / f"lis_sued_{released[:10].replace('/', '-')}_{number:03}.csv")
            connection.execute(
                f"copy (from feed where rowid between {start} and {last} order by rowid) to '{paths[-1]}' (header)"
            )
    (folder / "feed.duckdb").unlink()
    return paths
