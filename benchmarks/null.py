"""`python -m benchmarks.null`: how often the pipeline finds an effect where there is none, and where there is one.

Thousands of simulated subjects (`sher2 simulate --null`: scheduled scans, ties, jitter, drop-out) go through the real
readers, the real dbt models and the real metrics. A subject's course depends on the seed and on its number only, so a
large study cut into blocks of 80 subjects is that many independent studies, at the price of a few builds.

The primary analysis must reject in 33 to 68 of 1,000 null studies at a nominal 5 % (99 % of a binomial). In linked
studies it must reject the more often the larger they are: their size is a question of power. The naive analyses exist
here only, to show how wrong they are: guarantee time and hunting for a cut make noise significant. Prints Markdown
tables; `--json` keeps the counts. Exits with 1 when the primary analysis does not keep its level.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binom

from orchestration.efficacy import metrics, rates, survival
from orchestration.efficacy.analyses import current_value, early_change
from orchestration.efficacy.book import Book
from orchestration.efficacy.cohort import Cohort
from orchestration.publication import GRAIN
from orchestration.settings import REPOSITORY, Settings
from orchestration.study import Study, load_study

SUBJECTS = 80
SUBJECTS_PER_BUILD = 20_000
LINKED_SIZES = (80, 200, 400)
CUTS = 33
LEVEL = 0.05
BIASED = "biased: guarantee time"

Marts = dict[str, pd.DataFrame]


def build(home: Path, subjects: int, seed: int, null: bool) -> Marts:
    """The marts of so many simulated subjects, taken in and built below ``home``."""
    from orchestration.ingestion import ingest
    from orchestration.simulate import write_study
    from orchestration.warehouse import Dbt, connect

    settings = Settings(home=home, study_file=REPOSITORY / "study.yaml")
    settings.prepare()
    study = load_study(settings.study_file)
    write_study(settings.landing, subjects, seed, null=null)
    ingest(settings, study)
    dbt = Dbt(settings, study)
    failed = [node.unique_id for node in dbt.build() if node.is_failed]
    if failed:
        raise RuntimeError(f"dbt: {', '.join(failed)}")
    with connect(dbt.database, read_only=True) as connection:
        return {mart: connection.execute(f"select * from marts.{mart} order by all").df() for mart in GRAIN}


def cut(marts: Marts, subjects: int) -> Iterator[Marts]:
    """The marts in blocks of so many subjects by their number: studies of their own."""
    parts = {}
    for name, frame in marts.items():
        number = frame["subject_id"].str.rsplit("-", n=1).str[1].astype(int)  # 1, 2, ... over all sites
        parts[name] = dict(tuple(frame.groupby((number - 1) // subjects)))
    for block in sorted(parts["dim_subject"]):
        yield {name: of.get(block, marts[name].iloc[:0]) for name, of in parts.items()}


def primary_analysis(marts: Marts, study: Study) -> pd.Series:
    """The primary row of metrics.estimates, and the p of its likelihood-ratio test as lrt_p."""
    rows = metrics.compute(marts, study, "null", analyses=[early_change.primary])["estimates"]
    (primary,) = rows[rows["is_primary"]].to_dict("records")
    beside = rows[rows["statistic"].isin(["lrt_p", "logrank_p"])].set_index("statistic")["p_value"]
    return pd.Series(primary | beside.to_dict())


def all_analyses(marts: Marts, study: Study) -> dict[str, float]:
    """p of each analysis of one study."""
    primary = primary_analysis(marts, study)
    moving = [current_value.time_dependent_cox, current_value.mantel_byar]
    rows = metrics.compute(marts, study, "null", analyses=moving)["estimates"]
    declared = rows[
        rows["term"].isin(["log2_ratio", "fall_20"]) & rows["statistic"].isin(["hazard_ratio", "logrank_p"])
    ]
    declared = declared.drop_duplicates("analysis").set_index("analysis")["p_value"]
    book = Book(Cohort(marts, study), "null")
    return {
        "landmark week 6, log2 ratio, Wald (primary)": primary["p_value"],
        "landmark week 6, log2 ratio, likelihood ratio": primary["lrt_p"],
        "landmark week 6, fall >= 20 %, log-rank": primary["logrank_p"],
        "Mantel-Byar": declared["Mantel-Byar"],
        "time-dependent Cox": declared["time-dependent Cox"],
        f"naive: ever fell >= 20 % against never, from day 0 ({BIASED})": _ever_fell(book),
        f"naive: deepest fall, median split, from day 0 ({BIASED})": _median_split(book),
        f"naive: landmark week 6, best of {CUTS} cuts": _best_cut(book),
    }


# --- Naive analyses: wrong, and shown to be ---------------------------------------------------------------------------


def _ever_fell(book: Book) -> float:
    times = book.cohort.times("PFS", book.population).join(book.cohort.log2_baseline, how="inner")
    fallen = book.cohort.changes.query("change_category == @book.fall.upper()")["subject_id"]
    return survival.logrank(times["duration_days"], times["is_event"], times.index.isin(fallen))[2]


def _median_split(book: Book) -> float:
    deepest = book.cohort.changes.groupby("subject_id")["log2_ratio"].min()
    times = book.cohort.times("PFS", book.population).join(deepest, how="inner")
    below = times["log2_ratio"] < times["log2_ratio"].median()
    return survival.logrank(times["duration_days"], times["is_event"], below)[2]


def _best_cut(book: Book) -> float:
    frame = early_change.at_landmark(book, book.study.analysis.primary_week).frame
    cuts = frame["log2_ratio"].quantile(np.linspace(0.1, 0.9, CUTS))
    return min(
        survival.logrank(frame["duration_days"], frame["is_event"], frame["log2_ratio"] <= cut)[2] for cut in cuts
    )


# --- Counting ---------------------------------------------------------------------------------------------------------


def allowed(studies: int) -> tuple[int, int]:
    """Rejections that a test of level 5 % may show: 33 to 68 of 1,000, at most 6 of 50."""
    low, high = binom.ppf([0.005, 0.995], studies, LEVEL)
    return int(low), int(high) - 1


def rejections(found: pd.DataFrame) -> pd.DataFrame:
    """By analysis: studies with a p, rejections among them, their share with its exact interval."""
    rows = []
    for name in found:
        known = found[name].dropna()
        x = int((known < LEVEL).sum())
        low, high = rates.proportion_ci(x, len(known))
        rows.append({"analysis": name, "studies": len(known), "rejected": x, "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows)


def markdown(title: str, table: pd.DataFrame) -> str:
    lines = [f"### {title}", "", "| analysis | studies | rejects | 95 % CI |", "|---|---:|---:|---|"]
    for row in table.itertuples():
        share = 100 * row.rejected / row.studies if row.studies else float("nan")
        limits = f"{100 * row.ci_low:.1f} to {100 * row.ci_high:.1f} %"
        lines.append(f"| {row.analysis} | {row.studies} | {row.rejected} ({share:.1f} %) | {limits} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.null", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help=f"null studies of {SUBJECTS} subjects")
    parser.add_argument("--linked-subjects", type=int, default=SUBJECTS_PER_BUILD, help="cut into studies of each size")
    parser.add_argument("--seed", type=int, default=20_260_101)
    parser.add_argument("--json", type=Path, help="where to keep the counts")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    began, study, kept = time.perf_counter(), load_study(REPOSITORY / "study.yaml"), {}

    def show(title: str, found: list[dict[str, float]]) -> pd.DataFrame:
        table = rejections(pd.DataFrame(found))
        print(markdown(title, table), flush=True)
        kept[title] = table.to_dict("records")
        return table

    with tempfile.TemporaryDirectory(prefix="sher2-null-") as folder:
        found, wanted = [], options.studies * SUBJECTS
        for number, begin in enumerate(range(0, wanted, SUBJECTS_PER_BUILD)):
            size = min(SUBJECTS_PER_BUILD, wanted - begin)
            marts = build(Path(folder) / f"null-{number}", size, options.seed + number, null=True)
            found += [all_analyses(part, study) for part in cut(marts, SUBJECTS)]
        table = show(f"{len(found)} null studies of {SUBJECTS} subjects", found)
        marts = build(Path(folder) / "linked", options.linked_subjects, options.seed, null=False)
        for subjects in LINKED_SIZES:
            found = [all_analyses(part, study) for part in cut(marts, subjects)]
            show(f"{len(found)} linked studies of {subjects} subjects", found)
    (low, high), rejected = allowed(options.studies), int(table["rejected"].iloc[0])
    keeps = low <= rejected <= high
    print(f"Primary analysis: {rejected} of {options.studies} null studies rejected, {low} to {high} are allowed:")
    print("it keeps its level." if keeps else "IT DOES NOT KEEP ITS LEVEL.")
    print(f"Seed {options.seed}, {time.perf_counter() - began:.0f} s.")
    if options.json:
        content = {"seed": options.seed, "level": LEVEL, "allowed": [low, high], "rejections": kept}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return 0 if keeps else 1


if __name__ == "__main__":
    sys.exit(main())
