"""The public interface in the corners that the shared references leave out, held against R (see r/reference.R)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.efficacy import association, kinetics, rates, survival

R = json.loads(Path(__file__).with_name("r").joinpath("reference.json").read_text("utf-8"))
EXACT = {"rtol": 1e-9, "atol": 1e-12, "equal_nan": True}
FITTED = {"rtol": 1e-8, "atol": 1e-9, "equal_nan": True}
FRAME = pd.DataFrame(R["frame"])


def numbers(values) -> np.ndarray:
    return np.atleast_1d(np.asarray(values, dtype=float))  # null is NaN


def test_the_reference_says_which_r_computed_it():
    assert "R version 4.2.2" in R["versions"]["R"] and R["versions"]["survival"] == "3.5.3"


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("name", R["curves"])
def test_curves_and_their_quantiles(name, level):
    case = R["curves"][name]
    expected = case[f"level_{level}"]
    entry = numbers(case["entry"]) if "entry" in case else None
    found = survival.kaplan_meier(numbers(case["time"]), numbers(case["event"]), entry, level)
    for column in ("time", "at_risk", "events", "censored", "survival", "ci_low", "ci_high"):
        np.testing.assert_allclose(found[column], numbers(expected[column]), **EXACT, err_msg=column)
    found = [survival.quantile(found, p) for p in (0.25, 0.5, 0.75)]
    np.testing.assert_allclose(np.transpose(found), np.array(expected["quantiles"], dtype=float), **EXACT)


@pytest.mark.parametrize(
    ("case", "group", "strata", "entry"),
    [
        ("groups", "group", None, None),
        ("stratified", "group", "stratum", None),
        ("entry", "z", None, "start"),
        ("entry_stratified", "z", "stratum", "start"),
    ],
)
def test_logrank_with_ties_strata_and_entry(case, group, strata, entry):
    found = survival.logrank(
        FRAME["stop"],
        FRAME["event"],
        FRAME[group],
        None if strata is None else FRAME[strata],
        None if entry is None else FRAME[entry],
    )
    np.testing.assert_allclose(found[:2], [R["logranks"][case]["chi2"], R["logranks"][case]["df"]], rtol=1e-8)


@pytest.mark.parametrize(
    ("case", "start", "strata"),
    [
        ("plain", None, None),
        ("stratified", None, "stratum"),
        ("entry", "start", None),
        ("entry_stratified", "start", "stratum"),
    ],
)
def test_cox_with_ties_strata_and_entry(case, start, strata):
    expected = R["cox"][case]
    found = survival.cox(FRAME, "stop", "event", ["x", "z"], start=start, strata=strata)
    for column in ("coef", "se", "p_value"):
        np.testing.assert_allclose(found[column], expected[column], **FITTED)
    for name in ("log_likelihood", "lrt_p"):
        assert found.attrs[name] == pytest.approx(expected[name], rel=1e-8)


@pytest.mark.parametrize("transform", survival.TRANSFORMS)
@pytest.mark.parametrize(("case", "start"), [("plain", None), ("entry", "start")])
def test_proportional_hazards_with_ties_and_entry(case, start, transform):
    found = survival.proportional_hazards_test(FRAME, "stop", "event", ["x", "z"], start=start, transform=transform)
    np.testing.assert_allclose(found["chi2"], R["cox"][case][f"zph_{transform}"], **FITTED)


def test_concordance_with_ties():
    found, _, _ = association.concordance(FRAME["stop"], FRAME["event"], FRAME["x"])
    assert found == pytest.approx(R["concordance"], abs=1e-9)


def test_roc_youden_and_rank_correlation_with_ties():
    case = R["association"]
    for level, (low, auc, high) in zip((0.95, 0.8), case["delong"]):
        np.testing.assert_allclose(association.roc(case["score"], case["label"], level), [auc, low, high], **EXACT)
    cut, index, corrected = association.youden(case["score"], case["label"])
    best = case["youden"]  # R finds two that are equally good, and cuts between two values
    assert index == pytest.approx(best["sensitivity"][0] + best["specificity"][0] - 1) and corrected < index
    assert cut == min(score for score in case["score"] if score > best["threshold"][0])
    rho, _, _, p = association.spearman(case["score"], case["y"])
    np.testing.assert_allclose([rho, p], [case["rho"], case["rho_p"]], **EXACT)


def test_logistic_regression():
    case = R["association"]
    found = association.logistic(pd.DataFrame({name: case[name] for name in ("score", "label", "y")}), "label", ["score", "y"])
    np.testing.assert_allclose(found["coef"], case["logistic"]["coef"], rtol=1e-8)
    np.testing.assert_allclose(found["se"], case["logistic"]["se"], rtol=1e-7)


def test_fixed_effects_of_the_mixed_model():
    case = R["mixed"]
    week, responder = np.array(case["week"]), np.array(case["responder"])
    design = np.column_stack([np.ones(len(week)), week, responder, week * responder])
    found = kinetics.mixed_model(np.array(case["y"]), design, week, np.array(case["subject"]))
    np.testing.assert_allclose(found.coef, case["coef"], rtol=1e-5)
    np.testing.assert_allclose(found.se, case["se"], rtol=1e-3)  # nlme stops where the likelihood is flat


@pytest.mark.parametrize("case", R["fisher"], ids=[str(case["cells"]) for case in R["fisher"]])
def test_fisher_exact(case):
    a, b, c, d = case["cells"]
    estimate, low, high, p = rates.odds_ratio([[a, b], [c, d]])
    assert p == pytest.approx(case["p"], rel=1e-9)
    for ours, theirs in ((estimate, case["odds_ratio"]), (low, case["ci_low"]), (high, case["ci_high"])):
        # R looks for the limits with an absolute tolerance of 1.2e-4; what is 0 or infinite is no number here
        assert np.isnan(ours) if theirs in (0, None) else ours == pytest.approx(theirs, rel=0.01, abs=1.3e-4)


@pytest.mark.parametrize("case", R["proportions"], ids=[str(case["case"]) for case in R["proportions"]])
def test_exact_intervals_at_the_ends_and_at_other_levels(case):
    for level, limits in zip((0.8, 0.95, 0.999), case["limits"]):
        np.testing.assert_allclose(rates.proportion_ci(*case["case"], level), limits, atol=1e-9)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((56, 70, 48, 80), (0.2, 0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.6, 0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.5714, 0.0582, 0.8062)),
        ((5, 56, 0, 29), (0.0893, -0.0381, 0.1926)),
        ((0, 10, 0, 20), (0, -0.1611, 0.2775)),
        ((0, 10, 0, 10), (0, -0.2775, 0.2775)),
        ((10, 10, 0, 20), (1, 0.6791, 1)),
        ((10, 10, 0, 10), (1, 0.6075, 1)),
    ],
)
def test_difference_equals_the_worked_examples_of_newcombe(counts, expected):
    # Newcombe 1998, Stat Med 17:873, table II, method 10, examples (a) to (h)
    np.testing.assert_allclose(rates.difference_ci(*counts), expected, atol=5.1e-5)
