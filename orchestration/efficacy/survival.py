"""Times to an event: Kaplan-Meier, quantiles, rates, log-rank, Cox, proportional hazards. No word of serum HER2 here.

Times are in the unit given and come back in it. Intervals of risk are (entry, time]: whoever enters at a time is not at
risk at it, whoever is censored at a time still is. The numbers equal those of R's survival 3.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtri

from orchestration.efficacy import inputs

NAN = float("nan")
TRANSFORMS = ("km", "rank", "identity")

_TOLERANCE = 1.5e-8  # a product of fractions misses 0.5 by rounding; R's survfit allows the same
_MAX_STEPS = 60
_FLAT = 1e3  # a standard error so large (per SD of the covariate) means that the likelihood has no maximum


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
    z = ndtri(0.5 + inputs.confidence(level) / 2)
    time, event, entry = _observed(time, event, entry)
    times = np.unique(time)
    at_risk = _at_least(time, times) - (0 if entry is None else _at_least(entry, times))
    events = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
    left = np.bincount(np.searchsorted(times, time), minlength=len(times))
    with np.errstate(divide="ignore", invalid="ignore"):
        survival = np.cumprod((at_risk - events) / at_risk)
        variance = np.cumsum(events / (at_risk * (at_risk - events.astype(float))))
        inner = (survival > 0) & (survival < 1)
        log_survival = np.log(np.where(inner, survival, NAN))
        half = z * np.sqrt(variance) / np.abs(log_survival)
        low, high = survival ** np.exp(half), survival ** np.exp(-half)
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
    return tuple(_first_below(times, curve[name].to_numpy(float), 1 - p) for name in ("survival", "ci_low", "ci_high"))


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
    return _result(
        _fit(_Risk.of(frame, stop, event, covariates, start, strata)), list(covariates), inputs.confidence(level)
    )


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
    risk = _Risk.of(frame, stop, event, covariates, start, None)
    fit = _fit(risk)
    freedom = np.array([1] * len(covariates) + [len(covariates)])
    chi2 = np.full(len(terms), NAN)
    if not fit.caveat:
        chi2 = _score_test(risk, fit, _time_function(risk, transform))
    return pd.DataFrame({"term": terms, "chi2": chi2, "degrees_of_freedom": freedom, "p_value": chdtrc(freedom, chi2)})


@dataclass(frozen=True)
class _Risk:
    """Who is at risk at each death, as positions in two orders of the rows, so that every sum is a difference of two
    cumulative sums. Covariates are centred and scaled to SD 1."""

    x: np.ndarray  # (n, p)
    scale: np.ndarray  # (p,), 0 where a covariate does not vary
    stop: np.ndarray
    event: np.ndarray
    start: np.ndarray | None
    by_stop: np.ndarray  # rows by stratum, then from the latest stop to the earliest, deaths first
    by_start: np.ndarray | None
    death: np.ndarray  # (d,) rows that die, in the order of by_stop
    stop_span: np.ndarray  # (2, d) slice of by_stop with stop >= the death's time in its stratum
    start_span: np.ndarray | None  # (2, d) slice of by_start with start >= the death's time
    tie_span: np.ndarray  # (2, d) slice of by_stop with the deaths at the same time
    tie_share: np.ndarray  # (d,) Efron's l/d: how much of the tied deaths is already taken out
    excluded: int

    @classmethod
    def of(cls, frame, stop, event, covariates, start, strata) -> "_Risk":
        if isinstance(covariates, str) or not len(covariates) or len(set(covariates)) < len(covariates):
            raise ValueError("covariates: needs a list of one or more distinct columns")
        strata = [strata] if isinstance(strata, str) else list(strata or [])
        inputs.columns(frame, stop=stop, event=event, covariates=covariates, start=start, strata=strata)
        columns = [inputs.numbers(f"covariates ({name})", frame[name], missing=True) for name in covariates]
        x = np.column_stack(columns)
        times, died, entry = _observed(
            frame[stop],
            frame[event],
            None if start is None else frame[start],
            (f"stop ({stop})", f"event ({event})", f"start ({start})"),
        )
        complete = ~np.isnan(x).any(axis=1) & (frame[strata].notna().all(axis=1).to_numpy() if strata else True)
        x, times, died = x[complete], times[complete], died[complete]
        entry = None if entry is None else entry[complete]
        group = (
            frame.loc[complete, strata].groupby(strata, sort=True).ngroup().to_numpy()
            if strata
            else np.zeros(len(x), int)
        )
        return cls._arranged(x, times, died, entry, group, int((~complete).sum()))

    @classmethod
    def _arranged(cls, x, stop, event, start, group, excluded) -> "_Risk":
        x = x - (x.mean(axis=0) if len(x) else 0)
        scale = np.sqrt((x**2).mean(axis=0)) if len(x) else np.zeros(x.shape[1])
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(x).max(axis=0, initial=0), 1e-300), scale, 0)
        by_stop = np.lexsort((~event, -stop, group))
        death = by_stop[event[by_stop]]
        times, strata = stop[death], group[death]
        begin = np.searchsorted(group[by_stop], strata)
        end = begin + _within(group[by_stop], -stop[by_stop], strata, -times)
        by_start = start_span = None
        if start is not None:
            by_start = np.lexsort((-start, group))
            start_span = np.array([begin, begin + _within(group[by_start], -start[by_start], strata, -times)])
        position = np.flatnonzero(event[by_stop])
        new = np.ones(len(death), dtype=bool)
        new[1:] = (np.diff(times) != 0) | (np.diff(strata) != 0)
        tie = np.cumsum(new) - 1
        size = np.bincount(tie)
        first = np.flatnonzero(new)
        tie_begin = position[first][tie]
        return cls(
            x / np.where(scale > 0, scale, 1),
            scale,
            stop,
            event,
            start,
            by_stop,
            by_start,
            death,
            np.array([begin, end]),
            start_span,
            np.array([tie_begin, tie_begin + size[tie]]),
            (np.arange(len(death)) - first[tie]) / size[tie],
            excluded,
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of ``values`` over the risk set of each death, by Efron less the share of its ties."""
        by_stop = _cumulative(values[self.by_stop])
        total = by_stop[self.stop_span[1]] - by_stop[self.stop_span[0]]
        if self.by_start is not None:
            by_start = _cumulative(values[self.by_start])
            total = total - (by_start[self.start_span[1]] - by_start[self.start_span[0]])
        ties = by_stop[self.tie_span[1]] - by_stop[self.tie_span[0]]
        return total - self.tie_share.reshape(-1, *[1] * (values.ndim - 1)) * ties

    def moments(self, beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Log partial likelihood; at each death its residual (d, p) and the covariates' variance (d, p, p)."""
        eta = self.x @ beta
        shift = eta.max(initial=0)
        weight = np.exp(eta - shift)
        total = self.sums(weight)
        mean = self.sums(weight[:, None] * self.x) / total[:, None]
        square = self.sums(weight[:, None, None] * self.x[:, :, None] * self.x[:, None, :]) / total[:, None, None]
        log_likelihood = float((eta[self.death] - shift - np.log(total)).sum())
        return log_likelihood, self.x[self.death] - mean, square - mean[:, :, None] * mean[:, None, :]


@dataclass(frozen=True)
class _Fit:
    risk: _Risk
    beta: np.ndarray  # per SD
    se: np.ndarray  # per SD
    log_likelihood: float
    log_likelihood_null: float
    caveat: str


def _fit(risk: _Risk) -> _Fit:
    """Newton-Raphson with halved steps from 0."""
    p = risk.x.shape[1]
    unknown = np.full(p, NAN)
    if not len(risk.death):
        return _Fit(risk, unknown, unknown, NAN, NAN, "no events" if len(risk.x) else "no subjects")
    beta = np.zeros(p)
    log_likelihood, residuals, variances = risk.moments(beta)
    null, information = log_likelihood, variances.sum(axis=0)
    if (risk.scale == 0).any() or np.linalg.eigvalsh(information)[0] <= 1e-9 * len(risk.death):
        return _Fit(risk, unknown, unknown, null, null, "covariates constant or collinear among those at risk")
    for _ in range(_MAX_STEPS):
        step = np.linalg.lstsq(information, residuals.sum(axis=0), rcond=None)[0]
        step *= min(1.0, 5 / np.abs(step).max(initial=1e-300))
        candidate = risk.moments(beta + step)
        while not candidate[0] >= log_likelihood - 1e-12 * abs(log_likelihood) and np.abs(step).max() > 1e-12:
            step /= 2
            candidate = risk.moments(beta + step)
        beta, gain = beta + step, candidate[0] - log_likelihood
        log_likelihood, residuals, variances = candidate
        information = variances.sum(axis=0)
        if (abs(gain) <= 1e-12 * (abs(log_likelihood) + 1) and np.abs(step).max() < 1e-9) or np.abs(beta).max() > 40:
            break
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt(np.diag(np.linalg.pinv(information, rcond=1e-15)))
    endless = (
        ~(se < _FLAT) | (np.linalg.eigvalsh(information)[0] < _FLAT**-2) & (np.abs(beta) > 10) | (np.abs(beta) > 40)
    )
    caveat = (
        "monotone likelihood: the covariates separate those with an event from those without" if endless.any() else ""
    )
    return _Fit(risk, np.where(endless, NAN, beta), np.where(endless, NAN, se), log_likelihood, null, caveat)


def _result(fit: _Fit, covariates: list[str], level: float) -> pd.DataFrame:
    scale = np.where(fit.risk.scale > 0, fit.risk.scale, NAN)
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
    gain = 2 * (fit.log_likelihood - fit.log_likelihood_null)
    result.attrs = {
        "n": len(fit.risk.x),
        "events": len(fit.risk.death),
        "excluded": fit.risk.excluded,
        "log_likelihood": fit.log_likelihood,
        "lrt_p": NAN if np.isnan(coef).all() else float(chdtrc(len(covariates), max(gain, 0))),
        "caveat": fit.caveat,
    }
    return result


def _score_test(risk: _Risk, fit: _Fit, g: np.ndarray) -> np.ndarray:
    """Chi-square for each covariate times g, and for all of them together, at the fitted coefficients."""
    _, residuals, variances = risk.moments(fit.beta)
    p = len(fit.beta)
    score = np.concatenate([np.zeros(p), g @ residuals])  # the first half is 0 at the maximum
    blocks = [np.tensordot(weight, variances, axes=1) for weight in (np.ones_like(g), g, g**2)]
    information = np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])
    chi2 = []
    for tested in [[j] for j in range(p)] + [list(range(p))]:
        kept = [*range(p), *(p + j for j in tested)]
        try:
            chi2.append(score[kept] @ np.linalg.solve(information[np.ix_(kept, kept)], score[kept]))
        except np.linalg.LinAlgError:  # all deaths at one time: nothing can change with it
            chi2.append(NAN)
    return np.array(chi2)


def _time_function(risk: _Risk, transform: str) -> np.ndarray:
    """g at each death, centred (which changes nothing but the conditioning)."""
    times = risk.stop[risk.death]
    if transform == "rank":
        times = pd.Series(risk.stop).rank().to_numpy()[risk.death]
    elif transform == "km":
        curve = kaplan_meier(risk.stop, risk.event, risk.start)
        before = np.searchsorted(curve["time"].to_numpy(), times, side="left")
        times = 1 - np.concatenate([[1.0], curve["survival"].to_numpy()])[before]
    return times - times.mean()


def _within(groups: np.ndarray, keys: np.ndarray, group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """How many rows of each ``group`` have a key at or below ``key``; rows are sorted by group, then key."""
    counts = np.zeros(len(group), dtype=int)
    for code in np.unique(group):
        mine, rows = group == code, slice(*np.searchsorted(groups, [code, code + 1]))
        counts[mine] = np.searchsorted(keys[rows], key[mine], side="right")
    return counts


def _cumulative(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
