"""One patient at a glance: what is known of each, gathered for a panel. The drawing stands in figures/panel.py."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.report import wording as say
from orchestration.report.figures.figure import week
from orchestration.report.published import Published, Row
from orchestration.study import Study

COLUMNS = ("subject_id", "kind", "study_day", "name", "value", "unit", "remark")


@dataclass(frozen=True)
class Patient:
    """Rows of one subject; the weeks of events count from the first dose."""

    subject: Row
    is_member: bool
    best: Row | None
    pfs: Row | None
    os: Row | None
    reads: list[Row]  # accepted assessments with a study day, the baseline first
    samples: list[Row]  # serum HER2 with a study day and a value
    dose_weeks: list[float]
    progression_week: float | None
    new_therapy_week: float | None
    death_week: float | None

    @property
    def name(self) -> str:
        return self.subject.subject_id

    @property
    def deepest(self) -> Row | None:
        """The sample with the deepest fall (or smallest rise) of serum HER2."""
        changes = [row for row in self.samples if row.is_analysed and row.pct_change is not None and row.study_day > 1]
        return min(changes, key=lambda row: row.pct_change, default=None)

    @property
    def summary(self) -> str:
        """What the closed panel says."""
        best = self.best.confirmed_best_overall_response if self.best else "MISSING"
        parts = ["no assessment" if best == "MISSING" else best]
        if self.pfs:
            parts.append(f"PFS {say.fixed(self.pfs.duration_months)}{'' if self.pfs.is_event else '+'} months")
        if self.deepest:
            parts.append(f"sHER2 {say.change(self.deepest.pct_change)}")
        return ", ".join(parts)

    @property
    def facts(self) -> list[tuple[str, str]]:
        subject, best = self.subject, self.best
        who = [
            f"{subject.age_years} years" if subject.age_years is not None else "",
            {"F": "female", "M": "male"}.get(subject.sex or "", subject.sex or ""),
            f"site {subject.site_id}" if subject.site_id else "",
        ]
        tumour = [
            f"{subject.her2_status or 'HER2 unknown'}{f' (IHC {subject.ihc_score})' if subject.ihc_score else ''}",
            f"hormone receptor {subject.hormone_receptor_status.lower()}" if subject.hormone_receptor_status else "",
        ]
        response = say.response(best.confirmed_best_overall_response) if best else "no assessment"
        if best and best.best_pct_change is not None:
            response += f"; sum of diameters {say.change(best.best_pct_change)} at best"
        found = [
            ("Patient", ", ".join(text for text in who if text) or "nothing recorded"),
            ("Tumour", ", ".join(text for text in tumour if text)),
            ("Best response, confirmed", response),
            ("PFS", _time(self.pfs)),
            ("OS", _time(self.os)),
        ]
        if self.deepest:
            found.append(
                ("sHER2 at its deepest", f"{say.change(self.deepest.pct_change)} on day {self.deepest.study_day}")
            )
        return [*found, *(() if self.is_member else (("Analysis", "not in the analysis population"),))]


def patients(published: Published, study: Study) -> Iterator[Patient]:
    """Every subject with a first dose, in order of the identifier."""
    reads, samples = _by_subject(published.responses), _by_subject(published.her2)
    best = {row.subject_id: row for row in published.best_responses}
    times = {(row.subject_id, row.endpoint): row for row in published.times if row.endpoint in ("PFS", "OS")}
    doses = {row.subject_id: row.days for row in published.doses}
    members = published.members(study.analysis.population)
    for subject in published.subjects:
        first = subject.first_dose_on
        if first is None:
            continue
        name = subject.subject_id
        own = [row for row in reads[name] if row.study_day is not None]
        yield Patient(
            subject,
            name in members,
            best.get(name),
            times.get((name, "PFS")),
            times.get((name, "OS")),
            own,
            [row for row in samples[name] if row.study_day is not None and row.shown_ng_ml is not None],
            [day / 7 for day in doses.get(name, ())],
            next((week(row.study_day) for row in own if row.overall_response == "PD"), None),
            (subject.new_therapy_on - first).days / 7 if subject.new_therapy_on else None,
            (subject.death_on - first).days / 7 if subject.death_on else None,
        )


def rows(patient: Patient) -> Iterator[tuple]:
    """The data behind a panel, a row a value."""
    name = patient.name
    for read in patient.reads:
        day, visit = read.study_day, read.visit_name
        for lesion, diameter in zip(read.lesion_ids or (), read.diameters_mm or (), strict=True):
            yield name, "target lesion", day, lesion, diameter, "mm", visit
        if read.sum_of_diameters_mm is not None:
            complete = visit if read.is_sum_complete else "incomplete"
            yield name, "sum of diameters", day, visit, read.sum_of_diameters_mm, "mm", complete
        if read.nadir_sum_mm is not None:
            yield name, "nadir before", day, visit, read.nadir_sum_mm, "mm", None
        if read.overall_response:
            yield name, "response", day, visit, read.overall_response, None, f"new lesion: {read.new_lesion or 'NO'}"
    for row in patient.samples:
        remark = row.unusable_reason or ("baseline" if row.is_baseline else None)
        yield name, "serum HER2", row.study_day, row.sample_id, row.shown_ng_ml, "ng/mL", remark
    for at in patient.dose_weeks:
        yield name, "dose", round(at * 7) + 1, None, None, None, None
    for kind, at in (("new therapy", patient.new_therapy_week), ("death", patient.death_week)):
        if at is not None:
            yield name, kind, round(at * 7) + 1, None, None, None, None


def _time(row: Row | None) -> str:
    if row is None:
        return "no time"
    why = row.event_description if row.is_event else f"censored: {row.censoring_reason}"
    return f"{say.fixed(row.duration_months)} months, {why}"


def _by_subject(rows: list[Row]) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row.subject_id].append(row)
    return found
