"""The joint model: what happens to each simulated patient, as numbers.

Tumour burden drives everything that is linked: lesion diameters, new lesions, death, and what HER2 is shed into
serum. What is written down of it belongs to ``records``.

All arrays are vectorised over subjects. Every purpose has its own random stream, drawn subject after subject, so a
subject's course depends on the seed and on its number, not on how many subjects there are.

Days are whole days, since 1970-01-01 or since the first dose, ``NEVER`` when something does not happen; diameters
are tenths of a millimetre, so that rounding is exact.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from orchestration.simulate import codes


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


def pick(draw: np.ndarray, *shares: float) -> np.ndarray:
    """Index of the share that a uniform draw falls into; the last one takes the rest."""
    return np.searchsorted(np.cumsum(shares), draw, side="right")


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
        return sum(
            self.mass_cm3[:, lesion, None] * self.remaining(lesion, days) for lesion in range(self.organ.shape[1])
        )

    def total_diameter_mm(self, days: np.ndarray) -> np.ndarray:
        return sum(
            self.baseline_mm[:, lesion, None] * np.cbrt(self.remaining(lesion, days))
            for lesion in range(self.organ.shape[1])
        )


def draw_tumour(streams: Streams, subjects: int, whose: str) -> Tumour:
    """Random effects of patient and lesion. ``whose`` names the streams: null studies shed like a stranger's tumour."""
    lesions = codes.TARGETS + codes.NON_TARGETS
    # Each organ stands twice in the lottery: RECIST takes at most two targets from one.
    lottery = np.repeat(np.arange(len(codes.ORGANS)), 2)
    luck = -np.log(-np.log(streams.uniform(f"{whose}: organs", subjects, lottery.size)))
    keys = np.log(codes.ORGAN_WEIGHTS)[lottery] + luck
    organ = lottery[np.argsort(-keys, axis=1, kind="stable")[:, :lesions]]

    counts = streams.uniform(f"{whose}: lesion counts", subjects, 2)
    targets = pick(counts[:, 0], 0.02, 0.22, 0.27, 0.24, 0.14)
    non_targets = np.maximum(pick(counts[:, 1], 0.25, 0.35, 0.25), targets == 0)
    slot = np.arange(lesions)
    exists = np.where(slot < codes.TARGETS, slot < targets[:, None], slot - codes.TARGETS < non_targets[:, None])

    size = streams.normal(f"{whose}: sizes", subjects, lesions)
    node = organ == codes.NODE
    diameter = np.where(node, np.clip(20 * np.exp(0.25 * size), 15.5, 50), np.clip(23 * np.exp(0.45 * size), 11, 110))

    patient = streams.normal(f"{whose}: response", subjects, 3)
    lesion = streams.normal(f"{whose}: lesion response", subjects, lesions, 3)
    exceptional = streams.uniform(f"{whose}: exceptional", subjects) < 0.05
    logit = -1.80 + 1.75 * patient[:, 0, None] + 0.35 * lesion[:, :, 0]
    logit = np.where(exceptional[:, None], logit - 6, logit)
    growth = 0.32 * patient[:, 0, None] + 0.38 * patient[:, 2, None] + 0.10 * lesion[:, :, 2]
    return Tumour(
        baseline_mm=np.where(exists, diameter, 0),
        organ=organ,
        resistant=1 / (1 + np.exp(-logit)),
        kill_per_week=0.28 * np.exp(0.40 * patient[:, 1, None] + 0.15 * lesion[:, :, 1]),
        growth_per_week=0.0245 * np.exp(growth),
    )


@dataclass(frozen=True)
class Subjects:
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


def draw_subjects(streams: Streams, n: int) -> Subjects:
    u = streams.uniform("subjects", n, 9)
    site = 1 + np.floor(_SITES * u[:, 0] ** 1.4).astype(np.int64)
    ihc = pick(u[:, 1], 0.015, 0.56, 0.415)
    ish = np.select(
        [ihc == 2, ihc == 1],
        [pick(u[:, 2], 0.975, 0.015), np.where(u[:, 2] < 0.3, 0, 2)],  # 2+ needs ISH; a 1+ seldom gets one
        2,
    )
    receptor = u[:, 3] < 0.88
    enrolled = codes.FIRST_ENROLMENT + np.floor(codes.ACCRUAL_DAYS * u[:, 4]).astype(np.int64)
    failed = u[:, 5] < 0.035
    treated = ~failed & (u[:, 5] < 0.985)
    return Subjects(
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


def fate(streams: Streams, tumour: Tumour, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Days from the first dose to death and to the first new lesion, from hazards that rise with the burden."""
    grid = np.broadcast_to(7 * np.arange(codes.GRID_WEEKS), (n, codes.GRID_WEEKS))
    burden = tumour.total_diameter_mm(grid) / 100
    seeding = np.zeros((n, codes.GRID_WEEKS))
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
        times.append(
            np.where(week < codes.GRID_WEEKS, 7 * week + 1 + np.floor(7 * draws[:, 2]).astype(np.int64), codes.NEVER)
        )
    return times[0], times[1]


@dataclass(frozen=True)
class Scans:
    """What the radiologist wrote down, had every scan been done; (subjects, scans) arrays, baseline first."""

    day: np.ndarray  # since the first dose
    state: np.ndarray  # (subjects, scans, lesions)
    tenths: np.ndarray  # (subjects, scans, lesions) of a millimetre; 50 where too small to measure, 0 where absent

    @property
    def target_state(self) -> np.ndarray:
        return self.state[:, :, : codes.TARGETS]

    @property
    def target_tenths(self) -> np.ndarray:
        return self.tenths[:, :, : codes.TARGETS]

    @property
    def other_state(self) -> np.ndarray:
        return self.state[:, :, codes.TARGETS :]

    @property
    def sums(self) -> np.ndarray:
        """Sum of the targets that were measured."""
        return self.target_tenths.sum(axis=2)

    @property
    def is_complete(self) -> np.ndarray:
        return (self.target_state != codes.NOT_DONE).all(axis=2)


def scan_lesions(streams: Streams, people: Subjects, tumour: Tumour, n: int) -> Scans:
    """Measure every lesion at every planned scan, with jitter of the day and a reader's error of about 5 %."""
    lesions = codes.TARGETS + codes.NON_TARGETS
    planned = 7 * np.array(codes.IMAGING_WEEKS)
    jitter = np.clip(np.round(2.5 * streams.normal("scan jitter", n, codes.SCANS)), -6, 6).astype(np.int64)
    jitter += np.where(streams.uniform("late scans", n, codes.SCANS) < 0.03, 7, 0)
    baseline = -streams.days("baseline scan", 1, 24, n)
    baseline -= np.where(streams.uniform("early baseline", n) < 0.015, 12, 0)  # some outside the window of 28 days
    day = np.concatenate([baseline[:, None], planned + jitter], axis=1)

    is_target = np.arange(lesions) < codes.TARGETS
    is_node = (tumour.organ == codes.NODE)[:, None, :]
    mass = np.stack([tumour.remaining(lesion, day) for lesion in range(lesions)], axis=2)
    rest_mm = np.where(is_node, 5, 0)  # a healed node stays as a normal one
    size_mm = rest_mm + (tumour.baseline_mm[:, None, :] - rest_mm) * np.cbrt(mass)
    error = np.exp(0.05 * streams.normal("reading", n, codes.SCANS + 1, lesions))
    tenths = np.round(10 * size_mm * error).astype(np.int64)
    tenths[:, 0] = np.maximum(tenths[:, 0], np.where(is_node[:, 0], 150, 100))  # chosen because they measured so much
    tenths = np.where(people.coarse[:, None, None], (tenths + 5) // 10 * 10, tenths)

    target = np.select(
        [~is_node & (size_mm < 3.2), ~is_node & (size_mm < 5)], [codes.ABSENT, codes.TOO_SMALL], codes.MEASURED
    )
    other = np.where(size_mm < np.where(is_node, 9, 3.2), codes.ABSENT, codes.PRESENT)
    worse = (mass > 6 * np.minimum.accumulate(mass, axis=1)) & (mass > 1.2)
    state = np.where(is_target, target, np.where(worse, codes.UNEQUIVOCAL, other))
    state[streams.uniform("not done", n, codes.SCANS + 1, lesions) < 0.006] = codes.NOT_DONE
    state[:, 0] = np.where(is_target, codes.MEASURED, codes.PRESENT)
    state = np.where(tumour.baseline_mm[:, None, :] > 0, state, codes.NEVER_SEEN)
    return Scans(day, state, np.select([state == codes.TOO_SMALL, state == codes.MEASURED], [50, tenths], 0))


@dataclass(frozen=True)
class Assessments:
    """What the investigator reported, and which scans took place; (subjects, scans) arrays, baseline first."""

    seen: np.ndarray
    target: np.ndarray  # codes of a response
    non_target: np.ndarray
    overall: np.ndarray
    new_from: np.ndarray  # by subject: scan at which new lesions were first seen; SCANS + 1: none
    progression: np.ndarray  # by subject: day of the first PD, else NEVER
    goes_on: np.ndarray  # by subject: treated beyond progression


def assess(
    streams: Streams, tumour: Tumour, scans: Scans, n: int, last_scan: np.ndarray, new: np.ndarray
) -> Assessments:
    """Report scan by scan, with the odd human error; imaging ends with progression.

    Args:
        last_scan: last day on which a subject comes to a scan; before the first dose for those never treated.
        new: day of the first new lesion.
    """
    has_lesion = tumour.baseline_mm > 0
    is_target, is_node = has_lesion[:, : codes.TARGETS], tumour.organ[:, : codes.TARGETS] == codes.NODE
    has_target, has_other = is_target.any(axis=1), has_lesion[:, codes.TARGETS :].any(axis=1)
    missed = streams.uniform("missed scans", n, codes.SCANS) < 0.035
    errors = streams.uniform("reporting errors", n, codes.SCANS + 1, 2)
    goes_on = streams.uniform("treated beyond progression", n) < 0.08

    sums, is_complete = scans.sums, scans.is_complete
    baseline = sums[:, 0]
    nadir = previous = baseline
    seen = np.zeros((n, codes.SCANS + 1), dtype=bool)
    seen[:, 0] = last_scan >= 0
    target, non_target, overall = (np.full((n, codes.SCANS + 1), codes.NA) for _ in range(3))
    new_from, progression = np.full(n, codes.SCANS + 1), np.full(n, codes.NEVER)
    stopped = np.zeros(n, dtype=bool)
    for scan in range(1, codes.SCANS + 1):
        day, total, complete = scans.day[:, scan], sums[:, scan], is_complete[:, scan]
        here = ~stopped & ~missed[:, scan - 1] & (day <= last_scan)
        seen[:, scan] = here
        new_from = np.where(here & (new <= day), np.minimum(new_from, scan), new_from)

        # Errors: the nadir is forgotten, or the fall is taken from the previous scan.
        nadir_used = np.where(errors[:, scan, 0] < 0.10, baseline, nadir)
        baseline_used = np.where(errors[:, scan, 1] < 0.03, np.maximum(previous, 1), baseline)
        values = scans.target_tenths[:, scan]
        cleared = (~is_target | np.where(is_node, values < 100, values == 0)).all(axis=1) & complete
        grown = (5 * total >= 6 * nadir_used) & (total - nadir_used >= 50)
        shrunk = 10 * total <= 7 * baseline_used
        t = target[:, scan] = np.select(
            [~has_target, cleared, grown, ~complete, shrunk],
            [codes.NA, codes.CR, codes.PD, codes.NE, codes.PR],
            codes.SD,
        )
        others = scans.other_state[:, scan]
        progressive, not_done = (others == codes.UNEQUIVOCAL).any(axis=1), (others == codes.NOT_DONE).any(axis=1)
        healed = (others <= codes.ABSENT).all(axis=1)
        nt = non_target[:, scan] = np.select(
            [~has_other, progressive, not_done, healed], [codes.NA, codes.PD, codes.NE, codes.CR], codes.NN
        )
        progressed = (t == codes.PD) | (nt == codes.PD) | (new_from <= scan)
        not_all_gone = (t == codes.CR) & (nt != codes.CR) & (nt != codes.NA)
        overall[:, scan] = np.select([progressed, ~has_target, not_all_gone], [codes.PD, nt, codes.PR], t)

        nadir = np.where(here & complete, np.minimum(nadir, total), nadir)
        previous = np.where(here & complete, total, previous)
        stopped |= here & progressed & ((progression < codes.NEVER) | ~goes_on)
        progression = np.where(here & progressed, np.minimum(progression, day), progression)
    return Assessments(seen, target, non_target, overall, new_from, progression, goes_on)


@dataclass(frozen=True)
class Course:
    """How treatment went on and ended; days since the first dose, by subject."""

    alive: np.ndarray  # last day on which the subject can be seen
    scans: Scans
    assessed: Assessments
    end: np.ndarray  # last day on treatment
    reason: np.ndarray  # code of a disposition; -1: still treated at the cut-off
    therapy: np.ndarray  # new anticancer therapy, else NEVER
    left: np.ndarray  # code of the disposition of those who leave the study alive before the cut-off, else -1


def follow(streams: Streams, people: Subjects, tumour: Tumour, n: int, death: np.ndarray, new: np.ndarray) -> Course:
    """Treat until progression, toxicity, a decision, death, drop-out or the cut-off.

    Args:
        death: day of death, seen or not.
        new: day of the first new lesion.
    """
    leaves = streams.waiting_days("drop-out", 0.0012, n)
    alive = np.minimum(np.minimum(death - 1, leaves), codes.CUTOFF - people.first_dose)
    toxicity = streams.waiting_days("toxicity", 0.0032, n)
    decision = streams.waiting_days("decision", 0.0010, n)
    # Some who stop for toxicity start something else before they progress; a few of these are scanned once more.
    switches = streams.uniform("switch", n) < 0.4
    early_therapy = np.where(switches, toxicity + streams.days("switch delay", 21, 60, n), codes.NEVER)
    last_scan = np.minimum(alive, early_therapy + np.where(streams.uniform("scan after switch", n) < 0.3, 60, 0))
    scans = scan_lesions(streams, people, tumour, n)
    assessed = assess(streams, tumour, scans, n, np.where(people.treated, last_scan, -1), new)

    told = assessed.progression + streams.days("after progression", 1, 10, n) + np.where(assessed.goes_on, 42, 0)
    lost = np.where(streams.uniform("lost", n) < 0.4, codes.LOST, codes.WITHDREW)
    left = np.where(people.treated & (alive == leaves) & (alive < death - 1), lost, -1)
    ends = np.stack([told, toxicity, decision, alive], axis=1)
    first, end = ends.argmin(axis=1), ends.min(axis=1)
    last = np.where(alive == death - 1, codes.DIED, left)
    reason = np.select(
        [first == 0, first == 1, first == 2], [codes.PROGRESSED, codes.ADVERSE_EVENT, codes.DECIDED], last
    )

    has_next_line = streams.uniform("next line", n) < 0.8
    next_line = np.where(has_next_line, end + streams.days("next line delay", 7, 45, n), codes.NEVER)
    after_progression = np.minimum(early_therapy, np.maximum(next_line, assessed.progression + 3))
    therapy = np.where(assessed.progression < codes.NEVER, after_progression, early_therapy)
    therapy = np.where((therapy > end) & (therapy <= alive), therapy, codes.NEVER)
    return Course(alive, scans, assessed, end, reason, therapy, left)


@dataclass(frozen=True)
class Patients:
    """Everybody, with everything that happens to them."""

    people: Subjects
    tumour: Tumour
    course: Course
    death: np.ndarray  # day since 1970, NEVER unless the study learns of it

    @property
    def count(self) -> int:
        return len(self.death)


def draw_patients(streams: Streams, n: int) -> Patients:
    people, tumour = draw_subjects(streams, n), draw_tumour(streams, n, "tumour")
    death, new = fate(streams, tumour, n)
    course = follow(streams, people, tumour, n, death, new)
    dies = people.treated & (course.alive == death - 1)
    return Patients(people, tumour, course, np.where(dies, people.first_dose + death, codes.NEVER))
