"""`sher2 trace`: from every number of every subject back to rows that stand in the exports as they came."""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache

import pytest

from orchestration.errors import UserError
from orchestration.simulate import write_study
from orchestration.study import load_study
from orchestration.tracing import ENDPOINTS, TIMES, as_text, trace
from tests.conftest import Home, make_home

DAY_FORMATS = ("%Y-%m-%d", "%d-%b-%Y", "%d.%m.%Y", "%Y/%m/%d")


@pytest.fixture(scope="module", params=["sdtm", "site"])
def simulated(request, tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("simulated"))
    write_study(home.settings.landing, 60, 5, layout=request.param)
    home.run()
    return home


@pytest.fixture(scope="module")
def traced(simulated) -> dict[str, dict]:
    """What trace says of every subject; its best responses under `best`."""
    study = load_study(simulated.settings.study_file)
    subjects = [row["subject_id"] for row in simulated.sql("select subject_id from marts.dim_subject order by all")]

    def of(subject: str) -> dict:
        best = {name: trace(simulated.settings, study, subject, name)["endpoints"][0] for name in ("BOR", "CBOR")}
        return trace(simulated.settings, study, subject) | {"best": best}

    return {subject: of(subject) for subject in subjects}


def facts_of(fact: dict) -> Iterator[dict]:
    yield fact
    for reason in fact["because"]:
        yield from facts_of(reason)


def rows_of(fact: dict) -> list[dict]:
    return [row for part in facts_of(fact) for row in part["rows"]]


def says_day(row: dict, day: str) -> bool:
    """Whether a field of the untouched row is that day, or a partial date that was completed to it."""

    def is_it(text: str) -> bool:
        for pattern in DAY_FORMATS:
            try:
                return datetime.strptime(re.split("[T ]", text, maxsplit=1)[0], pattern).date().isoformat() == day
            except ValueError:
                continue
        return len(text) in {4, 7} and day.startswith(text)

    return any(is_it(text) for text in row["source"].values() if text)


@cache
def rows_in(path) -> list[dict]:
    """The rows of a simulated export, read without anything of ours."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    return list(csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.splitlines()[0] else ","))


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
    assert {row["endpoint"] for row in rows} == set(TIMES)


def test_every_raw_row_stands_in_the_export_as_it_is_shown(simulated, traced):
    shown = {
        (row["path"], row["row_number"]): row
        for content in traced.values()
        for fact in [
            *content["endpoints"], *content["best"].values(), content["subject"], content["best_response"],
            content["serum_her2"],
        ]
        for row in rows_of(fact)
    }  # fmt: skip
    assert len(shown) > 500
    for (path, number), row in shown.items():
        assert row["source"] == rows_in(simulated.settings.landing / path)[number - 1]


def test_every_best_response_is_traced_to_the_assessments_that_count(simulated, traced):
    rows = simulated.sql("select * from marts.fct_best_response where evaluator = 'INVESTIGATOR'")
    assert len(rows) > 40
    for row in rows:
        best = traced[row["subject_id"]]["best"]
        for name, prefix in (("BOR", ""), ("CBOR", "confirmed_")):
            fact = best[name]
            response, on = row[f"{prefix}best_overall_response"], row[f"{prefix}best_overall_response_on"]
            assert fact["says"].endswith(f"response: {response}" + (f" on {on}" if on else ""))
            counted = [
                (part["values"]["counts_as"], part["values"]["assessed_on"])
                for part in facts_of(fact)
                if "counts_as" in part["values"]
            ]
            if not on:
                assert response == "MISSING" and not counted
                continue
            assert (response, on) in counted
            assert min(day for value, day in counted if value == response) == on
            assert any(says_day(source, on) for source in rows_of(fact) if source["record"].startswith("tumor_"))


def test_a_confirmed_response_leads_to_the_assessment_that_confirms_it(traced):
    confirmed = [content["best"]["CBOR"] for content in traced.values()]
    confirmed = [fact for fact in confirmed if fact["values"].get("best_overall_response") in ("CR", "PR")]
    assert confirmed
    for fact in confirmed:
        (by,) = [part for part in fact["because"] if part["says"].startswith("confirmed by")]
        on, by_on = fact["values"]["best_overall_response_on"], by["values"]["assessed_on"]
        assert (date.fromisoformat(by_on) - date.fromisoformat(on)).days >= 28
        assert by["values"]["overall_response"] in ("CR", "PR")


def test_every_endpoint_states_its_rule(traced):
    for content in traced.values():
        for fact in [*content["endpoints"], *content["best"].values()]:
            assert fact["values"]["rule"]


@pytest.mark.parametrize("name", TIMES)
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
        assert rows_of(end)
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
        assert fact["rows"]
        for row in fact["rows"]:
            cells = row["source"]
            sample_id, value, unit = (
                next(cells[name] for name in names if name in cells) for names in LABORATORY_HEADINGS
            )
            assert sample_id == values["sample_id"]
            if values["value_ng_ml"] is not None and unit in ("ng/mL", "ng/ml", "µg/L"):  # all the same
                number = float(value.lstrip("<> ").replace(",", "."))
                assert number == pytest.approx(values["value_ng_ml"])


LABORATORY_HEADINGS = (
    ("LBREFID", "Auftrag", "accession"), ("LBORRES", "Ergebnis", "result"), ("LBORRESU", "Einheit", "units"),
)  # fmt: skip


def test_text_fits_100_columns_and_names_file_and_row(simulated, traced):
    for content in traced.values():
        assert max(map(len, as_text(content).splitlines())) <= 100
    subject = next(subject for subject, content in traced.items() if content["endpoints"])
    done = simulated.sher2("trace", subject, "--endpoint", "OS")
    assert done.returncode == 0 and "csv, row " in done.stdout and f"={subject}" in done.stdout


def test_json_of_one_endpoint_holds_nothing_else(simulated, traced):
    subject = next(subject for subject, content in traced.items() if content["endpoints"])
    content = json.loads(simulated.sher2("trace", subject, "--endpoint", "pfs", "--json").stdout)
    assert [fact["values"]["endpoint"] for fact in content["endpoints"]] == ["PFS"]
    assert "serum_her2" not in content


def test_what_does_not_exist_is_answered_with_what_does(simulated, traced):
    subject = next(iter(traced))
    cases = [
        (["NOBODY"], "the nearest: "),
        ([subject, "--endpoint", "ORR"], f"there are: {', '.join(ENDPOINTS)}"),
        ([subject, "--evaluator", "NOBODY"], "there are: INVESTIGATOR"),
    ]
    for arguments, answer in cases:
        done = simulated.sher2("trace", *arguments)
        assert (done.returncode, done.stdout) == (2, "") and answer in done.stderr and "Traceback" not in done.stderr
        assert done.stderr.count("\n") == 1


def test_who_has_no_response_is_told_why_there_is_no_duration(simulated, traced):
    study = load_study(simulated.settings.study_file)
    subject = next(
        subject
        for subject, content in traced.items()
        if content["best_response"]["values"].get("best_overall_response") in ("SD", "PD")
    )
    for name, lacking in (("DOR", "confirmed response"), ("DOR_UNCONFIRMED", "response"), ("TTR", "confirmed response")):
        (fact,) = trace(simulated.settings, study, subject, name)["endpoints"]
        assert fact["says"] == f"{name}: none, there is no {lacking}"
        assert any("counts_as" in part["values"] for part in facts_of(fact))


def test_who_was_not_treated_is_told_why(simulated, traced):
    study = load_study(simulated.settings.study_file)
    untreated = [subject for subject, content in traced.items() if not content["endpoints"]]
    assert untreated
    for subject in untreated:
        for name in ENDPOINTS[:-1]:
            (fact,) = trace(simulated.settings, study, subject, name)["endpoints"]
            assert fact["says"] == f"{name}: none, the subject was not treated"
            assert fact["because"][0]["says"].startswith("no exposure is recorded")
        assert "disposition: " in as_text(traced[subject])


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


def disposition(subject: str, term: str, day: int) -> dict:
    return {"subject_id": subject, "category": "DISPOSITION EVENT", "term": term, "occurred_on": on(day)}


@pytest.fixture(scope="module")
def corners(tmp_path_factory) -> Home:
    home = make_home(tmp_path_factory.mktemp("corners"), {"study": {"drugs": ["T-DXD"], "data_cutoff": on(500)}})
    subjects = (
        "MISSED", "DATED BACK", "SPLIT", "MERGED", "NO BASELINE", "PARTIAL", "NODE", "RESENT", "READERS", "MONTH", "TWICE",
        "DOSE BY MONTH",
    )  # fmt: skip
    odd = ("NO DOSE", "OTHER DRUG", "SCREENED")
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
        table(
            *({"subject_id": name, "death_on": "2025-06" if name == "PARTIAL" else ""} for name in (*subjects, *odd)),
            {"subject_id": "MISREAD", "death_on": "yesterday"},
        ),
    )
    home.drop(
        "clinical/exposures.csv",
        table(
            *(
                {"subject_id": name, "treatment": "T-DXd", "dose": "5.4"}
                | {"start_on": "2024-12" if name == "DOSE BY MONTH" else on(0)}
                for name in subjects
            ),
            {"subject_id": "NO DOSE", "treatment": "T-DXd", "dose": "0", "start_on": on(0)},
            {"subject_id": "OTHER DRUG", "treatment": "CAPECITABINE", "start_on": on(0)},
        ),
    )
    home.drop(
        "clinical/dispositions.csv",
        table(
            disposition("SCREENED", "SCREEN FAILURE", -2), disposition("NODE", "ADVERSE EVENT", 60),
            disposition("NODE", "LOST TO FOLLOW-UP", 60), disposition("SPLIT", "PHYSICIAN DECISION", 60),
            disposition("SPLIT", "WITHDRAWAL BY SUBJECT", 70),
        ),
    )  # fmt: skip
    home.drop(
        "clinical/visits.csv",
        table({"subject_id": "MONTH", "visit_name": "DAY 90", "visit_on": on(90)}),
    )
    home.drop(
        "lab/samples.csv",
        table(
            {
                "subject_id": "ONLY LAB", "sample_id": "L1", "analyte": "SERUM HER2", "value": "20", "unit": "ng/mL",
                "collected_at": on(3), "specimen": "SERUM",
            }
        ),
    )  # fmt: skip
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
            size("TWICE", "T1", 42, 28), size("TWICE", "T1.1", 42, 14), size("TWICE", "T1.2", 42, 15),
            size("SPLIT", "T1.1", 42, 14), size("SPLIT", "T1.2", 42, 15),
            size("NODE", "N1", -3, 16) | {"test": "LPERP"}, size("NODE", "N1", 42, 6) | {"test": "LPERP"},
            size("NODE", "T1", 42, "ABSENT"),
            size("NO BASELINE", "T1", 42, 20),
            size("MONTH", "T1", 90, 20) | {"assessed_on": on(90)[:7]},
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
        ("TWICE", "PFS", "T1 (LIVER): 29.0 mm (LDIAM), the larger of the whole, 28.0 mm, and its parts, 29.0 mm"),
        ("MERGED", "PFS", "T1 (LIVER): 45.0 mm (LDIAM)"),
        ("MERGED", "PFS", "T2 (LIVER): merged into T1/T2 and counted there"),
        ("NO BASELINE", "PFS", "end 2025-01-01: the start, as no lesions were assessed on or before it"),
        ("PARTIAL", "OS", "end, death on 2025-06-01, completed from a partial date"),
        ("PARTIAL", "PFS", "new anticancer therapy CAPECITABINE (CHEMOTHERAPY) from 2025-04-01, completed"),
        ("PARTIAL", "PFS", "the event of 2025-06-01 is not counted: it lies after 2025-04-01"),
        ("NODE", "DOR_UNCONFIRMED", "target CR: all 2 gone (nodes below 10 mm), sum 6.0 mm"),
        ("NODE", "DOR_UNCONFIRMED", "N1 (LYMPH NODE, node): 6.0 mm (LPERP)"),
        ("NODE", "DOR_UNCONFIRMED", "T1 (LIVER): 0.0 mm (ABSENT)"),
        ("DOSE BY MONTH", "PFS", "start 2024-12-29: first dose of T-DXD, completed from 2024-12, not before the baseline"
                                 " scan clinical/exposures.csv, row 12"),
        ("DOSE BY MONTH", "PFS", "tumor_identifications.identified_on 2024-12-29 imaging/tumor_identifications.csv, row"),
        ("DOSE BY MONTH", "OS", "exposures.start_on, rows 1"),
        ("RESENT", "PFS", "value=31"),
        ("MONTH", "OS", "tumor_measurements.assessed_on, rows 1"),
        ("NODE", "PFS", "treatment or study ended on 2025-03-02: ADVERSE EVENT"),
        ("NODE", "PFS", "left the study on 2025-03-02: LOST TO FOLLOW-UP"),
        ("SPLIT", "OS", "treatment or study ended on 2025-03-02: PHYSICIAN DECISION"),
        ("SPLIT", "OS", "left the study on 2025-03-12: WITHDRAWAL BY SUBJECT"),
        ("MISSED", "PFS", "rule: FDA: from the first dose to the first PD or death that comes on or before new"
                          " anticancer therapy and the data cut-off and not after 2 or more missed assessments (planned"
                          " every 6 weeks to week 54, then every 12 weeks, window 7 days)"),
        ("MISSED", "PFS_OTHER_RULES", "rule: EMA: from the first dose to the first PD or death up to the data cut-off"),
        ("RESENT", "BOR", "84 days after the first dose"),
        ("RESENT", "BOR", "SD and NON-CR/NON-PD count from 35 days after the first dose on (42 less the window of 7)"),
        ("NODE", "CBOR", "42 days after the first dose, not confirmed by any later one, counts as SD"),
        ("NODE", "CBOR", "PR a CR or PR at least 28 days later; between them lie at most 1 NE and, of a PR, no SD"),
        ("NO BASELINE", "BOR", "best overall response: NE"),
        ("NO DOSE", "PFS", "T-DXD, dose 0, from 2025-01-01: not a dose above 0 of T-DXD up to the data cut-off"),
        ("OTHER DRUG", "BOR", "CAPECITABINE, dose not told, from 2025-01-01: not a dose above 0 of T-DXD"),
        ("SCREENED", "OS", "OS: none, the subject was not treated"),
        ("SCREENED", "OS", "disposition: SCREEN FAILURE on 2024-12-30"),
        ("SCREENED", "SHER2", "serum HER2: no baseline; samples 0, usable 0"),
        ("ONLY LAB", "PFS", "PFS: none, ONLY LAB is known from lab_results only; these rows wait for its row of"
                            " subjects and count as soon as that arrives"),
        ("ONLY LAB", "SHER2", "lab/samples.csv, row 1 subject_id=ONLY LAB; sample_id=L1"),
        ("ONLY LAB", None, "ONLY LAB is known from lab_results only"),
    ],
)  # fmt: skip
def test_corners_are_told_in_words(corners, subject, endpoint, told):
    text = as_text(trace(corners.settings, load_study(corners.settings.study_file), subject, endpoint))
    assert told in " ".join(text.split())


def test_who_is_known_from_quarantine_only_is_told_where(corners):
    done = corners.sher2("trace", "MISREAD")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert "has rows in quarantine only" in done.stderr and "clinical/subjects.csv" in done.stderr


def test_rules_are_told_with_the_parameters_of_the_publication(corners, tmp_path):
    study = load_study(corners.settings.study_file)
    later = study.model_copy(update={"response": study.response.model_copy(update={"confirm_days": 35})})
    text = " ".join(as_text(trace(corners.settings, later, "NODE", "CBOR")).split())
    assert "at least 28 days later" in text
    assert "study.yaml has changed since this build; parameters in words are those that it was published with" in text


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
