"""Change of serum HER2 and response: 2x2 table, odds, ROC of the early change, correlation of the best changes."""

import numpy as np
import pandas as pd

from orchestration.efficacy import association, rates
from orchestration.efficacy.analyses.early_change import early_changes, write_two_by_two
from orchestration.efficacy.analyses.models import ASSOCIATION, MARKER, if_nan, odds
from orchestration.efficacy.book import NAN, SEED, Book


def early_change_and_response(book: Book) -> None:
    """Last change by the primary landmark, drawn before any progression, against best response: odds and ROC."""
    week, (frame, flow) = book.study.analysis.primary_week, book.once(early_changes)
    for endpoint, flag in (("ORR", "is_responder"), ("confirmed ORR", "is_confirmed_responder")):
        shared = {
            "stratum": f"week {week}",
            "n": len(frame),
            "events": int(frame[flag].sum()),
            "left_out": flow,
            "caveat": [*book.lacks_assessments, *book.lacks_marker],
            "note": [flow, ASSOCIATION],
        }
        write_two_by_two(book, book.about("2x2", endpoint, **shared), frame["has_fallen"], frame[flag], book.fall)
        _logistic(book, endpoint, frame, flag, shared)
        _roc(book, endpoint, frame, flag, shared)


def _logistic(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    model = odds(book, frame, flag, MARKER)
    role = book.role("response_odds") if endpoint == "ORR" else "exploratory"
    write = book.about(
        "logistic", endpoint, **shared, role=role, method="logistic regression, Wald CI, log2 ratio and log2 baseline"
    )
    for row in model.itertuples():
        write(
            "odds_ratio",
            row.odds_ratio,
            (row.ci_low, row.ci_high),
            term=row.term,
            p_value=row.p_value,
            tests="response_odds" if row.term == "log2_ratio" and endpoint == "ORR" else None,
            caveat=model.attrs["caveats"],
        )


def _roc(book: Book, endpoint: str, frame: pd.DataFrame, flag: str, shared: dict) -> None:
    write = book.about("ROC", endpoint, **shared)
    responders, others = frame[frame[flag]], frame[~frame[flag]]
    is_enough, caveats = book.judge(min(len(responders), len(others)), 1, "subjects with the rarer outcome")
    score = -frame["log2_ratio"]  # a lower ratio is written as speaking for response; below 0.5 it speaks against it
    auc = low = high = NAN
    if is_enough:
        auc, low, high = association.roc(score, frame[flag], book.level)
        caveats = caveats + (
            ["no interval: the change tells the outcomes apart without overlap"] if np.isnan(low) else []
        )
    write(
        "auc",
        auc,
        (low, high),
        term="log2_ratio",
        caveat=caveats,
        method="DeLong, a lower ratio is written as speaking for response",
    )
    for statistic, part, right in (("sensitivity", responders, True), ("specificity", others, False)):
        x, n = int((part["has_fallen"] == right).sum()), len(part)
        write(
            statistic,
            x / n if n else NAN,
            rates.proportion_ci(x, n, book.level),
            term=book.fall,
            n=n,
            events=x,
            caveat=[] if n else ["no such subjects"],
            method="pre-specified cut, Clopper-Pearson",
        )
    cut, youden, corrected = association.youden(score, frame[flag], seed=SEED) if is_enough else (NAN, NAN, NAN)
    note = ["exploratory: the cut was chosen on these data and is no threshold to use", *shared["note"]]
    method = "the cut with the highest sensitivity + specificity - 1"
    for statistic, value, how in (
        ("youden_cut_ratio", 2**-cut, f"{method}, as serum HER2 over baseline"),
        ("youden", youden, f"{method}, apparent"),
        ("youden_corrected", corrected, f"{method}, less the mean optimism of 200 bootstrap samples"),
    ):
        write(statistic, value, term="log2_ratio", method=how, caveat=caveats or if_nan(value, "overlap"), note=note)


def best_changes(book: Book) -> None:
    """Deepest fall of sHER2 against deepest fall of the sum of diameters, one point a subject."""
    deepest = book.cohort.changes.groupby("subject_id")["pct_change"].min()
    best = book.cohort.best_responses(book.population)
    frame = best[["best_pct_change"]].join(deepest).dropna()
    is_enough, caveats = book.judge(len(frame), 1, "subjects with both changes")
    rho = low = high = p = NAN
    if is_enough:
        rho, low, high, p = association.spearman(frame["pct_change"], frame["best_pct_change"], book.level)
        caveats = caveats + if_nan(rho, "changes that vary")
    flow = f"{len(best) - len(frame)} of {len(best)} without both changes"
    write = book.about(
        "correlation",
        "best change",
        n=len(frame),
        events=int(best.loc[frame.index, "is_responder"].sum()),
        left_out=flow,
        caveat=[*book.lacks_assessments, *book.lacks_marker],
    )
    write(
        "spearman_rho",
        rho,
        (low, high),
        p_value=p,
        method="Spearman, Fisher z with the Bonett-Wright SE",
        caveat=caveats,
        note=[flow, "events are responders", ASSOCIATION],
    )
