"""What is simulated is read: only the planted dirt is unreadable, and both layouts say the same."""

import pandas as pd
import pyarrow.compute as pc
import pytest

from orchestration.exports import Rejected, read
from orchestration.exports.records import RECORDS, UNREADABLE
from orchestration.settings import REPOSITORY
from orchestration.simulate import LAYOUTS, write_study
from orchestration.study import load_study


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """By layout: (sheets with their file's name, rules by rejected file)."""
    study = load_study(REPOSITORY / "study.yaml")
    found = {}
    for layout in LAYOUTS:
        out = tmp_path_factory.mktemp(layout)
        write_study(out, 100, 3, layout)
        sheets, rejected = [], {}
        for path in sorted(out.rglob("*.csv")):
            name = str(path.relative_to(out))
            try:
                sheets += [(name, sheet) for sheet in read(path, name, study)]
            except Rejected as refusal:
                rejected[name] = refusal.rule
        found[layout] = sheets, rejected
    return found


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_only_the_error_page_and_the_headerless_file_are_refused(readings, layout):
    rejected = readings[layout][1]
    assert rejected
    for name, rule in rejected.items():
        expected = {"type_mismatch"} if name.endswith("_download.csv") else {"header_mismatch"}
        assert name.endswith(("_download.csv", "_noheader.csv")) and {rule} == expected, (name, rule)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_file_is_read_by_its_declared_source_with_the_date_of_its_export(readings, layout):
    for name, sheet in readings[layout][0]:
        assert sheet.source not in LAYOUTS, name
        assert sheet.exported_on and sheet.exported_on in name


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_only_planted_dates_are_unreadable(readings, layout):
    unreadable = set()
    for _, sheet in readings[layout][0]:
        for column in RECORDS[sheet.record].column_names:
            texts = sheet.table[column]
            marked = pc.fill_null(pc.starts_with(texts, UNREADABLE), False)
            unreadable |= {
                (column.removesuffix("_on"), text.strip(UNREADABLE)) for text in texts.filter(marked).to_pylist()
            }
    assert {text for _, text in unreadable} <= {"03/04/2023", "2023-02-31", "31-Feb-2023"}
    assert ("collected_at", "03/04/2023") in unreadable


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_serum_her2_has_a_known_unit_and_a_value_but_for_the_planted_rows(readings, layout):
    rows = pd.concat(
        [
            sheet.table.select(
                ["analyte_key", "unit", "unit_code", "value", "value_number", "value_operator"]
            ).to_pandas()
            for _, sheet in readings[layout][0]
            if sheet.record == "lab_results"
        ]
    )
    her2 = rows[rows["analyte_key"] == "serum_her2"]
    assert set(her2.loc[her2["unit_code"].isna(), "unit"]) == {"U/mL"}
    assert set(her2.loc[her2["value_number"].isna(), "value"]) == {"see comment"}
    assert "<" in set(her2["value_operator"])


COMPARED = {
    "subjects": [
        "subject_id",
        "site_id",
        "age_years",
        "sex",
        "enrolled_on",
        "death_on",
        "ihc_score",
        "her2_tested_on",
        "hormone_receptor_status",
    ],
    "exposures": ["subject_id", "treatment", "dose", "dose_unit", "started_at"],
    "visits": ["subject_id", "visit_name", "visit_number", "visit_on"],
    "lab_results": [
        "subject_id",
        "sample_id",
        "analyte_key",
        "value_operator",
        "value_number",
        "collected_at",
        "reported_at",
        "result_status",
        "visit_name",
        "laboratory",
        "assay",
        "lloq",
        "uloq",
    ],
    "tumor_identifications": ["subject_id", "lesion_id", "role", "location", "method", "identified_on", "visit_name"],
    "tumor_measurements": ["subject_id", "lesion_id", "test", "value_number", "value_code", "unit_code", "assessed_on"],
    "tumor_responses": ["subject_id", "test", "value_code", "assessed_on", "visit_name"],
    "dispositions": ["subject_id", "category", "term", "occurred_on"],
    "therapies": ["subject_id", "treatment", "category", "started_on"],
    "survival_status": ["subject_id", "status", "assessed_on"],
}


@pytest.mark.parametrize("record", sorted(RECORDS))
def test_both_layouts_say_the_same(readings, record):
    said = {}
    for layout, (sheets, _) in readings.items():
        rows = pd.concat(
            [sheet.table.select(COMPARED[record]).to_pandas() for _, sheet in sheets if sheet.record == record]
        )
        if record == "subjects":  # the receptors and HER2 come in rows of their own in SDTM
            said[layout] = {
                column: set(zip(rows["subject_id"], rows[column], strict=True))
                - {(who, None) for who in rows["subject_id"]}
                for column in COMPARED[record]
            }
            continue
        planted = rows.astype(str).apply(
            lambda column: column.str.contains(f"X-|UNSCHEDULED|2023-02-31|31-Feb|{UNREADABLE}")
        )
        rows = rows[~planted.any(axis=1) & (rows["test"] != "SUMDIAM" if "test" in rows else True)]
        said[layout] = set(rows.itertuples(index=False, name=None))
        assert said[layout]
    if record == "subjects":
        assert said["sdtm"] == said["site"]
    else:
        assert len(said["sdtm"] ^ said["site"]) <= 2, sorted(said["sdtm"] ^ said["site"], key=str)[:6]
