"""Times to event against results that nobody on this project computed: admiral's cases, a table programmed twice."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date

import pandas as pd
import pytest

from orchestration.efficacy import rates, survival
from orchestration.study import Study
from tests.dbt.recist_rows import REFERENCE, SHARED, Rows, public_study, reference

# --- admiral: inputs and expected rows of derive_param_tte ------------------------------------------------------------

DOES_NOT_APPLY = {
    "Test 4: error": "an error of the R interface",
    "Test 5: by_vars": "adverse events are no endpoint of ours",
    "Test 6: an error": "an error of the R interface",
    "Test 7: errors": "an error of the R interface",
    "Test 8: errors": "an error of the R interface",
    "Test 9: errors": "an error of the R interface",
    "Test 10: error": "an error of the R interface",
    "Test 11: ensuring ADT": "adverse events are no endpoint of ours; without a first dose there is no time",
    "Test 12: test dataset": "adverse events are no endpoint of ours",
    "Test 13: error": "an error of the R interface",
    "Test 15: using order": "which of two adverse events of one day is named; for us progression beats death",
    "Test 16: produces": "adverse events; that the order of rows does not matter is a property test of ours",
    "Test 18: positive": "an improvement that ends with the study: time to response is ours, of responders only",
    "Test 19: error": "an error of the R interface",
    "Test 20: expected": "a list of the R package's own objects",
    "Add a basic": "adverse events are no endpoint of ours",
    "by variable": "adverse events are no endpoint of ours",
    "check_type`)#3": "adverse events are no endpoint of ours",
    "check_type`)#4": "adverse events are no endpoint of ours",
    "Filtering source": "adverse events are no endpoint of ours",
    "multiple event/censor": "adverse events are no endpoint of ours",
    "event_type`": "an improvement that ends with the study: time to response is ours, of responders only",
}
SUBJECT_DOES_NOT_APPLY = {
    ("Test 2: new", "02"): "progression hours after the first dose, on its day: by days that is the baseline",
    ("censoring reasons#9", "01"): "the baseline is dated a year after the start",
}
REASONS = {  # admiral's text: how ours begins
    "DEATH": "death",
    "PD": "progressive disease",
    "WORSENING": "progressive disease",
    "LAST KNOWN ALIVE DATE": "alive at the last contact",
    "LAST TUMOR ASSESSMENT": "ongoing",
    "TREATMENT START": "no adequate assessment after start",
    "NO WORSENING": "ongoing",
    "NEW DRUG": "new anticancer therapy",
    "END OF STUDY": "data cut-off",
    "NO BASELINE ASSESSMENT": "no baseline assessment",
    "NO POST-BASELINE ASSESSMENT": "no adequate assessment after start",
    "NO ASSESSMENTS": "no adequate assessment after start",
}
END_OF_STUDY = date(2021, 3, 6)  # of every subject that is censored there; for us a data cut-off


def named(table: dict, case_id: str):
    """What a table says of a case, by a part of its id."""
    return next((text for part, text in table.items() if part in case_id), None)


@dataclass(frozen=True)
class Expected:
    """A row that admiral gives, and the subject and endpoint that it is held against."""

    subject: str
    endpoint: str
    ends_with_the_study: bool
    row: dict


def survival_case(rows: Rows, subject: str, known: dict, _) -> None:
    rows.subject(subject, known["TRTSDT"], death_on=known["DTHDT"])
    rows.add("survival_status", subject, status="ALIVE", assessed_on=known["LSTALVDT"])


def response_case(rows: Rows, subject: str, known: dict, data: dict) -> None:
    """Overall responses; where the case starts at the response, treatment starts with the year."""
    rows.subject(subject, (known.get("TRTSDTM") or "2021-01-01")[:10], death_on=known["DTHDT"])
    for row in data["adrs"]:
        if row["USUBJID"] == known["USUBJID"]:
            rows.reported(subject, (row.get("ADTM") or row["ADT"])[:10], row["AVALC"])


def worsening_case(rows: Rows, subject: str, known: dict, data: dict) -> None:
    """A score that worsens by 10 is a target of 50 mm that grows by 10: a progression. No value: not done."""
    rows.subject(subject, known["TRTSDT"])
    if known["NEWDRGDT"]:
        rows.add("therapies", subject, treatment="OTHER DRUG", category="ANTICANCER", started_on=known["NEWDRGDT"])
    scores = [row for row in data["adqs"] if row["USUBJID"] == known["USUBJID"]]
    tells_baseline = any("ABLFL" in row for row in data["adqs"])
    baselines = [row["ADT"] for row in scores if row.get("ABLFL") == "Y"] if tells_baseline else [known["TRTSDT"]]
    for when in baselines:
        rows.add("tumor_identifications", subject, lesion_id="T01", role="TARGET", identified_on=when, visit_name=when)
    measured = dict.fromkeys(baselines, 0) | {row["ADT"]: row["CHG"] for row in scores}
    for when, change in measured.items():
        rows.add(
            "tumor_measurements", subject, lesion_id="T01", test="DIAMETER", assessed_on=when, visit_name=when,
            value=None if change is None else str(50 - change), status="NOT DONE" if change is None else None,
        )  # fmt: skip


CASES = {  # a part of the case's id: endpoint, what builds a subject
    "Test 1: new observations": ("OS", survival_case),
    "Test 2: new parameter": ("PFS", response_case),
    "Test 3: no records": ("DOR_UNCONFIRMED", response_case),
    "Test 17: end dates": ("PFS", worsening_case),
    "end_dates`": ("PFS", worsening_case),
    "censoring reasons": ("PFS", worsening_case),
    "censoring date description": ("PFS", worsening_case),
}


def admiral_cases() -> list[dict]:
    found = []
    for name in ("admiral_tte_tests.json", "admiral_tte_doc_examples.json"):
        if not (REFERENCE / name).exists():
            pytest.skip("shared/reference is absent: nothing to hold the times to event against")
        found += json.loads((REFERENCE / name).read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def admiral() -> tuple[Rows, list[Expected]]:
    rows, expected = Rows(), []
    for number, case in enumerate(admiral_cases()):
        endpoint, add = named(CASES, case["id"]) or (None, None)
        if endpoint is None:
            continue
        data = case["inputs"]["source_datasets"]
        outcomes = {row["USUBJID"]: row for row in case.get("expected_rows") or case["output_rows"]}
        for known in data["adsl"]:
            add(rows, f"{number}-{known['USUBJID']}", known, data)
            row = outcomes.get(known["USUBJID"])
            left_out = any(part in case["id"] and who == known["USUBJID"] for part, who in SUBJECT_DOES_NOT_APPLY)
            if row and not left_out:
                ends = bool(row["CNSR"]) and known.get("EOSDT") == str(END_OF_STUDY)
                row["ADT"] = row.get("ADT") or row["ADTM"][:10]
                expected.append(Expected(f"{number}-{known['USUBJID']}", endpoint, ends, row))
    return rows, expected


def test_every_admiral_case_is_held_or_named(admiral):
    ids = [case["id"] for case in admiral_cases()]
    assert len(ids) == 29
    assert [case_id for case_id in ids if bool(named(CASES, case_id)) == bool(named(DOES_NOT_APPLY, case_id))] == []
    _, expected = admiral
    assert len(expected) == 26


@pytest.mark.parametrize("ends_with_the_study", [False, True], ids=["observed on", "cut at the end of the study"])
def test_admiral_cases_that_apply(build_warehouse, admiral, ends_with_the_study):
    rows, expected = admiral
    identity = {"data_cutoff": END_OF_STUDY} if ends_with_the_study else {}
    warehouse = build_warehouse(rows.records, Study.model_validate({"study": identity}), checks=())
    ours = {
        (subject, endpoint): row
        for subject, endpoint, *row in warehouse.rows("""
            select subject_id, endpoint, start_on::text, end_on::text, is_event,
                coalesce(event_description, censoring_reason)
            from marts.fct_time_to_event where evaluator = 'INVESTIGATOR'
        """)
    }
    held = [item for item in expected if item.ends_with_the_study == ends_with_the_study]
    assert len(held) == (3 if ends_with_the_study else 23)
    for item in held:
        start, end, is_event, reason = ours[item.subject, item.endpoint]
        theirs = item.row
        assert (end, is_event) == (theirs["ADT"], theirs["CNSR"] == 0), item
        assert start == (theirs.get("STARTDT") or theirs["STARTDTM"][:10]), item
        text = theirs.get("EVNTDESC") or theirs.get("EVENTDESC")
        assert text is None or reason.startswith(REASONS[text]), (item, reason)


# --- the large public study: a table programmed independently in SAS and R --------------------------------------------

ARMS = {"Placebo": "Placebo", "Low": "Xanomeline Low Dose", "High": "Xanomeline High Dose"}


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str], str]:
    return {
        (row["statistic"], row["arm (TRT01P)"]): row["value"] for row in reference("published_tlf_dual_programmed.csv")
    }


@pytest.fixture(scope="module")
def outcomes(build_warehouse, tmp_path_factory) -> pd.DataFrame:
    """A treated subject a row: best response and PFS of the accepted reader as reported; SD counts from study day 42.

    Arms are the planned ones, as in the table: 12 subjects were given another dose, which is what our marts tell.
    """
    study = Study.model_validate({
        "response": {"evaluator": "INDEPENDENT ASSESSOR", "basis": "reported", "duration_window_days": 1}
    })  # fmt: skip
    records = public_study("onco", tmp_path_factory.mktemp("large"))
    warehouse = build_warehouse(records, study, checks=())
    found = warehouse.rows("""
        select subject_id, best_overall_response, duration_days, is_event
        from marts.fct_best_response inner join marts.fct_time_to_event using (subject_id, evaluator)
        where evaluator = 'INDEPENDENT ASSESSOR' and endpoint = 'PFS'
    """)
    with (SHARED / "samples" / "sdtm" / "dm.csv").open(newline="", encoding="utf-8") as file:
        planned = {row["USUBJID"]: row["ARM"] for row in csv.DictReader(file)}
    frame = pd.DataFrame(found, columns=["subject_id", "best_response", "days", "is_event"])
    short = {name: arm for arm, name in ARMS.items()}
    return frame.assign(
        arm=frame["subject_id"].map(planned).map(short), is_responder=frame["best_response"].isin(["CR", "PR"])
    )


def of_arm(outcomes: pd.DataFrame, arm: str) -> pd.DataFrame:
    return outcomes if arm == "Total" else outcomes[outcomes["arm"] == arm]


def limits(estimate: float, low: float, high: float, digits: int) -> str:
    return f"{estimate:.{digits}f} ({low:.{digits}f};{high:.{digits}f})"


def test_best_responses_of_the_independently_programmed_table(outcomes, table):
    published = {name.split()[1]: int(value) for (name, _), value in table.items() if name.startswith("BOR ")}
    assert Counter(outcomes["best_response"]) == published


@pytest.mark.parametrize("arm", [*ARMS, "Total"])
def test_response_rates_of_the_independently_programmed_table(outcomes, table, arm):
    responders = of_arm(outcomes, arm)["is_responder"]
    assert f"{responders.sum()}/{len(responders)}" == table["ORR x/n", arm]
    low, high = rates.proportion_ci(int(responders.sum()), len(responders))
    assert f"{100 * low:.1f};{100 * high:.1f}" == table["ORR Clopper-Pearson 95%", arm]


@pytest.mark.parametrize("arm", ARMS)
def test_progression_free_survival_of_the_independently_programmed_table(outcomes, table, arm):
    subjects = of_arm(outcomes, arm)
    assert int(subjects["is_event"].sum()) == int(table["PFS events", arm])
    curve = survival.kaplan_meier(subjects["days"], subjects["is_event"])
    assert limits(*survival.quantile(curve), 0) == table["PFS median (95% log-log CI)", arm]
    for row in survival.rate_at(curve, [60, 120, 180]).itertuples():
        published = table[f"PFS rate d{row.time:.0f}", arm]
        ours = limits(row.survival, row.ci_low, row.ci_high, 3).replace("nan", "NE")
        assert ours.replace("NE (NE;NE)", "NE") == published, row


@pytest.mark.parametrize("arm", ["Low", "High"])
def test_comparisons_of_the_independently_programmed_table(outcomes, table, arm):
    pair = outcomes[outcomes["arm"].isin(["Placebo", arm])].assign(is_active=outcomes["arm"] == arm)
    (row,) = survival.cox(pair.astype({"is_active": float}), "days", "is_event", ["is_active"]).itertuples()
    ratio = limits(row.hazard_ratio, row.ci_low, row.ci_high, 3)
    assert ratio == table["HR vs Placebo (pairwise Cox, Efron)", arm]
    _, _, p_value = survival.logrank(pair["days"], pair["is_event"], pair["is_active"])
    assert f"{p_value:.3f}" == table["log-rank p vs Placebo (pairwise)", arm]
