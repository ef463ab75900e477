"""Dates of a subject that endpoints start and end with, each with the rows that say so."""

from functools import cached_property
from types import SimpleNamespace

from orchestration.study import Study
from orchestration.tracing.facts import Fact, SubjectTables, keys


class Timeline:
    def __init__(self, tables: SubjectTables, study: Study):
        self._tables = tables
        self._study = study

    @cached_property
    def row(self) -> SimpleNamespace:
        """The subject's row of int_subject_timeline."""
        return self._tables.row("intermediate.int_subject_timeline")

    def start(self) -> Fact:
        timeline = self.row
        values = {"start_on": timeline.start_on}
        if self._study.endpoints.start == "enrolment" and timeline.start_on == timeline.enrolled_on:
            rows = keys("subjects", self._tables.staged("subjects", field="enrolled_on"))
            rows = rows or keys("dispositions", self._tables.staged("dispositions", occurred_on=timeline.start_on))
            return Fact(f"start {timeline.start_on}: enrolment", values, rows)
        doses = self._tables.rows("intermediate.int_doses", dosed_on=timeline.first_dose_on)
        drugs = sorted({dose.treatment for dose in doses})
        how = ""
        if timeline.is_first_dose_imputed:
            values |= {"is_imputed": True}
            how = f", completed from {timeline.first_dose_text}"
        moved = next((dose.moved_because for dose in doses if dose.moved_because), None)
        how += f", {moved}" if moved else ""
        told = f"start {timeline.start_on}: first dose of {', '.join(drugs)}{how}"
        return Fact(told, values, keys("exposures", doses), self._stated_on(timeline.first_dose_on) if moved else [])

    def _stated_on(self, day) -> list[Fact]:
        """What other records say of the day to which an imputed first dose was moved."""
        stated = [
            Fact(f"{seen.record}.{seen.field} {day}", rows=keys(seen.record, self._rows_of(seen)))
            for seen in self._tables.rows("intermediate.int_subject_dates", on_date=day)
            if seen.record in {"subjects", "visits", "lab_results", "tumor_identifications", "dispositions"}
        ]
        return [fact for fact in stated if fact.rows]

    def why_untreated(self) -> list[Fact]:
        """What was given and does not count as a dose of study drug, and what became of the subject."""
        drugs = ", ".join(self._study.study.drugs) or "any drug"
        exposures = self._tables.staged("exposures")
        facts = [
            Fact(
                f"{row.treatment}, dose {'not told' if row.dose is None else f'{row.dose.normalize():f}'}, from"
                f" {row.start_on or 'an unknown day'}: not a dose above 0 of {drugs} up to the data cut-off",
                rows=keys("exposures", [row]),
            )
            for row in exposures
        ] or [Fact(f"no exposure is recorded, neither to {drugs} nor to anything else")]
        return facts + [
            Fact(f"disposition: {row.term} on {row.occurred_on}", rows=keys("dispositions", [row]))
            for row in self._tables.staged("dispositions")
        ]

    def death(self, label: str = "") -> Fact:
        chosen = self._tables.row("intermediate.int_deaths")
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
        how += ", moved to the last day known alive" if chosen.death_on != self.row.death_on else ""
        return Fact(
            f"{label}death on {self.row.death_on}{how}",
            {"death_on": self.row.death_on, "is_imputed": chosen.is_imputed},
            because=[Fact(told, rows=keys(record, [row])) for record, row, told in reports],
        )

    def last_alive(self, label: str = "") -> Fact:
        on = self.row.last_alive_on
        if on is None:
            return Fact(f"{label}the subject is known alive at no date", {"last_alive_on": None})
        facts = []
        for seen in self._tables.rows("intermediate.int_subject_dates", on_date=on, is_known_alive=True):
            rows = self._rows_of(seen)
            rows = [row for row in rows if not getattr(row, "is_death", False) and getattr(row, "status", "") != "DEAD"]
            facts.append(Fact(f"{seen.record}.{seen.field}, rows {len(rows)}", rows=keys(seen.record, rows)))
        return Fact(f"{label}last known alive on {on}", {"last_alive_on": on}, because=facts)

    def _rows_of(self, seen: SimpleNamespace) -> list[SimpleNamespace]:
        """Rows behind a row of int_subject_dates, those whose partial date means the full day of its visit included."""
        if seen.record == "subjects":
            return self._tables.staged("subjects", field=seen.field)
        if seen.record == "exposures":  # where a partial start was completed
            rows = self._tables.rows("intermediate.int_exposures")
        else:
            rows = self._tables.staged(seen.record)
        if not seen.record.startswith("tumor_"):
            return [row for row in rows if getattr(row, seen.field) == seen.on_date]
        completed = {
            (row.evaluator, row.reader, row.visit_name, row.on_text): row.full_on
            for row in self._tables.rows("intermediate.int_completed_dates")
        }

        def day(row: SimpleNamespace):
            key = (row.evaluator, row.reader, row.visit_name or "", getattr(row, f"{seen.field}_text") or "")
            return completed.get(key) or getattr(row, seen.field)

        return [row for row in rows if day(row) == seen.on_date]

    def new_therapy(self) -> Fact:
        chosen = self._tables.row("intermediate.int_new_therapies")
        (row,) = self._tables.staged("therapies", _file_id=chosen._file_id, _row_number=chosen._row_number)
        how = ", completed from a partial date" if row.is_started_on_imputed else ""
        return Fact(
            f"new anticancer therapy {row.treatment} ({row.category}) from {row.started_on}{how}",
            {"new_therapy_on": row.started_on, "treatment": row.treatment, "category": row.category},
            keys("therapies", [row]),
        )

    def departures(self) -> list[Fact]:
        """The first end of treatment or study, and leaving the study where that is another disposition."""
        facts = []
        on, reason = self.row.discontinued_on, self.row.discontinuation_reason
        if on:
            rows = keys("dispositions", self._tables.staged("dispositions", occurred_on=on, term=reason))
            values = {"discontinued_on": on, "discontinuation_reason": reason}
            facts.append(Fact(f"treatment or study ended on {on}: {reason}", values, rows))
        left = self._tables.row("intermediate.int_study_exits")
        if left and (left.exited_on, left.exit_term) != (on, reason):
            rows = self._tables.staged("dispositions", occurred_on=left.exited_on, term=left.exit_term)
            values = {"exited_on": left.exited_on, "exit_reason": left.exit_reason}
            told = f"left the study on {left.exited_on}: {left.exit_term}"
            facts.append(Fact(told, values, keys("dispositions", rows)))
        return facts

    def data_cutoff(self) -> Fact:
        (cutoff,) = self._tables.query("select cutoff_on, is_declared from intermediate.int_data_cutoff")
        how = "declared in study.yaml" if cutoff.is_declared else "the last date in the data"
        return Fact(f"data cut-off {cutoff.cutoff_on}, {how}", {"data_cutoff_on": cutoff.cutoff_on})
