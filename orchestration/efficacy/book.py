"""Where results are written down: a row a number, the curves, the profile of all analyses. Computes no statistic."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from orchestration.efficacy import rates
from orchestration.efficacy.cohort import DAYS_PER_MONTH, Cohort
from orchestration.errors import UserError
from orchestration.study import Study

NAN = float("nan")
ALL = "all"
COUNT = "count"
"""The method of rows that count subjects and estimate nothing."""

SEED = 20_260_101  # of every bootstrap: any fixed number would do

SECONDARY = ("time_dependent_cox", "mantel_byar", "response_odds")
"""What ``analysis.secondary`` of study.yaml may name beside the landmark analyses."""

Write = Callable[..., None]

_ESTIMATES = {
    "analysis": object, "endpoint": object, "population": object, "stratum": object, "term": object,
    "statistic": object, "estimate": float, "ci_low": float, "ci_high": float, "level": float, "p_value": float,
    "p_adjusted": float, "n": int, "events": int, "method": object, "is_primary": bool, "caveat": object,
    "build_id": object,
}  # fmt: skip
_CURVES = {
    "endpoint": object, "population": object, "stratum": object, "time_months": float, "survival": float,
    "ci_low": float, "ci_high": float, "at_risk": int, "events": int, "censored": int, "build_id": object,
}  # fmt: skip
_PROFILE = {
    "analysis": object, "endpoint": object, "population": object, "stratum": object, "n": int, "events": int,
    "role": object, "status": object, "reason": object, "build_id": object,
}  # fmt: skip


@dataclass
class Book:
    """Collects rows: :meth:`about` an analysis of one set of subjects gives the function that writes its numbers."""

    cohort: Cohort
    build_id: str
    rows: list[dict] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    _made: dict[tuple, Any] = field(default_factory=dict)

    def __post_init__(self):
        known = [*SECONDARY, *(f"landmark_week_{week}" for week in self.study.analysis.landmarks_weeks)]
        for name in self.study.analysis.secondary:
            if name not in known:
                raise UserError(
                    f"study.yaml: analysis.secondary: unknown analysis {name!r}. Name some of: {', '.join(known)}."
                )

    @property
    def study(self) -> Study:
        return self.cohort.study

    @property
    def population(self) -> str:
        return self.study.analysis.population

    @property
    def level(self) -> float:
        return self.study.analysis.level

    @property
    def fall(self) -> str:
        """The pre-specified fall as a term: fall_20. Its category in the mart is the same in capitals."""
        return f"fall_{self.study.analysis.change_thresholds_pct.fall}"

    @property
    def categories(self) -> tuple[str, str]:
        """Categories of the mart that are a fall or a rise."""
        return self.fall.upper(), f"RISE_{self.study.analysis.change_thresholds_pct.rise}"

    @property
    def cuts(self) -> dict[str, str]:
        """The other pre-specified cuts: flag in the mart -> term."""
        thresholds = self.study.analysis.change_thresholds_pct
        return {
            "is_at_most_77pct": f"at_most_{thresholds.at_most_of_baseline}pct",
            "is_fall_55": f"fall_{thresholds.deep_fall}",
            "is_normalised": "normalised",
        }

    @property
    def rise(self) -> str:
        """How far serum HER2 must rise, in words."""
        rules = self.study.analysis
        return f">= {rules.change_thresholds_pct.rise} % and >= {rules.rise_floor_ng_ml} ng/mL above nadir"

    @property
    def lacks_marker(self) -> list[str]:
        """The caveat of a study without serum HER2."""
        return ["no usable serum HER2 change in the study"] if self.cohort.changes.empty else []

    @property
    def lacks_assessments(self) -> list[str]:
        """The caveat of a study without imaging."""
        evaluator = self.study.response.evaluator
        return [] if self.cohort.has_assessments else [f"no tumour assessment ({evaluator})"]

    def once(self, make: Callable[..., Any], *asked: Any) -> Any:
        """What ``make`` makes of the book and of what is asked: made once for all analyses that look at it."""
        if (make, *asked) not in self._made:
            self._made[make, *asked] = make(self, *asked)
        return self._made[make, *asked]

    def judge(self, count: int, variables: int, what: str) -> tuple[bool, list[str]]:
        """Whether so many events carry an estimate of so many contrasts, and what to say of it.

        The rule is ``analysis.events_per_variable`` of study.yaml: below ``least`` a number is noise with a decimal
        point and is not given (Vittinghoff and McCulloch, Am J Epidemiol 2007), below ``enough`` it is given with a
        warning (Peduzzi, J Clin Epidemiol 1995). Exact methods need no such judgement.
        """
        rule = self.study.analysis.events_per_variable
        if count < rule.least * variables:
            return False, [
                f"not estimated: {count} {what} for {variables} variable(s), fewer than {rule.least} for each"
            ]
        if count < rule.enough * variables:
            return True, [f"{count / variables:.1f} {what} per variable, fewer than {rule.enough}"]
        return True, []

    def role(self, name: str, otherwise: str = "exploratory") -> str:
        """What study.yaml declares an analysis to be."""
        if name == self.study.analysis.primary:
            return "primary"
        return "secondary" if name in self.study.analysis.secondary else otherwise

    def about(self, analysis: str, endpoint: str, population: str | None = None, **shared) -> Write:
        """A function that writes a row; ``shared`` is what all rows of the analysis have in common.

        Of the lists ``caveat`` says why a number is missing or weak, ``note`` what to know of it where there is one.
        """

        def write(statistic: str, estimate: float = NAN, limits: tuple[float, float] = (NAN, NAN), **own) -> None:
            row = {
                "analysis": analysis,
                "endpoint": endpoint,
                "population": population or self.population,
                "stratum": ALL,
                "term": "",
                "statistic": statistic,
                "estimate": estimate,
                "ci_low": limits[0],
                "ci_high": limits[1],
                "level": self.level if np.isfinite(limits).any() else NAN,
                "p_value": NAN,
                "p_adjusted": NAN,
                "method": "",
                "is_primary": False,
                "note": (),
                "role": "exploratory",
                "tests": None,
                "left_out": "",
                "build_id": self.build_id,
                **shared,
                **own,
            }
            row["caveat"] = [*shared.get("caveat", ()), *own.get("caveat", ())]
            if np.isfinite(estimate):
                row["caveat"] += row["note"]
            self.rows.append(row)

        return write

    def curve(self, endpoint: str, population: str, stratum: str, curve: pd.DataFrame) -> None:
        """Keep a Kaplan-Meier curve in days (all above 0), with its start."""
        if curve.empty:
            return
        begin = {"time": 0.0, "events": 0, "censored": 0, "survival": 1.0, "ci_low": 1.0, "ci_high": 1.0}
        both = pd.concat([curve.iloc[:1].assign(**begin), curve], ignore_index=True)
        self.curves.append(
            both.assign(
                endpoint=endpoint,
                population=population,
                stratum=stratum,
                time_months=both["time"] / DAYS_PER_MONTH,
                build_id=self.build_id,
            )
        )

    def remark(self, begun: int, caught: list[warnings.WarningMessage]) -> None:
        """Put a library's warnings into the caveat of the rows that it computed."""
        texts = sorted(
            {
                str(warning.message).splitlines()[0]
                for warning in caught
                if not issubclass(warning.category, (DeprecationWarning, FutureWarning, PendingDeprecationWarning))
            }
        )
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
        if row["method"] == COUNT:
            continue
        stratum = row["stratum"].partition(":")[0]  # "week 6: fall" is a group within the analysis of week 6
        key = (row["analysis"], row["endpoint"], row["population"], stratum)
        if key not in profile:
            place = "" if stratum == ALL else stratum
            profile[key] = {**row, "status": "not estimable", "place": place, "reason": row["caveat"]}
        if np.isfinite(row["estimate"]):
            profile[key]["status"] = "done"
    for row in profile.values():
        detail = row["left_out"] if row["status"] == "done" else row["reason"]
        row["reason"] = ": ".join(part for part in (row["place"], detail) if part)
    return profile
