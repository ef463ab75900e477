"""The same contrasts within parts of the population: response by stratum, and whether serum HER2 means the same in all.

Strata are compared by tests of heterogeneity and of interaction, never by what is significant within one of them.
"""

from functools import partial

import numpy as np
import pandas as pd

from orchestration.efficacy import marker, rates
from orchestration.efficacy.book import Book
from orchestration.efficacy.outcomes import RESPONSES, no_assessments

_SMALLEST_SITE = 10  # subjects; smaller sites are taken together
_EVENTS_PER_VARIABLE = 5  # below it no interaction is estimated (Vittinghoff and McCulloch 2007)


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
                caveat=no_assessments(book),
            )
            counts = known.groupby("level")[flag].agg(["sum", "size"])
            if no_assessments(book):
                counts = counts.iloc[:0]
            p, fewest = rates.heterogeneity(counts["sum"].to_numpy(), counts["size"].to_numpy())
            write(
                "heterogeneity_p",
                p,
                p_value=p,
                method="Pearson's chi-square of equal rates in all strata",
                caveat=marker.if_nan(p, "two strata and both outcomes"),
                note=["expected counts below 5: approximate"] if fewest < 5 else [],
            )
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
    week = marker.primary_week(book)
    at_risk, (early, _) = marker.at_landmark(book, week).frame, marker.early_changes(book)
    for name, labels in _strata(book).items():
        _interaction(book, name, labels, at_risk, "PFS", "is_event", "Cox model of the landmark")
        _interaction(book, name, labels, early, "ORR", "is_responder", "logistic model")


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
        caveat=marker.no_marker(book),
        note=[marker.ASSOCIATION],
    )
    terms = 2 * len(levels)  # the two of the main model, and each stratum but the first with its product
    events = int(known[flag].sum())
    fewer = events if endpoint == "PFS" else min(events, len(known) - events)
    if len(levels) < 2 or fewer < _EVENTS_PER_VARIABLE * terms:
        few = f"{fewer} events (of the rarer outcome) for {terms} variables"
        write("interaction_p", caveat=[f"not estimated: {'fewer than two strata' if len(levels) < 2 else few}"])
        return
    own = {level: (known["level"] == level).astype(float) for level in levels[1:]}
    products = {f"log2_ratio x {level}": own[level] * known["log2_ratio"] for level in own}
    known = known.assign(**own, **products)
    fit = marker.hazards if endpoint == "PFS" else partial(marker.odds, outcome=flag)
    reduced, full = (fit(book, known, terms=[*marker.MARKER, *own, *more]) for more in ((), products))
    p = marker.likelihood_ratio_p(full, reduced)
    caveat = full.attrs["caveats"]
    write(
        "interaction_p",
        p,
        term="log2_ratio",
        p_value=p,
        caveat=caveat or marker.if_nan(p, "both outcomes in each stratum"),
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
        "IHC": members["ihc_score"],
        "hormone receptor": members["hormone_receptor_status"],
        "baseline sHER2": baseline.where(book.cohort.log2_baseline.reindex(members.index).notna()),
        "site": members["site_id"].mask(sizes < _SMALLEST_SITE, small),
    }
