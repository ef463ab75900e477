"""168 published cases of best responses (admiral, admiralonco: shared/reference) and what our marts answer to each.

Here: the cases, their own parameters as a protocol, and which of our rules makes an answer another one. They are held
against the models in tests/dbt, and through `sher2 run` in tests/e2e.
"""

from collections import defaultdict
from collections.abc import Callable

from tests.dbt.recist_rows import FIRST_DOSE, reference

CODES = {"CR", "PR", "SD", "PD", "NE", "NA", "NON-CR/NON-PD"}
DEFAULTS = {
    "ref_start_window": "28",
    "ref_confirm": "28",
    "max_nr_ne": "1",
    "accept_sd": "False",
    "clinben_vals": "CR|PR|SD",
}
ANSWERS = {
    "bor": "best_overall_response, cast(best_overall_response_on as text)",
    "confirmed_bor": "confirmed_best_overall_response, cast(confirmed_best_overall_response_on as text)",
    "response": "if(is_responder, 'Y', 'N'), cast(first_response_on as text)",
    "confirmed_resp": "if(is_confirmed_responder, 'Y', 'N'), cast(confirmed_response_on as text)",
    "clinbenefit": "if(has_clinical_benefit, 'Y', 'N'), cast(null as text)",  # ours has no date
}


def parameters(case: dict) -> tuple[str, ...]:
    return tuple(case[name] or default for name, default in DEFAULTS.items())


def first_dose(case: dict) -> str:
    return case["reference_date"] or str(FIRST_DOSE.replace(year=2020))


def sequence(case: dict) -> list[tuple[str, str]]:
    """(date, code) of every assessment with a value, with codes that are no response."""
    pairs = [item.split(":") for item in case["sequence"].split(";") if item]
    return [(when, code) for when, code in pairs if code != "None"]


def outside_progression(case: dict) -> str | None:
    """Date of a first progression that is no part of the sequence."""
    is_outside = case["use_first_pd_cut"] == "Y" and "PD" not in dict(map(reversed, sequence(case)))
    return (is_outside and case["first_pd_date"]) or None


def rule_that_differs(case: dict) -> str | None:
    """Which of our rules makes the answer of a case another one, or None where there is none."""
    progressions = [when for when, code in sequence(case) if code == "PD"]
    if case["expected_adt"] and case["expected_adt"] <= case["reference_date"]:
        return "an assessment on or before first dose is a baseline and never a response"
    if progressions and case["expected_adt"] > progressions[0]:
        return "nothing after the first progression counts"
    if outside_progression(case) and case["expected_avalc"] == "MISSING":
        return "a progression is itself a response"
    if not CODES & {code for _, code in sequence(case)} and case["expected_avalc"] not in ("MISSING", "N"):
        return "without a response the best one is MISSING, neither NE nor a code that is none"
    return None


def expected(case: dict) -> tuple[str, str | None]:
    return case["expected_avalc"], None if case["endpoint"] == "clinbenefit" else case["expected_adt"] or None


def numbered_by_parameters() -> dict[tuple[str, ...], dict[str, dict]]:
    """The numbered cases of each set of parameters; skips where the table is absent."""
    found = defaultdict(dict)
    for number, case in enumerate(reference("response_cases.csv")):
        found[parameters(case)][str(number)] = case
    return found


def response_parameters(window: str, confirm: str, most_ne: str, accept_sd: str, values: str) -> dict:
    return {
        "min_sd_days": int(window), "clinical_benefit_days": int(window), "duration_window_days": 0,
        "confirm_days": int(confirm), "confirm_max_ne": int(most_ne), "confirm_accept_sd": accept_sd == "True",
        "disease_control_values": values.split("|"),
    }  # fmt: skip


def answers(cases: dict[str, dict], rows: Callable[[str], list[tuple]]) -> dict[str, tuple]:
    """What marts.fct_best_response says of the asked endpoint of every case; `rows` asks the warehouse."""
    query = "select {} from marts.fct_best_response where subject_id = '{}' and evaluator in ('I', 'INVESTIGATOR')"
    return {subject: rows(query.format(ANSWERS[case["endpoint"]], subject))[0] for subject, case in cases.items()}
