"""What the expectations say about a row: which rule it breaks, whether it is set apart, and what the message tells."""

import gc
import json
import weakref
from datetime import date
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from orchestration import validation
from orchestration.exports.records import RECORDS, UNREADABLE
from orchestration.judged import Frame, Origin
from orchestration.rules import rules_hash, suites
from orchestration.settings import EXPECTATIONS
from orchestration.study import Study
from orchestration.validation import validate

FILE = "f" * 64

GOOD = {
    "subjects": {"subject_id": "S1", "age_years": "51", "sex": "F", "ihc_score": "1+", "enrolled_on": "2024-01-02"},
    "exposures": {"subject_id": "S1", "treatment": "T-DXD", "dose": "300", "dose_unit": "mg", "start_on": "2024-01-05"},
    "visits": {"subject_id": "S1", "visit_name": "C1D1", "visit_on": "2024-01-05"},
    "lab_results": {
        "subject_id": "S1", "sample_id": "A1", "analyte": "HER2", "analyte_key": "serum_her2", "value": "12.5",
        "value_number": "12.5", "unit": "ng/mL", "unit_code": "ng/mL", "collected_at": "2024-01-05T08:00:00Z",
        "collected_at_on": "2024-01-05", "reported_at": "2024-01-06T08:00:00Z", "reported_at_on": "2024-01-06",
        "result_status": "F", "laboratory": "L1", "lloq": "1.5", "uloq": "350",
    },
    "tumor_identifications": {
        "subject_id": "S1", "lesion_id": "T01", "role": "TARGET", "location": "LIVER", "identified_on": "2024-01-02",
    },
    "tumor_measurements": {
        "subject_id": "S1", "lesion_id": "T01", "test": "DIAMETER", "value": "21", "value_number": "21",
        "unit": "mm", "unit_code": "mm", "assessed_on": "2024-01-02",
    },
    "tumor_responses": {
        "subject_id": "S1", "test": "OVRLRESP", "value": "PR", "value_code": "PR", "assessed_on": "2024-03-02",
    },
    "dispositions": {"subject_id": "S1", "category": "DISPOSITION", "term": "COMPLETED", "occurred_on": "2024-09"},
    "therapies": {"subject_id": "S1", "treatment": "CAPECITABINE", "started_on": "2024"},
    "survival_status": {"subject_id": "S1", "status": "ALIVE", "assessed_on": "2024-10-01"},
}  # fmt: skip


def table(record: str, *rows: dict, file_id: str = FILE) -> pa.Table:
    """Canonical rows as a reader returns them, with the file they come from."""
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in RECORDS[record].column_names}
    columns |= {
        "_row_number": pa.array(range(1, len(rows) + 1), pa.int64()),
        "_source": pa.array([list(row.get("_source", {}).items()) for row in rows], pa.map_(pa.string(), pa.string())),
        "_misread": pa.array([row.get("_misread") for row in rows], pa.string()),
        "_file_id": pa.array([file_id] * len(rows), pa.string()),
    }
    return pa.table(columns)


def rules(record: str, **changes) -> dict[str, str]:
    """Rule -> severity of the faults of a good row with some columns changed."""
    faults = validate(record, table(record, GOOD[record] | changes), Study()).row_faults
    return dict(zip(faults["rule"].to_pylist(), faults["severity"].to_pylist(), strict=True))


@pytest.mark.parametrize("record", RECORDS)
def test_a_good_row_is_accepted(record):
    result = validate(record, table(record, GOOD[record]), Study())
    assert result.row_faults.num_rows == 0 and result.rejected_by.to_pylist() == [None] and not result.rejections
    assert all(result.results["success"].to_pylist())


@pytest.mark.parametrize(
    ("record", "name"), [(record.name, name) for record in RECORDS.values() for name in record.required]
)
def test_a_blank_required_value_fails_the_row(record, name):
    assert rules(record, **{name: None})["required_value"] == "warning"


DATES = {
    UNREADABLE + "03/04/2025": "date_readable",
    "2025-02-30": "date_readable",
    "2025-13": "date_readable",
    "2025-W01-1": "date_readable",
    "25-01-01": "date_readable",
    "0205-01-01": "date_in_range",
    "2999": "date_in_range",
    "2025-02": None,
    "2024-02-29": None,
}


@pytest.mark.parametrize(
    ("record", "name"),
    [(record.name, column.name) for record in RECORDS.values() for column in record.columns if column.kind == "date"],
)
def test_dates_are_real_days_of_a_sensible_year(record, name):
    rows = [GOOD[record] | {name: text} for text in DATES]
    assert validate(record, table(record, *rows), Study()).rejected_by.to_pylist() == list(DATES.values())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"unit": "U/mL", "unit_code": None}, {"known_unit": "warning"}),
        ({"unit": "mm", "unit_code": "mm"}, {"known_unit": "warning"}),
        ({"value": "positive", "value_number": None}, {"value_readable": "warning"}),
        ({"value": "<1.5", "value_operator": "<", "value_number": "1.5"}, {}),
        ({"value": "BLQ", "value_operator": "<", "value_number": None}, {}),
        ({"value": "> 350", "value_operator": ">", "value_number": "350"}, {}),
        ({"value": "-3", "value_number": "-3"}, {"negative_value": "warning"}),
        ({"value": "0", "value_number": "0", "lloq": None}, {"zero_value": "info"}),
        ({"value": "10000", "value_number": "10000", "uloq": None}, {}),
        ({"value": "10000.1", "value_number": "10000.1", "uloq": None}, {"plausible_value": "info"}),
        ({"value": "11", "value_number": "11", "unit": "mg/L", "unit_code": "mg/L"}, {"plausible_value": "info"}),
        ({"value": "20000", "value_number": "20000", "uloq": None, "unit": "pg/mL", "unit_code": "pg/mL"}, {}),
        ({"value": "1.2", "value_number": "1.2"}, {"value_above_lloq": "info"}),
        ({"value": "351", "value_number": "351"}, {"value_below_uloq": "info"}),
        ({"uloq": "1.4"}, {"limits_in_order": "info", "value_below_uloq": "info"}),
        ({"lloq": UNREADABLE + "1,5"}, {"number_readable": "warning"}),
        ({"reported_at": "2024-01-05T07:59:59Z", "reported_at_on": "2024-01-05"}, {"reported_after_collected": "info"}),
        ({"reported_at": "2024-01-05", "reported_at_on": "2024-01-05"}, {}),
        ({"reported_at": "2024-01-04", "reported_at_on": "2024-01-04"}, {"reported_after_collected": "info"}),
        ({"collected_at": "2024-01-05T25:00:00Z"}, {"timestamp_readable": "warning"}),
        ({"result_status": "Q"}, {"known_result_status": "warning"}),
        ({"result_status": "X", "value": None, "value_number": None, "unit": None, "unit_code": None}, {}),
        ({"specimen": UNREADABLE + "S?"}, {"undeclared_value": "warning"}),
        # other analytes are kept as they are
        ({"analyte_key": None, "unit": None, "unit_code": None, "value": "pos", "value_number": None}, {}),
    ],
)
def test_lab_results(changes, expected):
    assert rules("lab_results", **changes) == expected


@pytest.mark.parametrize(
    ("record", "changes", "expected"),
    [
        ("subjects", {"age_years": "130"}, {"age_in_range": "info"}),
        ("subjects", {"age_years": UNREADABLE + "fifty"}, {"number_readable": "warning"}),
        ("subjects", {"sex": "W"}, {"known_sex": "info"}),
        ("subjects", {"ihc_score": "LOW"}, {"known_ihc_score": "info"}),
        ("subjects", {"death_on": "2023-12-31"}, {"death_after_enrolment": "info"}),
        ("exposures", {"dose": "-1"}, {"negative_dose": "warning"}),
        ("exposures", {"dose": "0", "dose_unit": None}, {}),
        ("exposures", {"dose_unit": None}, {"dose_without_unit": "info"}),
        ("exposures", {"end_on": "2024-01-04"}, {"end_after_start": "info"}),
        ("exposures", {"end_on": "2024"}, {}),
        ("tumor_identifications", {"role": "TARGETT"}, {"known_role": "warning"}),
        ("tumor_identifications", {"identified_on": None, "visit_name": "SCREENING"}, {}),
        ("tumor_identifications", {"location": None}, {"target_without_location": "info"}),
        ("tumor_identifications", {"location": None, "role": "NON-TARGET"}, {}),
        ("tumor_measurements", {"value": "401", "value_number": "401"}, {"diameter_in_range": "warning"}),
        ("tumor_measurements", {"value": "41", "value_number": "41", "unit": "cm", "unit_code": "cm"},
         {"diameter_in_range": "warning"}),
        ("tumor_measurements", {"value": "2.1", "value_number": "2.1", "unit": "cm", "unit_code": "cm"}, {}),
        ("tumor_measurements", {"unit": None, "unit_code": None}, {"known_unit": "warning"}),
        ("tumor_measurements", {"value": None, "value_number": None, "status": "NOT DONE", "unit_code": None}, {}),
        ("tumor_measurements", {"value": "TOO SMALL TO MEASURE", "value_number": None, "unit_code": None, "unit": None,
                                "value_code": "TOO SMALL TO MEASURE"}, {}),
        ("tumor_measurements", {"value": "21mm?", "value_number": None}, {"value_readable": "warning"}),
        ("tumor_measurements", {"test": "TUMSTATE", "value": "GONE", "value_number": None, "unit_code": None},
         {"known_state": "warning"}),
        ("tumor_measurements", {"test": "SUMDIAM", "lesion_id": None, "value": "900", "value_number": "900"}, {}),
        ("tumor_measurements", {"test": "SUMDIAM", "value": "-1", "value_number": "-1"}, {"negative_sum": "warning"}),
        ("tumor_measurements", {"test": "VOLUME", "unit": "mL", "unit_code": None}, {"known_test": "info"}),
        ("tumor_responses", {"value": "CHECK", "value_code": None}, {"known_response": "warning"}),
        ("tumor_responses", {"test": "BESTRESP", "value": "?", "value_code": None}, {"known_test": "info"}),
        ("survival_status", {"status": "MAYBE"}, {"known_survival_status": "warning"}),
    ],
)  # fmt: skip
def test_other_records(record, changes, expected):
    assert rules(record, **changes) == expected


def test_different_values_of_one_result_in_one_file_are_both_set_apart():
    good = GOOD["lab_results"]
    rows = [
        good,
        good | {"value": "13", "value_number": "13"},
        good | {"sample_id": "A2"},
        good | {"sample_id": "A2", "value": "12.50", "value_number": "12.50"},  # the same number
        good | {"sample_id": "A3"},
        good | {"sample_id": "A3", "value": "13", "value_number": "13", "result_status": "C"},  # another version
    ]
    rejected_by = validate("lab_results", table("lab_results", *rows), Study()).rejected_by.to_pylist()
    assert rejected_by == ["conflict", "conflict", None, None, None, None]


def test_the_same_result_in_two_files_is_no_conflict_of_validation():
    good = GOOD["lab_results"]
    first = table("lab_results", good, file_id="a" * 64)
    second = table("lab_results", good | {"value": "9", "value_number": "9"}, file_id="b" * 64)
    assert validate("lab_results", pa.concat_tables([first, second]), Study()).row_faults.num_rows == 0


def test_a_ragged_row_breaks_that_one_rule():
    row = {"_misread": "5 fields instead of 6", "_source": {"(line)": "S1,A1,HER2,12"}}
    result = validate("lab_results", table("lab_results", GOOD["lab_results"], row), Study())
    (fault,) = result.row_faults.to_pylist()
    assert (fault["rule"], fault["row_number"], fault["value"]) == ("ragged_row", 2, "S1,A1,HER2,12")
    assert "5 fields instead of 6" in fault["message"]


def test_a_file_of_broken_lines_is_refused_and_the_other_file_is_not():
    broken = table("visits", *[{"_misread": "wrong number of fields"}] * 12, file_id="b" * 64)
    result = validate("visits", pa.concat_tables([table("visits", *[GOOD["visits"]] * 12), broken]), Study())
    assert set(result.rejections) == {"b" * 64}
    assert result.rejections["b" * 64][0] == "structure"


@pytest.mark.parametrize(
    ("text", "day"),
    [("45352", "2024-03-01"), ("45352.354", "2024-03-01"), (" 45352,5", "2024-03-01"), ("4535", None), ("453520", None), ("2024-13-01", None)],
)
def test_a_spreadsheets_day_number_is_told_as_what_it_is(text, day):
    (fault,) = validate("visits", table("visits", GOOD["visits"] | {"visit_on": UNREADABLE + text}), Study()).row_faults.to_pylist()
    assert fault["rule"] == "date_readable"
    assert ("day number" in fault["message"] and f"({day}" in fault["message"]) == (day is not None), fault["message"]


@pytest.mark.parametrize("others", [0, 100], ids=["alone", "among many"])
def test_the_message_names_file_row_field_value_rule_and_mend(others):
    row = GOOD["lab_results"] | {"unit": "U/ML", "unit_code": None, "_source": {"Einheit": "U/ml "}}
    origins = {FILE: Origin("lab/2024/lis.csv", {"unit": "Einheit"})}
    rows = [row, *(GOOD["lab_results"] | {"sample_id": f"B{number}", "_source": {"Einheit": "ng"}} for number in range(others))]
    (fault,) = validate("lab_results", table("lab_results", *rows), Study(), origins).row_faults.to_pylist()
    assert fault["value"] == "U/ml "
    for part in ("lab/2024/lis.csv", "row 1", "unit", "U/ml ", "known_unit", "ng/mL"):
        assert part in fault["message"]


def test_the_limits_come_from_the_study():
    study = Study.model_validate({"analytes": {"serum_her2": {"plausible_range": [0, 12]}}})
    faults = validate("lab_results", table("lab_results", GOOD["lab_results"]), study).row_faults
    assert faults["rule"].to_pylist() == ["plausible_value"]


def test_counts_are_of_the_rows_a_rule_applies_to():
    rows = [GOOD["lab_results"], GOOD["lab_results"] | {"analyte_key": None, "unit_code": None}]
    results = validate("lab_results", table("lab_results", *rows), Study()).results.to_pylist()
    evaluated = {result["rule"]: result["evaluated"] for result in results}
    assert evaluated["known_unit"] == 1 and evaluated["ragged_row"] == 2


def test_many_frames_give_what_one_gives(monkeypatch):
    rows = [GOOD["lab_results"] | {"sample_id": f"A{i}", "unit": "ng/mL" if i % 3 else "U/ML", "unit_code": "ng/mL" if i % 3 else None} for i in range(10)]
    whole = validate("lab_results", table("lab_results", *rows), Study())
    monkeypatch.setattr(validation, "FRAME_ROWS", 4)
    cut = validate("lab_results", table("lab_results", *rows), Study())
    assert cut.row_faults.to_pylist() == whole.row_faults.to_pylist()
    assert cut.rejected_by.to_pylist() == whole.rejected_by.to_pylist()
    drop = [name for name in whole.results.column_names if name != "validated_at"]
    assert cut.results.select(drop).to_pylist() == whole.results.select(drop).to_pylist()


def test_nothing_of_a_frame_is_held_when_the_next_one_is_judged(monkeypatch):
    rows = [GOOD["lab_results"] | {"sample_id": f"A{i}", "unit": "ng/mL" if i % 3 else "U/ML", "unit_code": "ng/mL" if i % 3 else None} for i in range(10)]
    held = []

    class Watched(Frame):
        def __init__(self, *told):
            assert [frame() for frame in held] == [None] * len(held)
            held.append(weakref.ref(self))
            super().__init__(*told)

    monkeypatch.setattr(validation, "FRAME_ROWS", 4)
    monkeypatch.setattr(validation, "Frame", Watched)
    gc.disable()  # it would come by now and then
    try:
        assert validate("lab_results", table("lab_results", *rows), Study()).row_faults.num_rows == 4
    finally:
        gc.enable()
    assert len(held) == 3


DIRT = [
    None, "", "-3", "0", "12.5", "1e9", "400000", "120", "2024", "2024-13", "2024-02-30", "2024-01-02", "2031-05-06",
    "1899-01-01", "2024-01-09T10:00:00Z", "2023-12-24T08:00:00Z", UNREADABLE + "03/04/2023", UNREADABLE + "many", "<",
    ">", "U/ML", "cm", "mm", "ng/mL", "pg/mL", "serum_her2", "NOT DONE", "TUMSTATE", "SUMDIAM", "LPERP", "ABSENT", "NE",
    "CR", "NEW", "TARGET", "BLANK", "Y", "N", "X", "F", "P", "DEAD", "3+", "see comment",
]  # fmt: skip


def dirty(record: str, count: int, random: Random) -> pa.Table:
    """Rows of three files: good ones, ones with some fields that are not, copies of others, and lines that are none."""
    names, files = RECORDS[record].column_names, ("a" * 64, "b" * 64, "c" * 64)
    rows: dict[str, list[dict]] = {file_id: [] for file_id in files}
    for number in range(count):
        own = rows[files[min(number * 3 // count, 2)]]
        row = GOOD[record] | {name: random.choice(DIRT) for name in random.sample(names, random.randint(0, 3))}
        if own and random.random() < 0.2:
            row = random.choice(own) | ({"value_number": "13"} if random.random() < 0.5 else {})
        if random.random() < 0.05:
            row = {"_misread": "3 fields where the heading has 9", "_source": {"(line)": "a,b,c"}}
        own.append(row)
    return pa.concat_tables([table(record, *own, file_id=file_id) for file_id, own in rows.items()])


def verdicts(record: str, rows: pa.Table) -> dict:
    origins = {name * 64: Origin(f"{name}.csv", received_on=date(2026, 1, 1)) for name in "abc"}
    result = validate(record, rows, Study(), origins)
    return {
        "rejections": result.rejections,
        "faults": result.row_faults.to_pylist(),
        "rejected_by": result.rejected_by.to_pylist(),
        "results": result.results.drop_columns("validated_at").to_pylist(),
    }


@pytest.mark.parametrize("record", RECORDS)
def test_a_value_is_judged_once_and_every_row_that_holds_it_gets_the_verdict(record, monkeypatch):
    rows = dirty(record, 400, Random(record))
    judged_once = verdicts(record, rows)
    assert {fault["severity"] for fault in judged_once["faults"]} >= {"warning"}

    def each_row_for_itself(frame, names):
        columns = [frame.column(name) for name in names]
        return pa.RecordBatch.from_arrays(columns, list(names)), np.arange(frame.table.num_rows)

    monkeypatch.setattr(validation, "_combinations", each_row_for_itself)
    assert verdicts(record, rows) == judged_once


def test_nothing_judged_is_no_pass():
    assert validate("visits", table("visits"), Study()).results.num_rows == 0


def test_an_expectation_that_crashes_is_no_verdict_on_the_data(tmp_path, monkeypatch):
    suite = json.loads((EXPECTATIONS / "visits.json").read_text("utf-8"))
    suite["expectations"][-1]["kwargs"]["regex"] = "("
    (tmp_path / "visits.json").write_text(json.dumps(suite), "utf-8")
    monkeypatch.setattr("orchestration.rules.EXPECTATIONS", tmp_path)
    with pytest.raises(validation.BrokenExpectation, match=r"visits\.json"):
        validate("visits", table("visits", GOOD["visits"] | {"visit_number": "1"}), Study())


@pytest.mark.parametrize("record", RECORDS)
def test_every_expectation_says_rule_category_owner_and_mend(record):
    checks = suites()[record]
    assert checks
    for check in checks:
        assert check["severity"] in {"critical", "warning", "info"}
        assert check["category"] in {"conformance", "completeness", "plausibility"}
        assert check["rule"].isidentifier() and check["owner"] and check["mend"].endswith(".")


def test_documents_hold_the_words_of_the_suite_and_no_values():
    [document] = validate("lab_results", table("lab_results", GOOD["lab_results"] | {"value": "many"}), Study()).documents
    told = [item["expectation_config"]["meta"]["mend"] for item in document["results"]]
    assert sorted(told) == sorted(check["mend"] for check in suites()["lab_results"])
    assert "many" not in json.dumps(document)


def test_suites_are_read_without_great_expectations():
    import subprocess
    import sys

    code = "import sys; from orchestration.rules import suites; suites(); "
    code += "sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rules_hash_follows_study_and_suites(tmp_path, monkeypatch):
    before = rules_hash(Study())
    assert before == rules_hash(Study())
    changed = Study.model_validate({"analytes": {"serum_her2": {"plausible_range": [0, 12]}}})
    assert rules_hash(changed) != before
    for path in EXPECTATIONS.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "visits.json").write_text(
        (tmp_path / "visits.json").read_text("utf-8").replace("warning", "info", 1), "utf-8"
    )
    monkeypatch.setattr("orchestration.rules.EXPECTATIONS", tmp_path)
    assert rules_hash(Study()) != before
