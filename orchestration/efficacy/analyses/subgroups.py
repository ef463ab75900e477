"""The same contrasts within parts of the population: response by stratum, and whether serum HER2 means the same in all.

Strata are compared by tests of heterogeneity and of interaction, never by what is significant within one of them.
"""

from functools import partial

import numpy as np
import pandas as pd

from orchestration.efficacy import rates
from orchestration.efficacy.analyses.early_change import at_landmark, early_changes
from orchestration.efficacy.analyses.models import (
    ASSOCIATION,
    MARKER,
    hazards,
    if_nan,
    likelihood_ratio_p,
    odds,
    write_hazard,
)
from orchestration.efficacy.analyses.outcomes import RESPONSES
from orchestration.efficacy.book import NAN, Book
from orchestration.efficacy.cohort import STRATIFICATION

_SMALLEST_SITE = 10  # subjects; smaller sites are taken together
_LEAST_EXPECTED = 1  # below it, in any cell, Pearson's p is not given; below 5 with a warning (Cochran 1954)


def response_rates(book: Book) -> None:
    """Rates of response by stratum with a test that they are all the same."""
    best = book.cohort.best_responses(book.population)
    for name, labels in _strata(book).items():
        known = best.join(labels.rename("level")).dropna(subset="level")
        for endpoint, flag in RESPONSES.items():
            write = book.about(
                "subgroup",
                endpoint,
                stratum=name,
                n=len(known),
                events=int(known[flag].sum()),
                left_out=f"{len(best) - len(known)} of {len(best)} without {name}",
                caveat=book.lacks_assessments,
            )
            counts = known.groupby("level")[flag].agg(["sum", "size"])
            if book.lacks_assessments:
                counts = counts.iloc[:0]
            p, fewest = rates.heterogeneity(counts["sum"].to_numpy(), counts["size"].to_numpy())
            caveat, note = if_nan(p, "two strata and both outcomes"), []
            if fewest < _LEAST_EXPECTED:
                p, caveat = NAN, [f"not estimated: {fewest:.1f} expected in the rarest cell"]
            elif fewest < 5:
                note = ["expected counts below 5: approximate"]
            write(
                "heterogeneity_p",
                p,
                p_value=p,
                method="Pearson's chi-square of equal rates in all strata",
                caveat=caveat,
                note=note,
            )
            if len(counts) == 2:
                (one, x1, n1), (two, x2, n2) = counts.itertuples()
                difference, *limits = rates.difference_ci(x1, n1, x2, n2, book.level)
                method = "Newcombe's hybrid score CI"
                write("rate_difference", difference, tuple(limits), term=f"{one} less {two}", method=method)
            for level, (x, n) in counts.iterrows():
                write(
                    "proportion",
                    x / n,
                    rates.proportion_ci(x, n, book.level),
                    stratum=f"{name}: {level}",
                    n=int(n),
                    events=int(x),
                    method="Clopper-Pearson",
                )


def interactions(book: Book) -> None:
    """Whether the change of serum HER2 goes with PFS (landmark) and with response (odds) alike in all strata."""
    week = book.study.analysis.primary_week
    at_risk, (early, _) = book.once(at_landmark, week).frame, book.once(early_changes)
    for name, labels in _strata(book).items():
        _interaction(book, name, labels, at_risk, "PFS", "is_event", "Cox model of the landmark")
        _interaction(book, name, labels, early, "ORR", "is_responder", "logistic model")


def hazard_ratios(book: Book) -> None:
    """The ratio of the primary landmark in each stratum, from the very model whose interaction is tested."""
    found = book.once(at_landmark, book.study.analysis.primary_week)
    method = "Cox at the landmark with a log2 ratio for each stratum, common log2 baseline, Efron ties, Wald CI"
    for name, labels in _strata(book).items():
        known = found.frame.join(labels.rename("level")).dropna(subset="level")
        own = {level: known["level"].eq(level).astype(float) for level in sorted(known["level"].unique())}
        within = {f"log2_ratio in {level}": own[level] * known["log2_ratio"] for level in own}
        main = list(own)[1:]  # each stratum but the first, beside the common baseline hazard
        model = hazards(book, known.assign(**own, **within), ["log2_baseline", *main, *within])
        for level in own or ["none known"]:
            write = book.about(
                "subgroup",
                "PFS",
                stratum=f"{name}: {level}",
                n=int(own[level].sum()) if own else 0,
                events=int((own[level] * known["is_event"]).sum()) if own else 0,
                caveat=[found.reason] if found.reason else [] if own else ["nobody at risk with a change"],
                note=[ASSOCIATION, "to be read with the test of interaction only"],
            )
            mine = model[model["term"] == f"log2_ratio in {level}"] if own else model
            mine.attrs = model.attrs
            write_hazard(write, mine, "log2_ratio", method)


def _interaction(book: Book, name: str, labels: pd.Series, frame: pd.DataFrame, endpoint: str, flag: str, of: str):
    known = frame.join(labels.rename("level")).dropna(subset="level")
    levels = sorted(known["level"].unique())
    write = book.about(
        "interaction",
        endpoint,
        stratum=name,
        n=len(known),
        events=int(known[flag].sum()),
        left_out=f"{len(frame) - len(known)} of {len(frame)} without {name}",
        caveat=book.lacks_marker,
        note=[ASSOCIATION],
    )
    if len(levels) < 2:
        write("interaction_p", caveat=["not estimated: fewer than two strata"])
        return
    terms = 2 * len(levels)  # the two of the main model, and each stratum but the first with its product
    events = int(known[flag].sum())
    fewer = events if endpoint == "PFS" else min(events, len(known) - events)
    is_enough, caveats = book.judge(fewer, terms, "events" if endpoint == "PFS" else "events of the rarer outcome")
    if not is_enough:
        write("interaction_p", caveat=caveats)
        return
    own = {level: (known["level"] == level).astype(float) for level in levels[1:]}
    products = {f"log2_ratio x {level}": own[level] * known["log2_ratio"] for level in own}
    known = known.assign(**own, **products)
    fit = hazards if endpoint == "PFS" else partial(odds, outcome=flag)
    reduced, full = (fit(book, known, terms=[*MARKER, *own, *more]) for more in ((), products))
    p = likelihood_ratio_p(full, reduced)
    caveat = full.attrs["caveats"]
    write(
        "interaction_p",
        p,
        term="log2_ratio",
        p_value=p,
        caveat=caveat or if_nan(p, "both outcomes in each stratum"),
        method=f"likelihood-ratio test of log2 ratio x {name}, {len(products)} df, in the {of}",
    )
    if np.isnan(p):
        return
    ratio = "hazard_ratio" if endpoint == "PFS" else "odds_ratio"
    for row in full[full["term"].isin(list(products))].to_dict("records"):
        write(
            f"ratio_of_{ratio}s",
            row[ratio],
            (row["ci_low"], row["ci_high"]),
            term=row["term"],
            p_value=row["p_value"],
            caveat=caveat,
            method=f"against {levels[0]}, Wald CI",
        )


def _strata(book: Book) -> dict[str, pd.Series]:
    """Label of each member's stratum, by what divides them; missing where that is not known."""
    members = book.cohort.subjects.loc[book.cohort.members(book.population)]
    cutoff = book.study.analytes.serum_her2.cutoff_ng_ml
    at_least = book.cohort.log2_baseline.reindex(members.index) >= np.log2(cutoff)
    baseline = pd.Series(np.where(at_least, f">= {cutoff:g} ng/mL", f"< {cutoff:g} ng/mL"), index=members.index)
    sizes = members["site_id"].map(members["site_id"].value_counts())
    small = f"sites of fewer than {_SMALLEST_SITE} subjects"
    return {
        **{name: members[column] for column, name in STRATIFICATION.items()},
        "baseline sHER2": baseline.where(book.cohort.log2_baseline.reindex(members.index).notna()),
        "site": members["site_id"].mask(sizes < _SMALLEST_SITE, small),
    }
