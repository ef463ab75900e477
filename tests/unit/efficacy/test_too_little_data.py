"""Studies with too little data, one a function: every analysis says so, none fails, none gives a number from nothing."""

import numpy as np
import pandas as pd
import pytest

from orchestration.efficacy import metrics
from orchestration.efficacy.analyses import current_value, early_change, lead_time, response, subgroups, trajectories
from orchestration.study import Study

CONTRASTS = ["hazard_ratio", "odds_ratio", "logrank_p", "stratified_logrank_p", "auc", "spearman_rho", "c_index", "chi2"]


def marts_of(linked, **changed) -> dict[str, pd.DataFrame]:
    return {**linked, **changed}


def her2(linked, **columns):
    return marts_of(linked, fct_her2_delta=linked["fct_her2_delta"].assign(**columns))


def no_serum_her2(linked):
    return marts_of(linked, fct_her2_delta=linked["fct_her2_delta"].iloc[:0])


def only_baselines(linked):
    return marts_of(linked, fct_her2_delta=linked["fct_her2_delta"].query("is_baseline"))


def a_constant_marker(linked):
    return her2(
        linked,
        log2_ratio=0.0,
        analysed_value_ng_ml=10.0,
        baseline_ng_ml=10.0,
        pct_change=0.0,
        change_category="STABLE",
        sher2_progression=None,
    )


def everything_below_the_limit(linked):
    return her2(
        linked,
        is_below_lloq=True,
        is_usable=linked["fct_her2_delta"]["is_baseline"],
        unusable_reason="baseline and value below LLOQ",
        log2_ratio=np.nan,
        pct_change=np.nan,
        change_category="NOT EVALUABLE",
        sher2_progression=None,
        is_in_time_for_progression=False,
    )


def nobody_fell(linked):
    return her2(linked, change_category="STABLE")


def no_imaging(linked):
    best = linked["fct_best_response"].assign(is_responder=False, is_confirmed_responder=False, best_pct_change=np.nan)
    return marts_of(linked, fct_response=linked["fct_response"].iloc[:0], fct_best_response=best)


def responding(linked, responds: bool):
    flags = ("is_responder", "is_confirmed_responder", "has_disease_control", "has_clinical_benefit")
    best = linked["fct_best_response"].assign(**dict.fromkeys(flags, responds))
    return marts_of(linked, fct_best_response=best)


def nobody_responds(linked):
    return responding(linked, False)


def everybody_responds(linked):
    return responding(linked, True)


def first_subjects(linked, count: int):
    chosen = linked["dim_subject"]["subject_id"].iloc[:count]
    return {name: frame[frame["subject_id"].isin(chosen)] if len(frame) else frame for name, frame in linked.items()}


def one_subject(linked):
    return first_subjects(linked, 1)


def two_subjects(linked):
    return first_subjects(linked, 2)


def nobody_treated(linked):
    flags = dict.fromkeys(("in_treated", "in_efficacy", "in_response_evaluable"), False)
    return marts_of(linked, dim_subject=linked["dim_subject"].assign(**flags, first_dose_on=pd.NaT))


def times(linked, **columns):
    return marts_of(linked, fct_time_to_event=linked["fct_time_to_event"].assign(**columns))


def all_censored(linked):
    return times(linked, is_event=False)


def all_censored_on_the_first_day(linked):
    return times(linked, is_event=False, duration_days=1)


def all_progress_before_the_landmark(linked):
    return times(linked, is_event=True, duration_days=40)


def all_progress_on_one_day(linked):
    return times(linked, is_event=True, duration_days=200)


def nothing_known_of_the_strata(linked):
    return marts_of(
        linked,
        dim_subject=linked["dim_subject"].assign(ihc_score=None, hormone_receptor_status=None, site_id=None, age_years=None),
    )


def one_stratum_of_each(linked):
    return marts_of(
        linked, dim_subject=linked["dim_subject"].assign(ihc_score="2+", hormone_receptor_status="POSITIVE", site_id="01")
    )


def complete_separation(linked):
    """Whoever has the event rises, everybody else falls."""
    pfs = linked["fct_time_to_event"].query("endpoint == 'PFS'").set_index("subject_id")["is_event"]
    rows = linked["fct_her2_delta"]
    ratio = np.where(rows["subject_id"].map(pfs).astype(bool), 1.0, -1.0)
    return her2(linked, log2_ratio=np.where(rows["is_baseline"], np.nan, ratio))


# --- What must hold whatever the data ---------------------------------------------------------------------------------

STUDIES = [
    no_serum_her2, only_baselines, a_constant_marker, everything_below_the_limit, nobody_fell, no_imaging,
    nobody_responds, everybody_responds, one_subject, two_subjects, nobody_treated, all_censored,
    all_censored_on_the_first_day, all_progress_before_the_landmark, all_progress_on_one_day,
    nothing_known_of_the_strata, one_stratum_of_each, complete_separation,
]  # fmt: skip


@pytest.fixture(scope="module")
def linked(make_marts):
    return make_marts(60, seed=21, effect=0.7)


@pytest.fixture(scope="module")
def names(linked):
    found = metrics.compute(linked, Study(), "b")["estimates"]
    return set(found.loc[found["analysis"] != "patient flow", ["analysis", "endpoint"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("change", STUDIES)
@pytest.mark.filterwarnings("error")
def test_every_analysis_answers_with_a_number_or_a_reason(linked, names, change):
    found = metrics.compute(change(linked), Study(), "b")["estimates"]
    assert set(found[["analysis", "endpoint"]].itertuples(index=False, name=None)) >= names
    assert (found.loc[found["estimate"].isna(), "caveat"] != "").all()
    numbers = found[["estimate", "ci_low", "ci_high", "p_value"]]
    assert np.isfinite(numbers.fillna(0)).all(axis=None)
    assert not (found["ci_low"] > found["estimate"] + 1e-9).any()
    assert not (found["ci_high"] < found["estimate"] - 1e-9).any()
    modelled = found[found["statistic"].isin(["hazard_ratio", "odds_ratio"]) & found["method"].str.contains("Wald")]
    assert not (modelled["ci_high"] / modelled["ci_low"] > 1e4).any()  # so wide an interval says nothing


@pytest.mark.parametrize(("change", "reason"), [
    (no_serum_her2, "no usable serum HER2 change"), (only_baselines, "no usable serum HER2 change"),
    (a_constant_marker, "constant"), (everything_below_the_limit, "no usable serum HER2 change"),
    (one_subject, "not estimated: "), (two_subjects, "not estimated: "), (nobody_treated, "nobody left"),
    (all_censored, "no events"), (all_censored_on_the_first_day, "nobody left"),
    (all_progress_before_the_landmark, "nobody left"), (complete_separation, "separate"),
])  # fmt: skip
def test_the_primary_result_says_why_it_is_missing(linked, change, reason):
    found = metrics.compute(change(linked), Study(), "b", analyses=[early_change.primary])["estimates"]
    row = found[found["is_primary"]]
    assert len(row) == 1 and row["estimate"].isna().all() and reason in row["caveat"].iloc[0]


@pytest.mark.parametrize(("change", "analyses", "statistics"), [
    (nobody_fell, [early_change.primary, current_value.mantel_byar], ["logrank_p", "stratified_logrank_p"]),
    (nobody_responds, [response.early_change_and_response], ["odds_ratio", "auc", "youden", "sensitivity"]),
    (everybody_responds, [response.early_change_and_response], ["odds_ratio", "auc", "youden", "specificity"]),
    (nobody_responds, [trajectories.slopes_by_response], ["slope_difference"]),
    (no_imaging, [lead_time.lead_time], ["median_days", "share_before"]),
    (all_progress_on_one_day, [early_change.proportional_hazards], ["chi2"]),
    (one_stratum_of_each, [subgroups.response_rates, subgroups.interactions], ["heterogeneity_p", "interaction_p"]),
])  # fmt: skip
def test_what_the_data_cannot_tell_is_not_told(linked, change, analyses, statistics):
    found = metrics.compute(change(linked), Study(), "b", analyses=analyses)["estimates"]
    found = found[found["statistic"].isin(statistics) & ~found["stratum"].str.contains("baseline")]
    assert set(found["statistic"]) >= set(statistics) - {"stratified_logrank_p"} and found["estimate"].isna().all()


# --- How many events a number needs -----------------------------------------------------------------------------------


def with_events(linked, count: int):
    """Of those who reach the landmark with a change only so many have an event after it."""
    frame = linked["fct_time_to_event"]
    late = frame.query("endpoint == 'PFS' and is_event and duration_days > 50")["subject_id"].iloc[:count]
    return times(linked, is_event=frame["subject_id"].isin(late) & (frame["duration_days"] > 50))


@pytest.mark.parametrize(("events", "is_given", "is_warned"), [
    (4, False, True), (9, False, True), (10, True, True), (19, True, True), (20, True, False),
])  # fmt: skip
def test_a_model_of_two_terms_needs_ten_events_and_is_quoted_without_a_warning_from_twenty_on(
    linked, events, is_given, is_warned
):
    found = metrics.compute(with_events(linked, events), Study(), "b", analyses=[early_change.primary])["estimates"]
    (row,) = found[found["is_primary"]].to_dict("records")
    assert row["events"] == events
    assert np.isfinite(row["estimate"]) == np.isfinite(row["p_value"]) == is_given
    assert ("per variable, fewer than 10" in row["caveat"] or "not estimated: " in row["caveat"]) == is_warned


def test_no_contrast_is_given_below_five_events(linked):
    analyses = [early_change.landmarks, current_value.time_dependent_cox, current_value.mantel_byar]
    found = metrics.compute(with_events(linked, 4), Study(), "b", analyses=analyses)["estimates"]
    found = found[found["statistic"].isin(CONTRASTS)]
    assert len(found) > 20 and found["estimate"].isna().all()
    assert found["caveat"].str.contains(r"not estimated: \d events").all()


def test_the_numbers_of_events_are_the_protocols(linked):
    rule = {"events_per_variable": {"least": 2, "enough": 3}}
    few = with_events(linked, 6)
    found = metrics.compute(few, Study.model_validate({"analysis": rule}), "b", analyses=[early_change.primary])
    (row,) = found["estimates"][found["estimates"]["is_primary"]].to_dict("records")
    assert np.isfinite(row["estimate"]) and "per variable" not in row["caveat"]
