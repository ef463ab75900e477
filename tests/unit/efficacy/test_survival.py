"""Times to an event, held against R's survival and, as a second opinion, against lifelines."""

import numpy as np
import pandas as pd
import pytest

from orchestration.efficacy import association, survival

EXACT = {"rtol": 1e-9, "atol": 1e-12, "equal_nan": True}
FITTED = {"rtol": 1e-8, "atol": 1e-9, "equal_nan": True}

GROUPED = {
    "lung_all": None,
    "lung_by_sex": "sex",
    "veteran_by_trt": "trt",
    "veteran_by_celltype": "celltype",
    "aml_by_x": "x",
    "ovarian_by_rx": "rx",
    "heart_left_truncated_by_transplant": "transplant",
}


def floats(values) -> list[float]:
    return [np.nan if value is None else value for value in values]


def groups(reference, case: str) -> dict[str, pd.DataFrame]:
    if case.startswith("camis"):
        return {"all": reference.data("edge_quantiles").query("case == @case").rename(columns={"time": "stop"})}
    frame, column = reference.sample(case.split("_", maxsplit=1)[0]), GROUPED[case]
    return {"all": frame} if column is None else {f"{column}={key}": part for key, part in frame.groupby(column)}


def curve(frame: pd.DataFrame) -> pd.DataFrame:
    return survival.kaplan_meier(frame["stop"], frame["event"], frame.get("start"))


def as_quantile(expected: dict) -> list[float]:
    return floats(expected[name] for name in ("estimate", "lower", "upper"))


# --- Kaplan-Meier -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GROUPED)
def test_quantiles_equal_r(reference, case):
    expected = reference.results("km_quantiles")[case]["log-log"]
    parts = groups(reference, case)
    assert set(parts) == set(expected)
    for name, part in parts.items():
        for row in expected[name]["quantiles"]:
            np.testing.assert_allclose(survival.quantile(curve(part), row["prob"]), as_quantile(row), **EXACT)


@pytest.mark.parametrize(
    "case",
    [
        "flat_even_no_censor",
        "flat_then_censored",
        "never_reaches_half",
        "all_censored",
        "single_event",
        "tie_event_censor",
        "event_at_zero",
        "six_all_events",
        "km_drop_to_zero",
        "camis_last_censored",
        "camis_last_event",
        "even_8",
        "even_14",
        "even_18",
        "even_20",
    ],
)
def test_edge_cases_of_curve_and_quantiles_equal_r(reference, case):
    expected = reference.results("km_edge_cases")[case]
    frame = reference.data("edge_quantiles").query("case == @case")
    found = survival.kaplan_meier(frame["time"], frame["event"])
    for row in expected["quantiles"]["log-log"]["all"]["quantiles"]:
        np.testing.assert_allclose(survival.quantile(found, row["prob"]), as_quantile(row), **EXACT)
    names = {
        "time": "time",
        "at_risk": "n_risk",
        "events": "n_event",
        "censored": "n_censor",
        "survival": "surv",
        "ci_low": "lower",
        "ci_high": "upper",
    }
    for column, theirs in names.items():
        np.testing.assert_allclose(found[column], floats(row[theirs] for row in expected["curve"]), **EXACT)


@pytest.mark.parametrize(
    ("case", "where"), [("lung_all_loglog", ("lung", None)), ("aml_maintained_loglog", ("aml", "Maintained"))]
)
def test_curves_equal_r(reference, case, where):
    expected = pd.DataFrame(reference.results("km_curves")[case])
    name, group = where
    frame = reference.sample(name)
    found = curve(frame if group is None else frame[frame["x"] == group])
    np.testing.assert_allclose(
        found[["time", "at_risk", "events", "censored", "survival", "ci_low", "ci_high"]],
        expected[["time", "n_risk", "n_event", "n_censor", "surv", "lower", "upper"]].astype(float),
        **EXACT,
    )


@pytest.mark.parametrize(
    "case", ["lung_by_sex", "lung_all", "veteran_by_trt", "camis_last_censored", "camis_last_event"]
)
def test_rates_equal_r_up_to_the_last_observed_time(reference, case):
    parts, compared = groups(reference, case), 0
    for row in reference.results("km_rates")[case]["log-log"]:
        part = parts[row["strata"]]
        found = survival.rate_at(curve(part), [row["time"]]).iloc[0]
        assert found["at_risk"] == row["n_risk"]
        if row["time"] <= part["stop"].max():
            expected = floats(row[name] for name in ("surv", "lower", "upper"))
            np.testing.assert_allclose(found[["survival", "ci_low", "ci_high"]].astype(float), expected, **EXACT)
            compared += 1
    assert compared >= 3


def test_past_the_last_observed_time_a_rate_is_not_estimable_unless_the_curve_has_reached_zero():
    times = [1, 2, 3]
    censored = survival.rate_at(survival.kaplan_meier(times, [1, 1, 0]), [3, 3.1])
    assert censored["survival"].tolist()[0] == pytest.approx(1 / 3) and np.isnan(censored["survival"][1])
    dead = survival.rate_at(survival.kaplan_meier(times, [1, 1, 1]), [3.1])
    assert (
        dead["survival"][0] == 0
        and np.isnan(dead["ci_low"][0])
        and np.isnan(dead["ci_high"][0])
        and dead["at_risk"][0] == 0
    )


@pytest.mark.parametrize("case", ["lung_all", "lung_by_sex", "veteran_by_trt"])
def test_follow_up_equals_r(reference, case):
    for name, part in groups(reference, case).items():
        expected = reference.results("reverse_km")[case]["log-log"][name]["quantiles"][1]
        np.testing.assert_allclose(
            survival.reverse_kaplan_meier(part["stop"], part["event"]), as_quantile(expected), **EXACT
        )


def test_who_enters_at_a_time_is_not_at_risk_at_it():
    found = survival.kaplan_meier([2, 5, 6], [1, 1, 0], entry=[0, 2, 0])
    assert found["at_risk"].tolist() == [2, 2, 1] and found["survival"].tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(("event", "expected"), [([1, 1, 0], [0, 0, 0]), ([0, 1, 0], [1, 0.5, 0.5])])
def test_an_empty_risk_set_early_on_stops_the_curve_only_if_the_last_one_died(event, expected):
    found = survival.kaplan_meier([2, 5, 6], event, entry=[0, 3, 3])
    assert found["at_risk"].tolist() == [1, 2, 1] and found["survival"].tolist() == expected
    assert found["ci_low"].isna().tolist() == [value in (0, 1) for value in expected]


# --- Log-rank ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "name", "group", "strata"),
    [
        ("lung_sex", "lung", "sex", None),
        ("lung_sex_strata_ecog", "lung", "sex", "ph.ecog"),
        ("veteran_trt", "veteran", "trt", None),
        ("veteran_celltype", "veteran", "celltype", None),
        ("ovarian_rx", "ovarian", "rx", None),
        ("aml_x", "aml", "x", None),
    ],
)
def test_logrank_equals_r(reference, case, name, group, strata):
    frame = reference.sample(name).dropna(subset=strata or group)
    found = survival.logrank(frame["stop"], frame["event"], frame[group], None if strata is None else frame[strata])
    expected = reference.results("logrank")[case]
    np.testing.assert_allclose(found, [expected["chisq"], expected["df"], expected["p"]], **EXACT)


def test_logrank_with_entry_is_the_score_test_of_cox(reference):
    heart = reference.sample("heart").drop_duplicates(["stop"])  # without ties the two variances are the same
    statistic, freedom, _ = survival.logrank(heart["stop"], heart["event"], heart["transplant"], entry=heart["start"])
    assert freedom == 1
    from lifelines import CoxTimeVaryingFitter

    null = CoxTimeVaryingFitter(penalizer=0)
    frame = heart[["id", "start", "stop", "event", "transplant"]].assign(start=lambda rows: rows["start"].clip(lower=0))
    null.fit(frame, id_col="id", start_col="start", stop_col="stop", event_col="event", fit_options={"step_size": 0.5})
    assert statistic == pytest.approx(float((null.params_ / null.standard_errors_).iloc[0] ** 2), rel=0.02)


def test_splitting_a_subject_without_a_change_of_group_changes_nothing(reference):
    lung = reference.sample("lung")
    whole = survival.logrank(lung["stop"], lung["event"], lung["sex"])
    cut = np.minimum(lung["stop"] / 2, 100)
    halves = pd.concat([lung.assign(start=0.0, stop=cut, event=False), lung.assign(start=cut)])
    np.testing.assert_allclose(
        survival.logrank(halves["stop"], halves["event"], halves["sex"], entry=halves["start"]), whole, rtol=1e-9
    )


# --- Cox --------------------------------------------------------------------------------------------------------------

COX = [
    ("coxph", "lung_sex_efron", "lung", ["sex"], None),
    ("coxph", "lung_age_sex_ecog_efron", "lung", ["age", "sex", "ph.ecog"], None),
    ("coxph", "lung_strata_ecog_efron", "lung", ["age", "sex"], "ph.ecog"),
    ("coxph", "veteran_trt_prior_karno", "veteran", ["trt", "prior", "karno"], None),
    ("coxph", "veteran_trt_karno_celltype", "veteran", ["trt", "karno", "smallcell", "adeno", "large"], None),
    ("coxph", "pbc312_loge_bili", "pbc312", ["log_bili", "log_protime"], None),
    ("coxph_timedep", "pbcseq_tdc_efron", "pbc2_tmerge", ["log_bili", "log_protime"], None),
    ("coxph_timedep", "pbcseq_tdc_bili_only", "pbc2_tmerge", ["log_bili"], None),
    ("coxph_timedep", "pbcseq_tdc_log2_bili", "pbc2_tmerge", ["log2_bili"], None),
    ("coxph_validate", "test1_efron", "validate_test1", ["x"], None),
    ("coxph_validate", "test2_efron", "validate_test2", ["x"], None),
]


@pytest.mark.parametrize(("file", "case", "name", "covariates", "strata"), COX, ids=[row[1] for row in COX])
def test_cox_equals_r(reference, file, case, name, covariates, strata):
    frame, expected = reference.sample(name), reference.results(file)[case]
    found = survival.cox(frame, "stop", "event", covariates, start="start" if "start" in frame else None, strata=strata)
    assert found["term"].tolist() == covariates
    for column, theirs in [
        ("coef", "coef"),
        ("se", "se"),
        ("hazard_ratio", "hr"),
        ("ci_low", "hr_lower"),
        ("ci_high", "hr_upper"),
    ]:
        np.testing.assert_allclose(found[column], list(expected[theirs].values()), **FITTED)
    np.testing.assert_allclose(found["p_value"], list(expected["p"].values()), rtol=1e-6)
    assert (found.attrs["n"], found.attrs["events"]) == (expected["n"], expected["nevent"])
    assert found.attrs["log_likelihood"] == pytest.approx(expected["loglik"], rel=1e-9)
    assert found.attrs["lrt_p"] == pytest.approx(expected["lrt"]["pvalue"], rel=1e-6)
    if "start" not in frame and strata is None:
        frame = frame.dropna(subset=covariates)
        risk = association.linear_predictor(frame[covariates].to_numpy(float), found["coef"].to_numpy())
        ranked, _, _ = association.concordance(frame["stop"], frame["event"], risk)
        assert ranked == pytest.approx(expected["concordance"], abs=1e-9)


def test_cox_agrees_with_statsmodels_where_strata_and_stretches_come_together(reference):
    from statsmodels.duration.hazard_regression import PHReg

    heart, terms = reference.sample("heart"), ["age", "year", "transplant"]
    theirs = PHReg(
        heart["stop"] + 1,
        heart[terms],
        heart["event"],
        entry=heart["start"] + 1.001,  # it takes who enters at a time as at risk at it
        strata=heart["surgery"],
        ties="efron",
    ).fit(disp=0)
    ours = survival.cox(heart, "stop", "event", terms, start="start", strata="surgery")
    np.testing.assert_allclose(ours["coef"], theirs.params, rtol=1e-5)
    np.testing.assert_allclose(ours["se"], theirs.bse, rtol=1e-5)


def test_a_refit_is_the_model_of_the_resample(reference):
    lung, terms = reference.sample("lung"), ["age", "sex"]
    draws = np.random.default_rng(2).integers(len(lung), size=(3, len(lung)))
    found = survival.refit(lung, "stop", "event", terms, survival.cox(lung, "stop", "event", terms)["coef"], draws)
    expected = [survival.cox(lung.iloc[rows], "stop", "event", terms)["coef"] for rows in draws]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    nobody = np.flatnonzero(~lung["event"])[None, :5]
    assert np.isnan(survival.refit(lung, "stop", "event", terms, [0, 0], nobody)).all()


def test_a_stratum_of_one_row_says_nothing(reference):
    heart = reference.sample("heart").assign(stratum="most")
    alone = heart.iloc[:1].assign(stratum="alone")
    for start in (None, "start"):
        whole, more = (
            survival.cox(frame, "stop", "event", ["age"], start=start, strata="stratum")
            for frame in (heart, pd.concat([heart, alone]))
        )
        np.testing.assert_allclose(more["z"], whole["z"], rtol=1e-6)


def test_rows_that_lack_a_covariate_are_left_out_and_counted(reference):
    found = survival.cox(reference.sample("lung"), "stop", "event", ["ph.ecog"])
    assert (found.attrs["n"], found.attrs["excluded"]) == (227, 1)


def test_a_coefficient_does_not_depend_on_the_covariates_unit(reference):
    lung = reference.sample("lung").assign(small=lambda frame: frame["age"] * 1e-9 + 5)
    one, other = (survival.cox(lung, "stop", "event", [name]).iloc[0] for name in ("age", "small"))
    assert other["coef"] == pytest.approx(one["coef"] * 1e9, rel=1e-5) and other["p_value"] == pytest.approx(
        one["p_value"], rel=1e-5
    )


SMALL = pd.DataFrame(
    {"t": [1, 2, 3, 4.0, 5], "e": [1, 1, 0, 0, 0], "x": [1.0, 1, 0, 0, 0], "one": 1.0, "z": [0.1, 0.9, 0.4, 0.2, 0.8]}
)


@pytest.mark.parametrize(
    ("frame", "covariates", "reason"),
    [
        (SMALL, ["x"], "separate"),
        (SMALL, ["one"], "constant"),
        (SMALL.assign(y=lambda f: 2 * f["z"]), ["z", "y"], "collinear"),
        (SMALL.assign(e=0), ["z"], "no events"),
        (SMALL.iloc[:0], ["z"], "no subjects"),
        (SMALL.iloc[:1], ["z"], "constant"),
        (SMALL.assign(z=np.nan), ["z"], "no subjects"),
    ],
)
def test_cox_says_why_it_cannot_estimate(frame, covariates, reason):
    found = survival.cox(frame, "t", "e", covariates)
    assert found[["coef", "se", "hazard_ratio", "ci_low", "ci_high", "z", "p_value"]].isna().all(axis=None)
    assert reason in found.attrs["caveat"]
    assert survival.proportional_hazards_test(frame, "t", "e", covariates)["chi2"].isna().all()


def test_a_separated_term_leaves_the_others_estimable():
    rng = np.random.default_rng(1)
    frame = pd.concat([SMALL] * 20, ignore_index=True).assign(z=rng.normal(size=100))
    found = survival.cox(frame, "t", "e", ["x", "z"]).set_index("term")
    assert np.isnan(found.loc["x", "coef"]) and np.isfinite(found.loc["z", "coef"])


# --- Proportional hazards ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", survival.TRANSFORMS)
@pytest.mark.parametrize(
    ("name", "covariates"),
    [
        ("veteran", ["trt", "prior", "karno"]),
        ("lung", ["age", "sex", "ph.ecog"]),
        ("heart", ["age", "year", "surgery", "transplant"]),
    ],
)
def test_proportional_hazards_test_equals_r(reference, name, covariates, transform):
    frame, expected = reference.sample(name), reference.results("cox_zph")[name][transform]
    found = survival.proportional_hazards_test(
        frame, "stop", "event", covariates, start="start" if "start" in frame else None, transform=transform
    )
    assert found["term"].tolist() == [*covariates, "GLOBAL"]
    for column, theirs in [("chi2", "chisq"), ("degrees_of_freedom", "df"), ("p_value", "p")]:
        np.testing.assert_allclose(found[column], list(expected[theirs].values()), **FITTED)


# --- Arguments --------------------------------------------------------------------------------------------------------


def test_no_subjects_give_no_numbers():
    empty = survival.kaplan_meier([], [])
    assert (
        empty.empty
        and np.isnan(survival.quantile(empty)).all()
        and survival.rate_at(empty, [1])["survival"].isna().all()
    )
    assert np.isnan(survival.reverse_kaplan_meier([], [])).all()
    assert survival.logrank([], [], [])[1] == 0
    assert np.isnan(survival.logrank([1, 2], [1, 1], ["a", "a"])[2])


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: survival.kaplan_meier([1, np.nan], [1, 0]), "time"),
        (lambda: survival.kaplan_meier([1, -1], [1, 0]), "time"),
        (lambda: survival.kaplan_meier([1, np.inf], [1, 0]), "time"),
        (lambda: survival.kaplan_meier(["a", "b"], [1, 0]), "time"),
        (lambda: survival.kaplan_meier(3, 1), "time"),
        (lambda: survival.kaplan_meier([1, 2], [1]), "event"),
        (lambda: survival.kaplan_meier([1, 2], [1, 2]), "event"),
        (lambda: survival.kaplan_meier([1, 2], [1, None]), "event"),
        (lambda: survival.kaplan_meier([1, 2], [1, 0], entry=[1, 0]), "entry"),
        (lambda: survival.kaplan_meier([1, 2], [1, 0], level=95), "level"),
        (lambda: survival.quantile(survival.kaplan_meier([1], [1]), p=50), "p"),
        (lambda: survival.quantile(SMALL), "curve"),
        (lambda: survival.rate_at(survival.kaplan_meier([1], [1]), [-1]), "times"),
        (lambda: survival.logrank([1, 2], [1, 0], ["a"]), "group"),
        (lambda: survival.logrank([1, 2], [1, 0], ["a", None]), "group"),
        (lambda: survival.logrank([1, 2], [1, 0], ["a", "b"], strata=["s", None]), "strata"),
        (lambda: survival.cox(SMALL, "nope", "e", ["x"]), "stop"),
        (lambda: survival.cox(SMALL, "t", "t", ["x"]), "event"),
        (lambda: survival.cox(SMALL, "t", "e", []), "covariates"),
        (lambda: survival.cox(SMALL, "t", "e", ["nope"]), "covariates"),
        (lambda: survival.cox(SMALL.assign(x="a"), "t", "e", ["x"]), "covariates"),
        (lambda: survival.cox(SMALL, "t", "e", ["x"], start="t"), "start"),
        (lambda: survival.cox(SMALL, "t", "e", ["x"], strata="nope"), "strata"),
        (lambda: survival.proportional_hazards_test(SMALL, "t", "e", ["x"], transform="sqrt"), "transform"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}"):
        call()
