"""Public files that nobody here wrote: every SDTM table reads whole, every other one is refused with its reason."""

import gzip

import pyarrow.compute as pc
import pytest

from orchestration.exports import Rejected, read
from orchestration.exports.records import UNREADABLE
from orchestration.settings import REPOSITORY
from orchestration.study import Study

SAMPLES = REPOSITORY.parent / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the public samples are not beside this repository")


def read_sample(path, name):
    [sheet] = read(path, name, Study())
    marked = sum(
        pc.sum(pc.starts_with(column, UNREADABLE)).as_py() or 0
        for name, column in zip(sheet.table.column_names, sheet.table.columns)
        if not name.startswith("_")
    )
    assert marked == 0 and sheet.table["_misread"].null_count == sheet.table.num_rows
    assert sheet.table["_row_number"].to_pylist() == list(range(1, sheet.table.num_rows + 1))
    return sheet


@pytest.mark.parametrize(
    ("name", "record", "rows", "filled"),
    [
        ("dm.csv", "subjects", 306, {"age_years": 306, "enrolled_on": 0, "reference_start_on": 254, "death_on": 3}),
        ("ds.csv", "dispositions", 850, {"term": 850, "occurred_on": 850}),
        ("ex.csv", "exposures", 591, {"dose": 591, "start_on": 591, "started_at": 0, "end_on": 585}),
        (
            "lb.csv",
            "lab_results",
            5456,
            {"value_number": 5456, "collected_at": 5456, "sample_id": 5456, "analyte_key": 0},
        ),
        ("rs_onco.csv", "tumor_responses", 5808, {"value": 5808, "value_code": 5805, "reader": 3872, "accepted": 1936}),
        ("rs_onco_recist.csv", "tumor_responses", 66, {"value_code": 66, "assessed_on": 66}),
        ("sv.csv", "visits", 3559, {"visit_name": 3559, "visit_on": 3559}),
        ("tr_onco_recist.csv", "tumor_measurements", 546, {"value_number": 468, "value_code": 78, "unit_code": 468}),
        ("tu_onco.csv", "tumor_identifications", 7734, {"role": 7734, "identified_on": 7734, "location": 3810}),
        ("tu_onco_recist.csv", "tumor_identifications", 75, {"role": 75, "identified_on": 0, "visit_name": 75}),
    ],
)
def test_public_sdtm_reads_whole(name, record, rows, filled):
    sheet = read_sample(SAMPLES / "sdtm" / name, name)
    assert (sheet.record, sheet.source, sheet.table.num_rows) == (record, "sdtm", rows)
    assert {column: rows - sheet.table[column].null_count for column in filled} == filled


def test_public_sdtm_unpacked_reads_whole(tmp_path):
    packed = SAMPLES / "sdtm" / "tr_onco.csv.gz"
    with pytest.raises(Rejected) as refusal:
        read(packed, packed.name, Study())
    assert refusal.value.rule == "type_mismatch" and "gzip" in refusal.value.message
    path = tmp_path / "tr_onco.csv"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    table = read_sample(path, path.name).table
    filled = {
        name: table.num_rows - table[name].null_count
        for name in ("lesion_id", "value", "value_number", "value_code", "status")
    }
    # the reported sums have no lesion, and what was not done has no value
    assert table.num_rows == 55_995
    assert filled == {"lesion_id": 53_334, "value": 55_175, "value_number": 42_180, "value_code": 12_995, "status": 820}
    partial = pc.sum(pc.equal(pc.utf8_length(table["assessed_on"]), 7)).as_py()
    assert partial == 16


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("csv/*.csv")), ids=lambda path: path.stem)
def test_public_tables_of_no_known_layout_are_refused_with_the_mend(path):
    with pytest.raises(Rejected) as refusal:
        read(path, f"clinical/{path.name}", Study())
    assert refusal.value.rule == "header_mismatch" and "sources:" in refusal.value.message


def test_a_public_table_reads_once_it_is_declared():
    study = Study.model_validate(
        {
            "sources": [
                {
                    "name": "mcode",
                    "record": "lab_results",
                    "match": "mcode-observation*",
                    "constants": {"unit": "(text)"},
                    "columns": {
                        "subject_id": "mrn",
                        "sample_id": "observationId",
                        "analyte": "code",
                        "value": "value",
                        "collected_at": "effectiveDate",
                        "result_status": "status",
                    },
                }
            ]
        }
    )
    [sheet] = read(
        SAMPLES / "csv" / "mcode-observation-information.csv", "lab/mcode-observation-information.csv", study
    )
    assert sheet.table["subject_id"].to_pylist()[:2] == ["123", "456"]
    assert (
        sheet.table["collected_at"].to_pylist()[0] == "2020-01-02"
        and sheet.table["result_status"][0].as_py() == "FINAL"
    )


@pytest.mark.parametrize(
    ("name", "record", "rows", "filled"),
    [
        ("cm", "therapies", 68, {"subject_id": 68, "treatment": 68, "started_on": 68}),
        ("dm", "subjects", 18, {"age_years": 18, "sex": 18, "enrolled_on": 18, "death_on": 3}),
        ("ds", "dispositions", 53, {"category": 53, "term": 53, "occurred_on": 53}),
    ],
)
def test_public_twins_in_three_formats_give_equal_rows(name, record, rows, filled):
    found = {kind: read_sample(SAMPLES / "datasetjson" / f"{name}.{kind}", f"{name}.{kind}") for kind in TWINS}
    assert {(sheet.record, sheet.table.num_rows) for sheet in found.values()} == {(record, rows)}
    tables = [sheet.table for sheet in found.values()]
    assert {column: rows - tables[0][column].null_count for column in filled} == filled
    columns = [column for column in tables[0].column_names if column != "_source"]
    assert tables[0].select(columns) == tables[1].select(columns) == tables[2].select(columns)


TWINS = ("json", "ndjson", "xpt")


@pytest.mark.parametrize(
    ("path", "rule", "says"),
    [
        ("xlsx/cdisc-rules-engine-data.xlsx", "unknown_domain", "sheet 'relrec.xpt'"),
        ("xpt/pyreadstat-dates_xpt_v8.xpt", "header_mismatch", "found dt, string_dt"),
        ("xpt/pyreadstat-sample.xpt", "header_mismatch", "found MYCHAR, MYNUM"),
        ("xpt/pyreadstat-sas.xpt5", "header_mismatch", "found I"),
    ],
)
def test_public_tables_that_hold_no_record_are_refused_with_the_reason(path, rule, says):
    with pytest.raises(Rejected) as refusal:
        read(SAMPLES / path, f"clinical/{path.split('/')[1]}", Study())
    assert refusal.value.rule == rule and says in refusal.value.message


@pytest.mark.parametrize(
    ("path", "source", "first"),
    [
        ("xpt/pyreadstat-dates_xpt_v8.xpt", {"visit_name": "timezone", "visit_on": "dates"}, ("1959-12-30", "UTC")),
        ("xpt/pyreadstat-sample.xpt", {"visit_name": "MYCHAR", "visit_on": "MYDATE"}, ("2018-05-06", "a")),
    ],
)
def test_public_transport_files_read_their_dates_once_they_are_declared(path, source, first):
    declared = {"name": "public", "record": "visits", "columns": {"subject_id": source["visit_name"], **source}}
    [sheet] = read(SAMPLES / path, f"clinical/{path.split('/')[1]}", Study.model_validate({"sources": [declared]}))
    assert (sheet.table["visit_on"][0].as_py(), sheet.table["visit_name"][0].as_py()) == first


def test_the_counts_of_the_public_tables():
    """Which of the public tables load as they are, by folder; the others are refused with the reasons above."""
    found: dict[str, list[int]] = {}
    for path in sorted(path for kind in TABLES for path in SAMPLES.glob(f"{kind}/*.*")):
        count = found.setdefault(path.parent.name, [0, 0])
        try:
            read(path, f"clinical/{path.name}", Study())
            count[0] += 1
        except Rejected:
            count[1] += 1
    assert found == {"csv": [0, 5], "datasetjson": [9, 0], "sdtm": [10, 1], "xlsx": [0, 1], "xpt": [0, 3]}


TABLES = ("csv", "datasetjson", "sdtm", "xlsx", "xpt")
