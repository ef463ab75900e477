"""Runs every analysis of the study: marts in, ``metrics.*`` out. How a number is computed stands in the other modules.

The order is that of the report: response and survival, kinetics, early change against later events (landmark), current
value against the hazard (time-dependent), change against response, lead time. Too little data gives a row without an
estimate and with the reason, never an error and never no row.
"""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from orchestration.efficacy import marker, outcomes, subgroups
from orchestration.efficacy.book import Book
from orchestration.efficacy.cohort import Cohort
from orchestration.study import Study

ANALYSES: tuple[Callable[[Book], None], ...] = (
    outcomes.response_rates,
    outcomes.survival_times,
    outcomes.follow_up,
    outcomes.time_to_response,
    marker.geometric_means,
    marker.trajectories,
    marker.landmarks,
    marker.other_cuts,
    marker.sensitivity,
    marker.proportional_hazards,
    marker.concordance,
    marker.time_dependent_cox,
    marker.mantel_byar,
    marker.early_change_and_response,
    marker.best_changes,
    marker.lead_time,
    marker.false_alarms,
    subgroups.response_rates,
    subgroups.interactions,
)


def compute(marts: dict[str, pd.DataFrame], study: Study, build_id: str) -> dict[str, pd.DataFrame]:
    """Run every analysis.

    Args:
        marts: mart name -> rows as dbt builds them (decimals as float, dates as datetime64).
            Marts without rows are fine.
        build_id: written into every row.

    Returns:
        ``estimates``, ``survival_curves`` and ``remark_profile``. Times in months of 30.4375 days, ratios per doubling.

    Raises:
        ValueError: a mart or a column is absent.
        UserError: ``analysis.secondary`` names an unknown analysis.
    """
    book = Book(Cohort(marts, study), build_id)
    for analysis in ANALYSES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with np.errstate(all="ignore"):
                begun = len(book.rows)
                analysis(book)
        book.remark(begun, caught)
    return book.tables()
