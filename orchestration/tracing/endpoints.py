"""Endpoints of a subject: the dates that they start and end with, and what those dates rest on."""

from functools import cached_property
from types import SimpleNamespace

from orchestration.errors import UserError
from orchestration.study import Study
from orchestration.tracing.facts import Fact, SubjectTables, keys, picked, rounded
from orchestration.tracing.responses import Responses

ENDPOINTS = ("PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED", "TTR")
_OTHER_RULES = {"fda": "ema", "ema": "fda"}


class Endpoints:
    def __init__(self, tables: SubjectTables, study: Study, evaluator: str):
        self._tables = tables
        self._study = study
        self._evaluator = evaluator
        self.responses = Responses(tables, study, evaluator)

    def one(self, name: str) -> Fact:
        """
        Raises:
            UserError: there is no such endpoint, or the subject has none; says what exists.
        """
        if name not in ENDPOINTS:
            raise UserError(f"trace: no endpoint {name!r}; there are: {', '.join(ENDPOINTS)}.")
        if row := self._outcomes.get(name):
            return self._endpoint(row)
        subject_id, known = self._tables.subject_id, ", ".join(self._outcomes)
        if known:
            raise UserError(f"trace: {subject_id} has no {name} by {self._evaluator}; it has: {known}.")
        raise UserError(f"trace: {subject_id} was not treated, so it has no endpoints. See: sher2 trace {subject_id}")

    def all(self) -> list[Fact]:
        return [self._endpoint(row) for row in self._outcomes.values()]

    def subject(self) -> Fact:
        """Analysis sets and the dates that endpoints start and end with."""
        row = self._tables.row("marts.dim_subject")
        facts = [self._start()] if self._timeline.is_treated else []
        facts += self._departures()
        facts += [self._new_therapy()] if row.new_therapy_on else []
        facts += [self._death() if row.death_on else self._last_alive()]
        sets = [name for name in ("in_treated", "in_efficacy", "in_response_evaluable") if getattr(row, name)]
        told = (
            f"tumour HER2 {row.her2_status}, site {row.site_id or 'unknown'}, analysis sets {', '.join(sets) or 'none'}"
        )
        return Fact(told, vars(row), because=facts)

    def best_response(self) -> Fact:
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

    # --- endpoints -------------------------------------------------------------------------------------------------

    @cached_property
    def _outcomes(self) -> dict[str, SimpleNamespace]:
        rows = {row.endpoint: row for row in self._tables.rows("marts.fct_time_to_event", evaluator=self._evaluator)}
        return {name: rows[name] for name in ENDPOINTS if name in rows}

    @cached_property
    def _timeline(self) -> SimpleNamespace:
        return self._tables.row("intermediate.int_subject_timeline")

    def _endpoint(self, row: SimpleNamespace) -> Fact:
        because = self._because(row)
        what = f"event, {row.event_description}" if row.is_event else f"censored, {row.censoring_reason}"
        derived = self._tables.row("intermediate.int_endpoints", evaluator=self._evaluator, endpoint=row.endpoint)
        if derived.end_on != row.end_on:
            because.append(Fact(f"the end {derived.end_on} lies before the start, so the duration is one day"))
        return Fact(
            f"{row.endpoint}: {row.duration_days} days ({rounded(row.duration_months)} months), {row.start_on} to"
            f" {row.end_on}: {what}",
            picked(
                row,
                "endpoint start_on end_on duration_days duration_months is_event event_description censoring_reason",
            ),
            because=because,
        )

    def _because(self, row: SimpleNamespace) -> list[Fact]:
        rules = self._study.endpoints.pfs.rules
        match row.endpoint:
            case "PFS":
                return [self._start(), *self._progression_or_censoring(rules)]
            case "PFS_OTHER_RULES":
                return [self._start(), *self._progression_or_censoring(_OTHER_RULES[rules])]
            case "OS":
                return [self._start(), *self._death_or_censoring()]
            case "TTR":
                is_confirmed = self._study.response.confirm_days > 0
                return [self._start(), *self.responses.response_from(row.end_on, is_confirmed=is_confirmed)]
            case _:
                response = self.responses.response_from(row.start_on, is_confirmed=row.endpoint == "DOR")
                return [*response, *self._progression_or_censoring(rules)]

    def _death_or_censoring(self) -> list[Fact]:
        if self._timeline.death_on:
            return [self._death("end, ")]
        return [self._last_alive("end, "), *self._departures(), self._data_cutoff()]

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
        if self._timeline.new_therapy_on and self._timeline.new_therapy_on == outcome.cut_on:
            facts.append(self._new_therapy())
        return [*facts, *self._departures(), self._data_cutoff()]

    def _event(self, outcome: SimpleNamespace, label: str = "") -> Fact:
        if outcome.event_on == outcome.progression_on:
            return self.responses.on(outcome.progression_on, f"{label}first progressive disease")
        return self._death(label)

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

    # --- dates -----------------------------------------------------------------------------------------------------

    def _start(self) -> Fact:
        timeline = self._timeline
        values = {"start_on": timeline.start_on}
        if self._study.endpoints.start == "enrolment" and timeline.start_on == timeline.enrolled_on:
            rows = keys("subjects", self._tables.staged("subjects", field="enrolled_on"))
            rows = rows or keys("dispositions", self._tables.staged("dispositions", occurred_on=timeline.start_on))
            return Fact(f"start {timeline.start_on}: enrolment", values, rows)
        doses = self._tables.rows("intermediate.int_doses", dosed_on=timeline.first_dose_on)
        drugs = sorted({dose.treatment for dose in doses})
        given = self._tables.staged("exposures", start_on=timeline.first_dose_on)
        rows = [row for row in given if row.treatment in drugs]
        return Fact(f"start {timeline.start_on}: first dose of {', '.join(drugs)}", values, keys("exposures", rows))

    def _death(self, label: str = "") -> Fact:
        timeline, chosen = self._timeline, self._tables.row("intermediate.int_deaths")
        reports = [
            *(
                ("subjects", row, f"demographics: died on {row.field_value or 'several days, a conflict'}")
                for row in self._tables.staged("subjects", field="death_on")
            ),
            *(
                ("dispositions", row, f"disposition: {row.term} on {row.occurred_on}")
                for row in self._tables.staged("dispositions", is_death=True)
            ),
            *(
                ("survival_status", row, f"survival status: {row.status} when asked on {row.assessed_on}")
                for row in self._tables.staged("survival_status", status="DEAD")
            ),
        ]
        how = ", completed from a partial date" if chosen.is_imputed else ""
        how += ", moved to the last day known alive" if chosen.death_on != timeline.death_on else ""
        return Fact(
            f"{label}death on {timeline.death_on}{how}",
            {"death_on": timeline.death_on, "is_imputed": chosen.is_imputed},
            because=[Fact(told, rows=keys(record, [row])) for record, row, told in reports],
        )

    def _last_alive(self, label: str = "") -> Fact:
        on = self._timeline.last_alive_on
        if on is None:
            return Fact(f"{label}the subject is known alive at no date", {"last_alive_on": None})
        facts = []
        for seen in self._tables.rows("intermediate.int_subject_dates", on_date=on, is_known_alive=True):
            column = "field" if seen.record == "subjects" else seen.field
            rows = self._tables.staged(seen.record, **{column: seen.field if seen.record == "subjects" else on})
            rows = [row for row in rows if not getattr(row, "is_death", False) and getattr(row, "status", "") != "DEAD"]
            facts.append(Fact(f"{seen.record}.{seen.field}, rows {len(rows)}", rows=keys(seen.record, rows)))
        return Fact(f"{label}last known alive on {on}", {"last_alive_on": on}, because=facts)

    def _new_therapy(self) -> Fact:
        chosen = self._tables.row("intermediate.int_new_therapies")
        (row,) = self._tables.staged("therapies", _file_id=chosen._file_id, _row_number=chosen._row_number)
        how = ", completed from a partial date" if row.is_started_on_imputed else ""
        return Fact(
            f"new anticancer therapy {row.treatment} ({row.category}) from {row.started_on}{how}",
            {"new_therapy_on": row.started_on, "treatment": row.treatment, "category": row.category},
            keys("therapies", [row]),
        )

    def _departures(self) -> list[Fact]:
        """The end of treatment or study, and leaving the study where that came on another day."""
        facts = []
        on, reason = self._timeline.discontinued_on, self._timeline.discontinuation_reason
        if on:
            rows = keys("dispositions", self._tables.staged("dispositions", occurred_on=on, term=reason))
            values = {"discontinued_on": on, "discontinuation_reason": reason}
            facts.append(Fact(f"treatment or study ended on {on}: {reason}", values, rows))
        left = self._tables.row("intermediate.int_study_exits")
        if left and left.exited_on != on:
            rows = keys("dispositions", self._tables.staged("dispositions", occurred_on=left.exited_on))
            values = {"exited_on": left.exited_on, "exit_reason": left.exit_reason}
            facts.append(Fact(f"left the study on {left.exited_on}: {left.exit_reason}", values, rows))
        return facts

    def _data_cutoff(self) -> Fact:
        (cutoff,) = self._tables.query("select cutoff_on, is_declared from intermediate.int_data_cutoff")
        how = "declared in study.yaml" if cutoff.is_declared else "the last date in the data"
        return Fact(f"data cut-off {cutoff.cutoff_on}, {how}", {"data_cutoff_on": cutoff.cutoff_on})
