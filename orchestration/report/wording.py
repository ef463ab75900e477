"""How numbers are printed and names are put in words. No number is made here."""

from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

NOT_ESTIMABLE = "NE"
_NARROW_SPACE = "\u202f"

Number = int | float | Decimal

_POPULATIONS = {
    "in_treated": "all treated patients",
    "in_efficacy": "treated patients with HER2-low disease",
    "in_response_evaluable": "response-evaluable patients with HER2-low disease",
}
_ENDPOINTS = {
    "PFS_OTHER_RULES": "PFS, other censoring rules",
    "DOR": "Duration of response",
    "DOR_UNCONFIRMED": "Duration of response, unconfirmed",
    "TTR": "Time to response",
}
_STATISTICS = {
    "proportion": "rate",
    "logrank_p": "log-rank test",
    "lrt_p": "likelihood-ratio test",
    "chi2": "χ²",
    "c_index": "C-index",
    "c_index_corrected": "C-index, corrected for optimism",
    "stratified_logrank_p": "stratified log-rank test",
    "excluded_event": "left out by an earlier event",
    "excluded_censoring": "left out by censoring",
    "excluded_missing_marker": "without an evaluable change",
    "rate_difference": "difference of rates (% points)",
    "youden": "Youden index, apparent",
    "youden_corrected": "Youden index, corrected for optimism",
    "youden_cut_ratio": "cut of the Youden index (ratio to baseline)",
    "share_before": "rise before progression",
    "share_at": "rise at progression",
    "share_after": "rise after progression",
    "share_never": "no rise",
    "share_unconfirmed": "rise not confirmed",
    "per_patient_year": "false alarms a patient-year",
    "heterogeneity_p": "test of heterogeneity",
    "interaction_p": "test of interaction",
    "schedule_median_days": "median by the schedule alone (days)",
    "auc": "AUC of the early change",
    "spearman_rho": "Spearman ρ",
    "slope_difference": "difference of slopes (log2 a week)",
    "geometric_mean_ratio": "geometric mean over baseline",
}
_UNITS = {"_months": " (months)", "_days": " (days)", "_ng_ml": " (ng/mL)"}
_TERMS = {
    "log2_ratio": "per doubling of sHER2",
    "log2_ratio_unadjusted": "per doubling of sHER2, unadjusted",
    "log2_baseline": "per doubling of baseline sHER2",
    "normalised": "by normalisation",
    "hormone_receptor_positive": "hormone receptor positive",
    "ihc_2plus": "IHC 2+",
    "age_decades": "per ten years of age",
}
_RESPONSES = {
    "CR": "complete response",
    "PR": "partial response",
    "SD": "stable disease",
    "NON-CR/NON-PD": "neither complete response nor progression",
    "PD": "progressive disease",
    "NE": "not evaluable",
    "NA": "not applicable",
    "MISSING": "no assessment",
}


_UNREADABLE = 1e9  # no digit of so large a number means anything to a reader


@lru_cache(maxsize=10_000, typed=True)  # a few thousand different numbers are said hundreds of thousands of times
def fixed(value: Number | None, places: int = 1) -> str:
    """Round half up to ``places`` decimals, as a person would (0.25 -> 0.3); a missing value is NE."""
    if value is None:
        return NOT_ESTIMABLE
    if abs(value) >= _UNREADABLE:
        return f"{value:.1e}"
    # str() first: the shortest text of a float is the number that was meant, its binary expansion is not.
    rounded = Decimal(str(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{abs(rounded) if rounded == 0 else rounded:,f}".replace("-", "\u2212").replace(",", _NARROW_SPACE)


def percent(value: Number | None) -> str:
    """A share of 1 as a percentage with one decimal, without its sign."""
    return NOT_ESTIMABLE if value is None else fixed(Decimal(str(value)) * 100)


def p_value(value: Number | None) -> str:
    """Three decimals, and never 0.000 or 1.000 for what is neither."""
    if value is None:
        return NOT_ESTIMABLE
    if value < 0.001:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= value < 1 else fixed(value, 3)


def count(value: Number | None) -> str:
    return "\u2013" if value is None else fixed(value, 0)


def quantity(statistic: str, value: Number | None) -> str:
    """An estimate or a limit in the unit that its statistic is read in: shares in %, months to one decimal."""
    if statistic == "rate_difference":
        return fixed(None if value is None else float(value) * 100)
    if is_share(statistic):
        return percent(value) if value is None else f"{percent(value)}{_NARROW_SPACE}%"
    if statistic.endswith("_p"):
        return p_value(value)
    if statistic.startswith("excluded_"):
        return count(value)
    if statistic.endswith(("_months", "_days", "_ng_ml")):
        return fixed(value)
    return fixed(value, 3 if statistic.startswith("slope") else 2)


def is_share(statistic: str) -> bool:
    return statistic in ("proportion", "sensitivity", "specificity") or (
        statistic.startswith(("rate_", "share")) and statistic != "rate_difference"
    )


def interval(statistic: str, low: Number | None, high: Number | None) -> str:
    """``41.6 to 62.4``; empty where neither limit exists."""
    if low is None and high is None:
        return ""
    ends = [percent(end) if is_share(statistic) else quantity(statistic, end) for end in (low, high)]
    return " to ".join(ends)


def population(name: str) -> str:
    return _POPULATIONS.get(name, spaced(name))


def short_population(name: str) -> str:
    return spaced(name.removeprefix("in_"))


def endpoint(name: str) -> str:
    return _ENDPOINTS.get(name, name)


def statistic(name: str) -> str:
    if name.startswith("rate_") and name.endswith("m"):
        return f"rate at {name[5:-1]} months"
    unit = next((ending for ending in _UNITS if name.endswith(ending)), "")
    return _STATISTICS.get(name, spaced(name.removesuffix(unit)) + _UNITS.get(unit, ""))


def term(name: str | None) -> str:
    in_words = threshold(name or "")
    return _TERMS.get(name or "", spaced(name) if in_words == spaced(name) else f"by {in_words}")


def threshold(name: str) -> str:
    """``fall_20`` -> ``fall ≥ 20 %``; other names in words."""
    kind, _, number = name.partition("_")
    if kind in ("fall", "rise") and number.isdigit():
        return f"{kind} ≥ {number} %"
    if name.startswith("at_most_") and name.endswith("pct"):
        return f"at most {name.removeprefix('at_most_').removesuffix('pct')} % of baseline"
    return spaced(name)


def response(code: str) -> str:
    return _RESPONSES.get(code, code)


def bias(row: Any) -> str:
    """What of a row's caveat says that the number is biased; such a number is never shown without it."""
    return next((part for part in (row.caveat or "").split("; ") if part.startswith("biased")), "")


def signs(text: str) -> str:
    return text.replace(">=", "\u2265").replace("<=", "\u2264")


def spaced(name: str | None) -> str:
    return (name or "").replace("_", " ")


def change(value: Number) -> str:
    """A percentage of change with its sign: ``−62.3 %``, ``+5.0 %``."""
    text = fixed(value)
    sign = "" if text.startswith("\u2212") or not value else "+"
    return f"{sign}{text}{_NARROW_SPACE}%"


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """``1 patient``, ``2 patients``."""
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"


def relation(p: float) -> str:
    """``= 0.012`` or ``< 0.001``, to stand after a p."""
    text = p_value(p)
    return text if text[0] in "<>" else f"= {text}"


def level(value: Number | None) -> str:
    """``95 %``, of a confidence level."""
    return f"{fixed(float(value or 0.95) * 100, 0)} %"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
