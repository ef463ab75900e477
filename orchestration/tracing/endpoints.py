"""Endpoints of a subject: the dates that they start and end with, the responses they are the best of, and the rule."""

from functools import cached_property
from types import SimpleNamespace

from orchestration.errors import UserError
from orchestration.study import Study
from orchestration.tracing.facts import Fact, SubjectTables, picked, rounded
from orchestration.tracing.responses import Responses
from orchestration.tracing.rules import OTHER_RULES, rule_of
from orchestration.tracing.serum_her2 import serum_her2
from orchestration.tracing.timeline import Timeline

TIMES = ("PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED", "TTR")
ENDPOINTS = (*TIMES, "BOR", "CBOR", "SHER2")
"""CBOR: the confirmed best overall response. SHER2: serum HER2 and its changes."""


def check_endpoint(name: str) -> None:
    """Raises UserError where there is no such endpoint; says which there are."""
    if name not in ENDPOINTS:
        raise UserError(f"trace: no endpoint {name!r}; there are: {', '.join(ENDPOINTS)}.")


class Endpoints:
    def __init__(self, tables: SubjectTables, study: Study, evaluator: str):
        self._tables = tables
        self._study = study
        self._evaluator = evaluator
        self.responses = Responses(tables, study, evaluator)
        self.timeline = Timeline(tables, study)

    def one(self, name: str) -> Fact:
        """An endpoint of ENDPOINTS with its rule; one that the subject has not got says why."""
        if name == "SHER2":
            fact = serum_her2(self._tables)
        elif not self.timeline.row.is_treated:
            told = f"{name}: none, the subject was not treated"
            fact = Fact(told, because=[*self.timeline.why_untreated(), self.timeline.data_cutoff()])
        elif name in ("BOR", "CBOR"):
            fact = self._best(is_confirmed=name == "CBOR")
        elif row := self._outcomes.get(name):
            fact = self._time(row)
        else:
            is_confirmed = name == "DOR" or (name == "TTR" and self._study.response.confirm_days > 0)
            lacking = f"no {'confirmed ' if is_confirmed else ''}response"
            fact = Fact(f"{name}: none, there is {lacking}", because=[self._best(is_confirmed=is_confirmed)])
        fact.values = {"endpoint": name, "rule": rule_of(name, self._study)} | fact.values
        return fact

    def all(self) -> list[Fact]:
        """The times that the subject has got."""
        return [self.one(name) for name in self._outcomes]

    def subject(self) -> Fact:
        """Analysis sets and the dates that endpoints start and end with."""
        row, timeline = self._tables.row("marts.dim_subject"), self.timeline
        facts = [timeline.start()] if timeline.row.is_treated else timeline.why_untreated()
        facts += timeline.departures()
        facts += [timeline.new_therapy()] if row.new_therapy_on else []
        facts += [timeline.death() if row.death_on else timeline.last_alive()]
        sets = [name for name in ("in_treated", "in_efficacy", "in_response_evaluable") if getattr(row, name)]
        told = (
            f"tumour HER2 {row.her2_status}, site {row.site_id or 'unknown'}, analysis sets {', '.join(sets) or 'none'}"
        )
        return Fact(told, vars(row), because=facts)

    def best_response(self) -> Fact:
        """Both best responses and the best change of the sum, with the assessments that decided."""
        best = self._tables.row("marts.fct_best_response", evaluator=self._evaluator)
        if best is None:
            return Fact("best overall response: none, the subject was not treated")
        facts = self.responses.response_from(best.confirmed_response_on, is_confirmed=True)
        for on in (best.confirmed_best_overall_response_on, best.best_overall_response_on):
            if on and all(fact.values["assessed_on"] != on for fact in facts):
                facts.append(self.responses.on(on, "decided at"))
        best_on, confirmed_on = best.best_overall_response_on, best.confirmed_best_overall_response_on
        told = f"best overall response {best.best_overall_response}{f' on {best_on}' if best_on else ''}"
        told += f", confirmed {best.confirmed_best_overall_response}{f' on {confirmed_on}' if confirmed_on else ''}"
        if best.best_pct_change is not None:
            told += f", best change of the sum {rounded(best.best_pct_change)} %"
        values = {name: value for name, value in vars(best).items() if name not in {"subject_id", "evaluator"}}
        return Fact(told, values, because=facts)

    # --- best responses --------------------------------------------------------------------------------------------

    def _best(self, *, is_confirmed: bool) -> Fact:
        best = self._tables.row("marts.fct_best_response", evaluator=self._evaluator)
        prefix = "confirmed_" if is_confirmed else ""
        response, on = (getattr(best, f"{prefix}best_overall_response{ending}") for ending in ("", "_on"))
        facts = [self.timeline.start()]
        if on:
            facts.append(self.responses.on(on, "decided at"))
        confirmer = self._tables.row("intermediate.int_confirmation", evaluator=self._evaluator, assessed_on=on)
        if is_confirmed and confirmer and confirmer.is_confirmed and confirmer.confirmed_by_on:
            facts.append(self.responses.on(confirmer.confirmed_by_on, "confirmed by"))
        considered = self.responses.considered(is_confirmed=is_confirmed)
        if considered:
            facts.append(Fact(f"assessments that count: {len(considered)}", because=considered))
        else:
            others = self.responses.all_briefly()
            facts.append(Fact(f"no assessment counts; there are {len(others)}", because=others))
        if self.timeline.row.new_therapy_on and self._study.response.stop_at_new_therapy:
            facts.append(self.timeline.new_therapy())
        name = "confirmed best overall response" if is_confirmed else "best overall response"
        values = {"best_overall_response": response, "best_overall_response_on": on}
        return Fact(f"{name}: {response}{f' on {on}' if on else ''}", values, because=facts)

    # --- times -----------------------------------------------------------------------------------------------------

    @cached_property
    def _outcomes(self) -> dict[str, SimpleNamespace]:
        rows = {row.endpoint: row for row in self._tables.rows("marts.fct_time_to_event", evaluator=self._evaluator)}
        return {name: rows[name] for name in TIMES if name in rows}

    def _time(self, row: SimpleNamespace) -> Fact:
        because = self._because(row)
        what = f"event, {row.event_description}" if row.is_event else f"censored, {row.censoring_reason}"
        derived = self._tables.row("intermediate.int_endpoints", evaluator=self._evaluator, endpoint=row.endpoint)
        if derived.end_on != row.end_on:
            because.append(Fact(f"the end {derived.end_on} lies before the start, so the duration is one day"))
        return Fact(
            f"{row.endpoint}: {row.duration_days} days ({rounded(row.duration_months)} months), {row.start_on} to"
            f" {row.end_on}: {what}",
            picked(row, "start_on end_on duration_days duration_months is_event event_description censoring_reason"),
            because=because,
        )

    def _because(self, row: SimpleNamespace) -> list[Fact]:
        rules, start = self._study.endpoints.pfs.rules, self.timeline.start
        match row.endpoint:
            case "PFS":
                return [start(), *self._progression_or_censoring(rules)]
            case "PFS_OTHER_RULES":
                return [start(), *self._progression_or_censoring(OTHER_RULES[rules])]
            case "OS":
                return [start(), *self._death_or_censoring()]
            case "TTR":
                is_confirmed = self._study.response.confirm_days > 0
                return [start(), *self.responses.response_from(row.end_on, is_confirmed=is_confirmed)]
            case _:
                response = self.responses.response_from(row.start_on, is_confirmed=row.endpoint == "DOR")
                return [*response, *self._progression_or_censoring(rules)]

    def _death_or_censoring(self) -> list[Fact]:
        if self.timeline.row.death_on:
            return [self.timeline.death("end, ")]
        return [self.timeline.last_alive("end, "), *self.timeline.departures(), self.timeline.data_cutoff()]

    def _progression_or_censoring(self, rules: str) -> list[Fact]:
        """What ends progression-free survival, and what else happened that did not."""
        outcome = self._tables.row("intermediate.int_progression_free_survival", evaluator=self._evaluator, rules=rules)
        subject = self._tables.row("intermediate.int_subject_evaluators", evaluator=self._evaluator)
        lacks_baseline = subject.lacks_baseline and rules == "fda"
        if outcome.is_event:
            facts = [self._event(outcome, "end, ")]
            if outcome.adequate_on:
                facts.append(
                    self.responses.on(outcome.adequate_on, "last adequate assessment before it", is_brief=True)
                )
            return facts
        if outcome.adequate_on and not lacks_baseline:
            facts = [self.responses.on(outcome.adequate_on, "end, last adequate assessment")]
        else:
            why = "no lesions were assessed on or before it" if lacks_baseline else "no adequate assessment follows it"
            facts = [Fact(f"end {outcome.end_on}: the start, as {why}", because=self.responses.all_briefly())]
        if outcome.event_on:
            facts.append(self._uncounted_event(outcome, lacks_baseline))
        if self.timeline.row.new_therapy_on and self.timeline.row.new_therapy_on == outcome.cut_on:
            facts.append(self.timeline.new_therapy())
        return [*facts, *self.timeline.departures(), self.timeline.data_cutoff()]

    def _event(self, outcome: SimpleNamespace, label: str = "") -> Fact:
        if outcome.event_on == outcome.progression_on:
            return self.responses.on(outcome.progression_on, f"{label}first progressive disease")
        return self.timeline.death(label)

    def _uncounted_event(self, outcome: SimpleNamespace, lacks_baseline: bool) -> Fact:
        if outcome.event_on > outcome.cut_on:
            why = f"it lies after {outcome.cut_on}, where new therapy or the data cut-off ends the observation"
        elif lacks_baseline:
            why = "there is no baseline assessment"
        else:
            (planned,) = self._tables.query(
                "select days_from_start, missed_after_days from intermediate.int_planned_imaging where planned_no = ?",
                [outcome.planned_no],
            )
            counted_from = (
                f"with the last adequate assessment at the one planned for day {planned.days_from_start}"
                if planned.days_from_start
                else "without an adequate assessment"
            )
            why = (
                f"{outcome.censoring_reason}. It comes {(outcome.event_on - outcome.start_on).days} days after the"
                f" start; {counted_from}, events count up to day {planned.missed_after_days}"
            )
        values = {"event_on": outcome.event_on}
        return Fact(f"the event of {outcome.event_on} is not counted: {why}", values, because=[self._event(outcome)])
