"""How numbers are printed and names are put in words. No number is made here."""

from decimal import ROUND_HALF_UP, Decimal

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
    "heterogeneity_p": "test of heterogeneity",
    "interaction_p": "test of interaction",
    "schedule_median_days": "median by the schedule alone (days)",
    "auc": "AUC of the early change",
    "spearman_rho": "Spearman ρ",
    "slope_difference": "difference of slopes (log2 a week)",
}
_UNITS = {"_months": " (months)", "_days": " (days)", "_ng_ml": " (ng/mL)"}
_TERMS = {
    "log2_ratio": "per doubling of sHER2",
    "log2_ratio_unadjusted": "per doubling of sHER2, unadjusted",
    "log2_baseline": "per doubling of baseline sHER2",
    "fall_20": "by fall of sHER2",
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
    return statistic in ("proportion", "sensitivity", "specificity") or statistic.startswith(("rate_", "share"))


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
    return _TERMS.get(name or "", spaced(name))


def response(code: str) -> str:
    return _RESPONSES.get(code, code)


def spaced(name: str | None) -> str:
    return (name or "").replace("_", " ")


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
