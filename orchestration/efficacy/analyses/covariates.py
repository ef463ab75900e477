"""Serum HER2 beside the known prognostic variables: each alone, and all in one model (REMARK)."""

import pandas as pd

from orchestration.efficacy.analyses.early_change import about, at_landmark
from orchestration.efficacy.analyses.models import ASSOCIATION, MARKER, hazards
from orchestration.efficacy.book import Book


def effects(book: Book) -> None:
    """Univariable and multivariable hazard ratios at the primary landmark."""
    week = book.study.analysis.primary_week
    found = book.once(at_landmark, week)
    known = found.frame.join(_prognostic(book.cohort.subjects))
    names = [*MARKER, *_prognostic(book.cohort.subjects).columns]
    frame = known.dropna(subset=names)
    varying = [name for name in names if frame[name].nunique() > 1]
    same = [f"{name} left out, for it is the same in all" for name in names if name not in varying]
    flow = f"{found.flow}, {len(known) - len(frame)} without all covariates"
    shared = {"n": len(frame), "events": int(frame["is_event"].sum()), "left_out": flow}
    reason = [found.reason] if found.reason else [] if len(frame) else ["nobody with all covariates"]
    note = [flow, ASSOCIATION]
    models = {"univariable": [[name] for name in names], "multivariable": [varying]}
    for analysis, sets in models.items():
        write = about(book, analysis, "PFS", found, f"week {week}", "exploratory", **shared, caveat=reason, note=note)
        for terms in sets:
            model = hazards(book, frame, terms or names)
            for row in model.itertuples():
                write(
                    "hazard_ratio",
                    row.hazard_ratio,
                    (row.ci_low, row.ci_high),
                    term=row.term,
                    p_value=row.p_value,
                    caveat=[*model.attrs["caveats"], *(same if analysis == "multivariable" else [])],
                    method="Cox, Efron ties, Wald CI" + (", all in one model" if analysis == "multivariable" else ""),
                )


def _prognostic(subjects: pd.DataFrame) -> pd.DataFrame:
    """Covariates as numbers, missing where not known."""
    receptor, score = subjects["hormone_receptor_status"], subjects["ihc_score"]
    return pd.DataFrame(
        {
            "hormone_receptor_positive": receptor.eq("POSITIVE").astype(float).where(receptor.notna()),
            "ihc_2plus": score.eq("2+").astype(float).where(score.notna()),
            "age_decades": pd.to_numeric(subjects["age_years"]).astype(float) / 10,
        }
    )
