"""The value of serum HER2 in force and the hazard of the moment: time-dependent Cox, Mantel-Byar."""

import pandas as pd

from orchestration.efficacy.analyses.early_change import write_proportional_hazards
from orchestration.efficacy.analyses.models import ASSOCIATION, MARKER, hazards, write_hazard, write_logrank
from orchestration.efficacy.book import Book


def time_dependent_cox(book: Book) -> None:
    """The hazard at each moment against the last value known ``lag_days`` before it."""
    frame = book.once(stretches)
    model = hazards(book, frame, MARKER, start="start")
    subjects = frame["subject_id"].nunique()
    write = book.about(
        "time-dependent Cox",
        "PFS",
        n=subjects,
        events=int(frame["is_event"].sum()),
        role=book.role("time_dependent_cox"),
        method="Cox on (start, stop], Efron ties, Wald CI, log2 ratio carried forward and log2 baseline",
        caveat=book.lacks_marker,
        note=[ASSOCIATION, f"a value counts from {book.study.analysis.lag_days} days after its draw"],
    )
    for row in model.itertuples():
        write(
            "hazard_ratio",
            row.hazard_ratio,
            (row.ci_low, row.ci_high),
            term=row.term,
            p_value=row.p_value,
            tests="time_dependent_cox" if row.term == "log2_ratio" else None,
            caveat=model.attrs["caveats"],
        )
    events = int(frame["is_event"].sum())
    tests = book.about("PH test, time-dependent Cox", "PFS", n=subjects, events=events)
    write_proportional_hazards(book, tests, frame, model, start="start")


def mantel_byar(book: Book) -> None:
    """Ever fallen by the pre-specified share, a status that begins when it is known; everybody starts without."""
    frame = book.once(stretches)
    ever = frame.assign(has_fallen=frame.groupby("subject_id")["has_fallen"].cummax())
    spells = ever.groupby(["subject_id", "has_fallen"], as_index=False)  # at most two a subject
    spells = spells.agg(start=("start", "min"), stop=("stop", "max"), is_event=("is_event", "any"))
    write = book.about(
        "Mantel-Byar",
        "PFS",
        term=book.fall,
        n=frame["subject_id"].nunique(),
        events=int(frame["is_event"].sum()),
        role=book.role("mantel_byar"),
        caveat=book.lacks_marker,
        note=[ASSOCIATION, f"a fall counts from {book.study.analysis.lag_days} days after its draw"],
    )
    write_logrank(
        book,
        write,
        spells,
        "has_fallen",
        term=book.fall,
        method="log-rank on (start, stop]",
        start="start",
        tests="mantel_byar",
    )
    model = hazards(book, spells, ["has_fallen"], start="start")
    write_hazard(write, model, book.fall, "Cox on (start, stop], Efron ties, Wald CI")


def stretches(book: Book) -> pd.DataFrame:
    """Each member with a baseline, cut into (start, stop] in study days with the value in force (at first 0)."""
    times = book.cohort.times("PFS", book.population)
    times = times[times["end_day"] > 0].join(book.cohort.log2_baseline, how="inner")
    draws = book.cohort.changes[["subject_id", "study_day", "log2_ratio", "change_category"]]
    draws = draws.drop_duplicates(["subject_id", "study_day"], keep="last")
    starts = pd.DataFrame(
        {
            "subject_id": draws["subject_id"],
            "start": draws["study_day"] + book.study.analysis.lag_days,
            "log2_ratio": draws["log2_ratio"],
            "has_fallen": draws["change_category"].eq(book.fall.upper()).astype(float),
        }
    )
    first = pd.DataFrame({"subject_id": times.index, "start": 0.0, "log2_ratio": 0.0, "has_fallen": 0.0})
    rows = pd.concat([first, starts], ignore_index=True).merge(times.reset_index(), on="subject_id")
    rows = rows[rows["start"] < rows["end_day"]].sort_values(["subject_id", "start"]).reset_index(drop=True)
    stop = rows.groupby("subject_id")["start"].shift(-1)
    return rows.assign(stop=stop.fillna(rows["end_day"]), is_event=rows["is_event"] & stop.isna())
