"""What the treatment did: response rates, times to progression and death, follow-up. Serum HER2 plays no part here."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from orchestration.efficacy import rates, survival
from orchestration.efficacy.book import ALL, NAN, Book, Write
from orchestration.efficacy.cohort import DAYS_PER_MONTH

RESPONSES = {
    "ORR": "is_responder",
    "confirmed ORR": "is_confirmed_responder",
    "DCR": "has_disease_control",
    "CBR": "has_clinical_benefit",
}
"""Endpoint -> its flag in fct_best_response."""


def response_rates(book: Book) -> None:
    """ORR, confirmed ORR, DCR, CBR: responders among all members; who is not evaluable is no responder."""
    for population in dict.fromkeys([book.population, "in_efficacy", "in_response_evaluable", "in_treated"]):
        best = book.cohort.best_responses(population)
        _rates(book, best, population, book.lacks_assessments, role=_set_role(book, population))


def _rates(
    book: Book,
    best: pd.DataFrame,
    population: str,
    lacking: Sequence[str] = (),
    analysis: str = "response rate",
    **shared,
) -> None:
    n = len(best)
    for endpoint, flag in RESPONSES.items():
        x = int(best[flag].sum())
        write = book.about(analysis, endpoint, population, n=n, events=x, method="Clopper-Pearson", **shared)
        if lacking or not n:
            write("proportion", caveat=list(lacking) if n else ["no subjects"])
        else:
            write("proportion", x / n, rates.proportion_ci(x, n, book.level))


def survival_times(book: Book) -> None:
    """Kaplan-Meier of each endpoint: curve, median, quartiles and rates."""
    for population in dict.fromkeys([book.population, "in_efficacy", "in_treated"]):
        for endpoint in ("PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED"):
            times = book.cohort.times(endpoint, population)
            is_variant = endpoint in {"PFS_OTHER_RULES", "DOR_UNCONFIRMED"}
            role = "sensitivity" if is_variant else _set_role(book, population)
            lacking = [] if endpoint == "OS" else book.lacks_assessments
            _kaplan_meier(book, times, endpoint, population, role=role, caveat=lacking)


def other_evaluators(book: Book) -> None:
    """Response rates and times by whoever else assessed the tumours."""
    for other in book.cohort.evaluators[1:]:
        shared = {"analysis": "other evaluator", "stratum": other, "role": "sensitivity"}
        _rates(book, book.cohort.best_responses(book.population, other), book.population, **shared)
        for endpoint in ("PFS", "PFS_OTHER_RULES", "DOR"):
            times = book.cohort.times(endpoint, book.population, other)
            _kaplan_meier(book, times, endpoint, book.population, **shared)


def _kaplan_meier(
    book: Book,
    times: pd.DataFrame,
    endpoint: str,
    population: str,
    analysis: str = "survival",
    stratum: str = ALL,
    **shared,
) -> None:
    curve = survival.kaplan_meier(times["duration_days"], times["is_event"], level=book.level)
    book.curve(endpoint, population, stratum, curve)
    write = book.about(
        analysis,
        endpoint,
        population,
        stratum=stratum,
        n=len(times),
        events=int(times["is_event"].sum()),
        method="Kaplan-Meier, log-log CI",
        **shared,
    )
    for statistic, p in (("median_months", 0.5), ("lower_quartile_months", 0.25), ("upper_quartile_months", 0.75)):
        write_quantile(write, statistic, survival.quantile(curve, p), times)
    months = book.study.analysis.km_months
    for month, rate in zip(months, survival.rate_at(curve, np.array(months) * DAYS_PER_MONTH).itertuples()):
        beyond = "no subjects" if curve.empty else "beyond the last observed time"
        write(
            f"rate_{month}m",
            rate.survival,
            (rate.ci_low, rate.ci_high),
            caveat=[beyond] if np.isnan(rate.survival) else [],
        )


def follow_up(book: Book) -> None:
    """Median follow-up by reverse Kaplan-Meier."""
    for endpoint in ("PFS", "OS"):
        times = book.cohort.times(endpoint, book.population)
        found = survival.reverse_kaplan_meier(times["duration_days"], times["is_event"], level=book.level)
        write = book.about(
            "follow-up",
            endpoint,
            n=len(times),
            events=int((~times["is_event"]).sum()),
            role="exploratory",
            method="reverse Kaplan-Meier, log-log CI",
            note=["events are censorings"],
        )
        write_quantile(write, "median_months", found, times)


def time_to_response(book: Book) -> None:
    """Responders only, so no censoring: smallest, median and largest."""
    days = book.cohort.times("TTR", book.population)["duration_days"]
    write = book.about(
        "time to response", "TTR", n=len(days), events=len(days), method="order statistics of the responders"
    )
    for statistic, share in (("min_months", 0), ("median_months", 0.5), ("max_months", 1)):
        found = float(days.quantile(share)) / DAYS_PER_MONTH if len(days) else NAN
        write(statistic, found, caveat=[] if len(days) else ["no responders"])


def write_quantile(write: Write, statistic: str, found: tuple[float, float, float], times: pd.DataFrame, **own) -> None:
    estimate, low, high = (value / DAYS_PER_MONTH for value in found)
    reason = [] if np.isfinite(estimate) else ["not reached"] if len(times) else ["no subjects"]
    write(statistic, estimate, (low, high), **own, caveat=reason)


def _set_role(book: Book, population: str) -> str:
    return "secondary" if population == book.population else "sensitivity"
