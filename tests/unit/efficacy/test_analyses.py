"""Single analyses, done once more by hand on made-up marts."""

import numpy as np
import pandas as pd
import pytest

from orchestration.efficacy import metrics, rates, survival
from orchestration.efficacy.analyses import covariates, early_change, lead_time, response, subgroups, trajectories
from orchestration.study import Study


@pytest.fixture(scope="module")
def linked(make_marts):
    return make_marts(150, seed=11, effect=0.7)


def run(marts, *analyses, **parameters) -> pd.DataFrame:
    return metrics.compute(marts, Study.model_validate({"analysis": parameters}), "b", analyses=analyses)["estimates"]


def one(rows: pd.DataFrame, **where) -> pd.Series:
    (row,) = rows[np.logical_and.reduce([rows[column] == value for column, value in where.items()])].iloc
    return row


def at_week_six(linked) -> pd.DataFrame:
    """The subjects of the primary analysis, put together without the project's own selection."""
    her2, times = linked["fct_her2_delta"], linked["fct_time_to_event"].query("endpoint == 'PFS'")
    last = her2.query("15 <= study_day <= 50").groupby("subject_id").last()
    frame = times.query("duration_days > 50").set_index("subject_id").join(last, how="inner")
    frame = frame.join(linked["dim_subject"].set_index("subject_id"), rsuffix="_subject")
    return frame.assign(duration_days=frame["duration_days"] - 50, fallen=frame["change_category"].eq("FALL_20"))


def test_the_estimand_is_made_of_the_protocol(linked):
    text = early_change.estimand(Study.model_validate({"analysis": {"primary": "landmark_week_9"}}))
    assert "study day 71, week 9" in text and "per doubling" in text and "adjusted for log2 baseline" in text
    row = one(run(linked, early_change.primary), is_primary=True)
    assert early_change.estimand(Study()) in row["caveat"]


def test_the_logrank_by_fall_is_also_stratified_by_ihc_and_hormone_receptor(linked):
    frame = at_week_six(linked).dropna(subset=["ihc_score", "hormone_receptor_status"])
    strata = frame["ihc_score"] + frame["hormone_receptor_status"]
    expected = survival.logrank(frame["duration_days"], frame["is_event"], frame["fallen"], strata=strata)[2]
    found = one(run(linked, early_change.primary), statistic="stratified_logrank_p")
    assert (found["estimate"], found["n"]) == (pytest.approx(expected), len(frame))
    assert "stratified by IHC and hormone receptor" in found["method"]


def test_the_flow_leads_from_the_treated_to_the_primary_analysis_and_accounts_for_everybody(linked):
    first, second, third = linked["dim_subject"]["subject_id"].iloc[[1, 4, 7]]
    her2 = linked["fct_her2_delta"].copy()
    her2 = her2[her2["subject_id"] != first]
    her2 = her2[~((her2["subject_id"] == second) & her2["study_day"].between(15, 50))]
    unusable = (her2["subject_id"] == third) & (her2["study_day"] > 1)
    her2.loc[unusable, ["is_usable", "unusable_reason", "log2_ratio"]] = [False, "after infusion", np.nan]
    rows = run({**linked, "fct_her2_delta": her2}, early_change.patient_flow, early_change.primary)
    flow = rows[(rows["analysis"] == "patient flow") & (rows["statistic"] == "subjects")].set_index("term")["n"]
    assert flow.is_monotonic_decreasing
    assert flow["at risk at the landmark"] == one(rows, is_primary=True)["n"]
    reasons = rows[rows["statistic"] == "without_evaluable_change"].set_index("term")["n"]
    assert reasons.sum() == flow["analysis population"] - flow["evaluable change"]
    assert reasons["no serum HER2 sample"] == reasons["sample not usable: after infusion"] == 1
    assert reasons["no sample between study day 15 and 50"] >= 1


def test_changes_by_visit_are_ratios_to_baseline_and_categories_shares_of_those_with_a_change(linked):
    rows = run(linked, trajectories.changes_by_visit, trajectories.categories_by_visit)
    visit = linked["fct_her2_delta"].query("analysis_visit_name == 'C3D1' and not is_after_progression")
    found = one(rows, analysis="change by visit", term="C3D1", stratum="all")
    assert (found["estimate"], found["n"]) == (pytest.approx(2 ** visit["log2_ratio"].mean()), len(visit))
    for stratum, reached in (
        ("fall_20", visit["change_category"] == "FALL_20"),
        ("rise_20", visit["change_category"] == "RISE_20"),
        ("at_most_77pct", visit["is_at_most_77pct"].astype(bool)),
        ("fall_55", visit["is_fall_55"].astype(bool)),
        ("normalised", visit["is_normalised"].dropna().astype(bool)),
    ):
        found = one(rows, analysis="change category", stratum=stratum, term="C3D1")
        assert (found["n"], found["events"]) == (len(reached), reached.sum())
        assert (found["ci_low"], found["ci_high"]) == pytest.approx(rates.proportion_ci(reached.sum(), len(reached)))


def test_each_covariate_stands_alone_and_in_one_model(linked):
    frame = at_week_six(linked).dropna(subset=["ihc_score", "hormone_receptor_status"])
    frame = frame.assign(
        log2_baseline=np.log2(frame["baseline_ng_ml"]),
        hormone_receptor_positive=(frame["hormone_receptor_status"] == "POSITIVE").astype(float),
        ihc_2plus=(frame["ihc_score"] == "2+").astype(float),
        age_decades=frame["age_years"] / 10,
    )
    terms = ["log2_ratio", "log2_baseline", "hormone_receptor_positive", "ihc_2plus", "age_decades"]
    rows = run(linked, covariates.effects)
    together = survival.cox(frame, "duration_days", "is_event", terms).set_index("term")
    for term in terms:
        alone = survival.cox(frame, "duration_days", "is_event", [term]).iloc[0]
        for analysis, expected in (("univariable", alone), ("multivariable", together.loc[term])):
            found = one(rows, analysis=analysis, term=term)
            assert found["n"] == len(frame)
            assert (found["estimate"], found["p_value"]) == pytest.approx(
                (expected["hazard_ratio"], expected["p_value"])
            )


def test_a_sensitivity_analysis_leaves_out_whose_baseline_scan_was_outside_its_window(linked):
    frame = linked["fct_response"]
    outside = frame["subject_id"].isin(frame["subject_id"].unique()[:30])
    rows = run(
        {**linked, "fct_response": frame.assign(is_baseline_outside_window=outside)},
        early_change.primary,
        early_change.sensitivity,
    )
    whole, less = one(rows, is_primary=True), one(rows, stratum="week 6, baseline scan within its window")
    assert whole["n"] - 30 <= less["n"] < whole["n"] and "30 subjects left out" in less["caveat"]
    evaluable = one(rows, stratum="week 6, response-evaluable only")
    assert evaluable["population"] == "in_response_evaluable" and evaluable["n"] < whole["n"]


def test_lead_is_progression_less_the_first_confirmed_rise_and_the_shares_add_up(linked):
    rows = run(linked, lead_time.lead_time)
    progressed = linked["fct_response"].query("overall_response == 'PD'").groupby("subject_id")["study_day"].min()
    rises = linked["fct_her2_delta"].query("sher2_progression == 'CONFIRMED'").groupby("subject_id")["study_day"].min()
    lead = (progressed - rises).dropna()
    assert one(rows, statistic="median_days")["estimate"] == lead.median()
    assert one(rows, statistic="share_before")["events"] == (lead > 0).sum()
    shares = rows[rows["statistic"].str.startswith("share_")]
    assert shares["events"].sum() == len(progressed) == shares["n"].iloc[0]


def test_the_cut_found_on_the_data_is_marked_as_such_and_corrected(linked):
    rows = run(linked, response.early_change_and_response)
    mine = {"analysis": "ROC", "endpoint": "ORR"}
    apparent, corrected = (one(rows, **mine, statistic=name)["estimate"] for name in ("youden", "youden_corrected"))
    assert 0 < corrected < apparent
    cut = one(rows, **mine, statistic="youden_cut_ratio")
    assert 0 < cut["estimate"] < 2 and "exploratory" in cut["caveat"]
    early = linked["fct_her2_delta"].query("15 <= study_day <= 50").groupby("subject_id").last()
    best = linked["fct_best_response"].set_index("subject_id").join(early, how="inner", rsuffix="_her2")
    below, responds = 2 ** best["log2_ratio"] <= cut["estimate"] + 1e-9, best["is_responder"]
    assert below[responds].mean() - below[~responds].mean() == pytest.approx(apparent)


def test_rates_of_two_strata_have_a_difference_and_too_rare_a_cell_no_test(linked):
    rows = run(linked, subgroups.response_rates).query("endpoint == 'ORR'")
    parts = rows[rows["stratum"].str.startswith("hormone receptor: ")].set_index("stratum")["estimate"]
    found = one(rows, stratum="hormone receptor", statistic="rate_difference")
    assert found["term"] == "NEGATIVE less POSITIVE"
    assert found["estimate"] == pytest.approx(parts["hormone receptor: NEGATIVE"] - parts["hormone receptor: POSITIVE"])
    status = ["NEGATIVE", *["POSITIVE"] * 149]
    rare = {**linked, "dim_subject": linked["dim_subject"].assign(hormone_receptor_status=status)}
    tested = one(run(rare, subgroups.response_rates), stratum="hormone receptor", statistic="heterogeneity_p", endpoint="ORR")
    assert np.isnan(tested["estimate"]) and "expected in the rarest cell" in tested["caveat"]
