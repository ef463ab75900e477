"""Models and tests as the analyses quote them: fitted, judged by the information behind them, written as rows."""

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from orchestration.efficacy import association, survival
from orchestration.efficacy.book import NAN, Book, Write

ASSOCIATION = "association in a single arm"
MARKER = ["log2_ratio", "log2_baseline"]  # the change, adjusted for where it started


def hazards(
    book: Book, frame: pd.DataFrame, terms: list[str], start: str | None = None, strata: list[str] | None = None
) -> pd.DataFrame:
    """Cox model; without numbers where there are too few events for its terms. attrs["caveats"] say what is weak."""
    stop = "stop" if start else "duration_days"
    model = survival.cox(frame, stop, "is_event", terms, start=start, strata=strata, level=book.level)
    return _judged(book, model, model.attrs["events"], "events")


def odds(book: Book, frame: pd.DataFrame, outcome: str, terms: list[str]) -> pd.DataFrame:
    """Logistic model, in the same way."""
    model = association.logistic(frame, outcome, terms, book.level)
    rarer = min(model.attrs["events"], model.attrs["n"] - model.attrs["events"])
    return _judged(book, model, rarer, "events of the rarer outcome")


def _judged(book: Book, model: pd.DataFrame, events: int, what: str) -> pd.DataFrame:
    attrs = model.attrs
    caveats = [attrs["caveat"]] if attrs["caveat"] else []
    if attrs["n"]:
        is_enough, judgement = book.judge(events, len(model), what)
        caveats += judgement
        if not is_enough:
            model = model.assign(**dict.fromkeys(model.columns.drop("term"), NAN))
    model.attrs = {**attrs, "caveats": caveats}
    return model


def write_hazard(write: Write, model: pd.DataFrame, term: str, method: str, **own) -> None:
    """The first term of a model, under the name ``term``."""
    row = model.iloc[0]
    write(
        "hazard_ratio",
        row["hazard_ratio"],
        (row["ci_low"], row["ci_high"]),
        term=term,
        p_value=row["p_value"],
        method=method,
        caveat=model.attrs["caveats"],
        **own,
    )


def write_logrank(
    book: Book,
    write: Write,
    frame: pd.DataFrame,
    group: str,
    *,
    term: str,
    method: str,
    strata: list[str] | None = None,
    start: str | None = None,
    **own,
) -> None:
    """Log-rank test by a column, where there are events enough for one contrast."""
    stop = "stop" if start else "duration_days"
    is_enough, caveats = book.judge(int(frame["is_event"].sum()), 1, "events")
    statistic, p = "stratified_logrank_p" if strata else "logrank_p", NAN
    if is_enough:
        within = frame.groupby(strata).ngroup() if strata else None
        entry = frame[start] if start else None
        _, _, p = survival.logrank(frame[stop], frame["is_event"], frame[group], strata=within, entry=entry)
        caveats = caveats + if_nan(p, "both groups and an event")
    write(statistic, p, term=term, p_value=p, method=method, caveat=caveats, **own)


def likelihood_ratio_p(full: pd.DataFrame, reduced: pd.DataFrame) -> float:
    """Of the terms that ``full`` has and ``reduced`` has not; both fitted to the same rows."""
    if full["coef"].isna().any() or reduced["coef"].isna().any():
        return NAN
    gain = 2 * (full.attrs["log_likelihood"] - reduced.attrs["log_likelihood"])
    return float(chdtrc(len(full) - len(reduced), max(gain, 0)))


def if_nan(estimate: float, needed: str) -> list[str]:
    return [] if np.isfinite(estimate) else [f"not estimable without {needed}"]
