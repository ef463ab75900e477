"""Finds the results computed with R that the statistics are held against. Holds no expectation of its own."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.settings import REPOSITORY


class Reference:
    """Data of R's packages and what R made of them."""

    def __init__(self, folder: Path):
        self.folder = folder

    def data(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "data" / f"{name}.csv")

    def results(self, name: str) -> dict:
        return json.loads((self.folder / "results" / f"{name}.json").read_text("utf-8"))

    def sample(self, name: str) -> pd.DataFrame:
        """A data set with its times as stop (and start), its event as a boolean and the covariates of the models."""
        frame = self.data(name)
        if name in {"pbc312", "pbc2_tmerge"}:
            frame = frame.assign(
                log_bili=np.log(frame["bili"]), log_protime=np.log(frame["protime"]), log2_bili=np.log2(frame["bili"])
            )
        if name == "veteran":
            frame = frame.assign(**{kind: (frame["celltype"] == kind) * 1 for kind in ("smallcell", "adeno", "large")})
        event = {
            "lung": ("status", 2),
            "pbc312": ("status", 2),
            "pbc2_tmerge": ("death", 2),
            "ovarian": ("fustat", 1),
            "heart": ("event", 1),
        }.get(name, ("status", 1))
        names = {"time": "stop", "futime": "stop", "tstart": "start", "tstop": "stop"}
        if name == "pbc2_tmerge":
            frame = frame.drop(columns=["time"])  # the subject's own, not the row's
        return frame.assign(event=frame[event[0]] == event[1]).rename(columns=names)


def synthetic_marts(subjects: int, seed: int, effect: float = 0.0) -> dict[str, pd.DataFrame]:
    """Marts of a made-up study: scans every six weeks, draws at weeks 0, 3, 6 and with each scan.

    The log2 change of serum HER2 by week 6 shifts the log hazard of progression by ``effect`` per doubling, and makes
    response less likely; an effect of 0 leaves serum HER2 pure noise around a common early fall.
    """
    rng, apart = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    ids = np.array([f"S-{i:05d}" for i in range(subjects)])
    trend = rng.normal(-0.3, 0.8, subjects)
    hazard = np.exp(-5.85 + effect * trend)
    true_day = rng.exponential(1 / hazard) + 1
    scan_day = np.ceil(true_day / 42) * 42 + rng.integers(-4, 5, subjects)
    death_day = true_day + rng.exponential(300, subjects)
    last_day = rng.integers(120, 800, subjects)
    has_pd, died = scan_day <= np.minimum(death_day, last_day), death_day <= last_day
    pfs_day = np.where(has_pd, scan_day, np.where(died, death_day, last_day // 42 * 42)).astype(int)
    os_day = np.where(died, death_day, last_day).astype(int)
    pfs_event = has_pd | died
    responds = rng.random(subjects) < 1 / (1 + np.exp(2 * np.sign(effect) * trend))
    first_dose = pd.Timestamp("2024-01-10") + pd.to_timedelta(rng.integers(0, 300, subjects), "D")

    def dated(days):
        return first_dose + pd.to_timedelta(np.asarray(days) - 1, "D")

    subject = pd.DataFrame(
        {
            "subject_id": ids,
            "in_treated": True,
            "in_efficacy": True,
            "in_response_evaluable": rng.random(subjects) < 0.95,
            "first_dose_on": first_dose,
            "new_therapy_on": pd.NaT,
            "last_alive_on": dated(os_day),
            "ihc_score": np.array(["1+", "2+", None])[apart.choice(3, subjects, p=[0.5, 0.45, 0.05])],
            "hormone_receptor_status": np.where(apart.random(subjects) < 0.8, "POSITIVE", "NEGATIVE"),
            "site_id": np.array(["01", "02", "03"])[apart.integers(0, 3, subjects)],
            "age_years": apart.integers(30, 80, subjects),
        }
    )
    schedule = np.array([-3, 22, 43, 85, 127, 169, 211, 253, 295, 337, 379, 421, 463, 505, 547])
    who, visit = np.nonzero(schedule < pfs_day[:, None] + 5)
    day = schedule[visit] + np.where(visit > 0, rng.integers(-2, 3, len(visit)), 0)
    baseline = np.exp(rng.normal(2.3, 0.5, subjects))
    change = np.where(visit > 0, trend[who] * np.minimum(day / 43, 1) + rng.normal(0, 0.15, len(who)), 0)
    her2 = pd.DataFrame(
        {
            "subject_id": ids[who],
            "sample_id": [f"L{i:07d}" for i in range(len(who))],
            "study_day": day,
            "analysis_visit_name": np.array(["C1D1", "C2D1", "C3D1", *(f"WEEK {w}" for w in range(12, 84, 6))])[visit],
            "is_visit_value": True,
            "analysed_value_ng_ml": baseline[who] * 2**change,
            "assay": "A",
            "is_baseline": visit == 0,
            "baseline_ng_ml": baseline[who],
            "pct_change": 100 * (2**change - 1),
            "log2_ratio": np.where(visit > 0, change, np.nan),
            "is_after_progression": has_pd[who] & (day > pfs_day[who]),
            "is_at_most_77pct": np.where(visit > 0, 2**change <= 0.77, None),
            "is_fall_55": np.where(visit > 0, 2**change <= 0.45, None),
            "is_normalised": np.where((visit > 0) & (baseline[who] >= 15), baseline[who] * 2**change < 15, None),
            "is_below_lloq": False,
            "is_bound": False,
            "is_timing_unknown": False,
            "is_after_new_therapy": False,
            "is_usable": True,
            "unusable_reason": None,
        }
    )
    lowest = her2.groupby("subject_id")["analysed_value_ng_ml"].cummin().groupby(her2["subject_id"]).shift(1)
    value = her2["analysed_value_ng_ml"]
    rises = (visit > 0) & (value >= 1.2 * lowest) & (value >= lowest + 1.7)
    follower = her2.groupby("subject_id")["analysed_value_ng_ml"].shift(-1)
    confirmed = rises & (follower >= 1.2 * lowest) & (follower >= lowest + 1.7)
    category = np.select([2**change <= 0.8, 2**change >= 1.2], ["FALL_20", "RISE_20"], "STABLE")
    her2 = her2.assign(
        is_in_time_for_progression=visit > 0,
        sher2_progression=np.select([confirmed, rises], ["CONFIRMED", "UNCONFIRMED"], None),
        change_category=np.where(visit > 0, category, None),
    )
    her2.loc[visit == 0, "pct_change"] = np.nan
    who, scan = np.nonzero(np.arange(42, 800, 42) <= pfs_day[:, None])
    is_pd = (scan == np.floor(pfs_day / 42)[who] - 1) & has_pd[who]
    response = pd.DataFrame(
        {
            "subject_id": ids[who],
            "evaluator": "INVESTIGATOR",
            "is_accepted": True,
            "is_baseline_outside_window": False,
            "study_day": np.where(is_pd, pfs_day[who], 42 * (scan + 1)),
            "overall_response": np.where(is_pd, "PD", np.where(responds[who], "PR", "SD")),
        }
    )
    response = response.assign(assessed_on=first_dose[who] + pd.to_timedelta(response["study_day"].to_numpy() - 1, "D"))
    best = pd.DataFrame(
        {
            "subject_id": ids,
            "evaluator": "INVESTIGATOR",
            "is_responder": responds,
            "is_confirmed_responder": responds & (pfs_day > 80),
            "has_disease_control": responds | (pfs_day > 60),
            "has_clinical_benefit": responds | (pfs_day > 168),
            "best_pct_change": np.where(responds, -50, -5) + rng.normal(0, 12, subjects),
        }
    )
    parts = [
        ("PFS", pfs_day, pfs_event, True),
        ("PFS_OTHER_RULES", pfs_day, pfs_event, True),
        ("OS", os_day, died, True),
        ("DOR", np.maximum(pfs_day - 42, 1), pfs_event, best["is_confirmed_responder"]),
        ("DOR_UNCONFIRMED", np.maximum(pfs_day - 42, 1), pfs_event, responds),
        ("TTR", np.full(subjects, 43), responds, responds),
    ]
    times = pd.concat(
        [
            pd.DataFrame(
                {
                    "subject_id": ids,
                    "evaluator": "INVESTIGATOR",
                    "endpoint": name,
                    "start_on": first_dose,
                    "duration_days": days,
                    "is_event": event,
                }
            )[np.broadcast_to(rows, subjects)]
            for name, days, event, rows in parts
        ],
        ignore_index=True,
    )
    return {
        "dim_subject": subject,
        "fct_visit": pd.DataFrame(),
        "fct_her2_delta": her2,
        "fct_response": response,
        "fct_best_response": best,
        "fct_time_to_event": times,
    }


@pytest.fixture(scope="session")
def make_marts():
    return synthetic_marts


@pytest.fixture(scope="session")
def reference() -> Reference:
    folder = REPOSITORY.parent / "shared" / "reference" / "survival"
    if not folder.is_dir():
        pytest.skip("the reference results (shared/reference/survival) are not beside the repository")
    return Reference(folder)
