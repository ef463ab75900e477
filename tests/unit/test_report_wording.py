"""Numbers are printed as a journal prints them: rounded half up, missing as NE, never p = 0.000."""

from decimal import Decimal

import pytest

from orchestration.report import wording


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.25, 1, "0.3"),
        (2.5, 0, "3"),
        (1.005, 2, "1.01"),  # the double lies below 1.005; the number meant does not
        (-0.04, 1, "0.0"),
        (-12.35, 1, "−12.4"),
        (12345.6, 1, "12\u202f345.6"),
        (Decimal("9.85"), 1, "9.9"),
        (None, 1, "NE"),
    ],
)
def test_numbers_are_rounded_half_up(value, places, text):
    assert wording.fixed(value, places) == text


@pytest.mark.parametrize(
    ("value", "text"), [(26 / 32, "81.3"), (0.0625, "6.3"), (1 / 3, "33.3"), (0, "0.0"), (1, "100.0")]
)
def test_shares_are_percentages_with_one_decimal(value, text):
    assert wording.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00099, "< 0.001"), (0.001, "0.001"), (0.0431, "0.043"), (0.0005, "< 0.001"), (0.9996, "> 0.999"), (1, "1.000")],
)
def test_p_values_never_read_as_zero_or_one_unless_they_are(value, text):
    assert wording.p_value(value) == text


@pytest.mark.parametrize(
    ("statistic", "low", "high", "text"),
    [
        ("proportion", 0.4158, 0.6243, "41.6 to 62.4"),
        ("median_months", 20.04, None, "20.0 to NE"),
        ("hazard_ratio", 1.105, 1.835, "1.11 to 1.84"),
        ("rate_12m", None, None, ""),
    ],
)
def test_limits_are_printed_in_the_unit_of_their_estimate(statistic, low, high, text):
    assert wording.interval(statistic, low, high) == text


@pytest.mark.parametrize(("value", "text"), [(-62.34, "−62.3\u202f%"), (5, "+5.0\u202f%"), (0, "0.0\u202f%")])
def test_changes_carry_their_sign(value, text):
    assert wording.change(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fall_20", "fall ≥ 20 %"),
        ("at_most_77pct", "at most 77 % of baseline"),
        ("normalised", "normalised"),
        ("fall_back", "fall back"),
    ],
)
def test_thresholds_are_put_in_words_with_their_number(name, text):
    assert wording.threshold(name) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rate_18m", "rate at 18 months"),
        ("median_months", "median (months)"),
        ("geometric_mean_ng_ml", "geometric mean (ng/mL)"),
        ("logrank_p", "log-rank test"),
        ("never_seen_before", "never seen before"),
    ],
)
def test_names_of_statistics_are_put_in_words(name, text):
    assert wording.statistic(name) == text
