"""From a number of a subject back to the dates, assessments, lesions and raw rows that made it.

Nothing is derived here: each step looks up what a dbt model wrote, and says it in words. Where a raw row stands in which
file is evidence's business.
"""

import datetime as dt
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from types import SimpleNamespace

from duckdb import DuckDBPyConnection

from orchestration.errors import UserError
from orchestration.evidence import RowKey, raw_rows, row_lines, wrapped
from orchestration.settings import Settings
from orchestration.study import Study
from orchestration.warehouse import connect

ENDPOINTS = ("PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED", "TTR")

_RECORD_TABLES = {  # record: (staging model, column of its day)
    "exposures": "stg_exposures",
    "visits": "stg_visits",
    "lab_results": "stg_lab_results",
    "tumor_identifications": "stg_tumor_identifications",
    "tumor_measurements": "stg_tumor_measurements",
    "tumor_responses": "stg_tumor_responses",
    "dispositions": "stg_dispositions",
    "therapies": "stg_therapies",
    "survival_status": "stg_survival_status",
}


@dataclass
class Fact:
    """One step of the way back.

    Attributes:
        says: the step in words.
        values: the same for machines (dates ISO, lengths mm, names as in the marts).
        rows: raw rows that say so.
        because: the steps that it rests on.
    """

    says: str
    values: dict = field(default_factory=dict)
    rows: list[RowKey] = field(default_factory=list)
    because: list["Fact"] = field(default_factory=list)

    def keys(self) -> Iterator[RowKey]:
        yield from self.rows
        for fact in self.because:
            yield from fact.keys()

    def plain(self, sources: dict[RowKey, dict]) -> dict:
        """JSON's own types, with the raw rows in place of their keys."""
        return {
            "says": self.says,
            "values": {name: _plain(value) for name, value in self.values.items()},
            "rows": [sources[key] for key in self.rows if key in sources],
            "because": [fact.plain(sources) for fact in self.because],
        }


def trace(
    settings: Settings, study: Study, subject_id: str, endpoint: str | None = None, evaluator: str | None = None
) -> dict:
    """Where the numbers of a subject come from.

    Args:
        endpoint: one of ENDPOINTS; None: all, with best response, assessments, serum HER2 and findings beside them.
        evaluator: None: the study's.

    Returns:
        subject_id, evaluator, build_id, data_cutoff_on, notes, endpoints (facts); without an endpoint also subject,
        best_response, assessments, serum_her2 (facts) and findings. A fact is a dict of says, values, rows, because.

    Raises:
        UserError: no such subject, evaluator or endpoint, or nothing is published; says what exists.
    """
    with connect(settings.warehouse, read_only=True) as connection:
        walk = _Walk(connection, study, _known_subject(connection, subject_id), evaluator)
        facts = {"endpoints": walk.endpoints(endpoint)}
        if endpoint is None:
            facts |= {
                "subject": walk.subject(),
                "best_response": walk.best_response(),
                "assessments": walk.assessments(),
                "serum_her2": walk.serum_her2(),
            }
        groups = {name: found if isinstance(found, list) else [found] for name, found in facts.items()}
        keys = {key for found in groups.values() for fact in found for key in fact.keys()}
        sources = raw_rows(settings, connection, keys)
        content = {"subject_id": walk.subject_id, "evaluator": walk.evaluator} | walk.publication()
        for name, found in facts.items():
            plain = [fact.plain(sources) for fact in groups[name]]
            content[name] = plain if isinstance(found, list) else plain[0]
        if endpoint is None:
            content["findings"] = walk.findings()
    return content


def as_text(content: dict) -> str:
    """What ``trace`` returns, for reading at LINE_WIDTH columns."""
    lines = [f"{content['subject_id']}, {content['evaluator']}"]
    lines += wrapped(f"build {content['build_id']}, data cut-off {content['data_cutoff_on']}", 0)
    for note in content["notes"]:
        lines += wrapped(f"note: {note}", 0, 6)
    if "best_response" not in content:
        for fact in content["endpoints"]:
            lines += ["", *_fact_lines(fact, 0)]
        return "\n".join(lines)
    lines += ["", *_fact_lines(content["subject"], 0, depth=2, with_rows=False)]
    for fact in content["endpoints"]:
        lines += ["", *_fact_lines(fact, 0, depth=1, with_rows=False)]
    lines += ["", *_fact_lines(content["best_response"], 0, depth=1, with_rows=False)]
    lines += ["", "assessments", *(line for fact in content["assessments"] for line in _fact_lines(fact, 2, depth=0))]
    lines += ["", *_fact_lines(content["serum_her2"], 0)]
    if content["findings"]:
        lines += ["", "findings"]
        for finding in content["findings"]:
            lines += wrapped(f"{finding['severity']} {finding['kind']}: {finding['detail']}", 2, 2)
    names = [fact["values"]["endpoint"] for fact in content["endpoints"]]
    if names:
        lines += ["", *wrapped(
            f"lesions and raw rows of an endpoint: sher2 trace {content['subject_id']} --endpoint {names[0]}"
            + (f" (or {', '.join(names[1:])})" if names[1:] else ""), 0
        )]  # fmt: skip
    return "\n".join(lines)


def _fact_lines(fact: dict, indent: int, *, depth: int = 99, with_rows: bool = True) -> list[str]:
    lines = wrapped(fact["says"], indent, 2)
    if with_rows and depth:
        for row in fact["rows"]:
            lines += row_lines(row, indent + 4)
    if depth:
        for reason in fact["because"]:
            lines += _fact_lines(reason, indent + 2, depth=depth - 1, with_rows=with_rows)
    return lines


class _Walk:
    """What the models wrote about one subject, as facts. Tables are read once, whole for the subject."""

    def __init__(self, connection: DuckDBPyConnection, study: Study, subject_id: str, evaluator: str | None):
        self._connection = connection
        self._study = study
        self._tables: dict[str, list[SimpleNamespace]] = {}
        self.subject_id = subject_id
        self.evaluator = self._known_evaluator(evaluator)

    # --- looking up ------------------------------------------------------------------------------------------------

    def _known_evaluator(self, name: str | None) -> str:
        found = self._connection.execute(
            "select distinct evaluator from marts.fct_time_to_event order by all"
        ).fetchall()
        known = [row[0] for row in found]
        wanted = (name or self._study.response.evaluator).upper()
        if known and wanted not in known:
            raise UserError(f"trace: no evaluator {wanted!r}; there are: {', '.join(known)}.")
        return wanted

    def _rows(self, table: str, **where) -> list[SimpleNamespace]:
        """Rows of the subject in a table, as far as the columns hold these values."""
        if table not in self._tables:
            cursor = self._connection.execute(
                f"select * from {table} where subject_id = ? order by all", [self.subject_id]
            )
            names = [item[0] for item in cursor.description]
            self._tables[table] = [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]
        return [row for row in self._tables[table] if all(getattr(row, name) == value for name, value in where.items())]

    def _row(self, table: str, **where) -> SimpleNamespace | None:
        return next(iter(self._rows(table, **where)), None)

    def _staged(self, record: str, **where) -> list[SimpleNamespace]:
        return self._rows(f"staging.{_RECORD_TABLES[record]}", **where)

    def _at_visit(self, record: str, read: SimpleNamespace) -> list[SimpleNamespace]:
        """Rows of a tumour record that belong to the assessment of a read."""
        texts = {
            (row.visit_name, row.on_text)
            for row in self._rows("intermediate.int_assessment_visits", evaluator=read.evaluator, reader=read.reader)
            if row.visit_no == read.visit_no
        }
        on_text = "identified_on_text" if record == "tumor_identifications" else "assessed_on_text"
        return [
            row
            for row in self._staged(record, evaluator=read.evaluator, reader=read.reader)
            if (row.visit_name or "", getattr(row, on_text) or "") in texts
        ]

    def _read(self, table: str, read: SimpleNamespace, **where) -> SimpleNamespace | None:
        return self._row(table, evaluator=read.evaluator, reader=read.reader, visit_no=read.visit_no, **where)

    @cached_property
    def _timeline(self) -> SimpleNamespace:
        return self._row("intermediate.int_subject_timeline")

    @cached_property
    def _cutoff(self) -> SimpleNamespace:
        cutoff_on, is_declared = self._connection.execute(
            "select cutoff_on, is_declared from intermediate.int_data_cutoff"
        ).fetchone()
        return SimpleNamespace(cutoff_on=cutoff_on, is_declared=is_declared)

    def publication(self) -> dict:
        build_id, study_hash = self._connection.execute(
            "select build_id, study_hash from ops.publications order by published_at desc limit 1"
        ).fetchone()
        has_changed = study_hash != self._study.study_hash
        note = "study.yaml has changed since this build; thresholds in words are those of now. Publish it: sher2 run"
        return {
            "build_id": build_id,
            "data_cutoff_on": _plain(self._cutoff.cutoff_on),
            "notes": [note] if has_changed else [],
        }

    def findings(self) -> list[dict]:
        return [
            {"kind": row.kind, "detail": row.detail, "severity": row.severity} for row in self._rows("ops.findings")
        ]

    # --- endpoints -------------------------------------------------------------------------------------------------

    def endpoints(self, endpoint: str | None) -> list[Fact]:
        rows = self._rows("marts.fct_time_to_event", evaluator=self.evaluator)
        found = {row.endpoint: row for row in rows}
        if endpoint is None:
            return [self._endpoint(found[name]) for name in ENDPOINTS if name in found]
        if endpoint not in ENDPOINTS:
            raise UserError(f"trace: no endpoint {endpoint!r}; there are: {', '.join(ENDPOINTS)}.")
        if endpoint not in found:
            reason = (
                f"has no {endpoint} by {self.evaluator}; it has: {', '.join(name for name in ENDPOINTS if name in found)}"
                if found
                else f"was not treated, so it has no endpoint. What is known of it: sher2 trace {self.subject_id}"
            )
            raise UserError(f"trace: {self.subject_id} {reason}.")
        return [self._endpoint(found[endpoint])]

    def _endpoint(self, row: SimpleNamespace) -> Fact:
        what = f"event, {row.event_description}" if row.is_event else f"censored, {row.censoring_reason}"
        names = ("endpoint", "start_on", "end_on", "duration_days", "duration_months", "is_event")
        names += ("event_description", "censoring_reason")
        because = {
            "OS": self._overall_survival,
            "TTR": self._time_to_response,
            "DOR": self._duration_of_response,
            "DOR_UNCONFIRMED": self._duration_of_response,
        }.get(row.endpoint, self._progression_free_survival)(row)
        derived = self._row("intermediate.int_endpoints", evaluator=self.evaluator, endpoint=row.endpoint)
        if derived.end_on != row.end_on:
            because.append(
                Fact(f"the end {derived.end_on} lies before the start, so the duration is one day (a finding)")
            )
        return Fact(
            f"{row.endpoint}: {row.duration_days} days ({_rounded(row.duration_months)} months),"
            f" {row.start_on} to {row.end_on}: {what}",
            {name: getattr(row, name) for name in names},
            because=because,
        )

    def _progression_free_survival(self, row: SimpleNamespace) -> list[Fact]:
        own = self._study.endpoints.pfs.rules
        rules = own if row.endpoint == "PFS" else {"fda": "ema", "ema": "fda"}[own]
        return [self._start(), *self._end_of_progression_free_survival(rules)]

    def _duration_of_response(self, row: SimpleNamespace) -> list[Fact]:
        return [
            *self._response_from(row.start_on, is_confirmed=row.endpoint == "DOR"),
            *self._end_of_progression_free_survival(self._study.endpoints.pfs.rules),
        ]

    def _time_to_response(self, row: SimpleNamespace) -> list[Fact]:
        is_confirmed = row.end_on == self._best_response.confirmed_response_on
        return [self._start(), *self._response_from(row.end_on, is_confirmed=is_confirmed)]

    def _overall_survival(self, row: SimpleNamespace) -> list[Fact]:
        if row.is_event:
            return [self._start(), self._death("end")]
        return [self._start(), self._last_alive(), *self._discontinuation(), self._data_cutoff()]

    def _end_of_progression_free_survival(self, rules: str) -> list[Fact]:
        outcome = self._row("intermediate.int_progression_free_survival", evaluator=self.evaluator, rules=rules)
        last = self._response_on(outcome.adequate_on)
        if outcome.is_event:
            facts = [self._progression_or_death(outcome, "end")]
            return (
                [*facts, self._assessment(last, "last adequate assessment before it", is_brief=True)] if last else facts
            )
        if self._evaluator_row.lacks_baseline and outcome.end_on == outcome.start_on != outcome.adequate_on:
            facts = [Fact(f"end {outcome.end_on}: the start, because no lesions were assessed on or before it")]
        elif last:
            facts = [self._assessment(last, "end: last adequate assessment")]
        else:
            facts = [
                Fact(
                    f"end {outcome.end_on}: the start, because no adequate assessment follows it",
                    because=self.assessments(),
                )
            ]
        if outcome.event_on:
            facts.append(self._uncounted_event(outcome))
        if self._timeline.new_therapy_on == outcome.cut_on:
            facts.append(self._new_therapy())
        return [*facts, *self._discontinuation(), self._data_cutoff()]

    def _progression_or_death(self, outcome: SimpleNamespace, label: str) -> Fact:
        if outcome.event_on == outcome.progression_on:
            return self._assessment(self._response_on(outcome.progression_on), f"{label}: first progressive disease")
        return self._death(label)

    def _uncounted_event(self, outcome: SimpleNamespace) -> Fact:
        fact = self._progression_or_death(outcome, "not counted")
        planned = {row.planned_no: row for row in self._planned_imaging}[outcome.planned_no]
        if outcome.event_on > outcome.cut_on:
            why = f"after {outcome.cut_on}, where new therapy or the data cut-off ends the observation"
        elif self._evaluator_row.lacks_baseline:
            why = "without a baseline assessment"
        else:
            day = (outcome.event_on - outcome.start_on).days
            counted = f"day {planned.days_from_start}" if outcome.planned_no else "the start"
            why = (
                f"{day} days after the start, and after the assessment planned for {counted} an event counts only until day"
                f" {planned.missed_after_days}: two or more assessments were missed"
            )
        return Fact(
            f"event on {outcome.event_on} is not counted: {why}", {"event_on": outcome.event_on}, because=[fact]
        )

    # --- dates -----------------------------------------------------------------------------------------------------

    def subject(self) -> Fact:
        """The dates that the endpoints start and end with."""
        row = self._row("marts.dim_subject")
        sets = [name for name in ("in_treated", "in_efficacy", "in_response_evaluable") if getattr(row, name)]
        facts = [self._start() if row.in_treated else None, *self._discontinuation()]
        facts += [
            self._new_therapy() if row.new_therapy_on else None,
            self._death() if row.death_on else self._last_alive(),
        ]
        return Fact(
            f"tumour HER2 {row.her2_status}, site {row.site_id or 'unknown'}, analysis sets: {', '.join(sets) or 'none'}",
            vars(row),
            because=[fact for fact in facts if fact],
        )

    def _start(self) -> Fact:
        timeline = self._timeline
        values = {"start_on": timeline.start_on}
        if self._study.endpoints.start == "enrolment" and timeline.start_on == timeline.enrolled_on:
            rows = self._subject_value("enrolled_on") or _keys(
                "dispositions",
                [
                    row
                    for row in self._staged("dispositions", occurred_on=timeline.start_on)
                    if row.term[:3] in {"ENR", "RAN"}
                ],
            )
            return Fact(f"start {timeline.start_on}: enrolment", values, rows)
        doses = self._rows("intermediate.int_doses", dosed_on=timeline.first_dose_on)
        rows = [
            row for dose in doses for row in self._staged("exposures", treatment=dose.treatment, start_on=dose.dosed_on)
        ]
        drugs = ", ".join(sorted({dose.treatment for dose in doses}))
        return Fact(f"start {timeline.start_on}: first dose ({drugs})", values, _keys("exposures", rows))

    def _death(self, label: str = "") -> Fact:
        timeline, chosen = self._timeline, self._row("intermediate.int_deaths")
        reports = []
        if rows := self._subject_value("death_on"):
            reports.append(Fact(f"demographics: died {self._text_of('death_on')}", rows=rows))
        for row in self._staged("dispositions", is_death=True):
            reports.append(Fact(f"disposition {row.term}: {row.occurred_on}", rows=_keys("dispositions", [row])))
        for row in self._staged("survival_status", status="DEAD"):
            reports.append(
                Fact(f"survival status DEAD: heard of on {row.assessed_on}", rows=_keys("survival_status", [row]))
            )
        how = ", completed from a partial date" if chosen.is_imputed else ""
        how += ", moved to the last day known alive" if chosen.death_on != timeline.death_on else ""
        says = f"{label + ': ' if label else ''}death on {timeline.death_on}{how}"
        return Fact(says, {"death_on": timeline.death_on, "is_imputed": chosen.is_imputed}, because=reports)

    def _last_alive(self) -> Fact:
        on = self._timeline.last_alive_on
        if on is None:
            return Fact("no date at which the subject was known alive", {"last_alive_on": None})
        facts = []
        for seen in self._rows("intermediate.int_subject_dates", on_date=on, is_known_alive=True):
            rows = (
                self._subject_value(seen.field)
                if seen.record == "subjects"
                else _keys(seen.record, self._known_alive_rows(seen))
            )
            facts.append(Fact(f"{seen.record.replace('_', ' ')}, {seen.field}: {_count(len(rows), 'row')}", rows=rows))
        return Fact(f"last known alive {on}", {"last_alive_on": on}, because=facts)

    def _known_alive_rows(self, seen: SimpleNamespace) -> list[SimpleNamespace]:
        rows = self._staged(seen.record, **{seen.field: seen.on_date})
        if seen.record == "dispositions":
            return [row for row in rows if not row.is_death]
        return [row for row in rows if seen.record != "survival_status" or row.status == "ALIVE"]

    def _new_therapy(self) -> Fact:
        chosen = self._row("intermediate.int_new_therapies")
        key = RowKey("therapies", chosen._file_id, chosen._row_number)
        (row,) = self._staged("therapies", _file_id=chosen._file_id, _row_number=chosen._row_number)
        how = ", completed from a partial date" if row.is_started_on_imputed else ""
        return Fact(
            f"new anticancer therapy {row.treatment} ({row.category}) from {row.started_on}{how}",
            {"new_therapy_on": row.started_on, "treatment": row.treatment, "category": row.category},
            [key],
        )

    def _discontinuation(self) -> list[Fact]:
        timeline = self._timeline
        if timeline.discontinued_on is None:
            return []
        rows = self._staged("dispositions", occurred_on=timeline.discontinued_on, term=timeline.discontinuation_reason)
        return [
            Fact(
                f"treatment or study ended on {timeline.discontinued_on}: {timeline.discontinuation_reason}",
                {"discontinued_on": timeline.discontinued_on, "reason": timeline.discontinuation_reason},
                _keys("dispositions", rows),
            )
        ]

    def _data_cutoff(self) -> Fact:
        kind = "study.data_cutoff of study.yaml" if self._cutoff.is_declared else "the last date in the data"
        return Fact(f"data cut-off {self._cutoff.cutoff_on}: {kind}", {"data_cutoff_on": self._cutoff.cutoff_on})

    def _subject_value(self, name: str) -> list[RowKey]:
        return _keys("subjects", self._rows("staging.stg_subject_values", field=name))

    def _text_of(self, name: str) -> str:
        row = self._row("staging.stg_subject_values", field=name)
        return row.field_value or f"{row.lowest_value} and {row.highest_value}, a conflict"

    # --- responses -------------------------------------------------------------------------------------------------

    def best_response(self) -> Fact:
        best = self._row("marts.fct_best_response", evaluator=self.evaluator)
        if best is None:
            return Fact("best overall response: none, the subject was not treated")
        decided = [best.confirmed_best_overall_response_on, best.best_overall_response_on]
        facts = [self._assessment(self._response_on(on)) for on in dict.fromkeys(decided) if on]
        if best.confirmed_response_on:
            facts = self._response_from(best.confirmed_response_on, is_confirmed=True)
            if best.best_overall_response_on != best.confirmed_response_on:
                facts.append(self._assessment(self._response_on(best.best_overall_response_on)))
        change = "" if best.best_pct_change is None else f", best change of the sum {_rounded(best.best_pct_change)} %"
        return Fact(
            f"best overall response {_with_date(best.best_overall_response, best.best_overall_response_on)}, confirmed"
            f" {_with_date(best.confirmed_best_overall_response, best.confirmed_best_overall_response_on)}{change}",
            {name: value for name, value in vars(best).items() if name not in {"subject_id", "evaluator"}},
            because=facts,
        )

    def assessments(self) -> list[Fact]:
        """Every accepted read after the start, one line each."""
        reads = self._rows("intermediate.int_accepted_reads", evaluator=self.evaluator, is_accepted=True)
        return [
            self._assessment(read, is_brief=True)
            for read in sorted(reads, key=lambda read: (read.assessed_on, read.visit_no))
        ]

    @cached_property
    def _best_response(self) -> SimpleNamespace:
        return self._row("intermediate.int_best_response", evaluator=self.evaluator)

    @cached_property
    def _evaluator_row(self) -> SimpleNamespace:
        return self._row("intermediate.int_subject_evaluators", evaluator=self.evaluator)

    @cached_property
    def _planned_imaging(self) -> list[SimpleNamespace]:
        cursor = self._connection.execute(
            "select planned_no, days_from_start, missed_after_days from intermediate.int_planned_imaging"
        )
        return [SimpleNamespace(planned_no=a, days_from_start=b, missed_after_days=c) for a, b, c in cursor.fetchall()]

    def _response_on(self, on: dt.date | None) -> SimpleNamespace | None:
        """The read whose response counts on a day."""
        response = self._row("intermediate.int_overall_response", evaluator=self.evaluator, assessed_on=on)
        return response and self._read("intermediate.int_accepted_reads", response)

    def _response_from(self, on: dt.date, *, is_confirmed: bool) -> list[Fact]:
        first = self._assessment(
            self._response_on(on), "first confirmed response" if is_confirmed else "first response"
        )
        confirmation = self._row(
            "intermediate.int_confirmation", evaluator=self.evaluator, assessed_on=on, is_confirmed=True
        )
        if not is_confirmed or confirmation.confirmed_by_on is None:
            return [first]
        return [first, self._assessment(self._response_on(confirmation.confirmed_by_on), "confirmed by")]

    def _assessment(self, read: SimpleNamespace, label: str = "", *, is_brief: bool = False) -> Fact:
        names = (
            "assessed_on",
            "visit_name",
            "reader",
            "is_derived",
            "overall_response",
            "derived_response",
            "reported_response",
        )
        names += ("measured_sum_mm", "sum_mm", "baseline_sum_mm", "nadir_mm", "targets")
        values = {name: getattr(read, name) for name in names}
        who = f", reader {read.reader}" if read.reader else ""
        where = f"{read.assessed_on}{' ' + read.visit_name if read.visit_name else ''}{who}"
        if read.is_baseline:
            says = f"{where}: baseline, sum of targets {_mm(read.baseline_sum_mm)}"
            return Fact(says, values, because=[] if is_brief else self._lesions(read))
        basis = "derived from the lesions" if read.is_derived else "as reported"
        says = f"{label + ': ' if label else ''}{where}: {read.overall_response} {basis}"
        if read.is_derived and read.reported_response:
            says += f", reported {read.reported_response}"
        if is_brief:
            parts = [f"sum {_mm(read.measured_sum_mm)}" if read.targets else ""]
            for name in ("target_response", "non_target_response", "new_lesion"):
                value = getattr(read, f"{'derived' if read.is_derived else 'reported'}_{name}")
                parts.append(f"{name.replace('_response', '').replace('_', '-')} {value}" if value else "")
            return Fact("; ".join([says, *filter(None, parts)]), values)
        because = [self._target(read), self._non_target(read), self._new_lesion(read)] if read.is_derived else []
        if read.overall_response != read.chosen_response:
            because.insert(
                0,
                Fact(
                    f"{read.chosen_response} became PD: disease after a complete response (response.disease_after_cr)"
                ),
            )
        if read.is_date_imputed:
            because.append(Fact("its date was completed from a partial one"))
        because += [
            Fact(f"reported {row.test} {row.response}", rows=_keys("tumor_responses", [row]))
            for row in self._reported(read)
        ]
        because += [
            Fact(
                f"disagreement on the {row.subject_matter}: derived {row.derived}, reported {row.reported} ({row.reason})"
            )
            for row in self._rows(
                "intermediate.int_response_disagreements", evaluator=read.evaluator, reader=read.reader
            )
            if row.visit_no == read.visit_no
        ]
        return Fact(says, values, because=because)

    def _reported(self, read: SimpleNamespace) -> list[SimpleNamespace]:
        """Rows of the reported response; what they say of new lesions stands with the new lesions of a derived one."""
        rows = self._at_visit("tumor_responses", read)
        return [row for row in rows if not (read.is_derived and row.test == "NEWLPROG")]

    def _target(self, read: SimpleNamespace) -> Fact:
        if not read.targets:
            return Fact("target: none at baseline")
        sums = self._read("intermediate.int_target_sums", read)
        nadir = self._sum_read(read, sums.nadir_mm)
        baseline = self._row(
            "intermediate.int_accepted_reads", evaluator=read.evaluator, reader=read.reader, is_baseline=True
        )
        response, measured = read.derived_target_response, f"sum {_mm(sums.measured_sum_mm)}"
        missing = sums.targets - sums.assessed_targets
        rules = self._study.response
        to_nadir = (
            nadir
            and f"{_apart(sums.measured_sum_mm, sums.nadir_mm)} the nadir {_mm(sums.nadir_mm)} of {nadir.assessed_on}"
        )
        to_baseline = sums.baseline_sum_mm is not None and (
            f"{_apart(sums.measured_sum_mm, sums.baseline_sum_mm)} the baseline {_mm(sums.baseline_sum_mm)} of {read.baseline_on}"
        )
        compared: list[SimpleNamespace] = []
        if response == "CR":
            words = f"all {sums.targets} gone (nodes below {rules.node_normal_mm} mm), {measured}"
        elif response == "PD":
            words = f"{measured} is {to_nadir}; PD is at least {rules.progression_pct} % and {rules.progression_mm} mm"
            words += f"; {missing} of {sums.targets} not assessed, the rest suffices" if missing else ""
            compared = [nadir]
        elif response == "NE" and missing:
            words = f"{missing} of {sums.targets} not assessed" + (
                f", the others add up to {_mm(sums.measured_sum_mm)}" if sums.assessed_targets else ""
            )
        elif response == "NE":
            words = f"{measured}, and the baseline has no complete sum"
        elif response == "PR":
            words = f"{measured} is {to_baseline}; PR is a fall of at least {rules.partial_response_pct} %"
            words += "; once reached it stays until progression" if rules.carry_partial_response else ""
            compared = [baseline]
        else:
            words = f"{measured} is {to_baseline}, {to_nadir}: neither PR nor PD"
            compared = [baseline, nadir]
        values = {name: getattr(sums, name) for name in ("targets", "assessed_targets", "gone_targets")}
        values |= {"target_response": response, "sum_mm": sums.measured_sum_mm, "baseline_sum_mm": sums.baseline_sum_mm}
        values |= {"baseline_on": read.baseline_on, "nadir_mm": sums.nadir_mm, "nadir_on": nadir and nadir.assessed_on}
        earlier = {other.visit_no: other for other in compared}.values()
        return Fact(
            f"target {response}: {words}",
            values,
            because=[
                *self._lesions(read, "TARGET"),
                *(self._compared_sum(other, "nadir" if other is nadir else "baseline") for other in earlier),
            ],
        )

    def _compared_sum(self, read: SimpleNamespace, name: str) -> Fact:
        return Fact(
            f"{name} {read.assessed_on} {read.visit_name}: sum {_mm(read.sum_mm)}",
            {"assessed_on": read.assessed_on, "sum_mm": read.sum_mm},
            because=self._lesions(read, "TARGET"),
        )

    def _sum_read(self, read: SimpleNamespace, sum_mm: Decimal | None) -> SimpleNamespace | None:
        """The first earlier read with this complete sum."""
        sums = self._rows("intermediate.int_target_sums", evaluator=read.evaluator, reader=read.reader, sum_mm=sum_mm)
        earlier = [row for row in sums if sum_mm is not None and row.days_from_reference < read.days_from_reference]
        found = min(earlier, key=lambda row: row.days_from_reference, default=None)
        return found and self._read("intermediate.int_accepted_reads", found)

    def _non_target(self, read: SimpleNamespace) -> Fact:
        state = self._read("intermediate.int_non_target_response", read)
        response = read.derived_non_target_response
        if state is None or not state.non_targets:
            return Fact("non-target NA: none at baseline", {"non_target_response": response})
        words = {
            "PD": f"unequivocal progression on {state.progression_on}",
            "NE": f"{state.non_targets - state.assessed_non_targets} of {state.non_targets} not assessed, none seen to progress",
            "CR": f"all {state.non_targets} gone",
        }.get(response, f"{state.non_targets} assessed, not all gone, none seen to progress")
        values = {"non_target_response": response, "non_targets": state.non_targets}
        return Fact(f"non-target {response}: {words}", values, because=self._lesions(read, "NON-TARGET"))

    def _new_lesion(self, read: SimpleNamespace) -> Fact:
        statement = self._read("intermediate.int_new_lesion_statements", read)
        mentions = self._new_lesion_rows(read)
        named = sorted({row.lesion_id for _, row in mentions if row.lesion_id})
        says = f"new lesion {read.derived_new_lesion}" + (f": {', '.join(named)}" if named else "")
        because = []
        if statement and statement.dated_back_lesion_id:
            says += f"; {statement.dated_back_lesion_id} was uncertain here and certain later, so it is dated back"
            because = self._later_mentions(read, statement.dated_back_lesion_id)
        elif read.derived_new_lesion == "YES" and not (statement and statement.status == "YES"):
            says += "; there was one at an earlier assessment"
        elif not mentions:
            says += ": none is stated"
        rows = [key for record, row in mentions for key in _keys(record, [row])]
        return Fact(says, {"new_lesion": read.derived_new_lesion, "lesions": named}, rows, because)

    def _new_lesion_rows(self, read: SimpleNamespace) -> list[tuple[str, SimpleNamespace]]:
        """Record and row of everything that speaks of new lesions at an assessment."""
        mentions = self._rows("intermediate.int_new_lesion_mentions", evaluator=read.evaluator, reader=read.reader)
        measured = {row.lesion_id for row in mentions if (row.visit_no, row.source) == (read.visit_no, "measurement")}
        rows = {
            "tumor_responses": lambda row: row.test == "NEWLPROG",
            "tumor_identifications": lambda row: row.role == "NEW",
            "tumor_measurements": lambda row: row.lesion_id in measured,
        }
        return [
            (record, row) for record, is_meant in rows.items() for row in self._at_visit(record, read) if is_meant(row)
        ]

    def _later_mentions(self, read: SimpleNamespace, lesion_id: str) -> list[Fact]:
        reads = self._rows("intermediate.int_accepted_reads", evaluator=read.evaluator, reader=read.reader)
        later = sorted(
            (other for other in reads if other.measured_on > read.measured_on), key=lambda other: other.measured_on
        )
        facts = []
        for other in later:
            rows = [
                key
                for record, row in self._new_lesion_rows(other)
                if row.lesion_id == lesion_id
                for key in _keys(record, [row])
            ]
            if rows:
                facts.append(Fact(f"{lesion_id} at {other.measured_on} {other.visit_name}", rows=rows))
        return facts

    # --- lesions ---------------------------------------------------------------------------------------------------

    def _lesions(self, read: SimpleNamespace, role: str | None = None) -> list[Fact]:
        """The lesions expected at an assessment, each with what was made of it and its rows."""
        lesions = self._rows("intermediate.int_baseline_lesions", evaluator=read.evaluator, reader=read.reader)
        chosen = [lesion for lesion in lesions if role in {None, lesion.role}]
        return [
            self._lesion(read, lesion)
            for lesion in sorted(chosen, key=lambda row: (row.role != "TARGET", row.lesion_id))
        ]

    def _lesion(self, read: SimpleNamespace, lesion: SimpleNamespace) -> Fact:
        seen_at = self._baseline_read_of(read, lesion) if read.is_baseline else read
        value = self._read("intermediate.int_lesion_values", seen_at, lesion_id=lesion.lesion_id)
        readings = [
            row
            for row in self._rows("intermediate.int_lesion_readings", evaluator=read.evaluator, reader=read.reader)
            if (row.visit_no, row.lesion_id) == (seen_at.visit_no, lesion.lesion_id)
        ]
        diameters = {row.measured_id: row.diameter_mm for row in readings}
        rows = [
            row
            for row in self._at_visit("tumor_measurements", seen_at)
            if row.lesion_id in diameters and row.test != "SUMDIAM"
        ]
        used = [row for row in rows if row.diameter_mm is not None and row.diameter_mm == diameters[row.lesion_id]]
        is_assessed = value is not None and value.is_assessed
        if not is_assessed:
            words = "not assessed"
        elif not any(row.is_counted for row in readings):
            words = f"merged into {readings[0].measured_id}, counted there"
        elif value.diameter_mm is not None:
            how = {row.test for row in used} or {row.state_code for row in rows if row.state_code}
            words = f"{_mm(value.diameter_mm)} ({', '.join(sorted(how))})"
            if len(readings) > 1:
                words += " = " + " + ".join(
                    f"{row.measured_id} {_mm(row.diameter_mm)}" for row in readings if row.is_counted
                )
        else:
            words = ", ".join(sorted({row.state_code for row in rows if row.state_code}))
        if seen_at is not read:
            words += f" on {seen_at.measured_on}, the last value up to the baseline"
        node = ", node" if lesion.is_nodal else ""
        return Fact(
            f"{lesion.lesion_id} ({lesion.role.lower()}{node}, {lesion.location or 'location unknown'}): {words}",
            {
                "lesion_id": lesion.lesion_id,
                "role": lesion.role,
                "is_assessed": is_assessed,
                "diameter_mm": value and value.diameter_mm,
                "seen_on": value and value.seen_on,
            },
            _keys("tumor_measurements", sorted(rows, key=lambda row: row not in used)),
        )

    def _baseline_read_of(self, baseline: SimpleNamespace, lesion: SimpleNamespace) -> SimpleNamespace:
        """The last read up to the baseline that assessed the lesion; the baseline where none did."""
        reads = self._rows("intermediate.int_accepted_reads", evaluator=baseline.evaluator, reader=baseline.reader)
        for read in sorted(reads, key=lambda row: (row.measured_on, row.visit_no), reverse=True):
            value = self._read("intermediate.int_lesion_values", read, lesion_id=lesion.lesion_id)
            if not read.is_post_baseline and value is not None and value.is_assessed:
                return read
        return baseline

    # --- serum HER2 ------------------------------------------------------------------------------------------------

    def serum_her2(self) -> Fact:
        """Every sample with its change from baseline and its raw rows."""
        samples = sorted(
            self._rows("marts.fct_her2_delta"), key=lambda row: (row.collected_on, str(row.collected_at), row.sample_id)
        )
        baseline = next((row for row in samples if row.is_baseline), None)
        said = (
            f"baseline {_rounded(baseline.baseline_ng_ml)} ng/mL of {baseline.collected_on}"
            if baseline
            else "no baseline"
        )
        return Fact(
            f"serum HER2: {said}, {_count(len(samples), 'sample')}, {sum(row.is_usable for row in samples)} usable",
            {"baseline_ng_ml": baseline and baseline.baseline_ng_ml, "baseline_on": baseline and baseline.collected_on},
            because=[self._sample(row) for row in samples],
        )

    def _sample(self, row: SimpleNamespace) -> Fact:
        value = (
            "no value" if row.value_ng_ml is None else f"{row.value_operator or ''}{_rounded(row.value_ng_ml)} ng/mL"
        )
        if row.unusable_reason:
            words = f"not used: {row.unusable_reason}"
        elif row.is_baseline:
            words = "baseline"
        else:
            words = f"change {_signed(row.change_ng_ml)} ng/mL, {_signed(row.pct_change)} % of baseline ({row.change_category})"
        names = (
            "sample_id",
            "laboratory",
            "collected_at",
            "collected_on",
            "study_day",
            "visit_name",
            "value_ng_ml",
            "value_operator",
        )
        names += ("is_baseline", "baseline_ng_ml", "change_ng_ml", "pct_change", "log2_ratio", "change_category")
        names += ("is_usable", "unusable_reason")
        rows = self._staged("lab_results", sample_id=row.sample_id, laboratory=row.laboratory, analyte="serum_her2")
        visit = f" {row.visit_name}" if row.visit_name else ""
        return Fact(
            f"{row.collected_on}{visit}, sample {row.sample_id}: {value}, {words}",
            {name: getattr(row, name) for name in names},
            _keys("lab_results", rows),
        )


def _known_subject(connection: DuckDBPyConnection, subject_id: str) -> str:
    known = [row[0] for row in connection.execute("select subject_id from marts.dim_subject order by all").fetchall()]
    if subject_id in known:
        return subject_id
    waiting = connection.execute(
        "select distinct record from intermediate.int_subject_dates where subject_id = ? order by all", [subject_id]
    ).fetchall()
    if waiting:
        records = ", ".join(row[0] for row in waiting)
        raise UserError(f"trace: {subject_id} is known from {records} only; its rows wait for a row of subjects.")
    near = difflib.get_close_matches(subject_id, known, n=3, cutoff=0) or ["none"]
    raise UserError(
        f"trace: no subject {subject_id!r} among the {len(known)} published; the nearest: {', '.join(near)}."
    )


def _keys(record: str, rows: list[SimpleNamespace]) -> list[RowKey]:
    return [RowKey(record, row._file_id, row._row_number) for row in rows]


def _with_date(response: str, on: dt.date | None) -> str:
    return f"{response} on {on}" if on else response


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _mm(value: Decimal | None) -> str:
    """Every digit that was measured, at least one decimal."""
    if value is None:
        return "unknown"
    text = f"{value:f}".rstrip("0")
    return f"{text}0 mm" if text.endswith(".") else f"{text} mm"


def _rounded(value: Decimal) -> str:
    return str(value.quantize(Decimal("0.1"), ROUND_HALF_UP))


def _signed(value: Decimal) -> str:
    return f"{'+' if value > 0 else ''}{_rounded(value)}"


def _apart(sum_mm: Decimal, reference_mm: Decimal) -> str:
    """How far a sum lies from another, for reading; the rule itself was applied by dbt, on exact numbers."""
    difference = sum_mm - reference_mm
    if not difference:
        return "equal to"
    share = f"{_rounded(100 * abs(difference) / reference_mm)} % and " if reference_mm else ""
    return f"{share}{_mm(abs(difference))} {'above' if difference > 0 else 'below'}"


def _plain(value):
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, dt.date) else value
