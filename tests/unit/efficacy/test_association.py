"""ROC, rank correlation, concordance and logistic regression."""

import numpy as np
import pandas as pd
import pytest

from orchestration.efficacy import association


@pytest.mark.parametrize("marker", ["s100b", "ndka", "wfns"])
def test_roc_equals_proc(reference, marker):
    frame, expected = reference.data("aSAH"), reference.results("roc_delong")["single"][marker]
    found = association.roc(frame[marker], frame["outcome"] == "Poor")
    np.testing.assert_allclose(found, [expected[name] for name in ("auc", "delong_lower", "delong_upper")], atol=1e-9)


def test_roc_is_the_share_of_pairs_that_the_wilcoxon_test_counts(reference):
    frame = reference.data("aSAH")
    found, _, _ = association.roc(frame["s100b"], frame["outcome"] == "Good")
    statistic = reference.results("rank_tests_multiplicity")["aSAH_s100b_by_outcome"]["W"]
    good = int((frame["outcome"] == "Good").sum())
    assert found * good * (len(frame) - good) == pytest.approx(statistic, abs=1e-9)


@pytest.mark.parametrize("marker", ["s100b", "ndka", "wfns"])
def test_the_youden_index_equals_procs_and_its_correction_is_smaller(reference, marker):
    frame, expected = reference.data("aSAH"), reference.results("roc_delong")["single"][marker]["youden"][0]
    cut, index, corrected = association.youden(frame[marker], frame["outcome"] == "Poor")
    assert index == pytest.approx(expected["youden"] - 1, abs=1e-9) and 0 < corrected < index
    assert cut == frame.loc[frame[marker] > expected["threshold"], marker].min()  # pROC cuts between two values


def test_a_youden_index_of_noise_is_mostly_optimism():
    rng = np.random.default_rng(8)
    found = np.array([association.youden(rng.normal(size=60), rng.random(60) < 0.5)[1:] for _ in range(30)])
    apparent, corrected = found.mean(axis=0)
    assert apparent > 0.1 and corrected < apparent / 2


def test_youden_needs_both_outcomes():
    assert np.isnan(association.youden([1, 2], [1, 1])).all() and np.isnan(association.youden([], [])).all()


def test_roc_is_never_turned_to_suit_the_data():
    assert association.roc([1, 2, 3, 4, 5], [1, 1, 0, 1, 0])[0] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("score", "label"), [([], []), ([1, 2], [1, 1])])
def test_roc_needs_both_outcomes(score, label):
    assert np.isnan(association.roc(score, label)).all()


def test_roc_that_separates_has_no_interval():
    assert association.roc([1, 2, 3, 4], [0, 0, 1, 1])[0] == 1
    assert np.isnan(association.roc([1, 2, 3, 4], [0, 0, 1, 1])[1:]).all()


def test_spearman_agrees_with_scipy_and_its_interval_with_the_formula():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    x = rng.integers(0, 12, 40).astype(float)
    y = x + rng.normal(0, 6, 40).round()
    rho, low, high, p = association.spearman(x, y)
    theirs = spearmanr(x, y)
    assert (rho, p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
    half = 1.959963984540054 * np.sqrt((1 + rho**2 / 2) / 37)
    assert (low, high) == pytest.approx(np.tanh([np.arctanh(rho) - half, np.arctanh(rho) + half]))


@pytest.mark.parametrize(("x", "y"), [([], []), ([1, 2], [2, 1]), ([1, 1, 1, 1], [1, 2, 3, 4])])
def test_spearman_without_variation_is_not_estimable(x, y):
    assert np.isnan(association.spearman(x, y)).all()


def test_a_perfect_correlation_has_no_interval():
    rho, low, high, _ = association.spearman([1, 2, 3, 4], [2, 4, 6, 8])
    assert rho == 1 and np.isnan([low, high]).all()


def test_concordance_equals_r_and_lifelines(reference):
    from lifelines.utils import concordance_index

    lung = reference.sample("lung")
    found, low, high = association.concordance(lung["stop"], lung["event"], -lung["sex"])
    assert found == pytest.approx(reference.results("coxph")["lung_sex_efron"]["concordance"], abs=1e-9)
    assert found == pytest.approx(concordance_index(lung["stop"], lung["sex"], lung["event"]), abs=1e-9)
    assert low < found < high
    assert (found, low, high) == association.concordance(lung["stop"], lung["event"], -lung["sex"])


@pytest.mark.parametrize("digits", [0, 1, 6], ids=["many risks alike", "some alike", "none alike"])
def test_limits_of_concordance_are_those_of_lifelines_in_each_resample(digits):
    from lifelines.utils import concordance_index

    dice = np.random.default_rng(digits)
    time, event, risk = dice.integers(1, 9, 40), dice.random(40) < 0.7, dice.normal(size=40).round(digits)
    times = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=50)  # as often as each was drawn
    theirs = [concordance_index(*(np.repeat(values, drawn) for values in (time, -risk, event))) for drawn in times]
    found = association.concordance(time, event, risk, resamples=50, seed=7)
    assert found == pytest.approx(
        [concordance_index(time, -risk, event), *np.quantile(theirs, [0.025, 0.975])], abs=1e-12
    )


def test_concordance_without_a_comparable_pair_is_not_estimable():
    assert np.isnan(association.concordance([3, 4], [0, 0], [1, 2])).all()
    assert np.isnan(association.concordance([], [], [])).all()


def test_logistic_agrees_with_statsmodels():
    from statsmodels.api import Logit, add_constant

    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(5, 100, size=80)})
    frame["y"] = rng.random(80) < 1 / (1 + np.exp(-frame["a"]))
    found = association.logistic(frame, "y", ["a", "b"])
    theirs = Logit(frame["y"].astype(float), add_constant(frame[["a", "b"]])).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose(found["coef"], theirs.params[1:], rtol=1e-7)
    np.testing.assert_allclose(found["se"], theirs.bse[1:], rtol=1e-6)
    np.testing.assert_allclose(found["p_value"], theirs.pvalues[1:], rtol=1e-6)


@pytest.mark.parametrize(("y", "a", "reason"), [
    ([0, 0, 1, 1], [1, 2, 3, 4], "separation"), ([1, 1, 1, 1], [1, 2, 3, 4], "one outcome"),
    ([0, 1, 0, 1], [1, 1, 1, 1], "constant"), ([], [], "no subjects"),
])  # fmt: skip
def test_logistic_says_why_it_cannot_estimate(y, a, reason):
    found = association.logistic(pd.DataFrame({"y": y, "a": a}, dtype=float), "y", ["a"])
    assert found.drop(columns="term").isna().all(axis=None) and reason in found.attrs["caveat"]


@pytest.mark.parametrize(("call", "argument"), [
    (lambda: association.roc([1, np.nan], [0, 1]), "score"),
    (lambda: association.roc([1, 2], [0, 2]), "label"),
    (lambda: association.roc([1, 2], [0]), "label"),
    (lambda: association.spearman([1, 2], [1]), "y"),
    (lambda: association.spearman(["a"], [1]), "x"),
    (lambda: association.spearman([1], [1], level=0), "level"),
    (lambda: association.concordance([1], [1], [None]), "risk"),
    (lambda: association.logistic(pd.DataFrame({"y": [1]}), "y", ["a"]), "covariates"),
    (lambda: association.logistic(pd.DataFrame({"y": [2], "a": [1]}), "y", ["a"]), "outcome"),
])  # fmt: skip
def test_arguments_that_make_no_sense_are_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}"):
        call()
