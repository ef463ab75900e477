"""A name planted in every format, the whole run, and then every byte that came of it: the name is nowhere."""

import io
import json

import duckdb
import openpyxl
import pyarrow.parquet as pq
import pytest

from tests.conftest import make_home
from tests.result_messages import batch, bundle, observation, oru
from tests.unit.exports.test_exports_dicom_sr import group, number, report
from tests.unit.exports.test_exports_odm import SOURCE, TWO

PLANTED = "PLANTED"
OHIF = (
    "Patient ID,Patient Name,StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID,Label,Length,Unit,Scan\n"
    "S1,PLANTED^JANE,1.2,1.2.3,1.2.3.4,T1,25.5,mm,2025-01-01\nS1,PLANTED^JANE,1.2,cut off\n"
)
SOURCES = [
    SOURCE,
    {
        "name": "ohif", "folder": "imaging", "match": "ohif*.csv", "record": "tumor_measurements",
        "columns": {"subject_id": "Patient ID", "lesion_id": "Label", "value": "Length", "unit": "Unit", "assessed_on": "Scan"},
        "constants": {"test": "LDIAM"},
    },
]  # fmt: skip
LABS = "subject_id,sample_id,analyte,value,unit,collected_at"


def workbook() -> bytes:
    book = openpyxl.Workbook()
    book.active.append([*LABS.split(","), "Patient name", "Arzt"])
    book.active.append(["S1", "X1", "42914-2", 13.5, "ng/mL", "2025-01-22", "PLANTED JANE", "Dr PLANTED"])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """A home after its run, and all that the commands printed."""
    home = make_home(tmp_path_factory.mktemp("privacy"), {"sources": SOURCES, "landing": {"settle_seconds": 0}})
    bad = [
        observation(id="o2", valueQuantity={"value": PLANTED}),
        observation(id="o3", code=PLANTED),
        observation(id="o4", **{PLANTED: 1}),
        {"resourceType": "Patient", "name": [{"family": PLANTED}]},
    ]
    prose = oru(type="TX", value="discussed with Dr PLANTED", control="M2", sample="F9")
    other = oru(control="M3").replace("ORU^R01^ORU_R01", "ADT^A08")
    for name, content in {
        "clinical/dm.csv": "USUBJID,SITEID,ARM,INVNAM,RFICDTC\nS1,01,T-DXD,PLANTED,2024-12-20\n",
        "clinical/ex.csv": "USUBJID,EXTRT,EXDOSE,EXDOSU,EXSTDTC\nS1,T-DXD,5.4,mg/kg,2025-01-01\n",
        "clinical/snapshot.xml": TWO,
        "clinical/refused.csv": "PLANTED,JANE,1960-01-01\nPLANTED,JOHN,1961-01-01\n",
        "lab/labs.csv": f"{LABS},Vorname\nS1,C1,42914-2,12.5,ng/mL,2025-01-01,PLANTED\nS1,cut,PLANTED\n",
        "lab/labs.xlsx": workbook(),
        "lab/oru.hl7": batch([oru(), prose, other]),
        "lab/adt.hl7": other,
        "lab/observations.json": bundle(observation(), *bad),
        "lab/lines.ndjson": json.dumps(observation(id="o5")) + '\n{"resourceType": "Observation", "PLANTED\n',
        "lab/broken.json": '{"resourceType": "Observation", "subject": {"display": "PLANTED"',
        "imaging/ohif.csv": OHIF,
        "imaging/report.dcm": report(tmp_path_factory.mktemp("sr") / "sr", group("T1", number("G-A185", "20", "mm"), number("x", "1", "1"))),
    }.items():  # fmt: skip
        home.drop(name, content)
    said = [
        home.sher2("run"),
        home.sher2("check", str(home.settings.landing / "imaging/ohif.csv")),
        home.sher2("quarantine"),
        home.sher2("status"),
    ]
    assert said[0].returncode == 0, said[0].stderr
    return home, "".join(item.stdout + item.stderr for item in said)


def test_every_format_was_read(after):
    home, _ = after
    files = home.sql("select path, status, rows_read, rows_accepted from ops.files order by path")
    assert {row["path"]: (row["status"], row["rows_read"], row["rows_accepted"]) for row in files} == {
        "clinical/dm.csv": ("loaded", 1, 1),
        "clinical/ex.csv": ("loaded", 1, 1),
        "clinical/refused.csv": ("rejected", 0, 0),
        "clinical/snapshot.xml": ("loaded", 2, 2),
        "imaging/ohif.csv": ("loaded", 2, 1),
        "imaging/report.dcm": ("loaded", 2, 1),
        "lab/adt.hl7": ("rejected", 0, 0),
        "lab/broken.json": ("rejected", 0, 0),
        "lab/labs.csv": ("loaded", 2, 1),
        "lab/labs.xlsx": ("loaded", 1, 1),
        "lab/lines.ndjson": ("loaded", 2, 1),
        "lab/observations.json": ("loaded", 4, 1),
        "lab/oru.hl7": ("loaded", 3, 1),
    }


def test_nothing_that_is_printed_names_a_person(after):
    assert PLANTED not in after[1].upper()


def test_no_table_of_the_lake_names_a_person(after):
    for path in after[0].settings.lake.rglob("*.parquet"):
        assert PLANTED not in str(pq.read_table(path).to_pydict()).upper(), path


def test_no_table_of_the_warehouse_names_a_person(after):
    with duckdb.connect(str(after[0].settings.warehouse), read_only=True) as connection:
        tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        assert tables
        for schema, table in tables:
            assert PLANTED not in str(connection.execute(f'from "{schema}"."{table}"').fetchall()).upper(), table


def test_no_other_file_names_a_person_but_the_kept_bytes_which_only_we_may_read(after):
    home = after[0].settings
    kept = home.lake / "files"
    assert kept.stat().st_mode & 0o077 == 0
    looked_at = [
        path
        for path in home.home.rglob("*")
        if path.is_file() and not path.is_relative_to(home.landing) and path.parent != kept
    ]
    assert len(looked_at) > 20
    for path in looked_at:
        assert PLANTED.encode() not in path.read_bytes().upper(), path
