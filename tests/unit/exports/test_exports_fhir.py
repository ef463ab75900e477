"""FHIR Observations: which elements become which columns, what a document may hold, what is refused, what is not kept."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.exports import Rejected, read
from orchestration.settings import REPOSITORY
from orchestration.study import Study
from tests.result_messages import bundle, observation

LAB = "lab/results.json"
SAMPLES = REPOSITORY.parent / "shared" / "samples" / "fhir"
KEYS = ("subject_id", "sample_id", "analyte_key", "value_operator", "value_number", "unit_code", "result_status")
PLAIN = ("S1", "F1", "serum_her2", None, "12.5", "ng/mL", "FINAL")


def brief(row: dict) -> tuple:
    return tuple(row[key] for key in KEYS)


def one(rows, **changes) -> dict:
    [row] = rows(json.dumps(observation(**changes)), LAB)
    return row


def test_an_observation_with_all_its_columns(rows):
    row = one(rows)
    assert brief(row) == PLAIN
    assert (row["collected_at"], row["reported_at"]) == ("2025-01-01T07:30:00Z", "2025-01-02T09:15:00Z")
    assert (row["specimen"], row["laboratory"], row["assay"]) == ("SERUM", "LABOR NORD", "ELISA")
    assert (row["result_id"], row["_row_number"], row["_misread"]) == ("Observation/o1", 1, None)
    assert row["_source"]["valueQuantity.value"] == "12.5" and row["_source"]["code.coding[0].code"] == "42914-2"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(observation()),
        json.dumps(observation(), indent=2),
        "\ufeff" + json.dumps(observation()) + "\n",
        json.dumps([observation()]),
        *(
            bundle(observation(), kind=kind)
            for kind in ("collection", "searchset", "batch", "transaction", "message", "history")
        ),
        json.dumps(observation(), sort_keys=True),
    ],
    ids=["single", "indented", "byte order mark", "array", *(f"bundle {n}" for n in range(6)), "sorted"],
)
def test_documents_of_one_observation_read_the_same(rows, text):
    assert [brief(row) for row in rows(text, LAB)] == [PLAIN]


@pytest.mark.parametrize("member", ["comparator", "system", "code"])
def test_null_is_a_member_that_is_not_there(rows, member):
    changed = observation()
    changed["valueQuantity"] = {"value": 12.5, "unit": "ng/mL", member: None}
    [row] = rows(json.dumps(changed | {"issued": None}), LAB)
    assert (row["value_operator"], row["value_number"], row["unit_code"]) == (None, "12.5", "ng/mL")
    assert row["reported_at"] is None and not {"issued", f"valueQuantity.{member}"} & row["_source"].keys()


def test_lines_are_read_one_by_one(rows):
    lines = [json.dumps(observation(id=f"o{number}")) for number in range(1, 4)]
    lines.insert(1, "")
    lines.append('{"resourceType": "Observation", "status": "fin')  # cut off
    found = rows("\n".join(lines), "lab/results.ndjson")
    assert [row["result_id"] for row in found] == ["Observation/o1", "Observation/o2", "Observation/o3", None]
    assert "line 5" in found[3]["_misread"] and found[2]["_source"]["(entry)"] == "line 4"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"valueQuantity": {"value": 5.0, "comparator": "<", "unit": "ng/mL"}}, ("<", "5.0", "ng/mL")),
        (
            {
                "valueQuantity": {
                    "value": 350,
                    "comparator": ">=",
                    "unit": "x",
                    "code": "ug/L",
                    "system": "http://unitsofmeasure.org",
                }
            },
            (">=", "350", "ug/L"),
        ),
        ({"valueQuantity": {"value": 12.5}}, (None, "12.5", None)),
        ({"valueQuantity": None, "valueString": "<5.0"}, ("<", "5.0", None)),
        ({"valueQuantity": None, "valueString": "<5.0 ng/mL"}, ("<", "5.0", "ng/mL")),
        ({"valueQuantity": None, "valueInteger": 12}, (None, "12", None)),
        ({"valueQuantity": None, "valueCodeableConcept": {"text": "Positive"}}, (None, None, None)),
    ],
    ids=range(7),
)
def test_values_carry_operator_number_and_unit(rows, value, expected):
    row = one(rows, **value)
    assert (row["value_operator"], row["value_number"], row["unit_code"]) == expected


def test_a_number_keeps_the_digits_it_was_written_with(rows):
    text = json.dumps(observation()).replace("12.5", "12.50")
    assert rows(text, LAB)[0]["value"] == "12.50"


def test_a_number_beyond_all_measure_is_marked_and_not_computed(rows):
    text = json.dumps(observation()).replace("12.5", "1e999999999")
    assert rows(text, LAB)[0]["value_number"] is None


@pytest.mark.parametrize(
    ("coding", "key"),
    [
        ([{"system": "urn:local", "code": "X"}, {"system": "http://loinc.org", "code": "42914-2"}], "serum_her2"),
        ([{"system": "http://loinc.org", "code": "48676-1"}, {"code": "HER2"}], None),
        ([{"code": "SERUM HER2"}], "serum_her2"),
        ([{"code": "HER2"}], "serum_her2"),
    ],
    ids=["second coding", "tissue", "local code", "with serum"],
)
def test_the_loinc_code_decides(rows, coding, key):
    assert one(rows, code={"coding": coding})["analyte_key"] == key


@pytest.mark.parametrize(
    "status", ["final", "amended", "corrected", "entered-in-error", "preliminary", "cancelled", "registered"]
)
def test_every_status_of_the_standard_is_known(rows, status):
    from orchestration.rules import parameters

    assert one(rows, status=status)["result_status"] in parameters(Study())["result_statuses"]


@pytest.mark.parametrize("status", ["unknown", "verified"])
def test_a_status_that_tells_nothing_is_left_for_its_expectation(rows, status):
    from orchestration.rules import parameters

    assert one(rows, status=status)["result_status"] not in parameters(Study())["result_statuses"]


def test_a_result_whose_absence_is_explained_carries_no_value(rows):
    row = one(rows, valueQuantity=None, dataAbsentReason={"text": "haemolysed"})
    assert (row["value"], row["result_status"]) == (None, "N")


@pytest.mark.parametrize(
    ("changes", "collected_at"),
    [
        ({"effectiveDateTime": "2025-01"}, "2025-01"),
        ({"effectiveDateTime": None, "effectivePeriod": {"start": "2025-01-01", "end": "2025-01-03"}}, "2025-01-01"),
        ({"effectiveDateTime": None, "effectiveInstant": "2025-01-01T08:30:00Z"}, "2025-01-01T08:30:00Z"),
        ({"effectiveDateTime": None}, None),
    ],
    ids=["partial", "period", "instant", "none"],
)
def test_when_the_sample_was_drawn(rows, changes, collected_at):
    assert one(rows, **changes)["collected_at"] == collected_at


def test_specimen_and_patient_of_the_bundle_are_followed(rows):
    patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Planted"}]} | {
        "identifier": [{"system": "urn:hospital", "value": "MRN7"}, {"system": "urn:study", "value": "S1"}]
    }
    sample = {"resourceType": "Specimen", "id": "s1", "type": {"coding": [{"code": "SER"}]}} | {
        "accessionIdentifier": {"value": "F1"}, "collection": {"collectedDateTime": "2025-01-01T08:30:00+01:00"}
    }  # fmt: skip
    result = observation(
        subject={"reference": "Patient/p1"}, specimen={"reference": "Specimen/s1"}, effectiveDateTime=None
    )
    text = bundle(patient, sample, result)
    [row] = rows(text, LAB, sources=[{"name": "f", "layout": "fhir", "subject_authority": "urn:study"}])
    assert brief(row) == PLAIN and row["collected_at"] == "2025-01-01T07:30:00Z" and row["specimen"] == "SERUM"
    assert rows(text, LAB)[0]["subject_id"] == "p1"
    assert "Planted" not in str(row) and "MRN7" not in str(row)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ({"reference": "https://ehr/fhir/Patient/S1/_history/2"}, "S1"),
        ({"identifier": {"value": "S1"}}, "S1"),
        ({"reference": "urn:uuid:5"}, "5"),
        (None, None),
    ],
    ids=["address with history", "identifier", "urn", "none"],
)
def test_subject_of_a_reference(rows, subject, expected):
    assert one(rows, subject=subject)["subject_id"] == expected


def test_components_are_results_of_their_own(rows):
    component = [
        {"code": {"coding": [{"code": code}]}, "valueQuantity": {"value": value}}
        for code, value in (("A", 1), ("B", 2))
    ]
    found = rows(json.dumps(observation(valueQuantity=None, component=component)), LAB)
    assert [(row["analyte"], row["value"], row["result_id"]) for row in found] == [
        ("A", "1", "Observation/o1#A"),
        ("B", "2", "Observation/o1#B"),
    ]


def test_one_bad_entry_does_not_fail_the_bundle(rows):
    bad = [
        observation(status=None),
        observation(valueQuantity={"value": "PLANTED"}),
        observation(code="PLANTED"),
        observation(effectiveDateTime="2025-13-01"),
    ]
    entries = json.loads(bundle(*bad, observation()))
    entries["entry"] += [
        "PLANTED",
        {"request": {"method": "DELETE", "url": "Observation/o9"}},
        {"resource": {"id": "x"}},
    ]
    found = rows(json.dumps(entries), LAB)
    assert [row["_misread"] is None for row in found] == [False] * 4 + [True] + [False] * 3
    assert [row["_row_number"] for row in found] == list(range(1, 9))
    assert "entered-in-error" in found[6]["_misread"] and "valueQuantity.value" in found[1]["_misread"]
    assert "PLANTED" not in str(found)


def test_other_resources_are_counted_in_the_note(sheet):
    panel = observation(id="o2", valueQuantity=None, hasMember=[{"reference": "Observation/o1"}])
    found = sheet(bundle(observation(), {"resourceType": "Patient"}, {"resourceType": "Patient"}, panel), LAB)
    assert found.table.num_rows == 1
    assert found.note == "left out: 1 Observation that only groups others, 2 Patient"


@pytest.mark.parametrize(
    ("text", "rule", "says"),
    [
        (bundle({"resourceType": "Patient"}), "no_results", "1 Patient"),
        ('{"resourceType": "Observation", "status": "final", "status": "final"}', "json", "'status' stands twice"),
        ('{"resourceType": "Observation", "valueQuantity": {"value": NaN}}', "json", "NaN"),
        ('{"resourceType": "Observation", "valueQuantity": {"value": Infinity}}', "json", "Infinity"),
        ('{"resourceType": "Observation", "contained": ' + "[" * 60 + "]" * 60 + "}", "json", "50 deep"),
        ('{"resourceType": "Observation", "contained": ' + "[" * 90_000, "json", "50 deep"),
        ('{"resourceType": "Observation"', "json", "Export it again"),
        (json.dumps(observation(text={"div": "x" * (1 << 20)})), "too_large", "NDJSON"),
    ],
    ids=range(8),
)
def test_a_document_that_cannot_be_trusted_is_refused(rows, text, rule, says):
    with pytest.raises(Rejected) as refusal:
        rows(text, LAB, ingest={"max_document_mb": 1})
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True)


def test_no_name_passes_the_reader(rows):
    row = one(
        rows,
        note=[{"text": "call Planted"}],
        text={"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>Planted</div>"},
        performer=[{"display": "Dr Planted"}, {"reference": "Practitioner/7", "display": "Planted"}],
        contained=[{"resourceType": "Patient", "id": "p", "name": [{"family": "Planted"}]}],
    )
    assert row["_misread"] is None and "Planted" not in str(row)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the public samples are not beside this repository")
@pytest.mark.parametrize(
    ("name", "rows_read"), [("cumulus-simple-Observation.ndjson", 2), ("msft-LAB-ORU-1-expected.json", 10)]
)
def test_public_resources_all_read(name, rows_read):
    [sheet] = read(SAMPLES / name, f"lab/{name}", Study())
    assert sheet.table.num_rows == rows_read == sheet.table["_misread"].null_count


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 900), junk=st.binary(max_size=6), cut=st.integers(0, 8), lines=st.booleans())
def test_damaged_bytes_load_or_are_refused_but_never_break_the_reader(tmp_path_factory, place, junk, cut, lines):
    text = "\n".join([json.dumps(observation())] * 2) if lines else bundle(observation(), observation())
    good = text.encode()
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(good[: place + 18] + junk + good[place + 18 + cut :])
    try:
        [sheet] = read(path, "lab/damaged.json", Study())
    except Rejected as refusal:
        assert refusal.message.startswith("lab/damaged.json")
    else:
        assert sheet.table.num_rows >= 1


PATIENT = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:study", "value": "S1"}]}
SPECIMEN = {
    "resourceType": "Specimen", "id": "s", "type": {"coding": [{"system": "http://snomed.info/sct", "code": "119364003"}]},
    "accessionIdentifier": {"value": "F1"}, "collection": {"collectedDateTime": "2025-01-01T08:30:00+01:00"},
}  # fmt: skip
WITHIN = {"subject": {"reference": "#p"}, "specimen": {"reference": "#s"}, "effectiveDateTime": None}


def test_what_an_observation_contains_is_followed(rows):
    laboratory = {"resourceType": "Organization", "id": "lab", "name": "LABOR NORD"}
    row = one(rows, **WITHIN, performer=[{"reference": "#lab"}], contained=[PATIENT, SPECIMEN, laboratory])
    assert brief(row) == PLAIN and row["laboratory"] == "LABOR NORD" and row["specimen"] == "SERUM"
    assert row["collected_at"] == "2025-01-01T07:30:00Z"


@pytest.mark.parametrize(
    "around",
    [
        {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "Labs"}, "result": [{"reference": "#x"}]},
        observation(valueQuantity=None, hasMember=[{"reference": "#x"}]),
    ],
    ids=["report", "panel"],
)  # fmt: skip
def test_results_that_another_resource_contains_are_not_lost(rows, around):
    found = []
    for number in ("d1", "d2"):
        inner = observation(id="x", **WITHIN)
        found += rows(json.dumps(around | {"id": number, "contained": [PATIENT, SPECIMEN, inner]}), LAB)
    assert [brief(row) for row in found] == [PLAIN, PLAIN]
    assert len({row["result_id"] for row in found}) == 2  # the same x is another result in another report


@pytest.mark.parametrize(
    "broken", [{"identifier": ["S1"]}, {"identifier": "S1"}, {"identifier": [{"value": 5}]}], ids=range(3)
)
def test_a_patient_that_is_none_spoils_no_result(rows, broken):
    entries = [PATIENT | broken, observation(id="o1", subject={"reference": "Patient/p"}), observation(id="o2")]
    assert [row["subject_id"] for row in rows(bundle(*entries), LAB)] == ["p", "S1"]


def test_a_time_without_offset_is_told_with_the_mend(rows):
    row = one(rows, effectiveDateTime="2025-01-01T08:30")
    assert "effectiveDateTime" in row["_misread"] and "needs its offset" in row["_misread"]
