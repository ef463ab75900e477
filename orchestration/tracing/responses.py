"""Assessments of a subject: the response of each, the sums, nadir, lesions and new lesions it was made of."""

import datetime as dt
from decimal import Decimal
from types import SimpleNamespace

from orchestration.study import Study
from orchestration.tracing.facts import Fact, SubjectTables, apart, keys, mm, picked


class Responses:
    """Responses by one evaluator. A *read* is a row of int_accepted_reads: one reader's assessment at a visit."""

    def __init__(self, tables: SubjectTables, study: Study, evaluator: str):
        self._tables = tables
        self._rules = study.response
        self._evaluator = evaluator

    def all_briefly(self) -> list[Fact]:
        """The baseline and every accepted read after it, a line each."""
        reads = self._tables.rows("intermediate.int_accepted_reads", evaluator=self._evaluator, is_accepted=True)
        reads = [read for read in reads if read.is_baseline or read.is_post_baseline]
        return [self._brief(read) for read in sorted(reads, key=lambda read: (read.assessed_on, read.visit_no))]

    def on(self, day: dt.date, label: str, *, is_brief: bool = False) -> Fact:
        """The response that counts on a day of assessment."""
        response = self._tables.row("intermediate.int_overall_response", evaluator=self._evaluator, assessed_on=day)
        read = self._at("intermediate.int_accepted_reads", response)
        return self._brief(read, label) if is_brief else self._full(read, label)

    def response_from(self, day: dt.date | None, *, is_confirmed: bool) -> list[Fact]:
        """A response and, of a confirmed one, the assessment that confirms it."""
        if day is None:
            return []
        if not is_confirmed:
            return [self.on(day, "first response")]
        confirmation = self._tables.row("intermediate.int_confirmation", evaluator=self._evaluator, assessed_on=day)
        facts = [self.on(day, "first confirmed response")]
        return facts + ([self.on(confirmation.confirmed_by_on, "confirmed by")] if confirmation.confirmed_by_on else [])

    def considered(self, *, is_confirmed: bool) -> list[Fact]:
        """The assessments that the best response is the best of, a line each: what each counts as, and why."""
        classes = self._tables.rows("intermediate.int_best_response_classes", evaluator=self._evaluator)
        facts = []
        for row in sorted(classes, key=lambda row: row.response_no):
            fact = self.on(row.assessed_on, "", is_brief=True)
            counted = row.confirmed_class if is_confirmed else row.unconfirmed_class
            fact.says += f"; {row.days_from_reference} days after the first dose"
            if is_confirmed and row.overall_response in ("CR", "PR"):
                fact.says += f", {self._confirmation_words(row)}"
            if counted != row.overall_response:
                fact.says += f", counts as {counted}"
            fact.values["counts_as"] = counted
            facts.append(fact)
        return facts

    def _confirmation_words(self, row: SimpleNamespace) -> str:
        confirmation = self._tables.row(
            "intermediate.int_confirmation", evaluator=self._evaluator, response_no=row.response_no
        )
        by_on = confirmation.confirmed_by_on
        if confirmation.is_confirmed:
            return f"confirmed on {by_on}" if by_on else "no confirmation is asked for"
        return f"not confirmed on {by_on} for what lies between" if by_on else "not confirmed by any later one"

    # --- looking up ------------------------------------------------------------------------------------------------

    def _at(self, table: str, read: SimpleNamespace, **where) -> SimpleNamespace | None:
        """The row of a table for the assessment of a read."""
        return self._tables.row(table, **_reader(read), visit_no=read.visit_no, **where)

    def _staged_at(self, record: str, read: SimpleNamespace) -> list[SimpleNamespace]:
        """Staging rows of a tumour record that belong to the assessment of a read, in the order of their files."""
        visits = self._tables.rows("intermediate.int_assessment_visits", **_reader(read), visit_no=read.visit_no)
        here = {(row.visit_name, row.on_text) for row in visits}
        on_text = "identified_on_text" if record == "tumor_identifications" else "assessed_on_text"
        rows = [
            row
            for row in self._tables.staged(record, **_reader(read))
            if (row.visit_name or "", getattr(row, on_text) or "") in here
        ]
        return sorted(rows, key=lambda row: (row._file_id, row._row_number))

    # --- assessments -----------------------------------------------------------------------------------------------

    def _brief(self, read: SimpleNamespace, label: str = "") -> Fact:
        values = picked(
            read,
            "assessed_on visit_name reader is_derived overall_response derived_response reported_response"
            " sum_mm measured_sum_mm baseline_sum_mm nadir_mm targets",
        )
        where = " ".join(
            filter(None, (str(read.assessed_on), read.visit_name, read.reader and f"reader {read.reader}"))
        )
        where = f"{label} {where}" if label else where
        if read.is_baseline:
            return Fact(
                f"{where}: baseline, {f'sum {mm(read.baseline_sum_mm)}' if read.targets else 'no targets'}", values
            )
        basis = "derived" if read.is_derived else "reported"
        parts = [f"sum {mm(read.measured_sum_mm)}"] if read.targets and read.measured_sum_mm is not None else []
        for name, words in _COMPONENTS.items():
            value = getattr(read, f"{basis}_{name}")
            parts += [f"{words} {value}"] if value else []
        told = f"{where}: {read.overall_response} {basis}" + (f" ({', '.join(parts)})" if parts else "")
        if read.is_derived and read.reported_response not in {None, read.derived_response}:
            told += f", but reported {read.reported_response}"
        return Fact(told, values)

    def _full(self, read: SimpleNamespace, label: str) -> Fact:
        fact = self._brief(read, label)
        if read.overall_response != read.chosen_response:
            fact.because.append(Fact("disease after a complete response counts as PD: response.disease_after_cr"))
        if read.is_date_imputed:
            fact.because.append(Fact("a partial date was completed"))
        if read.is_derived:
            fact.because += [self._target(read), self._non_target(read), self._new_lesion(read)]
        for row in self._staged_at("tumor_responses", read):
            if not (read.is_derived and row.test == "NEWLPROG"):  # that one stands with the new lesions
                fact.because.append(Fact(f"reported {row.test} {row.response}", rows=keys("tumor_responses", [row])))
        for row in self._tables.rows(
            "intermediate.int_response_disagreements", **_reader(read), visit_no=read.visit_no
        ):
            told = f"{row.subject_matter} derived {row.derived} but reported {row.reported}; reason: {row.reason}"
            fact.because.append(Fact(told, picked(row, "subject_matter derived reported reason")))
        return fact

    # --- what a response is made of --------------------------------------------------------------------------------

    def _target(self, read: SimpleNamespace) -> Fact:
        if not read.targets:
            return Fact("target: none at baseline")
        sums = self._at("intermediate.int_target_sums", read)
        nadir = self._nadir(read, sums.nadir_mm)
        baseline = self._tables.row("intermediate.int_accepted_reads", **_reader(read), is_baseline=True)
        response, nadir_on = read.derived_target_response, nadir and nadir.measured_on
        earlier = [
            other for name, other in (("SD PR", baseline), ("SD PD", nadir)) if other and response in name.split()
        ]
        sums_shown = {other.visit_no: other for other in earlier}.values()
        values = picked(sums, "targets assessed_targets gone_targets baseline_sum_mm nadir_mm")
        values |= {"target_response": response, "sum_mm": sums.measured_sum_mm}
        values |= {"baseline_on": read.baseline_on, "nadir_on": nadir_on}
        return Fact(
            f"target {response}: {self._target_words(response, sums, read.baseline_on, nadir_on)}",
            values,
            because=[*self._lesions(read, "TARGET"), *(self._compared(other, baseline, nadir) for other in sums_shown)],
        )

    def _target_words(
        self, response: str, sums: SimpleNamespace, baseline_on: dt.date | None, nadir_on: dt.date | None
    ) -> str:
        rules, missing = self._rules, sums.targets - sums.assessed_targets
        measured = f"sum {mm(sums.measured_sum_mm)}"

        def against(name: str, reference_mm: Decimal, on: dt.date) -> str:
            return f"{apart(sums.measured_sum_mm, reference_mm)} the {name} {mm(reference_mm)} of {on}"

        if response == "CR":
            return f"all {sums.targets} gone (nodes below {rules.node_normal_mm} mm), {measured}"
        if response == "PD":
            rest = f"; {missing} of {sums.targets} not assessed, the others suffice" if missing else ""
            rule = f"PD from {rules.progression_pct} % and {rules.progression_mm} mm above the nadir"
            return f"{measured} is {against('nadir', sums.nadir_mm, nadir_on)} ({rule}){rest}"
        if response == "NE":
            rest = f"; the others add up to {mm(sums.measured_sum_mm)}" if sums.assessed_targets else ""
            return (
                f"{missing} of {sums.targets} not assessed{rest}"
                if missing
                else f"{measured}, no complete baseline sum"
            )
        to_baseline = against("baseline", sums.baseline_sum_mm, baseline_on)
        if response == "PR":
            rule = f"PR from {rules.partial_response_pct} % below the baseline"
            rule += ", and then until progression" if rules.carry_partial_response else ""
            return f"{measured} is {to_baseline} ({rule})"
        return f"{measured} is {to_baseline} and {against('nadir', sums.nadir_mm, nadir_on)}: neither PR nor PD"

    def _compared(self, read: SimpleNamespace, *references: SimpleNamespace | None) -> Fact:
        """An earlier sum that this one was compared with; ``references``: the reads of baseline and nadir."""
        is_either = [other is not None and other.visit_no == read.visit_no for other in references]
        name = " and ".join(word for word, is_it in zip(("baseline", "nadir"), is_either, strict=True) if is_it)
        where = " ".join(filter(None, (str(read.measured_on), read.visit_name)))
        values = {"measured_on": read.measured_on, "sum_mm": read.sum_mm}
        return Fact(f"{name} {where}: sum {mm(read.sum_mm)}", values, because=self._lesions(read, "TARGET"))

    def _nadir(self, read: SimpleNamespace, nadir_mm: Decimal | None) -> SimpleNamespace | None:
        """The first earlier read whose complete sum is the nadir."""
        sums = self._tables.rows("intermediate.int_target_sums", **_reader(read), sum_mm=nadir_mm)
        earlier = [row for row in sums if row.sum_mm is not None and row.days_from_reference < read.days_from_reference]
        first = min(earlier, key=lambda row: row.days_from_reference, default=None)
        return first and self._at("intermediate.int_accepted_reads", first)

    def _non_target(self, read: SimpleNamespace) -> Fact:
        response = read.derived_non_target_response
        state = self._at("intermediate.int_non_target_response", read)
        if state is None or not state.non_targets:
            return Fact(f"non-target {response}: none at baseline", {"non_target_response": response})
        words = {
            "PD": f"unequivocal progression on {state.progression_on}",
            "NE": f"{state.non_targets - state.assessed_non_targets} of {state.non_targets} not assessed",
            "CR": f"all {state.non_targets} gone",
            "NON-CR/NON-PD": f"{state.gone_non_targets} of {state.non_targets} gone, none progressing",
        }[response]
        values = picked(state, "non_target_response non_targets assessed_non_targets gone_non_targets progression_on")
        return Fact(f"non-target {response}: {words}", values, because=self._lesions(read, "NON-TARGET"))

    def _new_lesion(self, read: SimpleNamespace) -> Fact:
        statement = self._at("intermediate.int_new_lesion_statements", read)
        rows = self._new_lesion_rows(read)
        names = sorted({row.lesion_id for _, row in rows if row.lesion_id})
        told = f"new lesion {read.derived_new_lesion}" + (f": {', '.join(names)}" if names else "")
        because = []
        if statement and statement.dated_back_lesion_id:
            told += f"; {statement.dated_back_lesion_id} is uncertain here and certain later, so it is dated back"
            because = self._later_mentions(read, statement.dated_back_lesion_id)
        elif read.derived_new_lesion == "YES" and not (statement and statement.status == "YES"):
            told += "; found at an earlier assessment"
        elif not rows:
            told += ": none is stated"
        values = {"new_lesion": read.derived_new_lesion, "lesions": names}
        return Fact(told, values, [key for record, row in rows for key in keys(record, [row])], because)

    def _new_lesion_rows(self, read: SimpleNamespace) -> list[tuple[str, SimpleNamespace]]:
        """Record and row of everything at an assessment that speaks of new lesions."""
        mentions = self._tables.rows("intermediate.int_new_lesion_mentions", **_reader(read), visit_no=read.visit_no)
        measured = {row.lesion_id for row in mentions if row.source == "measurement"}
        speaks = {
            "tumor_responses": lambda row: row.test == "NEWLPROG",
            "tumor_identifications": lambda row: row.role == "NEW",
            "tumor_measurements": lambda row: row.lesion_id in measured,
        }
        return [
            (record, row) for record, is_one in speaks.items() for row in self._staged_at(record, read) if is_one(row)
        ]

    def _later_mentions(self, read: SimpleNamespace, lesion_id: str) -> list[Fact]:
        reads = self._tables.rows("intermediate.int_accepted_reads", **_reader(read))
        facts = []
        for later in sorted(reads, key=lambda other: other.measured_on):
            rows = [(record, row) for record, row in self._new_lesion_rows(later) if row.lesion_id == lesion_id]
            if rows and later.measured_on > read.measured_on:
                found = [key for record, row in rows for key in keys(record, [row])]
                facts.append(Fact(f"{lesion_id} at {later.measured_on} {later.visit_name}", rows=found))
        return facts

    # --- lesions ---------------------------------------------------------------------------------------------------

    def _lesions(self, read: SimpleNamespace, role: str) -> list[Fact]:
        """The lesions expected at an assessment, each with what was made of it and its rows."""
        lesions = self._tables.rows("intermediate.int_baseline_lesions", **_reader(read), role=role)
        return [self._lesion(read, lesion) for lesion in sorted(lesions, key=lambda row: row.lesion_id)]

    def _lesion(self, read: SimpleNamespace, lesion: SimpleNamespace) -> Fact:
        seen_at = self._last_up_to_baseline(read, lesion) if read.is_baseline else read
        value = self._at("intermediate.int_lesion_values", seen_at, lesion_id=lesion.lesion_id)
        readings = self._tables.rows(
            "intermediate.int_lesion_readings", **_reader(read), visit_no=seen_at.visit_no, lesion_id=lesion.lesion_id
        )
        diameters = {reading.measured_id: reading.diameter_mm for reading in readings}
        rows = [row for row in self._staged_at("tumor_measurements", seen_at) if row.lesion_id in diameters]
        used = [row for row in rows if row.diameter_mm is not None and row.diameter_mm == diameters[row.lesion_id]]
        states = sorted({row.state_code for row in rows if row.state_code})
        if value is None or not value.is_assessed:
            words = "not assessed"
        elif not any(reading.is_counted for reading in readings):
            words = f"merged into {readings[0].measured_id} and counted there"
        elif value.diameter_mm is not None:
            words = f"{mm(value.diameter_mm)} ({', '.join(sorted({row.test for row in used}) or states)})"
            words += _parts_words(value, readings)
        else:
            words = ", ".join(states)
        if seen_at is not read:
            words += f" on {seen_at.measured_on}, its last value up to the baseline"
        where = f"{lesion.location or 'location unknown'}{', node' if lesion.is_nodal else ''}"
        values = picked(lesion, "lesion_id role location is_nodal")
        values |= {
            "is_assessed": value is not None and value.is_assessed,
            "diameter_mm": value and value.diameter_mm,
            "seen_on": value and value.seen_on,
        }
        first = sorted(rows, key=lambda row: row not in used)
        return Fact(f"{lesion.lesion_id} ({where}): {words}", values, keys("tumor_measurements", first))

    def _last_up_to_baseline(self, baseline: SimpleNamespace, lesion: SimpleNamespace) -> SimpleNamespace:
        """The last read up to the baseline that assessed the lesion; the baseline where none did."""
        reads = self._tables.rows("intermediate.int_accepted_reads", **_reader(baseline), is_post_baseline=False)
        for read in sorted(reads, key=lambda row: (row.measured_on, row.visit_no), reverse=True):
            value = self._at("intermediate.int_lesion_values", read, lesion_id=lesion.lesion_id)
            if value is not None and value.is_assessed:
                return read
        return baseline


_COMPONENTS = {"target_response": "target", "non_target_response": "non-target", "new_lesion": "new lesion"}


def _parts_words(value: SimpleNamespace, readings: list[SimpleNamespace]) -> str:
    """What a lesion that has split is the sum of, or which of whole and parts counts where both were measured."""
    if value.whole_mm is not None and value.parts_mm is not None:
        return f", the larger of the whole, {mm(value.whole_mm)}, and its parts, {mm(value.parts_mm)}"
    if any(not reading.part_id and reading.diameter_mm is not None for reading in readings):
        return ""
    parts = [f"{reading.measured_id} {mm(reading.diameter_mm)}" for reading in readings if reading.is_counted]
    return f" = {' + '.join(parts)}" if len(parts) > 1 else ""


def _reader(read: SimpleNamespace) -> dict:
    return picked(read, "evaluator reader")
