"""Patient flow, as REMARK asks: from known subjects to the primary landmark, with who is left out, why, and events.

Each step is a subset of the one before; what a step leaves out is counted by reason, so that the numbers add up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from orchestration.efficacy import landmark
from orchestration.report import wording
from orchestration.report.published import Published
from orchestration.study import Study

COLUMNS = ("step", "patients", "events", "left_out_because", "left_out", "left_out_events")


@dataclass(frozen=True)
class Left:
    reason: str
    n: int
    events: int | None


@dataclass(frozen=True)
class Step:
    """Who is in, how many of them progressed or died (None before there is a time), and who was left out here."""

    label: str
    n: int
    events: int | None
    left: list[Left] = field(default_factory=list)
    aside: str = ""


_SETS = {
    "in_treated": "Treated: at least one dose of study drug",
    "in_efficacy": "Efficacy: treated, tumour HER2-low",
    "in_response_evaluable": "Response-evaluable: a target lesion at baseline, and an assessment or event after it",
}


class _Chain:
    """Steps with their subjects; each next one is cut out of the last."""

    def __init__(self, label: str, subjects: Iterable[str], events: pd.Series):
        self._events = events
        self._in = sorted(subjects)
        self.steps = [Step(label, len(self._in), None)]

    def narrow(self, label: str, to: Iterable[str], reasons: dict[str, str], aside: str = "") -> None:
        """Keep who is in ``to``; the others are counted by their reason."""
        wanted = set(to)
        out = pd.Series({subject: reasons.get(subject, "no reason recorded") for subject in self._in}, dtype=object)
        out = out[~out.index.isin(wanted)]
        self._in = [subject for subject in self._in if subject in wanted]
        left = [
            Left(reason, len(members), self._count(members.index))
            for reason, members in sorted(out.groupby(out), key=lambda item: (-len(item[1]), item[0]))
        ]
        self.steps.append(Step(label, len(self._in), self._count(self._in), left, aside))

    @property
    def subjects(self) -> list[str]:
        return self._in

    def _count(self, subjects: Iterable[str]) -> int | None:
        """Events among them; None where none of them has a time."""
        known = self._events.reindex(list(subjects)).dropna()
        return int(known.sum()) if len(known) else None


def patient_flow(published: Published, study: Study) -> list[Step]:
    """Known subjects -> treated -> analysis population -> evaluable baseline -> change by the landmark -> at risk."""
    rules, cohort = study.analysis, published.cohort
    events = cohort.times("PFS", "in_treated")["is_event"]
    chain = _Chain("Known subjects", (subject.subject_id for subject in published.subjects), events)
    reasons = _reasons(published)
    names = list(_SETS)
    for name in names[: names.index(rules.population) + 1]:
        aside = _response_evaluable(published) if name == "in_efficacy" == rules.population else ""
        chain.narrow(_SETS[name], published.members(name), reasons, aside)

    week, day = rules.primary_week, rules.landmark_day(rules.primary_week)
    why = cohort.why_no_change(pd.Index(chain.subjects), day, rules.landmark_max_age_days).to_dict()
    chain.narrow("Evaluable baseline of serum HER2", cohort.log2_baseline.index, why)
    known = cohort.last_changes(day)
    known = known.dropna(subset=["log2_ratio", "log2_baseline"])
    chain.narrow(f"Evaluable change of serum HER2 by the landmark (week {week}, study day {day})", known.index, why)
    times = cohort.times("PFS", rules.population)
    times = times.assign(end_day=times["end_day"].clip(lower=0))
    at_risk = landmark.at(times, "end_day", "is_event", day)
    ended = {
        subject: f"progression or death by study day {day}" if is_event else f"censored by study day {day}"
        for subject, is_event in times["is_event"].items()
    }
    chain.narrow("At risk at the landmark: the primary analysis", at_risk.index, ended)
    return chain.steps


def rows(steps: list[Step]) -> list[tuple]:
    """The data behind the flow: a row a step, and a row for each reason below it."""
    found = []
    for step in steps:
        found.append((step.label, step.n, step.events, None, None, None))
        found += [(step.label, None, None, left.reason, left.n, left.events) for left in step.left]
    return found


def _reasons(published: Published) -> dict[str, str]:
    """Why a subject is in no set, as the findings say: ``set: reason``."""
    rows = [finding for finding in published.findings if finding.kind == "left_out_of_set"]
    return {row.subject_id: row.detail.split(": ", 1)[-1] for row in rows}


def _response_evaluable(published: Published) -> str:
    evaluable, members = published.members("in_response_evaluable"), published.members("in_efficacy")
    reasons = _reasons(published)
    out: dict[str, int] = {}
    for subject in sorted(members - evaluable):
        reason = reasons.get(subject, "no reason recorded")
        out[reason] = out.get(reason, 0) + 1
    why = "; ".join(f"{wording.count(n)} {reason}" for reason, n in out.items())
    return f"Of them response-evaluable: {wording.count(len(evaluable))}" + (f" (not: {why})" if why else "")
