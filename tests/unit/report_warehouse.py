"""A published warehouse with believable rows and the study's own statistics of them, for tests of the report alone."""

import math
import random
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import duckdb
import pandas as pd

from orchestration.efficacy.analyses import current_value, early_change, outcomes, response, subgroups, trajectories
from orchestration.efficacy.metrics import compute
from orchestration.settings import REPOSITORY
from orchestration.study import load_study

FIRST_DOSE = date(2024, 1, 8)
CUTOFF = date(2026, 1, 31)
SCAN_DAYS = range(42, 700, 42)
LANDMARK_DAY = 50
BUILD_ID = "b" * 16

_ANALYSES = (
    outcomes.response_rates,
    outcomes.survival_times,
    trajectories.geometric_means,
    trajectories.categories_by_visit,
    early_change.patient_flow,
    early_change.landmarks,
    current_value.mantel_byar,
    response.early_change_and_response,
    response.best_changes,
    subgroups.response_rates,
    subgroups.interactions,
    subgroups.hazard_ratios,
)
_MARTS = ("dim_subject", "fct_her2_delta", "fct_response", "fct_best_response", "fct_time_to_event")

_TABLES = """
create schema marts; create schema metrics; create schema ops; create schema intermediate;
create table marts.dim_subject (subject_id varchar, site_id varchar, age_years integer, sex varchar, ihc_score varchar,
    hormone_receptor_status varchar, her2_status varchar, first_dose_on date, last_dose_on date, death_on date,
    last_alive_on date, new_therapy_on date, discontinued_on date, in_treated boolean, in_efficacy boolean,
    in_response_evaluable boolean);
create table marts.fct_her2_delta (subject_id varchar, sample_id varchar, laboratory varchar, study_day integer,
    analysis_visit_name varchar, is_visit_value boolean, value_ng_ml decimal(18,6), value_operator varchar,
    assay varchar, lloq_ng_ml decimal(18,6), uloq_ng_ml decimal(18,6), is_below_lloq boolean,
    analysed_value_ng_ml decimal(18,6), is_baseline boolean, baseline_ng_ml decimal(18,6), pct_change decimal(18,6),
    log2_ratio decimal(18,9), nadir_ng_ml decimal(18,6), change_category varchar, is_at_most_77pct boolean,
    is_fall_55 boolean, is_normalised boolean, is_in_time_for_progression boolean, sher2_progression varchar,
    is_bound boolean, is_timing_unknown boolean, is_after_progression boolean, is_after_new_therapy boolean,
    is_usable boolean, unusable_reason varchar);
create table marts.fct_response (subject_id varchar, evaluator varchar, reader varchar, assessment_no integer,
    is_accepted boolean, is_baseline boolean, is_baseline_outside_window boolean, assessed_on date, study_day integer,
    visit_name varchar, sum_of_diameters_mm decimal(18,6), is_sum_complete boolean, nadir_sum_mm decimal(18,6),
    pct_change_from_baseline decimal(18,4), new_lesion varchar, derived_response varchar, reported_response varchar,
    overall_response varchar, is_disagreement boolean);
create table marts.fct_best_response (subject_id varchar, evaluator varchar, best_overall_response varchar,
    confirmed_best_overall_response varchar, is_responder boolean, is_confirmed_responder boolean,
    has_disease_control boolean, has_clinical_benefit boolean, first_response_on date, best_pct_change decimal(18,6));
create table marts.fct_time_to_event (subject_id varchar, evaluator varchar, endpoint varchar, start_on date,
    end_on date, duration_days integer, duration_months decimal(18,6), is_event boolean, event_description
    varchar, censoring_reason varchar);
create table metrics.estimates (analysis varchar, endpoint varchar, population varchar, stratum varchar, term
    varchar, statistic varchar, estimate double, ci_low double, ci_high double, level double, p_value double,
    p_adjusted double, n integer, events integer, method varchar, is_primary boolean, caveat varchar, build_id
    varchar);
create table metrics.survival_curves (endpoint varchar, population varchar, stratum varchar, time_months double,
    survival double, ci_low double, ci_high double, at_risk integer, events integer, censored integer);
create table metrics.remark_profile (analysis varchar, endpoint varchar, population varchar, stratum varchar, n integer, events
    integer, role varchar, status varchar, reason varchar);
create table intermediate.int_lesion_values (subject_id varchar, evaluator varchar, reader varchar, visit_no bigint,
    lesion_id varchar, role varchar, diameter_mm decimal(18,6), is_assessed boolean);
create table intermediate.int_doses (subject_id varchar, dosed_on date);
create table intermediate.int_response_disagreements (subject_id varchar, evaluator varchar, assessed_on date,
    subject_matter varchar, derived varchar, reported varchar, reason varchar);
create table ops.files (file_id varchar, path varchar, source varchar, layout varchar, bytes bigint, received_at
    timestamp, status varchar, reason varchar, rows_read bigint, rows_accepted bigint, rows_quarantined bigint);
create table ops.quarantine (file_id varchar, path varchar, row_number bigint, record varchar, field varchar,
    value varchar, rule varchar, message varchar);
create table ops.findings (kind varchar, subject_id varchar, detail varchar, severity varchar);
create table ops.publications (build_id varchar, published_at timestamp, data_hash varchar, study_hash varchar,
    code_version varchar, previous_build_id varchar, data_cutoff_on date, rows_per_mart varchar);
"""


_PUBLICATIONS = f"""
insert into ops.publications values
    ('aaaaaaaaaaaaaaaa', timestamp '2026-02-01 06:00', '{"1" * 64}', '{"2" * 64}', '0.1.0+aaaaaaaaaaaa', null,
        date '{CUTOFF}', '{{}}'),
    ('{BUILD_ID}', timestamp '2026-02-02 06:00', '{"3" * 64}', '{"4" * 64}', '0.1.0+bbbbbbbbbbbb', 'aaaaaaaaaaaaaaaa',
        date '{CUTOFF}', '{{}}');
"""
_OPS = """
insert into ops.files values
    ('f1', 'lab/lis_01.csv', 'lis', 'site', 1200, timestamp '2026-02-02 06:00', 'loaded', null, 1250, 1246, 4),
    ('f2', 'clinical/dm.csv', 'sdtm', 'sdtm', 900, timestamp '2026-02-02 06:00', 'loaded', null, 132, 132, 0),
    ('f3', 'lab/lis_01_copy.csv', 'lis', 'site', 1200, timestamp '2026-02-02 06:00', 'duplicate', null, null, null, null),
    ('f4', 'imaging/broken.csv', null, null, 10, timestamp '2026-02-02 06:00', 'rejected',
        'header_mismatch: no declared layout has these headings', null, null, null);
insert into ops.quarantine values
    ('f1', 'lab/lis_01.csv', 7, 'lab_results', 'unit', 'U/mL', 'known_unit', 'U/mL cannot be converted to ng/mL'),
    ('f1', 'lab/lis_01.csv', 9, 'lab_results', 'unit', 'U/mL', 'known_unit', 'U/mL cannot be converted to ng/mL'),
    ('f1', 'lab/lis_01.csv', 31, 'lab_results', 'value', 'see note', 'value_is_number', 'the value is no number'),
    ('f1', 'lab/lis_01.csv', 40, 'lab_results', 'collected_at', '2031-01-01', 'not_in_future', 'after the cut-off');
insert into ops.findings by name
    select 'disagreement' as kind, 'DE-0003' as subject_id, 'warning' as severity,
        concat('INVESTIGATOR, overall response: PR derived, SD reported (arithmetic), WEEK ', week) as detail
    from range(6, 84, 6) as weeks(week);
insert into ops.findings values
    ('stable_disease_by_window', 'DE-0001', 'INVESTIGATOR on 2024-02-14: SD on day 36 counts only by the window', 'info'),
    ('baseline_outside_window', 'DE-0002', 'INVESTIGATOR: baseline is 32 days before the first dose', 'warning'),
    ('partial_date', 'DE-0001', 'therapies.started_on: 1 partial dates', 'info'),
    ('subject_unknown', 'DE-9999', 'lab rows of an unknown subject', 'warning');
"""


def build(path: Path, subjects: int = 24, without: tuple[str, ...] = (), statements: tuple[str, ...] = ()) -> Path:
    """Write a warehouse of so many treated HER2-low patients, four others who were treated and two who were not.

    Args:
        without: of ``her2``, ``imaging``, ``events``, ``metrics``, ``ops``: what the study has not.
        statements: SQL run at the end, for the special case of a test.
    """
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(_TABLES)
        for table, frame in _tables(subjects, without).items():
            columns = [column for (column, *_) in connection.execute(f"describe {table}").fetchall()]
            connection.register("rows", frame.reindex(columns=columns).astype(object))
            connection.execute(f"insert into {table} select * from rows")
        for statement in (_PUBLICATIONS, "" if "ops" in without else _OPS, *statements):
            connection.execute(statement)
    return path


@cache
def _tables(subjects: int, without: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Every table of the warehouse; the statistics are computed once for each study."""
    draw = random.Random(7)
    patients = [_patient(draw, number, subjects, without) for number in range(subjects + (6 if subjects else 0))]
    names = dict.fromkeys(table for patient in patients for table in patient)
    tables = {name: pd.DataFrame([row for patient in patients for row in patient.get(name, ())]) for name in names}
    if subjects and "metrics" not in without:
        marts = {name: tables.get(f"marts.{name}", pd.DataFrame()) for name in _MARTS}
        computed = compute(marts, load_study(REPOSITORY / "study.yaml"), BUILD_ID, _ANALYSES)
        tables |= {f"metrics.{name}": frame for name, frame in computed.items()}
    return tables


def _patient(draw: random.Random, number: int, low: int, without: tuple[str, ...]) -> dict[str, list[dict]]:
    """One subject's rows by table; the last two subjects were never treated."""
    subject = {"subject_id": f"DE-{number:04d}"}
    is_treated, is_low = number < low + 4, number < low
    depth = draw.triangular(-100, 60, -55)
    responds = depth <= -30 and draw.random() < 0.9
    progression = max(35.0, draw.expovariate(1 / (420 if responds else 190)))
    death = progression + draw.expovariate(1 / 400)
    follow_up = draw.uniform(150, 720)
    if "events" in without:
        progression, death = 9_999.0, 9_999.0
    start, stop = FIRST_DOSE + timedelta(days=number % 200), min(progression, follow_up)

    def on(day: float, known: bool = True) -> date | None:
        return start + timedelta(days=int(day)) if is_treated and known else None

    tables = {
        "marts.dim_subject": [
            subject
            | {
                "site_id": f"{number % 3 + 1:03d}",
                "age_years": 40 + number % 35,
                "sex": "F",
                "ihc_score": ("1+" if number % 2 else "2+") if is_low else "0",
                "hormone_receptor_status": "POSITIVE" if number % 4 else "NEGATIVE",
                "her2_status": "HER2-low" if is_low else "HER2-zero",
                "first_dose_on": on(0),
                "last_dose_on": on(stop),
                "death_on": on(death, death < follow_up),
                "last_alive_on": on(min(death, follow_up)),
                "new_therapy_on": on(progression + 20, progression + 20 < follow_up and number % 3 == 0),
                "discontinued_on": on(stop, progression < follow_up),
                "in_treated": is_treated,
                "in_efficacy": is_low,
                "in_response_evaluable": is_low and "imaging" not in without,
            }
        ],
        "ops.findings": [] if is_low else [_left_out(subject, is_treated)],
    }
    if not is_treated:
        return tables
    if "her2" not in without:
        fall = draw.gauss(-0.9 if responds else -0.1, 0.35)
        tables["marts.fct_her2_delta"] = _samples(draw, subject, stop, fall)
    reads, lesions = ([], []) if "imaging" in without else _reads(draw, subject, start, depth, progression, stop)
    tables["marts.fct_response"], tables["intermediate.int_lesion_values"] = reads, lesions
    tables["marts.fct_best_response"] = [_best(subject, reads, depth, responds, without)]
    tables["intermediate.int_doses"] = [subject | {"dosed_on": on(day)} for day in range(0, int(stop) + 1, 21)]
    tables["marts.fct_time_to_event"] = [
        subject
        | {
            "evaluator": "INVESTIGATOR",
            "endpoint": endpoint,
            "start_on": start,
            "end_on": on(days - 1),
            "duration_days": days,
            "duration_months": round(days / 30.4375, 6),
            "is_event": event <= follow_up,
            "event_description": "progressive disease" if event <= follow_up else None,
            "censoring_reason": None if event <= follow_up else "ongoing",
        }
        for endpoint, event in (("PFS", progression), ("OS", death))
        for days in [int(min(event, follow_up)) + 1]
        if endpoint == "OS" or "imaging" not in without
    ]
    return tables


def _left_out(subject: dict, is_treated: bool) -> dict:
    why = "in_efficacy: HER2 status of the tumour: HER2-zero" if is_treated else "in_treated: no dose of a study drug"
    return subject | {"kind": "left_out_of_set", "detail": why, "severity": "info"}


def _samples(draw: random.Random, subject: dict, stop: float, fall: float) -> list[dict]:
    level = math.exp(draw.gauss(2.5, 0.55))
    days = [(-draw.randint(1, 7), "C1D1"), (21 + draw.randint(-3, 3), "C2D1"), (42 + draw.randint(-3, 3), "C3D1")]
    days += [(day + draw.randint(-5, 5), f"WEEK {day // 7}") for day in SCAN_DAYS if 42 < day < stop]
    rows, values = [], []
    for position, (day, visit) in enumerate(days):
        if day >= stop:
            break
        rebound = max(0.0, (day - stop + 90) / 90) * 1.1
        value = round(max(level * 2 ** (fall * min(1, position / 2) + rebound + draw.gauss(0, 0.12)), 1.6), 1)
        values.append(value)
        first, is_later = values[0], position > 0
        rows.append(
            {
                "sample_id": f"S-{subject['subject_id']}-{position}",
                "study_day": day + 1 if day >= 0 else day,
                "analysis_visit_name": visit,
                "is_visit_value": True,
                "value_ng_ml": value,
                "analysed_value_ng_ml": value,
                "is_baseline": not is_later,
                "baseline_ng_ml": first,
                "pct_change": round(100 * (value - first) / first, 6) if is_later else None,
                "log2_ratio": round(math.log2(value / first), 9) if is_later else None,
                "nadir_ng_ml": min(values[:-1], default=None),
                "change_category": _category(value, first) if is_later else None,
                "is_at_most_77pct": value <= 0.77 * first if is_later else None,
                "is_fall_55": value <= 0.45 * first if is_later else None,
                "is_normalised": value < 15 if is_later and first >= 15 else None,
                "is_in_time_for_progression": is_later,
                "sher2_progression": None,
                "is_usable": True,
            }
        )
    rows.append({"sample_id": "x", "study_day": 1, "value_ng_ml": 9.9, "analysed_value_ng_ml": 9.9, "is_usable": False})
    rows[-1]["unusable_reason"] = "after infusion"
    flags = ("is_below_lloq", "is_bound", "is_timing_unknown", "is_after_progression", "is_after_new_therapy")
    same = {"laboratory": "LAB", "assay": "ELISA", "lloq_ng_ml": 1.5, "uloq_ng_ml": 350.0} | dict.fromkeys(flags, False)
    return [subject | same | row for row in rows]


def _category(value: float, first: float) -> str:
    return "FALL_20" if value <= 0.8 * first else "RISE_20" if value >= 1.2 * first else "STABLE"


def _reads(draw: random.Random, subject: dict, start: date, depth: float, progression: float, stop: float):
    """Assessments, the baseline first, and the two target lesions of each."""
    baseline, nadir = 62.0, None
    reads, lesions = [], []
    for number, day in enumerate([-10, *SCAN_DAYS], 1):
        if day > stop + 42:
            break
        has_progressed = day >= progression
        change = round(depth * min(1, day / 84) + (35 if has_progressed else 0) + draw.gauss(0, 3), 1)
        change = 0.0 if day < 0 else max(change, -100.0)
        total = round(baseline * (1 + change / 100), 2)
        answer = "PD" if has_progressed else "PR" if change <= -30 else "SD"
        key = subject | {"evaluator": "INVESTIGATOR", "reader": ""}
        reads.append(
            key
            | {
                "assessment_no": number,
                "is_accepted": True,
                "is_baseline": day < 0,
                "is_baseline_outside_window": False,
                "assessed_on": start + timedelta(days=day),
                "study_day": day + 1 if day >= 0 else day,
                "visit_name": f"WEEK {day // 7}" if day > 0 else "SCREENING",
                "sum_of_diameters_mm": total,
                "is_sum_complete": True,
                "nadir_sum_mm": nadir,
                "pct_change_from_baseline": change,
                "new_lesion": "YES" if has_progressed and draw.random() < 0.4 else "NO",
                "derived_response": None if day < 0 else answer,
                "reported_response": None if day < 0 else answer,
                "overall_response": None if day < 0 else answer,
                "is_disagreement": False,
            }
        )
        parts = (("T01", 0.6), ("T02", 0.4))
        lesions += [
            key
            | {
                "visit_no": number,
                "lesion_id": lesion,
                "role": "TARGET",
                "diameter_mm": round(total * part, 2),
                "is_assessed": True,
            }
            for lesion, part in parts
        ]
        nadir = total if nadir is None else min(nadir, total)
        if has_progressed:
            break
    return reads, lesions


def _best(subject: dict, reads: list[dict], depth: float, responds: bool, without: tuple[str, ...]) -> dict:
    later = [read for read in reads if not read["is_baseline"]]
    best = ("PR" if depth <= -30 else "SD" if depth < 20 else "PD") if later else "NE"
    best = "CR" if best == "PR" and depth < -85 else "MISSING" if "imaging" in without else best
    is_response = best in ("CR", "PR")
    return subject | {
        "evaluator": "INVESTIGATOR",
        "best_overall_response": best,
        "confirmed_best_overall_response": best if responds or not is_response else "SD",
        "is_responder": is_response,
        "is_confirmed_responder": is_response and responds,
        "has_disease_control": best in ("CR", "PR", "SD"),
        "has_clinical_benefit": is_response and responds,
        "first_response_on": next((read["assessed_on"] for read in later if read["overall_response"] == "PR"), None),
        "best_pct_change": round(depth, 1) if later else None,
    }
