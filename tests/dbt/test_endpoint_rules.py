"""Rules of the times to event that no public table tests: whole subjects, from lake rows to marts.fct_time_to_event."""

from typing import NamedTuple

import pytest

from orchestration.study import Study
from tests.dbt.recist_rows import Rows, on

MISSED = "two or more missed assessments before the event"
ONGOING = "ongoing at the last date in the data"
NOTHING = "no adequate assessment after start; "
LAST_DATE = 800  # of the data: a contact with somebody else


class Outcome(NamedTuple):
    """Day of the end, counted from the first dose, and what ended it."""

    day: int
    is_event: bool
    why: str


# Every 6 weeks through week 54 (day 378), then every 12: planned days 42 84 126 ... 336 378 462 546 630, 7 days each.
# An event follows two missed assessments when it comes after the second planned one that follows the last adequate one.
LAST_DAY_THAT_COUNTS = {  # last adequate assessment (None: there is none): last day on which an event counts
    None: 84 + 7,
    42: 126 + 7,
    62: 126 + 7,  # nearer to 42 than to 84
    63: 168 + 7,  # a tie between 42 and 84 belongs to the later
    84: 168 + 7,
    336: 462 + 7,  # the schedule changes between the two: neither 12 nor 24 weeks later
    378: 546 + 7,
    419: 546 + 7,
    420: 630 + 7,  # a tie between 378 and 462
}


def missed(rows: Rows) -> None:
    """A subject for each last adequate assessment and event, on the last day that counts and on the next."""
    for adequate, last_day in LAST_DAY_THAT_COUNTS.items():
        for day in (last_day, last_day + 1):
            for event in ("PD", "death"):
                subject = f"{event} on {day} after {adequate}"
                rows.subject(subject, death_on=on(day) if event == "death" else None)
                rows.reported(subject, on(adequate or 42), "SD" if adequate else "NE")
                if event == "PD":
                    rows.reported(subject, on(day), "PD")


def therapies(rows: Rows) -> None:
    """SD on day 42, PD on day 84, and a therapy on some day; without a progression where the subject died on day 90."""
    for subject, day, columns in (
        ("therapy before", 50, {}),
        ("therapy on an assessment", 42, {}),
        ("therapy first", 20, {}),
        ("therapy on the day", 84, {}),
        ("therapy afterwards", 85, {}),
        ("therapy before death", 50, {}),
        ("prior therapy", 0, {}),
        ("study drug again", 50, {"treatment": "STUDY DRUG"}),
        ("other medicine", 50, {"category": "CONCOMITANT"}),
        ("radiotherapy", 50, {"category": "RADIOTHERAPY"}),
    ):
        died = subject == "therapy before death"
        rows.subject(subject, death_on=on(90) if died else None)
        therapy = {"treatment": "OTHER", "category": "ANTICANCER", "started_on": on(day)} | columns
        rows.add("therapies", subject, **therapy)
        rows.reported(subject, on(42), "SD")
        if not died:
            rows.reported(subject, on(84), "PD")


def baselines(rows: Rows) -> None:
    for subject in ("no baseline", "no baseline, reported", "baseline only", "baseline only, died", "never assessed"):
        rows.subject(subject, death_on=on(60) if subject.endswith("died") else None)
    rows.measured("no baseline", "T01", 42, "20")
    rows.lesion("no baseline", "NEW01", "NEW", day=84)
    rows.reported("no baseline, reported", on(42), "SD")
    rows.reported("no baseline, reported", on(84), "PD")
    for subject in ("baseline only", "baseline only, died"):
        rows.lesion(subject, "T01")
        rows.measured(subject, "T01", -7, "20")


def exits(rows: Rows) -> None:
    """SD on day 42, then what the dispositions tell."""
    for subject, events in {
        "withdrawn": [("WITHDRAWAL BY SUBJECT", 50)],
        "lost after stopping treatment": [("ADVERSE EVENT", 30), ("LOST TO FOLLOW-UP", 50)],
        "assessed after withdrawal": [("WITHDRAWAL BY SUBJECT", 30)],
        "stopped treatment": [("ADVERSE EVENT", 50)],
        "withdrawn before therapy": [("WITHDRAWAL BY SUBJECT", 50)],
    }.items():
        rows.subject(subject)
        rows.reported(subject, on(42), "SD")
        for term, day in events:
            rows.add("dispositions", subject, category="DISPOSITION EVENT", term=term, occurred_on=on(day))
    rows.add("therapies", "withdrawn before therapy", treatment="OTHER", category="ANTICANCER", started_on=on(60))


def contradictions(rows: Rows) -> None:
    rows.subject("assessed after death", death_on=on(60))
    rows.subject("died before the start", death_on=on(-1))
    rows.subject("seen after the last contact")
    rows.subject("both on one day", death_on=on(84))
    for subject in ("assessed after death", "seen after the last contact", "both on one day"):
        rows.reported(subject, on(42), "SD")
        rows.reported(subject, on(84), "PD")
    rows.add("survival_status", "seen after the last contact", status="ALIVE", assessed_on=on(10))


def responders(rows: Rows) -> None:
    for subject, responses in {
        "confirmed": ["PR", "PR", "PD"],
        "confirmed later": ["PR", "SD", "PR", "PR", "PD"],
        "never confirmed": ["PR", "SD"],
        "confirmed after therapy": ["PR", "PR"],
        "response after therapy": ["SD", "PR", "PR"],
    }.items():
        rows.subject(subject)
        for number, response in enumerate(responses, 1):
            rows.reported(subject, on(42 * number), response)
        if subject.endswith("after therapy"):
            rows.add("therapies", subject, treatment="OTHER", category="ANTICANCER", started_on=on(60))


@pytest.fixture(scope="module")
def warehouse(build_warehouse):
    rows = Rows()
    for add in (missed, therapies, baselines, exits, contradictions, responders):
        add(rows)
    rows.add("subjects", "last date")
    rows.add("survival_status", "last date", status="ALIVE", assessed_on=on(LAST_DATE))
    schedule = [{"every_weeks": 6, "through_week": 54}, {"every_weeks": 12}]
    return build_warehouse(
        rows.records, Study.model_validate({"visits": {"imaging": {"window_days": 7, "schedule": schedule}}})
    )


@pytest.fixture(scope="module")
def ends(warehouse) -> dict[tuple[str, str], Outcome]:
    return {
        (subject, endpoint): Outcome(*outcome)
        for subject, endpoint, *outcome in warehouse.rows(f"""
            select subject_id, endpoint, end_on - date '{on(0)}', is_event,
                coalesce(event_description, censoring_reason)
            from marts.fct_time_to_event where evaluator = 'INVESTIGATOR'
        """)
    }


def found(warehouse, subject: str) -> dict[str, str]:
    """Findings of a subject, sets left out: kind and detail."""
    return dict(
        warehouse.rows(f"""
        select kind, detail from ops.findings where subject_id = '{subject}' and kind <> 'left_out_of_set'
    """)
    )


@pytest.mark.parametrize("event", ["PD", "death"])
@pytest.mark.parametrize(("adequate", "last_day"), LAST_DAY_THAT_COUNTS.items())
def test_an_event_counts_until_two_planned_assessments_were_missed(ends, adequate, last_day, event):
    why = {"PD": "progressive disease", "death": "death"}[event]
    in_time, too_late = f"{event} on {last_day} after {adequate}", f"{event} on {last_day + 1} after {adequate}"
    assert ends[in_time, "PFS"] == (last_day, True, why)
    assert ends[too_late, "PFS"] == (adequate or 0, False, MISSED)
    # the other rule set takes the event as observed
    assert ends[in_time, "PFS_OTHER_RULES"] == (last_day, True, why)
    assert ends[too_late, "PFS_OTHER_RULES"] == (last_day + 1, True, why)


THERAPY = "new anticancer therapy"
PROGRESSION = Outcome(84, True, "progressive disease")
WITHDRAWAL, LOSS = Outcome(42, False, "withdrawal"), Outcome(42, False, "lost to follow-up")


@pytest.mark.parametrize(
    ("subject", "fda", "ema"),
    [
        ("therapy before", Outcome(42, False, THERAPY), PROGRESSION),
        ("therapy on an assessment", Outcome(42, False, THERAPY), PROGRESSION),
        ("therapy first", Outcome(0, False, NOTHING + THERAPY), PROGRESSION),
        ("therapy on the day", PROGRESSION, PROGRESSION),
        ("therapy afterwards", PROGRESSION, PROGRESSION),
        ("therapy before death", Outcome(42, False, THERAPY), Outcome(90, True, "death")),
        ("prior therapy", PROGRESSION, PROGRESSION),
        ("study drug again", PROGRESSION, PROGRESSION),
        ("other medicine", PROGRESSION, PROGRESSION),
        ("radiotherapy", Outcome(42, False, THERAPY), PROGRESSION),
        ("no baseline", Outcome(0, False, "no baseline assessment"), PROGRESSION),
        ("no baseline, reported", PROGRESSION, PROGRESSION),
        ("baseline only", Outcome(0, False, NOTHING + ONGOING), Outcome(0, False, NOTHING + ONGOING)),
        ("baseline only, died", Outcome(60, True, "death"), Outcome(60, True, "death")),
        ("never assessed", Outcome(0, False, NOTHING + ONGOING), Outcome(0, False, NOTHING + ONGOING)),
        ("withdrawn", WITHDRAWAL, WITHDRAWAL),
        ("lost after stopping treatment", LOSS, LOSS),
        ("assessed after withdrawal", Outcome(42, False, ONGOING), Outcome(42, False, ONGOING)),
        ("stopped treatment", Outcome(42, False, ONGOING), Outcome(42, False, ONGOING)),
        ("withdrawn before therapy", WITHDRAWAL, WITHDRAWAL),
        ("both on one day", PROGRESSION, PROGRESSION),
    ],
)
def test_progression_free_survival_by_both_rule_sets(ends, subject, fda, ema):
    assert ends[subject, "PFS"] == fda
    assert ends[subject, "PFS_OTHER_RULES"] == ema


@pytest.mark.parametrize(
    ("subject", "outcome"),
    [
        ("both on one day", Outcome(84, True, "death")),
        ("therapy before death", Outcome(90, True, "death")),
        ("withdrawn", Outcome(50, False, "withdrawal")),
        ("lost after stopping treatment", Outcome(50, False, "lost to follow-up")),
        ("assessed after withdrawal", Outcome(42, False, "alive at the last contact")),
        ("never assessed", Outcome(0, False, "alive at the last contact")),
    ],
)
def test_overall_survival_ends_at_death_or_the_last_day_known_alive(ends, subject, outcome):
    assert ends[subject, "OS"] == outcome


def test_of_dates_that_contradict_each_other_the_finding_says_which_is_shown(warehouse, ends):
    death = Outcome(60, True, "death")
    assert (ends["assessed after death", "PFS"], ends["assessed after death", "OS"]) == (death, death)
    listed = found(warehouse, "assessed after death")
    assert set(listed) == {"assessment_after_death", "after_death"}
    assert listed["assessment_after_death"].endswith("times to event end at the death")

    listed = found(warehouse, "died before the start")
    assert listed["end_before_start"].endswith("one day is shown")
    assert warehouse.rows("""
        select distinct endpoint, duration_days, end_on = start_on from marts.fct_time_to_event
        where subject_id = 'died before the start' order by 1
    """) == [("OS", 1, True), ("PFS", 1, True), ("PFS_OTHER_RULES", 1, True)]

    assert ends["seen after the last contact", "OS"] == (84, False, "alive at the last contact")
    listed = found(warehouse, "seen after the last contact")
    assert listed["alive_before_last_scan"].endswith("the latest day of all records is the last known alive")

    assert found(warehouse, "assessed after withdrawal")["assessment_after_exit"].endswith("the assessment counts")
    assert found(warehouse, "withdrawn") == {}


@pytest.mark.parametrize(
    ("subject", "endpoint", "first_day", "last_day"),
    [
        ("confirmed", "DOR", 42, 126),
        ("confirmed", "DOR_UNCONFIRMED", 42, 126),
        ("confirmed", "TTR", 0, 42),
        ("confirmed later", "DOR", 126, 210),
        ("confirmed later", "DOR_UNCONFIRMED", 42, 210),
        ("confirmed later", "TTR", 0, 126),
        ("never confirmed", "DOR_UNCONFIRMED", 42, 84),
    ],
)
def test_durations_count_both_their_days_from_the_response_that_starts_them(
    warehouse, subject, endpoint, first_day, last_day
):
    ((start, end, days, months),) = warehouse.rows(f"""
        select start_on::text, end_on::text, duration_days, duration_months from marts.fct_time_to_event
        where subject_id = '{subject}' and endpoint = '{endpoint}' and evaluator = 'INVESTIGATOR'
    """)
    assert (start, end, days) == (on(first_day), on(last_day), last_day - first_day + 1)
    assert float(months) == pytest.approx(days / 30.4375, abs=5e-7)


def test_only_responders_have_a_duration_of_response(ends):
    assert {endpoint for subject, endpoint in ends if subject == "never confirmed"} == {
        "PFS", "PFS_OTHER_RULES", "OS", "DOR_UNCONFIRMED",
    }  # fmt: skip
    assert {endpoint for subject, endpoint in ends if subject == "withdrawn"} == {"PFS", "PFS_OTHER_RULES", "OS"}


def test_responses_after_new_therapy_do_not_count(warehouse, ends):
    best = dict(
        warehouse.rows("""
        select subject_id, (best_overall_response, confirmed_best_overall_response) from marts.fct_best_response
        where subject_id like '% after therapy' and evaluator = 'INVESTIGATOR'
    """)
    )
    assert best == {"confirmed after therapy": ("PR", "SD"), "response after therapy": ("SD", "SD")}
    assert ends["confirmed after therapy", "DOR_UNCONFIRMED"] == (42, False, THERAPY)
    assert ("response after therapy", "DOR_UNCONFIRMED") not in ends
