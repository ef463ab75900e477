"""All analyses of a study, on made-up marts."""

import doctest

import numpy as np
import pandas as pd
import pytest

import orchestration.efficacy
from orchestration.efficacy import metrics, rates, survival
from orchestration.efficacy.analyses import current_value
from orchestration.efficacy.book import Book
from orchestration.efficacy.cohort import Cohort
from orchestration.errors import UserError
from orchestration.study import Study

MARTS = ("dim_subject", "fct_visit", "fct_her2_delta", "fct_response", "fct_best_response", "fct_time_to_event")
KEYS = {"analysis", "endpoint", "population", "stratum", "term", "statistic", "time_months"}
PRIMARY = {
    "analysis": "landmark",
    "endpoint": "PFS",
    "stratum": "week 6",
    "term": "log2_ratio",
    "statistic": "hazard_ratio",
}
NAMES = {
    ("response rate", "ORR", "proportion"), ("response rate", "confirmed ORR", "proportion"),
    ("response rate", "DCR", "proportion"), ("response rate", "CBR", "proportion"),
    *(("survival", endpoint, statistic) for endpoint in ("PFS", "OS", "DOR")
      for statistic in ("median_months", "rate_6m", "rate_12m", "rate_18m", "rate_24m")),
    ("follow-up", "PFS", "median_months"), ("follow-up", "OS", "median_months"),
    ("landmark", "PFS", "hazard_ratio"), ("landmark", "PFS", "logrank_p"),
    ("time-dependent Cox", "PFS", "hazard_ratio"),
    ("Mantel-Byar", "PFS", "logrank_p"), ("PH test", "PFS", "chi2"), ("2x2", "ORR", "odds_ratio"),
    ("logistic", "ORR", "odds_ratio"), ("mixed model", "sHER2", "slope_difference"), ("concordance", "PFS", "c_index"),
    ("ROC", "ORR", "auc"), ("correlation", "best change", "spearman_rho"), ("lead time", "PD", "median_days"),
}  # fmt: skip


def study(**analysis) -> Study:
    return Study.model_validate({"analysis": analysis})


def pick(estimates: pd.DataFrame, **where) -> pd.Series:
    rows = estimates[np.logical_and.reduce([estimates[column] == value for column, value in where.items()])]
    assert len(rows) == 1, f"{len(rows)} rows for {where}"
    return rows.iloc[0]


@pytest.fixture(scope="module")
def linked(make_marts):
    return make_marts(150, seed=11, effect=0.7)


@pytest.fixture(scope="module")
def computed(linked):
    return metrics.compute(linked, study(secondary=["time_dependent_cox", "mantel_byar", "response_odds"]), "build")


@pytest.fixture(scope="module")
def estimates(computed):
    return computed["estimates"]


def test_every_name_of_the_contract_is_there_whether_there_is_data_or_not(estimates):
    empty = metrics.compute({name: pd.DataFrame() for name in MARTS}, study(), "build")["estimates"]
    for frame in (estimates, empty):
        assert set(frame[["analysis", "endpoint", "statistic"]].itertuples(index=False, name=None)) >= NAMES
        assert set(frame.loc[frame["analysis"] == "landmark", "stratum"]) >= {"week 6", "week 9", "week 12"}


def test_an_empty_study_gives_reasons_and_no_numbers():
    found = metrics.compute({name: pd.DataFrame() for name in MARTS}, study(), "build")
    numbers = found["estimates"][found["estimates"]["method"] != "count"]
    assert numbers["estimate"].isna().all() and (numbers["caveat"] != "").all()
    assert found["survival_curves"].empty
    assert (found["remark_profile"]["status"] == "not estimable").all() and (
        found["remark_profile"]["reason"] != ""
    ).all()


def test_a_row_without_a_number_says_why(estimates):
    missing = estimates[estimates["estimate"].isna()]
    assert len(missing) and (missing["caveat"] != "").all()


def test_a_number_stands_once_and_carries_the_build(computed, estimates):
    key = ["analysis", "endpoint", "population", "stratum", "term", "statistic"]
    assert not estimates.duplicated(key).any()
    assert not computed["remark_profile"].duplicated(key[:4]).any()
    assert not computed["survival_curves"].duplicated(["endpoint", "population", "stratum", "time_months"]).any()
    assert all((frame["build_id"] == "build").all() for frame in computed.values())


def test_intervals_hold_their_estimate_and_no_number_is_infinite(estimates):
    numbers = estimates[["estimate", "ci_low", "ci_high", "p_value"]]
    assert np.isfinite(numbers.fillna(0)).all(axis=None)
    assert not (estimates["ci_low"] > estimates["estimate"] + 1e-12).any()
    assert not (estimates["ci_high"] < estimates["estimate"] - 1e-12).any()
    assert (estimates.loc[estimates["ci_low"].notna(), "level"] == 0.95).all()


def test_there_is_one_primary_row_and_it_is_the_declared_one(linked, estimates):
    assert estimates["is_primary"].sum() == 1
    assert pick(estimates, **PRIMARY)["is_primary"]
    other = metrics.compute(linked, study(primary="landmark_week_12"), "b")
    assert pick(other["estimates"], is_primary=True)["stratum"] == "week 12"
    assert other["remark_profile"].query("role == 'primary'")["stratum"].tolist() == ["week 12"]


def test_the_primary_result_is_the_landmark_cox_done_by_hand(linked, estimates):
    her2, times = linked["fct_her2_delta"], linked["fct_time_to_event"].query("endpoint == 'PFS'")
    last = her2.query("study_day > 1 and 15 <= study_day <= 50").groupby("subject_id").last()
    frame = (
        times.query("duration_days > 50")
        .set_index("subject_id")
        .join(last[["log2_ratio", "baseline_ng_ml"]], how="inner")
    )
    frame = frame.assign(duration_days=frame["duration_days"] - 50, log2_baseline=np.log2(frame["baseline_ng_ml"]))
    expected = survival.cox(frame, "duration_days", "is_event", ["log2_ratio", "log2_baseline"])
    found = pick(estimates, **PRIMARY)
    assert (found["estimate"], found["ci_low"], found["ci_high"], found["p_value"]) == pytest.approx(
        expected.loc[0, ["hazard_ratio", "ci_low", "ci_high", "p_value"]].tolist()
    )
    assert (found["n"], found["events"]) == (len(frame), frame["is_event"].sum())
    counts = {row.statistic: row.estimate for row in estimates.query(
        "analysis == 'landmark' and endpoint == 'PFS' and stratum == 'week 6'").itertuples()}  # fmt: skip
    assert counts["excluded_event"] == (times["is_event"] & (times["duration_days"] <= 50)).sum()
    assert counts["excluded_censoring"] == (~times["is_event"] & (times["duration_days"] <= 50)).sum()


def test_a_linked_study_finds_the_link_in_every_analysis(estimates):
    for where in (
        PRIMARY,
        {"analysis": "time-dependent Cox", "term": "log2_ratio"},
        {"analysis": "Mantel-Byar", "statistic": "logrank_p"},
        {"analysis": "logistic", "endpoint": "ORR", "term": "log2_ratio"},
        {"analysis": "correlation"},
    ):
        assert pick(estimates, **where)["p_value"] < 0.05
    assert pick(estimates, **PRIMARY)["estimate"] > 1
    assert pick(estimates, analysis="ROC", endpoint="ORR", statistic="auc")["ci_low"] > 0.5


def test_the_time_dependent_rows_hold_each_value_from_its_lag_on(linked):
    rows = current_value.stretches(Book(Cohort(linked, study()), "b"))
    for subject, mine in rows.groupby("subject_id"):
        assert mine["start"].tolist() == [0, *mine["stop"].tolist()[:-1]]
        assert mine["is_event"].tolist()[:-1] == [False] * (len(mine) - 1)
        her2 = linked["fct_her2_delta"]
        draws = her2[(her2["subject_id"] == subject) & (her2["study_day"] > 1)].set_index("study_day")["log2_ratio"]
        for row in mine.iloc[1:].itertuples():
            assert row.log2_ratio == draws[row.start - 7]
    assert rows.groupby("subject_id")["log2_ratio"].first().eq(0).all()


def test_declared_secondary_analyses_are_adjusted_together_by_holm(computed, estimates):
    adjusted = estimates[estimates["p_adjusted"].notna()].sort_values("p_value")
    assert set(adjusted["analysis"]) == {"time-dependent Cox", "Mantel-Byar", "logistic"} and len(adjusted) == 3
    expected = np.minimum(np.maximum.accumulate(adjusted["p_value"].to_numpy() * [3, 2, 1]), 1)
    np.testing.assert_allclose(adjusted["p_adjusted"], expected)
    profile = computed["remark_profile"]
    for analysis, endpoint in (("Mantel-Byar", "PFS"), ("time-dependent Cox", "PFS"), ("logistic", "ORR")):
        assert pick(profile, analysis=analysis, endpoint=endpoint)["role"] == "secondary"
    assert pick(profile, analysis="logistic", endpoint="confirmed ORR")["role"] == "exploratory"


def test_an_unknown_secondary_analysis_is_the_users_mistake(linked):
    with pytest.raises(UserError, match=r"analysis\.secondary: unknown analysis 'mantel'"):
        metrics.compute(linked, study(secondary=["mantel"]), "b")


def test_curves_start_at_one_and_agree_with_the_rates(computed, estimates):
    curves = computed["survival_curves"]
    for _, curve in curves.groupby(["endpoint", "population", "stratum"]):
        assert curve["time_months"].iloc[0] == 0 and curve["survival"].iloc[0] == 1
        assert curve["survival"].is_monotonic_decreasing and curve["at_risk"].is_monotonic_decreasing
    pfs = curves.query("endpoint == 'PFS' and population == 'in_efficacy' and stratum == 'all'")
    rate = pick(estimates, analysis="survival", endpoint="PFS", population="in_efficacy", statistic="rate_6m")
    assert rate["estimate"] == pytest.approx(pfs.query("time_months <= 6")["survival"].iloc[-1])
    assert {"week 6: fall >= 20 %", "week 6: no fall >= 20 %"} <= set(curves["stratum"])


def test_the_other_evaluator_stands_beside_the_primary(linked):
    second = {
        name: pd.concat([linked[name], linked[name].assign(evaluator="INDEPENDENT ASSESSOR")], ignore_index=True)
        for name in ("fct_response", "fct_best_response", "fct_time_to_event")
    }
    found = metrics.compute({**linked, **second}, study(), "b")["estimates"]
    one, other = (pick(found, **{**PRIMARY, "stratum": name}) for name in ("week 6", "week 6, INDEPENDENT ASSESSOR"))
    assert one["estimate"] == other["estimate"] and one["is_primary"] and not other["is_primary"]
    mine, theirs = (
        pick(found, analysis=analysis, endpoint="ORR", statistic="proportion", population="in_efficacy")
        for analysis in ("response rate", "other evaluator")
    )
    assert mine["estimate"] == theirs["estimate"] and theirs["stratum"] == "INDEPENDENT ASSESSOR"


def test_the_order_of_the_rows_changes_nothing(linked, estimates):
    shuffled = {name: frame.sample(frac=1, random_state=4) if len(frame) else frame for name, frame in linked.items()}
    again = metrics.compute(shuffled, study(secondary=["time_dependent_cox", "mantel_byar", "response_odds"]), "build")
    pd.testing.assert_frame_equal(again["estimates"], estimates, check_exact=False, rtol=1e-9)


def test_no_analysis_changes_what_another_one_looks_at(linked, computed):
    """They share frames that are made once."""
    rules = study(secondary=["time_dependent_cox", "mantel_byar", "response_odds"])
    for name, backwards in metrics.compute(linked, rules, "build", metrics.ANALYSES[::-1]).items():
        keys = [column for column in computed[name] if column in KEYS]
        one, other = (frame.sort_values(keys).reset_index(drop=True) for frame in (computed[name], backwards))
        pd.testing.assert_frame_equal(one, other)


def test_the_same_marts_give_the_same_tables_bit_for_bit(linked, computed):
    again = metrics.compute(linked, study(secondary=["time_dependent_cox", "mantel_byar", "response_odds"]), "build")
    for name, frame in computed.items():
        pd.testing.assert_frame_equal(again[name], frame, check_exact=True)


def test_a_mart_that_is_absent_or_lacks_a_column_is_named(linked):
    with pytest.raises(ValueError, match=r"^marts: fct_response is absent"):
        metrics.compute({name: frame for name, frame in linked.items() if name != "fct_response"}, study(), "b")
    with pytest.raises(ValueError, match=r"^marts: dim_subject lacks in_efficacy"):
        metrics.compute({**linked, "dim_subject": linked["dim_subject"].drop(columns="in_efficacy")}, study(), "b")


def test_samples_on_or_after_progression_or_new_therapy_never_count_as_early_change(linked):
    marts = dict(linked)
    subject = linked["dim_subject"]["subject_id"].iloc[0]
    marts["dim_subject"] = linked["dim_subject"].assign(
        new_therapy_on=linked["dim_subject"]["first_dose_on"] + pd.Timedelta(30, "D")
    )
    changes = Cohort(marts, study()).changes
    assert subject in set(changes["subject_id"]) and (changes["study_day"] < 31).all()


def test_a_rise_without_progression_is_a_false_alarm_and_ends_the_time_at_risk(linked):
    censored = linked["fct_time_to_event"].query("endpoint == 'PFS' and not is_event")["subject_id"]
    her2 = linked["fct_her2_delta"].copy()
    mine = her2["subject_id"].isin(censored)
    her2.loc[mine, "sher2_progression"] = None
    subject = her2[mine].groupby("subject_id").size().idxmax()
    draws = her2.index[her2["subject_id"] == subject]
    her2.loc[draws[1:4], "sher2_progression"] = ["UNCONFIRMED", "CONFIRMED", "CONFIRMED"]
    estimates = metrics.compute({**linked, "fct_her2_delta": her2}, study(), "b")["estimates"]
    found = pick(estimates, analysis="lead time", endpoint="false alarm")
    last = her2[mine].groupby("subject_id")["study_day"].max()
    last[subject] = her2.loc[draws[2], "study_day"]
    assert (found["events"], found["n"]) == (1, len(last))
    assert found["estimate"] == pytest.approx(365.25 / (last - 1).sum())
    assert found["ci_low"] < found["estimate"] < found["ci_high"]


def test_the_concordance_of_a_model_is_corrected_for_having_been_fitted(estimates, make_marts):
    mine = {"analysis": "concordance", "endpoint": "PFS"}
    linked = [pick(estimates, **mine, statistic=name)["estimate"] for name in ("c_index", "c_index_corrected")]
    assert 0.6 < linked[1] < linked[0]
    null = metrics.compute(make_marts(60, seed=5), study(), "b")["estimates"]
    apparent, corrected = (pick(null, **mine, statistic=name)["estimate"] for name in ("c_index", "c_index_corrected"))
    assert apparent - corrected > 2 * (linked[0] - linked[1])


def test_hazard_ratios_by_stratum_are_of_the_model_whose_interaction_is_tested(estimates):
    rows = estimates.query("analysis == 'subgroup' and endpoint == 'PFS'")
    mine = {"analysis": "interaction", "endpoint": "PFS", "stratum": "IHC"}
    known = pick(estimates, **mine, statistic="interaction_p")
    parts = rows[rows["stratum"].str.startswith("IHC: ")]
    assert (parts["n"].sum(), parts["events"].sum()) == (known["n"], known["events"])
    ratio = pick(estimates, **mine, statistic="ratio_of_hazard_ratios", term="log2_ratio x 2+")["estimate"]
    one, two = (pick(rows, stratum=f"IHC: {level}")["estimate"] for level in ("1+", "2+"))
    assert two / one == pytest.approx(ratio)


def test_strata_add_up_to_everybody_whose_stratum_is_known(linked, estimates):
    rows = estimates.query("analysis == 'subgroup' and endpoint == 'ORR'")
    for name in ("IHC", "hormone receptor", "baseline sHER2", "site"):
        whole = pick(rows, stratum=name, statistic="heterogeneity_p")
        parts = rows[rows["stratum"].str.startswith(f"{name}: ")]
        assert len(parts) >= 2 and (parts["n"].sum(), parts["events"].sum()) == (whole["n"], whole["events"])
    subjects, best = linked["dim_subject"].set_index("subject_id"), linked["fct_best_response"].set_index("subject_id")
    mine = best[subjects["ihc_score"].reindex(best.index) == "2+"]
    found = pick(rows, stratum="IHC: 2+")
    assert (found["events"], found["n"]) == (mine["is_responder"].sum(), len(mine))


def test_small_sites_are_taken_together(linked):
    sites = linked["dim_subject"].assign(site_id=["A"] * 90 + ["B"] * 45 + list("CDEFGHIJKLMNOPQ"))
    rows = metrics.compute({**linked, "dim_subject": sites}, study(), "b")["estimates"]
    rows = rows[rows["stratum"].str.startswith("site: ") & (rows["endpoint"] == "ORR")]
    assert dict(zip(rows["stratum"], rows["n"])) == {
        "site: A": 90,
        "site: B": 45,
        "site: sites of fewer than 10 subjects": 15,
    }


def test_an_effect_in_one_stratum_only_is_an_interaction(linked):
    subjects = linked["dim_subject"].set_index("subject_id")
    her2, turned = linked["fct_her2_delta"], subjects["hormone_receptor_status"].eq("NEGATIVE")
    turned[turned.index[::2]] = True
    status = np.where(turned, "NEGATIVE", "POSITIVE")
    other = {"dim_subject": linked["dim_subject"].assign(hormone_receptor_status=status)}
    sign = np.where(her2["subject_id"].map(turned), -1, 1)
    other["fct_her2_delta"] = her2.assign(log2_ratio=her2["log2_ratio"] * sign)
    rows = metrics.compute({**linked, **other}, study(), "b")["estimates"]
    for endpoint, statistic in (("PFS", "ratio_of_hazard_ratios"), ("ORR", "ratio_of_odds_ratios")):
        mine = {"analysis": "interaction", "endpoint": endpoint, "stratum": "hormone receptor"}
        assert pick(rows, **mine, statistic="interaction_p")["p_value"] < 0.01
        found = pick(rows, **mine, statistic=statistic)
        assert found["term"] == "log2_ratio x POSITIVE" and (found["estimate"] > 1) == (endpoint == "PFS")


def test_the_other_cuts_are_the_flags_of_the_mart(linked, estimates):
    her2 = linked["fct_her2_delta"].query("study_day > 1 and 15 <= study_day <= 50").groupby("subject_id").last()
    best = linked["fct_best_response"].set_index("subject_id").join(her2, how="inner", rsuffix="_her2")
    for column, term in (
        ("is_at_most_77pct", "at_most_77pct"),
        ("is_fall_55", "fall_55"),
        ("is_normalised", "normalised"),
    ):
        known = best.dropna(subset=column)
        cut, responds = known[column].astype(bool), known["is_responder"]
        table = [[(part & side).sum() for side in (responds, ~responds)] for part in (cut, ~cut)]
        found = pick(estimates, analysis="other cuts", endpoint="ORR", term=term, statistic="odds_ratio")
        estimate, _, _, p = rates.odds_ratio(np.array(table).tolist())
        assert found["n"] == len(known)
        assert (found["estimate"], found["p_value"]) == pytest.approx((estimate, p), nan_ok=True)
        later = estimates.query("analysis == 'other cuts' and endpoint == 'PFS' and term == @term")
        assert later["statistic"].tolist() == ["logrank_p", "hazard_ratio"]
        (x1, other1), (x2, other2) = table
        found = pick(estimates, analysis="other cuts", endpoint="ORR", term=term, statistic="rate_difference")
        assert found["estimate"] == pytest.approx(x1 / (x1 + other1) - x2 / (x2 + other2))
    of_77 = {"analysis": "other cuts", "endpoint": "ORR", "term": "at_most_77pct", "statistic": "odds_ratio"}
    assert np.isfinite(pick(estimates, **of_77)["estimate"])


def test_sensitivity_moves_what_is_below_the_limit_and_leaves_out_uncertain_draws(linked):
    her2 = linked["fct_her2_delta"].copy()
    changed = her2["study_day"] > 1
    her2.loc[changed, ["is_bound", "is_below_lloq"]] = (
        True  # every change but no baseline: one doubling shifts them all
    )
    first = her2["subject_id"].drop_duplicates().iloc[:20]
    her2.loc[her2["subject_id"].isin(first) & her2["is_baseline"], "is_timing_unknown"] = True
    rows = metrics.compute({**linked, "fct_her2_delta": her2}, study(), "b")["estimates"]
    rows = rows.query("analysis == 'landmark' and endpoint == 'PFS' and statistic == 'hazard_ratio'")
    main = pick(rows, stratum="week 6", term="log2_ratio")
    shifted = pick(rows, stratum="week 6, below the limit as the limit")
    assert shifted["estimate"] == pytest.approx(main["estimate"], rel=1e-6) and shifted["n"] == main["n"]
    assert "changes with a value below the limit" in shifted["caveat"]
    her2.loc[changed & (her2.index % 2 == 0), ["is_bound", "is_below_lloq"]] = False
    other = metrics.compute({**linked, "fct_her2_delta": her2}, study(), "b")["estimates"]
    found = pick(other, analysis="landmark", stratum="week 6, below the limit as the limit")
    assert abs(found["estimate"] / main["estimate"] - 1) > 1e-3
    assert main["n"] - 20 <= pick(rows, stratum="week 6, draws before the infusion for certain")["n"] < main["n"]


def test_the_examples_of_the_package_are_true():
    assert doctest.testmod(orchestration.efficacy).failed == 0


def test_the_mart_decides_what_is_analysed_and_which_sample_stands_for_a_visit(linked):
    her2 = linked["fct_her2_delta"].assign(study_day=linked["fct_her2_delta"]["study_day"].astype("Int32"))
    below, spare, undated = her2.index[1], her2.index[2], her2.index[3]
    her2.loc[below, "analysed_value_ng_ml"] = 0.25
    her2.loc[spare, "is_visit_value"] = False
    her2.loc[undated, "study_day"] = pd.NA
    cohort = Cohort({**linked, "fct_her2_delta": her2}, study())
    assert cohort.samples.loc[below, "value_ng_ml"] == 0.25
    assert spare in cohort.samples.index and spare not in cohort.visit_values.index
    assert undated not in cohort.samples.index


def test_geometric_means_are_by_confirmed_response_and_end_at_progression_or_new_therapy(linked):
    her2 = linked["fct_her2_delta"].copy()
    her2.loc[her2.index[::7], "is_after_new_therapy"] = True
    estimates = metrics.compute({**linked, "fct_her2_delta": her2}, study(), "b")["estimates"]
    confirmed = linked["fct_best_response"].query("is_confirmed_responder")["subject_id"]
    kept = her2[~her2["is_after_progression"] & ~her2["is_after_new_therapy"] & (her2["analysis_visit_name"] == "C3D1")]
    responded = kept["subject_id"].isin(confirmed)
    for stratum, part in (("confirmed response", kept[responded]), ("no confirmed response", kept[~responded])):
        found = pick(estimates, analysis="kinetics", term="C3D1", stratum=stratum)
        assert found["n"] == len(part) > 10
        assert found["estimate"] == pytest.approx(np.exp(np.log(part["analysed_value_ng_ml"]).mean()))
