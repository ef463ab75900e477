"""Every analysis of the study, by name: marts in, ``metrics.*`` out. How a number is computed stands in the other modules.

The order is that of the report: response and survival, kinetics, early change against later events (landmark), current
value against the hazard (time-dependent), change against response, lead time. Too little data gives a row without an
estimate and with the reason, never an error and never no row.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from orchestration.efficacy import association, kinetics, landmark, rates, survival
from orchestration.efficacy.cohort import DAYS_PER_MONTH, Cohort
from orchestration.errors import UserError
from orchestration.study import Study

NAN = float("nan")
ALL = "all"
SEED = 20_260_101  # of the bootstrap: any fixed number would do

SECONDARY = ("time_dependent_cox", "mantel_byar", "response_odds")
"""What ``analysis.secondary`` of study.yaml may name beside the landmark analyses."""

_EVENTS_PER_VARIABLE = 10  # below it a model is quoted with a warning (Peduzzi 1995)
_FEWEST_EVENTS_PER_VARIABLE = 2  # below it not at all
_ASSOCIATION = "association in a single arm"

_ESTIMATES = {
    "analysis": object, "endpoint": object, "population": object, "stratum": object, "term": object, "statistic": object,
    "estimate": float, "ci_low": float, "ci_high": float, "level": float, "p_value": float, "p_adjusted": float, "n": int,
    "events": int, "method": object, "is_primary": bool, "caveat": object, "build_id": object,
}
_CURVES = {
    "endpoint": object, "population": object, "stratum": object, "time_months": float, "survival": float, "ci_low": float,
    "ci_high": float, "at_risk": int, "events": int, "censored": int, "build_id": object,
}
_PROFILE = {
    "analysis": object, "endpoint": object, "population": object, "stratum": object, "n": int, "events": int, "role": object,
    "status": object, "reason": object, "build_id": object,
}


def compute(marts: dict[str, pd.DataFrame], study: Study, build_id: str) -> dict[str, pd.DataFrame]:
    """Run every analysis.

    Args:
        marts: mart name -> rows with the columns of CONTRACT.md section 5 (decimals as float, dates as datetime64).
            Marts without rows are fine.
        build_id: written into every row.

    Returns:
        ``estimates``, ``survival_curves`` and ``remark_profile``. Times in months of 30.4375 days, ratios per doubling.

    Raises:
        ValueError: a mart or a column is absent.
        UserError: ``analysis.secondary`` names an unknown analysis.
    """
    book = Book(Cohort(marts, study), build_id)
    for analysis in ANALYSES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with np.errstate(all="ignore"):
                begun = len(book.rows)
                analysis(book)
        book.remark(begun, caught)
    return book.tables()


@dataclass
class Book:
    """Collects the rows. One call of :meth:`about` for an analysis on one set of subjects, then one of its results a number."""

    cohort: Cohort
    build_id: str
    rows: list[dict] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)

    def __post_init__(self):
        known = [*SECONDARY, *(f"landmark_week_{week}" for week in self.study.analysis.landmarks_weeks)]
        for name in self.study.analysis.secondary:
            if name not in known:
                raise UserError(f"study.yaml: analysis.secondary: unknown analysis {name!r}. Name some of: {', '.join(known)}.")

    @property
    def study(self) -> Study:
        return self.cohort.study

    @property
    def population(self) -> str:
        return self.study.analysis.population

    @property
    def level(self) -> float:
        return self.study.analysis.level

    def role(self, name: str, otherwise: str = "exploratory") -> str:
        """What study.yaml declares an analysis to be."""
        if name == self.study.analysis.primary:
            return "primary"
        return "secondary" if name in self.study.analysis.secondary else otherwise

    def about(self, analysis: str, endpoint: str, population: str | None = None, **shared) -> Callable[..., None]:
        """A function that writes a row; ``shared`` is what all rows of the analysis have in common."""

        def write(statistic: str, estimate: float = NAN, limits: tuple[float, float] = (NAN, NAN), **own) -> None:
            row = {
                "analysis": analysis, "endpoint": endpoint, "population": population or self.population, "stratum": ALL,
                "term": "", "statistic": statistic, "estimate": estimate, "ci_low": limits[0], "ci_high": limits[1],
                "level": self.level if np.isfinite(limits).any() else NAN, "p_value": NAN, "p_adjusted": NAN, "method": "",
                "is_primary": False, "caveat": (), "role": "exploratory", "tests": None, "left_out": "",
                "build_id": self.build_id, **shared, **own,
            }
            row["caveat"] = [*shared.get("caveat", ()), *own.get("caveat", ())]
            self.rows.append(row)

        return write

    def curve(self, endpoint: str, population: str, stratum: str, curve: pd.DataFrame) -> None:
        """Keep a Kaplan-Meier curve in days, with its start."""
        if curve.empty:
            return
        start = pd.DataFrame({"time": [0.0], "at_risk": curve["at_risk"].iloc[:1].to_numpy(), "events": 0, "censored": 0,
                              "survival": 1.0, "ci_low": 1.0, "ci_high": 1.0})
        both = pd.concat([start, curve[curve["time"] > 0]] if curve["time"].iloc[0] > 0 else [curve], ignore_index=True)
        self.curves.append(both.assign(endpoint=endpoint, population=population, stratum=stratum,
                                       time_months=both["time"] / DAYS_PER_MONTH, build_id=self.build_id))

    def remark(self, begun: int, caught: list[warnings.WarningMessage]) -> None:
        """Put a library's warnings into the caveat of the rows that it computed."""
        texts = sorted({str(warning.message).splitlines()[0] for warning in caught
                        if not issubclass(warning.category, (DeprecationWarning, FutureWarning, PendingDeprecationWarning))})
        for row in self.rows[begun:]:
            row["caveat"] += texts

    def tables(self) -> dict[str, pd.DataFrame]:
        tested = [row for row in self.rows if row["tests"] in self.study.analysis.secondary]
        for row, adjusted in zip(tested, rates.holm([row["p_value"] for row in tested])):
            row["p_adjusted"] = adjusted
        curves = [curve[list(_CURVES)] for curve in self.curves] or [pd.DataFrame(columns=list(_CURVES))]
        estimates = [{**row, "caveat": "; ".join(dict.fromkeys(row["caveat"]))} for row in self.rows]
        return {
            "estimates": _table(estimates, _ESTIMATES),
            "survival_curves": pd.concat(curves, ignore_index=True).astype(_CURVES),
            "remark_profile": _table(list(_profile(estimates).values()), _PROFILE),
        }


def _table(rows: list[dict], columns: dict) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    numbers = [name for name, kind in columns.items() if kind is float]
    return frame.assign(**frame[numbers].where(np.isfinite(frame[numbers])))


def _profile(estimates: list[dict]) -> dict[tuple, dict]:
    """A row for each analysis on each set of subjects; done as soon as one of its numbers could be estimated."""
    profile: dict[tuple, dict] = {}
    for row in estimates:
        key = tuple(row[name] for name in ("analysis", "endpoint", "population", "stratum"))
        if key not in profile:
            place = "" if row["stratum"] == ALL else row["stratum"]
            profile[key] = {**row, "status": "not estimable", "place": place, "reason": row["caveat"]}
        if np.isfinite(row["estimate"]):
            profile[key]["status"] = "done"
    for row in profile.values():
        detail = row["left_out"] if row["status"] == "done" else row["reason"]
        row["reason"] = ": ".join(part for part in (row["place"], detail) if part)
    return profile


# --- Response ---------------------------------------------------------------------------------------------------------


def response_rates(book: Book) -> None:
    """ORR, confirmed ORR, DCR, CBR: responders among all members; who is not evaluable is no responder."""
    endpoints = {"ORR": "is_responder", "confirmed ORR": "is_confirmed_responder", "DCR": "has_disease_control",
                 "CBR": "has_clinical_benefit"}
    for population in dict.fromkeys([book.population, "in_response_evaluable", "in_treated"]):
        best = book.cohort.best_responses(population)
        n = len(best)
        reason = "no subjects" if not n else "" if book.cohort.has_assessments else f"no tumour assessment ({_evaluator(book)})"
        for endpoint, flag in endpoints.items():
            x = int(best[flag].sum())
            write = book.about("response rate", endpoint, population, n=n, events=x, method="Clopper-Pearson",
                               role=_set_role(book, population))
            if reason:
                write("proportion", caveat=[reason])
            else:
                write("proportion", x / n, rates.proportion_ci(x, n, book.level))


# --- Survival ---------------------------------------------------------------------------------------------------------


def survival_times(book: Book) -> None:
    """Kaplan-Meier of each endpoint: curve, median, quartiles and rates."""
    for population in dict.fromkeys([book.population, "in_treated"]):
        for endpoint in ("PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED"):
            times = book.cohort.times(endpoint, population)
            curve = survival.kaplan_meier(times["duration_days"], times["is_event"], level=book.level)
            book.curve(endpoint, population, ALL, curve)
            sensitivity = endpoint in {"PFS_OTHER_RULES", "DOR_UNCONFIRMED"}
            write = book.about(
                "survival", endpoint, population, n=len(times), events=int(times["is_event"].sum()),
                method="Kaplan-Meier, log-log CI", role="sensitivity" if sensitivity else _set_role(book, population),
                caveat=_no_assessments(book) if endpoint != "OS" else [],
            )
            for statistic, p in (("median_months", 0.5), ("lower_quartile_months", 0.25), ("upper_quartile_months", 0.75)):
                _write_quantile(write, statistic, survival.quantile(curve, p), times)
            months = book.study.analysis.km_months
            for month, rate in zip(months, survival.rate_at(curve, np.array(months) * DAYS_PER_MONTH).itertuples()):
                beyond = "no subjects" if curve.empty else "beyond the last observed time"
                write(f"rate_{month}m", rate.survival, (rate.ci_low, rate.ci_high),
                      caveat=[beyond] if np.isnan(rate.survival) else [])


def follow_up(book: Book) -> None:
    """Median follow-up by reverse Kaplan-Meier."""
    for endpoint in ("PFS", "OS"):
        times = book.cohort.times(endpoint, book.population)
        found = survival.reverse_kaplan_meier(times["duration_days"], times["is_event"], level=book.level)
        write = book.about("follow-up", endpoint, n=len(times), events=int((~times["is_event"]).sum()), role="exploratory",
                           method="reverse Kaplan-Meier, log-log CI", caveat=["events are censorings"])
        _write_quantile(write, "median_months", found, times)


def time_to_response(book: Book) -> None:
    """Responders only, so no censoring: smallest, median and largest."""
    days = book.cohort.times("TTR", book.population)["duration_days"]
    write = book.about("time to response", "TTR", n=len(days), events=len(days), method="order statistics of the responders")
    for statistic, share in (("min_months", 0), ("median_months", 0.5), ("max_months", 1)):
        found = float(days.quantile(share)) / DAYS_PER_MONTH if len(days) else NAN
        write(statistic, found, caveat=[] if len(days) else ["no responders"])


def _write_quantile(write: Callable, statistic: str, found: tuple[float, float, float], times: pd.DataFrame, **own) -> None:
    estimate, low, high = (value / DAYS_PER_MONTH for value in found)
    reason = [] if np.isfinite(estimate) else ["not reached"] if len(times) else ["no subjects"]
    write(statistic, estimate, (low, high), **own, caveat=reason)


# --- Kinetics ---------------------------------------------------------------------------------------------------------


def geometric_means(book: Book) -> None:
    """sHER2 by visit, of everybody and by response."""
    responders = book.cohort.best_responses(book.population)["is_responder"]
    rows = book.cohort.samples
    rows = rows[rows["subject_id"].isin(responders.index) & rows["visit_name"].notna() & (rows["value_ng_ml"] > 0)]
    rows = rows.drop_duplicates(["subject_id", "visit_name"])
    if rows.empty:
        book.about("kinetics", "sHER2", n=0, events=0)("geometric_mean_ng_ml", caveat=["no usable serum HER2 at a visit"])
    for visit in rows.groupby("visit_name")["study_day"].median().sort_values(kind="stable").index:
        mine = rows[rows["visit_name"] == visit]
        responded = mine["subject_id"].map(responders)
        for stratum, part in ((ALL, mine), ("responder", mine[responded]), ("non-responder", mine[~responded])):
            if len(part):
                estimate, *limits = kinetics.geometric_mean(part["value_ng_ml"].to_numpy(), book.level)
                events = int(part["subject_id"].map(responders).sum())
                write = book.about("kinetics", "sHER2", stratum=stratum, term=visit, n=len(part), events=events)
                write("geometric_mean_ng_ml", estimate, tuple(limits), caveat=["events are responders"],
                      method="geometric mean, t CI of the logs")


def trajectories(book: Book) -> None:
    """Does log2 sHER2 change faster in responders? Samples before progression and new therapy."""
    responders = book.cohort.best_responses(book.population)["is_responder"]
    before = pd.concat([book.cohort.samples.query("study_day <= 1"), book.cohort.changes])
    rows = before[before["subject_id"].isin(responders.index) & (before["value_ng_ml"] > 0)]
    week = (rows["study_day"].to_numpy(float) - 1) / 7
    responded = rows["subject_id"].map(responders).to_numpy(float)
    model = kinetics.mixed_model(
        np.log2(rows["value_ng_ml"].to_numpy(float)), np.column_stack([np.ones(len(rows)), week, responded, week * responded]),
        week, rows["subject_id"].to_numpy())
    known = rows["subject_id"].drop_duplicates()
    write = book.about("mixed model", "sHER2", n=len(known), events=int(known.map(responders).sum()),
                       method="log2 sHER2 ~ week x response, random intercept and slope, REML, Wald CI; events are responders")
    caveat = [model.caveat] if model.caveat else ["log2 ng/mL per week; response is known only later: this describes"]
    coef, se = model.coef[3], model.se[3]
    write("slope_difference", coef, kinetics.wald(coef, se, book.level), term="week x responder",
          p_value=float(chdtrc(1, (coef / se) ** 2)), caveat=caveat)


# --- Early change and what comes later --------------------------------------------------------------------------------


def landmarks(book: Book) -> None:
    """sHER2 change by each landmark against PFS after it; beside it the other rule set and the other evaluators."""
    for week in book.study.analysis.landmarks_weeks:
        _landmark(book, week, "PFS", f"week {week}", book.role(f"landmark_week_{week}", "sensitivity"))
        _landmark(book, week, "PFS_OTHER_RULES", f"week {week}", "sensitivity")
        for evaluator in book.cohort.evaluators[1:]:
            _landmark(book, week, "PFS", f"week {week}, {evaluator}", "sensitivity", evaluator)


@dataclass(frozen=True)
class _AtLandmark:
    frame: pd.DataFrame  # a row for each subject at risk with an evaluable change; duration_days from the landmark on
    flow: str
    reason: str  # why it is empty


def _at_landmark(book: Book, week: int, endpoint: str = "PFS", evaluator: str | None = None) -> _AtLandmark:
    rules = book.study.analysis
    day = 7 * week + rules.landmark_grace_days
    times = book.cohort.times(endpoint, book.population, evaluator)
    times = times.assign(end_day=times["end_day"].clip(lower=0))
    at_risk = landmark.at(times, "end_day", "is_event", day)
    marker = landmark.last_before(book.cohort.changes, day, rules.landmark_max_age_days)
    columns = ["log2_ratio", "log2_baseline", "change_category"]
    frame = at_risk.drop(columns="duration_days").rename(columns={"end_day": "duration_days"})
    frame = frame.join(marker[columns]).dropna(subset=["log2_ratio", "log2_baseline"])
    frame = frame.assign(fall_20=(frame["change_category"] == "FALL_20").astype(float))
    missing = len(at_risk) - len(frame)
    flow = (f"landmark day {day}: of {len(times)}, {at_risk.attrs['excluded_events']} left out by event, "
            f"{at_risk.attrs['excluded_censored']} by censoring, {missing} at risk without an evaluable change")
    reason = "" if len(frame) else "no usable serum HER2 change in the study" if book.cohort.changes.empty else "nobody left"
    return _AtLandmark(frame, flow, reason)


def _landmark(book: Book, week: int, endpoint: str, stratum: str, role: str, evaluator: str | None = None) -> None:
    found = _at_landmark(book, week, endpoint, evaluator)
    frame, events = found.frame, int(found.frame["is_event"].sum())
    write = book.about("landmark", endpoint, stratum=stratum, n=len(frame), events=events, role=role, left_out=found.flow,
                       caveat=[*([found.reason] if found.reason else []), found.flow, _ASSOCIATION])
    adjusted, baseline = ["log2_ratio", "log2_baseline"], ["log2_baseline"]
    model = _cox(book, frame, adjusted)
    name = f"landmark_week_{week}"
    for row in model.itertuples():
        mine = row.term == "log2_ratio" and stratum == f"week {week}" and endpoint == "PFS"
        write("hazard_ratio", row.hazard_ratio, (row.ci_low, row.ci_high), term=row.term, p_value=row.p_value,
              is_primary=mine and role == "primary", tests=name if mine else None, caveat=_model_caveat(model, 2),
              method="Cox, Efron ties, Wald CI, log2 ratio and log2 baseline")
    p = _likelihood_ratio_p(model, _cox(book, frame, baseline))
    write("lrt_p", p, term="log2_ratio", p_value=p, method="likelihood-ratio test, 1 df", caveat=_model_caveat(model, 2))
    alone = _cox(book, frame, ["log2_ratio"])
    _write_hazard(write, alone, "log2_ratio_unadjusted", "Cox, Efron ties, Wald CI, log2 ratio alone")
    _landmark_groups(book, write, frame, endpoint, stratum)


def _landmark_groups(book: Book, write: Callable, frame: pd.DataFrame, endpoint: str, stratum: str) -> None:
    """The dichotomy at a fall of 20 %, beside the continuous result."""
    _, _, p = survival.logrank(frame["duration_days"], frame["is_event"], frame["fall_20"])
    write("logrank_p", p, term="fall_20", p_value=p, method="log-rank by fall >= 20 %",
          caveat=[] if np.isfinite(p) else ["both groups and an event are needed"])
    _write_hazard(write, _cox(book, frame, ["fall_20"]), "fall_20", "Cox, Efron ties, Wald CI, fall >= 20 % against less")
    for term, part in (("fall_20", frame[frame["fall_20"] == 1]), ("no_fall_20", frame[frame["fall_20"] == 0])):
        curve = survival.kaplan_meier(part["duration_days"], part["is_event"], level=book.level)
        book.curve(endpoint, book.population, f"{stratum}: {term}", curve)
        _write_quantile(write, "median_months", survival.quantile(curve), part, term=term, n=len(part),
                        events=int(part["is_event"].sum()), method="Kaplan-Meier from the landmark, log-log CI")


def proportional_hazards(book: Book) -> None:
    """Of the primary model."""
    week = _primary_week(book)
    found = _at_landmark(book, week)
    terms = ["log2_ratio", "log2_baseline"]
    tests = survival.proportional_hazards_test(found.frame, "duration_days", "is_event", terms)
    write = book.about("PH test", "PFS", stratum=f"week {week}", n=len(found.frame), events=int(found.frame["is_event"].sum()),
                       method="score test on scaled Schoenfeld residuals, km transform")
    for row in tests.itertuples():
        why = [] if np.isfinite(row.chi2) else [found.reason or "the model cannot be estimated"]
        write("chi2", row.chi2, term=row.term, p_value=row.p_value, caveat=why)


def concordance(book: Book) -> None:
    """How well the primary model ranks the subjects it was fitted to."""
    week = _primary_week(book)
    frame = _at_landmark(book, week).frame
    terms = ["log2_ratio", "log2_baseline"]
    model = _cox(book, frame, terms)
    write = book.about("concordance", "PFS", stratum=f"week {week}", n=len(frame), events=int(frame["is_event"].sum()),
                       method="Harrell's C of the landmark model, percentile bootstrap, 200 resamples")
    risk = frame[terms].to_numpy(float) @ model["coef"].to_numpy()
    if np.isnan(model["coef"]).any():
        write("c_index", caveat=_model_caveat(model, 2))
        return
    estimate, *limits = association.concordance(frame["duration_days"], frame["is_event"], risk, book.level, seed=SEED)
    write("c_index", estimate, tuple(limits), caveat=["apparent: in the subjects that the model was fitted to"])


# --- Current value and hazard -----------------------------------------------------------------------------------------


def time_dependent_cox(book: Book) -> None:
    """The hazard at each moment against the last value known ``lag_days`` before it."""
    frame = _stretches(book)
    _, n, events = _subjects(frame)
    model = _cox(book, frame, ["log2_ratio", "log2_baseline"], start="start")
    write = book.about("time-dependent Cox", "PFS", n=n, events=events, role=book.role("time_dependent_cox"),
                       method="Cox on (start, stop], Efron ties, Wald CI, log2 ratio carried forward and log2 baseline",
                       caveat=[_ASSOCIATION, f"a value counts from {book.study.analysis.lag_days} days after its draw"])
    for row in model.itertuples():
        write("hazard_ratio", row.hazard_ratio, (row.ci_low, row.ci_high), term=row.term, p_value=row.p_value,
              tests="time_dependent_cox" if row.term == "log2_ratio" else None, caveat=_model_caveat(model, 2))


def mantel_byar(book: Book) -> None:
    """Ever fallen by 20 %, a status that begins when the fall is known; everybody starts without."""
    frame = _stretches(book)
    _, n, events = _subjects(frame)
    fallen = frame.assign(fall_20=frame.groupby("subject_id")["fall_20"].cummax()) if len(frame) else frame
    _, _, p = survival.logrank(fallen["stop"], fallen["is_event"], fallen["fall_20"], entry=fallen["start"])
    write = book.about("Mantel-Byar", "PFS", term="fall_20", n=n, events=events, role=book.role("mantel_byar"),
                       caveat=[_ASSOCIATION, f"a fall counts from {book.study.analysis.lag_days} days after its draw"])
    write("logrank_p", p, p_value=p, tests="mantel_byar", method="log-rank on (start, stop]",
          caveat=[] if np.isfinite(p) else ["both states and an event are needed"])
    _write_hazard(write, _cox(book, fallen, ["fall_20"], start="start"), "fall_20", "Cox on (start, stop], Efron ties, Wald CI")


def _stretches(book: Book) -> pd.DataFrame:
    """Each member with a baseline cut into (start, stop] in study days, with the value in force: 0 until the first change."""
    times = book.cohort.times("PFS", book.population)
    times = times[times["end_day"] > 0].join(book.cohort.log2_baseline, how="inner")
    draws = book.cohort.changes[["subject_id", "study_day", "log2_ratio", "change_category"]]
    draws = draws.drop_duplicates(["subject_id", "study_day"], keep="last")
    starts = pd.DataFrame({
        "subject_id": draws["subject_id"], "start": draws["study_day"] + book.study.analysis.lag_days,
        "log2_ratio": draws["log2_ratio"], "fall_20": (draws["change_category"] == "FALL_20").astype(float)})
    first = pd.DataFrame({"subject_id": times.index, "start": 0.0, "log2_ratio": 0.0, "fall_20": 0.0})
    rows = pd.concat([first, starts], ignore_index=True).merge(times.reset_index(), on="subject_id")
    rows = rows[rows["start"] < rows["end_day"]].sort_values(["subject_id", "start"]).reset_index(drop=True)
    stop = rows.groupby("subject_id")["start"].shift(-1)
    return rows.assign(stop=stop.fillna(rows["end_day"]), is_event=rows["is_event"] & stop.isna())


def _subjects(frame: pd.DataFrame) -> tuple[pd.Index, int, int]:
    subjects = pd.Index(frame["subject_id"].unique())
    return subjects, len(subjects), int(frame["is_event"].sum())


# --- Change and response ----------------------------------------------------------------------------------------------


def early_change_and_response(book: Book) -> None:
    """Last change by the primary landmark, drawn before any progression, against best response: odds ratios and ROC."""
    rules, week = book.study.analysis, _primary_week(book)
    day = 7 * week + rules.landmark_grace_days
    marker = landmark.last_before(book.cohort.changes, day, rules.landmark_max_age_days)
    best = book.cohort.best_responses(book.population)
    frame = best.join(marker[["log2_ratio", "log2_baseline", "change_category"]]).dropna(subset=["log2_ratio", "log2_baseline"])
    frame = frame.assign(fall_20=frame["change_category"] == "FALL_20")
    flow = f"{len(best) - len(frame)} of {len(best)} without an evaluable change by study day {day}"
    for endpoint, flag in (("ORR", "is_responder"), ("confirmed ORR", "is_confirmed_responder")):
        shared = {"stratum": f"week {week}", "n": len(frame), "events": int(frame[flag].sum()), "left_out": flow,
                  "caveat": [*_no_assessments(book), flow, _ASSOCIATION]}
        _two_by_two(book, endpoint, frame, flag, shared)
        _logistic(book, endpoint, frame, flag, shared)
        _roc(book, endpoint, frame, flag, shared)


def _two_by_two(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    table = [[int((part & (frame[flag] == outcome)).sum()) for outcome in (True, False)]
             for part in (frame["fall_20"], ~frame["fall_20"])]
    estimate, low, high, p = rates.odds_ratio(table, book.level)
    why = [] if np.isfinite(estimate) else ["a cell of the table is empty"]
    book.about("2x2", endpoint, **shared)("odds_ratio", estimate, (low, high), term="fall_20", p_value=p, caveat=why,
                                          method="conditional maximum likelihood, exact CI, Fisher's exact test")


def _logistic(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    terms = ["log2_ratio", "log2_baseline"]
    fewer = min(int(frame[flag].sum()), int((~frame[flag]).sum()))
    model = association.logistic(frame, flag, terms, book.level)
    write = book.about("logistic", endpoint, **shared, role=book.role("response_odds") if endpoint == "ORR" else "exploratory")
    too_few = fewer < _FEWEST_EVENTS_PER_VARIABLE * len(terms)
    for row in model.itertuples():
        numbers = (NAN, (NAN, NAN), NAN) if too_few else (row.odds_ratio, (row.ci_low, row.ci_high), row.p_value)
        write("odds_ratio", *numbers[:2], term=row.term, p_value=numbers[2],
              tests="response_odds" if row.term == "log2_ratio" and endpoint == "ORR" else None,
              caveat=_sparse(fewer, len(terms), "of the rarer outcome ") + [model.attrs["caveat"]] * bool(model.attrs["caveat"]),
              method="logistic regression, Wald CI, log2 ratio and log2 baseline")


def _roc(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    write = book.about("ROC", endpoint, **shared)
    auc, low, high = association.roc(-frame["log2_ratio"], frame[flag], book.level)
    why = ["both responders and non-responders are needed"] if np.isnan(auc) else []
    write("auc", auc, (low, high), term="log2_ratio", caveat=why, method="DeLong; a lower ratio speaks for response")
    for statistic, part, right in (("sensitivity", frame[frame[flag]], True), ("specificity", frame[~frame[flag]], False)):
        x, n = int((part["fall_20"] == right).sum()), len(part)
        write(statistic, x / n if n else NAN, rates.proportion_ci(x, n, book.level), term="fall_20", n=n, events=x,
              caveat=[] if n else ["no such subjects"], method="pre-specified cut, Clopper-Pearson")


def best_changes(book: Book) -> None:
    """Deepest fall of sHER2 against deepest fall of the sum of diameters, one point a subject."""
    deepest = book.cohort.changes.groupby("subject_id")["pct_change"].min()
    best = book.cohort.best_responses(book.population)
    frame = best[["best_pct_change"]].join(deepest).dropna()
    rho, low, high, p = association.spearman(frame["pct_change"], frame["best_pct_change"], book.level)
    flow = f"{len(best) - len(frame)} of {len(best)} without both changes"
    book.about("correlation", "best change", n=len(frame), events=int(best.loc[frame.index, "is_responder"].sum()), left_out=flow)(
        "spearman_rho", rho, (low, high), p_value=p, method="Spearman, Fisher z with the Bonett-Wright SE; events are responders",
        caveat=[flow, _ASSOCIATION] if np.isfinite(rho) else ["three pairs that vary are needed", flow])


# --- Lead time --------------------------------------------------------------------------------------------------------


def lead_time(book: Book) -> None:
    """Days from a confirmed rise of sHER2 to progression on imaging, in those who progress."""
    rules = book.study.analysis
    window = rules.change_thresholds_pct.rise, rules.rise_floor_ng_ml
    members = book.cohort.members(book.population)
    progressed = book.cohort.progression_day[lambda days: days.index.isin(members)]
    samples = book.cohort.samples
    samples = samples[samples["subject_id"].isin(progressed.index)]
    therapy = samples["subject_id"].map(book.cohort.subjects["new_therapy_day"])
    latest = samples["subject_id"].map(progressed) + book.study.visits.imaging.sampling_window_days
    samples = samples[~(samples["study_day"] > latest) & ~(samples["study_day"] >= therapy)]
    rises = kinetics.confirmed_rises(samples, *window).reindex(progressed.index)
    lead = progressed - rises["rise_day"]
    n, known = len(progressed), lead.dropna()
    write = book.about("lead time", "PD", n=n, events=len(known),
                       method=f"PD date less first confirmed rise (>= {window[0]} % and >= {window[1]} ng/mL above nadir);"
                              " events are subjects with one",
                       caveat=["only subjects who progressed; a rise after progression counts as negative"])
    write("median_days", float(known.median()) if len(known) else NAN,
          caveat=[] if len(known) else ["no confirmed rise before or at progression"])
    unconfirmed = rises["rise_day"].isna() & rises["first_rise_day"].notna()
    shares = {"before": lead > 0, "at": lead == 0, "after": lead < 0, "unconfirmed": unconfirmed,
              "never": rises["first_rise_day"].isna()}
    for term, members_of in shares.items():
        x = int(members_of.sum())
        write(f"share_{term}", x / n if n else NAN, rates.proportion_ci(x, n, book.level), term=term, events=x,
              method="share of those who progressed, Clopper-Pearson", caveat=[] if n else ["nobody progressed"])


# --- Shared -----------------------------------------------------------------------------------------------------------


def _cox(book: Book, frame: pd.DataFrame, terms: list[str], start: str | None = None) -> pd.DataFrame:
    """Cox model; without numbers where there are too few events for its terms."""
    model = survival.cox(frame, "stop" if start else "duration_days", "is_event", terms, start=start, level=book.level)
    if model.attrs["events"] < _FEWEST_EVENTS_PER_VARIABLE * len(terms):
        attrs = model.attrs
        model = model.assign(**dict.fromkeys(model.columns.drop("term"), NAN))
        model.attrs = {**attrs, "lrt_p": NAN, "log_likelihood": NAN}
    return model


def _write_hazard(write: Callable, model: pd.DataFrame, term: str, method: str) -> None:
    row = model.iloc[0]
    write("hazard_ratio", row["hazard_ratio"], (row["ci_low"], row["ci_high"]), term=term, p_value=row["p_value"], method=method,
          caveat=_model_caveat(model, 1))


def _model_caveat(model: pd.DataFrame, terms: int) -> list[str]:
    own = [model.attrs["caveat"]] if model.attrs["caveat"] else []
    return own + (_sparse(model.attrs["events"], terms) if model.attrs["n"] else [])


def _sparse(events: int, terms: int, of: str = "") -> list[str]:
    if events < _FEWEST_EVENTS_PER_VARIABLE * terms:
        return [f"not estimated: {events} events {of}for {terms} variable(s)"]
    per_variable = events / terms
    return [f"{per_variable:.1f} events {of}per variable, fewer than 10"] if per_variable < _EVENTS_PER_VARIABLE else []


def _likelihood_ratio_p(full: pd.DataFrame, reduced: pd.DataFrame) -> float:
    if full["coef"].isna().any() or reduced["coef"].isna().any():
        return NAN
    return float(chdtrc(1, max(2 * (full.attrs["log_likelihood"] - reduced.attrs["log_likelihood"]), 0)))


def _primary_week(book: Book) -> int:
    return int(book.study.analysis.primary.rsplit("_", 1)[1])


def _set_role(book: Book, population: str) -> str:
    return "secondary" if population == book.population else "sensitivity"


def _evaluator(book: Book) -> str:
    return book.study.response.evaluator


def _no_assessments(book: Book) -> list[str]:
    return [] if book.cohort.has_assessments else [f"no tumour assessment ({_evaluator(book)})"]


ANALYSES: tuple[Callable[[Book], None], ...] = (
    response_rates, survival_times, follow_up, time_to_response, geometric_means, trajectories, landmarks, proportional_hazards,
    concordance, time_dependent_cox, mantel_byar, early_change_and_response, best_changes, lead_time,
)
