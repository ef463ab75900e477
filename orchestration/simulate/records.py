"""What is written down of each patient's course: one frame of numbers a kind of record.

Blood samples and their results, infusions, visits, lesions, responses, dispositions, therapies and contacts belong
here; how a vendor would spell them does not (``exports_sdtm``, ``exports_site``), nor when a file with them would
arrive (``deliveries``).
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from orchestration.simulate import codes
from orchestration.simulate.model import (
    Scans,
    Streams,
    Subjects,
    Tumour,
    draw_subjects,
    draw_tumour,
    fate,
    image,
    pick,
)


@dataclass(frozen=True)
class SimulatedStudy:
    """The study as numbers: one frame a kind of record, a row each, with ``known_on``, the day the site entered it."""

    usubjid: np.ndarray  # of text, by subject number
    site: np.ndarray  # of text, by subject number
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)

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
    n, streams = subjects, Streams(seed)
    people = draw_subjects(streams, n)
    tumour = draw_tumour(streams, n, "tumour")
    death, new = fate(streams, tumour, n)
    leaves = streams.waiting_days("drop-out", 0.0012, n)
    last = codes.CUTOFF - people.first_dose
    alive = np.minimum(np.minimum(death - 1, leaves), last)
    scans = image(streams, people, tumour, n, alive, new)
    day_of_death = np.where(
        people.treated & (death <= leaves) & (death <= last), people.first_dose + death, codes.NEVER
    )

    study = SimulatedStudy(
        usubjid=np.array(
            [f"S2-{site:03d}-{number:04d}" for number, site in enumerate(people.site, start=1)], dtype=object
        ),
        site=np.array([f"{site:03d}" for site in people.site], dtype=object),
    )
    doses = _doses(streams, people, scans, n)
    frames = study.frames
    frames["subjects"] = _subject_rows(streams, people, day_of_death, n)
    frames["doses"] = doses
    samples = _samples(streams, people, scans, doses, alive, n)
    shedder = draw_tumour(streams, n, "stranger") if null else tumour
    frames["labs"] = _lab_rows(streams, people, tumour, shedder, samples, n)
    frames["visits"] = _visit_rows(streams, people, scans, samples)
    frames.update(_imaging_rows(streams, people, tumour, scans, n))
    frames.update(_course_rows(streams, people, scans, day_of_death, leaves, alive, n))
    return study


def _doses(streams: Streams, people: Subjects, scans: Scans, n: int) -> pd.DataFrame:
    """Infusions every three weeks with delays and reductions (5.4, 4.4, 3.2 mg/kg), at most ``CYCLES``."""
    u = streams.uniform("doses", n, codes.CYCLES, 4)
    delay = np.select(
        [u[:, :, 0] < 0.05, u[:, :, 0] < 0.13], [14, 7], np.floor(u[:, :, 0] * 50).astype(np.int64) % 3 - 1
    )
    day = np.concatenate([np.zeros((n, 1), dtype=np.int64), np.cumsum(21 + delay, axis=1)[:, :-1]], axis=1)
    reductions = np.minimum(np.cumsum((u[:, :, 1] < 0.018) & (np.arange(codes.CYCLES) > 0), axis=1), 2)
    given = (day <= scans.end[:, None]) & people.treated[:, None]
    given[:, 0] = people.treated
    subject, cycle = np.nonzero(given)
    return _frame(
        people.first_dose[subject] + day[given] + np.floor(20 * u[:, :, 3][given]).astype(np.int64),
        subject=subject,
        cycle=cycle + 1,
        day=people.first_dose[subject] + day[given],
        minute=9 * 60 + 30 + 5 * np.floor(50 * u[:, :, 2][given]).astype(np.int64),
        dose=np.array([54, 44, 32])[reductions[given]],
    )


def _subject_rows(streams: Streams, people: Subjects, death: np.ndarray, n: int) -> pd.DataFrame:
    """Demographics and HER2 status; a death is a second version of the row, entered later."""
    number = np.arange(n)
    columns = {
        "subject": number,
        "age": people.age,
        "male": people.male,
        "ihc": people.ihc,
        "ish": people.ish,
        "estrogen": people.estrogen,
        "progesterone": people.progesterone,
        "consent": people.consent,
        "tested": people.consent - streams.days("tested", 5, 60, n),
        "first_dose": np.where(people.treated, people.first_dose, codes.NEVER),
        "enrolled": np.where(people.failed, codes.NEVER, people.enrolled),
    }
    alive = _frame(people.consent + streams.days("enrolment entry", 5, 35, n), **columns, death=np.full(n, codes.NEVER))
    dead = _frame(death + streams.days("death entry", 5, 40, n), **columns, death=death)
    dead["known_on"] = np.maximum(dead["known_on"], alive["known_on"] + 1)
    dead = dead[death < codes.NEVER]
    alive.loc[death < codes.NEVER, "superseded_on"] = dead["known_on"]
    return pd.concat([alive, dead], ignore_index=True)


def _samples(
    streams: Streams, people: Subjects, scans: Scans, doses: pd.DataFrame, alive: np.ndarray, n: int
) -> pd.DataFrame:
    """Blood draws: before the infusion at the first three cycles, then with every scan from the second on."""
    plan = codes.CYCLE_VISITS + codes.SCANS
    u = streams.uniform("samples", n, plan, 4)
    day = np.full((n, plan), codes.NEVER, dtype=np.int64)
    minute = 7 * 60 + 30 + np.floor(90 * u[:, :, 0]).astype(np.int64)
    early = doses[doses["cycle"] <= codes.CYCLE_VISITS]
    rows, columns = early["subject"].to_numpy(), early["cycle"].to_numpy() - 1
    day[rows, columns] = early["day"].to_numpy()
    infused = np.full((n, plan), 0, dtype=np.int64)
    infused[rows, columns] = early["minute"].to_numpy()
    first_early = np.where(u[:, 0, 1] < 0.15, 1 + np.floor(20 * u[:, 0, 1]).astype(np.int64), 0)
    day[:, 0] = np.where(day[:, 0] < codes.NEVER, day[:, 0] - first_early, codes.NEVER)
    after = (u[:, :, 2] < 0.012) & (day < codes.NEVER)
    after[:, 0] &= first_early == 0
    minute = np.where(after, infused + 45 + np.floor(120 * u[:, :, 0]).astype(np.int64), minute)
    with_scan = (
        people.first_dose[:, None]
        + scans.day[:, 2:]
        + np.floor(4 * u[:, codes.CYCLE_VISITS + 1 :, 1]).astype(np.int64)
        - 1
    )
    day[:, codes.CYCLE_VISITS + 1 :] = np.where(scans.seen[:, 2:], with_scan, codes.NEVER)
    day[day > (people.first_dose + alive)[:, None]] = codes.NEVER
    day[u[:, :, 3] < 0.02] = codes.NEVER
    drawn = day < codes.NEVER
    subject, place = np.nonzero(drawn)
    # The plan's fourth place would be week 6, where cycle 3 has just been sampled.
    return pd.DataFrame(
        {"subject": subject, "place": place, "visit": 1 + place, "day": day[drawn], "minute": minute[drawn]}
    )


_NOISE_SD = np.array([0.10, 0.06, 0.07, 0.08, 0.12])


def _lab_rows(
    streams: Streams, people: Subjects, tumour: Tumour, shedder: Tumour, samples: pd.DataFrame, n: int
) -> pd.DataFrame:
    """Serum HER2 and the usual panel for every blood draw.

    HER2 = what healthy tissue sheds + tumour mass x the patient's shedding, both held back by the antibody; times
    assay noise (CV about 10 %).
    """
    plan = codes.CYCLE_VISITS + codes.SCANS
    subject, place = samples["subject"].to_numpy(), samples["place"].to_numpy()
    day, since = samples["day"].to_numpy(), samples["day"].to_numpy() - people.first_dose[samples["subject"]]
    grid = np.zeros((n, plan))
    grid[subject, place] = since
    patient = streams.normal("marker levels", n, 6)
    bound = 1 - np.exp(-np.maximum(since, 0) / 14)

    mass = tumour.total_mass_cm3(grid)[subject, place]
    shed_mass = mass if shedder is tumour else shedder.total_mass_cm3(grid)[subject, place]
    floor = 8 * np.exp(0.28 * patient[subject, 0]) * (1 - 0.06 * bound)
    shed = 0.13 * np.exp(0.65 * patient[subject, 1]) * shed_mass * (1 - 0.25 * bound)
    level = np.stack(
        [
            floor + shed,
            14 * np.exp(0.4 * patient[subject, 2]) + 0.7 * np.exp(0.8 * patient[subject, 2]) * mass,
            1.6 * np.exp(0.5 * patient[subject, 3]) + 0.06 * np.exp(patient[subject, 3]) * mass,
            195 * np.exp(0.18 * patient[subject, 4]) + 0.8 * mass,
            24 * np.exp(0.4 * patient[subject, 5]) * (1 + 0.25 * bound),
        ],
        axis=1,
    )

    laboratory = np.where(people.site <= 6, codes.NORTH, codes.SOUTH)[subject]
    # Accrual-weighted sites make the northern laboratory the larger; the southern one changes its assay.
    assay = np.where((laboratory == codes.SOUTH) & (day >= codes.ASSAY_SWITCH), codes.CLIA, codes.ELISA)
    level[:, 0] *= np.where(assay == codes.CLIA, codes.CLIA_CALIBRATION, 1)
    noise = streams.normal("assay noise", n, plan, len(codes.ANALYTES))[subject, place]
    value = np.maximum(np.round(10 * level * np.exp(_NOISE_SD * noise)), 1).astype(np.int64)
    value[:, 3:] = (value[:, 3:] + 5) // 10 * 10

    turnaround = streams.uniform("turnaround", n, plan, 2)[subject, place]
    reported = day + 1 + np.floor(5 * turnaround[:, 0] ** 2).astype(np.int64)
    panel = len(codes.ANALYTES)
    analyte = np.tile(np.arange(panel), len(samples))
    assays = np.stack(
        [
            assay,
            *(np.full(len(samples), kind) for kind in (codes.ECLIA, codes.ECLIA, codes.PHOTOMETRY, codes.PHOTOMETRY)),
        ],
        axis=1,
    )

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
        reported_minute=each(10 * 60 + np.floor(360 * turnaround[:, 1])).astype(np.int16),
        status=np.full(panel * len(samples), codes.FINAL, dtype=np.int8),
    )


def _visit_rows(streams: Streams, people: Subjects, scans: Scans, samples: pd.DataFrame) -> pd.DataFrame:
    """One row a visit: screening, the first cycles, and the weeks with a scan or a sample."""
    subject, scan = np.nonzero(scans.seen)
    visit = np.where(scan == 0, codes.SCREENING, codes.FIRST_SCAN + scan - 1)
    seen = pd.DataFrame({"subject": subject, "visit": visit, "day": people.first_dose[subject] + scans.day[scans.seen]})
    rows = pd.concat([seen, samples[["subject", "visit", "day"]]]).drop_duplicates(["subject", "visit"])
    rows = rows.sort_values(["subject", "day", "visit"], kind="stable", ignore_index=True)
    entered = streams.uniform("visit entry", len(people.site), len(codes.VISITS))[rows["subject"], rows["visit"]]
    return _frame(
        rows["day"] + 2 + np.floor(25 * entered).astype(np.int64),
        **{name: rows[name].to_numpy() for name in ("subject", "visit", "day")},
    )


def _imaging_rows(streams: Streams, people: Subjects, tumour: Tumour, scans: Scans, n: int) -> dict[str, pd.DataFrame]:
    """Identifications, measurements and reported responses of the scans that took place."""
    lesions = codes.TARGETS + codes.NON_TARGETS
    entered = people.first_dose[:, None] + scans.day + streams.days("reading entry", 5, 21, n, codes.SCANS + 1)
    day = people.first_dose[:, None] + scans.day
    visit_of_scan = np.where(
        np.arange(codes.SCANS + 1) == 0, codes.SCREENING, codes.FIRST_SCAN + np.arange(codes.SCANS + 1) - 1
    )

    subject, lesion = np.nonzero((scans.state[:, 0] != codes.NEVER_SEEN) & scans.seen[:, :1])
    known = _frame(
        entered[subject, 0],
        subject=subject,
        lesion=lesion,
        organ=tumour.organ[subject, lesion],
        visit=np.full(subject.size, codes.SCREENING),
        day=day[subject, 0],
    )
    several = 1 + (streams.uniform("new lesions", n, 1 + codes.NEW_LESIONS)[:, 0] < 0.35)
    place = streams.uniform("new lesion organs", n, codes.NEW_LESIONS)
    subject = np.flatnonzero(scans.new_from <= codes.SCANS)
    subject = np.repeat(subject, several[subject])
    lesion = lesions + (np.concatenate([[0], np.diff(subject)]) == 0) * (np.arange(subject.size) > 0)
    scan = scans.new_from[subject]
    found = _frame(
        entered[subject, scan],
        subject=subject,
        lesion=lesion,
        organ=pick(place[subject, lesion - lesions], *codes.ORGAN_WEIGHTS[:-1]),
        visit=visit_of_scan[scan],
        day=day[subject, scan],
    )

    shown = (scans.state != codes.NEVER_SEEN) & scans.seen[:, :, None]
    subject, scan, lesion = np.nonzero(shown)
    single = _frame(
        entered[subject, scan],
        subject=subject,
        lesion=lesion,
        visit=visit_of_scan[scan],
        day=day[subject, scan],
        state=scans.state[shown],
        value=scans.tenths[shown],
        test=np.select(
            [lesion >= codes.TARGETS, tumour.organ[subject, lesion] == codes.NODE],
            [codes.TUMSTATE, codes.SHORT_AXIS],
            codes.LONGEST,
        ),
    )
    # A node's short axis counts; its long axis is written down all the same.
    axis = single[(single["test"] == codes.SHORT_AXIS) & (single["state"] == codes.MEASURED)].assign(test=codes.LONGEST)
    axis["value"] = axis["value"] * 13 // 100 * 10
    complete = scans.seen & (scans.sum_tenths >= 0)
    subject, scan = np.nonzero(complete)
    sums = _frame(
        entered[subject, scan],
        subject=subject,
        lesion=np.full(subject.size, -1),
        visit=visit_of_scan[scan],
        day=day[subject, scan],
        state=np.full(subject.size, codes.MEASURED),
        value=scans.sum_tenths[complete],
        test=np.full(subject.size, codes.SUM),
    )
    after = scans.seen.copy()
    after[:, 0] = False
    subject, scan = np.nonzero(after)
    responses = _frame(
        entered[subject, scan],
        subject=subject,
        visit=visit_of_scan[scan],
        day=day[subject, scan],
        target=scans.target[after],
        non_target=scans.non_target[after],
        new=scans.new_from[subject] <= scan,
        overall=scans.overall[after],
    )
    return {
        "lesions": pd.concat([known, found], ignore_index=True),
        "measurements": pd.concat([single, axis, sums], ignore_index=True),
        "responses": responses,
    }


def _course_rows(
    streams: Streams, people: Subjects, scans: Scans, death: np.ndarray, leaves: np.ndarray, alive: np.ndarray, n: int
) -> dict[str, pd.DataFrame]:
    """Dispositions, therapies and survival contacts."""
    entry = streams.days("course entry", 3, 30, n, 8)
    lost = streams.uniform("lost", n) < 0.4
    left = people.treated & (leaves < codes.NEVER) & (alive == leaves)
    reason = np.where(
        scans.reason >= 0,
        scans.reason,
        np.select([death < codes.NEVER, left & lost, left], [codes.DIED, codes.LOST, codes.WITHDREW], -1),
    )
    ended = people.treated & (reason >= 0)
    end_day = np.where(reason == codes.DIED, death, people.first_dose + scans.end)
    last_seen = people.first_dose + alive
    never_treated = ~people.failed & ~people.treated
    events = [
        (np.ones(n, dtype=bool), codes.MILESTONE, np.full(n, codes.CONSENTED), people.consent),
        (~people.failed, codes.MILESTONE, np.full(n, codes.ENROLLED), people.enrolled),
        (people.failed, codes.STUDY, np.full(n, codes.FAILED), people.consent + 10),
        (never_treated, codes.STUDY, np.full(n, codes.WITHDREW), people.enrolled + 6),
        (ended, codes.TREATMENT, reason, end_day),
        (death < codes.NEVER, codes.STUDY, np.full(n, codes.DIED), death),
        (left, codes.STUDY, np.where(lost, codes.LOST, codes.WITHDREW), last_seen),
    ]
    dispositions = pd.concat(
        [
            _frame(
                (day + entry[:, column])[takes],
                subject=np.flatnonzero(takes),
                category=np.full(takes.sum(), category),
                term=term[takes],
                day=day[takes],
            )
            for column, (takes, category, term, day) in enumerate(events)
        ],
        ignore_index=True,
    )

    u = streams.uniform("therapies", n, 6)
    prior_from = people.consent - 200 - np.floor(900 * u[:, 0]).astype(np.int64)
    everyone = np.ones(n, dtype=bool)
    lines = [
        (people.estrogen, np.zeros(n, dtype=np.int64), prior_from),
        (everyone, 1 + pick(u[:, 1], 0.6), prior_from + 150),
        (people.treated & (u[:, 2] < 0.5), np.full(n, 6), people.first_dose),
        (
            scans.therapy < codes.NEVER,
            np.where(u[:, 3] < 0.07, 5, 2 + pick(u[:, 3], 0.3, 0.4)),
            people.first_dose + scans.therapy,
        ),
    ]
    therapies = pd.concat(
        [
            _frame(
                np.maximum(day, people.consent)[takes] + entry[takes, 7],
                subject=np.flatnonzero(takes),
                therapy=therapy[takes],
                day=day[takes],
                vague=np.where(day < people.consent, u[:, 5] < 0.3, False)[takes],
            )
            for takes, therapy, day in lines
        ],
        ignore_index=True,
    )

    # Contacts every twelve weeks once treatment has ended, and the last one when somebody was seen alive.
    contact = np.arange(1, 16) * 84
    called = (people.treated & ended)[:, None] & (scans.end[:, None] + contact < alive[:, None])
    subject, step = np.nonzero(called)
    day = people.first_dose[subject] + scans.end[subject] + contact[step]
    at_cutoff = people.treated & (death == codes.NEVER) & ~left
    lag = streams.days("last contact", 0, 40, n)
    last_call = np.maximum(last_seen - lag, people.first_dose)
    survival = pd.concat(
        [
            _frame(day + 7, subject=subject, dead=np.zeros(day.size, dtype=bool), day=day),
            _frame(
                last_call[at_cutoff] + 5,
                subject=np.flatnonzero(at_cutoff),
                dead=np.zeros(at_cutoff.sum(), dtype=bool),
                day=last_call[at_cutoff],
            ),
            _frame(
                (death + entry[:, 5])[death < codes.NEVER],
                subject=np.flatnonzero(death < codes.NEVER),
                dead=np.ones((death < codes.NEVER).sum(), dtype=bool),
                day=death[death < codes.NEVER],
            ),
        ],
        ignore_index=True,
    )
    return {"dispositions": dispositions, "therapies": therapies, "survival": survival}
