"""What serum HER2 had to do with it: kinetics, early change and later events, current value, response, lead time.

Every contrast is an association: a single arm cannot show that a marker is predictive.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from orchestration.efficacy import association, kinetics, landmark, rates, survival
from orchestration.efficacy.book import ALL, COUNT, NAN, Book, Write
from orchestration.efficacy.outcomes import no_assessments, write_quantile

SEED = 20_260_101  # of the bootstrap: any fixed number would do

_EVENTS_PER_VARIABLE = 10  # below it a model is quoted with a warning (Peduzzi 1995)
_FEWEST_EVENTS_PER_VARIABLE = 2  # below it not at all
ASSOCIATION = "association in a single arm"
MARKER = ["log2_ratio", "log2_baseline"]  # the change, adjusted for where it started
CUTS = ["is_at_most_77pct", "is_fall_55", "is_normalised"]


# --- Kinetics ---------------------------------------------------------------------------------------------------------


def geometric_means(book: Book) -> None:
    """sHER2 by visit up to progression, of everybody and by confirmed response."""
    responders = book.cohort.best_responses(book.population)["is_confirmed_responder"]
    rows = book.cohort.visit_values
    rows = rows[rows["subject_id"].isin(responders.index)]
    if rows.empty:
        book.about("kinetics", "sHER2", n=0, events=0)(
            "geometric_mean_ng_ml", caveat=["no usable serum HER2 at a visit"]
        )
    for visit in rows.groupby("visit_name")["study_day"].median().sort_values(kind="stable").index:
        mine = rows[rows["visit_name"] == visit]
        responded = mine["subject_id"].map(responders)
        parts = ((ALL, mine), ("confirmed response", mine[responded]), ("no confirmed response", mine[~responded]))
        for stratum, part in parts:
            if len(part):
                estimate, *limits = kinetics.geometric_mean(part["value_ng_ml"].to_numpy(), book.level)
                events = int(part["subject_id"].map(responders).sum())
                write = book.about("kinetics", "sHER2", stratum=stratum, term=visit, n=len(part), events=events)
                write(
                    "geometric_mean_ng_ml",
                    estimate,
                    tuple(limits),
                    note=["events are confirmed responders"],
                    method="geometric mean, t CI of the logs",
                )


def trajectories(book: Book) -> None:
    """Does log2 sHER2 change faster where a response is confirmed? Samples before progression and new therapy."""
    responders = book.cohort.best_responses(book.population)["is_confirmed_responder"]
    before = pd.concat([book.cohort.samples.query("study_day <= 1"), book.cohort.changes])
    rows = before[before["subject_id"].isin(responders.index) & (before["value_ng_ml"] > 0)]
    week = (rows["study_day"].to_numpy(float) - 1) / 7
    responded = rows["subject_id"].map(responders).to_numpy(float)
    model = kinetics.mixed_model(
        np.log2(rows["value_ng_ml"].to_numpy(float)),
        np.column_stack([np.ones(len(rows)), week, responded, week * responded]),
        week,
        rows["subject_id"].to_numpy(),
    )
    known = rows["subject_id"].drop_duplicates()
    write = book.about(
        "mixed model",
        "sHER2",
        n=len(known),
        events=int(known.map(responders).sum()),
        method="log2 sHER2 ~ week x confirmed response, random intercept and slope, REML, Wald CI;"
        " events are confirmed responders",
    )
    coef, se = model.coef[3], model.se[3]
    write(
        "slope_difference",
        coef,
        kinetics.wald(coef, se, book.level),
        term="week x confirmed response",
        p_value=float(chdtrc(1, (coef / se) ** 2)),
        caveat=[*no_marker(book), *([model.caveat] if model.caveat else [])],
        note=["log2 ng/mL per week; response is known only later: this describes"],
    )


# --- Early change and what comes later --------------------------------------------------------------------------------


def landmarks(book: Book) -> None:
    """sHER2 change by each landmark against PFS after it; beside it the other rule set and the other evaluators."""
    for week in book.study.analysis.landmarks_weeks:
        name, here = f"landmark_week_{week}", f"week {week}"
        _landmark(book, week, "PFS", stratum=here, role=book.role(name, "sensitivity"))
        _landmark(book, week, "PFS_OTHER_RULES", stratum=here, role="sensitivity")
        for other in book.cohort.evaluators[1:]:
            _landmark(book, week, "PFS", stratum=f"{here}, {other}", role="sensitivity", evaluator=other)


@dataclass(frozen=True)
class AtLandmark:
    frame: pd.DataFrame  # a row for each subject at risk with an evaluable change; duration_days from the landmark on
    excluded: dict[str, int]
    flow: str  # the same in words
    reason: str  # why it is empty


def at_landmark(
    book: Book, week: int, endpoint: str = "PFS", evaluator: str | None = None, changes: pd.DataFrame | None = None
) -> AtLandmark:
    """Who is at risk at a landmark with what was known of the marker by then (``changes``: all that count)."""
    rules = book.study.analysis
    day = 7 * week + rules.landmark_grace_days
    times = book.cohort.times(endpoint, book.population, evaluator)
    times = times.assign(end_day=times["end_day"].clip(lower=0))
    at_risk = landmark.at(times, "end_day", "is_event", day)
    known = book.cohort.changes if changes is None else changes
    marker = landmark.last_before(known, day, rules.landmark_max_age_days)
    frame = at_risk.drop(columns="duration_days").rename(columns={"end_day": "duration_days"})
    frame = frame.join(marker[[*MARKER, "change_category", *CUTS]]).dropna(subset=MARKER)
    frame = frame.assign(has_fallen=(frame["change_category"] == fall_term(book).upper()).astype(float))
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
        reason = "; ".join(no_marker(book)) or "nobody left"
    return AtLandmark(frame, excluded, flow, reason)


def _landmark(book: Book, week: int, endpoint: str, *, stratum: str, role: str, evaluator: str | None = None) -> None:
    found = at_landmark(book, week, endpoint, evaluator)
    frame, events = found.frame, int(found.frame["is_event"].sum())
    write = book.about(
        "landmark",
        endpoint,
        stratum=stratum,
        n=len(frame),
        events=events,
        role=role,
        left_out=found.flow,
        caveat=[found.reason] if found.reason else [],
        note=[found.flow, ASSOCIATION],
    )
    model = hazards(book, frame, MARKER)
    name = f"landmark_week_{week}"
    for row in model.itertuples():
        mine = row.term == "log2_ratio" and stratum == f"week {week}" and endpoint == "PFS"
        write(
            "hazard_ratio",
            row.hazard_ratio,
            (row.ci_low, row.ci_high),
            term=row.term,
            p_value=row.p_value,
            is_primary=mine and role == "primary",
            tests=name if mine else None,
            caveat=model.attrs["caveats"],
            method="Cox, Efron ties, Wald CI, log2 ratio and log2 baseline",
        )
    p = likelihood_ratio_p(model, hazards(book, frame, ["log2_baseline"]))
    write("lrt_p", p, term="log2_ratio", p_value=p, method="likelihood-ratio test, 1 df", caveat=model.attrs["caveats"])
    alone = hazards(book, frame, ["log2_ratio"])
    write_hazard(write, alone, "log2_ratio_unadjusted", "Cox, Efron ties, Wald CI, log2 ratio alone")
    for cause, count in found.excluded.items():
        write(f"excluded_{cause}", count, method=COUNT, note=())
    _landmark_groups(book, write, frame, endpoint, stratum)


def _landmark_groups(book: Book, write: Write, frame: pd.DataFrame, endpoint: str, stratum: str) -> None:
    """The dichotomy at the pre-specified fall, beside the continuous result."""
    fall, text = fall_term(book), f"fall >= {book.study.analysis.change_thresholds_pct.fall} %"
    _, _, p = survival.logrank(frame["duration_days"], frame["is_event"], frame["has_fallen"])
    write(
        "logrank_p",
        p,
        term=fall,
        p_value=p,
        method=f"log-rank by {text}",
        caveat=if_nan(p, "both groups and an event"),
    )
    write_hazard(write, hazards(book, frame, ["has_fallen"]), fall, f"Cox, Efron ties, Wald CI, {text} against less")
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


def other_cuts(book: Book) -> None:
    """The other pre-specified cuts of the early change, against PFS after the primary landmark and against response."""
    cuts, week = book.study.analysis.change_thresholds_pct, primary_week(book)
    names = (f"at_most_{cuts.at_most_of_baseline}pct", f"fall_{cuts.deep_fall}", "normalised")
    found, (early, flow) = at_landmark(book, week), early_changes(book)
    for column, term in zip(CUTS, names):
        unclear = "without a baseline at or above the cut-off" if term == "normalised" else "without the flag"
        shared = {"stratum": f"week {week}", "term": term, "role": "sensitivity", "caveat": no_marker(book)}
        frame = _with_flag(found.frame, column)
        left_out = f"{found.flow}; {len(found.frame) - len(frame)} {unclear}"
        events = int(frame["is_event"].sum())
        write = book.about(
            "other cuts", "PFS", **shared, n=len(frame), events=events, left_out=left_out, note=[left_out, ASSOCIATION]
        )
        _, _, p = survival.logrank(frame["duration_days"], frame["is_event"], frame[column])
        needed = if_nan(p, "both groups and an event")
        write("logrank_p", p, p_value=p, method="log-rank at the landmark", caveat=needed)
        model = hazards(book, frame, [column])
        write_hazard(write, model, term, "Cox, Efron ties, Wald CI, at the landmark")
        frame = _with_flag(early, column)
        left_out = f"{flow}; {len(early) - len(frame)} {unclear}"
        responders = int(frame["is_responder"].sum())
        write = book.about(
            "other cuts", "ORR", **shared, n=len(frame), events=responders, left_out=left_out, note=[left_out]
        )
        _write_two_by_two(book, write, frame[column] == 1, frame["is_responder"], term)


def _with_flag(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    known = frame.dropna(subset=column)
    return known.assign(**{column: known[column].astype(float)})


def sensitivity(book: Book) -> None:
    """The primary model with other values below the limit of quantification, and without draws of unknown timing."""
    week, changes = primary_week(book), book.cohort.changes
    unclear = book.cohort.samples[lambda rows: rows["is_baseline"] & rows["is_timing_unknown"]]["subject_id"]
    timed = changes[~changes["is_timing_unknown"] & ~changes["subject_id"].isin(unclear)]
    bounds = int(changes["is_bound"].sum())
    affected = f"{bounds} changes with a value below the limit"
    dropped = f"{len(changes) - len(timed)} changes left out"
    for stratum, variant, note in (
        ("below the limit as limit / sqrt 2", _below_limit(changes, 0.5), affected),
        ("below the limit as the limit", _below_limit(changes, 1), affected),
        ("draws before the infusion for certain", timed, dropped),
    ):
        found = at_landmark(book, week, changes=variant)
        write = book.about(
            "landmark",
            "PFS",
            stratum=f"week {week}, {stratum}",
            n=len(found.frame),
            events=int(found.frame["is_event"].sum()),
            role="sensitivity",
            left_out=found.flow,
            caveat=[found.reason] if found.reason else [],
            note=[note, found.flow, ASSOCIATION],
        )
        model = hazards(book, found.frame, MARKER)
        write_hazard(write, model, "log2_ratio", "Cox, Efron ties, Wald CI, log2 ratio and log2 baseline")


def _below_limit(changes: pd.DataFrame, doublings: float) -> pd.DataFrame:
    """What is below the limit, in the mart half of it, so many doublings higher. Never are both values of a pair."""
    drawn = changes["is_below_lloq"].astype(float)
    baseline = (changes["is_bound"] & ~changes["is_below_lloq"]).astype(float)
    return changes.assign(
        log2_ratio=changes["log2_ratio"] + doublings * (drawn - baseline),
        log2_baseline=changes["log2_baseline"] + doublings * baseline,
    )


def proportional_hazards(book: Book) -> None:
    """Of the primary model."""
    week = primary_week(book)
    found = at_landmark(book, week)
    tests = survival.proportional_hazards_test(found.frame, "duration_days", "is_event", MARKER)
    model = hazards(book, found.frame, MARKER)
    if model["coef"].isna().any():
        tests[["chi2", "p_value"]] = NAN
    write = book.about(
        "PH test",
        "PFS",
        stratum=f"week {week}",
        n=len(found.frame),
        events=int(found.frame["is_event"].sum()),
        method="score test on scaled Schoenfeld residuals, km transform",
        caveat=no_marker(book),
    )
    for row in tests.itertuples():
        write("chi2", row.chi2, term=row.term, p_value=row.p_value, caveat=model.attrs["caveats"])


def concordance(book: Book) -> None:
    """How well the primary model ranks the subjects it was fitted to."""
    week = primary_week(book)
    frame = at_landmark(book, week).frame
    model = hazards(book, frame, MARKER)
    write = book.about(
        "concordance",
        "PFS",
        stratum=f"week {week}",
        n=len(frame),
        events=int(frame["is_event"].sum()),
        method="Harrell's C of the landmark model, percentile bootstrap, 200 resamples",
        caveat=no_marker(book),
    )
    risk = frame[MARKER].to_numpy(float) @ model["coef"].to_numpy()
    if np.isnan(model["coef"]).any():
        write("c_index", caveat=model.attrs["caveats"])
        return
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
    resamples = int(np.clip(20_000 / len(frame), 20, 50))  # each costs a sort of all subjects: seconds for thousands
    draws = np.random.default_rng(SEED).integers(len(frame), size=(resamples, len(frame)))
    time, event, x = (frame[names].to_numpy() for names in ("duration_days", "is_event", MARKER))
    gains = [
        association.c_index(time[rows], event[rows], x[rows] @ beta) - association.c_index(time, event, x @ beta)
        for rows, beta in zip(draws, survival.refit(frame, "duration_days", "is_event", MARKER, coef, draws))
        if np.isfinite(beta).all()
    ]
    return float(np.nanmean(gains)) if gains else NAN, len(gains)


# --- Current value and hazard -----------------------------------------------------------------------------------------


def time_dependent_cox(book: Book) -> None:
    """The hazard at each moment against the last value known ``lag_days`` before it."""
    frame = _stretches(book)
    model = hazards(book, frame, MARKER, start="start")
    write = book.about(
        "time-dependent Cox",
        "PFS",
        n=frame["subject_id"].nunique(),
        events=int(frame["is_event"].sum()),
        role=book.role("time_dependent_cox"),
        method="Cox on (start, stop], Efron ties, Wald CI, log2 ratio carried forward and log2 baseline",
        caveat=no_marker(book),
        note=[ASSOCIATION, f"a value counts from {book.study.analysis.lag_days} days after its draw"],
    )
    for row in model.itertuples():
        write(
            "hazard_ratio",
            row.hazard_ratio,
            (row.ci_low, row.ci_high),
            term=row.term,
            p_value=row.p_value,
            tests="time_dependent_cox" if row.term == "log2_ratio" else None,
            caveat=model.attrs["caveats"],
        )


def mantel_byar(book: Book) -> None:
    """Ever fallen by the pre-specified share, a status that begins when it is known; everybody starts without."""
    frame = _stretches(book)
    ever = frame.assign(has_fallen=frame.groupby("subject_id")["has_fallen"].cummax())
    _, _, p = survival.logrank(ever["stop"], ever["is_event"], ever["has_fallen"], entry=ever["start"])
    write = book.about(
        "Mantel-Byar",
        "PFS",
        term=fall_term(book),
        n=frame["subject_id"].nunique(),
        events=int(frame["is_event"].sum()),
        role=book.role("mantel_byar"),
        caveat=no_marker(book),
        note=[ASSOCIATION, f"a fall counts from {book.study.analysis.lag_days} days after its draw"],
    )
    write(
        "logrank_p",
        p,
        p_value=p,
        tests="mantel_byar",
        method="log-rank on (start, stop]",
        caveat=if_nan(p, "both states and an event"),
    )
    model = hazards(book, ever, ["has_fallen"], start="start")
    write_hazard(write, model, fall_term(book), "Cox on (start, stop], Efron ties, Wald CI")


def _stretches(book: Book) -> pd.DataFrame:
    """Each member with a baseline, cut into (start, stop] in study days with the value in force (at first 0)."""
    times = book.cohort.times("PFS", book.population)
    times = times[times["end_day"] > 0].join(book.cohort.log2_baseline, how="inner")
    draws = book.cohort.changes[["subject_id", "study_day", "log2_ratio", "change_category"]]
    draws = draws.drop_duplicates(["subject_id", "study_day"], keep="last")
    starts = pd.DataFrame(
        {
            "subject_id": draws["subject_id"],
            "start": draws["study_day"] + book.study.analysis.lag_days,
            "log2_ratio": draws["log2_ratio"],
            "has_fallen": (draws["change_category"] == fall_term(book).upper()).astype(float),
        }
    )
    first = pd.DataFrame({"subject_id": times.index, "start": 0.0, "log2_ratio": 0.0, "has_fallen": 0.0})
    rows = pd.concat([first, starts], ignore_index=True).merge(times.reset_index(), on="subject_id")
    rows = rows[rows["start"] < rows["end_day"]].sort_values(["subject_id", "start"]).reset_index(drop=True)
    stop = rows.groupby("subject_id")["start"].shift(-1)
    return rows.assign(stop=stop.fillna(rows["end_day"]), is_event=rows["is_event"] & stop.isna())


# --- Change and response ----------------------------------------------------------------------------------------------


def early_change_and_response(book: Book) -> None:
    """Last change by the primary landmark, drawn before any progression, against best response: odds and ROC."""
    week, (frame, flow) = primary_week(book), early_changes(book)
    missing = [*no_assessments(book), *no_marker(book)]
    for endpoint, flag in (("ORR", "is_responder"), ("confirmed ORR", "is_confirmed_responder")):
        shared = {
            "stratum": f"week {week}",
            "n": len(frame),
            "events": int(frame[flag].sum()),
            "left_out": flow,
            "caveat": missing,
            "note": [flow, ASSOCIATION],
        }
        _two_by_two(book, endpoint, frame, flag, shared)
        _logistic(book, endpoint, frame, flag, shared)
        _roc(book, endpoint, frame, flag, shared)


def early_changes(book: Book) -> tuple[pd.DataFrame, str]:
    """Best responses of the members with a change by the primary landmark, and how many have none, in words."""
    rules = book.study.analysis
    day = 7 * primary_week(book) + rules.landmark_grace_days
    marker = landmark.last_before(book.cohort.changes, day, rules.landmark_max_age_days)
    best = book.cohort.best_responses(book.population)
    frame = best.join(marker[[*MARKER, "change_category", *CUTS]]).dropna(subset=MARKER)
    frame = frame.assign(has_fallen=frame["change_category"] == fall_term(book).upper())
    return frame, f"{len(best) - len(frame)} of {len(best)} without an evaluable change by study day {day}"


def _two_by_two(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    _write_two_by_two(book, book.about("2x2", endpoint, **shared), frame["has_fallen"], frame[flag], fall_term(book))


def _write_two_by_two(book: Book, write: Write, group: pd.Series, outcome: pd.Series, term: str) -> None:
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


def _logistic(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    model = odds(book, frame, flag, MARKER)
    role = book.role("response_odds") if endpoint == "ORR" else "exploratory"
    write = book.about(
        "logistic", endpoint, **shared, role=role, method="logistic regression, Wald CI, log2 ratio and log2 baseline"
    )
    for row in model.itertuples():
        write(
            "odds_ratio",
            row.odds_ratio,
            (row.ci_low, row.ci_high),
            term=row.term,
            p_value=row.p_value,
            tests="response_odds" if row.term == "log2_ratio" and endpoint == "ORR" else None,
            caveat=model.attrs["caveats"],
        )


def _roc(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    write = book.about("ROC", endpoint, **shared)
    auc, low, high = association.roc(-frame["log2_ratio"], frame[flag], book.level)
    write(
        "auc",
        auc,
        (low, high),
        term="log2_ratio",
        caveat=if_nan(auc, "responders and non-responders"),
        method="DeLong; a lower ratio speaks for response",
    )
    for statistic, part, right in (
        ("sensitivity", frame[frame[flag]], True),
        ("specificity", frame[~frame[flag]], False),
    ):
        x, n = int((part["has_fallen"] == right).sum()), len(part)
        write(
            statistic,
            x / n if n else NAN,
            rates.proportion_ci(x, n, book.level),
            term=fall_term(book),
            n=n,
            events=x,
            caveat=[] if n else ["no such subjects"],
            method="pre-specified cut, Clopper-Pearson",
        )


def best_changes(book: Book) -> None:
    """Deepest fall of sHER2 against deepest fall of the sum of diameters, one point a subject."""
    deepest = book.cohort.changes.groupby("subject_id")["pct_change"].min()
    best = book.cohort.best_responses(book.population)
    frame = best[["best_pct_change"]].join(deepest).dropna()
    rho, low, high, p = association.spearman(frame["pct_change"], frame["best_pct_change"], book.level)
    flow = f"{len(best) - len(frame)} of {len(best)} without both changes"
    responders = int(best.loc[frame.index, "is_responder"].sum())
    missing = [*no_assessments(book), *no_marker(book)]
    write = book.about("correlation", "best change", n=len(frame), events=responders, left_out=flow, caveat=missing)
    write(
        "spearman_rho",
        rho,
        (low, high),
        p_value=p,
        method="Spearman, Fisher z with the Bonett-Wright SE",
        caveat=if_nan(rho, "three pairs that vary"),
        note=[flow, "events are responders", ASSOCIATION],
    )


# --- Lead time --------------------------------------------------------------------------------------------------------


def lead_time(book: Book) -> None:
    """Days from a confirmed rise of sHER2 to progression on imaging, in those who progress."""
    members = book.cohort.members(book.population)
    progressed = book.cohort.progression_day[lambda days: days.index.isin(members)]
    samples = _before_new_therapy(book, progressed.index)
    latest = samples["subject_id"].map(progressed) + book.study.visits.imaging.sampling_window_days
    samples = samples[samples["study_day"] <= latest]
    rises, rule = _rises(book, samples)
    rises = rises.reindex(progressed.index)
    lead = progressed - rises["rise_day"]
    n, known = len(progressed), lead.dropna()
    write = book.about(
        "lead time",
        "PD",
        n=n,
        events=len(known),
        method=f"PD date less first confirmed rise ({rule}); events are subjects with one",
        caveat=[*no_assessments(book), *no_marker(book)],
        note=["only subjects who progressed; a rise after progression counts as negative"],
    )
    nothing = [] if len(known) else ["no confirmed rise before or at progression"]
    write("median_days", float(known.median()) if len(known) else NAN, caveat=nothing)
    draws = samples[samples["study_day"] > 1].groupby("subject_id")["study_day"]
    expected = pd.Series(
        {
            subject: kinetics.lead_by_schedule(
                book.cohort.last_free_day[subject], progressed[subject], draws.get_group(subject).to_numpy()
            )
            for subject in known.index
        },
        dtype=float,
    )
    write(
        "schedule_median_days",
        float(expected.median()) if len(expected) else NAN,
        n=len(expected),
        caveat=nothing,
        method="lead of the same subjects by their days of draws and scans alone, if serum and tumour changed together,"
        " at a moment uniform between the last scan without progression and the one with it",
        note=["what of the lead is owed to drawing more often than scanning"],
    )
    unconfirmed = rises["rise_day"].isna() & rises["first_rise_day"].notna()
    shares = {
        "before": lead > 0,
        "at": lead == 0,
        "after": lead < 0,
        "unconfirmed": unconfirmed,
        "never": rises["first_rise_day"].isna(),
    }
    for term, members_of in shares.items():
        x = int(members_of.sum())
        write(
            f"share_{term}",
            x / n if n else NAN,
            rates.proportion_ci(x, n, book.level),
            term=term,
            events=x,
            method="share of those who progressed, Clopper-Pearson",
            caveat=[] if n else ["nobody progressed"],
        )


def false_alarms(book: Book) -> None:
    """Confirmed rises of sHER2 in those who neither progressed nor died, per year under observation of the marker."""
    times = book.cohort.times("PFS", book.population)
    samples = _before_new_therapy(book, times.index[~times["is_event"]])
    rises, rule = _rises(book, samples)
    last = samples.groupby("subject_id")["study_day"].max()
    years = float(rises["rise_day"].fillna(last).sub(1).clip(lower=0).sum()) / 365.25
    alarms = int(rises["rise_day"].notna().sum())
    book.about(
        "lead time",
        "false alarm",
        n=len(rises),
        events=alarms,
        method=f"first confirmed rise ({rule}) per patient-year from first dose to rise or last draw, exact Poisson CI",
        caveat=no_marker(book),
        note=["subjects without progression or death by the data cut; some of them may progress later"],
    )(
        "per_patient_year",
        alarms / years if years else NAN,
        rates.incidence_ci(alarms, years, book.level),
        caveat=[] if years else ["nobody without progression was drawn after the first dose"],
    )


def _before_new_therapy(book: Book, subjects: pd.Index) -> pd.DataFrame:
    samples = book.cohort.samples[book.cohort.samples["subject_id"].isin(subjects)]
    return samples[~(samples["study_day"] >= samples["subject_id"].map(book.cohort.subjects["new_therapy_day"]))]


def _rises(book: Book, samples: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """First rises by subject, and the rule in words."""
    rise, floor = book.study.analysis.change_thresholds_pct.rise, book.study.analysis.rise_floor_ng_ml
    return kinetics.confirmed_rises(samples, rise, floor), f">= {rise} % and >= {floor} ng/mL above nadir"


# --- Shared -----------------------------------------------------------------------------------------------------------


def hazards(book: Book, frame: pd.DataFrame, terms: list[str], start: str | None = None) -> pd.DataFrame:
    """Cox model; without numbers where there are too few events for its terms. attrs["caveats"] say what is weak."""
    model = survival.cox(frame, "stop" if start else "duration_days", "is_event", terms, start=start, level=book.level)
    return _judged(model, model.attrs["events"], "events")


def odds(book: Book, frame: pd.DataFrame, outcome: str, terms: list[str]) -> pd.DataFrame:
    """Logistic model, in the same way."""
    model = association.logistic(frame, outcome, terms, book.level)
    rarer = min(model.attrs["events"], model.attrs["n"] - model.attrs["events"])
    return _judged(model, rarer, "events of the rarer outcome")


def _judged(model: pd.DataFrame, events: int, what: str) -> pd.DataFrame:
    attrs, terms = model.attrs, len(model)
    caveats = [attrs["caveat"]] if attrs["caveat"] else []
    if events < _FEWEST_EVENTS_PER_VARIABLE * terms:
        caveats += [f"not estimated: {events} {what} for {terms} variable(s)"] if attrs["n"] else []
        model = model.assign(**dict.fromkeys(model.columns.drop("term"), NAN))
    elif events < _EVENTS_PER_VARIABLE * terms:
        caveats += [f"{events / terms:.1f} {what} per variable, fewer than {_EVENTS_PER_VARIABLE}"]
    model.attrs = {**attrs, "caveats": caveats}
    return model


def write_hazard(write: Write, model: pd.DataFrame, term: str, method: str) -> None:
    row = model.iloc[0]
    write(
        "hazard_ratio",
        row["hazard_ratio"],
        (row["ci_low"], row["ci_high"]),
        term=term,
        p_value=row["p_value"],
        method=method,
        caveat=model.attrs["caveats"],
    )


def likelihood_ratio_p(full: pd.DataFrame, reduced: pd.DataFrame) -> float:
    """Of the terms that ``full`` has and ``reduced`` has not; both fitted to the same rows."""
    if full["coef"].isna().any() or reduced["coef"].isna().any():
        return NAN
    gain = 2 * (full.attrs["log_likelihood"] - reduced.attrs["log_likelihood"])
    return float(chdtrc(len(full) - len(reduced), max(gain, 0)))


def fall_term(book: Book) -> str:
    """The pre-specified fall as a term: fall_20. Its category in the mart is the same in capitals."""
    return f"fall_{book.study.analysis.change_thresholds_pct.fall}"


def no_marker(book: Book) -> list[str]:
    return ["no usable serum HER2 change in the study"] if book.cohort.changes.empty else []


def if_nan(estimate: float, needed: str) -> list[str]:
    return [] if np.isfinite(estimate) else [f"not estimable without {needed}"]


def primary_week(book: Book) -> int:
    return int(book.study.analysis.primary.rsplit("_", 1)[1])
