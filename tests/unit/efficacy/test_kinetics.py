"""Lead by schedule, geometric means, the mixed model."""

import numpy as np
import pytest

from orchestration.efficacy import kinetics


@pytest.mark.parametrize(("draws", "expected"), [
    ([142], 0),  # drawn with the scan only
    ([121, 142], 42 / 2 / 2),  # and half-way: half of the moments are seen 21 days early
    ([101, 121, 142], np.average([41, 21, 0], weights=[1, 20, 21])),
    ([149], -7),
    ([60, 100, 142], 0),  # what was drawn up to the last free scan shows nothing
    ([100], np.nan),
    ([], np.nan),
])  # fmt: skip
def test_the_lead_by_schedule_is_the_mean_over_all_moments_between_the_scans(draws, expected):
    assert kinetics.lead_by_schedule(100, 142, np.array(draws, dtype=float)) == pytest.approx(expected, nan_ok=True)


def test_geometric_mean_has_the_t_interval_of_the_logarithms():
    values = np.array([2.0, 8.0, 4.0])
    estimate, low, high = kinetics.geometric_mean(values)
    assert estimate == pytest.approx(4)
    half = 4.302652729911275 * np.log(values).std(ddof=1) / np.sqrt(3)
    assert (low, high) == pytest.approx((4 * np.exp(-half), 4 * np.exp(half)))
    assert np.isnan(kinetics.geometric_mean(np.array([5.0]))[1:]).all()
    assert np.isnan(kinetics.geometric_mean(np.array([]))).all()
    with pytest.raises(ValueError, match=r"^values"):
        kinetics.geometric_mean(np.array([0.0, 1.0]))


def test_mixed_model_agrees_with_statsmodels():
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(7)
    subject = np.repeat(np.arange(40), 6)
    week = np.tile([0, 3, 6, 12, 18, 24], 40) + rng.normal(0, 0.2, 240)
    group = (subject % 2).astype(float)
    y = 3 + rng.normal(0, 0.7, 40)[subject] + (0.03 * group + rng.normal(-0.02, 0.03, 40)[subject]) * week
    y = y + rng.normal(0, 0.15, 240)
    x = np.column_stack([np.ones(240), week, group, week * group])
    found = kinetics.mixed_model(y, x, week, subject)
    scaled = np.column_stack([np.ones(240), (week - week.mean()) / week.std()])  # or its optimiser gives up
    theirs = MixedLM(y, x, subject, scaled).fit(reml=True, method="powell")
    np.testing.assert_allclose(found.coef, theirs.fe_params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.se, theirs.bse_fe, rtol=1e-4)


@pytest.mark.parametrize(("rows", "reason"), [(0, "too few"), (6, "too few"), (40, "collinear")])
def test_mixed_model_says_why_it_cannot_estimate(rows, reason):
    subject = np.arange(rows) // 2
    x = np.column_stack([np.ones(rows), np.arange(rows) % 2, np.zeros(rows), np.zeros(rows)])
    found = kinetics.mixed_model(np.zeros(rows), x, np.arange(rows) % 2.0, subject)
    assert reason in found.caveat and np.isnan(found.coef).all()
