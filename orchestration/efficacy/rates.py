"""Proportions and what is made of two of them: exact intervals, differences, odds ratios. Time plays no part here."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import betaincinv, gammaincinv, gammaln, ndtri

from orchestration.efficacy.inputs import confidence

NAN = float("nan")


def proportion_ci(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion (Clopper and Pearson, Biometrika 1934).

    Returns:
        (low, high) as shares of 1; (NaN, NaN) when ``n`` is 0.

    Raises:
        ValueError: counts that are no whole numbers, negative, or more successes than ``n``; a level outside (0, 1).
    """
    alpha = 1 - confidence(level)
    x, n = _counts("successes", successes, "n", n)
    if n == 0:
        return NAN, NAN
    low = 0.0 if x == 0 else float(betaincinv(x, n - x + 1, alpha / 2))
    high = 1.0 if x == n else float(betaincinv(x + 1, n - x, 1 - alpha / 2))
    return low, high


def wilson_ci(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, JASA 1927): the building block of :func:`difference_ci`."""
    z = ndtri(0.5 + confidence(level) / 2)
    x, n = _counts("successes", successes, "n", n)
    if n == 0:
        return NAN, NAN
    p = x / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def difference_ci(x1: int, n1: int, x2: int, n2: int, level: float = 0.95) -> tuple[float, float, float]:
    """Difference of two independent proportions with the hybrid score interval (Newcombe, Stat Med 1998, method 10).

    Returns:
        (x1/n1 - x2/n2, low, high); all NaN when a group is empty.

    Raises:
        ValueError: as :func:`proportion_ci`.
    """
    confidence(level)
    x1, n1 = _counts("x1", x1, "n1", n1)
    x2, n2 = _counts("x2", x2, "n2", n2)
    if n1 == 0 or n2 == 0:
        return NAN, NAN, NAN
    p1, p2 = x1 / n1, x2 / n2
    low1, high1 = wilson_ci(x1, n1, level)
    low2, high2 = wilson_ci(x2, n2, level)
    difference, below, above = p1 - p2, np.hypot(p1 - low1, high2 - p2), np.hypot(high1 - p1, p2 - low2)
    return difference, float(difference - below), float(difference + above)


def incidence_ci(events: int, time: float, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of events per unit of time at risk (Garwood, Biometrika 1936).

    Returns:
        (low, high); (NaN, NaN) when no time was at risk.

    Raises:
        ValueError: ``events`` is no count, or ``time`` is negative or not finite.
    """
    tail = (1 - confidence(level)) / 2
    events = _whole("events", events)
    if not (np.isfinite(time) and time >= 0):
        raise ValueError(f"time: {time!r} is no time at risk")
    if time == 0:
        return NAN, NAN
    low = gammaincinv(events, tail) if events else 0.0
    return float(low / time), float(gammaincinv(events + 1, 1 - tail) / time)


def heterogeneity(successes: ArrayLike, totals: ArrayLike) -> tuple[float, float]:
    """Pearson's chi-square test that the proportions of several groups are the same.

    Returns:
        (p_value, smallest expected count: below 5 the p is approximate); NaN for fewer than two groups that are not
        empty, or where all or none are successes.

    Raises:
        ValueError: counts that are no whole numbers, or more successes than ``totals``.
    """
    from scipy.stats import chi2_contingency

    counts = [_counts("successes", x, "totals", n) for x, n in zip(successes, totals, strict=True)]
    table = np.array([(x, n - x) for x, n in counts if n])
    if len(table) < 2 or not table.sum(axis=0).all():
        return NAN, NAN
    found = chi2_contingency(table, correction=False)
    return float(found.pvalue), float(found.expected_freq.min())


def odds_ratio(table: list[list[int]], level: float = 0.95) -> tuple[float, float, float, float]:
    """Conditional maximum-likelihood odds ratio of a 2x2 table with its exact interval and Fisher's p, two-sided.

    Args:
        table: [[a, b], [c, d]], rows the groups, columns event and no event.

    Returns:
        (estimate, low, high, p); the estimate is NaN where a margin is empty or a zero cell would make it 0 or
        infinite, a limit is NaN where it is 0 or infinite. The p stands whenever no margin is empty.

    Raises:
        ValueError: not two by two, or cells that are no counts.
    """
    from scipy.stats import fisher_exact

    tail = (1 - confidence(level)) / 2
    cells = np.asarray(table)
    if cells.shape != (2, 2):
        raise ValueError("table: needs two rows and two columns")
    cells = np.array([[_whole("table", cell) for cell in row] for row in cells.tolist()])
    if not (cells.sum(axis=0).all() and cells.sum(axis=1).all()):
        return NAN, NAN, NAN, NAN
    estimate, low, high = _conditional(cells, tail)
    return estimate, low, high, float(fisher_exact(cells).pvalue)


def _conditional(cells: np.ndarray, tail: float) -> tuple[float, float, float]:
    """Odds ratio under which the first cell, given the margins, is expected as it is, and those under which it is so
    large, or so small, by chance ``tail`` (Fisher's noncentral hypergeometric distribution). NaN for 0 and infinity.

    scipy.stats.contingency goes through the possible cells one by one: seconds for a table of ten thousands.
    """
    (first, _), (_, last) = cells
    row, column = cells[0].sum(), cells[:, 0].sum()
    possible = np.arange(max(0, first - last), min(row, column) + 1)
    logs = -sum(gammaln(n + 1) for n in (possible, row - possible, column - possible, last - first + possible))

    def at(log_ratio: float) -> np.ndarray:
        """Probability of each possible first cell."""
        chances = logs + possible * log_ratio
        chances = np.exp(chances - chances.max())
        return chances / chances.sum()

    def solve(rising: Callable[[np.ndarray], float], wanted: float) -> float:
        bound = 1.0
        while not rising(at(-bound)) < wanted < rising(at(bound)):
            bound *= 2
        return float(np.exp(brentq(lambda log_ratio: rising(at(log_ratio)) - wanted, -bound, bound, xtol=1e-12)))

    is_least, is_most = first == possible[0], first == possible[-1]
    return (
        NAN if is_least or is_most else solve(lambda chances: chances @ possible, first),
        NAN if is_least else solve(lambda chances: chances[possible >= first].sum(), tail),
        NAN if is_most else solve(lambda chances: -chances[possible <= first].sum(), -tail),
    )


def holm(p_values: list[float]) -> list[float]:
    """Step-down adjusted p values (Holm, Scand J Stat 1979), in the order given; NaN stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), NAN)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted.tolist()


def _counts(name: str, part: int, total_name: str, total: int) -> tuple[int, int]:
    part, total = _whole(name, part), _whole(total_name, total)
    if part > total:
        raise ValueError(f"{name}: {part} is more than {total_name} ({total})")
    return part, total


def _whole(name: str, value: int) -> int:
    if not np.isreal(value) or not np.isfinite(value) or value != int(value) or value < 0:
        raise ValueError(f"{name}: {value!r} is no count")
    return int(value)
