"""Kaplan-Meier: published curves as steps, with censor ticks, log-log band and numbers at risk under the ticks."""

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter

from orchestration.report import drawing
from orchestration.report import wording as say
from orchestration.report.drawing import BLUE, RULE, Size
from orchestration.report.figures.figure import OTHER, RESPONDER, Figure, Mark, painted
from orchestration.report.missing import why
from orchestration.report.published import Published, Row
from orchestration.study import Study

_COLUMNS = (
    "endpoint",
    "population",
    "stratum",
    "time_months",
    "survival",
    "ci_low",
    "ci_high",
    "at_risk",
    "events",
    "censored",
)


def survival(published: Published, study: Study, endpoint: str) -> Figure:
    """One endpoint in the analysis population."""
    name = f"kaplan_meier_{endpoint.lower()}"
    title = {"PFS": "Progression-free survival", "OS": "Overall survival"}[endpoint]
    population = study.analysis.population
    curve = published.curve(endpoint, population)
    if not curve or (endpoint == "PFS" and not published.responses):
        return Figure(name, title, _COLUMNS, missing=why(published, study, "times" if endpoint == "PFS" else "members"))
    label = _label(say.capital(say.population(population)), curve, published, endpoint)
    return _curves(
        name,
        title,
        [(label, curve, BLUE, "-")],
        {"PFS": "Alive without progression", "OS": "Alive"}[endpoint],
        "Months from first dose" if study.endpoints.start == "first_dose" else "Months from enrolment",
        study,
        f"Kaplan-Meier estimate of {title.lower()}. {label}. {_rates(published, study, endpoint)}",
    )


def landmark(published: Published, study: Study) -> Figure:
    """PFS after the primary landmark by an early fall of serum HER2."""
    week = study.analysis.primary_week
    name, title = "landmark_pfs", f"PFS after week {week} by early fall of serum HER2"
    strata = sorted(
        {row.stratum for row in published.curves if row.endpoint == "PFS" and row.stratum.startswith(f"week {week}:")}
    )
    populations = sorted({row.population for row in published.curves if row.stratum in strata})
    if not strata:
        return Figure(name, title, _COLUMNS, missing=why(published, study, "landmark"))
    population = study.analysis.population if study.analysis.population in populations else populations[0]
    fall = study.analysis.change_thresholds_pct.fall
    groups = []
    for stratum in strata:
        colour, dash, _ = OTHER if ": no" in stratum else RESPONDER
        curve = published.curve("PFS", population, stratum)
        group = f"Fall of at least {fall} %" if colour == BLUE else f"No fall of at least {fall} %"
        groups.append((_label(group, curve, published, "PFS", stratum), curve, colour, dash))
    test = published.estimate("landmark", "PFS", "logrank_p", population, f"week {week}")
    p = f" Log-rank p {say.relation(test.p_value)}." if test and test.p_value is not None else ""
    ratio = published.estimate("landmark", "PFS", "hazard_ratio", population, f"week {week}", f"fall_{fall}")
    if ratio and ratio.estimate is not None:
        p = (
            f" Hazard ratio {say.quantity('hazard_ratio', ratio.estimate)} ({say.level(ratio.level)} CI"
            f" {say.interval('hazard_ratio', ratio.ci_low, ratio.ci_high)}) for fall against no fall.{p}"
        )
    return _curves(
        name,
        title,
        groups,
        "Alive without progression",
        f"Months from the landmark (week {week}, study day {study.analysis.landmark_day(week)})",
        study,
        f"Kaplan-Meier estimate of progression-free survival after week {week} in patients then at risk. "
        + ". ".join(label for label, *_ in groups)
        + f".{p}",
        f"The clock starts at the landmark; who had progressed, died or left before is not shown.{p} An association: a"
        " single arm cannot show that a marker is predictive.",
    )


def _curves(name, title, groups, y_label, x_label, study, alt, note="") -> Figure:
    rows = [tuple(getattr(row, column) for column in _COLUMNS) for _, curve, *_ in groups for row in curve]

    def paint(canvas: Canvas, size: Size) -> None:
        last = max(float(curve[-1].time_months) for _, curve, *_ in groups)
        ticks = _month_ticks(last, 12 if size.is_wide else 6)
        axes = drawing.axes(canvas, size, left=0.74, right=0.15, top=0.12, bottom=0.66 + 0.17 * len(groups))
        for _, curve, colour, dash in groups:
            times = [0.0] + [float(row.time_months) for row in curve]
            heights = [1.0] + [float(row.survival) for row in curve]
            axes.plot(times, heights, drawstyle="steps-post", color=colour, linestyle=dash, solid_joinstyle="miter")
            bounded = [row for row in curve if row.ci_low is not None and row.ci_high is not None]
            axes.fill_between(
                [0.0] + [float(row.time_months) for row in bounded],
                [1.0] + [float(row.ci_low) for row in bounded],
                [1.0] + [float(row.ci_high) for row in bounded],
                step="post",
                color=colour,
                alpha=0.14,
                linewidth=0,
            )
            censored = [(float(row.time_months), float(row.survival)) for row in curve if row.censored]
            ticks_up = [(x, y - 0.018, x, y + 0.018) for x, y in censored]
            drawing.segments(axes, ticks_up, color=colour, linewidth=1)
        axes.set(xlim=(0, max(last, ticks[-1]) * 1.01), ylim=(0, 1.02), xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
        axes.axhline(0.5, color=RULE, linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        below = [
            (-0.72 - 0.17 * line, [(tick, at_risk(curve, tick)) for tick in ticks], colour, dash)
            for line, (_, curve, colour, dash) in enumerate(groups)
        ]
        drawing.under_axis(axes, size, "At risk", -0.55, below)

    shapes = {"-": "line", "--": "dash"}
    return painted(
        name,
        title,
        _COLUMNS,
        rows,
        paint,
        alt=alt,
        legend=tuple(Mark(label, colour, shapes[dash]) for label, _, colour, dash in groups),
        note=f"Steps: Kaplan-Meier estimate. Band: {say.level(study.analysis.level)} confidence limits (log-log). Short"
        f" strokes: censored. {note}".strip(),
    )


def at_risk(curve: list[Row], time: float) -> int:
    """Patients whose time is at least ``time`` months: as at the first later point, since nobody leaves between."""
    return next((int(row.at_risk) for row in curve if float(row.time_months) >= time), 0)


def _month_ticks(last: float, most: int) -> list[int]:
    step = next(step for step in (1, 2, 3, 6, 12, 24, 48, 96, 1200) if last / step < most)
    return list(range(0, int(last) + 1, step))


def _label(group: str, curve: list[Row], published: Published, endpoint: str, stratum: str | None = None) -> str:
    """Who, the median with its limits, n and events: what stands in the legend."""
    analysis = "landmark" if stratum else "survival"
    row = published.estimate(analysis, endpoint, "median_months", curve[0].population, stratum)
    if row is None:
        return f"{group}: n = {say.count(at_risk(curve, 0))}"
    limits = say.interval("median_months", row.ci_low, row.ci_high)
    median = "median not reached" if row.estimate is None else f"median {say.fixed(row.estimate)} months"
    band = f" ({say.level(row.level)} CI {limits})" if limits else ""
    biased = f" ({say.bias(row)})" if say.bias(row) else ""
    return f"{group}{biased}: {median}{band}; n = {say.count(row.n)}, {say.plural(row.events or 0, 'event')}"


def _rates(published: Published, study: Study, endpoint: str) -> str:
    rates = [
        (month, published.estimate("survival", endpoint, f"rate_{month}m", study.analysis.population))
        for month in study.analysis.km_months
    ]
    known = [
        f"{say.percent(row.estimate)} % at {month} months" for month, row in rates if row and row.estimate is not None
    ]
    return f"Rates: {', '.join(known)}." if known else ""
