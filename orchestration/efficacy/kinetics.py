"""Serum HER2 over time: lead by schedule, geometric means, trajectories. Change, nadir and rises are the marts'."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from orchestration.efficacy import inputs

NAN = float("nan")


def lead_by_schedule(last_free_day: float, progression_day: float, draw_days: np.ndarray) -> float:
    """Lead over imaging that the days of sampling give alone, were serum and tumour to change at one moment.

    The moment is anywhere between the last scan without progression and the one with it, all days alike; serum shows
    it at the next draw, imaging on ``progression_day``.

    Args:
        last_free_day, progression_day: study days of the two scans, in this order.
        draw_days: study days of the draws, in any order; those up to ``last_free_day`` do not count.

    Returns:
        The mean of progression day less day of the draw; NaN where no draw follows the last scan without progression.
    """
    draws = np.unique(draw_days[draw_days > last_free_day])
    if not len(draws):
        return NAN
    ends = np.minimum(draws, progression_day)
    days = np.diff(ends, prepend=last_free_day)  # between which the moment is first seen at this draw
    return float(days @ (progression_day - draws) / days.sum())


def geometric_mean(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Geometric mean of positive values with the t interval of their logarithms.

    Returns:
        (estimate, low, high); limits NaN for fewer than two values.

    Raises:
        ValueError: a value is missing, infinite, 0 or negative.
    """
    inputs.confidence(level)
    values = inputs.numbers("values", values)
    if (values <= 0).any():
        raise ValueError("values: a geometric mean needs positive values")
    n, logs = len(values), np.log(values)
    if n == 0:
        return NAN, NAN, NAN
    if n == 1:
        return float(values[0]), NAN, NAN
    half = stdtrit(n - 1, 0.5 + level / 2) * logs.std(ddof=1) / np.sqrt(n)
    return tuple(float(np.exp(logs.mean() + side * half)) for side in (0, -1, 1))


@dataclass(frozen=True)
class Slopes:
    """Fixed effects of a linear mixed model: coefficients and standard errors in the order of the design's columns."""

    coef: np.ndarray
    se: np.ndarray
    caveat: str


def mixed_model(y: np.ndarray, x: np.ndarray, time: np.ndarray, subject: np.ndarray) -> Slopes:
    """Linear mixed model with a random intercept and slope in time for each subject, by REML (Laird and Ware 1982).

    The likelihood is profiled over the fixed effects and the residual variance (Bates et al., J Stat Softw 2015) and
    needs only each subject's sums of products, so that thousands of subjects are no trouble.

    Args:
        y: n responses.
        x: (n, p) fixed effects, with the intercept.
        time: n values of the variable that has the random slope.
        subject: n labels.

    Returns:
        Slopes; NaN with the reason where there are too few subjects or rows, or the fixed effects are collinear.

    Raises:
        ValueError: names the argument: missing values or lengths that differ.
    """
    y, time = inputs.numbers("y", y), inputs.numbers("time", time, length=len(y))
    code = inputs.labels("subject", subject, length=len(y))
    x = np.asarray(x, dtype=float)
    if x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x: needs {len(y)} rows and a column for each fixed effect")
    unknown = np.full(x.shape[1], NAN)
    subjects = int(code.max(initial=-1)) + 1
    if subjects <= x.shape[1] or len(y) < 2 * subjects:
        return Slopes(unknown, unknown, "too few subjects or samples for a random intercept and slope")
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return Slopes(unknown, unknown, "fixed effects constant or collinear")
    spread = time.std()
    z = np.column_stack([np.ones(len(y)), (time - time.mean()) / spread])
    sums = _Sums.of(np.column_stack([x, y]), z, code, subjects)
    from scipy.optimize import minimize

    start = np.array([1.0, 0.0, 0.3])
    rounding = 1e-13 * abs(sums.deviance(start, len(y)))  # below it one deviance cannot be told from another
    best = minimize(
        lambda theta: sums.deviance(theta, len(y)),
        start,
        method="Nelder-Mead",
        options={
            "xatol": 1e-7,
            "fatol": 1e-9 + 100 * rounding,
            "maxiter": 1000,
            "initial_simplex": start + 0.3 * np.eye(4, 3, -1),
        },
    )
    coef, covariance = sums.fixed_effects(best.x, len(y))
    return Slopes(coef, np.sqrt(np.diag(covariance)), "" if best.success else "the mixed model did not converge")


@dataclass(frozen=True)
class _Sums:
    """Cross products within each of m subjects, side by side: one matrix product serves all of them."""

    zz: np.ndarray  # (2, m * 2) of the random effects
    za: np.ndarray  # (2, m * k) of these with the k fixed ones and y
    aa: np.ndarray  # (k, k) of the fixed ones and y, of all subjects together

    @classmethod
    def of(cls, a: np.ndarray, z: np.ndarray, code: np.ndarray, subjects: int) -> "_Sums":
        def summed(values):
            total = np.zeros((subjects, *values.shape[1:]))
            np.add.at(total, code, values)
            return total.swapaxes(0, 1).reshape(2, -1)

        return cls(summed(z[:, :, None] * z[:, None, :]), summed(z[:, :, None] * a[:, None, :]), a.T @ a)

    def profiled(self, theta: np.ndarray) -> tuple[np.ndarray, float]:
        """[X y]' V^-1 [X y] and log|V|, both with the residual variance taken out; V = I + Z L L' Z'."""
        root = np.array([[theta[0], 0], [theta[1], theta[2]]])
        inner = ((root.T @ self.zz).reshape(-1, 2) @ root).reshape(2, -1, 2)
        first, second = (root.T @ self.za).reshape(2, -1, len(self.aa))
        low, between, high = 1 + inner[0, :, 0], inner[0, :, 1], 1 + inner[1, :, 1]
        determinant = low * high - between**2
        one, both, two = high / determinant, between / determinant, low / determinant
        cross = first.T @ (both[:, None] * second)
        reduced = first.T @ (one[:, None] * first) + second.T @ (two[:, None] * second) - cross - cross.T
        return self.aa - reduced, float(np.log(determinant).sum())

    def deviance(self, theta: np.ndarray, rows: int) -> float:
        products, log_determinant = self.profiled(theta)
        xx, xy, yy = products[:-1, :-1], products[:-1, -1], products[-1, -1]
        freedom = rows - len(xx)
        residual = max(yy - xy @ np.linalg.solve(xx, xy), 1e-300)
        return log_determinant + np.linalg.slogdet(xx)[1] + freedom * np.log(residual / freedom)

    def fixed_effects(self, theta: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
        products, _ = self.profiled(theta)
        xx, xy, yy = products[:-1, :-1], products[:-1, -1], products[-1, -1]
        coef = np.linalg.solve(xx, xy)
        return coef, np.linalg.inv(xx) * (yy - xy @ coef) / (rows - len(xx))


def wald(coef: float, se: float, level: float) -> tuple[float, float]:
    """Limits coef -+ z * se."""
    half = ndtri(0.5 + inputs.confidence(level) / 2) * se
    return float(coef - half), float(coef + half)
