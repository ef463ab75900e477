"""Analysis datasets: what SAS can hold, and four formats that say the same, byte for byte each time."""

import json
import time
from datetime import date

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyreadstat
import pytest

from orchestration.adam.codes import ASSESSMENTS, BEST_RESPONSES, OF_SUBJECT, SIZES, TIMES
from orchestration.adam.context import EVALUATOR_LETTERS, write_context
from orchestration.adam.datasets import DATASETS
from orchestration.adam.formats import WRITERS, Origin, check_text
from orchestration.adam.variables import Dataset, Variable, yes, yes_no
from orchestration.errors import UserError
from orchestration.study import Study

ORIGIN = Origin("ST-1", "0123456789abcdef", "0.1.0", date(2024, 2, 29))
SMALL = Dataset(
    "ADXX",
    "Four Kinds of Variables",
    "",
    ("USUBJID", "ASEQ"),
    (
        Variable("USUBJID", "Unique Subject Identifier", ""),
        Variable("ASEQ", "Analysis Sequence Number", "", "integer"),
        Variable("AVAL", "Analysis Value", "", "float"),
        Variable("AVALC", "Analysis Value (C)", ""),
        Variable("ADT", "Analysis Date", "", "date"),
    ),
)


def small_table(texts=("CR", None, "größer, \"als\" '1'", "=1+1")) -> pa.Table:
    return pa.table(
        {
            "USUBJID": pa.array([f"S-{number}" for number in range(len(texts))], pa.string()),
            "ASEQ": pa.array([1, 2, None, 4][: len(texts)], pa.int32()),
            "AVAL": pa.array([0.1, None, -12.345678, 1e9][: len(texts)], pa.float64()),
            "AVALC": pa.array(texts, pa.string()),
            "ADT": pa.array([date(1960, 1, 1), date(2024, 2, 29), None, date(1959, 12, 31)][: len(texts)], pa.date32()),
        }
    )


def plain(values) -> list:
    """Values with missing ones as None and days as ISO text."""
    days = [value.isoformat() if isinstance(value, date) else value for value in values]
    return [None if pd.isna(value) or value == "" else value for value in days]


@pytest.fixture
def written(tmp_path):
    paths = {ending: tmp_path / f"adxx.{ending}" for ending in WRITERS}
    for ending, write in WRITERS.items():
        write(SMALL, small_table(), ORIGIN, paths[ending])
    return paths


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("TOOLONGXX", "fine"),
        ("1ST", "fine"),
        ("lower", "fine"),
        ("A-B", "fine"),
        ("AVAL", ""),
        ("AVAL", "x" * 41),
        ("AVAL", "ä" * 21),
    ],
)
def test_a_variable_that_sas_cannot_hold_never_comes_to_be(name, label):
    with pytest.raises(ValueError, match="SAS reads"):
        Variable(name, label, "null")


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_dataset_names_each_variable_once_and_its_keys_first_of_all(dataset):
    names = [variable.name for variable in dataset.variables]
    assert len(set(names)) == len(names)
    assert set(dataset.keys) <= set(names)
    assert names[:4] == ["STUDYID", "USUBJID", "SUBJID", "SITEID"]
    assert len(dataset.name) <= 8 and len(dataset.label) <= 40


@pytest.mark.parametrize("dataset", DATASETS[1:], ids=lambda dataset: dataset.name)
def test_a_variable_means_the_same_in_every_dataset_that_has_it(dataset):
    others = {v.name: (v.label, v.kind) for other in DATASETS for v in other.variables if other is not dataset}
    differing = {"ANL01FL", "ANL02FL", "NADIR"}  # their labels say what they hold here
    for variable in dataset.variables:
        if variable.name in others and variable.name not in differing:
            label, kind = others[variable.name]
            assert (variable.label, variable.kind in {"integer", "float"}) == (label, kind in {"integer", "float"})


def test_no_parameter_code_is_another_ones_with_the_letter_of_an_evaluator():
    for group in (SIZES, ASSESSMENTS + BEST_RESPONSES + OF_SUBJECT, TIMES):
        codes = [code + letter for code, *_ in group for letter in ("", *EVALUATOR_LETTERS)]
        assert len(set(codes)) == len(codes)
        assert max(map(len, codes)) <= 8


@pytest.mark.parametrize(
    ("flag", "expected"), [(yes, {True: "Y", False: None, None: None}), (yes_no, {True: "Y", False: "N", None: None})]
)
def test_flags(flag, expected):
    with duckdb.connect() as connection:
        for value, text in expected.items():
            assert connection.execute(
                f"select {flag('v')} from (select cast(? as boolean) as v)", [value]
            ).fetchone() == (text,)


@pytest.mark.parametrize("text", ["x" * 200, "ä" * 100, "", None])
def test_200_bytes_of_text_fit(text):
    check_text(SMALL, small_table(("CR", text)))


@pytest.mark.parametrize(("text", "size"), [("x" * 201, 201), ("ä" * 100 + "x", 201), ("€" * 67, 201)])
def test_longer_text_is_refused_with_variable_row_and_subject(text, size):
    with pytest.raises(UserError, match=rf"ADXX\.AVALC, row 2 \(USUBJID S-1\): {size} bytes"):
        check_text(SMALL, small_table(("CR", text, "x" * 300)))


def test_the_four_formats_hold_the_same_values(written):
    table = pq.read_table(written["parquet"])
    frame, _ = pyreadstat.read_xport(written["xpt"])
    rows = json.loads(written["json"].read_text("utf-8"))["rows"]
    texts = pd.read_csv(
        written["csv"], dtype={"AVALC": str}, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )
    for position, name in enumerate(table.column_names):
        expected = plain(small_table()[name].to_pylist())
        assert plain(table[name].to_pylist()) == expected
        assert plain(frame[name]) == expected
        assert plain(row[position] for row in rows) == expected
        assert plain(texts[name]) == expected


def test_labels_and_date_formats_travel(written):
    labels = {variable.name: variable.label for variable in SMALL.variables}
    _, meta = pyreadstat.read_xport(written["xpt"])
    assert (meta.table_name, meta.file_label) == (SMALL.name, SMALL.label)
    assert meta.column_names_to_labels == labels
    assert meta.original_variable_types["ADT"] == "DATE9"
    schema = pq.read_schema(written["parquet"])
    assert {field.name: field.metadata[b"label"].decode() for field in schema} == labels
    assert schema.metadata[b"build_id"].decode() == ORIGIN.build_id
    content = json.loads(written["json"].read_text("utf-8"))
    assert {column["name"]: column["label"] for column in content["columns"]} == labels
    day = next(column for column in content["columns"] if column["name"] == "ADT")
    assert (day["dataType"], day["targetDataType"], day["displayFormat"]) == ("date", "integer", "DATE9.")


def test_files_tell_the_data_cut_off_and_no_clock(written, tmp_path):
    time.sleep(1.1)  # the times in a transport file have whole seconds
    for ending, write in WRITERS.items():
        again = tmp_path / f"again.{ending}"
        write(SMALL, small_table(), ORIGIN, again)
        assert again.read_bytes() == written[ending].read_bytes(), ending
    assert written["xpt"].read_bytes().count(b"29FEB24:00:00:00") == 4
    assert json.loads(written["json"].read_text("utf-8"))["datasetJSONCreationDateTime"] == "2024-02-29T00:00:00"


def test_a_dataset_without_rows_is_still_a_dataset(tmp_path):
    for ending, write in WRITERS.items():
        write(SMALL, small_table(()), ORIGIN, tmp_path / f"adxx.{ending}")
    names = [variable.name for variable in SMALL.variables]
    frame, meta = pyreadstat.read_xport(tmp_path / "adxx.xpt")
    assert len(frame) == 0 and meta.column_names == names
    content = json.loads((tmp_path / "adxx.json").read_text("utf-8"))
    assert (content["records"], content["rows"]) == (0, [])
    assert (tmp_path / "adxx.csv").read_text("utf-8") == ",".join(names) + "\n"


@pytest.fixture
def context():
    """The small tables beside hand-made marts: two evaluators beside the study's own, visits, dates."""
    with duckdb.connect() as connection:
        for schema in ("marts", "intermediate"):
            connection.execute(f"create schema {schema}")
        connection.execute("create table marts.fct_best_response as select 'INVESTIGATOR' as evaluator")
        connection.execute(
            "create table marts.fct_response as select unnest(['INVESTIGATOR', 'READING ROOM', 'BOARD']) as evaluator"
        )
        connection.execute(
            """create table marts.fct_visit as select * from (values
                ('WEEK 6', 6), ('WEEK 6', 6), ('WEEK 12', 12), ('UNSCHEDULED', 6.1), ('UNSCHEDULED', 12.1),
                ('SCREENING', 0), ('BASELINE', 0), ('FOLLOW-UP', null)
            ) as visits (visit_name, visit_number)"""
        )
        connection.execute(
            """create table intermediate.int_assessment_visits as select * from (values
                ('S1', 'I', '', date '2024-01-01', '2024', true),
                ('S1', 'I', '', date '2024-02-01', '2024-02', true),
                ('S1', 'I', '', date '2024-03-01', '2024-03', true),
                ('S1', 'I', '', date '2024-03-01', '2024-03-01', false)
            ) as visits (subject_id, evaluator, reader, seen_on, on_text, is_imputed)"""
        )
        write_context(connection, Study.model_validate({"endpoints": {"pfs": {"rules": "ema"}}}))
        yield connection


def test_the_studys_own_evaluator_has_the_plain_codes(context):
    found = context.execute("select evaluator, suffix, title from evaluators order by suffix").fetchall()
    assert found == [
        ("INVESTIGATOR", "", "Investigator"),
        ("BOARD", "B", "Board"),
        ("READING ROOM", "C", "Reading Room"),
    ]


def test_more_evaluators_than_letters_are_refused(context):
    context.execute("insert into marts.fct_response select 'E' || i from range(20) as r (i)")
    for table in ("evaluators", "parameters", "numbers", "protocol", "visit_numbers", "imputed_dates"):
        context.execute(f"drop table {table}")
    with pytest.raises(UserError, match="evaluators assessed"):
        write_context(context, Study())


def test_a_visit_has_a_number_only_where_name_and_number_stand_for_each_other(context):
    found = context.execute("select visit_name, visit_number from visit_numbers order by visit_number").fetchall()
    assert found == [("WEEK 6", 6), ("WEEK 12", 12)]


def test_an_imputed_date_says_how_much_of_it_is_imputed_unless_the_day_is_reported_too(context):
    found = context.execute("select on_date, flag from imputed_dates order by on_date").fetchall()
    assert found == [(date(2024, 1, 1), "M"), (date(2024, 2, 1), "D")]


def test_titles_name_the_rules_of_the_study(context):
    found = dict(context.execute("select code, title from parameters where code like 'PFS%'").fetchall())
    assert found == {"PFS": "Progression-Free Survival (EMA Rules)", "PFSOTH": "Progression-Free Survival (FDA Rules)"}
