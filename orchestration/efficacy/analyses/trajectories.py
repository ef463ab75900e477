"""Kinetics: serum HER2 by visit, its change from baseline, who reached which threshold, slopes by response."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from orchestration.efficacy import kinetics, rates
from orchestration.efficacy.book import ALL, NAN, Book

_BY_RESPONSE = ["events are confirmed responders"]


def geometric_means(book: Book) -> None:
    """sHER2 by visit up to progression, of everybody and by confirmed response."""
    _means(book, "kinetics", "geometric_mean_ng_ml", "value_ng_ml", "no usable serum HER2 at a visit")


def changes_by_visit(book: Book) -> None:
    """sHER2 as a ratio to baseline by visit up to progression, of everybody and by confirmed response."""
    _means(book, "change by visit", "geometric_mean_ratio", "ratio", "no usable serum HER2 change at a visit")


def _means(book: Book, analysis: str, statistic: str, column: str, nothing: str) -> None:
    responders = book.cohort.best_responses(book.population)["is_confirmed_responder"]
    rows = book.cohort.visit_values.assign(ratio=lambda values: 2 ** values["log2_ratio"]).dropna(subset=column)
    rows = rows.loc[rows["subject_id"].isin(responders.index), ["subject_id", "visit_name", "study_day", column]]
    rows = rows.assign(responded=rows["subject_id"].map(responders).astype(bool))
    if rows.empty:
        book.about(analysis, "sHER2", n=0, events=0)(statistic, caveat=[nothing])
    for visit, mine in _by_visit(rows):
        responded = mine["responded"]
        parts = ((ALL, mine), ("confirmed response", mine[responded]), ("no confirmed response", mine[~responded]))
        for stratum, part in parts:
            if len(part):
                estimate, *limits = kinetics.geometric_mean(part[column].to_numpy(), book.level)
                events = int(part["responded"].sum())
                write = book.about(analysis, "sHER2", stratum=stratum, term=visit, n=len(part), events=events)
                method = "geometric mean, t CI of the logs"
                write(statistic, estimate, tuple(limits), note=_BY_RESPONSE, method=method)


def categories_by_visit(book: Book) -> None:
    """Share of those with a change at a visit who reached each pre-specified threshold, and of confirmed rises."""
    members = book.cohort.members(book.population)
    rows = book.cohort.visit_values
    rows = rows[rows["subject_id"].isin(members) & rows["log2_ratio"].notna()]
    flags = {category.lower(): rows["change_category"].eq(category) for category in book.categories}
    flags |= {term: rows[column].astype("boolean") for column, term in book.cuts.items()}
    for term, flag in flags.items():
        found = rows[["visit_name", "study_day"]].assign(flag=flag).dropna(subset="flag")
        if found.empty:
            write = book.about("change category", "sHER2", stratum=term, n=0, events=0)
            write("share", caveat=["no usable serum HER2 change at a visit"])
        for visit, part in _by_visit(found):
            _share(book, term, visit, part["flag"].astype(bool), "of those with a change at the visit")
    changed = book.cohort.changes[book.cohort.changes["subject_id"].isin(members)]
    _share(
        book,
        "confirmed progression",
        "any visit",
        changed["sher2_progression"].eq("CONFIRMED").groupby(changed["subject_id"]).any(),
        f"first {book.rise}, of those with a change",
    )


def _share(book: Book, stratum: str, term: str, reached: pd.Series, of: str) -> None:
    x, n = int(reached.sum()), len(reached)
    write = book.about("change category", "sHER2", stratum=stratum, term=term, n=n, events=x)
    write(
        "share",
        x / n if n else NAN,
        rates.proportion_ci(x, n, book.level),
        method=f"Clopper-Pearson, {of}",
        caveat=[] if n else book.lacks_marker or ["nobody with a change"],
    )


def _by_visit(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Visits in the order of their days."""
    visits = rows.groupby("visit_name")
    for visit in visits["study_day"].median().sort_values(kind="stable").index:
        yield visit, visits.get_group(visit)


def slopes_by_response(book: Book) -> None:
    """Does log2 sHER2 change faster where a response is confirmed? Samples before progression and new therapy."""
    responders = book.cohort.best_responses(book.population)["is_confirmed_responder"]
    before = pd.concat([book.cohort.samples.query("study_day <= 1"), book.cohort.changes])
    rows = before[before["subject_id"].isin(responders.index) & (before["value_ng_ml"] > 0)]
    known = rows["subject_id"].drop_duplicates().map(responders).astype(bool)
    rarer = min(int(known.sum()), int((~known).sum()))
    is_enough, caveats = book.judge(rarer, 1, "subjects with the rarer outcome")
    coef = se = NAN
    if is_enough:
        week = (rows["study_day"].to_numpy(float) - 1) / 7
        responded = rows["subject_id"].map(responders).to_numpy(float)
        model = kinetics.mixed_model(
            np.log2(rows["value_ng_ml"].to_numpy(float)),
            np.column_stack([np.ones(len(rows)), week, responded, week * responded]),
            week,
            rows["subject_id"].to_numpy(),
        )
        coef, se = model.coef[3], model.se[3]
        caveats = caveats + ([model.caveat] if model.caveat else [])
    write = book.about(
        "mixed model",
        "sHER2",
        n=len(known),
        events=int(known.sum()),
        method="log2 sHER2 ~ week x confirmed response, random intercept and slope, REML, Wald CI;"
        " events are confirmed responders",
    )
    write(
        "slope_difference",
        coef,
        kinetics.wald(coef, se, book.level),
        term="week x confirmed response",
        p_value=float(chdtrc(1, (coef / se) ** 2)),
        caveat=[*book.lacks_marker, *caveats],
        note=["log2 ng/mL per week", "response is known only later: this describes"],
    )
