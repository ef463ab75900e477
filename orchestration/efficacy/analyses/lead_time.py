"""Whether a confirmed rise of serum HER2 comes before progression on imaging, and how often it is a false alarm.

Which samples rise, which rise is confirmed and which samples are in time stands in ``fct_her2_delta``.
"""

import numpy as np
import pandas as pd

from orchestration.efficacy import kinetics, rates
from orchestration.efficacy.book import NAN, Book


def lead_time(book: Book) -> None:
    """Days from a confirmed rise of sHER2 to progression on imaging, in those who progress."""
    cohort = book.cohort
    members = cohort.members(book.population)
    progressed = cohort.progression_day[lambda days: days.index.isin(members)]
    rises = _rises(cohort.samples_in_time).reindex(progressed.index)
    lead = progressed - rises["rise_day"]
    n, known = len(progressed), lead.dropna()
    write = book.about(
        "lead time",
        "PD",
        n=n,
        events=len(known),
        method=f"PD date less first confirmed rise ({book.rise}), events are subjects with one",
        caveat=[*book.lacks_assessments, *book.lacks_marker],
        note=["only subjects who progressed", "a rise after progression counts as negative"],
    )
    nothing = [] if len(known) else ["no confirmed rise before or at progression"]
    write("median_days", float(known.median()) if len(known) else NAN, caveat=nothing)
    draws = cohort.samples_in_time[cohort.samples_in_time["subject_id"].isin(known.index)]
    draws = draws.groupby("subject_id")["study_day"].agg(list).reindex(known.index)
    scans = zip(cohort.last_free_day.reindex(known.index), progressed.reindex(known.index))
    expected = pd.Series(
        [kinetics.lead_by_schedule(*days, np.array(drawn)) for days, drawn in zip(scans, draws)], dtype=float
    )
    write(
        "schedule_median_days",
        float(expected.median()) if len(expected) else NAN,
        n=len(expected),
        caveat=nothing,
        method="lead of the same subjects by their days of draws and scans alone, if serum and tumour changed together,"
        " at a moment uniform between the last scan without progression and the one with it",
        note=["what of the lead is owed to drawing more often than scanning"],
    )
    unconfirmed = rises["rise_day"].isna() & rises["first_rise_day"].notna()
    shares = {
        "before": lead > 0,
        "at": lead == 0,
        "after": lead < 0,
        "unconfirmed": unconfirmed,
        "never": rises["first_rise_day"].isna(),
    }
    for term, members_of in shares.items():
        x = int(members_of.sum())
        write(
            f"share_{term}",
            x / n if n else NAN,
            rates.proportion_ci(x, n, book.level),
            term=term,
            events=x,
            method="share of those who progressed, Clopper-Pearson",
            caveat=[] if n else ["nobody progressed"],
        )


def false_alarms(book: Book) -> None:
    """Confirmed rises of sHER2 in those who neither progressed nor died, per year under observation of the marker."""
    times = book.cohort.times("PFS", book.population)
    samples = book.cohort.samples_in_time
    samples = samples[samples["subject_id"].isin(times.index[~times["is_event"]])]
    rise_day = _rises(samples)["rise_day"]
    last = samples.groupby("subject_id")["study_day"].max()
    years = float(rise_day.fillna(last).sub(1).sum()) / 365.25
    alarms = int(rise_day.notna().sum())
    book.about(
        "lead time",
        "false alarm",
        n=len(rise_day),
        events=alarms,
        method=f"first confirmed rise ({book.rise}) per patient-year from first dose to rise or last draw,"
        " exact Poisson CI",
        caveat=book.lacks_marker,
        note=["subjects without progression or death by the data cut", "some of them may progress later"],
    )(
        "per_patient_year",
        alarms / years if years else NAN,
        rates.incidence_ci(alarms, years, book.level),
        caveat=[] if years else ["nobody without progression was drawn after the first dose"],
    )


def _rises(samples: pd.DataFrame) -> pd.DataFrame:
    """By subject: study day of the first confirmed rise (rise_day) and of any rise (first_rise_day), NaN for none."""
    status = samples["sher2_progression"]
    days = samples[["subject_id"]].assign(
        rise_day=samples["study_day"].where(status.eq("CONFIRMED")),
        first_rise_day=samples["study_day"].where(status.notna()),
    )
    return days.groupby("subject_id").min()
