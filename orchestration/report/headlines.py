"""The answers at the top of the page: each a figure in large type, its limits, and a sentence a clinician would say."""

from orchestration.report import wording
from orchestration.report.missing import why
from orchestration.report.published import Published, Row
from orchestration.study import Study

_SAID_ELSEWHERE = ("estimand", "landmark on study day", "association in a single arm", "not reached")
"""Beginnings of caveats that the headline need not repeat: the value or another part of the page says them."""


def headlines(published: Published, study: Study) -> list[dict]:
    """For each answer: label, value, limits, counts, sentence and caveat, as texts."""
    population = study.analysis.population
    response = published.estimate("response rate", "confirmed ORR", "proportion", population)
    survival = published.estimate("survival", "PFS", "median_months", population)
    return [
        _response(published, study, response),
        _survival(published, study, survival),
        _landmark(published, study, published.primary(study)),
    ]


def _response(published: Published, study: Study, row: Row | None) -> dict:
    label = "Confirmed objective response rate"
    if row is None or row.estimate is None:
        return _nothing(label, row, why(published, study, "times"))
    who = wording.population(row.population)
    return {
        "label": label,
        "value": wording.quantity("proportion", row.estimate),
        "limits": _limits(row),
        "counts": f"n = {wording.count(row.n)}, {wording.plural(row.events, 'responder')}",
        "sentence": f"{wording.count(row.events)} of {wording.count(row.n)} {who} had a complete or partial response"
        " that a later scan confirmed. Patients who could not be evaluated count as non-responders.",
        "caveat": _caveat(row),
    }


def _survival(published: Published, study: Study, row: Row | None) -> dict:
    label = "Median progression-free survival"
    if row is None or not published.responses:
        return _nothing(label, row, why(published, study, "times"))
    counts = f"n = {wording.count(row.n)}, {wording.plural(row.events or 0, 'event')}"
    if row.estimate is None:
        if not row.n:
            return _nothing(label, row, why(published, study, "times"))
        return {
            "label": label,
            "value": "not reached",
            "limits": _limits(row),
            "counts": counts,
            "sentence": f"Among {wording.count(row.n)} {wording.population(row.population)}, so few have progressed"
            f" or died ({wording.count(row.events)}) that the time by which half will have cannot be told yet.",
            "caveat": _caveat(row),
        }
    return {
        "label": label,
        "value": f"{wording.quantity(row.statistic, row.estimate)} months",
        "limits": _limits(row),
        "counts": counts,
        "sentence": f"By estimate half of the {wording.population(row.population)} were alive without progression"
        f" {wording.quantity(row.statistic, row.estimate)} months after"
        f" {'the first dose' if study.endpoints.start == 'first_dose' else 'enrolment'}.",
        "caveat": _caveat(row),
    }


def _landmark(published: Published, study: Study, row: Row | None) -> dict:
    week = study.analysis.primary_week
    label = f"Early serum HER2 and later progression (landmark week {week})"
    if row is None or row.estimate is None:
        return _nothing(label, row, why(published, study, "landmark"))
    ratio = wording.quantity(row.statistic, row.estimate)
    p = "" if row.p_value is None else f", p {wording.relation(row.p_value)}"
    limits = row.ci_low is not None and row.ci_high is not None
    if limits and row.ci_low > 1:
        reading = "A rise went with earlier progression or death, a fall with later."
    elif limits and row.ci_high < 1:
        reading = "A rise went with later progression or death, a fall with earlier."
    else:
        reading = "The data are compatible with no association in either direction."
    return {
        "label": label,
        "value": f"HR {ratio}",
        "limits": _limits(row) + p,
        "counts": f"n = {wording.count(row.n)}, {wording.plural(row.events or 0, 'event')}",
        "sentence": f"Among {wording.plural(row.n, 'patient')} alive, progression-free and with an evaluable change at"
        f" week {week}, each doubling of serum HER2 against baseline went with {ratio} times the hazard of later"
        f" progression or death (adjusted for baseline). {reading}",
        "caveat": _caveat(row),
    }


def _nothing(label: str, row: Row | None, why: str) -> dict:
    """Not estimable: the caveat that came with the estimate, else what is missing on the way to it."""
    n = f"n = {wording.count(row.n)}" if row is not None and row.n is not None else ""
    caveat = _caveat(row) if row is not None and row.n else ""
    return {
        "label": label,
        "value": "not estimable",
        "limits": "",
        "counts": n,
        "sentence": why if not caveat else "",
        "caveat": caveat,
    }


def _caveat(row: Row) -> str:
    return "; ".join(part for part in row.caveat.split("; ") if not part.startswith(_SAID_ELSEWHERE))


def _limits(row: Row) -> str:
    text = wording.interval(row.statistic, row.ci_low, row.ci_high)
    return f"{wording.level(row.level)} CI {text}" if text else ""
