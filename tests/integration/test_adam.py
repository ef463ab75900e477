"""`sher2 export --adam`: what is published, under ADaM's names, in four formats that hold the same."""

import csv
import datetime as dt
import json
import re
from dataclasses import replace

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pyreadstat
import pytest

from orchestration.adam.datasets import DATASETS
from orchestration.simulate import write_study
from tests.conftest import Home, make_home

NAMES = [dataset.name.lower() for dataset in DATASETS]

# Two subjects of our own beside the simulated ones. P-1: a scan with a partial date, one target not measured, an
# uncertain day of death, a value below the limit, and an independent assessor with two readers of whom one is accepted.
# P-2: never treated. P-3: a target measured only before the baseline visit, a node, two targets that merge, and a loss.
# P-4: a first dose known by its month only, that of enrolment.
OWN_SUBJECTS = {
    "clinical/subjects.csv": """subject_id,site_id,age_years,sex,regimen,enrolled_on,death_on,ihc_score,ish_status
P-1,099,61,F,Trastuzumab deruxtecan,2023-01-02,2023-06,2+,NEGATIVE
P-2,099,58,F,Trastuzumab deruxtecan,2023-01-03,,2+,NEGATIVE
P-3,099,49,F,Trastuzumab deruxtecan,2023-01-04,,2+,NEGATIVE
P-4,099,44,F,Trastuzumab deruxtecan,2023-01-05,,2+,NEGATIVE
""",
    "clinical/exposures.csv": """subject_id,treatment,dose,dose_unit,start_on
P-1,TRASTUZUMAB DERUXTECAN,300,mg,2023-01-10
P-3,TRASTUZUMAB DERUXTECAN,300,mg,2023-01-10
P-3,TRASTUZUMAB DERUXTECAN,300,mg,2023-01-31
P-4,TRASTUZUMAB DERUXTECAN,300,mg,2023-01
""",
    "clinical/dispositions.csv": """subject_id,category,term,occurred_on
P-3,DISPOSITION EVENT,LOST TO FOLLOW-UP,2023-03-20
""",
    "lab/samples.csv": """subject_id,sample_id,analyte,value,unit,collected_at,specimen,laboratory,assay,lloq
P-1,L1,SERUM HER2,12.50,ng/mL,2023-01-09,SERUM,LAB,A,4.5
P-1,L2,SERUM HER2,<4.5,ng/mL,2023-02-01,SERUM,LAB,A,4.5
""",
    "imaging/lesions.csv": """subject_id,lesion_id,role,location,identified_on,visit_name,evaluator,reader,accepted
P-1,T01,TARGET,LIVER,2023-01-05,SCREENING,INVESTIGATOR,,
P-1,T02,TARGET,LUNG,2023-01-05,SCREENING,INVESTIGATOR,,
P-1,T01,TARGET,LIVER,2023-01-05,SCREENING,INDEPENDENT ASSESSOR,READER 1,Y
P-1,T01,TARGET,LIVER,2023-01-05,SCREENING,INDEPENDENT ASSESSOR,READER 2,
P-3,N01,TARGET,LYMPH NODE,2023-01-03,SCREENING,INVESTIGATOR,,
P-3,T01,TARGET,LIVER,2023-01-03,SCREENING,INVESTIGATOR,,
P-3,T02,TARGET,LIVER,2023-01-03,SCREENING,INVESTIGATOR,,
""",
    "imaging/measurements.csv": """subject_id,lesion_id,test,value,unit,assessed_on,visit_name,evaluator,reader,accepted
P-1,T01,LDIAM,50,mm,2023-01-05,SCREENING,INVESTIGATOR,,
P-1,T02,LDIAM,30,mm,2023-01-05,SCREENING,INVESTIGATOR,,
P-1,T01,LDIAM,33,mm,2023-02,SECOND,INVESTIGATOR,,
P-1,T02,LDIAM,20,mm,2023-02,SECOND,INVESTIGATOR,,
P-1,T01,LDIAM,32.5,mm,2023-04-03,THIRD,INVESTIGATOR,,
P-1,T01,LDIAM,48,mm,2023-01-05,SCREENING,INDEPENDENT ASSESSOR,READER 1,Y
P-1,T01,LDIAM,60,mm,2023-04-03,THIRD,INDEPENDENT ASSESSOR,READER 1,Y
P-1,T01,LDIAM,47,mm,2023-01-05,SCREENING,INDEPENDENT ASSESSOR,READER 2,
P-1,T01,LDIAM,46,mm,2023-04-03,THIRD,INDEPENDENT ASSESSOR,READER 2,
P-3,N01,LPERP,1.6,cm,2023-01-03,SCREENING,INVESTIGATOR,,
P-3,T01,LDIAM,40,mm,2023-01-03,SCREENING,INVESTIGATOR,,
P-3,T02,LDIAM,20,mm,2023-01-03,SCREENING,INVESTIGATOR,,
P-3,N01,LDIAM,30,mm,2023-01-08,BASELINE,INVESTIGATOR,,
P-3,N01,LPERP,18,mm,2023-01-08,BASELINE,INVESTIGATOR,,
P-3,T01,LDIAM,42,mm,2023-01-08,BASELINE,INVESTIGATOR,,
P-3,N01,LPERP,8,mm,2023-02-20,WEEK 6,INVESTIGATOR,,
P-3,T01/T02,LDIAM,55,mm,2023-02-21,WEEK 6,INVESTIGATOR,,
""",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("adam"))
    write_study(home.settings.landing, 15, 3)
    for name, text in OWN_SUBJECTS.items():
        home.drop(name, text)
    home.run()
    return home


def export(home: Home, folder) -> None:
    done = home.sher2("export", "--adam", str(folder))
    assert done.returncode == 0, done.stderr
    endings = ("parquet", "csv", "xpt", "json")
    made = {f"{name}.{ending}" for name in NAMES for ending in endings} | {"variables.csv"}
    assert {path.name for path in folder.iterdir()} == made
    assert {line.rsplit("/", 1)[1] for line in done.stdout.splitlines()} == made


@pytest.fixture(scope="module")
def folder(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "adam"
    export(home, folder)
    return folder


def rows_of(folder, name: str) -> list[dict]:
    return pq.read_table(folder / f"{name.lower()}.parquet").to_pylist()


def plain(value):
    """A value as every format has it: missing None, days ISO text."""
    if pd.isna(value) or value == "":
        return None
    return value.isoformat() if isinstance(value, dt.date) else value


def test_the_same_publication_gives_the_same_bytes(home, folder, tmp_path):
    export(home, tmp_path / "again")
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", NAMES)
def test_the_four_formats_hold_the_same_values_and_labels(folder, name):
    table = pq.read_table(folder / f"{name}.parquet")
    frame, meta = pyreadstat.read_xport(folder / f"{name}.xpt")
    content = json.loads((folder / f"{name}.json").read_text("utf-8"))
    texts = pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
    assert table.num_rows == len(frame) == len(texts) == content["records"] > 0
    labels = {field.name: field.metadata[b"label"].decode() for field in table.schema}
    assert labels == meta.column_names_to_labels == {column["name"]: column["label"] for column in content["columns"]}
    for position, (column, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
        values = [plain(value) for value in table[column].to_pylist()]
        assert values == [plain(value) for value in frame[column]], column
        assert values == [row[position] for row in content["rows"]], column
        read = float if str(kind) in {"double", "int32"} else str
        assert values == [read(text) if text else None for text in texts[column]], column


@pytest.mark.parametrize("name", NAMES)
def test_another_reader_of_transport_files_finds_sas_dates_and_the_same_numbers(folder, name):
    table = pq.read_table(folder / f"{name}.parquet")
    frame = pd.read_sas(folder / f"{name}.xpt", format="xport", encoding="utf-8")
    assert list(frame) == table.column_names
    for column, kind in zip(table.column_names, table.schema.types, strict=True):
        values = table[column].to_pylist()
        if str(kind) == "date32[day]":
            values = [None if day is None else (day - dt.date(1960, 1, 1)).days for day in values]
        if str(kind) == "string":
            assert values == [plain(text) for text in frame[column]]
        else:
            # this reader takes a zero for the smallest number
            assert pd.Series(values, dtype=float).fillna(-9e9).tolist() == pytest.approx(
                frame[column].fillna(-9e9).tolist(), rel=0, abs=1e-70
            )


@pytest.mark.parametrize("name", NAMES)
def test_dataset_json_keeps_the_structure_of_version_1_1(folder, name):
    content = json.loads((folder / f"{name}.json").read_text("utf-8"))
    required = {
        "datasetJSONCreationDateTime", "datasetJSONVersion", "itemGroupOID", "records", "name", "label", "columns",
        "rows",
    }  # fmt: skip
    optional = {
        "fileOID", "dbLastModifiedDateTime", "originator", "sourceSystem", "studyOID", "metaDataVersionOID",
        "metaDataRef",
    }  # fmt: skip
    assert content["dbLastModifiedDateTime"] == content["datasetJSONCreationDateTime"]
    assert required <= set(content) <= required | optional
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", content["datasetJSONCreationDateTime"])
    assert content["datasetJSONVersion"] == "1.1.0"
    assert content["itemGroupOID"] == f"IG.{content['name']}" and content["name"] == name.upper()
    assert set(content["sourceSystem"]) == {"name", "version"}
    assert content["records"] == len(content["rows"])
    of_type = {"string": str, "integer": int, "float": (int, float), "date": str}
    for position, column in enumerate(content["columns"]):
        assert {"itemOID", "name", "label", "dataType"} <= set(column)
        assert set(column) <= {
            "itemOID", "name", "label", "dataType", "targetDataType", "length", "displayFormat", "keySequence",
        }  # fmt: skip
        values = [row[position] for row in content["rows"] if row[position] is not None]
        assert all(isinstance(value, of_type[column["dataType"]]) for value in values), column
        if column["dataType"] == "string":
            assert column["length"] == max(map(len, values), default=1)
        if column["dataType"] == "date":
            assert all(dt.date.fromisoformat(value) for value in values)
    keys = sorted((c["keySequence"], position) for position, c in enumerate(content["columns"]) if "keySequence" in c)
    assert [number for number, _ in keys] == list(range(1, len(keys) + 1))
    found = [tuple(row[position] for _, position in keys) for row in content["rows"]]
    assert len(set(found)) == len(found) and found == sorted(found)


@pytest.mark.parametrize("name", NAMES)
def test_dataset_json_has_no_key_that_a_published_file_has_not(folder, shared, name):
    sample = json.loads((shared / "samples" / "datasetjson" / "dm.json").read_text("utf-8"))
    content = json.loads((folder / f"{name}.json").read_text("utf-8"))
    assert set(content) <= set(sample)
    # numeric dates are for analysis datasets only: no domain of the sample has them
    known = {key for column in sample["columns"] for key in column} | {"targetDataType", "displayFormat"}
    assert {key for column in content["columns"] for key in column} <= known


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_parameter_code_and_its_parameter_stand_for_each_other(folder, name):
    pairs = {(row["PARAMCD"], row["PARAM"]) for row in rows_of(folder, name)}
    assert len({code for code, _ in pairs}) == len({text for _, text in pairs}) == len(pairs)
    assert all(len(code) <= 8 for code, _ in pairs)


@pytest.mark.parametrize("name", ["adlb", "adtr"])
def test_change_is_value_minus_the_one_baseline(folder, name):
    baselines = {}
    rows = rows_of(folder, name)
    for row in rows:
        if row["ABLFL"] == "Y":
            key = (row["USUBJID"], row["PARAMCD"], row.get("BASETYPE"))
            assert key not in baselines
            baselines[key] = row["AVAL"]
    assert baselines
    changes = [row for row in rows if row["CHG"] is not None]
    assert changes
    for row in changes:
        assert row["BASE"] == baselines[row["USUBJID"], row["PARAMCD"], row.get("BASETYPE")]
        assert row["CHG"] == pytest.approx(row["AVAL"] - row["BASE"], abs=1e-9)


def test_flags_and_dates_of_subjects_are_those_of_dim_subject(home, folder):
    flags = {True: "Y", False: "N"}
    subjects = {row["subject_id"]: row for row in home.sql("select * from marts.dim_subject")}
    adsl = rows_of(folder, "adsl")
    assert [row["USUBJID"] for row in adsl] == sorted(subjects)
    for row in adsl:
        subject = subjects[row["USUBJID"]]
        assert row["SAFFL"] == flags[subject["in_treated"]]
        assert row["EFFFL"] == flags[subject["in_efficacy"]]
        assert row["RESPFL"] == flags[subject["in_response_evaluable"]]
        dates = ("first_dose_on", "last_dose_on", "enrolled_on", "death_on", "last_alive_on", "new_therapy_on")
        assert [plain(row[name]) for name in ("TRTSDT", "TRTEDT", "ENRLDT", "DTHDT", "LSTALVDT", "NACTDT")] == [
            subject[name] for name in dates
        ]
    assert {row["SAFFL"] for row in adsl} == {"Y", "N"}


def test_every_sample_of_fct_her2_delta_is_a_record_of_adlb_with_its_source(home, folder):
    samples = home.sql(
        """select d.subject_id, d.sample_id, d.analysed_value_ng_ml, d.log2_ratio, d.is_usable,
                l._file_id, l._row_number
            from marts.fct_her2_delta d
            left join staging.stg_lab_results l on d.subject_id = l.subject_id and d.sample_id = l.sample_id
                and d.laboratory is not distinct from l.laboratory and l.analyte = 'serum_her2'"""
    )
    names = ("USUBJID", "LBREFID", "AVAL", "L2RBASE", "ANL01FL", "SRCFILE", "SRCSEQ")
    found = sorted((tuple(row[name] for name in names) for row in rows_of(folder, "adlb")), key=str)
    expected = [tuple("Y" if v is True else None if v is False else v for v in sample.values()) for sample in samples]
    assert found == sorted(expected, key=str)
    assert all(row["SRCDOM"] == "LB" for row in rows_of(folder, "adlb"))


def assert_responses_are_those_of_the_mart(home: Home, folder) -> None:
    flags = {True: "Y", False: "N"}
    expected = {}
    for row in home.sql("select * from marts.fct_best_response"):
        values = {
            "BOR": (row["best_overall_response"], row["best_overall_response_on"]),
            "CBOR": (row["confirmed_best_overall_response"], row["confirmed_best_overall_response_on"]),
            "RSP": (flags[row["is_responder"]], row["first_response_on"]),
            "CRSP": (flags[row["is_confirmed_responder"]], row["confirmed_response_on"]),
            "DCR": (flags[row["has_disease_control"]], None),
            "CBR": (flags[row["has_clinical_benefit"]], None),
        }
        suffix = "" if row["evaluator"] == "INVESTIGATOR" else "B"
        expected |= {(row["subject_id"], row["evaluator"], code + suffix): value for code, value in values.items()}
    codes = {code for _, _, code in expected}
    rows = [row for row in rows_of(folder, "adrs") if row["PARAMCD"] in codes]
    found = {(row["USUBJID"], row["EVAL"], row["PARAMCD"]): (row["AVALC"], plain(row["ADT"])) for row in rows}
    assert len(rows) == len(found) > 0
    assert found == expected


def assert_times_are_those_of_the_mart(home: Home, folder) -> None:
    codes = {"PFS_OTHER_RULES": "PFSOTH", "DOR": "RSD", "DOR_UNCONFIRMED": "RSDU"}
    times = home.sql("select * from marts.fct_time_to_event where endpoint <> 'OS' or evaluator = 'INVESTIGATOR'")
    expected = {
        (
            row["subject_id"],
            codes.get(row["endpoint"], row["endpoint"]) + ("" if row["evaluator"] == "INVESTIGATOR" else "B"),
            row["duration_days"], row["start_on"], row["end_on"], 0 if row["is_event"] else 1,
            row["event_description"] or row["censoring_reason"],
        )
        for row in times
    }  # fmt: skip
    names = ("USUBJID", "PARAMCD", "AVAL", "STARTDT", "ADT", "CNSR", "EVNTDESC")
    found = [tuple(plain(row[name]) for name in names) for row in rows_of(folder, "adtte")]
    assert len(found) == len(set(found)) == len(times) > 0
    assert set(found) == expected


def test_responses_are_those_of_fct_best_response(home, folder):
    assert_responses_are_those_of_the_mart(home, folder)


def test_times_and_events_are_those_of_fct_time_to_event(home, folder):
    assert_times_are_those_of_the_mart(home, folder)


def assert_sources_hold_the_dates(folder) -> None:
    """SRCDOM, SRCVAR and SRCSEQ lead to a record that holds the date of the record that names them."""
    subjects = {row["USUBJID"]: row for row in rows_of(folder, "adsl")}
    responses = {(row["USUBJID"], row["ASEQ"]): row for row in rows_of(folder, "adrs")}
    for row in rows_of(folder, "adtte"):
        assert row["SRCVAR"], row
        if row["SRCDOM"] == "ADSL":
            assert subjects[row["USUBJID"]][row["SRCVAR"]] == row["ADT"]
        else:
            source = responses[row["USUBJID"], row["SRCSEQ"]]
            assert (source["ADT"], source["EVAL"], source["ANL01FL"]) == (row["ADT"], row["EVAL"], "Y")
            assert (source["AVALC"] == "PD") == (row["EVNTDESC"] == "progressive disease")
            assert source["AVALC"] != "NE"
        assert (row["CNSDTDSC"] is not None) == (row["CNSR"] == 1)
    dated = [row for row in responses.values() if row["PARAMCD"][:3] in {"BOR", "CBO", "RSP", "CRS"} and row["ADT"]]
    assert dated
    for row in dated:
        source = responses[row["USUBJID"], row["SRCSEQ"]]
        assert source["PARAM"].startswith("Overall Response by ") and source["ANL01FL"] == "Y"
        assert [source[name] for name in ("ADT", "ADY", "AVISIT")] == [row[name] for name in ("ADT", "ADY", "AVISIT")]
        if row["PARAMCD"].startswith("BOR") and row["AVALC"] != "NE":
            assert source["AVALC"] == row["AVALC"]


def test_sources_lead_to_the_date(folder):
    assert_sources_hold_the_dates(folder)


def assert_source_rows_stand_in_the_exports(home: Home, folder) -> int:
    """SRCFILE and SRCSEQ lead to a row of an export that is of the subject, and of one row alone to its very value."""
    paths = {row["file_id"]: row["path"] for row in home.sql("select file_id, path from ops.files")}
    exports = {}
    found = 0
    for row in rows_of(folder, "adlb") + rows_of(folder, "adtr") + rows_of(folder, "adrs"):
        if row["SRCFILE"] is None:
            continue
        found += 1
        path = home.settings.landing / paths[row["SRCFILE"]]
        if path not in exports:
            exports[path] = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
        source = exports[path][row["SRCSEQ"] - 1]
        assert row["USUBJID"] in {source.get("USUBJID"), source.get("subject_id")}
        if row["SRCDOM"] == "TR" and row["PARAMCD"][:5] in {"LDIAM", "SAXIS"} and row["SRCNROWS"] == 1:
            number, unit = source.get("TRORRES") or source.get("value"), source.get("TRORRESU") or source.get("unit")
            if unit == "mm":
                assert float(number) == row["AVAL"]
        if row["PARAMCD"].startswith("OVRR") and row["SRCNROWS"] == 1:
            assert source["RSORRES"] == row["AVALC"]
    return found


def test_source_rows_stand_in_the_exports(home, folder):
    assert assert_source_rows_stand_in_the_exports(home, folder) > 500


def test_every_size_and_every_response_of_a_visit_has_a_source(folder):
    assert all(row["SRCDOM"] for row in rows_of(folder, "adtr"))
    assert all(row["SRCDOM"] for row in rows_of(folder, "adrs") if row["PARAMCD"].startswith(("OVR", "TRG")))


def test_a_response_leads_to_what_made_it_a_progression(home, folder):
    """Of a new lesion to the row that states it, of a sum to one of its measurements, of a reported one to RS."""
    domains = {"new lesion": set(), "target": set()}
    parts = {
        (row["USUBJID"], row["EVAL"], row["EVALID"], row["ADT"], row["AVISIT"], row["PARAMCD"]): row["AVALC"]
        for row in rows_of(folder, "adrs")
    }
    for row in rows_of(folder, "adrs"):
        if row["PARAMCD"] == "OVR" and row["AVALC"] == "PD":
            key = tuple(row[name] for name in ("USUBJID", "EVAL", "EVALID", "ADT", "AVISIT"))
            if parts.get((*key, "TRGRESP")) == "PD":
                domains["target"].add(row["SRCDOM"])
            elif parts.get((*key, "NTGRESP")) != "PD":
                domains["new lesion"].add(row["SRCDOM"])
    assert domains == {"new lesion": {"RS"}, "target": {"TR"}}
    assert {row["SRCDOM"] for row in rows_of(folder, "adrs") if row["PARAMCD"] == "OVRR"} == {"RS"}


def records(folder, name: str, subject: str, code: str) -> list[dict]:
    return [row for row in rows_of(folder, name) if row["USUBJID"] == subject and row["PARAMCD"] == code]


def test_an_incomplete_sum_is_a_parameter_of_its_own(folder):
    sums = [(row["AVAL"], row["BASE"], row["CHG"], row["AVISIT"]) for row in records(folder, "adtr", "P-1", "SDIAM")]
    assert sums == [(80, 80, 0, "SCREENING"), (53, 80, -27, "SECOND")]
    (incomplete,) = records(folder, "adtr", "P-1", "ISDIAM")
    assert (incomplete["AVAL"], incomplete["BASE"], incomplete["CHG"]) == (32.5, None, None)


def test_diameters_are_per_lesion_with_the_lesions_own_baseline(folder):
    first, second = records(folder, "adtr", "P-1", "LDIAM1"), records(folder, "adtr", "P-1", "LDIAM2")
    assert [(row["TRLNKID"], row["TULOC"], row["AVAL"], row["CHG"]) for row in first] == [
        ("T01", "LIVER", 50, 0), ("T01", "LIVER", 33, -17), ("T01", "LIVER", 32.5, -17.5),
    ]  # fmt: skip
    assert [(row["TRLNKID"], row["AVAL"], row["BASE"]) for row in second] == [("T02", 30, 30), ("T02", 20, 30)]


def test_the_baseline_of_a_lesion_is_its_last_diameter_before_treatment(folder):
    third = records(folder, "adtr", "P-3", "LDIAM3")
    assert [(row["AVISIT"], row["AVAL"], row["BASE"], row["ABLFL"]) for row in third] == [
        ("SCREENING", 20, 20, "Y"), ("WEEK 6", None, 20, None),
    ]  # fmt: skip
    second = records(folder, "adtr", "P-3", "LDIAM2")
    assert [(row["AVISIT"], row["AVAL"], row["BASE"], row["ABLFL"]) for row in second] == [
        ("BASELINE", 42, 42, "Y"), ("WEEK 6", 55, 42, None),
    ]  # fmt: skip
    (baseline, week_6) = records(folder, "adtr", "P-3", "SDIAM")
    assert (baseline["AVAL"], baseline["SRCNROWS"], baseline["ADT"]) == (80, 3, dt.date(2023, 1, 8))
    assert (week_6["AVAL"], week_6["BASE"], week_6["NADIR"], week_6["CHGNAD"], week_6["PCHGNAD"]) == (
        63, 80, 80, -17, -21.25,
    )  # fmt: skip


def test_a_merged_lesion_has_no_diameter_of_its_own_and_says_so(folder):
    (_, merged) = records(folder, "adtr", "P-3", "LDIAM3")
    assert (merged["AVAL"], merged["AVALC"], merged["ANL01FL"]) == (None, "MERGED INTO T01/T02", None)


def test_a_node_is_measured_by_its_short_axis(folder):
    rows = records(folder, "adtr", "P-3", "SAXIS1")
    assert [(row["AVAL"], row["PCHG"], row["SRCSEQ"]) for row in rows] == [(18, 0, 14), (8, -55.5556, 16)]
    assert {row["PARAM"] for row in rows} == {"Short Axis of Target Lesion 1 by Investigator (mm)"}


def test_the_best_change_leads_to_the_sum_that_it_is_of(folder):
    sums = {(row["USUBJID"], row["ASEQ"]): row for row in rows_of(folder, "adtr")}
    best = [row for row in rows_of(folder, "adtr") if row["PARAMCD"].startswith("BSTPCHG")]
    assert best
    for row in best:
        source = sums[row["USUBJID"], row["SRCSEQ"]]
        assert (source["PCHG"], source["ADT"], source["ADY"]) == (row["AVAL"], row["ADT"], row["ADY"])


def test_who_left_the_study_is_told_from_who_is_observed(folder):
    subjects = {row["USUBJID"]: row for row in rows_of(folder, "adsl")}
    told = [subjects[name] for name in ("P-1", "P-2", "P-3")]
    assert [(row["EOSSTT"], row["EOSDT"], row["DCSREAS"]) for row in told] == [
        ("DISCONTINUED", dt.date(2023, 6, 1), "DEATH"),
        ("ONGOING", None, None),
        ("DISCONTINUED", dt.date(2023, 3, 20), "LOST TO FOLLOW-UP"),
    ]
    assert [row["TRTDURD"] for row in told] == [1, None, 22]


def test_progression_death_and_last_assessment_are_parameters(folder):
    subjects = {row["USUBJID"]: row for row in rows_of(folder, "adsl")}
    overall = [row for row in rows_of(folder, "adrs") if row["PARAMCD"] == "OVR" and row["ANL01FL"] == "Y"]
    by_code = {
        code: {row["USUBJID"]: row for row in rows_of(folder, "adrs") if row["PARAMCD"] == code}
        for code in ("PD", "LSTA", "DEATH", "MDIS")
    }
    treated = {name for name, row in subjects.items() if row["SAFFL"] == "Y"}
    assert set(by_code["PD"]) == set(by_code["DEATH"]) == treated
    for name in treated:
        days = sorted(row["ADT"] for row in overall if row["USUBJID"] == name)
        progressions = [row["ADT"] for row in overall if row["USUBJID"] == name and row["AVALC"] == "PD"]
        assert by_code["PD"][name]["ADT"] == min(progressions, default=None)
        assert by_code["PD"][name]["AVALC"] == ("Y" if progressions else "N")
        assert by_code["DEATH"][name]["ADT"] == subjects[name]["DTHDT"]
        if days:
            assert by_code["LSTA"][name]["ADT"] == days[-1]
    assert by_code["MDIS"]["P-3"]["AVALC"] == "Y" and by_code["DEATH"]["P-1"]["PARAM"] == "Death"


def test_readers_of_another_evaluator_have_codes_and_baselines_of_their_own(folder):
    rows = records(folder, "adtr", "P-1", "SDIAMB")
    assert [(row["EVALID"], row["BASETYPE"], row["AVAL"], row["BASE"], row["ANL01FL"]) for row in rows] == [
        ("READER 1", "READER 1", 48, 48, "Y"), ("READER 1", "READER 1", 60, 48, "Y"),
        ("READER 2", "READER 2", 47, 47, None), ("READER 2", "READER 2", 46, 47, None),
    ]  # fmt: skip
    overall = records(folder, "adrs", "P-1", "OVRB")
    assert [(row["EVALID"], row["AVALC"], row["ANL01FL"], row["ANL02FL"]) for row in overall] == [
        ("READER 1", "PD", "Y", "Y"), ("READER 2", "SD", None, None),
    ]  # fmt: skip
    (best,) = records(folder, "adrs", "P-1", "BORB")
    assert (best["AVALC"], best["AVAL"], best["SRCSEQ"]) == ("PD", 5, overall[0]["ASEQ"])


def test_imputed_dates_are_flagged_wherever_they_are_used(folder):
    (scan,) = [row for row in records(folder, "adtr", "P-1", "SDIAM") if row["AVISIT"] == "SECOND"]
    assert (scan["ADT"], scan["ADTF"]) == (dt.date(2023, 2, 1), "D")
    responses = records(folder, "adrs", "P-1", "OVR") + records(folder, "adrs", "P-1", "RSP")
    assert {row["ADTF"] for row in responses if row["ADT"] == dt.date(2023, 2, 1)} == {"D"}
    assert {row["ADTF"] for row in responses if row["ADT"] == dt.date(2023, 4, 3)} == {None}
    (death,) = records(folder, "adtte", "P-1", "OS")
    (subject,) = [row for row in rows_of(folder, "adsl") if row["USUBJID"] == "P-1"]
    assert (subject["DTHDTF"], death["ADTF"], death["SRCVAR"]) == ("D", "D", "DTHDT")
    # two missed assessments before the death: the time is censored at the scan of the uncertain day
    (progression,) = records(folder, "adtte", "P-1", "PFS")
    assert (progression["ADT"], progression["CNSR"], progression["SRCVAR"]) == (dt.date(2023, 2, 1), 1, "ADT")
    assert (progression["ADTF"], progression["CNSDTDSC"]) == ("D", "last adequate assessment")
    (response,) = records(folder, "adtte", "P-1", "RSDU")
    assert (response["STARTDT"], response["STARTDTF"], response["ADY"]) == (dt.date(2023, 2, 1), "D", 23)


def test_an_imputed_first_dose_is_flagged_and_not_before_enrolment(folder):
    flags = {row["USUBJID"]: (row["TRTSDT"], row["TRTSDTF"]) for row in rows_of(folder, "adsl")}
    assert flags["P-4"] == (dt.date(2023, 1, 5), "D") and flags["P-1"] == (dt.date(2023, 1, 10), None)
    (progression,) = records(folder, "adtte", "P-4", "PFS")
    assert (progression["STARTDT"], progression["STARTDTF"]) == (dt.date(2023, 1, 5), "D")
    assert (progression["ADT"], progression["ADTF"], progression["SRCVAR"]) == (dt.date(2023, 1, 5), "D", "TRTSDT")
    (unflagged,) = records(folder, "adtte", "P-1", "PFS")
    assert unflagged["STARTDTF"] is None


def test_a_value_below_the_limit_keeps_what_was_reported_beside_what_is_analysed(folder):
    first, second = records(folder, "adlb", "P-1", "SHER2")
    assert (first["LBSTRESC"], first["AVAL"], first["BLQFL"], first["ABLFL"]) == ("12.5", 12.5, None, "Y")
    assert (second["LBSTRESC"], second["AVAL"], second["BLQFL"], second["BASE"]) == ("<4.5", 2.25, "Y", 12.5)
    assert (second["AVALC"], second["ANRHI"]) == ("2.25", 15)


def test_untreated_subjects_have_no_treatment_and_no_times(folder):
    (subject,) = [row for row in rows_of(folder, "adsl") if row["USUBJID"] == "P-2"]
    assert (subject["TRT01P"], subject["TRT01A"], subject["SAFFL"]) == ("Trastuzumab deruxtecan", None, "N")
    assert not [row for row in rows_of(folder, "adtte") if row["USUBJID"] == "P-2"]


def test_variables_csv_describes_every_variable(folder):
    with (folder / "variables.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    described = {(row["dataset"].lower(), row["variable"]): row["label"] for row in rows}
    for name in NAMES:
        for field in pq.read_schema(folder / f"{name}.parquet"):
            assert described.pop((name, field.name)) == field.metadata[b"label"].decode()
    assert not described


def test_without_a_publication_the_message_says_what_to_run(tmp_path):
    done = make_home(tmp_path).sher2("export", "--adam", str(tmp_path / "out"))
    assert done.returncode == 2 and "sher2 run" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_changed_protocol_is_refused_until_it_is_published(home, tmp_path):
    text = home.settings.study_file.read_text("utf-8").replace("rules: fda", "rules: ema")
    changed = tmp_path / "study.yaml"
    changed.write_text(text, "utf-8")
    done = Home(replace(home.settings, study_file=changed)).sher2("export", "--adam", str(tmp_path / "out"))
    assert done.returncode == 2 and str(changed) in done.stderr and "sher2 run" in done.stderr
    assert not (tmp_path / "out").exists()


def test_text_that_sas_cannot_hold_is_refused_before_anything_is_written(home, tmp_path):
    other = Home(replace(home.settings, home=tmp_path / "other"))
    other.settings.prepare()
    other.settings.warehouse.write_bytes(home.settings.warehouse.read_bytes())
    with duckdb.connect(str(other.settings.warehouse)) as connection:
        connection.execute(
            "update marts.dim_subject set discontinuation_reason = repeat('x', 201) where subject_id = 'P-2'"
        )
    done = other.sher2("export", "--adam", str(tmp_path / "out"))
    assert done.returncode == 2 and "ADSL.DISCREAS, row 2 (USUBJID P-2): 201 bytes" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_refused(home, tmp_path):
    (tmp_path / "taken").write_text("mine")
    done = home.sher2("export", "--adam", str(tmp_path / "taken"))
    assert done.returncode == 2 and "taken" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "taken").read_text() == "mine"


# --- the small public study (pharmaversesdtm) against its published ADaM (pharmaverseadam, Apache-2.0)

PUBLIC_STUDY = {
    "study": {"drugs": ["PLACEBO", "XANOMELINE"], "timezone": "UTC"},
    "response": {"duration_window_days": 0, "clinical_benefit_days": 42},
    "dates": {"impute_day": "last"},
}
PUBLIC_FILES = {
    "clinical": ("dm", "ds", "ex", "sv"),
    "lab": ("lb",),
    "imaging": ("tu_onco_recist", "tr_onco_recist", "rs_onco_recist"),
}


@pytest.fixture(scope="module")
def public(tmp_path_factory, shared) -> Home:
    home = make_home(tmp_path_factory.mktemp("public"), PUBLIC_STUDY)
    for folder, names in PUBLIC_FILES.items():
        for name in names:
            home.drop(f"{folder}/{name}.csv", (shared / "samples" / "sdtm" / f"{name}.csv").read_bytes())
    home.run()
    return home


@pytest.fixture(scope="module")
def public_folder(public, tmp_path_factory):
    folder = tmp_path_factory.mktemp("public_export") / "adam"
    export(public, folder)
    return folder


def published(shared, name: str, codes: set[str]) -> list[dict]:
    with (shared / "reference" / "recist" / f"published_{name}_small_set.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["PARAMCD"] in codes]


def test_responses_equal_the_published_ones(public_folder, shared):
    codes = {"OVR", "BOR", "CBOR", "RSP", "CRSP", "PD", "LSTA", "DEATH", "MDIS"}
    expected = published(shared, "adrs", codes)
    subjects = {row["USUBJID"] for row in expected}
    assert len(subjects) == 8 and len(expected) == 86

    def key(row):
        value = row["AVALC"], int(float(row["AVAL"])), plain(row["ADT"]), plain(row["AVISIT"])
        return row["USUBJID"], row["PARAMCD"], *value

    rows = rows_of(public_folder, "adrs")
    ours = {key(row) for row in rows if row["PARAMCD"] in codes and row["USUBJID"] in subjects}
    theirs = {key(row) for row in expected}
    # The scan of week 6 is dated 2014-02. Published: the last of the month. Ours: the visit's full date, known from the
    # visits and the other reads, goes before any imputation (RECIST.md section 1).
    scan = ("01-701-1015", "OVR", "NE", 6)
    assert theirs - ours == {(*scan, "2014-02-28", "WEEK 6")}
    assert ours - theirs == {(*scan, "2014-02-12", "WEEK 6")}


def test_clinical_benefit_equals_the_published_one(public_folder, shared):
    """CCB, from 42 days on and without its dates: ours is dated by what it rests on. CB is the same of unconfirmed
    responses, which we have no parameter for, and BCP is RSP under the date of BOR."""
    theirs = {(row["USUBJID"], row["AVALC"]) for row in published(shared, "adrs", {"CCB"})}
    found = rows_of(public_folder, "adrs")
    assert {(row["USUBJID"], row["AVALC"]) for row in found if row["PARAMCD"] == "CBR"} >= theirs
    best = {(row["USUBJID"], row["AVALC"]) for row in published(shared, "adrs", {"BCP"})}
    assert {(row["USUBJID"], row["AVALC"]) for row in found if row["PARAMCD"] == "RSP"} >= best


def test_every_published_parameter_is_compared_or_named(shared):
    compared = {"OVR", "BOR", "CBOR", "RSP", "CRSP", "PD", "LSTA", "DEATH", "MDIS", "CCB", "BCP"}
    with (shared / "reference" / "recist" / "published_adrs_small_set.csv").open(newline="") as file:
        assert {row["PARAMCD"] for row in csv.DictReader(file)} == compared | {"CB"}


def test_the_assessments_used_in_best_response_are_the_published_ones(public_folder, shared):
    expected = {(r["USUBJID"], r["AVISIT"]) for r in published(shared, "adrs", {"OVR"}) if r["ANL02FL"] == "Y"}
    subjects = {subject for subject, _ in expected}
    ours = [r for r in rows_of(public_folder, "adrs") if r["PARAMCD"] == "OVR" and r["USUBJID"] in subjects]
    assert {(r["USUBJID"], r["AVISIT"]) for r in ours if r["ANL02FL"] == "Y"} == expected
    assert {(r["USUBJID"], r["AVISIT"]) for r in ours} > expected


def test_times_equal_the_published_ones(public_folder, shared):
    # Published RSD starts at the first response, confirmed or not: our RSDU.
    codes = {"PFS": "PFS", "OS": "OS", "RSD": "RSDU"}
    theirs = {
        (r["USUBJID"], codes[r["PARAMCD"]], int(float(r["AVAL"])), r["STARTDT"], r["ADT"], int(r["CNSR"]))
        for r in published(shared, "adtte", set(codes))
    }
    subjects = {row[0] for row in theirs}
    names = ("USUBJID", "PARAMCD", "AVAL", "STARTDT", "ADT", "CNSR")
    ours = {
        tuple(plain(row[name]) for name in names)
        for row in rows_of(public_folder, "adtte")
        if row["USUBJID"] in subjects and row["PARAMCD"] in codes.values()
    }
    assert len(theirs) == 20
    # Alive until when: published, the end of treatment, which lies before the last scan (2013-02-01); ours, the latest
    # date of any record (RECIST.md section 6), here the retrieval visit.
    survival = ("01-701-1115", "OS")
    assert theirs - ours == {(*survival, 55, "2012-11-30", "2013-01-23", 1)}
    assert ours - theirs == {(*survival, 172, "2012-11-30", "2013-05-20", 1)}


def test_several_evaluators_keep_to_the_marts(public, public_folder):
    assert_responses_are_those_of_the_mart(public, public_folder)
    assert_times_are_those_of_the_mart(public, public_folder)
    assert_sources_hold_the_dates(public_folder)
    assert_source_rows_stand_in_the_exports(public, public_folder)


def test_without_serum_her2_adlb_is_there_and_empty(public_folder):
    assert rows_of(public_folder, "adlb") == []
    _, meta = pyreadstat.read_xport(public_folder / "adlb.xpt")
    assert "AVAL" in meta.column_names
