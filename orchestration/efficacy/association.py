"""How two measurements go together: ROC, rank correlation, concordance, logistic odds. Hazards are in survival."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtri, stdtr

from orchestration.efficacy import inputs

NAN = float("nan")
_SINGULAR = 1e12  # condition of a matrix of which no digit of the inverse can be trusted


def roc(score: ArrayLike, label: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Area under the ROC curve with DeLong's interval (DeLong, DeLong and Clarke-Pearson, Biometrics 1988).

    Args:
        score: n numbers; a higher score speaks for the label. The direction is never turned to suit the data.
        label: n booleans or 0/1.

    Returns:
        (auc, ci_low, ci_high), the limits cut off at 0 and 1. NaN without both labels; limits NaN where the variance
        cannot be estimated (one subject in a group, or complete separation).

    Raises:
        ValueError: names the argument: missing values, lengths that differ, labels other than 0 and 1.
    """
    z = ndtri(0.5 + inputs.confidence(level) / 2)
    score = inputs.numbers("score", score)
    label = inputs.indicator("label", label, length=len(score))
    cases, controls = score[label], score[~label]
    m, n = len(cases), len(controls)
    if m == 0 or n == 0:
        return NAN, NAN, NAN
    ranks = _ranks(np.concatenate([cases, controls]))
    of_cases = (ranks[:m] - _ranks(cases)) / n  # for each case, the share of controls that it exceeds
    of_controls = 1 - (ranks[m:] - _ranks(controls)) / m
    auc = float(of_cases.mean())
    if min(m, n) < 2:
        return auc, NAN, NAN
    variance = of_cases.var(ddof=1) / m + of_controls.var(ddof=1) / n
    if variance < 1e-15:
        return auc, NAN, NAN
    half = z * np.sqrt(variance)
    return auc, float(max(auc - half, 0)), float(min(auc + half, 1))


def youden(score: ArrayLike, label: ArrayLike, resamples: int = 200, seed: int = 0) -> tuple[float, float, float]:
    """The cut with the highest sensitivity + specificity - 1 (Youden, Cancer 1950), and how much of it is luck.

    A cut chosen on the data that it is judged by looks better than it is. The optimism is what the cut of a bootstrap
    sample loses when it is applied to the whole data, on average (Harrell, Lee and Mark, Stat Med 1996).

    Args:
        score, label: as for :func:`roc`; a score at or above the cut speaks for the label.

    Returns:
        (cut, index, corrected index); the smallest of equally good cuts. All NaN without both labels.

    Raises:
        ValueError: names the argument: missing values, lengths that differ, labels other than 0 and 1.
    """
    score = inputs.numbers("score", score)
    label = inputs.indicator("label", label, length=len(score))
    n = len(score)
    if label.all() or not label.any():
        return NAN, NAN, NAN
    order = np.argsort(score, kind="stable")
    cuts, first = np.unique(score[order], return_index=True)

    def indices(weights: np.ndarray) -> np.ndarray:
        """Youden's index of each cut, for weights (n,) of the ordered subjects."""
        shares = []
        for group in (label[order], ~label[order]):
            at_or_above = np.add.reduceat(weights * group, first)[::-1].cumsum()[::-1]
            with np.errstate(invalid="ignore"):
                shares.append(at_or_above / at_or_above[0])
        return np.round(shares[0] - shares[1], 12)  # or rounding would decide between equally good cuts

    own = indices(np.ones(n, dtype=int))
    best = int(own.argmax())
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    draws = np.array([indices(weights) for weights in draws])
    draws = draws[~np.isnan(draws).any(axis=1)]  # a sample without cases or without controls
    if not len(draws):
        return float(cuts[best]), float(own[best]), NAN
    chosen = draws.argmax(axis=1)
    optimism = (draws[np.arange(len(draws)), chosen] - own[chosen]).mean()
    return float(cuts[best]), float(own[best]), float(own[best] - optimism)


def spearman(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> tuple[float, float, float, float]:
    """Spearman's rank correlation; Fisher's z with the standard error of Bonett and Wright (Psychometrika 2000).

    Returns:
        (rho, ci_low, ci_high, p_value); p by the t distribution with n - 2 degrees of freedom. NaN for fewer than 3
        pairs or a constant; limits NaN for fewer than 4 pairs or a perfect correlation.

    Raises:
        ValueError: names the argument: missing values or lengths that differ.
    """
    critical = ndtri(0.5 + inputs.confidence(level) / 2)
    x = inputs.numbers("x", x)
    y = inputs.numbers("y", y, length=len(x))
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN, NAN, NAN, NAN
    rho = float(np.clip(np.corrcoef(_ranks(x), _ranks(y))[0, 1], -1, 1))
    if 1 - abs(rho) < 1e-12:
        return float(round(rho)), NAN, NAN, 0.0
    p = float(2 * stdtr(n - 2, -abs(rho) * np.sqrt((n - 2) / (1 - rho**2))))
    if n < 4:
        return rho, NAN, NAN, p
    half = critical * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return rho, float(np.tanh(np.arctanh(rho) - half)), float(np.tanh(np.arctanh(rho) + half)), p


def linear_predictor(x: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Sum of covariates times coefficients of each row: (rows, terms) and (terms,) -> (rows,).

    Rows that are equal get equal values, so that ranks see their tie. A matrix product does not promise it: some
    processors add the last rows of a block in another order.
    """
    return (x * coef).sum(axis=1)


def concordance(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Harrell's C: share of comparable pairs in which the higher risk has the event first (Harrell, Stat Med 1996).

    A pair is comparable when the shorter time is an event; a censoring at the same time counts as longer; equal risks
    count one half. The interval is the percentile bootstrap over subjects, with a fixed seed.

    Returns:
        (c_index, ci_low, ci_high); NaN without a comparable pair.

    Raises:
        ValueError: names the argument: missing values, lengths that differ.
    """
    tail = (1 - inputs.confidence(level)) / 2
    time = inputs.durations("time", time)
    event = inputs.indicator("event", event, length=len(time))
    risk = inputs.numbers("risk", risk, length=len(time))
    n = len(time)
    if not event.any():
        return NAN, NAN, NAN
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    estimate, *resampled = c_indices(time, event, risk, [np.ones(n, dtype=int), *draws])
    if np.isnan(estimate):
        return NAN, NAN, NAN
    return float(estimate), *(float(limit) for limit in np.nanquantile(resampled, [tail, 1 - tail]))


def c_indices(time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: Iterable[np.ndarray]) -> np.ndarray:
    """Harrell's C alone, of checked arguments, for each of the weights (n,); NaN without a comparable pair.

    Weights are whole numbers: how often a subject is there. lifelines would go through the subjects one by one, for
    each resample anew: minutes for some ten thousands.
    """
    length = 2 * np.unique(time, return_inverse=True)[1] + ~event
    comparisons = list(_comparisons(length, np.unique(risk, return_inverse=True)[1], event))
    found = []
    for weight in weights:
        concordant = comparable = 0  # twice the pairs, for equal risks count one half; sums of integers are exact
        for longer, shorter, first, less, at_most, last in comparisons:
            sums = np.concatenate([[0], weight[longer].cumsum()])
            concordant += (weight[shorter] * (sums[less] + sums[at_most] - 2 * sums[first])).sum()
            comparable += (weight[shorter] * (sums[last] - sums[first])).sum()
        found.append(concordant / (2 * comparable) if comparable else NAN)
    return np.array(found)


def _comparisons(length: np.ndarray, place: np.ndarray, event: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """All pairs of an event and a greater length, in a few sorted lists.

    Two numbers differ first in one bit, which the greater one has: so for each bit the rows that have it are listed in
    the order of their place, block by block of those that agree in all bits above.

    Yields:
        The list; events without the bit; for each of these where in the list its block begins, where its own place
        does, where that ends, and where the block ends.
    """
    by_place = np.argsort(place)
    narrow = length.astype(np.min_scalar_type(length.max(initial=0)))[by_place]  # 16 bits are sorted in no time
    for bit in range(int(length.max(initial=0)).bit_length()):
        order = by_place[np.argsort(narrow >> bit >> 1, kind="stable")]
        has = (length[order] >> bit & 1).astype(bool)
        is_block = np.diff(length[order] >> bit >> 1, prepend=-1) != 0
        is_place = is_block | (np.diff(place[order], prepend=-1) != 0)
        asked = np.flatnonzero(~has & event[order])
        listed = np.concatenate([[0], has.cumsum()])
        (first, last), (less, at_most) = (_limits(begins, asked, listed) for begins in (is_block, is_place))
        yield order[has], order[asked], first, less, at_most, last


def _limits(begins: np.ndarray, asked: np.ndarray, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the part of each row asked begins in the list, and where it ends."""
    limits, part = listed[np.append(np.flatnonzero(begins), len(begins))], begins.cumsum()[asked]
    return limits[part - 1], limits[part]


def logistic(frame: pd.DataFrame, outcome: str, covariates: Sequence[str], level: float = 0.95) -> pd.DataFrame:
    """Logistic regression by maximum likelihood, Wald intervals.

    Args:
        frame: a row for each subject; ``outcome`` booleans or 0/1, ``covariates`` numeric and complete.

    Returns:
        A row for each covariate (an intercept is fitted, not shown): term, coef, se, odds_ratio, ci_low, ci_high, z,
        p_value. attrs: n, events, log_likelihood, caveat. All NaN where there is no maximum: one outcome only, no
        variation, separation.

    Raises:
        ValueError: names the argument: an absent column, a missing value.
    """
    half_level = ndtri(0.5 + inputs.confidence(level) / 2)
    inputs.columns(frame, outcome=outcome, covariates=covariates)
    y = inputs.indicator(f"outcome ({outcome})", frame[outcome]).astype(float)
    x = np.column_stack([inputs.numbers(f"covariates ({name})", frame[name]) for name in covariates])
    coef, se, log_likelihood, caveat = _logistic_fit(x, y)
    z = coef / se
    result = pd.DataFrame(
        {
            "term": list(covariates),
            "coef": coef,
            "se": se,
            "odds_ratio": np.exp(coef),
            "ci_low": np.exp(coef - half_level * se),
            "ci_high": np.exp(coef + half_level * se),
            "z": z,
            "p_value": chdtrc(1, z**2),
        }
    )
    result.attrs = {"n": len(y), "events": int(y.sum()), "log_likelihood": log_likelihood, "caveat": caveat}
    return result


def _logistic_fit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, str]:
    unknown = np.full(x.shape[1], NAN)
    if len(y) == 0 or y.min() == y.max():
        return unknown, unknown, NAN, "one outcome only" if len(y) else "no subjects"
    scale = x.std(axis=0)
    design = np.array([np.ones(len(y)), *((x - x.mean(axis=0)) / np.where(scale > 0, scale, 1)).T])
    if not np.linalg.cond(np.einsum("ji,ki->jk", design, design)) < _SINGULAR:
        return unknown, unknown, NAN, "covariates constant or collinear"
    beta = np.zeros(len(design))
    for _ in range(50):  # by einsum, for BLAS' threads cost more than they save
        probability = 1 / (1 + np.exp(-np.clip(np.einsum("j,ji->i", beta, design), -700, 700)))
        information = np.einsum("ji,ki->jk", design * (probability * (1 - probability)), design)
        if np.abs(beta).max() > 30 or np.linalg.cond(information) > _SINGULAR:
            return unknown, unknown, NAN, "separation: the covariates tell the outcomes apart without overlap"
        step = np.linalg.solve(information, np.einsum("ji,i->j", design, y - probability))
        beta = beta + step
        if np.abs(step).max() < 1e-12:
            break
    se = np.sqrt(np.diag(np.linalg.inv(information)))
    log_likelihood = float(-np.logaddexp(0, np.where(y > 0, -1, 1) * np.einsum("j,ji->i", beta, design)).sum())
    return beta[1:] / scale, se[1:] / scale, log_likelihood, ""


def _ranks(values: np.ndarray) -> np.ndarray:
    return pd.Series(values).rank().to_numpy()
