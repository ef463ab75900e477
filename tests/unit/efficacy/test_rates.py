"""Proportions and 2x2 tables, held against R and against published intervals."""

import numpy as np
import pytest

from orchestration.efficacy import rates


def test_exact_intervals_equal_r(reference):
    cases = reference.results("binom_ci")
    assert len(cases) > 100
    for case in cases:
        x, n = case["x"], case["n"]
        np.testing.assert_allclose(rates.proportion_ci(x, n), [case["cp_lower"], case["cp_upper"]], atol=1e-9)
        np.testing.assert_allclose(rates.proportion_ci(x, n, 0.9), [case["cp90_lower"], case["cp90_upper"]], atol=1e-9)
        np.testing.assert_allclose(rates.wilson_ci(x, n), [case["wilson_lower"], case["wilson_upper"]], atol=1e-9)


def test_exact_intervals_equal_the_published_ones_to_the_printed_digit(reference):
    for row in reference.results("published_orr_ci")["rows"]:
        low, high = rates.proportion_ci(row["x"], row["n"])
        assert (100 * low, 100 * high) == pytest.approx((row["lower"], row["upper"]), abs=0.051)


def test_difference_equals_newcombes_own_example():
    # Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10
    np.testing.assert_allclose(rates.difference_ci(56, 70, 48, 80), [0.2, 0.0524, 0.3339], atol=5e-5)


def test_difference_agrees_with_statsmodels():
    from statsmodels.stats.proportion import confint_proportions_2indep

    for x1, n1, x2, n2 in [(9, 10, 3, 10), (0, 10, 0, 20), (10, 10, 0, 10), (29, 29, 11, 11)]:
        theirs = confint_proportions_2indep(x1, n1, x2, n2, method="newcomb")
        np.testing.assert_allclose(rates.difference_ci(x1, n1, x2, n2)[1:], theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("events", "time", "expected"),
    [
        (10, 1, (4.795389, 18.390356)),  # R: poisson.test(10)$conf.int
        (10, 4, (1.198847, 4.597589)),
        (0, 1, (0, 3.688879)),
        (0, 0, (np.nan, np.nan)),
    ],
)
def test_the_interval_of_an_incidence_is_garwoods(events, time, expected):
    assert rates.incidence_ci(events, time) == pytest.approx(expected, abs=1e-6, nan_ok=True)


TABLES = ["ali2008", "fornier2005_like", "small", "tea", "zero_cell", "tdxd_small", "balanced", "newcombe_a", "sparse"]


@pytest.mark.parametrize("case", TABLES)
def test_two_by_two_equals_r(reference, case):
    expected = reference.results("two_by_two")[case]
    found = rates.odds_ratio(expected["table_rows"])
    theirs = [expected[f"or_{name}"] for name in ("conditional", "lower", "upper")]
    theirs = [np.nan if value in (0, None, "Inf") else value for value in theirs]  # 0 and infinite are no numbers here
    assert found[:3] == pytest.approx(theirs, rel=0.01, nan_ok=True)
    assert found[3] == pytest.approx(expected["fisher_p"], rel=1e-9)


@pytest.mark.parametrize("table", [[[3, 1], [1, 3]], [[10, 2], [3, 15]], [[1, 40], [30, 2]], [[400, 900], [100, 800]]])
def test_two_by_two_equals_scipy(table):
    from scipy.stats.contingency import odds_ratio

    theirs = odds_ratio(table)
    assert rates.odds_ratio(table)[:3] == pytest.approx([theirs.statistic, *theirs.confidence_interval()], rel=1e-9)


@pytest.mark.parametrize("case", TABLES)
def test_heterogeneity_of_two_groups_equals_r(reference, case):
    expected = reference.results("two_by_two")[case]
    (a, b), (c, d) = expected["table_rows"]
    assert rates.heterogeneity([a, c], [a + b, c + d])[0] == pytest.approx(expected["chisq_p"], rel=1e-9)


@pytest.mark.parametrize(
    ("table", "known_limits"), [([[4, 0], [0, 4]], 1), ([[0, 10], [5, 5]], 1), ([[0, 0], [3, 4]], 0)]
)
def test_an_empty_cell_gives_no_odds_ratio_but_the_limit_that_exists(table, known_limits):
    estimate, low, high, _ = rates.odds_ratio(table)
    assert np.isnan(estimate) and np.isfinite([low, high]).sum() == known_limits


def test_heterogeneity_is_pearsons_chi_square():
    # three groups of 20 with 5, 10 and 15 successes: chi-square 10 on 2 df; a group of nobody does not count
    assert rates.heterogeneity([5, 10, 15, 0], [20, 20, 20, 0]) == pytest.approx((np.exp(-5), 10))
    for successes, totals in (([5], [20]), ([0, 0], [4, 5]), ([4, 5], [4, 5]), ([], [])):
        assert np.isnan(rates.heterogeneity(successes, totals)).all()
    with pytest.raises(ValueError, match=r"^successes"):
        rates.heterogeneity([5, 6], [4, 6])


def test_holm_equals_r_and_leaves_out_what_is_missing(reference):
    case = reference.results("rank_tests_multiplicity")["p_adjust"]
    np.testing.assert_allclose(rates.holm(case["p"]), case["holm"], atol=1e-12)
    np.testing.assert_allclose(rates.holm([0.04, np.nan, 0.01]), [0.04, np.nan, 0.02])


def test_no_subjects_give_no_interval():
    assert np.isnan(rates.proportion_ci(0, 0)).all()
    assert np.isnan(rates.difference_ci(0, 0, 1, 2)).all()


@pytest.mark.parametrize(("call", "argument"), [
    (lambda: rates.proportion_ci(3, 2), "successes"),
    (lambda: rates.proportion_ci(-1, 2), "successes"),
    (lambda: rates.proportion_ci(1.5, 2), "successes"),
    (lambda: rates.proportion_ci(1, np.nan), "n"),
    (lambda: rates.proportion_ci(1, 2, level=95), "level"),
    (lambda: rates.difference_ci(1, 2, 3, 2), "x2"),
    (lambda: rates.odds_ratio([[1, 2, 3]]), "table"),
    (lambda: rates.odds_ratio([[1, -2], [3, 4]]), "table"),
])  # fmt: skip
def test_arguments_that_make_no_sense_are_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}"):
        call()
