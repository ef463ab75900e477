"""`sher2 trace`: from every number of every subject back to rows that stand in the exports as they came."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache

import pytest

from orchestration.errors import UserError
from orchestration.simulate import write_study
from orchestration.study import load_study
from orchestration.tracing import ENDPOINTS, as_text, trace
from tests.conftest import Home, make_home


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("simulated"))
    write_study(home.settings.landing, 30, 5)
    home.run()
    return home


@pytest.fixture(scope="module")
def traced(simulated) -> dict[str, dict]:
    """What trace says of every subject."""
    study = load_study(simulated.settings.study_file)
    subjects = [row["subject_id"] for row in simulated.sql("select subject_id from marts.dim_subject order by all")]
    return {subject: trace(simulated.settings, study, subject) for subject in subjects}


def facts_of(fact: dict) -> Iterator[dict]:
    yield fact
    for reason in fact["because"]:
        yield from facts_of(reason)


def rows_of(fact: dict) -> list[dict]:
    return [row for part in facts_of(fact) for row in part["rows"]]


def says_day(row: dict, day: str) -> bool:
    """Whether a field of the untouched row is that day, or a partial date that was completed to it."""
    return any(text[:10] == day or (len(text) in {4, 7} and day.startswith(text)) for text in row["source"].values())


def endpoints(traced: dict[str, dict], name: str) -> list[dict]:
    found = [fact for content in traced.values() for fact in content["endpoints"] if fact["values"]["endpoint"] == name]
    assert found, f"the simulated study has no {name}"
    return found


def test_every_endpoint_of_every_subject_is_traced(simulated, traced):
    rows = simulated.sql("select subject_id, endpoint, end_on, is_event from marts.fct_time_to_event")
    told = {
        (subject, fact["values"]["endpoint"], fact["values"]["end_on"], fact["values"]["is_event"])
        for subject, content in traced.items()
        for fact in content["endpoints"]
    }
    assert told == {tuple(row.values()) for row in rows}
    assert {row["endpoint"] for row in rows} == set(ENDPOINTS)


def test_every_raw_row_stands_in_the_export_as_it_is_shown(simulated, traced):
    @cache
    def rows_in(path: str) -> list[dict]:
        text = (simulated.settings.landing / path).read_bytes().decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text)))

    shown = {
        (row["path"], row["row_number"]): row
        for content in traced.values()
        for fact in [*content["endpoints"], content["subject"], content["best_response"], content["serum_her2"]]
        for row in rows_of(fact)
    }
    assert len(shown) > 500
    for (path, number), row in shown.items():
        assert row["source"] == rows_in(path)[number - 1]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_start_and_end_of_an_endpoint_are_found_in_the_rows_that_it_names(traced, name):
    for fact in endpoints(traced, name):
        rows = rows_of(fact)
        for day in (fact["values"]["start_on"], fact["values"]["end_on"]):
            assert any(says_day(row, day) for row in rows), (fact["says"], day)


@pytest.mark.parametrize("name", ["PFS", "PFS_OTHER_RULES", "DOR", "DOR_UNCONFIRMED"])
def test_a_progression_is_the_first_assessment_that_is_one(traced, name):
    events = [fact for fact in endpoints(traced, name) if fact["values"]["event_description"] == "progressive disease"]
    assert events
    for fact in events:
        (decided,) = [part for part in fact["because"] if part["says"].startswith("end, first progressive disease")]
        assert decided["values"]["overall_response"] == "PD"
        assert decided["values"]["assessed_on"] == fact["values"]["end_on"]
        assert {"tumor_measurements", "tumor_responses"} <= {row["record"] for row in rows_of(decided)}
    for content in traced.values():
        progressions = [
            a["values"]["assessed_on"] for a in content["assessments"] if a["values"]["overall_response"] == "PD"
        ]
        for fact in content["endpoints"]:
            if fact in events:
                assert fact["values"]["end_on"] == min(progressions)


@pytest.mark.parametrize("name", ["PFS", "PFS_OTHER_RULES"])
def test_a_censored_endpoint_ends_with_its_last_adequate_assessment(traced, name):
    for subject, content in traced.items():
        for fact in content["endpoints"]:
            if fact["values"]["endpoint"] == name and not fact["values"]["is_event"]:
                end = fact["because"][1]
                if fact["values"]["end_on"] == fact["values"]["start_on"]:
                    assert "the start" in end["says"]
                    continue
                assert end["values"]["assessed_on"] == fact["values"]["end_on"], subject
                assert end["values"]["overall_response"] not in {"NE", None}


def test_a_death_leads_to_every_row_that_reports_it(traced):
    deaths = [fact for fact in endpoints(traced, "OS") if fact["values"]["is_event"]]
    assert deaths
    for fact in deaths:
        (end,) = [part for part in fact["because"] if part["says"].startswith("end, death on")]
        assert {"subjects", "dispositions"} <= {row["record"] for row in rows_of(end)}
        assert all(says_day(row, fact["values"]["end_on"]) for row in rows_of(end) if row["record"] == "subjects")


def test_a_living_subject_leads_to_the_rows_of_its_last_contact(traced):
    alive = [fact for fact in endpoints(traced, "OS") if not fact["values"]["is_event"]]
    assert alive
    for fact in alive:
        (end,) = [part for part in fact["because"] if part["says"].startswith("end, last known alive")]
        assert rows_of(end) and all(says_day(row, fact["values"]["end_on"]) for row in rows_of(end))


def test_the_lesions_of_a_sum_add_up_to_it(traced):
    sums = 0
    for content in traced.values():
        for fact in (part for endpoint in content["endpoints"] for part in facts_of(endpoint)):
            lesions = [part["values"] for part in fact["because"] if part["values"].get("role") == "TARGET"]
            if lesions and fact["values"].get("sum_mm") is not None:
                sums += 1
                assert sum(lesion["diameter_mm"] or 0 for lesion in lesions) == pytest.approx(fact["values"]["sum_mm"])
    assert sums > 100


def test_new_therapy_that_ends_the_observation_is_shown_with_its_row(traced):
    censored = [
        fact for fact in endpoints(traced, "PFS") if fact["values"]["censoring_reason"] == "new anticancer therapy"
    ]
    assert censored
    for fact in censored:
        (therapy,) = [part for part in fact["because"] if part["says"].startswith("new anticancer therapy")]
        (row,) = therapy["rows"]
        assert row["record"] == "therapies" and says_day(row, therapy["values"]["new_therapy_on"])


def test_every_serum_her2_sample_has_its_raw_row(simulated, traced):
    samples = [fact for content in traced.values() for fact in content["serum_her2"]["because"]]
    assert len(samples) == simulated.value("select count(*) from marts.fct_her2_delta")
    for fact in samples:
        values = fact["values"]
        assert fact["rows"] and all(row["source"]["LBREFID"] == values["sample_id"] for row in fact["rows"])
        if values["value_ng_ml"] is not None and fact["rows"][0]["source"]["LBORRESU"] == "ng/mL":
            assert float(fact["rows"][0]["source"]["LBORRES"].lstrip("<>")) == pytest.approx(values["value_ng_ml"])


def test_text_fits_100_columns_and_names_file_and_row(simulated, traced):
    for content in traced.values():
        assert max(map(len, as_text(content).splitlines())) <= 100
    subject = next(subject for subject, content in traced.items() if content["endpoints"])
    done = simulated.sher2("trace", subject, "--endpoint", "OS")
    assert done.returncode == 0 and "csv, row " in done.stdout and f"USUBJID={subject}" in done.stdout


def test_json_of_one_endpoint_holds_nothing_else(simulated, traced):
    subject = next(subject for subject, content in traced.items() if content["endpoints"])
    content = json.loads(simulated.sher2("trace", subject, "--endpoint", "pfs", "--json").stdout)
    assert [fact["values"]["endpoint"] for fact in content["endpoints"]] == ["PFS"]
    assert "serum_her2" not in content


def test_what_does_not_exist_is_answered_with_what_does(simulated, traced):
    untreated = next(subject for subject, content in traced.items() if not content["endpoints"])
    no_response = next(
        subject
        for subject, content in traced.items()
        if {fact["values"]["endpoint"] for fact in content["endpoints"]} == {"PFS", "PFS_OTHER_RULES", "OS"}
    )
    cases = [
        (["NOBODY"], "the nearest: "),
        ([no_response, "--endpoint", "ORR"], "there are: PFS, PFS_OTHER_RULES, OS, DOR, DOR_UNCONFIRMED, TTR"),
        ([no_response, "--endpoint", "DOR"], "it has: PFS, PFS_OTHER_RULES, OS"),
        ([untreated, "--endpoint", "PFS"], "was not treated"),
        ([no_response, "--evaluator", "NOBODY"], "there are: INVESTIGATOR"),
    ]
    for arguments, answer in cases:
        done = simulated.sher2("trace", *arguments)
        assert (done.returncode, done.stdout) == (2, "") and answer in done.stderr and "Traceback" not in done.stderr


def test_without_a_publication_trace_says_what_to_do(home):
    with pytest.raises(UserError, match="nothing is published yet"):
        trace(home.settings, load_study(home.settings.study_file), "S1")


# --- corners, each a subject of its own -----------------------------------------------------------------------------


def on(day: int) -> str:
    """ISO date so many days after the first dose."""
    return str(date(2025, 1, 1) + timedelta(days=day))


def table(*rows: dict) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def lesion(subject: str, name: str, role: str = "TARGET", day: int = -3, location: str = "LIVER") -> dict:
    row = {"subject_id": subject, "lesion_id": name, "role": role, "location": location}
    return row | {"identified_on": on(day), "visit_name": f"DAY {day}"}


def size(subject: str, name: str, day: int, value: float | str) -> dict:
    test, unit = ("TUMSTATE", "") if isinstance(value, str) else ("LDIAM", "mm")
    row = {"subject_id": subject, "lesion_id": name, "test": test, "value": value, "unit": unit}
    return row | {"assessed_on": on(day), "visit_name": f"DAY {day}"}


def new_lesion(subject: str, name: str, day: int, value: str) -> dict:
    row = {"subject_id": subject, "lesion_id": name, "test": "NEWLPROG", "value": value}
    return row | {"assessed_on": on(day), "visit_name": f"DAY {day}"}


@pytest.fixture(scope="module")
def corners(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("corners"), {"study": {"drugs": ["T-DXD"], "data_cutoff": on(500)}})
    subjects = ("MISSED", "DATED BACK", "SPLIT", "MERGED", "NO BASELINE", "PARTIAL", "NODE", "RESENT", "READERS")
    others = [name for name in subjects if name not in {"NO BASELINE", "READERS"}]
    first, second = ({"evaluator": "INDEPENDENT ASSESSOR", "reader": name} for name in ("R1", "R2"))
    second |= {"accepted": "Y"}
    sizes = {
        "MISSED": [(42, 20), (300, 30)],
        "DATED BACK": [(42, 20), (84, 20)],
        "PARTIAL": [(42, 20)],
        "RESENT": [(42, 20)],
    }
    home.drop(
        "clinical/subjects.csv",
        table(*({"subject_id": name, "death_on": "2025-06" if name == "PARTIAL" else ""} for name in subjects)),
    )
    home.drop(
        "clinical/exposures.csv",
        table(*({"subject_id": name, "treatment": "T-DXd", "dose": "5.4", "start_on": on(0)} for name in subjects)),
    )
    home.drop(
        "clinical/therapies.csv",
        table(
            {"subject_id": "PARTIAL", "treatment": "CAPECITABINE", "category": "CHEMOTHERAPY", "started_on": "2025-04"}
        ),
    )
    home.drop(
        "imaging/tumor_identifications.csv",
        table(
            *(lesion(name, "T1") for name in others),
            lesion("MERGED", "T2"),
            lesion("NODE", "N1", location="LYMPH NODE"),
            lesion("DATED BACK", "X1", "NEW", 42),
            *(lesion("READERS", "T1") | reader for reader in (first, second)),
        ),
    )
    home.drop(
        "imaging/tumor_measurements.csv",
        table(
            *(size(name, "T1", -3, 20) for name in others),
            *(size(name, "T1", day, value) for name, visits in sizes.items() for day, value in visits),
            size("MERGED", "T2", -3, 10), size("MERGED", "T1/T2", 42, 45),
            size("SPLIT", "T1.1", 42, 14), size("SPLIT", "T1.2", 42, 15),
            size("NODE", "N1", -3, 16) | {"test": "LPERP"}, size("NODE", "N1", 42, 6) | {"test": "LPERP"},
            size("NODE", "T1", 42, "ABSENT"),
            size("NO BASELINE", "T1", 42, 20),
            *(size("READERS", "T1", day, value) | first for day, value in ((-3, 20), (42, 40))),
            *(size("READERS", "T1", day, value) | second for day, value in ((-3, 30), (42, 18))),
        ),
    )  # fmt: skip
    home.drop(
        "imaging/tumor_responses.csv",
        table(new_lesion("DATED BACK", "X1", 42, "EQUIVOCAL"), new_lesion("DATED BACK", "X1", 84, "YES")),
    )
    home.run()
    home.drop("imaging/tumor_measurements_late.csv", table(size("RESENT", "T1", 84, 30)))
    home.run()
    home.drop("imaging/tumor_measurements_late.csv", table(size("RESENT", "T1", 84, 31)))
    home.run()
    return home


@pytest.mark.parametrize(
    ("subject", "endpoint", "told"),
    [
        ("MISSED", "PFS", "the event of 2025-10-28 is not counted: two or more missed assessments before the event."
                          " It comes 300 days after the start; with the last adequate assessment at the one planned"
                          " for day 42, events count up to day 133"),
        ("MISSED", "PFS_OTHER_RULES", "sum 30.0 mm is 50.0 % and 10.0 mm above the nadir 20.0 mm of 2024-12-29"),
        ("DATED BACK", "PFS", "end, first progressive disease 2025-02-12 DAY 42: PD derived"),
        ("DATED BACK", "PFS", "new lesion YES: X1; X1 is uncertain here and certain later, so it is dated back"),
        ("DATED BACK", "PFS", "X1 at 2025-03-26 DAY 84"),
        ("SPLIT", "PFS", "T1 (LIVER): 29.0 mm (LDIAM) = T1.1 14.0 mm + T1.2 15.0 mm"),
        ("MERGED", "PFS", "T1 (LIVER): 45.0 mm (LDIAM)"),
        ("MERGED", "PFS", "T2 (LIVER): merged into T1/T2 and counted there"),
        ("NO BASELINE", "PFS", "end 2025-01-01: the start, as no lesions were assessed on or before it"),
        ("PARTIAL", "OS", "end, death on 2025-06-01, completed from a partial date"),
        ("PARTIAL", "PFS", "new anticancer therapy CAPECITABINE (CHEMOTHERAPY) from 2025-04-01, completed"),
        ("PARTIAL", "PFS", "the event of 2025-06-01 is not counted: it lies after 2025-04-01"),
        ("NODE", "DOR_UNCONFIRMED", "target CR: all 2 gone (nodes below 10 mm), sum 6.0 mm"),
        ("NODE", "DOR_UNCONFIRMED", "N1 (LYMPH NODE, node): 6.0 mm (LPERP)"),
        ("NODE", "DOR_UNCONFIRMED", "T1 (LIVER): 0.0 mm (ABSENT)"),
        ("RESENT", "PFS", "value=31"),
    ],
)  # fmt: skip
def test_corners_are_told_in_words(corners, subject, endpoint, told):
    text = as_text(trace(corners.settings, load_study(corners.settings.study_file), subject, endpoint))
    assert told in " ".join(text.split())


def test_a_row_sent_again_is_traced_to_the_newest_delivery_only(corners):
    study = load_study(corners.settings.study_file)
    (fact,) = trace(corners.settings, study, "RESENT", "PFS")["endpoints"]
    late = [row for row in rows_of(fact) if row["path"] == "imaging/tumor_measurements_late.csv"]
    values = {row["source"]["value"] for row in late}
    assert values == {"31"}


def test_another_evaluator_is_traced_through_the_accepted_reader(corners):
    study = load_study(corners.settings.study_file)
    (fact,) = trace(corners.settings, study, "READERS", "DOR_UNCONFIRMED", "INDEPENDENT ASSESSOR")["endpoints"]
    assert fact["because"][0]["says"].startswith("first response 2025-02-12 DAY 42 reader R2: PR derived")
    assert {row["source"]["reader"] for row in rows_of(fact["because"][0])} == {"R2"}
    assert not any(
        row["record"].startswith("tumor")
        for row in rows_of(trace(corners.settings, study, "READERS", "PFS")["endpoints"][0])
    )
