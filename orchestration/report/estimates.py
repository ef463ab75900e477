"""The tables of the estimates: which rows of metrics.* stand in which, and in what order. Nothing is computed here."""

from collections.abc import Callable

from orchestration.report import wording
from orchestration.report.published import WHOLE, Published, Row
from orchestration.report.tables import Line, Table, listed, pivot
from orchestration.study import Study

_THEMES = {
    "time_to_response": ("Time to response", ("time to response",)),
    "slopes": ("Slope of serum HER2 by response", ("mixed model",)),
    "models": ("The landmark model: checks and covariates", ("PH test", "concordance", "univariable", "multivariable")),
    "cuts": ("Other pre-specified cuts", ("other cuts",)),
    "current": ("Current serum HER2 and hazard", ("time-dependent Cox", "Mantel-Byar")),
    "early_response": ("Change of serum HER2 and response", ("2x2", "logistic", "ROC", "correlation")),
    "lead": ("Lead time and false alarms", ("lead time",)),
    "interactions": ("Serum HER2 by subgroup: hazard ratios within, tests of interaction", ("subgroup", "interaction")),
}
"""Table name -> its title and the analyses in it, of those that need no layout of their own."""


def estimate_tables(published: Published, study: Study) -> dict[str, Table]:
    """Every table of estimates by its name. Together they hold all rows of metrics.estimates but the patient flow."""
    rest = [row for row in published.estimates if row.analysis != "patient flow"]  # it has a section of its own

    def take(*analyses: str, where: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        taken = [row for row in rest if row.analysis.split(", ")[0] in analyses and where(row)]
        rest[:] = [row for row in rest if row not in taken]
        return sorted(taken, key=_place)

    limits = f"{wording.level(study.analysis.level)} CI"
    below = f"below each estimate its {limits}"

    def by_analysis(name: str, title: str, rows: list[Row], order: tuple[str, ...] = ()) -> Table:
        rows = sorted(rows, key=lambda row: (_position(order, row.analysis.split(", ")[0]), row.analysis, _place(row)))
        return listed(name, title, rows, limits, lambda row: row.analysis, _quantity)

    made = (
        listed(
            "response",
            "Response rates",
            take("response rate"),
            limits,
            lambda row: wording.population(row.population) + _part(row),
            _quantity,
            "Responders",
            ("Population",),
        ),
        pivot(
            "survival",
            "Survival and follow-up",
            sorted(take("survival", "follow-up"), key=lambda row: (row.analysis != "survival", row.population)),
            first="Endpoint",
            group=lambda row: f"{row.analysis}: {wording.population(row.population)}",
            line=lambda row: wording.endpoint(row.endpoint) + _part(row),
            column=lambda row: wording.statistic(row.statistic),
            cell=_with_limits,
            note=below,
        ),
        *(
            pivot(
                name,
                title,
                sorted(take(analysis), key=lambda row: (_position(_RESPONSE_GROUPS, row.stratum), *_visit(row.term))),
                first="Visit",
                group=lambda row: "",
                line=lambda row: row.term.replace(" ", "\u00a0"),
                column=lambda row: wording.capital(row.stratum),
                cell=_with_n,
                has_counts=False,
                note=f"n in brackets; {below}",
            )
            for name, title, analysis in (
                ("kinetics", "Geometric mean of serum HER2 by visit, ng/mL", "kinetics"),
                ("changes", "Geometric mean of serum HER2 over its baseline, by visit", "change by visit"),
            )
        ),
        pivot(
            "categories",
            "Thresholds of change reached, by visit",
            sorted(take("change category"), key=lambda row: (_category(row.stratum), *_visit(row.term))),
            first="Visit",
            group=lambda row: "",
            line=lambda row: row.term.replace(" ", "\u00a0"),
            column=lambda row: wording.threshold(row.stratum),
            cell=_of,
            has_counts=False,
            note=f"below each share how many of how many, and its {limits}",
        ),
        pivot(
            "landmark",
            "Landmark analyses: serum HER2 as a number",
            take("landmark", where=lambda row: row.statistic != "median_months" and not row.term.startswith("fall")),
            first="Landmark",
            group=_outcome,
            line=_landmark,
            column=lambda row: _quantity(row).removesuffix(_PRIMARY),
            cell=_with_p,
            note=f"p in brackets; {below}",
        ),
        pivot(
            "landmark_groups",
            "Landmark analyses: by fall",
            take("landmark"),
            first="Landmark",
            group=_outcome,
            line=_landmark,
            column=_quantity,
            cell=lambda row: _with_n(row) if row.statistic == "median_months" else _with_p(row),
            has_counts=False,
            note=f"of medians n, of tests p in brackets; {below}",
        ),
        pivot(
            "subgroups",
            "Response by subgroup",
            take("subgroup", where=lambda row: row.endpoint != "PFS"),
            first="Subgroup",
            group=lambda row: row.stratum.split(": ")[0],
            line=_subgroup,
            column=lambda row: wording.endpoint(row.endpoint),
            cell=lambda row: _of(row) if row.statistic == "proportion" else _with_limits(row),
            has_counts=False,
            note=f"below each rate how many of how many, and its {limits}",
        ),
        *(by_analysis(name, title, take(*analyses), analyses) for name, (title, analyses) in _THEMES.items()),
        by_analysis("further", "Further analyses", rest),
        _profile(published),
    )
    return {table.name: table for table in made}


def _profile(published: Published) -> Table:
    lines = [
        Line(
            (
                row.analysis,
                wording.endpoint(row.endpoint),
                wording.short_population(row.population),
                "" if row.stratum in WHOLE else wording.signs(row.stratum),
                wording.count(row.n),
                wording.count(row.events),
                row.role,
                row.status,
                row.reason,
            ),
            row.role == "primary",
        )
        for row in published.profile
    ]
    return Table(
        "remark",
        "REMARK profile",
        ("Analysis", "Endpoint", "Population", "Part", "n", "Events", "Role", "Status", "Reason"),
        [("", lines)] if lines else [],
        frozenset(("n", "Events")),
        "no analysis was run.",
    )


# --- words of a row ---------------------------------------------------------------------------------------------------


def _quantity(row: Row) -> str:
    """Statistic and term in words; a term that only repeats the statistic is left out. A bias is said here."""
    parts = [wording.statistic(row.statistic)]
    if (
        row.term not in WHOLE
        and (row.analysis, row.term) != ("ROC", "log2_ratio")
        and not row.statistic.endswith(f"_{row.term}")
    ):
        parts.append(wording.term(row.term))
    if row.analysis == "landmark" and ": " in row.stratum:  # one of the two groups at a landmark
        parts.append(f"with {wording.signs(row.stratum.split(': ')[1])}")
    biased = wording.bias(row)
    return " ".join([*parts, *([_PRIMARY.strip()] if row.is_primary else []), *([f"({biased})"] if biased else [])])


def _part(row: Row) -> str:
    return "" if row.stratum in WHOLE else f", {wording.signs(row.stratum)}"


def _outcome(row: Row) -> str:
    return f"{wording.endpoint(row.endpoint)}: {wording.population(row.population)}"


def _landmark(row: Row) -> str:
    return row.stratum.split(": ")[0].replace(" ", "\u00a0", 1)


def _subgroup(row: Row) -> str:
    if row.statistic == "rate_difference":
        return f"difference, {wording.signs(row.term)}"
    if row.statistic == "heterogeneity_p":
        return "p of heterogeneity"
    return wording.signs(row.stratum.split(": ", 1)[-1])


def _with_limits(row: Row) -> str:
    limits = wording.interval(row.statistic, row.ci_low, row.ci_high)
    return wording.quantity(row.statistic, row.estimate) + (f"\n{limits}" if limits else "")


def _with_n(row: Row) -> str:
    estimate, *limits = _with_limits(row).split("\n")
    return "\n".join([f"{estimate} ({wording.count(row.n)})", *limits])


def _with_p(row: Row) -> str:
    estimate, *limits = _with_limits(row).split("\n")
    has_own_p = row.p_value is not None and not row.statistic.endswith("_p")
    return "\n".join([f"{estimate} ({wording.p_value(row.p_value)})" if has_own_p else estimate, *limits])


def _of(row: Row) -> str:
    share, *limits = _with_limits(row).split("\n")
    return "\n".join([share, f"{wording.count(row.events)} of {wording.count(row.n)}", *limits])


# --- order ------------------------------------------------------------------------------------------------------------

_ENDPOINTS = ("confirmed ORR", "ORR", "DCR", "CBR", "PFS", "PFS_OTHER_RULES", "OS", "DOR", "DOR_UNCONFIRMED", "TTR")
_PRIMARY = " (primary)"
_CATEGORIES = ("fall", "at", "normalised", "rise")
_RESPONSE_GROUPS = ("all", "confirmed response", "no confirmed response")
_STATISTICS = (
    "proportion",
    "min_months",
    "median_months",
    "max_months",
    "lower_quartile_months",
    "upper_quartile_months",
    "hazard_ratio",
    "lrt_p",
    "logrank_p",
)
_TERMS = ("log2_ratio", "log2_ratio_unadjusted", "log2_baseline", "")


def _place(row: Row) -> tuple:
    """As a clinician reads: endpoint, population, week 6 before week 12, the adjusted effect before the rest."""
    return (
        _position(_ENDPOINTS, row.endpoint),
        row.endpoint,
        row.population,
        row.stratum not in WHOLE,
        "," in row.stratum,
        _number(row.stratum),
        row.stratum,
        _position(_TERMS, row.term),
        _rank(row),
        row.term,
        row.statistic,
        row.method or "",
    )


def _visit(name: str) -> tuple:
    return name == "any visit", name.startswith("WEEK"), _number(name), name


def _category(name: str) -> tuple:
    return _position(_CATEGORIES, name.split("_", maxsplit=1)[0]), name


def _rank(row: Row) -> tuple[int, int]:
    return _position(_STATISTICS, row.statistic), _number(row.statistic)


def _position(order: tuple[str, ...], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _number(text: str) -> int:
    digits = "".join(character if character.isdigit() else " " for character in text).split()
    return int(digits[0]) if digits else 0
