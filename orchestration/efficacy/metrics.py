"""Runs every analysis of the study: marts in, ``metrics.*`` out.

What is run stands in ``analyses``, how a number is computed in the modules beside this one.

The order is that of the report: response and survival, kinetics, early change against later events (landmark), current
value against the hazard (time-dependent), change against response, lead time. Too little data gives a row without an
estimate and with the reason, never an error and never no row.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from orchestration.efficacy.analyses import (
    covariates,
    current_value,
    early_change,
    lead_time,
    outcomes,
    response,
    subgroups,
    trajectories,
)
from orchestration.efficacy.analyses.early_change import estimand
from orchestration.efficacy.book import Book
from orchestration.efficacy.cohort import Cohort
from orchestration.study import Study

__all__ = ["ANALYSES", "compute", "estimand"]

ANALYSES: tuple[Callable[[Book], None], ...] = (
    outcomes.response_rates,
    outcomes.survival_times,
    outcomes.follow_up,
    outcomes.time_to_response,
    outcomes.other_evaluators,
    trajectories.geometric_means,
    trajectories.changes_by_visit,
    trajectories.categories_by_visit,
    trajectories.slopes_by_response,
    early_change.patient_flow,
    early_change.landmarks,
    early_change.other_cuts,
    early_change.sensitivity,
    early_change.proportional_hazards,
    early_change.concordance,
    covariates.effects,
    current_value.time_dependent_cox,
    current_value.mantel_byar,
    response.early_change_and_response,
    response.best_changes,
    lead_time.lead_time,
    lead_time.false_alarms,
    subgroups.response_rates,
    subgroups.interactions,
    subgroups.hazard_ratios,
)


def compute(
    marts: dict[str, pd.DataFrame],
    study: Study,
    build_id: str,
    analyses: Sequence[Callable[[Book], None]] = ANALYSES,
) -> dict[str, pd.DataFrame]:
    """Run every analysis.

    Args:
        marts: mart name -> rows as dbt builds them (decimals as float, dates as datetime64).
            Marts without rows are fine.
        build_id: written into every row.
        analyses: what to run; absent: everything.

    Returns:
        ``estimates``, ``survival_curves`` and ``remark_profile``. Times in months of 30.4375 days, ratios per doubling.

    Raises:
        ValueError: a mart or a column is absent.
        UserError: ``analysis.secondary`` names an unknown analysis.
    """
    book = Book(Cohort(marts, study), build_id)
    for analysis in analyses:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with np.errstate(all="ignore"):
                begun = len(book.rows)
                analysis(book)
        book.remark(begun, caught)
    return book.tables()
