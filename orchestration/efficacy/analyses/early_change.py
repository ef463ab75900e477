"""Early change of serum HER2 and what comes after it: the landmark analyses, their checks and their variants."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestration.efficacy import association, landmark, rates, survival
from orchestration.efficacy.analyses.models import (
    ASSOCIATION,
    MARKER,
    hazards,
    if_nan,
    likelihood_ratio_p,
    write_hazard,
    write_logrank,
)
from orchestration.efficacy.analyses.outcomes import write_quantile
from orchestration.efficacy.book import COUNT, NAN, SEED, Book, Write
from orchestration.efficacy.cohort import STRATIFICATION
from orchestration.study import Study

_COX = "Cox, Efron ties, Wald CI"
_POPULATIONS = {
    "in_treated": "treated patients",
    "in_efficacy": "treated HER2-low patients",
    "in_response_evaluable": "response-evaluable HER2-low patients",
}


def estimand(study: Study) -> str:
    """What the primary analysis estimates, in one sentence made of the protocol's own parameters."""
    rules, response = study.analysis, study.response
    return (
        f"Among {_POPULATIONS[rules.population]} alive, progression-free and with an evaluable change of serum HER2 at"
        f" the landmark (study day {rules.landmark_day(rules.primary_week)}, week {rules.primary_week}): the hazard"
        " ratio of progression or death afterwards per doubling of serum HER2 over its baseline, adjusted for log2"
        f" baseline (progression by {response.evaluator.lower()}, {study.endpoints.pfs.rules.upper()} censoring rules)"
    )


# --- Who is compared --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AtLandmark:
    frame: pd.DataFrame  # a row for each subject at risk with an evaluable change; duration_days from the landmark on
    excluded: dict[str, int]
    flow: str  # the same in words
    reason: str  # why it is empty


def at_landmark(
    book: Book,
    week: int,
    endpoint: str = "PFS",
    *,
    evaluator: str | None = None,
    changes: pd.DataFrame | None = None,
    population: str | None = None,
    without: pd.Index | None = None,
) -> AtLandmark:
    """Who is at risk at a landmark with what was known of the marker by then.

    Args:
        evaluator: absent: the study's own.
        changes: the changes that count; absent: all.
        without: subjects to leave out.
    """
    rules = book.study.analysis
    day = rules.landmark_day(week)
    times = book.cohort.times(endpoint, population or book.population, evaluator)
    if without is not None:
        times = times[~times.index.isin(without)]
    times = times.assign(end_day=times["end_day"].clip(lower=0))
    at_risk = landmark.at(times, "end_day", "is_event", day)
    if changes is None:
        marker = book.cohort.last_changes(day)
    else:
        marker = landmark.last_before(changes, day, rules.landmark_max_age_days)
    frame = at_risk.drop(columns="duration_days").rename(columns={"end_day": "duration_days"})
    frame = frame.join(marker[[*MARKER, "change_category", *book.cuts]]).dropna(subset=MARKER)
    frame = frame.assign(has_fallen=frame["change_category"].eq(book.fall.upper()).astype(float))
    frame = frame.join(book.cohort.subjects[list(STRATIFICATION)])
    excluded = {
        "event": at_risk.attrs["excluded_events"],
        "censoring": at_risk.attrs["excluded_censored"],
        "missing_marker": len(at_risk) - len(frame),
    }
    flow = (
        f"landmark on study day {day}: of {len(times)}, left out {excluded['event']} by an earlier event, "
        f"{excluded['censoring']} by censoring, {excluded['missing_marker']} without an evaluable change"
    )
    reason = ""
    if frame.empty:
        reason = "; ".join(book.lacks_marker) or "nobody left"
    return AtLandmark(frame, excluded, flow, reason)


def about(book: Book, analysis: str, endpoint: str, found: AtLandmark, stratum: str, role: str, **shared) -> Write:
    """:meth:`Book.about` the subjects at a landmark."""
    return book.about(
        analysis,
        endpoint,
        **{
            "stratum": stratum,
            "n": len(found.frame),
            "events": int(found.frame["is_event"].sum()),
            "role": role,
            "left_out": found.flow,
            "caveat": [found.reason] if found.reason else [],
            "note": [found.flow, ASSOCIATION],
        }
        | shared,
    )


def patient_flow(book: Book) -> None:
    """From the treated to those in the primary analysis, with events; and why others have no evaluable change."""
    rules, cohort = book.study.analysis, book.cohort
    week, population = rules.primary_week, book.population
    day, times = rules.landmark_day(week), cohort.times("PFS", population)
    marker = cohort.last_changes(day)
    with_baseline = times[times.index.isin(cohort.log2_baseline.index)]
    with_change = with_baseline[with_baseline.index.isin(marker.index)]
    in_primary = book.once(at_landmark, week).frame
    steps = {
        "treated": ("in_treated", cohort.times("PFS", "in_treated")),
        "analysis population": (population, times),
        "evaluable baseline": (population, with_baseline),
        "evaluable change": (population, with_change),
        "at risk at the landmark": (population, in_primary),
    }
    for term, (members, part) in steps.items():
        write = book.about(
            "patient flow", "PFS", members, term=term, n=len(part), events=int(part["is_event"].sum()), method=COUNT
        )
        write("subjects", len(part))
    missing = times.index.difference(with_change.index)
    reasons = cohort.why_no_change(missing, day, rules.landmark_max_age_days)
    for reason, subjects in reasons.groupby(reasons).groups.items():
        part = times.loc[subjects]
        write = book.about(
            "patient flow", "PFS", term=reason, n=len(part), events=int(part["is_event"].sum()), method=COUNT
        )
        write("without_evaluable_change", len(part))


# --- The landmark analyses --------------------------------------------------------------------------------------------


def landmarks(book: Book) -> None:
    """sHER2 change by each landmark against PFS after it; beside it the other rule set and the other evaluators."""
    primary(book)
    for week in book.study.analysis.landmarks_weeks:
        name, here = f"landmark_week_{week}", f"week {week}"
        if week != book.study.analysis.primary_week:
            _landmark(book, week, "PFS", book.once(at_landmark, week), here, book.role(name, "sensitivity"))
        _landmark(book, week, "PFS_OTHER_RULES", at_landmark(book, week, "PFS_OTHER_RULES"), here, "sensitivity")
        for other in book.cohort.evaluators[1:]:
            found = at_landmark(book, week, evaluator=other)
            _landmark(book, week, "PFS", found, f"{here}, {other}", "sensitivity")


def primary(book: Book) -> None:
    """The one analysis that ``analysis.primary`` of study.yaml declares."""
    week = book.study.analysis.primary_week
    _landmark(book, week, "PFS", book.once(at_landmark, week), f"week {week}", "primary")


def _landmark(book: Book, week: int, endpoint: str, found: AtLandmark, stratum: str, role: str) -> None:
    frame, name = found.frame, f"landmark_week_{week}"
    write = about(book, "landmark", endpoint, found, stratum, role)
    model = hazards(book, frame, MARKER)
    for row in model.itertuples():
        is_named = row.term == "log2_ratio" and stratum == f"week {week}" and endpoint == "PFS"
        is_primary = is_named and role == "primary"
        write(
            "hazard_ratio",
            row.hazard_ratio,
            (row.ci_low, row.ci_high),
            term=row.term,
            p_value=row.p_value,
            is_primary=is_primary,
            tests=name if is_named else None,
            caveat=[*model.attrs["caveats"], *([f"estimand: {estimand(book.study)}"] if is_primary else [])],
            method=f"{_COX}, log2 ratio and log2 baseline",
        )
    p = likelihood_ratio_p(model, hazards(book, frame, ["log2_baseline"]))
    write("lrt_p", p, term="log2_ratio", p_value=p, method="likelihood-ratio test, 1 df", caveat=model.attrs["caveats"])
    alone = hazards(book, frame, ["log2_ratio"])
    write_hazard(write, alone, "log2_ratio_unadjusted", f"{_COX}, log2 ratio alone")
    for cause, count in found.excluded.items():
        write(f"excluded_{cause}", count, method=COUNT, note=())
    _by_fall(book, write, frame, endpoint, stratum)


def _by_fall(book: Book, write: Write, frame: pd.DataFrame, endpoint: str, stratum: str) -> None:
    """The dichotomy at the pre-specified fall, beside the continuous result."""
    fall, text = book.fall, f"fall >= {book.study.analysis.change_thresholds_pct.fall} %"
    write_logrank(book, write, frame, "has_fallen", term=fall, method=f"log-rank by {text}")
    stratified = frame.dropna(subset=list(STRATIFICATION))
    unknown = len(frame) - len(stratified)
    write_logrank(
        book,
        write,
        stratified,
        "has_fallen",
        term=fall,
        method=f"log-rank by {text}, stratified by {' and '.join(STRATIFICATION.values())}",
        strata=list(STRATIFICATION),
        n=len(stratified),
        events=int(stratified["is_event"].sum()),
        note=[f"{unknown} left out without a stratum"] if unknown else [],
    )
    write_hazard(write, hazards(book, frame, ["has_fallen"]), fall, f"{_COX}, {text} against less")
    for group, part in ((text, frame[frame["has_fallen"] == 1]), (f"no {text}", frame[frame["has_fallen"] == 0])):
        curve = survival.kaplan_meier(part["duration_days"], part["is_event"], level=book.level)
        book.curve(endpoint, book.population, f"{stratum}: {group}", curve)
        write_quantile(
            write,
            "median_months",
            survival.quantile(curve),
            part,
            stratum=f"{stratum}: {group}",
            n=len(part),
            events=int(part["is_event"].sum()),
            method="Kaplan-Meier from the landmark, log-log CI",
        )


# --- Checks of the primary model --------------------------------------------------------------------------------------


def proportional_hazards(book: Book) -> None:
    """Of the primary model."""
    week = book.study.analysis.primary_week
    frame = book.once(at_landmark, week).frame
    write = book.about("PH test", "PFS", stratum=f"week {week}", n=len(frame), events=int(frame["is_event"].sum()))
    write_proportional_hazards(book, write, frame, hazards(book, frame, MARKER))


def write_proportional_hazards(
    book: Book, write: Write, frame: pd.DataFrame, model: pd.DataFrame, start: str | None = None
) -> None:
    """Score tests of a model of log2 ratio and log2 baseline, where that model can be quoted."""
    tests = survival.proportional_hazards_test(frame, "stop" if start else "duration_days", "is_event", MARKER, start)
    if model["coef"].isna().any():
        tests[["chi2", "p_value"]] = NAN
    for row in tests.itertuples():
        caveats = model.attrs["caveats"] or if_nan(row.chi2, "events at different times")
        method = "score test on scaled Schoenfeld residuals, km transform"
        caveats = [*book.lacks_marker, *caveats]
        write("chi2", row.chi2, term=row.term, p_value=row.p_value, method=method, caveat=caveats)


def concordance(book: Book) -> None:
    """How well the primary model ranks the subjects it was fitted to, and what is left of it without that advantage."""
    week = book.study.analysis.primary_week
    frame = book.once(at_landmark, week).frame
    model = hazards(book, frame, MARKER)
    write = book.about(
        "concordance",
        "PFS",
        stratum=f"week {week}",
        n=len(frame),
        events=int(frame["is_event"].sum()),
        method="Harrell's C of the landmark model, percentile bootstrap, 200 resamples",
        caveat=book.lacks_marker,
    )
    if model["coef"].isna().any():
        write("c_index", caveat=model.attrs["caveats"])
        return
    risk = association.linear_predictor(frame[MARKER].to_numpy(float), model["coef"].to_numpy())
    estimate, *limits = association.concordance(frame["duration_days"], frame["is_event"], risk, book.level, seed=SEED)
    write("c_index", estimate, tuple(limits), note=["apparent: in the subjects that the model was fitted to"])
    optimism, resamples = _optimism(frame, model["coef"].to_numpy())
    write(
        "c_index_corrected",
        estimate - optimism,
        method=f"Harrell's C less the mean optimism of {resamples} refits in bootstrap samples (Harrell 1996)",
        caveat=if_nan(optimism, "a model in each resample"),
    )


def _optimism(frame: pd.DataFrame, coef: np.ndarray) -> tuple[float, int]:
    """By how much C is higher where a model was fitted than in the subjects that the resample was drawn from."""
    n = len(frame)
    resamples = int(np.clip(20_000 / n, 20, 50))  # each costs a sort of all subjects: seconds for thousands
    draws = np.random.default_rng(SEED).integers(n, size=(resamples, n))
    time, event, x = (frame[names].to_numpy() for names in ("duration_days", "is_event", MARKER))
    gains = [
        -np.diff(association.c_indices(time, event, risk, [np.bincount(rows, minlength=n), np.ones(n, dtype=int)]))
        for rows, beta in zip(draws, survival.refit(frame, "duration_days", "is_event", MARKER, coef, draws))
        if np.isfinite(risk := association.linear_predictor(x, beta)).all()
    ]
    return float(np.nanmean(gains)) if gains else NAN, len(gains)


# --- Variants of the primary model ------------------------------------------------------------------------------------


def sensitivity(book: Book) -> None:
    """The primary model with other values below the limit of quantification, other samples, other subjects."""
    week, changes = book.study.analysis.primary_week, book.cohort.changes
    unclear = book.cohort.samples[lambda rows: rows["is_baseline"] & rows["is_timing_unknown"]]["subject_id"]
    timed = changes[~changes["is_timing_unknown"] & ~changes["subject_id"].isin(unclear)]
    outside = book.cohort.outside_baseline_window
    bounds = f"{int(changes['is_bound'].sum())} changes with a value below the limit"
    left_out = len(outside.intersection(book.cohort.members(book.population)))
    variants = [
        ("below the limit as limit / sqrt 2", bounds, {"changes": _below_limit(changes, 0.5)}),
        ("below the limit as the limit", bounds, {"changes": _below_limit(changes, 1)}),
        (
            "draws before the infusion for certain",
            f"{len(changes) - len(timed)} changes left out",
            {"changes": timed},
        ),
        ("baseline scan within its window", f"{left_out} subjects left out", {"without": outside}),
    ]
    if book.population != "in_response_evaluable":
        variants.append(("response-evaluable only", ASSOCIATION, {"population": "in_response_evaluable"}))
    for stratum, note, variant in variants:
        found = at_landmark(book, week, **variant)
        write = about(
            book,
            "landmark",
            "PFS",
            found,
            f"week {week}, {stratum}",
            "sensitivity",
            population=variant.get("population"),
            note=[note, found.flow, ASSOCIATION],
        )
        write_hazard(write, hazards(book, found.frame, MARKER), "log2_ratio", f"{_COX}, log2 ratio and log2 baseline")


def _below_limit(changes: pd.DataFrame, doublings: float) -> pd.DataFrame:
    """What is below the limit, in the mart half of it, so many doublings higher. Never are both values of a pair."""
    drawn = changes["is_below_lloq"].astype(float)
    baseline = (changes["is_bound"] & ~changes["is_below_lloq"]).astype(float)
    return changes.assign(
        log2_ratio=changes["log2_ratio"] + doublings * (drawn - baseline),
        log2_baseline=changes["log2_baseline"] + doublings * baseline,
    )


def other_cuts(book: Book) -> None:
    """The other pre-specified cuts of the early change, against PFS after the primary landmark and against response."""
    week = book.study.analysis.primary_week
    found, (early, flow) = book.once(at_landmark, week), book.once(early_changes)
    for column, term in book.cuts.items():
        unclear = "without a baseline at or above the cut-off" if term == "normalised" else "without the flag"
        shared = {"term": term, "role": "sensitivity", "caveat": book.lacks_marker}
        frame = _with_flag(found.frame, column)
        left_out = f"{found.flow}, {len(found.frame) - len(frame)} {unclear}"
        write = book.about(
            "other cuts",
            "PFS",
            stratum=f"week {week}",
            **shared,
            n=len(frame),
            events=int(frame["is_event"].sum()),
            left_out=left_out,
            note=[left_out, ASSOCIATION],
        )
        write_logrank(book, write, frame, column, term=term, method="log-rank at the landmark")
        write_hazard(write, hazards(book, frame, [column]), term, f"{_COX}, at the landmark")
        frame = _with_flag(early, column)
        left_out = f"{flow}, {len(early) - len(frame)} {unclear}"
        write = book.about(
            "other cuts",
            "ORR",
            stratum=f"week {week}",
            **shared,
            n=len(frame),
            events=int(frame["is_responder"].sum()),
            left_out=left_out,
            note=[left_out, ASSOCIATION],
        )
        write_two_by_two(book, write, frame[column] == 1, frame["is_responder"], term)


def _with_flag(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    known = frame.dropna(subset=column)
    return known.assign(**{column: known[column].astype(float)})


def early_changes(book: Book) -> tuple[pd.DataFrame, str]:
    """Best responses of the members with a change by the primary landmark, and how many have none, in words."""
    day = book.study.analysis.landmark_day(book.study.analysis.primary_week)
    marker = book.cohort.last_changes(day)
    best = book.cohort.best_responses(book.population)
    frame = best.join(marker[[*MARKER, "change_category", *book.cuts]]).dropna(subset=MARKER)
    frame = frame.assign(has_fallen=frame["change_category"].eq(book.fall.upper()))
    return frame, f"{len(best) - len(frame)} of {len(best)} without an evaluable change by study day {day}"


def write_two_by_two(book: Book, write: Write, group: pd.Series, outcome: pd.Series, term: str) -> None:
    """Odds ratio of the group against the others, and the difference of their rates."""
    table = [[int((part & side).sum()) for side in (outcome, ~outcome)] for part in (group, ~group)]
    estimate, low, high, p = rates.odds_ratio(table, book.level)
    write(
        "odds_ratio",
        estimate,
        (low, high),
        term=term,
        p_value=p,
        caveat=if_nan(estimate, "four filled cells"),
        method="conditional maximum likelihood, exact CI, Fisher's exact test",
    )
    (x1, rest1), (x2, rest2) = table
    difference, low, high = rates.difference_ci(x1, x1 + rest1, x2, x2 + rest2, book.level)
    write(
        "rate_difference",
        difference,
        (low, high),
        term=term,
        caveat=if_nan(difference, "two groups"),
        method="Newcombe's hybrid score CI",
    )
