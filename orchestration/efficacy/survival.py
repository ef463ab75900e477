"""Times to an event: Kaplan-Meier, quantiles, rates, log-rank, Cox, proportional hazards. No word of serum HER2 here.

Times are in the unit given and come back in it. Intervals of risk are (entry, time]: whoever enters at a time is not at
risk at it, whoever is censored at a time still is. The numbers equal those of R's survival 3.5.

lifelines draws the Kaplan-Meier curve. Our own is what it lacks (the log-rank test with strata or entry, the score test
of proportional hazards), what it does otherwise than R (quantiles and their limits: of veteran, treatment 2, it gives a
median of 52, R 52.5, and a finite upper limit where R has none; the number at risk under delayed entry), and the Cox
model: the score test and the bootstrap need its likelihood anyway, and lifelines goes through all rows at each death,
stops a step before R does, and does not converge on time-dependent data such as pbcseq unless it is held back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtri

from orchestration.efficacy import inputs

NAN = float("nan")
TRANSFORMS = ("km", "rank", "identity")

_TOLERANCE = 1.5e-8  # a product of fractions misses 0.5 by rounding; R's survfit allows the same
_FLAT = 5.0  # a standard error so large (per SD of the covariate) means that the likelihood has no usable maximum


# --- Kaplan-Meier -----------------------------------------------------------------------------------------------------


def kaplan_meier(
    time: ArrayLike, event: ArrayLike, entry: ArrayLike | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Product-limit estimate (Kaplan and Meier, JASA 1958) with log-log limits (Kalbfleisch and Prentice 1980).

    Args:
        time: n times of event or censoring.
        event: n booleans or 0/1, true for an event.
        entry: n times of entry for delayed entry, each below its time; absent: 0.

    Returns:
        A row for each distinct time, ascending: time, at_risk, events, censored, survival, ci_low, ci_high. The limits
        are NaN where survival is 1 or 0. No row for no subjects.

    Raises:
        ValueError: names the argument: missing, infinite or negative times, lengths that differ, an entry not before
            its time.
    """
    inputs.confidence(level)
    time, event, entry = _observed(time, event, entry)
    times = np.unique(time)
    at_risk = _at_least(time, times) - (0 if entry is None else _at_least(entry, times))
    events = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
    left = np.bincount(np.searchsorted(times, time), minlength=len(times))
    survival, low, high = _product_limit(time, event, entry, level, times, events, at_risk)
    inner = (survival > 0) & (survival < 1)
    return pd.DataFrame(
        {
            "time": times,
            "at_risk": at_risk,
            "events": events,
            "censored": left - events,
            "survival": survival,
            "ci_low": np.where(inner, low, NAN),
            "ci_high": np.where(inner, high, NAN),
        }
    )


def _product_limit(time, event, entry, level, times, events, at_risk) -> np.ndarray:
    """Survival, its lower and its upper limit (3, t) at ``times``."""
    from lifelines import KaplanMeierFitter
    from lifelines.exceptions import StatError

    if not len(times):
        return np.empty((3, 0))
    try:
        fitter = KaplanMeierFitter(alpha=1 - level).fit(time, event, entry=entry)
        return pd.concat([fitter.survival_function_, fitter.confidence_interval_], axis=1).loc[times].to_numpy().T
    except StatError:  # lifelines refuses delayed entry once nobody is at risk early on; R goes on, and so do we
        with np.errstate(divide="ignore", invalid="ignore"):
            survival = np.cumprod(1 - events / at_risk)
            variance = np.cumsum(events / (at_risk * (at_risk - events)))
            half = ndtri(0.5 + level / 2) * np.sqrt(variance) / np.abs(np.log(survival))
            return np.array([survival, survival ** np.exp(half), survival ** np.exp(-half)])


def quantile(curve: pd.DataFrame, p: float = 0.5) -> tuple[float, float, float]:
    """Time by which a share ``p`` has had the event, with limits (Brookmeyer and Crowley, Biometrics 1982, log-log).

    The first time at which survival is at most 1 - p; where the curve runs flat at exactly 1 - p, the middle of that
    stretch (its end is the last observed time if the curve never leaves it).

    Args:
        curve: what :func:`kaplan_meier` returns.
        p: 0.5 for the median, 0.25 and 0.75 for the quartiles.

    Returns:
        (estimate, ci_low, ci_high) in the curve's unit; NaN where not reached.

    Raises:
        ValueError: ``p`` outside (0, 1), or ``curve`` lacks a column.
    """
    if not 0 < p < 1:
        raise ValueError(f"p: {p!r} does not lie between 0 and 1")
    inputs.columns(curve, curve=["time", "survival", "ci_low", "ci_high"])
    times = curve["time"].to_numpy(float)
    names = ("survival", "ci_low", "ci_high")
    return tuple(float(_first_below(times, curve[name].to_numpy(float), 1 - p)) for name in names)


def rate_at(curve: pd.DataFrame, times: ArrayLike) -> pd.DataFrame:
    """Survival at given times, read off a Kaplan-Meier curve.

    Returns:
        A row for each of ``times``, in their order: time, survival, ci_low, ci_high, at_risk (time at or after). NaN
        past the last observed time, except that once the curve has reached 0 the rate is 0 with limits NaN.

    Raises:
        ValueError: ``times`` negative or missing, or ``curve`` lacks a column.
    """
    inputs.columns(curve, curve=["time", "survival", "ci_low", "ci_high", "at_risk"])
    wanted = inputs.durations("times", np.atleast_1d(times))
    observed = curve["time"].to_numpy(float)
    if not len(observed):
        return pd.DataFrame({"time": wanted, "survival": NAN, "ci_low": NAN, "ci_high": NAN, "at_risk": 0})
    row = np.searchsorted(observed, wanted, side="right")  # 0: before the first time, where everyone survives
    unseen = wanted > observed[-1]
    dead = curve["survival"].iloc[-1] == 0
    read = {
        name: np.where(
            unseen & ~(dead & (name == "survival")), NAN, np.concatenate([[1.0], curve[name].to_numpy(float)])[row]
        )
        for name in ("survival", "ci_low", "ci_high")
    }
    next_row = np.searchsorted(observed, wanted, side="left")
    at_risk = np.concatenate([curve["at_risk"].to_numpy(int), [0]])[next_row]
    return pd.DataFrame({"time": wanted, **read, "at_risk": at_risk})


def reverse_kaplan_meier(time: ArrayLike, event: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Median follow-up: Kaplan-Meier of the time to censoring (Schemper and Smith, Control Clin Trials 1996).

    Returns:
        (median, ci_low, ci_high) in the unit of ``time``; NaN where not reached.

    Raises:
        ValueError: as :func:`kaplan_meier`.
    """
    time = inputs.durations("time", time)
    return quantile(kaplan_meier(time, ~inputs.indicator("event", event, length=len(time)), level=level))


def _first_below(times: np.ndarray, values: np.ndarray, threshold: float) -> float:
    known = ~np.isnan(values)
    reached = _nearest(times, values, known & (values <= threshold + _TOLERANCE))
    left = _nearest(times, values, known & (values < threshold - _TOLERANCE))
    if np.isnan(left) and len(times) and known[-1]:
        left = times[-1]
    return (reached + left) / 2


def _nearest(times: np.ndarray, values: np.ndarray, below: np.ndarray) -> float:
    """First time with the highest of the values that are ``below``: the first of all where the values fall steadily.

    Under delayed entry a limit can rise again; R's survfit then takes the value nearest to the threshold, and so do we.
    """
    return float(times[below][np.argmax(values[below])]) if below.any() else NAN


def _at_least(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """How many of ``values`` are at or above each of ``times``."""
    return len(values) - np.searchsorted(np.sort(values), times, side="left")


def _observed(
    time: ArrayLike, event: ArrayLike, entry: ArrayLike | None, names: tuple[str, str, str] = ("time", "event", "entry")
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    time = inputs.durations(names[0], time)
    event = inputs.indicator(names[1], event, length=len(time))
    if entry is None:
        return time, event, None
    entry = inputs.numbers(names[2], entry, length=len(time))
    if (entry >= time).any():
        raise ValueError(f"{names[2]}: each entry must lie before its {names[0]}")
    return time, event, entry


# --- Log-rank ---------------------------------------------------------------------------------------------------------


def logrank(
    time: ArrayLike, event: ArrayLike, group: ArrayLike, strata: ArrayLike | None = None, entry: ArrayLike | None = None
) -> tuple[float, int, float]:
    """Log-rank test of equal hazards in all groups (Mantel 1966), stratified and with delayed entry where given.

    With ``entry`` and a row for each stretch of a subject's time in one group this is the test of Mantel and Byar
    (JASA 1974).

    Returns:
        (statistic, degrees_of_freedom, p_value); (NaN, 0, NaN) when fewer than two groups can have an event.

    Raises:
        ValueError: names the argument: missing values, lengths that differ, an entry not before its time.
    """
    time, event, entry = _observed(time, event, entry)
    group = inputs.labels("group", group, length=len(time))
    strata = inputs.labels("strata", strata, length=len(time))
    groups = int(group.max(initial=-1)) + 1
    observed, expected, variance = np.zeros(groups), np.zeros(groups), np.zeros((groups, groups))
    for stratum in np.unique(strata):
        part = strata == stratum
        times = np.unique(time[part & event])
        at_risk, deaths = np.zeros((groups, len(times))), np.zeros((groups, len(times)))
        for g in range(groups):
            mine = part & (group == g)
            at_risk[g] = _at_least(time[mine], times) - (0 if entry is None else _at_least(entry[mine], times))
            deaths[g] = np.bincount(np.searchsorted(times, time[mine & event]), minlength=len(times))
        n, d = at_risk.sum(axis=0), deaths.sum(axis=0)
        share = at_risk / n
        weight = d * np.where(n > 1, (n - d) / np.maximum(n - 1, 1), 0)
        observed += deaths.sum(axis=1)
        expected += share @ d
        variance += np.diag(share @ weight) - (share * weight) @ share.T
    used = np.flatnonzero(expected > 0)
    if len(used) < 2:
        return NAN, 0, NAN
    kept = used[1:]  # the differences sum to 0: one group follows from the others
    difference = (observed - expected)[kept]
    try:
        statistic = float(difference @ np.linalg.solve(variance[np.ix_(kept, kept)], difference))
    except np.linalg.LinAlgError:
        return NAN, 0, NAN
    return statistic, len(kept), float(chdtrc(len(kept), statistic))


# --- Cox --------------------------------------------------------------------------------------------------------------


def cox(
    frame: pd.DataFrame,
    stop: str,
    event: str,
    covariates: Sequence[str],
    start: str | None = None,
    strata: str | Sequence[str] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Proportional-hazards regression (Cox, JRSS B 1972), ties by Efron (JASA 1977), Wald intervals.

    Args:
        frame: a row for each subject, or for each stretch (start, stop] of a subject's time with its own covariates.
        stop, event, start: columns with the times and with booleans or 0/1.
        covariates: numeric columns. Rows in which one is missing are left out and counted in ``attrs["excluded"]``.
        strata: column or columns; each combination has its own baseline hazard.

    Returns:
        A row for each covariate: term, coef, se, hazard_ratio, ci_low, ci_high (of the hazard ratio), z, p_value.
        attrs: n (rows), events, excluded, log_likelihood, lrt_p (likelihood-ratio test of all terms), caveat (why
        numbers are NaN, else empty). A term is NaN where its likelihood has no maximum (no events, no variation,
        separation).

    Raises:
        ValueError: names the argument: a column is absent or no number, times are missing, a start not before its stop.
    """
    sample = _Sample.of(frame, stop, event, covariates, start, strata)
    return _result(sample, _fit(sample), list(covariates), inputs.confidence(level))


def proportional_hazards_test(
    frame: pd.DataFrame,
    stop: str,
    event: str,
    covariates: Sequence[str],
    start: str | None = None,
    transform: str = "km",
) -> pd.DataFrame:
    """Score test that hazard ratios do not change with time (Grambsch and Therneau, Biometrika 1994).

    The test of survival 3.0 and later: the exact score test for adding ``covariate * g(time)`` to the fitted model, not
    the older approximation by the scaled Schoenfeld residuals.

    Args:
        transform: g: ``km`` (1 - Kaplan-Meier just before the time), ``rank`` (of all stop times) or
            ``identity``.

    Returns:
        A row for each covariate and one for GLOBAL: term, chi2, degrees_of_freedom, p_value; NaN where the model cannot
        be fitted.

    Raises:
        ValueError: as :func:`cox`; an unknown ``transform``.
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"transform: {transform!r} is none of {', '.join(TRANSFORMS)}")
    terms = [*covariates, "GLOBAL"]
    sample = _Sample.of(frame, stop, event, covariates, start, None)
    fit = _fit(sample)
    freedom = np.array([1] * len(covariates) + [len(covariates)])
    chi2 = np.full(len(terms), NAN)
    if not fit.caveat:
        chi2 = _score_test(_Moments.of(sample, fit.beta), _time_function(sample, transform))
    return pd.DataFrame({"term": terms, "chi2": chi2, "degrees_of_freedom": freedom, "p_value": chdtrc(freedom, chi2)})


def refit(
    frame: pd.DataFrame, stop: str, event: str, covariates: Sequence[str], coef: ArrayLike, draws: np.ndarray
) -> np.ndarray:
    """Coefficients of a fitted Cox model in resamples of its rows, for a bootstrap.

    Started from the fitted coefficients.

    Args:
        frame: without missing values; stop, event, covariates as in :func:`cox`.
        coef: p coefficients that :func:`cox` found in ``frame``.
        draws: (b, n) positions of the rows of each resample.

    Returns:
        (b, p) coefficients; NaN for a resample whose likelihood has no maximum.

    Raises:
        ValueError: as :func:`cox`.
    """
    sample = _Sample.of(frame, stop, event, covariates, None, None)
    fitted = np.asarray(coef) * sample.scale
    return np.array([_refit(sample, rows, fitted) for rows in draws]) / sample.scale


def _refit(sample: "_Sample", rows: np.ndarray, beta: np.ndarray) -> np.ndarray:
    found = _maximum(replace(sample, x=sample.x[:, rows], stop=sample.stop[rows], event=sample.event[rows]), beta)
    return found.beta if found is not None and found.is_inner else np.full(len(beta), NAN)


@dataclass(frozen=True)
class _Sample:
    """The rows that count, checked: covariates centred and scaled to SD 1, so that no unit can harm the fit."""

    x: np.ndarray  # (p, n)
    scale: np.ndarray  # (p,), 0 where a covariate does not vary
    stop: np.ndarray
    event: np.ndarray
    start: np.ndarray | None
    group: np.ndarray | None  # stratum
    excluded: int

    @classmethod
    def of(cls, frame, stop, event, covariates, start, strata) -> "_Sample":
        if isinstance(covariates, str) or not len(covariates) or len(set(covariates)) < len(covariates):
            raise ValueError("covariates: needs a list of one or more distinct columns")
        strata = [strata] if isinstance(strata, str) else list(strata or [])
        inputs.columns(frame, stop=stop, event=event, covariates=covariates, start=start, strata=strata)
        columns = [inputs.numbers(f"covariates ({name})", frame[name], missing=True) for name in covariates]
        x = np.array(columns)
        times, died, entry = _observed(
            frame[stop],
            frame[event],
            None if start is None else frame[start],
            (f"stop ({stop})", f"event ({event})", f"start ({start})"),
        )
        complete = ~np.isnan(x).any(axis=0) & frame[strata].notna().all(axis=1).to_numpy()
        x, times, died = x[:, complete], times[complete], died[complete]
        entry = None if entry is None else entry[complete]
        group = frame.loc[complete, strata].groupby(strata).ngroup().to_numpy() if strata else None
        x = x - (x.mean(axis=1, keepdims=True) if len(times) else 0)
        scale = np.sqrt((x**2).mean(axis=1)) if len(times) else np.zeros(len(x))
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(x).max(axis=1, initial=0), 1e-300), scale, 0)
        return cls(x / np.where(scale > 0, scale, 1)[:, None], scale, times, died, entry, group, int((~complete).sum()))

    @cached_property
    def strata(self) -> "list[_Sample]":
        """The rows of each stratum with an event."""
        if self.group is None:
            return [self]
        return [
            replace(
                self,
                x=self.x[:, mine],
                stop=self.stop[mine],
                event=self.event[mine],
                start=None if self.start is None else self.start[mine],
                group=None,
            )
            for stratum in np.unique(self.group[self.event])
            for mine in [self.group == stratum]
        ]

    @cached_property
    def risk_sets(self) -> "_RiskSets":
        return _RiskSets.of(self)


@dataclass(frozen=True)
class _RiskSets:
    """Who is at risk at each death of a stratum: it does not depend on the coefficients."""

    times: int  # of deaths, distinct
    event: np.ndarray  # (n,)
    until: np.ndarray  # (n,) at risk at so many times: up to the row's own
    before: np.ndarray | None  # (n,) and not yet at risk at so many of them
    tie: np.ndarray  # (d,) time of each death
    share: np.ndarray  # (d,) of those who die with it that Efron takes out: 0, 1/m ... (m-1)/m

    @classmethod
    def of(cls, sample: _Sample) -> "_RiskSets":
        times, tie = np.unique(sample.stop[sample.event], return_inverse=True)
        size = np.bincount(tie, minlength=len(times))
        order = np.argsort(tie, kind="stable")
        rank = np.empty(len(tie), dtype=int)
        rank[order] = np.arange(len(tie)) - np.repeat(np.cumsum(size) - size, size)
        until = np.searchsorted(times, sample.stop, side="right")
        before = None if sample.start is None else np.searchsorted(times, sample.start, side="right")
        return cls(len(times), sample.event, until, before, tie, rank / size[tie])

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of ``values`` (n,) the sum over those at risk at each death (d,)."""
        left = np.bincount(self.until, values, self.times + 1)
        if self.before is not None:
            left = left - np.bincount(self.before, values, self.times + 1)
        at_risk = left[::-1].cumsum()[::-1][1:]
        together = np.bincount(self.tie, values[self.event], self.times)
        return at_risk[self.tie] - self.share * together[self.tie]

    def exposure(self, values: np.ndarray) -> np.ndarray:
        """Of ``values`` (d,) the sum over the deaths at which each row is at risk (n,): the transpose of ``sums``."""
        passed = np.concatenate([[0.0], np.bincount(self.tie, values, self.times).cumsum()])
        found = passed[self.until] - (0 if self.before is None else passed[self.before])
        found[self.event] -= np.bincount(self.tie, self.share * values, self.times)[self.tie]
        return found


@dataclass(frozen=True)
class _Fit:
    beta: np.ndarray  # per SD
    se: np.ndarray  # per SD
    log_likelihood: float
    lrt_p: float
    caveat: str


def _fit(sample: _Sample) -> _Fit:
    """The maximum of Efron's partial likelihood, or why there is none."""
    unknown = np.full(len(sample.x), NAN)
    if not sample.event.any():
        return _Fit(unknown, unknown, NAN, NAN, "no events" if len(sample.stop) else "no subjects")
    if (sample.scale == 0).any():
        return _Fit(unknown, unknown, NAN, NAN, "a covariate is constant")
    found = _maximum(sample, np.zeros(len(sample.x)))
    if found is None:
        why = "no maximum of the likelihood: covariates constant or collinear among those at risk"
        return _Fit(unknown, unknown, NAN, NAN, why)
    with np.errstate(invalid="ignore"):
        se = np.sqrt(np.diag(found.covariance))
    endless = ~(se <= _FLAT)
    why = "monotone likelihood: the covariates separate those with an event from those without"
    gain = max(2 * (found.log_likelihood - found.null_log_likelihood), 0)
    return _Fit(
        np.where(endless, NAN, found.beta),
        np.where(endless, NAN, se),
        found.log_likelihood,
        float(chdtrc(len(se), gain)),
        why if endless.any() else "",
    )


@dataclass(frozen=True)
class _Maximum:
    beta: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    null_log_likelihood: float  # where the search began
    is_inner: bool  # false where a term runs off to infinity


def _maximum(sample: _Sample, beta: np.ndarray) -> _Maximum | None:
    """Newton's method with halved steps; None where the information is singular (or there is no event).

    A term without a finite maximum grows by about 1 a step while the likelihood all but stands still; it is left there
    with a huge standard error, and the other terms are right by then. R stops by the same sign.
    """
    likelihood, score, information = start = _likelihood(sample, beta)
    if not sample.event.any() or not np.linalg.cond(information) < 1e10:
        return None
    is_inner = False
    for _ in range(50):
        try:
            step = np.linalg.solve(information, score)
        except np.linalg.LinAlgError:
            break
        share, before = 1.0, likelihood
        while share > 1e-3:
            likelihood, score, information = _likelihood(sample, beta + share * step)
            if likelihood >= before - 1e-12 * abs(before):
                break
            share /= 2
        beta, moved = beta + share * step, np.abs(share * step).max()
        if moved < 1e-8:
            is_inner = True
            break
        if moved > 0.1 and likelihood - before < 1e-9 * abs(before):
            break
    try:
        covariance = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return None
    return _Maximum(beta, covariance, likelihood, start[0], is_inner)


def _likelihood(sample: _Sample, beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Efron's log partial likelihood, its gradient (p,) and its information (p, p), summed over the strata."""
    parts = [_Moments.of(part, beta) for part in sample.strata]
    return (
        float(sum(part.contributions.sum() for part in parts)),
        sum(part.residuals.sum(axis=1) for part in parts),
        sum(part.information() for part in parts),
    )


def _result(sample: _Sample, fit: _Fit, covariates: list[str], level: float) -> pd.DataFrame:
    scale = np.where(sample.scale > 0, sample.scale, NAN)
    coef, se = fit.beta / scale, fit.se / scale
    half, z = ndtri(0.5 + level / 2) * se, coef / se
    with np.errstate(over="ignore"):  # a ratio per unit can be beyond any float where the unit is tiny
        ratio, low, high = np.exp([coef, coef - half, coef + half])
    result = pd.DataFrame(
        {
            "term": covariates,
            "coef": coef,
            "se": se,
            "hazard_ratio": ratio,
            "ci_low": low,
            "ci_high": high,
            "z": z,
            "p_value": chdtrc(1, z**2),
        }
    ).replace(np.inf, NAN)
    result.attrs = {
        "n": len(sample.stop),
        "events": int(sample.event.sum()),
        "excluded": sample.excluded,
        "log_likelihood": fit.log_likelihood,
        "lrt_p": NAN if np.isnan(coef).all() else fit.lrt_p,
        "caveat": fit.caveat,
    }
    return result


def _score_test(moments: "_Moments", g: np.ndarray) -> np.ndarray:
    """Chi-square for each covariate times g, and for all of them together, at the fitted coefficients."""
    p = len(moments.mean)
    score = np.concatenate([np.zeros(p), moments.residuals @ g])  # the first half is 0 at the maximum
    blocks = [moments.information(weight) for weight in (1.0, g, g**2)]
    information = np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])
    chi2 = []
    for tested in [[j] for j in range(p)] + [list(range(p))]:
        kept = [*range(p), *(p + j for j in tested)]
        try:
            chi2.append(score[kept] @ np.linalg.solve(information[np.ix_(kept, kept)], score[kept]))
        except np.linalg.LinAlgError:  # all deaths at one time: nothing can change with it
            chi2.append(NAN)
    return np.array(chi2)


@dataclass(frozen=True)
class _Moments:
    """What the partial likelihood of a stratum is made of at given coefficients."""

    sample: _Sample
    weight: np.ndarray  # (n,) hazard of each row
    total: np.ndarray  # (d,) hazard of all at risk at each death
    mean: np.ndarray  # (p, d) of the covariates at risk at each death, weighted by hazard
    contributions: np.ndarray  # (d,) what each death adds to the log likelihood

    @classmethod
    def of(cls, sample: _Sample, beta: np.ndarray) -> "_Moments":
        eta = np.einsum("j,ji->i", beta, sample.x)
        eta = eta - eta.max(initial=-np.inf)
        weight = np.exp(eta)
        total = sample.risk_sets.sums(weight)
        mean = np.array([sample.risk_sets.sums(weight * values) for values in sample.x]) / total
        return cls(sample, weight, total, mean, eta[sample.event] - np.log(total))

    @cached_property
    def residuals(self) -> np.ndarray:
        """Of each death (p, d)."""
        return self.sample.x[:, self.sample.event] - self.mean

    def information(self, g: np.ndarray | float = 1.0) -> np.ndarray:
        """Sum over the deaths of g (d,) times the covariance of the covariates among those at risk (p, p).

        Products of covariates are summed over rows and not at each death. A matrix product would do it, too, but its
        threads cost more than they save, and it rounds otherwise where there are more of them.
        """
        of_row = self.weight * self.sample.risk_sets.exposure(g / self.total)
        squares, means = (
            np.einsum("ji,ki->jk", x * weight, x) for x, weight in ((self.sample.x, of_row), (self.mean, g))
        )
        return squares - means


def _time_function(sample: _Sample, transform: str) -> np.ndarray:
    """g at each death, centred (which changes nothing but the conditioning)."""
    times = sample.stop[sample.event]
    if transform == "rank":
        times = pd.Series(sample.stop).rank().to_numpy()[sample.event]
    elif transform == "km":
        curve = kaplan_meier(sample.stop, sample.event, sample.start)
        before = np.searchsorted(curve["time"].to_numpy(), times, side="left")
        times = 1 - np.concatenate([[1.0], curve["survival"].to_numpy()])[before]
    return times - times.mean()
