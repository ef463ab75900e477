"""Landmark analysis: who is at risk at a fixed time, and what was known of the marker by then. Fits no model."""

import numpy as np
import pandas as pd

from orchestration.efficacy import inputs


def at(frame: pd.DataFrame, time: str, event: str, landmark: float) -> pd.DataFrame:
    """The subjects still at risk after a landmark, their clock restarted at it (Anderson, Cain and Gelber, JCO 1983).

    Args:
        frame: a row for each subject; all its columns and its index are kept.
        time, event: columns with the time and with booleans or 0/1.
        landmark: in the unit of ``time``; at risk is who has time > landmark.

    Returns:
        A copy of the rows at risk with ``time`` less the landmark. attrs: excluded_events and excluded_censored, the
        subjects that had an event or were censored at or before the landmark.

    Raises:
        ValueError: names the argument: an absent column, missing or negative times, a landmark that is not finite.
    """
    inputs.columns(frame, time=time, event=event)
    durations = inputs.durations(f"time ({time})", frame[time])
    events = inputs.indicator(f"event ({event})", frame[event])
    if not np.isfinite(landmark):
        raise ValueError(f"landmark: {landmark!r} is no finite number")
    at_risk = durations > landmark
    kept = frame.loc[at_risk].copy()
    kept[time] = durations[at_risk] - landmark
    left_out = ~at_risk
    kept.attrs = {
        "excluded_events": int((events & left_out).sum()),
        "excluded_censored": int((~events & left_out).sum()),
    }
    return kept


def last_before(samples: pd.DataFrame, landmark_day: int, max_age_days: int) -> pd.DataFrame:
    """Each subject's last sample after the first dose and not after the landmark, if it is not too old by then.

    Args:
        samples: usable samples: subject_id, study_day (first dose = 1), sample_id (breaks ties), ...
        landmark_day: study day.
        max_age_days: a last sample older than this on the landmark day does not count.

    Returns:
        The rows found, indexed by subject_id; no row for a subject without one.

    Raises:
        ValueError: a column is absent.
    """
    inputs.columns(samples, samples=["subject_id", "study_day", "sample_id"])
    keys = samples[["subject_id", "study_day", "sample_id"]].reset_index(drop=True)
    early = keys[(keys["study_day"] > 1) & (keys["study_day"] <= landmark_day)]
    latest = early.groupby("subject_id", sort=False)["study_day"].transform("max")
    found = early[early["study_day"] == latest].sort_values(["subject_id", "sample_id"])  # a few: cheap to sort
    last = samples.iloc[found.drop_duplicates("subject_id", keep="last").index].set_index("subject_id")
    return last[landmark_day - last["study_day"] <= max_age_days]
