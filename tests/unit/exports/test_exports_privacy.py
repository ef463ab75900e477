"""Names of people and subject ids: which columns are dropped, and how pseudonyms stand for subjects."""

import pytest

from orchestration.errors import UserError
from orchestration.exports.privacy import KEY_VARIABLE
from orchestration.study import Study, load_study
from tests.result_messages import observation, oru

LAB = "lab/lab_results.csv"
HEAD = "subject_id,Patient Name,sample_id,analyte,value,unit,collected_at,comment"
ROW = "SUB-0007,PLANTED JANE,SUB-0007-V1,42914-2,12.5,ng/mL,2025-01-01,seen SUB-0007 twice"
KEY = "a secret of the study"
PSEUDONYMS = {"privacy": {"pseudonymise": True}}


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.mark.parametrize(
    "heading",
    [
        "Patient Name",
        "patient_name",
        "PATIENT-NAME",
        "Nachname",
        "Vorname",
        "Prénom",
        "Family Name",
        "INVNAM",
        "E-Mail",
        "Arzt",
    ],
)
def test_a_column_of_names_is_dropped(rows, heading):
    [row] = rows(f"{HEAD.replace('Patient Name', heading)}\n{ROW}\n", LAB)
    assert (row["subject_id"], row["value"]) == ("SUB-0007", "12.5")
    assert "PLANTED" not in str(row) and heading not in row["_source"]


@pytest.mark.parametrize("heading", ["Name", "Test name", "Patient", "Laboratory name"])
def test_other_columns_are_kept(rows, heading):
    [row] = rows(f"{HEAD.replace('Patient Name', heading)}\n{ROW}\n", LAB)
    assert row["_source"][heading] == "PLANTED JANE"


def test_a_study_names_its_own_headings(rows):
    [row] = rows(f"{HEAD}\n{ROW}\n", LAB, privacy={"name_headings": ["comment"]})
    assert "comment" not in row["_source"] and "Patient Name" in row["_source"]


def test_a_line_that_cannot_be_divided_is_withheld_where_it_may_hold_a_name(rows):
    found = rows(f"{HEAD}\n{ROW}\nSUB-0008,PLANTED\n", LAB)
    assert found[1]["_source"] == {"(line)": "(withheld)"}
    found = rows(f"{HEAD.replace('Patient Name', 'x')}\n{ROW}\nSUB-0008,cut\n", LAB)
    assert found[1]["_source"] == {"(line)": "SUB-0008,cut"}


def test_a_source_that_reads_a_column_of_names_is_refused():
    source = {"name": "x", "record": "lab_results", "constants": {"analyte": "A", "unit": "ng/mL", "value": "1"}}
    source["columns"] = {"subject_id": "Patient name", "collected_at": "Drawn"}
    with pytest.raises(ValueError, match="holds names of people"):
        Study.model_validate({"sources": [source]})


def test_pseudonyms_stand_wherever_the_subject_id_stood(rows, secret):
    [row] = rows(f"{HEAD}\n{ROW}\n", LAB, **PSEUDONYMS)
    assert row["subject_id"].startswith("P") and row["sample_id"] == f"{row['subject_id']}-V1"
    assert row["_source"]["comment"] == f"seen {row['subject_id']} twice"
    assert "SUB-0007" not in str(row) and (row["value"], row["_source"]["value"]) == ("12.5", "12.5")


def test_a_subject_has_one_pseudonym_in_every_format(rows, secret):
    import json

    csv = rows(f"{HEAD}\n{ROW}\n", LAB, **PSEUDONYMS)
    hl7 = rows(oru(subject="SUB-0007"), "lab/a.hl7", **PSEUDONYMS)
    fhir = rows(json.dumps(observation(subject={"reference": "Patient/SUB-0007"})), "lab/a.json", **PSEUDONYMS)
    sdtm = rows("USUBJID,SUBJID,AGE\nSUB-0007,0007,50\n", "clinical/dm.csv", **PSEUDONYMS)
    found = [*csv, *hl7, *fhir, *sdtm]
    assert len({row["subject_id"] for row in found}) == 1
    assert "SUB-0007" not in str(found) and sdtm[0]["_source"]["SUBJID"] == sdtm[0]["subject_id"]


def test_parts_of_a_subject_id_are_replaced_too(rows, secret):
    source = {
        "name": "x",
        "record": "visits",
        "subject_id": "{Site}-{Nr}",
        "columns": {"visit_name": "V", "visit_on": "D"},
    }
    [row] = rows("Site,Nr,V,D\n12,0815,C1D1,2025-01-01\n", "clinical/x.csv", sources=[source], **PSEUDONYMS)
    assert row["_source"]["Nr"] == row["subject_id"] and "0815" not in str(row)


def test_a_short_id_is_not_looked_for_in_other_texts(rows, secret):
    [row] = rows(f"{HEAD}\n{ROW.replace('SUB-0007', '12')}\n", LAB, **PSEUDONYMS)
    assert (row["value"], row["_source"]["value"]) == ("12.5", "12.5")


def test_other_keys_give_other_pseudonyms_and_have_files_read_again(rows, monkeypatch):
    found = {}
    for key in (KEY, KEY + "2"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        study = Study.model_validate(PSEUDONYMS)
        found[key] = (rows(f"{HEAD}\n{ROW}\n", LAB, **PSEUDONYMS)[0]["subject_id"], study.reading_hash)
    assert len({item[0] for item in found.values()}) == len({item[1] for item in found.values()}) == 2


@pytest.mark.parametrize("key", [None, "", "short"])
def test_without_a_key_nothing_is_read(tmp_path, monkeypatch, key):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY_VARIABLE, key)
    path = tmp_path / "study.yaml"
    path.write_text("privacy: {pseudonymise: true}\n")
    with pytest.raises(UserError, match=KEY_VARIABLE):
        load_study(path)
