"""A published warehouse with the contract's columns and believable rows, for tests of the report alone."""

import math
import random
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd

FIRST_DOSE = date(2024, 1, 8)
CUTOFF = date(2026, 1, 31)
SCAN_DAYS = range(42, 700, 42)

_TABLES = """
create schema marts; create schema metrics; create schema ops;
create table marts.dim_subject (subject_id varchar, her2_status varchar, first_dose_on date, last_dose_on date,
    death_on date, discontinued_on date, in_treated boolean, in_efficacy boolean, in_response_evaluable
    boolean);
create table marts.fct_her2_delta (subject_id varchar, sample_id varchar, study_day integer, analysis_visit_name
    varchar, is_visit_value boolean, analysed_value_ng_ml decimal(18,6), value_operator varchar, lloq_ng_ml
    decimal(18,6), pct_change decimal(18,6), is_after_progression boolean, is_after_new_therapy boolean,
    is_usable boolean, unusable_reason varchar);
create table marts.fct_response (subject_id varchar, evaluator varchar, reader varchar, is_accepted boolean,
    assessed_on date, study_day integer, visit_name varchar, pct_change_from_baseline decimal(18,6), new_lesion
    varchar, overall_response varchar);
create table marts.fct_best_response (subject_id varchar, evaluator varchar, best_overall_response varchar,
    confirmed_best_overall_response varchar, is_responder boolean, is_confirmed_responder boolean,
    first_response_on date, best_pct_change decimal(18,6));
create table marts.fct_time_to_event (subject_id varchar, evaluator varchar, endpoint varchar, start_on date,
    end_on date, duration_days integer, duration_months decimal(18,6), is_event boolean, event_description
    varchar, censoring_reason varchar);
create table metrics.estimates (analysis varchar, endpoint varchar, population varchar, stratum varchar, term
    varchar, statistic varchar, estimate double, ci_low double, ci_high double, level double, p_value double,
    p_adjusted double, n integer, events integer, method varchar, is_primary boolean, caveat varchar, build_id
    varchar);
create table metrics.survival_curves (endpoint varchar, population varchar, stratum varchar, time_months double,
    survival double, ci_low double, ci_high double, at_risk integer, events integer, censored integer);
create table metrics.remark_profile (analysis varchar, endpoint varchar, population varchar, n integer, events
    integer, role varchar, status varchar, reason varchar);
create table ops.files (file_id varchar, path varchar, source varchar, layout varchar, bytes bigint, received_at
    timestamp, status varchar, reason varchar, rows_read bigint, rows_accepted bigint, rows_quarantined bigint);
create table ops.quarantine (file_id varchar, path varchar, row_number bigint, record varchar, field varchar,
    value varchar, rule varchar, message varchar);
create table ops.findings (kind varchar, subject_id varchar, detail varchar, severity varchar);
create table ops.publications (build_id varchar, published_at timestamp, data_hash varchar, study_hash varchar,
    code_version varchar, previous_build_id varchar, data_cutoff_on date, rows_per_mart varchar);
"""


def build(path: Path, subjects: int = 24, without: tuple[str, ...] = (), statements: tuple[str, ...] = ()) -> Path:
    """Write a warehouse of so many treated patients and a few others.

    Args:
        without: of ``her2``, ``imaging``, ``metrics``, ``ops``: what the study has not.
        statements: SQL run at the end, for the special case of a test.
    """
    rows = _study(subjects, set(without))
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(_TABLES)
        for table, values in rows.items():
            columns = [column for (column, *_) in connection.execute(f"describe {table}").fetchall()]
            connection.register("rows", pd.DataFrame(values, columns=columns, dtype=object))
            connection.execute(f"insert into {table} select * from rows")
        for statement in statements:
            connection.execute(statement)
    return path


def _study(subjects: int, without: set[str]) -> dict[str, list[tuple]]:
    draw = random.Random(7)
    tables = {
        name: []
        for name in (
            "marts.dim_subject",
            "marts.fct_her2_delta",
            "marts.fct_response",
            "marts.fct_best_response",
            "marts.fct_time_to_event",
        )
    }
    times = {"PFS": [], "OS": []}
    falls: list[tuple[float, bool, bool]] = []
    for number in range(subjects + (6 if subjects else 0)):
        subject = f"DE-{number:04d}"
        treated, low = number < subjects + 4, number < subjects
        depth = draw.triangular(-100, 60, -55)
        responder = depth <= -30 and draw.random() < 0.9
        progression = max(35.0, draw.expovariate(1 / (420 if responder else 190)))
        death = progression + draw.expovariate(1 / 400)
        follow_up = draw.uniform(150, 720)
        start = FIRST_DOSE + timedelta(days=number % 200)
        stop = min(progression, follow_up)

        def on(day: float, start: date = start) -> date:
            return start + timedelta(days=int(day))

        tables["marts.dim_subject"].append(
            (
                subject,
                "HER2-low" if low else "HER2-zero",
                start if treated else None,
                on(stop) if treated else None,
                on(death) if treated and death < follow_up else None,
                on(stop) if treated and progression < follow_up else None,
                treated,
                low,
                low and "imaging" not in without,
            )
        )
        if not treated:
            continue
        fall = draw.gauss(-0.9 if responder else -0.1, 0.35)
        if "her2" not in without:
            tables["marts.fct_her2_delta"] += _samples(draw, subject, stop, fall)
        first_response = None
        if "imaging" not in without:
            responses, first_response = _responses(draw, subject, start, depth, progression, stop)
            tables["marts.fct_response"] += responses
        assessed = "imaging" not in without and stop > 42
        best = (
            ("PR" if depth <= -30 else "SD" if depth < 20 else "PD")
            if assessed
            else "MISSING"
            if "imaging" in without
            else "NE"
        )
        best = "CR" if best == "PR" and depth < -85 else best
        confirmed = best if responder or best not in ("CR", "PR") else "SD"
        tables["marts.fct_best_response"].append(
            (
                subject,
                "INVESTIGATOR",
                best,
                confirmed,
                best in ("CR", "PR"),
                assessed and responder,
                first_response,
                round(depth, 1) if assessed else None,
            )
        )
        for endpoint, event in (("PFS", progression), ("OS", death)):
            days = int(min(event, follow_up)) + 1
            tables["marts.fct_time_to_event"].append(
                (
                    subject,
                    "INVESTIGATOR",
                    endpoint,
                    start,
                    on(days - 1),
                    days,
                    round(days / 30.4375, 6),
                    event <= follow_up,
                    "PD" if event <= follow_up else None,
                    None if event <= follow_up else "ongoing",
                )
            )
            if low:
                times[endpoint].append((days, event <= follow_up))
        if low and int(stop) > 50:
            falls.append((int(stop) + 1 - 50, progression <= follow_up, fall <= math.log2(0.8)))
    has_outcome = subjects and "imaging" not in without and "metrics" not in without
    tables["metrics.survival_curves"] = (
        []
        if not has_outcome
        else [
            *_curve("PFS", "all", times["PFS"]),
            *_curve("OS", "all", times["OS"]),
            *(
                []
                if "her2" in without
                else _curve("PFS", "week 6: fall >= 20 %", [(t, e) for t, e, fell in falls if fell])
                + _curve("PFS", "week 6: no fall >= 20 %", [(t, e) for t, e, fell in falls if not fell])
            ),
        ]
    )
    responders = sum(row[5] for row in tables["marts.fct_best_response"][:subjects])
    tables |= _metrics(subjects, responders, without) if has_outcome else {}
    if has_outcome:
        tables["metrics.estimates"] += _geometric_means(
            tables["marts.fct_her2_delta"], tables["marts.fct_best_response"]
        )
    return tables | _ops(without)


def _samples(draw: random.Random, subject: str, stop: float, fall: float) -> list[tuple]:
    rows = []
    baseline = math.exp(draw.gauss(2.5, 0.55))
    days = [(-draw.randint(0, 7), "C1D1"), (21 + draw.randint(-3, 3), "C2D1"), (42 + draw.randint(-3, 3), "C3D1")]
    days += [(day + draw.randint(-5, 5), f"WEEK {day // 7}") for day in SCAN_DAYS if day > 42 and day < stop]
    first = None
    for position, (day, visit) in enumerate(days):
        if day >= stop:
            break
        rebound = max(0.0, (day - stop + 90) / 90) * 1.1
        value = round(max(baseline * 2 ** (fall * min(1, position / 2) + rebound + draw.gauss(0, 0.12)), 0.8), 1)
        first = first if first is not None else value
        change = round(100 * (value - first) / first, 6)
        rows.append(
            (
                subject,
                f"S-{subject}-{position}",
                day + 1 if day >= 0 else day,
                visit,
                True,
                value,
                None,
                1.5,
                None if position == 0 else change,
                False,
                False,
                True,
                None,
            )
        )
    rows.append(
        (subject, f"S-{subject}-x", 1, None, False, 9.9, None, 1.5, None, False, False, False, "after infusion")
    )
    return rows


def _responses(draw: random.Random, subject: str, start: date, depth: float, progression: float, stop: float):
    rows, first_response = [], None
    for day in SCAN_DAYS:
        if day > stop + 42:
            break
        progressed = day >= progression
        change = round(depth * min(1, day / 84) + (35 if progressed else 0) + draw.gauss(0, 3), 1)
        response = "PD" if progressed else "PR" if change <= -30 else "SD"
        assessed_on = start + timedelta(days=day)
        if response == "PR" and first_response is None:
            first_response = assessed_on
        rows.append(
            (
                subject,
                "INVESTIGATOR",
                "",
                True,
                assessed_on,
                day + 1,
                f"WEEK {day // 7}",
                max(change, -100),
                "YES" if progressed and draw.random() < 0.4 else "NO",
                response,
            )
        )
        if progressed:
            break
    return rows, first_response


def _curve(endpoint: str, stratum: str, times: list[tuple[int, bool]]) -> list[tuple]:
    """Product limit with log-log limits: enough for a believable picture."""
    rows, survival, variance = [], 1.0, 0.0
    for time in sorted({time for time, _ in times}):
        at_risk = sum(t >= time for t, _ in times)
        events = sum(t == time and e for t, e in times)
        censored = sum(t == time and not e for t, e in times)
        survival *= 1 - events / at_risk
        variance += events / (at_risk * (at_risk - events)) if at_risk > events else math.inf
        low = high = None
        if 0 < survival < 1 and math.isfinite(variance):
            width = 1.959964 * math.sqrt(variance) / abs(math.log(survival))
            low, high = survival ** math.exp(width), survival ** math.exp(-width)
        elif survival == 1:
            low = high = 1.0
        rows.append((endpoint, "in_efficacy", stratum, time / 30.4375, survival, low, high, at_risk, events, censored))
    return rows


def _geometric_means(samples: list[tuple], best: list[tuple]) -> list[tuple]:
    responders = {row[0] for row in best if row[5]}
    visits: dict[tuple[str, str], list[float]] = {}
    for row in samples:
        if row[4]:
            for stratum in ("all", f"{'' if row[0] in responders else 'no '}confirmed response"):
                visits.setdefault((row[3], stratum), []).append(math.log(row[5]))
    return [
        (
            "kinetics",
            "sHER2",
            "in_efficacy",
            stratum,
            visit,
            "geometric_mean_ng_ml",
            math.exp(sum(logs) / len(logs)),
            None,
            None,
            0.95,
            None,
            None,
            len(logs),
            0,
            "geometric mean, t CI of the logs",
            False,
            "events are confirmed responders",
            "b" * 16,
        )
        for (visit, stratum), logs in visits.items()
    ]


def _metrics(n: int, responders: int, without: set[str]) -> dict[str, list[tuple]]:
    exact, log_log = "exact (Clopper-Pearson)", "Kaplan-Meier, log-log CI"
    share = responders / n

    def row(
        analysis,
        endpoint,
        statistic,
        estimate,
        low,
        high,
        *,
        stratum="all",
        term=None,
        p=None,
        events=0,
        count=n,
        method="",
        primary=False,
        caveat=None,
        population="in_efficacy",
        adjusted=None,
    ):
        return (
            analysis,
            endpoint,
            population,
            stratum,
            term,
            statistic,
            estimate,
            low,
            high,
            0.95,
            p,
            adjusted,
            count,
            events,
            method,
            primary,
            caveat,
            "b" * 16,
        )

    estimates = [
        row(
            "response rate",
            "confirmed ORR",
            "proportion",
            share,
            share - 0.0934,
            share + 0.0901,
            events=responders,
            method=exact,
        ),
        row(
            "response rate", "ORR", "proportion", share, share - 0.0934, share + 0.0901, events=responders, method=exact
        ),
        row("response rate", "DCR", "proportion", 0.8125, 0.7288, 0.8942, events=round(n * 0.8125), method=exact),
        row("response rate", "CBR", "proportion", 0.6125, 0.5121, 0.7104, events=round(n * 0.6125), method=exact),
        row(
            "response rate",
            "confirmed ORR",
            "proportion",
            0.5432,
            0.44,
            0.64,
            events=responders,
            count=max(n - 6, 1),
            method=exact,
            population="in_response_evaluable",
        ),
        *(
            row("survival", endpoint, "median_months", *estimate, events=round(n * part), method=log_log, caveat=caveat)
            for endpoint, estimate, part, caveat in (
                ("PFS", (9.85, 8.05, 12.15), 0.7, None),
                ("OS", (23.4, 20.04, None), 0.4, None),
                ("DOR", (None, None, None), 0.2, "not reached: the curve stays above 50 %"),
            )
        ),
        *(
            row(
                "survival", "PFS", f"rate_{month}m", rate, rate - 0.1, rate + 0.1, events=round(n * 0.7), method=log_log
            )
            for month, rate in ((6, 0.6812), (12, 0.4025), (18, 0.2031))
        ),
        row(
            "survival",
            "PFS",
            "rate_24m",
            None,
            None,
            None,
            events=round(n * 0.7),
            method=log_log,
            caveat="past the last observed time",
        ),
        row(
            "follow-up", "PFS", "median_months", 14.2, 12.9, 16.0, events=round(n * 0.3), method="reverse Kaplan-Meier"
        ),
    ]
    profile = [
        ("response rate", "confirmed ORR", "in_efficacy", n, responders, "secondary", "done", None),
        ("survival", "PFS", "in_efficacy", n, round(n * 0.7), "secondary", "done", None),
        (
            "landmark week 6",
            "PFS",
            "in_efficacy",
            n - 5,
            round(n * 0.5),
            "primary",
            "done",
            "week 6: landmark day 50: 3 left out by event, 1 by censoring, 1 without an evaluable change",
        ),
        (
            "landmark week 12",
            "PFS",
            "in_efficacy",
            n - 9,
            round(n * 0.4),
            "sensitivity",
            "not estimable",
            "fewer than 5 events",
        ),
    ]
    if "her2" not in without:
        cox = "Cox, Efron, Wald CI"
        estimates += [
            row(
                "landmark",
                "PFS",
                "hazard_ratio",
                1.4249,
                1.105,
                1.835,
                stratum="week 6",
                term="log2_ratio",
                p=0.0064,
                count=n - 5,
                events=round(n * 0.5),
                method=cox,
                primary=True,
            ),
            row(
                "landmark",
                "PFS",
                "hazard_ratio",
                1.09,
                0.81,
                1.46,
                stratum="week 6",
                term="log2_baseline",
                p=0.56,
                count=n - 5,
                events=round(n * 0.5),
                method=cox,
            ),
            row(
                "landmark",
                "PFS",
                "hazard_ratio",
                1.52,
                1.13,
                2.04,
                stratum="week 9",
                term="log2_ratio",
                p=0.0051,
                count=n - 7,
                events=round(n * 0.45),
                method=cox,
            ),
            row(
                "landmark",
                "PFS",
                "hazard_ratio",
                1.61,
                1.16,
                2.24,
                stratum="week 12",
                term="log2_ratio",
                p=0.0004,
                count=n - 9,
                events=round(n * 0.4),
                method=cox,
            ),
            row(
                "landmark",
                "PFS",
                "logrank_p",
                0.0431,
                None,
                None,
                stratum="week 6",
                term="fall_20",
                p=0.0431,
                count=n - 5,
                events=round(n * 0.5),
                method="log-rank by fall >= 20 %",
            ),
            row(
                "Mantel-Byar",
                "PFS",
                "logrank_p",
                0.0229,
                None,
                None,
                p=0.0229,
                adjusted=0.0458,
                events=round(n * 0.7),
                method="(start, stop]",
            ),
            row(
                "correlation",
                "best change",
                "spearman_rho",
                0.5149,
                0.35,
                0.65,
                p=0.00002,
                count=n - 6,
                method="Bonett-Wright",
            ),
        ]
    return {"metrics.estimates": estimates, "metrics.remark_profile": profile}


def _ops(without: set[str]) -> dict[str, list[tuple]]:
    at = datetime(2026, 2, 2, 6)
    tables = {
        "ops.publications": [
            ("a" * 16, datetime(2026, 2, 1, 6), "1" * 64, "2" * 64, "0.1.0+aaaaaaaaaaaa", None, CUTOFF, "{}"),
            ("b" * 16, at, "3" * 64, "4" * 64, "0.1.0+bbbbbbbbbbbb", "a" * 16, CUTOFF, "{}"),
        ]
    }
    if "ops" in without:
        return tables
    return tables | {
        "ops.files": [
            ("f1", "lab/lis_01.csv", "lis", "site", 1200, at, "loaded", None, 1250, 1246, 4),
            ("f2", "clinical/dm.csv", "sdtm", "sdtm", 900, at, "loaded", None, 132, 132, 0),
            ("f3", "lab/lis_01_copy.csv", "lis", "site", 1200, at, "duplicate", None, None, None, None),
            (
                "f4",
                "imaging/broken.csv",
                None,
                None,
                10,
                at,
                "rejected",
                "header_mismatch: no declared layout has these headings",
                None,
                None,
                None,
            ),
        ],
        "ops.quarantine": [
            (
                "f1",
                "lab/lis_01.csv",
                7,
                "lab_results",
                "unit",
                "U/mL",
                "known_unit",
                "U/mL cannot be converted to ng/mL",
            ),
            (
                "f1",
                "lab/lis_01.csv",
                9,
                "lab_results",
                "unit",
                "U/mL",
                "known_unit",
                "U/mL cannot be converted to ng/mL",
            ),
            (
                "f1",
                "lab/lis_01.csv",
                31,
                "lab_results",
                "value",
                "see note",
                "value_is_number",
                "the value is no number",
            ),
            (
                "f1",
                "lab/lis_01.csv",
                40,
                "lab_results",
                "collected_at",
                "2031-01-01",
                "not_in_future",
                "dated after the cut-off",
            ),
        ],
        "ops.findings": [
            ("response_disagreement", "DE-0003", "reported SD, derived PR at WEEK 12", "info"),
            ("response_disagreement", "DE-0004", "reported PR, derived SD at WEEK 6", "info"),
            ("waiting_rows", "DE-9999", "lab rows of an unknown subject", "warning"),
        ],
    }
