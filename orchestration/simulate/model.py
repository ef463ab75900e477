"""The joint model: what happened to each simulated patient, as numbers.

Tumour burden drives everything that is linked: lesion diameters, new lesions, death, and (unless ``null``) the
HER2 that is shed into serum. How a vendor would spell it does not belong here: see ``exports_sdtm`` and
``exports_site``; nor when it would arrive: see ``deliveries``.

All arrays are vectorised over subjects. Every purpose has its own random stream, drawn subject after subject, so a
subject's course depends on the seed and on its number, not on how many subjects there are.

Days are days since 1970-01-01 as integers, ``NEVER`` when something does not happen; diameters are tenths of a
millimetre, results tenths of their unit, so that rounding is exact.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

NEVER = 10**6
FIRST_ENROLMENT = int(np.datetime64("2022-02-01").astype(int))
ACCRUAL_DAYS = 540
CUTOFF = int(np.datetime64("2025-03-31").astype(int))
"""The last day with data; what is entered later only describes days up to here."""
ASSAY_SWITCH = int(np.datetime64("2024-06-03").astype(int))

TARGETS, NON_TARGETS, NEW_LESIONS = 5, 3, 2
CYCLES = 60
IMAGING_WEEKS = [*range(6, 55, 6), *range(66, 170, 12)]
SCANS = len(IMAGING_WEEKS)
GRID_WEEKS = 168
"""Deaths and new lesions come on a weekly grid that outlasts the study."""

CYCLE_VISITS = 3
VISITS = ["SCREENING", *(f"C{cycle}D1" for cycle in range(1, CYCLE_VISITS + 1)), *(f"WEEK {week}" for week in IMAGING_WEEKS)]
VISIT_NUMBERS = [0, *range(1, CYCLE_VISITS + 1), *(100 + week for week in IMAGING_WEEKS)]
SCREENING, FIRST_SCAN = 0, 1 + CYCLE_VISITS

ORGANS = ["LYMPH NODE", "LIVER", "LUNG", "BREAST", "CHEST WALL", "PLEURA", "ADRENAL GLAND"]
_ORGAN_WEIGHTS = np.array([0.30, 0.30, 0.20, 0.08, 0.05, 0.04, 0.03])
NODE = 0

RESPONSES = ["CR", "PR", "SD", "PD", "NE", "NON-CR/NON-PD", "NA"]
CR, PR, SD, PD, NE, NN, NA = range(len(RESPONSES))
NEVER_SEEN, ABSENT, PRESENT, UNEQUIVOCAL, NOT_DONE, TOO_SMALL, MEASURED = range(7)
"""States of a lesion at a scan."""
LONGEST, SHORT_AXIS, TUMSTATE, SUM = range(4)
"""Kinds of a tumour measurement."""

ANALYTES = ["HER2", "CA153", "CEA", "LDH", "ALT"]
ASSAYS = ["HER2-ECD ELISA", "HER2-ECD CLIA", "ECLIA", "PHOTOMETRY"]
ELISA, CLIA, ECLIA, PHOTOMETRY = range(len(ASSAYS))
LIMITS = {ELISA: (40, 2500), CLIA: (5, 3500)}
"""LLOQ and ULOQ of serum HER2, tenths of ng/mL. The other analytes carry none."""
CLIA_CALIBRATION = 1.25
"""The chemiluminescence assay reads so much higher on the same serum."""
NORTH, SOUTH = 0, 1
"""The two laboratories; the southern one switches from ELISA to CLIA on ``ASSAY_SWITCH``."""

RESULT_STATES = ["F", "C", "P", "X"]
FINAL, CORRECTED, PRELIMINARY, CANCELLED = range(len(RESULT_STATES))

DISPOSITIONS = [
    "INFORMED CONSENT OBTAINED", "ENROLLED", "SCREEN FAILURE", "PROGRESSIVE DISEASE", "ADVERSE EVENT", "DEATH",
    "WITHDRAWAL BY SUBJECT", "LOST TO FOLLOW-UP", "PHYSICIAN DECISION",
]
CONSENTED, ENROLLED, FAILED, PROGRESSED, ADVERSE_EVENT, DIED, WITHDREW, LOST, DECIDED = range(len(DISPOSITIONS))
MILESTONE, TREATMENT, STUDY = range(3)
"""Categories of a disposition."""

THERAPIES = [
    ("LETROZOLE", "ENDOCRINE THERAPY"), ("PACLITAXEL", "CHEMOTHERAPY"), ("CAPECITABINE", "CHEMOTHERAPY"),
    ("ERIBULIN", "CHEMOTHERAPY"), ("SACITUZUMAB GOVITECAN", "TARGETED THERAPY"), ("RADIOTHERAPY BONE", "RADIOTHERAPY"),
    ("ONDANSETRON", "SUPPORTIVE CARE"),
]

IHC = ["0", "1+", "2+", "3+"]
ISH = ["NEGATIVE", "POSITIVE", "NOT DONE"]


@dataclass(frozen=True)
class Streams:
    """One PCG64 generator a purpose, from one seed."""

    seed: int

    def __call__(self, purpose: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, zlib.crc32(purpose.encode())])))

    def normal(self, purpose: str, *shape: int) -> np.ndarray:
        return self(purpose).standard_normal(shape)

    def uniform(self, purpose: str, *shape: int) -> np.ndarray:
        return self(purpose).random(shape)

    def days(self, purpose: str, low: int, high: int, *shape: int) -> np.ndarray:
        """Whole days from ``low`` to ``high``, both included, all equally likely."""
        return low + np.floor(self.uniform(purpose, *shape) * (high - low + 1)).astype(np.int64)

    def waiting_days(self, purpose: str, per_week: float, *shape: int) -> np.ndarray:
        """Exponential waiting time at a weekly rate, in whole days from 1."""
        return 1 + np.floor(-np.log1p(-self.uniform(purpose, *shape)) / per_week * 7).astype(np.int64)


@dataclass(frozen=True)
class Tumour:
    """A patient's lesions under treatment: targets first, then non-targets; (subjects, lesions) arrays.

    A lesion's cell mass is a sensitive share that shrinks exponentially and a resistant share that grows, as in
    Stein's and Claret's growth-inhibition models; its diameter goes with the cube root of its mass.
    """

    baseline_mm: np.ndarray  # 0 where there is no such lesion
    organ: np.ndarray
    resistant: np.ndarray
    kill_per_week: np.ndarray
    growth_per_week: np.ndarray

    @property
    def mass_cm3(self) -> np.ndarray:
        return np.pi / 6 * (self.baseline_mm / 10) ** 3

    def remaining(self, lesion: int, days: np.ndarray) -> np.ndarray:
        """Mass of one lesion relative to baseline, at ``days`` (subjects, times) since the first dose."""
        weeks = np.maximum(days, 0) / 7
        resistant = self.resistant[:, lesion, None]
        regrown = np.minimum(self.growth_per_week[:, lesion, None] * weeks, 5.0)  # nutrients end: at most e^5
        return (1 - resistant) * np.exp(-self.kill_per_week[:, lesion, None] * weeks) + resistant * np.exp(regrown)

    def total_mass_cm3(self, days: np.ndarray) -> np.ndarray:
        return sum(self.mass_cm3[:, lesion, None] * self.remaining(lesion, days) for lesion in range(self.organ.shape[1]))

    def total_diameter_mm(self, days: np.ndarray) -> np.ndarray:
        return sum(self.baseline_mm[:, lesion, None] * np.cbrt(self.remaining(lesion, days))
                   for lesion in range(self.organ.shape[1]))


def draw_tumour(streams: Streams, subjects: int, whose: str) -> Tumour:
    """Random effects of patient and lesion. ``whose`` names the streams: null studies shed like a stranger's tumour."""
    lesions = TARGETS + NON_TARGETS
    # Each organ stands twice in the lottery: RECIST takes at most two targets from one.
    lottery = np.repeat(np.arange(len(ORGANS)), 2)
    keys = np.log(_ORGAN_WEIGHTS)[lottery] - np.log(-np.log(streams.uniform(f"{whose}: organs", subjects, lottery.size)))
    organ = lottery[np.argsort(-keys, axis=1, kind="stable")[:, :lesions]]

    counts = streams.uniform(f"{whose}: lesion counts", subjects, 2)
    targets = np.searchsorted(np.cumsum([0.02, 0.22, 0.27, 0.24, 0.14]), counts[:, 0], side="right")
    non_targets = np.searchsorted(np.cumsum([0.25, 0.35, 0.25]), counts[:, 1], side="right")
    non_targets = np.maximum(non_targets, targets == 0)
    slot = np.arange(lesions)
    exists = np.where(slot < TARGETS, slot < targets[:, None], slot - TARGETS < non_targets[:, None])

    size = streams.normal(f"{whose}: sizes", subjects, lesions)
    node = organ == NODE
    diameter = np.where(node, np.clip(20 * np.exp(0.25 * size), 15.5, 50), np.clip(23 * np.exp(0.45 * size), 11, 110))

    patient = streams.normal(f"{whose}: response", subjects, 3)
    lesion = streams.normal(f"{whose}: lesion response", subjects, lesions, 3)
    exceptional = streams.uniform(f"{whose}: exceptional", subjects) < 0.05
    logit = -1.80 + 1.75 * patient[:, 0, None] + 0.35 * lesion[:, :, 0]
    logit = np.where(exceptional[:, None], logit - 6, logit)
    return Tumour(
        baseline_mm=np.where(exists, diameter, 0),
        organ=organ,
        resistant=1 / (1 + np.exp(-logit)),
        kill_per_week=0.28 * np.exp(0.40 * patient[:, 1, None] + 0.15 * lesion[:, :, 1]),
        growth_per_week=0.0245 * np.exp(0.32 * patient[:, 0, None] + 0.38 * patient[:, 2, None] + 0.10 * lesion[:, :, 2]),
    )


@dataclass(frozen=True)
class SimulatedStudy:
    """The study as numbers: one frame a kind of record, a row each, with ``known_on``, the day the site entered it."""

    usubjid: np.ndarray  # of text, by subject number
    site: np.ndarray  # of text, by subject number
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __getitem__(self, kind: str) -> pd.DataFrame:
        return self.frames[kind]


def _pick(draw: np.ndarray, *shares: float) -> np.ndarray:
    """Index of the share that a uniform draw falls into; the last one takes the rest."""
    return np.searchsorted(np.cumsum(shares), draw, side="right")


def _frame(known_on: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
    """Rows of one kind. ``superseded_on``: from that day on, exports carry a later version instead."""
    frame = pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})
    frame["known_on"] = np.asarray(known_on, dtype=np.int32)
    frame["superseded_on"] = np.int32(NEVER)
    return frame


@dataclass(frozen=True)
class _Subjects:
    """Who takes part: arrays by subject."""

    site: np.ndarray
    coarse: np.ndarray  # the site's radiologists measure in whole millimetres
    age: np.ndarray
    male: np.ndarray
    ihc: np.ndarray
    ish: np.ndarray
    estrogen: np.ndarray
    progesterone: np.ndarray
    consent: np.ndarray
    enrolled: np.ndarray
    first_dose: np.ndarray
    treated: np.ndarray
    failed: np.ndarray


_SITES = 12


def _draw_subjects(streams: Streams, n: int) -> _Subjects:
    u = streams.uniform("subjects", n, 9)
    site = 1 + np.floor(_SITES * u[:, 0] ** 1.4).astype(np.int64)
    ihc = _pick(u[:, 1], 0.015, 0.56, 0.415)
    ish = np.select(
        [ihc == 2, ihc == 1],
        [_pick(u[:, 2], 0.975, 0.015), np.where(u[:, 2] < 0.3, 0, 2)],  # 2+ needs ISH; a 1+ seldom gets one
        2,
    )
    receptor = u[:, 3] < 0.88
    enrolled = FIRST_ENROLMENT + np.floor(ACCRUAL_DAYS * u[:, 4]).astype(np.int64)
    failed = u[:, 5] < 0.035
    treated = ~failed & (u[:, 5] < 0.985)
    return _Subjects(
        site=site,
        coarse=site % 3 == 0,
        age=np.clip(np.round(57 + 11 * streams.normal("age", n)), 28, 84).astype(np.int64),
        male=u[:, 6] < 0.006,
        ihc=ihc,
        ish=ish,
        estrogen=receptor,
        progesterone=receptor & (u[:, 7] < 0.7),
        consent=enrolled - 3 - np.floor(18 * u[:, 8]).astype(np.int64),
        enrolled=enrolled,
        first_dose=enrolled + streams.days("first dose", 1, 7, n),
        treated=treated,
        failed=failed,
    )


def _fate(streams: Streams, tumour: Tumour, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Days from the first dose to death and to the first new lesion, from hazards that rise with the burden."""
    grid = np.broadcast_to(7 * np.arange(GRID_WEEKS), (n, GRID_WEEKS))
    burden = tumour.total_diameter_mm(grid) / 100
    seeding = np.zeros((n, GRID_WEEKS))
    mass = tumour.mass_cm3
    for lesion in range(mass.shape[1]):
        weeks = np.minimum(tumour.growth_per_week[:, lesion, None] * grid / 7, 5.0)
        seeding += (mass[:, lesion] / mass.sum(axis=1) * tumour.resistant[:, lesion])[:, None] * np.exp(weeks)
    death_hazard = 0.0005 + 0.0010 * np.minimum(burden, 4) + 0.0084 * np.minimum(seeding, 3)
    new_hazard = 0.0007 + 0.009 * np.minimum(seeding, 3)
    draws = streams.uniform("fate", n, 3)
    times = []
    for hazard, draw in ((death_hazard, draws[:, 0]), (new_hazard, draws[:, 1])):
        cumulative = np.cumsum(hazard, axis=1)
        week = (cumulative < -np.log1p(-draw)[:, None]).sum(axis=1)
        times.append(np.where(week < GRID_WEEKS, 7 * week + 1 + np.floor(7 * draws[:, 2]).astype(np.int64), NEVER))
    return times[0], times[1]


@dataclass(frozen=True)
class _Scans:
    """What imaging found: (subjects, scans) arrays, baseline first, and how treatment ended."""

    day: np.ndarray  # since the first dose
    seen: np.ndarray  # the scan took place
    state: np.ndarray  # (subjects, scans, lesions)
    tenths: np.ndarray  # (subjects, scans, lesions) as read; 50 too small to measure
    target: np.ndarray  # response codes as the investigator reported them
    non_target: np.ndarray
    overall: np.ndarray
    new_from: np.ndarray  # scan at which new lesions were first seen; SCANS + 1: none
    sum_tenths: np.ndarray  # -1 when incomplete
    progression: np.ndarray  # day of the investigator's PD, else NEVER
    therapy: np.ndarray  # day of new anticancer therapy, else NEVER
    end: np.ndarray  # last day on treatment
    reason: np.ndarray  # disposition code; -1: still treated at the cut-off


def _image(streams: Streams, subjects: _Subjects, tumour: Tumour, n: int, alive: np.ndarray, new: np.ndarray) -> _Scans:
    """Read the lesions scan by scan, report responses, and let progression end treatment.

    Args:
        alive: last day, since the first dose, on which the subject can be seen (death, drop-out, cut-off).
        new: day of the first new lesion.
    """
    lesions = TARGETS + NON_TARGETS
    jitter = np.clip(np.round(2.5 * streams.normal("scan jitter", n, SCANS)), -6, 6).astype(np.int64)
    late = streams.uniform("late scans", n, SCANS)
    jitter += np.where(late < 0.03, 7, 0)
    day = np.concatenate([-streams.days("baseline scan", 1, 24, n)[:, None], 7 * np.array(IMAGING_WEEKS) + jitter], axis=1)
    day[:, 0] -= np.where(streams.uniform("early baseline", n) < 0.015, 12, 0)
    missed = streams.uniform("missed scans", n, SCANS) < 0.035

    exists = tumour.baseline_mm > 0
    target_exists = exists[:, :TARGETS]
    has_target, has_non_target = target_exists.any(axis=1), exists[:, TARGETS:].any(axis=1)
    node = tumour.organ == NODE
    ratio = np.stack([tumour.remaining(lesion, day) for lesion in range(lesions)], axis=2)
    true_mm = np.where(node[:, None, :], 5 + (tumour.baseline_mm[:, None, :] - 5) * np.cbrt(ratio),
                       tumour.baseline_mm[:, None, :] * np.cbrt(ratio))
    noise = streams.normal("reading", n, SCANS + 1, lesions)
    read = np.round(10 * true_mm * np.exp(0.05 * noise)).astype(np.int64)
    smallest = np.where(node, 150, 100)
    read[:, 0] = np.maximum(read[:, 0], smallest)  # chosen as targets because they measured so much
    read = np.where(subjects.coarse[:, None, None], (read + 5) // 10 * 10, read)

    state = np.full((n, SCANS + 1, lesions), NEVER_SEEN, dtype=np.int8)
    gone = ~node[:, None, :] & (true_mm < 3.2)
    small = ~node[:, None, :] & (true_mm < 5)
    state[:, :, :TARGETS] = np.where(gone, ABSENT, np.where(small, TOO_SMALL, MEASURED))[:, :, :TARGETS]
    state[:, :, TARGETS:] = np.where(gone | node[:, None, :] & (true_mm < 9), ABSENT, PRESENT)[:, :, TARGETS:]
    state[:, 0] = np.where(np.arange(lesions) < TARGETS, MEASURED, PRESENT)
    lowest = np.minimum.accumulate(ratio, axis=1)
    worse = (ratio > 6 * lowest) & (ratio > 1.2)
    state[:, :, TARGETS:] = np.where(worse, UNEQUIVOCAL, state)[:, :, TARGETS:]
    omitted = streams.uniform("not done", n, SCANS + 1, lesions) < 0.006
    omitted[:, 0] = False
    state[omitted] = NOT_DONE
    state = np.where(exists[:, None, :], state, NEVER_SEEN)
    tenths = np.select([state == TOO_SMALL, state == MEASURED], [50, read], 0)

    errors = streams.uniform("reporting errors", n, SCANS + 1, 2)
    goes_on = streams.uniform("treated beyond progression", n) < 0.08
    total = np.where(target_exists[:, None, :], tenths[:, :, :TARGETS], 0).sum(axis=2)
    complete = (state[:, :, :TARGETS] != NOT_DONE).all(axis=2)
    baseline = total[:, 0]
    seen = np.zeros((n, SCANS + 1), dtype=bool)
    seen[:, 0] = subjects.treated
    target, non_target, overall = (np.full((n, SCANS + 1), NA, dtype=np.int8) for _ in range(3))
    nadir, previous = baseline.copy(), baseline.copy()
    new_from = np.full(n, SCANS + 1)
    progression = np.full(n, NEVER)
    stopped = ~subjects.treated
    # Toxicity and decisions end treatment too; a third of these start something else, mostly before progression.
    toxicity = streams.waiting_days("toxicity", 0.0032, n)
    switched = streams.uniform("switch", n) < 0.4
    early_therapy = np.where(switched, toxicity + streams.days("switch delay", 21, 60, n), NEVER)
    last_scan = np.minimum(alive, early_therapy + np.where(streams.uniform("scan after switch", n) < 0.3, 60, 0))
    for scan in range(1, SCANS + 1):
        here = ~stopped & ~missed[:, scan - 1] & (day[:, scan] <= last_scan)
        seen[:, scan] = here
        new_from = np.where(here & (new <= day[:, scan]), np.minimum(new_from, scan), new_from)
        targets_now, others_now = state[:, scan, :TARGETS], state[:, scan, TARGETS:]
        values = tenths[:, scan, :TARGETS]
        forgot, slip = errors[:, scan, 0] < 0.10, errors[:, scan, 1] < 0.03
        reference = np.where(forgot, baseline, nadir)
        cleared = (~target_exists | np.where(node[:, :TARGETS], values < 100, values == 0)).all(axis=1) & complete[:, scan]
        grown = (5 * total[:, scan] >= 6 * reference) & (total[:, scan] - reference >= 50)
        shrunk = 10 * total[:, scan] <= 7 * np.where(slip, np.maximum(previous, 1), baseline)
        target[:, scan] = np.select(
            [~has_target, cleared, grown, ~complete[:, scan], shrunk], [NA, CR, PD, NE, PR], SD)
        non_target[:, scan] = np.select(
            [~has_non_target, (others_now == UNEQUIVOCAL).any(axis=1), (others_now == NOT_DONE).any(axis=1),
             (others_now <= ABSENT).all(axis=1)],
            [NA, PD, NE, CR], NN)
        t, nt = target[:, scan], non_target[:, scan]
        overall[:, scan] = np.select(
            [(t == PD) | (nt == PD) | (new_from <= scan), ~has_target, (t == CR) & (nt != CR) & (nt != NA)],
            [PD, nt, PR], t)
        usable = here & complete[:, scan]
        nadir = np.where(usable, np.minimum(nadir, total[:, scan]), nadir)
        previous = np.where(usable, total[:, scan], previous)
        progressed = here & (overall[:, scan] == PD)
        stopped |= progressed & ((progression < NEVER) | ~goes_on)
        progression = np.where(progressed, np.minimum(progression, day[:, scan]), progression)

    decided = streams.waiting_days("decision", 0.0010, n)
    candidates = np.stack([progression + streams.days("after progression", 1, 10, n), toxicity, decided, alive], axis=1)
    candidates[:, 0] = np.where(goes_on, candidates[:, 0] + 42, candidates[:, 0])
    first = np.argmin(candidates, axis=1)
    end = candidates[np.arange(n), first]
    reason = np.select([first == 0, first == 1, first == 2], [PROGRESSED, ADVERSE_EVENT, DECIDED], -1)
    late_therapy = np.where(streams.uniform("next line", n) < 0.8, end + streams.days("next line delay", 7, 45, n), NEVER)
    therapy = np.where(progression < NEVER, np.minimum(early_therapy, np.maximum(late_therapy, progression + 3)), early_therapy)
    therapy = np.where((therapy > end) & (therapy <= alive), therapy, NEVER)
    return _Scans(day, seen, state, tenths, target, non_target, overall, new_from,
                  np.where(complete & has_target[:, None], total, -1), progression, therapy, end, reason)


def simulate(subjects: int, seed: int, null: bool = False) -> SimulatedStudy:
    """Draw a whole study.

    Args:
        subjects: consented subjects, screen failures included.
        seed: not negative.
        null: serum HER2 follows the tumour of an independent stranger, so it looks the same and tells nothing.
    """
    n, streams = subjects, Streams(seed)
    people = _draw_subjects(streams, n)
    tumour = draw_tumour(streams, n, "tumour")
    death, new = _fate(streams, tumour, n)
    leaves = streams.waiting_days("drop-out", 0.0012, n)
    last = CUTOFF - people.first_dose
    alive = np.minimum(np.minimum(death - 1, leaves), last)
    scans = _image(streams, people, tumour, n, alive, new)
    day_of_death = np.where(people.treated & (death <= leaves) & (death <= last), people.first_dose + death, NEVER)

    study = SimulatedStudy(
        usubjid=np.array([f"S2-{site:03d}-{number:04d}" for number, site in enumerate(people.site, start=1)], dtype=object),
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


def _doses(streams: Streams, people: _Subjects, scans: _Scans, n: int) -> pd.DataFrame:
    """Infusions every three weeks with delays and reductions (5.4, 4.4, 3.2 mg/kg), at most ``CYCLES``."""
    u = streams.uniform("doses", n, CYCLES, 4)
    delay = np.select([u[:, :, 0] < 0.05, u[:, :, 0] < 0.13], [14, 7], np.floor(u[:, :, 0] * 50).astype(np.int64) % 3 - 1)
    day = np.concatenate([np.zeros((n, 1), dtype=np.int64), np.cumsum(21 + delay, axis=1)[:, :-1]], axis=1)
    reductions = np.minimum(np.cumsum((u[:, :, 1] < 0.018) & (np.arange(CYCLES) > 0), axis=1), 2)
    given = (day <= scans.end[:, None]) & people.treated[:, None]
    given[:, 0] = people.treated
    subject, cycle = np.nonzero(given)
    return _frame(
        people.first_dose[subject] + day[given] + np.floor(20 * u[:, :, 3][given]).astype(np.int64),
        subject=subject, cycle=cycle + 1, day=people.first_dose[subject] + day[given],
        minute=9 * 60 + 30 + 5 * np.floor(50 * u[:, :, 2][given]).astype(np.int64),
        dose=np.array([54, 44, 32])[reductions[given]],
    )


def _subject_rows(streams: Streams, people: _Subjects, death: np.ndarray, n: int) -> pd.DataFrame:
    """Demographics and HER2 status; a death is a second version of the row, entered later."""
    number = np.arange(n)
    columns = {
        "subject": number, "age": people.age, "male": people.male, "ihc": people.ihc, "ish": people.ish,
        "estrogen": people.estrogen, "progesterone": people.progesterone, "consent": people.consent,
        "tested": people.consent - streams.days("tested", 5, 60, n),
        "first_dose": np.where(people.treated, people.first_dose, NEVER),
        "enrolled": np.where(people.failed, NEVER, people.enrolled),
    }
    alive = _frame(people.consent + streams.days("enrolment entry", 5, 35, n), **columns, death=np.full(n, NEVER))
    dead = _frame(death + streams.days("death entry", 5, 40, n), **columns, death=death)
    dead["known_on"] = np.maximum(dead["known_on"], alive["known_on"] + 1)
    dead = dead[death < NEVER]
    alive.loc[death < NEVER, "superseded_on"] = dead["known_on"]
    return pd.concat([alive, dead], ignore_index=True)


def _samples(streams: Streams, people: _Subjects, scans: _Scans, doses: pd.DataFrame, alive: np.ndarray, n: int) -> pd.DataFrame:
    """Blood draws: before the infusion at the first three cycles, then with every scan from the second on."""
    plan = CYCLE_VISITS + SCANS
    u = streams.uniform("samples", n, plan, 4)
    day = np.full((n, plan), NEVER, dtype=np.int64)
    minute = 7 * 60 + 30 + np.floor(90 * u[:, :, 0]).astype(np.int64)
    early = doses[doses["cycle"] <= CYCLE_VISITS]
    rows, columns = early["subject"].to_numpy(), early["cycle"].to_numpy() - 1
    day[rows, columns] = early["day"].to_numpy()
    infused = np.full((n, plan), 0, dtype=np.int64)
    infused[rows, columns] = early["minute"].to_numpy()
    first_early = np.where(u[:, 0, 1] < 0.15, 1 + np.floor(20 * u[:, 0, 1]).astype(np.int64), 0)
    day[:, 0] = np.where(day[:, 0] < NEVER, day[:, 0] - first_early, NEVER)
    after = (u[:, :, 2] < 0.012) & (day < NEVER)
    after[:, 0] &= first_early == 0
    minute = np.where(after, infused + 45 + np.floor(120 * u[:, :, 0]).astype(np.int64), minute)
    with_scan = people.first_dose[:, None] + scans.day[:, 2:] + np.floor(4 * u[:, CYCLE_VISITS + 1:, 1]).astype(np.int64) - 1
    day[:, CYCLE_VISITS + 1:] = np.where(scans.seen[:, 2:], with_scan, NEVER)
    day[day > (people.first_dose + alive)[:, None]] = NEVER
    day[u[:, :, 3] < 0.02] = NEVER
    drawn = day < NEVER
    subject, place = np.nonzero(drawn)
    # The plan's fourth place would be week 6, where cycle 3 has just been sampled.
    return pd.DataFrame({"subject": subject, "place": place, "visit": 1 + place, "day": day[drawn], "minute": minute[drawn]})


_NOISE_SD = np.array([0.10, 0.06, 0.07, 0.08, 0.12])


def _lab_rows(streams: Streams, people: _Subjects, tumour: Tumour, shedder: Tumour, samples: pd.DataFrame, n: int) -> pd.DataFrame:
    """Serum HER2 and the usual panel for every blood draw.

    HER2 = what healthy tissue sheds + tumour mass x the patient's shedding, both held back by the antibody; times
    assay noise (CV about 10 %).
    """
    plan = CYCLE_VISITS + SCANS
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
    level = np.stack([
        floor + shed,
        14 * np.exp(0.4 * patient[subject, 2]) + 0.7 * np.exp(0.8 * patient[subject, 2]) * mass,
        1.6 * np.exp(0.5 * patient[subject, 3]) + 0.06 * np.exp(patient[subject, 3]) * mass,
        195 * np.exp(0.18 * patient[subject, 4]) + 0.8 * mass,
        24 * np.exp(0.4 * patient[subject, 5]) * (1 + 0.25 * bound),
    ], axis=1)

    laboratory = np.where(people.site <= 6, NORTH, SOUTH)[subject]
    # Accrual-weighted sites make the northern laboratory the larger; the southern one changes its assay.
    assay = np.where((laboratory == SOUTH) & (day >= ASSAY_SWITCH), CLIA, ELISA)
    level[:, 0] *= np.where(assay == CLIA, CLIA_CALIBRATION, 1)
    noise = streams.normal("assay noise", n, plan, len(ANALYTES))[subject, place]
    value = np.maximum(np.round(10 * level * np.exp(_NOISE_SD * noise)), 1).astype(np.int64)
    value[:, 3:] = (value[:, 3:] + 5) // 10 * 10

    turnaround = streams.uniform("turnaround", n, plan, 2)[subject, place]
    reported = day + 1 + np.floor(5 * turnaround[:, 0] ** 2).astype(np.int64)
    panel = len(ANALYTES)
    analyte = np.tile(np.arange(panel), len(samples))
    assays = np.stack([assay, *(np.full(len(samples), kind) for kind in (ECLIA, ECLIA, PHOTOMETRY, PHOTOMETRY))], axis=1)

    def each(values: np.ndarray) -> np.ndarray:
        return np.repeat(np.asarray(values), panel)

    return _frame(
        each(reported), subject=each(subject).astype(np.int32), visit=each(samples["visit"]).astype(np.int8),
        place=each(place).astype(np.int8), analyte=analyte.astype(np.int8), day=each(day).astype(np.int32),
        minute=each(samples["minute"]).astype(np.int16), value=value.ravel().astype(np.int32),
        laboratory=each(laboratory).astype(np.int8), assay=assays.ravel().astype(np.int8),
        reported_day=each(reported).astype(np.int32),
        reported_minute=each(10 * 60 + np.floor(360 * turnaround[:, 1])).astype(np.int16),
        status=np.full(panel * len(samples), FINAL, dtype=np.int8),
    )


def _visit_rows(streams: Streams, people: _Subjects, scans: _Scans, samples: pd.DataFrame) -> pd.DataFrame:
    """One row a visit: screening, the first cycles, and the weeks with a scan or a sample."""
    subject, scan = np.nonzero(scans.seen)
    visit = np.where(scan == 0, SCREENING, FIRST_SCAN + scan - 1)
    seen = pd.DataFrame({"subject": subject, "visit": visit, "day": people.first_dose[subject] + scans.day[scans.seen]})
    rows = pd.concat([seen, samples[["subject", "visit", "day"]]]).drop_duplicates(["subject", "visit"])
    rows = rows.sort_values(["subject", "day", "visit"], kind="stable", ignore_index=True)
    entered = streams.uniform("visit entry", len(people.site), len(VISITS))[rows["subject"], rows["visit"]]
    return _frame(rows["day"] + 2 + np.floor(25 * entered).astype(np.int64),
                  **{name: rows[name].to_numpy() for name in ("subject", "visit", "day")})


def _imaging_rows(streams: Streams, people: _Subjects, tumour: Tumour, scans: _Scans, n: int) -> dict[str, pd.DataFrame]:
    """Identifications, measurements and reported responses of the scans that took place."""
    lesions = TARGETS + NON_TARGETS
    entered = people.first_dose[:, None] + scans.day + streams.days("reading entry", 5, 21, n, SCANS + 1)
    day = people.first_dose[:, None] + scans.day
    visit_of_scan = np.where(np.arange(SCANS + 1) == 0, SCREENING, FIRST_SCAN + np.arange(SCANS + 1) - 1)

    subject, lesion = np.nonzero((scans.state[:, 0] != NEVER_SEEN) & scans.seen[:, :1])
    known = _frame(entered[subject, 0], subject=subject, lesion=lesion, organ=tumour.organ[subject, lesion],
                   visit=np.full(subject.size, SCREENING), day=day[subject, 0])
    several = 1 + (streams.uniform("new lesions", n, 1 + NEW_LESIONS)[:, 0] < 0.35)
    place = streams.uniform("new lesion organs", n, NEW_LESIONS)
    subject = np.flatnonzero(scans.new_from <= SCANS)
    subject = np.repeat(subject, several[subject])
    lesion = lesions + (np.concatenate([[0], np.diff(subject)]) == 0) * (np.arange(subject.size) > 0)
    scan = scans.new_from[subject]
    found = _frame(entered[subject, scan], subject=subject, lesion=lesion,
                   organ=_pick(place[subject, lesion - lesions], *_ORGAN_WEIGHTS[:-1]),
                   visit=visit_of_scan[scan], day=day[subject, scan])

    shown = (scans.state != NEVER_SEEN) & scans.seen[:, :, None]
    subject, scan, lesion = np.nonzero(shown)
    single = _frame(
        entered[subject, scan], subject=subject, lesion=lesion, visit=visit_of_scan[scan], day=day[subject, scan],
        state=scans.state[shown], value=scans.tenths[shown],
        test=np.select([lesion >= TARGETS, tumour.organ[subject, lesion] == NODE], [TUMSTATE, SHORT_AXIS], LONGEST),
    )
    # A node's short axis counts; its long axis is written down all the same.
    axis = single[(single["test"] == SHORT_AXIS) & (single["state"] == MEASURED)].assign(test=LONGEST)
    axis["value"] = axis["value"] * 13 // 100 * 10
    complete = scans.seen & (scans.sum_tenths >= 0)
    subject, scan = np.nonzero(complete)
    sums = _frame(entered[subject, scan], subject=subject, lesion=np.full(subject.size, -1), visit=visit_of_scan[scan],
                  day=day[subject, scan], state=np.full(subject.size, MEASURED), value=scans.sum_tenths[complete],
                  test=np.full(subject.size, SUM))
    after = scans.seen.copy()
    after[:, 0] = False
    subject, scan = np.nonzero(after)
    responses = _frame(
        entered[subject, scan], subject=subject, visit=visit_of_scan[scan], day=day[subject, scan],
        target=scans.target[after], non_target=scans.non_target[after],
        new=scans.new_from[subject] <= scan, overall=scans.overall[after],
    )
    return {"lesions": pd.concat([known, found], ignore_index=True),
            "measurements": pd.concat([single, axis, sums], ignore_index=True), "responses": responses}


def _course_rows(streams: Streams, people: _Subjects, scans: _Scans, death: np.ndarray, leaves: np.ndarray,
                 alive: np.ndarray, n: int) -> dict[str, pd.DataFrame]:
    """Dispositions, therapies and survival contacts."""
    entry = streams.days("course entry", 3, 30, n, 8)
    lost = streams.uniform("lost", n) < 0.4
    left = people.treated & (leaves < NEVER) & (alive == leaves)
    reason = np.where(scans.reason >= 0, scans.reason,
                      np.select([death < NEVER, left & lost, left], [DIED, LOST, WITHDREW], -1))
    ended = people.treated & (reason >= 0)
    end_day = np.where(reason == DIED, death, people.first_dose + scans.end)
    last_seen = people.first_dose + alive
    never_treated = ~people.failed & ~people.treated
    events = [
        (np.ones(n, dtype=bool), MILESTONE, np.full(n, CONSENTED), people.consent),
        (~people.failed, MILESTONE, np.full(n, ENROLLED), people.enrolled),
        (people.failed, STUDY, np.full(n, FAILED), people.consent + 10),
        (never_treated, STUDY, np.full(n, WITHDREW), people.enrolled + 6),
        (ended, TREATMENT, reason, end_day),
        (death < NEVER, STUDY, np.full(n, DIED), death),
        (left, STUDY, np.where(lost, LOST, WITHDREW), last_seen),
    ]
    dispositions = pd.concat([
        _frame((day + entry[:, column])[takes], subject=np.flatnonzero(takes), category=np.full(takes.sum(), category),
               term=term[takes], day=day[takes])
        for column, (takes, category, term, day) in enumerate(events)
    ], ignore_index=True)

    u = streams.uniform("therapies", n, 6)
    prior_from = people.consent - 200 - np.floor(900 * u[:, 0]).astype(np.int64)
    everyone = np.ones(n, dtype=bool)
    lines = [
        (people.estrogen, np.zeros(n, dtype=np.int64), prior_from),
        (everyone, 1 + _pick(u[:, 1], 0.6), prior_from + 150),
        (people.treated & (u[:, 2] < 0.5), np.full(n, 6), people.first_dose),
        (scans.therapy < NEVER, np.where(u[:, 3] < 0.07, 5, 2 + _pick(u[:, 3], 0.3, 0.4)), people.first_dose + scans.therapy),
    ]
    therapies = pd.concat([
        _frame(np.maximum(day, people.consent)[takes] + entry[takes, 7], subject=np.flatnonzero(takes),
               therapy=therapy[takes], day=day[takes], vague=np.where(day < people.consent, u[:, 5] < 0.3, False)[takes])
        for takes, therapy, day in lines
    ], ignore_index=True)

    # Contacts every twelve weeks once treatment has ended, and the last one when somebody was seen alive.
    contact = np.arange(1, 16) * 84
    called = (people.treated & ended)[:, None] & (scans.end[:, None] + contact < alive[:, None])
    subject, step = np.nonzero(called)
    day = people.first_dose[subject] + scans.end[subject] + contact[step]
    at_cutoff = people.treated & (death == NEVER) & ~left
    lag = streams.days("last contact", 0, 40, n)
    last_call = np.maximum(last_seen - lag, people.first_dose)
    survival = pd.concat([
        _frame(day + 7, subject=subject, dead=np.zeros(day.size, dtype=bool), day=day),
        _frame(last_call[at_cutoff] + 5, subject=np.flatnonzero(at_cutoff), dead=np.zeros(at_cutoff.sum(), dtype=bool),
               day=last_call[at_cutoff]),
        _frame((death + entry[:, 5])[death < NEVER], subject=np.flatnonzero(death < NEVER),
               dead=np.ones((death < NEVER).sum(), dtype=bool), day=death[death < NEVER]),
    ], ignore_index=True)
    return {"dispositions": dispositions, "therapies": therapies, "survival": survival}
