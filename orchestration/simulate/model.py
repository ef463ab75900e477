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
    keys = np.log(codes.ORGAN_WEIGHTS)[lottery] - np.log(
        -np.log(streams.uniform(f"{whose}: organs", subjects, lottery.size))
    )
    organ = lottery[np.argsort(-keys, axis=1, kind="stable")[:, :lesions]]

    counts = streams.uniform(f"{whose}: lesion counts", subjects, 2)
    targets = np.searchsorted(np.cumsum([0.02, 0.22, 0.27, 0.24, 0.14]), counts[:, 0], side="right")
    non_targets = np.searchsorted(np.cumsum([0.25, 0.35, 0.25]), counts[:, 1], side="right")
    non_targets = np.maximum(non_targets, targets == 0)
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
    return Tumour(
        baseline_mm=np.where(exists, diameter, 0),
        organ=organ,
        resistant=1 / (1 + np.exp(-logit)),
        kill_per_week=0.28 * np.exp(0.40 * patient[:, 1, None] + 0.15 * lesion[:, :, 1]),
        growth_per_week=0.0245
        * np.exp(0.32 * patient[:, 0, None] + 0.38 * patient[:, 2, None] + 0.10 * lesion[:, :, 2]),
    )


def pick(draw: np.ndarray, *shares: float) -> np.ndarray:
    """Index of the share that a uniform draw falls into; the last one takes the rest."""
    return np.searchsorted(np.cumsum(shares), draw, side="right")


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


def image(streams: Streams, subjects: Subjects, tumour: Tumour, n: int, alive: np.ndarray, new: np.ndarray) -> Scans:
    """Read the lesions scan by scan, report responses, and let progression end treatment.

    Args:
        alive: last day, since the first dose, on which the subject can be seen (death, drop-out, cut-off).
        new: day of the first new lesion.
    """
    lesions = codes.TARGETS + codes.NON_TARGETS
    jitter = np.clip(np.round(2.5 * streams.normal("scan jitter", n, codes.SCANS)), -6, 6).astype(np.int64)
    late = streams.uniform("late scans", n, codes.SCANS)
    jitter += np.where(late < 0.03, 7, 0)
    day = np.concatenate(
        [-streams.days("baseline scan", 1, 24, n)[:, None], 7 * np.array(codes.IMAGING_WEEKS) + jitter], axis=1
    )
    day[:, 0] -= np.where(streams.uniform("early baseline", n) < 0.015, 12, 0)
    missed = streams.uniform("missed scans", n, codes.SCANS) < 0.035

    exists = tumour.baseline_mm > 0
    target_exists = exists[:, : codes.TARGETS]
    has_target, has_non_target = target_exists.any(axis=1), exists[:, codes.TARGETS :].any(axis=1)
    node = tumour.organ == codes.NODE
    ratio = np.stack([tumour.remaining(lesion, day) for lesion in range(lesions)], axis=2)
    true_mm = np.where(
        node[:, None, :],
        5 + (tumour.baseline_mm[:, None, :] - 5) * np.cbrt(ratio),
        tumour.baseline_mm[:, None, :] * np.cbrt(ratio),
    )
    noise = streams.normal("reading", n, codes.SCANS + 1, lesions)
    read = np.round(10 * true_mm * np.exp(0.05 * noise)).astype(np.int64)
    smallest = np.where(node, 150, 100)
    read[:, 0] = np.maximum(read[:, 0], smallest)  # chosen as targets because they measured so much
    read = np.where(subjects.coarse[:, None, None], (read + 5) // 10 * 10, read)

    state = np.full((n, codes.SCANS + 1, lesions), codes.NEVER_SEEN, dtype=np.int8)
    gone = ~node[:, None, :] & (true_mm < 3.2)
    small = ~node[:, None, :] & (true_mm < 5)
    state[:, :, : codes.TARGETS] = np.where(gone, codes.ABSENT, np.where(small, codes.TOO_SMALL, codes.MEASURED))[
        :, :, : codes.TARGETS
    ]
    state[:, :, codes.TARGETS :] = np.where(gone | node[:, None, :] & (true_mm < 9), codes.ABSENT, codes.PRESENT)[
        :, :, codes.TARGETS :
    ]
    state[:, 0] = np.where(np.arange(lesions) < codes.TARGETS, codes.MEASURED, codes.PRESENT)
    lowest = np.minimum.accumulate(ratio, axis=1)
    worse = (ratio > 6 * lowest) & (ratio > 1.2)
    state[:, :, codes.TARGETS :] = np.where(worse, codes.UNEQUIVOCAL, state)[:, :, codes.TARGETS :]
    omitted = streams.uniform("not done", n, codes.SCANS + 1, lesions) < 0.006
    omitted[:, 0] = False
    state[omitted] = codes.NOT_DONE
    state = np.where(exists[:, None, :], state, codes.NEVER_SEEN)
    tenths = np.select([state == codes.TOO_SMALL, state == codes.MEASURED], [50, read], 0)

    errors = streams.uniform("reporting errors", n, codes.SCANS + 1, 2)
    goes_on = streams.uniform("treated beyond progression", n) < 0.08
    total = np.where(target_exists[:, None, :], tenths[:, :, : codes.TARGETS], 0).sum(axis=2)
    complete = (state[:, :, : codes.TARGETS] != codes.NOT_DONE).all(axis=2)
    baseline = total[:, 0]
    seen = np.zeros((n, codes.SCANS + 1), dtype=bool)
    seen[:, 0] = subjects.treated
    target, non_target, overall = (np.full((n, codes.SCANS + 1), codes.NA, dtype=np.int8) for _ in range(3))
    nadir, previous = baseline.copy(), baseline.copy()
    new_from = np.full(n, codes.SCANS + 1)
    progression = np.full(n, codes.NEVER)
    stopped = ~subjects.treated
    # Toxicity and decisions end treatment too; a third of these start something else, mostly before progression.
    toxicity = streams.waiting_days("toxicity", 0.0032, n)
    switched = streams.uniform("switch", n) < 0.4
    early_therapy = np.where(switched, toxicity + streams.days("switch delay", 21, 60, n), codes.NEVER)
    last_scan = np.minimum(alive, early_therapy + np.where(streams.uniform("scan after switch", n) < 0.3, 60, 0))
    for scan in range(1, codes.SCANS + 1):
        here = ~stopped & ~missed[:, scan - 1] & (day[:, scan] <= last_scan)
        seen[:, scan] = here
        new_from = np.where(here & (new <= day[:, scan]), np.minimum(new_from, scan), new_from)
        others_now = state[:, scan, codes.TARGETS :]
        values = tenths[:, scan, : codes.TARGETS]
        forgot, slip = errors[:, scan, 0] < 0.10, errors[:, scan, 1] < 0.03
        reference = np.where(forgot, baseline, nadir)
        cleared = (~target_exists | np.where(node[:, : codes.TARGETS], values < 100, values == 0)).all(
            axis=1
        ) & complete[:, scan]
        grown = (5 * total[:, scan] >= 6 * reference) & (total[:, scan] - reference >= 50)
        shrunk = 10 * total[:, scan] <= 7 * np.where(slip, np.maximum(previous, 1), baseline)
        target[:, scan] = np.select(
            [~has_target, cleared, grown, ~complete[:, scan], shrunk],
            [codes.NA, codes.CR, codes.PD, codes.NE, codes.PR],
            codes.SD,
        )
        non_target[:, scan] = np.select(
            [
                ~has_non_target,
                (others_now == codes.UNEQUIVOCAL).any(axis=1),
                (others_now == codes.NOT_DONE).any(axis=1),
                (others_now <= codes.ABSENT).all(axis=1),
            ],
            [codes.NA, codes.PD, codes.NE, codes.CR],
            codes.NN,
        )
        t, nt = target[:, scan], non_target[:, scan]
        overall[:, scan] = np.select(
            [
                (t == codes.PD) | (nt == codes.PD) | (new_from <= scan),
                ~has_target,
                (t == codes.CR) & (nt != codes.CR) & (nt != codes.NA),
            ],
            [codes.PD, nt, codes.PR],
            t,
        )
        usable = here & complete[:, scan]
        nadir = np.where(usable, np.minimum(nadir, total[:, scan]), nadir)
        previous = np.where(usable, total[:, scan], previous)
        progressed = here & (overall[:, scan] == codes.PD)
        stopped |= progressed & ((progression < codes.NEVER) | ~goes_on)
        progression = np.where(progressed, np.minimum(progression, day[:, scan]), progression)

    decided = streams.waiting_days("decision", 0.0010, n)
    candidates = np.stack([progression + streams.days("after progression", 1, 10, n), toxicity, decided, alive], axis=1)
    candidates[:, 0] = np.where(goes_on, candidates[:, 0] + 42, candidates[:, 0])
    first = np.argmin(candidates, axis=1)
    end = candidates[np.arange(n), first]
    reason = np.select([first == 0, first == 1, first == 2], [codes.PROGRESSED, codes.ADVERSE_EVENT, codes.DECIDED], -1)
    late_therapy = np.where(
        streams.uniform("next line", n) < 0.8, end + streams.days("next line delay", 7, 45, n), codes.NEVER
    )
    therapy = np.where(
        progression < codes.NEVER, np.minimum(early_therapy, np.maximum(late_therapy, progression + 3)), early_therapy
    )
    therapy = np.where((therapy > end) & (therapy <= alive), therapy, codes.NEVER)
    return Scans(
        day,
        seen,
        state,
        tenths,
        target,
        non_target,
        overall,
        new_from,
        np.where(complete & has_target[:, None], total, -1),
        progression,
        therapy,
        end,
        reason,
    )
