"""Who is at risk at a landmark, and which marker value counts there."""

import pandas as pd
import pytest

from orchestration.efficacy import landmark

FRAME = pd.DataFrame(
    {"days": [20, 50, 51, 90, 50], "died": [1, 1, 0, 1, 0], "x": list("abcde")}, index=["s1", "s2", "s3", "s4", "s5"]
)


def test_at_risk_is_who_lasts_longer_and_the_clock_restarts():
    found = landmark.at(FRAME, "days", "died", 50)
    assert (
        found.index.tolist() == ["s3", "s4"] and found["days"].tolist() == [1, 40] and found["x"].tolist() == ["c", "d"]
    )
    assert found.attrs == {"excluded_events": 2, "excluded_censored": 1}
    assert FRAME["days"].tolist() == [20, 50, 51, 90, 50]


def test_nobody_left_is_an_empty_frame_with_the_same_columns():
    found = landmark.at(FRAME, "days", "died", 365)
    assert found.empty and found.columns.tolist() == ["days", "died", "x"]


@pytest.mark.parametrize(("days", "expected"), [
    ([22, 43], 43), ([22, 50], 50), ([22, 51], 22), ([15], 15), ([14], None), ([1, -5], None), ([2], None), ([], None),
])  # fmt: skip
def test_the_last_value_by_the_landmark_counts_unless_it_is_too_old(days, expected):
    samples = pd.DataFrame(
        {"subject_id": ["s"] * len(days), "study_day": days, "sample_id": [f"L{day}" for day in days]}
    )
    found = landmark.last_before(samples, landmark_day=50, max_age_days=35)
    assert found["study_day"].tolist() == ([] if expected is None else [expected])


def test_two_samples_of_a_day_are_told_apart_by_their_name_and_not_by_their_order():
    samples = pd.DataFrame({"subject_id": "s", "study_day": 43, "sample_id": ["B", "A"], "value": [2, 1]})
    for rows in (samples, samples[::-1]):
        assert landmark.last_before(rows, 50, 35)["value"].tolist() == [2]


@pytest.mark.parametrize(("call", "argument"), [
    (lambda: landmark.at(FRAME, "nope", "died", 50), "time"),
    (lambda: landmark.at(FRAME, "days", "nope", 50), "event"),
    (lambda: landmark.at(FRAME, "days", "days", 50), "event"),
    (lambda: landmark.at(FRAME.assign(days=None), "days", "died", 50), "time"),
    (lambda: landmark.at(FRAME, "days", "died", float("nan")), "landmark"),
    (lambda: landmark.last_before(FRAME, 50, 35), "samples"),
])  # fmt: skip
def test_arguments_that_make_no_sense_are_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}"):
        call()
