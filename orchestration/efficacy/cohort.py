"""The marts in the shape that the analyses need: selections, joins, units. What dbt decides is not decided again."""

from functools import cached_property

import numpy as np
import pandas as pd

from orchestration.efficacy import landmark
from orchestration.study import Study

DAYS_PER_MONTH = 30.4375

STRATIFICATION = {"ihc_score": "IHC", "hormone_receptor_status": "hormone receptor"}
"""What stratified tests are stratified by: column of dim_subject -> its name."""

_FLAGS = ("in_treated", "in_efficacy", "in_response_evaluable")
MARTS = {
    "dim_subject": (
        "subject_id",
        *_FLAGS,
        "first_dose_on",
        "new_therapy_on",
        "ihc_score",
        "hormone_receptor_status",
        "site_id",
        "age_years",
    ),
    "fct_her2_delta": (
        "subject_id",
        "sample_id",
        "study_day",
        "analysis_visit_name",
        "is_visit_value",
        "analysed_value_ng_ml",
        "is_baseline",
        "baseline_ng_ml",
        "pct_change",
        "log2_ratio",
        "change_category",
        "is_at_most_77pct",
        "is_fall_55",
        "is_normalised",
        "is_below_lloq",
        "is_bound",
        "is_timing_unknown",
        "is_after_progression",
        "is_after_new_therapy",
        "is_in_time_for_progression",
        "sher2_progression",
        "is_usable",
        "unusable_reason",
    ),
    "fct_response": (
        "subject_id",
        "evaluator",
        "is_accepted",
        "is_baseline_outside_window",
        "assessed_on",
        "study_day",
        "overall_response",
    ),
    "fct_best_response": (
        "subject_id",
        "evaluator",
        "is_responder",
        "is_confirmed_responder",
        "has_disease_control",
        "has_clinical_benefit",
        "best_pct_change",
    ),
    "fct_time_to_event": ("subject_id", "evaluator", "endpoint", "start_on", "duration_days", "is_event"),
}
"""What the statistics read: mart -> columns."""


class Cohort:
    """One study's marts, indexed by subject.

    Args:
        marts: mart name -> rows as dbt builds them; a mart may be empty, even of columns.

    Raises:
        ValueError: a mart is absent, or one with rows lacks a column; names both.
    """

    def __init__(self, marts: dict[str, pd.DataFrame], study: Study):
        self.study = study
        self._marts = {name: _mart(marts, name, columns) for name, columns in MARTS.items()}
        self._times: dict[tuple[str, str, str], pd.DataFrame] = {}
        self._last_changes: dict[int, pd.DataFrame] = {}

    @cached_property
    def subjects(self) -> pd.DataFrame:
        """A row for each subject, with the analysis sets as booleans and the study day of new therapy (NaN: none)."""
        rows = self._marts["dim_subject"].set_index("subject_id").sort_index()
        flags = {name: _true(rows[name]) for name in _FLAGS}
        return rows.assign(**flags, new_therapy_day=_study_day(rows["new_therapy_on"], rows["first_dose_on"]))

    def members(self, population: str) -> pd.Index:
        return self.subjects.index[self.subjects[population]]

    @cached_property
    def evaluators(self) -> list[str]:
        """The study's own evaluator first, then the others that assessed anybody."""
        others = set(self._marts["fct_response"]["evaluator"].dropna()) - {self.study.response.evaluator}
        return [self.study.response.evaluator, *sorted(others)]

    @cached_property
    def has_assessments(self) -> bool:
        return bool((self._marts["fct_response"]["evaluator"] == self.study.response.evaluator).any())

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Usable serum HER2 samples by subject and day, log2_baseline added.

        value_ng_ml is the value as analysed (half the lower limit below it), visit_name the planned visit that the
        sample stands for, missing where another sample does.
        """
        rows = self._marts["fct_her2_delta"].rename(columns={"analysed_value_ng_ml": "value_ng_ml"})
        rows = rows.assign(visit_name=rows["analysis_visit_name"].where(_true(rows["is_visit_value"])))
        rows = rows[_true(rows["is_usable"]) & rows["value_ng_ml"].notna() & rows["study_day"].notna()]
        flags = ["is_baseline", "is_below_lloq", "is_bound", "is_timing_unknown", "is_in_time_for_progression"]
        numeric = ["study_day", "value_ng_ml", "baseline_ng_ml", "pct_change", "log2_ratio"]
        rows = rows.assign(
            **{name: _floats(rows[name]) for name in numeric}, **{name: _true(rows[name]) for name in flags}
        )
        rows = rows.sort_values(["subject_id", "study_day", "sample_id"])
        return rows.assign(log2_baseline=np.log2(rows["baseline_ng_ml"].where(rows["baseline_ng_ml"] > 0)))

    @cached_property
    def visit_values(self) -> pd.DataFrame:
        """The sample of each subject that stands for each planned visit, up to progression and new therapy."""
        rows = self.samples
        later = _true(rows["is_after_progression"]) | _true(rows["is_after_new_therapy"])
        return rows[rows["visit_name"].notna() & ~later & (rows["value_ng_ml"] > 0)]

    @cached_property
    def changes(self) -> pd.DataFrame:
        """Samples after the first dose with a change from baseline, drawn before progression and before new therapy.

        A change of which only a bound is known has no number in the mart and so is not here.
        """
        rows = self.samples[(self.samples["study_day"] > 1) & self.samples["log2_ratio"].notna()]
        until = pd.concat([self.progression_day, self.subjects["new_therapy_day"]], axis=1).min(axis=1)
        return rows[~(rows["study_day"] >= rows["subject_id"].map(until))]

    def last_changes(self, landmark_day: int) -> pd.DataFrame:
        """Each subject's last of the changes by a landmark, if it is not too old by then."""
        if landmark_day not in self._last_changes:
            max_age_days = self.study.analysis.landmark_max_age_days
            self._last_changes[landmark_day] = landmark.last_before(self.changes, landmark_day, max_age_days)
        return self._last_changes[landmark_day]

    @cached_property
    def samples_in_time(self) -> pd.DataFrame:
        """Samples after the first dose that may show progression in serum, and whether they do (sher2_progression)."""
        return self.samples[self.samples["is_in_time_for_progression"] & (self.samples["study_day"] > 1)]

    def why_no_change(self, subjects: pd.Index, landmark_day: int, max_age_days: int) -> pd.Series:
        """Reason by subject, of those without an evaluable change by a landmark."""
        rows = self._marts["fct_her2_delta"]
        rows = rows[rows["subject_id"].isin(subjects)]
        rows = rows.assign(study_day=_floats(rows["study_day"])).sort_values(["subject_id", "study_day", "sample_id"])
        oldest = max(2, landmark_day - max_age_days)
        last = rows[rows["study_day"].between(oldest, landmark_day)].groupby("subject_id").tail(1)
        last = last.set_index("subject_id")
        unusable = "sample not usable: " + last["unusable_reason"].astype("string")
        reasons = unusable.where(~_true(last["is_usable"]), "drawn at or after progression or new therapy")
        reasons = reasons.reindex(subjects).astype(object)
        reasons = reasons.where(reasons.notna(), f"no sample between study day {oldest} and {landmark_day}")
        reasons = reasons.where(subjects.isin(self.log2_baseline.index), "no usable baseline")
        return reasons.where(subjects.isin(rows["subject_id"]), "no serum HER2 sample")

    @cached_property
    def outside_baseline_window(self) -> pd.Index:
        """Subjects whose baseline scan, by the study's evaluator, was outside its window."""
        rows = self._marts["fct_response"]
        mine = rows[_true(rows["is_accepted"]) & (rows["evaluator"] == self.study.response.evaluator)]
        return pd.Index(mine.loc[_true(mine["is_baseline_outside_window"]), "subject_id"].unique())

    @cached_property
    def log2_baseline(self) -> pd.Series:
        """By subject, where there is a positive baseline."""
        return self.samples.dropna(subset="log2_baseline").groupby("subject_id")["log2_baseline"].first()

    @cached_property
    def progression_day(self) -> pd.Series:
        """Study day of the first PD by the study's evaluator; only subjects with one."""
        days = self._assessed[self._assessed["overall_response"] == "PD"]
        return days.groupby("subject_id")["study_day"].min().dropna().rename("progression_day")

    @cached_property
    def last_free_day(self) -> pd.Series:
        """Of those with a progression_day: study day of the last scan before it that showed none (else first dose)."""
        rows = self._assessed[self._assessed["overall_response"].notna()]
        earlier = rows["study_day"] < rows["subject_id"].map(self.progression_day)
        before = rows[earlier & (rows["overall_response"] != "NE")]
        last = before.groupby("subject_id")["study_day"].max()
        return last.reindex(self.progression_day.index).fillna(1).clip(lower=1)

    @cached_property
    def _assessed(self) -> pd.DataFrame:
        """Accepted assessments by the study's evaluator."""
        rows = self._marts["fct_response"]
        mine = rows[_true(rows["is_accepted"]) & (rows["evaluator"] == self.study.response.evaluator)]
        return mine.assign(study_day=_floats(mine["study_day"]))

    def best_responses(self, population: str, evaluator: str | None = None) -> pd.DataFrame:
        """A row for each member, by the study's evaluator or another: responses as booleans (no row: false)."""
        rows = self._marts["fct_best_response"]
        mine = rows[rows["evaluator"] == (evaluator or self.study.response.evaluator)].set_index("subject_id")
        mine = mine.reindex(self.members(population))
        flags = ("is_responder", "is_confirmed_responder", "has_disease_control", "has_clinical_benefit")
        best = _floats(mine["best_pct_change"])
        return mine.assign(**{name: _true(mine[name]) for name in flags}, best_pct_change=best)

    def times(self, endpoint: str, population: str, evaluator: str | None = None) -> pd.DataFrame:
        """Members with a row of the endpoint: duration_days, is_event, and end_day, the study day of its end."""
        asked = (endpoint, population, evaluator or self.study.response.evaluator)
        if asked not in self._times:
            self._times[asked] = self._ends(*asked)
        return self._times[asked].copy()

    def _ends(self, endpoint: str, population: str, evaluator: str) -> pd.DataFrame:
        rows = self._marts["fct_time_to_event"]
        chosen = (rows["endpoint"] == endpoint) & (rows["evaluator"] == evaluator)
        mine = rows[chosen & rows["duration_days"].notna()].set_index("subject_id")
        mine = mine.loc[mine.index.isin(self.members(population))].sort_index()
        # The clock may start at enrolment; days of the marker count from the first dose.
        lag = _days(mine["start_on"]) - _days(self.subjects["first_dose_on"].reindex(mine.index))
        days = _floats(mine["duration_days"])
        end_day = days + lag.fillna(0)
        return pd.DataFrame({"duration_days": days, "is_event": _true(mine["is_event"]), "end_day": end_day})


def _mart(marts: dict[str, pd.DataFrame], name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    if name not in marts:
        raise ValueError(f"marts: {name} is absent")
    absent = [column for column in columns if column not in marts[name].columns]
    if absent and len(marts[name]):
        raise ValueError(f"marts: {name} lacks {', '.join(absent)}")
    return marts[name].reindex(columns=list(columns))


def _true(values: pd.Series) -> pd.Series:
    """Booleans, a missing one as false."""
    return values.eq(True).fillna(False).astype(bool)


def _floats(values: pd.Series) -> pd.Series:
    """Whatever kind of number as float, NaN where missing."""
    return pd.Series(values.to_numpy(dtype=float, na_value=np.nan), index=values.index)


def _days(dates: pd.Series) -> pd.Series:
    """Days since 1970, NaN where missing."""
    return (pd.to_datetime(dates, cache=False) - pd.Timestamp(0)).dt.days.astype(float)


def _study_day(dates: pd.Series, first_dose: pd.Series) -> pd.Series:
    """SDTM study day: the first dose is day 1, the day before it -1."""
    difference = _days(dates) - _days(first_dose)
    return difference + (difference >= 0)
