"""What is written down of each patient's course: one frame of numbers a kind of record.

Blood samples and their results, infusions, visits, lesions, responses, dispositions, therapies and contacts belong
here; how a vendor would spell them does not (``exports_sdtm``, ``exports_site``), nor when a file with them would
arrive (``deliveries``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestration.simulate import codes
from orchestration.simulate.model import Patients, Streams, draw_patients, draw_tumour, pick


@dataclass(frozen=True)
class SimulatedStudy:
    """The study as numbers: one frame a kind of record, a row each, with ``known_on``, the day the site entered it."""

    usubjid: np.ndarray  # of text, by subject number
    site: np.ndarray  # of text, by subject number
    frames: dict[str, pd.DataFrame]

    def __getitem__(self, kind: str) -> pd.DataFrame:
        return self.frames[kind]


def _frame(known_on: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    """Rows of one kind. ``superseded_on``: from that day on, exports carry a later version instead."""
    frame = pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})
    frame["known_on"] = np.asarray(known_on, dtype=np.int32)
    frame["superseded_on"] = np.int32(codes.NEVER)
    return frame


def simulate(subjects: int, seed: int, null: bool = False) -> SimulatedStudy:
    """Draw a whole study.

    Args:
        subjects: consented subjects, screen failures included.
        seed: not negative.
        null: serum HER2 follows the tumour of an independent stranger, so it looks the same and tells nothing.
    """
    streams = Streams(seed)
    patients = draw_patients(streams, subjects)
    doses = _doses(streams, patients)
    samples = _samples(streams, patients, doses)
    shedder = draw_tumour(streams, subjects, "stranger") if null else patients.tumour
    site = patients.people.site
    return SimulatedStudy(
        usubjid=np.array([f"S2-{place:03d}-{number:04d}" for number, place in enumerate(site, start=1)], dtype=object),
        site=np.array([f"{place:03d}" for place in site], dtype=object),
        frames={
            "subjects": _subject_rows(streams, patients),
            "doses": doses,
            "labs": _lab_rows(streams, patients, shedder.total_mass_cm3, samples),
            "visits": _visit_rows(streams, patients, samples),
            "lesions": _lesion_rows(streams, patients),
            "measurements": _measurement_rows(streams, patients),
            "responses": _response_rows(streams, patients),
            "dispositions": _disposition_rows(streams, patients),
            "therapies": _therapy_rows(streams, patients),
            "survival": _survival_rows(streams, patients),
        },
    )


def _days(part: np.ndarray, whole: int) -> np.ndarray:
    """A uniform draw as one of ``whole`` days, from 0."""
    return np.floor(whole * part).astype(np.int64)


def _doses(streams: Streams, patients: Patients) -> pd.DataFrame:
    """Infusions every three weeks with delays and reductions (5.4, 4.4, 3.2 mg/kg), at most ``CYCLES``."""
    people, n = patients.people, patients.count
    luck, less, hour, entry = np.moveaxis(streams.uniform("doses", n, codes.CYCLES, 4), 2, 0)
    delay = np.select([luck < 0.05, luck < 0.13], [14, 7], _days(luck, 50) % 3 - 1)
    day = np.concatenate([np.zeros((n, 1), dtype=np.int64), np.cumsum(21 + delay, axis=1)[:, :-1]], axis=1)
    reductions = np.minimum(np.cumsum((less < 0.018) & (np.arange(codes.CYCLES) > 0), axis=1), 2)
    given = (day <= patients.course.end[:, None]) & people.treated[:, None]
    given[:, 0] = people.treated
    subject, cycle = np.nonzero(given)
    on = people.first_dose[subject] + day[given]
    return _frame(
        on + _days(entry[given], 20),
        subject=subject,
        cycle=cycle + 1,
        day=on,
        minute=9 * 60 + 30 + 5 * _days(hour[given], 50),
        dose=np.array([54, 44, 32])[reductions[given]],
    )


def _subject_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """Demographics and HER2 status; a death is a second version of the row, entered later."""
    people, death, n = patients.people, patients.death, patients.count
    columns = {
        "subject": np.arange(n),
        "age": people.age,
        "male": people.male,
        "ihc": people.ihc,
        "ish": people.ish,
        "estrogen": people.estrogen,
        "progesterone": people.progesterone,
        "consent": people.consent,
        "tested": people.consent - streams.days("tested", 5, 60, n),
        "first_dose": np.where(people.treated, people.first_dose, codes.NEVER),
    }
    alive = _frame(people.consent + streams.days("enrolment entry", 5, 35, n), **columns, death=np.full(n, codes.NEVER))
    dead = _frame(death + streams.days("death entry", 5, 40, n), **columns, death=death)
    dead["known_on"] = np.maximum(dead["known_on"], alive["known_on"] + 1)
    dead = dead[death < codes.NEVER]
    alive.loc[death < codes.NEVER, "superseded_on"] = dead["known_on"]
    return pd.concat([alive, dead], ignore_index=True)


def _samples(streams: Streams, patients: Patients, doses: pd.DataFrame) -> pd.DataFrame:
    """Blood draws: before the infusion at the first three cycles, then with every scan from the second on.

    Week 6, the first scan, has a place in the plan but no sample of its own: cycle 3 has just been sampled.
    """
    people, course, n = patients.people, patients.course, patients.count
    plan, second_scan = codes.CYCLE_VISITS + codes.SCANS, codes.CYCLE_VISITS + 1
    hour, shift, late, lost = np.moveaxis(streams.uniform("samples", n, plan, 4), 2, 0)
    day, infused = np.full((n, plan), codes.NEVER), np.zeros((n, plan), dtype=np.int64)
    early = doses[doses["cycle"] <= codes.CYCLE_VISITS]
    day[early["subject"], early["cycle"] - 1] = early["day"]
    infused[early["subject"], early["cycle"] - 1] = early["minute"]

    days_before = np.where((shift[:, 0] < 0.15) & (day[:, 0] < codes.NEVER), 1 + _days(shift[:, 0], 20), 0)
    day[:, 0] -= days_before
    after_infusion = (late < 0.012) & (infused > 0)
    after_infusion[:, 0] &= days_before == 0
    minute = np.where(after_infusion, infused + 45 + _days(hour, 120), 7 * 60 + 30 + _days(hour, 90))

    near_scan = people.first_dose[:, None] + course.scans.day[:, 2:] + _days(shift[:, second_scan:], 4) - 1
    day[:, second_scan:] = np.where(course.assessed.seen[:, 2:], near_scan, codes.NEVER)
    drawn = (day <= (people.first_dose + course.alive)[:, None]) & (lost >= 0.02)
    subject, place = np.nonzero(drawn)
    return pd.DataFrame(
        {"subject": subject, "place": place, "visit": 1 + place, "day": day[drawn], "minute": minute[drawn]}
    )


_NOISE_SD = np.array([0.10, 0.06, 0.07, 0.08, 0.12])  # of the log, by analyte
_NORTHERN_SITES = 6


def _lab_rows(
    streams: Streams, patients: Patients, shedding_mass: Callable[[np.ndarray], np.ndarray], samples: pd.DataFrame
) -> pd.DataFrame:
    """Serum HER2 and the usual panel for every blood draw.

    HER2 = what healthy tissue sheds + tumour mass x the patient's shedding, both held back by the antibody; times
    assay noise (CV about 10 %).

    Args:
        shedding_mass: cm3 at days (subjects, times) of the tumour that sheds HER2: the patient's, or a stranger's.
    """
    people, n, plan = patients.people, patients.count, codes.CYCLE_VISITS + codes.SCANS
    subject, place = samples["subject"].to_numpy(), samples["place"].to_numpy()
    day = samples["day"].to_numpy()
    since = day - people.first_dose[subject]
    times = np.zeros((n, plan))
    times[subject, place] = since
    mass, shedding = (total(times)[subject, place] for total in (patients.tumour.total_mass_cm3, shedding_mass))
    tissue, her2, ca153, cea, ldh, alt = streams.normal("marker levels", n, 6)[subject].T
    bound = 1 - np.exp(-np.maximum(since, 0) / 14)  # antibody on the receptor
    level = np.stack(
        [
            8 * np.exp(0.28 * tissue) * (1 - 0.06 * bound) + 0.13 * np.exp(0.65 * her2) * shedding * (1 - 0.25 * bound),
            14 * np.exp(0.4 * ca153) + 0.7 * np.exp(0.8 * ca153) * mass,
            1.6 * np.exp(0.5 * cea) + 0.06 * np.exp(cea) * mass,
            195 * np.exp(0.18 * ldh) + 0.8 * mass,
            24 * np.exp(0.4 * alt) * (1 + 0.25 * bound),
        ],
        axis=1,
    )

    laboratory = np.where(people.site <= _NORTHERN_SITES, codes.NORTH, codes.SOUTH)[subject]
    assay = np.where((laboratory == codes.SOUTH) & (day >= codes.ASSAY_SWITCH), codes.CLIA, codes.ELISA)
    level[:, 0] *= np.where(assay == codes.CLIA, codes.CLIA_CALIBRATION, 1)
    noise = streams.normal("assay noise", n, plan, len(codes.ANALYTES))[subject, place]
    value = np.maximum(np.round(10 * level * np.exp(_NOISE_SD * noise)), 1).astype(np.int64)
    value[:, 3:] = (value[:, 3:] + 5) // 10 * 10  # enzymes are reported in whole units

    turnaround = streams.uniform("turnaround", n, plan, 2)[subject, place]
    reported = day + 1 + _days(turnaround[:, 0] ** 2, 5)
    panel = len(codes.ANALYTES)
    analyte = np.tile(np.arange(panel), len(samples))
    others = np.tile([codes.ECLIA, codes.ECLIA, codes.PHOTOMETRY, codes.PHOTOMETRY], (len(samples), 1))
    assays = np.column_stack([assay, others])

    def each(values: np.ndarray) -> np.ndarray:
        return np.repeat(np.asarray(values), panel)

    return _frame(
        each(reported),
        subject=each(subject).astype(np.int32),
        visit=each(samples["visit"]).astype(np.int8),
        place=each(place).astype(np.int8),
        analyte=analyte.astype(np.int8),
        day=each(day).astype(np.int32),
        minute=each(samples["minute"]).astype(np.int16),
        value=value.ravel().astype(np.int32),
        laboratory=each(laboratory).astype(np.int8),
        assay=assays.ravel().astype(np.int8),
        reported_day=each(reported).astype(np.int32),
        reported_minute=each(10 * 60 + _days(turnaround[:, 1], 360)).astype(np.int16),
        status=np.full(panel * len(samples), codes.FINAL, dtype=np.int8),
    )


def _visit_rows(streams: Streams, patients: Patients, samples: pd.DataFrame) -> pd.DataFrame:
    """One row a visit: screening, the first cycles, and the weeks with a scan or a sample."""
    subject, scan, day, _ = _seen_scans(streams, patients)
    seen = pd.DataFrame({"subject": subject, "visit": _VISIT_OF_SCAN[scan], "day": day})
    rows = pd.concat([seen, samples[["subject", "visit", "day"]]]).drop_duplicates(["subject", "visit"])
    rows = rows.sort_values(["subject", "day", "visit"], kind="stable", ignore_index=True)
    entered = streams.uniform("visit entry", patients.count, len(codes.VISITS))[rows["subject"], rows["visit"]]
    return _frame(
        rows["day"] + 2 + _days(entered, 25),
        **{name: rows[name].to_numpy() for name in ("subject", "visit", "day")},
    )


_VISIT_OF_SCAN = np.array([codes.SCREENING, *(codes.FIRST_SCAN + scan for scan in range(codes.SCANS))])


def _seen_scans(streams: Streams, patients: Patients) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(subject, scan, day, day of entry) of every scan that took place."""
    subject, scan = np.nonzero(patients.course.assessed.seen)
    day = patients.people.first_dose[subject] + patients.course.scans.day[subject, scan]
    return (
        subject,
        scan,
        day,
        day + streams.days("reading entry", 5, 21, patients.count, codes.SCANS + 1)[subject, scan],
    )


def _lesion_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """Lesions when they are first named: all at baseline, new ones at the scan that shows them."""
    subject, scan, day, entered = _seen_scans(streams, patients)
    assessed, organ = patients.course.assessed, patients.tumour.organ
    several = streams.uniform("new lesions", patients.count) < 0.35
    places = streams.uniform("new lesion organs", patients.count, codes.NEW_LESIONS)
    parts = []
    for lesion in range(organ.shape[1] + codes.NEW_LESIONS):
        new = lesion - organ.shape[1]
        if new < 0:
            shown = (scan == 0) & (patients.tumour.baseline_mm[subject, lesion] > 0)
            where = organ[subject[shown], lesion]
        else:
            shown = (scan == assessed.new_from[subject]) & (several[subject] | (new == 0))
            where = pick(places[subject[shown], new], *codes.ORGAN_WEIGHTS[:-1])
        parts.append(
            _frame(
                entered[shown],
                subject=subject[shown],
                lesion=np.full(shown.sum(), lesion),
                organ=where,
                visit=_VISIT_OF_SCAN[scan[shown]],
                day=day[shown],
            )
        )
    return _by_subject(parts)


def _by_subject(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all parts, a subject's together and in order of time."""
    return pd.concat(parts).sort_values(["subject", "day"], kind="stable", ignore_index=True)


def _measurement_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """The size or state of every lesion at every scan, long axes of nodes, and the sums of the targets."""
    subject, scan, day, entered = _seen_scans(streams, patients)
    scans, organ = patients.course.scans, patients.tumour.organ

    def rows(
        shown: np.ndarray, lesion: int, test: np.ndarray | int, state: np.ndarray, value: np.ndarray
    ) -> pd.DataFrame:
        return _frame(
            entered[shown],
            subject=subject[shown],
            lesion=np.full(shown.sum(), lesion),
            visit=_VISIT_OF_SCAN[scan[shown]],
            day=day[shown],
            test=np.broadcast_to(test, shown.shape)[shown],
            state=state[shown],
            value=value[shown],
        )

    parts = []
    for lesion in range(organ.shape[1]):
        state, value = scans.state[subject, scan, lesion], scans.tenths[subject, scan, lesion]
        shown, is_node = state != codes.NEVER_SEEN, organ[subject, lesion] == codes.NODE
        if lesion < codes.TARGETS:
            parts.append(rows(shown, lesion, np.where(is_node, codes.SHORT_AXIS, codes.LONGEST), state, value))
            # A node's short axis counts; its long axis is written down all the same.
            parts.append(
                rows(is_node & (state == codes.MEASURED), lesion, codes.LONGEST, state, value * 13 // 100 * 10)
            )
        else:
            parts.append(rows(shown, lesion, codes.TUMSTATE, state, value))
    summed = scans.is_complete[subject, scan] & (patients.tumour.baseline_mm[subject, 0] > 0)
    parts.append(rows(summed, -1, codes.SUM, np.full(subject.size, codes.MEASURED), scans.sums[subject, scan]))
    return _by_subject(parts)


def _response_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """What the investigator reported after each scan on treatment."""
    seen = _seen_scans(streams, patients)
    subject, scan, day, entered = (column[seen[1] > 0] for column in seen)
    assessed = patients.course.assessed
    return _frame(
        entered,
        subject=subject,
        visit=_VISIT_OF_SCAN[scan],
        day=day,
        target=assessed.target[subject, scan],
        non_target=assessed.non_target[subject, scan],
        new=assessed.new_from[subject] <= scan,
        overall=assessed.overall[subject, scan],
    )


def _disposition_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """Milestones, the end of treatment and the end of the study, each with its reason."""
    people, course, death, n = patients.people, patients.course, patients.death, patients.count
    entry = streams.days("disposition entry", 3, 30, n)
    dead, left = death < codes.NEVER, patients.course.left >= 0
    ended = people.treated & (course.reason >= 0)
    end = np.where(course.reason == codes.DIED, death, people.first_dose + course.end)
    never_treated = ~people.failed & ~people.treated
    events = [  # who, what, why, when
        (np.ones(n, dtype=bool), codes.MILESTONE, codes.CONSENTED, people.consent),
        (~people.failed, codes.MILESTONE, codes.ENROLLED, people.enrolled),
        (people.failed, codes.STUDY, codes.FAILED, people.consent + 10),
        (never_treated, codes.STUDY, codes.WITHDREW, people.enrolled + 6),
        (ended, codes.TREATMENT, course.reason, end),
        (dead, codes.STUDY, codes.DIED, death),
        (left, codes.STUDY, patients.course.left, people.first_dose + course.alive),
    ]
    parts = [
        _frame(
            (day + entry)[who],
            subject=np.flatnonzero(who),
            category=np.full(who.sum(), category),
            term=np.broadcast_to(term, n)[who],
            day=day[who],
        )
        for who, category, term, day in events
    ]
    return _by_subject(parts)


def _therapy_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """Earlier lines, supportive care, and the next line; the start of an earlier one is often known by its month."""
    people, course, n = patients.people, patients.course, patients.count
    begin, line, nausea, next_line, vague = streams.uniform("therapies", n, 5).T
    entry = streams.days("therapy entry", 3, 30, n)
    earlier = people.consent - 200 - _days(begin, 900)
    chemotherapy, after = 1 + pick(line, 0.6), np.where(next_line < 0.07, 5, 2 + pick(next_line, 0.3, 0.4))
    lines = [  # who, what, when
        (people.estrogen, np.zeros(n, dtype=np.int64), earlier),
        (np.ones(n, dtype=bool), chemotherapy, earlier + 150),
        (people.treated & (nausea < 0.5), np.full(n, codes.ONDANSETRON), people.first_dose),
        (course.therapy < codes.NEVER, after, people.first_dose + course.therapy),
    ]
    parts = [
        _frame(
            (np.maximum(day, people.consent) + entry)[who],
            subject=np.flatnonzero(who),
            therapy=therapy[who],
            day=day[who],
            vague=((day < people.consent) & (vague < 0.3))[who],
        )
        for who, therapy, day in lines
    ]
    return _by_subject(parts)


def _survival_rows(streams: Streams, patients: Patients) -> pd.DataFrame:
    """Contacts every twelve weeks once treatment has ended, a last one before the cut-off, and deaths."""
    people, course, death, n = patients.people, patients.course, patients.death, patients.count
    dead = death < codes.NEVER
    calls = course.end[:, None] + 84 * np.arange(1, 16)
    called = people.treated[:, None] & (calls < course.alive[:, None])
    subject, _ = np.nonzero(called)
    day = people.first_dose[subject] + calls[called]
    at_cutoff = people.treated & ~dead & (patients.course.left < 0)
    last_call = np.maximum(people.first_dose + course.alive - streams.days("last contact", 0, 40, n), people.first_dose)
    deaths_known = death + streams.days("death report", 3, 30, n)
    parts = [
        _frame(day + 7, subject=subject, dead=np.zeros(day.size, dtype=bool), day=day),
        _frame(
            last_call[at_cutoff] + 5,
            subject=np.flatnonzero(at_cutoff),
            dead=np.zeros(at_cutoff.sum(), dtype=bool),
            day=last_call[at_cutoff],
        ),
        _frame(deaths_known[dead], subject=np.flatnonzero(dead), dead=np.ones(dead.sum(), dtype=bool), day=death[dead]),
    ]
    return _by_subject(parts)
