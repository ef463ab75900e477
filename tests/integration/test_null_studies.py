"""The size and the power of the primary analysis, through the real readers, dbt models and metrics.

The thousand studies, and the naive analyses that fail where this one stands, are in ``benchmarks.null``.
"""

import numpy as np
import pandas as pd
import pytest

from benchmarks import null
from orchestration.settings import REPOSITORY
from orchestration.study import load_study

STUDY = load_study(REPOSITORY / "study.yaml")


@pytest.fixture(scope="module")
def fifty(tmp_path_factory) -> pd.DataFrame:
    """The primary row of fifty null studies of 80 subjects, and the p of its likelihood-ratio test."""
    marts = null.build(tmp_path_factory.mktemp("null"), 50 * 80, seed=20_260_201, null=True)
    return pd.DataFrame([null.primary_analysis(part, STUDY) for part in null.cut(marts, 80)])


def test_fifty_null_studies_reject_at_most_six_times(fifty):
    assert len(fifty) == 50 and fifty["p_value"].notna().all()
    assert null.allowed(50)[1] == 6 and null.allowed(1000) == (33, 68)
    assert (fifty["p_value"] < 0.05).sum() <= 6


def test_the_p_of_the_headline_agrees_with_its_interval_and_has_the_likelihood_ratio_beside_it(fifty):
    is_outside = (fifty["ci_low"] > 1) | (fifty["ci_high"] < 1)
    assert ((fifty["p_value"] < 0.05) == is_outside).all()
    assert np.abs(fifty["p_value"] - fifty["lrt_p"]).max() < 0.1


def test_a_linked_study_of_four_hundred_is_found(tmp_path):
    marts = null.build(tmp_path, 400, seed=5, null=False)
    primary = null.primary_analysis(marts, STUDY)
    assert primary["p_value"] < 0.01 and primary["ci_low"] > 1
